# cython: boundscheck=False, wraparound=False
"""Channels.  Follows Go's runtime/chan.go.

Invariants, all under the channel's lock:
- At least one of the two wait queues is empty, except that one select may wait to send and to receive on one channel.
- A buffered channel with values in its buffer has no waiting receiver; one with room has no waiting sender.
- An operation is in a wait queue exactly while its goroutine waits for it; whoever dequeues it must make the goroutine
  ready.  To dequeue a case of a select, a thread must first set the select's own flag (`win`), so that only one case
  runs.  A case that loses or is cancelled never takes or leaves a value.

A value passes from sender to receiver through the operation object, which is its own sudog.  A send_many is one waiting
sender, which keeps its place until its last value has been taken; so nobody's value comes between its own.  A recv_many
waits as a receive of one value, and takes what else is there when its goroutine runs.  No critical section here
runs Python code, allocates an object that the collector tracks, or drops the last reference to a value.  Therefore the
compiled core needs no locks while the GIL is on.

What does not live here: select (select.py), the operations for many values (bulk.py), the short way of those for one
(direct.py), and when a timer fires (timechan.py; a channel only calls its timer's look).
"""

from __future__ import annotations

import types

import cython
from cython.cimports.gort._runtime.c.rt import rt_import
from cython.cimports.gort._runtime.core.handoff import ready
from cython.cimports.gort._runtime.core.lockrank import LOCK_RANK_HCHAN
from cython.cimports.gort._runtime.core.runtime2 import DEQUEUED, OP_DONE, PARK, QUEUED, READY, G, M, Op, Sched, getm

from gort._runtime.core.errors import ChannelClosed
from gort._runtime.core.lockrank import make_lock
from gort._runtime.core.mistakes import shared
from gort._runtime.core.op import WAIT_CHAN_RECEIVE, WAIT_CHAN_SEND

rt_import()

if not cython.compiled:  # the .pxd defines the same names for C.  ChanOp.kind, and the operation's result:
    RECV = 1  # the value, or ChannelClosed
    RECV_OK = 2  # (value, ok)
    NEXT = 3  # async for: the value, or StopAsyncIteration
    RECV_MANY = 4  # a list of values
    SEND = 5  # None, or ChannelClosed; from here on kinds are sends
    SEND_MANY = 6  # the number of values, or ChannelClosed

recv_many_op = send_many_op = None  # bulk.py, which imports this file, sets them
MAX_CAPACITY = 1 << 40  # more than any memory holds; Go's "makechan: size out of range"


