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
import time
from collections.abc import Callable
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


def inside() -> None:
    """What is called while a profiler is on."""


def outside() -> None:
    """What is called while it is off."""


def by_nobody() -> None:
    """What is called where no profiler is on."""


async def in_threads(work: Callable[[], None]) -> None:
    """Calls it TIMES times in each of N threads at once: M's, which the others' calls keep busy."""
    together = threading.Barrier(N)

    def call() -> None:
        together.wait(PATIENCE_S)
        for _ in range(TIMES):
            work()

    async with gort.Group() as group:
        for _ in range(N):
            group.go(gort.blocking, call)


def counted(profiler: cProfile.Profile, name: str) -> int:
    """How often the function `name` was called; 0 if it is not in the profile."""
    return sum(each.callcount for each in profiler.getstats() if getattr(each.code, "co_name", "") == name)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="there disable() switches all threads off")
@pytest.mark.parametrize("elsewhere", [False, True], ids=["its own thread", "another thread"])
def test_a_profiler_that_a_goroutine_switches_off_counts_no_thread(elsewhere: bool) -> None:
    """And counts again when it is switched on, in the threads that it had."""
    profiler = cProfile.Profile()

    async def switch(what: Callable[[], None]) -> None:
        if elsewhere:
            await gort.blocking(what)
        else:
            what()

    async def main() -> list[int]:
        gort.runtime.lock_os_thread()  # main's thread is that which has called gort.run
        found = []
        await in_threads(inside)
        await switch(profiler.disable)
        await in_threads(outside)
        found.append(counted(profiler, "outside"))
        await switch(profiler.enable)
        await in_threads(inside)
        await switch(profiler.disable)
        await in_threads(outside)
        found.append(counted(profiler, "outside"))
        return found

    profiler.enable()
    try:
        found = gort.run(main)
        assert sys.getprofile() is None
    finally:
        profiler.disable()
    assert found == [0, 0]
    assert counted(profiler, "outside") == 0
    assert counted(profiler, "inside") == 2 * N * TIMES
    profiler.runcall(inside)
    cProfile.Profile.enable(profiler)  # as super().enable() of a class of the program's
    inside()
    cProfile.Profile.disable(profiler)
    assert counted(profiler, "inside") == 2 * N * TIMES + 2


def test_the_profilers_of_threads_that_have_ended_are_dropped() -> None:
    """And their sums are kept."""
    profiler = cProfile.Profile()
    for _ in range(3):
        profiler.enable()
        try:
            gort.run(in_threads, inside)
        finally:
            profiler.disable()
    sums: Any = profiler.__dict__["getstats"]
    end = time.monotonic() + PATIENCE_S
    while sums.others and time.monotonic() < end:
        assert counted(profiler, "inside") == 3 * N * TIMES
        time.sleep(0.01)
    assert sums.others == []
    assert counted(profiler, "inside") == 3 * N * TIMES


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="there a profiler is on in all threads")
def test_two_runs_at_once_are_counted_apart() -> None:
    """Each by its own profiler; and a third by none."""
    profilers = [cProfile.Profile(), cProfile.Profile(), None]
    works = [inside, outside, by_nobody]
    all_on = threading.Barrier(3)

    def one(profiler: cProfile.Profile | None, work: Callable[[], None]) -> None:
        async def main() -> None:
            await gort.blocking(all_on.wait, PATIENCE_S)
            await in_threads(work)
            await gort.blocking(all_on.wait, PATIENCE_S)

        if profiler is None:
            gort.run(main)
            return
        profiler.enable()
        gort.run(main)
        profiler.disable()

    threads = [threading.Thread(target=one, args=each) for each in zip(profilers, works, strict=True)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    names = ("inside", "outside", "by_nobody")
    found = [[counted(each, name) for name in names] for each in profilers if each is not None]
    assert found == [[N * TIMES, 0, 0], [0, N * TIMES, 0]]
    assert threading.getprofile() is None


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
