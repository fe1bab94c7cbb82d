"""How an operation object is awaited.  Follows gopark and mcall in Go's runtime/proc.go.

`await ch.recv()` calls the operation's am_send (3.11), its tp_iternext (3.12 and later), or, in the uncompiled core,
a generator (`_drive`, which has start and resumed written out).  The first call does the operation or enqueues it and
yields None up to the M's loop, leaving word of what it wants in m.mcall and m.parkop.  The second call, after the
goroutine has been made runnable, gives the result.

Only an operation's own first call yields, so a None that reaches the M with m.mcall unset is not gort's: somebody
awaited an asyncio future.  And an m.mcall still set when the next operation starts means that a suspension never
reached the M: something inside the goroutine (a nested event loop, a hand-driven coroutine) swallowed it.
"""

from __future__ import annotations

import cython
from cython.cimports.cpython.ref import PyObject, Py_INCREF
from cython.cimports.gort._runtime.c.rt import FREE_THREADED, rt_claim, rt_import, rt_set_op_send
from cython.cimports.gort._runtime.core.runtime2 import (
    MCALL_NONE,
    MCALL_PARK,
    MCALL_YIELD,
    OP_DONE,
    OP_NEW,
    OP_PARKED,
    PARK,
    READY,
    G,
    M,
    Op,
    getm,
)

from gort._runtime.core.errors import Stopping
from gort._runtime.core.runtime2 import describe

rt_import()

# Why a goroutine waits: Go's waitReason (runtime/runtime2.go). An operation gives one of these numbers from reason().
WAIT_CHAN_RECEIVE = 1
WAIT_CHAN_SEND = 2
WAIT_SELECT = 3
WAIT_SELECT_NO_CASES = 4
WAIT_SLEEP = 5
WAIT_SEMACQUIRE = 6
WAIT_MUTEX = 7
WAIT_RWMUTEX_R = 8
WAIT_RWMUTEX_W = 9
WAIT_WAITGROUP = 10
WAIT_COND = 11
WAIT_IO = 12
WAIT_BLOCKING = 13

# Go's words for them, as its dumps have them.
WAITREASON = {
    0: "",
    WAIT_CHAN_RECEIVE: "chan receive",
    WAIT_CHAN_SEND: "chan send",
    WAIT_SELECT: "select",
    WAIT_SELECT_NO_CASES: "select (no cases)",
    WAIT_SLEEP: "sleep",
    WAIT_SEMACQUIRE: "semacquire",
    WAIT_MUTEX: "sync.Mutex.Lock",
    WAIT_RWMUTEX_R: "sync.RWMutex.RLock",
    WAIT_RWMUTEX_W: "sync.RWMutex.Lock",
    WAIT_WAITGROUP: "sync.WaitGroup.Wait",
    WAIT_COND: "sync.Cond.Wait",
    WAIT_IO: "IO wait",
    WAIT_BLOCKING: "blocking call",
}


def not_running(op):
    """The error for an operation outside a goroutine."""
    return RuntimeError(
        f"{describe(op)} awaited outside a running gort runtime: start one with gort.run(main), "
        "or use gort.wait(operation) from a thread that is no goroutine (a forked child has no runtime)"
    )


def swallowed(op):
    """The error for a suspension that never reached the scheduler."""
    return RuntimeError(
        f"{describe(op)}: is an `await` missing before it? If not, something inside this goroutine drives a coroutine "
        "itself (a nested event loop such as asyncio.run, or coroutine.send), so the wait cannot reach gort's scheduler; "
        "run that code in a thread with gort.blocking, or await the coroutine directly"
    )


def awaited_twice(op):
    """The error for an operation that has been used."""
    return RuntimeError(
        f"{describe(op)} was already awaited: an operation object is used once; call the method again for another one"
    )


def take_cancel(g):
    """Raises the cancellation that is pending on the running goroutine g."""
    g.lock()
    exc = g.cancelexc
    g.cancelexc = None
    g.cancelflag = False
    g.unlock()
    if exc is not None:
        raise exc


def claim(op):
    """Marks op, which is OP_NEW, as used.  False when another thread has done so at the same time."""
    if cython.compiled:
        return rt_claim(cython.address(op.state))
    if FREE_THREADED:
        op.state = OP_DONE
        me = object()
        return op.__dict__.setdefault("claimed", me) is me
    was, op.state = op.state, OP_DONE  # no call in between, so with the GIL no other thread runs in between
    return was == OP_NEW


def refuse(op, m):
    """start's errors, and a pending cancellation: all that is rare, out of the way of what is not."""
    if op.state != OP_NEW:
        raise awaited_twice(op)
    op.state = OP_DONE
    if m is None or m.curg is None:
        raise not_running(op)
    if m.mcall != MCALL_NONE:
        drop_swallowed(m)
        raise swallowed(op)
    take_cancel(m.curg)
    op.state = OP_NEW  # the cancellation has been taken back in the meantime: go on


