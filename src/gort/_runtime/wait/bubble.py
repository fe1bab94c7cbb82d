"""A bubble: a program whose time goes on only when nothing else can happen.  Follows Go's runtime/synctest.go.

In Go a bubble is some goroutines of a program; here it is a whole runtime, which gort.testing.run boots.  Sched.vnow is
its clock, which timers, sleeps and deadlines read in place of the machine's.  An M that finds every M idle asks `idle`
what comes next:

1. timers that are due already;
2. else the goroutine that waits in gort.testing.wait();
3. else the time of the next timer, unless main has ended: then time stands still, as in Go;
4. else the end: of the program where main has ended and no goroutine is left, of a deadlock otherwise.

A goroutine that waits for a descriptor, or is in a call of gort.blocking, keeps an M or the poller busy, so that no time
passes: Go says that it is not durably blocked.  Mutexes do count as blocked, unlike Go's, which may be shared with what
is outside.  A thread that has been started since the bubble began holds time still until it ends.

The channels of a bubble have a Guard in the place of a timer, which refuses their use from outside.  That costs programs
outside of bubbles nothing.  A wait inside on a channel from outside is refused too (chan.not_in_bubble).

Rejected: a flag in each channel (a test in every operation); time that goes on while goroutines wait for descriptors,
after some real time (a guess, by which tests fail now and then).

What does not live here: the clocks of Python's modules time and datetime (gort/testing/clock.py).
"""

from __future__ import annotations

import threading

import cython
from cython.cimports.gort._runtime.c.rt import rt_import
from cython.cimports.gort._runtime.core.handoff import checkdead, fatal, ready, startm
from cython.cimports.gort._runtime.core.runtime2 import PARK, M, Op, P, Sched, getm

from gort._runtime.core import newosproc
from gort._runtime.core.errors import Deadlock
from gort._runtime.core.op import WAIT_BUBBLE
from gort._runtime.core.runtime2 import current_m
from gort._runtime.sched.newproc import gcount

rt_import()

if not cython.compiled:  # the .pxd defines the same names for C.  Bubble.over:
    OVER = 1  # nothing in the bubble can run any more, and a thread is about to end the program
    ENDING = 2  # the async generators that were left are being closed: time goes on for them


class Guard:
    """In the place of a channel's timer: allows the channel's use inside its bubble only."""

    owner = None  # the channel is not receive-only
    due = 0

    def __init__(self, bubble) -> None:
        self.bubble = bubble

    def look(self) -> None:
        """Raises RuntimeError outside the bubble."""
        m = current_m()
        if m is None or m.sched is not self.bubble.sched:
            raise RuntimeError("a channel that was made in a bubble of gort.testing is used outside it")

    def block(self) -> None:
        """Nothing."""

    unblock = block


class Clock:
    """One of the functions of the module time, for goroutines of bubbles: C calls it (gort/testing/clock.py).  For all
    others it is `real`.  wall: the time of day; the other clocks are real too in a call of gort.blocking, for Python's
    timeouts would never end there.  whole: in ns, an int, not in seconds.

    In the compiled core no Python frame begins here, so no signal handler runs: its exception could not leave a call
    from C.  In the uncompiled core such an exception is lost."""

    if not cython.compiled:
        real = None
        wall = False
        whole = False

    def __init__(self, real, wall, whole):
        self.real = real
        self.wall = wall
        self.whole = whole

    def __call__(self, module, nothing):
        m: M = getm()
        ns: cython.longlong
        if m is None or m.curg is None or m.sched.bubble is None or (m.insyscall and not self.wall):
            return self.real(module, nothing)
        ns = m.sched.vnow
        if self.wall:
            ns += m.sched.bubble.epoch
        return ns if self.whole else ns / 1e9


