"""Digests a directory tree on the nodes of a cluster: the pipeline of digest.py, with channels between processes.

    python examples/digest_cluster.py [DIRECTORY] [--nodes N] [--jobs N] [--ray ADDRESS]

The walker runs here, and sends paths; --jobs digesters on each node receive paths and send results; main collects.  The
combined digest is the one that digest.py prints.  A line says how long the nodes took to start, and how long the work
took: with --jobs 1 each node uses one processor.  All nodes must see the tree under the same name.  If a digester fails,
or its node dies, the group cancels all others, and the program ends with that error.  It needs the extra `cluster`.
"""

from __future__ import annotations

import argparse
import os
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))  # the nodes get this path too
from digest import Result, Total, combined_digest, digest_files, list_directory

import gort
from gort import cluster

BATCH = 32  # files in a message: more than in digest.py, for it goes to another process; few enough to share evenly
UNDER_WAY = 16  # batches in each channel


async def walk(root: str, skip: str, paths: Any) -> None:
    """Sends the tree's files in batches, without those under `skip`."""
    pending, batch = [root], []
    while pending:
        files, directories = await gort.blocking(list_directory, pending.pop())
        pending.extend(d for d in reversed(directories) if d != skip)
        batch += files
        while len(batch) >= BATCH or (batch and not pending):
            await paths.send(batch[:BATCH])
            del batch[:BATCH]
    paths.close()


async def digest(paths: Any, results: Any) -> None:
    """On a node: digests batches until there are no more."""
    async for batch in paths:
        await results.send(await gort.blocking(digest_files, batch))


async def digest_tree(c: Any, root: str, skip: str, jobs: int) -> Total:
    """The whole pipeline.  Raises an ExceptionGroup with what failed, after everything has stopped."""
    paths, results = c.Chan(UNDER_WAY), c.Chan(UNDER_WAY, prefetch=UNDER_WAY)
    total = Total()

    async def collect() -> None:
        batch: list[Result]
        async for batch in results:
            total.results += batch
            total.size += sum(result.size for result in batch)

    async def work() -> None:
        async with c.Group() as digesters:
            for _ in range(jobs * len(c.nodes)):
                digesters.go(digest, paths, results)
        results.close()

    async with gort.Group() as g:
        g.go(walk, root, skip, paths)
        g.go(work)
        g.go(collect)
    total.results.sort(key=lambda result: result.path)
    return total


async def main() -> None:
    parser = argparse.ArgumentParser(description="Digest a directory tree on the nodes of a cluster.")
    parser.add_argument("directory", nargs="?", help="default: the standard library, without its site-packages")
    parser.add_argument("--nodes", type=int, help="how many (default: one for each CPU)")
    parser.add_argument("--jobs", type=int, default=2, help="digesters on each node")
    parser.add_argument("--ray", metavar="ADDRESS", help="on this Ray cluster, instead of subprocesses")
    args = parser.parse_args()
    directory, skip = args.directory, ""
    if directory is None:  # as digest.py
        directory = sysconfig.get_path("stdlib")
        skip = os.path.join(directory, "site-packages")
    options = {"address": args.ray} if args.ray else {}
    begin = time.monotonic()
    async with cluster.connect("ray" if args.ray else "local", nodes=args.nodes, **options) as c:
        up = time.monotonic()
        total = await digest_tree(c, directory, skip, args.jobs)
        print(total.line())
        start, work = up - begin, time.monotonic() - up
        print(f"{args.jobs} digesters on each of {len(c.nodes)}: started in {start:.2f} s, at work for {work:.2f} s")
    print(f"combined digest {combined_digest(total, directory)}")


if __name__ == "__main__":
    gort.run(main)
