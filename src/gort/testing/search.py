"""Explores the orders in which the goroutines of a program can run: explore, replay, schedules.  Go has no counterpart;
loom and shuttle (tokio, AWS) and CHESS (Microsoft) do the same for Rust and C.

A schedule is told by its token: a seed, and the choices that were not "go on without interruption".  A schedule that
fails is shortened, by leaving out choices as long as it fails in the same way, before it is shown.

What does not live here: how a schedule is run (schedule.py), who goes on at a switch point
(_runtime/sched/chooser.py), the table (interleaving.py).
"""

from __future__ import annotations

from _collections_abc import Callable, Coroutine, Iterator
from array import array
from collections import deque
from random import Random
from typing import TYPE_CHECKING, Any

from gort._start.cython import lent
from gort.testing.interleaving import Interleaving
from gort.testing.schedule import Outcome, Plan, Stage

with lent():
    from gort._runtime.sched.chooser import PCT, RANDOM, REPLAY

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

STRATEGIES = ("mixed", "few", "random", "pct")
INTERRUPTS = (655, 1966, 6553, 19660, 52428)  # RANDOM: 1, 3, 10, 30 and 80 % of 2**16
MAX = (1 << 63) - 1
LIMIT = 100_000  # operations
SHORTENING = 2000  # so many schedules at most are run to shorten one that fails


class ScheduleFailure(AssertionError):
    """A program fails under a certain order of its goroutines.  __cause__ is what it has failed with, `token` is for
    replay, `schedule` the number of the schedule that found it, and `table` shows who did what."""

    token: str = ""
    schedule: int = 0
    table: str = ""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)


class Explored:
    """What explore returns for a program that has not failed.  `schedules`: how many were run; `complete`: they were all
    that there are; `switches`: the most choices in one of them."""

    def __init__(self, schedules: int, complete: bool, switches: int) -> None:
        self.schedules: int = schedules
        self.complete: bool = complete
        self.switches: int = switches

    def __repr__(self) -> str:
        return f"<gort.testing.Explored {self.schedules} schedules{', complete' if self.complete else ''}>"


def explore(
    fn: Callable[..., Coroutine[Any, Any, Any]],
    *args: Any,
    schedules: int = 1000,
    strategy: str = "mixed",
    seed: int = 1,
    leaks: bool = False,
    limit: int = LIMIT,
) -> Explored:
    """Runs `await fn(*args)` in a bubble (see run) under up to `schedules` orders of its goroutines, until one fails.

    A goroutine may be interrupted before an awaited operation begins, and after one that need not wait.  strategy:
    `few`: first without interruptions, then with one at each place, then with two, and so on, and stops when no order is
    left; `random`; `pct`: priorities that change at a few places, which finds what needs few events in a certain order;
    `mixed`: half of the schedules as `few`, then the other two by turns.  The same arguments try the same schedules;
    another seed tries others.  leaks: goroutines may be left when fn has returned.  limit: at most so many
    operations in a schedule; one with more counts as endless.

    fn must do the same in each schedule: it makes its own objects, does no I/O, and draws no random numbers of its own.
    gort.blocking calls its function at once.

    Raises ScheduleFailure, from the exception of the program, with the order that it needs; RuntimeError inside a
    goroutine; TypeError or ValueError for wrong arguments."""
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy is one of {', '.join(STRATEGIES)}, not {strategy!r}")
    for name, value in (("schedules", schedules), ("seed", seed), ("limit", limit)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} is an int, not {type(value).__name__}")
        if not 1 <= value <= MAX:
            raise ValueError(f"{name} must be at least 1 and at most 2**63 - 1, not {value}")
    with Stage(fn, args, leaks, limit) as stage:
        search = Search(stage, schedules, strategy, seed)
        found = search.run()
        if found is None:
            return Explored(search.count, search.complete, search.longest)
        token = to_token(*shorten(stage, *found))
        raise failure(stage, token, f"schedule {search.count}", search.count, found[1].exc)


