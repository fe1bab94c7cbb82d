"""The heap of a loop's timers: what call_later and call_at have enqueued.  Follows asyncio's base_events.py.

Invariants
- The loop's thread alone uses the heap; `_scheduled` of a handle is true while it is there.
- A timer that is cancelled stays in the heap until it comes to its head, or until such are many.

What does not live here: the handles (handles.py); how long a loop waits for its first timer (core.py).
"""

from __future__ import annotations

from asyncio import base_events
from collections import deque
import time
from heapq import heapify, heappop, heappush

import cython
from cython.cimports.gort._runtime.aio.handles import TimerHandle, make_timer
from cython.cimports.gort._runtime.c.rt import nanotime, rt_deque_append, rt_deque_learn, rt_import

rt_import()
if cython.compiled:
    rt_deque_learn(deque)

_time = cython.declare(dict, time.__dict__)
_monotonic = time.monotonic
_MANY = base_events._MIN_SCHEDULED_TIMER_HANDLES
# While no more of them are cancelled these are not many.
_FEW = cython.declare(cython.Py_ssize_t, int(_MANY * base_events._MIN_CANCELLED_TIMER_HANDLES_FRACTION))
# While the first timer is due later than this, it is not due by a clock that is somewhat off, or coarse, either.
NEAR_S = cython.declare(cython.double, 0.1)
_CANCELLED = base_events._MIN_CANCELLED_TIMER_HANDLES_FRACTION


def schedule(core, when, callback, args, context):
    """Puts a timer into the loop's heap, and returns its handle."""
    h: TimerHandle = make_timer(core, when, callback, args, context)
    heappush(core._scheduled, h)
    h._scheduled = True
    return h


def drop_cancelled(core):
    """Takes cancelled timers out of the heap: all of them where they are many, else those at its head."""
    timers: list = core._scheduled
    if first_stays(core, timers):
        return 0
    n: cython.Py_ssize_t = len(timers)
    if n > _MANY and core._timer_cancelled_count > _CANCELLED * n:
        left = []
        for handle in timers:
            if handle._cancelled:
                handle._scheduled = False
            else:
                left.append(handle)
        heapify(left)
        core._scheduled = left
        core._timer_cancelled_count = 0
        return 0
    while timers and timers[0]._cancelled:
        core._timer_cancelled_count -= 1
        heappop(timers)._scheduled = False


def first_stays(core, timers):
    """Whether drop_cancelled has nothing to do, of what costs little to find out."""
    t: TimerHandle
    if core._timer_cancelled_count > _FEW or len(timers) == 0 or type(timers[0]) is not TimerHandle:
        return False
    t = timers[0]
    return not t._cancelled


def by_the_clock(core):
    """Whether the loop's time is the runtime's, and not one that the program has put in its place."""
    return core._own_clock and _time["monotonic"] is _monotonic and "time" not in core.__dict__


def run_timers(core, now):
    """Enqueues the callbacks whose time has come.  now: about the time on the runtime's clock, ns; 0: not known."""
    timers: list = core._scheduled
    t: TimerHandle
    if first_stays(core, timers) and by_the_clock(core):
        t = timers[0]
        if t.at > (now or nanotime()) / 1e9 + NEAR_S:
            return 0
    drop_cancelled(core)
    timers = core._scheduled
    if not timers:
        return 0
    end: cython.double = core.time() + core._clock_resolution
    while timers:
        handle = timers[0]
        if handle._when >= end:
            break
        heappop(timers)
        handle._scheduled = False
        rt_deque_append(core._ready, handle)
