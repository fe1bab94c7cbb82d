# cython: cdivision=True
"""The predictor: a goroutine that will block its thread hands its P on before it does.  Go has no counterpart: its
runtime is told of each system call, while here a call that blocks is noticed only when it has blocked for a while.

A *stretch* is what a goroutine runs between two operations.  Its *place* is where it begins: the code object and the
instruction of the await, in the innermost frame that is not gort's; for a goroutine that starts, its function.  When
sysmon has taken the P of a blocked thread, the place of that stretch is kept (learn).  Whoever begins a stretch there
later hands its P on first (enter), as gort.blocking does, and takes one at its next operation (leave).

Like a processor's predictor of branches, a place has a counter.  It predicts from LIKELY on; a stretch that has blocked
sets it to SURE, and one that has not lowers it by one.  SURE is high, because a call that was not expected costs a
hundred times more than a hand-over in vain: a loop that ends must not undo what it has taught.  But a stretch that has
computed instead removes its place at once.  Places are numbers, made of addresses, and keep nothing alive: if a code
object is freed and another one takes its address, a prediction is wrong once.  At most PLACES are kept, and none for
longer than FORGET_NS after the last call that blocked.

Without the GIL, threads that run at the same time wait for each other's locks, which looks like a call that blocks: a
server with thousands of connections at once got a thread for each, and the more there were the longer they waited.  So
there the system call decides that a thread sleeps in (machine.doing).  Who waits for a lock of the interpreter's or
gort's stays fresh, for which there is a bound, and a stretch in which nothing else has been seen counts as a miss; only
one that has been seen blocked makes its place sure.  threading's locks are like the interpreter's own: who waits for one
loses its P, but that is not learned.  Where the system does not tell (it is not Linux) there is no predictor without the
GIL, unless GODEBUG=predict=1 asks for it.

While no place is known, a switch costs one load more, and an operation nothing (sched.predicting).

Invariants
- An M whose goroutine has handed its P on is as one whose P sysmon has taken: its m.p refers to a P whose mid is another
  M's.  So all other code knows that state.
- m.mcall is MCALL_AWAY until that goroutine's next operation, which so comes to op.refuse, and from there to leave.
- Threads that compute must not be more than the Ps, save a few.  Who has just handed its P on may compute, so it is in
  `fresh` until somebody has seen that its thread uses no CPU.  While `fresh` is full nobody hands a P on.
- Nothing here needs a lock: a list and a dict of CPython's are changed as a whole, and if two threads change a counter
  at once, one change is lost, which does no harm.

Rejected: the place of the call that blocks (what is known when a goroutine is resumed is its await); to ask whether work
waits before a P is handed on (it may come a moment later, and who then has to take the P is sysmon); a bound for the
goroutines that compute once their calls are over, by letting the next ones at such a place keep their P while they block
(a ticker beside a hundred of them then waits in the queue behind all of them: 2.5 s in the median, not 6 ms).
"""

from __future__ import annotations

from _collections import deque
from types import CodeType, CoroutineType, FunctionType, MethodType

import cython
from cython.cimports.gort._runtime.c.rt import (
    WATCHES,
    nanotime,
    rt_cpu_of,
    rt_cputime,
    rt_import,
    rt_key,
    rt_place,
    rt_sleeps,
)
from cython.cimports.gort._runtime.core.handoff import acquire_idle, handoffp
from cython.cimports.gort._runtime.core.op import MCALL_AWAY, MCALL_CHOOSE, MCALL_LOOK, PREEMPT_CHOOSE, PREEMPT_LOOK
from cython.cimports.gort._runtime.core.seed import PREEMPT_SEED
from cython.cimports.gort._runtime.core.runtime2 import MCALL_NONE, G, M, P, Sched

from gort._runtime.core.debugvars import gil_enabled
from gort._runtime.core.machine import WAITS_FOR_LOCK, WAITS_INSIDE, blocks, cpu_clock, doing
from gort._runtime.core.traceback import HIDDEN

rt_import()

PLACES = 256
LIKELY = 2  # a counter from which on a stretch is predicted to block; a new place begins here
SURE = 9
BLOCKED_NS = 100_000  # a stretch that has waited for so long has blocked
COMPUTES_NS = 1_000_000  # a stretch that has used so much CPU time, and more than it has waited, computes
SEEN_NS = 50_000  # whose thread has used little of so much time has been seen blocked
FORGET_NS = 10_000_000_000
TOLD = 10_000  # so many of the stretches that have blocked are kept until sysmon's next round
FIRST_NS = 200_000  # a stretch at a sure place that has used less than this is taken for blocked
ASKED = 8  # but of so many of them one is asked
FRESH = 4  # so many stretches more than there are Ps may be fresh, as many threads as sysmon lets compute
FRESH_SURE = 16  # before one more begins at a place that is sure
# The same for C.
_FIRST_NS = cython.declare(cython.longlong, FIRST_NS)
_GIL = cython.declare(cython.bint, gil_enabled())
_LIKELY = cython.declare(cython.int, LIKELY)
_BLOCKED_NS = cython.declare(cython.longlong, BLOCKED_NS)
_COMPUTES_NS = cython.declare(cython.longlong, COMPUTES_NS)


