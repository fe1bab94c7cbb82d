"""Timer, Ticker, after and after_func: timers that users hold.  Follows Go's time/sleep.go, time/tick.go and the
channel timers of runtime/time.go (Go 1.23 and later).

A timer's channel behaves as if it were unbuffered and the timer fired exactly when somebody looks: after stop() or
reset() no stale value can be received.  It is in a heap only while a goroutine waits on its channel, so a timer that
is made and stopped without a wait never touches one, and a program in which everybody else is asleep is found
deadlocked even though a ticker that nobody reads goes on.  Everything here is guarded by the channel's lock, or by the
timer's own where it starts a function.
"""

from __future__ import annotations

import time

import cython
from cython.cimports.gort._runtime.c.rt import nanotime, rt_import
from cython.cimports.gort._runtime.core.handoff import ready
from cython.cimports.gort._runtime.core.runtime2 import G, M, Op, Sched, getm
from cython.cimports.gort._runtime.sched.newproc import current_context, newproc_in
from cython.cimports.gort._runtime.wait.chan import Chan, deliver, drain
from cython.cimports.gort._runtime.sched.timers import Timer as HeapTimer
from cython.cimports.gort._runtime.sched.timers import arm, deltimer, to_ns, wake_for, when_after

from gort._runtime.wait.chan import Chan as _Chan

rt_import()


class Timer(HeapTimer):
    """`t = Timer(1.5)`; `await t.c.recv()` gives the time (time.time()) once, 1.5 seconds from now.

    A duration of zero or less fires at once.  TypeError or ValueError for what is no duration."""

    if not cython.compiled:
        expires = 0
        period = 0
        blocked = 0
        c = None
        fn = None
        args = None
        context = None

        def lock_state(self):
            """The channel's lock, or, where there is no channel, its own."""
            mu = self.c if self.c is not None else self.mu
            mu.lock()

        def unlock_state(self):
            """Releases it."""
            mu = self.c if self.c is not None else self.mu
            mu.unlock()

    def __init__(self, seconds):
        self.expires = max(1, when_after(to_ns(seconds)))
        self.c = _Chan(1)
        self.c.timer = self

    def look(self):
        """Fires now if it is due: called before anybody looks into the channel."""
        now: cython.longlong
        if self.expires != 0:
            now = nanotime()
            if now >= self.expires:
                self.fire(self.gen, now)

    def fire(self, gen, now):
        """Sends the time, or starts the function, unless it was stopped or reset since."""
        w: Op = None
        value: object = time.time() if self.fn is None else None
        again: cython.bint = False
        when: cython.longlong
        s: Sched = self.sched
        self.lock_state()
        if self.gen != gen or self.expires == 0 or self.expires > now:
            self.unlock_state()
            return 0
        if self.period != 0:
            # A whole number of periods later: a late ticker drops ticks, it does not drift.
            self.expires += self.period * (1 + (now - self.expires) // self.period)
        else:
            self.expires = 0
        if self.fn is None:
            w = deliver(self.c, value)
            if self.pid >= 0:
                deltimer(self)  # a look found it due before its heap did, whose entry is of an instant that is past
            if self.expires != 0 and self.blocked > 0 and self.pid < 0 and s is not None:
                again = arm(s, self, self.expires)
        when = self.expires
        self.unlock_state()
        if w is not None:
            ready(w.g)
        if again:
            wake_for(s, when)
        if self.fn is not None:
            newproc_in(s, self.fn, self.args, self.context)
        return 0

    def block(self):
        """A goroutine has begun to wait on the channel: from now on the timer must be in a heap."""
        m: M = getm()
        first: cython.bint = False
        when: cython.longlong
        self.lock_state()
        self.blocked += 1
        when = self.expires
        if when != 0 and self.pid < 0 and m is not None:
            first = arm(m.sched, self, when)
        self.unlock_state()
        if first:
            wake_for(m.sched, when)

    def unblock(self):
        """A goroutine no longer waits on the channel."""
        self.lock_state()
        self.blocked -= 1
        if self.blocked == 0 and self.pid >= 0:
            deltimer(self)
        self.unlock_state()

    def set(self, when):
        """Disarms it and arms it for `when` (0: not at all).  True when it was active."""
        active: cython.bint
        first: cython.bint = False
        self.lock_state()
        active = self.expires != 0
        self.gen += 1
        if self.pid >= 0:
            deltimer(self)
        # A function timer that is in no heap any more, but active, is about to fire: `gen` has just kept it from that.
        if self.fn is None and drain(self.c):
            active = True
        self.expires = when
        if when != 0 and (self.fn is not None or self.blocked > 0) and self.sched is not None:
            first = arm(self.sched, self, when)
        self.unlock_state()
        if first:
            wake_for(self.sched, when)
        return active

    @property
    def due(self):
        """When it fires, on the runtime's clock in ns; 0 when it is not armed."""
        return self.expires

    def stop(self):
        """Stops it.  True when that kept it from firing; no value can be received from its channel afterwards."""
        return bool(self.set(0))

    def reset(self, seconds):
        """Arms it anew for `seconds` from now; True when it was active before.

        RuntimeError for one of after_func whose program has ended: there is nowhere to start its function."""
        if self.fn is not None and self.sched.ending:
            raise RuntimeError("Timer.reset: the program in which its function would be started has ended")
        return bool(self.set(max(1, when_after(to_ns(seconds)))))


class Ticker(Timer):
    """`t = Ticker(0.01)`; `await t.c.recv()` (or `async for now in t.c`) gives the time every 10 ms.

    A slow receiver misses ticks; it never gets them late in a row.  ValueError for an interval that is not positive."""

    def __init__(self, seconds):
        Timer.__init__(self, seconds)
        self.period = to_ns(seconds)
        if self.period <= 0:
            self.expires = 0
            raise ValueError(f"non-positive interval for Ticker: {seconds!r}")

    def reset(self, seconds):
        """Stops the ticker and starts it with a new interval.  ValueError when it is not positive."""
        period: cython.longlong = to_ns(seconds)
        if period <= 0:
            raise ValueError(f"non-positive interval for Ticker.reset: {seconds!r}")
        self.period = period
        return bool(self.set(when_after(period)))


def after(seconds):
    """A channel that gives the time once, `seconds` from now: `await after(1).recv()`.  Follows Go's time.After."""
    return Timer(seconds).c


def after_func(seconds, fn, *args):
    """Starts fn(*args) in a goroutine of its own, `seconds` from now; returns a Timer to stop or reset it.

    TypeError when fn cannot be called, RuntimeError outside a running runtime.  Follows Go's time.AfterFunc."""
    m: M = getm()
    if not callable(fn):
        raise TypeError(f"gort.after_func(seconds, fn, *args): fn must be callable, not {type(fn).__name__}")
    if m is None:
        raise RuntimeError("gort.after_func called outside a running gort runtime: start one with gort.run(main)")
    t: Timer = Timer.__new__(Timer)
    when: cython.longlong = max(1, when_after(to_ns(seconds)))
    t.expires = when
    t.fn = fn
    t.args = args
    t.sched = m.sched
    t.context = current_context()
    if not cython.compiled:
        t.mu = _Chan(0)
    if arm(m.sched, t, when):
        wake_for(m.sched, when)
    return t
