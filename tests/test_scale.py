"""Large numbers: goroutines parked by the hundred thousand, timers by the ten thousand."""

from __future__ import annotations

import random
import time
from bisect import bisect_right
from collections.abc import Callable
from typing import Any

import pytest

import gort
from gort import runtime
from gort.sync import WaitGroup
from support import dose, send, until, wait_reasons

Run = Callable[..., Any]

VERY_MANY = dose(100_000 if runtime.compiled else 10_000)  # the uncompiled core takes as long for these


@pytest.mark.slow
def test_very_many_parked_goroutines(run: Run) -> None:
    """All wait on channels of their own, all are woken by a value of their own, all finish."""
    n = VERY_MANY

    async def main() -> tuple[int, int, int]:
        chans: list[gort.Chan[int]] = [gort.Chan() for _ in range(n)]
        total = 0
        wg = WaitGroup()

        waiting: list[None] = []

        async def waiter(ch: gort.Chan[int], out: gort.Chan[int]) -> None:
            waiting.append(None)
            await out.send(await ch.recv())

        out: gort.Chan[int] = gort.Chan(1000)
        for ch in chans:
            wg.go(waiter, ch, out)
        most = runtime.num_goroutine()
        # A dump of all of them takes seconds: taken once most have come to their receive.
        await until(lambda: len(waiting) == n, patience=120)
        await until(lambda: wait_reasons()["chan receive"] == n, patience=120)

        async def wake() -> None:
            for i, ch in enumerate(chans):
                await ch.send(i)

        gort.go(wake)
        for _ in range(n):
            total += await out.recv()
        await wg.wait()
        await until(lambda: runtime.num_goroutine() == 1)
        return most, total, runtime.num_goroutine()

    most, total, left = run(main)
    assert most >= n + 1
    assert total == n * (n - 1) // 2
    assert left == 1


@pytest.mark.slow
def test_very_many_woken_by_close(run: Run) -> None:
    """One close wakes them all."""
    n = VERY_MANY

    async def main() -> int:
        gate: gort.Chan[None] = gort.Chan()
        wg = WaitGroup()
        oks: list[bool] = []

        async def waiter() -> None:
            _, ok = await gate.recv_ok()
            oks.append(ok)

        for _ in range(n):
            wg.go(waiter)
        await gort.gosched()
        gate.close()
        await wg.wait()
        assert not any(oks)
        return len(oks)

    assert run(main) == n


def _longest_rising(values: list[float]) -> int:
    """Length of the longest non-falling subsequence."""
    tails: list[float] = []
    for v in values:
        at = bisect_right(tails, v)
        tails[at : at + 1] = [v]
    return len(tails)


def test_very_many_timers_in_order_and_not_early(run1: Run) -> None:
    """Random delays within a second: none fires early, and they fire in the order of their times.

    The last of those that fire in one look at the timers runs first (runnext), as in Go, so single ones
    may be out of place; in a random order only some 280 of 20,000 would be in place.
    """
    n = dose(20_000)
    rng = random.Random(1)

    async def main() -> list[tuple[float, float]]:
        woken: list[tuple[float, float]] = []
        wg = WaitGroup()

        async def sleeper(delay: float) -> None:
            due = time.monotonic() + delay
            await gort.sleep(delay)
            woken.append((due, time.monotonic()))

        for _ in range(n):
            wg.go(sleeper, rng.random())
        await wg.wait()
        return woken

    woken = run1(main)
    assert len(woken) == n
    assert min(at - due for due, at in woken) >= 0, "a timer fired early"
    assert _longest_rising([due for due, _ in woken]) > 0.5 * n


def test_very_many_timers_on_several_ps(run: Run) -> None:
    """Timers set on all Ps, half of them stopped: those fire never, the others all and not early."""
    n = dose(20_000)

    async def main() -> tuple[int, int, int, float]:
        rng = random.Random(2)
        early: list[float] = []  # append: several threads keep these books
        fired = [0] * n
        stopped: list[bool] = []
        wg = WaitGroup()

        async def setter(numbers: range) -> None:
            timers = []
            for i in numbers:
                delay = rng.random() / 2 + (0.2 if i % 2 else 3600)
                due = time.monotonic() + delay

                def fire(i: int = i, due: float = due) -> None:
                    early.append(time.monotonic() - due)
                    fired[i] += 1

                timers.append((i, gort.after_func(delay, fire)))
                if i % 100 == 0:
                    await gort.gosched()
            for i, timer in timers:
                if i % 2 == 0:
                    stopped.append(timer.stop())

        for start in range(0, n, 1000):
            wg.go(setter, range(start, start + 1000))
        await wg.wait()
        await until(lambda: sum(fired) == n // 2, patience=60)
        return sum(fired[1::2]), sum(fired[0::2]), sum(stopped), min(early)

    odd, even, stopped, early = run(main)
    assert (odd, even) == (n // 2, 0)
    assert stopped == n // 2
    assert early >= 0


def test_a_chain_of_10_000(run: Run) -> None:
    """Each goroutine waits for its neighbour; a value runs through all of them."""

    async def main() -> int:
        async def link(left: gort.Chan[int], right: gort.Chan[int]) -> None:
            await left.send(1 + await right.recv())

        first: gort.Chan[int] = gort.Chan()
        left = first
        for _ in range(10_000):
            right: gort.Chan[int] = gort.Chan()
            gort.go(link, left, right)
            left = right
        gort.go(send, left, 0)
        return await first.recv()

    assert run(main) == 10_000


def test_a_big_select(run: Run) -> None:
    """Two hundred cases, each ready once (the checker of lock ranks is quadratic in the locks held)."""

    async def main() -> set[int]:
        chans: list[gort.Chan[int]] = [gort.Chan(1) for _ in range(200)]
        seen = set()

        async def fill() -> None:
            for i, ch in enumerate(chans):
                await ch.send(i)

        gort.go(fill)
        for _ in chans:
            i, v, ok = await gort.select(*[ch.recv() for ch in chans])
            assert ok
            assert i == v
            seen.add(i)
        return seen

    assert run(main) == set(range(200))
