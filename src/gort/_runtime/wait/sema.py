"""Waiting for something other than a channel: mutexes, wait groups, semaphores, conditions.  Follows Go's
runtime/sema.go and the types of package sync.

Each object has one lock for its state, and a FIFO of waiting operations.  Whoever releases grants: it takes the first
waiter out of the queue, changes the state on its behalf, and makes it ready, so a woken goroutine already has what it
waited for, a cancelled one (taken out under the same lock) never does, and nobody overtakes.  Go's mutex lets running
goroutines barge in and hands over only when somebody starves; with one coroutine switch costing tens of nanoseconds
the fair rule is the simpler one, and was kept.
"""

from __future__ import annotations

import cython
from cython.cimports.gort._runtime.c.rt import own_dict, rt_import
from cython.cimports.gort._runtime.core.handoff import ready
from cython.cimports.gort._runtime.core.lockrank import LOCK_RANK_SEMA
from cython.cimports.gort._runtime.core.runtime2 import DEQUEUED, PARK, QUEUED, READY, G, M, Op, getm

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

rt_import()

COUNTER_MAX = 2**31 - 1  # of a WaitGroup, as in Go
_COUNTER_MAX = cython.declare(cython.longlong, COUNTER_MAX)  # the same for C


def not_locked(what):
    """Raises for an unlock of what is not locked, but not while a program's end closes its goroutines: one that is closed
    in Cond.wait could not take the lock again, and has its `async with` unlock it all the same."""
    m: M = getm()
    if m is None or m.sched is None or not m.sched.ending:
        raise RuntimeError(f"sync: {what}")


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

    def push(self, op):
        """Appends op.  The state is locked."""
        op.next = None
        op.prev = self.last
        if self.last is None:
            self.first = op
        else:
            self.last.next = op
        self.last = op
        op.index = QUEUED

    def pop(self):
        """Takes the first operation out; None when there is none.  The state is locked."""
        op: Op = self.first
        if op is not None:
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
        """Takes op out of the middle; False when it is not there any more.  The state is locked."""
        prev: Op
        next: Op
        if op.index != QUEUED:
            return False
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
        """Takes what op asks for (READY), or enqueues it (PARK)."""
        raise NotImplementedError

    def left(self, op):
        """op has been cancelled and taken out: a chain of operations that may go on now, through Op.next.  The state
        is locked."""
        return None


class WaitOp(Op):
    """One wait: `kind` is its wait reason, `c` the object, `when` an amount, `sel` what to unlock once enqueued."""

    @property
    def what(self):
        """How it is written, for messages."""
        return WHAT.get(self.kind, "a wait")

    def begin(self, g):
        """Takes it now or waits."""
        q: Waitq = self.c
        self.g = g
        return q.enter(self)

    def finish(self):
        """None."""
        self.g = None
        return None

    def abort(self):
        """Leaves the queue."""
        q: Waitq = self.c
        r: cython.bint
        chain: Op = None
        queue: Waitq = q
        if self.kind == WAIT_RWMUTEX_W:
            queue = cython.cast(RWMutex, q).writers
        q.lock_state()
        r = queue.unlink(self)
        if r:
            chain = q.left(self)
        q.unlock_state()
        wake(chain)
        return r

    def reason(self):
        """The kind is the wait reason."""
        return self.kind


WHAT = {
    WAIT_MUTEX: "Mutex.lock()",
    WAIT_RWMUTEX_R: "RWMutex.rlock()",
    WAIT_RWMUTEX_W: "RWMutex.lock()",
    WAIT_WAITGROUP: "WaitGroup.wait()",
    WAIT_COND: "Cond.wait()",
    WAIT_SEMACQUIRE: "Semaphore.acquire()",
}


class DoneOp(Op):
    """An operation that is done at once: what `async with` awaits on leaving.  `kind` 1 gives back c."""

    what = "the end of an async with"

    def begin(self, g):
        """Nothing to do."""
        self.success = 1
        return READY

    def finish(self):
        """None: an exception in the block goes on."""
        return None


