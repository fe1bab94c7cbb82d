"""gort.wait: a thread, instead of a goroutine, waits for an operation or a coroutine.

A plain-function goroutine hands its P off before it sleeps; a thread outside the runtime has none, nor has one that is
in a call of gort.blocking.  In wait queues a G of its own represents the thread (outside.thread_g), and `ready` wakes
that G's note.  That G also gets the cancellations of the goroutine whose thread it is (outside.stand_in).

Invariant: whatever ends the wait early (a timeout, a cancellation, the exception of a signal handler, the program's end),
the operation is taken back, and the coroutine is cancelled.  An exception of a handler that comes as the operation
completes wins, and the result is lost, as with queue.Queue.get: nobody is left who could be given both.

What does not live here: how a goroutine waits (core/op.py).
"""

from __future__ import annotations

import time
from _collections_abc import Awaitable
from types import CoroutineType

from gort._runtime.boot import main
from gort._runtime.core import handoff, outside, runtime2, tracing
from gort._runtime.sched import newproc
from gort._runtime.sched.blocking import BlockingOp, call, calls_user
from gort._runtime.wait.chan import Chan, ChanOp
from gort._runtime.sched.newproc import Done
from gort._runtime.core.errors import Cancelled, Goexit, is_a
from gort._runtime.core.machine import nanotime
from gort._runtime.core.runtime2 import OP_DONE, OP_NEW, PARK
from gort._runtime.core.op import GoschedOp, awaited_twice, claim, describe
from gort._runtime.core.scopes import take_cancel
from gort._runtime.core.traceback import reason_of
from gort._runtime.wait.select import SelectOp
from gort._runtime.sched.timers import SleepOp, to_ns
from gort._start import hints as t

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _GoroutineCancelled(BaseException):
    """The goroutine whose thread waits has been cancelled with exc, and the operation has had no effect."""

    def __init__(self, exc: BaseException) -> None:
        self.exc = exc


def wait(what: Awaitable[t.T], timeout: float | None = None) -> t.T:
    """Blocks this thread until an operation or a coroutine is done, and returns its result.  For plain-function
    goroutines, for functions that run in gort.blocking, and for threads outside the runtime.

    A coroutine runs as a goroutine: in the runtime of the calling goroutine, or in the only runtime that runs.  It gets
    a copy of the calling thread's contextvars.  timeout is in seconds.

    Raises what the operation or the coroutine raises.  Raises TimeoutError when the timeout has passed, and what a signal
    handler raises meanwhile; then the operation has had no effect, and the coroutine has been cancelled.  When the
    calling goroutine is cancelled, so is the coroutine, and gort.wait goes on until it has ended; an operation is given
    up, and Cancelled is raised.  Raises RuntimeError inside an async goroutine (use await there), in a signal handler
    that has interrupted the scheduler (it cannot wait), if no runtime can be found, and if the runtime stops; TypeError
    if `what` cannot be awaited."""
    m = runtime2.current_m()
    if m is not None and (m.curg is None or (m.curg.coro is not None and not m.insyscall)):
        _drop(what)
        if m.curg is None:
            raise RuntimeError("gort.wait would block the scheduler: a signal handler, a finalizer cannot wait")
        raise RuntimeError("gort.wait would block the thread of an async goroutine: use `await` here")
    limit = None if timeout is None else to_ns(timeout)
    if isinstance(what, runtime2.Op):
        return _wait_op(what, limit, m)  # type: ignore[no-any-return]
    if isinstance(what, CoroutineType) or _is_awaitable(what):
        return _wait_coroutine(what, limit, m)  # type: ignore[no-any-return]
    raise TypeError(f"gort.wait takes an operation such as ch.recv(), or a coroutine, not {type(what).__name__}")


def _is_awaitable(what: Any) -> bool:
    from inspect import isawaitable

    return isawaitable(what)


def _drop(what: Any) -> None:
    if isinstance(what, runtime2.Op):
        if what.state == OP_NEW:  # else another goroutine may be waiting on it
            what.state = OP_DONE
    elif isinstance(what, CoroutineType):
        what.close()


