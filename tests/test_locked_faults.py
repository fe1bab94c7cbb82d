"""G5: a thread whose goroutine ended while locked to it is ended, not used again: its thread-local state would leak to
strangers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import gort
from gort import runtime
from gort._runtime.core import runtime2
from gort.sync import WaitGroup
from support import settles, until

Run = Callable[..., Any]


async def threads_seen(rounds: int) -> set[int]:
    """The threads on which many goroutines run, some of which block them."""
    seen: set[int] = set()

    def plain() -> None:
        seen.add(threading.get_native_id())
        time.sleep(0.002)
        seen.add(threading.get_native_id())

    wg = WaitGroup()
    for _ in range(rounds):
        wg.go(plain)
    await wg.wait()
    return seen


async def locked(unlock: bool) -> int:
    runtime.lock_os_thread()
    await gort.sleep(0.001)
    if unlock:
        runtime.unlock_os_thread()
    return threading.get_native_id()


async def run_locked(unlock: bool) -> int:
    async with gort.Group() as group:
        h = group.go(locked, unlock)
    return h.result()


def test_g5_its_thread_runs_nobody_else(run: Run) -> None:
    """Whichever thread it is, the main thread or another."""

    async def main() -> str:
        tid = await run_locked(unlock=False)
        assert tid not in await threads_seen(30)
        assert threading.get_native_id() != tid
        return "the program goes on and ends"

    assert run(main) == "the program goes on and ends"


def test_g5_another_thread_than_the_main_one_ends(run: Run) -> None:
    async def main() -> None:
        runtime.lock_os_thread()  # to the main thread, so that the others run elsewhere
        for _ in range(3):
            ended = runtime.stats()["threads_ended"]
            assert await run_locked(unlock=False) != threading.main_thread().native_id
            await until(lambda ended=ended: runtime.stats()["threads_ended"] == ended + 1)  # type: ignore[misc]

    run(main)


def test_g5_one_that_has_unlocked_is_used_again(run: Run) -> None:
    async def main() -> None:
        for _ in range(5):
            await run_locked(unlock=True)
        assert runtime.stats()["threads_ended"] == 0

    run(main)


@pytest.mark.parametrize("how", ["goexit", "panic that is caught", "cancelled"])
def test_g5_however_it_ends(run: Run, how: str) -> None:
    async def member(tid: gort.Chan[int]) -> None:
        runtime.lock_os_thread()
        tid.try_send(threading.get_native_id())
        if how == "goexit":
            runtime.goexit()
        elif how == "cancelled":
            await gort.Chan[int]().recv()
        raise ValueError(how)

    async def main() -> None:
        tid: gort.Chan[int] = gort.Chan(1)
        try:
            async with gort.Group() as group:
                h = group.go(member, tid)
                await until(lambda: len(tid))
                h.cancel()
        except ExceptionGroup:
            assert how.startswith("panic")
        assert await tid.recv() not in await threads_seen(30)

    run(main)


def test_g5_what_is_left_may_be_a_deadlock(run: Run) -> None:
    """The thread that ends was the last that could run anything."""

    async def main() -> None:
        gort.go(locked, False)
        await gort.Chan[int]().recv()

    with pytest.raises(gort.Deadlock):
        run(main)


def test_g5_main_may_end_locked(run: Run) -> None:
    async def main() -> int:
        runtime.lock_os_thread()
        await gort.sleep(0.001)
        return 3

    assert [run(main), run(main)] == [3, 3]


def test_a_wake_up_that_nobody_means_counts_no_thread_twice(run: Run) -> None:
    """Else the program would be told of a deadlock while a call blocks."""

    async def hold(ch: gort.Chan[int]) -> None:
        runtime.lock_os_thread()
        await ch.recv()
        runtime.unlock_os_thread()

    async def main() -> tuple[int, int]:
        s = runtime2.current_m().sched
        ch: gort.Chan[int] = gort.Chan()
        gort.go(hold, ch)
        await until(lambda: s.nmidlelocked == 1)

        def call() -> int:
            woken = [m for m in s.allm if m.idlelocked]
            before = [resource_use(m.procid) for m in woken]
            for m in woken:
                m.park.wakeup()
            while any(resource_use(m.procid) == n for m, n in zip(woken, before, strict=True)):
                time.sleep(0.001)  # until it has gone to sleep again
            time.sleep(0.01)
            settles(lambda: bool(s.nmidlelocked == 1))  # it may have slept on its way there, too
            return int(s.nmidlelocked)

        count = await gort.blocking(call)
        await ch.send(1)
        await until(lambda: s.nmidlelocked == 0)
        return count, s.nmidlelocked

    assert run(main) == (1, 0)


def resource_use(tid: int) -> int:
    """How often a thread has gone to sleep by itself."""
    with open(f"/proc/self/task/{tid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("voluntary_ctxt_switches"))
