"""gort.sync beyond what the fidelity programs compare with Go: `async with`, Semaphore, Once's errors,
Pool."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

import gort
from gort.sync import Cond, Mutex, Once, Pool, RWMutex, Semaphore, WaitGroup
from support import acquire, ended, parked

Run = Callable[..., Any]


def test_async_with_releases_after_an_error(run: Run) -> None:
    async def main() -> None:
        mu, rw, sem = Mutex(), RWMutex(), Semaphore(1)
        for manager in (mu, rw, rw.reader(), sem):
            with pytest.raises(ValueError, match="inside"):
                async with manager:
                    raise ValueError("inside")
        assert mu.try_lock()
        assert sem.try_acquire()
        await rw.lock()

    run(main)


def test_mutex_counts_exactly(run: Run) -> None:
    """Read, give way, write: without the lock, updates would be lost."""
    n = 0

    async def main() -> int:
        nonlocal n
        mu = Mutex()

        async def worker() -> None:
            nonlocal n
            for _ in range(50):
                async with mu:
                    before = n
                    await gort.gosched()
                    n = before + 1

        async with gort.Group() as group:
            for _ in range(20):
                group.go(worker)
        return n

    assert run(main) == 1000


def test_mutex_does_not_starve_a_waiter(run: Run) -> None:
    """One goroutine takes and releases for ever without giving way in between; a waiter still gets the
    lock."""

    async def main() -> None:
        mu = Mutex()
        stop = False

        async def greedy() -> None:
            while not stop:
                await mu.lock()
                await gort.gosched()
                mu.unlock()

        async def modest() -> int:
            for _ in range(10):
                async with mu:
                    pass
            return 10

        async with gort.Group() as group:
            group.go(greedy)
            handle = group.go(modest)
            await ended(handle)
            stop = True

    run(main)


def test_rwmutex_readers_together_writers_alone(run: Run) -> None:
    async def main() -> tuple[int, list[str]]:
        rw, mu = RWMutex(), Mutex()
        readers = writers = most = 0
        bad: list[str] = []
        begin: gort.Chan[None] = gort.Chan()  # so that none is over before the others are there

        async def reader() -> None:
            nonlocal readers, most
            await begin.recv_ok()
            for _ in range(20):
                async with rw.reader():
                    async with mu:
                        readers += 1
                        most = max(most, readers)
                        if writers:
                            bad.append("a reader beside a writer")
                    await gort.gosched()
                    async with mu:
                        readers -= 1

        async def writer() -> None:
            nonlocal writers
            await begin.recv_ok()
            for _ in range(20):
                async with rw:
                    async with mu:
                        writers += 1
                        if writers > 1 or readers:
                            bad.append("a writer not alone")
                    await gort.gosched()
                    async with mu:
                        writers -= 1

        async with gort.Group() as group:
            for _ in range(4):
                group.go(reader)
                group.go(reader)
                group.go(writer)
            begin.close()
        return most, bad

    most, bad = run(main)
    assert bad == []
    assert most > 1


def test_once_result_and_error(run: Run) -> None:
    """The first call's error is its caller's; later calls return without running anything."""

    async def main() -> list[str]:
        log: list[str] = []
        once = Once()

        async def fails() -> None:
            log.append("ran")
            raise ValueError("first")

        with pytest.raises(ValueError, match="first"):
            await once.do(fails)
        await once.do(fails)
        plain = Once()
        await plain.do(lambda: log.append("plain"))
        await plain.do(lambda: log.append("plain again"))
        return log

    assert run(main) == ["ran", "plain"]


def test_once_waits_for_the_first_call(run: Run) -> None:
    """Nobody passes before the first call is done, not even when it waits."""

    async def main() -> None:
        once = Once()
        gate: gort.Chan[None] = gort.Chan()
        done = False

        async def body() -> None:
            nonlocal done
            await gate.recv_ok()
            done = True

        async def caller() -> None:
            await once.do(body)
            assert done

        async with gort.Group() as group:
            for _ in range(10):
                group.go(caller)
            await parked(1, "chan receive")
            gate.close()

    run(main)


def test_cond_is_a_queue(run: Run) -> None:
    """The classic bounded buffer; nothing lost, nothing stuck."""

    async def main() -> list[int]:
        mu = Mutex()
        not_full, not_empty = Cond(mu), Cond(mu)
        buffer: list[int] = []
        got: list[int] = []

        async def producer(base: int) -> None:
            for i in range(50):
                async with mu:
                    while len(buffer) == 3:
                        await not_full.wait()
                    buffer.append(base + i)
                    not_empty.signal()

        async def consumer() -> None:
            for _ in range(50):
                async with mu:
                    while not buffer:
                        await not_empty.wait()
                    got.append(buffer.pop(0))
                    not_full.signal()

        async with gort.Group() as group:
            for k in range(4):
                group.go(producer, 100 * k)
                group.go(consumer)
        return got

    assert sorted(run(main)) == [100 * k + i for k in range(4) for i in range(50)]


@pytest.mark.parametrize("kind", [Mutex, RWMutex])
def test_a_program_ends_while_a_waiter_takes_the_lock_again(run: Run, kind: Callable[[], Any]) -> None:
    """Closed there it has no lock, and its `async with` unlocks that of another goroutine, which is closed after it: the
    end of a program, nobody's mistake, so nothing is reported (an unraisable exception would fail the test)."""
    closed: list[str] = []

    async def main() -> None:
        cond = Cond(kind())

        async def waits() -> None:
            try:
                async with cond:
                    await cond.wait()
            finally:
                closed.append("waits")

        async def holds() -> None:
            try:
                async with cond.mutex if kind is Mutex else cond:
                    cond.signal()
                    await gort.sleep(3600)
            finally:
                closed.append("holds")

        gort.go(waits)
        await parked(1, "sync.Cond.Wait")
        gort.go(holds)
        await parked(1, "sleep")
        await parked(1, "sync.Mutex.Lock")  # also of an RWMutex: behind another writer, as in Go

    run(main)
    assert sorted(closed) == ["holds", "waits"]


