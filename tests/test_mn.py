"""M:N: goroutines on several threads, migration across an await, stealing, fairness, runnext."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import gort
from gort import runtime
from gort.sync import WaitGroup
from support import GIL, PATIENCE_S, TRAFFIC, dose, keeps_its_p, python, until

Run = Callable[..., Any]


def test_goroutines_are_seen_on_several_threads() -> None:
    """With four Ps, work is spread over more than one thread, and not over more than Ps and a few."""
    threads: set[int] = set()

    async def worker() -> None:
        end = time.monotonic() + PATIENCE_S
        while len(threads) < 2 and time.monotonic() < end:
            threads.add(threading.get_ident())
            await gort.gosched()

    async def main() -> None:
        wg = WaitGroup()
        for _ in range(32):
            wg.go(worker)
        await wg.wait()

    gort.run(main, procs=4)
    assert len(threads) >= 2


def test_a_goroutine_migrates_across_an_await() -> None:
    """One and the same goroutine goes on on another thread after an await."""
    migrated = False

    async def worker() -> None:
        nonlocal migrated
        end = time.monotonic() + PATIENCE_S
        first = threading.get_ident()
        while not migrated and time.monotonic() < end:
            await gort.gosched()
            if threading.get_ident() != first:
                migrated = True

    async def main() -> None:
        wg = WaitGroup()
        for _ in range(16):
            wg.go(worker)
        await wg.wait()

    gort.run(main, procs=4)
    assert migrated


def test_one_p_keeps_to_one_thread_while_nothing_blocks(run1: Run) -> None:
    """procs=1: one goroutine at a time; what they share needs no lock between two awaits."""
    inside = 0
    together = 0

    async def worker() -> None:
        nonlocal inside, together
        for _ in range(200):
            inside += 1
            together = max(together, inside)
            inside -= 1
            await gort.gosched()

    async def main() -> None:
        wg = WaitGroup()
        for _ in range(20):
            wg.go(worker)
        await wg.wait()

    run1(main)
    assert together == 1


def test_a_flood_on_one_p_is_stolen() -> None:
    """All goroutines start on main's P; main never gives way, yet other threads run them."""
    ran: list[int] = []

    async def worker() -> None:
        ran.append(threading.get_ident())

    async def main() -> None:
        for _ in range(200):
            gort.go(worker)
        end = time.monotonic() + PATIENCE_S
        while len(ran) < 199 and time.monotonic() < end:  # runnext is stolen last, and may stay
            time.sleep(0)  # lets go of the GIL, not of the P
        assert threading.get_ident() not in ran

    gort.run(main, procs=4)
    assert len(ran) >= 199


def test_runnext_then_fifo(run1: Run) -> None:
    """The newest goroutine runs first, the ones it displaced in the order of their start."""
    order: list[int] = []

    async def main() -> None:
        wg = WaitGroup()
        for i in range(50):
            wg.go(order.append, i)
        await wg.wait()

    run1(main)
    assert order == [49, *range(49)]


def test_a_readied_goroutine_runs_next(run1: Run) -> None:
    """A value handed over runs its receiver before everything that was queued already."""
    order: list[str] = []

    async def main() -> None:
        ch: gort.Chan[int] = gort.Chan()

        async def receiver() -> None:
            await ch.recv()
            order.append("receiver")

        gort.go(receiver)
        await gort.gosched()
        for _ in range(20):
            gort.go(order.append, "queued")
        await ch.send(1)
        await gort.gosched()

    run1(main)
    assert order[0] == "receiver"
    assert order.count("queued") == 20


def test_every_61st_turn_looks_at_the_global_queue(run1: Run) -> None:
    """A goroutine in the global queue waits for at most 61 turns of a local queue that never runs dry."""
    links = 0
    stop = False

    async def nothing() -> None:
        pass

    async def link() -> None:
        nonlocal links
        if not stop and links < 10_000:
            links += 1
            gort.go(link)  # the next line takes runnext from it: it goes to the tail of the local queue
            gort.go(nothing)

    async def main() -> int:
        nonlocal stop
        gort.go(link)
        await gort.gosched()  # to the global queue
        stop = True
        return links

    assert 1 <= run1(main) <= 62


