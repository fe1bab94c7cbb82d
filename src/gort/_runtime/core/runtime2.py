# distutils: define_macros=GORT_RT_OWNER=1
"""The runtime's structures: G, M, P, sched, and the operation object.  Follows Go's runtime/runtime2.go.

They refer to each other in circles, so, as in Go, they live in one file and the code that acts on them in others.
What does not live here: any scheduling.  The types of the compiled core's fields are in runtime2.pxd.

Who owns what
- A G is owned by exactly one place at a time: a run queue (`_Grunnable`), an M (`_Grunning`), the wait queue of what it
  waits for (`_Gwaiting`), or a free list (`_Gdead`).
- Only its own M writes `m.p`.  Whether the M still holds that P is told by `p.mid`, which sysmon may clear under the
  P's lock at any time: the M learns of it when it next takes that lock.

Parking: a handshake instead of a lock held across the switch
  Go's gopark keeps the channel locked until the goroutine is off its stack, so that nobody can run it twice.  Here
  arbitrary user code can sit between an operation and the M's loop (a hand-written awaitable, say), and a lock held
  across it could deadlock or never be released.  So the operation enqueues itself, releases the lock and suspends;
  the M, on g0, then sets `g.parked` under the G's lock.  A waker that comes earlier finds `parked` false and only
  notes `g.readied`; the M sees that and puts the goroutine on a run queue itself.  Whoever comes second makes it
  runnable, exactly once, and never before it is off its thread.  The same lock guards a pending cancellation, so
  a cancellation cannot slip between the look and the sleep either.
"""

from __future__ import annotations

import threading
from _warnings import warn  # what warnings.warn is, without the import of warnings

import cython
from cython.cimports.cpython.exc import PyErr_CheckSignals
from cython.cimports.cpython.ref import PyObject
from cython.cimports.gort._runtime.c.rt import (
    fields,
    nanotime,
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
)
from cython.cimports.gort._runtime.c.stacks import rt_awaited_frames, rt_thread_frames, rt_world_stopped
from cython.cimports.gort._runtime.core.lockrank import (
    LOCK_RANK_ALLG,
    LOCK_RANK_G,
    LOCK_RANK_P,
    LOCK_RANK_SCHED,
    LOCK_RANK_TIMERS,
)

from gort._runtime.core import lockrank
from gort._runtime.core.lockrank import make_lock
from gort._runtime.core.mistakes import shared

if cython.compiled:
    _rt = rt_export()  # the C state that every other hot module fetches; see gort_rt.h
else:  # what the .pxd has for C
    getm = rt_getm  # the M of this thread, or None

    # G: who owns it, and what may follow.
    _Gidle = 0  # just made, not initialised: newproc only
    _Grunnable = 1  # on a run queue, which owns it -> _Grunning
    _Grunning = 2  # on an M with a P -> _Grunnable, _Gsyscall, _Gwaiting, _Gdead
    _Gsyscall = 3  # on an M without a P, in a call known to block -> _Grunning, _Grunnable
    _Gwaiting = 4  # parked; the wait queue of g.waitop owns it -> _Grunnable, by ready alone
    _Gdead = 6  # finished; on a free list -> _Grunnable, by newproc alone

    # P
    _Pidle = 0  # on sched.pidle, or between two owners
    _Prunning = 1  # owned by the M p.mid
    _Psyscall = 2  # never used: a P is given up at once (entersyscall), or taken (sysmon)
    _Pgcstop = 3  # taken by stop-the-world
    _Pdead = 4  # beyond GOMAXPROCS; its goroutines went to the global queue, allp keeps it for reuse

    # What an operation asks of the M's loop when its goroutine suspends.
    MCALL_NONE = 0  # nothing: whatever was yielded does not belong to gort
    MCALL_PARK = 1  # wait for m.parkop
    MCALL_YIELD = 2  # to the global queue: gosched, sysmon has asked, or a blocking call is over and no P was idle

    # Op.state
    OP_NEW = 0  # made; nothing has been done -> OP_DONE, by claim
    OP_PARKED = 1  # its goroutine has suspended on it -> OP_DONE
    OP_DONE = 2  # begun, or over; awaiting it again is an error

    # What Op.begin gives.
    READY = 0  # done, no need to wait
    PARK = 1  # enqueued; suspend

    # Op.index of an operation that waits in a queue.  0: it never did.
    QUEUED = 1
    DEQUEUED = 2  # taken out, by whoever completes it or by an abort
    ATTEMPTING = 3  # taken out by whoever makes its system call just now (polldesc.py alone)

    SLICE_NS = 10_000_000  # Go's forcePreemptNS: how long a goroutine, or several through runnext, may keep a P

