"""Explores a scenario: runs it under one schedule after another, and reports the first that fails as one token.

A token is `scenario[+bug]:grain:seed:deviations`, for example `ping_pong:locks:1:12=1,57=2`; it names everything that
the schedule depends on except the code.  GORT_EXPLORE_REPLAY=token repeats it.  Before a failure is reported it is made
smaller: deviations that it does not need are taken out.
"""

from __future__ import annotations

import gc
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from explore import check, control, install, standins, strategy
from explore.bugs import BUGS, Bug
from explore.control import Controller, Failure
from explore.scenarios import SCENARIOS, Scenario

TURNS = 24  # how much of a failed schedule is shown
STEPS = 8
SMALLER = 60  # schedules that may be spent on making a failure smaller


class Failed(AssertionError):
    """A schedule failed."""

    def __init__(self, token: str, failure: Failure, schedules: int, trace: str) -> None:
        self.token = token
        self.failure = failure
        self.schedules = schedules
        super().__init__(
            f"schedule {schedules} failed: {failure}\n\nWhat happened:\n{trace}\n\n"
            f"Repeat it with GORT_EXPLORE_REPLAY={token}"
        )


@dataclass
class Outcome:
    """One schedule."""

    failure: Failure | None
    choices: list[tuple[int, bool, bool, int]]
    steps: int
    record: list[tuple[str, str, str]] | None

    def deviations(self) -> dict[int, int]:
        return {i: c[3] for i, c in enumerate(self.choices) if c[3]}


@dataclass
class Report:
    """What an exploration has done."""

    schedules: int = 0
    failures: int = 0
    steps: int = 0
    complete: dict[int, int] = field(default_factory=dict)  # interruptions -> schedules, where all were tried


