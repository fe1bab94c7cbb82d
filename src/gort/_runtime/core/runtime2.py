# distutils: define_macros=GORT_RT_OWNER=1
"""The runtime's structures: G, M, P, sched, and the operation object.  Follows Go's runtime/runtime2.go.

They refer to each other in circles, so, as in Go, one file holds them all, and other files hold the code that acts on
them.  What does not live here: scheduling.  runtime2.pxd gives the fields their C types.

Who owns what
- Exactly one place owns a G at a time: a run queue (`_Grunnable`), an M (`_Grunning`), the wait queue of the operation
  that it is parked on (`_Gwaiting`), or a free list (`_Gdead`).
- Only the M itself writes its `m.p`, but a P there does not prove that the M still owns it: `p.mid` decides.
  sysmon may clear `p.mid` under the P's lock at any time; the M notices when it next takes that lock.

Parking: a handshake instead of a lock held across the switch
  Go's gopark keeps the channel locked until the goroutine is off its stack, so that nobody can run it twice.  Here
  arbitrary user code (a hand-written awaitable, say) can run between an operation and the M's loop, and a lock held
  across that code could deadlock or never be released.  So the operation enqueues itself, releases the lock and
  suspends; the M, on g0, then sets `g.parked` under the G's lock.  A waker that comes earlier finds `parked` false and
  only sets `g.readied`; the M sees that and puts the goroutine on a run queue itself.  Whichever of the two comes
  second makes the goroutine runnable: exactly once, and never before it is off its thread.  The same lock guards a
  pending cancellation, so no cancellation is lost between the M's check for one and the park.
"""

from __future__ import annotations

import threading

import cython
from cython.cimports.cpython.exc import PyErr_CheckSignals
from cython.cimports.cpython.ref import PyObject
from cython.cimports.gort._runtime.c.rt import (
    fields,
    nanotime,
    rt_doing,
    rt_export,
    rt_gc_show_coro,
    rt_getm,
    rt_install_op,
    rt_load_once,
    rt_note_clear,
    rt_note_sleep,
    rt_note_wakeup,
    rt_op_check,
    rt_set_lockrank,
    rt_set_never,
    rt_set_public,
    rt_set_rank_throw,
    rt_setm,
    rt_stack_bounds,
    rt_tls_load,
    rt_tls_store,
    with_keys,
)
from cython.cimports.gort._runtime.core.lockrank import (
    LOCK_RANK_ALLG,
    LOCK_RANK_G,
    LOCK_RANK_P,
    LOCK_RANK_SCHED,
    LOCK_RANK_TIMERS,
)

from gort._runtime.core import lockrank
from gort._runtime.core.lockrank import make_lock
from gort._runtime.core.mistakes import shared, warn

if cython.compiled:
    _rt = rt_export()  # the C state that every other hot module imports; see gort_rt.h
