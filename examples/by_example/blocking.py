"""A call that blocks its thread stops one goroutine. The others go on.

In asyncio `time.sleep` would stop everything. Here the scheduler sees that the thread is blocked, and gives the right to
run goroutines to another thread.
"""

import time

import gort


async def sleeper(done: gort.Chan[None]) -> None:
    time.sleep(0.5)  # blocks this thread
    done.close()


async def main() -> None:
    done = gort.Chan[None]()
    gort.go(sleeper, done)
    ticks = 0
    while not done.closed:
        await gort.sleep(0.005)
        ticks += 1
    print("the ticks went on" if ticks > 3 else "it stopped everything")


if __name__ == "__main__":
    gort.run(main)