COMPILED = cython.compiled

GSTATUS = {0: "idle", 1: "runnable", 2: "running", 3: "syscall", 4: "waiting", 6: "dead"}
PSTATUS = {0: "idle", 1: "running", 2: "syscall", 3: "gcstop", 4: "dead"}


def describe(op):
    """How a user would write this operation, for messages."""
    return getattr(op, "what", None) or type(op).__name__


def never_awaited(op):
    """Warns of an operation that was made and dropped, as Python does for coroutines; not where Ctrl-C came between
    the two."""
    m = getm()
    if m is not None and m.sched is not None and m.sched.interrupted:
        return
    # At the line that drops it.  Compiled, this function and __dealloc__ have no frames.
    warn(f"{describe(op)} was never awaited", RuntimeWarning, stacklevel=1 if cython.compiled else 3)


def set_public(cls, home, signature):
    """Gives a class the public module `home` as its own, and a compiled one its signature (None: it has none)."""
    rt_set_public(cls, home, signature)


SIGNAL_SLICE = 0.5  # seconds: see Note.sleep


class Note:
    """A one-shot sleep and wake-up between threads.  Follows Go's note (runtime/lock_futex.go), except that waking
    twice is harmless: sysmon, a signal and a timer may all want the same thread."""

    if not cython.compiled:

        def __init__(self) -> None:
            self._lock = threading.Lock()
            self._lock.acquire()

    def sleep(self, timeout: float = -1.0) -> bool:
        """Sleeps until woken or until `timeout` seconds have passed; True when it was woken.  Consumes the wake-up."""
        # A signal that came while this thread ran compiled code has left its mark but cannot interrupt the sleep that
        # follows: it is looked for first, and again after a while, for the few nanoseconds in between.
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
        """Wakes the sleeper, or lets the next sleep return at once."""
        if cython.compiled:
            rt_note_wakeup(cython.address(self.woken))
        elif self._lock.locked():
            try:
                self._lock.release()
            except RuntimeError:  # another waker was faster
                pass

    def clear(self) -> None:
        """Forgets a wake-up that nobody has slept for."""
        if cython.compiled:
            rt_note_clear(cython.address(self.woken))
        else:
            self._lock.acquire(False)


