"""Profiles of a running program: its goroutines, what they wait for, who lets them wait, and what uses the processor.
Follows Go's runtime/pprof/pprof.go and runtime/cpuprof.go.

Go's CPU profile is made by a signal that the kernel sends a thread for each 10 ms of processor time.  CPython runs
signal handlers in the main thread alone, so here a thread of its own looks at the others every PERIOD_NS.  What it
counts is not its looks but each thread's CPU clock: what a thread has used since the last look is charged to the stack
in which it now is.  So the sum is right, and a thread that waits for the GIL is charged nothing.

What does not live here: what counts waits (core/contention.py); the format (pprof.py); the names for users
(gort/debug.py).
"""

from __future__ import annotations

import os
from _thread import allocate_lock, get_native_id, start_new_thread

from gort._runtime.core import runtime2, traceback, tracing
from gort._runtime.core.machine import cpu_clock, thread_clock, threads
from gort._runtime.core.runtime2 import _Gwaiting
from gort._runtime.core.traceback import GSTATUS
from gort._runtime.watch import external, signals
from gort._runtime.watch.pprof import Profile
from gort._start.cython import lent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gort._runtime.core.traceback import Entry
    from gort._runtime.watch.pprof import Label

PERIOD_NS = 10_000_000  # Go's: 100 looks a second


def leaks() -> Any:
    """The module leaks.  Raises RuntimeError where it cannot find any."""
    with lent():
        from gort._runtime.core import leaks
    if not leaks.POSSIBLE:
        raise RuntimeError("write_profile('goroutineleak', …) needs the compiled core and the GIL")
    return leaks


def creator(g: Any) -> str:
    """The go statement that made g, `function file:line`; empty if it is unknown, or gort's own."""
    _, _, code, _ = runtime2.peek(g)
    return statement(code, g.golasti)


def statement(code: Any, lasti: int) -> str:
    """A go statement, as creator() gives it."""
    lines = traceback.created_by(code, lasti, 0).removeprefix("created by ").split("\n\t")
    return " ".join(lines).strip()


def goroutines(running: list[Any], leaked: bool = False) -> Profile:
    """The goroutines of these runtimes, or those that nothing can wake, counted by stack, state and creator.  Follows
    writeGoroutine and writeGoroutineLeak."""
    kind = "goroutineleak" if leaked else "goroutine"
    profile = Profile([(kind, "count")], (kind, "count"), 1)
    for s in running:
        for group in traceback.census(s, None, leaks().leaked(s) if leaked else None):
            waits = group.status == _Gwaiting
            state = traceback.in_words(group.reason) if waits else GSTATUS.get(group.status, str(group.status))
            labels: list[Label] = [("state", state)]
            if by := creator(group.g):
                labels.append(("created by", by))
            for wanted in group.wanted:
                if wanted.count > 1 and wanted.count * 10 >= group.count and (text := traceback.about(wanted.op)):
                    labels.append(("waits for", text))
            profile.add(group.text, [group.count], tuple(labels))
    return profile


def variable(code: Any, place: int, held: Any) -> str:
    """The name of the place-th variable of a frame; of the other numbers in held.walked, what they stand for."""
    if place == held.FRAME:
        return "the frame itself"
    if place == held.FUNCTION:
        return "the function itself"
    parameters = frozenset(code.co_varnames)
    names = (*code.co_varnames, *(name for name in code.co_cellvars if name not in parameters), *code.co_freevars)
    return traceback.plain(names[place]) if place < len(names) else "no variable"


def frames(running: list[Any]) -> Profile:
    """What the frames of goroutines that do not run hold in memory, by stack, variable and creator.  Each frame is
    charged what it holds itself, so its callers have it in their sums.  Raises RuntimeError where it cannot tell."""
    with lent():
        from gort._runtime.core import held
    if not held.POSSIBLE:
        raise RuntimeError("write_profile('frames', …) needs the compiled core")
    profile = Profile([("held_objects", "count"), ("held_space", "bytes")], ("space", "bytes"), 1)
    known: dict[Any, Entry] = {}
    for s in running:
        stacks, sums = held.walked(list(s.allgs))
        for stack, depth, place, kind, objects, size in sums:
            (code, lasti), *outer = stacks[stack][: depth + 2]
            whose = outer[-1][0]
            words = tuple(word for frame in reversed(outer) for word in frame)
            what = variable(whose, place, held)
            labels: list[Label] = [("variable", what), ("type", traceback.name_of(kind))]
            if by := statement(code, lasti):
                labels.append(("created by", by))
            profile.add(traceback.places(words, known), [objects, size], tuple(labels))
    return profile


def contention() -> Any:
    """The module contention, which is loaded when a program first wants to know of waits."""
    with lent():
        from gort._runtime.core import contention
    if contention.forked not in signals.at_fork:
        signals.at_fork.append(contention.forked)
    return contention


_block_rate = 0  # what profile_waits has set; under tracing.state.mu


def block_rate() -> int:
    """What profile_waits has set last; 0 before."""
    return _block_rate


def profile_waits(rate: int) -> None:
    """Switches the block profile on, or with 0 off.  rate: one wait is counted in so many ns of waiting."""
    global _block_rate
    counts = contention()
    with tracing.state.mu:
        counts.set_rate(rate)
        _block_rate = rate
        tracing.state.counts = counts if rate else None
        for s in list(signals.running):
            tracing.attach(s)


