# distutils: define_macros=GORT_TRACE_OWNER=1
"""Records what the scheduler does, for the execution trace and the flight recorder.  Follows runtime/traceruntime.go of
Go.

Where something happens that a trace shows, the scheduler tests one flag of sched (hooks) and calls a function here.  It
writes an event to the buffer of this thread: the time, the kind, the goroutine, the P that the thread holds, and where it
helps a stack.  That is all; watch/tracemodel.py makes a trace of Go's from it afterwards, with all that the format wants
besides (sequence numbers, who holds which P, tables).

Invariants
- An event is recorded before another thread can act on what it tells, and by whoever owns the goroutine then.  So the
  times of the events are in the order in which things happened, over all threads.
- Off, a site costs one test.  On, the compiled core calls no Python code for an event, but `reason` of operations that
  are written in Python (blocking.py, timechan.py).
- hooks is set for each runtime (attach), since several may run.

Rejected: to write Go's format at once, as Go does.  Each G and P needs sequence numbers then, and whoever loses a P
without knowing it writes what does not fit.

What does not live here: the buffers (c/gort_trace.h), the format (watch/tracemodel.py), and tasks and regions
(gort/trace.py).
"""

from __future__ import annotations

import sys
import threading
from _thread import get_native_id
from types import CodeType, CoroutineType

import cython
from cython.cimports.cpython.ref import PyObject
from cython.cimports.gort._runtime.c.rt import nanotime, rt_gil_measure, rt_gil_waits, rt_import
from cython.cimports.gort._runtime.c.trace import (
    RT_CORO_STACK,
    RT_MY_STACK,
    RT_NO_STACK,
    rt_trace_begin,
    rt_trace_chunks,
    rt_trace_clock,
    rt_trace_close_spool,
    rt_trace_cutoff,
    rt_trace_drop_ring,
    rt_trace_end,
    rt_trace_error,
    rt_trace_forked,
    rt_trace_lost,
    rt_trace_now,
    rt_trace_outside,
    rt_trace_put,
    rt_trace_rate,
    rt_trace_spooled,
    rt_trace_stacks,
    rt_trace_zero,
    rt_trace_zerons,
)
from cython.cimports.gort._runtime.core.runtime2 import G, M, Op, P, Sched, getm

rt_import()

if not cython.compiled:  # the .pxd defines the same names for C
    # sched.hooks
    HOOK_MIGRATION = 1  # GODEBUG=migration (sched/migration.py)
    HOOK_TRACE = 2  # a trace or a flight recorder is on
    HOOK_LATENCY = 4  # scheduling latencies are measured (P.latencies)
    HOOK_RUNS = 6  # one of these two
    HOOK_SEED = 8  # GODEBUG=seed with one P: the whole order is drawn (seed.py)
    HOOK_WAITS = 16  # the block profile is on (contention.py)

    # The kinds of events.  p is the P that the thread holds then, -1 for none.
    EV_START = 1  # the thread begins to run goid
    EV_BLOCK = 2  # goid waits; arg: why, one of WAIT_*
    EV_STOP = 3  # goid yields; arg: 1 when sysmon has asked it to
    EV_END = 4  # goid has ended
    EV_CREATE = 5  # goid has been made; arg: the number of the stack with which it begins
    EV_READY = 6  # goid is runnable again
    EV_SYSCALL = 7  # goid gives its P up and keeps the thread
    EV_EXITSYS = 8  # and has a P again
    EV_PSTOP = 9  # the thread gives P number arg up
    EV_TAKE = 10  # P number p is taken from the thread goid (a number of the kernel's)
    EV_CREATE_OUT = 11  # EV_CREATE and EV_READY on a thread that is no M; its number stands in the place of the stack's
    EV_READY_OUT = 12
    EV_DISCARD = 13  # goid, which was made and never started, is freed
    EV_PROCS = 14  # GOMAXPROCS is now arg
    EV_STW_BEGIN = 15  # goid stops the world
    EV_STW_END = 16
    EV_USER = 17  # a task, a region or a log of goid's: number arg in gort/trace.py's table