class Bubble:
    """The bubble of the runtime s.  `ended()` ends the program when main has returned and no goroutine is left.

    `epoch`: the time of day, in ns since 1970, when the runtime's clock shows 0."""

    if not cython.compiled:
        sched = None
        guard = None
        ended = None
        outside = None  # the threads that there were before
        epoch = 0
        done = False  # main has returned: time stands still.  Written by an M that runs a goroutine
        waiter = None  # the QuietOp that waits; under sched.lock()
        waking = False  # a thread is about to make the waiter ready; under sched.lock()
        over = 0  # OVER, ENDING; under sched.lock()

    def __init__(self, s, ended, vnow, wall):
        self.sched = s
        self.guard = Guard(self)
        self.ended = ended
        self.outside = frozenset(threading._active)
        self.epoch = wall - vnow
        s.vnow = vnow
        s.bubble = self

    def idle(self):
        """Called when every M is idle: does what comes next.  Any thread may call it, holding no lock."""
        s: Sched = self.sched
        p: P
        op: Op = None
        until: cython.longlong = 0
        end: cython.bint = False
        i: cython.Py_ssize_t
        if busy(self):
            return  # sysmon asks again
        s.lock()
        if self.waking or not checkdead(s):
            s.unlock()
            return
        # No M runs, so timer0when is no hint here: whoever wrote it has since taken sched.lock to become idle.
        for i in range(len(s.allp)):
            p = s.allp[i]
            if p.timer0when != 0 and (until == 0 or p.timer0when < until):
                until = p.timer0when
        if until == 0 or until > s.vnow:
            if self.waiter is not None:
                op = self.waiter
                self.waiter = None
                self.waking = True  # sysmon's thread may come here before the waiter is ready
            elif until != 0 and (not self.done or self.over == ENDING):
                s.vnow = until
            else:
                end = self.over != OVER
                if self.over == 0:
                    self.over = OVER
                until = 0
        s.unlock()
        if op is not None:
            op.success = 1
            ready(op.g)
            s.lock()
            self.waking = False
            s.unlock()
        elif until != 0:
            startm(s)
        elif end:
            finish(self)

    def quiet(self):
        """Every goroutine waits: lets the one go on that is in gort.testing.wait().  False when there is none."""
        op: Op = self.waiter
        if op is None:
            return False
        self.waiter = None
        op.success = 1
        ready(op.g)
        return True

    def leave(self):
        """The program has ended: nothing is inside the bubble any more."""
        self.sched.bubble = None
        self.sched = None


def busy(bubble):
    """True while a thread is alive that has been started since the bubble began, and is no M of any runtime."""
    b: Bubble = bubble
    for ident, thread in list(threading._active.items()):
        if ident not in b.outside and type(thread) is not newosproc.Thread and ident != b.sched.sysmon.ident:
            return True
    return False


def finish(bubble):
    """Ends the program: nothing in the bubble can run any more."""
    b: Bubble = bubble
    s: Sched = b.sched
    if not b.done:
        fatal(s, Deadlock("deadlock: all goroutines in bubble are blocked"))
    elif gcount(s) != 0 or b.over == ENDING:
        fatal(s, Deadlock("deadlock: main bubble goroutine has exited but blocked goroutines remain"))
    else:
        b.ended(s)
        s.lock()
        b.over = ENDING
        s.unlock()


class QuietOp(Op):
    """`await gort.testing.wait()`."""

    what = "gort.testing.wait()"

    def begin(self, g):
        """Registers the operation with the bubble."""
        s: Sched = g.sched
        b: Bubble
        twice: cython.bint
        if s is None or s.bubble is None:
            raise RuntimeError("gort.testing.wait() outside a bubble: it is for what gort.testing.run runs")
        b = s.bubble
        self.g = g
        self.c = b
        s.lock()
        twice = b.waiter is not None
        if not twice:
            b.waiter = self
        s.unlock()
        if twice:
            raise RuntimeError("gort.testing.wait(): another goroutine waits there already")
        return PARK

    def finish(self):
        """No result."""
        self.c = None
        return None

    def abort(self):
        """Withdraws the operation; False when the bubble has woken it."""
        b: Bubble = self.c
        if b is None:  # it is over, and who cancels comes too late
            return False
        s: Sched = b.sched
        there: cython.bint
        s.lock()
        there = b.waiter is self
        if there:
            b.waiter = None
        s.unlock()
        return there

    def reason(self):
        """WAIT_BUBBLE."""
        return WAIT_BUBBLE


def wait():
    """gort.testing.wait."""
    return QuietOp.__new__(QuietOp) if cython.compiled else QuietOp()


def enter(s, ended, vnow, wall):
    """Makes the runtime s, which has not begun to run, a bubble.  vnow: what its clock shows first, ns; wall: the time
    of day then, in ns since 1970."""
    Bubble(s, ended, vnow, wall)
