# cython: cdivision=True
"""The scheduler: schedule, findrunnable, execute, park.  Follows Go's runtime/proc.go.

One M runs one goroutine at a time: `loop` picks it (findrunnable) and resumes its coroutine (execute) until an
operation suspends it.  Everything after the suspension happens on g0, that is, in this loop: parking, requeueing,
reporting its end.  How work is found, in order: due timers; every 61st time the global queue; the P's own queue; the
global queue; the poller; other Ps.  Before it sleeps, an M gives up its P, stops counting as spinning, and looks at
every queue once more (handoff.py says why that suffices).

A goroutine is a coroutine, or a plain function that runs on its M until it returns.

What does not live here: how goroutines are made (newproc.py), how Ps change hands (handoff.py), the queues (runq.py),
timers (timers.py), the boot (rt0.py).
"""

from __future__ import annotations

import sys
import threading
from types import CoroutineType

import cython
from cython.cimports.cpython.ref import PyObject, Py_XDECREF
from cython.cimports.gort._runtime.c.rt import (
    nanotime,
    rt_fetch_exc,
    rt_import,
    rt_resume,
    rt_swap_context,
    rt_usleep,
)
from cython.cimports.gort._runtime.core.handoff import (
    acquire_idle,
    bind,
    checkdead,
    deliver_cancel,
    enqueue,
    fatal,
    found_dead,
    handoffp,
    pidleget,
    pidleput,
    stopm,
    unbind,
    wakep,
)
from cython.cimports.gort._runtime.core.runq import globrunqget, globrunqput, kick, runqget, runqput, runqsteal
from cython.cimports.gort._runtime.core.runtime2 import (
    MCALL_NONE,
    MCALL_PARK,
    SLICE_NS,
    G,
    M,
    Op,
    P,
    Sched,
    _Grunnable,
    _Grunning,
    _Gwaiting,
)
from cython.cimports.gort._runtime.sched.newproc import forget, gfput
from cython.cimports.gort._runtime.sched.timers import checktimers, timesleepuntil

from gort._runtime.core import mistakes
from gort._runtime.core.errors import Cancelled, Goexit
from gort._runtime.core.lockrank import throw
from gort._runtime.core.op import drop_swallowed
from gort._runtime.core.runtime2 import bind_thread

rt_import()

if not cython.compiled:  # what the .pxd has for C
    CHECK_GLOBAL = 61  # a prime: no pattern of local schedules can dodge it
    CHECK_NETPOLL = 30  # as often, and not at the same time
    LOOK_AT_SLICE = 1023  # every 1024th switch; a mask

    _send = CoroutineType.send  # unbound: to bind it at each resumption would make an object

if cython.compiled:

    def resume(m, g):
        """Runs g's coroutine to its next suspension: 1 suspended, 0 returned (m.retval), -1 raised (m.exc)."""
        res: cython.pointer(PyObject) = cython.NULL
        r: cython.int = rt_resume(
            cython.cast(cython.pointer(PyObject), g.coro),
            cython.address(g.context),
            cython.address(res),
        )
        if r < 0:
            m.exc = rt_fetch_exc()
        elif res != cython.NULL:
            m.retval = cython.cast(object, res)
            Py_XDECREF(res)
        return r

else:

    def resume(m, g):
        try:
            m.retval = g.context.run(_send, g.coro, None)
            return 1
        except StopIteration as e:
            m.retval = e.value
            return 0
        except BaseException as e:
            m.exc = e
            return -1


# ---- running them -----------------------------------------------------------------------------------------------------


def run(m, g):
    """One stretch of g on this thread: 1 suspended, 0 finished with m.retval, -1 ended with m.exc."""
    exc: object
    if g.throw is not None:
        exc = g.throw
        g.throw = None
        if g.coro is None:
            m.exc = exc
            return -1
        return throw_in(m, g, exc)
    if g.coro is not None:
        return resume(m, g)
    # A plain function: it keeps this thread until it returns.
    try:
        if cython.compiled:
            rt_swap_context(cython.address(g.context))
            try:
                m.retval = g.fn(*g.args, **g.kwargs) if g.kwargs else g.fn(*g.args)
            finally:
                rt_swap_context(cython.address(g.context))
        else:
            m.retval = g.context.run(g.fn, *g.args, **(g.kwargs or {}))
    except BaseException as e:
        m.exc = e
        return -1
    if type(m.retval) is CoroutineType:
        # A partial, a decorated function, a callable object: async after all.
        g.coro = m.retval
        m.retval = None
        return resume(m, g)
    return 0


