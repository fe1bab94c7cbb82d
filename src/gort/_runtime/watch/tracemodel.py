"""Makes a Go execution trace from what the threads have recorded (core/tracing.py).

A trace of Go's must fit: a goroutine runs on a thread that holds a P, a P is held by one thread, each change of hands has
its number.  gort's scheduler does what Go's does not (a goroutine runs on without its P, which sysmon has taken), and an
event says only which P its thread held then.  So a model of all threads, Ps and goroutines goes through the events in the
order of their times, and before each writes what must have happened since:

- A thread that has another P than the model knows has stopped the old one and started this.
- If another thread holds that P in the model, it has lost it: its goroutine goes on as if in a system call.
- A goroutine that runs without a P gets one that is not there, number VIRTUAL and up, until it stops.

What the threads ran when the trace began follows from the first event of each goroutine: who waits is woken, who blocks
has run.  Those without any event are in the same state at the end as at the beginning, so they are asked then (silent).

Invariant: what is written is right for Go's reader, whatever the events are.  `repairs` counts where they did not fit
each other; it is 0 unless events were lost.

What does not live here: reading the events (tracebuffers.py), the bytes (gotrace.py), beginning and ending
(gort/trace.py).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter

from gort._runtime.core import traceback
from gort._runtime.core.op import WAIT_IO, WAITREASON
from gort._runtime.core.tracing import (
    EV_BLOCK,
    EV_CREATE,
    EV_CREATE_OUT,
    EV_DISCARD,
    EV_END,
    EV_EXITSYS,
    EV_PROCS,
    EV_PSTOP,
    EV_READY,
    EV_READY_OUT,
    EV_START,
    EV_STOP,
    EV_STW_BEGIN,
    EV_STW_END,
    EV_SYSCALL,
    EV_TAKE,
    EV_USER,
)
from gort._runtime.watch import gotrace as go
from gort._runtime.watch.gotrace import GO_RUNNABLE, GO_RUNNING, GO_SYSCALL, GO_WAITING, PROC_IDLE, PROC_RUNNING, Writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import CodeType
    from typing import IO, Any

    from gort._runtime.core.traceback import Entry
    from gort._runtime.watch.tracebuffers import Buffer, Event

# Numbers of Ps.  Those of the first runtime keep theirs, if they are below FURTHER.  `go tool trace` makes an entry for
# each number up to the highest, so all are small.
FURTHER = 500  # from here on the Ps of further runtimes
VIRTUAL = 1000  # and the Ps that are not there
MANY = 100_000  # and again Ps of further runtimes
GENERATION_MAX = 16 << 20  # bytes of events in a generation: a reader keeps one in memory
RUN_G = 1 << 40  # goroutines of further runtimes in one trace get numbers from such multiples on
TAKER = 1  # the thread in whose stream stands what belongs to none: sysmon's, and the states of those that wait
RAN = frozenset((EV_BLOCK, EV_STOP, EV_END, EV_SYSCALL, EV_USER, EV_PROCS, EV_STW_BEGIN, EV_STW_END))
OUTSIDE = frozenset((EV_CREATE_OUT, EV_READY_OUT))
NETWORK = "network"  # Go's net profile counts the waits with this reason
WORDS = {**WAITREASON, WAIT_IO: NETWORK}
# Go's sync profile counts those whose reason has "chan", "sync" or "select" in it.
WORDS = {n: f"sync ({text})" if text == "semacquire" else text for n, text in WORDS.items()}


class Silent:
    """A goroutine at the end of a trace, for the case that it has no event in it.  when: the time of that; thread: what
    runs it, 0 for none."""

    def __init__(self, run: int, when: int, goid: int, state: int, thread: int, p: int, g: Any) -> None:
        self.run = run
        self.when = when
        self.goid = goid
        self.state = state
        self.thread = thread
        self.p = p
        self.g = g  # None: it has ended since
        self.frames: tuple[Entry, ...] = ()  # where it was then


class Thread:
    """What the model believes of a thread."""

    __slots__ = ("g", "held", "syscall", "tid", "virtual")

    def __init__(self, tid: int) -> None:
        self.tid = tid
        self.held = -1  # the P that it holds
        self.g = 0  # the goroutine that it runs
        self.syscall = False  # without a P
        self.virtual = -1  # the P that is given to it when it has none


class Model:
    """Writes the trace of some events.

    since, until: the time to which they belong.  stacks: those of each buffer.  clock: how times become ns
    (tracing.clock).  user(index): the task, region or log with that number, as gort/trace.py made it, or None."""

    def __init__(
        self,
        out: IO[bytes],
        recorded: dict[int, Buffer],
        file: IO[bytes] | None,
        stacks: dict[int, list[tuple[Any, ...]]],
        since: int,
        until: int,
        clock: tuple[int, int, float],
        user: Callable[[int], tuple[Any, ...] | None],
    ) -> None:
        self.recorded = recorded
        self.file = file
        self.stacks = stacks
        self.since = since
        self.until = until
        self.user = user
        self.repairs = 0
        self.seen: Counter[int] = Counter()  # how many events of each kind have been recorded
        self.zero, self.base, self.rate = clock
        self.when = self.ns(since)
        self.w = Writer(out, self.when)
        self.threads: dict[int, Thread] = {}
        self.goroutines: dict[int, int] = {}  # their states
        self.owners: dict[int, Thread] = {}  # of the goroutines that run
        self.holders: dict[int, Thread | None] = {}  # of all Ps
        self.regions: dict[int, list[tuple[int, str]]] = {}
        self._runs: dict[int, int] = {}
        self._begun: dict[int, list[int]] = {}  # when runtimes began, by number, if two of the trace have the same one
        self._further: dict[tuple[int, int], int] = {}
        self._virtual = 0
        self._pseq: dict[int, int] = {}
        self._gseq: dict[int, int] = {}
        self._entries: dict[tuple[int, int], tuple[Entry, ...]] = {}
        self._places: dict[tuple[CodeType, int], Entry] = {}
        self._stopped = 0  # the goroutine that has stopped the world

    def ns(self, when: int) -> int:
        """A time in ns."""
        return self.base + int((when - self.zero) / self.rate)

    # ---- names --------------------------------------------------------------------------------------------------------

    def events(self, buffer: Buffer) -> Iterator[tuple[Event, int]]:
        """The events of a buffer.  A runtime's number comes again after 255 others: then it gets another one here."""
        found = buffer.events(self.file, self.since, self.until)
        if not self._begun:
            return found
        return (((*event[:6], self.later(event[6], event[0])), number) for event, number in found)

    def later(self, run: int, when: int) -> int:
        """The number, in the trace, of the runtime that has this one then."""
        return run + 256 * bisect_right(self._begun.get(run, ()), when)

    def run_of(self, run: int) -> int:
        """The place of a runtime among those of the trace."""
        return self._runs.setdefault(run, len(self._runs))

    def g_of(self, run: int, goid: int) -> int:
        """A goroutine's number in the trace."""
        return goid + self.run_of(run) * RUN_G

    def p_of(self, run: int, p: int) -> int:
        """A P's number in the trace; -1 for none."""
        if p < 0 or (p < FURTHER and self.run_of(run) == 0):
            return p
        found = self._further.get((run, p))
        if found is None:
            n = FURTHER + len(self._further)
            found = self._further[run, p] = n if n < VIRTUAL else MANY + n
        return found

    def thread(self, tid: int) -> Thread:
        """The thread with that number."""
        found = self.threads.get(tid)
        if found is None:
            found = self.threads[tid] = Thread(tid)
        return found

    def frames(self, buffer: int, number: int) -> tuple[Entry, ...]:
        """The user's frames of a stack, innermost first."""
        if number <= 0:
            return ()
        found = self._entries.get((buffer, number))
        if found is None:
            known = self.stacks.get(buffer, [])
            words = known[number - 1] if number <= len(known) else ()
            found = self._entries[buffer, number] = tuple(traceback.places(words, self._places))
        return found

    def stack(self, buffer: int, number: int) -> int:
        """The number of a stack in the trace."""
        return self.w.stack(self.frames(buffer, number))

    # ---- what must have happened --------------------------------------------------------------------------------------

    def emit(self, m: Thread, kind: int, *args: int) -> None:
        """Writes an event of a thread."""
        self.w.event(m.tid, self.when, kind, args)

    def pseq(self, p: int) -> int:
        """The next number in the sequence of a P."""
        self._pseq[p] = n = self._pseq.get(p, 0) + 1
        return n

    def gseq(self, g: int) -> int:
        """The next number in the sequence of a goroutine."""
        self._gseq[g] = n = self._gseq.get(g, 0) + 1
        return n

    def release(self, m: Thread) -> None:
        """m stops its P; what it runs goes on without one."""
        if m.g and not m.syscall:
            self.emit(m, go.EV_GO_SYSCALL_BEGIN, self.pseq(m.held), 0)
            m.syscall = True
            self.goroutines[m.g] = GO_SYSCALL
        self.emit(m, go.EV_PROC_STOP)
        self.holders[m.held] = None
        m.held = -1

    def take(self, m: Thread, p: int, victim: Thread) -> None:
        """m takes p from the thread that holds it."""
        if victim is m or not victim.g:
            self.release(victim)
            return
        self.emit(victim, go.EV_GO_SYSCALL_BEGIN, self.pseq(p), 0)
        self.emit(m, go.EV_PROC_STEAL, p, self.pseq(p), victim.tid)
        victim.syscall = True
        self.goroutines[victim.g] = GO_SYSCALL
        self.holders[p] = None
        victim.held = -1

    def hold(self, m: Thread, p: int) -> None:
        """m holds p, or any P if p is -1."""
        if p < 0:
            if m.held >= 0:
                return  # it has lost its P, but nobody has used that since
            if m.virtual < 0:
                m.virtual = VIRTUAL + self._virtual
                self._virtual += 1
            p = m.virtual
        if m.held == p:
            return
        if p not in self.holders:
            self.emit(m, go.EV_PROC_STATUS, p, PROC_IDLE)
        elif (victim := self.holders[p]) is not None:
            self.take(m, p, victim)
        if m.held >= 0:  # another P under a running goroutine
            self.emit(m, go.EV_PROC_STOP)
            self.holders[m.held] = None
        self.holders[p] = m
        m.held = p
        self.emit(m, go.EV_PROC_START, p, self.pseq(p))
        if m.syscall:
            m.syscall = False
            self.emit(m, go.EV_GO_SYSCALL_END_BLOCKED)
            self.emit(m, go.EV_GO_START, m.g, self.gseq(m.g))
            self.goroutines[m.g] = GO_RUNNING

    def drop_virtual(self, m: Thread) -> None:
        """m runs no goroutine any more, so it needs no P that is not there."""
        if m.held >= 0 and m.held == m.virtual:
            self.emit(m, go.EV_PROC_STOP)
            self.holders[m.held] = None
            m.held = -1

    def leave(self, m: Thread, state: int) -> None:
        """m's goroutine is off it."""
        self.goroutines[m.g] = state
        self.owners.pop(m.g, None)
        m.g = 0

    def stop(self, m: Thread, reason: str, stack: int) -> None:
        """m's goroutine yields."""
        if m.syscall and m.held < 0:
            self.emit(m, go.EV_GO_SYSCALL_END_BLOCKED)
            m.syscall = False
        else:
            self.emit(m, go.EV_GO_STOP, self.w.string(reason), stack)
        self.leave(m, GO_RUNNABLE)
        self.drop_virtual(m)

    def destroy(self, m: Thread) -> None:
        """m's goroutine ends."""
        g = m.g
        if self._stopped == g:
            self.emit(m, go.EV_STW_END)
            self._stopped = 0
        self.emit(m, go.EV_GO_DESTROY)
        self.leave(m, GO_WAITING)
        del self.goroutines[g]
        self._gseq.pop(g, None)
        self.regions.pop(g, None)
        self.drop_virtual(m)

    def runs(self, m: Thread, g: int, p: int) -> None:
        """m, which holds p, runs g."""
        if m.g != g:
            self.repairs += 1
            self.start(m, g, p)
        self.hold(m, p)

    def start(self, m: Thread, g: int, p: int) -> None:
        """m begins to run g."""
        if m.g:
            self.repairs += 1
            self.stop(m, "", 0)
        self.hold(m, p)
        state = self.goroutines.get(g)
        if state != GO_RUNNABLE:
            self.repairs += 1
            if state is None:
                self.emit(m, go.EV_GO_CREATE, g, 0, 0)
            elif state == GO_WAITING:
                self.emit(m, go.EV_GO_UNBLOCK, g, self.gseq(g), 0)
            else:
                self.stop(self.owners[g], "", 0)
                self.hold(m, p)
        self.emit(m, go.EV_GO_START, g, self.gseq(g))
        m.g = g
        self.goroutines[g] = GO_RUNNING
        self.owners[g] = m

    # ---- the events ---------------------------------------------------------------------------------------------------

    def event(self, event: Event, buffer: int, tid: int) -> None:
        """Writes one event and what must have happened before it."""
        when, goid, arg, number, p, kind, run = event
        self.when = self.ns(when)
        self.seen[kind] += 1
        g = goid
        if self._runs.get(run) != 0 or p >= FURTHER:  # else they keep their numbers: nearly always, so no call is made
            g = self.g_of(run, goid)
            p = self.p_of(run, p)
        m = self.threads.get(number if kind in OUTSIDE else tid) or self.thread(number if kind in OUTSIDE else tid)
        if kind == EV_START:
            self.start(m, g, p)
        elif kind == EV_BLOCK:
            self.runs(m, g, p)
            self.emit(m, go.EV_GO_BLOCK, self.w.string(WORDS.get(arg, "waiting")), self.stack(buffer, number))
            self.leave(m, GO_WAITING)
            self.drop_virtual(m)
        elif kind == EV_STOP:
            if m.g != g or p >= 0 or not m.syscall:
                self.runs(m, g, p)
            self.stop(m, "preempted" if arg else "runtime.Gosched", self.stack(buffer, number))
        elif kind == EV_END:
            self.runs(m, g, p)
            self.destroy(m)
        elif kind == EV_CREATE:
            if g in self.goroutines:
                self.repairs += 1
                return
            self.hold(m, p)
            self.emit(m, go.EV_GO_CREATE, g, self.stack(buffer, arg), self.stack(buffer, number))
            self.goroutines[g] = GO_RUNNABLE
            if not m.g:
                self.drop_virtual(m)
        elif kind == EV_CREATE_OUT:
            if g in self.goroutines:
                self.repairs += 1
                return
            if m.g:  # the thread runs a goroutine of another runtime
                self.hold(m, -1)
                self.emit(m, go.EV_GO_CREATE, g, self.stack(buffer, arg), 0)
            else:
                self.emit(m, go.EV_GO_CREATE_SYSCALL, g)
                self.emit(m, go.EV_GO_SYSCALL_END_BLOCKED)
            self.goroutines[g] = GO_RUNNABLE
        elif kind in (EV_READY, EV_READY_OUT):
            state = self.goroutines.get(g)
            if state == GO_WAITING:
                self.emit(m, go.EV_GO_UNBLOCK, g, self.gseq(g), self.stack(buffer, number) if kind == EV_READY else 0)
                self.goroutines[g] = GO_RUNNABLE
            elif state != GO_RUNNABLE:
                self.repairs += 1
        elif kind == EV_SYSCALL:
            self.runs(m, g, p)
            self.emit(m, go.EV_GO_SYSCALL_BEGIN, self.pseq(m.held), self.stack(buffer, number))
            m.syscall = True
            self.goroutines[g] = GO_SYSCALL
            self.emit(m, go.EV_PROC_STOP)
            self.holders[m.held] = None
            m.held = -1
        elif kind == EV_EXITSYS:
            self.runs(m, g, p)
        elif kind == EV_PSTOP:
            if m.held == self.p_of(run, arg):
                self.release(m)
        elif kind == EV_TAKE:
            victim = self.threads.get(goid)
            if victim is not None and victim.held == p >= 0:
                self.take(self.thread(TAKER), p, victim)
        elif kind == EV_DISCARD:
            self.discard(g)
        elif kind == EV_USER:
            self.runs(m, g, p)
            self.annotate(m, arg, self.stack(buffer, number))
        else:
            self.runs(m, g, p)
            self.world(m, kind, arg, self.stack(buffer, number))

    def discard(self, g: int) -> None:
        """g was made and never started.  A trace knows only the ends of goroutines that run."""
        if self.goroutines.get(g) != GO_RUNNABLE:
            self.repairs += 1
            return
        m = self.thread(TAKER)
        self.start(m, g, -1)
        self.destroy(m)

    def world(self, m: Thread, kind: int, arg: int, stack: int) -> None:
        """GOMAXPROCS changes."""
        if kind == EV_PROCS:
            self.emit(m, go.EV_PROCS_CHANGE, arg, stack)
        elif kind == EV_STW_BEGIN and not self._stopped:
            self.emit(m, go.EV_STW_BEGIN, self.w.string("GOMAXPROCS"), stack)
            self._stopped = m.g
        elif kind == EV_STW_END and self._stopped == m.g:
            self.emit(m, go.EV_STW_END)
            self._stopped = 0

    def annotate(self, m: Thread, index: int, stack: int) -> None:
        """A task, a region or a log."""
        found = self.user(index)
        if found is None:
            return
        _, what, task, first, second = found
        w = self.w
        if what == "task":
            self.emit(m, go.EV_USER_TASK_BEGIN, task, first, w.string(second), stack)
        elif what == "end task":
            self.emit(m, go.EV_USER_TASK_END, task, stack)
        elif what == "log":
            self.emit(m, go.EV_USER_LOG, task, w.string(first), w.string(second), stack)
        elif what == "region":
            self.regions.setdefault(m.g, []).append((task, first))
            self.emit(m, go.EV_USER_REGION_BEGIN, task, w.string(first), stack)
        else:
            entered = self.regions.get(m.g)
            if entered:  # else it began before the trace did
                if entered[-1] != (task, first):
                    return  # they do not nest, and a reader would refuse that
                entered.pop()
            self.emit(m, go.EV_USER_REGION_END, task, w.string(first), stack)

    # ---- the whole ----------------------------------------------------------------------------------------------------

    def write(self, silent: list[Silent], frames: Callable[[Silent], tuple[Entry, ...]], most: int) -> None:
        """Writes the trace.  silent: the goroutines that there are when it ends; those with events are passed over.
        frames reads where such a goroutine is; it is called for so many at most."""
        from heapq import merge

        self.begin(silent, frames, most)
        streams = [self.events(b) for b in self.recorded.values()]
        for event, number in merge(*streams):
            self.event(event, number, self.recorded[number].tid)
            if self.w.size > GENERATION_MAX and not self._stopped:
                self.w.end()
                self.statuses()
        self.w.end()

    def begin(self, silent: list[Silent], frames: Callable[[Silent], tuple[Entry, ...]], most: int) -> None:
        """The states of all goroutines and Ps when the trace begins."""
        first, busy = self.first()
        if self._begun:
            first, busy = self.first()
        for (run, goid), (_, event, tid) in sorted(first.items(), key=lambda item: item[1][0]):
            self.was(self.g_of(run, goid), event, tid)
        for each in silent:
            each.run = self.later(each.run, each.when)
            if (each.run, each.goid) not in first:
                if each.g is not None and most > 0:
                    most -= 1
                    each.frames = frames(each)
                self.wait_silent(each, busy)

    def first(self) -> tuple[dict[tuple[int, int], tuple[int, Event, int]], set[int]]:
        """The first event of each goroutine, with its time and thread, and the threads that have events.

        Finds out, too, whether two runtimes have the same number (_begun): with its first goroutine a runtime begins, and
        none makes a second one with that number."""
        first: dict[tuple[int, int], tuple[int, Event, int]] = {}
        busy = set()
        begun: dict[int, list[int]] = {}
        for buffer in self.recorded.values():
            for event, _ in self.events(buffer):
                when, goid, _, _, _, kind, run = event
                if kind in (EV_TAKE, EV_PSTOP):
                    continue
                busy.add(buffer.tid)
                if goid == 1 and kind == EV_CREATE:
                    begun.setdefault(run, []).append(when)
                found = first.get((run, goid))
                if found is None or when < found[0]:
                    first[run, goid] = (when, event, buffer.tid)
        if not self._begun and any(len(times) > 1 or first[run, 1][0] < times[0] for run, times in begun.items()):
            self._begun = {run: sorted(times) for run, times in begun.items()}
        return first, busy

    def was(self, g: int, event: Event, tid: int) -> None:
        """What g was before its first event."""
        kind, p = event[5], self.p_of(event[6], event[4])
        if kind in (EV_CREATE, EV_CREATE_OUT, EV_DISCARD):
            return
        if kind == EV_START:
            self.status(self.thread(tid), g, GO_RUNNABLE)
        elif kind in RAN or kind == EV_EXITSYS:
            self.ran(g, tid, -1 if kind == EV_EXITSYS else p)
        else:
            self.status(self.thread(TAKER), g, GO_WAITING)

    def ran(self, g: int, tid: int, p: int) -> None:
        """The thread ran g when the trace began, and held p."""
        m = self.thread(tid)
        if m.g:
            self.status(m, g, GO_RUNNABLE)
            return
        if p >= 0 and self.holders.get(p) is None:
            self.emit(m, go.EV_PROC_STATUS, p, PROC_RUNNING)
            self.holders[p] = m
            m.held = p
        m.g = g
        m.syscall = m.held < 0
        self.owners[g] = m
        self.status(m, g, GO_SYSCALL if m.syscall else GO_RUNNING)

    def wait_silent(self, each: Silent, busy: set[int]) -> None:
        """A goroutine without events."""
        g = self.g_of(each.run, each.goid)
        if g in self.goroutines:
            return
        if each.thread and each.thread not in busy and not self.thread(each.thread).g:
            self.ran(g, each.thread, self.p_of(each.run, each.p))
            return
        state = GO_WAITING if each.state in (GO_RUNNING, GO_SYSCALL) else each.state
        self.goroutines[g] = state
        stack = self.w.stack(each.frames)
        self.emit(self.thread(TAKER), go.EV_GO_STATUS_STACK, g, go.NO_THREAD, state, stack)

    def status(self, m: Thread, g: int, state: int) -> None:
        """Writes a goroutine's state."""
        self.goroutines[g] = state
        on = m.tid if state in (GO_RUNNING, GO_SYSCALL) else go.NO_THREAD
        self.emit(m, go.EV_GO_STATUS, g, on, state)

    def statuses(self) -> None:
        """Begins a further generation: the states of all Ps and goroutines, and the sequences from their start."""
        self._pseq.clear()
        self._gseq.clear()
        anybody = self.thread(TAKER)
        for p, holder in self.holders.items():
            self.emit(holder or anybody, go.EV_PROC_STATUS, p, PROC_IDLE if holder is None else PROC_RUNNING)
        for g, state in self.goroutines.items():
            self.status(self.owners.get(g, anybody), g, state)
