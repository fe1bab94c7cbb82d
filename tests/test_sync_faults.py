"""Faults of gort.sync, channels and timers that users of other runtimes have reported, each with what is right: the
number in a test's name is the fault's in the list that was tried (C: the core, G: compared with Go).

What does not live here: what real Go prints for the same program (fidelity), and every order of threads (explore).
"""

from __future__ import annotations

import gc
import pickle
import sys
import time
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import gort
from gort import Cancelled
from gort.sync import Cond, Mutex, Once, Pool, RWMutex, Semaphore
from support import GIL, ended, parked, until

Run = Callable[..., Any]


def test_a_signal_that_comes_as_the_locker_refuses_to_unlock_ends_no_other_wait(run1: Run) -> None:
    """The wait has not begun, and its wake-up was left behind: a receive said that its channel was closed."""

    class Refuses:
        def lock(self) -> None:
            """Never called."""

        def unlock(self) -> None:
            cond.signal()  # as another thread might
            raise ValueError("not locked")

    cond = Cond(Refuses())  # type: ignore[arg-type]

    async def main() -> int:
        ch: gort.Chan[int] = gort.Chan()

        async def sends() -> None:
            await parked(1, "chan receive")
            await ch.send(7)

        gort.go(sends)
        with pytest.raises(ValueError, match="not locked"):
            await cond.wait()
        return await ch.recv()

    assert run1(main) == 7


@pytest.mark.parametrize("when", ["as it is woken", "while it takes the mutex again"])
def test_c5_a_signal_that_a_cancelled_waiter_cannot_use_goes_to_the_next(run: Run, when: str) -> None:
    async def main() -> list[str]:
        log: list[str] = []
        cond = Cond()
        items: list[int] = []

        async def taker(name: str) -> None:
            async with cond:
                while not items:
                    await cond.wait()
                items.pop()
                log.append(name)

        async with gort.Group() as group:
            first = group.go(taker, "first")
            await parked(1, "sync.Cond.Wait")
            group.go(taker, "second")
            await parked(2, "sync.Cond.Wait")
            async with cond:
                items.append(1)
                cond.signal()
                if when == "while it takes the mutex again":
                    await parked(1, "sync.Mutex.Lock")
                first.cancel()
            await ended(first)
        assert isinstance(first.exception(), Cancelled)
        return log

    assert run(main) == ["second"]


def test_c5_a_signal_is_passed_on_through_several_that_are_cancelled(run: Run) -> None:
    async def main() -> list[int]:
        woken: list[int] = []
        cond = Cond()

        async def waiter(i: int) -> None:
            async with cond:
                await cond.wait()
                woken.append(i)

        async with gort.Group() as group:
            handles = []
            for i in range(5):
                handles.append(group.go(waiter, i))
                await parked(i + 1, "sync.Cond.Wait")
            async with cond:
                cond.signal()
                for h in handles[:4]:
                    h.cancel()
            await ended(*handles)
        return woken

    assert run(main) == [4]


@pytest.mark.parametrize("wake", ["signal", "broadcast"])
def test_c5_nobody_is_woken_by_a_signal_that_came_before_it_waited(run: Run, wake: str) -> None:
    """Go's Cond has no spurious wake-ups: a signal that is passed on reaches only those that waited when it came, and
    a broadcast, which has woken those, is not passed on at all."""

    async def main() -> list[str]:
        log: list[str] = []
        cond = Cond()

        async def waiter(name: str) -> None:
            async with cond:
                await cond.wait()
                log.append(name)

        async with gort.Group() as group:
            first = group.go(waiter, "first")
            await parked(1, "sync.Cond.Wait")
            await cond.mutex.lock()
            getattr(cond, wake)()
            await parked(1, "sync.Mutex.Lock")
            late = group.go(waiter, "late")
            await parked(2, "sync.Mutex.Lock")
            first.cancel()  # dequeued from the mutex, it takes its place at the end
            await gort.gosched()
            cond.mutex.unlock()
            await ended(first)
            await parked(1, "sync.Cond.Wait")
            log.append("late one still waits")
            cond.signal()
            await ended(late)
        return log

    assert run(main) == ["late one still waits", "late"]


