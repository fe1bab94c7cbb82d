"""Semaphore: a number of permits.  Follows golang.org/x/sync/semaphore.  What does not live here: the queue's code, and
the operation that waits in it (sema.py).

With GODEBUG=deadlock=1 a semaphore knows which goroutines are in an `async with` of it (`holders`): they alone will give
their permits back.
"""

from __future__ import annotations

import cython
from cython.cimports.gort._runtime.c.rt import rt_import
from cython.cimports.gort._runtime.core.runtime2 import PARK, READY, Op
from cython.cimports.gort._runtime.wait.chan import wake
from cython.cimports.gort._runtime.wait.sema import WaitOp, Waitq, caller, gave, holding, new_wait, took

from gort._runtime.core import debugvars
from gort._runtime.core.op import WAIT_SEMACQUIRE
from gort._runtime.wait.sema import LEFT

rt_import()

if not cython.compiled:  # the .pxd defines the same name for C.  WaitOp.heapidx:
    SCOPED = 1  # an `async with` waits

_TRACKED = cython.declare(cython.bint, debugvars.parse()["deadlock"] > 0)


class Semaphore(Waitq):
    """`n` permits: `await sem.acquire(k)`, `sem.release(k)`, or `async with sem:` for one.  First come, first served.

    Raises TypeError if n is no int, ValueError if it is negative or 2**63 or more.  Go's x/sync semaphore.Weighted."""

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
        self.holders = {} if _TRACKED else None

    def enter(self, op):
        """Takes op.when permits for op, or enqueues op."""
        r: cython.int = READY
        self.lock_state()
        if self.first is None and self.count >= op.when:
            self.count -= op.when
            self.granted += 1
            op.success = 1
            if op.heapidx == SCOPED and self.holders is not None:
                took(self.holders, op.g.goid, 1)
        else:
            self.push(op)
            r = PARK
        self.unlock_state()
        return r

    def grant(self):
        """Grants waiters in order, as far as the permits go, and returns them as a chain.  The state is locked."""
        chain: Op = None
        last: Op = None
        op: Op
        while self.first is not None and self.first.when <= self.count:
            op = self.pop()
            self.count -= op.when
            if op.heapidx == SCOPED and self.holders is not None:
                took(self.holders, op.g.goid, 1)
            if last is None:
                chain = op
            else:
                last.next = op
            last = op
        return chain

    def left(self, op):
        """Grants the smaller requests that the cancelled one may have held back.  The state is locked."""
        return self.grant()

    def take_back(self, op):
        """Gives the permits back."""
        if op.heapidx == SCOPED and self.holders is not None:
            self.scope_left(0 if op.g is None else op.g.goid)
        self.release(op.when)

    def scope_left(self, goid):
        """GODEBUG=deadlock=1: goroutine `goid` gives back the permit that it has taken with `async with`.  If another has
        taken it, the holders are not known any more."""
        self.lock_state()
        if self.holders is not None and not gave(self.holders, goid, 1):
            self.holders = None
        self.unlock_state()

    def _needs(self, op):
        """The permits that are missing, if it is known who has some: those who are in an `async with` of the semaphore.
        Who has taken permits otherwise may have left them to another to give back."""
        if self.holders is None:
            return None
        held: dict = self.holders.copy()
        missing: cython.longlong = op.when - self.count
        unknown: cython.longlong = self.size - self.count - sum(held.values())
        if missing <= 0 or unknown < 0 or not held:
            return None  # it waits behind others; or the state changes just now
        if unknown:
            held[0] = unknown
        return missing, held

    def _words(self):
        """The semaphore, its permits, and who has them, if that is known."""
        return f"Semaphore {id(self):#x}, {self.count} of {self.size} permits free{holding(self.holders)}"

    def check(self, k):
        """Raises TypeError if k is not an int, ValueError if it is negative or more than all permits."""
        if not isinstance(k, int):
            raise TypeError(f"a number of permits is an int, not {type(k).__name__}")
        if k < 0 or k > self.size:
            raise ValueError(f"cannot acquire {k} of {self.size} permits: it would wait for ever")

    def acquire(self, k=1):
        """`await sem.acquire(k)` takes k permits, and waits until they are free.  Raises as check does."""
        self.check(k)
        op: WaitOp = new_wait(self, WAIT_SEMACQUIRE)
        op.when = k
        return op

    def try_acquire(self, k=1):
        """Takes k permits if they are free and nobody waits.  True when it did.  Any thread may call it."""
        self.check(k)
        n: cython.longlong = k
        ok: cython.bint
        self.lock_state()
        ok = self.first is None and self.count >= n
        if ok:
            self.count -= n
            self.granted += 1
        self.unlock_state()
        return ok

    def release(self, k=1):
        """Gives k permits back.  Raises ValueError when that is more than were taken.  Any thread may call it."""
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
        op: WaitOp = self.acquire(1)
        op.heapidx = SCOPED
        return op

    def __aexit__(self, exc_type, exc, tb):
        if self.holders is not None:
            self.scope_left(caller())
        self.release(1)
        return LEFT
