# cython: cdivision=True
"""findrunnable: an M's search for work.  Follows findRunnable and stealWork in Go's runtime/proc.go.

An M looks in this order: due timers; every 61st time the global queue; the P's own queue; the global queue; the poller;
other Ps.  Before it sleeps it gives up its P, stops counting as spinning, and checks every queue once more (handoff.py
says why that is enough).

What does not live here: what an M does with the goroutine it has found (proc.py), the queues (runq.py).
"""

from __future__ import annotations

import cython
from cython.cimports.gort._runtime.c.rt import nanotime, rt_import, rt_usleep
from cython.cimports.gort._runtime.core.handoff import MASK64, acquire_idle, bind, pidleget, pidleput, unbind
from cython.cimports.gort._runtime.core.idle import overtake, stopm
from cython.cimports.gort._runtime.core.runq import globrunqget, kick, runqget, runqsteal
from cython.cimports.gort._runtime.core.runtime2 import QUEUED, SLICE_NS, G, M, P, Sched
from cython.cimports.gort._runtime.core.seed import slept
from cython.cimports.gort._runtime.core.tracing import HOOK_SEED, HOOK_TRACE, gave_up
from cython.cimports.gort._runtime.sched.timers import checktimers, timesleepuntil

rt_import()

if not cython.compiled:  # the .pxd defines the same names for C
    CHECK_GLOBAL = 61  # the global queue, every 61st slice; a prime, so no regular pattern of schedules avoids it
    CHECK_NETPOLL = 30  # the poller, as often, in the middle between two of those
    LOOK_AT_SLICE = 1023  # a mask: the clock, at every 1024th switch


def cheaprand(m):
    """A fast pseudo-random number of low quality, for scheduling decisions (xorshift64).  Each M has its own seed."""
    x: cython.ulonglong = m.rand
    x ^= (x << 13) & MASK64
    x ^= x >> 7
    x ^= (x << 17) & MASK64
    m.rand = x
    return x


def slice_is_over(p):
    """True when goroutines that ready each other through runnext have used p for a whole slice.

    sysmon sets p.preempt for the same reason.  But when several threads compete for the GIL, or for too few CPUs,
    sysmon runs so late that a slice can last hundreds of ms, while everything else in p's queue waits."""
    now: cython.longlong = nanotime()
    if p.smtick != p.schedtick:
        p.smtick = p.schedtick
        p.smwhen = now
        return False
    return now - p.smwhen >= SLICE_NS


def findrunnable(m):
    """Returns a goroutine to run, and sleeps until there is one.  None when the runtime is exiting or m is to end."""
    s: Sched = m.sched
    p: P
    g: G
    now: cython.longlong
    fair: cython.bint
    while True:
        if s.exiting:
            return None
        p = m.p
        if p is None or p.mid != m.id:
            # sysmon has taken the P while user code blocked or computed, or m gave it up for a blocking call.
            m.p = None
            if m.lockedg is m.g0:
                return None  # idle.endidle woke it from the stopm of findrunnable_slow, to end
            if m.spinning:
                # Or the world was stopped.  A sleeping M must not count as spinning: new work would then wake nobody.
                m.spinning = False
                s.lock()
                s.nmspinning -= 1
                s.unlock()
            if not acquire_idle(s, m) and not overtake(s, m) and not stopm(m):
                return None
            continue
        now = 0
        if p.timer0when != 0:
            now = checktimers(s, p, 0)
        if p.preempt or (p.switchtick & LOOK_AT_SLICE == 0 and (s.hooks & HOOK_SEED or slice_is_over(p))):
            kick(p, m.id)
            fair = True
        else:
            fair = p.schedtick % CHECK_GLOBAL == 0
        if fair and s.runqsize > 0:
            g = globrunqget(s, p, m.id, 1)
            if g is not None:
                p.schedtick += 1
                return g
        if s.netpoll is not None and s.runqsize == 0 and p.schedtick % CHECK_GLOBAL == CHECK_NETPOLL:
            # A P that never runs out of work must poll too, before sysmon has to.  But not while goroutines wait in the
            # global queue: what the poller finds goes to this P's queue, which would then never run empty for them.
            p.schedtick += 1
            if not s.npolling and s.netpoll.waiters():
                s.netpoll.poll(0)
        g = runqget(p, m.id)
        if g is not None:
            return g
        if p.mid != m.id:
            continue
        if s.runqsize > 0:
            g = globrunqget(s, p, m.id, 0)
            if g is not None:
                p.schedtick += 1
                return g
        g = findrunnable_slow(m, now)
        if g is not None:
            return g
        if s.exiting:
            return None


def findrunnable_slow(m, now):
    """findrunnable's second half, when this P's queue and the global one are empty: polls, steals from other Ps, and
    sleeps in the end.  None means that the caller must look again."""
    s: Sched = m.sched
    p: P = m.p
    g: G
    if s.netpoll is not None and s.netpoll.waiters() and not s.npolling:
        if s.netpoll.poll(0):
            return None
    # At most half as many Ms spin as Ps are busy.  More would only use up CPU time.
    if m.spinning or 2 * s.nmspinning < s.gomaxprocs - s.npidle:
        if not m.spinning:
            m.spinning = True
            s.lock()
            s.nmspinning += 1
            s.unlock()
        if s.gomaxprocs > 1:
            g = steal(m, p, now)
            if g is not None:
                p.schedtick += 1
                return g
            if m.p is not p or p.mid != m.id:
                return None
    if not give_up(m, p) and not poll(m):
        stopm(m)
    return None


