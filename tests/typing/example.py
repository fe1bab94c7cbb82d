"""What a type checker must see in the public API. Never run: mypy --strict reads it (test_typing.py).

`assert_type` is an error when the type is another; an unused `type: ignore` is an error when the
mistake on its line is not found.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import assert_type

import gort
from gort import context, runtime
from gort.sync import Cond, Mutex, Once, Pool, RWMutex, Semaphore, WaitGroup


async def number(n: int, *, twice: bool = False) -> int:
    await gort.gosched()
    return n * 2 if twice else n


def plain(text: str) -> bytes:
    return text.encode()


async def channels() -> None:
    ch = gort.Chan[int](8)
    assert_type(await ch.recv(), int)
    _, ok = await ch.recv_ok()
    assert_type(ok, bool)
    await ch.send(1)
    await ch.send("text")  # type: ignore[arg-type]
    assert_type(ch.try_send(1), bool)
    _, ok = ch.try_recv()
    assert_type(ok, bool)
    async for v in ch:
        assert_type(v, int)
    assert_type(len(ch), int)
    assert_type(ch.capacity, int)
    assert_type(ch.closed, bool)
    inferred: gort.Chan[str] = gort.Chan()
    assert_type(await inferred.recv(), str)
    gort.Chan[int]("8")  # type: ignore[arg-type]


async def selects(a: gort.Chan[int], b: gort.Chan[str] | None) -> None:
    i, _, ok = await gort.select(a.recv(), b.recv() if b is not None else None, a.send(1), default=True)
    assert_type(i, int)
    assert_type(ok, bool)
    await gort.select(a)  # type: ignore[arg-type]


async def timers() -> None:
    await gort.sleep(0.1)
    await gort.sleep("1")  # type: ignore[arg-type]
    timer = gort.Timer(1.0)
    assert_type(timer.stop(), bool)
    assert_type(timer.reset(2), bool)
    await timer.c.recv()
    await gort.after(1).recv()
    ticker = gort.Ticker(1)
    await ticker.c.recv()
    ticker.stop()
    assert_type(gort.after_func(1, print).stop(), bool)


async def groups() -> None:
    async with gort.Group(limit=3) as group:
        one = group.go(number, 1, twice=True)
        two = group.go(plain, "x")
        group.go(number, "1")  # type: ignore[call-overload]
    assert_type(one.result(), int)
    assert_type(two.result(), bytes)
    assert_type(one.done, bool)
    assert_type(one.exception(), BaseException | None)
    one.cancel()
    group.cancel()


async def calls() -> None:
    gort.go(number, 1)
    gort.go(plain, "x")
    gort.go(number)  # type: ignore[call-arg]
    assert_type(await gort.blocking(plain, "x"), bytes)


def waits(ch: gort.Chan[int]) -> None:
    assert_type(gort.wait(ch.recv()), int)
    assert_type(gort.wait(number(1), timeout=2.0), int)


async def synchronisation() -> None:
    mu, rw, sem = Mutex(), RWMutex(), Semaphore(2)
    await mu.lock()
    mu.unlock()
    assert_type(mu.try_lock(), bool)
    async with mu, rw, rw.reader(), sem:
        pass
    await sem.acquire(2)
    sem.release(2)
    assert_type(sem.try_acquire(), bool)
    wg = WaitGroup()
    wg.add(1)
    wg.done()
    wg.go(number, 1)
    await wg.wait()
    cond = Cond(mu)
    await cond.wait()
    cond.signal()
    cond.broadcast()
    await Once().do(number, 1)
    pool = Pool(lambda: [1])
    assert_type(pool.get(), list[int])
    pool.put([2])


async def contexts() -> None:
    ctx, cancel = context.with_timeout(context.background(), 1.0)
    assert_type(ctx, context.Context)
    cancel()
    done = ctx.done()
    if done is not None:
        await done.recv_ok()
    assert_type(ctx.err(), Exception | None)
    context.with_value(ctx, "k", 1).value("k")


async def the_runtime() -> None:
    assert_type(runtime.gomaxprocs(), int)
    assert_type(runtime.num_cpu(), int)
    assert_type(runtime.num_goroutine(), int)
    assert_type(runtime.stack(all=True), str)
    runtime.lock_os_thread()
    runtime.unlock_os_thread()
    runtime.goexit()


async def generate(n: int) -> AsyncIterator[int]:
    for i in range(n):
        await gort.gosched()
        yield i


def start() -> None:
    assert_type(gort.run(number, 1, procs=2), int)
    gort.run(number, "1")  # type: ignore[arg-type]
    gort.run(plain, "x")  # type: ignore[arg-type]