else:  # the .pxd defines the same names for C
    getm = rt_getm  # the M of this thread, or None

    # G: who owns it -> which state may follow.
    _Gidle = 0  # just made and not initialised; newproc owns it
    _Grunnable = 1  # on a run queue, which owns it -> _Grunning
    _Grunning = 2  # on an M with a P -> _Grunnable, _Gsyscall, _Gwaiting, _Gdead
    _Gsyscall = 3  # on an M without a P, in a call known to block -> _Grunning, _Grunnable
    _Gwaiting = 4  # parked; the wait queue of g.waitop owns it -> _Grunnable, only by ready
    _Gdead = 6  # finished; on a free list -> _Grunnable, only by newproc

    # P
    _Pidle = 0  # on sched.pidle, or between two owners
    _Prunning = 1  # owned by the M p.mid
    _Psyscall = 2  # never used: an M gives its P up at once (entersyscall), or sysmon takes it
    _Pgcstop = 3  # taken by stop-the-world
    _Pdead = 4  # beyond GOMAXPROCS; its goroutines went to the global queue, allp keeps it for reuse

    # m.mcall: what an operation asks of the M's loop when its goroutine suspends.
    MCALL_NONE = 0  # nothing: what the goroutine yielded does not come from gort
    MCALL_PARK = 1  # park the goroutine on m.parkop
    MCALL_YIELD = 2  # enqueue it globally: gosched, a preemption, or the end of a blocking call when no P was idle
    MCALL_PASS = 3  # let another thread than m0 run it (blocking.py)
    MCALL_EXIT = 4  # the other way round: the operation raises GeneratorExit, since the program ends (boot/main.py)
    MCALL_THROW = 5  # and this: it raises g.throw (proc.throw_in)
    MCALL_LOOP = 6  # callbacks of an asyncio loop run: operations wait for tasks, not for this goroutine (gort/aio)

    # Op.state
    OP_NEW = 0  # made and not awaited yet -> OP_DONE, by claim
    OP_PARKED = 1  # its goroutine has suspended on it -> OP_DONE
    OP_DONE = 2  # begun, or over; a second await is an error

    READY = 0  # Op.begin: done, the goroutine need not wait
    PARK = 1  # Op.begin: enqueued, the goroutine must suspend

    # Scope.state: what has become of the cancellation of a scope.
    SCOPE_IDLE = 0  # none was requested -> SCOPE_PENDING, SCOPE_LEFT
    SCOPE_PENDING = 1  # requested and not raised yet -> SCOPE_RAISED, SCOPE_LEFT
    SCOPE_RAISED = 2  # raised at an await of the goroutine -> SCOPE_PENDING (a second request, or rearm), SCOPE_LEFT
    SCOPE_LEFT = 3  # the goroutine has left the block: what was pending is withdrawn, a request does nothing

    # Op.index of an operation with a wait queue.  0: it was never in the queue.
    QUEUED = 1
    DEQUEUED = 2  # removed from the queue, by whoever completes it or by abort
    ATTEMPTING = 3  # removed by the thread that makes its system call at the moment (only in polldesc.py)

    SLICE_NS = 10_000_000  # Go's forcePreemptNS: how long a goroutine, or several through runnext, may keep a P
COMPILED = cython.compiled


def describe(op):
    """The operation as a user would write it, for messages."""
    return getattr(op, "what", None) or type(op).__name__


def never_awaited(op):
    """Warns that an operation was never awaited, as Python does for coroutines.  Silent after Ctrl-C just before that."""
    m = getm()
    if m is not None and m.sched is not None and m.sched.interrupted:
        return
    # The warning names the line that drops op.  In the compiled core this function and __dealloc__ have no frames.
    warn(f"{describe(op)} was never awaited", 1 if cython.compiled else 3)


def set_public(cls, home, signature):
    """Makes `home` the class's __module__ and, if it is compiled, gives it a signature; None: it has none."""
    rt_set_public(cls, home, signature)


SIGNAL_SLICE = 0.5  # seconds between two checks for signals in Note.sleep


class Note:
    """A one-shot sleep and wake-up between threads.  Follows Go's note (runtime/lock_futex.go), except that a second
    wake-up is harmless: sysmon, a signal and a timer may all wake the same thread."""

    if not cython.compiled:

        def __init__(self) -> None:
            self._lock = threading.Lock()
            self._lock.acquire()

    def sleep(self, timeout: float = -1.0) -> bool:
        """Sleeps until another thread calls wakeup, and consumes that wake-up; at most `timeout` seconds, without limit
        if it is negative.  True when woken, False after the timeout.  May raise what a signal handler raises."""
        # A signal that came while this thread ran compiled code is pending but cannot interrupt the sleep that follows.
        # So check for signals first, and again every SIGNAL_SLICE, for one that came just after that check.
        left: cython.double = timeout
        part: cython.double
        until: cython.longlong
        if not cython.compiled and self._lock.acquire(False):
            return True
        while True:
            part = SIGNAL_SLICE if left < 0 or left > SIGNAL_SLICE else left
            if cython.compiled:
                PyErr_CheckSignals()
                until = nanotime() + cython.cast(cython.longlong, part * 1e9)
                while True:
                    if rt_note_sleep(cython.address(self.woken), max(0, until - nanotime())):
                        return True
                    PyErr_CheckSignals()
                    if nanotime() >= until:
                        break
            elif self._lock.acquire(True, part):
                return True
            if left >= 0:
                left -= part
                if left <= 0:
                    return False

    def wakeup(self) -> None:
        """Wakes the sleeping thread, or makes the next sleep return at once."""
        if cython.compiled:
            rt_note_wakeup(cython.address(self.woken))
        elif self._lock.locked():
            try:
                self._lock.release()
            except RuntimeError:  # another thread has woken it between the two lines; once is enough
                pass

    def clear(self) -> None:
        """Drops a wake-up that no sleep has consumed."""
        if cython.compiled:
            rt_note_clear(cython.address(self.woken))
        else:
            self._lock.acquire(False)


