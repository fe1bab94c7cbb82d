"""Timer, Ticker, after and after_func: timers that users hold.  Follows Go's time/sleep.go, time/tick.go and the
channel timers of runtime/time.go (Go 1.23 and later).

A timer's channel behaves as if it were unbuffered and the timer fired exactly when a goroutine looks at the channel, so
no receive gets a stale value after stop() or reset().  A timer is in a heap only while a goroutine waits on its
channel.  So a timer that is made and stopped without a wait never touches a heap, and a ticker that nobody reads does
not hide a deadlock.  The channel's lock guards everything here; a timer that starts a function has no channel and its
own lock.

What does not live here: the heaps (sched/timers.py).
"""

from __future__ import annotations

import sys
import time

import cython
from cython.cimports.cpython.ref import Py_INCREF, PyObject
from cython.cimports.gort._runtime.c.rt import nanotime, rt_builtin, rt_caller, rt_import, rt_tuple, rt_vectorcall
from cython.cimports.gort._runtime.core.handoff import ready
from cython.cimports.gort._runtime.core.runtime2 import G, M, Op, Sched, getm
from cython.cimports.gort._runtime.sched.newproc import current_context, newproc_in
from cython.cimports.gort._runtime.wait.chan import Chan, deliver, drain
from cython.cimports.gort._runtime.sched.timers import Timer as HeapTimer
from cython.cimports.gort._runtime.sched.timers import arm, deltimer, to_ns, wake_for, when_after

from gort._runtime.wait.chan import Chan as _Chan

rt_import()


