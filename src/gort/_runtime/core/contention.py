# distutils: define_macros=GORT_WAITS_OWNER=1
"""Counts waits for the block and the mutex profile.  Follows Go's runtime/mprof.go.

The block profile says where goroutines wait, and for how long: a wait is charged to the stack of the goroutine that has
waited, when another makes it runnable.  The mutex profile says who lets others wait: when a lock is released, what they
have waited for it since it was last released is charged to the stack that releases it.

This module is loaded when a program first asks for one of the two.  Off, each place that is counted tests one flag
(sched.hooks; `waited` of a lock's queue).

Invariants
- A goroutine is charged between its leaving a wait queue and its entering a run queue: nobody else can run it then.
- Counted is what has begun and ended while the profile was on.
- What is counted stays until the process ends, as in Go.

What does not live here: the tables (c/gort_waits.h), what a lock's waiters have waited (wait/sema.py), the profiles
(watch/profiles.py).
"""

from __future__ import annotations

import sys
import threading

import cython
from cython.cimports.cpython.ref import PyObject
from cython.cimports.gort._runtime.c.rt import nanotime, rt_import
from cython.cimports.gort._runtime.c.waits import rt_waits_add, rt_waits_forked, rt_waits_sums
from cython.cimports.gort._runtime.core.runtime2 import G

from gort._runtime.core.op import (
    WAIT_CHAN_RECEIVE,
    WAIT_CHAN_SEND,
    WAIT_COND,
    WAIT_MUTEX,
    WAIT_RWMUTEX_R,
    WAIT_RWMUTEX_W,
    WAIT_SELECT,
    WAIT_SEMACQUIRE,
    WAIT_WAITGROUP,
)
from gort._runtime.core.traceback import suspended

rt_import()

if not cython.compiled:  # the .pxd defines the same names for C.  The profiles:
    BLOCK = 0
    MUTEX = 1


# Waits for other goroutines, as in Go, and neither sleep nor descriptors.
COUNTED = (
    1 << WAIT_CHAN_RECEIVE | 1 << WAIT_CHAN_SEND | 1 << WAIT_SELECT | 1 << WAIT_SEMACQUIRE | 1 << WAIT_MUTEX
    | 1 << WAIT_RWMUTEX_R | 1 << WAIT_RWMUTEX_W | 1 << WAIT_WAITGROUP | 1 << WAIT_COND
)  # fmt: skip
_COUNTED = cython.declare(cython.int, COUNTED)
_rate = cython.declare(cython.longlong, 0)  # one wait is counted in so many ns of waiting; 0: none is
_fraction = cython.declare(cython.longlong, 0)  # one in so many contentions is counted; 0: none is
_began = cython.declare(cython.longlong, 0)  # when the block profile was switched on, ns


def set_rate(rate):
    """Switches the block profile on (rate in ns) or off (0)."""
    global _rate, _began
    if _rate == 0:
        _began = nanotime()
    _rate = rate


def set_fraction(fraction):
    """Switches the mutex profile on or off (0).  Returns what was set before."""
    global _fraction
    before = _fraction
    _fraction = fraction
    return before


def fraction():
    """What set_fraction has set."""
    return _fraction


def drawn(n):
    """A number from 0 to n - 1.  Made of the time (splitmix64): M.rand must not change, for it decides the order of the
    goroutines that GODEBUG=seed draws."""
    x: cython.ulonglong = nanotime()
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return (x ^ (x >> 31)) % n


def over(g, since):
    """g has waited since `since` and has just been made runnable.  Follows blockevent."""
    block(g.coro, g.blockreason, since)


def block(coro, reason, since):
    """Charges a wait since `since`, in ns, to the stack of the coroutine, or of this thread if that is None, if it is one
    of COUNTED.

    As in Go a wait that is shorter than the rate is counted with the chance of one to the other, and then for as much
    more."""
    rate: cython.longlong = _rate
    if _COUNTED >> cython.cast(cython.int, reason) & 1 == 0:
        return None
    ns: cython.longlong = max(1, nanotime() - since)
    if rate <= 0 or since < _began:
        return None
    if ns >= rate:
        add(BLOCK, coro, reason, 1, ns)
    elif cython.cast(cython.longlong, drawn(rate)) <= ns:
        add(BLOCK, coro, reason, rate / ns, rate)
    return None


def charge(ns, count):
    """Charges this thread's stack, which has released a lock: others have waited ns for it, and `count` of them have it
    now.  Follows mutexevent."""
    every: cython.longlong = _fraction
    if every > 0 and drawn(every) == 0:
        add(MUTEX, None, 0, cython.cast(cython.double, count) * every, cython.cast(cython.double, ns) * every)
    return None


if cython.compiled:

    def add(which, coro, reason, count, ns):
        """Adds to the sums of a stack: the coroutine's, or this thread's."""
        rt_waits_add(
            which, cython.cast(cython.pointer(PyObject), coro) if coro is not None else cython.NULL, reason, count, ns
        )
        return 0

else:

    class State:
        """The uncompiled core's tables: (stack, reason) -> [count, ns].  `mu` guards them; it is reentrant, because a
        finalizer may release a lock or wake a goroutine."""

        mu = threading.RLock()
        tables: tuple = ({}, {})

    def add(which, coro, reason, count, ns):
        """Adds to the sums of a stack: the coroutine's, or this thread's."""
        places = []
        try:
            frames = [] if coro is None else suspended(coro)
            frame = sys._getframe(1) if coro is None else None
            while frame is not None:
                frames.append(frame)
                frame = frame.f_back
            for frame in frames:
                places += (frame.f_code, frame.f_lasti)
        except Exception:  # an audit hook of the program's
            return 0
        with State.mu:
            sums = State.tables[which].setdefault((tuple(places), reason), [0.0, 0.0])
            sums[0] += count
            sums[1] += ns
        return 0

    def rt_waits_sums(which):
        """As the compiled core's (gort_waits.h)."""
        with State.mu:
            return [(*key, *counted) for key, counted in State.tables[which].items()]

    def rt_waits_forked():
        """As the compiled core's."""
        State.mu = threading.RLock()
        State.tables = ({}, {})


def sums(which):
    """What has been counted: (stack, reason, count, ns) for each stack, which is code, offset, code, offset, …; the
    innermost frame first."""
    return rt_waits_sums(which)


def forked():
    """In a forked child: what has been counted is its parent's."""
    rt_waits_forked()
