# cython: boundscheck=False, wraparound=False
"""PollDesc, the poller's view of one descriptor, and the operations that wait for it.  Follows pollDesc in Go's
runtime/netpoll.go, and internal/poll/fd_mutex.go.

A descriptor is registered once for its life, edge-triggered, for reading and writing (a Unix connection's writing side:
once a write has had to wait, see wait_late).  Each of its two sides has a flag `ready` (the kernel has reported readiness
since the last attempt), a flag `busy` (a thread makes a system call for this side now), and a queue of operations.
An operation that finds the side not ready enqueues itself without a system call: the poller will report what comes later.

Where this differs from Go
  Go's poller only makes the goroutine runnable, which then tries again.  Here the thread that learns of readiness makes
  the system call at once, on behalf of the first operation in the queue, and wakes the goroutine with the result.  So an
  operation suspends at most once, which keeps it a plain object that any waiter can use (gort.wait too).  A read costs
  one recv: if a stream socket returns less than was asked for, it is drained, and no second recv is needed.

Invariants, all under the descriptor's lock
- `busy` has one owner, the thread that set it.  Without the lock it makes a system call for one operation after another,
  until one would block or none is left.  So they happen in order, no write goes into another, and no call's descriptor is
  closed.
- An operation in the queue has index QUEUED; the one that `busy`'s owner works on has ATTEMPTING; one that is done has
  DEQUEUED and an outcome in `success`.  A cancellation dequeues a QUEUED one.  For an ATTEMPTING one it waits the
  microseconds that the call takes, so that bytes which the call has read are never lost.
- If a side is `ready` and its queue is not empty, some thread is `busy` with it.

Rejected: level-triggered epoll with one-shot re-arming (one more system call for each operation); a retry in the
goroutine (finish() might have to suspend again).  Not here: epoll itself (netpoll.py), what an attempt does (fd.py).
"""

from __future__ import annotations

from _warnings import warn

import cython
from cython.cimports.gort._runtime.c.net import net_add, net_close, net_load
from cython.cimports.gort._runtime.c.rt import FREE_THREADED, nanotime, own_dict, rt_import, rt_usleep
from cython.cimports.gort._runtime.core.handoff import ready
from cython.cimports.gort._runtime.core.lockrank import LOCK_RANK_POLLDESC
from cython.cimports.gort._runtime.core.op import share
from cython.cimports.gort._runtime.core.runtime2 import ATTEMPTING, DEQUEUED, PARK, QUEUED, READY, G, M, Op, Sched, getm
from cython.cimports.gort._runtime.sched.timers import Timer, arm, deltimer, wake_for

from gort._runtime.core.lockrank import make_lock
from gort._runtime.core.mistakes import name_of, shared
from gort._runtime.core.op import WAIT_IO

rt_import()

if not cython.compiled:  # the .pxd defines the same names for C
    # What attempt returns.
    AGAIN = 0  # the call would block
    DRAINED = 1  # done, and the kernel has nothing left: the next operation can enqueue itself without an attempt
    MORE = 2  # done, and the next attempt may succeed too

    # Op.success
    OK = 1
    CLOSED = 2  # the descriptor was closed before the operation or while it waited
    EXPIRED = 3  # its side's deadline passed
    FAILED = 4  # op.sel is the exception
    REFUSED = 5  # it would have to wait, but another goroutine's attach has failed

    EPOLLIN = 0x001
    EPOLLOUT = 0x004
    EPOLLERR = 0x008
    EPOLLHUP = 0x010
    EPOLLRDHUP = 0x2000


class Side:
    """The reading or the writing side of a descriptor, whose lock guards the fields."""

    if not cython.compiled:
        busy = False
        ready = True  # readiness is unknown at first, so the first operation makes an attempt
        hup = False  # end of stream or an error: no further call would block
        expired = False  # the deadline has passed
        first = None
        last = None
        deadline = 0  # ns on the runtime's clock; 0: none
        armed = 0  # when the timer fires; 0: it is in no heap.  If it fires before the deadline, it is armed again
        timer = None


