"""Runs a program under given schedules: one runtime, in which the program is run again and again, each time with fresh
goroutines and from the same moment of virtual time.

One thread does it all, without sysmon and signal handlers; the chooser (_runtime/sched/chooser.py) says who goes on.  A
goroutine that blocks the thread blocks the schedule.

What does not live here: which schedules are tried (search.py), how one is shown (interleaving.py).
"""

from __future__ import annotations

import sys
from _collections_abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from gort._runtime.boot import main, rt0
from gort._runtime.core import panic, runtime2, tracing
from gort._runtime.core.errors import Deadlock, Goexit, is_a
from gort._runtime.sched import newproc, timers
from gort._runtime.sched.newproc import Done
from gort._start.cython import lent
from gort.testing import clock, races
from gort.testing.bubble import MIDNIGHT_NS, MONOTONIC_NS

with lent():
    from gort._runtime.sched.chooser import ASLEEP, ENDED, ENDLESS, REPLAY, RUNNING, Chooser
    from gort._runtime.wait import bubble


class Endless(RuntimeError):
    """A schedule in which the program had not ended after very many operations: the cause of a ScheduleFailure."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)


class Plan(NamedTuple):
    """What decides a schedule: how the chooser chooses, and the seed of all that is drawn."""

    seed: int
    how: int = REPLAY
    deviations: dict[int, int] | None = None
    interrupt: int = 0  # RANDOM: the probability of an interruption, of 2**16
    falls: frozenset[int] = frozenset()  # PCT: the positions at which a priority falls


class Outcome:
    """What a schedule has come to."""

    __slots__ = ("exc", "record", "steps", "value")

    def __init__(self, value: Any, exc: BaseException | None, steps: int, record: list[int] | None) -> None:
        self.value: Any = value
        self.exc: BaseException | None = exc
        self.steps: int = steps
        self.record: list[int] | None = record  # the choices, where they were recorded (Chooser.record)

    def deviations(self) -> dict[int, int]:
        """The choices that were not 0."""
        assert self.record is not None
        return {position: choice >> 20 for position, choice in enumerate(self.record) if choice >> 20}

    @property
    def kind(self) -> str:
        """What kind of failure it is, so that a shorter schedule can be told to fail in the same way; "" for none."""
        exc = self.exc
        if exc is None:
            return ""
        cause = exc.__cause__ if type(exc).__name__ == "Panic" and exc.__cause__ is not None else exc
        members = ",".join(sorted({type(e).__name__ for e in leaves(cause)}))
        return f"{type(exc).__name__}:{members}"


def leaves(exc: BaseException) -> list[BaseException]:
    """The exceptions of a group, and of groups in it; of any other exception itself."""
    if isinstance(exc, BaseExceptionGroup):
        return [leaf for member in exc.exceptions for leaf in leaves(member)]
    return [exc]


class MainDone(Done):
    """The Done of the main goroutine of a schedule."""

    def __init__(self, chooser: Any) -> None:
        self.chooser = chooser
        self.value: Any = None
        self.exc: BaseException | None = None

    def finished(self, goid: int, value: Any, exc: BaseException | None) -> None:
        """An exception ends the schedule at once; else the other goroutines may still end."""
        if exc is None or is_a(exc, Goexit):
            self.value = value
            self.chooser.returned = True
        else:
            self.exc = exc
            self.chooser.over = ENDED


class Stage:
    """Where schedules are run: `with Stage(fn, args) as stage: outcome = stage.run(plan)`.

    leaks: goroutines that are left when main has returned are no failure.  limit: so many operations, and then the
    schedule counts as endless."""

    def __init__(
        self, fn: Callable[..., Any], args: tuple[Any, ...], leaks: bool = False, limit: int = 100_000
    ) -> None:
        main.check_main(fn, None)
        if runtime2.current_m() is not None:
            raise RuntimeError("gort.testing explores from a plain function, not inside a running gort runtime")
        self.fn = fn
        self.args = args
        self.leaks = leaks
        self.chooser: Chooser = Chooser()
        self.chooser.limit = limit
        self.clocks: AbstractContextManager[None] = clock.redirected()
        self.hooks: Any = None
        self.s: Any = None
        self.watches: bool = False  # the program calls watch: clocks are kept

    def __enter__(self) -> Stage:
        races.wanted = False
        self.hooks = sys.get_asyncgen_hooks()
        self.clocks.__enter__()
        try:
            self.s = s = rt0.rt0(1)
            s.coarsetime = s.lastpoll
            s.chooser = self.chooser
            s.hooks &= ~tracing.HOOK_SEED  # the chooser alone decides
            s.external = nobody
            s.m0note = runtime2.Note()
            s.agens = main.AsyncGenerators(s)
            s.agenhooks = (s.agens.firstiter, s.agens.finalizer)
            bubble.enter(s, nothing, MONOTONIC_NS, MIDNIGHT_NS)
            sys.set_asyncgen_hooks(*s.agenhooks)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            sys.set_asyncgen_hooks(*self.hooks)
            if self.s is not None:
                self.s.ending = True
                main.release(self.s)
        finally:
            runtime2.bind_thread(None)
            self.clocks.__exit__(None, None, None)

    def run(self, plan: Plan, record: bool = False, observer: Any = None, dump: bool = False) -> Outcome:
        """Runs the program once.  dump: a deadlock gets the stacks of all goroutines, which takes a while.

        Raises KeyboardInterrupt and SystemExit that the program ends with."""
        s, chooser, m = self.s, self.chooser, self.s.m0
        p = m.p
        s.exiting = s.ending = s.panicking = s.maingone = False
        s.fatal = None
        s.goidgen = 0
        p.goidcache = p.goidcacheend = 0
        s.vnow = MONOTONIC_NS
        chooser.reset(m, plan.how, plan.seed, plan.deviations, plan.interrupt, plan.falls)
        chooser.record = [] if record else None
        chooser.observer = observer
        done = MainDone(chooser)
        found = races.Races(s, observer) if self.watches else None
        try:
            s.maing, s.maingoid = newproc.make_from(s, self.fn, self.args, None, done, None, -1)
            newproc.start(s.maing, None)
            if found is None:
                why = chooser.run(m)
            else:
                chooser.observer = found
                with found:
                    why = chooser.run(m)
            exc = self._failure(why, done, dump)
            if found is not None and found.found is not None:
                exc = races.DataRace(found.found)
            if observer is not None:
                observer.over(exc)
        finally:
            self._clean(m)
        if not self.watches and races.wanted:
            self.watches = True  # the program watches something: from now on, and this schedule again
            races.wanted = False
            return self.run(plan, record, observer, dump)
        if exc is not None and not isinstance(exc, Exception):
            if is_a(exc, KeyboardInterrupt, SystemExit) or type(exc).__name__ == "Skipped":
                raise exc
        return Outcome(done.value, exc, chooser.steps, chooser.record)

    def _failure(self, why: int, done: MainDone, dump: bool) -> BaseException | None:
        """The exception with which the schedule has failed; None if it has not."""
        s = self.s
        if s.fatal is not None:
            return s.fatal  # type: ignore[no-any-return]
        if done.exc is not None:
            return done.exc
        if why == ENDLESS:
            return Endless(f"the program had not ended after {self.chooser.limit} operations")
        if why == ASLEEP:
            exc = Deadlock()
        elif why == ENDED and not self.leaks and newproc.gcount(s) != 0:
            exc = Deadlock("main has returned, and goroutines are left that wait for ever")
        else:
            assert why in (ENDED, RUNNING), why
            return None
        if s.netpoll is not None and s.netpoll.waiters():
            exc = Deadlock("a goroutine waits for a descriptor: a program that is explored does no I/O")
        if dump:
            panic.deadlock(s, exc)
        return exc

    def _clean(self, m: Any) -> None:
        """Closes what the schedule has left, as the end of a program does, so that the next one begins with nothing."""
        s = self.s
        m.preempt = 0
        m.mcall = runtime2.MCALL_NONE
        m.parkop = None
        s.predicting = 0
        s.fatal = None
        s.ending = True
        self.chooser.clear(m)
        if newproc.gcount(s) != 0 or len(s.allgs) != m.p.ngfree + s.ngfree:
            left = [g for g in s.allgs if g.goid]
            for g in left:
                main.close(s, m, g)
            self.chooser.clear(m)  # a `finally` block may have made one of them runnable
            for g in left:
                self.chooser.reuse(m, g)
        if m.p.timers:
            timers.cleartimers(m.p)
        if s.agens.live or s.agens.dropped:
            s.agens.close(m)
            s.agens.over = False
        s.maing = None


def nobody() -> bool:
    """No thread outside a schedule wakes a goroutine of it."""
    return False


def nothing(s: Any) -> None:
    """What a bubble calls at its end; here the chooser ends it."""


Endless.__module__ = "gort.testing"  # a traceback names it as users import it
