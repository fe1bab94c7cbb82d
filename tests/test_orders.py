"""gort's own primitives under many orders of their goroutines (gort.testing.explore), with cancellations and timeouts
that come at any operation: nothing is lost, nothing is given twice, nobody waits for ever.

Each program asserts what must hold in every order.  What does not live here: the explorer itself (test_schedules.py); the
order of the core's threads (explore/).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import gort
from gort import context, sync, testing
from support import dose

PROGRAMS: list[Callable[[], Coroutine[Any, Any, None]]] = []


def program(fn: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], Coroutine[Any, Any, None]]:
    """Puts the program among those that are explored."""
    PROGRAMS.append(fn)
    return fn


@program
async def a_cancelled_receiver_loses_no_value() -> None:
    ch: gort.Chan[int] = gort.Chan()
    got: list[int] = []

    async def receives() -> None:
        while True:
            got.append(await ch.recv())

    async with gort.Group() as group:
        first = group.go(receives)
        last = group.go(receives)
        for i in range(4):
            await ch.send(i)
            if i == 1:
                first.cancel()
        last.cancel()
    assert sorted(got) == [0, 1, 2, 3]


@program
async def a_cancelled_sender_has_sent_or_not() -> None:
    ch: gort.Chan[int] = gort.Chan(1)
    sent: list[int] = []

    async def sends(first: int) -> None:
        for i in range(first, first + 3):
            await ch.send(i)
            sent.append(i)

    async with gort.Group() as group:
        senders = [group.go(sends, 10), group.go(sends, 20)]
        got = [await ch.recv() for _ in range(2)]
        for sender in senders:
            sender.cancel()
    while True:
        value, ok = ch.try_recv()
        if not ok:
            break
        got.append(value)
    assert sorted(got) == sorted(sent)


@program
async def a_mutex_excludes_and_outlives_a_cancelled_waiter() -> None:
    mu = sync.Mutex()
    inside = 0

    async def enters() -> None:
        nonlocal inside
        async with mu:
            inside += 1
            try:
                assert inside == 1
                await gort.gosched()
            finally:
                inside -= 1

    async with gort.Group() as group:
        handles = [group.go(enters) for _ in range(3)]
        await gort.gosched()
        handles[1].cancel()
    assert not mu.locked


@program
async def readers_share_and_writers_do_not() -> None:
    mu = sync.RWMutex()
    readers = writers = 0

    async def reads() -> None:
        nonlocal readers
        async with mu.reader():
            readers += 1
            assert writers == 0
            await gort.gosched()
            readers -= 1

    async def writes() -> None:
        nonlocal writers
        async with mu:
            writers += 1
            try:
                assert (readers, writers) == (0, 1)
                await gort.gosched()
            finally:
                writers -= 1

    async with gort.Group() as group:
        group.go(reads)
        waiting = group.go(writes)
        group.go(reads)
        group.go(writes)
        waiting.cancel()


@program
async def a_signal_reaches_who_still_waits() -> None:
    cond = sync.Cond()
    over: gort.Chan[None] = gort.Chan(1)
    full = False
    took: list[str] = []

    async def takes(name: str) -> None:
        nonlocal full
        async with cond:
            while not full:
                await cond.wait()
            full = False
            took.append(name)

    async def first() -> None:
        try:
            await takes("first")
        finally:
            over.try_send(None)

    async with gort.Group() as group:
        cancelled = group.go(first)
        group.go(takes, "second")
        async with cond:
            full = True
            cond.signal()
        cancelled.cancel()
        await over.recv()
        if "first" in took:  # then that signal was the first's, and the second needs one of its own
            async with cond:
                full = True
                cond.signal()
    assert "second" in took


@program
async def a_select_takes_one_case_only() -> None:
    a: gort.Chan[int] = gort.Chan(1)
    b: gort.Chan[int] = gort.Chan(1)

    async def chooses() -> None:
        await gort.select(a.recv(), b.recv())

    async with gort.Group() as group:
        group.go(chooses)
        group.go(a.send, 1)
        group.go(b.send, 2)
    assert len(a) + len(b) == 1


@program
async def a_semaphore_keeps_its_units() -> None:
    units = sync.Semaphore(2)
    used = 0

    async def uses(n: int) -> None:
        nonlocal used
        await units.acquire(n)
        try:
            used += n
            assert used <= 2
            await gort.gosched()
        finally:
            used -= n
            units.release(n)

    async with gort.Group() as group:
        handles = [group.go(uses, n) for n in (1, 2, 1)]
        handles[1].cancel()
    assert units.try_acquire(2)


@program
async def a_value_and_its_timeout_come_at_one_moment() -> None:
    ch: gort.Chan[str] = gort.Chan(1)

    async def late() -> None:
        await gort.sleep(1)
        await ch.send("value")

    async with gort.Group() as group:
        group.go(late)
        try:
            async with gort.timeout(1):
                got = await ch.recv()
        except TimeoutError:
            got = await ch.recv()  # it is still there
    assert got == "value"


@program
async def once_runs_once_whoever_is_cancelled() -> None:
    once = sync.Once()
    runs = 0

    async def opens() -> None:
        nonlocal runs
        await gort.gosched()
        runs += 1

    async with gort.Group() as group:
        handles = [group.go(once.do, opens) for _ in range(3)]
        handles[0].cancel()
    assert runs == 1


@program
async def a_group_waits_for_all_and_cancels_the_rest() -> None:
    live = 0

    async def member(fails: bool) -> None:
        nonlocal live
        live += 1
        try:
            await gort.gosched()
            if fails:
                raise ValueError
            await gort.sleep(10)
        finally:
            await gort.gosched()
            live -= 1

    try:
        async with gort.Group() as group:
            group.go(member, False)
            group.go(member, True)
            group.go(member, False)
    except* ValueError:
        pass
    assert live == 0


@program
async def workers_end_at_the_deadline_to_the_nanosecond() -> None:
    ctx, cancel = context.with_timeout(context.background(), 5)
    jobs: gort.Chan[float] = gort.Chan()
    start = time.monotonic()
    done = 0

    async def works() -> None:
        nonlocal done
        while True:
            case, pause, _ = await gort.select(ctx.done().recv(), jobs.recv())
            if case == 0:
                assert time.monotonic() - start >= 5
                return
            await gort.sleep(pause)
            done += 1

    async with gort.Group() as group:
        for _ in range(2):
            group.go(works)
        for _ in range(3):
            await gort.select(jobs.send(2.0), ctx.done().recv())
    cancel()
    assert done == 3
    assert 5 <= time.monotonic() - start < 7


@pytest.mark.parametrize("main", PROGRAMS, ids=lambda fn: fn.__name__)
def test_in_every_order(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    testing.explore(main, schedules=dose(2000))
