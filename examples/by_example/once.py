"""`Once` runs a function the first time only. Who comes meanwhile waits until it is done."""

import gort
from gort.sync import Once


async def main() -> None:
    once = Once()

    async def connect() -> None:
        print("connecting")
        await gort.sleep(0.001)

    async def request() -> None:
        await once.do(connect)

    async with gort.Group() as group:
        for _ in range(3):
            group.go(request)
    print("three requests, one connection")


if __name__ == "__main__":
    gort.run(main)
