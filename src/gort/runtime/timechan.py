"""Timer, Ticker, after and after_func: timers that users hold.  Follows Go's time/sleep.go, time/tick.go and the
channel timers of runtime/time.go (Go 1.23 and later).

A timer's channel behaves as if it were unbuffered and the timer fired exactly when somebody looks: after stop() or
reset() no stale value can be received.  It is in a heap only while a goroutine waits on its channel, so a timer that
is made and stopped without a wait never touches one, and a program in which everybody else is asleep is found
deadlocked even though a ticker that nobody reads goes on.  Everything here is guarded by the channel's lock; a
function timer has a channel for its lock alone.
"""

from __future__ import annotations

import contextvars
import time

import cython

if cython.compiled:
    rt_import()  # noqa: F821
else:
    from gort.runtime._pure import getm, nanotime
    from gort.runtime.chan import Chan, deliver, drain
    from gort.runtime.handoff import ready
    from gort.runtime.runtime2 import G, M, Op, Sched
    from gort.runtime.timers import Timer as HeapTimer
    from gort.runtime.timers import arm, deltimer, wake_for

from gort.runtime import proc
from gort.runtime.chan import Chan as _Chan
from gort.runtime.timers import to_ns, when_after


def fired(timer, gen, now):
    """What the heap calls when an entry is due."""
    cython.cast(Timer, timer).fire(gen, now)


class Timer:
    """`t = Timer(1.5)`; `await t.c.recv()` gives the time (time.time()) once, 1.5 seconds from now.

    A duration of zero or less fires at once.  TypeError or ValueError for what is no duration."""

    if not cython.compiled:
        when = 0
        period = 0
        blocked = 0
        fn = None
        args = None
        guard = None
        sched = None
        context = None

    def __init__(self, seconds, fn=None, args=(), sched=None):
        d: cython.longlong = to_ns(seconds)
        guard: Chan = _Chan(1)
        self.guard = guard
        self.t = HeapTimer()
        self.t.f = fired
        self.t.arg = self
        self.fn = fn
        self.args = args
        self.sched = sched
        self.when = max(1, when_after(d))
        if fn is None:
            self.c = guard
            guard.timer = self
        else:
            self.c = None
            self.context = contextvars.copy_context()
            if arm(sched, self.t, self.when):
                wake_for(sched, self.when)

    def look(self):
        """Fires now if it is due: called before anybody looks into the channel."""
        if self.when != 0:
            now: cython.longlong = nanotime()
            if now >= self.when:
                self.fire(self.t.gen, now)

    def fire(self, gen, now):
        """Sends the time, or starts the function, unless it was stopped or reset since."""
        c: Chan = self.guard
        w: Op = None
        value: object = time.time() if self.fn is None else None
        again: cython.bint = False
        sched: Sched = None
        c.lock()
        if self.t.gen != gen or self.when == 0 or self.when > now:
            c.unlock()
            return
        if self.period != 0:
            # A whole number of periods later: a late ticker drops ticks, it does not drift.
            self.when += self.period * (1 + (now - self.when) // self.period)
        else:
            self.when = 0
        if self.fn is None:
            w = deliver(c, value)
            if self.when != 0 and self.blocked > 0 and self.t.pid < 0 and self.t.sched is not None:
                sched = self.t.sched
                again = arm(sched, self.t, self.when)
        c.unlock()
        if w is not None:
            ready(w.g)
        if again:
            wake_for(sched, self.when)
        if self.fn is not None:
            self.context.run(proc.newproc, self.sched, self.fn, self.args, None, None, False)

    def block(self):
        """A goroutine has begun to wait on the channel: from now on the timer must be in a heap."""
        c: Chan = self.guard
        m: M = getm()
        first: cython.bint = False
        c.lock()
        self.blocked += 1
        if self.when != 0 and self.t.pid < 0 and m is not None:
            first = arm(m.sched, self.t, self.when)
        c.unlock()
        if first:
            wake_for(m.sched, self.when)

    def unblock(self):
        """A goroutine no longer waits on the channel."""
        c: Chan = self.guard
        c.lock()
        self.blocked -= 1
        if self.blocked == 0 and self.t.pid >= 0:
            deltimer(self.t)
        c.unlock()

    def set(self, when):
        """Disarms it and arms it for `when` (0: not at all).  True when it was active."""
        c: Chan = self.guard
        s: Sched
        active: cython.bint
        first: cython.bint = False
        c.lock()
        active = self.when != 0
        self.t.gen += 1
        if self.t.pid >= 0:
            deltimer(self.t)
        elif self.fn is not None:
            active = False  # it has left the heap: its function runs or has run
        if self.fn is None and drain(c):
            active = True
        self.when = when
        s = self.sched if self.fn is not None else self.t.sched
        if when != 0 and (self.fn is not None or self.blocked > 0) and s is not None:
            first = arm(s, self.t, when)
        c.unlock()
        if first:
            wake_for(s, when)
        return active

    @property
    def due(self):
        """When it fires, on the runtime's clock in ns; 0 when it is not armed."""
        return self.when

    def stop(self):
        """Stops it.  True when that kept it from firing; no value can be received from its channel afterwards."""
        return bool(self.set(0))

    def reset(self, seconds):
        """Arms it anew for `seconds` from now; True when it was active before."""
        return bool(self.set(max(1, when_after(to_ns(seconds)))))


class Ticker(Timer):
    """`t = Ticker(0.01)`; `await t.c.recv()` (or `async for now in t.c`) gives the time every 10 ms.

    A slow receiver misses ticks; it never gets them late in a row.  ValueError for an interval that is not positive."""

    def __init__(self, seconds):
        Timer.__init__(self, seconds)
        self.period = to_ns(seconds)
        if self.period <= 0:
            self.when = 0
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
    return Timer(seconds, fn, args, m.sched)
