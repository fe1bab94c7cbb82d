"""Mutex, RWMutex, WaitGroup, Once, Cond, Pool: results, misuse, order of waking. Twin of ../go/sync.go."""

from __future__ import annotations

import gc

from kit import caught, flush, refused, run_scenario, say, scenario, settle

import gort
from gort.sync import Cond, Mutex, Once, Pool, RWMutex, WaitGroup


@scenario(any_procs=True)
async def mutex_excludes() -> None:
    mu, wg = Mutex(), WaitGroup()
    inside = bad = n = 0

    async def worker() -> None:
        nonlocal inside, bad, n
        for _ in range(20):
            await mu.lock()
            inside += 1
            if inside != 1:
                bad += 1
            await gort.gosched()
            n += 1
            inside -= 1
            mu.unlock()

    for _ in range(10):
        wg.go(worker)
    await wg.wait()
    say(n, bad)


@scenario(any_procs=True)
async def mutex_try_lock() -> None:
    mu = Mutex()
    say(mu.try_lock(), mu.try_lock())
    mu.unlock()
    say(mu.try_lock())


@scenario(any_procs=True)
async def mutex_unlock_by_other() -> None:
    mu = Mutex()
    await mu.lock()
    gort.go(mu.unlock)
    await mu.lock()
    say("locked again")


@scenario
async def mutex_waiters_fifo() -> None:
    mu, wg = Mutex(), WaitGroup()

    async def waiter(i: int) -> None:
        await mu.lock()
        say("waiter", i)
        mu.unlock()

    await mu.lock()
    for i in range(6):
        wg.go(waiter, i)
        await settle()
    mu.unlock()
    await wg.wait()


@scenario(mode="fatal", phrase="unlock of unlocked mutex", any_procs=True)
async def mutex_unlock_unlocked() -> None:
    Mutex().unlock()


@scenario(mode="fatal", phrase="unlock of unlocked mutex", any_procs=True)
async def mutex_double_unlock() -> None:
    mu = Mutex()
    await mu.lock()
    mu.unlock()
    say("unlocked once")
    flush()
    mu.unlock()


@scenario(mode="deadlock", any_procs=True)
async def mutex_self_deadlock() -> None:
    mu = Mutex()
    await mu.lock()
    await mu.lock()


@scenario
async def rwmutex_readers_share() -> None:
    rw, wg, mu = RWMutex(), WaitGroup(), Mutex()
    now = most = 0

    async def reader() -> None:
        nonlocal now, most
        await rw.rlock()
        async with mu:
            now += 1
            most = max(most, now)
        await settle()
        async with mu:
            now -= 1
        rw.runlock()

    for _ in range(4):
        wg.go(reader)
    await wg.wait()
    say(most)


@scenario(any_procs=True)
async def rwmutex_writer_excludes() -> None:
    rw, wg, mu = RWMutex(), WaitGroup(), Mutex()
    readers = writers = bad = 0

    async def change(r: int, w: int) -> None:
        nonlocal readers, writers, bad
        async with mu:
            readers += r
            writers += w
            if writers > 1 or (writers == 1 and readers > 0):
                bad += 1

    async def worker(i: int) -> None:
        for _ in range(10):
            if i % 4 == 0:
                await rw.lock()
                await change(0, 1)
                await gort.gosched()
                await change(0, -1)
                rw.unlock()
            else:
                await rw.rlock()
                await change(1, 0)
                await gort.gosched()
                await change(-1, 0)
                rw.runlock()

    for i in range(8):
        wg.go(worker, i)
    await wg.wait()
    say(bad, readers, writers)


@scenario
async def rwmutex_writer_preference() -> None:
    rw, wg = RWMutex(), WaitGroup()

    async def writer() -> None:
        await rw.lock()
        say("writer")
        rw.unlock()

    async def late() -> None:
        await rw.rlock()
        say("late reader")
        rw.runlock()

    await rw.rlock()
    wg.go(writer)
    await settle()
    wg.go(late)
    await settle()
    say("first reader leaves")
    rw.runlock()
    await wg.wait()