def throw_in(m, g, exc):
    """Resumes g with an exception raised at its await."""
    try:
        if cython.compiled:
            rt_swap_context(cython.address(g.context))
            try:
                m.retval = g.coro.throw(exc)
            finally:
                rt_swap_context(cython.address(g.context))
        else:
            m.retval = g.context.run(g.coro.throw, exc)
        return 1
    except StopIteration as e:
        m.retval = e.value
        return 0
    except BaseException as e:
        m.exc = e
        return -1


def execute(m, g):
    """Runs g until it suspends or ends, then, on g0, puts it where it belongs."""
    mcall: cython.int
    r: cython.int
    g.status = _Grunning
    g.mid = m.id
    m.p.switchtick += 1  # sysmon: another goroutine, though schedtick counts slices
    m.curg = g
    m.preempt = False
    if g.coro is not None and g.throw is None:
        r = resume(m, g)
    else:
        r = run(m, g)
    mcall = m.mcall
    if r != 1:
        goexit0(m, g, r)
        return 0
    m.mcall = MCALL_NONE
    if m.sched.migration:
        from gort._runtime.sched import migration

        migration.suspended(g)
    m.curg = None
    if mcall == MCALL_PARK:
        park(m, g)
    elif mcall != MCALL_NONE:
        yielded(m.sched, g)
    else:
        foreign(m, g)


def yielded(s, g):
    """g has made way: to the end of the global queue."""
    g.status = _Grunnable
    globrunqput(s, g)
    if s.npidle != 0 and s.nmspinning == 0:
        wakep(s)


def foreign(m, g):
    """g has awaited something that is not gort's: it is told at that await."""
    from gort._runtime.core import panic

    g.throw = panic.foreign_await(m.retval)
    m.retval = None
    g.status = _Grunnable
    enqueue(g, True)


def park(m, g):
    """g has suspended for m.parkop: commits the park, unless it has been readied in the meantime."""
    op: Op = m.parkop
    m.parkop = None
    g.lock()
    if g.readied:
        g.readied = False
        g.status = _Grunnable
        g.unlock()
        enqueue(g, True)
        return 0
    g.parked = True
    g.status = _Gwaiting
    g.waitop = op
    if g.cancelflag:
        g.unlock()
        deliver_cancel(g, op)
        return 0
    g.unlock()


def goexit0(m, g, r):
    """g has ended: tells whoever wants to know and keeps the G for the next go statement."""
    s: Sched = m.sched
    value: object = m.retval
    exc: object = m.exc
    m.retval = None
    m.exc = None
    done: object = g.done
    goid: cython.longlong = g.goid
    if m.mcall != MCALL_NONE:
        drop_swallowed(m)  # it ended with an operation that something inside it had swallowed
    if exc is not None:
        mistakes.explain(exc)
    if exc is not None and (done is None or done.panics) and not isinstance(exc, (Goexit, Cancelled)):
        if not (s.ending and isinstance(exc, GeneratorExit)):
            from gort._runtime.core import panic

            fatal(s, panic.goroutine_panic(g, exc))
    m.curg = None
    if g.lockedm is not None:
        m.lockedg = None
    forget(g)
    gfput(s, m, g)
    if done is not None:
        done.finished(goid, value, exc)


# ---- finding them -----------------------------------------------------------------------------------------------------


def cheaprand(m):
    """A pseudo-random number for decisions that need no quality (xorshift64); seeded per M."""
    x = m.rand
    x ^= (x << 13) & 0xFFFFFFFFFFFFFFFF
    x ^= x >> 7
    x ^= (x << 17) & 0xFFFFFFFFFFFFFFFF
    m.rand = x
    return x


def slice_is_over(p):
    """Whether goroutines that wake each other through runnext have shared p for a slice.

    sysmon says the same by p.preempt, but where several threads fight for the GIL, or for too few CPUs, it comes to look
    so late that a slice lasts for hundreds of ms, while all others in p's queue wait."""
    now: cython.longlong = nanotime()
    if p.smtick != p.schedtick:
        p.smtick = p.schedtick
        p.smwhen = now
        return False
    return now - p.smwhen >= SLICE_NS


