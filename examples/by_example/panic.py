"""An exception that nobody catches, in any goroutine, ends the program: status 2, and a dump of the goroutine."""

import gort


async def fail() -> None:
    raise ValueError("no such page")


async def main() -> None:
    print("before")
    gort.go(fail)
    await gort.sleep(3600)
    print("never")


if __name__ == "__main__":
    gort.run(main)
