"""Making goroutines runnable, and giving Ps to Ms.  Follows ready, wakep, startm, stopm, handoffp, acquirep, releasep,
entersyscall, exitsyscall and checkdead in Go's runtime/proc.go.

Parking and unparking threads
  Work must not lie idle beside an idle P, and threads must not be woken for nothing.  As in Go, a thread that looks for
  work without having any is *spinning*, and whoever makes work wakes one more thread only when a P is idle and nobody
  spins already; a spinning thread that finds work wakes the next.  A thread that gives up first counts itself out of the
  spinning ones and then looks at every queue once more under that queue's lock: work that was put in before is seen by
  that look, and whoever puts it in after sees the idle P.
  Go starts a new thread when all known ones are busy.  Here the thread that sleeps for the next timer or descriptor
  (the poller) is woken instead where there is one: with one P, which is the rule under the GIL, one thread then serves.

Rejected: waking a thread at every ready (under the GIL they would only fight for it).
"""

from __future__ import annotations

import sys

import cython
from cython.cimports.gort._runtime.c.rt import rt_import
from cython.cimports.gort._runtime.core.runq import globrunqput, runqput
from cython.cimports.gort._runtime.core.runtime2 import (
    G,
    M,
    Op,
    P,
    Sched,
    _Gdead,
    _Grunnable,
    _Grunning,
    _Gsyscall,
    _Pidle,
    _Prunning,
    getm,
)

from gort._runtime.core import traceback
from gort._runtime.core.errors import Deadlock
from gort._runtime.core.lockrank import throw
from gort._runtime.core.newosproc import newosproc
from gort._runtime.core.runtime2 import Note

rt_import()


def ready(g):
    """Makes a waiting goroutine runnable.  The caller has taken it out of its wait queue, so it is called exactly once
    per park.  Callable from any thread; holds no lock when called."""
    g.lock()
    if not g.parked:
        # It has not left its thread yet: its M will see this when it parks it.
        g.readied = True
        g.unlock()
        return 0
    g.parked = False
    g.waitop = None
    g.status = _Grunnable
    g.unlock()
    enqueue(g, True)


def enqueue(g, next):
    """Puts a runnable goroutine on this thread's P, or, from a thread without one, on the global queue."""
    s: Sched = g.sched
    m: M
    p: P
    if g.thread:
        if g.counted:
            uncount(g)
        g.note.wakeup()
        return 0
    m = getm()
    if m is not None and m.sched is s:
        p = m.p
        if p is None or not runqput(s, p, m.id, g, next):
            globrunqput(s, g)
    else:
        globrunqput(s, g)
    if s.npidle != 0 and s.nmspinning == 0:
        wakep(s)


def cancel(g, goid, exc):
    """Asks goroutine `goid` to end: raises exc at its await, once it has been taken out of what it waits for.

    False when it is already gone.  A goroutine that does not wait gets it at its next operation; a second request
    before the first is delivered replaces it."""
    op: Op = None
    g.lock()
    if g.goid != goid or g.status == _Gdead:
        g.unlock()
        return False
    if g.throw is not None:
        g.unlock()
        return True  # one is on its way already
    g.cancelexc = exc
    g.cancelflag = True
    if g.parked:
        op = g.waitop
    g.unlock()
    if op is not None:
        deliver_cancel(g, op)
    return True


def deliver_cancel(g, op):
    """Wakes g with its pending cancellation if op can still be taken out of its queue; otherwise op has happened, its
    result is kept, and the cancellation stays pending until the next operation."""
    if op.abort():
        g.lock()
        g.throw = g.cancelexc
        g.cancelexc = None
        g.cancelflag = False
        g.unlock()
        ready(g)


# ---- idle lists: all under sched.lock ---------------------------------------------------------------------------------


def pidleput(s, p):
    """Puts p on the idle list.  sched.lock is held."""
    p.status = _Pidle
    p.link = s.pidle
    s.pidle = p
    s.npidle += 1


