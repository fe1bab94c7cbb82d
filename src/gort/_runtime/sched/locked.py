"""Threads that are locked to a goroutine (lock_os_thread).  Follows startlockedm and stoplockedm in Go's runtime/proc.go.

Such an M runs its own goroutine and no other.  Go's hands its P on whenever that goroutine waits, and sleeps.  Ours
first looks for work as every M does, and while there is none it polls: an event loop whose descriptor or timer is due
then goes on at once, without a switch of threads.

Invariants
- It keeps a P only while it runs its goroutine, or while nothing else could run.  What it finds that is not its own
  goroutine it leaves in the queue, and hands the P on to another M.
- Whoever finds its goroutine runnable hands it over with a P, in m.lockednext and m.nextp, under sched.lock(), whatever
  the M does just then.  So it reads nextp under that lock before it begins to poll, when it has polled and before it
  sleeps; and it may have another P by then, which it first hands on.  Until it has read nextp, that P's mid is its
  number with a minus: m.p may be the same P, which it has lost before and must not hand on.  One that sleeps is woken
  by its note (m.idlelocked; nmidlelocked counts it), one that waits in the poller there (m.polling), and any other is
  not woken: a wake-up that nobody consumes would end its next sleep, as an M that is not locked any more perhaps.  Such a
  wake-up may come all the same (idle.py, rest.py), so an M that wakes without a P and is counted in nmidlelocked already
  is not counted again.

What does not live here: lock_os_thread itself (gort/runtime.py), the M's loop (proc.py).
"""

from __future__ import annotations

import cython
from cython.cimports.gort._runtime.c.rt import nanotime, rt_import
from cython.cimports.gort._runtime.core.handoff import (
    acquire_idle,
    bind,
    checkdead,
    found_dead,
    handoffp,
    pidleget,
    pidleput,
    resetspinning,
    unbind,
    wake_poller,
    wakep,
)
from cython.cimports.gort._runtime.core.rest import flush, rest
from cython.cimports.gort._runtime.core.runq import globrunqgetown, globrunqput, kick, runqgetown
from cython.cimports.gort._runtime.core.runtime2 import G, M, P, Sched, _Prunning
from cython.cimports.gort._runtime.sched.findrunnable import CHECK_GLOBAL, give_up, looks_itself, poll
from cython.cimports.gort._runtime.sched.timers import checktimers

rt_import()


def startlockedm(m, g):
    """Hands g, and m's P with it, to g.lockedm, the only M that may run g.  m then needs another P.  True when there is
    none: m is to sleep, and to wake g.lockedm as it does."""
    s: Sched = m.sched
    lm: M = g.lockedm
    p: P = m.p
    sleeps: cython.bint
    polling: cython.bint
    m.p = None
    s.lock()
    if not unbind(p, m.id):
        p = pidleget(s)
    if p is None:
        s.unlock()
        globrunqput(s, g)
        return False
    lm.nextp = p
    hand(p, lm)
    lm.lockednext = g
    sleeps = lm.idlelocked
    polling = lm.polling
    if sleeps:
        lm.idlelocked = False
        s.nmidlelocked -= 1  # not left to lm, which wakes later: until then the deadlock check would see it as idle
    s.unlock()
    if sleeps and m.lockedg is None and s.npidle == 0:
        m.towake = lm.park
        return True
    if sleeps:
        lm.park.wakeup()
    elif polling:
        wake_poller(s)
    return False


def hand(p, m):
    """Makes m the owner of p as soon as it takes m.nextp.  sched.lock is held."""
    p.lock()
    p.mid = -m.id
    p.procid = m.procid
    p.status = _Prunning
    p.unlock()


def schedule_locked(m):
    """schedule for an M that is locked to a goroutine: waits until that can go on.  Follows Go's stoplockedm.

    When that goroutine has ended without unlocking, the thread may be in a state that nobody else expects.  It then ends,
    as in Go: the result is None.  m0 cannot end before the program does, and sleeps."""
    s: Sched = m.sched
    p: P
    g: G
    dead: cython.bint
    if m.lockedg is not m.g0 and look(m):
        return m.lockedg
    p = m.p
    m.p = None
    if p is not None:
        m.defers = True
        handoffp(s, p, m.id)
        m.defers = False
    if m.lockedg is m.g0 and m is not s.m0:
        flush(m)
        return None
    while True:
        s.lock()
        p = m.nextp
        if p is not None:
            g = m.lockednext
            m.p = p
            m.nextp = None
            m.lockednext = None
            if p.mid == -m.id:  # else the world was stopped meanwhile
                bind(p, m)
            s.unlock()
            flush(m)
            return g
        if s.exiting:
            s.unlock()
            flush(m)
            return None
        dead = False
        if not m.idlelocked:  # else a wake-up has come that nobody meant
            m.idlelocked = True
            s.nmidlelocked += 1
            dead = checkdead(s)
        s.unlock()
        if dead:
            found_dead(s)
        rest(m)


def look(m):
    """Looks for m's goroutine as findrunnable does: in the P's queue, the global one, the poller.  True when its turn has
    come, and m has a P for it.  False when m must wait until it is handed over; the P that m may have then is for
    others."""
    s: Sched = m.sched
    p: P
    own: cython.bint = False
    while not s.exiting and m.nextp is None:
        p = m.p
        if p is None or p.mid != m.id:
            # Its goroutine has gone on without a P.  What it waits for now nobody may watch, if the Ps are idle.
            m.p = None
            if not acquire_idle(s, m):
                break
            continue
        if p.timer0when != 0:
            checktimers(s, p, 0)
        if p.preempt:
            kick(p, m.id)
        if s.runqsize == 0 or p.schedtick % CHECK_GLOBAL != 0:
            own = runqgetown(p, m.id, m.lockedg)
            if own:
                break
        if p.runnext is None and p.runqsize == 0:
            if s.runqsize == 0:
                if not looks_itself(m) and s.netpoll is not None and s.netpoll.waiters() and not s.npolling:
                    if s.netpoll.poll(0):
                        continue
                if s.gomaxprocs > 1 and run_due_timers(s, p):
                    continue
                if give_up(m, p):
                    if m.spinning:
                        leave_to_others(m)
                        return False
                elif not poll(m):
                    # Perhaps it has been handed over while m polled.  What else the poller has found then lies in the
                    # global queue, and those who put it there took m for the one to run it.
                    if s.runqsize != 0:
                        wakep(s)
                    return False
                continue
            own = globrunqgetown(s, m.lockedg)
            if own:
                p.schedtick += 1
        break
    if m.spinning:
        resetspinning(m)
    return own


def run_due_timers(s, p):
    """Runs the timers of the other Ps that are due, as findrunnable.steal does.  True when there were any.

    Without it `poll`, which waits for the first timer of all, would return at once again and again: their Ms may wait
    for the GIL, which m holds."""
    p2: P
    i: cython.Py_ssize_t
    ran: cython.bint = False
    now: cython.longlong = s.vnow or nanotime()
    for i in range(len(s.allp)):
        p2 = s.allp[i]
        if p2 is not p and 0 < p2.timer0when <= now:
            checktimers(s, p2, now)
            ran = True
    return ran


def leave_to_others(m):
    """Another P has work that its M has not come to, and m, which must not steal it, has an idle P for that: wakes an M
    that steals.  To look again would find the same for as long as that M waits for the GIL, which m holds."""
    s: Sched = m.sched
    p: P = m.p
    m.p = None
    m.spinning = False
    s.lock()
    s.nmspinning -= 1
    if unbind(p, m.id):
        pidleput(s, p)
    s.unlock()
    wakep(s)