def test_semaphore_bounds(run: Run) -> None:
    async def main() -> int:
        sem, mu = Semaphore(3), Mutex()
        now = most = 0

        async def worker(k: int) -> None:
            nonlocal now, most
            for _ in range(10):
                await sem.acquire(k)
                async with mu:
                    now += k
                    most = max(most, now)
                await gort.gosched()
                async with mu:
                    now -= k
                sem.release(k)

        async with gort.Group() as group:
            for i in range(12):
                group.go(worker, 1 + i % 3)
        assert sem.try_acquire(3)
        assert not sem.try_acquire()
        return most

    assert run(main) <= 3


def test_semaphore_is_fair_to_a_large_request(run1: Run) -> None:
    """A goroutine that wants all permits is not overtaken for ever by ones that want one (FIFO)."""

    async def main() -> list[str]:
        sem = Semaphore(2)
        order: list[str] = []

        async def want(name: str, k: int) -> None:
            await sem.acquire(k)
            order.append(name)
            sem.release(k)

        await sem.acquire(1)
        async with gort.Group() as group:
            group.go(want, "large", 2)
            await parked(1, "semacquire")
            group.go(want, "small", 1)
            await parked(2, "semacquire")
            assert order == []
            sem.release(1)
        return order

    assert run1(main) == ["large", "small"]


def test_semaphore_try_acquire_does_not_overtake(run1: Run) -> None:
    async def main() -> None:
        sem = Semaphore(2)
        await sem.acquire(1)
        async with gort.Group() as group:
            group.go(acquire, sem, 2)
            await parked(1, "semacquire")
            assert not sem.try_acquire(1)
            sem.release(1)
        sem.release(2)

    run1(main)


def test_waitgroup_go_runs_done_after_an_error(run: Run) -> None:
    """A member's error is a panic, as in Go: it ends the program, it does not leave the waiter for ever."""

    async def main() -> None:
        wg = WaitGroup()

        async def fails() -> None:
            raise ValueError("member")

        wg.go(fails)
        await wg.wait()
        await gort.Chan[int]().recv()

    with pytest.raises(gort.Panic) as info:
        run(main)
    assert repr(info.value.__cause__) == "ValueError('member')"


def test_pool(run: Run) -> None:
    """get gives what was put, or makes a new one; None is a value; collected garbage may empty it."""

    async def main() -> None:
        made: list[int] = []

        def new() -> list[int]:
            made.append(1)
            return []

        pool: Pool[list[int]] = Pool(new)
        a = pool.get()
        b = pool.get()
        assert len(made) == 2
        pool.put(a)
        pool.put(b)
        got = {id(pool.get()), id(pool.get())}
        assert got <= {id(a), id(b)} or len(made) > 2
        assert all(isinstance(pool.get(), list) for _ in range(3))
        gc.collect()
        assert pool.get() == []

    run(main)


def test_a_wait_group_with_members_when_the_program_ends(run: Run) -> None:
    """Main returns while goroutines of wg.go still wait: they are closed, and the program has its result."""

    async def main() -> int:
        wg = gort.sync.WaitGroup()

        async def waits() -> None:
            await gort.Chan[int]().recv()

        wg.go(waits)
        await parked(1, "chan receive")
        return 5

    assert run(main) == 5
