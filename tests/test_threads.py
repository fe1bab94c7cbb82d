"""Threads are bounded, started again where the system gave none, and used again."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gort
import gort.net
from gort import runtime
from gort._runtime.core import handoff, idle, newosproc, rest, runtime2
from gort._runtime.core.runtime2 import Note
from gort._runtime.sched import proc
from gort._runtime.watch import sysmon
from support import PATIENCE_S, dose, gort_cli, python, settles, until

Run = Callable[..., Any]


# --- maxmcount -----------------------------------------------------------------------------------


def program(tmp_path: Path, body: str) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "program.py"
    file.write_text(
        "import time, threading, gort\nfrom gort import runtime\n"
        "async def blocks():\n    time.sleep(3600)\n"
        "async def locks():\n    runtime.lock_os_thread()\n    await gort.sleep(3600)\n"
        "async def calls():\n    await gort.blocking(time.sleep, 3600)\n"
        f"async def main():\n{body}"
    )
    return gort_cli("run", str(file))


@pytest.mark.parametrize("what", ["blocks", "locks", "calls"])
def test_the_limit_ends_the_program(tmp_path: Path, what: str) -> None:
    """Go's message, the stacks of all goroutines, status 2; whatever the threads are for."""
    done = program(
        tmp_path,
        f"    print(runtime.set_max_threads(6), flush=True)\n    for _ in range(20): gort.go({what})\n"
        "    await gort.sleep(3600)\n    print('still there')\n",
    )
    assert (done.returncode, done.stdout) == (2, "10000\n"), done.stderr
    assert done.stderr.startswith(
        "runtime: program exceeds 6-thread limit\nfatal error: thread exhaustion\n\ngoroutine "
    )
    assert f"main.{what}(...)" in done.stderr


def test_a_limit_below_what_is_there(tmp_path: Path) -> None:
    """As in Go it is not waited for the next thread: sysmon's and main's are two."""
    done = program(tmp_path, "    runtime.set_max_threads(1)\n    print('still there')\n")
    assert (done.returncode, done.stdout) == (2, "")
    assert "runtime: program exceeds 1-thread limit\n" in done.stderr


def test_below_the_limit_nothing_happens(run1: Run) -> None:
    """It counts threads, not goroutines; it is this program's, and the next has the default."""

    async def sleeps() -> None:
        await gort.sleep(0.001)

    async def main() -> tuple[int, int]:
        first = runtime.set_max_threads(8)
        async with gort.Group() as group:
            for _ in range(100):
                group.go(sleeps)
        return first, runtime.set_max_threads(1 << 40)

    async def limit() -> tuple[int, int]:
        return runtime.set_max_threads(1 << 40), runtime.set_max_threads(10)

    assert run1(main) == (10000, 8)
    assert run1(limit) == (10000, 0x7FFFFFFF)


def test_bad_limits(run1: Run) -> None:
    with pytest.raises(RuntimeError, match="outside a goroutine"):
        runtime.set_max_threads(5)

    async def main() -> None:
        with pytest.raises(ValueError, match="at least 1"):
            runtime.set_max_threads(0)
        with pytest.raises(TypeError, match="int, not str"):
            runtime.set_max_threads("5")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="not bool"):
            runtime.set_max_threads(True)

    run1(main)


# --- no more threads -----------------------------------------------------------------------------


class NoThreads:
    """While `on`, the system gives no thread to an M."""

    def __init__(self) -> None:
        self.on = False
        self.refused = 0

    def start(self, thread: threading.Thread, start: Callable[[threading.Thread], None]) -> None:
        if self.on and thread.name.startswith("gort-m"):
            self.refused += 1
            raise RuntimeError("can't start new thread")
        start(thread)


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> NoThreads:
    control = NoThreads()
    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda thread: control.start(thread, start))
    return control


