"""Plain threads' side of the benchmarks: `threading` and `queue.SimpleQueue`, which is written in C.

- yield: `time.sleep(0)` gives the processor and the GIL away; `os.sched_yield()` keeps the GIL in some
  versions.
- pipeline: SimpleQueue has no bound, so a semaphore of 128 would be needed for the same meaning; without it
  the work is less, which is to the threads' advantage.
- select: a thread per queue that forwards into one queue. The job needs queues that make the sender wait, so
  these are `queue.Queue(1)`: SimpleQueue has no bound.
- lines: `socket.makefile("rb")`, whose buffer is C's.
- spawn-scale, timers, sleepers, skynet and memory need 10^5 threads or more and are left out.
"""

from __future__ import annotations

import itertools
import platform
import socket
import sys
import time
from queue import Queue, SimpleQueue
from threading import Lock, Thread
from time import perf_counter_ns as now

from _common import BATCH, LINES, YIELDERS, block_of_lines, check, run

sleep = time.sleep


def start_all(threads: list[Thread]) -> None:
    for thread in threads:
        thread.start()


def join_all(threads: list[Thread]) -> None:
    for thread in threads:
        thread.join()


def yield_(n: int) -> float:
    def worker() -> None:
        for _ in range(n // YIELDERS):
            sleep(0)

    threads = [Thread(target=worker) for _ in range(YIELDERS)]
    start = now()
    start_all(threads)
    join_all(threads)
    return now() - start


def nothing() -> None:
    pass


def spawn(n: int) -> float:
    start = now()
    for _ in range(0, n, BATCH):
        threads = [Thread(target=nothing) for _ in range(BATCH)]
        start_all(threads)
        join_all(threads)
    return now() - start


def ping_pong(n: int) -> float:
    ping: SimpleQueue[int] = SimpleQueue()
    pong: SimpleQueue[int] = SimpleQueue()

    def answer() -> None:
        for _ in range(n):
            pong.put(ping.get())

    thread = Thread(target=answer)
    thread.start()
    start = now()
    for i in range(n):
        ping.put(i)
        pong.get()
    took = now() - start
    thread.join()
    return took


def pipeline(n: int, hops: int) -> float:
    items = n // hops
    queues: list[SimpleQueue[int]] = [SimpleQueue() for _ in range(hops)]

    def source() -> None:
        put = queues[0].put
        for i in range(items):
            put(i)

    def stage(a: SimpleQueue[int], b: SimpleQueue[int]) -> None:
        for _ in range(items):
            b.put(a.get())

    threads = [Thread(target=stage, args=pair) for pair in itertools.pairwise(queues)]
    threads.append(Thread(target=source))
    start = now()
    start_all(threads)
    get = queues[-1].get
    for _ in range(items):
        get()
    took = now() - start
    join_all(threads)
    return took


def fan_in(n: int, k: int) -> float:
    per = n // k
    queues: list[Queue[int]] = [Queue(1) for _ in range(k)]
    merged: Queue[int] = Queue(1)

    def source(queue: Queue[int]) -> None:
        for i in range(per):
            queue.put(i)

    def forward(queue: Queue[int]) -> None:
        for _ in range(per):
            merged.put(queue.get())

    threads = [Thread(target=source, args=(q,)) for q in queues]
    threads += [Thread(target=forward, args=(q,)) for q in queues]
    total = 0
    start = now()
    start_all(threads)
    for _ in range(per * k):
        total += merged.get()
    took = now() - start
    check(total == k * per * (per - 1) // 2, "select lost items")
    join_all(threads)
    return took


def lines(n: int, length: int) -> float:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        writer = socket.create_connection(listener.getsockname())
        reader, _ = listener.accept()
    block, times = block_of_lines(length, n)

    def write() -> None:
        for _ in range(times):
            writer.sendall(block)
        writer.close()

    thread = Thread(target=write)
    with reader, reader.makefile("rb", buffering=65536) as file:
        thread.start()
        size = 0
        start = now()
        for _ in range(n):
            size += len(file.readline())
        took = now() - start
        check(size == n * length, "lines lost bytes")
        while file.read(65536):
            pass  # what the last block has beyond n lines
    thread.join()
    return took


def mutex(n: int) -> float:
    lock = Lock()
    count = 0

    def worker() -> None:
        nonlocal count
        for _ in range(n // YIELDERS):
            with lock:
                count += 1
                sleep(0)

    threads = [Thread(target=worker) for _ in range(YIELDERS)]
    start = now()
    start_all(threads)
    join_all(threads)
    took = now() - start
    check(count == n // YIELDERS * YIELDERS, "the lock let two in")
    return took


if __name__ == "__main__":
    run(
        "threads",
        f"{platform.python_version()}{'' if getattr(sys, '_is_gil_enabled', lambda: True)() else 't'}",
        {
            "yield": yield_,
            "spawn": spawn,
            "ping-pong": ping_pong,
            "pipeline-1": lambda n: pipeline(n, 1),
            "pipeline-100": lambda n: pipeline(n, 100),
            "select-2": lambda n: fan_in(n, 2),
            "select-4": lambda n: fan_in(n, 4),
            "select-16": lambda n: fan_in(n, 16),
            "mutex": mutex,
            **{f"lines-{length}": (lambda n, length=length: lines(n, length)) for length in LINES},
        },
        notes={
            "pipeline": "SimpleQueue has no bound",
            "select": "a forwarding thread per queue: queues have no select; queue.Queue(1)",
        },
    )
