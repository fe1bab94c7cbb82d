# cython: cdivision=True
"""The scheduler: schedule, execute, park.  Follows Go's runtime/proc.go.

One M runs one goroutine at a time: `loop` picks it (findrunnable) and resumes its coroutine (execute) until an
operation suspends it.  Everything after the suspension happens on g0, that is, in this loop: it parks the goroutine,
enqueues it again, or reports its end.

A goroutine is a coroutine, or a plain function that runs on its M until it returns.

What does not live here: the search for work (findrunnable.py), threads locked to a goroutine (locked.py), how goroutines
are made (newproc.py), how Ps change hands (handoff.py), the queues (runq.py), timers (timers.py), the boot (rt0.py).
"""

from __future__ import annotations

import sys
import threading
from types import CoroutineType, FunctionType

import cython
from cython.cimports.cpython.ref import PyObject, Py_XDECREF
from cython.cimports.gort._runtime.c.rt import (
    FREE_THREADED,
    rt_begin_loop,
    rt_call_in,
    rt_fetch_exc,
    rt_import,
    rt_resume,
    rt_stack_here,
    rt_swap_context,
    rt_throw_in,
    rt_traced,
)
from cython.cimports.gort._runtime.core.handoff import (
    checkdead,
    deliver_cancel,
    enqueue,
    fatal,
    found_dead,
    handoffp,
    pidleget,
    pidleput,
    resetspinning,
    unbind,
    wakep,
    bind,
)
from cython.cimports.gort._runtime.core.idle import stopm
from cython.cimports.gort._runtime.core.op import MCALL_LOOK
from cython.cimports.gort._runtime.core.runq import globrunqget, globrunqput, runqget, runqput
from cython.cimports.gort._runtime.core.runtime2 import (
    MCALL_NONE,
    MCALL_PARK,
    MCALL_PASS,
    MCALL_THROW,
    MCALL_YIELD,
    G,
    M,
    Op,
    P,
    Sched,
    _Grunnable,
    _Grunning,
    _Gwaiting,
)
from cython.cimports.gort._runtime.core.seed import stopped as draw_order
from cython.cimports.gort._runtime.core.tracing import (
    HOOK_MIGRATION,
    HOOK_RUNS,
    HOOK_SEED,
    HOOK_TRACE,
    HOOK_WAITS,
    blocked,
    ended,
    started,
    stopped,
    waits,
)
from cython.cimports.gort._runtime.sched.findrunnable import (
    CHECK_GLOBAL,
    CHECK_NETPOLL,
    LOOK_AT_SLICE,
    findrunnable,
)
from cython.cimports.gort._runtime.sched.debugger import carry_trace, lend_trace
from cython.cimports.gort._runtime.sched.locked import schedule_locked, startlockedm
from cython.cimports.gort._runtime.sched.newproc import forget, gfput, stays_free
from cython.cimports.gort._runtime.sched.predict import lookahead

from gort._runtime.core import mistakes
from gort._runtime.core.errors import Cancelled, Goexit, is_a
from gort._runtime.core.lockrank import throw, trace_of_error
from gort._runtime.core.op import drop_swallowed
from gort._runtime.core.runtime2 import bind_thread
from gort._runtime.sched.blocking import call, coroutine_of

rt_import()

if not cython.compiled:
    _send = CoroutineType.send  # unbound, because binding it at each resumption would make an object

