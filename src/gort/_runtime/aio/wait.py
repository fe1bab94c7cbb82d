"""The wait of a loop between two iterations, when it has nothing to run.

As a rule it waits in place (sched/inplace.py): its thread sleeps in the loop's epoll, and its goroutine stays what the
thread runs.  Where anything else has something to do, or waits for a descriptor, it waits as all goroutines do, on an
operation (LoopWait), whose descriptor is the loop's epoll.

Invariants
- `_inplace`: the loop waits in place, and no operation of its waits.  Who wakes it sets `_woken`, then reads `_inplace`;
  the loop sets `_inplace`, then reads `_woken`, and at the end clears `_inplace`, then reads `_woken`.  Fences stand
  between.  So a callback from another thread ends the wait, or is seen before it or after it.
- A wait in the loop's own epoll needs no look before it (`again`): the kernel tells there of what is ready still.
- What such a wait has found is noted in the streams and watches (`_seen`), or left for a look (`_due`).

What does not live here: an iteration, and how a loop is woken (core.py).
"""

from __future__ import annotations

from collections import deque

import cython
from cython.cimports.cpython.exc import PyErr_CheckSignals
from cython.cimports.gort._runtime.aio.core import EVENTS, LoopCore, again, found, lone, turn
from cython.cimports.gort._runtime.aio.due import drop_cancelled
from cython.cimports.gort._runtime.aio.handles import TimerHandle
from cython.cimports.gort._runtime.c.net import (
    net_epoll_add,
    net_epoll_spin,
    net_epoll_wait,
    net_event_fd,
    net_event_mask,
)
from cython.cimports.gort._runtime.c.rt import nanotime, rt_deque_learn, rt_deque_len, rt_fence, rt_import
from cython.cimports.gort._runtime.core.runtime2 import OP_DONE, G, M, _Grunning, _Gwaiting
from cython.cimports.gort._runtime.poll.fd import FD
from cython.cimports.gort._runtime.poll.netpoll import (
    OWN_BELL,
    OWN_FOUND,
    Netpoll,
    OwnWait,
    enter_own,
    leave_own,
    netpoll_of,
)
from cython.cimports.gort._runtime.poll.polldesc import CLOSED, DRAINED, EPOLLIN, FAILED
from cython.cimports.gort._runtime.sched.inplace import give_place, place_until, take_place

rt_import()
if cython.compiled:
    rt_deque_learn(deque)

_SLICE_NS = cython.declare(cython.longlong, 500_000_000)  # netpoll.SIGNAL_SLICE_NS
_DAY_NS = cython.declare(cython.longlong, 86_400_000_000_000)  # the longest wait for a timer: call_at(inf) is no time


class LoopWait(OwnWait):
    """The wait of a loop: c: the FD of its epoll, elem: the loop.  It ends when something has come there, its deadline
    has passed, or the loop was woken."""

    what = "the wait of an asyncio event loop"

    def attempt(self):
        """Tells the loop to look, unless its thread has looked.  DRAINED: what comes from now on is reported anew."""
        core: LoopCore = self.elem
        if not core._seen:
            core._due = True
        return DRAINED

    def own_poll(self, delay, spin):
        """Waits in the loop's epoll, and takes the events that come there, on the loop's thread (netpoll.alone)."""
        return take_events(self.elem, delay, spin)

    def finish(self):
        """Nothing, whether there is something to do or the deadline has come."""
        error: object = self.sel
        self.elem = self.sel = self.g = None
        if self.success == FAILED:
            raise error
        if self.success == CLOSED:
            raise RuntimeError("the event loop was closed while it waited")


def take_events(core, delay, spin):
    """Waits in the loop's epoll and for the poller's bell, as OwnWait.own_poll, and takes the events that come there."""
    i: cython.int
    n: cython.int
    fd: cython.int
    woken: cython.int = 0
    if cython.compiled:
        n = net_epoll_wait(core._ep, delay) if spin == 0 else net_epoll_spin(core._ep, spin)
        for i in range(n):
            fd = net_event_fd(i)
            if fd == core._bellfd:
                woken |= OWN_BELL
                continue
            woken |= OWN_FOUND
            if found(core, fd, net_event_mask(i), None) is not None:
                core._due = True  # the kernel tells of it again
        if n == EVENTS:
            core._due = True
        if woken & OWN_FOUND:
            core._seen = True
            core._looked = nanotime()
    return woken


