# cython: boundscheck=False, wraparound=False
"""The netpoller on poll or select, for systems without epoll, and by GODEBUG=netpoll=poll or =select.  Follows the
pollers of Go's systems without edges (runtime/netpoll_aix.go, netpoll_solaris.go).

Both calls report a level: a descriptor is ready as long as bytes are there.  So each call asks for those sides alone for
which an operation waits (interest).  An operation that enters a queue while a thread sleeps in the call ends
that sleep (tell), and so does a descriptor that is closed: the kernel would keep it open for as long as the call lasts.
One call costs as much as operations wait, where epoll costs as much as descriptors are ready.

Invariants
- A poller that may sleep sets inwait, then looks at the queues, then sleeps; an operation enters its queue, then reads
  inwait.  Each queue has its lock, so at least one of the two sees the other.
- A side whose operation waits for something beside its descriptor (a part of a file, sendfile.py) is ready by its level
  all the time.  Where nothing came of IDLE sleeps in a row, the next one begins with a pause for the wake-up alone.

select has room for descriptors below 1,024.  It is there for systems without poll.

What does not live here: epoll, and the table of descriptors (netpoll.py).
"""

from __future__ import annotations

import errno
import os
import select
import stat

import cython
from cython.cimports.cpython.exc import PyErr_CheckSignals
from cython.cimports.gort._runtime.c.net import net_close, net_event_clear, net_load, net_store
from cython.cimports.gort._runtime.c.rt import nanotime, rt_import
from cython.cimports.gort._runtime.core.runtime2 import Sched
from cython.cimports.gort._runtime.poll.netpoll import Netpoll, lookup
from cython.cimports.gort._runtime.poll.polldesc import EPOLLERR, EPOLLIN, EPOLLOUT, PollDesc, event

from gort._runtime.core.debugvars import NETPOLL_SELECT

rt_import()

# The longest sleep: for the sake of signals (netpoll.SIGNAL_SLICE_NS), and because a call that sleeps keeps a descriptor
# that somebody else closes, and so cannot report it.
SLICE_NS = cython.declare(cython.longlong, 500_000_000)
IDLE = cython.declare(cython.int, 3)
PAUSE_NS = cython.declare(cython.longlong, 1_000_000)
POLLNVAL = 0x20  # of every system that has poll
FD_SETSIZE = 1024


