"""The block and the mutex profile: where goroutines wait, and who lets them wait. Twin of ../go/profiles.go.

A scenario writes the two profiles to the files that are its arguments, and prints how long each of its functions has
waited by its own clock."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import wraps

from kit import MS, run_scenario, say, scenario

import gort
from gort import debug
from gort.sync import Cond, Mutex, RWMutex, WaitGroup

waited: list[tuple[str, int]] = []  # and no sums: without the GIL several goroutines add at once

mu = Mutex()
rw = RWMutex()
cond = Cond(mu)
ready = False
ch: gort.Chan[int] = gort.Chan()
full: gort.Chan[int] = gort.Chan(1)

Body = Callable[[], Awaitable[None]]


async def timed(name: str, op: Awaitable[object]) -> None:
    """Adds what op takes to what the function has waited."""
    began = time.monotonic_ns()
    await op
    waited.append((name, time.monotonic_ns() - began))


def profiled(body: Body) -> Body:
    @wraps(body)
    async def scenario() -> None:
        debug.set_block_profile_rate(1)
        debug.set_mutex_profile_fraction(1)
        await body()
        for name, file in zip(("block", "mutex"), sys.argv[2:4], strict=True):
            debug.write_profile(name, file)
        sums: Counter[str] = Counter()
        for name, took in waited:
            sums[name] += took
        for name, took in sums.items():
            say(name, took)

    return scenario


async def begin(n: int, wg: WaitGroup, body: Body) -> None:
    """Starts n goroutines, one after another, and waits until each has parked."""
    for _ in range(n):
        wg.go(body)
    await gort.sleep(5 * MS)


async def lookup() -> None:
    await timed("lookup", mu.lock())
    await gort.sleep(80 * MS)
    mu.unlock()


async def reads() -> None:
    await timed("reads", rw.rlock())
    await gort.sleep(250 * MS)
    rw.runlock()


async def writes() -> None:
    await timed("writes", rw.lock())
    await gort.sleep(80 * MS)
    rw.unlock()


async def receives() -> None:
    await timed("receives", ch.recv())


async def sends() -> None:
    await timed("sends", full.send(1))


async def chooses() -> None:
    await timed("chooses", gort.select(ch.recv_ok(), full.send(1)))


async def woken() -> None:
    while not ready:
        await cond.wait()


async def awaits() -> None:
    await mu.lock()
    await timed("awaits", woken())
    mu.unlock()


@scenario(mode="profile")
@profiled
async def convoy() -> None:
    wg = WaitGroup()
    await mu.lock()
    await begin(8, wg, lookup)
    mu.unlock()
    await wg.wait()


@scenario(mode="profile")
@profiled
async def readers_and_writers() -> None:
    wg = WaitGroup()
    await rw.lock()
    await begin(4, wg, reads)
    await gort.sleep(250 * MS)
    rw.unlock()
    await gort.sleep(10 * MS)
    await begin(3, wg, writes)
    await wg.wait()


@scenario(mode="profile")
@profiled
async def channels() -> None:
    wg = WaitGroup()
    await full.send(0)
    await begin(3, wg, receives)
    await begin(3, wg, sends)
    await gort.sleep(400 * MS)
    for i in range(3):
        await ch.send(i)
        await full.recv()
    await begin(2, wg, chooses)
    await gort.sleep(400 * MS)
    ch.close()
    await wg.wait()


@scenario(mode="profile")
@profiled
async def condition() -> None:
    global ready
    wg = WaitGroup()
    await begin(4, wg, awaits)
    await gort.sleep(400 * MS)
    await mu.lock()
    ready = True
    cond.broadcast()
    mu.unlock()
    await wg.wait()


async def main() -> None:
    await run_scenario()
