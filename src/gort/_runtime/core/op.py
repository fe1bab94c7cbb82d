"""The await of an operation object: how it suspends its goroutine, gets its result, and is cancelled.  Follows gopark
and mcall in Go's runtime/proc.go; Go has no cancellation of goroutines.

`await ch.recv()` calls the operation's am_send (3.11), its tp_iternext (3.12 and later), or, in the uncompiled core,
a generator (`_drive`, into which start and resumed are inlined by hand).  The first call does the operation and returns
its result, or enqueues it, writes to m.mcall and m.parkop what the M's loop must do, and yields None to that loop.  The
second call comes when the goroutine runs again, and returns the result.

Two mistakes show in m.mcall.  Only an operation's first call yields, and it sets m.mcall; so if the M receives a value
with m.mcall unset, the goroutine has awaited something that is not gort's (an asyncio future, say).  And if m.mcall is
still set when the next operation starts, a suspension never reached the M: something inside the goroutine (a nested
event loop, a coroutine driven by hand) swallowed it.

What does not live here: how a cancellation wakes a goroutine that waits (handoff.py); what an operation does (chan.py,
select.py, sema.py, timers.py, fd.py, blocking.py).
"""

from __future__ import annotations

import cython
from cython.cimports.cpython.ref import PyObject, Py_INCREF
from cython.cimports.gort._runtime.c.rt import (
    FREE_THREADED,
    rt_claim,
    rt_getm,
    rt_import,
    rt_raise,
    rt_sendfunc,
    rt_set_op_await,
    rt_set_op_send,
    rt_share,
    rt_usleep,
)
from cython.cimports.gort._runtime.core.runtime2 import (
    MCALL_EXIT,
    MCALL_LOOP,
    MCALL_NONE,
    MCALL_PARK,
    MCALL_THROW,
    MCALL_YIELD,
    OP_DONE,
    OP_NEW,
    OP_PARKED,
    PARK,
    READY,
    G,
    M,
    Op,
    getm,
)
from cython.cimports.gort._runtime.core.scopes import put_back, take_cancel
from cython.cimports.gort._runtime.core.seed import PREEMPT_SEED, turn

from gort._runtime.core.errors import Stopping
from gort._runtime.core.runtime2 import describe

rt_import()

if not cython.compiled:  # the .pxd defines the same name for C
    THROWN = 2  # what start and resumed return, beside READY and PARK: the exception is set (raise_thrown)

    # More values of m.mcall, for the predictor (sched/predict.py).  No suspension has been asked for.
    MCALL_LOOK = 7  # the goroutine is resumed: its operation asks whether it will block
    MCALL_AWAY = 8  # the goroutine has handed its P on, because it will block

    PREEMPT_LOOK = 2  # m.preempt: not to yield, but to ask the same of an operation that does not suspend

    # And for the chooser (sched/chooser.py).  No suspension has been asked for.
    MCALL_CHOOSE = 9  # the goroutine runs: its next operation asks whether it may begin
    PREEMPT_CHOOSE = 3  # m.preempt: an operation that does not suspend asks whether its goroutine may go on
    PREEMPT_BEGUN = 4  # sched.predicting alone: the goroutine's operation has asked already

# Why a goroutine waits: Go's waitReason (runtime/runtime2.go).  Op.reason() returns one of these numbers.
WAIT_CHAN_RECEIVE = 1
WAIT_CHAN_SEND = 2
WAIT_SELECT = 3
WAIT_SELECT_NO_CASES = 4
WAIT_SLEEP = 5
WAIT_SEMACQUIRE = 6
WAIT_MUTEX = 7
WAIT_RWMUTEX_R = 8
WAIT_RWMUTEX_W = 9
WAIT_WAITGROUP = 10
WAIT_COND = 11
WAIT_IO = 12
WAIT_BLOCKING = 13
WAIT_ASYNCIO = 14
WAIT_BUBBLE = 15