def new_wait(q, kind):
    """A fresh wait on q."""
    op: WaitOp = WaitOp.__new__(WaitOp)
    op.c = q
    op.kind = kind
    return op


def wake(chain):
    """Makes the goroutines of a chain of granted operations ready.  No lock is held."""
    op: Op
    while chain is not None:
        op = chain
        chain = op.next
        op.next = None
        ready(op.g)


class Mutex(Waitq):
    """A lock for goroutines: `async with mu:`, or `await mu.lock()` … `mu.unlock()`.

    Not reentrant, and not tied to the goroutine that took it, as in Go.  First come, first served."""

    def __init__(self):
        if not cython.compiled:
            Waitq.__init__(self)
        self.held = False

    def enter(self, op):
        """Takes the mutex or waits."""
        r: cython.int = READY
        self.lock_state()
        if not self.held:
            self.held = True
            op.success = 1
        else:
            self.push(op)
            r = PARK
        self.unlock_state()
        return r

    def lock(self):
        """`await mu.lock()` takes it, waiting while another goroutine has it."""
        return new_wait(self, WAIT_MUTEX)

    def try_lock(self):
        """Takes it if it is free: True when it did.  From any thread."""
        taken: cython.bint
        self.lock_state()
        taken = not self.held
        if taken:
            self.held = True
        self.unlock_state()
        return taken

    def unlock(self):
        """Releases it, to the goroutine that has waited longest.  From any thread.

        Raises RuntimeError when it is not locked."""
        op: Op = None
        held: cython.bint
        self.lock_state()
        held = self.held
        if held:
            op = self.pop()
            if op is None:
                self.held = False
        self.unlock_state()
        if not held:
            return not_locked("unlock of unlocked mutex")
        if op is not None:
            ready(op.g)

    @property
    def locked(self):
        """Whether anybody has it."""
        return bool(self.held)

    def __aenter__(self):
        return new_wait(self, WAIT_MUTEX)

    def __aexit__(self, exc_type, exc, tb):
        self.unlock()
        return DoneOp.__new__(DoneOp)

    def __enter__(self):
        raise TypeError("a gort Mutex is taken with `async with mu:` (waiting suspends the goroutine)")

    def __exit__(self, exc_type, exc, tb):
        return None


