"""Threads that are locked to a goroutine (lock_os_thread).  Follows startlockedm and stoplockedm in Go's runtime/proc.go.

While its goroutine waits, such an M runs nothing else: it hands its P on and sleeps.  Whoever finds its goroutine
runnable hands that over to it, and a P with it.

What does not live here: lock_os_thread itself (gort/runtime.py), the M's loop (proc.py).
"""

from __future__ import annotations

import cython
from cython.cimports.gort._runtime.c.rt import rt_import
from cython.cimports.gort._runtime.core.handoff import bind, checkdead, found_dead, handoffp, pidleget, unbind
from cython.cimports.gort._runtime.core.runq import globrunqput
from cython.cimports.gort._runtime.core.runtime2 import G, M, P, Sched

rt_import()


def startlockedm(m, g):
    """Hands g, and m's P with it, to g.lockedm, the only M that may run g.  m then needs another P."""
    s: Sched = m.sched
    lm: M = g.lockedm
    p: P = m.p
    m.p = None
    s.lock()
    if not unbind(p, m.id):
        p = pidleget(s)
    if p is None:
        s.unlock()
        globrunqput(s, g)
        return 0
    lm.nextp = p
    bind(p, lm)
    lm.lockednext = g
    s.nmidlelocked -= 1  # not left to lm, which wakes later: until then the deadlock check would see it as idle
    s.unlock()
    lm.park.wakeup()


def schedule_locked(m):
    """schedule for an M that is locked to a goroutine: hands its P off and sleeps until another M hands it that
    goroutine with a P.  Follows Go's stoplockedm.

    When that goroutine has ended without unlocking, the thread may be in a state that nobody else expects.  It then ends,
    as in Go: the result is None.  m0 cannot end before the program does, and sleeps."""
    s: Sched = m.sched
    p: P = m.p
    g: G
    dead: cython.bint
    m.p = None
    if p is not None:
        handoffp(s, p, m.id)
    if m.lockedg is m.g0 and m is not s.m0:
        return None
    while True:
        s.lock()
        if s.exiting:
            s.unlock()
            return None
        s.nmidlelocked += 1
        dead = checkdead(s)
        s.unlock()
        if dead:
            found_dead(s)
        m.park.sleep()
        if m.nextp is not None:
            m.p = m.nextp
            m.nextp = None
            g = m.lockednext
            m.lockednext = None
            return g
        if s.exiting:
            return None