class Op:
    """One operation, from `ch.send(v)` to its result: its own awaitable and, while it waits, its own sudog.

    `state` goes OP_NEW -> begin() -> OP_DONE, or OP_PARKED while it is in a wait queue, then OP_DONE.  Compiled
    subclasses add no field and no __dealloc__, because one free list serves them all (gort_rt.h).  So each operation
    uses the same fields for its own purposes.  Once begin() has enqueued the operation, the lock of the object that it
    waits for guards the fields marked L.

    | | ChanOp | SelectOp | WaitOp (sema) | SleepOp | IOOp | BlockingOp |
    |---|---|---|---|---|---|---|
    | kind | RECV, SEND, … | DEFAULT, TIMED, TWICE | WAIT_* | | READ, WRITE, … | |
    | c | the Chan | its cases, a tuple | the Waitq | | the FD | the function |
    | elem L | the value, or a tuple | the case that ran | | its Timer | buffer, then result | arguments, then result |
    | sel | the SelectOp of which it is a case | | the locker that Cond.wait releases | | an exception | an exception |
    | when | to receive, or sent | | permits, ticket, turn | ns to sleep | bytes wanted or written | |
    | success L | 1: a value passed | 1: won, 2: aborted (G's lock) | 1: granted | 1: over at once | OK, CLOSED, … | 1 |
    | index L | QUEUED, DEQUEUED | QUEUED: it has waited | QUEUED, DEQUEUED | | and ATTEMPTING | |
    | heapidx | next case in lock order | first case in lock order | SCOPED | | | |

    next, prev (L): the neighbours in the queue.  In a dequeued operation, next is the next operation to make ready.
    g: the goroutine that waits; set in begin().  None once a cancellation has aborted the operation (deliver_cancel).
    """

    __reduce_ex__ = shared

    if not cython.compiled:
        kind = 0
        state = 0
        success = 0
        index = 0
        heapidx = -1
        when = 0
        g = None
        c = None
        elem = None
        next = prev = sel = None
        __init_subclass__ = with_keys

    if cython.compiled:

        def __dealloc__(self):  # only for subclasses made in Python; rt_op_dealloc in gort_rt.h frees the others
            if self.state == OP_NEW:
                never_awaited(self)
    else:

        def __del__(self):
            if self.state == OP_NEW:
                never_awaited(self)

    def __repr__(self):
        return f"<operation {describe(self)} at {id(self):#x}>"

    def begin(self, g):
        """Does the operation and returns READY if it can complete now; else enqueues it for g and returns PARK."""
        raise NotImplementedError

    def finish(self):
        """Returns the operation's result, or raises its error.  May enqueue it once more and call op.park_again."""
        return None

    def abort(self):
        """Removes the operation from its wait queue.  True when it was there: the caller makes its goroutine ready."""
        return False

    def cancelled(self, exc):
        """Called after an abort for a cancellation with its exception, of operations that tell how far they have come."""

    def undo(self):
        """Called in the place of finish when nobody will take the result, of operations that others wait for."""

    def reason(self):
        """The reason why the goroutine waits, one of WAIT_* (op.py)."""
        return 0

    def owner(self):
        """The number of the goroutine that holds what this one waits for; 0 if none does, or it is unknown."""
        return 0

    def needs(self):
        """What this one waits for, where several goroutines hold it and are known (Waitq._needs); else None."""
        return None

    def about(self):
        """What the operation waits for, in words for a dump; empty where the reason says it all."""
        return ""