def what_is_said(capfd: pytest.CaptureFixture[str]) -> str:
    """All of stderr, once it ends with a whole line.  The program may end before the thread that was refused another,
    perhaps sysmon's, has said so."""
    err: list[str] = []

    def said() -> bool:
        err.append(capfd.readouterr().err)
        return "".join(err).endswith("\n")

    assert settles(said)
    return "".join(err)


def test_without_more_threads_the_program_goes_on(
    run: Run, no_threads: NoThreads, capfd: pytest.CaptureFixture[str]
) -> None:
    """Blocking calls then hold up the others; nothing is lost, and it is said once."""
    no_threads.on = True

    async def blocks(out: gort.Chan[int], i: int) -> None:
        time.sleep(0.002)
        await gort.blocking(time.sleep, 0.002)
        await out.send(i)

    async def main() -> list[int]:
        out: gort.Chan[int] = gort.Chan()
        for i in range(50):
            gort.go(blocks, out, i)
        await gort.sleep(0.01)
        return [await out.recv() for _ in range(50)]

    assert sorted(run(main)) == list(range(50))
    assert no_threads.refused > 0
    err = what_is_said(capfd)
    assert "gort: cannot start another thread (can't start new thread); going on with 1," in err
    assert err.count("\n") == 1


@pytest.mark.skipif(runtime.compiled, reason="asks for the uncompiled core's notes")
def test_it_is_said_though_two_threads_are_refused_another_at_once(
    no_threads: NoThreads, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both then saw a count of two, and took themselves for the second."""
    wakeup = Note.wakeup

    def wakes(note: Note) -> None:
        caller = sys._getframe(1)
        if caller.f_code.co_name == "unlaunch" and no_threads.refused == 1:
            caller.f_locals["s"].nmstartfailed += 1  # the other thread's refusal
        wakeup(note)

    async def other() -> None:
        pass

    async def main() -> None:
        gort.go(other)  # wakes a thread for the idle P
        await until(lambda: no_threads.refused > 0)

    monkeypatch.setattr(Note, "wakeup", wakes)
    no_threads.on = True
    gort.run(main, procs=2)
    assert what_is_said(capfd).count("cannot start another thread") == 1


def test_it_is_tried_again(run: Run, no_threads: NoThreads, capfd: pytest.CaptureFixture[str]) -> None:
    """main blocks its thread until others have run, and they can run as soon as there are threads again."""
    no_threads.on = True
    done = threading.Event()

    async def other() -> None:
        await gort.sleep(0.001)
        done.set()

    async def main() -> bool:
        gort.go(other)

        def lift() -> None:
            while not no_threads.refused:
                time.sleep(0.001)
            no_threads.on = False

        threading.Thread(target=lift, name="lifts the limit").start()
        return done.wait(PATIENCE_S)

    assert run(main)
    assert what_is_said(capfd).count("cannot start another thread") == 1


def test_not_even_sysmon(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """Then gort.run raises, says what to look at, and leaves nothing."""

    def refuses(*of_anything: object) -> int:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        raise AssertionError("must not run")

    monkeypatch.setattr("gort._runtime.watch.sysmon.start_new_thread", refuses)
    with pytest.raises(RuntimeError, match="ulimit -u"):
        gort.run(main, procs=1)


@pytest.mark.parametrize("error", ["RuntimeError", "PermissionError", "KeyError"])
def test_an_audit_hook_that_refuses_threads(error: str) -> None:
    """Whatever it raises, the program goes on with the threads that it has."""
    done = python(
        f"""
import sys, threading, gort

def hook(event, args):
    if event.startswith("_thread.start_") and refuses:
        if wanted:
            asked.set()
        raise {error}("no more")

async def blocks():
    assert asked.wait(60)  # until the runtime has asked for a thread

async def main():
    refuses.append(1)
    try:
        threading.Thread(target=print, args=("not asked",)).start()
        asked.set()
    except {error}:
        pass
    wanted.append(1)
    async with gort.Group() as group:
        for _ in range(5):
            group.go(blocks)
    refuses.clear()
    print("over")

refuses, wanted, asked = [], [], threading.Event()
sys.addaudithook(hook)
gort.run(main, procs=1)
"""
    )
    if "not asked" in done.stdout:
        pytest.skip("this CPython asks no audit hook before it starts a thread")
    assert (done.returncode, done.stdout) == (0, "over\n"), done.stderr
    assert done.stderr.startswith("gort: cannot start another thread (")


def test_a_real_limit() -> None:
    """The address space is bounded so that no thread's stack fits any more (RLIMIT_NPROC does not bind root)."""
    done = python(
        """
import resource, threading, time, gort

async def blocks(i):
    time.sleep(0.005)
    return await gort.blocking(lambda: i)

async def main():
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    threading.stack_size(4 << 30)
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), resource.RLIM_INFINITY))
    try:
        threading.Thread(target=print).start()
    except RuntimeError:
        print("limited")
    async with gort.Group() as group:
        handles = [group.go(blocks, i) for i in range(30)]
    print(sorted(h.result() for h in handles) == list(range(30)))

gort.run(main, procs=1)
"""
    )
    assert (done.returncode, done.stdout) == (0, "limited\nTrue\n"), done.stderr
    assert re.fullmatch(r"gort: cannot start another thread \(.*\); going on with 1, .*\n", done.stderr)


# --- threads are used again ----------------------------------------------------------------------


def threads_ever() -> int:
    stats = runtime.stats()
    return stats["threads"] + stats["threads_ended"]


def test_a_locked_goroutine_that_is_alone_needs_no_other_thread(run1: Run) -> None:
    """It waits for a timer, a descriptor, itself: its own thread polls, and nobody takes its P meanwhile."""

    async def main() -> int:
        runtime.lock_os_thread()
        for _ in range(3):
            await gort.sleep(0.001)
            await gort.gosched()
        async with await gort.net.listen("tcp", "127.0.0.1:0") as listener:
            with socket.create_connection(("127.0.0.1", listener.addr.port)) as client:
                async with await listener.accept() as conn:
                    for _ in range(3):
                        await conn.write(b"x")
                        conn.set_read_deadline(0.001)
                        with pytest.raises(TimeoutError):
                            await conn.read(1)
                    conn.set_read_deadline(None)
                    client.send(b"yy")
                    assert await conn.read(2) == b"yy"
        return threads_ever()

    assert run1(main) == 1


def test_what_a_locked_goroutine_s_thread_finds_runs_elsewhere(run1: Run) -> None:
    """Its thread polls, and finds the timers of others; they go on in another thread, and it in its own."""

    async def main() -> tuple[set[int], set[int]]:
        mine: set[int] = set()
        others: set[int] = set()

        async def other() -> None:
            for _ in range(20):
                await gort.sleep(0.001)
                others.add(threading.get_ident())

        runtime.lock_os_thread()
        async with gort.Group() as group:
            for _ in range(3):
                group.go(other)
            for _ in range(30):
                await gort.sleep(0.0007)
                mine.add(threading.get_ident())
        return mine, others

    mine, others = run1(main)
    assert len(mine) == 1
    assert mine.isdisjoint(others)


@pytest.mark.parametrize("procs", [1, 2, 4])
def test_locked_goroutines_pass_a_value_around(procs: int) -> None:
    """Several threads that are locked hand each other Ps, while they look for work themselves."""
    n = dose(300)

    async def main() -> int:
        ring = [gort.Chan[int]() for _ in range(4)]

        async def link(i: int) -> int:
            runtime.lock_os_thread()
            here = threading.get_ident()
            for k in range(n):
                v = await ring[i].recv()
                if k % 8 == i:
                    await gort.sleep(0.0001)
                assert threading.get_ident() == here
                if v < 4 * n:
                    await ring[(i + 1) % 4].send(v + 1)
            return n

        async with gort.Group() as group:
            handles = [group.go(link, i) for i in range(4)]
            await ring[0].send(1)
        return sum(h.result() for h in handles)

    assert gort.run(main, procs=procs) == 4 * n


def test_a_locked_goroutine_that_has_lost_its_p_waits_for_a_descriptor_itself() -> None:
    """sysmon has handed its P on, and nobody needs that any more: its thread takes it again and polls."""

    async def main() -> bool:
        runtime.lock_os_thread()
        m = runtime2.current_m()
        s = m.sched
        async with await gort.net.listen("tcp", "127.0.0.1:0") as listener:
            with socket.create_connection(("127.0.0.1", listener.addr.port)) as client:
                async with await listener.accept() as conn:
                    ran: list[bool] = []
                    over = threading.Event()
                    polled: list[bool] = []

                    def send() -> None:
                        over.wait(PATIENCE_S)
                        polled.append(settles(lambda: s.npolling == 1))
                        client.send(b"x")

                    sender = threading.Thread(target=send)
                    sender.start()
                    gort.go(ran.append, True)
                    began = time.monotonic()
                    while not (ran and s.npidle == 1) and time.monotonic() - began < PATIENCE_S:
                        pass  # computes, and then without a P
                    over.set()
                    await conn.read(1)
                    sender.join()
                    return polled == [True]

    assert gort.run(main, procs=1)


@pytest.mark.skipif(runtime.compiled, reason="goes on in the middle of the uncompiled core's steps")
def test_a_locked_goroutine_is_handed_over_with_the_p_that_its_thread_has_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread comes to wait for it only then, and must not take that P for one that it has to hand on."""
    schedule_locked = proc.schedule_locked
    waits = threading.Event()
    owned: list[bool] = []

    def late(m: Any) -> Any:
        lost = m.p
        if m.curg is not None or lost is None or lost.mid == m.id or owned:
            return schedule_locked(m)
        waits.set()
        assert settles(lambda: m.nextp is lost)
        g = schedule_locked(m)
        owned.append(m.p is lost and lost.mid == m.id)
        return g

    monkeypatch.setattr(proc, "schedule_locked", late)

    async def main() -> None:
        ch = gort.Chan[int]()

        async def other() -> None:
            waits.wait(PATIENCE_S)
            await ch.send(1)

        runtime.lock_os_thread()
        m = runtime2.current_m()
        gort.go(other)
        began = time.monotonic()
        while m.p.mid == m.id and time.monotonic() - began < PATIENCE_S:
            pass  # computes: sysmon hands the P on
        await ch.recv()

    gort.run(main, procs=1)
    assert owned == [True]


def test_blocking_calls_use_the_same_threads(run1: Run) -> None:
    """One call after the other needs one thread more than Ps, five at a time five more, however often.

    A thread makes its goroutine runnable before it is idle itself; where the machine stops it between the two, the next
    call finds it missing and starts another. So up to twice as many are allowed: that a thread is stopped there is not
    ruled out, that it stays there while others run whole turns is. Without reuse it would be one a call.
    """

    async def together(barrier: threading.Barrier) -> None:
        await gort.blocking(barrier.wait, PATIENCE_S)

    async def main() -> None:
        for _ in range(300):
            await gort.blocking(int)
        assert threads_ever() <= 2 * 3
        for _ in range(60):
            barrier = threading.Barrier(5)
            async with gort.Group() as group:
                for _ in range(5):
                    group.go(together, barrier)  # only together can they end
        assert threads_ever() <= 2 * 8

    run1(main)


def test_every_blocking_call_is_counted() -> None:
    """Also those that begin at the same moment on different threads."""
    calls = 2500

    async def main() -> int:
        async def work() -> None:
            for _ in range(calls):
                await gort.blocking(int)

        async with gort.Group() as group:
            for _ in range(8):
                group.go(work)
        return runtime.stats()["blocking_calls"]

    assert gort.run(main, procs=8) == 8 * calls


def test_blocked_goroutines_use_the_same_threads(run: Run, procs: int) -> None:
    """Threads whose goroutine lost its P in a call go back to the idle ones, and are what the next hand-off takes.  Some
    may still be on their way there, and others be started for them: but not six a turn."""

    async def blocks(inside: list[int], release: threading.Event) -> None:
        inside.append(1)
        release.wait(PATIENCE_S)

    async def turn_of_six() -> None:
        inside: list[int] = []
        release = threading.Event()
        async with gort.Group() as group:
            for _ in range(6):
                group.go(blocks, inside, release)
            await until(lambda: len(inside) == 6)
            release.set()

    async def main() -> int:
        first = 0
        for turn in range(10):
            await turn_of_six()
            if turn == 1:
                first = threads_ever()
        return threads_ever() - first

    assert run(main) <= 6 + procs


@pytest.mark.parametrize("procs", [1, 2])
def test_idle_threads_end_and_new_ones_come(monkeypatch: pytest.MonkeyPatch, procs: int) -> None:
    """Those of thirty calls end once nothing needs them, m0 does not; later calls get threads; a deadlock is found."""
    monkeypatch.setenv("GODEBUG", os.environ["GODEBUG"] + ",idlethreads=1")
    calls = 30
    asked = 0  # how many threads sysmon has told to end
    endidle = idle.endidle

    def counted(s: Any, most: int) -> int:
        nonlocal asked
        n = endidle(s, most)
        asked += n
        return n

    monkeypatch.setattr(sysmon, "endidle", counted)

    async def burst() -> None:
        there, there_too = os.pipe()
        inside = []

        async def call() -> None:
            inside.append(1)
            await gort.blocking(os.read, there, 1)

        async with gort.Group() as group:
            for _ in range(calls):
                group.go(call)
            await until(lambda: len(inside) == calls and runtime.stats()["threads"] >= calls)
            os.write(there_too, bytes(calls))
        os.close(there)
        os.close(there_too)

    async def main() -> None:
        for again in range(2):
            await burst()
            await until(lambda: runtime.stats()["threads"] <= procs + sysmon.KEPT + 2)
            ended = runtime.stats()["threads_ended"]
            assert ended >= (again + 1) * (calls - procs - sysmon.KEPT - 2)
            await until(lambda: runtime.stats()["threads_ended"] == asked)  # once told, a thread ends
        await gort.Chan[int]().recv()  # nobody sends

    with pytest.raises(gort.Deadlock):
        gort.run(main, procs=procs)


def test_a_thread_that_has_run_its_m_is_not_taken_back() -> None:
    """At the end of a program an M that is leaving may be handed one more P.  Its thread took itself for one that had
    found no memory to begin."""
    taken_back: list[BaseException] = []

    class LeavingM:
        nextp: object = "a P"
        thread: Any = None
        sched: Any = None

    def mstart(m: LeavingM) -> None:
        m.nextp = None
        m.thread.began = True
        m.nextp = "another P"

    m = LeavingM()
    newosproc.newosproc("gort-leaving", mstart, m, lambda m, exc: taken_back.append(exc))
    newosproc.join(m.thread, time.monotonic_ns() + int(PATIENCE_S * 1e9))
    assert taken_back == []


@pytest.mark.skipif(runtime.compiled, reason="asks for the uncompiled core's notes")
def test_a_thread_that_does_not_sleep_after_all_wakes_whom_it_was_to_wake() -> None:
    """What an M that hands its P on leaves for its sleep (rest.py)."""
    me, other = handoff.allocm(None), handoff.allocm(None)
    me.towake = other.park
    rest.flush(me)
    assert other.park.sleep(0)
    assert (me.defers, me.towake) == (False, None)
    me.towake = other.park
    me.park.wakeup()
    rest.rest(me)  # it was woken before it slept
    assert other.park.sleep(0)
    assert me.towake is None