class State:
    """What is on; `mu` guards changes.  Only `live` and `session` are read without it."""

    live = False
    measures = False  # scheduling latencies are measured, until the process ends
    counts = None  # the module contention, while the block profile is on
    session = 1  # of the uncompiled core: a new one whenever the last trace ends
    runs = 0  # the number of runtimes that have been traced
    # Of the uncompiled core:
    ring = 0  # the flight recorder keeps so many events in all; 0: it is off
    whole = False  # a trace is on, so nothing is dropped
    cutoff = 0  # before this time some have been dropped

    def __init__(self):
        # Both are reentrant: a handler or a finalizer may begin or end a trace, or wake a goroutine.
        self.mu = threading.RLock()  # held while a trace is written
        self.small = threading.RLock()  # of the uncompiled core: guards the next two; held for moments
        self.buffers = []
        self.outside = None


state = State()


def attach(s):
    """Tells the runtime s whether something is on.  Called for each when that changes, and when s begins."""
    if not state.live and not state.measures and state.counts is None and not s.hooks & (HOOK_TRACE | HOOK_WAITS):
        return  # without the lock, under which a trace may be written: who begins one sets live and then tells all
    with state.mu:
        if state.measures:
            s.hooks |= HOOK_LATENCY
        if state.counts is not None:
            s.hooks |= HOOK_WAITS
        else:
            s.hooks &= ~HOOK_WAITS
        if state.live:
            if s.traceid == 0:
                state.runs += 1
                s.traceid = (state.runs - 1) % 255 + 1
            s.hooks |= HOOK_TRACE
        else:
            s.hooks &= ~HOOK_TRACE


# ---- what the scheduler calls -----------------------------------------------------------------------------------------


if cython.compiled:

    def put(m, kind, goid, arg, how, of, begins):
        """Records an event of the thread of m.  how: whose stack goes with it, RT_CORO_STACK: that of the coroutine `of`;
        begins: what the goroutine that it makes will run."""
        p: P = m.p
        if how == RT_MY_STACK and m.curg is not None:
            of = m.curg.coro  # the frames below are the scheduler's
        rt_trace_put(
            cython.address(m.tracebuf),
            m.procid,
            kind,
            m.sched.traceid,
            p.id if p is not None and p.mid == m.id else -1,
            goid,
            arg,
            how,
            cython.cast(cython.pointer(PyObject), of),
            cython.cast(cython.pointer(PyObject), begins) if begins is not None else cython.NULL,
            0,
        )
        return 0

    def put_outside(s, kind, p, goid, arg, begins):
        """The same for a thread that is no M."""
        rt_trace_outside(
            kind,
            s.traceid,
            p,
            goid,
            arg,
            get_native_id(),
            cython.cast(cython.pointer(PyObject), begins) if begins is not None else cython.NULL,
        )
        return 0