@pytest.mark.parametrize("make", [Mutex, RWMutex, lambda: RWMutex().reader(), lambda: Semaphore(1)])
def test_c5_what_was_granted_to_a_cancelled_goroutine_is_not_lost(run: Run, make: Callable[[], Any]) -> None:
    """A goroutine is cancelled between the grant and its next step.  It has what it waited for, gives it back when it
    leaves its block, and the next one gets it."""

    async def main() -> list[str]:
        thing = make()
        log: list[str] = []
        taken = thing.rw if hasattr(thing, "rw") else thing  # a reader waits for a writer only
        take, give = (taken.acquire, taken.release) if hasattr(taken, "acquire") else (taken.lock, taken.unlock)

        async def user(name: str) -> None:
            async with thing:
                log.append(name)
                await gort.gosched()

        await take()
        async with gort.Group() as group:
            first = group.go(user, "first")
            await until(lambda: waiting_for_sync() == 1)
            second = group.go(user, "second")
            await until(lambda: waiting_for_sync() == 2)
            give()
            first.cancel()
            await ended(first, second)
        await take()  # nobody has kept it
        give()
        return log

    assert "second" in run(main)


def swallowed(wait: Callable[[], Any]) -> Coroutine[Any, Any, None]:
    """A coroutine that has suspended on the operation, driven by hand: the scheduler never learns of it."""

    async def inner() -> None:
        await wait()

    coro = inner()
    coro.send(None)
    return coro


@pytest.mark.parametrize("kind", ["mutex", "writer", "second writer", "reader", "semaphore", "cond"])
def test_c5_what_is_granted_to_an_operation_that_nobody_resumes_goes_on(run1: Run, kind: str) -> None:
    """Its goroutine is told of the mistake; the next waiter gets the lock, and the goroutine's next wait is a wait."""

    async def main() -> None:
        mu, rw, sem, cond = Mutex(), RWMutex(), Semaphore(2), Cond()
        take: dict[str, tuple[Callable[[], Any], Callable[[], Any], Callable[[], Any]]] = {
            "mutex": (mu.lock, mu.lock, mu.unlock),
            "writer": (rw.rlock, rw.lock, rw.runlock),
            "second writer": (rw.lock, rw.lock, rw.unlock),
            "reader": (rw.lock, rw.rlock, rw.unlock),
            "semaphore": (lambda: sem.acquire(2), lambda: sem.acquire(2), lambda: sem.release(2)),
            "cond": (cond.mutex.lock, lambda: cond._waiting.wait(cond.mutex), cond.signal),
        }
        hold, wait, give = take[kind]
        await hold()
        coro = swallowed(wait)
        got: list[str] = []

        async def next_one() -> None:
            if kind == "cond":
                async with cond:
                    await cond.wait()
            else:
                await (rw.lock() if kind == "reader" else wait())
            got.append("got it")

        gort.go(next_one)
        gate = gort.Chan[int](1)
        # No await in between, which would be told of the mistake: the other goroutine runs while this one blocks.
        with pytest.raises(RuntimeError, match="is an `await` missing before it"):
            give()
            await gate.recv()
        coro.close()
        await until(lambda: got == ["got it"] or kind == "cond")
        if kind == "cond":
            await parked(1, "sync.Cond.Wait")
            cond.signal()
            await until(lambda: got == ["got it"])
        gort.after_func(0.001, gate.try_send, 5)
        assert await gate.recv() == 5

    run1(main)


# ---- C18: a cancelled caller of Once.do has run nothing --------------------------------------------------------------


def test_c18_when_the_first_caller_is_cancelled_the_next_one_tries(run: Run) -> None:
    async def main() -> list[str]:
        once = Once()
        log: list[str] = []
        gate: gort.Chan[None] = gort.Chan()

        async def init(name: str) -> None:
            log.append(f"{name} begins")
            await gate.recv_ok()
            log.append(f"{name} has run")

        async with gort.Group() as group:
            first = group.go(once.do, init, "first")
            await parked(1, "chan receive")
            group.go(once.do, init, "second")
            await parked(1, "sync.Mutex.Lock")
            third = group.go(once.do, init, "third")
            await parked(2, "sync.Mutex.Lock")
            first.cancel()
            await until(lambda: "second begins" in log)
            assert not third.done
            gate.close()
        assert isinstance(first.exception(), Cancelled)
        await once.do(init, "fourth")
        return log

    assert run(main) == ["first begins", "second begins", "second has run"]


def test_c18_a_timeout_of_the_caller_lets_the_next_one_try(run: Run) -> None:
    """gort.wait cancels the coroutine that it waits for."""

    async def main() -> list[str]:
        once = Once()
        log: list[str] = []

        async def init(name: str) -> None:
            log.append(name)
            if name == "first":
                await gort.Chan[int]().recv()

        def plain() -> None:
            timeout = 0.01
            while not log:  # on a busy machine it may be over before init has begun
                with pytest.raises(TimeoutError):
                    gort.wait(once.do(init, "first"), timeout=timeout)
                timeout *= 2

        async with gort.Group() as group:
            group.go(plain)
        await once.do(init, "second")
        await once.do(init, "third")
        return log

    assert run(main) == ["first", "second"]


