"""sysmon's reports: calls that blocked a thread, and GODEBUG=schedtrace.  Follows schedtrace in Go's runtime/proc.go.
Go has no report of blocking calls, because there they do no harm.

Everything here runs on sysmon's thread.  What does not live here: how sysmon finds a blocked thread (sysmon.py).
"""

from __future__ import annotations

import gc
import os
from itertools import islice

from gort._runtime.core import traceback
from gort._runtime.core.machine import LOCK_NS, WAITS_INSIDE, doing, nanotime
from gort._runtime.core.mistakes import say
from gort._runtime.core.runtime2 import _Gdead, _Gwaiting, _Pgcstop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


LOOKS = 64  # so many calls are looked at in a round; the others in the next ones
# Without the GIL who computes waits for locks of Python's that others hold, and on a busy machine a holder may have to
# wait for a processor: who waits there no longer than this (ns) has called nothing that blocks.
INSIDE_NS = 100_000_000

collected = [0, 0]  # when a collection has begun, 0: none runs; and when the last one has ended.  Of collects


class Call:
    """A call that has blocked its thread, so that sysmon took the P.  inside: the thread waits for a lock of Python's."""

    __slots__ = ("cpu", "g", "goid", "inside", "m", "seen", "since", "text")

    def __init__(self, m: Any, g: Any, since: int, cpu: int | None, text: str, inside: bool) -> None:
        self.m = m
        self.g = g
        self.goid = g.goid
        self.inside = inside
        self.since = since
        self.seen = nanotime()  # when it was last seen blocked, and the CPU time of its thread then
        self.cpu = cpu
        self.text = text

    def is_over(self, cpu: int | None) -> bool:
        """True when the goroutine has come to the scheduler, or its thread has computed since the last look."""
        p = self.m.p  # read once, because m's thread may change it
        if self.m.curg is not self.g or self.g.goid != self.goid or (p is not None and p.mid == self.m.id):
            if not self.inside:  # else it may have computed since it got its lock
                self.seen = nanotime()
            return True
        if self.inside and doing(self.m.procid) != WAITS_INSIDE:
            return True
        now = nanotime()
        if self.cpu is not None and cpu is not None and (cpu - self.cpu) * 10 > now - self.seen:
            return True
        self.seen, self.cpu = now, cpu
        return False


class Place:
    """A place where calls block."""

    __slots__ = ("count", "longest", "ns", "text")

    def __init__(self, text: str) -> None:
        self.count = self.ns = self.longest = 0
        self.text = text

    def add(self, ns: int) -> None:
        """Counts a call."""
        self.count += 1
        self.ns += ns
        self.longest = max(self.longest, ns)

    def line(self) -> str:
        """What has been counted, in a line."""
        calls = f"{self.count} call{'s' * (self.count > 1)}"
        return (
            f"gort: {calls} blocked a thread, for {self.ns / 1e6:.1f} ms in all and {self.longest / 1e6:.1f} ms at most: "
            f"{self.text}\n"
        )


class Blocked:
    """What sched.blockedcalls refers to.  Only sysmon's thread uses it."""

    def __init__(self) -> None:
        self.calls: dict[int, Call] = {}  # by M
        self.places: dict[str, Place] = {}  # by file and line
        self.texts: dict[int, str] = {}  # by the predictor's place


def collects(phase: str, info: dict[str, int]) -> None:
    """One of gc.callbacks: notes when the collector runs.  It stops all threads without the GIL, and who is stopped waits
    as for a lock of Python's.  Any thread may call this, anywhere: it takes no lock."""
    if phase == "start":
        collected[0] = nanotime()
    else:
        collected[1] = nanotime()
        collected[0] = 0


def begin(s: Any) -> None:
    """Prepares what is needed to tell a call that blocks from one that has been stopped.  A second call does nothing."""
    if LOCK_NS and (s.debug["blocked"] > 0 or s.onblocked is not None) and collects not in gc.callbacks:
        gc.callbacks.append(collects)