class Poller:
    """The interface between descriptors and their runtime's poller, a netpoll.Netpoll.  `nwait`, which is atomic, counts
    the operations in all queues.  `level`, also atomic: the poller is told of each that enters one."""

    if not cython.compiled:
        s = None
        closed = False
        level = False
        nwait = 0

    def tell(self):
        """An operation has entered a queue.  The descriptor's lock is held."""

    def register(self, pd):
        """Starts to watch pd.  Raises OSError where the system cannot."""
        raise NotImplementedError

    def watch_writes(self, pd):
        """Watches the writing side too, of a pd that has been registered with `wlate`.  Raises OSError."""
        raise NotImplementedError

    def unregister(self, pd):
        """Stops watching pd."""
        raise NotImplementedError


make_poller = None  # netpoll.netpoll_of; netpoll.py, which imports this file, sets it


class PollDesc:
    """A descriptor that the poller watches, from the first time that a goroutine uses it.

    fd is -1 once it is closed.  `lock` guards both sides and `closing`, and decides who closes fd.  `wlate`: the poller
    does not watch the writing side yet.  After the constructor it belongs to whoever owns w.busy."""

    __reduce_ex__ = shared

    if not cython.compiled:
        fd = -1
        np = None
        closing = False
        attaching = False
        wlate = False

    def __init__(self, fd):
        self.fd = fd
        if not cython.compiled:
            own_dict(self)
            mu = make_lock(LOCK_RANK_POLLDESC, self)
            self.lock = mu.acquire
            self.unlock = mu.release
        self.r = Side()
        self.w = Side()
        if cython.compiled:
            self.r.ready = True
            self.w.ready = True

    def __del__(self):
        fd = self.fd
        # While the interpreter ends the names of this module are None: the system closes the descriptor then.
        if fd >= 0 and not self.closing and warn is not None:
            name = name_of(self)  # while it can still be asked for its addresses
            self.closing = True
            np = self.np
            if np is not None:
                np.unregister(self)
            self.fd = -1
            net_close(fd)
            warn(f"unclosed {name}: close it, or use `async with`", ResourceWarning, source=self, stacklevel=2)

    def attach(self, s):
        """Registers the descriptor with the poller of the runtime s.  An earlier runtime may have used it before.
        Raises RuntimeError if another runtime still uses it, OSError if the system cannot poll it."""
        np: Poller = make_poller(s)
        old: Poller
        failed: object = None
        last: cython.bint
        chain: Op = None
        self.lock()
        old = self.np
        if old is np or self.closing:
            self.unlock()
            return
        if old is not None and not old.closed:
            self.unlock()
            raise RuntimeError("this descriptor is in use in another running gort runtime")
        self.np = np
        self.attaching = True  # until then shut leaves the close to us, so that the kernel cannot reuse the number
        self.r.ready = True
        self.w.ready = True
        self.r.armed = 0
        self.w.armed = 0
        self.r.timer = None
        self.w.timer = None
        self.unlock()
        try:
            np.register(self)
        except BaseException as e:
            failed = e
        self.lock()
        self.attaching = False
        last = self.closing and not self.r.busy and not self.w.busy
        if failed is not None:
            chain = take_all(self, self.r, None, REFUSED)  # operations that were enqueued meanwhile
            chain = take_all(self, self.w, chain, REFUSED)
            self.np = None
        self.unlock()
        if last:
            release(self)
        if failed is not None:
            complete(chain)
            try:
                raise failed
            finally:
                failed = None

    def shut(self):
        """Closes the descriptor; waiting operations end as CLOSED.  False when it was closed already.  The kernel's
        descriptor is closed when the last system call on it has returned."""
        now: cython.bint
        chain: Op
        self.lock()
        if self.closing:
            self.unlock()
            return False
        self.closing = True
        chain = take_all(self, self.r, None, CLOSED)
        chain = take_all(self, self.w, chain, CLOSED)
        if self.np is not None and not self.np.closed:
            disarm(self.r)
            disarm(self.w)
        rt = self.r.timer  # the timers refer to us, so drop them; but only after unlock, because that may run a __del__
        wt = self.w.timer
        self.r.timer = None
        self.w.timer = None
        now = not self.r.busy and not self.w.busy and not self.attaching
        self.unlock()
        del rt, wt
        if now:
            release(self)
        complete(chain)
        return True

    def detach(self):
        """Gives the descriptor up without closing it and returns its number, which the caller then owns.

        Raises RuntimeError if it is closed or a goroutine uses it."""
        fd = self.fd
        self.lock()
        busy = self.closing or self.attaching or self.r.busy or self.w.busy
        if busy or self.r.first is not None or self.w.first is not None:
            self.unlock()
            raise RuntimeError("cannot detach a descriptor that is closed, or that a goroutine uses")
        self.closing = True
        if self.np is not None and not self.np.closed:
            disarm(self.r)
            disarm(self.w)
        self.unlock()
        if self.np is not None:
            self.np.unregister(self)
        self.fd = -1
        return fd

    def set_deadlines(self, read, write, when):
        """Sets the deadline of the given sides: operations fail from `when` on (ns on the runtime's clock; 0: never),
        even those that wait already.  False when the descriptor is closed.
        Raises RuntimeError outside a running runtime, and what attach raises."""
        chain: Op = None
        first: cython.bint = False
        m: M = getm()
        if m is not None and m.sched is not None and (self.np is None or self.np.closed or self.np.s is not m.sched):
            self.attach(m.sched)
        if self.np is None:
            raise RuntimeError("a deadline outside a running gort runtime: set it in a goroutine")
        if when != 0:
            if read and self.r.timer is None:
                self.r.timer = deadline_timer(self, 0)
            if write and self.w.timer is None:
                self.w.timer = deadline_timer(self, 1)
        self.lock()
        if self.closing:
            self.unlock()
            return False
        if read:
            self.r.deadline = when
            first = arm_deadline(self, self.r)
            if self.r.expired:
                chain = take_all(self, self.r, chain, EXPIRED)
        if write:
            self.w.deadline = when
            first = arm_deadline(self, self.w) or first
            if self.w.expired:
                chain = take_all(self, self.w, chain, EXPIRED)
        self.unlock()
        if first:
            wake_for(self.np.s, when)
        complete(chain)
        return True


