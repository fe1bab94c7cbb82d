"""gort.wait: a thread, instead of a goroutine, waits for an operation or a coroutine.

A plain-function goroutine hands its P off before it sleeps; a thread outside the runtime has none.  In wait queues a G
of its own represents the thread (handoff.thread_g), and `ready` wakes that G's note.

What does not live here: how a goroutine waits (core/op.py).
"""

from __future__ import annotations

import time
from _collections_abc import Awaitable
from types import CoroutineType

from gort._runtime.boot import main
from gort._runtime.core import handoff, runtime2
from gort._runtime.sched import newproc
from gort._runtime.sched.blocking import BlockingOp
from gort._runtime.wait.chan import ChanOp
from gort._runtime.sched.newproc import Done
from gort._runtime.core.errors import Cancelled
from gort._runtime.core.machine import nanotime
from gort._runtime.core.runtime2 import OP_DONE, OP_NEW, PARK
from gort._runtime.core.op import GoschedOp, awaited_twice, claim, describe
from gort._runtime.wait.select import SelectOp
from gort._runtime.sched.timers import SleepOp, to_ns
from gort._start import hints as t

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def wait(what: Awaitable[t.T], timeout: float | None = None) -> t.T:
    """Blocks this thread until an operation or a coroutine is done, and returns its result.  For plain-function
    goroutines and for threads outside the runtime.

    A coroutine runs as a goroutine: in the runtime of the calling goroutine, or in the only runtime that runs.  timeout
    is in seconds.

    Raises what the operation or the coroutine raises.  Raises TimeoutError when the timeout has passed; then the
    operation has had no effect, and the coroutine has been cancelled.  Raises RuntimeError inside an async goroutine
    (use await there), if no runtime can be found, and if the runtime stops; TypeError if `what` cannot be awaited."""
    m = runtime2.current_m()
    if m is not None and m.curg is not None and m.curg.coro is not None:
        _drop(what)
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
    if isinstance(op, (GoschedOp, BlockingOp, SleepOp)) and m is None:
        return _without_runtime(op, limit)
    if isinstance(op, GoschedOp):
        return None
    s = m.sched if m is not None else None
    if s is None and not isinstance(op, (ChanOp, SelectOp)):
        s = _only_runtime(describe(op))
    g = handoff.thread_g(s)
    deadline = None if limit is None else nanotime() + limit
    if op.begin(g) == PARK:
        timers = _timers(op) if m is None else []
        if handoff.thread_park(g, op):
            _sleep(op, g, s, m, deadline, timers)
    return op.finish()


def _sleep(op: Any, g: Any, s: Any, m: Any, deadline: int | None, timers: list[Any]) -> None:
    """Sleeps until op is done.  Raises TimeoutError, KeyboardInterrupt or RuntimeError (the runtime stops), and takes
    op out of its queue first."""
    if m is not None:
        handoff.entersyscall(m)
        s.waiters.add(g.note)
        if s.exiting:
            g.note.wakeup()  # request_exit may have read s.waiters before we were in it
        if deadline is None:
            handoff.count_parked(g)
    try:
        while True:
            until = deadline
            for timer in timers:
                if timer.due and (until is None or timer.due < until):
                    until = timer.due
            left = -1.0 if until is None else max(0.0, (until - nanotime()) / 1e9)
            if g.note.sleep(left):
                if s is not None and s.exiting and g.parked:
                    if op.abort():
                        raise RuntimeError(f"{describe(op)}: the runtime is stopping")
                    g.note.sleep()
                return
            for timer in timers:
                timer.look()
            if deadline is not None and nanotime() >= deadline:
                if op.abort():
                    raise TimeoutError(f"{describe(op)} took longer than the timeout of gort.wait")
                deadline = None  # op has completed just now, so the wake-up is on its way
    except KeyboardInterrupt:
        op.abort()
        raise
    finally:
        if m is not None:
            s.waiters.discard(g.note)
            handoff.uncount(g)
            handoff.exitsyscall(m)


def _without_runtime(op: Any, limit: int | None) -> Any:
    """Does an operation that concerns only the calling thread, which is outside the runtime: sleep, blocking,
    gosched."""
    if isinstance(op, SleepOp):
        if limit is not None and limit < op.when:
            time.sleep(max(0, limit) / 1e9)
            raise TimeoutError("gort.sleep() took longer than the timeout of gort.wait")
        time.sleep(max(0, op.when) / 1e9)
        return None
    if isinstance(op, BlockingOp):
        args, kwargs = op.elem
        return op.c(*args, **kwargs)
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
    """The Done of the goroutine that runs the coroutine: keeps the result and wakes the waiting thread."""

    def __init__(self, g: Any) -> None:
        self.g = g  # the thread_g of the waiting thread
        self.value: Any = None
        self.exc: BaseException | None = None
        self.done: Any = False  # Any, because another thread sets it: a type checker must not infer it from a test

    def finished(self, goid: int, value: Any, exc: BaseException | None) -> None:
        self.value, self.exc, self.done = value, exc, True
        if self.g.sched is not None:
            handoff.uncount(self.g)
        self.g.note.wakeup()

    def abandoned(self, goid: int) -> None:
        self.finished(goid, None, RuntimeError("gort.wait: the runtime stopped before the coroutine was done"))


async def _await(what: Any) -> Any:
    return await what


def _wait_coroutine(what: Any, limit: int | None, m: Any) -> Any:
    try:
        s = m.sched if m is not None else _only_runtime(getattr(what, "__qualname__", type(what).__name__))
    except RuntimeError:
        _drop(what)
        raise
    if s.exiting:
        _drop(what)
        raise RuntimeError("gort.wait: the runtime stopped before the coroutine was done")
    waiter = handoff.thread_g(s)
    result = _Result(waiter)
    g, goid = newproc.newproc_from(s, _await, (what,), None, result, None, -1)
    if m is not None:
        handoff.entersyscall(m)
        s.waiters.add(waiter.note)
        if s.exiting:
            waiter.note.wakeup()  # the runtime may neither run the coroutine any more nor call abandoned() for it
        if limit is None:
            handoff.count_idle(waiter)
    try:
        if not waiter.note.sleep(-1.0 if limit is None else max(0, limit) / 1e9):
            handoff.cancel(g, goid, Cancelled())
            raise TimeoutError("the coroutine took longer than the timeout of gort.wait")
    finally:
        if m is not None:
            s.waiters.discard(waiter.note)
            handoff.uncount(waiter)
            handoff.exitsyscall(m)
    if not result.done:
        raise RuntimeError("gort.wait: the runtime stopped before the coroutine was done")
    if result.exc is not None:
        raise result.exc
    return result.value