def blocked(s: Any, m: Any, since: int, cpu: int | None, place: int, inside: bool) -> None:
    """Records that m's goroutine has blocked its thread and lost the P, in the stretch that has begun at `place`.  settle
    reports it when the call is over.  cpu: the CPU time that the thread has used, in ns.  inside: it waits for a lock of
    Python's, or for the end of a collection; the latter is not recorded."""
    g = m.curg
    if g is None or (inside and (collected[0] or collected[1] >= since)):
        return
    text = ""
    if s.debug["blocked"] > 0 or s.onblocked is not None:
        text = traceback.render(traceback.running(m.ident))
        if not text:
            return  # it has left the user's code since; a place that was learnt without its text would be told without it
    s.predictor.learn(s, place)
    if s.blockedcalls is None:
        s.blockedcalls = Blocked()
    earlier = s.blockedcalls.calls.pop(m.id, None)
    if earlier is not None:  # the thread has come to the scheduler since, and is blocked again
        over(s, earlier)
    s.blockedcalls.calls[m.id] = Call(m, g, since, cpu, text, inside)
    if text and place:
        s.blockedcalls.texts[place] = text


def settle(s: Any, clock: Callable[[Any], int | None]) -> None:
    """Reports the recorded calls that are over, on stderr (GODEBUG=blocked=1) and to on_blocked's callback.  clock(m)
    gives the CPU time of m's thread."""
    found: Blocked = s.blockedcalls
    for mid in list(islice(found.calls, LOOKS)):
        call = found.calls.pop(mid)
        if call.is_over(clock(call.m)):
            over(s, call)
        else:
            found.calls[mid] = call  # behind the others
    foretold(s)


def foretold(s: Any) -> None:
    """Reports the calls whose goroutines have handed their Ps on by themselves.  Their text is that of an earlier one at
    the same place."""
    told = s.predictor.told
    while told:
        goid, place, ns = told.popleft()
        report(s, goid, s.blockedcalls.texts.get(place, ""), ns)


def over(s: Any, call: Call) -> None:
    """Reports a call that is over."""
    ns = call.seen - call.since
    if call.inside and ns < INSIDE_NS:
        return
    s.blockedns += ns
    report(s, call.goid, call.text, ns)


def report(s: Any, goid: int, text: str, ns: int) -> None:
    """Tells of a call that has blocked a thread for ns to those who want to know."""
    if s.debug["blocked"] > 0:
        tell(s.blockedcalls, goid, text, ns)
    if s.onblocked is not None:
        callback, threshold = s.onblocked
        if ns >= threshold * 1e9:
            try:
                callback(goid, ns / 1e9, text)
            except BaseException as e:
                from gort._runtime.core import panic

                panic.unraisable(e, callback, "the callback of gort.runtime.on_blocked raised")


def tell(found: Blocked, goid: int, text: str, ns: int) -> None:
    """Counts a call, and tells on stderr of the first one at a place."""
    key = text.partition("\n\t")[2].partition("\n")[0]
    place = found.places.get(key)
    if place is None:
        place = found.places[key] = Place(in_a_line(text))
        say(f"gort: goroutine {goid} blocked its thread for {ns / 1e6:.1f} ms: {place.text}\n")
    place.add(ns)


def in_a_line(text: str) -> str:
    """A stack in a line, the innermost frame first."""
    lines = text.splitlines()
    return ", ".join(
        f"{name.removesuffix('(...)')} ({where.strip()})" for name, where in zip(lines[::2], lines[1::2], strict=False)
    )


def places(s: Any) -> str:
    """A line for each place where calls have blocked threads, the one first that has blocked them longest.  Empty
    without GODEBUG=blocked=1."""
    found = s.blockedcalls
    known = [] if found is None else sorted(found.places.values(), key=lambda place: -place.ns)
    return "".join(place.line() for place in known)


def finish(s: Any) -> None:
    """Tells of all places, when the program has ended."""
    foretold(s)
    if text := places(s):
        say(text)