def release(pd):
    """Closes the kernel's descriptor.  No thread makes a system call on it, and none can start one, because pd.closing
    is set."""
    fd = pd.fd
    if fd < 0:
        return
    if pd.np is not None:
        pd.np.unregister(pd)
    pd.fd = -1
    net_close(fd)


# ---- queues, under the descriptor's lock ------------------------------------------------------------------------------


def count(np, by):
    """Adds `by` to the number of waiting operations."""
    if cython.compiled:
        net_add(cython.address(np.nwait), by)
    else:
        np.countlock()
        np.nwait += by
        np.countunlock()
    if by > 0 and (net_load(cython.address(np.level)) if cython.compiled else np.level):
        np.tell()


def put(pd, side, op):
    """Appends op to the side's queue."""
    op.index = QUEUED
    if FREE_THREADED:
        share(pd.np.s, op)
    op.next = None
    op.prev = side.last
    if side.last is None:
        side.first = op
    else:
        side.last.next = op
    side.last = op
    count(pd.np, 1)


def put_back(pd, side, op):
    """Puts op, which was the first, back at the front of the side's queue."""
    op.index = QUEUED
    if FREE_THREADED:
        share(pd.np.s, op)
    op.prev = None
    op.next = side.first
    if side.first is None:
        side.last = op
    else:
        side.first.prev = op
    side.first = op
    count(pd.np, 1)