def advance(core, m):
    """Iterations, and waits in place.  Ends with the operation with which the goroutine is to wait for something to do;
    with None when there is something already, or the goroutine is to make way (m.preempt); with False when the loop is
    to stop."""
    m_: M = m
    while not turn(core, m_):
        if not cython.compiled or not wait_in_place(core, m_):
            return next_wait(core)
    return False


def wait_in_place(core, m):
    """Waits in place for something to do.  False if there is nothing yet: the goroutine is to wait otherwise, or to make
    way."""
    np: Netpoll = core._np
    g: G
    slept: cython.bint = False
    when: cython.longlong = 0
    delay: cython.longlong
    woken: cython.int = 0
    if np is None or np.shared or np.closed or np.spinns != 0 or core._debug or m.preempt:
        return False
    if core._woken or core._due:
        return True
    if core._scheduled:
        when = deadline(core, core._clock)
    core._clock = 0
    if when == 0 and lone(core):
        return False
    PyErr_CheckSignals()  # see Netpoll.poll; what a handler raises here is raised in the loop, as between two callbacks
    if not give_place(m):
        return False
    g = m.curg
    core._inplace = True
    rt_fence()
    if not core._woken and not g.cancelflag and enter_own(np):
        delay = place_until(m.sched, when, _SLICE_NS)
        if delay != 0:
            g.waitop = core._place  # for dumps alone
            g.waitsince = g.sched.coarsetime
            g.status = _Gwaiting
            slept = True
            try:
                woken = take_events(core, delay, 0)
            except MemoryError:
                core._due = True
            g.status = _Grunning
            g.waitop = None
        leave_own(np, woken)
    core._inplace = False
    rt_fence()
    if not take_place(m, slept):
        core._due = m.preempt = True  # what has come is run when the goroutine has a P again
        return False
    if woken & OWN_FOUND:
        g.sched.lastpoll = core._clock = core._looked
        return True
    return core._woken or core._due or (when != 0 and when <= nanotime())


def deadline(core, now):
    """When the loop's first timer is due, ns on the runtime's clock; 0: there is none.  now: about the time; 0: not
    known."""
    handle: object
    at: cython.double
    t: TimerHandle
    if now == 0:
        now = nanotime()
    drop_cancelled(core)
    if not core._scheduled:
        return 0
    handle = core._scheduled[0]
    if type(handle) is TimerHandle:
        t = handle
        at = t.at * 1e9
    else:
        at = float(handle._when) * 1e9
    if at <= now:
        return 1
    if at < now + _DAY_NS:
        return cython.cast(cython.longlong, at) + 1 if cython.compiled else int(at) + 1
    return now + _DAY_NS


def next_wait(core):
    """The operation with which to wait for something to do; None when there is something already."""
    when: cython.longlong = 0
    fd: FD = core._fd
    op: LoopWait
    core._clock = 0  # who waits so may run much later
    if rt_deque_len(core._ready) != 0 or rt_deque_len(core._came) != 0 or core._stopping or core._woken:
        return None
    if core._due or fd is None or again(core):
        return None
    if core._scheduled:
        when = deadline(core, 0)
        if when != 0 and when <= nanotime():
            return None
    if when == 0 and lone(core):
        return core._bell.recv()
    if when != core._deadline:
        core._deadline = when
        fd.set_deadlines(True, False, when)
    op = LoopWait.__new__(LoopWait)
    op.c = fd
    op.elem = core
    if core._m is not None:
        if core._np is None:
            hear(core)
        core._m.ownwait = op
    return op


def hear(core):
    """Before the loop's first wait for a descriptor: has its thread woken when it sleeps in the loop's epoll.  Not where
    the runtime's poller lets none sleep there.  Raises OSError."""
    fd: cython.int
    place: LoopWait
    np: Netpoll = netpoll_of(core._m.sched)
    fd = np.bell()
    if fd >= 0:
        net_epoll_add(core._ep, fd, EPOLLIN)
        core._bellfd = fd
    place = LoopWait.__new__(LoopWait)
    place.c = core._fd
    place.state = OP_DONE  # nobody awaits it
    core._place = place
    core._np = np
