"""A program of random steps, another one for each seed: what no scenario of its own has thought of together.

Every value is sent by one goroutine once.  Whatever is cancelled, times out, or loses its P: what was sent has been
received, once, or lies in a buffer.
"""

from __future__ import annotations

import random
from typing import Any

import gort
import gort.sync
from explore.scenarios.base import MS, NO_SYSMON, QUICK_SYSMON, equal, scenario
from explore.standins import Thread
from explore.standins import sleep as blocks

GOROUTINES = 4
STEPS = 4
KINDS = (
    "send", "recv", "either", "both", "try", "sleep", "yield", "block", "call", "lock", "rlock", "procs", "cancel", "go",
)  # fmt: skip


class Program:
    """Channels, a mutex, members of a group, and an account of the values."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.channels = [gort.Chan[int](rng.choice((0, 0, 1, 2))) for _ in range(2)]
        self.mutex = gort.sync.Mutex()
        self.rw = gort.sync.RWMutex()
        self.inside = 0
        self.value = 0
        self.sent: list[int] = []
        self.got: list[int] = []
        self.members: list[Any] = []

    def steps(self) -> list[tuple[Any, ...]]:
        """What one goroutine does: chosen before anything runs."""
        rng = self.rng
        found = []
        for _ in range(STEPS):
            self.value += 1
            a, b = rng.choice(self.channels), rng.choice(self.channels)
            found.append(
                (rng.choice(KINDS), a, b, self.value, rng.choice((0, 1, 1, 3)) * MS, rng.randrange(GOROUTINES))
            )
        return found

    async def one_of(self, cases: list[tuple[Any, int | None]], patience: float) -> None:
        """Runs one of some channel operations, or gives up."""
        i, v, ok = await gort.select(*(op for op, _ in cases), gort.after(patience).recv())
        if i < len(cases):
            value = cases[i][1]
            if value is not None:
                self.sent.append(value)
            else:
                assert ok
                self.got.append(v)

    async def work(self, steps: list[tuple[Any, ...]]) -> None:
        """A goroutine."""
        for kind, a, b, value, t, who in steps:
            if kind == "send":
                await self.one_of([(a.send(value), value)], t)
            elif kind == "recv":
                await self.one_of([(a.recv(), None)], t)
            elif kind == "either":
                await self.one_of([(a.recv(), None), (b.send(value), value)], t)
            elif kind == "both":
                await self.one_of([(a.recv(), None), (b.recv(), None)], t)
            elif kind == "try":
                if a.try_send(value):
                    self.sent.append(value)
                v, ok = b.try_recv()
                if ok:
                    self.got.append(v)
            elif kind == "sleep":
                await gort.sleep(t)
            elif kind == "yield":
                await gort.gosched()
            elif kind == "block":
                blocks(t + MS)
            elif kind == "call":
                await gort.blocking(blocks, t + MS)
            elif kind == "lock":
                async with self.mutex, self.rw:
                    self.inside += 1
                    equal(self.inside, 1)
                    try:
                        await gort.gosched()
                    finally:
                        self.inside -= 1
            elif kind == "rlock":
                async with self.rw.reader():
                    equal(self.inside, 0)
                    await gort.gosched()
                    equal(self.inside, 0)
            elif kind == "procs":
                gort.runtime.gomaxprocs(who % 3 + 1)
            elif kind == "cancel":
                if who < len(self.members):
                    self.members[who].cancel()
            else:
                gort.go(self.plain, a, value)

    def plain(self, channel: Any, value: int) -> None:
        """A plain goroutine that sends."""
        i, _, _ = gort.wait(gort.select(channel.send(value), gort.after(MS).recv()))
        if i == 0:
            self.sent.append(value)

    def outside(self, channel: Any) -> None:
        """A thread that receives."""
        i, v, _ = gort.wait(gort.select(channel.recv(), gort.after(MS).recv()))
        if i == 0:
            self.got.append(v)

    async def main(self) -> None:
        """Runs it and settles the account."""
        programs = [self.steps() for _ in range(GOROUTINES)]
        thread = Thread(target=self.outside, args=(self.channels[0],))
        thread.start()
        async with gort.Group() as group:
            for steps in programs:
                self.members.append(group.go(self.work, steps))
        await gort.blocking(thread.join)
        await gort.sleep(20 * MS)  # what was begun with `go` has given up by then
        left = 0
        for ch in self.channels:
            while ch.try_recv()[1]:
                left += 1
                assert ch.capacity > 0, "nobody sends any more, so only a buffer can have a value"
        assert not self.mutex.locked
        assert self.rw.try_lock()
        equal(len(self.got), len(set(self.got)))
        assert set(self.got) <= set(self.sent), (self.got, self.sent)
        equal(len(self.got) + left, len(self.sent))


def run() -> None:
    """The seed of the runtime's own choices makes the program, too."""
    from explore import install

    gort.run(Program(random.Random(install.seed())).main, procs=2)


@scenario(NO_SYSMON)
def mixed() -> None:
    """Any order of any steps."""
    run()


@scenario(QUICK_SYSMON)
def mixed_with_sysmon() -> None:
    """The same, and Ps are taken from who blocks or computes."""
    run()