# The words for them in Go's dumps.
WAITREASON = {
    0: "",
    WAIT_CHAN_RECEIVE: "chan receive",
    WAIT_CHAN_SEND: "chan send",
    WAIT_SELECT: "select",
    WAIT_SELECT_NO_CASES: "select (no cases)",
    WAIT_SLEEP: "sleep",
    WAIT_SEMACQUIRE: "semacquire",
    WAIT_MUTEX: "sync.Mutex.Lock",
    WAIT_RWMUTEX_R: "sync.RWMutex.RLock",
    WAIT_RWMUTEX_W: "sync.RWMutex.Lock",
    WAIT_WAITGROUP: "sync.WaitGroup.Wait",
    WAIT_COND: "sync.Cond.Wait",
    WAIT_IO: "IO wait",
    WAIT_BLOCKING: "blocking call",
    WAIT_ASYNCIO: "asyncio",
    WAIT_BUBBLE: "synctest.Wait",
}


def not_running(op):
    """The error for an operation that is awaited outside a goroutine."""
    return RuntimeError(
        f"{describe(op)} awaited outside a running gort runtime: start one with gort.run(main), "
        "or use gort.wait(operation) from a thread that is no goroutine (a forked child has no runtime)"
    )


def swallowed(op):
    """The error for a suspension that never reached the scheduler."""
    return RuntimeError(
        f"{describe(op)}: is an `await` missing before it? If not, something inside this goroutine drives a coroutine "
        "itself (a nested event loop such as asyncio.run, or coroutine.send), so the wait cannot reach gort's scheduler; "
        "run that code in a thread with gort.blocking, or await the coroutine directly"
    )


def awaited_twice(op):
    """The error for a second await of the same operation."""
    return RuntimeError(
        f"{describe(op)} was already awaited: an operation object is used once; call the method again for another one"
    )


def was_cancelled(op):
    """The error for an operation that is resumed although a cancellation has taken it out of its queue."""
    return RuntimeError(
        f"{describe(op)} was cancelled while it waited, and has had no effect: an awaitable that catches the "
        "cancellation cannot go on with it; call the method again for another operation"
    )


def claim(op):
    """Marks op, which is OP_NEW, as used.  False when another thread has just done so."""
    if cython.compiled:
        return rt_claim(cython.address(op.state))
    if FREE_THREADED:
        op.state = OP_DONE
        me = object()
        return op.__dict__.setdefault("claimed", me) is me
    was, op.state = op.state, OP_DONE  # no call and no jump: with the GIL no other thread runs in between
    return was == OP_NEW


def refuse(op, m):
    """The rare paths of start: raises its errors, or a pending cancellation.  Kept apart, so that start stays short.
    Returns THROWN, or READY if the operation goes on after all, or PARK if another goroutine goes first: then the
    operation is as new when its goroutine runs again."""
    if op.state != OP_NEW:
        raise awaited_twice(op)
    op.state = OP_DONE
    if m is None or m.curg is None:
        raise not_running(op)
    if m.mcall == MCALL_EXIT:  # an awaitable of the user's that awaits anew whenever it is resumed
        m.mcall = MCALL_NONE
        raise GeneratorExit
    if m.mcall == MCALL_THROW:  # an awaitable of the user's has not resumed the operation that was to raise g.throw
        m.mcall = MCALL_NONE
        put_back(m.curg)
    if m.mcall == MCALL_LOOP:  # in a callback of an asyncio loop, something drives a coroutine itself
        raise swallowed(op)
    if m.mcall == MCALL_CHOOSE:
        m.mcall = MCALL_NONE
        if m.sched.chooser.before(m, op):
            op.state = OP_NEW
            m.mcall = MCALL_YIELD
            return PARK
    elif m.mcall >= MCALL_LOOK:
        come_back(m)
    if m.mcall != MCALL_NONE:
        drop_swallowed(m)
        raise swallowed(op)
    m.curg.throw = take_cancel(m.curg)
    if m.curg.throw is not None:
        return raise_thrown(op, m)
    op.state = OP_NEW  # the cancellation was withdrawn in the meantime
    return READY