if cython.compiled:

    def resume(m, g):
        """Runs g's coroutine to its next suspension.  Returns 1: suspended, 0: returned m.retval, -1: raised m.exc.
        m.retval is None before, and is stored only where it becomes another object."""
        res: cython.pointer(PyObject) = cython.NULL
        r: cython.int = rt_resume(
            cython.cast(cython.pointer(PyObject), g.coro),
            cython.address(g.context),
            cython.address(res),
        )
        if r < 0:
            m.exc = rt_fetch_exc()
        elif res != cython.NULL:
            if (
                r == 0 or m.mcall == MCALL_NONE or m.mcall >= MCALL_LOOK
            ):  # else the user's code yields an object of its own, for an operation
                m.retval = cython.cast(object, res)
            Py_XDECREF(res)
        return r

    def call_in(m, g, fn, args, kwargs, via):
        """Calls a plain function in g's context.  Returns 0: m.retval is its result, -1: raised m.exc."""
        res: cython.pointer(PyObject) = cython.NULL
        r: cython.int = rt_call_in(
            cython.cast(cython.pointer(PyObject), fn),
            cython.cast(cython.pointer(PyObject), args),
            cython.cast(cython.pointer(PyObject), kwargs),
            cython.cast(cython.pointer(PyObject), via),
            cython.address(g.context),
            cython.address(res),
        )
        if r < 0:
            m.exc = rt_fetch_exc()
        else:
            m.retval = cython.cast(object, res)
            Py_XDECREF(res)
        return r

    def throw_in_c(m, g, exc):
        """Raises exc in g's coroutine.  Returns what resume returns."""
        res: cython.pointer(PyObject) = cython.NULL
        coro: object = g.coro
        r: cython.int = rt_throw_in(
            cython.cast(cython.pointer(PyObject), coro),
            cython.cast(cython.pointer(PyObject), exc),
            cython.address(g.context),
            cython.address(res),
        )
        if r > 0:
            if m.mcall == MCALL_NONE or m.mcall >= MCALL_LOOK:  # as in resume
                m.retval = cython.cast(object, res)
            Py_XDECREF(res)
            return 1
        m.exc = rt_fetch_exc()
        if type(m.exc) is StopIteration:
            m.retval = m.exc.value
            m.exc = None
            return 0
        return -1

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
    """Runs g until it suspends or ends; raises g.throw at its await if that is set.  Returns what resume returns."""
    if g.throw is not None:
        if g.coro is None:
            m.exc = g.throw
            g.throw = None
            return -1
        return throw_in(m, g)
    if g.coro is not None:
        return resume(m, g)
    # A plain function: it keeps this thread until it returns.  What may be written in C, and then has no frame of its
    # own, is called from call's, where a signal handler may raise.
    fn: object = g.fn
    args: object = g.args
    kwargs: object = g.kwargs
    via: object = None if type(fn) is FunctionType else call
    if cython.compiled:
        if call_in(m, g, fn, args, kwargs, via) < 0:
            return -1
        fn = m.retval
        if fn is None:
            return 0
        if call_in(m, g, fn, None, None, coroutine_of) < 0:
            return -1
        if m.retval is None:
            m.retval = fn
            return 0
        g.coro = m.retval
        m.retval = None
        return resume(m, g)
    try:
        kwargs = kwargs or {}
        m.retval = g.context.run(fn, *args, **kwargs) if via is None else g.context.run(via, fn, args, kwargs)
        if m.retval is not None:
            g.coro = coroutine_of(m.retval, None, None)
    except BaseException as e:
        m.exc = e
        return -1
    if g.coro is None:
        return 0
    m.retval = None
    return resume(m, g)


def throw_in(m, g):
    """Resumes g with the exception g.throw at its await.  Returns what resume returns.

    The operation that g awaits raises it, as at the end of a program.  Coroutine.throw would raise it too, but CPython
    then enters only the innermost of g's coroutines: in an inner function sys.exc_info(), a bare `raise` and
    `__context__` would know nothing of the exception that an outer one handles."""
    r: cython.int
    exc: object
    # A coroutine that has not begun awaits nothing, and one that gets a TypeError awaits what is not gort's (foreign).
    if g.foreign:
        g.foreign = False
    elif g.coro.cr_suspended and type(g.throw) is not TypeError:
        m.mcall = MCALL_THROW
        r = resume(m, g)
        if m.mcall != MCALL_THROW:
            return r
        m.mcall = MCALL_NONE  # an awaitable of the user's has kept that from the operation
        if r != 1 or g.throw is None:  # None: its scope has been left since
            return r
        m.retval = None
    exc = g.throw
    g.throw = None
    if cython.compiled:
        return throw_in_c(m, g, exc)
    try:
        m.retval = g.context.run(g.coro.throw, exc)
        return 1
    except StopIteration as e:
        m.retval = e.value
        return 0
    except BaseException as e:
        m.exc = e
        return -1
    finally:
        exc = None  # uncompiled, this frame is behind those in its traceback: a circle


def execute(m, g):
    """Runs g until it suspends or ends.  Then, on g0, parks it, enqueues it, or frees it."""
    mcall: cython.int
    r: cython.int
    g.status = _Grunning
    g.mid = m.id
    g.nrun += 1
    m.p.switchtick = m.p.switchtick + 1  # tells sysmon that another goroutine runs; schedtick counts slices only
    m.curg = g
    if m.sched.hooks & HOOK_RUNS:
        started(m, g)
    m.preempt = m.sched.predicting
    if m.preempt:
        lookahead(m, g)
    if g.trace is not None:
        lend_trace(m, g)
    if g.coro is not None and g.throw is None:
        r = resume(m, g)
    elif g.coro is None and m is m.sched.m0 and g.throw is None and stays_free(m, g):
        if m.sched.hooks & HOOK_TRACE:
            stopped(m, g)
        pass_on(m, g)
        return 0
    else:
        r = run(m, g)
    if rt_traced():
        carry_trace(m, g)
    mcall = m.mcall
    if r != 1:
        goexit0(m, g, r)
        return 0
    m.mcall = MCALL_NONE
    if m.sched.hooks:
        tell(m, g, mcall)
    m.curg = None
    if mcall == MCALL_PARK:
        park(m, g)
    elif mcall == MCALL_YIELD:
        yielded(m.sched, g)
    elif mcall == MCALL_PASS:
        pass_on(m, g)
    else:
        foreign(m, g)


