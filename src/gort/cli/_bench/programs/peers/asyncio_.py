"""asyncio's side of the benchmarks (and uvloop's and gort.aio's: uvloop_.py and gort_aio_.py run these on their loops).

Chosen by measuring the ways a user would write each, and keeping the fastest:
- spawn: tasks in a list, awaited one after another, beat `gather` and `TaskGroup`.
- ping-pong: asyncio has no rendezvous; two queues, `put_nowait` (they never fill) and `get`.
- select: asyncio has no select. A task per queue that forwards into one queue is several times faster than
  `asyncio.wait(…, FIRST_COMPLETED)` on a getter per queue; it prefetches an item, which select does not.
- pipeline-bulk: asyncio has no bulk operation; `put_nowait` while there is room and `get_nowait` while there is an item.
- skynet: results returned by tasks, not sent over queues, which would cost more.
- lines: `StreamReader.readline`, as fast as `async for line in reader`; the writer drains after each block.
- timers: `loop.call_later` and `TimerHandle.cancel`.
"""

from __future__ import annotations

import asyncio
import itertools
import platform
import socket
import sys
from collections.abc import Callable, Coroutine
from time import perf_counter_ns as now
from typing import Any, NoReturn

import _loop_servers
from _common import BATCH, BLOCK, CAPACITY, LINES, YIELDERS, block_of_lines, check, memory_is, resident, run

sleep = asyncio.sleep
Runner = Callable[[Coroutine[Any, Any, Any]], Any]


