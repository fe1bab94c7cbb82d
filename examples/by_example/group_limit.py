"""`Group(limit=n)` runs n members at a time. The others wait for their turn, in the order in which they were given."""

import gort
from gort.sync import Mutex


async def main() -> None:
    mutex = Mutex()
    running = highest = 0

    async def work() -> None:
        nonlocal running, highest
        async with mutex:
            running += 1
            highest = max(highest, running)
        await gort.sleep(0.001)
        async with mutex:
            running -= 1

    async with gort.Group(limit=2) as group:
        for _ in range(6):
            group.go(work)
    print("at most", highest, "at a time")


if __name__ == "__main__":
    gort.run(main)