else:

    class Buffer:
        """The uncompiled core's buffer of one thread: its events as tuples, and the numbers of its stacks."""

        def __init__(self, session, tid, number):
            self.session = session
            self.tid = tid
            self.number = number
            self.events = []
            self.stacks = {}

    def buffer_of(tid):
        """A buffer for the thread tid."""
        with state.small:
            buf = Buffer(state.session, tid, len(state.buffers) + 1)
            state.buffers.append(buf)
        return buf

    def number(buf, places):
        """The number of a stack, from 1; 0 for none."""
        return buf.stacks.setdefault(tuple(places), len(buf.stacks) + 1) if places else 0

    def mine():
        """The places of this thread's stack, innermost first."""
        places = []
        frame = sys._getframe(2)
        while frame is not None:
            places += (frame.f_code, frame.f_lasti)
            frame = frame.f_back
        return places

    def awaited(coro):
        """The places of a suspended coroutine's stack."""
        places = []
        while type(coro) is CoroutineType and coro.cr_frame is not None:
            places[:0] = (coro.cr_frame.f_code, coro.cr_frame.f_lasti)
            coro = coro.cr_await
        return places

    def first_place(begins):
        """The place at which a goroutine begins."""
        code = getattr(getattr(begins, "__func__", begins), "__code__", None) or getattr(begins, "cr_code", None)
        return (code, -1) if type(code) is CodeType else ()

    def put(m, kind, goid, arg, how, of, begins):
        """Records an event of the thread of m.  how: whose stack goes with it, RT_CORO_STACK: that of the coroutine `of`;
        begins: what the goroutine that it makes will run."""
        if not state.live:
            return 0
        buf = m.tracebuf
        if buf is None or buf.session != state.session:
            buf = m.tracebuf = buffer_of(m.procid)
        p = m.p
        stack = 0
        try:
            if how != RT_NO_STACK:
                stack = number(buf, mine() if how == RT_MY_STACK else awaited(of))
            if begins is not None:
                arg = number(buf, first_place(begins))
        except Exception:  # an audit hook of the program's
            pass
        pid = p.id if p is not None and p.mid == m.id else -1
        buf.events.append((nanotime(), goid, arg, stack, pid, kind, m.sched.traceid))
        if state.ring and len(buf.events) % TRIM == 0:
            trim()
        return 0

    TRIM = 4096  # so many events come between two looks whether there are too many

    def trim():
        """Drops the older half of the fullest buffers until few enough events are left."""
        with state.small:
            while state.ring and not state.whole and sum([len(buf.events) for buf in state.buffers]) > state.ring:
                fullest = max(state.buffers, key=lambda buf: len(buf.events))
                half = (len(fullest.events) + 1) // 2
                state.cutoff = max(state.cutoff, fullest.events[half - 1][0])
                del fullest.events[:half]

    def put_outside(s, kind, p, goid, arg, begins):
        """The same for a thread that is no M."""
        with state.small:
            if not state.live:
                return 0
            buf = state.outside
            if buf is None or buf.session != state.session:
                buf = state.outside = buffer_of(0)
            if begins is not None:
                arg = number(buf, first_place(begins))
            buf.events.append((nanotime(), goid, arg, get_native_id(), p, kind, s.traceid))
        return 0


MEASURED = 8  # of so many times that a goroutine becomes runnable one is measured, as in Go (gTrackingPeriod)
LATENCIES = 44  # a P has so many counters: the last is of latencies of two hours and more
_LATENCIES = cython.declare(cython.int, LATENCIES)
_MEASURED = cython.declare(cython.int, MEASURED)


def measure():
    """Begins to measure scheduling latencies and waits for the GIL, in all runtimes of this process from now on."""
    state.measures = True
    if cython.compiled:
        rt_gil_measure()


def latencies(p):
    """The scheduling latencies that P p has counted: the i-th are those below 2**i ns, and not below half of that."""
    return [p.latencies[i] for i in range(LATENCIES)] if not cython.compiled else counted(p)


if cython.compiled:

    def counted(p):
        """latencies, for the compiled core."""
        its: P = p
        i: cython.int
        found: list = []
        for i in range(_LATENCIES):
            found.append(its.latencies[i])
        return found

    def gil_waits():
        """How long threads of the runtime's have waited for the GIL when they woke (c/gort_rt.h); counters as latencies
        has."""
        i: cython.int
        found: list = []
        for i in range(_LATENCIES):
            found.append(rt_gil_waits(i))
        return found

else:

    def gil_waits():
        """Nothing: CPython waits for the GIL inside of the call that sleeps."""
        return [0] * LATENCIES


def timed(g):
    """g is runnable: notes the time, if this one is measured."""
    if (g.nrun + g.goid) & (_MEASURED - 1) == 0:
        g.runnablesince = nanotime()
    return 0


def ran(m, g):
    """m runs g: counts how long g was runnable.  Two threads may do so at one P when one has lost it; then a count is
    lost."""
    p: P = m.p
    ns: cython.longlong = nanotime() - g.runnablesince
    i: cython.int = 0
    g.runnablesince = 0
    while ns > 0 and i < _LATENCIES - 1:
        ns >>= 1
        i += 1
    if p is not None and p.mid == m.id:
        p.latencies[i] += 1
    return 0