class Timer(HeapTimer):
    """Fires once: after `t = Timer(1.5)`, `await t.c.recv()` returns 1.5 seconds later.  It gives the time (as
    time.time() does) at which the timer was due, also when the receiver comes late.  Follows Go's time.Timer
    (time/sleep.go).

    The channel `c` is receive-only.

    Zero or less fires at once.  Raises TypeError if the duration is not a number, ValueError if it is NaN."""

    owner = "the channel of a timer: it is receive-only; t.stop() and t.reset() control the timer"

    if not cython.compiled:
        expires = 0
        period = 0
        blocked = 0
        c = None
        context = None
        gocode = None
        golasti = -1
        parentgoid = 0
        home = None  # the bubble that it was made in

        def lock_state(self):
            """Takes the channel's lock, or the timer's own if it has no channel."""
            mu = self.c if self.c is not None else self.mu
            mu.lock()

        def unlock_state(self):
            """Releases that lock."""
            mu = self.c if self.c is not None else self.mu
            mu.unlock()

    def __init__(self, seconds):
        m: M = getm()
        if m is not None and m.sched.vnow != 0:
            self.home = m.sched.bubble
        self.expires = max(1, when_after(to_ns(seconds)))
        self.c = _Chan(1)
        self.c.timer = self

    def check(self):
        """Raises RuntimeError if the timer was made in a bubble of gort.testing and is used outside it, or the other way
        round: the two have different clocks."""
        m: M = getm()
        if self.home is not (m.sched.bubble if m is not None else None):
            raise RuntimeError(
                "a timer that was made outside a bubble of gort.testing is used inside: make it in the bubble"
                if self.home is None
                else "a timer that was made in a bubble of gort.testing is used outside it"
            )

    def look(self):
        """Fires the timer if it is due.  Called before each look at the channel."""
        now: cython.longlong = 0
        m: M
        if self.expires != 0:
            m = getm()
            if m is not None:
                now = m.sched.vnow
            if now != 0 or self.home is not None:
                self.check()
            if now == 0:
                now = nanotime()
            if now >= self.expires:
                self.fire(self.gen, now)

    def fire(self, gen, now):
        """Sends the time at which the timer was due, or starts the function, unless the timer has been stopped or reset
        since it was armed as `gen`."""
        w: Op = None
        value: object = None
        wall: cython.double = 0
        clock: cython.longlong = 0
        again: cython.bint = False
        when: cython.longlong
        s: Sched = self.sched
        if self.f is None:
            if self.home is None:
                wall = time.time()  # here, because a section calls nothing of Python's
                clock = when_after(0)
            else:
                wall = (self.home.epoch + now) / 1e9
                clock = now
        self.lock_state()
        if self.gen != gen or self.expires == 0 or self.expires > now:
            self.unlock_state()
            return 0
        if self.f is None:
            # The instant at which it was due, as in Go, and not that of the look: a program that was late can tell.
            value = wall - (clock - self.expires) / 1e9
        if self.period != 0:
            # The next tick is a whole number of periods later: a late ticker drops ticks and does not drift.
            self.expires += self.period * (1 + (now - self.expires) // self.period)
        else:
            self.expires = 0
        if self.f is None:
            w = deliver(self.c, value)
            if self.pid >= 0:
                deltimer(self)  # look has fired it before its P did; the entry in the heap is out of date
            # Not for a receiver that has its value and has not run since: a thousand such tickers would fire again and
            # again before the next goroutine's turn.  Its next receive looks whether a tick is due (look).
            if self.expires != 0 and self.c.recvfirst is not None and self.pid < 0 and s is not None:
                again = arm(s, self, self.expires)
        when = self.expires
        self.unlock_state()
        if w is not None:
            ready(w.g)
        if again:
            wake_for(s, when)
        if self.f is not None:
            newproc_in(s, self.f, self.arg, self.context, self.gocode, self.golasti, self.parentgoid)
        return 0

    def block(self):
        """Called when a goroutine begins to wait on the channel: arms the timer, so that something wakes it."""
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
        """Called when a goroutine no longer waits on the channel: takes the timer out of its heap after the last
        one."""
        self.lock_state()
        self.blocked -= 1
        if self.blocked == 0 and self.pid >= 0:
            deltimer(self)
        self.unlock_state()

    def set(self, when):
        """Disarms the timer and arms it for `when` (ns; 0: leaves it disarmed).  True when it was active."""
        active: cython.bint
        first: cython.bint = False
        if self.home is not None or when != 0:
            self.check()
        self.lock_state()
        active = self.expires != 0
        self.gen += 1
        if self.pid >= 0:
            deltimer(self)
        # A function timer that is active but in no heap is just about to fire.  The new `gen` has prevented that.
        if self.f is None and drain(self.c):
            active = True
        self.expires = when
        if when != 0 and (self.f is not None or self.blocked > 0) and self.sched is not None:
            first = arm(self.sched, self, when)
        self.unlock_state()
        if first:
            wake_for(self.sched, when)
        return active

    @property
    def due(self):
        """When the timer fires, on the runtime's clock in ns; 0 when it is not armed."""
        return self.expires

    def stop(self):
        """Stops the timer.  True when that prevented it from firing.  Afterwards its channel gives no value."""
        return bool(self.set(0))

    def reset(self, seconds):
        """Arms the timer again, for `seconds` from now.  True when it was active before.

        Raises TypeError or ValueError as Timer does.  Raises RuntimeError for a timer of after_func whose program has
        ended, because there is no runtime left to start its function in."""
        if self.f is not None and self.sched.ending:
            raise RuntimeError("Timer.reset: the program in which its function would be started has ended")
        return bool(self.set(max(1, when_after(to_ns(seconds)))))


class Ticker(Timer):
    """A timer that fires again and again: after `t = Ticker(0.01)`, `await t.c.recv()` (or `async for now in t.c`)
    gives the time every 10 ms: the time at which the tick was due.  Follows Go's time.Ticker (time/tick.go).

    A slow receiver misses ticks; they do not queue up for it.  Raises TypeError or ValueError as Timer does, and
    ValueError if the interval is not positive."""

    def __init__(self, seconds):
        Timer.__init__(self, seconds)
        self.period = to_ns(seconds)
        if self.period <= 0:
            self.expires = 0
            raise ValueError(f"non-positive interval for Ticker: {seconds!r}")

    def reset(self, seconds):
        """Stops the ticker and starts it with a new interval, in seconds.  True when it was active before.

        Raises TypeError or ValueError as Ticker does."""
        period: cython.longlong = to_ns(seconds)
        if period <= 0:
            raise ValueError(f"non-positive interval for Ticker.reset: {seconds!r}")
        self.period = period
        return bool(self.set(when_after(period)))


def after(seconds):
    """Returns a channel that gives the time once, `seconds` from now: `await after(1).recv()`.  Follows Go's time.After
    (time/sleep.go).  Raises TypeError or ValueError as Timer does."""
    return Timer(seconds).c


def after_func(seconds, fn, *args):
    """Starts fn(*args) in its own goroutine, `seconds` from now.  Returns a Timer to stop or reset it.  Follows Go's
    time.AfterFunc (time/sleep.go).

    Raises TypeError if fn cannot be called, RuntimeError outside a running runtime, and as Timer does."""
    m: M = getm()
    lasti: cython.int = -1
    if not callable(fn):
        raise TypeError(f"gort.after_func(seconds, fn, *args): fn must be callable, not {type(fn).__name__}")
    if m is None:
        raise RuntimeError("gort.after_func called outside a running gort runtime: start one with gort.run(main)")
    if cython.compiled:
        code: object = rt_caller(cython.address(lasti))
    else:
        frame = sys._getframe(1)
        code = frame.f_code
        lasti = frame.f_lasti
    return start_later(m, seconds, fn, args, code, lasti)


def start_later(m, seconds, fn, args, code, lasti):
    """Arms a timer that starts fn(*args) as a goroutine; `code` and `lasti` are the place of the call."""
    t: Timer = Timer.__new__(Timer)
    when: cython.longlong = max(1, when_after(to_ns(seconds)))
    t.expires = when
    t.f = fn
    t.arg = args
    t.sched = m.sched
    if m.sched.vnow != 0:
        t.home = m.sched.bubble
    t.context = current_context()
    if m.curg is not None:
        t.parentgoid = m.curg.goid
    t.gocode = code
    t.golasti = lasti
    if not cython.compiled:
        t.mu = _Chan(0)
    if arm(m.sched, t, when):
        wake_for(m.sched, when)
    return t


if cython.compiled:
    _after_func = after_func

    def after_func_fast(self, args, nargs, kwnames):
        """after_func in the interpreter's calling convention: makes no tuple of all the arguments.  Passes everything
        that is not `after_func(seconds, fn, ...)`, and every mistake, to after_func."""
        m: M = getm()
        lasti: cython.int = -1
        if kwnames == cython.NULL and nargs >= 2 and m is not None and callable(cython.cast(object, args[1])):
            code: object = rt_caller(cython.address(lasti))
            rest: tuple = () if nargs == 2 else rt_tuple(args + 2, nargs - 2)
            t = start_later(m, cython.cast(object, args[0]), cython.cast(object, args[1]), rest, code, lasti)
            Py_INCREF(t)
            return cython.cast(cython.pointer(PyObject), t)
        return rt_vectorcall(_after_func, args, nargs, kwnames)

    after_func = rt_builtin(after_func, after_func_fast)
