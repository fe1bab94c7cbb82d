"""RWMutex: a lock for many readers or one writer.  Follows Go's sync/rwmutex.go.

Writers take turns: one has the turn, the others queue for it, first come, first served (in Go they wait for the mutex
`w`, and dumps show both alike).  The writer with the turn has the lock (`writing`), or it is `pending`: it holds back
new readers and waits until those inside have left.  A writer that unlocks lets the waiting readers in and gives the turn
to the next writer.  That one holds back readers only once its goroutine runs, as in Go, so that no reader waits for a
goroutine that still waits for its processor.  Therefore a writer can suspend twice: until it is called, and until the
readers have left.  A thread in gort.wait is called and becomes pending in one step, because it does not compete for a P.

One lock guards all this and both queues; an RWMutex is itself the queue of its readers.

With GODEBUG=deadlock=1 an RWMutex knows which goroutines are in an `async with` of its reader() (`holders`): they alone
will leave.  Who has locked with rlock() may have left it to another to unlock.

What does not live here: the queues' code, and the operation that waits in them (sema.py).
"""

from __future__ import annotations

import cython
from cython.cimports.gort._runtime.c.rt import nanotime, rt_import
from cython.cimports.gort._runtime.core.handoff import ready
from cython.cimports.gort._runtime.core.op import park_again
from cython.cimports.gort._runtime.core.runtime2 import DEQUEUED, PARK, QUEUED, READY, Op
from cython.cimports.gort._runtime.wait.chan import wake
from cython.cimports.gort._runtime.wait.sema import (
    WaitOp,
    Waitq,
    caller,
    charge,
    gave,
    held_by,
    holding,
    new_wait,
    profiled,
    took,
)

from gort._runtime.core import debugvars
from gort._runtime.core.op import WAIT_MUTEX, WAIT_RWMUTEX_R, WAIT_RWMUTEX_W
from gort._runtime.wait.sema import LEFT, not_locked

rt_import()

if not cython.compiled:  # the .pxd defines the same names for C.  WriteOp.when:
    CALLED = 1  # it has the turn, and its goroutine has been made ready
    PENDING = 2  # it holds back readers
    SCOPED = 1  # WaitOp.heapidx: an `async with` of the reader() waits
    UNKNOWN = -1  # among the holders: somebody has unlocked for another, so they are not known until all have left

_TRACKED = cython.declare(cython.bint, debugvars.parse()["deadlock"] > 0)


class WriteOp(WaitOp):
    """A writer's wait.  `when`: 0, CALLED or PENDING, under the state's lock."""

    def finish(self):
        """Called when the goroutine runs: a writer that has been called takes the lock, or becomes pending and parks
        again."""
        rw: RWMutex = self.c
        parks: cython.bint = False
        if self.when == CALLED:
            rw.lock_state()
            parks = not rw.announce(self)
            rw.unlock_state()
            if parks:
                park_again(self)
                return None
        return WaitOp.finish(self)

    def undo(self):
        """Gives the lock back, or the turn."""
        rw: RWMutex = self.c
        chain: Op = None
        if self.when == CALLED:
            self.when = 0
            rw.lock_state()
            chain = rw.end_turn()
            rw.unlock_state()
            wake(chain)
        else:
            WaitOp.undo(self)

    def owner(self):
        """None for one that waits for the readers to leave: it has the turn itself."""
        return 0 if self.when == PENDING else WaitOp.owner(self)

    def reason(self):
        """WAIT_MUTEX for the turn, as in Go; WAIT_RWMUTEX_W for the readers to leave."""
        return WAIT_RWMUTEX_W if self.when == PENDING else WAIT_MUTEX


def new_write(rw):
    """Makes a writer's wait."""
    op: WriteOp = WriteOp.__new__(WriteOp)
    op.c = rw
    op.kind = WAIT_RWMUTEX_W
    return op