def start(op, m):
    """The operation's first step, on m's thread.  READY when it is done, PARK when the goroutine must suspend, THROWN."""
    if op.state != OP_NEW or m is None or m.curg is None or m.mcall != MCALL_NONE or m.curg.cancelflag:
        rare: cython.int = refuse(op, m)
        if rare != READY:
            return rare
    if not claim(op):
        raise awaited_twice(op)
    # From now on only this goroutine changes op.state, and it stays on this thread until the suspension reaches the M.
    if type(op) is GoschedOp:  # the most frequent wait of all: saves two calls
        if not m.sched.ending:
            op.state = OP_PARKED
            m.mcall = MCALL_YIELD
            return PARK
    # A pointer, because C would count one more reference to the G.  This thread runs it, so m.curg stays.
    g: cython.pointer(PyObject) = cython.cast(cython.pointer(PyObject), m.curg)
    if op.begin(cython.cast(G, g)) == READY:
        if m.preempt == PREEMPT_LOOK:
            m.sched.predictor.look(m)
        elif m.preempt:  # sysmon wants this goroutine to yield; op keeps the result until it runs again
            if goes(op, m):
                op.g = m.curg
                op.state = OP_PARKED
                m.mcall = MCALL_YIELD
                return PARK
        return READY
    if m.sched.ending:
        return stopping(op, m)
    op.state = OP_PARKED
    if m.mcall == MCALL_NONE:
        m.mcall = MCALL_PARK
        m.parkop = op
    return PARK


def goes(op, m):
    """True when the running goroutine, whose operation op is done, must make way: sysmon wants it, or the chooser."""
    if m.preempt == PREEMPT_CHOOSE:
        return m.sched.chooser.after(m, op)
    if m.preempt == PREEMPT_SEED:
        return not m.sched.ending and turn(m)
    m.preempt = False
    if m.sched.ending:
        return False
    m.preempted = True
    return True


def stopping(op, m):
    """Takes op back and raises Stopping: the program is ending, and a goroutine that is being closed must not wait.
    READY when another thread has completed op first, or a call of gort.blocking has found no P after it."""
    yields: cython.bint = m.mcall == MCALL_YIELD  # op is in no queue, so nobody completes it
    m.mcall = MCALL_NONE
    if yields:
        if op.success:
            return READY
    elif not op.abort():
        unready(op.g)  # who has completed it has yet to read op.g, which finish clears
        return READY
    raise Stopping(f"{describe(op)}: the runtime is stopping, a finally block cannot wait any more")


def park_again(op):
    """Suspends the running goroutine once more on op, which has just enqueued itself again.  Called at the end of
    op.finish(), whose result then does not count: finish is called again when the goroutine next runs.

    Raises Stopping where the program is ending."""
    m: M = getm()
    if m.sched.ending:
        stopping(op, m)
        return 0
    op.state = OP_PARKED
    if m.mcall != MCALL_LOOP:  # else it is a task that waits (gort/aio/tasks.py)
        m.mcall = MCALL_PARK
        m.parkop = op
    return 0


def drop_swallowed(m):
    """Clears m.mcall and takes the operation out of its queue whose suspension never reached the M.

    If another thread has completed it already, nobody will take its result: the wake-up is taken back, because the
    goroutine's next wait would end with it, and a lock that was granted goes to the next goroutine."""
    op: Op = m.parkop
    if m.mcall == MCALL_AWAY:
        m.sched.predictor.leave(m, False)
    m.mcall = MCALL_NONE
    m.parkop = None
    if op is not None and not op.abort():
        unready(m.curg if op.g is None else op.g)
        op.undo()


def unready(g):
    """Takes back the wake-up of a goroutine that has not parked, or of a thread_g.  Whoever has completed its operation
    calls `ready`, or is about to on another thread."""
    came: cython.bint
    while True:
        g.lock()
        came = g.readied
        g.readied = False
        g.unlock()
        if came:
            return 0
        rt_usleep(1)