class Levelpoll(Netpoll):
    """The poller of a runtime, on poll or select."""

    def __init__(self, s, how):
        self.how = how if how == NETPOLL_SELECT or hasattr(select, "poll") else NETPOLL_SELECT
        self.idle = 0
        Netpoll.__init__(self, s)

    def open(self):
        """Makes the pipe that wakes."""
        self.level = True
        self.evfd, self.wakefd = os.pipe()
        os.set_blocking(self.evfd, False)
        os.set_blocking(self.wakefd, False)

    def bell(self):
        """None: a thread that sleeps elsewhere asks for nothing that waits here."""
        return -1

    def shut(self):
        """Closes it."""
        net_close(self.evfd)
        net_close(self.wakefd)

    def watch(self, fd, wlate):
        """Refuses what epoll refuses: files and directories, which are always ready."""
        mode = os.fstat(fd).st_mode
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        if fd >= FD_SETSIZE and self.how == NETPOLL_SELECT:
            raise OSError(errno.EMFILE, f"select has no room for descriptor {fd}")

    def watch_writes(self, pd):
        """Nothing is to be done: each poll asks for what operations wait for."""

    def unwatch(self, fd):
        """Ends a sleep in which the kernel holds the descriptor."""
        self.tell()

    def tell(self):
        """Ends a sleep that began before: the next one asks for what waits now.  A descriptor's lock is held, so this
        must not release the GIL: net_event_write does not."""
        if cython.compiled:
            if net_load(cython.address(self.inwait)):
                self.wake()
        elif self.inwait:
            self.wake()

    def poll(self, delay):
        """As Netpoll.poll."""
        blocks: cython.bint = delay != 0
        found: cython.bint = False
        woken: cython.bint = False
        mask: cython.uint
        pd: PollDesc
        s: Sched = self.s
        if self.closed:
            return False
        if blocks:
            if cython.compiled:
                net_store(cython.address(self.inwait), 1)
                if net_load(cython.address(self.wakesig)):
                    delay = 0
                PyErr_CheckSignals()  # netpoll.py says why
            else:
                self.inwait = 1
                if self.wakesig:
                    delay = 0
            if delay < 0 or delay > SLICE_NS:
                delay = SLICE_NS
            if self.idle >= IDLE and delay != 0:
                ask(self.how, {self.evfd: EPOLLIN}, min(delay, PAUSE_NS))
        wanted = self.wanted()
        if blocks:
            wanted[self.evfd] = EPOLLIN
        events = ask(self.how, wanted, delay) if wanted else ()
        if blocks:
            if cython.compiled:
                PyErr_CheckSignals()
                net_store(cython.address(self.inwait), 0)
            else:
                self.inwait = 0
        for fd, mask in events:
            if fd == self.evfd:
                net_event_clear(self.evfd)
                woken = True
                continue
            pd = lookup(self, fd)
            if pd is not None and event(pd, mask):
                found = True
        if blocks:
            self.idle = 0 if found or woken or not events else self.idle + 1
            if cython.compiled:
                net_store(cython.address(self.wakesig), 0)
            else:
                self.wakesig = 0
        s.lastpoll = nanotime()
        return found

    def wanted(self):
        """Descriptor -> the events for which operations wait."""
        fd: cython.int
        mask: cython.uint
        pd: PollDesc
        found: dict = {}
        if not self.waiters():
            return found
        for fd in range(len(self.descs)):
            pd = lookup(self, fd)
            if pd is not None:
                mask = interest(pd)
                if mask:
                    found[fd] = mask
        return found


def interest(pd):
    """The events for which operations of pd wait: EPOLLIN, EPOLLOUT, both or none.  poll has the same numbers."""
    mask: cython.uint = 0
    pd.lock()
    if not pd.closing:
        if pd.r.first is not None:
            mask = EPOLLIN
        if pd.w.first is not None:
            mask |= EPOLLOUT
    pd.unlock()
    return mask


def ask(how, wanted, delay):
    """Pairs of a descriptor and its events.  wanted: as Levelpoll.wanted; delay: how long to wait for some, in ns.

    A descriptor that somebody has closed behind our back is in error: the operation's attempt says what it is."""
    if how == NETPOLL_SELECT:
        r = [fd for fd in wanted if wanted[fd] & EPOLLIN]
        w = [fd for fd in wanted if wanted[fd] & EPOLLOUT]
        try:
            r, w, _ = sleeps_in_select(r, w, delay / 1e9)
        except (OSError, ValueError):
            return [(fd, EPOLLERR) for fd in wanted if closed(fd)]
        return [(fd, EPOLLIN) for fd in r] + [(fd, EPOLLOUT) for fd in w]
    poller = select.poll()
    for fd in wanted:
        poller.register(fd, wanted[fd])
    try:
        found = sleeps_in_poll(poller, delay / 1e6)
    except OSError:
        return []
    return [(fd, EPOLLERR if mask & POLLNVAL else mask) for fd, mask in found]


def sleeps_in_poll(poller, ms):
    """The wait.  A function of its own, in which the uncompiled core holds no lock: handlers of signals may run
    (sigdefer.py)."""
    return poller.poll(ms)


def sleeps_in_select(r, w, seconds):
    """The wait, in the same way."""
    return select.select(r, w, [], seconds)


def closed(fd):
    """Whether the number is no descriptor's."""
    try:
        os.fstat(fd)
    except OSError:
        return True
    return False
