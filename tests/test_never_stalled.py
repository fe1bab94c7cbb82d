"""One goroutine that blocks its thread or computes for long does not stall the others.

No test here measures a time. A call that blocks ends only when the others have gone on meanwhile, so a runtime that does
not hand its Ps on makes it wait for ever, and one that does passes however slow the machine is. How soon sysmon hands a
P on is tests/test_sysmon.py's, in virtual time; how late others are is the benchmarks' business.
"""

from __future__ import annotations

import os
import select
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import gort
from gort import runtime
from gort._runtime.core import handoff
from gort._runtime.watch import sysmon
from support import PATIENCE_S, command, environment, gort_cli, os_threads, python, until

Run = Callable[..., Any]


class Gate:
    """Closed until open() is called, on any thread; then all that wait at it go on."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.reader, self.writer = os.pipe()

    def open(self) -> None:
        self.event.set()
        os.write(self.writer, b"x")  # stays in the pipe, so every reader of it is woken

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)

    # The ways to wait, each in plain code that no scheduler sees coming. They say whether the gate was opened.

    def in_a_system_call(self) -> bool:
        return bool(select.select([self.reader], [], [], PATIENCE_S)[0])

    def in_a_child(self) -> bool:
        code = "import select; select.select([0], [], [])"
        subprocess.run([sys.executable, "-S", "-c", code], check=True, stdin=self.reader, timeout=PATIENCE_S)
        return self.event.is_set()

    def computing(self) -> bool:
        end = time.monotonic() + PATIENCE_S
        while not self.event.is_set() and time.monotonic() < end:
            pass
        return self.event.is_set()

    def in_short_sleeps(self) -> bool:
        end = time.monotonic() + PATIENCE_S
        while not self.event.is_set() and time.monotonic() < end:
            time.sleep(0.02)
        return self.event.is_set()

    def at_an_event(self) -> bool:
        return self.event.wait(PATIENCE_S)


WAYS = [Gate.in_a_system_call, Gate.in_a_child, Gate.computing, Gate.in_short_sleeps, Gate.at_an_event]


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.close()


@pytest.mark.parametrize("wait", WAYS, ids=lambda f: f.__name__)
def test_tickers_go_on_while_others_block(run: Run, procs: int, gate: Gate, wait: Callable[[Gate], bool]) -> None:
    """More goroutines than there are Ps wait in plain `async def` code for ticks that the others have still to make."""
    inside: list[None] = []
    ticks: list[None] = []  # append: several threads keep these books

    async def tick() -> None:
        while not gate.event.is_set():
            await gort.sleep(0.001)
            if len(inside) == procs + 2:  # only what comes about while all of them wait counts
                ticks.append(None)
            if len(ticks) == 200:
                gate.open()

    async def stalls() -> bool:
        inside.append(None)
        return wait(gate)

    async def main() -> list[bool]:
        async with gort.Group() as group:
            for _ in range(20):
                group.go(tick)
            handles = [group.go(stalls) for _ in range(procs + 2)]
        return [h.result() for h in handles]

    assert run(main) == [True] * (procs + 2)


def test_a_call_is_noticed_right_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """sysmon sleeps deeply while nothing runs; somebody who takes a P wakes it.  Here its deep sleep has no end of its
    own."""
    slept: list[None] = []
    may_sleep = handoff.sysmon_may_sleep

    def counted(s: Any) -> bool:
        if answer := may_sleep(s):
            slept.append(None)
        return bool(answer)

    monkeypatch.setattr(handoff, "sysmon_may_sleep", counted)
    monkeypatch.setattr(sysmon, "IDLE_NS", 10**9 * 3600)

    async def main() -> None:
        for _ in range(3):
            before = len(slept)
            while len(slept) == before:
                await gort.sleep(0.02)  # everybody sleeps, sysmon as well
            release = threading.Event()
            gort.go(release.set)
            assert release.wait(PATIENCE_S)

    gort.run(main, procs=1)


def test_main_may_block_too(run: Run, gate: Gate) -> None:
    """main sits in a call; the others run meanwhile, and end it."""

    async def other() -> None:
        for _ in range(20):
            await gort.sleep(0.001)
        gate.open()

    async def main() -> bool:
        gort.go(other)
        return gate.in_a_system_call()

    assert run(main)


def test_many_computing_goroutines_need_few_threads(run: Run) -> None:
    """Two hundred goroutines that compute without an await: not two hundred threads."""

    async def computes(most: list[int]) -> None:
        end = time.monotonic() + 0.02
        while time.monotonic() < end:
            pass
        most.append(os_threads())

    before = os_threads()

    async def main() -> int:
        most: list[int] = []
        async with gort.Group() as group:
            for _ in range(200):
                group.go(computes, most)
        return max(most)

    assert run(main) - before < 40


def test_thread_affine_object_across_awaits(run: Run) -> None:
    """A sqlite3 connection refuses other threads; lock_os_thread keeps its goroutine on one."""

    async def uses() -> int:
        runtime.lock_os_thread()
        try:
            db = sqlite3.connect(":memory:")
            db.execute("create table t (n integer)")
            for i in range(50):
                db.execute("insert into t values (?)", (i,))
                await gort.gosched()
                if i % 10 == 0:
                    time.sleep(0.015)  # long enough for its P to be handed on
            (total,) = db.execute("select sum(n) from t").fetchone()
            db.close()
            return int(total)
        finally:
            runtime.unlock_os_thread()

    async def main() -> list[int]:
        async with gort.Group() as group:
            handles = [group.go(uses) for _ in range(4)]
        return [h.result() for h in handles]

    assert run(main) == [sum(range(50))] * 4


def test_blocked_goroutines_do_not_keep_the_process(tmp_path: Path) -> None:
    """main returns while goroutines sit in calls for an hour: the process ends now, with main's status."""
    file = tmp_path / "prog.py"
    file.write_text(
        "import time, gort\n"
        "inside = []\n"
        "def call():\n    inside.append(1)\n    time.sleep(3600)\n"
        "async def blocks():\n    call()\n"
        "async def explicit():\n    await gort.blocking(call)\n"
        "async def main():\n"
        "    for f in (blocks, call, explicit): gort.go(f)\n"
        "    while len(inside) < 3: await gort.sleep(0.001)\n"
        "    print('main is done')\n"
    )
    done = gort_cli("run", str(file))  # its time limit is far less than an hour
    assert (done.returncode, done.stdout) == (0, "main is done\n"), done.stderr
    assert done.stderr == ""


