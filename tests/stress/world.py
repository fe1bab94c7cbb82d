"""The world of the stress tests and of soak.py: what goroutines do at random, and the books they keep.

What must hold whatever happens is conservation: a value whose send returned is received once, one whose send raised is
never received; a lock's counter has every increment; a timer that was not stopped fires once; no permit is lost.
`mixed` runs it, `check` looks at the books. Every action may be cancelled at any await, and then leaves the books true.
"""

from __future__ import annotations

import itertools
import random
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import gort
from gort import runtime
from gort.sync import Cond, Mutex, Once, RWMutex, Semaphore, WaitGroup
from support import ended, until


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
        """Also asks for some work: on a busy machine the time alone may pass with next to none."""
        return self.stop or (time.monotonic() > self.end and len(self.sent) > 50)


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


class Boom(Exception):
    """What members of failing groups raise."""


async def boom(turns: int) -> None:
    await gosched_some(turns)
    raise Boom


async def failing_group(w: World, rng: random.Random) -> None:
    """A member panics: the others and the body are cancelled, and the failure is caught here."""
    handles: list[Any] = []
    try:
        async with gort.Group(limit=rng.choice([None, 2])) as group:
            handles = [group.go(receive, w, rng) if rng.random() < 0.3 else group.go(gosched_some, 5) for _ in range(3)]
            handles.append(group.go(boom, rng.randrange(4)))
            await gort.Chan[None]().recv()
        w.problems.append("a failing group has ended without its failure")
    except* Boom:
        pass
    if not all(h.done for h in handles):
        w.problems.append("a group has ended before its members")


async def private_pipeline(w: World, rng: random.Random) -> None:
    """Channels of its own, closed stage by stage while receivers wait, one value at a time or many; cancelled, nothing
    waits for ever."""
    stages: list[gort.Chan[int]] = [gort.Chan(rng.randrange(3)) for _ in range(3)]
    n = rng.randrange(20)

    async def stage(source: gort.Chan[int], target: gort.Chan[int]) -> None:
        try:
            if rng.randrange(2):
                async for v in source:
                    await target.send(v)
            else:
                while values := await source.recv_many(rng.randrange(1, 5)):
                    await target.send_many(values)
        finally:
            target.close()

    async def source() -> None:
        try:
            half = rng.randrange(n + 1)
            for i in range(half):
                await stages[0].send(i)
            await stages[0].send_many(range(half, n))
        finally:
            stages[0].close()

    got = []
    async with gort.Group() as group:
        group.go(source)
        group.go(stage, stages[0], stages[1])
        group.go(stage, stages[1], stages[2])
        async for v in stages[2]:
            got.append(v)
    if got != list(range(n)):
        w.problems.append(f"a pipeline of {n} gave {got}")


async def condition(w: World, rng: random.Random) -> None:
    """A Cond whose signals and broadcasts may come before, while and after others wait; a Once for all of them."""
    cond, once, ran = Cond(), Once(), []
    state = {"go": False}

    async def waiter() -> None:
        await once.do(ran.append, 1)
        async with cond:
            while not state["go"]:
                await cond.wait()

    async with gort.Group() as group:
        for _ in range(rng.randrange(1, 5)):
            group.go(waiter)
        await gosched_some(rng.randrange(4))
        cond.signal()
        async with cond:
            state["go"] = True
        cond.broadcast()
    if ran != [1]:
        w.problems.append(f"a Once has run {len(ran)} times")


async def tickers(w: World, rng: random.Random) -> None:
    ticker = gort.Ticker(0.0002 + rng.random() * 0.001)
    try:
        for _ in range(rng.randrange(1, 4)):
            await ticker.c.recv()
        if rng.random() < 0.5:
            ticker.reset(0.0003)
            await ticker.c.recv()
    finally:
        ticker.stop()


async def contexts(w: World, rng: random.Random) -> None:
    """A tree of contexts; the parent's cancellation or deadline reaches the child."""
    with gort.context.with_timeout(gort.context.background(), rng.random() * 0.002) as parent:
        with gort.context.with_cancel(parent) as child:
            await gort.select(child.done().recv(), gort.after(60).recv())
            if child.err() is None:
                w.problems.append("a context's deadline passed and its child was not done for a minute")


