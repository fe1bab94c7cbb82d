"""Synchronisation."""

from __future__ import annotations

import gort
import gort.sync
from explore.scenarios.base import equal, scenario
from explore.standins import Thread


@scenario()
def mutex() -> None:
    """Three goroutines and a mutex: one at a time, each in turn."""

    async def main() -> int:
        mu = gort.sync.Mutex()
        wg = gort.sync.WaitGroup()
        inside = total = 0

        async def critical() -> None:
            nonlocal inside, total
            async with mu:
                inside += 1
                equal(inside, 1)
                total += 1
                await gort.gosched()
                inside -= 1

        for _ in range(3):
            wg.go(critical)
        await wg.wait()
        assert not mu.locked
        return total

    equal(gort.run(main, procs=2), 3)


@scenario()
def rwmutex() -> None:
    """Readers together, a writer alone."""

    async def main() -> None:
        rw = gort.sync.RWMutex()
        wg = gort.sync.WaitGroup()
        readers = writers = 0

        async def read() -> None:
            nonlocal readers
            async with rw.reader():
                readers += 1
                equal(writers, 0)
                await gort.gosched()
                readers -= 1

        async def write() -> None:
            nonlocal writers
            async with rw:
                writers += 1
                equal((readers, writers), (0, 1))
                await gort.gosched()
                writers -= 1

        wg.go(read)
        wg.go(write)
        wg.go(read)
        await wg.wait()

    gort.run(main, procs=2)


@scenario()
def cond() -> None:
    """A condition variable: a signal between the look and the wait is not lost."""

    async def main() -> None:
        c = gort.sync.Cond()
        wg = gort.sync.WaitGroup()
        items: list[int] = []
        got: list[int] = []

        async def taker() -> None:
            async with c.mutex:
                while not items:
                    await c.wait()
                got.append(items.pop())

        wg.go(taker)
        wg.go(taker)
        for v in range(2):
            async with c.mutex:
                items.append(v)
                c.signal()
        await wg.wait()
        equal(sorted(got), [0, 1])

    gort.run(main, procs=2)


@scenario()
def semaphore() -> None:
    """A large request, small ones, and a cancellation."""

    async def main() -> None:
        sem = gort.sync.Semaphore(2)
        ran: list[str] = []

        async def take(name: str, k: int) -> None:
            await sem.acquire(k)
            try:
                ran.append(name)
                await gort.gosched()
            finally:
                sem.release(k)

        async with gort.Group() as group:
            group.go(take, "a", 1)
            h = group.go(take, "b", 2)
            group.go(take, "c", 1)
            h.cancel()
        assert {"a", "c"} <= set(ran), ran
        assert sem.try_acquire(2)

    gort.run(main, procs=2)


@scenario()
def wait_group() -> None:
    """wait() as the last done() comes, twice over."""

    async def main() -> None:
        wg = gort.sync.WaitGroup()
        for _ in range(2):
            done: list[int] = []

            async def work(v: int, done: list[int] = done) -> None:
                done.append(v)

            for v in range(2):
                wg.go(work, v)
            await wg.wait()
            equal(sorted(done), [0, 1])

    gort.run(main, procs=2)


@scenario()
def rwmutex_cancel() -> None:
    """A waiting writer that holds readers back is cancelled: they go on, and the lock is free in the end."""

    async def main() -> None:
        rw = gort.sync.RWMutex()
        ran: list[str] = []

        async def read(name: str) -> None:
            async with rw.reader():
                await gort.gosched()
                ran.append(name)

        async def write() -> None:
            async with rw:
                ran.append("writer")

        async with gort.Group() as group:
            group.go(read, "a")
            h = group.go(write)
            group.go(read, "b")
            h.cancel()
        assert sorted(x for x in ran if x != "writer") == ["a", "b"], ran
        assert rw.try_lock()

    gort.run(main, procs=2)


@scenario()
def cond_cancel() -> None:
    """A goroutine that waits for a condition is cancelled, before or as it is signalled: the mutex is its own again."""

    async def main() -> None:
        c = gort.sync.Cond()
        ended: list[str] = []

        async def waiter() -> None:
            async with c.mutex:
                try:
                    await c.wait()
                    ended.append("signalled")
                finally:
                    assert c.mutex.locked

        async with gort.Group() as group:
            h = group.go(waiter)
            await gort.gosched()
            thread = Thread(target=c.broadcast)
            thread.start()
            h.cancel()
            await gort.blocking(thread.join)
        assert ended in ([], ["signalled"])
        assert not c.mutex.locked

    gort.run(main, procs=2)