def take(pd, side):
    """Dequeues the first operation for an attempt; None when the queue is empty."""
    op: Op = side.first
    if op is not None:
        unlink(pd, side, op)
        op.index = ATTEMPTING
    return op


def unlink(pd, side, op):
    """Removes op from the side's queue."""
    prev: Op = op.prev
    next: Op = op.next
    op.prev = None
    op.next = None
    if prev is None:
        side.first = next
    else:
        prev.next = next
    if next is None:
        side.last = prev
    else:
        next.prev = prev
    op.index = DEQUEUED
    count(pd.np, -1)


def take_all(pd, side, chain, outcome):
    """Ends the operations of the side's queue with this outcome: puts them in front of `chain`, linked through Op.next,
    and returns it for complete.  The outcome is there with DEQUEUED, under the lock: who takes one back may look."""
    op: Op
    while side.last is not None:
        op = side.last
        unlink(pd, side, op)
        op.success = outcome
        op.next = chain
        chain = op
    return chain


def complete(chain):
    """Wakes the goroutines of a chain that take_all has made.  The caller holds no lock."""
    op: Op
    while chain is not None:
        op = chain
        chain = op.next
        op.next = None
        ready(op.g)


# ---- operations -------------------------------------------------------------------------------------------------------


class NetOp(Op):
    """An operation on a descriptor (op.c).  Subclasses define an attempt.  Even kinds read, odd kinds write."""

    what = "an operation on a descriptor"

    def attempt(self):
        """Makes one system call that does not block.  Returns AGAIN, DRAINED or MORE.  The caller holds no lock."""
        raise NotImplementedError

    def wait_late(self):
        """A write's attempt has returned AGAIN while `wlate`.  True when it is to be made again (fd.py)."""

    def begin(self, g):
        """Makes an attempt if the side may be ready and nobody is in front; else enqueues the operation."""
        pd: PollDesc = self.c
        side: Side
        s: Sched = g.sched
        self.g = g
        if pd.np is None or pd.np.s is not s or pd.np.closed:
            try:
                pd.attach(s)
            except OSError as e:
                self.success = FAILED
                self.sel = e
                return READY
        side = pd.w if self.kind & 1 else pd.r
        pd.lock()
        if pd.closing:
            self.success = CLOSED
        elif side.expired:
            self.success = EXPIRED
        elif pd.np is None:
            self.success = REFUSED
        elif side.busy or side.first is not None or not side.ready:
            put(pd, side, self)
            pd.unlock()
            return PARK
        else:
            side.busy = True
            side.ready = False
            self.index = ATTEMPTING
            pd.unlock()
            return READY if serve(pd, side, self, False) else PARK
        pd.unlock()
        return READY

    def abort(self):
        """Dequeues the operation.  False when it is done; waits while another thread makes its system call."""
        pd: PollDesc = self.c
        while True:
            pd.lock()
            if self.index == QUEUED:
                unlink(pd, pd.w if self.kind & 1 else pd.r, self)
                pd.unlock()
                return True
            if self.index != ATTEMPTING:
                pd.unlock()
                return False
            pd.unlock()
            rt_usleep(1)  # lets the other thread finish the attempt

    def reason(self):
        """WAIT_IO, which dumps show as `IO wait`."""
        return WAIT_IO