def counted(mutexes: bool) -> dict[Any, tuple[float, float]]:
    """The sums of one of the two profiles up to now: (stack, reason) -> (count, ns)."""
    counts = contention()
    found = counts.sums(counts.MUTEX if mutexes else counts.BLOCK)
    return {(tuple(words), reason): (count, ns) for words, reason, count, ns in found}


def waits(
    mutexes: bool,
    before: dict[Any, tuple[float, float]] | None = None,
    until: dict[Any, tuple[float, float]] | None = None,
) -> Profile:
    """The block profile, or with `mutexes` the mutex profile.  Follows writeProfileInternal of Go's pprof.go, and as
    there the values are those since the process began, or since `before` was counted; up to now, or when `until` was."""
    profile = Profile([("contentions", "count"), ("delay", "nanoseconds")], ("contentions", "count"), 1)
    known: dict[Any, Entry] = {}
    for (words, reason), (count, ns) in (counted(mutexes) if until is None else until).items():
        if before is not None:
            count_before, ns_before = before.get((words, reason), (0, 0))
            count, ns = count - count_before, ns - ns_before
            if count < 0.5:  # sums of fractions
                continue
        labels: list[Label] = [("waits for", traceback.in_words(reason))] if reason else []
        profile.add(traceback.places(words, known), [round(count), round(ns)], tuple(labels))
    return profile


def running_now(ident: int) -> tuple[Any, tuple[Any, ...]]:
    """The frames of the thread `ident`, for entries_of, as it takes least time to get them; and before them a key that is
    equal for equal frames while these are kept."""
    if traceback.STOPS_WORLD:
        frames = tuple(traceback.reader.thread_frames(ident))
        return tuple([(id(code), lasti, id(names)) for code, lasti, names in frames]), frames
    entries = tuple(traceback.running(ident))
    return entries, entries


def entries_of(frames: tuple[Any, ...]) -> list[Entry]:
    """What traceback.running() says, of frames that running_now() has returned."""
    return traceback.to_scheduler(traceback.named(list(frames))) if traceback.STOPS_WORLD else list(frames)


class CPU:
    """The thread that makes a CPU profile.  stop() ends it and gives the profile.

    A look does as little as it can: on a busy machine without the GIL the search for a go statement's module has taken a
    second, and to name the frames two, in which the program ended.  So that is done at the end (profile)."""

    def __init__(self) -> None:
        self._profile = Profile([("samples", "count"), ("cpu", "nanoseconds")], ("cpu", "nanoseconds"), PERIOD_NS, True)
        # [samples, ns, frames, number of the goroutine, its go statement's code and offset], by these and the frames' key
        self._seen: dict[Any, list[Any]] = {}
        self._used: dict[tuple[Any, int], int] = {}  # (M, its thread) -> the CPU time at the last look, ns
        self._before = {tid: used for tid in threads() if (used := thread_clock(tid)) is not None}
        self._pid = os.getpid()
        self._stopped = runtime2.Note()
        self._over = allocate_lock()
        self._over.acquire()
        start_new_thread(self._live, ())

    @property
    def profile(self) -> Profile:
        """What has been seen so far."""
        seen, self._seen = self._seen, {}
        for samples, ns, frames, goid, code, lasti in seen.values():
            entries = entries_of(frames) if frames else []
            if not entries:
                self._profile.add([("gort.scheduler", "", 0)], [samples, ns])
                continue
            labels: list[Label] = [("goroutine", goid, "")]
            if by := statement(code, lasti):
                labels.append(("created by", by))
            self._profile.add(entries, [samples, ns], tuple(labels))
        return self._profile

    def stop(self) -> Profile | None:
        """Ends the thread and returns the profile.  May be called once.  None in a forked child: its parent has both."""
        if os.getpid() != self._pid:
            return None
        self._stopped.wakeup()
        self._over.acquire()
        return self.profile

    def _live(self) -> None:
        me = get_native_id()
        external.harmless.add(me)  # it wakes no goroutine
        try:
            self.look(count=False)
            while not self._stopped.sleep(PERIOD_NS / 1e9):
                self.look()
            self.look()
        finally:
            external.harmless.discard(me)
            self._over.release()

    def look(self, count: bool = True) -> None:
        """Charges what each thread has used since the last look; with count=False only begins to."""
        for s in list(signals.running):
            for m in list(s.allm):
                used = cpu_clock(m)
                if used is None:
                    continue
                before = self._used.get((m, m.procid), self._before.get(m.procid, 0) if count else used)
                self._used[m, m.procid] = used
                if count and used > before:
                    self.charge(m, used - before)

    def charge(self, m: Any, ns: int) -> None:
        """Charges ns of processor time to what the thread of m does now."""
        g = m.curg
        # Who it is before where it is: without the GIL the goroutine may end meanwhile, and then it has no number.
        goid, code, lasti = (g.goid, runtime2.peek(g)[2], g.golasti) if g is not None else (0, None, 0)
        key, frames = running_now(m.ident) if g is not None else ((), ())
        entry = self._seen.setdefault((key, goid, code, lasti), [0, 0, frames, goid, code, lasti])
        entry[0] += 1
        entry[1] += ns