@pytest.mark.parametrize("procs", [1, 4])
def test_runnext_shares_one_slice_though_sysmon_is_late(procs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goroutines that wake each other for ever let the queue's turn come after a slice, even while sysmon, which ends
    slices, does not get to look."""
    keeps_its_p(monkeypatch)
    turns: list[int] = [0] * 12
    end = time.monotonic() + PATIENCE_S

    async def main() -> None:
        def more() -> bool:
            return min(turns) == 0 and time.monotonic() < end

        async def ping(i: int, a: gort.Chan[int], b: gort.Chan[int]) -> None:
            while more():
                await a.send(0)
                await b.recv()
                turns[i] += 1
            a.close()

        async def pong(a: gort.Chan[int], b: gort.Chan[int]) -> None:
            async for v in a:
                await b.send(v)

        async with gort.Group() as group:
            for i in range(len(turns)):
                a, b = gort.Chan[int](), gort.Chan[int]()
                group.go(pong, a, b)
                group.go(ping, i, a, b)

    gort.run(main, procs=procs)
    assert min(turns) > 0


def test_gosched_goes_behind_everything(run1: Run) -> None:
    """gosched puts the caller behind the local and the global queue."""
    order: list[str] = []

    async def other(name: str) -> None:
        order.append(name)
        await gort.gosched()
        order.append(name)

    async def main() -> None:
        gort.go(other, "a")
        gort.go(other, "b")
        await gort.gosched()
        order.append("main")
        await gort.gosched()
        order.append("main")

    run1(main)
    assert order == ["b", "a", "main", "b", "a", "main"]


def test_more_than_a_local_queue_holds(run: Run) -> None:
    """Ten thousand goroutines at once: each runs exactly once (half a full queue moves to the global one)."""
    counts = [0] * 10_000

    async def worker(i: int) -> None:
        counts[i] += 1

    async def main() -> None:
        wg = WaitGroup()
        for i in range(len(counts)):
            wg.go(worker, i)
        await wg.wait()

    run(main)
    assert counts == [1] * 10_000


def test_plain_functions_are_goroutines(run: Run) -> None:
    """A plain function runs on its thread until it returns; arguments arrive, the result is dropped."""

    async def main() -> list[tuple[Any, ...]]:
        seen: list[tuple[Any, ...]] = []

        def plain(a: int, *, b: int) -> int:
            seen.append((a, b))
            return 5

        gort.go(plain, 1, b=2)
        await until(lambda: seen)
        return seen

    assert run(main) == [(1, 2)]


def test_run_returns_what_main_returns(run: Run) -> None:
    async def main(a: int, b: str) -> tuple[int, str]:
        return a, b

    assert run(main, 1, "x") == (1, "x")


def test_procs_is_gomaxprocs(procs: int, run: Run) -> None:
    async def main() -> int:
        return runtime.gomaxprocs()

    assert run(main) == procs


def test_gomaxprocs_grows_and_shrinks_while_work_goes_on() -> None:
    """Every value arrives once, whatever happens to the Ps."""

    async def main() -> list[int]:
        ch: gort.Chan[int] = gort.Chan(4)
        wg = WaitGroup()

        async def produce(base: int) -> None:
            for i in range(200):
                await ch.send(base + i)

        async def closer() -> None:
            await wg.wait()
            ch.close()

        async def resize() -> None:
            for n in (8, 1, 3, 2, 6, 1, 4) * 3:
                runtime.gomaxprocs(n)
                assert runtime.gomaxprocs() == n
                await gort.gosched()

        for base in range(0, 2000, 200):
            wg.go(produce, base)
        wg.go(resize)
        gort.go(closer)
        return [v async for v in ch]

    assert sorted(gort.run(main, procs=2)) == list(range(2000))


def test_lock_os_thread_keeps_a_goroutine_on_its_thread() -> None:
    """Across many awaits, among others that migrate."""

    async def pinned() -> set[int]:
        runtime.lock_os_thread()
        try:
            seen = set()
            for _ in range(200):
                seen.add(threading.get_ident())
                await gort.gosched()
            return seen
        finally:
            runtime.unlock_os_thread()

    async def noise(stop: list[bool]) -> None:
        while not stop:
            await gort.gosched()

    async def main() -> list[set[int]]:
        stop: list[bool] = []
        for _ in range(6):
            gort.go(noise, stop)
        async with gort.Group() as group:
            handles = [group.go(pinned) for _ in range(3)]
        stop.append(True)
        return [h.result() for h in handles]

    for seen in gort.run(main, procs=4):
        assert len(seen) == 1


@pytest.mark.parametrize("size", [100, 1000])
def test_stack_shows_every_goroutine(run: Run, size: int) -> None:
    """The dump of all goroutines has one head per goroutine, with its wait reason, and main's as running."""

    async def main() -> str:
        ch: gort.Chan[int] = gort.Chan()

        async def waiter() -> None:
            await ch.recv_ok()

        for _ in range(size):
            gort.go(waiter)
        await until(lambda: runtime.stack(all=True).count("[chan receive]:") == size)
        text = str(runtime.stack(all=True))
        ch.close()
        return text

    text = run(main)
    assert text.count("goroutine ") >= size + 1
    assert "goroutine 1 [running]:" in text
    assert text.count("waiter(...)") == size


DUMPS = (
    TRAFFIC
    + """

    async def yields():
        while not over:
            await gort.gosched()

    wg = gort.sync.WaitGroup()
    for _ in range(8):
        ch = gort.Chan()
        wg.go(receiver, ch)
        wg.go(sender, ch)
        wg.go(yields)
    for _ in range(int(sys.argv[1])):
        text = gort.runtime.stack(all=True)
        assert text.count("goroutine ") >= 25, text
    over.append(True)
    await wg.wait()

gort.run(main, procs=4)
print("whole")
"""
)


def test_a_dump_leaves_goroutines_whole_that_run_meanwhile() -> None:
    """Without the GIL a look at a coroutine that starts at this moment freed what it awaits a second time.  In a process
    of its own: it ended by a signal, or with an operation that two goroutines had, or never. With the GIL, where that
    cannot be, a tenth of the dumps shows that they disturb nobody."""
    done = python(DUMPS, str(dose(4000 if runtime.compiled and not GIL else 400)))
    assert (done.returncode, done.stdout, done.stderr) == (0, "whole\n", "")


LOOKS_UP = """
import sys, threading, gort

over = []

def looks_up():
    i = 0
    while not over:
        i += 1
        getattr(looks_up, f"name{i}", None)  # no cache knows this name: the lock of all types is taken

async def main():
    ch = gort.Chan()
    async def waits():
        await ch.recv_ok()
    for _ in range(20):
        gort.go(waits)
    while gort.runtime.stack(all=True).count("[chan receive]") < 20:
        await gort.gosched()
    threads = [threading.Thread(target=looks_up) for _ in range(int(sys.argv[2]))]
    for thread in threads:
        thread.start()
    try:
        for _ in range(int(sys.argv[1])):
            assert gort.runtime.stack(all=True).count("[chan receive]") == 20
    finally:
        over.append(True)
    for thread in threads:
        thread.join()
    ch.close()

gort.run(main, procs=1)
print("whole")
"""


def test_a_dump_waits_for_no_lock_of_a_thread_that_it_has_stopped() -> None:
    """Without the GIL CPython gives a lock on to a thread that waits for it, even to one that is stopped.  A dump that
    then wanted the lock itself, to look up an attribute, never ended."""
    # With the GIL, where the dump waits for each of these threads in turn, few are enough.
    done = python(LOOKS_UP, str(dose(1000 if runtime.compiled and not GIL else 20)), "4" if GIL else "32")
    assert (done.returncode, done.stdout, done.stderr) == (0, "whole\n", "")
