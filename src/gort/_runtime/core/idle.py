"""Idle Ms: how one goes to sleep, ends, or is overtaken by an M that comes back from a call that blocks.  Follows stopm
and mput in Go's runtime/proc.go, which knows neither of the other two.

Invariants
- An M is on the idle list (sched.midle) or it has been given a P (m.nextp) or it runs; sched.lock guards the list, and
  nextp until the M has taken it.
- An M that was overtaken is on the list again, though its thread is about to wake.  So one that wakes without a P may
  be on the list already (m.idle), and a wake-up may come when nobody means it any more: it goes back to sleep.

What does not live here: who wakes an M, and for which P (handoff.py); Ms that are locked to a goroutine
(sched/locked.py).
"""

from __future__ import annotations

import cython
from cython.cimports.gort._runtime.c.rt import FREE_THREADED, rt_import
from cython.cimports.gort._runtime.core.handoff import bind, checkdead, found_dead, unbind
from cython.cimports.gort._runtime.core.rest import flush, rest
from cython.cimports.gort._runtime.core.runtime2 import M, P, Sched

rt_import()


def stopm(m):
    """Puts m on the idle list and sleeps until another thread gives it a P.  False when the runtime is exiting."""
    s: Sched = m.sched
    dead: cython.bint
    s.lock()
    while True:
        if s.exiting:
            s.unlock()
            flush(m)
            return False
        dead = False
        if not m.idle:
            midleput(s, m)
            dead = checkdead(s)
        s.unlock()
        if dead:
            found_dead(s)
        rest(m)
        s.lock()
        if m.nextp is not None:
            m.p = m.nextp
            m.nextp = None
            if s.starting is m:
                s.starting = None
            s.unlock()
            return True
        if s.exiting or m.lockedg is m.g0:
            s.unlock()
            return False


def midleput(s, m):
    """Puts m on the idle list.  sched.lock is held."""
    m.schedlink = s.midle
    s.midle = m
    m.idle = True
    s.nmidle += 1


def overtake(s, m):
    """Gives m, which has come back from a call that blocks, the P of an M that was woken for it and has not begun.  False
    when there is none, and always without the GIL.

    That M waits for the GIL, which m has.  m has put its own goroutine into the queue, and would now go to sleep and let
    that M wait behind all threads that come back meanwhile: with 200 goroutines in calls of 3 ms those kept a due timer
    waiting for 10 ms.  So m does what that M was woken for: it spins, or runs what is queued, in the order of the
    queue."""
    m2: M
    p: P
    if FREE_THREADED or s.starting is None:
        return False
    s.lock()
    m2 = s.starting
    p = m2.nextp if m2 is not None else None
    s.starting = None
    if p is None or s.exiting or s.gcwaiting or m2.lockedg is not None or not unbind(p, m2.id):
        s.unlock()
        return False
    m2.nextp = None
    m.spinning = m2.spinning
    m2.spinning = False
    midleput(s, m2)
    m.p = p
    bind(p, m)
    s.unlock()
    return True


def endidle(s, most):
    """Ends at most `most` idle threads, but never m0, and returns how many.  Go has none of this.

    Such an M is no longer on the idle list, so nobody gives it a P.  It is in allm until it has left (proc.mexit), and
    counts as busy for the deadlock check."""
    m: M
    before: M
    n: cython.int = 0
    while n < most:
        s.lock()
        before = None
        m = s.midle
        if m is s.m0 and m is not None:
            before = m
            m = m.schedlink
        if m is None or s.exiting:
            s.unlock()
            break
        if before is None:
            s.midle = m.schedlink
        else:
            before.schedlink = m.schedlink
        m.schedlink = None
        m.idle = False
        s.nmidle -= 1
        m.lockedg = m.g0  # it runs no goroutine any more
        s.unlock()
        m.park.wakeup()
        n += 1
    return n
