"""Everything at once, at random: channels, selects, cancellation, timers, locks, GOMAXPROCS changes,
blocking calls.

What must hold whatever happens is conservation: a value whose send returned is received once, one whose
send raised is never received; a lock's counter has every increment; a timer that was not stopped fires
once; no permit is lost. Each program runs with a fixed seed and with a random one, which is printed
with a failure (GORT_STRESS_SEED repeats it: the choices, not the interleaving). GORT_STRESS_SECONDS
(default 2, per program) makes a soak of it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

import gort
from gort import Cancelled, runtime
from gort.sync import Mutex, RWMutex, Semaphore, WaitGroup
from support import ended, until

SECONDS = float(os.environ.get("GORT_STRESS_SECONDS", "2"))
SEEDS = ["fixed", "random"]
LIMIT = pytest.mark.timeout(int(SECONDS * 3 + 120))


def seed_of(kind: str) -> int:
    if kind == "fixed":
        return 20261124
    return int(os.environ.get("GORT_STRESS_SEED") or random.SystemRandom().randrange(2**32))


@dataclass
class World:
    """What the goroutines of one stress program share, and the books they keep."""

    rng: random.Random
    end: float
    chans: list[gort.Chan[int]] = field(default_factory=list)
    stop: bool = False
    sent: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)  # sends that raised: must not arrive
    received: list[int] = field(default_factory=list)
    mutex: Mutex = field(default_factory=Mutex)
    rwmutex: RWMutex = field(default_factory=RWMutex)
    semaphore: Semaphore = field(default_factory=lambda: Semaphore(5))
    counter: int = 0
    increments: list[int] = field(default_factory=list)  # list.append needs no lock; += across threads would
    set_timers: list[int] = field(default_factory=list)
    stopped_timers: list[int] = field(default_factory=list)
    fired_timers: list[int] = field(default_factory=list)
    inside: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chans = [gort.Chan(c) for c in (0, 0, 1, 2, 7)]
        self.serials = itertools.count()
        self.serials_lock = threading.Lock()  # without the GIL, next() on one iterator may repeat itself

    def number(self) -> int:
        with self.serials_lock:
            return next(self.serials)

    def time_is_up(self) -> bool:
        return self.stop or time.monotonic() > self.end


async def send(w: World, rng: random.Random) -> None:
    ch, v = rng.choice(w.chans), w.number()
    try:
        await ch.send(v)
    except BaseException:
        w.refused.append(v)
        raise
    w.sent.append(v)


async def try_send(w: World, rng: random.Random) -> None:
    ch, v = rng.choice(w.chans), w.number()
    (w.sent if ch.try_send(v) else w.refused).append(v)


async def receive(w: World, rng: random.Random) -> None:
    w.received.append(await rng.choice(w.chans).recv())


async def try_receive(w: World, rng: random.Random) -> None:
    v, ok = rng.choice(w.chans).try_recv()
    if ok:
        w.received.append(v)


async def select(w: World, rng: random.Random) -> None:
    """Sends and receives on several channels, sometimes on one twice, with a timeout, a nil case or a
    default."""
    cases: list[Any] = []
    values: dict[int, int] = {}
    for _ in range(rng.randrange(1, 6)):
        ch = rng.choice(w.chans)
        if rng.random() < 0.5:
            values[len(cases)] = w.number()
            cases.append(ch.send(values[len(cases)]))
        else:
            cases.append(ch.recv())
    if rng.random() < 0.3:
        cases.append(None)
    timeout = len(cases) if rng.random() < 0.5 else -2
    if timeout >= 0:
        cases.append(gort.after(rng.random() * 0.002).recv())
    try:
        i, v, ok = await gort.select(*cases, default=rng.random() < 0.2)
    except BaseException:
        w.refused.extend(values.values())
        raise
    for case, value in values.items():
        (w.sent if case == i else w.refused).append(value)
    if i >= 0 and i != timeout and i not in values:
        assert ok
        w.received.append(v)


async def locked(w: World, rng: random.Random) -> None:
    async with w.mutex:
        before = w.counter
        if rng.random() < 0.5:
            await gort.gosched()
        w.counter = before + 1
        w.increments.append(1)


async def read_or_write(w: World, rng: random.Random) -> None:
    """Readers together, a writer alone. The books are kept without awaits between check and change."""
    if rng.random() < 0.8:
        async with w.rwmutex.reader():
            if w.inside["writer"]:
                w.problems.append("a reader beside a writer")
            await gort.gosched()
            if w.inside["writer"]:
                w.problems.append("a writer beside a reader")
    else:
        async with w.rwmutex:
            w.inside["writer"] += 1
            if w.inside["writer"] != 1:
                w.problems.append("two writers")
            try:
                await gort.gosched()
            finally:
                w.inside["writer"] -= 1


async def permits(w: World, rng: random.Random) -> None:
    k = rng.randrange(1, 6)
    await w.semaphore.acquire(k)
    try:
        await gort.gosched()
    finally:
        w.semaphore.release(k)


async def timers(w: World, rng: random.Random) -> None:
    n = w.number()
    timer = gort.after_func(rng.random() * 0.01, lambda: w.fired_timers.append(n))
    w.set_timers.append(n)
    if rng.random() < 0.5:
        for _ in range(rng.randrange(3)):
            await gort.gosched()
        if timer.stop():
            w.stopped_timers.append(n)


async def wait_for_children(w: World, rng: random.Random) -> None:
    """A WaitGroup over plain goroutines, and a group within the goroutine, cancelled with it."""
    wg = WaitGroup()
    for _ in range(rng.randrange(4)):
        wg.go(gosched_some, rng.randrange(3))
    async with gort.Group(limit=rng.choice([None, 1, 2])) as group:
        handles = [group.go(gosched_some, 1) for _ in range(rng.randrange(3))]
    assert all(h.done for h in handles)
    await wg.wait()


async def gosched_some(n: int) -> None:
    for _ in range(n):
        await gort.gosched()


async def pause(w: World, rng: random.Random) -> None:
    await gort.sleep(rng.random() * 0.002 - 0.0005)


async def block(w: World, rng: random.Random) -> None:
    await gort.blocking(time.sleep, rng.random() * 0.001)


Action = Callable[[World, random.Random], Awaitable[None]]
ACTIONS: list[tuple[Action, int]] = [
    (send, 20), (try_send, 6), (receive, 20), (try_receive, 6), (select, 20), (locked, 6), (read_or_write, 6),
    (permits, 4), (timers, 4), (wait_for_children, 2), (pause, 3), (block, 1),
]  # fmt: skip
WEIGHTS = [weight for _, weight in ACTIONS]


async def member(w: World, seed: int) -> None:
    rng = random.Random(seed)
    while not w.time_is_up():
        (action,) = rng.choices([a for a, _ in ACTIONS], WEIGHTS)
        await action(w, rng)


async def drain(w: World) -> None:
    """Receives until all channels are closed, so that nobody waits for ever in a send."""
    left: list[gort.Chan[int] | None] = list(w.chans)
    while any(left):
        i, v, ok = await gort.select(*[ch.recv() if ch is not None else None for ch in left])
        if ok:
            w.received.append(v)
        else:
            left[i] = None


async def feed(w: World) -> None:
    """Sends while members may still wait in a receive; cancelled when the last has gone."""
    rng = random.Random(0)
    while True:
        await send(w, rng)


async def chaos(w: World, group: gort.Group, handles: list[Any], members: int, resize: bool) -> None:
    """Cancels members at random, starts new ones in their place, changes GOMAXPROCS."""
    rng = w.rng
    while not w.time_is_up():
        await gort.sleep(0.001)
        rng.choice(handles[-members:]).cancel()
        handles.append(group.go(member, w, rng.randrange(2**32)))
        if resize and rng.random() < 0.2:
            runtime.gomaxprocs(rng.randrange(1, 9))
    w.stop = True


async def mixed(seed: int, seconds: float, members: int, resize: bool) -> World:
    w = World(random.Random(seed), time.monotonic() + seconds)
    async with gort.Group() as group:
        handles: list[Any] = [group.go(member, w, w.rng.randrange(2**32)) for _ in range(members)]
        await chaos(w, group, handles, members, resize)
        drainer = group.go(drain, w)
        feeder = group.go(feed, w)
        await ended(*handles)
        feeder.cancel()
        await ended(feeder)
        for ch in w.chans:
            ch.close()
    assert drainer.exception() is None
    expected = len(w.set_timers) - len(w.stopped_timers)
    await until(lambda: len(w.fired_timers) >= expected, "all timers that were not stopped fire")
    assert w.semaphore.try_acquire(5), "a permit is lost"
    assert w.mutex.try_lock(), "the mutex is still locked"
    async with w.rwmutex:
        pass
    await until(lambda: runtime.num_goroutine() == 1, "all goroutines have ended")
    return w


def check(w: World) -> None:
    assert w.problems == []
    twice = [v for v, n in Counter(w.received).items() if n > 1]
    assert twice == [], f"received twice: {twice[:10]}"
    sent, received = set(w.sent), set(w.received)
    assert len(sent) == len(w.sent)
    assert sent - received == set(), f"lost: {sorted(sent - received)[:10]}"
    assert received - sent == set(), f"received, though not sent: {sorted(received - sent)[:10]}"
    assert not received & set(w.refused)
    assert w.counter == len(w.increments)
    assert sorted(w.fired_timers) == sorted(set(w.set_timers) - set(w.stopped_timers))
    assert len(w.sent) > 50, "the program did next to nothing"


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


@LIMIT
@pytest.mark.parametrize("procs", [1, 4])
def test_storm_of_short_goroutines(procs: int) -> None:
    """Goroutines that start goroutines, as fast as they can: each runs once, none is left."""
    end = time.monotonic() + SECONDS / 2

    async def main() -> tuple[int, int]:
        started: list[None] = []
        ended: list[None] = []

        async def leaf() -> None:
            ended.append(None)

        async def spawner() -> None:
            while time.monotonic() < end:
                for _ in range(20):
                    started.append(None)
                    gort.go(leaf)
                await gort.gosched()

        async with gort.Group() as group:
            for _ in range(8):
                group.go(spawner)
        await until(lambda: runtime.num_goroutine() == 1)
        return len(started), len(ended)

    started, ended = gort.run(main, procs=procs)
    assert started == ended > 0


@LIMIT
@pytest.mark.parametrize("procs", [1, 4])
def test_park_and_wake_as_fast_as_possible(procs: int) -> None:
    """Pairs in rendezvous on many unbuffered channels: a lost wake-up would hang it."""
    end = time.monotonic() + SECONDS / 2

    async def main() -> bool:
        async def ping(a: gort.Chan[int], b: gort.Chan[int]) -> int:
            n = 0
            while time.monotonic() < end:
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
