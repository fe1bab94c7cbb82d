"""Mutexes and wait groups, and the queues of all that is in gort.sync.  Follows Go's runtime/sema.go and the types of
package sync.  What does not live here: RWMutex (rwmutex.py), Semaphore (semaphore.py), the queue of a condition
(notify.py); sync.Cond, sync.Once and sync.Pool (gort/sync.py).

Each object has one lock for its state, and a FIFO of waiting operations.  The releasing thread grants: it dequeues the
first waiter, changes the state on its behalf, and makes it ready.  So a woken goroutine already has what it waited for,
a cancelled one (dequeued under the same lock) never has it, and nobody overtakes.

Rejected: Go's rule, by which running goroutines may take the mutex first and a waiter gets it only when it starves.  A
switch of coroutines costs tens of nanoseconds, and the fair rule is simpler.
"""

from __future__ import annotations

import cython
from cython.cimports.gort._runtime.c.rt import nanotime, own_dict, rt_import
from cython.cimports.gort._runtime.core.handoff import ready
from cython.cimports.gort._runtime.core.lockrank import LOCK_RANK_SEMA
from cython.cimports.gort._runtime.core.runtime2 import DEQUEUED, PARK, QUEUED, READY, G, M, Op, getm
from cython.cimports.gort._runtime.wait.chan import wake

from gort._runtime.core import debugvars
from gort._runtime.core import op as _op  # noqa: F401  (gives Op its await protocol before it is subclassed)
from gort._runtime.core.lockrank import make_lock
from gort._runtime.core.mistakes import shared
from gort._runtime.core.op import (
    WAIT_COND,
    WAIT_MUTEX,
    WAIT_RWMUTEX_R,
    WAIT_RWMUTEX_W,
    WAIT_SEMACQUIRE,
    WAIT_WAITGROUP,
)
from gort._runtime.core.traceback import caller_place

rt_import()

COUNTER_MAX = 2**31 - 1  # the largest count of a WaitGroup, as in Go
_COUNTER_MAX = cython.declare(cython.longlong, COUNTER_MAX)  # the same for C
HOLDERS_MAX = 5  # a dump names so many
_TRACKED = cython.declare(cython.bint, debugvars.parse()["deadlock"] > 0)  # locks remember where they were taken


def not_locked(what):
    """Raises RuntimeError for an unlock of an unlocked object, but not while the program ends.  Then a goroutine that
    is closed in Cond.wait cannot take its lock again, and its `async with` unlocks all the same."""
    m: M = getm()
    if m is None or m.sched is None or not m.sched.ending:
        exc = RuntimeError(f"sync: {what}")
        exc.fatal = True  # panic.headline reads it
        raise exc


# The mutex profile is on, the time when it was switched on, and the module contention (core/contention.py).
_profiled = cython.declare(cython.bint, False)
_since = cython.declare(cython.longlong, 0)
contention = None


def profile(module):
    """Switches the mutex profile on, or with None off."""
    global _profiled, _since, contention
    _profiled = False
    if module is not None:
        contention = module
        _since = nanotime()
        _profiled = True


def profiled():
    """True while the mutex profile is on."""
    return _profiled


def settle(q):
    """The operations that wait in q are about to become more or fewer: adds up what they have waited since the last time.
    The state is locked."""
    now: cython.longlong = nanotime()
    if q.settled < _since:  # what was added up before belongs to another profile
        q.waited = q.queued * (now - _since)
    else:
        q.waited += q.queued * (now - q.settled)
    q.settled = now
    return 0


def charge(waited, count):
    """The caller has released a lock, for which others have waited `waited` ns in all, and has woken `count` of them."""
    if contention is not None:
        contention.charge(waited, count)
    return 0