def tell(m, g, mcall):
    """Tells those who want to know (sched.hooks) that g has suspended.  No other thread can run it yet."""
    if m.sched.hooks & HOOK_MIGRATION:
        from gort._runtime.sched import migration

        migration.suspended(g)
    if m.sched.hooks & HOOK_SEED:
        draw_order(m)
    if m.sched.hooks & HOOK_WAITS and mcall == MCALL_PARK:
        waits(g, m.parkop)
    if m.sched.hooks & HOOK_RUNS:
        if mcall == MCALL_PARK:
            if m.sched.hooks & HOOK_TRACE:
                blocked(m, g, m.parkop)
        elif mcall in (MCALL_YIELD, MCALL_PASS):
            stopped(m, g)


def pass_on(m, g):
    """Leaves the runnable goroutine g, which is about to block its thread, to another M (newproc.stays_free)."""
    s: Sched = m.sched
    p: P = m.p
    m.curg = None
    m.p = None
    g.status = _Grunnable
    if not runqput(s, p, m.id, g, True):
        globrunqput(s, g)
    handoffp(s, p, m.id)
    if not FREE_THREADED:
        s.lock()
        s.starting = None  # m must not overtake the M that it has just woken: it would find g again
        s.unlock()


def yielded(s, g):
    """Puts g, which has yielded, at the tail of the global queue."""
    g.status = _Grunnable
    globrunqput(s, g)
    if s.npidle != 0 and s.nmspinning == 0:
        wakep(s)


def foreign(m, g):
    """g has awaited an object that is not gort's: parks it if that is a future of an asyncio loop that runs.  Else it
    raises a TypeError at its await."""
    from gort._runtime.core import panic

    op: Op = panic.wait_foreign(m.retval, g)
    if op is not None:
        m.retval = None
        m.parkop = op
        if m.sched.hooks & HOOK_TRACE:
            blocked(m, g, op)
        park(m, g)
        return 0
    if m.sched.hooks & HOOK_TRACE:
        stopped(m, g)
    g.throw = panic.foreign_await(m.retval)
    m.retval = None
    g.status = _Grunnable
    enqueue(g, True)


def park(m, g):
    """Parks g on m.parkop, or makes it runnable at once if ready has come in the meantime."""
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
    g.waitsince = g.sched.coarsetime
    if g.cancelflag:
        g.unlock()
        deliver_cancel(g, op)
        return 0
    g.unlock()


def uncaught(s, g, exc):
    """Ends the program with the exception that nobody has caught in g; Goexit and Cancelled end g only.  To make the
    dump takes a while, and main may return in it."""
    if is_a(exc, Goexit, Cancelled):
        return
    s.panicking = True
    try:  # the import may fail: perhaps no descriptor is left
        from gort._runtime.core import panic

        panic.uncaught(s, g, exc)
    except BaseException:
        fatal(s, exc)


def goexit0(m, g, r):
    """Frees the G of a goroutine that has ended and calls its Done.  An uncaught exception ends the program."""
    s: Sched = m.sched
    value: object = None
    exc: object = None
    done: object = None
    goid: cython.longlong = g.goid
    if m.mcall != MCALL_NONE:
        drop_swallowed(m)  # something inside g has swallowed the suspension of its last operation
    if g.done is not None or m.exc is not None or m.retval is not None:
        done = g.done
        value = m.retval
        exc = m.exc
        m.retval = None
        m.exc = None
        if exc is not None:
            mistakes.explain(exc)
            if done is None or done.panics:
                uncaught(s, g, exc)
    m.curg = None
    if g.lockedm is not None:
        m.lockedg = m.g0  # g has ended without unlock_os_thread: m runs no goroutine any more (locked.schedule_locked)
    if not g.system:
        m.ngs -= 1
    if s.hooks & HOOK_TRACE:
        ended(m, g)
    forget(g)
    gfput(s, m, g)
    if done is not None:
        done.finished(goid, value, exc)