@scenario
async def rwmutex_readers_after_writer() -> None:
    rw, wg = RWMutex(), WaitGroup()

    async def reader() -> None:
        async with rw.reader():
            say("reader")
            await settle()

    async def writer() -> None:
        async with rw:
            say("second writer")

    await rw.lock()
    for _ in range(3):
        wg.go(reader)
        await settle()
    wg.go(writer)
    await settle()
    say("first writer leaves")
    rw.unlock()
    await wg.wait()


@scenario
async def g9_rwmutex_readers_in_order() -> None:
    for second_writer in (True, False):
        rw, wg = RWMutex(), WaitGroup()

        async def reader(i: int, rw: RWMutex = rw) -> None:
            async with rw.reader():
                say("reader", i)
                await settle()

        async def writer(rw: RWMutex = rw) -> None:
            async with rw:
                say("second writer")

        await rw.lock()
        for i in range(3):
            wg.go(reader, i)
            await settle()
        if second_writer:
            wg.go(writer)
            await settle()
        rw.unlock()
        await wg.wait()


@scenario
async def rwmutex_try_after_unlock() -> None:
    rw, wg = RWMutex(), WaitGroup()

    async def writer() -> None:
        await rw.lock()
        say("second writer")
        rw.unlock()

    await rw.lock()
    wg.go(writer)
    await settle()
    say(rw.try_rlock(), rw.try_lock())
    rw.unlock()
    say(rw.try_rlock(), rw.try_rlock())
    await settle()
    say(rw.try_rlock())
    rw.runlock()
    rw.runlock()
    await wg.wait()
    say(rw.try_lock())


@scenario(mode="deadlock", any_procs=True)
async def rwmutex_wait_reasons() -> None:
    rw = RWMutex()

    async def writer() -> None:
        await rw.lock()

    async def reader() -> None:
        await rw.rlock()

    await rw.rlock()
    gort.go(writer)
    while rw.try_rlock():
        rw.runlock()
        await gort.gosched()
    gort.go(writer)
    gort.go(reader)
    await gort.Chan[int]().recv()


@scenario(mode="fatal", phrase="Unlock of unlocked RWMutex", any_procs=True)
async def rwmutex_unlock_unlocked() -> None:
    RWMutex().unlock()


@scenario(mode="fatal", phrase="RUnlock of unlocked RWMutex", any_procs=True)
async def rwmutex_runlock_unlocked() -> None:
    RWMutex().runlock()


@scenario(mode="deadlock")
async def rwmutex_deadlock() -> None:
    rw = RWMutex()

    async def writer() -> None:
        await rw.lock()

    await rw.rlock()
    gort.go(writer)
    await settle()
    await rw.rlock()


@scenario(any_procs=True)
async def waitgroup_basic() -> None:
    wg, mu = WaitGroup(), Mutex()
    await wg.wait()
    n = 0

    async def worker(i: int) -> None:
        nonlocal n
        try:
            async with mu:
                n += i
        finally:
            wg.done()

    for i in range(1, 11):
        wg.add(1)
        gort.go(worker, i)
    await wg.wait()
    say(n)


@scenario(any_procs=True)
async def waitgroup_go() -> None:
    wg = WaitGroup()
    seen: list[None] = []
    for _ in range(5):
        wg.go(seen.append, None)
    await wg.wait()
    say(len(seen))


@scenario
async def waitgroup_many_waiters() -> None:
    wg, waiters = WaitGroup(), WaitGroup()
    woken = 0

    async def waiter() -> None:
        nonlocal woken
        await wg.wait()
        woken += 1

    wg.add(2)
    for _ in range(4):
        waiters.go(waiter)
    await settle()
    wg.done()
    await settle()
    say(woken)
    wg.done()
    await waiters.wait()
    say(woken)


@scenario(any_procs=True)
async def waitgroup_reuse() -> None:
    wg = WaitGroup()
    for n in range(3):
        wg.add(1)
        gort.go(wg.done)
        await wg.wait()
        say(n)


@scenario(any_procs=True)
async def waitgroup_negative() -> None:
    say(await caught(WaitGroup().done))
    other = WaitGroup()
    other.add(2)
    say(await caught(lambda: other.add(-3)))