class Op:
    """One operation, from `ch.send(v)` to its result: its own awaitable and, while it waits, its own sudog.

    `state` goes OP_NEW -> begin() -> OP_DONE, or OP_PARKED while it lies in a wait queue, then OP_DONE.  Compiled
    subclasses add no field and no __dealloc__: one free list serves them all (gort_rt.h).  So a field means what the
    operation needs.  Once begin() has enqueued it, the lock of what it waits for guards those marked L.

    | | ChanOp | SelectOp | WaitOp (sema) | SleepOp | IOOp | BlockingOp |
    |---|---|---|---|---|---|---|
    | kind | RECV, SEND, … | DEFAULT, TIMED | WAIT_* | | READ, WRITE, … | |
    | c | the Chan | its cases, a tuple | the Waitq | | the FD | the function |
    | elem L | the value | the case that ran | | its Timer | buffer, then result | arguments, then result |
    | sel | the SelectOp of which it is a case | | the locker that Cond.wait gives back | | an exception | an exception |
    | when | | | permits wanted | ns to sleep | bytes wanted or written | |
    | success L | 1: a value passed | 1: won, 2: aborted (G's lock) | 1: granted | 1: over at once | OK, CLOSED, … | 1 |
    | index L | QUEUED, DEQUEUED | QUEUED: it has waited | QUEUED, DEQUEUED | | and ATTEMPTING | |
    | heapidx | next case in lock order | first case in lock order | | | | |

    next, prev (L): the neighbours in the queue.  Once taken out, next leads to the next operation to make ready, if any.
    g: the goroutine that waits, from begin() on.
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
        next = None
        prev = None
        sel = None

    if cython.compiled:

        def __dealloc__(self):  # only subclasses made in Python come here; see rt_op_dealloc in gort_rt.h
            if self.state == OP_NEW:
                never_awaited(self)
    else:

        def __del__(self):
            if self.state == OP_NEW:
                never_awaited(self)

    def __repr__(self):
        return f"<operation {describe(self)} at {id(self):#x}>"

    def begin(self, g):
        """Does the operation if it can be done now (READY), or enqueues it for g (PARK)."""
        raise NotImplementedError

    def finish(self):
        """The result, or raises."""
        return None

    def abort(self):
        """Takes the operation out of its wait queue.  True when it was still there: the caller then owns the
        wake-up, and the operation has had no effect.  False when somebody has completed it already."""
        return False

    def reason(self):
        """Why the goroutine waits, one of WAIT_*."""
        return 0


class G:
    """A goroutine.  `status` says who owns it (HACKING.md has the table); only the owner writes what no lock guards."""

    if not cython.compiled:

        def __init__(self) -> None:
            mu = make_lock(LOCK_RANK_G, self)
            self.lock = mu.acquire
            self.unlock = mu.release

        lock = unlock = None  # rank g

        # Under lock(): the handshake of parking, and a pending cancellation.
        parked = False  # it is off its thread and waits: ready() may make it runnable
        readied = False  # ready() came before it was off its thread; for a thread_g, also: it has been woken
        waitop = None  # the operation that it is parked on
        cancelflag = False  # cancelexc is set; the running G itself reads this without the lock, before it takes it
        cancelexc = None  # to be raised at its next operation

        # The owner's: the M that runs it, or whoever has just taken it out of a queue.
        status = 0  # _G*; dumps read it as a hint
        coro = None  # its coroutine; None while it is a plain function.  Written under lock(), for dumps
        fn = None  # the plain function, with args and kwargs.  Written under lock(), for dumps
        args = None
        kwargs = None
        context = None  # its contextvars
        throw = None  # raised at its await when it is next resumed
        timer = None  # what it sleeps by (timers.Timer), kept from one sleep to the next
        lockedm = None  # lock_os_thread: the only M that may run it
        mid = 0  # the M that ran it last
        schedlink = None  # the next in a run queue or free list; guarded by that queue's lock

        # Written by newproc, before it is on any queue.
        goid = 0  # 0 once it has ended: a G is used again under another number
        sched = None
        parentgoid = 0  # the goroutine whose go statement made it
        gocode = None  # that statement's code object and instruction
        golasti = -1
        done = None  # a Done, told of its end; None makes an exception a panic
        system = False  # the runtime's own: does not keep the program alive, not shown in dumps

        # A G that stands for a thread outside in gort.wait (handoff.thread_g).
        thread = False
        note = None  # what ready() wakes in place of queueing it
        counted = False  # under sched.lock(): it counts in nmidlelocked

    if cython.compiled:

        def __dealloc__(self):
            # A G that goes without having been forgotten: in a forked child, or with a runtime that was given up.
            if self.coro is not None:
                rt_gc_show_coro(self.coro)


class P:
    """A processor: the right to run goroutines.  The M `mid` owns it, nobody else: an M's own `p` may be stale."""

    if not cython.compiled:

        def __init__(self) -> None:
            mu = make_lock(LOCK_RANK_P, self)
            self.lock = mu.acquire
            self.unlock = mu.release
            tmu = make_lock(LOCK_RANK_TIMERS, self)
            self.lock_timers = tmu.acquire
            self.unlock_timers = tmu.release
            self.timers = []

        lock = unlock = None  # rank p
        lock_timers = unlock_timers = None  # rank timers

        id = 0  # its place in allp; written once

        # Under lock().
        status = 0  # _P*; without the lock a hint
        mid = 0  # the M that owns it, 0 while nobody does.  Without the lock it is a hint, but for the M itself: only
        # an M that sees its own number here may go on, and each queue operation asks again under the lock
        runqhead = None
        runqtail = None
        runqsize = 0  # hint without the lock
        runnext = None  # runs before the queue, in the time slice of the goroutine that made it ready; hint
        gfree = None  # dead Gs, through schedlink
        ngfree = 0
        goidcache = 0  # goroutine numbers from here up to goidcacheend are this P's to give
        goidcacheend = 0

        # Under sched.lock().
        link = None  # the next idle P

        # Under lock_timers().
        timers = None  # a heap of four children a node, the earliest timer first
        timer0when = 0  # when that one is due, ns; 0: there is none.  Hint without the lock
        timerseq = 0  # numbers the timers: those due at one instant fire in the order in which they were armed

        # The owner's; sysmon reads them, and sets preempt.
        schedtick = 0  # counts time slices
        switchtick = 0  # counts goroutines run: many may share a slice through runnext
        preempt = False  # the slice is over: runnext waits its turn like everybody
        smtick = 0  # slice_is_over: schedtick when it last looked, and when that was
        smwhen = 0


