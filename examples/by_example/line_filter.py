"""A filter: from standard input to standard output, line by line. Each read waits without stopping other goroutines."""

import gort
from gort import os


async def main() -> None:
    async with await os.open(0, "rb", closefd=False) as stdin:
        async for line in stdin:
            print(line.decode().strip().upper())


if __name__ == "__main__":
    gort.run(main)
