"""A program is a file with `async def main()`. `gort run hello.py` runs it, and so does `python hello.py`."""

import gort


async def main() -> None:
    print("hello, world")


if __name__ == "__main__":
    gort.run(main)
