# cython: boundscheck=False, wraparound=False
"""The netpoller: asks the kernel which descriptors are ready.  Follows Go's runtime/netpoll.go and netpoll_epoll.go.

Each runtime has one epoll instance, sched.netpoll, made with its first descriptor.  findrunnable polls it when a P has
run out of goroutines, one idle M sleeps in it (proc.poll), sysmon polls it when nobody has for 10 ms, and wake() ends a
sleep.  The thread that finds a descriptor ready serves it at once (polldesc.event).

Where there is no epoll, and by GODEBUG=netpoll=poll or =select, the poller is levelpoll.py's, a subclass.  kqueue would
be another, with EV_CLEAR in place of EPOLLET: not written, because no system that has it is here to try it on.

Invariants: `inwait` and `wakesig` let wake() skip its system call.  A poller sets inwait, then reads wakesig, then
sleeps; a waker sets wakesig, then reads inwait.  So at least one of the two sees the other.  The eventfd that wakes is
level-triggered, and only a poller that may sleep clears it, so that one that only looks cannot swallow a wake-up.

An event loop's goroutine (gort.aio) waits for the loop's own epoll, which this one watches.  Where nothing else waits for
a descriptor, the loop's thread sleeps in that epoll at once, and in it for `bellfd` (alone; enter_own, where the loop
waits in place): a message then costs one system call for the wait and not four.
- `level` is set while a thread sleeps there, before it reads `nwait`; an operation that enters a queue counts itself in
  `nwait`, then reads `level`.  So it is alone, or is woken (tell) and sleeps here.
- `inwait` says where the poller sleeps, and so what wakes it: `evfd` here, `bellfd` there.  With `evfd` in the loops'
  epolls each wake-up of this one would look as if something had come in all of them.
- Once an operation has come in between, `shared` stays set and nobody sleeps there any more: a goroutine that reads and
  a loop that waits would wake each other at each message.

A poller may look for a while (spinns) before it sleeps: for processes that answer each other within microseconds the
wake-ups of sleeping processors are most of the time of a round trip.  It does so only where the last wait was as short
(quick); whoever has looked in vain sleeps the next time.  Go's Ms look so for goroutines, never for descriptors, and nor
do gort's by default: see hurry.  The M that polls, one at a time, guards `quick` and `spun`; `mu` guards `hurried`.

What does not live here: what readiness means for the waiting operations (polldesc.py); poll and select (levelpoll.py).
"""

from __future__ import annotations

import threading
import weakref

import cython
from cython.cimports.cpython.exc import PyErr_CheckSignals
from cython.cimports.gort._runtime.c.net import (
    NET_EPOLL,
    net_close,
    net_epoll_add,
    net_epoll_create,
    net_epoll_del,
    net_epoll_mod,
    net_epoll_spin,
    net_epoll_wait,
    net_event_clear,
    net_event_fd,
    net_event_mask,
    net_event_write,
    net_eventfd,
    net_item,
    net_load,
    net_store,
    net_swap,
)
from cython.cimports.gort._runtime.c.rt import nanotime, rt_import
from cython.cimports.gort._runtime.core.lockrank import LOCK_RANK_NETPOLL
from cython.cimports.gort._runtime.core.runtime2 import QUEUED, M, Sched, getm
from cython.cimports.gort._runtime.poll.polldesc import (
    EPOLLIN,
    EPOLLOUT,
    EPOLLRDHUP,
    NetOp,
    PollDesc,
    Poller,
    event,
)

from gort._runtime.core import debugvars
from gort._runtime.core.lockrank import make_lock
from gort._runtime.poll import polldesc
from gort._start.cython import lent

rt_import()

if not cython.compiled:  # the .pxd defines the same names for C
    EPOLLET = 0x80000000
    # What own_poll returns.
    OWN_FOUND = 1  # the operation need not wait any more
    OWN_BELL = 2  # the poller is to wake
    # Netpoll.inwait.
    IN_EPOLL = 1
    IN_OWN = 2

