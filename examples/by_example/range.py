"""`async for` receives until the channel is closed and empty."""

import gort


async def count(to: int, out: gort.Chan[int]) -> None:
    for n in range(to):
        await out.send(n)
    out.close()


async def main() -> None:
    numbers = gort.Chan[int]()
    gort.go(count, 4, numbers)
    async for n in numbers:
        print(n)


if __name__ == "__main__":
    gort.run(main)
