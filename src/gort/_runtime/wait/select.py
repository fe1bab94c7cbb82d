# cython: boundscheck=False, wraparound=False
"""select: waits for the first of several channel operations that can run.  Follows Go's runtime/select.go.

Three passes, as there.  1: lock every channel and pick one of the cases that can run, at random.  2: if there is none,
enqueue every case and wait.  3: when woken, lock every channel again and remove the losing cases from their queues.

Channels are locked in the order of their addresses, each once.  The choice among the ready cases is uniform: pass 1
counts them while it holds the locks, and the n-th ready case replaces the choice with probability 1/n.  (Go polls the
cases in a shuffled order.  The distribution is the same, and here no order need be made.)  In pass 2 the order counts
only between cases on one channel: whoever comes then takes the first of them in the queue.  So these are enqueued in a
random order, as in Go, whose lock order takes ties from the shuffled one.

The case operations are their own sudogs.  Their `sel` points to the SelectOp.  Its `success` is Go's selectDone:
whoever wakes the goroutine sets it under the goroutine's lock, and then `elem` is the case that ran.

What does not live here: the sends and receives themselves (chan.py).
"""

from __future__ import annotations

import cython
from cython.cimports.cpython.ref import PyObject, Py_INCREF
from cython.cimports.libc.stdint import uintptr_t
from cython.cimports.gort._runtime.c.rt import rt_builtin, rt_import, rt_locks, rt_tuple, rt_tuple_at, rt_vectorcall
from cython.cimports.gort._runtime.core.handoff import ready
from cython.cimports.gort._runtime.core.op import claim
from cython.cimports.gort._runtime.core.runtime2 import OP_DONE, OP_NEW, PARK, QUEUED, READY, G, M, Op, Sched, getm
from cython.cimports.gort._runtime.wait.bulk import collect
from cython.cimports.gort._runtime.wait.chan import (
    NEXT,
    RECV,
    RECV_MANY,
    RECV_OK,
    SEND,
    SEND_MANY,
    Chan,
    ChanOp,
    ValueOp,
    enqueue_recv,
    enqueue_send,
    outcome,
    try_op,
    unlink,
)

from gort._runtime.core.op import awaited_twice
from gort._runtime.core.op import WAIT_SELECT, WAIT_SELECT_NO_CASES
from gort._runtime.wait.chan import not_in_bubble, receive_only

rt_import()

if not cython.compiled:  # the .pxd defines the same names for C
    FEW = 16  # so many cases are each compared with each

    # Bits of SelectOp.kind:
    DEFAULT = 1  # do not wait
    TIMED = 2  # a case is on a timer's channel
    TWICE = 4  # two cases are on one channel

if cython.compiled:

    def address(c):
        """The object's address, which orders the locks."""
        return cython.cast(uintptr_t, cython.cast(cython.pointer(PyObject), c))

else:
    address = id


def case_at(cases, i):
    """cases[i], for which C counts no reference: the tuple holds it."""
    if cython.compiled:
        return rt_tuple_at(cases, i)
    return cases[i]


def same(op, other):
    """Whether two cases are on one channel."""
    return op is not None and other is not None and op.c is other.c


def lockorder(sel):
    """Sorts the cases by their channel's address, with one case for each channel.  The result is a linked list of
    indices: it starts in sel.heapidx, continues in each case's heapidx, and ends with -1.  An insertion sort, because
    cases are few.

    With the GIL the compiled core needs no locks (chan.py).  Then the list may be empty, if TWICE is found out all the
    same: each case is compared with each, while they are few."""
    cases: tuple = sel.c
    op: Op
    other: Op
    before: Op
    i: cython.int
    at: cython.int
    a: cython.ulonglong
    b: cython.ulonglong
    sel.heapidx = -1
    if cython.compiled and len(cases) <= FEW and not rt_locks():
        for i in range(1, len(cases)):
            for at in range(i):
                if same(cython.cast(Op, case_at(cases, i)), cython.cast(Op, case_at(cases, at))):
                    sel.kind |= TWICE
                    return
        return
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
            sel.kind |= TWICE
            continue
        op.heapidx = at
        before.heapidx = i


def sellock(sel):
    """Locks the channels in the order that lockorder has made."""
    cases: tuple = sel.c
    op: Op
    at: cython.int = sel.heapidx
    while at >= 0:
        op = cython.cast(Op, cases[at])
        cython.cast(Chan, op.c).lock()
        at = op.heapidx


def selunlock(sel):
    """Unlocks the channels."""
    cases: tuple = sel.c
    op: Op
    at: cython.int = sel.heapidx
    while at >= 0:
        op = cython.cast(Op, cases[at])
        cython.cast(Chan, op.c).unlock()
        at = op.heapidx


def cheaprandn(m, n):
    """A random number from 0 to n - 1.  Follows Go's cheaprandn (runtime/rand.go)."""
    x: cython.ulonglong = m.rand
    x ^= (x << 13) & 0xFFFFFFFFFFFFFFFF
    x ^= x >> 7
    x ^= (x << 17) & 0xFFFFFFFFFFFFFFFF
    m.rand = x
    return (x >> 20) % n


