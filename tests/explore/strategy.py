"""Who goes on at a switch point.

`choose(position, mine, ready, clock)` gives an index into `ready`, or its length: let time pass (offered where `clock`).
ready[0] is the thread that runs now where `mine`; the others follow in a circle, so 0 is always "no interruption":
the running thread goes on, or, when it waits, the next one in turn.  A schedule is told by its deviations from that,
{position: choice}; positions count the points at which there was a choice.
"""

from __future__ import annotations

import random
from typing import Any


class Replay:
    """Follows given deviations."""

    def __init__(self, deviations: dict[int, int]) -> None:
        self.deviations = deviations
        self.diverged = False

    def spawned(self, task: Any) -> None:
        pass

    def choose(self, position: int, mine: bool, ready: list[Any], clock: bool) -> int:
        k = self.deviations.get(position, 0)
        if k >= len(ready) + clock:
            self.diverged = True
            return 0
        return k


class Random:
    """Interrupts with a probability that is drawn anew for each schedule, as is how often time passes."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.interrupt = self.rng.choice((0.01, 0.03, 0.1, 0.3, 0.8))
        self.tick = self.rng.choice((0.0, 0.0, 0.01, 0.05))

    def spawned(self, task: Any) -> None:
        pass

    def choose(self, position: int, mine: bool, ready: list[Any], clock: bool) -> int:
        rng = self.rng
        if clock and rng.random() < self.tick:
            return len(ready)
        if mine and rng.random() >= self.interrupt:
            return 0
        return rng.randrange(len(ready))


class PCT:
    """Priorities: the ready thread with the highest runs; at `depth` - 1 random points of about `length` the running one
    falls to the lowest.  Finds a bug that needs `depth` ordered events with a known probability (Burckhardt and others,
    ASPLOS 2010).  Time passes at a few random points."""

    def __init__(self, seed: int, depth: int, length: int) -> None:
        self.rng = rng = random.Random(seed)
        length = max(length, 2)
        self.falls = {rng.randrange(length) for _ in range(depth - 1)}
        self.ticks = {rng.randrange(length) for _ in range(rng.choice((0, 0, 1, 3, 8)))}
        self.lowest = 0.0

    def spawned(self, task: Any) -> None:
        task.priority = 1.0 + self.rng.random()

    def choose(self, position: int, mine: bool, ready: list[Any], clock: bool) -> int:
        if position in self.falls and mine:
            self.lowest -= 1.0
            ready[0].priority = self.lowest
        if clock and position in self.ticks:
            return len(ready)
        return max(range(len(ready)), key=lambda i: ready[i].priority)


def alternatives(
    deviations: dict[int, int], choices: list[tuple[int, bool, bool, int]]
) -> list[tuple[dict[int, int], int]]:
    """The schedules that deviate once more than this one, later than it has so far, and what that costs: 1 where the
    running thread is interrupted or time passes although somebody could run, 0 where somebody else had to run anyway.
    Starting from no deviation, this reaches every schedule exactly once."""
    after = max(deviations, default=-1)
    found = []
    for position in range(after + 1, len(choices)):
        ready, clock, mine, _ = choices[position]
        for k in range(1, ready + clock):
            found.append(({**deviations, position: k}, 1 if mine or k == ready else 0))
    return found


def to_text(deviations: dict[int, int]) -> str:
    """12=1,57=2"""
    return ",".join(f"{position}={k}" for position, k in sorted(deviations.items())) or "-"


def from_text(text: str) -> dict[int, int]:
    """The inverse.  ValueError for what is none."""
    if text == "-":
        return {}
    return {int(a): int(b) for a, _, b in (part.partition("=") for part in text.split(","))}