POLL_NS = cython.declare(cython.longlong, 200_000)
SIGNAL_SLICE_NS = cython.declare(cython.longlong, 500_000_000)
SPIN_NS = 80_000  # hurry: a processor that has gone to sleep takes some 30 to 50 µs to wake up, and the peer's too
SPIN_MOST_US = 1000  # GODEBUG=pollspin: no signal handler runs meanwhile


class OwnWait(NetOp):
    """The wait of an event loop for its own epoll."""

    def own_poll(self, delay, spin):
        """Waits there, and for the poller's bell, on the thread of its goroutine.  delay: as Netpoll.poll's; spin: 0, or
        for how many ns to look without a sleep, in its place.  Returns OWN_FOUND, OWN_BELL, both or 0."""
        raise NotImplementedError


class Netpoll(Poller):
    """The poller of a runtime, on epoll.  A subclass has its own open, watch, unwatch, poll and shut."""

    def __init__(self, s):
        self.s = s
        self.closed = False
        self.nwait = 0
        self.inwait = 0
        self.wakesig = 0
        self.shared = False
        self.spinns = 0
        self.spun = 0
        self.quick = False
        self.hurried = 0
        self.descs = []
        self.epfd = self.evfd = self.wakefd = -1  # open sets them
        self.bellfd = -1  # bell sets it
        # Guards descs.  Re-entrant: a collection in the middle of register may find a PollDesc that nobody has closed,
        # whose __del__ calls unregister.  Each step below leaves descs as the other functions expect it.
        self.mu = threading.RLock()
        if not cython.compiled:
            lock = make_lock(LOCK_RANK_NETPOLL, self)
            self.countlock = lock.acquire
            self.countunlock = lock.release
        self.open()

    def open(self):
        """Makes what the poller needs of the system.  Raises OSError."""
        self.epfd = net_epoll_create()
        self.evfd = self.wakefd = net_eventfd()
        net_epoll_add(self.epfd, self.evfd, EPOLLIN)

    def tell(self):
        """Wakes an event loop's thread that sleeps as if it were alone."""
        self.shared = True
        self.wake()

    def bell(self):
        """The descriptor that becomes readable when the poller is to wake that sleeps in an event loop's epoll; -1 where
        none may sleep there."""
        if self.shared:
            return -1
        with self.mu:
            if self.bellfd < 0:
                self.bellfd = net_eventfd()
        return self.bellfd

    def shut(self):
        """Gives it back."""
        if cython.compiled:
            net_close(self.epfd)
        else:
            self.epfd.close()
        net_close(self.evfd)
        if self.bellfd >= 0:
            net_close(self.bellfd)

    def forget(self):
        """Lets go of it in a forked child, which has the same epoll as its parent: to take a descriptor out of it here
        would take it out there."""
        self.mu = threading.RLock()
        self.shut()
        if cython.compiled:
            self.epfd = -1
        self.evfd = self.wakefd = self.bellfd = -1

    def watch(self, fd, wlate):
        """Watches a descriptor from now on, its reading side alone with wlate.  Raises OSError if the system cannot poll
        it."""
        net_epoll_add(self.epfd, fd, EPOLLIN | (0 if wlate else EPOLLOUT) | EPOLLRDHUP | EPOLLET)

    def watch_writes(self, pd):
        """As Poller.watch_writes.  The kernel looks at the descriptor anew, so what is ready now is reported."""
        if not self.closed:
            net_epoll_mod(self.epfd, pd.fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)

    def unwatch(self, fd):
        """The opposite of watch."""
        net_epoll_del(self.epfd, fd)

    def waiters(self):
        """True when an operation waits for a descriptor."""
        return self.nwait != 0

    def poll(self, delay):
        """Serves the operations of ready descriptors.  True when a goroutine became runnable.

        delay: 0 does not wait, -1 waits for a descriptor or for wake(), a positive number also ends the wait after so
        many ns."""
        n: cython.int
        i: cython.int
        fd: cython.int
        mask: cython.uint
        found: cython.bint = False
        blocks: cython.bint = delay != 0
        woken: cython.int
        spin: cython.longlong = 0
        began: cython.longlong = 0
        pd: PollDesc
        op: OwnWait
        s: Sched = self.s
        if self.closed:
            return False
        if cython.compiled:
            op = None if self.shared or not blocks else alone(self)
            if op is not None:
                net_store(cython.address(self.level), 1)
                if net_load(cython.address(self.nwait)) != 1:
                    op = None
            if blocks:
                net_store(cython.address(self.inwait), IN_EPOLL if op is None else IN_OWN)
                if net_load(cython.address(self.wakesig)):
                    delay = 0
                elif delay < 0 or delay > SIGNAL_SLICE_NS:
                    delay = SIGNAL_SLICE_NS
                # A signal that came during compiled code does not interrupt the wait below: see Note.sleep.
                PyErr_CheckSignals()
                if self.spinns != 0 and delay != 0:
                    began = nanotime()
                    if self.quick:
                        spin = self.spinns if delay < 0 else min(delay, self.spinns)
            n = woken = 0
            if op is not None:
                woken = op.own_poll(delay, spin)
            elif spin != 0:
                n = net_epoll_spin(self.epfd, spin)
            else:
                n = net_epoll_wait(self.epfd, delay)
            if began != 0:
                self.quick = (n != 0 or woken != 0) and nanotime() - began < 2 * self.spinns
                if spin != 0 and self.quick:
                    self.spun += 1
            if blocks:
                net_store(cython.address(self.level), 0)
                PyErr_CheckSignals()
                net_store(cython.address(self.inwait), 0)
            if woken & OWN_BELL:
                net_event_clear(self.bellfd)
            if woken & OWN_FOUND:
                found = event(op.c, EPOLLIN)
            for i in range(n):
                fd = net_event_fd(i)
                mask = net_event_mask(i)
                if fd == self.evfd:
                    if blocks:
                        net_event_clear(self.evfd)
                    continue
                pd = lookup(self, fd)
                if pd is not None and event(pd, mask):
                    found = True
            if blocks:
                net_store(cython.address(self.wakesig), 0)
        else:
            if blocks:
                self.inwait = 1
                if self.wakesig:
                    delay = 0
            events = net_epoll_wait(self.epfd, delay)
            if blocks:
                self.inwait = 0
            for fd, mask in events:
                if fd == self.evfd:
                    if blocks:
                        net_event_clear(self.evfd)
                    continue
                pd = lookup(self, fd)
                if pd is not None and event(pd, mask):
                    found = True
            if blocks:
                self.wakesig = 0
        s.lastpoll = nanotime()
        return found

    def poll_late(self, now):
        """Polls if nobody has for POLL_NS: for who always has something to do, which keeps the scheduler from it."""
        s: Sched = self.s
        if now - s.lastpoll >= POLL_NS and not s.npolling and self.waiters():
            self.poll(0)

    def wake(self):
        """Ends a poll that waits, or makes the next one return at once (Go's netpollBreak).  Any thread may call it."""
        if self.closed:
            return
        where: cython.int
        if cython.compiled:
            if net_swap(cython.address(self.wakesig), 1) == 0:
                where = net_load(cython.address(self.inwait))
                if where != 0:
                    net_event_write(self.bellfd if where == IN_OWN else self.wakefd)
        else:
            if self.wakesig:
                return
            self.wakesig = 1
            if self.inwait:
                net_event_write(self.wakefd)

    def close(self):
        """Closes the poller.  The descriptors stay open, because their owners close them."""
        if self.closed:
            return
        self.closed = True
        if self.evfd >= 0:  # else forget has been here
            self.shut()
        self.descs = []

    def register(self, pd):
        """Adds pd to the table and watches it.  Raises OSError if the system cannot poll it."""
        ref: object = weakref.ref(pd)
        with self.mu:
            while len(self.descs) <= pd.fd:
                self.descs.append(None)
            self.descs[pd.fd] = ref
        try:
            self.watch(pd.fd, pd.wlate)
        except OSError:
            with self.mu:
                self.descs[pd.fd] = None
            raise

    def unregister(self, pd):
        """Removes pd from the table, and watches it no more.  Closing alone would not remove it from epoll if a child
        process has inherited the descriptor."""
        if self.closed:
            return
        with self.mu:
            if pd.fd < len(self.descs) and self.descs[pd.fd] is not None and self.descs[pd.fd]() in (pd, None):
                self.descs[pd.fd] = None
        self.unwatch(pd.fd)