@pytest.mark.parametrize("ends", [ValueError("failed"), BaseExceptionGroup("g", [ValueError("failed")])])
def test_c18_a_failure_counts_as_having_run(run: Run, ends: BaseException) -> None:
    async def main() -> list[str]:
        once = Once()
        log: list[str] = []

        async def init() -> None:
            log.append("ran")
            raise ends

        with pytest.raises(type(ends)):
            await once.do(init)
        await once.do(init)
        return log

    assert run(main) == ["ran"]


def test_c18_goexit_counts_as_having_run(run: Run) -> None:
    """As in Go, where the deferred store of Once.Do runs."""

    async def main() -> list[str]:
        once = Once()
        log: list[str] = []

        async def init() -> None:
            log.append("ran")
            gort.runtime.goexit()

        wg = gort.sync.WaitGroup()
        wg.go(once.do, init)
        await wg.wait()
        await once.do(init)
        return log

    assert run(main) == ["ran"]


# ---- G6: of several cases on one channel, each is as likely, also after the select has waited ------------------------

TRIALS = 6_000


@pytest.mark.parametrize("kind", ["receives", "sends"])
@pytest.mark.parametrize("wanted", [(0, 1, 2), (0, 3, 4)], ids=["alone", "among others"])
def test_g6_cases_on_one_channel_are_equally_likely(run1: Run, kind: str, wanted: tuple[int, ...]) -> None:
    """Each of three cases wins a third of 6,000 times: 2000, with a standard deviation of sqrt(6000 * 1/3 * 2/3), about
    36.5.  The bound of 365 is ten of them.  By chance that fails once in 10**22 runs."""

    async def main() -> list[int]:
        c: gort.Chan[int] = gort.Chan()
        other: gort.Chan[int] = gort.Chan()
        won = [0] * (max(wanted) + 1)

        async def partner() -> None:
            for _ in range(TRIALS):
                if kind == "receives":
                    await c.send(0)
                else:
                    await c.recv()
                await gort.gosched()  # so that the select waits each time

        gort.go(partner)
        await parked(1, "chan send" if kind == "receives" else "chan receive")
        await (c.recv() if kind == "receives" else c.send(0))  # from here on the select comes first
        for _ in range(TRIALS - 1):
            cases = [
                (c.recv() if kind == "receives" else c.send(i)) if i in wanted else other.recv()
                for i in range(len(won))
            ]
            i, _, _ = await gort.select(*cases)
            won[i] += 1
        return won

    won = run1(main)
    assert sum(won) == sum(won[i] for i in wanted) == TRIALS - 1
    assert all(abs(won[i] - TRIALS / 3) < 365 for i in wanted), won


# ---- G7: a timer's channel gives the instant at which the timer was due ----------------------------------------------

LATE_S = 0.5  # how late the receiver is; a machine that holds up a thread for half of that between two lines fails this


@pytest.mark.parametrize("make", [gort.Timer, gort.Ticker])
def test_g7_a_late_receiver_gets_the_due_instant(run: Run, make: Callable[[float], gort.Timer]) -> None:
    async def main() -> None:
        before = time.time()
        t = make(0.01)
        after = time.time()
        time.sleep(LATE_S)
        now = await t.c.recv()
        assert before + 0.01 - LATE_S / 2 < now < after + 0.01 + LATE_S / 2
        t.stop()

    run(main)


def test_g7_a_ticker_goes_on_in_step(run: Run) -> None:
    """The first pending tick is the first that was missed, the next one comes a whole number of periods later."""

    async def main() -> tuple[float, float, float, float]:
        before = time.time()
        t = gort.Ticker(0.2)
        after = time.time()
        time.sleep(LATE_S)
        first, second = await t.c.recv(), await t.c.recv()
        t.stop()
        return before, after, first, second

    before, after, first, second = run(main)
    assert before + 0.2 - LATE_S / 4 < first < after + 0.2 + LATE_S / 4
    assert round((second - first) / 0.2) >= 2


# ---- C21: a timer's channel is receive-only --------------------------------------------------------------------------


