"""cProfile and coverage.py count the goroutines of all threads."""

from __future__ import annotations

import cProfile
import importlib.util
import json
import os
import pstats
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import gort
from support import PATIENCE_S, SOURCE

N, TIMES = 16, 4
TEXT = f"""
import threading, time
import gort
from gort.sync import WaitGroup

seen = set()

def work(n):
    seen.add(threading.get_ident())
    return len([i * i for i in range(n)])

async def one(wg):
    for _ in range({TIMES}):
        work(100)
        time.sleep(0.002)  # it blocks its thread, and others take over
        await gort.gosched()
    wg.done()

async def blocks():
    await gort.blocking(work, 100)
    time.sleep(0.001)

async def main():
    wg = WaitGroup()
    for _ in range({N}):
        wg.add(1)
        gort.go(one, wg)
    await wg.wait()
    while len(seen) < 2:  # on a busy machine one thread may have done it all
        for _ in range(2):
            gort.go(blocks)
        await gort.sleep(0.001)

if __name__ == "__main__":
    gort.run(main, procs=4)
    print("threads", len(seen) > 1)
"""


def python(*args: object, cwd: Path) -> str:
    """What Python prints that runs with these arguments; gort is found as here."""
    path = os.pathsep.join([str(SOURCE.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *map(str, args)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def calls(stats: Any, name: str) -> tuple[int, float, dict[str, int]]:
    """Of the function `name`: how often it was called, how long it took itself, and how often by which function."""
    [(_, count, own, _, callers)] = [value for key, value in stats.stats.items() if key[2] == name]
    return count, own, {key[2]: value[0] for key, value in callers.items()}


def test_python_m_cprofile_counts_the_goroutines_of_all_threads(tmp_path: Path) -> None:
    """Each call once, with its caller, and the time of each thread apart."""
    program, out = tmp_path / "prog.py", tmp_path / "out"
    program.write_text(TEXT)
    assert "threads True" in python("-m", "cProfile", "-o", out, program, cwd=tmp_path)
    stats = pstats.Stats(str(out))
    count, _, callers = calls(stats, "work")
    assert count >= N * TIMES
    assert callers["one"] == N * TIMES
    assert calls(stats, "one")[0] == N * (TIMES + 1)  # each time it goes on is a call
    count, own, callers = calls(stats, "<built-in method time.sleep>")
    assert callers["one"] == N * TIMES
    assert own > N * TIMES * 0.002


def test_a_profiler_of_the_programs_own(procs: int) -> None:
    """Over two runs; clear() clears all; afterwards nothing of gort's is left."""
    seen: set[int] = set()

    def work() -> None:
        seen.add(threading.get_ident())

    async def one(ch: gort.Chan[None]) -> None:
        work()
        await gort.blocking(work)
        await ch.send(None)

    async def main() -> None:
        ch: gort.Chan[None] = gort.Chan()
        for _ in range(N):
            gort.go(one, ch)
        for _ in range(N):
            await ch.recv()

    profiler = cProfile.Profile()
    profiler.enable()
    gort.run(main, procs=procs)
    gort.run(main, procs=procs)
    profiler.disable()
    assert calls(pstats.Stats(profiler), "work")[0] == 4 * N
    profiler.clear()
    profiler.create_stats()
    assert not [key for key in profiler.stats if key[2] == "work"]  # type: ignore[attr-defined]
    another = cProfile.Profile()
    another.runcall(work)
    assert calls(pstats.Stats(another), "work")[0] == 1
    assert threading.getprofile() is None
    assert sys.getprofile() is None


def test_another_profile_function_is_left_alone() -> None:
    """One of Python's, in this thread."""
    heard: list[str] = []

    async def main() -> int:
        return 5

    def hears(frame: Any, event: str, arg: Any) -> None:
        if event == "call" and frame.f_code is main.__code__:
            heard.append(event)

    sys.setprofile(hears)
    try:
        assert gort.run(main) == 5
        assert sys.getprofile() is hears
    finally:
        sys.setprofile(None)
    assert heard


@pytest.mark.skipif(importlib.util.find_spec("coverage") is None, reason="coverage is not there (pip install coverage)")
@pytest.mark.parametrize("concurrency", ["", pytest.param("--concurrency=thread", marks=pytest.mark.once)])
def test_coverage_counts_the_goroutines_of_all_threads(concurrency: str, tmp_path: Path) -> None:
    """As it is, and with the setting that its manual has for threads."""
    program = tmp_path / "prog.py"
    program.write_text(TEXT)
    options = [concurrency] if concurrency else []
    assert "threads True" in python("-m", "coverage", "run", *options, "--include=prog.py", program, cwd=tmp_path)
    python("-m", "coverage", "json", "-o", "out.json", cwd=tmp_path)
    [file] = json.loads((tmp_path / "out.json").read_text())["files"].values()
    counted = range(TEXT[: TEXT.index("def work")].count("\n") + 1, TEXT[: TEXT.index("async def blocks")].count("\n"))
    assert [number for number in file["missing_lines"] if number in counted] == []
    assert len([number for number in file["executed_lines"] if number in counted]) >= 9