class M:
    """An OS thread.  What is not said otherwise belongs to that thread alone.

    Others read curg, p, spinning and ident as hints: sysmon, dumps, the boot record."""

    if not cython.compiled:
        # Written before the thread starts.
        id = 0  # from 1; Go counts from 0, and so do our dumps
        sched = None
        g0 = None  # the scheduler's own context on this thread
        gsignal = None  # Go's handles signals; CPython runs handlers on whatever the main thread runs
        park = None  # the Note on which it sleeps
        thread = None  # the threading.Thread
        started = False  # it has a thread, or will have one at once

        # Written by the thread when it starts.
        ident = 0  # threading's number of it
        procid = 0  # the kernel's
        stacklo = 0
        stackhi = 0
        stackguard0 = 0
        stackguard1 = 0
        sigmask = None  # m0: the signals that were blocked at the boot

        # Scheduling.
        curg = None  # the goroutine that it runs
        p = None  # the P that it believes to own: p.mid decides
        spinning = False  # it looks for work and counts in nmspinning; written under sched.lock() when others do it
        insyscall = False  # it is in a call of gort.blocking or gort.wait, without a P
        preempt = False  # set by sysmon: make way at the next operation
        rand = 0  # cheaprand's state

        # How an operation tells the loop what it wants when its goroutine suspends.
        mcall = 0  # MCALL_*
        parkop = None  # MCALL_PARK: what it waits for
        retval = None  # what the goroutine returned or yielded, and the exception that it ended with
        exc = None

        # Handed over by another thread, under sched.lock(), before it wakes this one.
        nextp = None  # the P to run
        lockednext = None  # the goroutine to run, for one that is locked
        schedlink = None  # the next idle M

        # lock_os_thread.
        lockedg = None  # the only goroutine that it may run
        lockcount = 0  # how often it was locked


class Sched:
    """The global state of one runtime: Go's schedt, and what is global there (allp, allm, allgs)."""

    def netpoll_close(self):
        """Closes the poller, if one was opened."""
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

        # Written once, by the boot (rt0.py) and by run (main.py), before a second thread is there.
        ncpu = 0
        debug = None  # GODEBUG, parsed
        migration = False  # GODEBUG=migration=1
        record = None  # the boot record
        seed = 0
        m0 = None
        maing = None  # the main goroutine, and its number
        maingoid = 0
        mstart = None  # proc.mstart: what an M's thread runs
        external = None  # main.External: True when called while a thread outside may still make something runnable
        agenhooks = (None, None)  # what sys.set_asyncgen_hooks gets on each M
        agens = None  # main.AsyncGenerators
        pollnote = None  # what the poller sleeps on before there is a descriptor
        sysmonnote = None
        m0note = None  # woken when m0 has left its loop
        stoplock = None  # held by who stops the world; taken before every lock here
        waiters = ()  # notes of threads in gort.wait; a set, whose add and discard are atomic

        # Under lock(); those marked * are read without it too, as hints: what was read may be over the next moment, so
        # whoever acts on one either looks again under the lock or is looked after by somebody who does (handoff.py).
        runqhead = None  # the global run queue
        runqtail = None
        runqsize = 0  # *
        midle = None  # * idle Ms, through schedlink
        nmidle = 0  # * how many
        nmidlelocked = 0  # Ms that wait for a goroutine that is locked to them, and threads in gort.wait
        mnext = 0  # the M made last
        nmfreed = 0  # Ms that have ended
        maxmcount = 0  # set_max_threads
        pidle = None  # idle Ps, through link
        npidle = 0  # *
        nmspinning = 0  # * Ms that look for work
        npolling = 0  # * 1 while an M sleeps in the poller
        polluntil = 0  # * until when, ns; 0: until something happens
        gfree = None  # * dead Gs that no P keeps, through schedlink
        ngfree = 0
        goidgen = 0  # the last goroutine number given out to a P
        sysmonwait = False  # * sysmon sleeps deeply: who takes an idle P wakes it
        gcwaiting = False  # * the world is stopped
        exiting = False  # * every M leaves at its next scheduling point; never taken back
        fatal = None  # the first error that ends the runtime
        nmstartfailed = 0  # * threads that the system refused to start
        nsyscall = 0  # calls of gort.blocking

        # Under lock_allg().
        allgs = None  # * every G, dead ones too; it only grows, and readers take a copy

        # Lists that only grow or are replaced, never changed in place where others read them.
        allp = None  # the world is stopped when it is replaced
        oldallps = None  # earlier ones, for threads that may be reading them still
        allm = None  # changed under lock(), read as a copy
        gomaxprocs = 0  # written while the world is stopped
        stealorder = None  # the steps with which stealing visits each of gomaxprocs Ps

        # Atomic by themselves.
        netpoll = None  # the poller; made once, under lock(); closed by release()
        lastpoll = 0  # when somebody last looked at it, ns

        # m0's alone, while a program ends; others look at `ending` after every M has left, or at their own risk.
        result = None  # what main returned, or raised
        exc = None
        ending = False  # goroutines are being closed: none may wait, none may start
        maingone = False  # main has called goexit
        m0left = False  # m0 has left its loop

        # sysmon's alone, but for what is said.
        sysmon = None  # sysmon.Watch
        nmsys = 0  # 1: its thread counts towards maxmcount
        coarsetime = 0  # when it last looked, ns
        nexternal = 0  # it is about to make something runnable: no deadlock
        nhandoff = 0  # Ps taken from blocked threads
        npreempt = 0  # Ps taken from computing threads
        blockedcalls = None  # calls that it took a P from and that are not over (reports.py)
        blockedns = 0  # how long those that are over lasted, all together
        onblocked = None  # on_blocked's callback and threshold; one store replaces both
        switchinterval = 0.0  # the interpreter's own, before quicken changed it

        # Ctrl-C: the signal handler writes the first two, sysmon the rest.
        interrupted = False  # it came
        interruptsent = False  # KeyboardInterrupt is on its way to the main goroutine
        interruptedat = 0  # since when, ns
        asyncsent = 0  # it has been raised in the thread that the main goroutine computes on
        caninterrupt = False  # SIGURG is ours; written by the main thread


