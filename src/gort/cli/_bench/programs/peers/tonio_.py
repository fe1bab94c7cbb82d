"""TonIO's side of the benchmarks: a multi-threaded runtime in Rust, for free-threaded Python only.

- `tonio.colored` is its async/await form. Its contextvars stay off, as it has them by default.
- spawn: `spawn.without_results`, which keeps no list of what the coroutines return.
- ping-pong: channels of 1; it has no unbuffered ones.
- select: a task per channel that forwards into one channel. `tonio.select` spawns a task per case and cancels
  the losers, which takes longer, and a cancelled receive may have taken its item.
- timers are left out: it has sleeping coroutines, but no timer that can be stopped.
- sleepers are left out: with TonIO 0.6.0 a thousand coroutines that sleep 1 to 10 ms never all come back,
  with one thread or two.

TONIO_BENCH_THREADS sets the number of its threads (default 1).
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from time import perf_counter_ns as now
from typing import Any, NoReturn

from _common import BATCH, CAPACITY, YIELDERS, check, memory_is, missing, resident, run

try:
    import tonio.colored as tonio
    from tonio.colored.net import SocketStream, open_tcp_listeners
    from tonio.colored.sync import Lock
    from tonio.colored.sync.channel import channel
except ImportError as error:
    missing("tonio", str(error))

THREADS = int(os.environ.get("TONIO_BENCH_THREADS", "1"))
yield_now = tonio.yield_now
start_all = tonio.spawn.without_results


async def yield_(n: int) -> float:
    async def worker() -> None:
        for _ in range(n // YIELDERS):
            await yield_now()

    start = now()
    await start_all(*[worker() for _ in range(YIELDERS)])
    return now() - start


async def nothing() -> None:
    pass


async def spawn_at_once(n: int) -> float:
    start = now()
    await start_all(*[nothing() for _ in range(n)])
    return now() - start


async def spawn(n: int) -> float:
    took = 0.0
    for _ in range(0, n, BATCH):
        took += await spawn_at_once(BATCH)
    return took


async def ping_pong(n: int) -> float:
    ping_in, ping_out = channel(1)
    pong_in, pong_out = channel(1)

    async def answer() -> None:
        for _ in range(n):
            await pong_in.send(await ping_out.receive())

    done = start_all(answer())
    start = now()
    for i in range(n):
        await ping_in.send(i)
        await pong_out.receive()
    took = now() - start
    await done
    return took


async def pipeline(n: int, hops: int) -> float:
    items = n // hops
    channels = [channel(CAPACITY) for _ in range(hops)]

    async def source() -> None:
        send = channels[0][0].send
        for i in range(items):
            await send(i)

    async def stage(
        receive: Callable[[], Coroutine[Any, Any, int]], send: Callable[[int], Coroutine[Any, Any, None]]
    ) -> None:
        for _ in range(items):
            await send(await receive())

    start = now()
    done = start_all(*[stage(a[1].receive, b[0].send) for a, b in itertools.pairwise(channels)], source())
    receive = channels[-1][1].receive
    for _ in range(items):
        await receive()
    took = now() - start
    await done
    return took


async def fan_in(n: int, k: int) -> float:
    per = n // k
    channels = [channel(1) for _ in range(k)]
    merged_in, merged_out = channel(1)

    async def source(sender: Any) -> None:
        for i in range(per):
            await sender.send(i)

    async def forward(receiver: Any) -> None:
        for _ in range(per):
            await merged_in.send(await receiver.receive())

    total = 0
    start = now()
    done = start_all(*[source(a) for a, _ in channels], *[forward(b) for _, b in channels])
    for _ in range(per * k):
        total += await merged_out.receive()
    took = now() - start
    await done
    check(total == k * per * (per - 1) // 2, "select lost items")
    return took


async def mutex(n: int) -> float:
    lock = Lock()
    count = 0

    async def worker() -> None:
        nonlocal count
        for _ in range(n // YIELDERS):
            async with lock:
                count += 1
                await yield_now()

    start = now()
    await start_all(*[worker() for _ in range(YIELDERS)])
    took = now() - start
    check(count == n // YIELDERS * YIELDERS, "the lock let two in")
    return took


async def node(number: int, size: int) -> int:
    if size == 1:
        return number
    size //= 10
    return sum(await tonio.spawn(*[node(number + i * size, size) for i in range(10)]))


async def skynet(n: int) -> float:
    start = now()
    total = await node(0, n)
    took = now() - start
    check(total == n * (n - 1) // 2, "skynet: wrong sum")
    return took


async def park(n: int) -> NoReturn:
    sender, receiver = channel(1)
    started = 0

    async def worker() -> None:
        nonlocal started
        started += 1
        await receiver.receive()

    before = resident()
    for _ in range(n):
        tonio.spawn.without_tracking(worker())
    while started < n:
        await yield_now()
    await yield_now()
    assert sender is not None  # a channel without a sender is closed
    memory_is(before, n)


# ---- servers ----------------------------------------------------------------------------------------------
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world!"


async def echo(stream: SocketStream) -> None:
    try:
        while data := await stream.receive_some(4096):
            await stream.send_all(data)
    except (OSError, RuntimeError):
        pass


async def http(stream: SocketStream) -> None:
    rest = b""
    try:
        while data := await stream.receive_some(4096):
            rest += data
            while (end := rest.find(b"\r\n\r\n")) >= 0:
                rest = rest[end + 4 :]
                await stream.send_all(RESPONSE)
    except (OSError, RuntimeError):
        pass


async def serve(handler: Callable[[SocketStream], Coroutine[Any, Any, None]]) -> None:
    listeners = await open_tcp_listeners(0, host="127.0.0.1", backlog=2048)
    print(":".join(map(str, listeners[0].socket.getsockname()[:2])), flush=True)

    async def accept() -> None:
        while True:
            tonio.spawn.without_tracking(handler(await listeners[0].accept()))

    tonio.spawn.without_tracking(accept())
    await tonio.spawn_blocking(sys.stdin.read)
    os._exit(0)


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
    "mutex": mutex,
    "skynet": skynet,
}

if __name__ == "__main__":
    runtime = None

    def once(coroutine: Coroutine[Any, Any, Any]) -> Any:
        """A process has one runtime, which runs one coroutine after another."""
        global runtime
        if runtime is None:
            runtime = tonio.runtime(threads=THREADS)
        return runtime.run_until_complete(coroutine)

    run(
        "tonio",
        version("tonio"),
        {name: (lambda n, f=function: once(f(n))) for name, function in WORKLOADS.items()},
        memory=lambda n: once(park(n)),
        servers={"echo": lambda: once(serve(echo)), "http": lambda: once(serve(http))},
        notes={
            "ping-pong": "channels of 1: TonIO has no unbuffered ones",
            "select": "a forwarding task per channel",
        },
    )
