"""What an event loop that never waits does for the runtime.  Follows what schedule does in Go's runtime/proc.go.

Between two goroutines the scheduler runs timers and polls.  A loop is one goroutine, and while it always has something to
run it does not come there.  What its tasks waited for then came only when sysmon took its P, every 10 ms, and the thread
that got the P fought with the loop's for the GIL.  So the loop does that work itself.

Invariant: each round moves the P's `looptick`, so that sysmon takes the P from a callback that computes for long, and
not from callbacks that are many.  Where the loop cannot yield (run_forever in a plain goroutine) it comes here no more
once its slice is over, and sysmon does take the P.

What does not live here: an iteration (core.py).
"""

from __future__ import annotations

import cython
from cython.cimports.gort._runtime.c.rt import nanotime, rt_import
from cython.cimports.gort._runtime.core.runtime2 import P, Sched
from cython.cimports.gort._runtime.sched.timers import checktimers

rt_import()

POLL_NS = cython.declare(cython.longlong, 200_000)  # it polls as often, if nobody else has
SLICE_NS = cython.declare(cython.longlong, 10_000_000)  # how long goroutines may wait for its P


def attend(m, since):
    """Between two iterations of the loop that m's goroutine is: runs the timers that are due, and polls.  Makes the loop
    yield if goroutines wait and it has run for a slice.  since: when that began, as the last call returned; or 0."""
    s: Sched = m.sched
    p: P = m.p
    now: cython.longlong = nanotime()
    if since == 0:
        since = now
    if p is None or p.mid != m.id or s.vnow != 0:
        return since
    p.looptick += 1
    if 0 < p.timer0when <= now:
        checktimers(s, p, now)
    if now - s.lastpoll >= POLL_NS and s.netpoll is not None and not s.npolling and s.netpoll.waiters():
        s.netpoll.poll(0)
    if now - since >= SLICE_NS and (p.runqsize != 0 or p.runnext is not None or s.runqsize != 0):
        m.preempt = True
    return since
