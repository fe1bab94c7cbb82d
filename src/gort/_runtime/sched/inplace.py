"""A goroutine that waits in place: on the stack of the thread that it is locked to, which is the poller meanwhile.  Go
has none of this.

An event loop (gort.aio) waits at nearly each message.  To suspend its goroutine, park it, look for work, poll, make it
runnable, find it and resume it takes 2,500 instructions.  Where nothing else has anything to do all of them find nothing,
and the thread that ran the loop sleeps, wakes, and runs it again.  So it does that at once: what it finds in one section
of sched.lock is what findrunnable.give_up and findrunnable.poll would find.

Invariants
- It begins only where all other Ps are idle, no goroutine is in a queue, nobody spins and nobody polls, and nobody wants
  to know of each switch (hooks, the chooser, the predictor, a clock that is not the system's).  In all other cases the
  goroutine parks.  So nothing is decided here but to sleep.
- The M has no P while it sleeps: who comes back from a call, or makes something runnable, finds an idle one.  Both parts
  of the section, the P on the idle list and npolling, are seen at once: who enqueues before it is seen by it, and who
  enqueues after it wakes the poller.
- npolling is 1 and polluntil 0 until the timers have been read, so who arms one after that wakes the poller.
- The goroutine is not parked, and no operation of its is in a queue.  So nobody makes it runnable: who completes
  something for it says so in its own way, and ends the wait (aio/wait.py); who cancels it sets its cancelflag, and then
  wakes the poller (handoff.wake_cancelled).
- After the wait it goes on only with a P.  With none, it yields.

What does not live here: where the thread sleeps, and what it finds there (aio/wait.py); how the poller is woken
(poll/netpoll.py).
"""

from __future__ import annotations

import cython
from cython.cimports.gort._runtime.c.rt import nanotime, rt_import
from cython.cimports.gort._runtime.core.handoff import bind, pidleget, pidleput, wakep
from cython.cimports.gort._runtime.core.runtime2 import MCALL_NONE, M, P, Sched, _Pidle
from cython.cimports.gort._runtime.sched.timers import timesleepuntil

rt_import()


def give_place(m):
    """Gives up m's P and makes m the poller, if there is nothing else to do: a wait in place begins.  False, and nothing
    has changed, if there may be."""
    s: Sched = m.sched
    p: P = m.p
    if p is None or m.preempt or m.mcall != MCALL_NONE or p.preempt:
        return False
    if s.hooks != 0 or s.predicting != 0 or s.vnow != 0 or s.bubble is not None or s.chooser is not None:
        return False
    s.lock()
    if (
        s.runqsize != 0
        or s.npolling != 0
        or s.nmspinning != 0
        or s.npidle != s.gomaxprocs - 1
        or s.exiting
        or s.gcwaiting
        or not unbind_empty(p, m.id)
    ):
        s.unlock()
        return False
    pidleput(s, p)
    s.npolling = 1
    s.polluntil = 0
    m.p = None
    s.unlock()
    return True


def unbind_empty(p, mid):
    """Takes p from the M `mid`, if no goroutine is in its queue.  False if one is, or another thread had already taken
    p.  sched.lock is held."""
    p.lock()
    if p.mid != mid or p.runqhead is not None or p.runnext is not None:
        p.unlock()
        return False
    p.mid = 0
    p.status = _Pidle
    p.unlock()
    return True


def place_until(s, when, most):
    """For how long it may sleep, ns, after give_place: until `when` (0: without limit) or the first timer, and at most
    `most`; 0: not at all."""
    now: cython.longlong
    until: cython.longlong = timesleepuntil(s)
    if until != 0:
        s.lock()
        s.polluntil = until  # sysmon compares (wake_stale_poller)
        s.unlock()
        if when == 0 or until < when:
            when = until
    if when == 0:
        return most
    now = nanotime()
    return 0 if when <= now else min(when - now, most)


def take_place(m, slept):
    """The wait is over: m polls no more, and takes a P.  False if there is none.  slept: whether its thread has slept."""
    s: Sched = m.sched
    p: P
    others: cython.bint
    s.lock()
    s.npolling = 0
    s.polluntil = 0
    p = None if s.exiting else pidleget(s)
    if p is not None:
        bind(p, m)
        m.p = p
    others = s.runqsize != 0 or s.npidle != s.gomaxprocs - 1
    s.unlock()
    if p is None:
        return False
    if slept:  # else it has had p all the time, as sysmon is to see
        p.schedtick += 1  # as in runq.runqgetown: sysmon sees by it that p, idle at each look, is in use
    # As resetspinning does: somebody may have woken the poller for what others are to run.  Nobody is woken to watch the
    # timers of idle Ps while this one runs: sysmon does that (sysmon.overdue).
    if others and s.npidle != 0 and s.nmspinning == 0:
        try:
            wakep(s)
        except MemoryError:  # the loop has its P, and is not to end for it; sysmon starts an M (stranded)
            s.lock()
            s.nmstartfailed += 1
            s.unlock()
            s.sysmonnote.wakeup()
    return True