def shuffled(n, m):
    """The numbers from 0 to n - 1 in a random order, each order with the same probability."""
    order: list = list(range(n))
    i: cython.int
    j: cython.int
    for i in range(1, n):
        j = cheaprandn(m, i + 1)
        order[i], order[j] = order[j], order[i]
    return order


def open_for(c, case):
    """True when case, an operation on c, can run now.  c is locked."""
    op: Op
    if case.kind == SEND:
        if c.isclosed or c.qcount < c.dataqsiz:
            return True
        if c.recvfirst is None:
            return False
        op = c.recvfirst
    else:
        if c.qcount > 0 or c.isclosed:
            return True
        if c.sendfirst is None:
            return False
        op = c.sendfirst
    # Skip waiting cases of a select of which another case has been claimed.
    while op is not None:
        if op.sel is None or not cython.cast(Op, op.sel).success:
            return True
        op = op.next
    return False


def pass1(cases, m):
    """Picks one of the cases that can run, uniformly, runs it, and returns its number; -1 when there is none.  The locks
    are held of all channels.

    The waiting operation that open_for has seen may be a case of another select, and a thread on another channel may
    claim that select before try_op does.  Then the pick is made again."""
    case: cython.pointer(PyObject)
    pick: cython.int
    i: cython.int
    count: cython.int
    while True:
        pick = -1
        count = 0
        for i in range(len(cases)):
            case = case_at(cases, i)
            if cython.cast(object, case) is None:
                continue
            if open_for(cython.cast(Chan, cython.cast(Op, case).c), cython.cast(Op, case)):
                count += 1
                if count == 1 or cheaprandn(m, count) == 0:
                    pick = i
        if pick < 0:
            return pick
        case = case_at(cases, pick)
        if try_op(cython.cast(Chan, cython.cast(Op, case).c), cython.cast(Op, case)) == READY:
            return pick


def enlist(case, sel, g):
    """Enqueues a case of sel, in which g waits.  Its channel is locked."""
    if case is None:
        return
    case.g = g
    case.sel = sel
    if case.kind == SEND:
        enqueue_send(cython.cast(Chan, case.c), case)
    else:
        enqueue_recv(cython.cast(Chan, case.c), case)


def delist(case):
    """Removes a case from its queue, if it is still there.  Its channel is locked."""
    if case is not None:
        if case.index == QUEUED:
            unlink(cython.cast(Chan, case.c), case)
        case.sel = None


def picked(sel, case):
    """The case of sel has run at once: READY, and who has waited for it on the other side is made ready."""
    w: Op
    sel.elem = case
    if case.next is not None:
        w = case.next
        case.next = None
        ready(w.g)
    return READY


def from_outside(cases):
    """Whether a bubble must not wait for these cases: one of their channels was made outside it (those that were made
    inside, and those of timers, have something in the timer's place)."""
    return any(case is not None and case.c.timer is None for case in cases)


def watch_timers(cases, waits):
    """What the timers of the cases' channels must know: a goroutine waits on them from now on, or no longer."""
    for case in cases:
        if case is not None and case.c.timer is not None:
            if waits:
                case.c.timer.block()
            else:
                case.c.timer.unblock()


def stranger(sel):
    """Stands for the M of a thread outside the runtime, which is in gort.wait: cheaprandn needs one."""
    m: M = M()
    m.rand = (address(sel) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF) | 1
    return m


class SelectOp(Op):
    """`i, v, ok = await select(…)`.  c: the cases, a tuple of ChanOp or None; kind: DEFAULT, TIMED, TWICE; heapidx: the
    start of the lock order; index: QUEUED once it has waited."""

    what = "gort.select()"

    def begin(self, g):
        """Does pass 1, and pass 2 if no case can run."""
        cases: tuple = self.c
        n: cython.int = len(cases)
        i: cython.int
        pick: cython.int
        order: list = None
        m: M = getm()
        if m is None:
            m = stranger(self)
        if self.kind & TIMED:
            look(cases)
        refused: cython.bint = g.sched is not None and g.sched.bubble is not None and from_outside(cases)
        lockorder(self)
        if self.kind & TWICE:
            order = shuffled(n, m)  # here, because a section may make no list
        sellock(self)
        pick = pass1(cases, m)
        if pick >= 0:
            selunlock(self)
            return picked(self, cython.cast(Op, case_at(cases, pick)))
        if self.kind & DEFAULT:
            selunlock(self)
            return READY
        if refused:
            selunlock(self)
            raise not_in_bubble(self)
        self.g = g
        for i in range(n):
            enlist(cython.cast(Op, case_at(cases, i if order is None else order[i])), self, g)
        self.index = QUEUED
        selunlock(self)
        if self.kind & TIMED:
            watch_timers(cases, True)
        return PARK

    def leave(self):
        """Pass 3: removes every case that is still queued from its queue."""
        cases: tuple = self.c
        i: cython.int
        sellock(self)
        for i in range(len(cases)):
            delist(cython.cast(Op, case_at(cases, i)))
        selunlock(self)
        if self.kind & TIMED:
            watch_timers(cases, False)

    def finish(self):
        """Returns (index, value, ok) of the case that ran; (-1, None, False) for the default."""
        cases: tuple = self.c
        pick: Op = self.elem
        i: cython.int = 0
        if self.index and pick is not None:  # the select has waited
            self.leave()
        if pick is None:
            return (-1, None, False)
        self.elem = None
        while cases[i] is not pick:
            i += 1
        if pick.kind == SEND:
            outcome(pick)
            return (i, None, True)
        if pick.kind == RECV_MANY:
            return (i, collect(pick), pick.success != 0)
        return (i, pick.elem, pick.success != 0)

    def abort(self):
        """Claims the select for a cancellation and removes its cases from every queue.  False when a case has run."""
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
        """WAIT_SELECT, or WAIT_SELECT_NO_CASES."""
        return WAIT_SELECT if self.c else WAIT_SELECT_NO_CASES