class Stretch:
    """The stretch that an M's goroutine runs.  The M's thread writes it; sysmon and other Ms read it as a hint."""

    if not cython.compiled:
        procid = 0  # the kernel's number of the thread
        place = 0  # where the stretch has begun; 0: unknown
        away = False  # its P was handed on
        fresh = False  # nobody has seen its thread blocked yet; it is in Predictor.fresh, or about to leave it
        locked = False  # but somebody has seen it wait for a lock
        since = 0  # when the P was handed on, and the CPU time of the thread then, ns
        cpu = 0
        sleeps = 0  # and how often it had gone to sleep by itself


class Predictor:
    """What one runtime knows of the places at which its goroutines block."""

    if not cython.compiled:
        places = None  # place -> counter
        fresh = None  # the Stretches that may compute
        told = None  # (goroutine, place, ns) of stretches that have blocked, for reports; None: nobody asks
        on = True  # GODEBUG=predict=0 turns it off
        always = False  # GODEBUG=predict=2: every stretch is expected to block
        turn = 0  # how many stretches have been looked at, at sure places
        recent = 0  # when a goroutine has blocked last, ns

        # Under sched.lock().
        hits = 0  # stretches that were predicted to block, and did
        misses = 0  # or did not
        ns = 0  # how long those of hits have blocked

    def __init__(self, s, how, tells):
        self.on = how > 0
        self.always = how > 1
        self.places = {}
        self.fresh = []
        if tells:
            self.tell()
        if self.always:
            s.predicting = PREEMPT_LOOK

    def tell(self):
        """Notes each stretch that blocks from now on, for reports.  What is known is forgotten: so the next call at each
        place is not expected, and reports learns from it what the place is called."""
        if self.told is None:
            self.told = deque(maxlen=TOLD)
        self.places.clear()

    def learn(self, s, place):
        """sysmon has taken the P of a goroutine that has blocked since it began its stretch at `place`, 0 for unknown."""
        if not self.on:
            return
        self.recent = nanotime()
        if place:
            if place not in self.places and len(self.places) >= PLACES:
                self.places.pop(next(iter(self.places)), None)
            self.places[place] = min(SURE, self.places.get(place, LIKELY - 1) + 1)
        if s.predicting <= PREEMPT_LOOK:
            s.predicting = PREEMPT_LOOK

    def look(self, m):
        """m's goroutine comes out of an operation: it hands its P on if a call is predicted.  What fails here is no
        reason for the operation to fail."""
        try:
            self.enter(m, rt_place(HIDDEN))
        except MemoryError:
            pass

    def enter(self, m, place):
        """m's goroutine begins a stretch at `place`."""
        s: Sched = m.sched
        p: P = m.p
        st: Stretch = m.stretch
        if st is None:
            st = Stretch.__new__(Stretch) if cython.compiled else Stretch()
            st.procid = m.procid
            m.stretch = st
        if st.away:
            self.settled(st)  # something inside the goroutine has swallowed the operation that was to end that stretch
        st.place = place
        count = SURE if self.always else self.places.get(place)
        if count is None or count < _LIKELY or s.ending or p is None or p.mid != m.id:
            return 0
        if not self.always and not self.may_begin(s, place, count):
            return 0
        st.away = True
        m.mcall = MCALL_AWAY
        handoffp(s, p, m.id)  # it may start a thread, which takes a while
        st.since = nanotime()
        st.cpu = rt_cputime()
        st.sleeps = rt_sleeps()
        st.locked = False
        st.fresh = True
        self.fresh.append(st)
        return 0

    def may_begin(self, s, place, count):
        """Whether one more goroutine may hand its P on: not while too many of those that have may compute, and not while
        the last thread that was made for that does not run yet.  On a machine with too few processors threads would
        otherwise be made faster than they come to run, and their waiting would look like blocking."""
        limit: cython.Py_ssize_t = s.gomaxprocs + (FRESH_SURE if count == SURE else FRESH)
        last: M
        if s.midle is None:
            try:
                last = s.allm[-1]
            except IndexError:  # without the GIL: one whose thread could not be started leaves the list at this moment
                return False
            if last.procid == 0:
                return False
        if len(self.fresh) >= limit:
            self.settle(False)
        return len(self.fresh) < limit and place in self.places

    def leave(self, m, take):
        """The stretch of m's goroutine ends: with its next operation (take: it needs a P), or with the goroutine.  Where
        no P is idle the goroutine must yield at that operation."""
        s: Sched = m.sched
        p: P = m.p
        st: Stretch = m.stretch
        m.mcall = MCALL_NONE
        if st is not None and st.away:
            self.judge(m, st)
        if take and (p is None or p.mid != m.id) and not acquire_idle(s, m):
            m.preempt = True
        return 0

    def judge(self, m, st):
        """Counts a stretch that is over as a hit or a miss."""
        s: Sched = m.sched
        now: cython.longlong = nanotime()
        cpu: cython.longlong = rt_cputime() - st.cpu
        waited: cython.longlong = now - st.since - cpu
        # With the GIL, who computes waits for it, but has computed for a millisecond at least before it must.
        hit: cython.bint = waited >= _BLOCKED_NS and (cpu < _COMPUTES_NS or (waited > cpu and not st.fresh))
        if hit and st.sleeps >= 0 and rt_sleeps() == st.sleeps:
            hit = False  # it never slept: it waited for a processor
        seen: cython.bint = _GIL or not st.fresh
        if hit and not seen and st.locked:
            hit = False  # it waited for locks
        self.settled(st)
        s.lock()
        if hit:
            self.hits += 1
            self.ns += now - st.since
        else:
            self.misses += 1
        s.unlock()
        if hit:
            self.recent = now
            if seen and st.place in self.places:
                self.places[st.place] = SURE
            if self.told is not None:
                self.told.append((m.curg.goid, st.place, now - st.since))
        elif cpu >= _COMPUTES_NS:
            self.places.pop(st.place, None)
        else:
            count = self.places.get(st.place, 0)
            if count > 1:
                self.places[st.place] = count - 1
            else:
                self.places.pop(st.place, None)
        return 0

    def settled(self, st):
        """Ends the state in which st was since enter."""
        st.away = False
        if st.fresh:
            self.seen(st)

    def seen(self, st):
        """Takes st out of `fresh`; another thread may do the same."""
        st.fresh = False
        try:
            self.fresh.remove(st)
        except ValueError:
            pass

    def settle(self, asks):
        """Looks at each fresh stretch, by the CPU clock of its thread and by what that does: is it blocked, or does it
        compute?  To ask what a thread does takes 7 µs, which is much for each call, so of those at sure places only some
        are asked (asks: all of them)."""
        st: Stretch
        since: cython.longlong
        age: cython.longlong
        used: cython.longlong
        for st in self.fresh.copy():
            since = st.since
            before = st.cpu
            if cython.compiled and WATCHES:
                used = rt_cpu_of(st.procid)
                if used < 0:
                    continue
            else:
                clock = cpu_clock(st)
                if clock is None:
                    continue
                used = clock
            used -= before
            age = nanotime() - since
            if not st.away or st.since != since:
                continue  # its thread ends it, or has begun another one
            if used >= _COMPUTES_NS:
                self.places.pop(st.place, None)
            elif age < SEEN_NS or used * 4 >= age:
                continue
            else:
                if not asks and used < _FIRST_NS and self.places.get(st.place) == SURE:
                    self.turn += 1
                    if self.turn % ASKED:
                        self.seen(st)
                        continue
                what = doing(st.procid)
                if not st.away or st.since != since:
                    continue
                if what == WAITS_INSIDE:
                    st.locked = True
                elif blocks(what, age - used):
                    self.seen(st)
                elif what == WAITS_FOR_LOCK:
                    st.locked = True

    def look_after(self, s, now):
        """sysmon's part, in each of its rounds: looks at the fresh stretches, and forgets what is long past."""
        if self.fresh:
            self.settle(True)
        if s.predicting == PREEMPT_LOOK and now - self.recent >= FORGET_NS and not self.always:
            s.predicting = 0
            self.places.clear()