def started(m, g):
    """m begins to run g."""
    if g.runnablesince != 0:
        ran(m, g)
    if not m.sched.hooks & HOOK_TRACE:
        return 0
    return put(m, EV_START, g.goid, 0, RT_NO_STACK, None, None)


def blocked(m, g, op):
    """g has suspended to wait for op."""
    why: cython.longlong = 0
    try:
        why = op.reason()
    except Exception:  # it has been completed, and has dropped the fields that reason() reads
        pass
    return put(m, EV_BLOCK, g.goid, why, RT_CORO_STACK, g.coro, None)


def stopped(m, g):
    """g has suspended and is runnable."""
    if m.sched.hooks & HOOK_LATENCY:
        timed(g)
    if not m.sched.hooks & HOOK_TRACE:
        return 0
    asked: cython.bint = m.preempted
    m.preempted = False
    return put(m, EV_STOP, g.goid, asked, RT_CORO_STACK, g.coro, None)


def ended(m, g):
    """g has ended."""
    return put(m, EV_END, g.goid, 0, RT_NO_STACK, None, None)


def created(m, g):
    """g has been made.  m: this thread's M of the same runtime, or None."""
    if g.sched.hooks & HOOK_LATENCY:
        timed(g)
    if not g.sched.hooks & HOOK_TRACE:
        return 0
    begins: object = g.fn if g.coro is None else g.coro
    g.mid = 0  # the G may be one that is used again
    if m is None:
        return put_outside(g.sched, EV_CREATE_OUT, -1, g.goid, 0, begins)
    how: cython.int = RT_NO_STACK if m.curg is None else RT_MY_STACK
    return put(m, EV_CREATE, g.goid, 0, how, None, begins)


def discarded(m, g):
    """g, which was made and never started, is freed."""
    if m is None or m.sched is not g.sched:
        return put_outside(g.sched, EV_DISCARD, -1, g.goid, 0, None)
    return put(m, EV_DISCARD, g.goid, 0, RT_NO_STACK, None, None)


def readied(g):
    """g is runnable, and on no queue yet."""
    if g.sched.hooks & HOOK_LATENCY:
        timed(g)
    if not g.sched.hooks & HOOK_TRACE:
        return 0
    if g.mid == 0:
        return 0  # it has never run: created has said it
    m: M = getm()
    if m is None or m.sched is not g.sched:
        return put_outside(g.sched, EV_READY_OUT, -1, g.goid, 0, None)
    how: cython.int = RT_NO_STACK if m.curg is None or m.curg is g else RT_MY_STACK
    return put(m, EV_READY, g.goid, 0, how, None, None)


def waits(g, op):
    """g has suspended to wait for op: notes since when, and why."""
    g.blockreason = 0
    try:
        g.blockreason = op.reason()
    except Exception:  # as in blocked
        pass
    g.blocksince = nanotime()
    return 0


def waited(g):
    """g is runnable, and on no queue yet: counts its wait."""
    since: cython.longlong = g.blocksince
    counts: object = state.counts
    if since != 0:
        g.blocksince = 0
        if counts is not None:
            counts.over(g, since)
    return 0


def entered(m):
    """m's goroutine is about to give its P up and to block the thread."""
    return put(m, EV_SYSCALL, m.curg.goid, 0, RT_MY_STACK, None, None)


def exited(m):
    """And has a P again."""
    return put(m, EV_EXITSYS, m.curg.goid, 0, RT_NO_STACK, None, None)


def gave_up(m, p):
    """m has given p up."""
    return put(m, EV_PSTOP, 0, p.id, RT_NO_STACK, None, None)


def taken_from(s, p, victim):
    """p has been taken from the M whose thread has the number `victim`."""
    m: M = getm()
    if m is not None and m.sched is s and m.procid == victim:
        return gave_up(m, p)
    return put_outside(s, EV_TAKE, p.id, victim, 0, None)