class G:
    """A goroutine.  `status` names its owner (table in HACKING.md); only it writes fields that no lock guards."""

    if not cython.compiled:

        def __init__(self) -> None:
            mu = make_lock(LOCK_RANK_G, self)
            self.lock = mu.acquire
            self.unlock = mu.release

        lock = unlock = None  # rank g

        # Under lock(): the handshake of parking, and a pending cancellation.
        parked = False  # it is off its thread and waits: ready() may make it runnable
        readied = False  # ready() came while it was still on its thread
        waitop = None  # the operation that it is parked on
        scope = None  # the innermost Scope that it is in; the links lead to the outermost one
        cancelflag = False  # cancelexc is set; the running G itself tests this without the lock, then takes the lock
        cancelexc = None  # the exception to raise at its next operation: that of a scope that is SCOPE_PENDING
        standin = None  # the thread_g in wait queues while its thread is in gort.wait: gets its cancellations

        # Only the owner writes these: the M that runs it, or the thread that has just taken it off a queue.
        status = 0  # _G*; dumps read it as a hint
        coro = None  # its coroutine; None while it is a plain function.  Written under lock(), for dumps
        fn = None  # the plain function, with args and kwargs.  Written under lock(), for dumps
        args = None
        kwargs = None
        context = None  # its contextvars
        throw = None  # the exception to raise at its await when it next resumes
        trace = None  # the debugger's trace function, when one of its frames has one (debugger.py)
        timer = None  # its timers.Timer for gort.sleep, kept for the next sleep
        foreign = False  # it awaits an asyncio future, which takes no exception through an operation (proc.throw_in)
        lockedm = None  # lock_os_thread: the only M that may run it
        mid = 0  # the M that ran it last
        nrun = 0  # how often an M has run it
        runnablesince = 0  # when it became runnable, ns, where that is measured (tracing.timed)
        waitsince = 0  # when it last began to wait, by sched.coarsetime
        blocksince = blockreason = 0  # the same in ns, and why (WAIT_*), where waits are profiled (tracing.waits)
        schedlink = None  # the next G in a run queue or free list; that queue's lock guards it

        # newproc writes these before the G is on any queue.
        goid = 0  # 0 once it has ended: newproc reuses the G under another number
        sched = None
        parentgoid = 0  # the goroutine whose go statement made it
        gocode = None  # that statement's code object and instruction offset
        golasti = -1
        done = None  # the Done to call when it ends; None: an uncaught exception is a panic.  Cleared under lock()
        system = False  # the runtime's own: it does not keep the program alive, and dumps leave it out

        # For a G that represents a thread in gort.wait, or an asyncio task (outside.py).
        thread = False
        note = None  # ready() wakes this instead of enqueueing the G; None for a task: then it calls done
        counted = False  # under sched.lock(): nmidlelocked includes it

    if cython.compiled:

        def __dealloc__(self):
            # newproc.forget has not run for this G: in a forked child, or in a runtime that was given up.
            if self.coro is not None:
                rt_gc_show_coro(self.coro)


class Scope:
    """A block of a goroutine, or all of it, that can be cancelled by itself.  scopes.py acts on it.

    The lock of g guards all fields but `shield`, which is written before the scope is entered."""

    if not cython.compiled:
        g = None  # the goroutine that is in it, and that goroutine's number: a G is reused
        goid = 0
        outer = None  # the next scope of the same goroutine, further out
        state = 0  # SCOPE_*
        exc = None  # the exception of the last request
        force = False  # exc is no Cancelled (Ctrl-C): no shield holds it off
        root = False  # the whole goroutine; it is the last in the chain
        shield = False  # while the goroutine is in here, the cancellations of scopes further out wait


class P:
    """A processor: the right to run goroutines.  Its owner is the M with the number `mid`; any other M has lost it."""

    if not cython.compiled:

        def __init__(self) -> None:
            mu = make_lock(LOCK_RANK_P, self)
            self.lock = mu.acquire
            self.unlock = mu.release
            tmu = make_lock(LOCK_RANK_TIMERS, self)
            self.lock_timers = tmu.acquire
            self.unlock_timers = tmu.release
            self.latencies = [0] * 44

        lock = unlock = None  # rank p
        lock_timers = unlock_timers = None  # rank timers

        id = 0  # its index in allp; written once

        # Under lock().
        status = 0  # _P*; without the lock a hint
        mid = 0  # its M, 0: none, -id: one that is yet to take it (locked.hand).  Without the lock a hint:
        # an M that sees another number has lost it; one that sees its own may go on: queue operations compare again
        procid = 0  # the kernel's number of that M's thread, 0 while it starts; a hint
        runqhead = None
        runqtail = None
        runqsize = 0  # a hint without the lock
        runnext = None  # runs before the queue, in the time slice of the goroutine that readied it; hint
        gfree = None  # dead Gs, through schedlink
        ngfree = 0
        goidcache = 0  # the next goroutine number that this P gives out; it holds those below goidcacheend
        goidcacheend = 0

        # Under sched.lock().
        link = None  # the next idle P
        syscalltick = 0  # counts the calls for which an M gave it up

        # Under lock_timers().
        timers = None  # a heap with four children per node, the earliest timer first
        whens = None  # their `when`s, in the same order (timers.py); it may be longer
        timer0when = 0  # when the earliest timer is due, ns; 0: no timer.  A hint without the lock
        timerseq = 0  # numbers the timers: those due at the same time fire in the order in which they were armed

        # The owner writes these; sysmon reads them and sets preempt.
        schedtick = 0  # counts time slices
        switchtick = looptick = 0  # goroutines run (several share a slice through runnext); rounds of an event loop
        latencies = None  # scheduling latencies: a counter for each power of two, ns (tracing.ran)
        preempt = False  # the slice is over: runnext must go to the tail of the queue
        smtick = 0  # schedtick when slice_is_over last looked, and the time of that look, ns
        smwhen = 0