def start(op):
    """The operation's first step: READY when it is done, PARK when the goroutine must suspend."""
    m: M = getm()
    if op.state != OP_NEW or m is None or m.curg is None or m.mcall != MCALL_NONE or m.curg.cancelflag:
        refuse(op, m)
    if not claim(op):
        raise awaited_twice(op)
    # From now on only this goroutine changes op.state, and it stays on this thread until the suspension reaches the M.
    if type(op) is GoschedOp:  # the commonest wait of all is spared two calls
        if not m.sched.ending:
            op.state = OP_PARKED
            m.mcall = MCALL_YIELD
            return PARK
    if op.begin(m.curg) == READY:
        if m.preempt:  # sysmon asks this goroutine to make way: its result is kept until it runs again
            m.preempt = False
            if not m.sched.ending:
                op.g = m.curg
                op.state = OP_PARKED
                m.mcall = MCALL_YIELD
                return PARK
        return READY
    if m.sched.ending:
        return stopping(op, m)
    op.state = OP_PARKED
    if m.mcall == MCALL_NONE:
        m.mcall = MCALL_PARK
        m.parkop = op
    return PARK


def stopping(op, m):
    """The program is ending and this goroutine is being closed: it must not wait any more."""
    m.mcall = MCALL_NONE
    if not op.abort() and op.success:
        return READY  # somebody completed it in the meantime
    raise Stopping(f"{describe(op)}: the runtime is stopping, a finally block cannot wait any more")


def drop_swallowed(m):
    """Takes back an operation whose suspension never reached the M."""
    op: Op = m.parkop
    m.mcall = MCALL_NONE
    m.parkop = None
    if op is not None:
        op.abort()


def lost(op, m):
    """resumed's errors: another goroutine waits for op, or whoever resumed this one was not the scheduler."""
    if m is not None and m.mcall == MCALL_NONE:
        raise awaited_twice(op)
    op.state = OP_DONE
    if m is not None:
        drop_swallowed(m)
    raise swallowed(op)


def resumed(op):
    """The operation's second step, once its goroutine runs again: the result."""
    m: M = getm()
    if m is None or m.mcall != MCALL_NONE or (op.g is not m.curg and type(op) is not GoschedOp):
        lost(op, m)
    op.state = OP_DONE
    if type(op) is GoschedOp:
        return None
    return op.finish()


class GoschedOp(Op):
    """`await gosched()`: to the global run queue, so that every other goroutine gets its turn."""

    what = "gort.gosched()"

    def begin(self, g):
        """Always suspends."""
        m: M = getm()
        m.mcall = MCALL_YIELD
        return PARK

    def finish(self):
        """None."""
        return None


if cython.compiled:

    def am_send(self, arg, result):
        """tp_as_async->am_send: PYGEN_RETURN (0) with the result, PYGEN_NEXT (1), or -1 with an exception."""
        op = cython.cast(Op, self)
        value: object
        result[0] = cython.NULL  # what the caller has to find there after an error
        if op.state == OP_PARKED:
            value = resumed(op)
        elif start(op) == PARK:
            Py_INCREF(None)
            result[0] = cython.cast(cython.pointer(PyObject), None)
            return 1
        else:
            value = op.finish()
        Py_INCREF(value)
        result[0] = cython.cast(cython.pointer(PyObject), value)
        return 0

    rt_set_op_send(am_send)

else:
    # start, claim and resumed written out: a call that C makes part of its caller costs as much here as ten lines.

    def _drive(self):
        m = getm()
        if m is None or (g := m.curg) is None or m.mcall != MCALL_NONE or g.cancelflag or self.state != OP_NEW:
            refuse(self, m)
        was, self.state = self.state, OP_DONE
        if was != OP_NEW or (FREE_THREADED and not claim(self)):
            raise awaited_twice(self)
        if type(self) is GoschedOp and not m.sched.ending:
            self.g = g
            m.mcall = MCALL_YIELD
        elif self.begin(g) == READY:
            if not m.preempt or m.sched.ending:
                return self.finish()
            m.preempt = False
            self.g = g
            m.mcall = MCALL_YIELD
        elif m.sched.ending:
            stopping(self, m)
            return self.finish()
        elif m.mcall == MCALL_NONE:
            m.mcall = MCALL_PARK
            m.parkop = self
        self.state = OP_PARKED
        yield
        m = getm()
        if m is None or m.mcall != MCALL_NONE or self.g is not m.curg:
            lost(self, m)
        self.state = OP_DONE
        return self.finish()

    Op.__await__ = Op.__iter__ = _drive


def gosched():
    """Lets other goroutines run: `await gosched()` puts this one on the global queue.  Follows Go's Gosched
    (runtime/proc.go).

    Raises RuntimeError when awaited outside a goroutine."""
    return GoschedOp.__new__(GoschedOp) if cython.compiled else GoschedOp()