class Chan:
    """A channel of any values: `Chan()` is unbuffered, `Chan(8)` holds up to 8.  Type checkers accept `Chan[int](8)`.

    Waiting goroutines are served first come, first served.  Raises TypeError if the capacity is not an int, ValueError
    if it is negative or more than 2**40.  Follows Go's hchan (runtime/chan.go).
    """

    if not cython.compiled:
        __slots__ = (
            "__weakref__", "buf", "dataqsiz", "isclosed", "lock", "qcount", "received", "recvfirst", "recvlast", "recvx",
            "sendfirst", "sendlast", "sendx", "timer", "unlock",
        )  # fmt: skip

    def __init__(self, capacity=0):
        m: M
        if isinstance(capacity, bool) or not isinstance(capacity, int):
            raise TypeError(f"a channel's capacity is an int, not {type(capacity).__name__}: gort.Chan(8)")
        if capacity < 0:
            raise ValueError(f"a channel's capacity cannot be negative: {capacity}; 0 makes it unbuffered")
        if capacity > MAX_CAPACITY:
            raise ValueError(f"makechan: size out of range: {capacity}")
        if not cython.compiled:
            mu = make_lock(LOCK_RANK_HCHAN, self)
            self.lock = mu.acquire
            self.unlock = mu.release
            self.recvfirst = self.recvlast = self.sendfirst = self.sendlast = self.timer = None
        m = getm()
        if m is not None and m.sched.bubble is not None:
            self.timer = m.sched.bubble.guard
        self.dataqsiz = capacity
        self.buf = [None] * capacity
        self.qcount = 0
        self.sendx = 0
        self.recvx = 0
        self.isclosed = False
        self.received = 0  # so many values in all, modulo 2**32 in C; for the page

    __class_getitem__ = classmethod(types.GenericAlias)
    __reduce_ex__ = shared

    def send(self, value, /):
        """`await ch.send(v)` sends v, and waits while the channel is full (Go's `ch <- v`).

        Raises ChannelClosed when the channel is closed, before or during the wait; then v has not been sent.  Raises
        TypeError for the channel of a timer or a context, which is receive-only."""
        op: ValueOp = new_op(self, SEND)
        op.elem = value
        return op

    def recv(self):
        """`v = await ch.recv()` receives, and waits while the channel is empty (Go's `v := <-ch`).

        Raises ChannelClosed when the channel is closed and drained."""
        return new_op(self, RECV)

    def recv_ok(self):
        """`v, ok = await ch.recv_ok()` receives with Go's comma-ok: (None, False) when the channel is closed and
        drained."""
        return new_op(self, RECV_OK)

    def recv_many(self, max, /):
        """`values = await ch.recv_many(100)` receives at least one value, and as many more, up to max, as are there
        without a wait.  Returns them as a list, in order; the empty list when the channel is closed and drained.

        It waits as recv does, and takes exactly what as many calls of recv would have taken.  Raises TypeError if max is
        not an int, ValueError if it is less than 1."""
        return recv_many_op(self, max)

    def send_many(self, values, /):
        """`await ch.send_many(values)` sends all values of an iterable, in order, and waits while the channel is full.
        Returns how many.  Other senders' values come before or after them, never between.

        The iterable is read whole, here; if it raises, nothing is sent.  Raises ChannelClosed when the channel is closed
        before the last value has been sent.  `sent` of that exception, of a Cancelled that ends the wait, and of the
        operation itself is the number of values that had been sent by then: the first ones."""
        return send_many_op(self, values)

    def __aiter__(self):
        """`async for v in ch` receives until the channel is closed and drained (Go's `for v := range ch`)."""
        return self

    def __anext__(self):
        """The operation that `async for` awaits for each value."""
        return new_op(self, NEXT)

    def try_send(self, value, /):
        """Sends without waiting.  True when the value was sent, False when the send would have to wait.  Any thread may
        call it.

        Raises ChannelClosed on a closed channel, TypeError for the channel of a timer or a context."""
        op: ValueOp = new_op(self, SEND)
        op.elem = value
        if attempt(self, op):
            return True
        return False

    def try_recv(self):
        """Receives without waiting.  Returns (value, True), or (None, False) when the receive would have to wait or the
        channel is closed and drained; `ch.closed` tells these two apart.  Any thread may call it."""
        op: ValueOp = new_op(self, RECV_OK)
        if attempt(self, op):
            return outcome(op)
        return (None, False)

    def close(self):
        """Closes the channel and wakes its waiters.  Senders get ChannelClosed, receivers what a receive from a closed
        channel gives.  Any thread may call it.

        Raises ChannelClosed when the channel is closed already ("close of closed channel"), TypeError for the channel
        of a timer or a context."""
        if self.timer is not None:
            if self.timer.owner is not None:
                raise receive_only("close", self)
            self.timer.look()
        close_chan(self)

    @property
    def closed(self):
        """True once close() has been called."""
        return bool(self.isclosed)

    @property
    def capacity(self):
        """The number of values that the buffer holds when full.  0 for a timer's channel, as in Go."""
        return 0 if self.timer is not None and self.timer.owner is not None else self.dataqsiz

    def __len__(self):
        return 0 if self.timer is not None and self.timer.owner is not None else self.qcount

    def __bool__(self):
        return True

    def __repr__(self):
        state = ", closed" if self.isclosed else ""
        return f"<gort.Chan {len(self)}/{self.capacity}{state} at {id(self):#x}>"


class ChanOp(Op):
    """Sends or receives.  After it has run, success is 1 if a value passed and 0 if the channel was closed."""

    @property
    def what(self):
        """The operation as a user writes it, for messages."""
        return {
            RECV: "ch.recv()", RECV_OK: "ch.recv_ok()", NEXT: "async for over a channel", RECV_MANY: "ch.recv_many()",
            SEND: "ch.send()", SEND_MANY: "ch.send_many()",
        }[self.kind]  # fmt: skip

    def begin(self, g):
        """Sends or receives at once, or enqueues the operation."""
        return first_step(self, g)

    def abort(self):
        """Removes the operation from the channel's queue; False when it is no longer there."""
        c: Chan = self.c
        r: cython.bint
        c.lock()
        r = unlink(c, self)
        c.unlock()
        if r and c.timer is not None:
            c.timer.unblock()
        return r

    def reason(self):
        """WAIT_CHAN_SEND or WAIT_CHAN_RECEIVE."""
        return WAIT_CHAN_SEND if self.kind >= SEND else WAIT_CHAN_RECEIVE

    def about(self):
        """The channel, and how full it is."""
        c: Chan = self.c
        if c is None:
            return ""
        return f"channel {id(c):#x}" + (f", {c.qcount} of {c.dataqsiz} values" if c.dataqsiz else "")


