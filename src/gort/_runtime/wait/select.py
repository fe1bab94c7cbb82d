# cython: boundscheck=False, wraparound=False
"""select.  Follows Go's runtime/select.go.

Three passes, as there: with every channel locked, look for cases that can run and take one of them at random; if there
is none, enqueue every case and wait; when woken, lock again and take the losing cases out of their queues.

Channels are locked in the order of their addresses, each once.  The choice among the cases that are ready is uniform:
they are counted while the locks are held, and each further one replaces the choice with probability 1/count.  (Go polls
in a shuffled order; the distribution is the same and no order has to be made.)

The case operations are their own sudogs; their `sel` names this operation, whose `success` is Go's selectDone, set
under the goroutine's lock by whoever wakes it, and whose `elem` is then the case that ran.
"""

from __future__ import annotations

import cython
from cython.cimports.cpython.ref import PyObject
from cython.cimports.libc.stdint import uintptr_t
from cython.cimports.gort._runtime.c.rt import rt_import
from cython.cimports.gort._runtime.core.handoff import ready
from cython.cimports.gort._runtime.core.op import claim
from cython.cimports.gort._runtime.core.runtime2 import OP_DONE, OP_NEW, PARK, QUEUED, READY, G, M, Op, getm
from cython.cimports.gort._runtime.wait.chan import (
    NEXT,
    RECV,
    RECV_OK,
    SEND,
    Chan,
    ChanOp,
    enqueue_recv,
    enqueue_send,
    outcome,
    try_op,
    unlink,
)

from gort._runtime.core.op import awaited_twice, describe
from gort._runtime.core.op import WAIT_SELECT, WAIT_SELECT_NO_CASES

rt_import()

if not cython.compiled:  # what the .pxd has for C
    DEFAULT = 1
    TIMED = 2

if cython.compiled:

    def address(c):
        """Where the object lies: what orders the locks."""
        return cython.cast(uintptr_t, cython.cast(cython.pointer(PyObject), c))

else:
    address = id


def lockorder(sel):
    """Sorts the channels of the cases into the order in which they are locked, each once: a list through the cases, from
    sel.heapidx on, each case's heapidx the next, -1 the end.  Insertion: cases are few."""
    cases: tuple = sel.c
    op: Op
    other: Op
    before: Op
    i: cython.int
    at: cython.int
    a: cython.ulonglong
    b: cython.ulonglong
    sel.heapidx = -1
    for i in range(len(cases)):
        if cases[i] is None:
            continue
        op = cython.cast(Op, cases[i])
        a = address(op.c)
        before = sel
        b = 0
        at = sel.heapidx
        while at >= 0:
            other = cython.cast(Op, cases[at])
            b = address(other.c)
            if b >= a:
                break
            before = other
            at = other.heapidx
        if at >= 0 and a == b:
            continue
        op.heapidx = at
        before.heapidx = i


def sellock(sel):
    """Locks the channels in lock order."""
    cases: tuple = sel.c
    op: Op
    at: cython.int = sel.heapidx
    while at >= 0:
        op = cython.cast(Op, cases[at])
        cython.cast(Chan, op.c).lock()
        at = op.heapidx


def selunlock(sel):
    """Unlocks them."""
    cases: tuple = sel.c
    op: Op
    at: cython.int = sel.heapidx
    while at >= 0:
        op = cython.cast(Op, cases[at])
        cython.cast(Chan, op.c).unlock()
        at = op.heapidx


def open_for(c, kind):
    """Whether an operation of this kind can run now.  c is locked."""
    op: Op
    if kind == SEND:
        if c.isclosed or c.qcount < c.dataqsiz:
            return True
        op = c.recvfirst
    else:
        if c.qcount > 0 or c.isclosed:
            return True
        op = c.sendfirst
    # A waiting case whose select has been won elsewhere is no partner.
    while op is not None:
        if op.sel is None or not op.sel.success:
            return True
        op = op.next
    return False


def pass1(cases, m):
    """Picks one of the cases that can run, uniformly, and runs it; None when there is none.  All channels are locked.

    A partner seen by open_for may be won by another channel's waker before we claim it: then the pick is made again."""
    op: Op
    pick: Op
    i: cython.int
    count: cython.int
    x: cython.ulonglong
    while True:
        pick = None
        count = 0
        for i in range(len(cases)):
            if cases[i] is None:
                continue
            op = cython.cast(Op, cases[i])
            if open_for(cython.cast(Chan, op.c), op.kind):
                count += 1
                if count == 1:
                    pick = op
                else:
                    x = m.rand
                    x ^= (x << 13) & 0xFFFFFFFFFFFFFFFF
                    x ^= x >> 7
                    x ^= (x << 17) & 0xFFFFFFFFFFFFFFFF
                    m.rand = x
                    if (x >> 20) % count == 0:
                        pick = op
        if pick is None or try_op(cython.cast(Chan, pick.c), pick) == READY:
            return pick


