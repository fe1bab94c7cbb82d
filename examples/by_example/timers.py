"""A Timer sends the time on its channel once. `stop()` says whether it came in time to prevent that."""

import gort


async def main() -> None:
    first = gort.Timer(0.002)
    await first.c.recv()
    print("first: fired")
    second = gort.Timer(3600)
    print("second: stopped in time" if second.stop() else "second: had fired")
    print("second: stopped again" if second.stop() else "second: nothing to stop")
    second.reset(0.002)
    await second.c.recv()
    print("second: fired after a reset")


if __name__ == "__main__":
    gort.run(main)
