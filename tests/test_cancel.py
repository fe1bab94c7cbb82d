"""Cancellation: delivered at the await, after the goroutine has left every queue; no value is lost or
doubled.

Losing items on cancellation is what users of other libraries complain of, so the races have tests of
their own: whoever wins, the value is either at the receiver that returned it or still with its sender.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import gort
from gort import Cancelled
from gort._runtime.core import handoff, runtime2
from gort._runtime.sched import newproc
from gort.sync import Cond, Mutex, RWMutex, Semaphore, WaitGroup
from support import acquire, ended, lock, parked, recv, send, until

Run = Callable[..., Any]
ROUNDS = 150


async def _ends_cancelled(handle: Any) -> None:
    await ended(handle)
    with pytest.raises(Cancelled):
        handle.result()


# Each case: the wait reason, and a function that gives (the wait, the check that nothing is left of it).
def _recv() -> tuple[Callable[[], Awaitable[Any]], Callable[[], object]]:
    ch: gort.Chan[int] = gort.Chan()
    return ch.recv, lambda: not ch.try_send(1)


def _recv_ok() -> tuple[Callable[[], Awaitable[Any]], Callable[[], object]]:
    ch: gort.Chan[int] = gort.Chan()
    return ch.recv_ok, lambda: not ch.try_send(1)


def _send() -> tuple[Callable[[], Awaitable[Any]], Callable[[], object]]:
    ch: gort.Chan[int] = gort.Chan()
    return lambda: ch.send(1), lambda: ch.try_recv() == (None, False)


def _send_full() -> tuple[Callable[[], Awaitable[Any]], Callable[[], object]]:
    ch: gort.Chan[int] = gort.Chan(1)
    assert ch.try_send(0)
    return lambda: ch.send(1), lambda: (ch.try_recv(), ch.try_recv()) == ((0, True), (None, False))


def _select() -> tuple[Callable[[], Awaitable[Any]], Callable[[], object]]:
    a: gort.Chan[int] = gort.Chan()
    b: gort.Chan[int] = gort.Chan()
    return (
        lambda: gort.select(a.recv(), b.send(1), a.recv()),
        lambda: (a.try_send(1), b.try_recv()) == (False, (None, False)),
    )


def _sleep() -> tuple[Callable[[], Awaitable[Any]], Callable[[], object]]:
    return lambda: gort.sleep(3600), lambda: True


def _timer() -> tuple[Callable[[], Awaitable[Any]], Callable[[], object]]:
    timer = gort.Timer(3600)
    return timer.c.recv, timer.stop


def _mutex() -> tuple[Callable[[], Awaitable[Any]], Callable[[], object]]:
    mu = Mutex()
    assert mu.try_lock()

    def free_again() -> bool:
        mu.unlock()
        return mu.try_lock()

    return mu.lock, free_again


def _rwmutex_write() -> tuple[Callable[[], Awaitable[Any]], Callable[[], object]]:
    rw = RWMutex()

    async def wait() -> None:
        await rw.rlock()
        try:
            await rw.lock()
        finally:
            rw.runlock()

    return wait, lambda: True


def _waitgroup() -> tuple[Callable[[], Awaitable[Any]], Callable[[], object]]:
    wg = WaitGroup()
    wg.add(1)

    def usable() -> bool:
        wg.done()
        return True

    return wg.wait, usable


def _cond() -> tuple[Callable[[], Awaitable[Any]], Callable[[], object]]:
    mu = Mutex()
    cond = Cond(mu)

    async def wait() -> None:
        async with mu:  # leaving it needs the lock: wait() takes it again even when cancelled
            await cond.wait()

    return wait, mu.try_lock


def _semaphore() -> tuple[Callable[[], Awaitable[Any]], Callable[[], object]]:
    sem = Semaphore(2)
    assert sem.try_acquire(2)

    def all_back() -> bool:
        sem.release(2)
        return sem.try_acquire(2)

    return lambda: sem.acquire(2), all_back


CASES = [
    ("chan receive", _recv), ("chan receive", _recv_ok), ("chan send", _send), ("chan send", _send_full),
    ("select", _select), ("sleep", _sleep), ("chan receive", _timer), ("sync.Mutex.Lock", _mutex),
    ("sync.RWMutex.Lock", _rwmutex_write), ("sync.WaitGroup.Wait", _waitgroup), ("sync.Cond.Wait", _cond),
    (None, _semaphore),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "case"), CASES, ids=[case.__name__ for _, case in CASES])
def test_cancelled_while_waiting(run: Run, reason: str | None, case: Callable[[], Any]) -> None:
    """Cancelled is raised at the await, `finally` runs, and nothing of the wait is left in any queue."""
    log: list[str] = []

    async def main() -> None:
        wait, nothing_left = case()
        waiting: list[bool] = []

        async def waiter() -> None:
            try:
                waiting.append(True)
                await wait()
            except Cancelled:
                log.append("cancelled")
                raise
            finally:
                log.append("finally")

        async with gort.Group() as group:
            handle = group.go(waiter)
            if reason:
                await parked(1, reason)
            else:
                await until(lambda: waiting)
                await gort.gosched()
            handle.cancel()
            await _ends_cancelled(handle)
        assert nothing_left()

    run(main)
    assert log == ["cancelled", "finally"]


def test_rwmutex_waiting_writer_cancelled_lets_readers_in(run: Run) -> None:
    """Readers that a waiting writer held back go on when that writer is cancelled."""

    async def main() -> None:
        rw = RWMutex()
        await rw.rlock()

        async def reader() -> str:
            async with rw.reader():
                return "read"

        async with gort.Group() as group:
            writer = group.go(lock, rw)
            await parked(1, "sync.RWMutex.Lock")
            held_back = group.go(reader)
            await parked(1, "sync.RWMutex.RLock")
            writer.cancel()
            await ended(held_back)
        assert held_back.result() == "read"
        rw.runlock()
        async with rw:
            pass

    run(main)


def test_cancelled_is_not_an_exception(run: Run) -> None:
    """`except Exception` around an await does not swallow a cancellation."""
    swallowed: list[Exception] = []

    async def waiter(ch: gort.Chan[int]) -> None:
        try:
            await ch.recv()
        except Exception as exc:
            swallowed.append(exc)

    async def main() -> None:
        async with gort.Group() as group:
            handle = group.go(waiter, gort.Chan())
            await parked(1, "chan receive")
            handle.cancel()
            await _ends_cancelled(handle)

    run(main)
    assert swallowed == []
    assert not issubclass(Cancelled, Exception)


def test_cancel_before_the_first_step(run1: Run) -> None:
    """A goroutine cancelled before it ran gets the cancellation at its first await, or never starts."""
    log: list[str] = []

    async def member() -> None:
        log.append("started")
        await gort.gosched()
        log.append("went on")

    async def main() -> None:
        async with gort.Group() as group:
            handle = group.go(member)
            handle.cancel()
            await _ends_cancelled(handle)

    run1(main)
    assert "went on" not in log


def test_cancel_after_the_end_changes_nothing(run: Run) -> None:
    async def member() -> int:
        return 7

    async def main() -> None:
        async with gort.Group() as group:
            handle = group.go(member)
            await ended(handle)
            handle.cancel()
            handle.cancel()
            assert handle.result() == 7

    run(main)


def test_cancel_twice_is_once(run1: Run) -> None:
    """A second cancel while the first is on its way raises one Cancelled, not two."""
    raised: list[str] = []

    async def member(ch: gort.Chan[int]) -> None:
        try:
            await ch.recv()
        except Cancelled:
            raised.append("cancelled")
        await gort.gosched()
        raised.append("went on")

    async def main() -> None:
        async with gort.Group() as group:
            handle = group.go(member, gort.Chan())
            await parked(1, "chan receive")
            handle.cancel()
            handle.cancel()
            await ended(handle)

    run1(main)
    assert raised == ["cancelled", "went on"]


def test_a_finally_may_wait(run: Run) -> None:
    """While it unwinds, a cancelled goroutine can still use channels."""

    async def main() -> list[str]:
        out: gort.Chan[str] = gort.Chan()
        got: list[str] = []

        async def member() -> None:
            try:
                await gort.sleep(3600)
            finally:
                await out.send("said in finally")

        async with gort.Group() as group:
            handle = group.go(member)
            await parked(1, "sleep")
            handle.cancel()
            got.append(await out.recv())
        return got

    assert run(main) == ["said in finally"]


def test_recv_raced_with_cancel_loses_nothing(run: Run) -> None:
    """One sender, one receiver that is cancelled at the same moment: the value is with exactly one of
    them."""

    async def main() -> dict[str, int]:
        counts = {"received": 0, "kept": 0}
        for n in range(ROUNDS):
            ch: gort.Chan[int] = gort.Chan()
            async with gort.Group() as group:
                receiver = group.go(recv, ch)
                if n % 2:
                    await parked(1, "chan receive")
                sender = group.go(send, ch, n)
                for _ in range(n % 3):
                    await gort.gosched()
                receiver.cancel()
                await ended(receiver)
                if isinstance(receiver.exception(), Cancelled):
                    assert not sender.done, "sent to a receiver that was cancelled: the value is lost"
                    assert await ch.recv() == n
                    counts["kept"] += 1
                else:
                    assert receiver.result() == n
                    counts["received"] += 1
                    assert ch.try_recv() == (None, False)
        return counts

    counts = run(main)
    assert sum(counts.values()) == ROUNDS


def test_send_raced_with_cancel_says_whether_it_was_sent(run: Run) -> None:
    """A send that raises Cancelled has not delivered; one that returned has delivered once."""

    async def main() -> None:
        for n in range(ROUNDS):
            ch: gort.Chan[int] = gort.Chan(n % 2)
            if n % 2:
                assert ch.try_send(-1)
            got: list[int] = []

            async def drain(ch: gort.Chan[int] = ch, got: list[int] = got) -> None:
                got.extend([v async for v in ch])

            async with gort.Group() as group:
                sender = group.go(send, ch, n)
                if n % 4 < 2:
                    await parked(1, "chan send")
                group.go(drain)
                for _ in range(n % 3):
                    await gort.gosched()
                sender.cancel()
                await ended(sender)
                ch.close()
            sent = not isinstance(sender.exception(), Cancelled)
            assert got.count(n) == sent, f"round {n}: sent={sent}, received {got}"

    run(main)


def test_select_raced_with_cancel_loses_nothing(run: Run) -> None:
    """A select over two channels with senders on both, cancelled: no value vanishes."""

    async def main() -> None:
        for n in range(ROUNDS):
            a: gort.Chan[int] = gort.Chan()
            b: gort.Chan[int] = gort.Chan(1)

            async def choose(a: gort.Chan[int] = a, b: gort.Chan[int] = b) -> int | None:
                _, v, _ = await gort.select(a.recv(), b.recv())
                return v

            async with gort.Group() as group:
                chooser = group.go(choose)
                if n % 2:
                    await parked(1, "select")
                senders = [group.go(send, a, 1), group.go(send, b, 2)]
                for _ in range(n % 4):
                    await gort.gosched()
                chooser.cancel()
                await ended(chooser)
                left = {1, 2}
                if not isinstance(chooser.exception(), Cancelled):
                    left.remove(chooser.result())
                for v in sorted(left):
                    assert await (a if v == 1 else b).recv() == v
                await ended(*senders)
            assert a.try_recv() == (None, False)
            assert b.try_recv() == (None, False)

    run(main)


def test_mutex_raced_with_cancel_is_never_lost(run: Run) -> None:
    """A waiter cancelled while the lock is handed to it either holds it or has passed it on."""

    async def main() -> None:
        mu = Mutex()
        for n in range(ROUNDS):
            await mu.lock()
            async with gort.Group() as group:
                waiters = [group.go(lock, mu) for _ in range(3)]
                if n % 2:
                    await parked(3, "sync.Mutex.Lock")
                waiters[0].cancel()
                mu.unlock()
                waiters[1].cancel()
                for waiter in waiters:
                    await ended(waiter)
                    if not isinstance(waiter.exception(), Cancelled):
                        mu.unlock()
            assert mu.try_lock(), f"round {n}: the lock is lost"
            mu.unlock()

    run(main)


def test_semaphore_raced_with_cancel_conserves_permits(run: Run) -> None:
    async def main() -> None:
        for n in range(ROUNDS):
            sem = Semaphore(2)
            await sem.acquire(2)
            async with gort.Group() as group:
                waiters = [group.go(acquire, sem) for _ in range(3)]
                for _ in range(n % 3):
                    await gort.gosched()
                sem.release()
                waiters[0].cancel()
                sem.release()
                waiters[1].cancel()
                for waiter in waiters:
                    await ended(waiter)
                    if not isinstance(waiter.exception(), Cancelled):
                        sem.release()
            assert sem.try_acquire(2), f"round {n}: a permit is lost"
            assert not sem.try_acquire(), f"round {n}: a permit too many"

    run(main)


def test_many_cancelled_at_once(run: Run) -> None:
    """A thousand waiters on one channel, all cancelled by their group; the channel works on as new."""

    async def main() -> None:
        ch: gort.Chan[int] = gort.Chan()
        async with gort.Group() as group:
            handles = [group.go(recv, ch) for _ in range(1000)]
            await parked(1000, "chan receive")
            group.cancel()
        assert all(isinstance(h.exception(), Cancelled) for h in handles)
        assert not ch.try_send(1)
        async with gort.Group() as group:
            receiver = group.go(recv, ch)
            await ch.send(5)
        assert receiver.result() == 5

    run(main)


@pytest.mark.parametrize("when", ["before it waits", "while it takes the mutex again", "as it is woken"])
def test_cond_has_its_mutex_whenever_it_is_cancelled(run: Run, when: str) -> None:
    """A waiter that was woken and is cancelled before it has the mutex back: it takes it all the same, since the code
    around it unlocks it, and is cancelled then."""

    async def main() -> list[str]:
        log: list[str] = []
        cond = Cond()
        mine: gort.Chan[gort.Handle[None]] = gort.Chan(1)

        async def waiter() -> None:
            async with cond:
                if when == "before it waits":
                    log.append("unlocked")
                    (await mine.recv()).cancel()
                try:
                    await cond.wait()
                except Cancelled:
                    log.append("cancelled")
                    assert cond.mutex.locked
                    raise

        async with gort.Group() as group:
            handle = group.go(waiter)
            if when == "before it waits":
                mine.try_send(handle)  # another thread may have begun to run it before it is assigned
                await ended(handle)
                return log
            await parked(1, "sync.Cond.Wait")
            await cond.mutex.lock()
            cond.signal()
            if when == "while it takes the mutex again":
                await parked(1, "sync.Mutex.Lock")
            handle.cancel()
            await gort.gosched()
            assert not handle.done
            log.append("unlocked")
            cond.mutex.unlock()
            await ended(handle)
        assert not cond.mutex.locked
        return log

    assert run(main) == ["unlocked", "cancelled"]


@pytest.mark.skipif(gort.runtime.compiled, reason="the compiled core's locks are in C")
def test_a_cancellation_that_meets_the_end_stays_not_in_the_g() -> None:
    """The next goroutine with this G would be in a scope whose cancellation is pending already: its own would be lost."""
    g: Any = runtime2.G()
    g.goid, g.status = 7, runtime2._Grunning
    real = g.lock

    def lock() -> None:
        g.lock = real
        assert handoff.cancel(g, 7, Cancelled())
        real()

    g.lock = lock
    newproc.forget(g)
    assert (g.scope, g.cancelflag, g.cancelexc) == (None, False, None)
