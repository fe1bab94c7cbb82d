"""C21: a debugger follows a goroutine that continues on another thread after an await."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from support import PATIENCE_S, environment, program

PROGRAM = """
import pdb, sys, threading, time
import gort

async def elsewhere():
    here = threading.get_ident()
    while threading.get_ident() == here:
        # Keeps this goroutine's thread busy while it sleeps, so that another one resumes it.
        gort.go(time.sleep, 0.01)
        await gort.sleep(0.005)

async def other():
    while True:
        await gort.sleep(0.001)

async def main():
    gort.go(other)
    {begin}
    await elsewhere()
    first = 1
    await elsewhere()
    second = 2
    {end}
    assert sys.gettrace() is None
    return first + second

print("result", gort.run(main, procs={procs}))
"""


# From 3.14 on pdb's own set_trace watches by sys.monitoring, and only the thread on which it was called.
BEGIN = "pdb.set_trace()" if sys.version_info < (3, 14) else 'pdb.Pdb(backend="settrace").set_trace()'


@pytest.mark.parametrize("procs", [1, 4])
def test_c21_pdb_steps_over_an_await(procs: int, tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(PROGRAM.format(begin=BEGIN, end="pass", procs=procs))
    # Up to 3.12 pdb starts behind set_trace, from then on before it: after this it has passed one await or both.
    commands = "n\nn\nn\nn\np 'seen', first\nc\n"
    done = subprocess.run(
        [sys.executable, str(file)], input=commands, capture_output=True, text=True, timeout=PATIENCE_S,
        env=environment(PYTHONBREAKPOINT=None),
    )  # fmt: skip
    assert "('seen', 1)" in done.stdout, done.stdout + done.stderr
    assert "result 3" in done.stdout, done.stdout + done.stderr


def test_c21_a_trace_function_stays_with_its_goroutine(tmp_path: Path) -> None:
    """It is gone from the other threads when the goroutine has left them, and when it has ended."""
    file = tmp_path / "program.py"
    text = PROGRAM.format(begin="follow()", end="sys.settrace(None)", procs=1)
    follow = textwrap.dedent("""
        lines = []
        def trace(frame, event, arg):
            if frame.f_code.co_name == "main" and event == "line":
                lines.append(threading.get_ident())
            return trace
        def follow():
            frame = sys._getframe(1)
            frame.f_trace = trace
            sys.settrace(trace)
    """)
    file.write_text(
        text.replace("async def elsewhere", follow + "\nasync def elsewhere", 1)
        + "\nassert len(set(lines)) > 1, 'it has not changed its thread'\nassert len(lines) >= 5, lines\n"
    )
    done = subprocess.run(
        [sys.executable, str(file)], capture_output=True, text=True, timeout=PATIENCE_S, env=environment()
    )
    assert (done.returncode, done.stdout) == (0, "result 3\n"), done.stderr


COVERED = """
    from collections import Counter
    lines = Counter()
    def trace(frame, event, arg):
        if event == "line" and frame.f_code.co_name == "counted":
            lines[threading.get_ident()] += 1
        return trace
    def install(frame, event, arg):  # what coverage.py gives new threads
        sys.settrace(trace)
        return trace(frame, event, arg)
    async def counted():
        await gort.gosched()
        await gort.sleep(0)
    async def locked():
        gort.runtime.lock_os_thread()
        for _ in range(5): await counted()
        gort.runtime.unlock_os_thread()
    def plain():
        gort.wait(counted())
    async def main():
        async with gort.Group() as group:
            for _ in range(3): group.go(locked)
            for _ in range(5): group.go(counted)
            for _ in range(4): group.go(plain)
    threading.settrace(install)
    sys.settrace(trace)
    gort.run(main, procs=PROCS)
    sys.settrace(None)
    print(sum(lines.values()), len(lines) >= 3)
"""


@pytest.mark.parametrize("procs", [1, 4])
def test_what_traces_all_threads_sees_each_line_of_each_goroutine(procs: int) -> None:
    """As coverage.py does it: sys.settrace, and threading.settrace for the threads to come.  Each of the 24 calls has two
    lines, on whatever thread each runs."""
    done = program(COVERED.replace("PROCS", str(procs)))
    assert (done.returncode, done.stdout) == (0, "48 True\n"), done.stderr
