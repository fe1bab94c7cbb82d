"""The calls of `gort.os` wait on a thread of their own, so a slow disk stops nobody else."""

import tempfile

import gort
from gort import os


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        await os.write_file(f"{folder}/notes.txt", b"one\ntwo\n")
        await os.copy(f"{folder}/notes.txt", f"{folder}/copy.txt")
        print(sorted(await os.listdir(folder)))
        async with await os.open(f"{folder}/copy.txt") as file:
            async for line in file:
                print(line.strip())


if __name__ == "__main__":
    gort.run(main)
