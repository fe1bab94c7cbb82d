# cython: boundscheck=False, wraparound=False, cdivision=True
"""Timers: a four-ary heap on each P, and sleep.  Follows Go's runtime/time.go.

Each P runs the due timers of its heap when it schedules.  A P without work also runs those of other Ps, and the poller
sleeps until the earliest timer of all.  A stopped timer leaves its heap at once (each timer knows its index), so a
program that arms and stops many timeouts does not fill the heap.

Timer.pid is the id of the P whose heap holds the timer, -1 when none does; it changes only under that P's timers lock.
Timers that are due at the same time fire in the order in which they were armed.

P.whens has the times of P.timers in the same order, side by side, as Go's heap has: a comparison reads one of them, where
a read of the timer itself would be a cache miss in a large heap.  Memory for it grows before a timer is added, and goes
with the P.

What does not live here: the timers and tickers that users hold (wait/timechan.py).
"""

from __future__ import annotations

import cython
from cython.cimports.cpython.bytearray import PyByteArray_GET_SIZE, PyByteArray_Resize
from cython.cimports.cpython.long import PyLong_AsLongLongAndOverflow
from cython.cimports.gort._runtime.c.rt import (
    nanotime,
    rt_gc_hide,
    rt_gc_show,
    rt_import,
    rt_list_pop,
    rt_list_put,
    rt_load_once,
)
from cython.cimports.gort._runtime.core.handoff import ready, wake_poller, wakep
from cython.cimports.gort._runtime.core.runtime2 import PARK, READY, G, M, Op, P, Sched, _Pdead, getm
from cython.cimports.libc.math import llround

from gort._runtime.core.mistakes import shared
from gort._runtime.core.op import WAIT_SLEEP

rt_import()

if not cython.compiled:
    MAX_WHEN = (1 << 63) - 1  # the latest time that the clock can show, ns
    MAX_SECONDS = 9.2e9  # a longer duration in ns does not fit into 64 bits

    def keys(p):
        """p.whens.  The timers lock is held.  Compiled: a pointer into it, which the next make_room may move."""
        return p.whens


address = id  # the address of a P: two heaps are locked in the order of their Ps' addresses


def to_ns(seconds):
    """Converts seconds to whole nanoseconds; a duration that does not fit into 64 bits becomes the longest that does.

    Raises TypeError if `seconds` is not a number, ValueError if it is NaN."""
    d: cython.double
    big: cython.int = 0
    if type(seconds) is float:
        d = seconds
    elif cython.compiled and type(seconds) is int:  # without the cost of a try block
        whole: cython.longlong = PyLong_AsLongLongAndOverflow(seconds, cython.address(big))
        if big == 0 and -MAX_SECONDS < whole < MAX_SECONDS:
            return whole * 1_000_000_000
        return MAX_WHEN if seconds > 0 else -MAX_WHEN
    else:
        if type(seconds) is not int and isinstance(seconds, (bool, str, bytes, bytearray)):
            raise TypeError(f"a duration is a number of seconds, not {type(seconds).__name__}")
        try:
            d = float(seconds)
        except OverflowError:
            return MAX_WHEN if seconds > 0 else -MAX_WHEN
        except (TypeError, ValueError):
            raise TypeError(f"a duration is a number of seconds, not {type(seconds).__name__}") from None
    if d != d:
        raise ValueError("a duration cannot be NaN")
    if d >= MAX_SECONDS:
        return MAX_WHEN
    if d <= -MAX_SECONDS:
        return -MAX_WHEN
    if cython.compiled:
        return llround(d * 1e9)
    return round(d * 1e9)


def when_after(ns):
    """The time `ns` nanoseconds from now on the runtime's clock, at most MAX_WHEN."""
    m: M = getm()
    now: cython.longlong = 0
    if m is not None:
        now = m.sched.vnow
    if now == 0:
        now = nanotime()
    return now + ns if ns < MAX_WHEN - now else MAX_WHEN


def monotonic():
    """The runtime's clock in seconds: time.monotonic(), but where the order is drawn (core/seed.py) or in a bubble."""
    m: M = getm()
    ns: cython.longlong = 0
    if m is not None:
        ns = m.sched.vnow
    return (ns if ns != 0 else nanotime()) / 1e9