def replay(
    token: str, fn: Callable[..., Coroutine[Any, Any, Any]], *args: Any, leaks: bool = False, limit: int = LIMIT
) -> Any:
    """Runs `await fn(*args)` in the order that the token of a ScheduleFailure tells, and returns its result.  leaks and
    limit: as explore had them.

    Raises ScheduleFailure where the program fails; ValueError for what is no token.  limit: at most so many
    operations."""
    seed, deviations = from_token(token)
    with Stage(fn, args, leaks, limit) as stage:
        outcome = stage.run(Plan(seed, REPLAY, deviations))
        if outcome.exc is None:
            return outcome.value
        raise failure(stage, token, "replayed", 0, outcome.exc)


def schedules(max_position: int = 300, max_switches: int = 8) -> SearchStrategy[Schedule]:
    """A strategy of hypothesis that draws schedules: `@given(testing.schedules())`, then `schedule.run(main)`.

    It shrinks to few interruptions, and early ones.  max_position: the last choice at which it deviates; max_switches:
    how often.  Needs the package hypothesis."""
    from hypothesis import strategies as st

    chosen = st.dictionaries(st.integers(0, max_position), st.integers(1, 7), max_size=max_switches)
    return st.builds(Schedule, st.integers(1, 1 << 16), chosen)


class Schedule:
    """One schedule, as `schedules` draws it.  Its text is its token."""

    def __init__(self, seed: int, deviations: dict[int, int]) -> None:
        self.token: str = to_token(seed, deviations)

    def __repr__(self) -> str:
        return f"<gort.testing schedule {self.token}>"

    def run(self, fn: Callable[..., Coroutine[Any, Any, Any]], *args: Any, leaks: bool = False) -> Any:
        """Runs `await fn(*args)` in this order and returns its result.  Raises as replay does."""
        return replay(self.token, fn, *args, leaks=leaks)


def failure(stage: Stage, token: str, how: str, count: int, found: BaseException | None) -> ScheduleFailure:
    """The error for the schedule `token`, which is run once more for its table.  found: what it has failed with."""
    seed, deviations = from_token(token)
    seen = Interleaving(stage.chooser)
    outcome = stage.run(Plan(seed, REPLAY, deviations), observer=seen, dump=True)
    exc = outcome.exc
    name = getattr(stage.fn, "__qualname__", "the program")
    if exc is None:
        error = ScheduleFailure(
            f"{name} has failed under a schedule ({how}), and not again: it is not deterministic: {shown(found)}"
        )
        error.__cause__ = found
        error.token, error.schedule = token, count
        return error
    table = seen.table()
    options = ", ..." if stage.args else ""
    if stage.leaks:
        options += ", leaks=True"
    if stage.chooser.limit != LIMIT:
        options += f", limit={stage.chooser.limit}"
    error = ScheduleFailure(
        f"{name} fails under an order of its goroutines ({how}): {shown(exc)}\n\n{table}\n\n"
        f"again: gort.testing.replay({token!r}, {name}{options}), or pytest --gort-replay={token}"
    )
    error.__cause__ = exc
    error.token, error.schedule, error.table = token, count, table
    return error


def shown(exc: BaseException | None) -> str:
    """The exception's class and the first line of its text."""
    text = str(exc).partition("\n")[0]
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__


