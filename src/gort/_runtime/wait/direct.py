"""The short way of a send or a receive of one value: the compiled core's am_send of chan.py's ValueOp.  Follows chansend
and chanrecv in Go's runtime/chan.go.

Invariants
- It does what the long way does: start, resumed (op.py), first_step, try_op and finish (chan.py).  It only sees at once
  that none of their rarer cases applies; where one does, it has changed nothing and takes the long way.
- Once it has claimed the operation it takes no other way: it moves the value, or queues the operation up.
- The channel's lock guards the buffer and the queues, as everywhere.

What does not live here: the long way.  The uncompiled core has no short way: there each look is as dear as the long
way's.
"""

from __future__ import annotations

import cython
from cython.cimports.cpython.ref import PyObject
from cython.cimports.gort._runtime.c.rt import (
    rt_claim,
    rt_getm,
    rt_import,
    rt_install_value,
    rt_new_none,
    rt_op_send,
    rt_op_swap,
    rt_op_take,
    rt_op_trade,
    rt_quietly,
    rt_sendfunc,
    rt_set_value_send,
)
from cython.cimports.gort._runtime.core.handoff import ready
from cython.cimports.gort._runtime.core.runtime2 import (
    DEQUEUED,
    MCALL_NONE,
    MCALL_PARK,
    OP_DONE,
    OP_NEW,
    OP_PARKED,
    PARK,
    READY,
    M,
    Op,
)
from cython.cimports.gort._runtime.wait.chan import RECV_OK, SEND, Chan, enqueue_recv, enqueue_send, try_op

from gort._runtime.wait.chan import ValueOp

rt_import()

if not cython.compiled:  # the .pxd defines the same names for C.  Beside READY and PARK:
    MET = 2  # done, and the goroutine of op.next, with which it was done, is to be made ready
    LONG = 3  # nothing is done