def netpoll_of(s):
    """The poller of the runtime s; makes it at the first call."""
    np: Netpoll = s.netpoll
    if np is not None:
        return np
    how = debugvars.parse()["netpoll"]
    if how == debugvars.NETPOLL_EPOLL and NET_EPOLL:
        np = Netpoll(s)
        np.spinns = spin_of(s, 0)
    else:
        with lent():  # it is hot, and imported late
            from gort._runtime.poll import levelpoll
        np = levelpoll.Levelpoll(s, how)
    s.lock()
    s.unlock()  # a release: a thread that reads s.netpoll without the lock sees a complete poller
    s.lock()
    if s.netpoll is None:
        s.netpoll = np
        s.unlock()
        s.pollnote.wakeup()  # an M may sleep on pollnote for a timer; from now on it must sleep in the poller
        return np
    s.unlock()
    np.close()
    return s.netpoll


def hurry(np, by):
    """A part of the program that exchanges messages with other processes begins (by: 1) or ends (-1).  While there is
    one, the poller looks for SPIN_NS before it sleeps, as GODEBUG=pollspin asks for at all times."""
    with np.mu:
        np.hurried += by
        np.spinns = spin_of(np.s, np.hurried)


def spin_of(s, hurried):
    """For how many ns the poller of s looks before it sleeps: never where there is one processor, whose other processes
    could not answer meanwhile."""
    us: object = debugvars.parse()["pollspin"]
    if s.ncpu < 2:
        return 0
    return min(us, SPIN_MOST_US) * 1000 if us >= 0 else SPIN_NS if hurried > 0 else 0