def pidleget(s):
    """An idle P, or None.  sched.lock is held."""
    p: P = s.pidle
    if p is not None:
        s.pidle = p.link
        p.link = None
        s.npidle -= 1
        if s.sysmonwait:  # it sleeps for long, as nothing ran: now it must watch
            s.sysmonwait = False
            s.sysmonnote.wakeup()
    return p


def sysmon_may_sleep(s):
    """sysmon asks to be woken when somebody takes an idle P; False when a P is busy already."""
    s.lock()
    s.sysmonwait = s.npidle == s.gomaxprocs
    idle: cython.bint = s.sysmonwait
    s.unlock()
    return idle


def bind(p, m):
    """Makes m the owner of p.  sched.lock is held, so a P is always on the idle list, owned, or taken by
    stop-the-world, never in between."""
    p.lock()
    p.mid = m.id
    p.status = _Prunning
    p.unlock()


def acquire_idle(s, m):
    """Gives m an idle P if there is one."""
    p: P
    s.lock()
    p = pidleget(s)
    if p is not None:
        bind(p, m)
        m.p = p
    s.unlock()
    return p is not None


def unbind(p, mid):
    """Parts p from the M `mid`.  False when p had been taken from it already.  sched.lock is held."""
    p.lock()
    if p.mid != mid:
        p.unlock()
        return False
    p.mid = 0
    p.status = _Pidle
    p.unlock()
    return True


# ---- waking and stopping Ms -------------------------------------------------------------------------------------------


def wakep(s):
    """Has one more M look for work, if a P is idle and nobody spins."""
    m: M
    p: P
    spare: M = None
    if s.midle is None and not s.npolling:
        spare = allocm(s)
    s.lock()
    if s.nmspinning != 0 or s.npidle == 0 or s.exiting or s.gcwaiting:
        s.unlock()
        return
    if s.npolling:
        s.unlock()
        wake_poller(s)
        return
    m = takem(s, spare)
    if m is None:
        s.unlock()
        return
    p = pidleget(s)
    s.nmspinning += 1
    m.spinning = True
    m.nextp = p
    bind(p, m)
    s.unlock()
    launch(s, m)


def wake_poller(s):
    """Cuts the poller's sleep short (Go's netpollBreak)."""
    if s.netpoll is not None:
        s.netpoll.wake()
    else:
        s.pollnote.wakeup()


def startm(s):
    """Has an M run an idle P, whether or not others spin: for work that was just put on the global queue by a thread
    that does not schedule (sysmon, a stopped world)."""
    m: M
    p: P
    spare: M = allocm(s) if s.midle is None else None
    s.lock()
    if s.npidle == 0 or s.exiting or s.gcwaiting:
        s.unlock()
        return
    m = takem(s, spare)
    if m is None:
        s.unlock()
        return
    p = pidleget(s)
    m.spinning = False
    m.nextp = p
    bind(p, m)
    s.unlock()
    launch(s, m)


def allocm(s):
    """A new M that belongs to nothing yet: made before sched.lock is taken, since it allocates."""
    m: M = M.__new__(M) if cython.compiled else M()
    m.sched = s
    m.park = Note()
    m.g0 = G.__new__(G) if cython.compiled else G()
    m.g0.system = True
    m.g0.sched = s
    m.gsignal = G.__new__(G) if cython.compiled else G()
    m.gsignal.system = True
    m.gsignal.sched = s
    return m