class Waitq:
    """A state lock and a FIFO of operations that wait for the state to change."""

    __reduce_ex__ = shared

    if not cython.compiled:

        def __init__(self):
            own_dict(self)
            mu = make_lock(LOCK_RANK_SEMA, self)
            self.lock_state = mu.acquire
            self.unlock_state = mu.release

        first = None
        last = None
        count = 0
        holder = 0  # the goroutine that holds a Mutex; the last writer that took an RWMutex or waits for its readers
        taken = None  # with GODEBUG=deadlock=1: that goroutine, and the line where it has taken it
        queued = 0  # the operations that wait
        granted = 0  # how often it was taken, or has let somebody go who waited, modulo 2**32 in C; for the page
        # While the mutex profile is on (settle): what they have waited in all since the object was last released, up to
        # the moment `settled`, ns.
        waited = 0
        settled = 0

    def push(self, op):
        """Appends op.  The state is locked."""
        if _profiled:
            settle(self)
        self.queued += 1
        op.next = None
        op.prev = self.last
        if self.last is None:
            self.first = op
        else:
            self.last.next = op
        self.last = op
        op.index = QUEUED

    def pop(self):
        """Dequeues the first operation; None when there is none.  The state is locked."""
        op: Op = self.first
        if _profiled:
            settle(self)
        if op is not None:
            self.queued -= 1
            self.granted += 1
            self.first = op.next
            if op.next is None:
                self.last = None
            else:
                op.next.prev = None
                op.next = None
            op.index = DEQUEUED
            op.success = 1
        return op

    def unlink(self, op):
        """Removes op from anywhere in the queue.  False when it is no longer there.  The state is locked."""
        prev: Op
        next: Op
        if op.index != QUEUED:
            return False
        if _profiled:
            settle(self)
        self.queued -= 1
        op.index = DEQUEUED
        prev = op.prev
        next = op.next
        op.prev = None
        op.next = None
        if prev is not None:
            prev.next = next
        else:
            self.first = next
        if next is not None:
            next.prev = prev
        else:
            self.last = prev
        return True

    def enter(self, op):
        """Grants what op asks for and returns READY, or enqueues op and returns PARK."""
        raise NotImplementedError

    def left(self, op):
        """Called when op has been cancelled and dequeued.  Returns a chain of the operations that can be granted now.
        The state is locked."""
        return None

    def take_back(self, op):
        """Releases what was granted to op, which nobody will use.  The caller holds no lock."""

    # What a dump asks.  Not of a class of the user's: the names are private, and who calls is ready for an exception.

    def _owner(self):
        """The number of the goroutine for which the waiting ones wait; 0 if there is none, or it is unknown."""
        return 0

    def _hold(self):
        """The running goroutine takes over what was granted to another."""
        self.holder = caller()

    def _needs(self, op):
        """What op waits for, where several goroutines hold it and are known: (how much, {goroutine: how much it holds}).
        A goroutine with the number 0 may be any.  None where that is unknown, and where one alone holds it (_owner)."""
        return None

    def _words(self):
        """The object and its state, for a dump.  Takes no lock: what it says may be a moment old."""
        return ""


class WaitOp(Op):
    """One wait.  `kind`: its wait reason; `c`: the object; `when`: the permits it wants, or its ticket (Notify);
    `sel`: what Cond.wait unlocks."""

    @property
    def what(self):
        """The operation as a user writes it, for messages."""
        return WHAT.get(self.kind, "a wait")

    def begin(self, g):
        """Asks the object, which grants or enqueues the operation."""
        q: Waitq = cython.cast(Waitq, self.c)
        self.g = g
        return q.enter(self)

    def finish(self):
        """No result."""
        if _TRACKED:
            return tracked(self)  # a call at the end: the registers need not be saved for it otherwise
        self.g = None
        return None

    def abort(self):
        """Dequeues the operation and wakes those that it held back; False when it has been granted."""
        q: Waitq = self.c
        r: cython.bint
        chain: Op = None
        q.lock_state()
        r = q.unlink(self)
        if r:
            chain = q.left(self)
        q.unlock_state()
        wake(chain)
        return r

    def undo(self):
        """Gives back what has been granted: the next waiter gets it."""
        q: Waitq = self.c
        if self.success:
            self.success = 0
            q.take_back(self)

    def reason(self):
        """`kind`, which is the wait reason."""
        return self.kind

    def owner(self):
        """As the object says."""
        q: Waitq = self.c
        return 0 if q is None else q._owner()

    def needs(self):
        """As the object says."""
        q: Waitq = self.c
        return None if q is None else q._needs(self)

    def about(self):
        """As the object says."""
        q: Waitq = self.c
        return "" if q is None else q._words()


