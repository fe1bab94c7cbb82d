"""Counts the words of text files on all processors: `python examples/wordcount.py FILE… [--nodes N]`.

Each node reads its part of a file by itself; only the counts travel.  It needs the extra `cluster` of gort.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter

import gort
from gort import cluster

PART = 1 << 22  # bytes of a file that are counted at a time


def count(part: tuple[str, int]) -> Counter[bytes]:
    """The words of the lines that begin in one part of a file: (its path, where the part begins)."""
    path, start = part
    words: Counter[bytes] = Counter()
    with open(path, "rb") as f:
        if start:
            f.seek(start - 1)
            f.readline()  # the line that began in the part before
        while f.tell() < start + PART and (line := f.readline()):
            words.update(line.lower().split())
    return words


async def main() -> None:
    parser = argparse.ArgumentParser(description="Count the words of text files on all processors.")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--nodes", type=int, help="how many (default: one for each CPU)")
    args = parser.parse_args()
    parts = [(os.path.abspath(path), at) for path in args.files for at in range(0, os.path.getsize(path), PART)]
    total: Counter[bytes] = Counter()
    async with cluster.connect("local", nodes=args.nodes) as c:
        for words in await c.map(count, parts, chunk=1):
            total.update(words)
    for word, n in sorted(total.items(), key=lambda item: (-item[1], item[0]))[:10]:
        print(n, word.decode(errors="replace"))


if __name__ == "__main__":
    gort.run(main)