class Search:
    """The schedules that explore tries, in their order."""

    def __init__(self, stage: Stage, budget: int, strategy: str, seed: int) -> None:
        self.stage: Stage = stage
        self.budget: int = budget
        self.strategy: str = strategy
        self.seed: int = seed
        self.count: int = 0
        self.complete: bool = False
        self.longest: int = 0
        self.last: Outcome | None = None

    def run(self) -> tuple[Plan, Outcome] | None:
        """Tries them; the first that fails, or None."""
        if self.strategy in ("mixed", "few"):
            limit = self.budget if self.strategy == "few" else max(1, self.budget // 2)
            found = self.few(limit)
        else:
            found = self.attempt(Plan(self.seed), True)
        while found is None and not self.complete and self.count < self.budget:
            found = self.attempt(self.drawn(self.count), False)
        return found

    def attempt(self, plan: Plan, record: bool) -> tuple[Plan, Outcome] | None:
        """Runs one schedule, and once more with a record of its choices if it fails."""
        self.count += 1
        outcome = self.stage.run(plan, record=record)
        self.last = outcome
        self.longest = max(self.longest, self.stage.chooser.position)
        if outcome.exc is None:
            return None
        again = outcome if record else self.stage.run(plan, record=True)
        if again.exc is None:  # it is not deterministic
            again.exc = outcome.exc
        return plan, again

    def few(self, limit: int) -> tuple[Plan, Outcome] | None:
        """Schedules with few interruptions: each is the base of those that deviate once more, later on.  From the one
        without deviations this reaches every schedule once."""
        levels: list[deque[Iterator[dict[int, int]]]] = [deque([iter([{}])])]  # by the number of interruptions
        waiting = 1
        level = 0
        while self.count < limit:
            while level < len(levels) and not levels[level]:
                level += 1
            if level == len(levels):
                self.complete = True
                return None
            deviations = next(levels[level][0], None)
            if deviations is None:
                levels[level].popleft()
                continue
            waiting -= 1
            found = self.attempt(Plan(self.seed, REPLAY, deviations), True)
            if found is not None:
                return found
            if waiting < limit - self.count:  # else there are enough already
                record = array("q", (self.last is not None and self.last.record) or ())
                while len(levels) < level + 2:
                    levels.append(deque())
                for cost in (0, 1):
                    waiting += sum(1 for _ in later(deviations, record, cost))
                    levels[level + cost].append(later(deviations, record, cost))
        return None

    def drawn(self, number: int) -> Plan:
        """Schedule `number` of those that are drawn."""
        mixed = (self.seed * 1_000_003 + number) % MAX or 1
        if self.strategy == "random" or (self.strategy == "mixed" and number % 2):
            return Plan(mixed, RANDOM, None, INTERRUPTS[number // 2 % len(INTERRUPTS)])
        length = max(self.longest, 2)
        depth = 2 + number // 2 % 3
        draw = Random(mixed)
        return Plan(mixed, PCT, None, 0, frozenset(draw.randrange(length) for _ in range(depth - 1)))


def later(deviations: dict[int, int], record: array[int], cost: int) -> Iterator[dict[int, int]]:
    """The schedules that deviate once more than `deviations`, later than it does.  cost 1: they interrupt a goroutine
    that could go on; 0: somebody else had to go on anyway."""
    for position in range(max(deviations, default=-1) + 1, len(record)):
        choice = record[position]
        if choice & 1 == cost:
            for k in range(1, (choice >> 1) & 0x7FFFF):
                yield {**deviations, position: k}


def shorten(stage: Stage, plan: Plan, outcome: Outcome) -> tuple[int, dict[int, int]]:
    """The seed and the deviations of a schedule that fails in the same way, with none that could be left out alone."""
    kind = outcome.kind
    deviations = outcome.deviations()
    tries = 0
    size = max(1, len(deviations) // 2)
    while deviations and size and tries < SHORTENING:
        at = 0
        while at < len(deviations) and tries < SHORTENING:
            items = sorted(deviations.items())
            tries += 1
            tried = stage.run(Plan(plan.seed, REPLAY, dict(items[:at] + items[at + size :])), record=True)
            if tried.kind == kind and len(shorter := tried.deviations()) < len(deviations):
                deviations = shorter
            else:
                at += size
        size //= 2
    return plan.seed, deviations


def to_token(seed: int, deviations: dict[int, int]) -> str:
    """`7:12=1,57=2`: the seed, and the choices that were not 0."""
    return f"{seed}:{','.join(f'{position}={k}' for position, k in sorted(deviations.items()))}"


def from_token(token: str) -> tuple[int, dict[int, int]]:
    """The inverse of to_token.  Raises ValueError for what is none."""
    try:
        seed, colon, rest = token.partition(":")
        pairs = [part.split("=") for part in rest.split(",") if part]
        found = int(seed), {int(position): int(k) for position, k in pairs}
    except (AttributeError, TypeError, ValueError):
        colon = ""
    if not colon or not 1 <= found[0] <= MAX or any(position < 0 or k < 0 for position, k in found[1].items()):
        raise ValueError(
            f"{token!r} is no token of a schedule: gort.testing.explore prints them, such as '1:12=1,57=2'"
        )
    return found


for _public in (ScheduleFailure, Explored, Schedule):  # a traceback names them as users import them
    _public.__module__ = "gort.testing"