def current_m():
    """The M of this thread, or None."""
    return getm()


def getg():
    """The goroutine that runs on this thread, the M's g0 while it schedules, or None where the thread is no M."""
    m = getm()
    if m is None:
        return None
    return m.curg if m.curg is not None else m.g0


def peek(g):
    """What a dump on another thread says of g: (operation that it waits for, function, code object of its go statement),
    each of which may be let go the next moment."""
    g.lock()
    op: Op = g.waitop
    fn: object = g.fn
    code: object = g.gocode
    g.unlock()
    return (op, fn, code)


def rank_throw(held, rank, same):
    """The compiled core's lock checker found an order violation.  A lock is never held across a switch, so the stack
    on which the held one was taken is the one that stands here."""
    import traceback

    stack = "".join(traceback.format_stack())
    lockrank.order_violation(held, rank, stack, stack)


if cython.compiled:
    rt_set_rank_throw(rank_throw)
    rt_set_lockrank(lockrank.CHECKED)

    def never(op):
        """never_awaited for C."""
        never_awaited(cython.cast(object, op))

    def check_layout():
        """Whether gort_rt.h and Cython agree about what an Op looks like."""
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
        """The runtime's clock in nanoseconds."""
        return nanotime()

    def stack_bounds():
        """(lo, hi) of this thread's stack."""
        lo: cython.longlong = 0
        hi: cython.longlong = 0
        rt_stack_bounds(cython.address(lo), cython.address(hi))
        return (lo, hi)

    def gather(asked):
        """stacks, while the world is stopped: what is done here is bound by gort_stacks.h."""
        gs: list = asked[0]
        ms: list = asked[1]
        g: G
        m: M
        found: list = []
        frames: object
        for g in gs:
            frames = None
            if g.status == _Grunning or g.status == _Gsyscall:
                for m in ms:
                    if m.curg is g:
                        frames = rt_thread_frames(m.ident)
                        break
            found.append((frames, None if g.coro is None else rt_awaited_frames(g.coro)))
        return found

    def gather_thread(ident):
        """thread_frames, likewise."""
        return rt_thread_frames(ident)

    def stacks(gs, ms):
        """Of each of these goroutines: (the frames of its thread, if one of the Ms runs it, the frames that it is
        suspended in), all of one moment; a frame is (code, offset, globals), the innermost comes first."""
        return rt_world_stopped(gather, (gs, ms))

    def thread_frames(ident):
        """The frames of what a thread runs."""
        return rt_world_stopped(gather_thread, ident)

    def tls_store(v):
        """Writes this thread's probe slot."""
        rt_tls_store(v)

    def tls_load():
        """Reads this thread's probe slot."""
        return rt_tls_load()

    def bind_thread(m):
        """Makes m what getm() finds on this thread; None unbinds it.  The M must outlive the binding."""
        if m is None:
            rt_setm(cython.NULL)
        else:
            rt_setm(cython.cast(cython.pointer(PyObject), m))

else:
    bind_thread = rt_setm
    clock = nanotime
    G, P, M, Sched = fields(G), fields(P), fields(M), fields(Sched)