def mrandseed(seed, id):
    """An M's first random number, not 0 (xorshift would stay there): the runtime's seed and the M's id, mixed as
    splitmix64 does."""
    x = (seed + id * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return (x ^ (x >> 31)) | 1


def linkm(s, m):
    """Gives m its id and links it into allm.  sched.lock is held."""
    s.mnext += 1
    m.id = s.mnext
    m.rand = mrandseed(s.seed, m.id)
    s.allm.append(m)


def takem(s, spare):
    """An idle M, or the spare one, registered; None when there is neither.  sched.lock is held."""
    m: M = s.midle
    if m is not None:
        s.midle = m.schedlink
        m.schedlink = None
        s.nmidle -= 1
        return m
    if spare is not None:
        linkm(s, spare)
    return spare


def launch(s, m):
    """Wakes an M that has been given a P, or starts its thread."""
    if m.started:
        m.park.wakeup()
        return
    m.started = True
    checkmcount(s)
    try:
        newosproc(f"gort-m{m.id - 1}", s.mstart, m)
    except (RuntimeError, MemoryError) as e:
        # The system gives no more threads.  The Ms that there are carry on; the P waits for one of them, or until sysmon
        # has tried again with success.
        s.lock()
        s.allm.remove(m)
        if m.spinning:
            s.nmspinning -= 1
        if unbind(m.nextp, m.id):
            pidleput(s, m.nextp)
        s.nmstartfailed += 1
        s.unlock()
        if s.nmstartfailed == 1:
            why: object = str(e) or type(e).__name__
            sys.stderr.write(
                f"gort: cannot start another thread ({why}); going on with {len(s.allm)}, and trying again. "
                "Goroutines that block their threads now hold up others: see `ulimit -u`, and `ulimit -v` for memory\n"
            )


def checkmcount(s):
    """Ends the process when there are more threads than sched.maxmcount, as Go does; sysmon's is one of them."""
    if len(s.allm) + s.nmsys > s.maxmcount:
        limit = f"runtime: program exceeds {s.maxmcount}-thread limit\n"
        throw("thread exhaustion", "", traceback.dump(s), first=limit)


def stopm(m):
    """Sleeps until somebody gives m a P.  False when the runtime is exiting."""
    s: Sched = m.sched
    while True:
        s.lock()
        if s.exiting:
            s.unlock()
            return False
        m.schedlink = s.midle
        s.midle = m
        s.nmidle += 1
        dead = checkdead(s)
        s.unlock()
        if dead:
            found_dead(s)
        m.park.sleep()
        if m.nextp is not None:
            m.p = m.nextp
            m.nextp = None
            return True
        if s.exiting:
            return False


def handoffp(s, p, mid):
    """Takes p from the M `mid`, which is about to block or blocks already, and gives it to another M, or to the idle
    list when there is nothing to do.  False when p was not that M's any more."""
    m: M = None
    spare: M = None
    if s.midle is None:
        spare = allocm(s)
    s.lock()
    if not unbind(p, mid):
        s.unlock()
        return False
    # Work; or a timer or descriptor that nobody would watch: then the new M spins, finds nothing and becomes the poller.
    work: cython.bint = p.runqsize != 0 or p.runnext is not None or s.runqsize != 0
    idle: cython.bint = not work and s.nmspinning + s.npidle != 0 and (s.npolling != 0 or not unwatched(s, p))
    if s.exiting or s.gcwaiting or idle:
        pidleput(s, p)
        s.unlock()
        return True
    m = takem(s, spare)
    if m is None:
        # The idle M that was there when we looked has been taken.
        pidleput(s, p)
        s.unlock()
        startm(s)
        return True
    if not work:
        s.nmspinning += 1
    m.spinning = not work
    m.nextp = p
    bind(p, m)
    s.unlock()
    launch(s, m)
    return True


def unwatched(s, p):
    """Whether p's timers, or any descriptor, need a thread that waits for them."""
    if p.timer0when != 0:
        return True
    return s.netpoll is not None and s.netpoll.waiters()


def entersyscall(m):
    """The running goroutine is about to block its thread: gives its P away at once."""
    s: Sched = m.sched
    p: P = m.p
    m.curg.status = _Gsyscall
    m.insyscall = True
    m.p = None
    if p is not None:
        s.lock()
        s.nsyscall += 1
        s.unlock()
        handoffp(s, p, m.id)


def exitsyscall(m):
    """The blocking call is over.  True with a P in hand; False when none is idle: the goroutine must queue."""
    m.insyscall = False
    m.curg.status = _Grunning
    return acquire_idle(m.sched, m)


# ---- the end ----------------------------------------------------------------------------------------------------------


def request_exit(s):
    """Tells every M to leave: idle ones are woken, running ones see it at their next scheduling point."""
    m: M
    s.lock()
    s.exiting = True
    s.midle = None
    s.nmidle = 0
    s.unlock()
    for m in list(s.allm):
        m.park.wakeup()
    for note in list(s.waiters):
        note.wakeup()
    wake_poller(s)
    s.sysmonnote.wakeup()


def fatal(s, exc):
    """Ends the runtime with an error; the first one counts."""
    s.lock()
    if s.fatal is None and not s.exiting:
        s.fatal = exc
    s.unlock()
    request_exit(s)


def checkdead(s):
    """True when nothing inside can ever run again: every M idle, no timer, no descriptor awaited.  Whether a thread
    outside the runtime may still send is s.external()'s to say, and asked without the lock.  sched.lock is held; the
    caller's M is on the idle list."""
    if s.exiting or s.npolling or s.nmspinning:
        return False
    if s.nmidle + s.nmidlelocked < len(s.allm):
        return False
    if s.nmstartfailed != 0 and stranded(s):
        return False  # sysmon will have somebody see to it
    # A descriptor is awaited and nobody polls just now: sysmon will look.
    return s.netpoll is None or not s.netpoll.waiters()


def stranded(s):
    """Whether a P lies idle with work, or with timers that nobody watches: no thread could be started for it, and the M
    that might have taken it had found none and gone to sleep meanwhile."""
    p: P
    if s.npidle == 0:
        return False
    if s.runqsize != 0:
        return True
    for p in s.allp:
        if p.mid == 0 and (p.runqsize != 0 or p.runnext is not None or (p.timer0when != 0 and s.npolling == 0)):
            return True
    return False


def is_dead(s):
    """checkdead for a thread that holds nothing."""
    s.lock()
    dead: cython.bint = checkdead(s)
    s.unlock()
    return dead


def found_dead(s):
    """checkdead was true: a deadlock, unless a thread outside can still send, or has sent since and ended.  So it is
    asked again after no such thread is alive any more.  The caller holds nothing."""
    if not s.external() and is_dead(s):
        fatal(s, Deadlock())


def acquire_idle_p(s, m):
    """acquire_idle for the uncompiled parts of the runtime."""
    return acquire_idle(s, m)


def uncancel(g, exc):
    """Takes back a cancellation that has not been delivered."""
    g.lock()
    if g.cancelexc is exc:
        g.cancelexc = None
        g.cancelflag = False
    g.unlock()


# ---- foreign threads --------------------------------------------------------------------------------------------------


def thread_g(s):
    """A G that stands for this thread in wait queues: ready wakes its note instead of queueing it."""
    g: G = G.__new__(G) if cython.compiled else G()
    g.thread = True
    g.system = True
    g.sched = s
    g.note = Note()
    g.status = _Grunning
    return g


def thread_park(g, op):
    """Commits the park of a thread_g.  False when it has been readied already."""
    g.lock()
    if g.readied:
        g.readied = False
        g.unlock()
        return False
    g.parked = True
    g.waitop = op
    g.unlock()
    return True


def uncount(g):
    """g's thread is no longer idle for the deadlock check.  Done by whoever wakes it: it wakes later than that."""
    s: Sched = g.sched
    s.lock()
    g.readied = True  # for a count_idle that comes too late
    if g.counted:
        g.counted = False
        s.nmidlelocked -= 1
    s.unlock()


def count_idle(g):
    """g's thread waits inside the runtime, without a P and without a time limit: it counts as idle, unless it has been
    woken already."""
    s: Sched = g.sched
    dead: cython.bint
    s.lock()
    if g.readied:
        s.unlock()
        return
    g.counted = True
    s.nmidlelocked += 1
    dead = checkdead(s)
    s.unlock()
    if dead:
        found_dead(s)


def count_parked(g):
    """count_idle for a thread_g that has parked, unless it has been made ready since: then nobody would uncount it."""
    s: Sched = g.sched
    dead: cython.bint = False
    g.lock()
    if g.parked:
        s.lock()
        g.counted = True
        s.nmidlelocked += 1
        dead = checkdead(s)
        s.unlock()
    g.unlock()
    if dead:
        found_dead(s)