def select(*cases, default=False, **named):
    """Waits until one of several operations can run, and runs it: `i, v, ok = await select(a.recv(), b.send(x))`.  If
    several can run, it picks one at random.  Follows Go's selectgo (runtime/select.go).

    A case is a channel operation, `sleep(seconds)`, the handle of a Group's member, `mu.lock()` and the like,
    `conn.read()`, `ln.accept()`, `cmd.wait()`, or another select.  It may have a name: `match await
    select(result=ch.recv(), timeout=sleep(1))` gives `("result", v, ok)`.  A case may be None, which is never ready,
    like Go's nil channel.

    The result is the index or the name of the case that ran, its result (None for a send) and Go's comma-ok, which is
    True but for a receive from a closed channel.  A case that did not run has had no effect.  With default=True it never
    waits, and the index is -1 if no case can run.  What the case that ran raises is raised; a send on a closed channel
    raises ChannelClosed.

    Raises TypeError for what cannot be a case (a write, a coroutine, gort.blocking, Cond.wait: they have effects before
    they are over) and for a send to a timer's channel; RuntimeError for an operation that was used before or appears
    twice."""
    if named:
        return of_all_kinds(cases, named, default)
    return choose(cases, default)


if cython.compiled:
    _select = select

    def select_fast(self, args, nargs, kwnames):
        """select's fast path, in the interpreter's calling convention: without keywords it makes no dict for them."""
        if kwnames != cython.NULL:
            return rt_vectorcall(_select, args, nargs, kwnames)
        sel = choose(rt_tuple(args, nargs), False)
        Py_INCREF(sel)
        return cython.cast(cython.pointer(PyObject), sel)

    select = rt_builtin(select, select_fast)


def of_all_kinds(cases, named, default):
    """A select with cases that are no channel operations, or have names."""
    from gort._runtime.wait.cases import Select

    return Select(cases, named, default)


def drop_all(cases):
    """Marks the cases of a select that is refused as used, so that nothing says that they were never awaited."""
    from gort._runtime.wait.cases import drop

    for case in cases:
        drop(case)


def choose(cases, default):
    """The operation of a select without names."""
    op: Op
    other: Op
    sel: SelectOp
    bad: object = None
    at: cython.pointer(PyObject)
    i: cython.Py_ssize_t
    kind: cython.int = DEFAULT if default else 0
    for i in range(len(cases)):
        at = case_at(cases, i)
        if cython.cast(object, at) is None or (
            type(cython.cast(object, at)) is ValueOp
            and cython.cast(Op, at).state == OP_NEW
            and cython.cast(Chan, cython.cast(Op, at).c).timer is None
            and claim(cython.cast(Op, at))
        ):
            continue
        case = cython.cast(object, at)
        if not isinstance(case, ChanOp):
            for before in cases:
                if before is case:
                    break
                if before is not None:
                    other = before
                    other.state = OP_NEW
            return of_all_kinds(cases, {}, default)
        op = case
        if op.kind == SEND_MANY:
            bad = TypeError(
                "gort.select takes no ch.send_many(): it may send some of its values and then wait, and a case that does "
                "not run must have had no effect; use ch.send(v)"
            )
            break
        if op.state != OP_NEW or not claim(op):
            bad = awaited_twice(op)
            break
        if cython.cast(Chan, op.c).timer is not None:
            if op.kind >= SEND and op.c.timer.owner is not None:
                bad = receive_only("send to", op.c)
                break
            kind |= TIMED
    if bad is not None:
        drop_all(cases)
        raise bad
    sel = SelectOp.__new__(SelectOp)
    sel.c = cases
    sel.kind = kind
    return sel


def look(cases):
    """Fires the timers of the cases that are due."""
    op: Op
    for op in cases:
        if op is not None and op.c.timer is not None:
            op.c.timer.look()
