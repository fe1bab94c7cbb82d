"""gort's side of the benchmarks: the same jobs as Go's, written the way a user would.

GORT_BENCH_PROCS sets the number of Ps (default 1, as GOMAXPROCS=1 for the Go program).
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Coroutine
from time import perf_counter_ns as now
from typing import Any, NoReturn

from _common import (
    BATCH,
    CAPACITY,
    LINES,
    YIELDERS,
    Workload,
    block_of_lines,
    check,
    memory_is,
    missing,
    resident,
    run,
)

try:
    import gort
    import gort.runtime
except ImportError as error:
    missing("gort", str(error))

Chan = gort.Chan
go = gort.go
gosched = gort.gosched
select = gort.select
PROCS = int(os.environ.get("GORT_BENCH_PROCS", "1"))


async def yield_(n: int) -> float:
    wg = gort.sync.WaitGroup()

    async def worker() -> None:
        for _ in range(n // YIELDERS):
            await gosched()
        wg.done()

    wg.add(YIELDERS)
    start = now()
    for _ in range(YIELDERS):
        go(worker)
    await wg.wait()
    return now() - start


async def spawn_at_once(n: int) -> float:
    wg = gort.sync.WaitGroup()
    done = wg.done

    async def nothing() -> None:
        done()

    start = now()
    wg.add(n)
    for _ in range(n):
        go(nothing)
    await wg.wait()
    return now() - start


async def spawn(n: int) -> float:
    took = 0.0
    for _ in range(0, n, BATCH):
        took += await spawn_at_once(BATCH)
    return took


async def ping_pong(n: int) -> float:
    ping: gort.Chan[int] = Chan()
    pong: gort.Chan[int] = Chan()

    async def answer() -> None:
        async for v in ping:
            await pong.send(v)

    go(answer)
    start = now()
    for i in range(n):
        await ping.send(i)
        await pong.recv()
    took = now() - start
    ping.close()
    return took


async def pipeline(n: int, hops: int) -> float:
    items = n // hops
    channels: list[gort.Chan[int]] = [Chan(CAPACITY) for _ in range(hops)]

    async def source() -> None:
        first = channels[0]
        for i in range(items):
            await first.send(i)
        first.close()

    async def stage(a: gort.Chan[int], b: gort.Chan[int]) -> None:
        async for v in a:
            await b.send(v)
        b.close()

    start = now()
    for a, b in itertools.pairwise(channels):
        go(stage, a, b)
    go(source)
    got = 0
    async for _ in channels[-1]:
        got += 1
    took = now() - start
    check(got == items, "pipeline lost items")
    return took


async def pipeline_bulk(n: int) -> float:
    channel: gort.Chan[int] = Chan(CAPACITY)
    batch = list(range(CAPACITY))

    async def source() -> None:
        for _ in range(n // CAPACITY):
            await channel.send_many(batch)
        channel.close()

    start = now()
    go(source)
    got = 0
    while values := await channel.recv_many(CAPACITY):
        got += len(values)
    took = now() - start
    check(got == n // CAPACITY * CAPACITY, "pipeline lost items")
    return took


async def fan_in(n: int, k: int) -> float:
    per = n // k
    channels: list[gort.Chan[int]] = [Chan() for _ in range(k)]

    async def source(channel: gort.Chan[int]) -> None:
        for i in range(per):
            await channel.send(i)

    for channel in channels:
        go(source, channel)
    total = 0
    start = now()
    if k == 2:
        a, b = channels
        for _ in range(per * k):
            _i, v, _ok = await select(a.recv(), b.recv())
            total += v
    elif k == 4:
        a, b, c, d = channels
        for _ in range(per * k):
            _i, v, _ok = await select(a.recv(), b.recv(), c.recv(), d.recv())
            total += v
    else:
        for _ in range(per * k):
            _i, v, _ok = await select(*[channel.recv() for channel in channels])
            total += v
    took = now() - start
    check(total == k * per * (per - 1) // 2, "select lost items")
    return took


async def lines(n: int, length: int) -> float:
    listener = await gort.net.listen("tcp", "127.0.0.1:0")
    writer = await gort.net.dial("tcp", str(listener.addr))
    reader = await listener.accept()
    listener.close()
    block, times = block_of_lines(length, n)

    async def write() -> None:
        for _ in range(times):
            await writer.write(block)
        writer.close()

    go(write)
    got = 0
    size = 0
    start = now()
    async for line in reader.lines():
        size += len(line)
        got += 1
        if got == n:
            break
    took = now() - start
    check(size == n * length, "lines lost bytes")
    while await reader.read():
        pass  # what the last block has beyond n lines
    reader.close()
    return took


async def mutex(n: int) -> float:
    lock = gort.sync.Mutex()
    wg = gort.sync.WaitGroup()
    count = 0

    async def worker() -> None:
        nonlocal count
        for _ in range(n // YIELDERS):
            async with lock:
                count += 1
                await gosched()
        wg.done()

    wg.add(YIELDERS)
    start = now()
    for _ in range(YIELDERS):
        go(worker)
    await wg.wait()
    took = now() - start
    check(count == n // YIELDERS * YIELDERS, "the lock let two in")
    return took


def tick() -> None:
    pass


async def timers(n: int) -> float:
    after_func = gort.after_func
    start = now()
    pending = [after_func(3600 + i % 1000, tick) for i in range(n)]
    for timer in pending:
        timer.stop()
    return now() - start


async def sleepers(n: int) -> float:
    wg = gort.sync.WaitGroup()

    async def worker(seconds: float) -> None:
        await gort.sleep(seconds)
        wg.done()

    start = now()
    wg.add(n)
    for i in range(n):
        go(worker, (i % 10 + 1) / 1000)
    await wg.wait()
    return now() - start


async def node(out: gort.Chan[int], number: int, size: int) -> None:
    if size == 1:
        await out.send(number)
        return
    size //= 10
    parts: gort.Chan[int] = Chan()
    for i in range(10):
        go(node, parts, number + i * size, size)
    total = 0
    for _ in range(10):
        total += await parts.recv()
    await out.send(total)


async def skynet(n: int) -> float:
    out: gort.Chan[int] = Chan()
    start = now()
    go(node, out, 0, n)
    total = await out.recv()
    took = now() - start
    check(total == n * (n - 1) // 2, "skynet: wrong sum")
    return took


async def park(n: int) -> NoReturn:
    channel: gort.Chan[int] = Chan()
    wg = gort.sync.WaitGroup()  # a plain count would lose steps: a worker that loses its P runs beside the next one

    async def worker() -> None:
        wg.done()
        await channel.recv()

    before = resident()
    wg.add(n)
    for _ in range(n):
        go(worker)
    await wg.wait()
    await gosched()
    memory_is(before, n)


# ---- bridges to asyncio: gort.aio ---------------------------------------------------------------------------
async def operations(n: int) -> float:
    """In an asyncio task: a channel with room for one."""
    channel: gort.Chan[int] = Chan(1)
    start = now()
    for i in range(n // 2):
        await channel.send(i)
        await channel.recv()
    return now() - start


def in_a_task(function: Callable[[int], Coroutine[Any, Any, float]]) -> Callable[[int], Coroutine[Any, Any, float]]:
    async def goroutine(n: int) -> float:
        import gort.aio

        return await gort.aio.run(function(n))

    return goroutine


async def rendezvous(n: int) -> float:
    """The same as ping_pong, in two asyncio tasks."""
    import asyncio

    ping: gort.Chan[int] = Chan()
    pong: gort.Chan[int] = Chan()

    async def answer() -> None:
        async for v in ping:
            await pong.send(v)

    task = asyncio.ensure_future(answer())
    start = now()
    for i in range(n):
        await ping.send(i)
        await pong.recv()
    took = now() - start
    ping.close()
    await task
    return took


async def answers() -> int:
    return 1


async def call(n: int, callers: int = 1) -> float:
    import gort.aio

    per = n // callers
    async with gort.aio.Service() as loop:

        async def caller() -> None:
            for _ in range(per):
                await gort.aio.call(loop, answers())

        start = now()
        async with gort.Group() as group:
            for _ in range(callers):
                group.go(caller)
        return (now() - start) * n / (per * callers)


# ---- servers ----------------------------------------------------------------------------------------------
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world!"


async def echo(conn: Any) -> None:
    try:
        while data := await conn.read(4096):
            await conn.write(data)
    except OSError:
        pass
    finally:
        conn.close()


async def http(conn: Any) -> None:
    rest = b""
    try:
        while data := await conn.read(4096):
            rest += data
            while (end := rest.find(b"\r\n\r\n")) >= 0:
                rest = rest[end + 4 :]
                await conn.write(RESPONSE)
    except OSError:
        pass
    finally:
        conn.close()


async def serve(handler: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
    import gort.net

    listener = await gort.net.listen("tcp", "127.0.0.1:0")

    async def accept() -> None:
        async for conn in listener:
            go(handler, conn)

    print(str(listener.addr), flush=True)
    go(accept)
    await gort.blocking(sys.stdin.read)


def number(name: str) -> tuple[int, ...]:
    """The 16 of `select-16`, the 100 of `bridge-call-100`: the second argument of those workloads that have one."""
    tail = name.rpartition("-")[2]
    return (int(tail),) if tail.isdigit() else ()


def in_gort(name: str, function: Callable[..., Coroutine[Any, Any, float]]) -> Workload:
    more = number(name)
    return lambda n: gort.run(function, n, *more, procs=PROCS)


def has_net() -> bool:
    from importlib.util import find_spec

    return find_spec("gort.net") is not None


WORKLOADS: dict[str, Callable[..., Coroutine[Any, Any, float]]] = {
    "yield": yield_,
    "spawn": spawn,
    "spawn-scale": spawn_at_once,
    "ping-pong": ping_pong,
    "pipeline-1": pipeline,
    "pipeline-100": pipeline,
    "pipeline-bulk": pipeline_bulk,
    "select-2": fan_in,
    "select-4": fan_in,
    "select-16": fan_in,
    **{f"lines-{length}": lines for length in (LINES if has_net() else ())},
    "mutex": mutex,
    "timers": timers,
    "sleepers": sleepers,
    "skynet": skynet,
    "bridge-op": in_a_task(operations),
    "bridge-ping-pong": in_a_task(rendezvous),
    "bridge-call": call,
    "bridge-call-100": call,
}

if __name__ == "__main__":
    from importlib.metadata import version

    run(
        "gort",
        f"{version('gort')} ({'compiled' if gort.runtime.compiled else 'uncompiled'})",
        {name: in_gort(name, function) for name, function in WORKLOADS.items()},
        memory=lambda n: gort.run(park, n, procs=PROCS),
        servers=(
            {
                "echo": lambda: gort.run(serve, echo, procs=PROCS),
                "http": lambda: gort.run(serve, http, procs=PROCS),
            }
            if has_net()
            else {}
        ),
    )