# ---- choosing them ----------------------------------------------------------------------------------------------------


def schedule(m):
    """Returns the next goroutine for m, None when the runtime is exiting."""
    g: G
    if m.lockedg is not None:
        return schedule_locked(m)
    g = findrunnable(m)
    if m.spinning:
        resetspinning(m)
    return g


def loop(m):
    """Schedules until the runtime exits (Go's mstart1).

    The most frequent cases of findrunnable are repeated here: take a goroutine from the P's own queue, or else from the
    global one, when nothing else is due (a timer, a preemption, the turn of the global queue or of the poller)."""
    s: Sched = m.sched
    p: P
    g: G
    turn: cython.longlong
    rt_begin_loop()
    while True:
        p = m.p
        if (
            p is None
            or p.preempt
            or m.spinning
            or s.exiting
            or p.timer0when != 0
            or m.lockedg is not None
            or p.switchtick & LOOK_AT_SLICE == 0
            or (turn := p.schedtick % CHECK_GLOBAL) == 0
            or turn == CHECK_NETPOLL
        ):
            g = None  # schedule may sleep for long, and a goroutine that m has run may be over, or leaked
            g = schedule(m)
        else:
            g = runqget(p, m.id)
            if g is None and s.runqsize > 0 and p.mid == m.id:
                g = globrunqget(s, p, m.id, 0)
                if g is not None:
                    p.schedtick += 1
            if g is None:
                g = schedule(m)
        if g is None:
            return
        if g.lockedm is None or g.lockedm is m:
            execute(m, g)
        elif startlockedm(m, g):
            g = None
            stopm(m)


def begin():
    """Called before the first execute of a loop that is not `loop` (chooser.py), on its thread."""
    rt_begin_loop()


def mstart(m):
    """The function of an M's thread: binds the thread to m, schedules, and takes m out of the runtime.  An exception in
    the scheduler itself ends the process.

    If there is no memory for the first steps it raises MemoryError and leaves the P in m.nextp (newosproc.Thread)."""
    s: Sched = m.sched
    m.ident = threading.get_ident()
    m.procid = threading.get_native_id()
    m.stackhi = rt_stack_here()
    hooks = sys.get_asyncgen_hooks()
    refused: object = set_agenhooks(s.agenhooks)
    if type(refused) is MemoryError:
        raise refused
    bind_thread(m)
    try:
        if m.nextp.mid == m.id:
            m.nextp.procid = m.procid  # whoever bound the P did not know it
        m.p = m.nextp
        m.nextp = None
        m.thread.began = True
        if refused is not None:
            fatal(s, refused)  # the program ends with it, as where the main thread's hooks are refused
        loop(m)
    except MemoryError:
        throw("runtime: out of memory", trace_of_error)  # the scheduler cannot tell what it has not done
    except BaseException:
        throw("scheduler failed", trace_of_error)
    finally:
        set_agenhooks(hooks)  # if that fails, the thread ends all the same
        mexit(m)


def set_agenhooks(hooks):
    """Sets this thread's hooks for async generators.  Returns what an audit hook of the program's raises, or None."""
    try:
        sys.set_asyncgen_hooks(*hooks)
    except BaseException as e:
        return e
    return None


def mexit(m):
    """Takes m out of the runtime: gives up its P, if it still owns one, and leaves allm.  Where all others are idle, that
    may show a deadlock."""
    s: Sched = m.sched
    p: P = m.p
    dead: cython.bint
    m.p = None
    m.schedlink = None  # m may have been idle: drops the link to the next idle M, which may hold thousands more
    m.thread.left = True  # before it leaves allm: no deadlock check may take it for a thread from outside
    s.lock()
    if p is not None and unbind(p, m.id):
        pidleput(s, p)
    try:
        if m in s.allm:
            s.allm.remove(m)
    except MemoryError:
        pass  # a list that shrinks may need some; m now counts as running, so no deadlock is found any more
    s.ngs += m.ngs
    m.ngs = 0
    s.nmfreed += 1
    dead = checkdead(s)
    s.unlock()
    bind_thread(None)
    if dead:
        found_dead(s)


# ---- what main.py needs when a program ends ---------------------------------------------------------------------------


def in_context(g, fn):
    """Calls fn() in g's context and returns its result."""
    if cython.compiled:
        rt_swap_context(cython.address(g.context))
        try:
            return fn()
        finally:
            rt_swap_context(cython.address(g.context))
    return g.context.run(fn) if g.context is not None else fn()