class Cycles:
    """GODEBUG=deadlock=1: tells of goroutines that wait for each other.  Only sysmon's thread uses it."""

    def __init__(self) -> None:
        self.seen: set[tuple[tuple[int, int], ...]] = set()  # at the last look: (number, G.nrun) of each goroutine
        self.told: set[tuple[tuple[int, int], ...]] = set()

    def look(self, s: Any) -> None:
        """Tells once of each circle that was there at the last look and whose goroutines have not run since."""
        seen = set()
        for cycle in traceback.cycles(s):
            key = tuple(sorted((g.goid, g.nrun) for g, _ in cycle))
            seen.add(key)
            if key in self.seen and key not in self.told:
                self.told.add(key)
                gs = [g for g, _ in cycle]
                text = "\n".join(map(traceback.goroutine, gs, traceback.stacks(gs)))
                say(f"gort: {traceback.told(cycle)}\n{text}")
        self.seen = seen


def schedtrace(s: Any, now: int, started: int) -> None:
    """Writes the scheduler's state to stderr, in the format of Go's schedtrace (runtime/proc.go): one line, and with
    scheddetail=1 a line for each P, M and G.  `started`: the time of the first line, ns.

    Of Go's fields, CPython has no counterpart to mallocing, throwing, preemptoff, locks and dying, and gort none to
    needspinning: they are 0 or empty.  sysmon counts among the threads but is no M.  Dead goroutines are left out,
    because their Gs have no number any more."""
    allp = list(s.allp)[: s.gomaxprocs]
    detail = s.debug["scheddetail"] > 0
    head = (
        f"SCHED {(now - started) // 1_000_000}ms: gomaxprocs={s.gomaxprocs} idleprocs={s.npidle} "
        f"threads={len(s.allm) + s.nmsys} spinningthreads={s.nmspinning} needspinning=0 idlethreads={s.nmidle} "
        f"runqueue={s.runqsize} "
    )
    if not detail:
        queues = " ".join(str(p.runqsize) for p in allp)  # without runnext, as in Go
        ticks = " ".join(str(p.schedtick) for p in allp)
        say(f"{head}[ {queues} ] schedticks=[ {ticks} ]\n")
        return
    stopwait = sum(p.status != _Pgcstop for p in allp) if s.gcwaiting else 0
    lines = [
        f"{head}gcwaiting={_bool(s.gcwaiting)} nmidlelocked={s.nmidlelocked} stopwait={stopwait} "
        f"sysmonwait={_bool(s.sysmonwait)}"
    ]
    for p in allp:
        lines.append(
            f"  P{p.id}: status={p.status} schedtick={p.schedtick} syscalltick={p.syscalltick} m={_number(abs(p.mid))} "
            f"runqsize={p.runqsize} gfreecnt={p.ngfree} timerslen={len(p.timers)}"
        )
    where: dict[int, int] = {}  # goroutine -> the M that runs it
    for m in reversed(list(s.allm)):  # the newest first, as in Go
        p, g, locked = m.p, m.curg, m.lockedg  # read once, because m's thread may change them
        if p is not None and p.mid != m.id:
            p = None
        if g is not None:
            where[g.goid] = m.id
        asleep = p is None and g is None and not m.spinning
        lines.append(
            f"  M{m.id - 1}: p={'nil' if p is None else p.id} curg={'nil' if g is None else g.goid} mallocing=0 "
            f"throwing=0 preemptoff= locks=0 dying=0 spinning={_bool(m.spinning)} blocked={_bool(asleep)} "
            f"lockedg={'nil' if locked is None else locked.goid}"
        )
    for g in list(s.allgs):
        status, goid, lockedm = g.status, g.goid, g.lockedm
        if goid != 0 and status != _Gdead:
            reason = traceback.wait_reason(g, "") if status == _Gwaiting else ""
            lines.append(
                f"  G{goid}: status={status}({reason}) m={_number(where.get(goid, 0))} "
                f"lockedm={_number(0 if lockedm is None else lockedm.id)}"
            )
    say("\n".join(lines) + "\n")


def _bool(value: object) -> str:
    return "true" if value else "false"


def _number(mid: int) -> str:
    """The number of an M as dumps have it, from an M's id; nil for 0."""
    return str(mid - 1) if mid else "nil"
