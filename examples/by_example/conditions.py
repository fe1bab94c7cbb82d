"""A Cond waits until something about the guarded state has changed. Look again each time: others may have been first."""

import gort
from gort.sync import Cond, Mutex, WaitGroup


async def main() -> None:
    mutex = Mutex()
    changed = Cond(mutex)
    stock = 0

    async def buy(n: int) -> None:
        nonlocal stock
        async with mutex:
            while stock < n:
                await changed.wait()
            stock -= n

    buyers = WaitGroup()
    buyers.go(buy, 3)
    buyers.go(buy, 2)
    for _ in range(6):
        async with mutex:
            stock += 1
        changed.broadcast()
    await buyers.wait()
    print("left:", stock)


if __name__ == "__main__":
    gort.run(main)