def findrunnable(m):
    """A goroutine to run, or None when the runtime is exiting.  Blocks until there is one."""
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
            # The P was taken while user code blocked or computed (or given up for a blocking call).
            m.p = None
            if m.spinning:
                # Or the world was stopped while we looked: asleep we must not count, nobody would be woken for us.
                m.spinning = False
                s.lock()
                s.nmspinning -= 1
                s.unlock()
            if not acquire_idle(s, m) and not stopm(m):
                return None
            continue
        now = 0
        if p.timer0when != 0:
            now = checktimers(s, p, 0)
        if p.preempt or (p.switchtick & LOOK_AT_SLICE == 0 and slice_is_over(p)):
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
            # A P that never runs out of work still serves its connections before sysmon has to.  Not while others wait in
            # the global queue: what the poller finds goes to ours, which would then never run dry for them.
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
    """Nothing in this P's queue nor the global one: the poller, other Ps, and in the end sleep.  None: look again."""
    s: Sched = m.sched
    p: P = m.p
    p2: P
    g: G
    found: cython.bint
    if s.netpoll is not None and s.netpoll.waiters() and not s.npolling:
        if s.netpoll.poll(0):
            return None
    # Not more than half as many spinning Ms as busy Ps: past that they only burn the CPU that they look for.
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
    s.lock()
    if s.runqsize != 0 or s.exiting:
        s.unlock()
        return None
    if unbind(p, m.id):
        pidleput(s, p)
    m.p = None
    if m.spinning:
        m.spinning = False
        s.nmspinning -= 1
    s.unlock()
    # The last look: see handoff.py.
    found = False
    for p2 in s.allp:
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
        return None
    if poll(m):
        return None
    stopm(m)
    return None


def poll(m):
    """Sleeps, as the only M that does, until the next timer or descriptor; True when m has a P again or must look."""
    s: Sched = m.sched
    until: cython.longlong = timesleepuntil(s)
    waiters: cython.bint = s.netpoll is not None and s.netpoll.waiters()
    again: cython.longlong
    now: cython.longlong
    if until == 0 and not waiters:
        return False
    s.lock()
    if s.npolling != 0 or s.exiting:
        s.unlock()
        return False
    s.pollnote.clear()  # not before: the wake-up may be another poller's, who has not come to take it
    s.npolling = 1
    s.polluntil = until
    s.unlock()
    # Again, now that whoever arms an earlier timer sees that it must wake us.  Never later than we have announced:
    # whoever arms one for in between relies on that.
    again = timesleepuntil(s)
    if again != 0 and (until == 0 or again < until):
        until = again
    now = nanotime()
    if s.runqsize == 0 and not s.exiting:
        if s.netpoll is not None:
            s.netpoll.poll(-1 if until == 0 else max(0, until - now))
        elif until == 0 or until > now:
            s.pollnote.sleep((until - now) / 1e9 if until != 0 else -1.0)
    s.lock()
    s.npolling = 0
    s.polluntil = 0
    s.lastpoll = nanotime()
    p: P = pidleget(s)
    if p is not None:
        bind(p, m)
        m.p = p
        m.spinning = True
        s.nmspinning += 1
    s.unlock()
    return p is not None


def steal(m, p, now):
    """Tries each other P four times, in a random order; the last time its timers and its runnext too."""
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
        now = nanotime()
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
                # Running them may have put goroutines on our own queue.
                g = runqget(p, m.id)
                if g is not None:
                    return g
            if p2.runqsize > 0:
                g = runqsteal(s, p, m.id, p2, False)
                if g is not None:
                    return g
            elif i == 3 and p2.runnext is not None:
                # Its P is most likely about to run it: give it the time that a handover takes.
                rt_usleep(3)
                g = runqsteal(s, p, m.id, p2, True)
                if g is not None:
                    return g
    return None


def resetspinning(m):
    """m has found work: it is no longer spinning, and perhaps there is work for one more."""
    s: Sched = m.sched
    m.spinning = False
    s.lock()
    s.nmspinning -= 1
    s.unlock()
    if s.npidle != 0 and s.nmspinning == 0:
        wakep(s)


