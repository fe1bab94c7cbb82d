"""Makes goroutines runnable and hands Ps to Ms.  Follows ready, wakep, startm, stopm, handoffp, acquirep, releasep,
entersyscall, exitsyscall and checkdead in Go's runtime/proc.go.  What does not live here: the M's loop and its search
for work (proc.py), the queues themselves (runq.py).

Parking and unparking threads
  No work may wait beside an idle P, and no thread should wake for nothing.  As in Go, a thread that looks for work and
  has none is *spinning*.  Whoever enqueues work wakes one more thread only if a P is idle and no thread spins; a
  spinning thread that finds work wakes the next.  A thread that gives up first takes itself out of the count of
  spinning threads and then checks every queue once more under that queue's lock: that check finds any work enqueued
  before it, and whoever enqueues work after it sees the idle P.
  Go starts a new thread when all others are busy.  Here, if a thread sleeps until the next timer or descriptor (the
  poller), we wake that one instead: with one P, the default under the GIL, one thread is then enough.

Rejected: waking a thread at every ready (under the GIL the threads would only compete for it).
"""

from __future__ import annotations

import sys

import cython
from cython.cimports.gort._runtime.c.rt import FREE_THREADED, rt_import, rt_stack_trim
from cython.cimports.gort._runtime.core.rest import wake
from cython.cimports.gort._runtime.core.runq import globrunqput, runqput
from cython.cimports.gort._runtime.core.runtime2 import (
    G,
    M,
    Op,
    P,
    Sched,
    Scope,
    _Grunnable,
    _Grunning,
    _Gsyscall,
    _Pidle,
    _Prunning,
    getm,
)
from cython.cimports.gort._runtime.core.scopes import request, taken
from cython.cimports.gort._runtime.core.seed import mrandseed, queues
from cython.cimports.gort._runtime.core.tracing import HOOK_TRACE, entered, exited, taken_from

from gort._runtime.core import traceback
from gort._runtime.core.errors import Cancelled, Deadlock
from gort._runtime.core.lockrank import throw
from gort._runtime.core.mistakes import say
from gort._runtime.core.newosproc import newosproc
from gort._runtime.core.runtime2 import Note

rt_import()

if not cython.compiled:  # the .pxd defines the same names for C
    MASK64 = 0xFFFFFFFFFFFFFFFF


def ready(g):
    """Makes the waiting goroutine g runnable.  The caller has dequeued it from what it waited for, so ready runs
    exactly once for each park.  Any thread may call it, holding no lock."""
    g.lock()
    if not g.parked:
        # g is still on its thread.  Its M sees readied when it comes to park g, and enqueues g itself.
        g.readied = True
        g.unlock()
        return 0
    g.parked = False
    g.waitop = None
    g.status = _Grunnable
    g.unlock()
    # One that is locked to a thread queues up behind the others: what is ready with it then costs one switch of threads.
    enqueue(g, g.lockedm is None)


def enqueue(g, next):
    """Puts the runnable goroutine g on the run queue of this thread's P, or on the global queue if the thread has
    none."""
    s: Sched = g.sched
    m: M
    p: P
    if g.thread:
        if g.counted:
            uncount(g)
        if g.note is None:
            g.done.finished(0, None, None)
        else:
            g.note.wakeup()
        return 0
    m = getm()
    if s.hooks:
        next = queues(s, m, g, next)
    if m is not None and m.sched is s:
        p = m.p
        if p is None or not runqput(s, p, m.id, g, next):
            globrunqput(s, g)
    else:
        globrunqput(s, g)
    if s.npidle != 0 and s.nmspinning == 0:
        wakep(s)


def cancel(g, goid, exc):
    """Cancels goroutine `goid` as a whole: dequeues it from what it waits for and raises exc at its await, or in
    gort.wait.

    A goroutine that is not waiting gets exc at its next operation.  Returns False when the goroutine has ended, so that
    g now has another number."""
    root: Scope = Scope()
    root.root = True
    if not request(g, goid, root, exc, not isinstance(exc, Cancelled)):
        return False
    wake_cancelled(g)
    return True


