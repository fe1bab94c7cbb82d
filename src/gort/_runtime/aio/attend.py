"""What an event loop that never waits does for the runtime.  Follows what schedule does in Go's runtime/proc.go.

Between two goroutines the scheduler runs timers and polls.  A loop is one goroutine, and while it always has something to
run it does not come there.  What its tasks waited for then came only when sysmon took its P, every 10 ms, and the thread
that got the P fought with the loop's for the GIL.  So the loop does that work itself.

Invariants
- Each round moves the P's `looptick`, so that sysmon takes the P from a callback that computes for long, and not from
  callbacks that are many.
- Not so once goroutines have waited for a slice.  Then the loop yields; where it cannot (run_forever in a plain
  goroutine) sysmon takes the P.  The slice ends when another goroutine has run, however often the loop has left its
  rounds meanwhile to see whether it is to wait (`_tick`, `_since`).

What does not live here: an iteration (core.py).
"""

from __future__ import annotations

import cython
from cython.cimports.gort._runtime.c.rt import nanotime, rt_import
from cython.cimports.gort._runtime.core.runtime2 import P, Sched
from cython.cimports.gort._runtime.poll.netpoll import Netpoll
from cython.cimports.gort._runtime.sched.timers import checktimers

rt_import()

# How long goroutines may wait for its P.  Shorter than a goroutine's slice: who answers a message waits at each.
SLICE_NS = cython.declare(cython.longlong, 1_000_000)


def attend(core, m):
    """Between two iterations of the loop that m's goroutine is: runs the timers that are due, and polls.  Makes the loop
    yield if goroutines wait and it has run for a slice.  Returns the time, ns."""
    s: Sched = m.sched
    p: P = m.p
    np: Netpoll = s.netpoll
    now: cython.longlong = nanotime()
    if p is None or p.mid != m.id or s.vnow != 0:
        return now
    if p.schedtick + p.switchtick != core._tick:  # its goroutine has waited or yielded since
        core._tick = p.schedtick + p.switchtick
        core._since = now
    if 0 < p.timer0when <= now:
        checktimers(s, p, now)
    if np is not None:
        np.poll_late(now)
    if now - core._since < SLICE_NS or (p.runqsize == 0 and p.runnext is None and s.runqsize == 0):
        p.looptick += 1
    else:
        m.preempt = True
    return now
