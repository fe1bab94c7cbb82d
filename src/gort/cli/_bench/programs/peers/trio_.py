"""trio's side of the benchmarks.

- yield: `trio.lowlevel.checkpoint()`, which is what `trio.sleep(0)` does, less its argument checks.
- ping-pong, select: memory channels with a buffer of 0 are trio's rendezvous; select is a task per channel
  that forwards into one channel, since trio has no select.
- lines: trio has no reader of lines; this is the one that its documentation leaves to the user, over a bytearray that is
  searched from where the last search ended.
- skynet: children append to a list of their parent's, which costs less than a channel per node.
- timers are left out: a cancel scope's deadline lasts as long as its block, so 10^5 of them cannot be pending
  in one task.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from time import perf_counter_ns as now
from typing import Any, NoReturn

from _common import BATCH, CAPACITY, LINES, YIELDERS, block_of_lines, check, memory_is, missing, resident, run

try:
    import trio
except ImportError as error:
    missing("trio", str(error))

checkpoint = trio.lowlevel.checkpoint
Send = trio.MemorySendChannel[int]
Receive = trio.MemoryReceiveChannel[int]


async def yield_(n: int) -> float:
    async def worker() -> None:
        for _ in range(n // YIELDERS):
            await checkpoint()

    start = now()
    async with trio.open_nursery() as nursery:
        for _ in range(YIELDERS):
            nursery.start_soon(worker)
    return now() - start


async def nothing() -> None:
    pass


async def spawn_at_once(n: int) -> float:
    start = now()
    async with trio.open_nursery() as nursery:
        start_soon = nursery.start_soon
        for _ in range(n):
            start_soon(nothing)
    return now() - start


async def spawn(n: int) -> float:
    took = 0.0
    for _ in range(0, n, BATCH):
        took += await spawn_at_once(BATCH)
    return took


async def ping_pong(n: int) -> float:
    ping_in, ping_out = trio.open_memory_channel[int](0)
    pong_in, pong_out = trio.open_memory_channel[int](0)

    async def answer() -> None:
        for _ in range(n):
            await pong_in.send(await ping_out.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        start = now()
        for i in range(n):
            await ping_in.send(i)
            await pong_out.receive()
        return now() - start


async def pipeline(n: int, hops: int) -> float:
    items = n // hops
    channels = [trio.open_memory_channel[int](CAPACITY) for _ in range(hops)]

    async def source() -> None:
        send = channels[0][0].send
        for i in range(items):
            await send(i)

    async def stage(
        receive: Callable[[], Coroutine[Any, Any, int]], send: Callable[[int], Coroutine[Any, Any, None]]
    ) -> None:
        for _ in range(items):
            await send(await receive())

    async with trio.open_nursery() as nursery:
        start = now()
        for a, b in itertools.pairwise(channels):
            nursery.start_soon(stage, a[1].receive, b[0].send)
        nursery.start_soon(source)
        receive = channels[-1][1].receive
        for _ in range(items):
            await receive()
        return now() - start


async def fan_in(n: int, k: int) -> float:
    per = n // k
    channels = [trio.open_memory_channel[int](0) for _ in range(k)]
    merged_in, merged_out = trio.open_memory_channel[int](0)

    async def source(channel: Send) -> None:
        for i in range(per):
            await channel.send(i)

    async def forward(channel: Receive) -> None:
        for _ in range(per):
            await merged_in.send(await channel.receive())

    total = 0
    async with trio.open_nursery() as nursery:
        for a, b in channels:
            nursery.start_soon(source, a)
            nursery.start_soon(forward, b)
        start = now()
        for _ in range(per * k):
            total += await merged_out.receive()
        took = now() - start
    check(total == k * per * (per - 1) // 2, "select lost items")
    return took


class LineReader:
    """Lines of a stream."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.buffer = bytearray()

    async def readline(self) -> bytearray:
        """The next line with its end."""
        searched = 0
        while (end := self.buffer.find(b"\n", searched) + 1) == 0:
            searched = len(self.buffer)
            data = await self.stream.receive_some(65536)
            check(bool(data), "the stream ended early")
            self.buffer += data
        line = self.buffer[:end]
        del self.buffer[:end]
        return line