class RWMutex(Waitq):
    """A lock for many readers (`async with rw.reader():`) or one writer (`async with rw:`, or rw.writer()).

    As in Go's sync.RWMutex, a waiting writer holds back new readers, and after a writer waiting readers go first."""

    def __init__(self):
        if not cython.compiled:
            Waitq.__init__(self)
        self.writers = Waitq()
        self.writing = False
        self.turn = False
        self.pending = None
        self.pendingsince = 0  # since when, if the mutex profile was on then
        # With GODEBUG=deadlock=1: who is in an `async with` of the reader(), and how often; UNKNOWN: others, too
        self.holders = {} if _TRACKED else None

    def enter(self, op):
        """Locks for a reader (`count` of them hold the lock) or a writer, or enqueues op."""
        r: cython.int = READY
        self.lock_state()
        if op.kind == WAIT_RWMUTEX_R:
            if not self.writing and self.pending is None:
                self.count += 1
                self.granted += 1
                op.success = 1
                if op.heapidx == SCOPED and self.holders is not None:
                    took(self.holders, op.g.goid, 1)
            else:
                self.push(op)
                r = PARK
        elif self.turn:
            self.writers.push(op)
            r = PARK
        else:
            self.turn = True
            if not self.announce(op):
                r = PARK
        self.unlock_state()
        return r

    def announce(self, op):
        """The writer op, which has the turn, takes the lock.  False when readers hold it: then op is pending.  The state
        is locked."""
        self.holder = op.g.goid
        if self.count == 0:
            self.writing = True
            self.granted += 1
            op.when = 0
            op.success = 1
            return True
        op.when = PENDING
        op.index = QUEUED
        op.success = 0
        self.pending = op
        self.pendingsince = nanotime() if profiled() else 0
        return False

    def unlink(self, op):
        """Removes op from where it waits, as Waitq.unlink does.  The state is locked."""
        if op.kind != WAIT_RWMUTEX_W:
            return Waitq.unlink(self, op)
        if self.pending is op:
            self.pending = None
            op.index = DEQUEUED
            return True
        return self.writers.unlink(op)

    def left(self, op):
        """Ends the turn of a pending writer that has been cancelled.  The state is locked."""
        if op.kind == WAIT_RWMUTEX_W and op.when == PENDING:
            return self.end_turn()
        return None

    def end_turn(self):
        """A writer's turn is over: admits the waiting readers and calls the next writer.  Returns the chain of those to
        make ready, the writer last, as in Go.  The state is locked."""
        chain: Op = None
        last: Op = None
        op: Op
        while True:
            op = self.pop()
            if op is None:
                op = self.call()
                if op is None:
                    return chain
            else:
                self.count += 1
                if op.heapidx == SCOPED and self.holders is not None:
                    took(self.holders, op.g.goid, 1)
            if last is None:
                chain = op
            else:
                last.next = op
            last = op
            if op.kind == WAIT_RWMUTEX_W:
                return chain

    def call(self):
        """Gives the turn to the next writer and returns it if it is to be made ready.  The state is locked."""
        op: Op = self.writers.pop()
        if op is None:
            self.turn = False
            return None
        if op.g.thread:
            return op if self.announce(op) else None
        op.success = 0
        op.when = CALLED
        return op

    def take_back(self, op):
        """Unlocks the reader or the writer."""
        if op.kind == WAIT_RWMUTEX_R:
            if op.heapidx == SCOPED and self.holders is not None:
                self.scope_left(0 if op.g is None else op.g.goid)
            self.runlock()
        else:
            self.unlock()

    def _owner(self):
        """The writer that has the lock, or holds back readers and other writers."""
        return self.holder if self.writing or self.pending is not None else 0

    def _needs(self, op):
        """For a writer that waits for the readers to leave: all of these, if it is known who some of them are."""
        if self.holders is None or op.kind != WAIT_RWMUTEX_W or op.when != PENDING:
            return None
        held: dict = self.holders.copy()
        readers: cython.longlong = self.count
        unknown: cython.longlong = readers - sum(held.values())
        if readers <= 0 or unknown < 0 or UNKNOWN in held:
            return None  # the state changes just now, or somebody has unlocked for another
        if unknown:
            held[0] = held.get(0, 0) + unknown
        return readers, held

    def _words(self):
        """The lock, who has it, and which writer waits for the readers to leave."""
        text: object = f"RWMutex {id(self):#x}"
        if self.writing:
            return f"{text}, {held_by(self)}"
        if self.count:
            text += f", held by {self.count} reader{'s' * (self.count > 1)}"
            if self.holders:
                text += f" ({holding(self.holders).removeprefix(', held by ')})"
        return f"{text}, goroutine {self.holder} waits to write" if self.pending is not None else text

    def rlock(self):
        """`await rw.rlock()` locks for reading, and waits while a writer has the lock or waits for it."""
        return new_wait(self, WAIT_RWMUTEX_R)

    def lock(self):
        """`await rw.lock()` locks for writing, and waits until all others have unlocked."""
        return new_write(self)

    def try_rlock(self):
        """Locks for reading if that needs no wait.  True when it did.  Any thread may call it."""
        ok: cython.bint
        self.lock_state()
        ok = not self.writing and self.pending is None
        if ok:
            self.count += 1
            self.granted += 1
        self.unlock_state()
        return ok

    def try_lock(self):
        """Locks for writing if that needs no wait.  True when it did.  Any thread may call it."""
        ok: cython.bint
        self.lock_state()
        ok = not self.turn and self.count == 0
        if ok:
            self.turn = True
            self.writing = True
            self.granted += 1
            self.holder = caller()
        self.unlock_state()
        return ok

    def runlock(self):
        """Unlocks one reader.  Any thread may call it.  Raises RuntimeError when no reader holds the lock."""
        op: Op = None
        ok: cython.bint
        since: cython.longlong = 0
        self.lock_state()
        ok = self.count > 0
        if ok:
            self.count -= 1
            op = self.pending
            if op is not None and self.count == 0:
                since = self.pendingsince
                self.pending = None
                op.index = DEQUEUED
                self.announce(op)
            else:
                op = None
        self.unlock_state()
        if not ok:
            return not_locked("RUnlock of unlocked RWMutex")
        if op is not None:
            ready(op.g)
        if since != 0:
            charge(nanotime() - since, 1)

    def scope_left(self, goid):
        """GODEBUG=deadlock=1: goroutine `goid` is about to unlock what it has locked with `async with`.  If another has
        locked it, the holders are not known until all have left."""
        self.lock_state()
        if self.count == 1:
            self.holders.clear()
        elif not gave(self.holders, goid, 1):
            took(self.holders, UNKNOWN, 1)
        self.unlock_state()

    def unlock(self):
        """Unlocks the writer.  Any thread may call it.  Raises RuntimeError when no writer holds the lock."""
        chain: Op = None
        op: Op
        ok: cython.bint
        waited: cython.longlong = 0
        woken: cython.longlong = 0
        self.lock_state()
        ok = self.writing
        if ok:
            self.writing = False
            chain = self.end_turn()
            waited = self.waited + self.writers.waited
            if waited != 0:
                self.waited = self.writers.waited = 0
                op = chain
                while op is not None:
                    woken += 1
                    op = op.next
        self.unlock_state()
        if not ok:
            return not_locked("Unlock of unlocked RWMutex")
        wake(chain)
        if waited != 0:
            charge(waited, max(1, woken))

    def reader(self):
        """`async with rw.reader():` locks for reading."""
        return Reader(self)

    def writer(self):
        """`async with rw.writer():` locks for writing."""
        return self

    def __aenter__(self):
        return new_write(self)

    def __aexit__(self, exc_type, exc, tb):
        self.unlock()
        return LEFT


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
        op: WaitOp = new_wait(self.rw, WAIT_RWMUTEX_R)
        op.heapidx = SCOPED
        return op

    def __aexit__(self, exc_type, exc, tb):
        rw: RWMutex = self.rw
        if _TRACKED:
            rw.scope_left(caller())
        rw.runlock()
        return LEFT