class M:
    """An OS thread.  That thread alone uses the fields, except where a comment says otherwise.

    sysmon, dumps and the boot record read curg, p, spinning and ident of other threads as hints."""

    if not cython.compiled:
        # Written before the thread starts.
        id = 0  # from 1; Go counts from 0, and so do our dumps
        sched = None
        g0 = None  # the scheduler's own context on this thread
        gsignal = None  # in Go it runs signal handlers; CPython runs them on whatever the main thread executes
        park = None  # the Note on which it sleeps
        thread = None  # the threading.Thread
        started = False  # its thread runs or is being started

        # Written by the thread when it starts.
        ident = 0  # threading.get_ident()
        procid = 0  # the kernel's number of the thread
        stacklo = 0
        stackhi = 0  # m0: the end of its stack; the others: an address near the top, for rt_stack_trim
        stackguard0 = stackguard1 = 0
        sigmask = None  # m0: the signals that were blocked at the boot

        # Scheduling.
        curg = None  # the goroutine that it runs
        p = None  # the P that it believes it owns; only p.mid proves it
        spinning = False  # it looks for work and nmspinning includes it; another thread sets it only under sched.lock()
        insyscall = False  # it is in a call of gort.blocking or gort.wait, without a P
        preempt = False  # sysmon sets it: the goroutine must yield at its next operation; PREEMPT_*: see op.py
        stretch = None  # predict.Stretch; made by the M, and never replaced
        rand = 0  # cheaprand's state
        lent = 0  # the number of the goroutine whose trace function its thread was given last; 0 if it was taken back
        tracebuf = None  # where its events go, while a trace is on (tracing.py)
        preempted = False  # its goroutine yields because sysmon has asked for it; for traces only
        ngs = 0  # goroutines made on this thread minus those that have ended on it (newproc.gcount)

        # An operation tells the M's loop through these what to do when its goroutine suspends.
        mcall = 0  # MCALL_*
        parkop = None  # the operation to park on, for MCALL_PARK
        retval = None  # the value that the goroutine returned or yielded
        exc = None  # the exception that it ended with

        # Under sched.lock().  The first two another thread writes before it wakes this one.
        idle = False  # under sched.lock(): it is on the idle list
        nextp = lockednext = None  # the P to run; and, for an M that is locked to a goroutine, that one
        ownwait = None  # the last wait of the event loop that is that goroutine (netpoll.alone); m's thread alone
        polling = False  # it is in findrunnable.poll: wake_poller wakes it, not park
        idlelocked = False  # it waits for lockednext, and nmidlelocked counts it
        defers = quick = False  # m's thread alone: whom it wakes it wakes as it sleeps, and is soon woken (rest.py)
        towake = None  # its own thread alone: that M's note
        schedlink = None  # the next idle M

        # lock_os_thread.
        lockedg = None  # the only goroutine that it may run; g0: none any more (locked.py, idle.endidle)
        lockcount = 0  # how many calls of lock_os_thread are open