class Timer:
    """An entry of a heap.  At `when` (ns) it wakes the goroutine that sleeps in op, or calls f(arg, gen, now) on g0.
    The timers that users hold derive from it (timechan.py)."""

    __reduce_ex__ = shared

    if not cython.compiled:
        when = 0
        seq = 0
        gen = 0
        heapidx = -1
        pid = -1
        op = None
        f = None
        arg = None
        sched = None

    def __cinit__(self):
        self.pid = -1
        self.heapidx = -1

    def fire(self, gen, now):
        """Does what the timer is for.  Called when it is due; the caller holds no lock."""
        op: Op = self.op
        if op is not None:
            op.success = 1
            ready(op.g)
        else:
            self.f(self.arg, gen, now)
        return 0


def make_room(p, n):
    """Makes room for the times of n timers.  The timers lock is held.  Raises MemoryError."""
    if cython.compiled:
        if PyByteArray_GET_SIZE(p.whens) < n * 8:
            PyByteArray_Resize(p.whens, (n + 3) * 16)
    else:
        while len(p.whens) < n:
            p.whens.append(0)


def place(heap, whens, i, t, when):
    """Puts t, due at `when`, at i.  The sift that calls this moves references within the heap and counts none."""
    if cython.compiled:
        rt_list_put(heap, i, t)
    else:
        heap[i] = t  # a call of list's makes a tuple, and a collection may begin at it
    whens[i] = when
    t.heapidx = i


# The comparisons below stand written out: as arguments of a function C would count references to the timers, which makes
# a sift down nearly twice as long.  Where two times are the same, the timer that was armed first comes first.


def siftup(p, i):
    """Moves the timer at i towards the root until its parent fires before it.  The timers lock is held."""
    heap: list = p.timers
    whens = keys(p)
    t: Timer = cython.cast(Timer, heap[i])
    when: cython.longlong = t.when
    j: cython.int
    while i > 0:
        j = (i - 1) // 4
        if when > whens[j] or (when == whens[j] and t.seq > cython.cast(Timer, heap[j]).seq):
            break
        place(heap, whens, i, cython.cast(Timer, heap[j]), whens[j])
        i = j
    place(heap, whens, i, t, when)


def siftdown(p, i):
    """Moves the timer at i towards the leaves until it fires before its children.  The timers lock is held."""
    heap: list = p.timers
    n: cython.int = len(heap)
    whens = keys(p)
    t: Timer = cython.cast(Timer, heap[i])
    when: cython.longlong = t.when
    best: cython.longlong
    j: cython.int
    b: cython.int
    while 4 * i + 1 < n:
        b = 4 * i + 1
        best = whens[b]
        j = b + 1
        while j < n and j < 4 * i + 5:  # uncompiled, a range is an object, and a collection may begin at it
            if whens[j] < best or (
                whens[j] == best and cython.cast(Timer, heap[j]).seq < cython.cast(Timer, heap[b]).seq
            ):
                b = j
                best = whens[j]
            j += 1
        if best > when or (best == when and cython.cast(Timer, heap[b]).seq > t.seq):
            break
        place(heap, whens, i, cython.cast(Timer, heap[b]), best)
        i = b
    place(heap, whens, i, t, when)


def push(p, t):
    """Adds t to p's heap.  The timers lock is held.  Raises MemoryError."""
    n: cython.int = len(p.timers)
    make_room(p, n + 1)  # these two first, because they may find no memory
    p.timers.append(t)
    t.pid = p.id
    p.timerseq += 1
    t.seq = p.timerseq
    if cython.compiled:
        rt_gc_hide(t)
    siftup(p, n)
    p.timer0when = keys(p)[0]


