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

from gort._runtime.core import lockrank
from gort._runtime.core.mistakes import shared
from gort.version import __version__ as _built_as

if cython.compiled:
    _rt = rt_export()  # noqa: F821  (the C state that every other hot module fetches; see gort_rt.h)
else:
    from gort._runtime.c.rt import fields, getm
    from gort._runtime.core.lockrank import (
        LOCK_RANK_ALLG,
        LOCK_RANK_G,
        LOCK_RANK_P,
        LOCK_RANK_SCHED,
        LOCK_RANK_TIMERS,
        make_lock,
    )

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
    MCALL_GOSCHED = 2  # to the global queue
    MCALL_PREEMPT = 3  # the same, because sysmon asked
    MCALL_EXITSYSCALL = 4  # a blocking call is over and no P was idle

    OP_NEW = 0
    OP_PARKED = 1
    OP_DONE = 2

    READY = 0  # begin(): done, no need to wait
    PARK = 1  # begin(): enqueued; suspend

COMPILED = cython.compiled
VERSION = _built_as  # the version this half was loaded with; see moduledataverify

GSTATUS = {0: "idle", 1: "runnable", 2: "running", 3: "syscall", 4: "waiting", 6: "dead"}
PSTATUS = {0: "idle", 1: "running", 2: "syscall", 3: "gcstop", 4: "dead"}

# Why a goroutine waits: the strings of Go's waitReason, as they show in a dump.
WAIT_NONE = 0
WAIT_CHAN_RECEIVE = 1
WAIT_CHAN_SEND = 2
WAIT_CHAN_RECEIVE_NIL = 3
WAIT_CHAN_SEND_NIL = 4
WAIT_SELECT = 5
WAIT_SELECT_NO_CASES = 6
WAIT_SLEEP = 7
WAIT_SEMACQUIRE = 8
WAIT_MUTEX = 9
WAIT_RWMUTEX_R = 10
WAIT_RWMUTEX_W = 11
WAIT_WAITGROUP = 12
WAIT_COND = 13
WAIT_IO = 14
WAIT_JOIN = 15
WAIT_BLOCKING = 16

WAITREASON = {
    0: "",
    1: "chan receive",
    2: "chan send",
    3: "chan receive (nil chan)",
    4: "chan send (nil chan)",
    5: "select",
    6: "select (no cases)",
    7: "sleep",
    8: "semacquire",
    9: "sync.Mutex.Lock",
    10: "sync.RWMutex.RLock",
    11: "sync.RWMutex.Lock",
    12: "sync.WaitGroup.Wait",
    13: "sync.Cond.Wait",
    14: "IO wait",
    15: "join",
    16: "blocking call",
}


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
                PyErr_CheckSignals()  # noqa: F821
                until = nanotime() + cython.cast(cython.longlong, part * 1e9)  # noqa: F821
                while True:
                    if rt_note_sleep(cython.address(self.woken), max(0, until - nanotime())):  # noqa: F821
                        return True
                    PyErr_CheckSignals()  # noqa: F821
                    if nanotime() >= until:  # noqa: F821
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
            rt_note_wakeup(cython.address(self.woken))  # noqa: F821
        elif self._lock.locked():
            try:
                self._lock.release()
            except RuntimeError:  # another waker was faster
                pass

    def clear(self) -> None:
        """Forgets a wake-up that nobody has slept for."""
        if cython.compiled:
            rt_note_clear(cython.address(self.woken))  # noqa: F821
        else:
            self._lock.acquire(False)


