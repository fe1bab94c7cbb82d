"""The short way of a send or a receive of one value on a buffer: the compiled core's am_send of chan.py's ValueOp.
Follows the paths of chansend and chanrecv in Go's runtime/chan.go that end without gopark.

Invariants
- It does what the long way does: start (op.py), first_step, try_op and finish (chan.py).  It only sees at once that none
  of their rarer cases applies; where one does, it has changed nothing and takes the long way.
- The channel's lock guards the buffer, as everywhere.

What does not live here: the long way; operations that wait.  The uncompiled core has no short way: there each look is as
dear as the long way's.
"""

from __future__ import annotations

import cython
from cython.cimports.cpython.ref import PyObject
from cython.cimports.gort._runtime.c.rt import (
    rt_claim,
    rt_getm,
    rt_import,
    rt_install_value,
    rt_op_send,
    rt_op_swap,
    rt_op_take,
    rt_sendfunc,
    rt_set_value_send,
)
from cython.cimports.gort._runtime.core.runtime2 import MCALL_NONE, OP_NEW, M
from cython.cimports.gort._runtime.wait.chan import RECV_OK, SEND, Chan

from gort._runtime.wait.chan import ValueOp

rt_import()

if cython.compiled:
    # Arguments of these functions are borrowed: C counts no reference to the M, the G and the channel, which outlive the
    # step.

    def nothing_special(m):
        """Whether nothing but the operation is to be done at the await of m's goroutine."""
        return m.mcall == MCALL_NONE and m.preempt == 0 and m.curg is not None and not m.curg.cancelflag

    def put_one(c, op):
        """Puts op's value into the buffer, if there is room and nobody waits for one.  c is locked."""
        if c.qcount >= c.dataqsiz or c.recvfirst is not None or c.isclosed or not rt_claim(cython.address(op.state)):
            return False
        rt_op_swap(op, cython.cast(cython.pointer(PyObject), c.buf), c.sendx)
        c.sendx += 1
        if c.sendx == c.dataqsiz:
            c.sendx = 0
        c.qcount += 1
        return True

    def take_one(c, op):
        """Takes a value out of the buffer for op, if there is one and nobody waits for room.  c is locked."""
        if c.qcount == 0 or c.sendfirst is not None or op.kind == RECV_OK or not rt_claim(cython.address(op.state)):
            return False
        rt_op_swap(op, cython.cast(cython.pointer(PyObject), c.buf), c.recvx)
        c.received += 1
        c.recvx += 1
        if c.recvx == c.dataqsiz:
            c.recvx = 0
        c.qcount -= 1
        return True

    def on_buffer(c, op):
        """Sends or receives on c's buffer.  False where that takes the long way."""
        done: cython.bint
        if c.timer is not None:
            return False
        c.lock()
        done = put_one(c, op) if op.kind == SEND else take_one(c, op)
        c.unlock()
        return done

    def move(op, arg, result):
        """am_send of an operation that has not begun, on a channel with a buffer."""
        m: cython.pointer(PyObject) = rt_getm()
        c: cython.pointer(PyObject) = cython.cast(cython.pointer(PyObject), op.c)
        if m != cython.NULL and nothing_special(cython.cast(M, m)) and on_buffer(cython.cast(Chan, c), op):
            op.success = 1
            result[0] = rt_op_take(op)  # None for a send
            return 0
        return rt_op_send(op, arg, result)

    def value_send(op, arg, result):
        """ValueOp's am_send.  Small, and apart from `move`, so that an operation that waits pays a jump for it."""
        if op.state == OP_NEW and cython.cast(Chan, op.c).dataqsiz != 0:
            return move(op, arg, result)
        return rt_op_send(op, arg, result)

    rt_set_value_send(cython.cast(rt_sendfunc, value_send))
    rt_install_value(ValueOp)