def cancel_scope(scope, exc):
    """Cancels the scope: raises exc in its goroutine, as `cancel` does.  False when the goroutine has left the scope."""
    g: G = scope.g
    if g is None or not request(g, scope.goid, scope, exc, False):
        return False
    wake_cancelled(g)
    return True


def wake_cancelled(g):
    """Wakes g if it waits, or its thread does in gort.wait, and a cancellation is pending."""
    op: Op = None
    standin: G = None
    exc: object = None
    g.lock()
    if g.cancelflag:
        exc = g.cancelexc
        standin = g.standin
        if g.parked:
            op = g.waitop
    g.unlock()
    if op is not None:
        deliver_cancel(g, op)
    elif standin is not None:
        cancel(standin, 0, exc)  # that thread then takes the cancellation of g itself
    elif g.lockedm is not None:
        end_place(g.sched)


def end_place(s):
    """Ends the wait of a goroutine that waits in place, if one does (sched/inplace.py), or another poll, in vain.  Such a
    goroutine reads its cancelflag after a section of sched.lock in which it sets npolling, and the caller has set that
    flag before the section here: so at least one of the two sees the other."""
    s.lock()
    polling: cython.bint = s.npolling != 0
    s.unlock()
    if polling:
        wake_poller(s)


def deliver_cancel(g, op):
    """Wakes g with its pending cancellation if op is still in its wait queue.  Otherwise op has completed: g gets its
    result, and the cancellation stays pending until g's next operation."""
    if op.abort():
        g.lock()
        exc: object = taken(g)
        g.throw = exc
        g.unlock()
        op.g = None  # it has no result: who resumes it gets the cancellation or an error (op.lost)
        op.cancelled(exc)
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
        if s.sysmonwait:  # sysmon sleeps deeply because no P was busy; now it has one to watch
            s.sysmonwait = False
            s.sysmonnote.wakeup()
    return p


def sysmon_may_sleep(s):
    """Called by sysmon before a deep sleep: asks whoever takes an idle P to wake it.  False, and no request, when a P
    is busy already, or work is stranded, for which sysmon tries to start a thread."""
    s.lock()
    s.sysmonwait = s.npidle == s.gomaxprocs and not (s.nmstartfailed != 0 and stranded(s))
    idle: cython.bint = s.sysmonwait
    s.unlock()
    return idle


def bind(p, m):
    """Makes m the owner of p.  sched.lock is held, so that other threads see a P either on the idle list, or owned, or
    taken by stop-the-world, and never between two of these."""
    p.lock()
    p.mid = m.id
    p.procid = m.procid
    p.status = _Prunning
    p.unlock()


def acquire_idle(s, m):
    """Gives m an idle P; False when there is none."""
    p: P
    s.lock()
    p = pidleget(s)
    if p is not None:
        bind(p, m)
        m.p = p
    s.unlock()
    return p is not None


def unbind(p, mid):
    """Takes p from the M `mid`.  False when another thread had already taken it.  sched.lock is held."""
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
    """Wakes or starts one more M to look for work, if a P is idle and no M spins."""
    m: M
    p: P
    spare: M = allocm(s) if s.midle is None and not s.npolling else None
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
    give(s, p, m)
    s.unlock()
    launch(s, m)


def resetspinning(m):
    """Stops counting m as spinning, because it has found work, and wakes another M, because there may be more."""
    s: Sched = m.sched
    m.spinning = False
    s.lock()
    s.nmspinning -= 1
    s.unlock()
    if s.npidle != 0 and s.nmspinning == 0:
        wakep(s)


def wake_poller(s):
    """Wakes the M that sleeps in the poller (Go's netpollBreak)."""
    if s.netpoll is not None:
        s.netpoll.wake()
    else:
        s.pollnote.wakeup()


def startm(s):
    """Wakes or starts an M for an idle P even if others spin.  For a thread that does not schedule (sysmon, whoever has
    stopped the world) and has just put work on the global queue."""
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
    give(s, p, m)
    s.unlock()
    launch(s, m)


