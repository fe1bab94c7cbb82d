"""What the live page costs a program while somebody looks: processor time, of a program with many goroutines.

    python scripts/page_cost.py [--goroutines 100000] [--seconds 30]

The program's goroutines wait, in four ways, and none of them runs.  Printed is what the process uses, as a part of one
processor, without a reader of the page's events and with one; what of that the threads use that there are for the reader
alone; and how long the first look and a later one take and how large they are.  GORT_PURE=1 measures the uncompiled core.

What does not live here: what it costs when nobody looks (scripts/instructions.py).
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = """
import gort, sys
from gort import debug

async def receives(ch):
    await ch.recv()

async def sends(ch):
    await ch.send(1)

async def locks(mu):
    async with mu:
        pass

async def sleeps():
    await gort.sleep(3600)

async def main():
    ch, mu = gort.Chan(), gort.sync.Mutex()
    await mu.lock()
    for n in range(int(sys.argv[1]) // 4):
        gort.go(receives, gort.Chan())
        gort.go(sends, ch)
        gort.go(locks, mu)
        gort.go(sleeps)
    await gort.sleep(1)
    print(debug.serve().url, flush=True)
    await gort.sleep(3600)

gort.run(main, procs=1)
"""


def used(pid: int) -> dict[str, float]:
    """The seconds of processor time that each thread of a process has used."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found[task.name] = int((task / "schedstat").read_text().split()[0]) / 1e9
        except OSError:
            continue  # it has ended
    return found


def looks(address: str, seconds: float, seen: Callable[[], None]) -> list[tuple[dict[str, Any], int]]:
    """The looks that come in this time, each with its size in bytes.  Calls seen() at each."""
    split = urlsplit(address)
    connection = http.client.HTTPConnection("127.0.0.1", split.port, timeout=120)
    connection.request("GET", f"/events?{split.query}")
    answer = connection.getresponse()
    found = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        line = answer.readline()
        if line.startswith(b"data: "):
            seen()
            found.append((json.loads(line[6:]), len(line)))
    connection.close()
    return found


def share(marks: list[tuple[float, dict[str, float]]], tids: Iterable[str] | None = None) -> float:
    """The part of a processor that these threads, or all, have used from the first mark to the last: with looks, from one
    to another."""
    (began, before), (ended, after) = marks[0], marks[-1]
    return sum(ns - before.get(tid, 0.0) for tid, ns in after.items() if tids is None or tid in tids) / (ended - began)


def main() -> None:
    parser = argparse.ArgumentParser(description="What the live page costs a program while somebody looks.")
    parser.add_argument("--goroutines", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=30.0, help="for each of the two measurements")
    options = parser.parse_args()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(options.goroutines)],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        if not re.match(r"http://127\.0\.0\.1:", address):
            sys.exit("page_cost: the program has not begun")
        idle = [(time.monotonic(), used(process.pid))]
        time.sleep(options.seconds)
        idle.append((time.monotonic(), used(process.pid)))
        marks: list[tuple[float, dict[str, float]]] = []
        found = looks(address, options.seconds, lambda: marks.append((time.monotonic(), used(process.pid))))
    finally:
        process.kill()
        process.wait()
    mine = marks[0][1].keys() - idle[1][1].keys()
    print(f"nobody looks: {share(idle) * 100:.2f} % of a processor")
    print(f"somebody looks: {share(marks) * 100:.2f} %, of which the reader's threads {share(marks, mine) * 100:.2f} %")
    for what, (look, size) in (("first", found[0]), ("last", found[-1])):
        print(f"{what} look: {look['goroutines']} goroutines, {look['took_ns'] / 1e6:.1f} ms, {size / 1e3:.1f} kB")
    print(f"{len(found)} looks in {options.seconds:.0f} s")


if __name__ == "__main__":
    main()