def test_run_again_while_an_old_call_still_blocks(run: Run) -> None:
    """A thread left in a call by one program does not disturb the next, and ends with its call."""
    inside = threading.Event()
    release = threading.Event()

    def sits() -> None:
        inside.set()
        release.wait(PATIENCE_S)

    async def leaves() -> str:
        gort.go(sits)
        await until(inside.is_set)
        return "left"

    async def fine() -> str:
        await gort.sleep(0.001)
        return "fine"

    assert run(leaves) == "left"
    for _ in range(3):
        assert run(fine) == "fine"
    release.set()


def test_sigquit_dumps_all_goroutines(tmp_path: Path) -> None:
    """As Go does: SIGQUIT, every goroutine's stack, exit status 2."""
    file = tmp_path / "prog.py"
    file.write_text(
        "import gort\n"
        "async def waiter(ch):\n    await ch.recv()\n"
        "async def tells():\n"  # once both wait, as the runtime's own dump has it
        "    while True:\n"
        "        text = gort.runtime.stack(all=True)\n"
        "        if '[chan receive]:' in text and 'goroutine 1 [sleep]:' in text: break\n"
        "        await gort.sleep(0.001)\n"
        "    print('ready', flush=True)\n"
        "async def main():\n    gort.go(waiter, gort.Chan())\n    gort.go(tells)\n    await gort.sleep(3600)\n"
    )
    pipe = subprocess.PIPE
    process = subprocess.Popen(command("run", str(file)), stdout=pipe, stderr=pipe, text=True, env=environment())
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, signal.SIGQUIT)
        _, err = process.communicate(timeout=PATIENCE_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert process.returncode == 2, err
    assert "SIGQUIT" in err
    assert "[chan receive]:" in err
    assert "goroutine 1 [sleep]:" in err


def test_fork_in_a_goroutine() -> None:
    """The child has no half of a runtime: it can run a program of its own, and exit."""
    code = """
import os, sys, gort
async def small():
    await gort.sleep(0.001)
    return 5
async def main():
    gort.go(small)
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(gort.run(small))
        except RuntimeError as exc:
            os._exit(6 if "fork" in str(exc) else 7)
    return os.waitstatus_to_exitcode(await gort.blocking(lambda: os.waitpid(pid, 0)[1]))
print(gort.run(main))
"""
    done = python("import warnings; warnings.simplefilter('ignore')\n" + code)
    assert done.stdout.strip() in ("5", "6"), (done.stdout, done.stderr)


@pytest.mark.parametrize("how", ["epoll", "poll"])
def test_a_child_closes_a_descriptor_and_its_parent_reads_on(how: str) -> None:
    """Both have the same epoll: the child takes nothing out of it."""
    code = """
import os, gort
from gort import net
async def main():
    ln = await net.listen("tcp", "127.0.0.1:0")
    got = gort.Chan(1)
    here = await net.dial("tcp", str(ln.addr))
    there = await ln.accept()
    async def read():
        await got.send(await there.read(10))
    gort.go(read)
    while "[IO wait" not in gort.runtime.stack(all=True):
        await gort.gosched()
    pid = os.fork()
    if pid == 0:
        there.close()
        os._exit(0)
    os.waitpid(pid, 0)
    await here.write(b"on")
    name, *value = await gort.select(read=got.recv(), late=gort.sleep(10))
    print(name)
    there.close()
    here.close()
    ln.close()
gort.run(main)
"""
    code = "import warnings; warnings.simplefilter('ignore')\n" + code
    done = python(code, env=environment(GODEBUG=f"netpoll={how}"))
    assert done.stdout == "read\n", done.stderr


def test_multiprocessing_spawn_from_a_goroutine(tmp_path: Path) -> None:
    code = """
import multiprocessing, gort
def square(n):
    return n * n
async def main():
    def pool():
        with multiprocessing.get_context("spawn").Pool(2) as p:
            return p.map(square, range(5))
    return await gort.blocking(pool)
if __name__ == "__main__":
    print(gort.run(main))
"""
    file = tmp_path / "spawning.py"
    file.write_text(code)
    command = [sys.executable, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env=environment())
    assert done.stdout == "[0, 1, 4, 9, 16]\n", done.stderr


def test_a_process_without_descriptors_is_watched_all_the_same() -> None:
    """sysmon imports what it reports with when it first takes a P, which may be when no file can be opened."""
    done = python(
        """
import gort, os, resource, select
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
r, w = os.pipe()
async def other():
    for _ in range(10):
        await gort.sleep(0.005)
    os.write(w, b"x")
async def main():
    fds = []
    try:
        while True:
            fds.append(os.open("/dev/null", 0))
    except OSError:
        pass
    gort.go(other)
    print(bool(select.select([r], [], [], 200)[0]))  # ends when the others have gone on
    for fd in fds:
        os.close(fd)
gort.run(main, procs=1)
"""
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