async def lines(n: int, length: int) -> float:
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    writer = await trio.open_tcp_stream(*listener.socket.getsockname()[:2])
    stream = await listener.accept()
    await listener.aclose()
    block, times = block_of_lines(length, n)

    async def write() -> None:
        for _ in range(times):
            await writer.send_all(block)
        await writer.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        reader = LineReader(stream)
        size = 0
        start = now()
        for _ in range(n):
            size += len(await reader.readline())
        took = now() - start
        check(size == n * length, "lines lost bytes")
        while await stream.receive_some(65536):
            pass  # what the last block has beyond n lines
        await stream.aclose()
    return took


async def mutex(n: int) -> float:
    lock = trio.Lock()
    count = 0

    async def worker() -> None:
        nonlocal count
        for _ in range(n // YIELDERS):
            async with lock:
                count += 1
                await checkpoint()

    start = now()
    async with trio.open_nursery() as nursery:
        for _ in range(YIELDERS):
            nursery.start_soon(worker)
    took = now() - start
    check(count == n // YIELDERS * YIELDERS, "the lock let two in")
    return took


async def sleepers(n: int) -> float:
    start = now()
    async with trio.open_nursery() as nursery:
        for i in range(n):
            nursery.start_soon(trio.sleep, (i % 10 + 1) / 1000)
    return now() - start


async def node(number: int, size: int, out: list[int]) -> None:
    if size == 1:
        out.append(number)
        return
    size //= 10
    parts: list[int] = []
    async with trio.open_nursery() as nursery:
        for i in range(10):
            nursery.start_soon(node, number + i * size, size, parts)
    out.append(sum(parts))


async def skynet(n: int) -> float:
    out: list[int] = []
    start = now()
    await node(0, n, out)
    took = now() - start
    check(out[0] == n * (n - 1) // 2, "skynet: wrong sum")
    return took


async def park(n: int) -> NoReturn:
    _send, receive = trio.open_memory_channel[int](0)
    started = 0

    async def worker() -> None:
        nonlocal started
        started += 1
        await receive.receive()

    before = resident()
    async with trio.open_nursery() as nursery:
        for _ in range(n):
            nursery.start_soon(worker)
        while started < n:
            await checkpoint()
        await checkpoint()
        memory_is(before, n)


RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world!"


async def echo(stream: trio.SocketStream) -> None:
    try:
        while data := await stream.receive_some(4096):
            await stream.send_all(data)
    except trio.BrokenResourceError:
        pass


async def http(stream: trio.SocketStream) -> None:
    rest = b""
    try:
        while data := await stream.receive_some(4096):
            rest += data
            while (end := rest.find(b"\r\n\r\n")) >= 0:
                rest = rest[end + 4 :]
                await stream.send_all(RESPONSE)
    except trio.BrokenResourceError:
        pass


async def serve(handler: Callable[[trio.SocketStream], Coroutine[Any, Any, None]]) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=2048)
    print(":".join(map(str, listeners[0].socket.getsockname()[:2])), flush=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(trio.serve_listeners, handler, listeners))
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()


WORKLOADS: dict[str, Callable[[int], Coroutine[Any, Any, float]]] = {
    "yield": yield_,
    "spawn": spawn,
    "spawn-scale": spawn_at_once,
    "ping-pong": ping_pong,
    "pipeline-1": lambda n: pipeline(n, 1),
    "pipeline-100": lambda n: pipeline(n, 100),
    "select-2": lambda n: fan_in(n, 2),
    "select-4": lambda n: fan_in(n, 4),
    "select-16": lambda n: fan_in(n, 16),
    **{f"lines-{length}": (lambda n, length=length: lines(n, length)) for length in LINES},
    "mutex": mutex,
    "sleepers": sleepers,
    "skynet": skynet,
}

if __name__ == "__main__":
    run(
        "trio",
        trio.__version__,
        {name: (lambda n, f=function: trio.run(f, n)) for name, function in WORKLOADS.items()},
        memory=lambda n: trio.run(park, n),
        servers={"echo": lambda: trio.run(serve, echo), "http": lambda: trio.run(serve, http)},
        notes={"select": "a forwarding task per channel: trio has no select"},
    )
