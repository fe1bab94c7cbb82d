"""The go statement: makes goroutines.  Follows newproc, gfget and gfput in Go's runtime/proc.go.

The next go statement reuses a dead G.  Each P keeps a list of them; what is too many for it goes to sched's list.  What
does not live here: running goroutines (proc.py).
"""

from __future__ import annotations

import sys

import cython
from cython.cimports.cpython.ref import PyObject, Py_INCREF, Py_XDECREF
from cython.cimports.gort._runtime.c.rt import (
    FREE_THREADED,
    copy_context,
    rt_builtin,
    rt_call,
    rt_caller,
    rt_copy_context,
    rt_gc_hide,
    rt_gc_hide_coro,
    rt_gc_show,
    rt_gc_show_coro,
    rt_import,
    rt_is_async_function,
    rt_new_none,
    rt_vectorcall,
)
from cython.cimports.gort._runtime.core.handoff import enqueue
from cython.cimports.gort._runtime.core.op import share
from cython.cimports.gort._runtime.core.runq import runqput
from cython.cimports.gort._runtime.core.runtime2 import G, M, P, Sched, _Gdead, _Grunnable, getm
from cython.cimports.gort._runtime.core.tracing import HOOK_RUNS, HOOK_TRACE, created, discarded

from gort._runtime.core import mistakes

rt_import()

GOID_BATCH = 16  # a P takes so many goroutine numbers at a time, as in Go, to use the shared counter rarely
GFREE_MAX = 64  # a P keeps fewer dead Gs than this
GFREE_BATCH = 32  # so many dead Gs at a time move between a P and sched's list, to take sched.lock rarely
# The same for C.
_GOID_BATCH = cython.declare(cython.int, GOID_BATCH)
_GFREE_MAX = cython.declare(cython.int, GFREE_MAX)
_GFREE_BATCH = cython.declare(cython.int, GFREE_BATCH)


def current_context():
    """A copy of the current context.  On the compiled core, None if the context is empty."""
    return copy_context()


class Done:
    """The object that the scheduler calls when a goroutine has ended (G.done); the base of all that newproc accepts as
    `done`.

    The call comes on g0, after the G has been freed for reuse, so it passes the goroutine's number and not the G.  The
    scheduler holds no lock then, and the call must not block.  Subclasses: gort/group.py for a group, gort/sync.py for
    a wait group, boot/main.py for the program, boot/wait.py for a thread in gort.wait."""

    __slots__ = ()  # a subclass that has them too is small: there may be one for each of a million goroutines

    # True: an exception that the goroutine does not catch ends the program, and then finished() is called.
    panics = False
    label = ""  # what a dump says of the goroutine beside its state, as Go does with labels

    def finished(self, goid, value, exc):
        """Goroutine goid has returned value, or ended with the exception exc."""
        raise NotImplementedError

    def abandoned(self, goid):
        """The program has ended and has closed goroutine goid; finished() will not be called."""


if cython.compiled:

    def inherit_context(g):
        """Gives g a copy of the current context, or no context if the current one is empty and was never used."""
        g.context = rt_copy_context()

    def clear_context(g):
        """Drops g's context."""
        ctx: cython.pointer(PyObject) = g.context
        g.context = cython.NULL
        Py_XDECREF(ctx)


def newgoid(s, m):
    """Takes a new batch of goroutine numbers when the P has used up its own: returns the first number and gives the P
    the rest.  Without a P, or when the P has been lost or has new numbers already, it takes one number."""
    p: P = m.p if m is not None else None
    goid: cython.longlong
    s.lock()
    goid = s.goidgen + 1
    s.goidgen = goid
    if p is not None:
        p.lock()
        if p.mid == m.id and p.goidcache == p.goidcacheend:
            p.goidcache = goid + 1
            s.goidgen = goid + _GOID_BATCH - 1
            p.goidcacheend = goid + _GOID_BATCH
        p.unlock()
    s.unlock()
    return goid


def made(s):
    """The number of goroutines made: the numbers given out but for those that Ps hold in advance."""
    n: cython.longlong
    p: P
    i: cython.Py_ssize_t
    s.lock()
    n = s.goidgen
    for i in range(len(s.allp)):  # by index: uncompiled, the iterator of a list is an object that the collector tracks
        p = s.allp[i]
        p.lock()
        n -= p.goidcacheend - p.goidcache
        p.unlock()
    s.unlock()
    return n


