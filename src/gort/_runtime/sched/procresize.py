"""Makes and retires Ps when GOMAXPROCS changes; stops and starts the world.  Follows procresize, stopTheWorld and
startTheWorld in Go's runtime/proc.go.  What does not live here: the number at the start (core/debugvars.py).

allp only grows.  A P beyond gomaxprocs is _Pdead and keeps its place, so that a thread which still believes it owns
that P reads the truth under the P's lock, and not freed memory.
"""

from __future__ import annotations

import cython
from cython.cimports.gort._runtime.c.rt import rt_import
from cython.cimports.gort._runtime.core.handoff import bind, pidleput, startm
from cython.cimports.gort._runtime.core.runq import drain
from cython.cimports.gort._runtime.core.runtime2 import M, P, Sched, _Pdead, _Pgcstop, _Pidle, getm
from cython.cimports.gort._runtime.core.tracing import HOOK_TRACE, resized, world
from cython.cimports.gort._runtime.sched.timers import movetimers

rt_import()

# The steps for each number of Ps.  Never freed: an M whose P has been taken may still read an earlier list, to which it
# has no reference of its own.
_stealorders: dict[int, list[int]] = {}


def gcd(a: int, b: int) -> int:
    """The greatest common divisor.  Saves the import of math at each start."""
    while b:
        a, b = b, a % b
    return a


def coprimes(n: int) -> list[int]:
    """The numbers up to n that are coprime to n.  Stealing takes one of them as its step and so visits each of n Ps
    once, wherever it starts (Go's randomOrder)."""
    return [i for i in range(1, n + 1) if gcd(i, n) == 1] or [1]


def new_p(i):
    """Makes the P number i, in _Pgcstop: the world is stopped."""
    p: P = P()
    p.id = i
    p.status = _Pgcstop
    p.schedtick = 1  # with 0 it would look at the global queue before it has run anything
    p.timers = []
    p.whens = bytearray() if cython.compiled else []
    return p


def procresize(s, n, m):
    """Changes the number of Ps to n.  The world is stopped, so no P has an owner.  m gets allp[0]; Ps without work go
    to the idle list.

    Returns the Ps that have work, except m's own.  Raises ValueError if n is not positive."""
    if n <= 0:
        raise ValueError(f"procresize: invalid arg {n}")
    if len(s.allp) < n:
        # A new list replaces allp.  The old one is kept, because a thread without a P does not stop and may be reading
        # it.
        grown: list = [*s.allp, *[new_p(i) for i in range(len(s.allp), n)]]
        s.oldallps.append(s.allp)
        s.allp = grown
    for q in s.allp[n:]:
        destroy(s, q)
    work: list = []
    s.gomaxprocs = n
    s.stealorder = _stealorders.setdefault(n, coprimes(n))
    p: P
    i: cython.Py_ssize_t
    s.lock()
    for i in range(n - 1, -1, -1):
        p = s.allp[i]
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
    """Retires p: moves its goroutines to the global queue and its timers to allp[0]."""
    if p.status != _Pdead:
        drain(s, p)
        movetimers(p, s.allp[0])


def stop_the_world(s, m):
    """Takes every P from its owner.  A running goroutine goes on without a P until its next scheduling point; no other
    starts.  Follows Go's stopTheWorld (proc.go), except that it need not wait for running goroutines, because here a
    P's queue is guarded by its lock and not by its owner."""
    p: P
    i: cython.Py_ssize_t
    s.lock()
    s.gcwaiting = True
    for i in range(len(s.allp)):  # by index: uncompiled, the iterator of a list is an object that the collector tracks
        p = s.allp[i]
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
    if s.hooks & HOOK_TRACE:
        world(m, True)


def start_the_world(s, work):
    """Lets the Ps run again: starts an M for each P in `work` and one more to look around.  Follows Go's
    startTheWorld."""
    p: P
    i: cython.Py_ssize_t
    s.lock()
    s.gcwaiting = False
    for i in range(len(work)):
        p = work[i]
        pidleput(s, p)
    s.unlock()
    if s.hooks & HOOK_TRACE:
        resized(getm(), s.gomaxprocs)
        world(getm(), False)
    for _ in range(len(work) + 1):
        startm(s)