class Sched:
    """The global state of one runtime: Go's schedt, and Go's global variables allp, allm and allgs."""

    def netpoll_close(self):
        """Closes the poller if there is one."""
        if self.netpoll is not None:
            self.netpoll.close()
            self.netpoll = None

    if not cython.compiled:

        def __init__(self) -> None:
            mu = make_lock(LOCK_RANK_SCHED, self)
            self.lock = mu.acquire
            self.unlock = mu.release
            amu = make_lock(LOCK_RANK_ALLG, self)
            self.lock_allg = amu.acquire
            self.unlock_allg = amu.release

        lock = unlock = None  # rank sched
        lock_allg = unlock_allg = None  # rank allg

        # The boot (rt0.py) and run (main.py) write these once, before there is a second thread.
        ncpu = 0
        debug = None  # GODEBUG, parsed
        traceid = 0  # its number in traces, from 1; written once (tracing.attach)
        record = None  # the boot record
        seed = 0
        m0 = None
        maing = None  # the main goroutine
        maingoid = 0  # and its number
        mstart = None  # proc.mstart, the function that an M's thread runs
        external = None  # external.External: True while a thread outside the runtime may still make something runnable
        agenhooks = (None, None)  # the arguments of sys.set_asyncgen_hooks on each M
        agens = None  # main.AsyncGenerators
        report = None  # of gort run: called with the error that ends the program, before any goroutine is closed
        pollnote = None  # the poller sleeps on this before there is a descriptor
        sysmonnote = None
        m0note = None  # woken when m0 has left its loop
        predictor = None  # predict.Predictor
        stoplock = None  # whoever stops the world holds it; taken before every lock here
        waiters = ()  # notes of threads in gort.wait; a set, whose add and discard are atomic

        # Under lock(); those marked * are also read without it, as hints.  A hint may be wrong a moment later, so the
        # reader either checks again under the lock or relies on another thread that does (see handoff.py).
        runqhead = None  # the global run queue
        runqtail = None
        runqsize = 0  # *
        midle = None  # * idle Ms, through schedlink
        starting = None  # * the last M that was woken for a P, until it has taken that (idle.overtake)
        nmidle = 0  # * the number of idle Ms
        nmidlelocked = 0  # Ms that wait for the goroutine locked to them, and threads in gort.wait
        mnext = 0  # the number of the newest M
        nmfreed = 0  # Ms that have ended
        maxmcount = 0  # the limit on threads, from set_max_threads
        pidle = None  # idle Ps, through link
        npidle = 0  # *
        nmspinning = 0  # * Ms that look for work
        npolling = 0  # * 1 while an M sleeps in the poller
        polluntil = 0  # * when that M's sleep ends, ns; 0: when it is woken or a descriptor is ready
        gfree = None  # * dead Gs that no P keeps, through schedlink
        ngfree = 0
        ngs = 0  # the same as the Ms' ngs, for other threads and for Ms that have left
        goidgen = 0  # the last goroutine number given out to a P
        sysmonwait = False  # * sysmon sleeps deeply: whoever takes an idle P must wake it
        gcwaiting = False  # * the world is stopped
        exiting = False  # * every M leaves at its next scheduling point; never reset
        fatal = None  # the first error that ends the runtime
        nmstartfailed = 0  # * threads that the system refused to start
        nsyscall = 0  # calls of gort.blocking

        # Under lock_allg().
        allgs = None  # * every G, dead ones too; it only grows, and readers take a copy

        # Lists that only grow or are replaced; nobody changes one in place while others may read it.
        allp = None  # replaced only while the world is stopped
        oldallps = None  # earlier ones, which a thread may still be reading
        allm = None  # changed under lock(), read as a copy
        gomaxprocs = 0  # written while the world is stopped
        stealorder = None  # steps coprime to gomaxprocs: stealing visits every P with one of them

        # Each of these is read and written as a whole, without a lock.
        netpoll = None  # the poller; made once, under lock(); closed by release()
        hooks = 0  # HOOK_* (tracing.py): what wants to know when goroutines start and stop
        predicting = 0  # PREEMPT_LOOK: a place may be known at which goroutines block (predict.py); or the chooser's
        chooser = None  # who decides the order of an explored schedule (sched/chooser.py); written at the boot
        lastpoll = 0  # when a thread last polled it, ns
        panicking = False  # a goroutine has panicked: when main returns, it does not end the program any more

        # Only m0 writes these, while a program ends; others may rely on `ending` only after every M has left.
        result = None  # the value that main returned
        exc = None  # or the exception that it raised
        ending = False  # goroutines are being closed: none may wait, none may start
        maingone = False  # main has called goexit
        m0left = False  # m0 has left its loop

        # A program in a bubble of gort.testing (wait/bubble.py).  bubble is written before there is a second thread; vnow
        # under lock(), while every M is idle, so a thread that runs a goroutine reads it without the lock.
        bubble = None
        vnow = 0  # the time on the runtime's clock in the bubble, or with GODEBUG=seed (seed.py), ns; 0: the machine's

        hosting = False  # main runs pytest: its thread is not interrupted when the program ends.  Written as bubble is
        alarm = None  # (time, fn): sysmon calls fn() once that time has come, ns; one store replaces both

        # Only sysmon writes these, except where a comment says otherwise.
        sysmon = None  # sysmon.Watch
        nmsys = 0  # 1 while sysmon's thread runs; it counts towards maxmcount
        coarsetime = 0  # the time of sysmon's last round, ns
        nexternal = 0  # not 0: sysmon is about to make something runnable, so there is no deadlock
        nhandoff = 0  # Ps taken from blocked threads
        npreempt = 0  # Ps taken from computing threads
        blockedcalls = None  # calls that still run after sysmon took their P (reports.py)
        blockedns = 0  # the total duration of those that are over
        onblocked = None  # on_blocked's callback and threshold; one store replaces both
        switchinterval = 0.0  # the interpreter's own value, before quicken changed it

        # Ctrl-C: the signal handler writes the first two, sysmon the rest.
        interrupted = False  # SIGINT came
        interruptsent = False  # KeyboardInterrupt is on its way to the main goroutine
        interruptedat = 0  # when, ns
        asyncsent = 0  # KeyboardInterrupt has been raised in the thread on which the main goroutine computes
        caninterrupt = False  # SIGURG is ours; the main thread writes this


