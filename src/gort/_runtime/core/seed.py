# cython: cdivision=True
"""GODEBUG=seed with one P: the whole order of a program is drawn, and a seed repeats it.  Go's race detector draws the
order of goroutines too (randomizeScheduler in runtime/proc.go), but without a seed.

What is drawn: whether a goroutine that becomes runnable runs next or goes to the end of the queue; whether one yields
after an operation that need not wait; how far those that have yielded move.  sysmon preempts nobody.

Time is sched.vnow.  It begins at the machine's, goes on by SEED_STEP_NS with each operation, and, when nobody can run, to
the moment of the next timer, for which the thread really sleeps.  So timers fire at the same place in each run, however
fast the machine is.

What does not live here: where the order is asked for (handoff.enqueue, op.goes, proc.tell), the sleep
(findrunnable.poll).
"""

from __future__ import annotations

import cython
from cython.cimports.gort._runtime.c.rt import nanotime, rt_import
from cython.cimports.gort._runtime.core.runtime2 import G, M, Sched
from cython.cimports.gort._runtime.core.tracing import HOOK_RUNS, HOOK_SEED, HOOK_WAITS, readied, waited

rt_import()

if not cython.compiled:  # the .pxd defines the same names for C
    MASK64 = 0xFFFFFFFFFFFFFFFF
    MIX0 = 0x9E3779B97F4A7C15
    MIX1 = 0xBF58476D1CE4E5B9
    MIX2 = 0x94D049BB133111EB
    PREEMPT_SEED = 5  # m.preempt: an operation that does not suspend asks `turn`
    SEED_STEP_NS = 1000
    SEED_TURNS = 4  # a goroutine yields after one in so many operations that need not wait


def mrandseed(seed, id):
    """An M's first random number: mixes the runtime's seed and the M's id as splitmix64 does.  Never 0: xorshift stays 0.

    In the compiled core all of it is C arithmetic: Python runs signal handlers while it multiplies large ints, and a
    handler that raises would raise here, in the scheduler."""
    x: cython.ulonglong = (seed + id * MIX0) & MASK64
    x = ((x ^ (x >> 30)) * MIX1) & MASK64
    x = ((x ^ (x >> 27)) * MIX2) & MASK64
    return (x ^ (x >> 31)) | 1


def reseed(s, seed):
    """Begins the random choices of a runtime that has been booted, and whose only M is m0, with this seed."""
    s.seed = seed
    s.m0.rand = mrandseed(seed, s.m0.id)


def begin(s):
    """The order of s is drawn from now on."""
    s.predicting = PREEMPT_SEED
    s.vnow = nanotime()


def drawn(m, n):
    """A number from 0 to n - 1, from m's random numbers (xorshift64, as in findrunnable.cheaprand)."""
    x: cython.ulonglong = m.rand
    x ^= (x << 13) & MASK64
    x ^= x >> 7
    x ^= (x << 17) & MASK64
    m.rand = x
    return (x >> 20) % n


def queues(s, m, g, next):
    """g is about to queue on the thread of m (None: a thread outside), and somebody wants to know (sched.hooks).  True
    when it runs next: `next` says it, unless the order is drawn."""
    if s.hooks & HOOK_RUNS:
        readied(g)
    if s.hooks & HOOK_WAITS:
        waited(g)
    return next and not (s.hooks & HOOK_SEED and m is not None and m.sched is s and drawn(m, 2) == 0)


def turn(m):
    """The goroutine on m has done an operation that need not wait.  True when it must yield."""
    s: Sched = m.sched
    if s.bubble is None:
        s.vnow += SEED_STEP_NS
    return drawn(m, SEED_TURNS) == 0


def stopped(m):
    """The goroutine on m has suspended: the first goroutines of the global queue go to its end."""
    s: Sched = m.sched
    n: cython.int = drawn(m, 4)
    g: G
    if s.bubble is None:
        s.vnow += SEED_STEP_NS
    s.lock()
    while n > 0 and s.runqsize > 1:
        n -= 1
        g = s.runqhead
        s.runqhead = g.schedlink
        g.schedlink = None
        s.runqtail.schedlink = g
        s.runqtail = g
    s.unlock()


def slept(s, until, ns):
    """The thread has slept for ns, because nobody could run.  If it has slept until the timer that was due at `until`,
    the runtime's time is that, to the nanosecond; if something has woken it before, what has passed.  Not in a bubble:
    its time goes on by itself (wait/bubble.py)."""
    if s.bubble is not None:
        return
    if until != 0 and s.vnow + ns >= until:
        s.vnow = max(s.vnow, until)
    else:
        s.vnow += ns
