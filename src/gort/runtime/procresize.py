"""Making, giving up and changing the number of Ps.  Follows procresize in Go's runtime/proc.go.

allp only grows; a P beyond gomaxprocs is _Pdead and keeps its place, so that a thread that still believes it owns it
finds out under the P's lock instead of in freed memory.
"""

from __future__ import annotations

from math import gcd
from typing import Any

from gort.runtime import runtime2
from gort.runtime.handoff import bind, pidleput
from gort.runtime.runq import drain
from gort.runtime.timers import movetimers

_Pidle = 0
_Prunning = 1
_Pgcstop = 3
_Pdead = 4


def coprimes(n: int) -> list[int]:
    """The steps with which stealing visits every one of n Ps, whichever it starts from (Go's randomOrder)."""
    return [i for i in range(1, n + 1) if gcd(i, n) == 1] or [1]


def new_p(i: int) -> Any:
    """A fresh P."""
    p = runtime2.P()
    p.id = i
    p.status = _Pgcstop
    if p.timers is None:
        p.timers = []
    return p


def procresize(s: Any, n: int, m: Any) -> list[Any]:
    """Makes it n Ps.  The world is stopped: no P has an owner.  m gets allp[0]; those without work go to the idle list.

    Returns the Ps that have work, m's own left out."""
    if n <= 0:
        raise ValueError(f"procresize: invalid arg {n}")
    while len(s.allp) < n:
        s.allp.append(new_p(len(s.allp)))
    for p in s.allp[n:]:
        destroy(s, p)
    s.gomaxprocs = n
    s.stealorder = coprimes(n)
    work = []
    s.lock()
    for p in reversed(s.allp[:n]):
        p.status = _Pidle
        if p is s.allp[0] and m is not None:
            continue
        if p.runqsize or p.runnext is not None:
            work.append(p)
        else:
            pidleput(s, p)
    s.unlock()
    if m is not None:
        p = s.allp[0]
        s.lock()
        bind(p, m)
        s.unlock()
        m.p = p
    return work


def destroy(s: Any, p: Any) -> None:
    """Takes everything from a P that goes away: its goroutines to the global queue, its timers to allp[0]."""
    if p.status != _Pdead:
        drain(s, p)
        movetimers(p, s.allp[0])