def allocm(s):
    """Makes an M that is not linked into allm yet.  Called before the caller takes sched.lock, because it allocates."""
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


def linkm(s, m):
    """Gives m its id and links it into allm.  sched.lock is held."""
    s.mnext += 1
    m.id = s.mnext
    m.rand = mrandseed(s.seed, m.id)
    s.allm.append(m)


def takem(s, spare):
    """Takes an M off the idle list, or links spare into allm; None when there is neither.  sched.lock is held."""
    m: M = s.midle
    if m is not None:
        s.midle = m.schedlink
        m.schedlink = None
        m.idle = False
        s.nmidle -= 1
        return m
    if spare is not None:
        try:
            linkm(s, spare)
        except MemoryError:
            s.nmstartfailed += 1  # sysmon starts one (stranded)
            return None
    return spare


def give(s, p, m):
    """Makes m, which is no longer idle, the owner of p as soon as it runs.  sched.lock is held."""
    m.nextp = p
    bind(p, m)
    if m.started and not FREE_THREADED:
        s.starting = m


def launch(s, m):
    """Wakes the M that has just been given a P, or starts its thread."""
    if m.started:
        m.park.wakeup()
        return
    m.started = True
    checkmcount(s)
    try:
        newosproc(f"gort-m{m.id - 1}", s.mstart, m, unlaunch)
    except (RuntimeError, MemoryError) as e:
        unlaunch(m, e)
    me: M = getm()
    if me is not None:
        rt_stack_trim(me.stackhi)  # its goroutine may be about to block for long


def unlaunch(m, exc):
    """Takes back m, whose thread was refused or found no memory to begin.  Others or sysmon take the P (stranded)."""
    s: Sched = m.sched
    s.lock()
    try:
        if m.spinning:
            s.nmspinning -= 1
        if unbind(m.nextp, m.id):
            pidleput(s, m.nextp)
        s.nmstartfailed += 1
        first = s.nmstartfailed == 1  # asked under the lock: two threads may be refused another at once
        s.allm.remove(m)  # it has made no goroutine, so its ngs is 0
    finally:  # there may be no memory for the call
        s.unlock()
    s.sysmonnote.wakeup()
    if first:
        why: object = str(exc) or type(exc).__name__
        say(
            f"gort: cannot start another thread ({why}); going on with {len(s.allm)}, and trying again. "
            "Goroutines that block their threads now hold up others: see `ulimit -u`, and `ulimit -v` for memory\n"
        )


def checkmcount(s):
    """Ends the process when there are more threads than sched.maxmcount, as Go does.  sysmon's thread counts."""
    if len(s.allm) + s.nmsys > s.maxmcount:
        limit = f"runtime: program exceeds {s.maxmcount}-thread limit\n"
        throw("thread exhaustion", "", traceback.dump(s), first=limit)


def handoffp(s, p, mid):
    """Takes p from the M `mid`, which is blocked or about to block, and hands it to another M, or puts it on the idle
    list when there is no work.  False when that M had lost p already."""
    m: M = None
    spare: M = allocm(s) if s.midle is None else None
    s.lock()
    victim: cython.longlong = p.procid
    if not unbind(p, mid):
        s.unlock()
        return False
    # Another M is needed for work, and for a timer or descriptor that nobody would watch: it spins, finds nothing and
    # becomes the poller.
    work: cython.bint = p.runqsize != 0 or p.runnext is not None or s.runqsize != 0
    idle: cython.bint = not work and s.nmspinning + s.npidle != 0 and (s.npolling != 0 or not unwatched(s, p))
    if s.exiting or s.gcwaiting or idle:
        pidleput(s, p)
        s.unlock()
        if s.hooks & HOOK_TRACE:
            taken_from(s, p, victim)
        return True
    m = takem(s, spare)
    if m is None:
        # Another thread took the idle M that we saw before we held the lock.
        pidleput(s, p)
        s.unlock()
        if s.hooks & HOOK_TRACE:
            taken_from(s, p, victim)
        startm(s)
        return True
    if not work:
        s.nmspinning += 1
    m.spinning = not work
    give(s, p, m)
    s.unlock()
    if s.hooks & HOOK_TRACE:
        taken_from(s, p, victim)
    if m.started:
        wake(m)  # perhaps only when the caller sleeps
    else:
        launch(s, m)
    return True