class Explorer:
    """Explores one scenario, with or without a planted bug, stopping at locks or at lines."""

    def __init__(self, scenario: Scenario, grain: str = "locks", bug: Bug | None = None, seed: int = 1) -> None:
        self.scenario = scenario
        self.grain = grain
        self.bug = bug
        self.seed = seed
        self.pool: list[control.Worker] = []
        self.report = Report()

    @contextmanager
    def ready(self) -> Iterator[None]:
        """The runtime stands on the controller, with the scenario's and the bug's changes; the collector rests."""
        hook = sys.unraisablehook
        collecting = gc.isenabled()
        gc.disable()
        with install.controlled() as patches, warnings.catch_warnings():
            for owner, name, value in self.scenario.knobs:
                patches.set(owner, name, value)
            if self.bug is not None:
                self.bug.plant(patches)
            sys.unraisablehook = self.unraisable
            warnings.simplefilter("ignore")  # of coroutines and operations that were cut off
            try:
                yield
            finally:
                control.close_pool(self.pool)
                if self.report.failures:
                    gc.collect()  # what was cut off goes while nobody hears it
                sys.unraisablehook = hook
                if collecting:
                    gc.enable()

    def unraisable(self, args: Any) -> None:
        """An exception in a finalizer is a failure, too."""
        c = control.active
        if c is not None and not c.aborting and not isinstance(args.exc_value, control.Abandon):
            c.fail_quietly(Failure("unraisable", f"{args.err_msg}: {args.exc_value!r} in {args.object!r}"))

    def once(self, how: Any, seed: int, record: bool = False) -> Outcome:
        """Runs one schedule."""
        install.begin(seed)
        tracer = install.tracer if self.grain == "lines" else None
        c = Controller(how, self.pool, install.unbind, check.invariants, tracer, record)
        c.run(standins.Thread(target=self.scenario.body, name="m0"))
        install.clean()
        self.report.schedules += 1
        self.report.steps += c.steps
        self.report.failures += c.failure is not None
        if self.report.schedules % 100 == 0:
            gc.collect()
        return Outcome(c.failure, c.choices, c.steps, c.record)

    def failed(self, outcome: Outcome, seed: int) -> Failed:
        """The report of a failure, as small as it gets."""
        schedules = self.report.schedules
        outcome = self.smaller(outcome, seed)
        deviations = outcome.deviations()
        outcome = self.once(strategy.Replay(deviations), seed, record=True)
        assert outcome.failure is not None, "the same choices gave another schedule: something is not under control"
        token = f"{self.name()}:{self.grain}:{seed}:{strategy.to_text(deviations)}"
        return Failed(token, outcome.failure, schedules, trace(outcome.record or []))

    def name(self) -> str:
        return self.scenario.name + (f"+{self.bug.name}" if self.bug is not None else "")

    def smaller(self, outcome: Outcome, seed: int) -> Outcome:
        """Takes out deviations, in halves, quarters and so on, as long as it fails in the same way."""
        assert outcome.failure is not None
        kind = outcome.failure.kind
        tries = SMALLER
        size = max(1, len(outcome.deviations()) // 2)
        while tries > 0:
            start, found = 0, False
            while tries > 0:
                items = sorted(outcome.deviations().items())
                if start >= len(items):
                    break
                tries -= 1
                less = self.once(strategy.Replay(dict(items[:start] + items[start + size :])), seed)
                if less.failure is not None and less.failure.kind == kind and len(less.deviations()) < len(items):
                    outcome, found = less, True
                else:
                    start += size
            if size == 1 and not found:
                break
            size = max(1, size // 2)
        return outcome

    def find(self, schedules: int) -> None:
        """Systematically and at random by turns: some bugs need one interruption at the right place, others several at
        about the right places."""
        self.randomly(schedules // 10)
        self.systematic(2, schedules // 4)
        self.randomly(schedules - schedules // 10 - schedules // 4, schedules // 10)

    # ---- strategies ----------------------------------------------------------------------------------------------------

    def systematic(self, interruptions: int, limit: int) -> None:
        """Every schedule with at most so many interruptions, fewest first; stops after `limit` schedules, of which the
        last level's are then a random sample.  report.complete tells which levels were tried completely."""
        rng = random.Random(self.seed)
        start = self.report.schedules
        level: list[dict[int, int]] = [{}]
        for used in range(interruptions + 1):
            following: list[dict[int, int]] = []
            n = 0
            while level:
                if self.report.schedules - start >= limit:
                    return
                deviations = level.pop()
                outcome = self.once(strategy.Replay(deviations), self.seed)
                n += 1
                if outcome.failure is not None:
                    raise self.failed(outcome, self.seed)
                for more, cost in strategy.alternatives(deviations, outcome.choices):
                    if cost == 0:
                        level.append(more)
                    elif used < interruptions:
                        following.append(more)
            self.report.complete[used] = n
            level = following
            rng.shuffle(level)

    def randomly(self, schedules: int, first: int = 0) -> None:
        """Seeded schedules, random walks and PCT by turns, each with another seed for the runtime's own choices."""
        length = len(self.once(strategy.Replay({}), self.seed).choices)
        for i in range(first, first + schedules):
            seed = self.seed * 1_000_003 + i
            how = strategy.PCT(seed, 2 + i // 2 % 3, length) if i % 2 else strategy.Random(seed)
            outcome = self.once(how, seed)
            if outcome.failure is not None:
                raise self.failed(outcome, seed)


def trace(record: list[tuple[str, str, str]]) -> str:
    """The schedule in words: where each thread came by in each of its turns; the last turns only."""
    turns: list[tuple[str, list[str]]] = []
    for who, what, place in record:
        if not turns or turns[-1][0] != who:
            turns.append((who, []))
        steps = turns[-1][1]
        step = f"{place} ({what})" if place else what
        if step not in ("goes on", *steps[-1:]):
            steps.append(step)
    lines = []
    for who, steps in turns[-TURNS:]:
        if len(steps) > STEPS:
            steps = [*steps[: STEPS // 2], f"... {len(steps) - STEPS} more", *steps[-STEPS // 2 :]]
        lines += [f"  {who:8} {steps[0] if steps else ''}", *(f"           {step}" for step in steps[1:])]
    return "\n".join(lines)


def replay(token: str) -> None:
    """Repeats the schedule of a token; raises Failed when it fails.  ValueError for a token that names nothing here."""
    try:
        name, grain, seed, deviations = token.split(":")
        name, _, bug = name.partition("+")
        explorer = Explorer(SCENARIOS[name], grain, BUGS[bug] if bug else None)
        how = strategy.Replay(strategy.from_text(deviations))
    except (KeyError, ValueError):
        raise ValueError(f"GORT_EXPLORE_REPLAY={token}: a token is scenario[+bug]:grain:seed:deviations") from None
    with explorer.ready():
        outcome = explorer.once(how, int(seed), record=True)
        print(trace(outcome.record or []))
        if how.diverged:
            raise ValueError(f"GORT_EXPLORE_REPLAY={token}: the code has changed since, this schedule is none any more")
        if outcome.failure is not None:
            raise Failed(token, outcome.failure, 1, trace(outcome.record or []))