def gfget(s, m):
    """Returns a dead G for reuse, or makes one and adds it to allgs.  Its goid is set, or 0 if the P's batch of numbers
    is used up.

    Both come from the P, under its lock and only while m owns it.  Otherwise a thread that has lost its P without
    noticing could give out a number that the new owner gives out too."""
    g: G = None
    p: P = m.p if m is not None else None
    goid: cython.longlong = 0
    if p is not None:
        p.lock()
        if p.mid == m.id:
            if p.goidcache != p.goidcacheend:
                goid = p.goidcache
                p.goidcache = goid + 1
            if p.gfree is not None:
                g = p.gfree
                p.gfree = g.schedlink
                p.ngfree -= 1
        p.unlock()
        if g is not None:
            g.schedlink = None
            g.goid = goid
            return g
    if s.gfree is not None:
        g = gfget_global(s, m, p)
        if g is not None:
            g.goid = goid
            return g
    g = G.__new__(G) if cython.compiled else G()
    if cython.compiled:
        rt_gc_hide(g)  # until disown
    g.sched = s
    g.goid = goid
    s.lock_allg()
    try:
        s.allgs.append(g)
    finally:  # there may be no memory for it to grow
        s.unlock_allg()
    if FREE_THREADED:
        share(s, g)
    return g


def gfget_global(s, m, p):
    """Returns one of the dead Gs on sched's list and moves up to GFREE_BATCH - 1 more to p's.  None when another thread
    has taken the last."""
    g: G
    first: G = None
    last: G = None
    n: cython.int = 0
    s.lock()
    g = s.gfree
    if g is not None:
        s.gfree = g.schedlink
        if p is not None:
            first = s.gfree
            while s.gfree is not None and n < _GFREE_BATCH - 1:
                last = s.gfree
                s.gfree = last.schedlink
                n += 1
        s.ngfree -= n + 1
    s.unlock()
    if g is None:
        return None
    g.schedlink = None
    if n != 0:
        p.lock()
        if p.mid == m.id:
            last.schedlink = p.gfree
            p.gfree = first
            p.ngfree += n
            n = 0
        p.unlock()
        if n != 0:
            gfput_global(s, first, last, n)
    return g


def gfput_global(s, first, last, n):
    """Puts a chain of n dead Gs on sched's list."""
    s.lock()
    last.schedlink = s.gfree
    s.gfree = first
    s.ngfree += n
    s.unlock()


def gfput(s, m, g):
    """Puts the dead G g on the P's list for the next go statement, or on sched's if m owns no P.  A P's full list moves
    GFREE_BATCH of them on to sched's."""
    p: P = m.p
    last: G = g
    n: cython.int = 1
    if p is not None:
        p.lock()
        if p.mid == m.id:
            g.schedlink = p.gfree
            p.gfree = g
            p.ngfree += 1
            if p.ngfree < _GFREE_MAX:
                p.unlock()
                return
            while n < _GFREE_BATCH:
                last = last.schedlink
                n += 1
            p.gfree = last.schedlink
            p.ngfree -= n
        p.unlock()
    gfput_global(s, g, last, n)


def disown(s):
    """Empties allgs when the runtime has ended."""
    g: G
    for g in s.allgs:
        if cython.compiled:
            rt_gc_show(g)
    s.allgs.clear()


def go(fn, /, *args, **kwargs):
    """The go statement: starts fn(*args, **kwargs) as a goroutine and returns at once.  Follows newproc (Go's
    runtime/proc.go).

    fn is an async function or a plain one; a plain one keeps its thread until it returns.  An uncaught exception in the
    goroutine ends the program.  Raises TypeError if fn is not callable, or is an async function that the arguments do
    not fit; RuntimeError outside a running runtime."""
    m: M = getm()
    s: Sched
    if m is None or m.curg is None:
        mistakes.not_running(fn, "gort.go")
    s = m.sched
    if s.ending or not callable(fn):
        mistakes.check_go(s, fn, "gort.go")
    g: G = make(s, fn, args, kwargs, None, False)
    enqueue(g, True)