def unwatched(s, p):
    """True when p has timers or a goroutine waits for a descriptor, so that some thread must poll."""
    if p.timer0when != 0:
        return True
    return s.netpoll is not None and s.netpoll.waiters()


def entersyscall(m):
    """Hands m's P off at once, because the running goroutine is about to block.  Not in an explored schedule."""
    s: Sched = m.sched
    p: P = m.p
    if s.chooser is not None:
        return 0
    if s.hooks & HOOK_TRACE:
        entered(m)
    m.curg.status = _Gsyscall
    m.curg.waitsince = s.coarsetime
    m.insyscall = True
    m.p = None
    if p is not None:
        s.lock()
        s.nsyscall += 1
        p.syscalltick += 1
        s.unlock()
        handoffp(s, p, m.id)


def exitsyscall(m):
    """Takes an idle P after a blocking call.  False when there is none: the goroutine must then go to a run queue."""
    m.insyscall = False
    m.curg.status = _Grunning
    if not acquire_idle(m.sched, m):
        return False
    if m.sched.hooks & HOOK_TRACE:
        exited(m)
    return True


# ---- the end ----------------------------------------------------------------------------------------------------------


def request_exit(s):
    """Tells every M to leave: wakes the idle ones; a running one sees `exiting` at its next scheduling point."""
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
    """Ends the runtime with the error exc.  Only the first call's error is kept; that call returns True."""
    s.lock()
    first: cython.bint = s.fatal is None and not s.exiting
    if first:
        s.fatal = exc
    s.unlock()
    request_exit(s)
    return first


def checkdead(s):
    """True when nothing inside the runtime can ever run again: every M is idle, there is no timer, and no goroutine
    waits for a descriptor.  A thread outside the runtime might still send: found_dead asks s.external() for that,
    without the lock.  sched.lock is held; the caller's M is on the idle list."""
    if s.exiting or s.npolling or s.nmspinning:
        return False
    if s.nmidle + s.nmidlelocked < len(s.allm):
        return False
    if s.nmstartfailed != 0 and stranded(s):
        return False  # sysmon will start an M for it
    # If a goroutine waits for a descriptor while no M polls, sysmon will poll.
    return s.netpoll is None or not s.netpoll.waiters()


def stranded(s):
    """True when work waits beside an idle P, or an idle P has timers and no M polls.  This happens when the system has
    refused to start a thread for the P and the other Ms had already searched in vain and gone to sleep."""
    p: P
    if s.npidle == 0:
        return False
    if s.runqsize != 0:
        return True
    for i in range(len(s.allp)):  # not over the list: see stop_the_world
        p = s.allp[i]
        if p.mid == 0 and (p.runqsize != 0 or p.runnext is not None or (p.timer0when != 0 and s.npolling == 0)):
            return True
    return False


def is_dead(s):
    """checkdead for a caller that holds no lock."""
    s.lock()
    dead: cython.bint = checkdead(s)
    s.unlock()
    return dead


def found_dead(s):
    """Reports a deadlock after checkdead was true, unless a thread outside the runtime can still send.  Such a thread
    may have sent and ended since, so checkdead runs again once no such thread is alive.  The caller holds no lock.  In a
    bubble of gort.testing its time goes on instead (wait/bubble.py)."""
    if s.bubble is not None:
        s.bubble.idle()
    elif not s.external() and is_dead(s):
        fatal(s, Deadlock())


# ---- threads outside the runtime (outside.py) -------------------------------------------------------------------------


def uncount(g):
    """Stops counting g's thread as idle for the deadlock check.  The waker does it, because the thread itself wakes
    only later and the check could see it as idle until then."""
    s: Sched = g.sched
    s.lock()
    if g.counted:
        g.counted = False
        s.nmidlelocked -= 1
    s.unlock()
