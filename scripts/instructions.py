"""Counts the instructions that one step of the core's commonest operations costs, under valgrind.

    python scripts/instructions.py                          the core that this interpreter imports
    python scripts/instructions.py --against TREE [--only yield,spawn]

TREE is another checkout, built for the same interpreter; then the last column is the ratio of this checkout to it. A
count hardly differs from run to run, on a busy machine either, so it shows a change of one per mille, which times do not.
Each operation runs in loops of two lengths, each in a process of its own; the difference, divided by that of the lengths,
is free of the start and the end. GORT_PURE=1 counts the uncompiled core.

sysmon goes by the clock, so its thread executes more instructions the slower the machine is: those are left out, but for
"start", where they belong to the operation. Now and then sysmon also interferes with the others (it asks for the GIL, or
takes a P whose thread gets no CPU), which adds some: each is counted three times, and the smallest counts.

What does not live here: times (`gort bench`), and where the instructions go (callgrind_annotate, perf).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LENGTHS = (2_000, 12_000)

# Each has a coroutine function `main(n)` that does n steps.
PROGRAMS = {
    "yield": """
async def main(n):
    for _ in range(n):
        await gort.gosched()
""",
    "spawn": """
async def nothing():
    pass

async def main(n):
    for _ in range(n // 100):
        for _ in range(100):
            gort.go(nothing)
        await gort.gosched()
        await gort.gosched()
""",
    "ping-pong": """
async def pong(a, b, n):
    for _ in range(n):
        await b.send(await a.recv())

async def main(n):
    a, b = gort.Chan(), gort.Chan()
    gort.go(pong, a, b, n)
    for i in range(n):
        await a.send(i)
        await b.recv()
""",
    "buffered": """
async def feed(ch, n):
    for i in range(n):
        await ch.send(i)
    ch.close()

async def main(n):
    ch = gort.Chan(128)
    gort.go(feed, ch, n)
    async for _ in ch:
        pass
""",
    "select": """
async def feed(ch, n):
    for i in range(n):
        await ch.send(i)

async def main(n):
    a, b = gort.Chan(), gort.Chan()
    gort.go(feed, a, n // 2)
    gort.go(feed, b, n // 2)
    for _ in range(n):
        await gort.select(a.recv(), b.recv())
""",
    "mutex": """
import gort.sync

async def worker(mu, n):
    for _ in range(n):
        await mu.lock()
        await gort.gosched()
        mu.unlock()

async def main(n):
    mu = gort.sync.Mutex()
    async with gort.Group() as group:
        group.go(worker, mu, n // 2)
        group.go(worker, mu, n // 2)
""",
    "timer": """
async def main(n):
    for _ in range(n):
        gort.after_func(60, print).stop()
""",
    "start": None,
}


def program(name: str, n: int) -> str:
    text = PROGRAMS[name]
    # The same random numbers in each run, for select. GODEBUG=seed would draw the order of goroutines too.
    begin = "import gort, os\nos.urandom = bytes([7]).__mul__\n"
    if text is None:  # n starts of a runtime: a step is a boot and an end
        return f"{begin}async def main():\n    pass\nfor _ in range({n // 100}):\n    gort.run(main, procs=1)\n"
    return f"{begin}{text}\ngort.run(main, {n}, procs=1)\n"


def instructions(source: Path, code: str, sysmon: bool) -> int:
    """How many instructions a program executes, as valgrind counts them; with or without those of sysmon's thread."""
    environment = os.environ | {"PYTHONPATH": str(source), "PYTHONHASHSEED": "0"}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        command = ["valgrind", "--tool=callgrind", "--separate-threads=yes", f"--callgrind-out-file={out}"]
        done = subprocess.run(
            [*command, sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
        threads = sorted(Path(folder).glob("out-*"))  # one file each, in the order in which they were started
        if done.returncode != 0 or len(threads) < 2:
            sys.exit(f"instructions: the program failed (status {done.returncode}):\n{done.stderr[-3000:]}")
        counts = [int(re.findall(r"^totals: (\d+)", file.read_text(), re.M)[-1]) for file in threads]
    return sum(counts) if sysmon else sum(counts) - counts[1]  # a program starts sysmon first of all


def step(source: Path, name: str, rounds: int) -> float:
    start = PROGRAMS[name] is None
    short, long = (min(instructions(source, program(name, n), start) for _ in range(rounds)) for n in LENGTHS)
    steps = LENGTHS[1] - LENGTHS[0]
    return (long - short) / (steps / 100 if start else steps)


def main() -> None:
    parser = argparse.ArgumentParser(description="Instructions for each step of the core's commonest operations.")
    parser.add_argument("--against", type=Path, metavar="TREE", help="another built checkout, to compare with")
    parser.add_argument("--only", default=",".join(PROGRAMS), help="names, separated by commas")
    parser.add_argument("--rounds", type=int, default=3, help="counts for each length (default 3)")
    options = parser.parse_args()
    names = options.only.split(",")
    unknown = [n for n in names if n not in PROGRAMS]
    if unknown:
        parser.error(f"no such operation: {', '.join(unknown)}; there are {', '.join(PROGRAMS)}")
    if shutil.which("valgrind") is None:
        parser.error("valgrind is needed (Debian's package has that name)")
    if options.against is not None and not (options.against / "src" / "gort").is_dir():
        parser.error(f"{options.against} is no checkout of gort: it has no src/gort")
    print(f"{'operation':12}{'here':>12}" + (f"{'there':>12}{'ratio':>8}" if options.against else ""))
    for name in names:
        here = step(ROOT / "src", name, options.rounds)
        line = f"{name:12}{here:12,.0f}"
        if options.against is not None:
            there = step(options.against / "src", name, options.rounds)
            line += f"{there:12,.0f}{here / there:8.3f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