def lookahead(m, g):
    """Called on g0 before m runs g, while there may be a place at which goroutines block.  If g starts, it is told from
    its function whether that place is one.  If g is resumed, its operation finds out (op.lost)."""
    if m.preempt == PREEMPT_SEED:
        return 0
    if m.preempt >= PREEMPT_CHOOSE:  # an explored schedule (chooser.py), which has no predictor
        if m.preempt == PREEMPT_CHOOSE and g.coro is not None and g.throw is None:
            m.mcall = MCALL_CHOOSE
        m.preempt = PREEMPT_CHOOSE
        return 0
    predictor: Predictor = m.sched.predictor
    st: Stretch = m.stretch
    fn: object = g.fn
    code: object = None
    if st is not None:
        st.place = 0
    if g.throw is not None:
        return 0
    if g.coro is None:
        if m is m.sched.m0:
            return 0  # perhaps another thread has to run it (newproc.stays_free)
        if type(fn) is MethodType:
            fn = fn.__func__
        if type(fn) is FunctionType:
            code = fn.__code__
    elif type(g.coro) is not CoroutineType or g.coro.cr_suspended:
        m.mcall = MCALL_LOOK
        return 0
    else:
        code = g.coro.cr_code
    if code is None or str.startswith(code.co_filename, HIDDEN):
        return 0
    predictor.enter(m, rt_key(code, -1))
    return 0