def serve(pd, side, op, parked):
    """Attempts op and then the queued operations behind it, until the side is not ready.  The caller has set side.busy.
    `parked`: op's goroutine waits and must be woken.  True when op is done."""
    r: cython.int
    done: cython.bint = False
    last: cython.bint
    nxt: Op
    while True:
        try:
            r = cython.cast(NetOp, op).attempt()
            if r == AGAIN and pd.wlate and side is pd.w and cython.cast(NetOp, op).wait_late():
                continue
            op.success = OK
        except BaseException as e:
            op.sel = e
            op.success = FAILED
            r = MORE
        nxt = None
        last = False
        pd.lock()
        if r == AGAIN:
            op.success = 0
            if pd.closing:
                op.success = CLOSED
            elif side.expired:
                op.success = EXPIRED
            elif pd.np is None:
                op.success = REFUSED
            elif side.ready:  # the kernel has reported readiness during the attempt
                side.ready = False
                pd.unlock()
                continue
            else:
                side.hup = False  # the error was temporary, as on a datagram socket
                put_back(pd, side, op)
                side.busy = False
                pd.unlock()
                return done
        else:
            if op.success == FAILED and pd.closing:
                op.success = CLOSED
            if r == MORE or side.hup:
                side.ready = True
        op.index = DEQUEUED
        if side.ready and not pd.closing:
            nxt = take(pd, side)
        if nxt is not None:
            side.ready = False
        else:
            side.busy = False
            last = pd.closing and not pd.r.busy and not pd.w.busy and not pd.attaching
        pd.unlock()
        if last:
            release(pd)
        done = True
        if parked:
            ready(op.g)
        if nxt is None:
            return done
        parked = True
        op = nxt


def event(pd, mask):
    """Serves the sides of pd that the kernel reports as ready.  True when a goroutine was made runnable."""
    found: cython.bint = False
    if mask & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR):
        found = wakeside(pd, pd.r, mask & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
    if mask & (EPOLLOUT | EPOLLHUP | EPOLLERR):
        found = wakeside(pd, pd.w, mask & (EPOLLHUP | EPOLLERR)) or found
    return found


def wakeside(pd, side, hup):
    """Marks the side as ready and serves the operations that wait there.  True when a goroutine was made runnable."""
    op: Op = None
    pd.lock()
    side.ready = True
    if hup:
        side.hup = True
    if not side.busy and not pd.closing:
        op = take(pd, side)
        if op is not None:
            side.busy = True
            side.ready = False
    pd.unlock()
    return op is not None and serve(pd, side, op, True)


# ---- deadlines --------------------------------------------------------------------------------------------------------


def deadline_timer(pd, which):
    """Makes the timer of one side; which: 0 reading, 1 writing."""
    t: Timer = Timer()
    t.f = fired
    t.arg = (pd, which)
    return t


def disarm(side):
    """Takes the side's timer out of its heap.  The descriptor's lock is held."""
    if side.timer is not None and side.armed != 0:
        deltimer(side.timer)
    side.armed = 0


def arm_deadline(pd, side):
    """Sets side.expired if the side's new deadline has passed, else arms its timer.  True when that is now the first of
    its P.  The descriptor's lock is held.  A timer that fires before the deadline stays in its heap, and `fired` arms it
    again: a program that moves the deadline on before each operation causes no heap operation."""
    t: Timer = side.timer
    side.expired = side.deadline != 0 and side.deadline <= (pd.np.s.vnow or nanotime())
    if side.deadline == 0 or side.expired:
        return False
    if side.armed != 0:
        if side.armed <= side.deadline or not deltimer(t):
            return False  # it fires before the deadline, or is firing now; fired() will see the new deadline
    # With a new gen, a firing that is already under way has no effect.
    t.gen += 1
    side.armed = side.deadline
    return arm(pd.np.s, t, side.deadline)


def fired(arg, gen, now):
    """A side's timer is due: ends the waiting operations if the deadline has passed, else arms the timer again."""
    pd: PollDesc = arg[0]
    side: Side = pd.w if arg[1] else pd.r
    t: Timer
    chain: Op = None
    first: cython.longlong = 0
    pd.lock()
    t = side.timer
    if t is not None and gen == t.gen and not pd.closing:
        side.armed = 0
        first = side.deadline if arm_deadline(pd, side) else 0
        if side.expired:
            chain = take_all(pd, side, None, EXPIRED)
    pd.unlock()
    if first != 0:
        wake_for(pd.np.s, first)  # another M may have begun to poll while the timer was out of the heap
    complete(chain)
