"""Dumps of many goroutines count those that are equal; who holds what others wait for; and `gort dump PID` asks a running
program for its dump."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import gort
from gort import runtime
from gort._runtime.core import runtime2, traceback
from gort._runtime.watch import dumps
from gort.sync import Mutex, RWMutex, WaitGroup
from support import GIL, PATIENCE_S, TRAFFIC, dose, environment, gort_cli, parked, python, until

Run = Callable[..., Any]


def sched() -> Any:
    return runtime2.current_m().sched


def blocks(text: str) -> dict[str, str]:
    """The parts of a dump, by the first of its user's functions."""
    return {part.partition("(...)")[0].rpartition("\n")[2]: part for part in text.split("\n\n")}


async def receive(ch: gort.Chan[None]) -> None:
    await ch.recv_ok()


async def deeper(ch: gort.Chan[None], n: int) -> None:
    await (deeper(ch, n - 1) if n else receive(ch))


async def take(mu: Any) -> None:
    await mu.lock()
    mu.unlock()


@pytest.mark.parametrize("size", [50, 51, 1000])
def test_above_fifty_goroutines_those_that_are_equal_are_counted(run: Run, size: int) -> None:
    """One block for each kind: how many, their state, the first numbers, what they wait for, the stack, the creator."""

    async def main() -> str:
        ch: gort.Chan[None] = gort.Chan(3)
        for i in range(size - 1):  # with main that makes `size`
            if i % 2:
                gort.go(receive, ch)
            else:
                gort.go(deeper, ch, 2)
        await parked(size - 1, "chan receive")
        text = traceback.dump(sched(), None, group=True)
        ch.close()
        return text

    text = run(main)
    if size <= 50:
        assert text.count("goroutine ") - text.count("in goroutine ") == size
        return
    deep, flat = (size - 1) // 2 + (size - 1) % 2, (size - 1) // 2
    assert text.startswith(f"{size} goroutines of 3 kinds:\n\ngoroutine 1 [running]:\n")
    kinds = {part.count("deeper(...)"): part for part in text.split("\n\n") if "receive(...)" in part}
    assert set(kinds) == {0, 3}
    for n, count in ((0, flat), (3, deep)):
        head, *lines = kinds[n].splitlines()
        assert head.startswith(f"{count} goroutines [chan receive]: ")
        assert head.endswith(", …")
        assert len(head.partition("]: ")[2].split(", ")) == 6
        assert any(
            line.startswith(f"{count} wait for channel 0x") and line.endswith(", 0 of 3 values") for line in lines
        )
        assert sum(line.startswith("created by ") for line in lines) == 1
        assert "in goroutine" not in kinds[n]


def test_a_hundred_thousand_goroutines_take_a_few_lines(run: Run) -> None:
    """Whatever their number, the dump is as long as there are kinds."""
    size = 100_000 if runtime.compiled else 5_000

    async def main() -> str:
        ch: gort.Chan[None] = gort.Chan()
        for _ in range(size):
            gort.go(receive, ch)
        while f"\n{size} goroutines [chan receive]: " not in (text := traceback.dump(sched(), None, group=True)):
            await gort.gosched()
        ch.close()
        return text

    assert len(run(main)) < 1000


def test_the_public_way_shows_the_caller_first(run: Run) -> None:
    async def main() -> tuple[str, str]:
        ch: gort.Chan[None] = gort.Chan()
        for _ in range(60):
            gort.go(receive, ch)
        await parked(60, "chan receive")
        grouped, each = runtime.stack(all=True, group=True), runtime.stack(all=True)
        ch.close()
        return grouped, each

    grouped, each = run(main)
    assert grouped.startswith("goroutine 1 [running]:\n")
    assert "\n60 goroutines [chan receive]: " in grouped
    assert each.count("[chan receive]:") == 60


def test_goroutines_that_have_not_begun_and_those_that_run_are_counted_too() -> None:
    """A plain function before its first step, one that computes on another thread, one in a call."""

    async def main() -> str:
        ends = gort.Chan[None]()
        inside: gort.Chan[None] = gort.Chan(60)

        def calls() -> None:
            inside.try_send(None)
            gort.wait(ends.recv_ok())

        for _ in range(60):
            gort.go(calls)
        for _ in range(60):
            await inside.recv()
        text = ""
        while "\n60 goroutines [" not in text:
            await gort.gosched()
            text = traceback.dump(sched(), None, group=True)
        ends.close()
        return text

    if runtime.compiled:
        assert "calls(...)" in gort.run(main, procs=2)
    else:
        gort.run(main, procs=2)