def current_m():
    """The M of this thread, or None where the thread is no M."""
    return getm()


def getg():
    """The goroutine that runs on this thread, the M's g0 while the M schedules, or None where the thread is no M."""
    m = getm()
    if m is None:
        return None
    return m.curg if m.curg is not None else m.g0


def peek(g):
    """Reads g for a dump on another thread: (the operation it waits for, its function, the code object of its go
    statement, its Done).  Returns strong references, since g may drop each of them at any moment."""
    g.lock()
    op: Op = g.waitop
    fn: object = g.fn
    code: object = g.gocode
    done: object = g.done
    g.unlock()
    return (op, fn, code, done)


def rank_throw(held, rank, same):
    """Called by the compiled core's lock checker on an order violation."""
    lockrank.violated(held, rank)


if cython.compiled:
    rt_set_rank_throw(rank_throw)
    rt_set_lockrank(lockrank.CHECKED)

    def never(op):
        """never_awaited for C."""
        never_awaited(cython.cast(object, op))

    def check_layout():
        """Raises SystemError if gort_rt.h and Cython disagree about the layout of an Op."""
        op: Op = Op.__new__(Op)
        op.kind, op.state, op.success, op.index, op.heapidx, op.when = 1, 2, 3, 4, 5, 6
        op.c, op.elem, op.next, op.sel = True, False, op, Ellipsis
        rt_op_check(op)
        op.c = op.elem = op.next = op.sel = None
        rt_load_once(op)

    check_layout()
    for cls in (G, P, M, Sched):
        rt_load_once(cls.__new__(cls))
    del cls
    rt_set_never(never)
    rt_install_op(Op)

    def clock():
        """The runtime's monotonic clock, in ns."""
        return nanotime()

    def doing(procid):
        """What the thread `procid` does now (machine.doing)."""
        return rt_doing(procid)

    def stack_bounds():
        """(lo, hi) of this thread's stack."""
        lo: cython.longlong = 0
        hi: cython.longlong = 0
        rt_stack_bounds(cython.address(lo), cython.address(hi))
        return (lo, hi)

    def tls_store(v):
        """Writes this thread's slot for the boot's check of thread-local storage (machine.tls_check)."""
        rt_tls_store(v)

    def tls_load():
        """Reads that slot."""
        return rt_tls_load()

    def bind_thread(m):
        """Makes getm() return m on this thread; None unbinds it.  The M must outlive the binding."""
        if m is None:
            rt_setm(cython.NULL)
        else:
            rt_setm(cython.cast(cython.pointer(PyObject), m))

else:
    bind_thread = rt_setm
    clock = nanotime
    G, P, M, Sched = fields(G), fields(P), fields(M), fields(Sched)