class RWMutex(Waitq):
    """A lock for many readers or one writer: `async with rw.reader():`, `async with rw:` (or rw.writer()) to write.

    A waiting writer holds back new readers; when a writer is done, the readers that waited go first, as in Go."""

    def __init__(self):
        if not cython.compiled:
            Waitq.__init__(self)
        self.writers = Waitq()
        self.writing = False
        self.nwriters = 0

    def enter(self, op):
        """A reader (count: how many hold it) or a writer."""
        r: cython.int = READY
        op.success = 1
        self.lock_state()
        if op.kind == WAIT_RWMUTEX_R:
            if not self.writing and self.nwriters == 0:
                self.count += 1
            else:
                op.success = 0
                self.push(op)
                r = PARK
        elif not self.writing and self.count == 0 and self.nwriters == 0:
            self.writing = True
        else:
            op.success = 0
            self.nwriters += 1
            self.writers.push(op)
            r = PARK
        self.unlock_state()
        return r

    def left(self, op):
        """When the last waiting writer gives up, the readers it held back go on."""
        if op.kind == WAIT_RWMUTEX_W:
            self.nwriters -= 1
            if self.nwriters == 0 and not self.writing:
                return self.admit()
        return None

    def admit(self):
        """Lets every waiting reader in.  The state is locked; returns them as a chain."""
        chain: Op = None
        last: Op = None
        op: Op
        while True:
            op = self.pop()
            if op is None:
                return chain
            self.count += 1
            if last is None:
                chain = op
            else:
                last.next = op
            last = op

    def rlock(self):
        """`await rw.rlock()` takes it for reading."""
        return new_wait(self, WAIT_RWMUTEX_R)

    def lock(self):
        """`await rw.lock()` takes it for writing."""
        return new_wait(self, WAIT_RWMUTEX_W)

    def try_rlock(self):
        """Takes it for reading if that needs no wait: True when it did."""
        ok: cython.bint
        self.lock_state()
        ok = not self.writing and self.nwriters == 0
        if ok:
            self.count += 1
        self.unlock_state()
        return ok

    def try_lock(self):
        """Takes it for writing if that needs no wait: True when it did."""
        ok: cython.bint
        self.lock_state()
        ok = not self.writing and self.count == 0 and self.nwriters == 0
        if ok:
            self.writing = True
        self.unlock_state()
        return ok

    def runlock(self):
        """Gives up one read lock.  Raises RuntimeError when nobody reads."""
        op: Op = None
        ok: cython.bint
        self.lock_state()
        ok = self.count > 0
        if ok:
            self.count -= 1
            if self.count == 0 and self.nwriters > 0:
                op = self.writers.pop()
                self.nwriters -= 1
                self.writing = True
        self.unlock_state()
        if not ok:
            return not_locked("RUnlock of unlocked RWMutex")
        if op is not None:
            ready(op.g)

    def unlock(self):
        """Gives up the write lock.  Raises RuntimeError when nobody writes."""
        chain: Op = None
        ok: cython.bint
        self.lock_state()
        ok = self.writing
        if ok:
            self.writing = False
            chain = self.admit()
            if chain is None and self.nwriters > 0:
                chain = self.writers.pop()
                self.nwriters -= 1
                self.writing = True
        self.unlock_state()
        if not ok:
            return not_locked("Unlock of unlocked RWMutex")
        wake(chain)

    def reader(self):
        """`async with rw.reader():` reads."""
        return Reader(self)

    def writer(self):
        """`async with rw.writer():` writes."""
        return self

    def __aenter__(self):
        return new_wait(self, WAIT_RWMUTEX_W)

    def __aexit__(self, exc_type, exc, tb):
        self.unlock()
        return DoneOp.__new__(DoneOp)


class Reader:
    """The reading side of an RWMutex, for `async with`; also a Locker for Cond (lock, unlock)."""

    def __init__(self, rw):
        self.rw = rw

    def lock(self):
        """rlock."""
        return self.rw.rlock()

    def unlock(self):
        """runlock."""
        self.rw.runlock()

    def __aenter__(self):
        return self.rw.rlock()

    def __aexit__(self, exc_type, exc, tb):
        self.rw.runlock()
        return DoneOp.__new__(DoneOp)


def miscounted(delta):
    """What WaitGroup.add raises where the counter has no room for delta."""
    return ValueError("sync: negative WaitGroup counter" if delta < 0 else "sync: WaitGroup counter overflow")


class WaitGroup(Waitq):
    """Waits for a number of goroutines: `wg.go(fn, *args)` or `wg.add(n)` … `wg.done()`, then `await wg.wait()`."""

    def __init__(self):
        if not cython.compiled:
            Waitq.__init__(self)

    def enter(self, op):
        """Waits unless the counter is zero."""
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
        """Adds delta, which may be negative, to the counter; at zero all who wait go on.  From any thread.

        Raises ValueError, and changes nothing, when the counter would become negative, or more than 2**31 - 1, where
        Go's ends."""
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
        """add(-1)."""
        self.add(-1)

    def wait(self):
        """`await wg.wait()` until the counter is zero."""
        return new_wait(self, WAIT_WAITGROUP)


