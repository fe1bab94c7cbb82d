"""The wait queue of condition variables.  Follows notifyList in Go's runtime/sema.go.  What does not live here: sync.Cond
(gort/sync.py), which takes its lock again; the queues' code, and the operation that waits in them (sema.py).
"""

from __future__ import annotations

import cython
from cython.cimports.gort._runtime.c.rt import rt_import
from cython.cimports.gort._runtime.core.handoff import ready
from cython.cimports.gort._runtime.core.op import unready
from cython.cimports.gort._runtime.core.runtime2 import DEQUEUED, PARK, Op
from cython.cimports.gort._runtime.wait.chan import wake
from cython.cimports.gort._runtime.wait.sema import WaitOp, Waitq, new_wait

from gort._runtime.core.op import WAIT_COND

rt_import()


class Notify(Waitq):
    """The wait queue of a condition variable.  Follows notifyList (Go's runtime/sema.go).

    As there, each wait takes a ticket, the next number of `count`.  While an operation waits, `when` is its ticket.  Once
    a signal has woken it, `when` is the last ticket given out before that signal: a signal that the woken goroutine
    cannot use goes to no later one.  A broadcast leaves 0 there, because it has woken all of them already."""

    def __init__(self):
        if not cython.compiled:
            Waitq.__init__(self)

    def enter(self, op):
        """Enqueues op first and then unlocks the locker, so that no signal in between is lost."""
        self.lock_state()
        self.count += 1
        op.when = self.count
        self.push(op)
        self.unlock_state()
        try:
            op.sel.unlock()
        except BaseException:
            if not op.abort():
                unready(op.g)  # else the goroutine's next wait would end with this wake-up
                self.pass_on(op)
            op.index = 0  # it has not waited, and the locker is as it was
            raise
        return PARK

    def wait(self, locker):
        """Returns the operation that waits for a notification and unlocks locker once it is enqueued."""
        op: WaitOp = new_wait(self, WAIT_COND)
        op.sel = locker
        return op

    def notify(self, all):
        """Wakes the first waiter, or all waiters if `all` is set."""
        op: Op
        chain: Op = None
        last: Op = None
        self.lock_state()
        while True:
            op = self.pop()
            if op is None:
                break
            op.when = 0 if all else self.count
            if last is None:
                chain = op
            else:
                last.next = op
            last = op
            if not all:
                break
        self.unlock_state()
        wake(chain)

    def take_back(self, op):
        """Passes the signal on."""
        op.success = 1
        self.pass_on(op)

    def pass_on(self, op):
        """Gives the signal that woke op to the first goroutine that waited when it came and still waits: the goroutine of
        op ends its wait with an exception.  Does nothing if op was not woken, or by a broadcast, and at a second call."""
        w: Op = None
        self.lock_state()
        if op.index == DEQUEUED and op.success:
            if self.first is not None and self.first.when <= op.when:
                w = self.pop()
                w.when = op.when
            op.when = 0
        self.unlock_state()
        if w is not None:
            ready(w.g)