def test_a_wait_of_a_minute_and_more_is_told_as_go_does(run: Run) -> None:
    """`[chan receive, 5 minutes]`; the group has the longest."""

    async def main() -> tuple[str, str]:
        ch: gort.Chan[None] = gort.Chan()
        for _ in range(60):
            gort.go(receive, ch)
        await parked(60, "chan receive")
        gs = [g for g in sched().allgs if g.status == runtime2._Gwaiting and not g.system]
        assert all(0 < g.waitsince <= runtime2.clock() for g in gs)
        for i, g in enumerate(gs):
            g.waitsince = runtime2.clock() - i * 5_000_000_000 - 1
        each, grouped = traceback.dump(sched()), traceback.dump(sched(), None, group=True)
        ch.close()
        return each, grouped

    each, grouped = run(main)
    assert each.count("[chan receive]:") == 12
    assert [each.count(f"[chan receive, {n} minutes]:") for n in (1, 2, 3, 4, 5)] == [12, 12, 12, 12, 0]
    assert "\n60 goroutines [chan receive, 4 minutes]: " in grouped
    longest = re.search(r"\nthe longest has waited for ([\d.]+) s\n", grouped)
    assert longest is not None
    assert 295.0 <= float(longest[1]) < 300.0  # the dumps themselves take some of it on a busy machine


def test_each_run_of_a_goroutine_counts(run: Run) -> None:
    """G.nrun tells whether a goroutine has run between two looks."""

    async def main() -> None:
        g = runtime2.current_m().curg
        before = g.nrun
        for _ in range(10):
            await gort.gosched()
        assert g.nrun == before + 10

    run(main)


# ---- who holds what others wait for -----------------------------------------------------------------------------------


def waits_for(text: str, function: str) -> str:
    """What the goroutine in this function waits for, as a dump tells."""
    found = [part for part in text.split("\n\n") if f".{function}(...)" in part.replace(".<locals>", "")]
    assert len(found) == 1, text
    return found[0].partition("waits for ")[2].partition("\n")[0]


def test_the_holder_of_a_mutex_is_named(run: Run) -> None:
    """Whoever got it by lock, by try_lock, by a handover from its holder, or as a case of select."""

    async def waiter(mu: Mutex) -> None:
        await mu.lock()

    async def second(mu: Mutex, go_on: gort.Chan[None], how: str) -> None:
        if how == "select":
            await gort.select(mu.lock(), gort.Chan[None]().recv())
        else:
            await mu.lock()
        await go_on.recv_ok()

    async def main(how: str) -> tuple[str, int]:
        mu, go_on = Mutex(), gort.Chan[None]()
        if how == "try_lock":
            assert mu.try_lock()
        else:
            await mu.lock()
        holder = 1
        if how in ("handover", "select"):
            gort.go(second, mu, go_on, how)
            reason = "sync.Mutex.Lock" if how == "handover" else "select"
            await parked(1, reason)
            if how == "select":  # its helper waits in the queue of the mutex
                await until(lambda: any(g.waitop is not None and g.waitop.c is mu for g in sched().allgs))
            g = next(g for g in sched().allgs if g.goid > 1 and not g.system and g.status == runtime2._Gwaiting)
            holder = g.goid
            mu.unlock()
            await parked(1, "chan receive")
        gort.go(waiter, mu)
        await parked(1, "sync.Mutex.Lock")
        text = waits_for(traceback.dump(sched()), "waiter")
        assert "waits for" not in traceback.dump(sched()).replace(f"waits for {text}", "")
        mu.unlock()
        go_on.close()
        return text, holder

    for how in ("lock", "try_lock", "handover", "select"):
        text, holder = run(main, how)
        assert text.startswith("Mutex 0x"), how
        assert text.endswith(f", held by goroutine {holder}"), how


def test_the_writer_of_an_rwmutex_is_named(run: Run) -> None:
    """The one that has the lock; and the one that waits for readers to leave, for whom others wait meanwhile."""

    async def reader(rw: RWMutex) -> None:
        async with rw.reader():
            pass

    async def writer(rw: RWMutex) -> None:
        async with rw:
            pass

    async def main() -> tuple[str, str, int]:
        rw = RWMutex()
        await rw.lock()
        gort.go(reader, rw)
        await parked(1, "sync.RWMutex.RLock")
        held = waits_for(traceback.dump(sched()), "reader")
        rw.unlock()
        await until(lambda: runtime.num_goroutine() == 1)
        await rw.rlock()
        gort.go(writer, rw)
        await parked(1, "sync.RWMutex.Lock")
        number = next(g.goid for g in sched().allgs if g.status == runtime2._Gwaiting and not g.system)
        gort.go(reader, rw)
        await parked(1, "sync.RWMutex.RLock")
        pending = waits_for(traceback.dump(sched()), "reader")
        rw.runlock()
        return held, pending, number

    held, pending, number = run(main)
    assert held.endswith(", held by goroutine 1")
    assert pending.endswith(f", held by 1 reader, goroutine {number} waits to write")