if cython.compiled:
    _go = go

    def go_fast(self, args, nargs, kwnames):
        """go's fast path, in the interpreter's calling convention: calls an async function with the arguments where
        they are on the caller's stack, so that no tuple is made.  Passes everything else to go."""
        m: M = getm()
        fn = cython.cast(object, args[0]) if nargs > 0 else None
        if (
            kwnames == cython.NULL
            and rt_is_async_function(fn)
            and m is not None
            and m.curg is not None
            and not m.sched.ending
        ):
            enqueue(new_g(m.sched, m, rt_call(fn, args + 1, nargs - 1), None, False), True)
            return rt_new_none()
        return rt_vectorcall(_go, args, nargs, kwnames)

    go = rt_builtin(go, go_fast)


def newproc(s, fn, args, kwargs, done, system):
    """Makes a goroutine that runs fn(*args, **kwargs) and puts it on this P's queue, to run next."""
    g: G = make(s, fn, args, kwargs, done, system)
    enqueue(g, True)


def newproc_plain(fn, arg, done):
    """newproc for fn(arg) in this M's runtime, where fn is known to be a plain function of Python's."""
    m: M = getm()
    g: G = new_g(m.sched, m, None, done, False)
    g.fn = fn
    g.args = (arg,)
    if m.sched.hooks & HOOK_RUNS:
        created(m, g)
    enqueue(g, True)


def make(s, fn, args, kwargs, done, system):
    """Makes a goroutine and leaves it off every queue.

    Calls fn here if it is an async function, so that wrong arguments raise TypeError at the go statement, in the
    caller."""
    m: M = getm()
    coro: object = None
    if m is not None and m.sched is not s:
        m = None
    if rt_is_async_function(fn):
        coro = fn(*args, **kwargs) if kwargs else fn(*args)
    else:
        mistakes.check_plain(fn)
    g: G = new_g(s, m, coro, done, system)
    if coro is None:
        g.fn = fn
        g.args = args
        g.kwargs = kwargs
        if s.hooks & HOOK_RUNS:
            created(m, g)
    return g


def new_g(s, m, coro, done, system):
    """Makes a goroutine that will run coro.  m is this thread's M, or None if this thread is no M of s."""
    lasti: cython.int = -1
    g: G = gfget(s, m)
    if cython.compiled and coro is not None:
        rt_gc_hide_coro(coro)  # until forget, or the end of g
    g.coro = coro
    g.done = done
    g.system = system
    if cython.compiled:
        g.gocode = rt_caller(cython.address(lasti))
        g.golasti = lasti
        inherit_context(g)
        if FREE_THREADED and coro is not None:
            share(s, coro)
    else:
        frame = sys._getframe(3)
        g.gocode = frame.f_code
        g.golasti = frame.f_lasti
        g.context = copy_context()
    g.parentgoid = m.curg.goid if m is not None and m.curg is not None else 0
    if g.goid == 0:
        g.goid = newgoid(s, m)
    g.status = _Grunnable
    if m is None:
        count_outside(s, system)
    elif not system:
        m.ngs += 1
    if coro is not None and s.hooks & HOOK_RUNS:
        created(m, g)
    return g


def count_outside(s, system):
    """Counts a goroutine that a thread which is no M has made."""
    if not system:
        s.lock()
        s.ngs += 1
        s.unlock()


def gcount(s):
    """The number of goroutines, without the runtime's own.  Follows Go's gcount (runtime/proc.go).

    Rejected: to count allgs without the free lists, as Go does.  Dead Gs that are just moving from one list to another
    would count."""
    n: cython.longlong
    m: M
    i: cython.Py_ssize_t
    s.lock()
    n = s.ngs
    for i in range(len(s.allm)):
        m = s.allm[i]
        n += m.ngs
    s.unlock()
    return n


def busy(s):
    """The number of Ms that may make something runnable: all but those that sleep, wait in gort.wait, or poll.  The
    caller's is one of them.  Who looks for a deadlock of several processes asks (gort.cluster)."""
    n: cython.longlong
    s.lock()
    n = len(s.allm) - s.nmidle - s.nmidlelocked - s.npolling
    s.unlock()
    return n


def make_late(s, fn, args):
    """make for a function that was given earlier, by somebody who is not here any more: what make raises (the arguments
    do not fit) is raised in the goroutine, and not in a timer that fires on g0 or in whoever cancels a context."""
    try:
        return make(s, fn, args, None, None, False)
    except BaseException as e:
        return make(s, mistakes.raise_late, (e,), None, None, False)


