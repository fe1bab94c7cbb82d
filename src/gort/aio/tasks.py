"""`await ch.recv()` in an asyncio task of a gort loop, and `await task` in a goroutine.

A task is not a goroutine: it must not leave the loop's thread, and its loop resumes it.  So in the operation's wait
queue a G stands for the task (outside.task_g), and what the task awaits is a Waiter, which asyncio takes for a future.
When the operation is done, the Waiter has the loop resume the task.

Invariants
- Nothing is lost when a task is cancelled.  The cancellation takes the operation out of its queue, or comes too late:
  then the await gives its result, and the cancellation is raised at the task's next await.
- A Waiter resumes its task once, whichever comes first: the end of the operation or the callback's arrival.

A goroutine that awaits a future of a loop that runs is parked on a FutureOp, which the future's callback completes.  One
at a time: asyncio marks in the future that somebody is about to wait for it, and two threads would take each other's mark
for their own.

What does not live here: the branch that leads here (core/op.py, op_await), and the one for futures (proc.foreign).
"""

from __future__ import annotations

import threading
import time
from asyncio import CancelledError, Handle, events
from asyncio.tasks import current_task
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from gort._runtime.core import handoff, op, outside, panic, runtime2
from gort._runtime.core.errors import Stopping
from gort._runtime.core.op import GoschedOp, awaited_twice, claim, describe
from gort._runtime.core.runtime2 import OP_DONE, OP_NEW, PARK, Op
from gort._runtime.core.scopes import take_cancel
from gort._runtime.sched.blocking import BlockingOp

if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import Callable, Generator


def install() -> None:
    """Lets tasks await operations and goroutines await futures, in every runtime of this process."""
    op.set_task_await(task_await, g_of_task)
    panic.await_future = await_future


# ---- an operation in a task -------------------------------------------------------------------------------------------


class Waiter:
    """What a task awaits while an operation waits for it.  asyncio takes it for a future, by these methods.  When the
    operation is over it is its own handle in the loop's queue: a Handle and its callback would cost as much again."""

    __slots__ = (
        "_asyncio_future_blocking",
        "_loop",
        "aborted",
        "callback",
        "context",
        "g",
        "message",
        "op",
        "turn",
        "used",
    )

    # asyncio finds the loop in `_loop`: a method get_loop would be one call more for each wait.
    # What the loop looks at in a handle:
    _cancelled = False
    _source_traceback = None
    _args = ()

    def __init__(self, loop: Any) -> None:
        self._loop: Any = loop
        self._asyncio_future_blocking = True
        self.op: Any = None
        self.g: Any = None
        self.callback: Callable[[Any], object] | None = None
        self.context: Context | None = None
        self.aborted: bool = False
        self.message: object = None
        self.used: bool = False  # it may still be in the loop's queue, or in a wait queue: it serves no other operation
        self.turn: list[None] = []  # one None when the operation is over; who takes it resumes the task

    def again(self) -> None:
        """Makes it ready for another wait."""
        self._asyncio_future_blocking = True
        self.callback = None

    # The end of the operation.

    def finished(self, goid: int, value: object, exc: object) -> None:
        """The operation is done (outside.task_g).  Any thread."""
        self.turn.append(None)
        if self.callback is not None:
            self._resume()

    def _resume(self) -> None:
        try:
            self.turn.pop()
        except IndexError:
            return
        loop = self._loop
        if loop._debug and not loop._closed:
            callback: Any = self.callback
            loop._ready.append(Handle(callback, (self,), loop, self.context))  # debug mode reports it
            loop._write_to_self()
        elif not loop._closed:  # else nobody will ever resume the task
            loop._ready.append(self)
            if not loop._turns or loop._thread_id != threading.get_ident():  # it waits, and must be woken
                loop._write_to_self()

    def _run(self) -> None:
        """Resumes the task, as Handle._run does."""
        callback, context = self.callback, self.context
        if callback is None or context is None:
            return  # the task has been given up
        try:
            context.run(callback, self)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as e:
            told = {"message": f"Exception in callback {callback!r}", "exception": e, "handle": self}
            self._loop.call_exception_handler(told)

    @property
    def _callback(self) -> Any:
        return self.callback

    # What asyncio calls.

    def add_done_callback(self, fn: Callable[[Any], object], *, context: Context | None = None) -> None:
        """fn(self) resumes the task."""
        self.context = copy_context() if context is None else context
        self.callback = fn
        if self.turn:
            self._resume()

    def cancel(self, msg: object = None) -> bool:
        """Takes the operation back.  False when it is done: then the task gets its result, and the cancellation after."""
        operation = self.op
        if operation is None or self.aborted or not operation.abort():
            return False
        self.aborted = True
        self.message = msg
        self.g.waitop = None
        self.finished(0, None, None)
        return True

    def result(self) -> None:
        """Raises CancelledError when it was cancelled."""
        if self.aborted:
            raise CancelledError() if self.message is None else CancelledError(self.message)

    def done(self) -> bool:
        """Whether nothing is waited for any more."""
        return self.aborted or self.g is None or not self.g.parked

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.aborted

    def exception(self) -> None:
        """None: the operation raises its error itself."""

    def remove_done_callback(self, fn: Callable[[Any], object]) -> int:
        """For a task that is given up."""
        if self.callback is None:
            return 0
        self.callback = None
        return 1

    def __repr__(self) -> str:
        return f"<wait for {describe(self.op)}>"