def schedule(m):
    """The next goroutine for m, or None when the runtime is exiting.  Goroutines locked to a thread run on it alone."""
    g: G
    if m.lockedg is not None:
        return schedule_locked(m)
    while True:
        g = findrunnable(m)
        if m.spinning:
            resetspinning(m)
        if g is None:
            return None
        if g.lockedm is not None and g.lockedm is not m:
            startlockedm(m, g)
            continue
        return g


def startlockedm(m, g):
    """g may run on one thread only: gives that thread our P, and finds another for ourselves."""
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
    s.nmidlelocked -= 1  # here, not when it wakes: until then it would count as idle for the deadlock check
    s.unlock()
    lm.park.wakeup()


def schedule_locked(m):
    """m is locked to a goroutine: hands its P on and sleeps until that goroutine is runnable."""
    s: Sched = m.sched
    p: P = m.p
    g: G
    dead: cython.bint
    m.p = None
    if p is not None:
        handoffp(s, p, m.id)
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


def loop(m):
    """mstart1: schedules until the runtime exits.

    What schedule and findrunnable would do most of the time is done here first: a goroutine of the P's own queue, when
    nothing else is due (a timer, preemption, the turn of the global queue or of the poller)."""
    s: Sched = m.sched
    p: P
    g: G
    turn: cython.longlong
    while True:
        g = None
        p = m.p
        if p is not None and not (p.preempt or m.spinning or s.exiting or p.timer0when != 0 or m.lockedg is not None):
            turn = p.schedtick % CHECK_GLOBAL
            if turn != 0 and turn != CHECK_NETPOLL and p.switchtick & LOOK_AT_SLICE != 0:
                g = runqget(p, m.id)
        if g is None:
            g = schedule(m)
            if g is None:
                return
        elif g.lockedm is not None and g.lockedm is not m:
            startlockedm(m, g)
            continue
        execute(m, g)


def mstart(m):
    """The life of an M's thread: binds it, schedules, and leaves.  What escapes from the scheduler itself is fatal."""
    s: Sched = m.sched
    m.ident = threading.get_ident()
    m.procid = threading.get_native_id()
    bind_thread(m)
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(*s.agenhooks)
    try:
        m.p = m.nextp
        m.nextp = None
        loop(m)
    except BaseException:
        import traceback

        throw("scheduler failed", traceback.format_exc())
    finally:
        sys.set_asyncgen_hooks(*hooks)
        mexit(m)


def mexit(m):
    """Takes m out of the runtime: its P, if it still has one, and its place in allm."""
    s: Sched = m.sched
    p: P = m.p
    m.p = None
    m.schedlink = None  # it was idle when the end came: the next one, which may be one of thousands
    s.lock()
    if p is not None and unbind(p, m.id):
        pidleput(s, p)
    if m in s.allm:
        s.allm.remove(m)
    s.nmfreed += 1
    s.unlock()
    bind_thread(None)


# ---- for main.py, when a program ends ---------------------------------------------------------------------------------


def in_context(g, fn):
    """Calls fn() in g's context."""
    if cython.compiled:
        rt_swap_context(cython.address(g.context))
        try:
            return fn()
        finally:
            rt_swap_context(cython.address(g.context))
    return g.context.run(fn) if g.context is not None else fn()


def unlink(g):
    """Takes a chain apart, one link at a time: freed at once it would recurse.  allgs holds what is in it; the lock that
    guards the chain is held."""
    rest: G
    while g is not None:
        rest = g.schedlink
        g.schedlink = None
        g = rest


def release_queues(s):
    """Empties every queue and free list of goroutines.  A thread that is late may still be about to use them."""
    p: P
    for p in s.allp:
        p.lock()
        unlink(p.runqhead)
        p.runqhead = None
        p.runqtail = None
        p.runqsize = 0
        p.runnext = None
        unlink(p.gfree)
        p.gfree = None
        p.ngfree = 0
        p.unlock()
    s.lock()
    unlink(s.runqhead)
    s.runqhead = None
    s.runqtail = None
    s.runqsize = 0
    unlink(s.gfree)
    s.gfree = None
    s.ngfree = 0
    s.unlock()


def release_idle(s):
    """Takes the idle lists apart, once no thread is left that might want a P to end its goroutine with."""
    p: P
    for p in s.allp:
        p.link = None
    s.pidle = None
    s.midle = None
