"""Making, giving up and changing the number of Ps.  Follows procresize in Go's runtime/proc.go.

allp only grows; a P beyond gomaxprocs is _Pdead and keeps its place, so that a thread that still believes it owns it
finds out under the P's lock instead of in freed memory.
"""

from __future__ import annotations

import cython
from cython.cimports.gort._runtime.c.rt import rt_import
from cython.cimports.gort._runtime.core.handoff import bind, pidleput, startm
from cython.cimports.gort._runtime.core.runq import drain
from cython.cimports.gort._runtime.core.runtime2 import M, P, Sched, _Pdead, _Pgcstop, _Pidle
from cython.cimports.gort._runtime.sched.timers import movetimers

rt_import()

# By number of Ps. Kept for good: an M that looks for work while its P is taken may hold on to none of them, and read the
# one of before.
_stealorders: dict[int, list[int]] = {}


def gcd(a: int, b: int) -> int:
    """The greatest common divisor.  math's is not worth an import at each start."""
    while b:
        a, b = b, a % b
    return a


def coprimes(n: int) -> list[int]:
    """The steps with which stealing visits every one of n Ps, whichever it starts from (Go's randomOrder)."""
    return [i for i in range(1, n + 1) if gcd(i, n) == 1] or [1]


def new_p(i):
    """A fresh P."""
    p: P = P()
    p.id = i
    p.status = _Pgcstop
    p.schedtick = 1  # 0 would look at the global queue before anything has run
    p.timers = []
    return p


def procresize(s, n, m):
    """Makes it n Ps.  The world is stopped: no P has an owner.  m gets allp[0]; those without work go to the idle list.

    Returns the Ps that have work, m's own left out."""
    if n <= 0:
        raise ValueError(f"procresize: invalid arg {n}")
    if len(s.allp) < n:
        # A new list, and the old one is kept: a thread without a P, which does not stop for us, may be reading it.
        grown: list = [*s.allp, *[new_p(i) for i in range(len(s.allp), n)]]
        s.oldallps.append(s.allp)
        s.allp = grown
    for q in s.allp[n:]:
        destroy(s, q)
    s.gomaxprocs = n
    s.stealorder = _stealorders.setdefault(n, coprimes(n))
    p: P
    work: list = []
    backwards: list = s.allp[n - 1 :: -1]  # made before the section, which must not allocate
    s.lock()
    for p in backwards:
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


def destroy(s, p):
    """Takes everything from a P that goes away: its goroutines to the global queue, its timers to allp[0]."""
    if p.status != _Pdead:
        drain(s, p)
        movetimers(p, s.allp[0])


def stop_the_world(s, m):
    """Takes every P from whoever has it.  Goroutines that run go on without one until their next scheduling point; no
    other is started.  Follows stopTheWorld (proc.go), except that nothing has to be waited for: a P's queue is guarded
    by its lock, not by its owner."""
    p: P
    s.lock()
    s.gcwaiting = True
    for p in s.allp:
        p.lock()
        if p.status != _Pdead:
            p.mid = 0
            p.status = _Pgcstop
        p.unlock()
        p.link = None
    s.pidle = None
    s.npidle = 0
    m.p = None
    s.unlock()


def start_the_world(s, work):
    """Lets the Ps run again: those with work get an M each, then one more M looks around.  Follows startTheWorld."""
    p: P
    s.lock()
    s.gcwaiting = False
    for p in work:
        pidleput(s, p)
    s.unlock()
    for _ in range(len(work) + 1):
        startm(s)
