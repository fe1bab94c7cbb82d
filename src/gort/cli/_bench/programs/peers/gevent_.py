"""gevent's side of the benchmarks.

- `gevent.queue.Channel` is gevent's rendezvous, `gevent.queue.SimpleQueue` its cheapest queue.
- select: a greenlet per channel that forwards into one channel, since gevent has no select over queues.
- spawn: `gevent.spawn` and `joinall`. Nothing of the standard library is patched: nothing here needs it.
- timers: `gevent.Timeout`, started and closed.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from time import perf_counter_ns as now
from typing import NoReturn

from _common import BATCH, CAPACITY, YIELDERS, check, memory_is, missing, resident, run

try:
    import gevent
    from gevent.lock import BoundedSemaphore
    from gevent.queue import Channel, SimpleQueue
    from gevent.server import StreamServer
    from gevent.socket import socket
except ImportError as error:
    missing("gevent", str(error))

sleep = gevent.sleep
spawn_greenlet = gevent.spawn
joinall = gevent.joinall


def yield_(n: int) -> float:
    def worker() -> None:
        for _ in range(n // YIELDERS):
            sleep(0)

    start = now()
    joinall([spawn_greenlet(worker) for _ in range(YIELDERS)])
    return now() - start


def nothing() -> None:
    pass


def spawn_at_once(n: int) -> float:
    start = now()
    joinall([spawn_greenlet(nothing) for _ in range(n)])
    return now() - start


def spawn(n: int) -> float:
    took = 0.0
    for _ in range(0, n, BATCH):
        took += spawn_at_once(BATCH)
    return took


def ping_pong(n: int) -> float:
    ping, pong = Channel(), Channel()

    def answer() -> None:
        for _ in range(n):
            pong.put(ping.get())

    greenlet = spawn_greenlet(answer)
    start = now()
    for i in range(n):
        ping.put(i)
        pong.get()
    took = now() - start
    greenlet.join()
    return took


def pipeline(n: int, hops: int) -> float:
    items = n // hops
    queues = [SimpleQueue(CAPACITY) for _ in range(hops)]

    def source() -> None:
        put = queues[0].put
        for i in range(items):
            put(i)

    def stage(get: Callable[[], int], put: Callable[[int], None]) -> None:
        for _ in range(items):
            put(get())

    start = now()
    greenlets = [spawn_greenlet(stage, a.get, b.put) for a, b in itertools.pairwise(queues)]
    greenlets.append(spawn_greenlet(source))
    get = queues[-1].get
    for _ in range(items):
        get()
    took = now() - start
    joinall(greenlets)
    return took


def fan_in(n: int, k: int) -> float:
    per = n // k
    channels = [Channel() for _ in range(k)]
    merged = Channel()

    def source(channel: Channel) -> None:
        for i in range(per):
            channel.put(i)

    def forward(channel: Channel) -> None:
        for _ in range(per):
            merged.put(channel.get())

    greenlets = [spawn_greenlet(source, c) for c in channels] + [spawn_greenlet(forward, c) for c in channels]
    total = 0
    start = now()
    for _ in range(per * k):
        total += merged.get()
    took = now() - start
    check(total == k * per * (per - 1) // 2, "select lost items")
    joinall(greenlets)
    return took


def mutex(n: int) -> float:
    lock = BoundedSemaphore(1)
    count = 0

    def worker() -> None:
        nonlocal count
        for _ in range(n // YIELDERS):
            with lock:
                count += 1
                sleep(0)

    start = now()
    joinall([spawn_greenlet(worker) for _ in range(YIELDERS)])
    took = now() - start
    check(count == n // YIELDERS * YIELDERS, "the lock let two in")
    return took


def timers(n: int) -> float:
    start_new = gevent.Timeout.start_new
    start = now()
    pending = [start_new(3600 + i % 1000) for i in range(n)]
    for timeout in pending:
        timeout.close()
    return now() - start


def sleepers(n: int) -> float:
    start = now()
    joinall([spawn_greenlet(sleep, (i % 10 + 1) / 1000) for i in range(n)])
    return now() - start


def node(number: int, size: int) -> int:
    if size == 1:
        return number
    size //= 10
    children = [spawn_greenlet(node, number + i * size, size) for i in range(10)]
    return sum(child.get() for child in children)


def skynet(n: int) -> float:
    start = now()
    total = node(0, n)
    took = now() - start
    check(total == n * (n - 1) // 2, "skynet: wrong sum")
    return took


def park(n: int) -> NoReturn:
    channel = Channel()
    started = 0

    def worker() -> None:
        nonlocal started
        started += 1
        channel.get()

    before = resident()
    for _ in range(n):
        spawn_greenlet(worker)
    while started < n:
        sleep(0)
    sleep(0)
    memory_is(before, n)


RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world!"


def echo(sock: socket, _address: object) -> None:
    recv, send = sock.recv, sock.sendall
    try:
        while data := recv(4096):
            send(data)
    except OSError:
        pass


def http(sock: socket, _address: object) -> None:
    recv, send = sock.recv, sock.sendall
    rest = b""
    try:
        while data := recv(4096):
            rest += data
            while (end := rest.find(b"\r\n\r\n")) >= 0:
                rest = rest[end + 4 :]
                send(RESPONSE)
    except OSError:
        pass


def serve(handler: Callable[[socket, object], None]) -> None:
    server = StreamServer(("127.0.0.1", 0), handler, backlog=2048)
    server.start()
    print(":".join(map(str, server.address[:2])), flush=True)
    gevent.get_hub().threadpool.apply(sys.stdin.read)
    server.stop(timeout=0)


if __name__ == "__main__":
    run(
        "gevent",
        gevent.__version__,
        {
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
            "timers": timers,
            "sleepers": sleepers,
            "skynet": skynet,
        },
        memory=park,
        servers={"echo": lambda: serve(echo), "http": lambda: serve(http)},
        notes={"select": "a forwarding greenlet per channel: gevent has no select over queues"},
    )