def g_of_task() -> Any:
    """The G whose scopes are those of the task that runs: gort.timeout and Group work in a task too."""
    loop: Any = events._get_running_loop()
    task = current_task()
    g = loop._gs.get(task)
    if g is None:
        g = outside.task_g(runtime2.current_m().sched, None)
        if task is not None:
            loop._gs[task] = g
    return g


def task_await(operation: Any) -> Generator[Any, Any, Any]:
    """The iterator through which a task awaits an operation."""
    if operation.state != OP_NEW or not claim(operation):
        raise awaited_twice(operation)
    loop: Any = events._get_running_loop()
    m = runtime2.current_m()
    if loop is None or m is None:
        raise op.not_running(operation)
    kind = type(operation)
    if kind is GoschedOp:
        yield
        return None
    if kind is BlockingOp:
        args, kwargs = operation.elem
        fn, operation.elem = operation.c, None
        call = partial(copy_context().run, fn, *args, **kwargs)
        return (yield from loop.run_in_executor(None, call))
    g = loop._gs.get(current_task(loop)) if loop._gs else None
    if g is None:
        spare = loop._spare
        waiter = spare.pop() if spare else Waiter(loop)
        g = waiter.g
        if g is None or g.sched is not m.sched:
            g = waiter.g = outside.task_g(m.sched, waiter)
    else:
        spare = None
        waiter = Waiter(loop)
        waiter.g = g
        g.done = waiter
        g.sched = m.sched
    waiter.op = operation
    if m.sched.ending:
        raise Stopping(f"{describe(operation)}: the runtime is stopping, a finally block cannot wait any more")
    _raise_cancellation(take_cancel(g) if g.cancelflag else None)
    try:
        parks = operation.begin(g) == PARK
        while True:
            while parks and (g.parked or outside.thread_park(g, operation)):
                try:
                    yield waiter
                except BaseException as e:
                    if not _too_late(waiter, operation, e):
                        raise
                if g.throw is not None:  # a scope of the task has been cancelled
                    exc, g.throw = g.throw, None
                    _raise_cancellation(exc)
                if not g.parked:
                    break
                waiter.used = True  # something else than the operation has resumed the task
                waiter.again()
            value = operation.finish()
            if operation.state == OP_DONE:
                break
            operation.state = OP_DONE  # op.park_again: it has enqueued itself once more
            waiter.again()
            parks = True
    finally:
        waiter.op = waiter.callback = waiter.context = None
    if spare is not None and not waiter.used:  # as a goroutine's G, it is free again once its operation is over
        waiter._asyncio_future_blocking = True
        spare.append(waiter)
    return value


def _too_late(waiter: Waiter, operation: Any, e: BaseException) -> bool:
    """Whether e, which was raised in a task that waits, has come too late: the operation is done, or a scope of the task
    has been cancelled.  That counts, and a cancellation is raised at the task's next await.  If not, the operation is
    taken back or undone."""
    g = waiter.g
    waiter.used = True
    if waiter.aborted or operation.abort():
        g.parked = False  # nobody calls ready, and a G that has the task's scopes serves its next operation too
        g.waitop = operation.g = None
        operation.cancelled(e)
        return False
    if not isinstance(e, CancelledError):
        operation.undo()
        return False
    task = current_task(waiter._loop)
    if task is not None:
        waiter._loop.call_soon(_cancel_again, task, task.cancelling(), e.args[:1])
    while g.parked:  # who has completed the operation is about to call ready, on another thread
        time.sleep(0)
    return True


def _raise_cancellation(exc: BaseException | None) -> None:
    """Raises what gort.timeout or a Group raises in the task, if there is anything."""
    if exc is not None:
        try:
            raise exc
        finally:
            del exc


def _cancel_again(task: Task[Any], requests: int, args: tuple[Any, ...]) -> None:
    """The cancellation came too late for an operation: raises it at the task's next await, unless who has asked for it
    has taken it back (uncancel)."""
    if not task.done() and task.cancelling() >= requests:
        task.uncancel()
        task.cancel(*args)


# ---- a future in a goroutine ------------------------------------------------------------------------------------------


class FutureOp(Op):
    """The wait of a goroutine for an asyncio future.  c: the future; elem: a list, emptied by who ends the wait."""

    what = "an asyncio future"

    def abort(self) -> bool:
        """Gives the wait up.  False when the future is done."""
        try:
            self.elem.pop()
        except IndexError:
            return False
        try:
            self.c.get_loop().call_soon_threadsafe(self.c.remove_done_callback, self.done)
        except RuntimeError:
            pass  # the loop is closed
        return True

    def done(self, future: Any) -> None:
        """The future's callback, on the loop's thread."""
        try:
            self.elem.pop()
        except IndexError:
            return
        self.g.foreign = False
        handoff.ready(self.g)

    def reason(self) -> int:
        """WAIT_ASYNCIO."""
        return op.WAIT_ASYNCIO


def await_future(value: Any, g: Any) -> Any:
    """The operation on which g waits for the future that it has yielded; None if it is none of a loop that runs."""
    try:
        blocking = getattr(value, "_asyncio_future_blocking", False)
    except BaseException:  # what is no future may refuse to be looked at: panic.foreign_await tells why
        return None
    if not blocking:
        return None
    loop = value.get_loop()
    if not loop.is_running():
        return None
    operation = FutureOp()
    operation.state = OP_DONE
    operation.c, operation.g, operation.elem = value, g, [None]
    g.foreign = True  # before the callback, which clears it
    try:
        loop.call_soon_threadsafe(value.add_done_callback, operation.done)
    except RuntimeError:  # the loop has been closed meanwhile
        g.foreign = False
        return None
    value._asyncio_future_blocking = False
    return operation