async def echo(w: World, rng: random.Random) -> None:
    """Bytes through a socket pair and back: more than its buffers hold, now and then, so that writes wait as well."""
    data = rng.randbytes(rng.choice([1, 1000, 1_000_000]))
    a, b = (gort.net.from_socket(s) for s in socket.socketpair())

    async def back() -> None:
        left = len(data)
        while left:
            piece = await b.read(min(left, 65536))
            await b.write(piece)
            left -= len(piece)

    async with a, b:
        a.set_deadline(30)
        async with gort.Group() as group:
            group.go(back)
            writer = group.go(write, a, data)
            got = await a.read_exactly(len(data))
            await writer
    if got != data:
        w.problems.append(f"{len(data)} bytes came back from a socket as others")


async def write(conn: Any, data: bytes) -> None:
    await conn.write(data)


async def plain_functions(w: World, rng: random.Random) -> None:
    """Plain functions, which hold a thread, send and receive by gort.wait."""
    ch, v = rng.choice(w.chans), w.number()

    def sender() -> None:
        try:
            gort.wait(ch.send(v), timeout=rng.choice([None, 0.001]))
        except BaseException as e:
            w.refused.append(v)
            if not isinstance(e, TimeoutError):
                raise
        else:
            w.sent.append(v)

    def receiver() -> None:
        try:
            w.received.append(gort.wait(ch.recv(), timeout=0.001))
        except TimeoutError:
            pass

    async with gort.Group() as group:
        group.go(sender)
        group.go(receiver)


async def pinned(w: World, rng: random.Random) -> None:
    """Locked to its thread, it comes back there from every wait."""
    runtime.lock_os_thread()
    try:
        ident = threading.get_ident()
        for _ in range(rng.randrange(1, 4)):
            await gort.gosched()
            if threading.get_ident() != ident:
                w.problems.append("a goroutine that is locked to its thread has left it")
        await gort.sleep(0.0003)
        if threading.get_ident() != ident:
            w.problems.append("a goroutine that is locked to its thread woke on another")
    finally:
        runtime.unlock_os_thread()


async def compute(w: World, rng: random.Random) -> None:
    """No await for up to 15 ms: sysmon hands the P on."""
    end = time.monotonic() + rng.random() * 0.015
    while time.monotonic() < end:
        pass


async def block_without_a_word(w: World, rng: random.Random) -> None:
    """A blocking call in an async function: sysmon hands the P on."""
    time.sleep(rng.random() * 0.004)


Action = Callable[[World, random.Random], Awaitable[None]]
ACTIONS: list[tuple[Action, int]] = [
    (send, 200), (try_send, 60), (receive, 200), (try_receive, 60), (select, 200), (locked, 60), (read_or_write, 60),
    (permits, 40), (timers, 40), (wait_for_children, 20), (pause, 30), (block, 10),
    (failing_group, 10), (private_pipeline, 10), (condition, 10), (tickers, 4), (contexts, 5), (plain_functions, 3),
    (pinned, 3), (compute, 1), (block_without_a_word, 1),
]  # fmt: skip
if sys.platform == "linux":  # where gort.net is
    ACTIONS.append((echo, 5))
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
    """Sends while members may still wait in a receive; cancelled when the last has gone. It makes way after each: with
    the drainer alone it would use up a slice at every turn of the members, which wait for each other's locks."""
    rng = random.Random(0)
    while True:
        await send(w, rng)
        await gort.gosched()


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


def outsider(w: World, seed: int) -> None:
    """A thread that is none of the runtime's sends and receives as well; it waits for at most some ms at a time."""
    rng = random.Random(seed)
    while not w.time_is_up():
        ch = rng.choice(w.chans)
        if rng.random() < 0.5:
            v = w.number()
            try:
                gort.wait(ch.send(v), timeout=rng.random() * 0.004)
            except TimeoutError:
                w.refused.append(v)
            else:
                w.sent.append(v)
        else:
            try:
                w.received.append(gort.wait(ch.recv(), timeout=rng.random() * 0.004))
            except TimeoutError:
                pass


async def mixed(seed: int, seconds: float, members: int, resize: bool, outsiders: int = 0) -> World:
    """Everything with everything for so many seconds; then all goroutines must end. The books are for `check`."""
    w = World(random.Random(seed), time.monotonic() + seconds)
    threads = [threading.Thread(target=outsider, args=(w, seed + i), daemon=True) for i in range(outsiders)]
    async with gort.Group() as group:
        handles: list[Any] = [group.go(member, w, w.rng.randrange(2**32)) for _ in range(members)]
        for thread in threads:
            thread.start()
        await chaos(w, group, handles, members, resize)
        drainer = group.go(drain, w)
        feeder = group.go(feed, w)
        await ended(*handles)
        for thread in threads:
            await gort.blocking(thread.join)
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
    assert len(w.sent) > 50, "the program did next to nothing"  # time_is_up waits for more