def remove(p, i):
    """Removes heap[i] from p's heap.  The timers lock is held; the caller holds a reference to the timer."""
    heap: list = p.timers
    last: Timer = rt_list_pop(heap)
    n: cython.int = len(heap)
    t: Timer
    if i < n:
        t = cython.cast(Timer, heap[i])
        t.pid = -1
        t.heapidx = -1
        heap[i] = last
        j: cython.int = (i - 1) // 4
        if i > 0 and (
            last.when < keys(p)[j] or (last.when == keys(p)[j] and last.seq < cython.cast(Timer, heap[j]).seq)
        ):
            siftup(p, i)
        else:
            siftdown(p, i)
    else:
        t = last
        t.pid = -1
        t.heapidx = -1
    if cython.compiled:
        rt_gc_show(t)
    p.timer0when = keys(p)[0] if n != 0 else 0


def arm(s, t, when):
    """Puts t, which is in no heap, into this P's heap, due at `when` (ns).  True when t is now the first: then the
    caller must call wake_for as soon as it holds no lock."""
    m: M = getm()
    p: P = None
    first: cython.bint
    if m is not None and m.sched is s:
        p = m.p
    if p is None:
        p = s.allp[0]
    t.sched = s
    p.lock_timers()
    if p.status == _Pdead:  # movetimers has moved its timers away, or is about to, under this lock
        p.unlock_timers()
        p = s.allp[0]
        p.lock_timers()
    t.when = when if when > 0 else 1
    try:
        push(p, t)
        first = t.heapidx == 0
    finally:  # the heap may find no memory to grow
        p.unlock_timers()
    return first


def wake_for(s, when):
    """Called when a timer due at `when` has been armed: wakes the poller if it would sleep longer, or an M for an idle
    P if there is no poller (Go's wakeNetPoller)."""
    polling: cython.bint
    idle: cython.bint
    s.lock()
    polling = s.npolling != 0 and (s.polluntil == 0 or when < s.polluntil)
    idle = s.npolling == 0 and s.npidle != 0
    s.unlock()
    if polling:
        wake_poller(s)
    elif idle:
        wakep(s)


def addtimer(s, t, when):
    """Arms t, due at `when` (ns).  t is in no heap, and the caller holds no lock."""
    if arm(s, t, when):
        wake_for(s, when)


def deltimer(t):
    """Disarms t.  True when it was armed and will not fire: the caller must then do what it would have done.  False
    when it was not armed or is already firing."""
    return takeout(t, None)


def takeout(t, op):
    """deltimer.  op: the sleep that t is to end; None for a timer of another kind.  False too when t, which serves all
    sleeps of a goroutine, is armed for another one: who cancels may come as late as that."""
    pid: cython.int
    p: P
    s: Sched = t.sched
    while True:
        pid = t.pid
        if pid < 0:
            return False
        p = cython.cast(P, s.allp[pid])
        p.lock_timers()
        if t.pid == pid:
            mine: cython.bint = t.op is op  # under the lock, because `begin` sets it before it arms t
            if mine:
                remove(p, t.heapidx)
            p.unlock_timers()
            return mine
        p.unlock_timers()


def checktimers(s, p, now):
    """Runs p's timers that are due at `now` (ns; 0: reads the clock).  Returns the time that it has used."""
    t: Timer
    gen: cython.longlong
    if p.timer0when == 0:
        return now
    if now == 0:
        now = s.vnow or nanotime()
    while p.timer0when != 0 and p.timer0when <= now:
        p.lock_timers()
        if len(p.timers) == 0:
            p.unlock_timers()
            break
        t = cython.cast(Timer, p.timers[0])
        if t.when > now:
            p.unlock_timers()
            break
        gen = t.gen
        remove(p, 0)
        p.unlock_timers()
        t.fire(gen, now)
    return now


def timesleepuntil(s):
    """When the earliest timer of any P is due, ns; 0 when there is none.  Takes each heap's lock, because an M that is
    about to sleep must not miss a timer that is just being armed (see handoff.py).

    In a bubble nobody sleeps until then, so a timer that is not due yet does not count."""
    until: cython.longlong = 0
    when: cython.longlong
    p: P
    i: cython.Py_ssize_t
    for i in range(len(s.allp)):
        p = s.allp[i]
        p.lock_timers()
        when = p.timer0when
        p.unlock_timers()
        if when != 0 and (until == 0 or when < until):
            until = when
    return 0 if s.bubble is not None and until > s.vnow else until