def _timers(op: Any) -> list[Any]:
    """The timers whose channels op waits on.  A thread outside the runtime must fire them itself, because it has no P
    whose heap they could be in."""
    cases = op.c if isinstance(op, SelectOp) else (op,)
    return [case.c.timer for case in cases if isinstance(case, ChanOp) and case.c.timer is not None]


def _wait_op(op: Any, limit: int | None, m: Any) -> Any:
    if op.state != OP_NEW or not claim(op):
        raise awaited_twice(op)
    if isinstance(op, GoschedOp) and m is not None:
        return None
    if isinstance(op, BlockingOp):
        return _call(op, m)
    if isinstance(op, (GoschedOp, SleepOp)) and m is None:
        return _without_runtime(op, limit)
    s = m.sched if m is not None else None
    if s is None and not isinstance(op, (ChanOp, SelectOp)):
        s = _only_runtime(describe(op))
    try:
        _do(op, describe(op), _deadline(limit), m, s)
        return op.finish()
    except _GoroutineCancelled as e:
        exc = e.exc
    try:
        raise exc
    finally:
        del exc  # this frame is in its traceback: no circle


def _deadline(limit: int | None) -> int | None:
    return None if limit is None else nanotime() + limit


def _do(op: Any, what: str, deadline: int | None, m: Any, s: Any) -> None:
    """Begins op and sleeps until it is done; the caller calls op.finish().  `what` names op in messages.

    Raises TimeoutError, RuntimeError (the runtime stops), _GoroutineCancelled, or what a signal handler raises, and takes
    op back first."""
    w = outside.thread_g(s)
    g = m.curg if m is not None else None
    before = None
    try:
        if g is not None:
            before = outside.stand_in(g, w)
            if g.cancelflag and (exc := take_cancel(g)) is not None:  # it came before; from now on w gets them
                raise _GoroutineCancelled(exc)
        try:
            if op.begin(w) == PARK and outside.thread_park(w, op):
                _sleep(op, what, w, s, m, deadline, _timers(op) if m is None else [])
        except BaseException:
            if not op.abort():
                op.undo()  # it has just completed, and nobody takes its result
            raise
    finally:
        if g is not None:
            outside.stand_in(g, before)
    woken = w.throw
    if woken is not None:
        w.throw = None
        exc = take_cancel(g)  # that of g's outermost scope: it may have come after the one that has woken us
        if exc is None:
            raise AssertionError("a goroutine left a scope while its thread waited")
        if exc is not woken and hasattr(woken, "written"):
            exc.written = woken.written  # type: ignore[attr-defined]
        raise _GoroutineCancelled(exc)


def _sleep(op: Any, what: str, w: Any, s: Any, m: Any, deadline: int | None, timers: list[Any]) -> None:
    """Sleeps until op, on which the thread_g w has parked, is done or aborted.  Raises as _do does."""
    note = w.note
    since = nanotime() if m is not None and m.sched.hooks & tracing.HOOK_WAITS else 0
    has_p = m is not None and not m.insyscall  # false in gort.blocking, and in a signal handler during another wait
    if m is not None and m.sched.chooser is not None:
        raise RuntimeError(f"gort.wait({what}) would block the only thread of an explored schedule: await it instead")
    try:
        if has_p:
            handoff.entersyscall(m)
        if s is not None:
            s.waiters.add(note)
            if s.exiting:
                note.wakeup()  # request_exit may have read s.waiters before we were in it
        if m is not None and deadline is None:
            outside.count_parked(w)
        while True:
            until = deadline
            for timer in timers:
                if timer.due and (until is None or timer.due < until):
                    until = timer.due
            left = -1.0 if until is None else max(0.0, (until - nanotime()) / 1e9)
            if note.sleep(left):
                if s is not None and s.exiting and w.parked:
                    if op.abort():
                        raise RuntimeError(f"{what}: the runtime is stopping")
                    note.sleep()
                return
            for timer in timers:
                timer.look()
            if deadline is not None and nanotime() >= deadline:
                if op.abort():
                    raise TimeoutError(f"{what} took longer than the timeout of gort.wait")
                deadline = None  # op has completed just now, so the wake-up is on its way
    finally:
        if s is not None:
            s.waiters.discard(note)
        if m is not None:
            handoff.uncount(w)
            if has_p and m.insyscall:
                handoff.exitsyscall(m)
        if since and (counts := tracing.state.counts) is not None:
            counts.block(None, reason_of(op), since)