def give_up(m, p):
    """Puts m's P on the idle list, because there is nothing to do.  True when there is something after all, and m must
    look again, with a P or without.  Afterwards m does not spin, unless it has found something."""
    s: Sched = m.sched
    p2: P
    i: cython.Py_ssize_t
    found: cython.bint
    s.lock()
    if s.runqsize != 0 or s.exiting:
        s.unlock()
        return True
    if unbind(p, m.id):
        pidleput(s, p)
    m.p = None
    if m.spinning:
        m.spinning = False
        s.nmspinning -= 1
    s.unlock()
    if s.hooks & HOOK_TRACE:
        gave_up(m, p)
    # The check after m has stopped spinning; handoff.py says why it is needed.
    found = False
    for i in range(len(s.allp)):
        p2 = s.allp[i]
        p2.lock()
        found = p2.runqhead is not None or p2.runnext is not None
        p2.unlock()
        if found:
            break
    if found and acquire_idle(s, m):
        m.spinning = True
        s.lock()
        s.nmspinning += 1
        s.unlock()
        return True
    return False


def looks_itself(m):
    """Whether m is locked to an event loop that waits for descriptors.  So somebody waits for one; and m need not look
    without a wait before it waits: it finds at once what has come."""
    return m.ownwait is not None and m.ownwait.index == QUEUED


def poll(m):
    """Makes m the poller, of which there is one at a time: sleeps until the next timer is due or a descriptor is ready.
    True when m has a P afterwards; False when it has none, or when there is nothing to wait for or another poller.

    An M that is locked to a goroutine may be handed that, with a P, at any time (locked.startlockedm): then it does not
    begin to wait, and takes no other P."""
    s: Sched = m.sched
    until: cython.longlong = timesleepuntil(s)
    waiters: cython.bint = looks_itself(m) or (s.netpoll is not None and s.netpoll.waiters())
    again: cython.longlong
    now: cython.longlong
    if until == 0 and not waiters:
        return False
    s.lock()
    if s.npolling != 0 or s.exiting or m.nextp is not None:
        s.unlock()
        return False
    m.polling = True
    s.pollnote.clear()  # only now: before, a wake-up there may belong to a poller that has not consumed it yet
    s.npolling = 1
    s.polluntil = until
    s.unlock()
    # Look again, because only since the lines above does a thread that arms an earlier timer know that it must wake us.
    # The new time may be earlier than polluntil but not later: a thread that arms a timer after polluntil does not wake
    # us and relies on it.
    again = timesleepuntil(s)
    if again != 0 and (until == 0 or again < until):
        until = again
    now = s.vnow or nanotime()
    began: cython.longlong = nanotime() if s.hooks & HOOK_SEED else 0
    if s.runqsize == 0 and not s.exiting:
        if s.netpoll is not None:
            s.netpoll.poll(-1 if until == 0 else max(0, until - now))
        elif until == 0 or until > now:
            s.pollnote.sleep((until - now) / 1e9 if until != 0 else -1.0)
        if s.hooks & HOOK_SEED:
            slept(s, until, nanotime() - began)
    s.lock()
    s.npolling = 0
    s.polluntil = 0
    s.lastpoll = nanotime()
    m.polling = False
    p: P = pidleget(s) if m.nextp is None else None
    if p is not None:
        bind(p, m)
        m.p = p
        m.spinning = True
        s.nmspinning += 1
    s.unlock()
    return p is not None


def steal(m, p, now):
    """Tries to steal from each other P, four times, in a random order; the last time also runs its due timers and takes
    its runnext.  None when nothing was found."""
    s: Sched = m.sched
    p2: P
    g: G
    n: cython.int = s.gomaxprocs
    i: cython.int
    k: cython.int
    pos: cython.int
    inc: cython.int
    coprimes: list = s.stealorder
    if now == 0:
        now = s.vnow or nanotime()
    for i in range(4):
        if s.exiting or len(s.allp) < n or s.gomaxprocs != n:
            return None
        pos = cheaprand(m) % n
        inc = coprimes[cheaprand(m) % len(coprimes)]
        for k in range(n):
            pos = (pos + inc) % n
            p2 = s.allp[pos]
            if p2 is p:
                continue
            if i == 3 and p2.timer0when != 0 and p2.timer0when <= now:
                checktimers(s, p2, now)
                # The timers may have made goroutines ready, which are now in p's queue.
                g = runqget(p, m.id)
                if g is not None:
                    return g
            if p2.runqsize > 0:
                g = runqsteal(s, p, m.id, p2, False)
                if g is not None:
                    return g
            elif i == 3 and p2.runnext is not None:
                # Its own P will most likely run it in a moment, so wait for about as long as a handoff takes.
                rt_usleep(3)
                g = runqsteal(s, p, m.id, p2, True)
                if g is not None:
                    return g
    return None