class ValueOp(ChanOp):
    """A send or a receive of one value.  The class is final, so C calls its methods without looking for a subclass's."""

    def begin(self, g):
        """ChanOp's."""
        return first_step(self, g)

    def finish(self):
        """Returns the received value, None for a send; on a closed channel returns or raises what `kind` asks for."""
        if self.index:  # the operation has waited
            unblock(self)
        if self.success and self.kind != RECV_OK:
            return None if self.kind == SEND else self.elem
        return outcome(self)


def first_step(self, g):
    """ChanOp.begin."""
    c: Chan = cython.cast(Chan, self.c)
    w: Op
    s: Sched
    if c.timer is not None:
        look_at(c, self.kind)
    c.lock()
    if try_op(c, self) == READY:
        c.unlock()
        if self.next is not None:
            w = self.next
            self.next = None
            ready(w.g)
        return READY
    s = g.sched
    if s is not None and s.bubble is not None and c.timer is None:
        c.unlock()
        raise not_in_bubble(self)
    self.g = g
    if self.kind == SEND:
        enqueue_send(c, self)
    else:
        enqueue_recv(c, self)
    c.unlock()
    if c.timer is not None:
        c.timer.block()
    return PARK


if not cython.compiled:  # one Python frame less
    ChanOp.begin = ValueOp.begin = first_step


def look_at(c, kind):
    """What comes before an operation of this kind on a channel that has a timer, or something in its place: refuses a
    send to a receive-only one, and looks whether the timer is due."""
    if kind >= SEND and c.timer.owner is not None:
        raise receive_only("send to", c)
    c.timer.look()


def unblock(op):
    """What is to be done when op has waited: the timer of a timer's channel need not be armed for it any more."""
    c: Chan = op.c
    if c.timer is not None:
        c.timer.unblock()


def close_chan(c):
    """Chan.close, for the owner of a receive-only channel too."""
    op: Op
    chain: Op = None
    c.lock()
    if c.isclosed:
        c.unlock()
        raise ChannelClosed("close of closed channel")
    c.isclosed = True
    while True:
        op = dequeue_recv(c)
        if op is None:
            op = dequeue_send(c)
        if op is None:
            break
        if op.index == QUEUED:  # a send_many with more than one value left
            unlink(c, op)
        # A stack, as in Go: the first waiter is made ready last, so it is in runnext and runs first.
        op.success = 0
        op.next = chain
        chain = op
    c.unlock()
    wake(chain)


def new_op(c, kind):
    """Makes an operation of this kind on c."""
    op: ValueOp = ValueOp.__new__(ValueOp) if cython.compiled else ValueOp()
    op.c = c
    op.kind = kind
    return op


def receive_only(verb, c):
    """The error for a send to, or a close of, a channel that is receive-only: a timer's, a context's.  Go's compiler
    refuses both."""
    return TypeError(f"cannot {verb} {c.timer.owner}")


def not_in_bubble(op):
    """The error for a wait, in a bubble of gort.testing, on a channel that was made outside: what might come from there
    comes at no time of the bubble."""
    return RuntimeError(
        f"{op.what} in a bubble of gort.testing would wait on a channel that was made outside it: make the channel in "
        "the bubble, in the function that gort.testing.run calls or in what that calls"
    )


def outcome(op):
    """Returns the result of a finished operation, or raises its error."""
    if op.kind == RECV_OK:
        return (op.elem, True) if op.success else (None, False)
    if op.success:
        return None if op.kind == SEND else op.elem
    if op.kind == NEXT:
        raise StopAsyncIteration
    raise ChannelClosed("receive on closed channel" if op.kind == RECV else "send on closed channel")


def give(w):
    """The next value of the waiting sender w, which dequeue_send has returned.  Its channel is locked."""
    i: cython.Py_ssize_t
    if w.kind == SEND_MANY:
        i = w.when
        w.when = i + 1
        return cython.cast(tuple, w.elem)[i]
    return w.elem


def put(c, value):
    """Appends value to the buffer, which has room.  c is locked."""
    c.buf[c.sendx] = value
    c.sendx += 1
    if c.sendx == c.dataqsiz:
        c.sendx = 0
    c.qcount += 1


def wake(chain):
    """Makes the goroutines of a chain of completed operations ready.  The caller holds no lock."""
    op: Op
    while chain is not None:
        op = chain
        chain = op.next
        op.next = None
        ready(op.g)


def attempt(c, op):
    """Runs op if it need not wait, for the try_ methods.  False when it would have to wait."""
    r: cython.int
    w: Op = None
    op.state = OP_DONE
    if c.timer is not None:
        look_at(c, op.kind)
    c.lock()
    r = try_op(c, op)
    c.unlock()
    if r == PARK:
        op.elem = None
        return False
    w = op.next
    if w is not None:
        op.next = None
        ready(w.g)
    if op.kind == SEND:
        outcome(op)
    return True