class Semaphore(Waitq):
    """`n` permits: `await sem.acquire(k)`, `sem.release(k)`, or `async with sem:` for one.  First come, first served.

    Raises TypeError or ValueError for an n that is no non-negative int."""

    def __init__(self, n=1):
        if not cython.compiled:
            Waitq.__init__(self)
        if isinstance(n, bool) or not isinstance(n, int):
            raise TypeError(f"a semaphore's size is an int, not {type(n).__name__}")
        if n < 0:
            raise ValueError(f"a semaphore's size cannot be negative: {n}")
        if n >= 1 << 63:
            raise ValueError(f"a semaphore's size is at most 2**63 - 1: {n}")
        self.size = n
        self.count = n

    def enter(self, op):
        """Takes op.when permits or waits."""
        r: cython.int = READY
        self.lock_state()
        if self.first is None and self.count >= op.when:
            self.count -= op.when
            op.success = 1
        else:
            self.push(op)
            r = PARK
        self.unlock_state()
        return r

    def grant(self):
        """Serves the waiters that can be served, in order.  The state is locked; returns them as a chain."""
        chain: Op = None
        last: Op = None
        op: Op
        while self.first is not None and self.first.when <= self.count:
            op = self.pop()
            self.count -= op.when
            if last is None:
                chain = op
            else:
                last.next = op
            last = op
        return chain

    def left(self, op):
        """A large request that gives up may have held back smaller ones."""
        return self.grant()

    def check(self, k):
        """Raises ValueError for an amount that can never be had."""
        if not isinstance(k, int):
            raise TypeError(f"a number of permits is an int, not {type(k).__name__}")
        if k < 0 or k > self.size:
            raise ValueError(f"cannot acquire {k} of {self.size} permits: it would wait for ever")

    def acquire(self, k=1):
        """`await sem.acquire(k)` takes k permits, waiting until they are free.  ValueError when there are not so many."""
        self.check(k)
        op: WaitOp = new_wait(self, WAIT_SEMACQUIRE)
        op.when = k
        return op

    def try_acquire(self, k=1):
        """Takes k permits if they are free and nobody waits: True when it did."""
        self.check(k)
        n: cython.longlong = k
        ok: cython.bint
        self.lock_state()
        ok = self.first is None and self.count >= n
        if ok:
            self.count -= n
        self.unlock_state()
        return ok

    def release(self, k=1):
        """Gives k permits back.  Raises ValueError when that is more than were taken.  From any thread."""
        if not isinstance(k, int):
            raise TypeError(f"a number of permits is an int, not {type(k).__name__}")
        if not 0 <= k <= self.size:
            raise ValueError(f"semaphore: released more than held ({k})")
        n: cython.longlong = k
        chain: Op = None
        ok: cython.bint
        self.lock_state()
        ok = self.count + n <= self.size
        if ok:
            self.count += n
            chain = self.grant()
        self.unlock_state()
        if not ok:
            raise ValueError(f"semaphore: released more than held ({k})")
        wake(chain)

    def __aenter__(self):
        return self.acquire(1)

    def __aexit__(self, exc_type, exc, tb):
        self.release(1)
        return DoneOp.__new__(DoneOp)


class Notify(Waitq):
    """The queue of a condition variable.  Follows notifyList (runtime/sema.go)."""

    def __init__(self):
        if not cython.compiled:
            Waitq.__init__(self)

    def enter(self, op):
        """Enqueues first, then releases the mutex: a signal in between is not lost."""
        self.lock_state()
        self.push(op)
        self.unlock_state()
        try:
            op.sel.unlock()
        except BaseException:
            op.abort()
            raise
        return PARK

    def wait(self, locker):
        """The operation that waits for a notification, releasing locker once it is enqueued."""
        op: WaitOp = new_wait(self, WAIT_COND)
        op.sel = locker
        return op

    def notify(self, all):
        """Wakes the first waiter, or all that wait now."""
        op: Op
        chain: Op = None
        last: Op = None
        self.lock_state()
        while True:
            op = self.pop()
            if op is None:
                break
            if last is None:
                chain = op
            else:
                last.next = op
            last = op
            if not all:
                break
        self.unlock_state()
        wake(chain)