def lost(op, m):
    """Raises resumed's errors: op belongs to another goroutine that waits on it, a cancellation has aborted it (op.g is
    None) and was raised elsewhere, or something other than the scheduler has resumed this goroutine.  And what the
    scheduler wants raised: GeneratorExit at the end of the program, and the cancellation of the goroutine."""
    if m is not None and (m.mcall == MCALL_LOOK or m.mcall == MCALL_CHOOSE):
        looks: cython.bint = m.mcall == MCALL_LOOK
        m.mcall = MCALL_NONE
        if op.g is m.curg or type(op) is GoschedOp:
            op.state = OP_DONE
            if looks:
                m.sched.predictor.look(m)
            else:
                m.mcall = MCALL_CHOOSE
            return READY
    elif m is not None and m.mcall == MCALL_AWAY:
        come_back(m)
    if m is not None and m.mcall == MCALL_EXIT:
        m.mcall = MCALL_NONE
        op.state = OP_DONE
        raise GeneratorExit
    if m is not None and m.mcall == MCALL_THROW:
        if op.g is None and m.curg.throw is not None:
            return raise_thrown(op, m)
        if op.g is not None:
            raise awaited_twice(op)  # it is another goroutine's
        m.mcall = MCALL_NONE  # the scope of the cancellation has been left
    if m is not None and m.mcall == MCALL_NONE:
        if op.g is not None:
            raise awaited_twice(op)
        op.state = OP_DONE
        raise was_cancelled(op)
    op.state = OP_DONE
    if m is not None and m.mcall != MCALL_LOOP:
        drop_swallowed(m)
    raise swallowed(op)


def come_back(m):
    """m's goroutine, which the predictor has an eye on, begins an operation: it takes a P if it has handed its own on."""
    if m.mcall == MCALL_AWAY:
        m.sched.predictor.leave(m, True)
    m.mcall = MCALL_NONE


def unpark(g):
    """Takes the goroutine g, which is closed at the end of the program, off what it waits for.  Who completes an
    operation of its finally blocks then finds it on its thread.  A thread from outside may complete the old one at this
    moment."""
    op: Op
    g.lock()
    op = g.waitop
    g.waitop = None
    g.parked = False
    g.unlock()
    if op is not None:
        op.abort()
    return 0


def raise_thrown(op, m):
    """Raises g.throw at op: the scheduler has resumed the running goroutine with it (proc.throw_in), or it was pending
    before the operation began.

    In C it only sets the exception and returns THROWN.  So the traceback ends in the user's code: a `raise` would add
    entries for this function and for those that have called it."""
    g: G = m.curg
    m.mcall = MCALL_NONE
    op.state = OP_DONE
    exc = g.throw
    g.throw = None
    if cython.compiled:
        rt_raise(exc)
        return THROWN
    try:
        raise exc
    finally:
        del exc


def resumed(op, m):
    """The operation's second step, when its goroutine runs again: READY, then am_send finishes it, or THROWN."""
    if m is None or m.mcall != MCALL_NONE or (op.g is not m.curg and type(op) is not GoschedOp):
        return lost(op, m)
    op.state = OP_DONE
    return READY


def share(s, what):
    """Tells CPython that another thread than this one, which has made `what`, is likely to drop it last (rt_share).

    For operations that wait for a descriptor, bytes that were read, coroutines and Gs. Rejected: channel operations and
    the values that they send; that made pipeline-1 up to a quarter slower, and ping-pong 6 to 8 %.  Callers ask for
    FREE_THREADED, so that with the GIL there is no call."""
    if s.gomaxprocs > 1:
        rt_share(what)


class GoschedOp(Op):
    """`await gosched()`: to the global run queue, so that every other goroutine gets its turn."""

    what = "gort.gosched()"

    def begin(self, g):
        """Always suspends, so that the M's loop can enqueue the goroutine."""
        m: M = getm()
        m.mcall = MCALL_YIELD
        return PARK

    def finish(self):
        """No result."""
        return None