def resized(m, n):
    """GOMAXPROCS has become n."""
    if m is None or m.curg is None:
        return 0
    return put(m, EV_PROCS, m.curg.goid, n, RT_MY_STACK, None, None)


def world(m, stops):
    """The world is stopped, or starts again."""
    if m is None or m.curg is None:
        return 0
    return put(m, EV_STW_BEGIN if stops else EV_STW_END, m.curg.goid, 0, RT_MY_STACK, None, None)


def user(index):
    """Records an event of the running goroutine's own.  False where nothing is on, or no goroutine runs here."""
    m: M = getm()
    if not state.live or m is None or m.curg is None or not m.sched.hooks & HOOK_TRACE:
        return False
    put(m, EV_USER, m.curg.goid, index, RT_MY_STACK, None, None)
    return True


# ---- beginning and ending ---------------------------------------------------------------------------------------------
# The callers hold state.mu.


def kernel_trusts_tsc():
    """True where the kernel's own clock is the processor's counter."""
    try:
        with open("/sys/devices/system/clocksource/clocksource0/current_clocksource", encoding="ascii") as f:
            return f.read().strip() == "tsc"
    except (OSError, ValueError):
        return False


def now():
    """The time, in the unit of events."""
    if cython.compiled:
        return rt_trace_now()
    return nanotime()


def clock():
    """How times become ns: (a time, the same in ns, how many units a ns has)."""
    if cython.compiled:
        return rt_trace_zero(), rt_trace_zerons(), rt_trace_rate()
    return 0, 0, 1.0


def begin(running, fd, maxbytes, minage, keep):
    """Begins to record.  fd: a file for full chunks, -1 for none; keep: the newest maxbytes of them are kept in memory,
    unless older than minage ns.  Returns the time (clock)."""
    if cython.compiled:
        rt_trace_clock(kernel_trusts_tsc())
        when = rt_trace_begin(fd, maxbytes, minage, keep)
    else:
        when = nanotime()
        if keep:
            state.ring = max(1, maxbytes // 32)
            state.cutoff = 0
        else:
            state.whole = True
    state.live = True
    for s in list(running):
        attach(s)
    return when


def end(running):
    """Records nothing any more, and drops what has been recorded."""
    state.live = False
    for s in list(running):
        attach(s)
    if cython.compiled:
        rt_trace_end()
    else:
        state.session += 1
        state.buffers = []
        state.outside = None


def close_spool():
    """From now on no full chunk goes to the file."""
    if cython.compiled:
        rt_trace_close_spool()
    else:
        state.whole = False


def drop_ring():
    """Keeps no chunks in memory any more."""
    if cython.compiled:
        rt_trace_drop_ring()
    else:
        state.ring = 0


def recorded():
    """What is in memory: (the time until which it is whole, [(number of the buffer, thread, events)]).

    The events of a buffer are in order, and are bytes (c/gort_trace.h) or, uncompiled, a list of tuples."""
    until = now()
    if cython.compiled:
        return until, rt_trace_chunks()
    return until, [(buf.number, buf.tid, list(buf.events)) for buf in list(state.buffers)]


def stacks():
    """The stacks of each buffer, by its number: each is code, offset, code, offset, …; the innermost frame first."""
    if cython.compiled:
        return rt_trace_stacks()
    return {buf.number: list(buf.stacks.copy()) for buf in list(state.buffers)}


def forked():
    """Records nothing any more, in a forked child."""
    state.mu = threading.RLock()
    state.small = threading.RLock()
    state.live = False
    state.session += 1
    state.buffers = []
    state.outside = None
    state.ring = 0
    state.whole = False
    if cython.compiled:
        rt_trace_forked()


def facts():
    """(events lost because there was no memory, the time before which chunks have been dropped, bytes in the file, the
    error of the file)."""
    if cython.compiled:
        return rt_trace_lost(), rt_trace_cutoff(), rt_trace_spooled(), rt_trace_error()
    return 0, state.cutoff, 0, 0