def try_op(c, op):
    """Does the operation if it need not wait, and returns READY, else PARK.  c is locked.

    If that completes a waiting operation of the other side, op.next is that operation, and the caller must make its
    goroutine ready after it has released the lock."""
    w: Op
    if op.kind == SEND:
        if c.isclosed:
            return READY  # success stays 0
        if c.recvfirst is not None:
            w = dequeue_recv(c)
            if w is not None:
                w.elem = op.elem
                w.success = 1
                c.received += 1
                op.success = 1
                op.next = w
                return READY
        if c.qcount < c.dataqsiz:
            c.buf[c.sendx] = op.elem
            c.sendx += 1
            if c.sendx == c.dataqsiz:
                c.sendx = 0
            c.qcount += 1
            op.success = 1
            return READY
        return PARK
    if c.qcount > 0:
        op.elem = c.buf[c.recvx]
        c.received += 1
        op.success = 1
        w = None
        if c.sendfirst is not None:
            w = dequeue_send(c)
        if w is not None:
            # The buffer is full: op takes the head, and the sender's value goes to the tail, which is the same slot.
            c.buf[c.recvx] = give(w)
            w.success = 1
            if w.index != QUEUED:
                op.next = w
        else:
            c.buf[c.recvx] = None
            c.qcount -= 1
        c.recvx += 1
        if c.recvx == c.dataqsiz:
            c.recvx = 0
        if w is not None:
            c.sendx = c.recvx
        return READY
    if c.sendfirst is not None:
        w = dequeue_send(c)
        if w is not None:
            op.elem = give(w)
            w.success = 1
            c.received += 1
            op.success = 1
            if w.index != QUEUED:
                op.next = w
            return READY
    return READY if c.isclosed else PARK


def drain(c):
    """Empties the buffer of a timer's channel.  True when there was a value in it.  c is locked."""
    if c.qcount == 0:
        return False
    c.buf[0] = None
    c.qcount = 0
    c.sendx = 0
    c.recvx = 0
    return True


def deliver(c, value):
    """Sends a timer's value: hands it to the first receiver and returns that one, whom the caller must make ready; or
    puts it into the buffer, if that is empty, and returns None.  c is locked."""
    w: Op = dequeue_recv(c)
    if w is not None:
        w.elem = value
        w.success = 1
        c.received += 1
    elif c.qcount == 0:
        c.buf[0] = value
        c.qcount = 1
        c.sendx = 0
        c.recvx = 0
    return w


# ---- wait queues: doubly linked through Op.next and Op.prev, under the channel's lock --------------------------------


def enqueue_recv(c, op):
    """Appends op to the waiting receivers."""
    op.next = None
    op.prev = c.recvlast
    if c.recvlast is None:
        c.recvfirst = op
    else:
        c.recvlast.next = op
    c.recvlast = op
    op.index = QUEUED


def enqueue_send(c, op):
    """Appends op to the waiting senders."""
    op.next = None
    op.prev = c.sendlast
    if c.sendlast is None:
        c.sendfirst = op
    else:
        c.sendlast.next = op
    c.sendlast = op
    op.index = QUEUED


def win(op):
    """Claims a waiting operation, so that only the caller completes it.  False if it is a case of a select of which
    another case has been claimed, or which has been cancelled."""
    sel: Op = op.sel
    g: G
    if sel is None:
        return True
    g = op.g
    g.lock()
    if sel.success:
        g.unlock()
        return False
    sel.success = 1
    g.unlock()
    sel.elem = op
    return True


def dequeue_recv(c):
    """Dequeues and claims the first receiver that can be claimed; None when there is none."""
    op: Op
    while True:
        op = c.recvfirst
        if op is None:
            return None
        c.recvfirst = op.next
        if op.next is None:
            c.recvlast = None
        else:
            op.next.prev = None
            op.next = None
        op.index = DEQUEUED
        if win(op):
            return op


def dequeue_send(c):
    """Dequeues and claims the first sender that can be claimed; None when there is none.  Leaves a send_many that has
    more than one value in its place, QUEUED.  The caller takes one value with `give`."""
    op: Op
    while True:
        op = c.sendfirst
        if op is None:
            return None
        if op.kind == SEND_MANY and op.when + 1 < len(cython.cast(tuple, op.elem)):
            return op
        c.sendfirst = op.next
        if op.next is None:
            c.sendlast = None
        else:
            op.next.prev = None
            op.next = None
        op.index = DEQUEUED
        if win(op):
            return op


def unlink(c, op):
    """Removes op from anywhere in its queue.  False when it is no longer there."""
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
    elif op.kind >= SEND:
        c.sendfirst = next
    else:
        c.recvfirst = next
    if next is not None:
        next.prev = prev
    elif op.kind >= SEND:
        c.sendlast = prev
    else:
        c.recvlast = prev
    return True
