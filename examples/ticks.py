"""The first program: one goroutine blocks its thread, and the other ticks on.  The README shows it."""

import time

import gort


async def ticker() -> None:
    for n in range(4):
        print("tick", n)
        await gort.sleep(0.1)


async def main() -> None:
    gort.go(ticker)
    time.sleep(0.5)  # blocks this thread, not the ticker
    print("main is awake")


gort.run(main)