async def yield_(n: int) -> float:
    async def worker() -> None:
        for _ in range(n // YIELDERS):
            await sleep(0)

    start = now()
    tasks = [asyncio.create_task(worker()) for _ in range(YIELDERS)]
    for task in tasks:
        await task
    return now() - start


async def nothing() -> None:
    pass


async def spawn_at_once(n: int) -> float:
    start = now()
    create = asyncio.create_task
    tasks = [create(nothing()) for _ in range(n)]
    for task in tasks:
        await task
    return now() - start


async def spawn(n: int) -> float:
    took = 0.0
    for _ in range(0, n, BATCH):
        took += await spawn_at_once(BATCH)
    return took


async def ping_pong(n: int) -> float:
    ping: asyncio.Queue[int] = asyncio.Queue(1)
    pong: asyncio.Queue[int] = asyncio.Queue(1)

    async def answer() -> None:
        for _ in range(n):
            pong.put_nowait(await ping.get())

    task = asyncio.create_task(answer())
    start = now()
    for i in range(n):
        ping.put_nowait(i)
        await pong.get()
    took = now() - start
    await task
    return took


async def pipeline(n: int, hops: int) -> float:
    items = n // hops
    queues: list[asyncio.Queue[int]] = [asyncio.Queue(CAPACITY) for _ in range(hops)]

    async def source() -> None:
        put = queues[0].put
        for i in range(items):
            await put(i)

    async def stage(
        get: Callable[[], Coroutine[Any, Any, int]], put: Callable[[int], Coroutine[Any, Any, None]]
    ) -> None:
        for _ in range(items):
            await put(await get())

    start = now()
    tasks = [asyncio.create_task(stage(a.get, b.put)) for a, b in itertools.pairwise(queues)]
    tasks.append(asyncio.create_task(source()))
    get = queues[-1].get
    for _ in range(items):
        await get()
    took = now() - start
    for task in tasks:
        await task
    return took


async def pipeline_bulk(n: int) -> float:
    queue: asyncio.Queue[int] = asyncio.Queue(CAPACITY)
    batch = list(range(CAPACITY))
    items = n // CAPACITY * CAPACITY

    async def source() -> None:
        for _ in range(n // CAPACITY):
            for v in batch:
                if queue.full():
                    await queue.put(v)
                else:
                    queue.put_nowait(v)

    start = now()
    task = asyncio.create_task(source())
    got = 0
    while got < items:
        values = [await queue.get()]
        while len(values) < CAPACITY and not queue.empty():
            values.append(queue.get_nowait())
        got += len(values)
    took = now() - start
    await task
    return took


async def fan_in(n: int, k: int) -> float:
    per = n // k
    queues: list[asyncio.Queue[int]] = [asyncio.Queue(1) for _ in range(k)]
    merged: asyncio.Queue[int] = asyncio.Queue(1)

    async def source(queue: asyncio.Queue[int]) -> None:
        for i in range(per):
            await queue.put(i)

    async def forward(queue: asyncio.Queue[int]) -> None:
        for _ in range(per):
            await merged.put(await queue.get())

    tasks = [asyncio.create_task(source(q)) for q in queues] + [asyncio.create_task(forward(q)) for q in queues]
    total = 0
    start = now()
    for _ in range(per * k):
        total += await merged.get()
    took = now() - start
    check(total == k * per * (per - 1) // 2, "select lost items")
    for task in tasks:
        await task
    return took


async def lines(n: int, length: int) -> float:
    accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    server = await asyncio.start_server(lambda r, w: accepted.put_nowait((r, w)), "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    reader, accepted_writer = await accepted.get()  # since CPython 3.13 the connection is closed with the last of both
    server.close()
    block, times = block_of_lines(length, n)

    async def write() -> None:
        for _ in range(times):
            writer.write(block)
            await writer.drain()
        writer.close()

    task = asyncio.create_task(write())
    size = 0
    start = now()
    for _ in range(n):
        size += len(await reader.readline())
    took = now() - start
    check(size == n * length, "lines lost bytes")
    while await reader.read(BLOCK):
        pass  # what the last block has beyond n lines
    await task
    accepted_writer.close()
    return took


async def mutex(n: int) -> float:
    lock = asyncio.Lock()
    count = 0

    async def worker() -> None:
        nonlocal count
        for _ in range(n // YIELDERS):
            async with lock:
                count += 1
                await sleep(0)

    start = now()
    tasks = [asyncio.create_task(worker()) for _ in range(YIELDERS)]
    for task in tasks:
        await task
    took = now() - start
    check(count == n // YIELDERS * YIELDERS, "the lock let two in")
    return took


def tick() -> None:
    pass


async def timers(n: int) -> float:
    call_later = asyncio.get_running_loop().call_later
    start = now()
    handles = [call_later(3600 + i % 1000, tick) for i in range(n)]
    for handle in handles:
        handle.cancel()
    return now() - start


async def sleepers(n: int) -> float:
    start = now()
    tasks = [asyncio.create_task(sleep((i % 10 + 1) / 1000)) for i in range(n)]
    for task in tasks:
        await task
    return now() - start


async def node(number: int, size: int) -> int:
    if size == 1:
        return number
    size //= 10
    tasks = [asyncio.create_task(node(number + i * size, size)) for i in range(10)]
    total = 0
    for task in tasks:
        total += await task
    return total


async def skynet(n: int) -> float:
    start = now()
    total = await asyncio.create_task(node(0, n))
    took = now() - start
    check(total == n * (n - 1) // 2, "skynet: wrong sum")
    return took


async def operations(n: int) -> float:
    queue: asyncio.Queue[int] = asyncio.Queue(1)
    start = now()
    for i in range(n // 2):
        await queue.put(i)
        await queue.get()
    return now() - start


async def calls(n: int, callers: int) -> float:
    """What gort's goroutines call, called by tasks of the same loop."""

    async def caller() -> None:
        for _ in range(n // callers):
            await asyncio.create_task(nothing())

    start = now()
    tasks = [asyncio.create_task(caller()) for _ in range(callers)]
    for task in tasks:
        await task
    return (now() - start) * n / (n // callers * callers)


async def call_soon(n: int) -> float:
    """n callbacks, so many at a time that an iteration is shared."""
    soon = asyncio.get_running_loop().call_soon
    called = 0

    def callback() -> None:
        nonlocal called
        called += 1

    start = now()
    for _ in range(n // 100):
        for _ in range(100):
            soon(callback)
        await sleep(0)
    took = now() - start
    await sleep(0)
    assert called == n // 100 * 100
    return took * n / called


async def reader(n: int) -> float:
    """n answers on a descriptor of the program's own: a reader is added and removed for each, as psycopg does."""
    loop = asyncio.get_running_loop()
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        there.setblocking(False)
        loop.add_reader(there, lambda: there.send(there.recv(16)))
        came = asyncio.Event()
        start = now()
        for _ in range(n):
            here.send(b"x")
            came.clear()
            loop.add_reader(here, came.set)
            try:
                await came.wait()
            finally:
                loop.remove_reader(here)
            assert here.recv(16) == b"x"
        took = now() - start
        loop.remove_reader(there)
    return took


def runs(runner: Runner, n: int) -> float:
    start = now()
    for _ in range(n):
        runner(nothing())
    return now() - start


async def park(n: int) -> NoReturn:
    queue: asyncio.Queue[int] = asyncio.Queue()
    started = 0

    async def worker() -> None:
        nonlocal started
        started += 1
        await queue.get()

    before = resident()
    for _ in range(n):
        # asyncio holds only weak references to tasks; one that waits on the queue is held by it.
        asyncio.create_task(worker())  # noqa: RUF006
        if _ % 1000 == 999:
            await sleep(0)
    while started < n:
        await sleep(0)
    await sleep(0)
    memory_is(before, n)


# ---- servers ----------------------------------------------------------------------------------------------
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world!"


async def echo_streams(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def http_streams(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(RESPONSE)
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


class EchoProtocol(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.write = transport.write  # type: ignore[attr-defined]  # uvloop's derives from no class of asyncio's

    def data_received(self, data: bytes) -> None:
        self.write(data)


class HttpProtocol(EchoProtocol):
    rest = b""

    def data_received(self, data: bytes) -> None:
        data = self.rest + data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            data = data[end + 4 :]
            self.write(RESPONSE)
        self.rest = data


async def until_eof(server: asyncio.Server) -> None:
    print(":".join(map(str, server.sockets[0].getsockname()[:2])), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


async def serve_streams(handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]) -> None:
    await until_eof(await asyncio.start_server(handler, "127.0.0.1", 0, backlog=2048))


async def serve_protocol(factory: Callable[[], asyncio.Protocol]) -> None:
    loop = asyncio.get_running_loop()
    await until_eof(await loop.create_server(factory, "127.0.0.1", 0, backlog=2048))


WORKLOADS: dict[str, Callable[[int], Coroutine[Any, Any, float]]] = {
    "yield": yield_,
    "spawn": spawn,
    "spawn-scale": spawn_at_once,
    "ping-pong": ping_pong,
    "pipeline-1": lambda n: pipeline(n, 1),
    "pipeline-100": lambda n: pipeline(n, 100),
    "pipeline-bulk": pipeline_bulk,
    "select-2": lambda n: fan_in(n, 2),
    "select-4": lambda n: fan_in(n, 4),
    "select-16": lambda n: fan_in(n, 16),
    **{f"lines-{length}": (lambda n, length=length: lines(n, length)) for length in LINES},
    "mutex": mutex,
    "timers": timers,
    "sleepers": sleepers,
    "skynet": skynet,
    "call-soon": call_soon,
    "reader": reader,
    "bridge-op": operations,
    "bridge-ping-pong": ping_pong,
    "bridge-call": lambda n: calls(n, 1),
    "bridge-call-100": lambda n: calls(n, 100),
}
NOTES = {
    "ping-pong": "two queues of 1: asyncio has no unbuffered channel",
    "select": "a forwarding task per queue: asyncio has no select",
    "skynet": "tasks return their sums",
}


def main(peer: str, version: str, runner: Runner) -> None:
    run(
        peer,
        version,
        {name: (lambda n, f=function: runner(f(n))) for name, function in WORKLOADS.items()}
        | {"asyncio-run": lambda n: runs(runner, n)},
        memory=lambda n: runner(park(n)),
        servers={
            "echo": lambda: runner(serve_streams(echo_streams)),
            "echo-protocol": lambda: runner(serve_protocol(EchoProtocol)),
            "http": lambda: runner(serve_streams(http_streams)),
            "http-protocol": lambda: runner(serve_protocol(HttpProtocol)),
            **{name: (lambda f=function: runner(f())) for name, function in _loop_servers.SERVERS.items()},
        },
        notes=NOTES,
    )


if __name__ == "__main__":
    main("asyncio", platform.python_version(), asyncio.run)