class Op:
    """One operation, from `ch.send(v)` to its result: its own awaitable and, while it waits, its own sudog.

    State: OP_NEW -> begin() -> OP_DONE, or OP_PARKED while it lies in a wait queue, then OP_DONE.  The queue links,
    `success` and `elem` are guarded by the lock of what it waits for.  Compiled subclasses add no field and no
    __dealloc__, so that one free list serves them all (gort_rt.h).
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
    """A goroutine.  `lock` guards parked, readied, waitop, cancelflag and cancelexc; the rest belongs to the owner."""

    if not cython.compiled:

        def __init__(self) -> None:
            mu = make_lock(LOCK_RANK_G, self)
            self.lock = mu.acquire
            self.unlock = mu.release

        lock = unlock = None
        goid = 0
        status = 0
        waitreason = 0
        parked = False
        readied = False
        cancelflag = False
        system = False  # the runtime's own: does not keep the program alive, not shown in dumps
        counted = False  # guarded by sched.lock: see handoff.count_idle
        thread = False  # stands for a foreign thread in gort.wait: made runnable by waking its note
        waitsince = 0
        mid = 0
        coro = None
        fn = None
        args = None
        kwargs = None
        cancelexc = None
        throw = None  # raised at the await when next resumed
        waitop = None
        context = None
        schedlink = None
        lockedm = None
        sched = None
        parentgoid = 0
        gocode = None
        golasti = -1
        done = None  # told of the end: an object with finished(g, result, exc); None makes an exception a panic
        note = None
        timer = None  # what it sleeps by (timers.Timer), kept from one sleep to the next

    if cython.compiled:

        def __dealloc__(self):
            # A G that goes without having been forgotten: in a forked child, or with a runtime that was given up.
            if self.coro is not None:
                rt_gc_show_coro(self.coro)  # noqa: F821


class P:
    """A processor: the right to run goroutines.  `lock` guards the run queue, runnext, mid, status and free list;
    `lock_timers` guards the heap."""

    if not cython.compiled:

        def __init__(self) -> None:
            mu = make_lock(LOCK_RANK_P, self)
            self.lock = mu.acquire
            self.unlock = mu.release
            tmu = make_lock(LOCK_RANK_TIMERS, self)
            self.lock_timers = tmu.acquire
            self.unlock_timers = tmu.release
            self.timers = []

        lock = unlock = lock_timers = unlock_timers = None
        id = 0
        status = 0
        mid = 0
        schedtick = 0
        switchtick = 0
        syscalltick = 0
        link = None
        runqhead = None
        runqtail = None
        runqsize = 0
        runnext = None
        preempt = False
        gfree = None
        ngfree = 0
        timers = None
        timer0when = 0
        timerseq = 0
        goidcache = 0
        goidcacheend = 0
        smtick = 0
        smwhen = 0


class M:
    """An OS thread.  Its fields belong to the thread itself, except nextp and park (startm, under sched.lock)."""

    if not cython.compiled:
        id = 0
        g0 = None
        gsignal = None
        curg = None
        p = None
        nextp = None
        parkop = None
        mcall = 0
        spinning = False
        blocked = False
        preempt = False
        started = False
        insyscall = False
        park = None
        schedlink = None
        lockedg = None
        lockednext = None
        lockcount = 0
        thread = None
        ident = 0
        procid = 0
        rand = 0
        sched = None
        retval = None
        exc = None
        stacklo = 0
        stackhi = 0
        stackguard0 = 0
        stackguard1 = 0
        createstack = None
        state = None


class Sched:
    """The global state of one runtime.  `lock` guards the global queue, the idle lists and every count."""

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

        lock = unlock = lock_allg = unlock_allg = None
        runqhead = None
        runqtail = None
        runqsize = 0
        midle = None
        nmidle = 0
        nmidlelocked = 0
        mnext = 0
        nmfreed = 0
        nmsys = 0
        maxmcount = 0
        pidle = None
        npidle = 0
        nmspinning = 0
        needspinning = 0
        gomaxprocs = 0
        ncpu = 0
        allp = None
        oldallps = None
        allm = None
        allgs = None
        gfree = None
        ngfree = 0
        ngsys = 0
        goidgen = 0
        lastpoll = 0
        polluntil = 0
        npolling = 0
        gcwaiting = False
        exiting = False
        ending = False
        result = None
        exc = None
        fatal = None
        maing = None
        m0 = None
        pollnote = None
        sysmonnote = None
        sysmonwait = False
        netpoll = None
        mstart = None
        record = None
        debug = None
        extra = None
        stoplock = None
        stealorder = None
        nexternal = 0
        coarsetime = 0
        nhandoff = 0
        nsyscall = 0
        nmstartfailed = 0
        external = None
        mainready = None
        maingone = False
        seed = 0
        rng = None
        agenhooks = (None, None)
        agens = None
        blockedcalls = None
        blockedns = 0
        onblocked = None
        sysmon = None
        interrupted = False
        interruptsent = False
        interruptedat = 0
        asyncsent = 0
        caninterrupt = False
        migration = False
        m0left = False
        waiters = ()
        m0note = None
        maingoid = 0
        switchinterval = 0.0
        npreempt = 0


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
    rt_set_rank_throw(rank_throw)  # noqa: F821
    rt_set_lockrank(lockrank.CHECKED)  # noqa: F821

    def never(op):
        """never_awaited for C."""
        never_awaited(cython.cast(object, op))

    def check_layout():
        """Whether gort_rt.h and Cython agree about what an Op looks like."""
        op: Op = Op.__new__(Op)
        op.kind, op.state, op.success, op.index, op.heapidx, op.when = 1, 2, 3, 4, 5, 6
        op.c, op.elem, op.next, op.sel = True, False, op, Ellipsis
        rt_op_check(op)  # noqa: F821
        op.c = op.elem = op.next = op.sel = None
        rt_load_once(op)  # noqa: F821

    check_layout()
    for cls in (G, P, M, Sched):
        rt_load_once(cls.__new__(cls))  # noqa: F821
    del cls
    rt_set_never(never)  # noqa: F821
    rt_install_op(Op)  # noqa: F821

    def clock():
        """The runtime's clock in nanoseconds."""
        return nanotime()  # noqa: F821

    def stack_bounds():
        """(lo, hi) of this thread's stack."""
        lo: cython.longlong = 0
        hi: cython.longlong = 0
        rt_stack_bounds(cython.address(lo), cython.address(hi))  # noqa: F821
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
                        frames = rt_thread_frames(m.ident)  # noqa: F821
                        break
            found.append((frames, None if g.coro is None else rt_awaited_frames(g.coro)))  # noqa: F821
        return found

    def gather_thread(ident):
        """thread_frames, likewise."""
        return rt_thread_frames(ident)  # noqa: F821

    def stacks(gs, ms):
        """Of each of these goroutines: (the frames of its thread, if one of the Ms runs it, the frames that it is
        suspended in), all of one moment; a frame is (code, offset, globals), the innermost comes first."""
        return rt_world_stopped(gather, (gs, ms))  # noqa: F821

    def thread_frames(ident):
        """The frames of what a thread runs."""
        return rt_world_stopped(gather_thread, ident)  # noqa: F821

    def tls_store(v):
        """Writes this thread's probe slot."""
        rt_tls_store(v)  # noqa: F821

    def tls_load():
        """Reads this thread's probe slot."""
        return rt_tls_load()  # noqa: F821

    def bind_thread(m):
        """Makes m what getm() finds on this thread; None unbinds it.  The M must outlive the binding."""
        if m is None:
            rt_setm(cython.NULL)  # noqa: F821
        else:
            rt_setm(cython.cast(cython.pointer(PyObject), m))  # noqa: F821

else:
    from gort._runtime.c.rt import setm as bind_thread  # noqa: F401

    G, P, M, Sched = fields(G), fields(P), fields(M), fields(Sched)
