"""`handle.cancel()` raises Cancelled at the member's await. Its `finally` blocks run, and may wait.

Nothing in Go interrupts a goroutine: there it must look at a context or a channel.
"""

import gort


async def work() -> None:
    try:
        await gort.sleep(3600)
    finally:
        await gort.sleep(0.001)
        print("cleaned up")


async def main() -> None:
    async with gort.Group() as group:
        member = group.go(work)
        await gort.sleep(0.01)
        member.cancel()
    print("done:", member.done)


if __name__ == "__main__":
    gort.run(main)