if cython.compiled:
    # Arguments of these functions are borrowed: C counts no reference to the M, the G and the channel, which outlive the
    # step.

    def nothing_special(m):
        """Whether nothing but the operation is to be done at the await of m's goroutine."""
        return m.mcall == MCALL_NONE and m.preempt == 0 and m.curg is not None and not m.curg.cancelflag

    def put_one(c, op):
        """Puts op's value into the buffer, which has room."""
        rt_op_swap(op, cython.cast(cython.pointer(PyObject), c.buf), c.sendx)
        c.sendx += 1
        if c.sendx == c.dataqsiz:
            c.sendx = 0
        c.qcount += 1

    def take_one(c, op):
        """Takes the next value out of the buffer for op."""
        rt_op_swap(op, cython.cast(cython.pointer(PyObject), c.buf), c.recvx)
        c.received += 1
        c.recvx += 1
        if c.recvx == c.dataqsiz:
            c.recvx = 0
        c.qcount -= 1

    def met(c, op, w):
        """op moves its value to w or from it, which waited on the other side; w is out of its queue."""
        w.index = DEQUEUED
        rt_op_trade(op, w)
        w.success = 1
        c.received += 1
        op.next = w
        return MET

    def sends(c, op):
        """try_op of a send: READY, MET or PARK.  c is locked."""
        w: Op
        if c.recvfirst is None:
            if c.qcount < c.dataqsiz:
                put_one(c, op)
                return READY
            return PARK
        w = c.recvfirst
        if w.sel is not None:  # a select has other cases, which may have won
            return tries(c, op)
        c.recvfirst = w.next
        if w.next is None:
            c.recvlast = None
        else:
            w.next.prev = None
            w.next = None
        return met(c, op, w)

    def receives(c, op):
        """try_op of a receive: READY, MET or PARK.  c is locked."""
        w: Op
        if c.sendfirst is None:
            if c.qcount > 0:
                take_one(c, op)
                return READY
            return PARK
        w = c.sendfirst
        if w.sel is not None or w.kind != SEND or c.qcount > 0:
            return tries(c, op)
        c.sendfirst = w.next
        if w.next is None:
            c.sendlast = None
        else:
            w.next.prev = None
            w.next = None
        return met(c, op, w)

    def tries(c, op):
        """try_op itself: READY, MET or PARK.  c is locked."""
        if try_op(c, op) == PARK:
            return PARK
        return READY if op.next is None else MET

    def waits(m, c, op):
        """Queues op up: PARK.  LONG, and op is as new, where no goroutine may wait on any channel: the program ends, or
        this is a bubble.  c is locked."""
        if m.sched.ending or m.sched.bubble is not None:
            op.state = OP_NEW
            return LONG
        op.g = m.curg
        if op.kind == SEND:
            enqueue_send(c, op)
        else:
            enqueue_recv(c, op)
        return PARK

    def moves(m, c, op):
        """Sends or receives, or queues op up: READY, MET or PARK; LONG where that takes the long way."""
        done: cython.int
        if c.timer is not None or op.kind == RECV_OK or not nothing_special(m):
            return LONG
        c.lock()
        if c.isclosed or not rt_claim(cython.address(op.state)):
            done = LONG
        elif op.kind == SEND:
            done = sends(c, op)
        else:
            done = receives(c, op)
        if done == PARK:
            done = waits(m, c, op)
        c.unlock()
        return done

    def suspends(op, m, result):
        """The answer of an operation that waits now."""
        op.state = OP_PARKED
        m.mcall = MCALL_PARK
        m.parkop = op
        result[0] = rt_new_none()
        return 1

    def wakes(op, result):
        """Makes the goroutine of the operation ready with which op was done, and answers.  An error is passed on as it
        is, as the long way's is: a check would add an entry to the traceback."""
        w: Op = op.next
        op.next = None
        result[0] = cython.NULL  # the protocol wants NULL there after an error
        if cython.cast(rt_quietly, ready)(w.g, 0) < 0:
            return -1
        return answers(op, result)

    def answers(op, result):
        """The answer of an operation that is done."""
        result[0] = rt_new_none() if op.kind == SEND else rt_op_take(op)
        return 0

    def begins(op, arg, result):
        """am_send of an operation that is new."""
        done: cython.int
        m: cython.pointer(PyObject) = rt_getm()
        c: cython.pointer(PyObject) = cython.cast(cython.pointer(PyObject), op.c)
        if m == cython.NULL:
            return rt_op_send(op, arg, result)
        done = moves(cython.cast(M, m), cython.cast(Chan, c), op)
        if done == PARK:
            return suspends(op, cython.cast(M, m), result)
        if done == LONG:
            return rt_op_send(op, arg, result)
        op.success = 1
        if done == MET:
            return wakes(op, result)
        return answers(op, result)

    def resumes(op, arg, result):
        """am_send of an operation that is not new: it has waited, as a rule."""
        m: cython.pointer(PyObject) = rt_getm()
        c: cython.pointer(PyObject) = cython.cast(cython.pointer(PyObject), op.c)
        if m != cython.NULL and moved(cython.cast(M, m), cython.cast(Chan, c), op):
            op.state = OP_DONE
            return answers(op, result)
        return rt_op_send(op, arg, result)

    def moved(m, c, op):
        """Whether op has moved its value while it waited, and its goroutine runs again; not one that awaits it anew."""
        return (
            op.state == OP_PARKED
            and m.mcall == MCALL_NONE
            and cython.cast(cython.pointer(PyObject), op.g) == cython.cast(cython.pointer(PyObject), m.curg)
            and op.success
            and op.kind != RECV_OK
            and c.timer is None
        )

    def value_send(op, arg, result):
        """ValueOp's am_send.  Small, so that what it calls is a jump away."""
        return begins(op, arg, result) if op.state == OP_NEW else resumes(op, arg, result)

    rt_set_value_send(cython.cast(rt_sendfunc, value_send))
    rt_install_value(ValueOp)