task_await = None  # gort.aio's: returns the iterator through which an asyncio task awaits an operation
g_of_task = None  # and this: the G that stands for the asyncio task that runs on this thread


def set_task_await(fn, g_of):
    """Lets asyncio tasks of gort's loops await operations, from now on.  Until then an await does not even ask."""
    global task_await, g_of_task
    task_await = fn
    g_of_task = g_of
    if cython.compiled:
        rt_set_op_await(op_await)


def scopes_of(m):
    """The G whose scopes the code that runs on m enters: the goroutine, or what stands for the asyncio task."""
    return g_of_task() if m.mcall == MCALL_LOOP else m.curg


if cython.compiled:

    def op_await(self):
        """What awaits an operation: itself, or in an asyncio task what task_await gives."""
        m: M = getm()
        if m is not None and m.mcall == MCALL_LOOP:
            return task_await(cython.cast(object, self))
        return cython.cast(object, self)

    def am_send(op, arg, result):
        """tp_as_async->am_send: PYGEN_RETURN (0) with the result, PYGEN_NEXT (1), or -1 with an exception."""
        value: object
        began: cython.int
        # A pointer, because C would count a reference to the M, which outlives each step of its goroutine.
        m: cython.pointer(PyObject) = rt_getm()
        if m == cython.NULL:
            m = cython.cast(cython.pointer(PyObject), None)
        result[0] = cython.NULL  # the protocol wants NULL there after an error
        if op.state == OP_PARKED:
            if resumed(op, cython.cast(M, m)) == THROWN:
                return -1
            value = None if type(op) is GoschedOp else op.finish()
            if op.state != OP_DONE:  # park_again
                Py_INCREF(None)
                result[0] = cython.cast(cython.pointer(PyObject), None)
                return 1
        else:
            began = start(op, cython.cast(M, m))
            if began == PARK:
                Py_INCREF(None)
                result[0] = cython.cast(cython.pointer(PyObject), None)
                return 1
            if began == THROWN:
                return -1
            value = op.finish()
        Py_INCREF(value)
        result[0] = cython.cast(cython.pointer(PyObject), value)
        return 0

    rt_set_op_send(cython.cast(rt_sendfunc, am_send))

else:
    # start, claim and resumed, inlined by hand: C inlines these calls, but here each costs as much as ten lines.

    def _drive(self):
        m = getm()
        while m is None or (g := m.curg) is None or m.mcall != MCALL_NONE or g.cancelflag or self.state != OP_NEW:
            if m is not None and m.mcall == MCALL_LOOP:
                return (yield from task_await(self))
            if refuse(self, m) == READY:
                break
            yield
            m = getm()
        was, self.state = self.state, OP_DONE
        if was != OP_NEW or (FREE_THREADED and not claim(self)):
            raise awaited_twice(self)
        if type(self) is GoschedOp and not m.sched.ending:
            self.g = g
            m.mcall = MCALL_YIELD
        elif self.begin(g) == READY:
            if m.preempt == PREEMPT_LOOK:
                m.sched.predictor.look(m)
                return self.finish()
            if not m.preempt or not goes(self, m):
                return self.finish()
            self.g = g
            m.mcall = MCALL_YIELD
        elif m.sched.ending:
            stopping(self, m)
            return self.finish()
        elif m.mcall == MCALL_NONE:
            m.mcall = MCALL_PARK
            m.parkop = self
        self.state = OP_PARKED
        while True:
            yield
            m = getm()
            if m is None or m.mcall != MCALL_NONE or self.g is not m.curg:
                lost(self, m)
            self.state = OP_DONE
            value = self.finish()
            if self.state == OP_DONE:  # else park_again
                return value

    Op.__await__ = Op.__iter__ = _drive


def gosched():
    """Lets other goroutines run: `await gosched()` puts this goroutine at the tail of the global run queue.  Follows
    Go's Gosched (runtime/proc.go).

    Raises RuntimeError when it is awaited outside a goroutine."""
    return GoschedOp.__new__(GoschedOp) if cython.compiled else GoschedOp()
