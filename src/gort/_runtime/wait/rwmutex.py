"""RWMutex: a lock for many readers or one writer.  Follows Go's sync/rwmutex.go.

An RWMutex is a wait queue of sema.py for its readers, and has a second one for its writers; one lock guards both.  What
does not live here: the queues themselves, and the operation that waits in them (sema.py).
"""

from __future__ import annotations

import cython
from cython.cimports.gort._runtime.c.rt import rt_import
from cython.cimports.gort._runtime.core.handoff import ready
from cython.cimports.gort._runtime.core.runtime2 import PARK, READY, Op
from cython.cimports.gort._runtime.wait.sema import DoneOp, Waitq, new_wait, wake

from gort._runtime.core.op import WAIT_RWMUTEX_R, WAIT_RWMUTEX_W
from gort._runtime.wait.sema import not_locked

rt_import()


class RWMutex(Waitq):
    """A lock for many readers (`async with rw.reader():`) or one writer (`async with rw:`, or rw.writer()).

    As in Go's sync.RWMutex, a waiting writer holds back new readers, and after a writer waiting readers go first."""

    def __init__(self):
        if not cython.compiled:
            Waitq.__init__(self)
        self.writers = Waitq()
        self.writing = False
        self.nwriters = 0

    def unlink(self, op):
        """Removes op from the readers' or the writers' queue, as Waitq.unlink does.  The state is locked."""
        if op.kind == WAIT_RWMUTEX_W:
            return self.writers.unlink(op)
        return Waitq.unlink(self, op)

    def enter(self, op):
        """Locks for a reader (`count` of them hold the lock) or a writer, or enqueues op."""
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
        """When the last waiting writer is cancelled, grants the readers that it held back.  The state is locked."""
        if op.kind == WAIT_RWMUTEX_W:
            self.nwriters -= 1
            if self.nwriters == 0 and not self.writing:
                return self.admit()
        return None

    def admit(self):
        """Grants every waiting reader and returns them as a chain.  The state is locked."""
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
        """`await rw.rlock()` locks for reading, and waits while a writer has the lock or waits for it."""
        return new_wait(self, WAIT_RWMUTEX_R)

    def lock(self):
        """`await rw.lock()` locks for writing, and waits until all others have unlocked."""
        return new_wait(self, WAIT_RWMUTEX_W)

    def try_rlock(self):
        """Locks for reading if that needs no wait.  True when it did.  Any thread may call it."""
        ok: cython.bint
        self.lock_state()
        ok = not self.writing and self.nwriters == 0
        if ok:
            self.count += 1
        self.unlock_state()
        return ok

    def try_lock(self):
        """Locks for writing if that needs no wait.  True when it did.  Any thread may call it."""
        ok: cython.bint
        self.lock_state()
        ok = not self.writing and self.count == 0 and self.nwriters == 0
        if ok:
            self.writing = True
        self.unlock_state()
        return ok

    def runlock(self):
        """Unlocks one reader.  Any thread may call it.  Raises RuntimeError when no reader holds the lock."""
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
        """Unlocks the writer.  Any thread may call it.  Raises RuntimeError when no writer holds the lock."""
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
        """`async with rw.reader():` locks for reading."""
        return Reader(self)

    def writer(self):
        """`async with rw.writer():` locks for writing."""
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
        """The RWMutex's rlock."""
        return self.rw.rlock()

    def unlock(self):
        """The RWMutex's runlock."""
        self.rw.runlock()

    def __aenter__(self):
        return self.rw.rlock()

    def __aexit__(self, exc_type, exc, tb):
        self.rw.runlock()
        return DoneOp.__new__(DoneOp)
