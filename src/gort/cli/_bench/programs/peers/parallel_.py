"""Work that computes, on one processor and on several: gort beside threads and processes.

    python parallel_.py WHO JOB P      WHO: gort, threads, processes
    python parallel_.py --list

Prints one JSON line with the seconds that the whole job took; starting the workers is not counted. A job is
32 pieces of pure Python (hashing: C) that share nothing but code. `stages` is a pipeline of four stages that
compute, joined by channels of 128 (threads: queue.Queue(128); processes: multiprocessing.Queue(128)).

With the GIL only processes can be faster on two processors than on one (and hashing, which lets go of the
GIL).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import multiprocessing
import os
import queue
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

from _common import check, emit, fail

PIECES = 32
ITEMS = 8000
DOCUMENT = json.dumps([{"id": i, "name": f"item {i}", "tags": ["a", "b", str(i)], "x": i * 0.5} for i in range(400)])
BLOCK = bytes(range(256)) * 1024
STOP = -1


def primes(piece: int) -> int:
    """Counts the primes of one segment of 60,000 numbers: all have a divisor below 1,500 if they have one."""
    size = 60_000
    low = 200_000 + piece * size
    sieve = bytearray(b"\x01") * size
    for p in range(2, 1500):
        if any(p % q == 0 for q in (2, 3, 5, 7) if q < p):
            continue
        for multiple in range((low + p - 1) // p * p, low + size, p):
            sieve[multiple - low] = 0
    return sum(sieve)


def parse(_piece: int) -> int:
    return sum(len(json.loads(DOCUMENT)) for _ in range(30))


def mandelbrot(piece: int) -> int:
    inside = 0
    y = piece / PIECES * 2 - 1
    for column in range(400):
        x = column / 400 * 3 - 2
        zr = zi = 0.0
        for _ in range(200):
            zr, zi = zr * zr - zi * zi + x, 2 * zr * zi + y
            if zr * zr + zi * zi > 4:
                break
        else:
            inside += 1
    return inside


def hashing(piece: int) -> int:
    digest = bytes([piece])
    for _ in range(80):
        state = hashlib.sha256(digest)
        state.update(BLOCK)  # digest + BLOCK would measure page faults, for which the threads of a process contend
        digest = state.digest()
    return digest[0]


def churn(value: int) -> int:
    """What a stage of the pipeline does to an item."""
    for _ in range(60):
        value = (value * 1103515245 + 12345) & 0x7FFFFFFF
    return value


JOBS: dict[str, Callable[[int], int]] = {
    "primes": primes,
    "json": parse,
    "mandelbrot": mandelbrot,
    "hashing": hashing,
}


# ---- gort -------------------------------------------------------------------------------------------------
def by_gort(job: str, procs: int) -> float:
    import gort

    work = JOBS.get(job)

    async def pieces() -> float:
        assert work is not None
        results: gort.Chan[int] = gort.Chan(PIECES)

        async def worker(piece: int) -> None:
            await results.send(work(piece))

        start = perf_counter()
        for piece in range(PIECES):
            gort.go(worker, piece)
        got = 0
        for _ in range(PIECES):
            await results.recv()
            got += 1
        check(got == PIECES, "a piece was lost")
        return perf_counter() - start

    async def stages() -> float:
        channels: list[gort.Chan[int]] = [gort.Chan(128) for _ in range(5)]

        async def stage(a: gort.Chan[int], b: gort.Chan[int]) -> None:
            async for value in a:
                await b.send(churn(value))
            b.close()

        async def source() -> None:
            for i in range(ITEMS):
                await channels[0].send(i)
            channels[0].close()

        start = perf_counter()
        for a, b in itertools.pairwise(channels):
            gort.go(stage, a, b)
        gort.go(source)
        got = 0
        async for _ in channels[-1]:
            got += 1
        check(got == ITEMS, "the pipeline lost items")
        return perf_counter() - start

    return float(gort.run(stages if work is None else pieces, procs=procs))


# ---- threads ----------------------------------------------------------------------------------------------
def stage_of(get: Callable[[], int], put: Callable[[int], None]) -> None:
    while (value := get()) != STOP:
        put(churn(value))
    put(STOP)


def by_threads(job: str, procs: int) -> float:
    if job != "stages":
        with ThreadPoolExecutor(procs) as pool:
            list(pool.map(len, [b""] * procs))
            start = perf_counter()
            list(pool.map(JOBS[job], range(PIECES)))
            return perf_counter() - start
    # The stages are threads, as many as there are: P is the number of processors that they may use.
    queues: list[queue.Queue[int]] = [queue.Queue(128) for _ in range(5)]
    return run_stages(queues, threading.Thread, procs)


def by_processes(job: str, procs: int) -> float:
    context: Any = multiprocessing.get_context("fork")
    if job != "stages":
        with context.Pool(procs) as pool:
            pool.map(len, [b""] * procs)
            start = perf_counter()
            pool.map(JOBS[job], range(PIECES), chunksize=1)
            return perf_counter() - start
    return run_stages([context.Queue(128) for _ in range(5)], context.Process, procs)


def run_stages(queues: list[Any], make: Callable[..., Any], procs: int) -> float:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(allowed)[:procs]))
    workers = [make(target=stage_of, args=(a.get, b.put)) for a, b in itertools.pairwise(queues)]
    feeder = threading.Thread(target=lambda: [queues[0].put(i) for i in range(ITEMS)] and queues[0].put(STOP))
    for worker in workers:
        worker.start()
    start = perf_counter()
    feeder.start()
    got = 0
    while queues[-1].get() != STOP:
        got += 1
    took = perf_counter() - start
    for worker in (*workers, feeder):
        worker.join()
    check(got == ITEMS, "the pipeline lost items")
    return took


BY = {"gort": by_gort, "threads": by_threads, "processes": by_processes}


def main() -> None:
    arguments = sys.argv[1:]
    if arguments == ["--list"]:
        emit(who=list(BY), jobs=[*JOBS, "stages"])
        return
    if len(arguments) != 3 or arguments[0] not in BY or arguments[1] not in (*JOBS, "stages"):
        fail(f"usage: {'|'.join(BY)} {'|'.join(JOBS)}|stages P")
    who, job, procs = arguments[0], arguments[1], int(arguments[2])
    BY[who](job, procs)
    emit(who=who, job=job, procs=procs, value=min(BY[who](job, procs) for _ in range(2)), unit="s")


if __name__ == "__main__":
    main()
