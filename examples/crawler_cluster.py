"""A crawler of one site on the nodes of a cluster, with one frontier for all of them.

    python examples/crawler_cluster.py 127.0.0.1:8000 / --nodes 2 --at-once 8

The frontier is a channel of paths.  On each node --at-once goroutines take paths from it, fetch the pages, and send back
what these link to; a path whose node dies in the middle is handed out again.  Only this process knows what has been seen,
so no lock is needed.  Prints each page once, with its status and size.  It needs h11 and the extra `cluster`.
"""

from __future__ import annotations

import argparse
import sys
from collections import deque
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))  # the nodes get this path too
from crawler import links, path_for
from httpd import fetch

import gort
from gort import cluster

UNDER_WAY = 256  # paths in the frontier, and pages on their way back


async def visit(address: str, frontier: Any, visited: Any) -> None:
    """On a node: fetches what the frontier has, until that is closed."""
    while True:
        try:
            async with frontier.take() as path:
                try:
                    status, headers, body = await fetch(address, path)
                except (OSError, ValueError) as e:  # one page that cannot be had
                    await visited.send((path, None, 0, str(e)))
                    continue
                is_page = status == 200 and headers.get("content-type", "").startswith("text/html")
                await visited.send((path, status, len(body), links(path, body) if is_page else []))
        except gort.ChannelClosed:
            return


async def crawl(c: Any, address: str, start: str, at_once: int) -> dict[str, tuple[int, int]]:
    """Returns {path: (status, size)}.  Raises an ExceptionGroup with gort.ChannelClosed if no node is left."""
    start = path_for(start)
    frontier, visited = c.Chan(UNDER_WAY), c.Chan(UNDER_WAY, prefetch=UNDER_WAY)
    seen = {start}
    waiting = deque(seen)  # paths for which the frontier has had no room yet
    open_paths = 1  # seen, and not visited
    pages: dict[str, tuple[int, int]] = {}
    done: set[str] = set()
    visitors = [c.go(visit, address, frontier, visited, on=node) for node in c.nodes for _ in range(at_once)]

    async def finish() -> None:
        for visitor in visitors:
            try:
                await visitor
            except cluster.NodeDied as e:
                print(e, file=sys.stderr)  # the others do its work, if there are any
        visited.close()

    async with gort.Group() as g:
        g.go(finish)
        while open_paths:
            cases = [visited.recv(), *([frontier.send(waiting[0])] if waiting else [])]
            which, page, _ = await gort.select(*cases)
            if which == 1:
                waiting.popleft()
                continue
            path, status, size, found = page
            if path in done:
                continue  # its node died when it had just sent this
            done.add(path)
            open_paths -= 1
            if status is None:
                print(f"{path}: {found}", file=sys.stderr)
                continue
            pages[path] = (status, size)
            print(f"{status} {size:>8} {path}", flush=True)
            new = [target for target in dict.fromkeys(found) if target not in seen]
            seen.update(new)
            waiting.extend(new)
            open_paths += len(new)
        frontier.close()
    return pages


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("address")
    parser.add_argument("path", nargs="?", default="/")
    parser.add_argument("--nodes", type=int)
    parser.add_argument("--at-once", type=int, default=8, help="pages that each node fetches at a time")
    args = parser.parse_args()
    async with cluster.connect("local", nodes=args.nodes) as c:
        pages = await crawl(c, args.address, args.path, args.at_once)
    print(f"{len(pages)} pages", file=sys.stderr)
    return 0 if pages else 1


if __name__ == "__main__":
    sys.exit(gort.run(main))