def alone(np):
    """The wait of the event loop to which this thread is locked, if it is the only operation that waits; else None."""
    m: M = getm()
    if m is None or m.ownwait is None or m.lockedg is None or m.ownwait.g is not m.lockedg:
        return None
    if np.nwait != 1 or m.ownwait.index != QUEUED:
        return None
    return m.ownwait


def enter_own(np):
    """An event loop's thread is about to sleep in the loop's epoll, without an operation that waits (aio/wait.py).  False
    if it must not: an operation waits for a descriptor, or the poller is to wake."""
    if cython.compiled:
        net_store(cython.address(np.level), 1)
        if net_load(cython.address(np.nwait)) == 0 and not np.shared:
            net_store(cython.address(np.inwait), IN_OWN)
            if net_load(cython.address(np.wakesig)) == 0:
                return True
            net_store(cython.address(np.inwait), 0)
        net_store(cython.address(np.level), 0)
    return False


def leave_own(np, woken):
    """It sleeps there no more, whether it has or not.  woken: what own_poll would return."""
    if cython.compiled:
        net_store(cython.address(np.level), 0)
        net_store(cython.address(np.inwait), 0)
        if woken & OWN_BELL:
            net_event_clear(np.bellfd)
        # A wake-up that is lost here is not missed: whoever wakes the poller has enqueued something before, and that is
        # seen when the thread takes a P (sched/inplace.py).
        net_store(cython.address(np.wakesig), 0)


def lookup(np, fd):
    """The PollDesc of fd, or None.  If the number has been closed and reused since the event, the event reaches its new
    owner, whose next attempt then gives AGAIN.  That is harmless."""
    ref: object
    if cython.compiled:
        ref = net_item(np.descs, fd)
    else:
        ref = np.descs[fd] if fd < len(np.descs) else None
    if ref is None:
        return None
    return ref()


polldesc.make_poller = netpoll_of