class SelectOp(Op):
    """`i, v, ok = await select(…)`.  c: the cases, a tuple of ChanOp or None; kind: DEFAULT, TIMED (a case is a timer's);
    heapidx: the head of the lock order; index: 1 once it has waited."""

    what = "gort.select()"

    def begin(self, g):
        """Pass 1, and pass 2 when no case can run."""
        cases: tuple = self.c
        n: cython.int = len(cases)
        i: cython.int
        m: M = getm()
        if m is None:  # a foreign thread in gort.wait
            m = M()
            m.rand = (address(self) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF) | 1
        op: Op
        pick: Op
        w: Op
        if self.kind & TIMED:
            look(cases)
        lockorder(self)
        sellock(self)
        pick = pass1(cases, m)
        if pick is not None:
            selunlock(self)
            self.elem = pick
            w = pick.next
            if w is not None:
                pick.next = None
                ready(w.g)
            return READY
        if self.kind & DEFAULT:
            selunlock(self)
            return READY
        self.g = g
        for i in range(n):
            if cases[i] is None:
                continue
            op = cython.cast(Op, cases[i])
            op.g = g
            op.sel = self
            if op.kind == SEND:
                enqueue_send(cython.cast(Chan, op.c), op)
            else:
                enqueue_recv(cython.cast(Chan, op.c), op)
        self.index = QUEUED
        selunlock(self)
        if self.kind & TIMED:
            for op in cases:
                if op is not None and op.c.timer is not None:
                    op.c.timer.block()
        return PARK

    def leave(self):
        """Pass 3: takes every case that is still queued out of its queue."""
        cases: tuple = self.c
        op: Op
        i: cython.int
        sellock(self)
        for i in range(len(cases)):
            if cases[i] is not None:
                op = cython.cast(Op, cases[i])
                unlink(cython.cast(Chan, op.c), op)
                op.sel = None
        selunlock(self)
        if self.kind & TIMED:
            for op in cases:
                if op is not None and op.c.timer is not None:
                    op.c.timer.unblock()

    def finish(self):
        """(index, value, ok) of the case that ran; (-1, None, False) for the default."""
        cases: tuple = self.c
        pick: Op = self.elem
        i: cython.int = 0
        if self.index and pick is not None:  # it has waited
            self.leave()
        if pick is None:
            return (-1, None, False)
        self.elem = None
        while cases[i] is not pick:
            i += 1
        if pick.kind == SEND:
            outcome(pick)
            return (i, None, True)
        return (i, pick.elem, pick.success != 0)

    def abort(self):
        """Claims the select for a cancellation, and leaves every queue."""
        g: G = self.g
        if g is None:
            return False
        g.lock()
        if self.success:
            g.unlock()
            return False
        self.success = 2
        g.unlock()
        self.leave()
        return True

    def reason(self):
        """select"""
        return WAIT_SELECT if self.c else WAIT_SELECT_NO_CASES


def select(*cases, default=False):
    """`i, v, ok = await select(a.recv(), b.send(x))` runs one of the cases that can run, at random; waits when none can.

    Returns the index of the case that ran, the received value (None for a send) and Go's comma-ok.  With default=True
    it never waits: index -1 when no case can run.  None as a case is a nil channel: never ready.  A receive from a
    closed channel runs, with ok False; a send to one raises ChannelClosed.  A case that did not run has had no effect.

    Raises TypeError for a case that is no channel operation and RuntimeError for one that was used before or appears
    twice.  Follows Go's selectgo (runtime/select.go)."""
    op: Op
    sel: SelectOp
    bad: object = None
    kind: cython.int = DEFAULT if default else 0
    for case in cases:
        if case is None:
            continue
        if not isinstance(case, ChanOp):
            bad = TypeError(
                f"a case of gort.select is a channel operation such as ch.recv() or ch.send(v), or None, "
                f"not {describe_case(case)}"
            )
            break
        op = case
        if op.state != OP_NEW or not claim(op):
            bad = awaited_twice(op)
            break
        if cython.cast(Chan, op.c).timer is not None:
            kind |= TIMED
    if bad is not None:
        for case in cases:
            if isinstance(case, ChanOp):
                op = case
                if op.state == OP_NEW:  # another goroutine may be waiting for it
                    op.state = OP_DONE
        raise bad
    sel = SelectOp.__new__(SelectOp)
    sel.c = cases
    sel.kind = kind
    return sel


def look(cases):
    """Lets the timers of the cases fire that are due."""
    op: Op
    for op in cases:
        if op is not None and op.c.timer is not None:
            op.c.timer.look()


def describe_case(case):
    """What a wrong case is, for the message."""
    if isinstance(case, Chan):
        return "a channel: write ch.recv() or ch.send(value)"
    if isinstance(case, Op):
        return f"{describe(case)}: use gort.after(seconds).recv() for a timeout"
    return type(case).__name__
