"""A crawler of one site, with a limit on the pages fetched at a time, and a deadline for the whole.

    gort run examples/crawler.py 127.0.0.1:8000 / --at-once 8 --seconds 10

Prints each page once, with its status and its size in bytes.  The exit status is 1 if the deadline or the limit on pages
came first, or if there was no page at all.  Uses the client of httpd.py, and so needs h11 (pip install h11).
"""

from __future__ import annotations

import argparse
import sys
import urllib.parse
from collections import deque
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import gort

sys.path.insert(0, str(Path(__file__).parent))
from httpd import fetch

PAGE_MAX = 1 << 20  # bytes of a page that are searched for links: a parser in Python takes a second for them


class Links(HTMLParser):
    """Collects the targets of a page's links."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        """Notes the target of an <a href=…>."""
        if tag == "a":
            self.found += [value for name, value in attrs if name == "href" and value]


def links(base: str, page: bytes) -> list[str]:
    """The paths on the same site that a page links to, as a request can have them.  Whatever else a page contains is
    passed over."""
    parser = Links()
    try:
        parser.feed(page[:PAGE_MAX].decode(errors="replace"))
    except (AssertionError, ValueError):
        pass  # the parser gives up at some markup: what was found before counts
    paths = []
    for link in parser.found:
        try:
            target = urllib.parse.urlsplit(urllib.parse.urljoin(f"http://site{base}", link.strip()))
        except ValueError:  # http://[
            continue
        if target.scheme == "http" and target.netloc == "site":
            paths.append(path_for(target.path))
    return paths


def path_for(path: str) -> str:
    """A path as it goes into a request: what may not stand there is escaped, what is escaped already stays."""
    return urllib.parse.quote(path, safe="/%:@!$&'()*+,;=~", errors="replace") or "/"


async def crawl(
    address: str, start: str, at_once: int, seconds: float, at_most: int = 100_000
) -> tuple[dict[str, tuple[int, int]], bool]:
    """Returns ({path: (status, size)}, True if everything was seen in time).

    Goroutines fetch and read pages, on every P, `at_once` at a time.  Only this one knows what has been seen, and prints.
    The others send it what they find, so no lock is needed.  A page may have any number of links: what waits is a path,
    not a goroutine, and after `at_most` paths no new one is taken."""
    start = path_for(start)
    seen = {start}
    waiting = deque(seen)
    running = 0
    complete = True
    pages: dict[str, tuple[int, int]] = {}
    visited: Any = gort.Chan()  # (path, status or None, size, targets or what went wrong)

    async def visit(path: str) -> None:
        try:
            status, headers, body = await fetch(address, path)
        except (OSError, ValueError) as e:  # one page that cannot be had
            await visited.send((path, None, 0, str(e)))
            return
        is_page = status == 200 and headers.get("content-type", "").startswith("text/html")
        await visited.send((path, status, len(body), links(path, body) if is_page else []))

    late = gort.after(seconds)
    async with gort.Group() as group:
        while running or waiting:
            while waiting and running < at_once:
                group.go(visit, waiting.popleft())
                running += 1
            i, page, _ = await gort.select(visited.recv(), late.recv())
            if i == 1:
                group.cancel()
                return pages, False
            running -= 1
            path, status, size, found = page
            if status is None:
                print(f"{path}: {found}", file=sys.stderr)
                continue
            pages[path] = (status, size)
            print(f"{status} {size:>8} {path}", flush=True)
            for target in found:
                if target in seen:
                    continue
                if len(seen) >= at_most:
                    complete = False
                    break
                seen.add(target)
                waiting.append(target)
    return pages, complete


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("address")
    parser.add_argument("path", nargs="?", default="/")
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--pages", type=int, default=100_000)
    args = parser.parse_args()
    pages, complete = await crawl(args.address, args.path, args.at_once, args.seconds, args.pages)
    print(f"{len(pages)} pages", file=sys.stderr)
    return 0 if complete and pages else 1


if __name__ == "__main__":
    sys.exit(gort.run(main))