def test_a_group_says_what_most_of_its_goroutines_wait_for(run: Run) -> None:
    """The objects for which a tenth or more of them wait; how many wait for others."""

    async def main() -> str:
        mu = Mutex()
        await mu.lock()
        others = [Mutex() for _ in range(20)]
        for other in others:
            await other.lock()
        for i in range(100):
            gort.go(take, mu if i % 5 else others[i // 5])
        await parked(100, "sync.Mutex.Lock")
        text = traceback.dump(sched(), None, group=True)
        for each in (mu, *others):
            each.unlock()
        return text

    text = run(main)
    part = blocks(text)[next(name for name in blocks(text) if name.endswith("take"))]
    assert "\n80 wait for Mutex 0x" in part
    assert "\n20 wait for various objects\n" in part


def test_a_wait_group_and_a_semaphore_say_their_state(run: Run) -> None:
    async def waits(wg: WaitGroup) -> None:
        await wg.wait()

    async def acquires(sem: gort.sync.Semaphore) -> None:
        await sem.acquire(2)

    async def main() -> str:
        wg, sem = WaitGroup(), gort.sync.Semaphore(3)
        wg.add(7)
        await sem.acquire(2)
        for _ in range(60):
            gort.go(waits, wg)
            gort.go(acquires, sem)
        await parked(60, "sync.WaitGroup.Wait")
        await parked(60, "semacquire")
        text = traceback.dump(sched(), None, group=True)
        wg.add(-7)
        sem.release(2)
        return text

    text = run(main)
    assert ", counter 7\n" in text
    assert ", 1 of 3 permits free\n" in text


GROUPED = (
    TRAFFIC
    + """

    async def locks(mu, rw):
        while not over:
            async with mu, rw.reader():
                await gort.gosched()

    mu, rw = gort.sync.Mutex(), gort.sync.RWMutex()
    wg = gort.sync.WaitGroup()
    for _ in range(20):
        ch = gort.Chan()
        wg.go(receiver, ch)
        wg.go(sender, ch)
        wg.go(locks, mu, rw)
    for _ in range(int(sys.argv[1])):
        text = gort.runtime.stack(all=True, group=True)
        first = text.partition(" goroutines of ")[0].rpartition("\\n")[2]
        assert int(first) == 60, text
    over.append(True)
    await wg.wait()

gort.run(main, procs=4)
print("whole")
"""
)


def test_a_census_leaves_goroutines_whole_that_run_meanwhile() -> None:
    """As test_mn has it for the dump of each goroutine: nothing that is read is freed or lost."""
    done = python(GROUPED, str(dose(2000 if runtime.compiled else 100)))
    assert (done.returncode, done.stdout, done.stderr) == (0, "whole\n", "")


# ---- gort dump PID ----------------------------------------------------------------------------------------------------

SERVES = """
import gort, sys, time

async def waits(ch): await ch.recv()

def stuck(): time.sleep(3600)

def computes():
    while True: pass

async def main():
    ch = gort.Chan()
    for _ in range(int(sys.argv[1])): gort.go(waits, ch)
    gort.go({"stuck": stuck, "computes": computes}.get(sys.argv[2], gort.gosched)) if len(sys.argv) > 2 else None
    await gort.gosched()
    print("ready", flush=True)
    if sys.argv[2:] == ["main"]: stuck()
    await gort.sleep(3600)

gort.run(main)
"""


@contextmanager
def started(code: str, *args: str) -> Iterator[subprocess.Popen[str]]:
    """A program that has printed its first line."""
    full = [sys.executable, "-c", code, *args]
    process = subprocess.Popen(full, stdout=subprocess.PIPE, text=True, env=environment())
    assert process.stdout is not None
    with process, process.stdout:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def test_a_running_program_is_asked_and_goes_on() -> None:
    """Twice, grouped and each by itself; then it still runs, and nothing is left in the folder."""
    with started(SERVES, "80") as process:
        for option, count in (((), 1), (("--each",), 80), ((), 1)):
            done = gort_cli("dump", *option, str(process.pid))
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.count("main.waits(...)") == count
            assert "goroutine 1 [sleep]" in done.stdout
        assert process.poll() is None
        folder = Path(dumps.folder(os.geteuid()))
        assert [f.name for f in folder.iterdir() if f.name.startswith(f"{process.pid}.")] == []


@pytest.mark.parametrize("how", ["stuck", "computes", "main"])
def test_a_program_whose_threads_are_busy_answers(how: str) -> None:
    """sysmon makes the dump: it waits for no goroutine and no processor."""
    with started(SERVES, "1", how) as process:
        done = gort_cli("dump", "--timeout", str(PATIENCE_S), str(process.pid))
        assert (done.returncode, done.stderr) == (0, "")
        # The uncompiled core cannot stop a thread without the GIL: of a coroutine that runs it knows the function.
        hidden = how == "main" and not GIL and not gort.runtime.compiled
        assert f"main.{'main' if hidden else 'stuck' if how == 'main' else how}(...)" in done.stdout


def test_another_process_is_left_alone() -> None:
    """One that runs no gort program, or is not there."""
    with started("import time; print('ready', flush=True); time.sleep(3600)") as process:
        done = gort_cli("dump", str(process.pid))
        assert done.returncode == 1
        assert done.stderr.startswith(f"gort dump: process {process.pid} runs no gort program in its main thread")
        assert len(done.stderr.splitlines()) == 1
        assert process.poll() is None
    done = gort_cli("dump", str(process.pid))
    assert done.returncode == 1
    assert done.stderr == f"gort dump: there is no process {process.pid}\n"


IN_A_THREAD = """
import gort, threading, time
async def waits(ch): await ch.recv_ok()
async def main():
    ch = gort.Chan()
    for _ in range(80): gort.go(waits, ch)
    while "80 goroutines [chan receive]" not in gort.runtime.stack(all=True, group=True): await gort.gosched()
    print("ready", flush=True)
    await gort.sleep(3600)
threading.Thread(target=gort.run, args=(main,), daemon=True).start()
while True: time.sleep(0.01)
"""


def test_a_program_that_does_not_run_in_the_main_thread_answers_from_314_on() -> None:
    """Twice; nothing is left in the folders.  Before, and where the system forbids it, the command says why not."""
    with started(IN_A_THREAD) as process:
        for _ in range(2):
            done = gort_cli("dump", "--timeout", str(PATIENCE_S), str(process.pid))
            if sys.version_info < (3, 14):
                assert (done.returncode, done.stdout) == (1, "")
                assert done.stderr == f"gort dump: process {process.pid} runs no gort program in its main thread\n"
            else:
                assert (done.returncode, done.stderr) == (0, "")
                assert "80 goroutines [chan receive]" in done.stdout
                assert "main.waits(...)" in done.stdout
        assert process.poll() is None
        folder = Path(dumps.folder(os.geteuid()))
        assert [f.name for f in folder.iterdir() if f.name.startswith(f"{process.pid}.")] == []


@pytest.mark.skipif(not gort.runtime.compiled, reason="the uncompiled core makes an object for each frame")
def test_a_dump_makes_no_object_for_each_goroutine(run: Run) -> None:
    """An object that CPython makes for a frame stays as long as the frame, and takes longer than all the rest."""
    size = 2000

    async def main() -> int:
        ch: gort.Chan[None] = gort.Chan()
        for _ in range(size):
            gort.go(deeper, ch, 2)
        await parked(size, "chan receive")
        runtime.stack(all=True, group=True)  # it imports
        other: gort.Chan[None] = gort.Chan()
        for _ in range(size):
            gort.go(deeper, other, 2)
        await parked(2 * size, "chan receive")
        before = sys.getallocatedblocks()
        runtime.stack(all=True, group=True)
        after = sys.getallocatedblocks()
        ch.close()
        other.close()
        return after - before

    assert run(main) < size


def test_a_program_that_does_not_answer_is_told_of() -> None:
    """It catches SIGURG, but is no program of gort's."""
    code = "import signal, time; signal.signal(signal.SIGURG, print); print('ready', flush=True)"
    code += "\nwhile True: time.sleep(9)"
    with started(code) as process:
        done = gort_cli("dump", "--timeout", "0.2", str(process.pid))
        assert done.returncode == 1
        assert f"process {process.pid} has not answered in 0.2 s" in done.stderr


def test_a_folder_that_others_may_enter_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by the command nor by the program: what is asked there may be another user's wish."""
    monkeypatch.setattr(dumps, "folder", lambda uid: str(tmp_path / "gort"))
    (tmp_path / "gort").mkdir(mode=0o700)
    ask = tmp_path / "gort" / f"{os.getpid()}.ask"
    answer = tmp_path / "gort" / f"{os.getpid()}.dump"
    for mode, answers in ((0o755, False), (0o770, False), (0o700, True)):
        (tmp_path / "gort").chmod(mode)
        ask.write_bytes(b"")
        dumps.answer([])
        assert answer.exists() == answers, oct(mode)
        assert ask.exists() != answers
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "gort")
    assert not dumps.is_private(str(link), os.geteuid())
    assert not dumps.is_private(str(tmp_path / "gort"), os.geteuid() + 1)


def test_sigurg_alone_asks_for_nothing() -> None:
    """A program that gets the signal for another reason goes on, and writes nothing."""
    with started(SERVES, "1") as process:
        for _ in range(20):
            process.send_signal(signal.SIGURG)
        done = gort_cli("dump", str(process.pid))
        assert done.returncode == 0
        assert process.poll() is None
