"""A worker pool: a fixed number of workers takes jobs and sends results, with a deadline for the whole.

    gort run examples/worker_pool.py [WORKERS] [JOBS] [SECONDS]

A Group ends when all its members have ended; the first one to fail would cancel the others.  The context's deadline
stops the producer, whose select has the context as one more case.  Then the producer closes the channel of jobs, and
that ends the workers.  A job counts the primes below a number; it stands for work that computes.  With more than one P,
on an interpreter without the GIL, the workers run in parallel.
"""

from __future__ import annotations

import sys
import time

import gort
from gort import context


def count_primes(below: int) -> int:
    """A job: counts the primes below a number."""
    sieve = bytearray([1]) * max(below, 2)
    sieve[0:2] = b"\0\0"
    for i in range(2, int(below**0.5) + 1):
        if sieve[i]:
            sieve[i * i :: i] = bytes(len(range(i * i, below, i)))
    return sum(sieve)


async def produce(ctx: context.Context, jobs: gort.Chan[int], count: int) -> int:
    """Sends the jobs until there are no more or ctx is done.  Returns how many it has sent."""
    try:
        for i in range(count):
            case, _, _ = await gort.select(ctx.done().recv(), jobs.send(10_000 + 100 * i))
            if case == 0:
                return i
        return count
    finally:
        jobs.close()


async def work(jobs: gort.Chan[int], results: gort.Chan[tuple[int, int]]) -> None:
    """A worker: takes jobs until there are no more."""
    async for below in jobs:
        await results.send((below, count_primes(below)))


async def run_pool(workers: int, count: int, seconds: float) -> tuple[int, dict[int, int]]:
    """Returns (how many jobs were sent, the results)."""
    jobs: gort.Chan[int] = gort.Chan()
    results: gort.Chan[tuple[int, int]] = gort.Chan(workers)

    async def collect() -> dict[int, int]:
        return {below: primes async for below, primes in results}

    with context.with_timeout(context.background(), seconds) as ctx:
        async with gort.Group() as outer:
            found = outer.go(collect)
            async with gort.Group() as pool:
                sent = pool.go(produce, ctx, jobs, count)
                for _ in range(workers):
                    pool.go(work, jobs, results)
            results.close()
    return sent.result(), found.result()


async def main() -> None:
    """Runs the pool and prints what it has done."""
    try:
        workers, count = (int(text) for text in (sys.argv[1:3] + ["4", "200"][len(sys.argv[1:3]) :]))
        seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 10.0
    except ValueError as error:
        sys.exit(f"worker_pool.py: WORKERS and JOBS are whole numbers, SECONDS is a number: {error}")
    if workers < 1:
        sys.exit("worker_pool.py: at least one worker is needed")
    start = time.monotonic()
    sent, found = await run_pool(workers, count, seconds)
    took = time.monotonic() - start
    print(f"{len(found)} of {count} jobs done by {workers} workers in {took:.2f} s")
    if sent < count:
        print(f"the deadline of {seconds} s came first")
    if found:
        largest = max(found)
        print(f"primes below {largest}: {found[largest]}")


if __name__ == "__main__":
    gort.run(main)