@pytest.mark.parametrize("make", [gort.Timer, gort.Ticker])
def test_c21_a_timers_channel_is_receive_only(run: Run, make: Callable[[float], gort.Timer]) -> None:
    async def main() -> None:
        c: gort.Chan[Any] = make(60).c
        with pytest.raises(TypeError, match="cannot send to the channel of a timer: it is receive-only"):
            await c.send(1)
        with pytest.raises(TypeError, match="cannot send to"):
            c.try_send(1)
        with pytest.raises(TypeError, match="cannot send to"):
            await gort.select(c.send(1), c.recv())
        with pytest.raises(TypeError, match="cannot close"):
            c.close()
        assert c.try_recv() == (None, False)

    run(main)


# ---- C21: an unlock of an unlocked mutex is a fatal error in a dump ---------------------------------------------------


@pytest.mark.parametrize(
    ("mistake", "text"),
    [
        (lambda: Mutex().unlock(), "sync: unlock of unlocked mutex"),
        (lambda: RWMutex().unlock(), "sync: Unlock of unlocked RWMutex"),
        (lambda: RWMutex().runlock(), "sync: RUnlock of unlocked RWMutex"),
    ],
)
def test_c21_the_unlock_of_an_unlocked_mutex_is_a_fatal_error(run: Run, mistake: Callable[[], None], text: str) -> None:
    """A RuntimeError that can be caught; where nobody does, the dump begins as Go's."""

    async def main() -> None:
        with pytest.raises(RuntimeError) as info:
            mistake()
        assert (type(info.value), str(info.value)) == (RuntimeError, text)
        assert repr(pickle.loads(pickle.dumps(info.value))) == repr(info.value)
        gort.go(mistake)
        await gort.Chan[int]().recv()

    with pytest.raises(gort.Panic) as info:
        run(main)
    assert info.value.dump.startswith(f"fatal error: {text}\n\ngoroutine ")


def test_c21_a_negative_wait_group_is_a_panic(run: Run) -> None:
    async def main() -> None:
        gort.go(gort.sync.WaitGroup().done)
        await gort.Chan[int]().recv()

    with pytest.raises(gort.Panic) as info:
        run(main)
    assert info.value.dump.startswith("panic: ValueError: sync: negative WaitGroup counter\n\ngoroutine ")


# ---- G10: a Pool lets go what is not used ------------------------------------------------------------------------------


class Buffer:
    """Something that a weak reference can be made to."""


def test_g10_two_collections_empty_a_pool() -> None:
    pool: Pool[Buffer] = Pool(Buffer)
    kept = Buffer()
    gone = weakref.ref(kept)
    pool.put(kept)
    del kept
    gc.collect()
    assert gone() is not None, "one collection keeps it"
    gc.collect()
    assert gone() is None


def test_g10_what_is_used_between_collections_stays() -> None:
    pool: Pool[Buffer] = Pool(Buffer)
    x = pool.get()
    for _ in range(4):
        pool.put(x)
        gc.collect()
        assert pool.get() is x


def test_g10_a_young_collection_counts_when_there_was_no_other_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    pool: Pool[Buffer] = Pool(Buffer)
    x = pool.get()
    pool.put(x)
    if GIL:
        gc.collect(0)
        gc.collect(0)
        assert pool.get() is x, "young collections are too frequent"
        pool.put(x)
    monkeypatch.setattr(gort.sync, "FORCED_S", 0.0)
    gc.collect(0)
    gc.collect(0)
    assert pool.get() is not x


def test_g10_finalizers_and_pools_within_a_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a pool lets go may have a finalizer that raises, makes pools and gives objects to them."""

    class Stubborn:
        def __del__(self) -> None:
            pools.append(Pool(Buffer))
            pools[-1].put(Buffer())
            pools[0].get()
            raise ValueError("reported, and the others are let go all the same")

    pools: list[Pool[Buffer]] = []
    pool: Pool[Stubborn] = Pool(Stubborn)
    for _ in range(3):
        pool.put(Stubborn())
    reported: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: reported.append(args.exc_type))
    gc.collect()
    gc.collect()
    assert len(pools) == 3
    assert reported == [ValueError] * 3


def test_g10_a_pool_that_has_gone_leaves_nothing() -> None:
    before = len(gort.sync._pools)
    pools: list[Pool[Any]] = [Pool() for _ in range(10)]
    assert len(gort.sync._pools) == before + 10
    del pools
    gc.collect()
    assert len(gort.sync._pools) == before
    assert gc.callbacks.count(gort.sync._on_collection) == 1


def waiting_for_sync() -> int:
    """How many goroutines wait for something of gort.sync."""
    dump = gort.runtime.stack(all=True)
    return sum(dump.count(f"[{reason}") for reason in ("sync.", "semacquire"))
