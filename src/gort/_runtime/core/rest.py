"""How an M goes to sleep, and wakes another one on the way.  Go has none of this.

An M that hands its P on and then sleeps holds the GIL until it sleeps.  If it woke the other thread before that, that one
would wait for the GIL at once: two wake-ups and two sleeps for one hand-over.  So it only notes whom it is to wake
(`towake`), and wakes it in the call in which it sleeps, after it has let the GIL go.

Where a goroutine and one that is locked to another thread take turns, as a goroutine that calls into an event loop and
the loop do, each turn would put a processor to sleep and wake one, which takes longer than most turns.  So an M that woke
another as it slept looks for a while whether it is woken in turn, if it was as soon the last time (quick).  It looks for
no longer than a sleep and a wake-up take, so at the worst it uses twice the time of what would have been the better.

Invariants: only m itself reads and writes m.defers, m.towake and m.quick.  Between the two lines that set `defers` m does
nothing but hand its P on, and from then on nothing but go to sleep: whoever leaves that path without a sleep calls
`flush`.  Only handoffp defers: what a finalizer wakes, which may run while handoffp allocates, is woken at once.

The wake-up may come when the other M has been overtaken (idle.py), or runs already: it is then one that nobody means.

What does not live here: what a note is (runtime2.py), who is woken with which P (handoff.py, locked.py).
"""

from __future__ import annotations

import cython
from cython.cimports.gort._runtime.c.rt import nanotime, rt_import, rt_note_pass
from cython.cimports.gort._runtime.core.runtime2 import M, Note, getm

rt_import()

# The first sleep looks for no signals (Note.sleep says why one must), so it is a short one.
FIRST_NS = cython.declare(cython.longlong, 1_000_000)
SPIN_NS = cython.declare(cython.longlong, 50_000)


def wake(m):
    """Wakes the M that has been given a P; later, where the calling M is about to sleep (defers)."""
    me: M = getm()
    if me is not None and me.defers:
        me.defers = False
        me.towake = m.park
    else:
        m.park.wakeup()


def rest(m):
    """Sleeps on m.park, and wakes first whom m was to wake.  m is the calling thread's M."""
    other: Note = m.towake
    m.towake = None
    if other is not None:
        if cython.compiled:
            began: cython.longlong = nanotime()
            spin: cython.longlong = SPIN_NS if m.quick and m.sched.ncpu > 1 else 0
            woken: cython.bint = rt_note_pass(cython.address(other.woken), cython.address(m.park.woken), FIRST_NS, spin)
            m.quick = woken and nanotime() - began < 2 * SPIN_NS
            if woken:
                return 0
        else:
            other.wakeup()
    m.park.sleep()


def flush(m):
    """Wakes now whom m was to wake: it does not sleep after all."""
    other: Note = m.towake
    m.defers = False
    m.towake = None
    if other is not None:
        other.wakeup()
