# cython: boundscheck=False, wraparound=False
"""recv_many and send_many: many values with one operation.  Go has neither.

A send_many is one sender in the channel's queue.  It keeps its place there until its last value has been taken, so its
values are received one after the other, with no other sender's between them.  A recv_many waits in the queue as a
receive of one value.  Once it has that value, it takes all others that it can get without a wait, from the buffer and
from the senders, in the order of single receives.  It does so at once, or when its goroutine runs again.  Nobody waits
for these values, because a channel that has values has no waiting receiver.

So each does the work of many single operations with one allocation, one look at the queues and one switch of
goroutines.  What does not live here: how a single receive takes a value of a waiting send_many (chan.py: dequeue_send
and give).
"""

from __future__ import annotations

import cython
from cython.cimports.gort._runtime.c.rt import rt_import
from cython.cimports.gort._runtime.core.runtime2 import PARK, QUEUED, READY, Op, Sched
from cython.cimports.gort._runtime.wait.chan import (
    RECV_MANY,
    SEND_MANY,
    Chan,
    ChanOp,
    dequeue_recv,
    dequeue_send,
    enqueue_send,
    give,
    look_at,
    put,
    wake,
)

from gort._runtime.core.errors import ChannelClosed
from gort._runtime.wait import chan as _chan
from gort._runtime.wait.chan import MAX_CAPACITY, not_in_bubble

rt_import()


class RecvManyOp(ChanOp):
    """A receive of up to `when` values; elem is the first of them."""

    def finish(self):
        """Returns the list of values."""
        c: Chan = self.c
        if self.index and c.timer is not None:
            c.timer.unblock()
        return collect(self)


class SendManyOp(ChanOp):
    """A send of the values in elem, a tuple, of which the first `when` have been sent."""

    @property
    def sent(self):
        """How many values have been sent: the first ones.  Final once the wait is over, in whatever way."""
        return self.when

    def begin(self, g):
        """Sends what can be sent at once, and enqueues the operation if something is left."""
        c: Chan = self.c
        values: tuple = self.elem
        n: cython.longlong = len(values)
        i: cython.longlong = 0
        r: cython.int = READY
        w: Op
        chain: Op = None
        last: Op = None
        s: Sched
        outside: cython.bint = False
        if c.timer is not None:
            look_at(c, SEND_MANY)
        c.lock()
        while i < n and not c.isclosed:
            if c.recvfirst is not None:
                w = dequeue_recv(c)
                if w is not None:
                    w.elem = values[i]
                    w.success = 1
                    c.received += 1
                    i += 1
                    if last is None:
                        chain = w
                    else:
                        last.next = w
                    last = w
                    continue
            if c.qcount >= c.dataqsiz:
                break
            put(c, values[i])
            i += 1
        self.when = i
        if i == n:
            self.success = 1
        elif not c.isclosed:
            s = g.sched
            outside = s is not None and s.bubble is not None and c.timer is None
            if not outside:
                self.g = g
                enqueue_send(c, self)
                r = PARK
        c.unlock()
        wake(chain)
        if outside:
            raise not_in_bubble(self)
        return r

    def finish(self):
        """Returns the number of values, or raises ChannelClosed."""
        self.elem = None
        if self.success:
            return self.when
        exc = ChannelClosed("send on closed channel")
        exc.sent = self.when
        raise exc

    def cancelled(self, exc):
        """Tells in the Cancelled how many values have been sent."""
        exc.sent = self.when


def collect(op):
    """The result of a finished recv_many: its value, and what else the channel has or its waiting senders offer."""
    c: Chan = op.c
    w: Op
    out: list
    chain: Op = None
    last: Op = None
    n: cython.Py_ssize_t
    i: cython.Py_ssize_t = 1
    if not op.success:
        return []
    # A section may make no list.  So the values are counted first and taken then; other threads may have been faster.
    c.lock()
    n = c.qcount + 1
    w = c.sendfirst
    while w is not None and n < op.when:
        n += len(cython.cast(tuple, w.elem)) - w.when if w.kind == SEND_MANY else 1
        w = w.next
    c.unlock()
    if n > op.when:
        n = op.when
    out = [None] * n
    n = len(out)  # a call: a collection that is due begins here, and not at that of the lock (gcheld.py)
    out[0] = op.elem
    op.elem = None
    c.lock()
    while i < n and c.qcount > 0:
        out[i] = c.buf[c.recvx]
        c.buf[c.recvx] = None
        c.recvx += 1
        if c.recvx == c.dataqsiz:
            c.recvx = 0
        c.qcount -= 1
        c.received += 1
        i += 1
    while c.sendfirst is not None and (i < n or c.qcount < c.dataqsiz):
        w = dequeue_send(c)
        if w is None:
            break
        if i < n:
            out[i] = give(w)
            c.received += 1
            i += 1
        else:
            put(c, give(w))  # what has been taken from the buffer makes room
        w.success = 1
        if w.index != QUEUED:
            if last is None:
                chain = w
            else:
                last.next = w
            last = w
    c.unlock()
    wake(chain)
    if i < n:
        del out[i:]
    return out


def recv_many(c, max):
    """Chan.recv_many."""
    if isinstance(max, bool) or not isinstance(max, int):
        raise TypeError(f"recv_many takes a number of values, not {type(max).__name__}")
    if max < 1:
        raise ValueError(f"recv_many takes a positive number of values, not {max}")
    op: RecvManyOp = RecvManyOp.__new__(RecvManyOp) if cython.compiled else RecvManyOp()
    op.c = c
    op.kind = RECV_MANY
    op.when = max if max < MAX_CAPACITY else MAX_CAPACITY
    return op


def send_many(c, values):
    """Chan.send_many."""
    elem = tuple(values)
    op: SendManyOp = SendManyOp.__new__(SendManyOp) if cython.compiled else SendManyOp()
    op.c = c
    op.kind = SEND_MANY
    op.elem = elem
    return op


_chan.recv_many_op = recv_many
_chan.send_many_op = send_many