WHAT = {
    WAIT_MUTEX: "Mutex.lock()",
    WAIT_RWMUTEX_R: "RWMutex.rlock()",
    WAIT_RWMUTEX_W: "RWMutex.lock()",
    WAIT_WAITGROUP: "WaitGroup.wait()",
    WAIT_COND: "Cond.wait()",
    WAIT_SEMACQUIRE: "Semaphore.acquire()",
}


class Left:
    """What `async with` awaits when it has unlocked: nothing.  It is no operation, because a pending cancellation would
    be raised there, and what the block had read or returned would be lost."""

    def __await__(self):
        return NOTHING


NOTHING = iter(())
LEFT = Left()


def new_wait(q, kind):
    """Makes a wait of this kind on q."""
    op: WaitOp = WaitOp.__new__(WaitOp)
    op.c = q
    op.kind = kind
    return op


def caller():
    """The number of the goroutine that runs on this thread; 0 if there is none."""
    m: M = getm()
    return 0 if m is None or m.curg is None else m.curg.goid


def held_by(q):
    """Who holds the lock q, for a dump, and where it was taken, if that is known."""
    who: object = f"held by goroutine {q.holder}" if q.holder else "held by a thread"
    taken: object = q.taken
    return f"{who} since {taken[1]}" if taken is not None and taken[0] == q.holder else who


def taken_by(q):
    """GODEBUG=deadlock=1: writes down where the running goroutine has taken the lock q."""
    q.taken = (q.holder, caller_place())


def took(holders, goid, n):
    """GODEBUG=deadlock=1: goroutine `goid` holds n more.  The state is locked."""
    if goid in holders:
        holders[goid] += n
    else:
        holders[goid] = n
    return 0


def gave(holders, goid, n):
    """And n less.  False if it did not hold so much: then somebody gives back what another has taken.  The state is
    locked."""
    if goid not in holders or holders[goid] < n:
        return False
    holders[goid] -= n
    if holders[goid] == 0:
        del holders[goid]
    return True


def holding(holders):
    """`, held by goroutines 3, 4`, for a dump; empty if no holder is known."""
    known: object = sorted(goid for goid in holders.copy() if goid > 0)[:HOLDERS_MAX] if holders else ()
    if not known:
        return ""
    return f", held by goroutine{'s' * (len(known) > 1)} {', '.join(map(str, known))}"


def tracked(op):
    """WaitOp.finish, with GODEBUG=deadlock=1."""
    taken_by(op.c)
    op.g = None
    return None