@scenario()
def cond_signal_passed_on() -> None:
    """Two wait for one item; the first is cancelled before, as or after it is signalled. One of them takes the item."""

    async def main() -> None:
        c = gort.sync.Cond()
        items: list[int] = []
        took: list[str] = []
        over = gort.sync.WaitGroup()

        async def taker(name: str) -> None:
            async with c.mutex:
                while not items:
                    await c.wait()
                items.pop()
                took.append(name)

        async def cancelled_taker() -> None:
            try:
                await taker("first")
            finally:
                over.done()

        async with gort.Group() as group:
            over.add()
            first = group.go(cancelled_taker)
            second = group.go(taker, "second")
            await gort.gosched()
            async with c.mutex:
                items.append(1)
                c.signal()
            first.cancel()
            await over.wait()
            if took == ["first"]:
                second.cancel()
        equal(len(took), 1)
        assert not c.mutex.locked

    gort.run(main, procs=2)


@scenario()
def once_cancel() -> None:
    """The first caller of Once.do is cancelled at some moment: whoever returns from do finds that a function has run."""

    async def main() -> None:
        once = gort.sync.Once()
        ran: list[str] = []

        async def init(name: str) -> None:
            await gort.gosched()
            ran.append(name)

        async def caller(name: str) -> None:
            await once.do(init, name)
            equal(len(ran), 1)

        async with gort.Group() as group:
            first = group.go(caller, "first")
            group.go(caller, "second")
            group.go(caller, "third")
            first.cancel()
        equal(len(ran), 1)

    gort.run(main, procs=2)


@scenario()
def rwmutex_turns() -> None:
    """Three writers and two readers, and one writer is cancelled: before its turn, as it is called, while it holds back
    readers, or too late.  The lock is free in the end."""

    async def main() -> None:
        rw = gort.sync.RWMutex()
        readers = writers = 0

        async def read() -> None:
            nonlocal readers
            async with rw.reader():
                readers += 1
                equal(writers, 0)
                await gort.gosched()
                readers -= 1

        async def write() -> None:
            nonlocal writers
            async with rw:
                writers += 1
                equal((readers, writers), (0, 1))
                try:
                    await gort.gosched()
                finally:
                    writers -= 1

        async with gort.Group() as group:
            group.go(write)
            group.go(read)
            h = group.go(write)
            group.go(read)
            group.go(write)
            await gort.gosched()
            h.cancel()
        assert rw.try_lock()

    gort.run(main, procs=2)


@scenario()
def rwmutex_thread() -> None:
    """A thread takes turns with goroutines, through gort.wait."""

    async def main() -> None:
        rw = gort.sync.RWMutex()
        wg = gort.sync.WaitGroup()
        inside: list[str] = []

        def use(name: str) -> None:
            inside.append(name)
            equal(inside, [name])
            inside.remove(name)

        async def write(name: str) -> None:
            async with rw:
                use(name)

        def plain() -> None:
            gort.wait(rw.lock())
            use("thread")
            rw.unlock()

        async def read() -> None:
            async with rw.reader():
                equal(inside, [])

        for work in (lambda: write("a"), plain, read, lambda: write("b")):
            wg.go(work)
        await wg.wait()
        assert rw.try_lock()

    gort.run(main, procs=2)


@scenario()
def rwmutex_cancel_pending() -> None:
    """A writer that waits for a reader to leave, and holds back another one, is cancelled as the first reader leaves."""

    async def main() -> None:
        rw = gort.sync.RWMutex()
        ran: list[str] = []

        async def read() -> None:
            async with rw.reader():
                ran.append("reader")

        async def write() -> None:
            async with rw:
                ran.append("writer")

        await rw.rlock()
        async with gort.Group() as group:
            h = group.go(write)
            await gort.gosched()
            group.go(read)
            await gort.gosched()
            thread = Thread(target=rw.runlock)
            thread.start()
            h.cancel()
            await gort.blocking(thread.join)
        assert "reader" in ran, ran
        assert rw.try_lock()

    gort.run(main, procs=2)