@scenario(mode="fatal", phrase="sync: negative WaitGroup counter", any_procs=True)
async def waitgroup_negative_uncaught() -> None:
    WaitGroup().done()


@scenario(mode="deadlock", any_procs=True)
async def waitgroup_deadlock() -> None:
    wg = WaitGroup()
    wg.add(1)
    await wg.wait()


@scenario(any_procs=True)
async def once_runs_once() -> None:
    once, wg = Once(), WaitGroup()
    n = 0

    async def body() -> None:
        nonlocal n
        await settle()
        n += 1

    async def worker() -> None:
        await once.do(body)
        if n != 1:
            say("returned before it was done")

    for _ in range(10):
        wg.go(worker)
    await wg.wait()
    say(n)


@scenario(any_procs=True)
async def once_panic_counts() -> None:
    once = Once()

    async def first() -> None:
        raise ValueError("first")

    ran: list[bool] = []

    async def second() -> None:
        ran.append(True)

    say(await refused(lambda: once.do(first)))
    say(await refused(lambda: once.do(second)), bool(ran))


@scenario(any_procs=True)
async def once_goexit_counts() -> None:
    once, wg = Once(), WaitGroup()
    ran: list[bool] = []

    async def leaves() -> None:
        gort.runtime.goexit()

    async def second() -> None:
        ran.append(True)

    wg.go(once.do, leaves)
    await wg.wait()
    await once.do(second)
    say(bool(ran))


@scenario(mode="deadlock", any_procs=True)
async def once_recursive_deadlock() -> None:
    once = Once()

    async def nothing() -> None:
        pass

    async def again() -> None:
        await once.do(nothing)

    await once.do(again)


@scenario
async def cond_signal_fifo() -> None:
    mu = Mutex()
    c = Cond(mu)

    async def waiter(i: int) -> None:
        await mu.lock()
        await c.wait()
        say("woken", i)
        mu.unlock()

    async def never() -> None:
        await mu.lock()
        await c.wait()
        say("never")

    for i in range(4):
        gort.go(waiter, i)
        await settle()
    for _ in range(4):
        c.signal()
        await settle()
        say("signalled")
    c.signal()
    gort.go(never)
    await settle()


@scenario
async def cond_broadcast() -> None:
    mu, wg = Mutex(), WaitGroup()
    c = Cond(mu)
    ready = False
    woken = 0

    async def waiter() -> None:
        nonlocal woken
        async with mu:
            while not ready:
                await c.wait()
            woken += 1

    for _ in range(5):
        wg.go(waiter)
    await settle()
    async with mu:
        ready = True
        c.broadcast()
    await wg.wait()
    say(woken)


@scenario
async def cond_wait_relocks() -> None:
    mu = Mutex()
    c = Cond(mu)
    done: gort.Chan[bool] = gort.Chan()

    async def waiter() -> None:
        await mu.lock()
        await c.wait()
        say(mu.try_lock())
        mu.unlock()
        await done.send(True)

    gort.go(waiter)
    await settle()
    say(mu.try_lock())
    mu.unlock()
    c.signal()
    await done.recv()


@scenario(mode="fatal", phrase="sync: unlock of unlocked mutex", any_procs=True)
async def cond_wait_without_lock() -> None:
    gort.go(Cond(Mutex()).wait)
    await gort.Chan[int]().recv()


@scenario(mode="fatal", phrase="sync: RUnlock of unlocked RWMutex", any_procs=True)
async def cond_wait_without_rlock() -> None:
    await Cond(RWMutex().reader()).wait()


@scenario(mode="deadlock", any_procs=True)
async def cond_deadlock() -> None:
    mu = Mutex()
    c = Cond(mu)
    await mu.lock()
    await c.wait()


@scenario
async def pool_returns_what_was_put() -> None:
    pool: Pool[str] = Pool(lambda: "new")
    say(pool.get())
    pool.put("used")
    say(pool.get())
    say(pool.get())


@scenario
async def pool_lets_go_after_two_collections() -> None:
    pool: Pool[str] = Pool(lambda: "new")
    for collections in range(4):
        pool.put("used")
        for _ in range(collections):
            gc.collect()
        say(pool.get(), pool.get())


async def main() -> None:
    await run_scenario()