class Mutex(Waitq):
    """A lock for goroutines: `async with mu:`, or `await mu.lock()` … `mu.unlock()`.  Follows Go's sync.Mutex.

    Not reentrant, and any goroutine may unlock it, as in Go.  First come, first served."""

    def __init__(self):
        if not cython.compiled:
            Waitq.__init__(self)
        self.held = False

    def enter(self, op):
        """Locks the mutex for op, or enqueues op."""
        r: cython.int = READY
        self.lock_state()
        if not self.held:
            self.held = True
            self.granted += 1
            self.holder = op.g.goid
            op.success = 1
        else:
            self.push(op)
            r = PARK
        self.unlock_state()
        return r

    def lock(self):
        """`await mu.lock()` locks the mutex, and waits while another goroutine has it."""
        return new_wait(self, WAIT_MUTEX)

    def try_lock(self):
        """Locks the mutex if it is free.  True when it did.  Any thread may call it."""
        taken: cython.bint
        self.lock_state()
        taken = not self.held
        if taken:
            self.held = True
            self.granted += 1
            self.holder = caller()
        self.unlock_state()
        if taken and _TRACKED:
            taken_by(self)
        return taken

    def unlock(self):
        """Unlocks the mutex, and hands it to the goroutine that has waited longest.  Any thread may call it.

        Raises RuntimeError when the mutex is not locked."""
        op: Op = None
        held: cython.bint
        waited: cython.longlong = 0
        self.lock_state()
        held = self.held
        if held:
            op = self.pop()
            if op is None:
                self.held = False
            else:
                self.holder = op.g.goid
            waited = self.waited
            if waited != 0:
                self.waited = 0
        self.unlock_state()
        if not held:
            return not_locked("unlock of unlocked mutex")
        if op is not None:
            ready(op.g)
        if waited != 0:
            charge(waited, 1)

    def take_back(self, op):
        """Unlocks the mutex."""
        self.unlock()

    def _owner(self):
        """The goroutine that holds the mutex."""
        return self.holder if self.held else 0

    def _words(self):
        """The mutex and its holder."""
        return f"Mutex {id(self):#x}" + (f", {held_by(self)}" if self.held else "")

    @property
    def locked(self):
        """True while the mutex is held."""
        return bool(self.held)

    def __aenter__(self):
        return new_wait(self, WAIT_MUTEX)

    def __aexit__(self, exc_type, exc, tb):
        self.unlock()
        return LEFT

    def __enter__(self):
        raise TypeError("a gort Mutex is taken with `async with mu:` (waiting suspends the goroutine)")

    def __exit__(self, exc_type, exc, tb):
        return None


def miscounted(delta):
    """The ValueError that WaitGroup.add raises when adding delta would take the counter out of its range."""
    return ValueError("sync: negative WaitGroup counter" if delta < 0 else "sync: WaitGroup counter overflow")


class WaitGroup(Waitq):
    """Waits for a number of goroutines to end: `wg.go(fn, *args)`, or `wg.add(n)` … `wg.done()`; then `await
    wg.wait()`."""

    def __init__(self):
        if not cython.compiled:
            Waitq.__init__(self)

    def enter(self, op):
        """Enqueues op unless the counter is zero."""
        r: cython.int = READY
        self.lock_state()
        if self.count != 0:
            self.push(op)
            r = PARK
        else:
            op.success = 1
        self.unlock_state()
        return r

    def add(self, delta=1):
        """Adds delta, which may be negative, to the counter.  At zero, wakes all waiters.  Any thread may call it.

        Raises TypeError if delta is not an int.  Raises ValueError, and changes nothing, if the counter would become
        negative or more than 2**31 - 1 (Go's limit too)."""
        if not isinstance(delta, int):
            raise TypeError(f"WaitGroup.add takes an int, not {type(delta).__name__}")
        if not -COUNTER_MAX <= delta <= COUNTER_MAX:
            raise miscounted(delta)
        d: cython.longlong = delta
        chain: Op = None
        last: Op = None
        op: Op
        ok: cython.bint
        self.lock_state()
        ok = 0 <= self.count + d <= _COUNTER_MAX
        if ok:
            self.count += d
            if self.count == 0:
                while True:
                    op = self.pop()
                    if op is None:
                        break
                    if last is None:
                        chain = op
                    else:
                        last.next = op
                    last = op
        self.unlock_state()
        if not ok:
            raise miscounted(delta)
        wake(chain)

    def done(self):
        """Subtracts 1 from the counter, like add(-1)."""
        self.add(-1)

    def _words(self):
        """The wait group and its counter."""
        return f"WaitGroup {id(self):#x}, counter {self.count}"

    def wait(self):
        """`await wg.wait()` waits until the counter is zero."""
        return new_wait(self, WAIT_WAITGROUP)