def earliest(s):
    """timesleepuntil for the modules that are never compiled."""
    return timesleepuntil(s)


def only(p, timers):
    """Whether p's heap has no timer but those in the list `timers`."""
    i: cython.Py_ssize_t
    j: cython.Py_ssize_t
    n: cython.Py_ssize_t = len(timers)
    p.lock_timers()
    for i in range(len(p.timers)):
        for j in range(n):
            if p.timers[i] is timers[j]:
                break
        else:
            p.unlock_timers()
            return False
    p.unlock_timers()
    return True


def cleartimers(p):
    """Disarms every timer of a P whose runtime has ended, because users may still stop and reset them."""
    t: Timer
    i: cython.Py_ssize_t
    old: list
    empty: list = []
    i = len(empty)  # a call: a collection that is due begins here, and not at that of the lock (gcheld.py)
    p.lock_timers()
    old = p.timers
    for i in range(len(old)):
        t = old[i]
        t.pid = -1
        t.heapidx = -1
        if cython.compiled:
            rt_gc_show(t)
    p.timers = empty
    p.timer0when = 0
    p.unlock_timers()
    t = None
    old.clear()  # after the section, because it may drop the last references to functions of the user's


def movetimers(src, dst):
    """Moves every timer of src, which goes away, to dst.  Only procresize calls it, with the world stopped; but a
    thread without a P may stop or reset one of the timers meanwhile.  So this locks both heaps, and at no time is a
    timer in neither: deltimer always finds it."""
    t: Timer
    i: cython.Py_ssize_t
    moved: list = src.timers
    empty: list = []
    first: P = src
    second: P = dst
    if address(dst) < address(src):
        first = dst
        second = src
    first.lock_timers()
    second.lock_timers()
    n: cython.Py_ssize_t = len(dst.timers)
    try:
        make_room(dst, n + len(moved))  # these two first: where they find no memory, nothing has been moved
        dst.timers.extend(moved)
        src.timers = empty
        src.timer0when = 0
        for i in range(len(moved)):
            t = moved[i]
            t.pid = dst.id
            siftup(dst, n + i)
        if dst.timerseq < src.timerseq:
            dst.timerseq = src.timerseq
        if len(dst.timers) != 0:
            dst.timer0when = keys(dst)[0]
    finally:
        second.unlock_timers()
        first.unlock_timers()


if cython.compiled:
    rt_load_once(Timer.__new__(Timer))


class SleepOp(Op):
    """`await sleep(d)`.  `when` is the duration in ns; elem is the armed timer."""

    what = "gort.sleep()"

    def begin(self, g):
        """Arms the goroutine's timer.  A duration of zero or less is over at once, without a yield, as in Go."""
        if self.when <= 0:
            self.success = 1
            return READY
        t: Timer = g.timer  # a goroutine is in one sleep at a time, so it keeps one timer for all, as in Go
        if t is None:
            t = Timer()
            g.timer = t
        t.op = self
        self.g = g
        self.elem = t
        addtimer(g.sched, t, when_after(self.when))
        return PARK

    def finish(self):
        """No result; frees the timer for the goroutine's next sleep."""
        t: Timer = self.elem
        if t is not None:
            t.op = None
        return None

    def abort(self):
        """Disarms the timer; False when it has fired."""
        t: Timer = self.elem
        if t is None or not takeout(t, self):
            return False
        t.op = None
        return True

    def reason(self):
        """WAIT_SLEEP, which dumps show as `sleep`."""
        return WAIT_SLEEP


def sleep(seconds):
    """Pauses the goroutine for at least `seconds`: `await sleep(0.1)`.  Zero or less returns at once, without a yield.
    Follows Go's time.Sleep (runtime/time.go, timeSleep).

    Raises TypeError if `seconds` is not a number, ValueError if it is NaN, and at the await RuntimeError outside a
    goroutine."""
    ns: cython.longlong = to_ns(seconds)
    op: SleepOp = SleepOp.__new__(SleepOp)
    op.when = ns
    return op