def newproc_in(s, fn, args, context, code, lasti, parent):
    """newproc for a function that was given earlier (make_late): runs it in `context`, which current_context returned
    then.  `code` and `lasti` name the line that gave it, parent the goroutine."""
    g: G = make_late(s, fn, args)
    g.gocode = code
    g.golasti = lasti
    g.parentgoid = parent
    if cython.compiled:
        clear_context(g)
        if context is not None:
            g.context = cython.cast(cython.pointer(PyObject), context)
            Py_INCREF(context)
    else:
        g.context = context
    enqueue(g, True)


def make_from(s, fn, args, kwargs, done, code, lasti, system=False):
    """Makes a goroutine for a library function that the user called as a go statement: `code` and `lasti` name the user's
    line.  It is on no queue: the caller starts it, by `start`, or drops it, by `discard`.

    Returns (g, goid): once it runs it may end, and its G be reused, before the caller reads g.goid."""
    g: G = make(s, fn, args, kwargs, done, system)
    g.gocode = code
    g.golasti = lasti
    return g, g.goid


def start(g, exc):
    """Puts a goroutine of make_from on this P's queue, to run next.  With an exception it ends with that, unrun."""
    g.throw = exc
    enqueue(g, True)


def start_main(g):
    """start for the main goroutine.  It wakes no other thread, so that main begins on m0, the main thread.  Follows
    mainStarted in Go's newproc (runtime/proc.go)."""
    m: M = getm()
    runqput(g.sched, m.p, m.id, g, True)


def discard(g):
    """Frees a goroutine of make_from that will not run.  Its Done is not called."""
    m: M = getm()
    coro: object = g.coro
    if g.sched.hooks & HOOK_TRACE:
        discarded(m, g)
    forget(g)
    if m is not None and m.sched is g.sched:
        gfput(g.sched, m, g)
    if coro is not None:
        coro.close()


def newproc_from(s, fn, args, kwargs, done, code, lasti):
    """make_from and start in one."""
    g, goid = make_from(s, fn, args, kwargs, done, code, lasti)
    start(g, None)
    return g, goid


def stays_free(m, g):
    """True when another thread than m0 must run the goroutine g, which is about to block its thread.

    If gort.run was called in a thread of the program's, no signal handler runs in m0, so a call that blocks it cannot be
    ended.  m0's thread is also gort.run's caller, so the program's end would wait for that call; for other Ms it waits no
    longer than GRACE (boot/main.py).  m0 has to do where the system gives no more threads; and at the end, when m0 closes
    the goroutines: no other M is left, and what a `finally` block calls is to be called.  And in an explored schedule,
    which has one thread."""
    s: Sched = m.sched
    if s.caninterrupt or s.chooser is not None:
        return False
    return m is s.m0 and not s.ending and s.nmstartfailed == 0 and g.lockedm is None


def forget(g):
    """Clears the fields of a goroutine that has ended.  A dump on another thread may be reading it (runtime2.peek), so
    the fields that peek reads are cleared under the lock, and their objects are freed when this returns.  What is None
    as a rule is looked at first: that costs less than to store None again."""
    coro: object = g.coro
    _code: object = g.gocode
    _fn: object  # these three only where g has one: it costs less to look than to count references to None
    _scope: object
    _done: object
    g.lock()
    g.coro = None
    g.gocode = None
    g.status = _Gdead
    g.goid = 0
    g.parked = False
    g.readied = False
    if g.fn is not None:
        _fn = g.fn
        g.fn = None
    if g.done is not None:
        _done = g.done
        g.done = None
    if g.scope is not None:  # under the lock: g may be cancelled at this moment, which enters a scope
        _scope = g.scope
        g.scope = None
    if g.waitop is not None:
        g.waitop = None
    if g.cancelflag:
        g.cancelflag = False
        g.cancelexc = None
    g.unlock()
    if cython.compiled and coro is not None:
        rt_gc_show_coro(coro)
    if g.args is not None:
        g.args = None
        g.kwargs = None
    if g.throw is not None:
        g.throw = None
    if g.foreign:
        g.foreign = False
    if g.lockedm is not None:
        g.lockedm = None
    if cython.compiled:
        clear_context(g)
    else:
        g.context = None
