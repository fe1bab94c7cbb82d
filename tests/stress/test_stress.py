"""Everything at once, at random: channels, selects, cancellation, timers, locks, GOMAXPROCS changes,
blocking calls, sockets, failing groups.

What goroutines do and what must hold is in world.py. Each program runs with a fixed seed and with a random one, which
is printed with a failure (GORT_STRESS_SEED repeats it: the choices, not the interleaving). GORT_STRESS_SECONDS
(per program; 1 where CI is set, else 0.3) makes it longer; soak.py runs for minutes.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from world import ACTIONS, WEIGHTS, World, check, mixed

import gort
from gort import Cancelled, runtime
from gort._runtime.core import runtime2
from support import FULL, PATIENCE_S, environment, until

SECONDS = float(os.environ.get("GORT_STRESS_SECONDS", "1" if FULL else "0.3"))
SEEDS = ["fixed", "random"]
LIMIT = pytest.mark.timeout(int(SECONDS * 3 + 900))


def seed_of(kind: str) -> int:
    if kind == "fixed":
        return 20261124
    return int(os.environ.get("GORT_STRESS_SEED") or random.SystemRandom().randrange(2**32))


@LIMIT
@pytest.mark.parametrize("kind", SEEDS)
@pytest.mark.parametrize("procs", [1, 2, 4, 8])
def test_mixed(kind: str, procs: int) -> None:
    """Everything with everything, for a while, then the books must balance."""
    seed = seed_of(kind)
    print(f"GORT_STRESS_SEED={seed}")
    check(gort.run(mixed, seed, SECONDS / 2, 24, False, procs=procs))


@LIMIT
@pytest.mark.parametrize("kind", SEEDS)
def test_mixed_while_gomaxprocs_changes(kind: str) -> None:
    """The same while Ps come and go."""
    seed = seed_of(kind)
    print(f"GORT_STRESS_SEED={seed}")
    check(gort.run(mixed, seed, SECONDS, 24, True, procs=4))


@LIMIT
def test_soak() -> None:
    """The soak, as it is started by hand, for four short rounds: it says what it did, and that the books balance."""
    seed = seed_of("random")
    script = str(Path(__file__).with_name("soak.py"))
    command = [sys.executable, script, "--minutes", str(1 / 30), "--round-seconds", "0.5", "--seed", str(seed)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing lost" in done.stdout


@LIMIT
@pytest.mark.parametrize("kind", SEEDS)
def test_programs_that_end_at_any_moment(kind: str) -> None:
    """Programs that return, fail, panic or are stuck while all this goes on: nothing hangs, nothing is
    left."""
    seed = seed_of(kind)
    print(f"GORT_STRESS_SEED={seed}")
    rng = random.Random(seed)
    end = time.monotonic() + SECONDS

    async def boom() -> None:
        raise ValueError("boom")

    async def alone(w: World, seed: int) -> None:
        rng = random.Random(seed)
        while True:
            (action,) = rng.choices([a for a, _ in ACTIONS], WEIGHTS)
            try:
                await action(w, rng)
            except Cancelled:
                pass

    async def main(how: str, members: int, turns: int) -> str:
        w = World(rng, time.monotonic() + 3600)
        for _ in range(members):
            gort.go(alone, w, rng.randrange(2**32))
        for _ in range(turns):
            await gort.gosched()
        if how == "panic":
            gort.go(boom)
            await gort.Chan[int]().recv()
        if how == "raise":
            raise KeyError("main")
        return "returned"

    wanted = {"return": None, "raise": KeyError, "panic": gort.Panic}
    ends = Counter[str]()
    while time.monotonic() < end or len(ends) < 3:
        how = rng.choice(list(wanted))
        args = (how, rng.randrange(20), rng.randrange(30))
        error = wanted[how]
        with pytest.raises(error) if error else contextlib.nullcontext():
            assert gort.run(main, *args, procs=rng.randrange(1, 6)) == "returned"
        ends[how] += 1


async def storm(leaf: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Goroutines that start `leaf` as fast as they can, for a while; how often. All have ended when it returns."""
    end = time.monotonic() + SECONDS / 2
    started: list[None] = []

    async def spawner() -> None:
        while not started or time.monotonic() < end:
            for _ in range(20):
                started.append(None)
                gort.go(leaf)
            await gort.gosched()

    async with gort.Group() as group:
        for _ in range(8):
            group.go(spawner)
    await until(lambda: runtime.num_goroutine() == 1)
    return len(started)


@LIMIT
@pytest.mark.parametrize("procs", [1, 4])
def test_storm_of_short_goroutines(procs: int) -> None:
    """Goroutines that start goroutines, as fast as they can: each runs once, none is left."""

    async def main() -> tuple[int, int]:
        ended: list[None] = []

        async def leaf() -> None:
            ended.append(None)

        return await storm(leaf), len(ended)

    started, ended = gort.run(main, procs=procs)
    assert started == ended > 0


@LIMIT
@pytest.mark.parametrize("procs", [1, 4])
def test_goroutines_are_counted_right_while_sysmon_looks_on(procs: int) -> None:
    """sysmon reads what Ms run while they change it: no G has a reference too few afterwards, and those too many
    are the few that waiting Ms and the eight handles still have. No two goroutines had one number, though Ms
    lose their P unknowingly."""

    async def main() -> tuple[list[int], Counter[int], int]:
        numbers: list[int] = []

        async def leaf() -> None:
            m = runtime2.current_m()
            numbers.append(m.curg.goid)

        await storm(leaf)
        s = runtime2.current_m().sched
        while s.nmidle < len(s.allm) - 1:  # until the other Ms wait too, and hold no goroutine but their last
            time.sleep(0.001)  # not an await: each wakes one that looks for work
        references = Counter[int]()
        for i in range(len(s.allgs)):  # an index, not a loop over the list: that would hold another reference
            if s.allgs[i].status == runtime2._Gdead:
                references[sys.getrefcount(s.allgs[i])] += 1
        return numbers, references, len(s.allm)

    numbers, references, ms = gort.run(main, procs=procs)
    assert len(numbers) == len(set(numbers)) > 0
    usual = references.most_common(1)[0][0]
    assert min(references) == usual, references
    assert sum((n - usual) * times for n, times in references.items()) <= 3 * ms + 2 * 8, references


@LIMIT
@pytest.mark.parametrize("procs", [1, 4])
def test_park_and_wake_as_fast_as_possible(procs: int) -> None:
    """Pairs in rendezvous on many unbuffered channels: a lost wake-up would hang it."""
    end = time.monotonic() + SECONDS / 2

    async def main() -> bool:
        async def ping(a: gort.Chan[int], b: gort.Chan[int]) -> int:
            n = 0
            while n == 0 or time.monotonic() < end:
                await a.send(n)
                assert await b.recv() == n
                n += 1
            a.close()
            return n

        async def pong(a: gort.Chan[int], b: gort.Chan[int]) -> None:
            async for v in a:
                await b.send(v)

        async with gort.Group() as group:
            handles = []
            for _ in range(10):
                a: gort.Chan[int] = gort.Chan()
                b: gort.Chan[int] = gort.Chan()
                group.go(pong, a, b)
                handles.append(group.go(ping, a, b))
        return all(h.result() > 0 for h in handles)

    assert gort.run(main, procs=procs)