def _call(op: Any, m: Any) -> Any:
    """Makes the call of gort.blocking on this thread, which hands its P off if it has one."""
    args, kwargs = op.elem
    if m is None or m.insyscall:
        return call(op.c, args, kwargs)
    try:
        handoff.entersyscall(m)
        return call(op.c, args, kwargs)
    finally:
        if m.insyscall:
            handoff.exitsyscall(m)


def _without_runtime(op: Any, limit: int | None) -> Any:
    """Does an operation that concerns only the calling thread, which is outside the runtime: sleep, gosched."""
    if isinstance(op, SleepOp):
        if limit is not None and limit < op.when:
            time.sleep(max(0, limit) / 1e9)
            raise TimeoutError("gort.sleep() took longer than the timeout of gort.wait")
        time.sleep(max(0, op.when) / 1e9)
        return None
    time.sleep(0)
    return None


def _only_runtime(what: str) -> Any:
    running = list(main._running)
    if len(running) != 1:
        raise RuntimeError(
            f"gort.wait({what}) from a thread that is no goroutine needs exactly one running runtime, "
            f"and {len(running)} run: start one with gort.run(main)"
        )
    return running[0]


class _Result(Done):
    """The Done of the goroutine that runs the coroutine: keeps the result and closes `over`."""

    def __init__(self, what: Any) -> None:
        self.what = what
        self.over: Chan[None] = Chan()
        self.value: Any = None
        self.exc: BaseException | None = None
        self.left = False  # nobody waits any more

    def finished(self, goid: int, value: Any, exc: BaseException | None) -> None:
        self.what, self.value, self.exc = None, value, exc
        self.over.close()
        if self.left:
            self.report()

    def abandoned(self, goid: int) -> None:
        if self.over.closed:
            return
        what = self.what
        if type(what) is CoroutineType and what.cr_frame is not None and not (what.cr_running or what.cr_suspended):
            what.close()  # it has not begun: without this Python says that it was never awaited
        # Who has left gets no result, so that there is none is no news.
        exc = None if self.left else RuntimeError("gort.wait: the runtime stopped before the coroutine was done")
        self.finished(goid, None, exc)

    def leave(self) -> None:
        """The thread waits no more: what the coroutine raises from now on is reported, because nobody gets it."""
        self.left = True
        if self.over.closed:
            self.report()

    def report(self) -> None:
        """Reports an exception of the coroutine, once, if it is more than the end of a cancelled one."""
        exc, self.exc = self.exc, None
        if exc is not None and not is_a(exc, Cancelled, Goexit, GeneratorExit):
            main.unraisable(exc, None, "a coroutine raised after gort.wait had left it")


async def _await(what: Any) -> Any:
    return await what


calls_user.add(_await.__code__)


def _wait_coroutine(what: Any, limit: int | None, m: Any) -> Any:
    try:
        s = m.sched if m is not None else _only_runtime(getattr(what, "__qualname__", type(what).__name__))
    except RuntimeError:
        _drop(what)
        raise
    if s.exiting:
        _drop(what)
        raise RuntimeError("gort.wait: the runtime stopped before the coroutine was done")
    result = _Result(what)
    deadline = _deadline(limit)
    g = None
    try:
        g, goid = newproc.newproc_from(s, _await, (what,), None, result, None, -1)
        while True:
            op: Any = result.over.recv_ok()
            op.state = OP_DONE
            try:
                _do(op, "the coroutine", deadline, m, s)
                break
            except _GoroutineCancelled as e:  # the coroutine is part of the goroutine: it is cancelled and ends first
                handoff.cancel(g, goid, e.exc)
    except BaseException:
        if g is not None:
            result.leave()
            handoff.cancel(g, goid, Cancelled())
        raise
    if result.exc is not None:
        raise result.exc
    return result.value
