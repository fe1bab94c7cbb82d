"""Calls into a loop that another goroutine drives: `await gort.aio.call(loop, coroutine)`, and Service, such a loop.

Invariants
- The coroutine is a task of the loop, in a copy of the caller's contextvars.
- When the caller is cancelled, the task is cancelled, and the caller goes on when it has ended: nothing of the call is
  left behind.  Only the end of the program does not wait for it.

What does not live here: how a task of the loop awaits gort's operations (tasks.py).
"""

from __future__ import annotations

import asyncio
import contextvars
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from gort._runtime.core import handoff
from gort._runtime.core.op import WAIT_ASYNCIO
from gort._runtime.core.runtime2 import PARK, Op
from gort._runtime.core.scopes import take_cancel
from gort._runtime.sched.newproc import go
from gort._runtime.wait.chan import Chan
from gort.aio.loop import Loop
from gort.aio.running import run
from gort.scope import shield

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

_T = TypeVar("_T")


class CallOp(Op):
    """A coroutine handed to a loop.  c: the loop; elem: (coroutine, context), then the task, then None; sel: the
    exception that kept it from starting; index: whether the caller wants it cancelled; success: it is over."""

    what = "gort.aio.call()"
    g: Any
    elem: Any
    sel: Any

    def begin(self, g: Any) -> int:
        """Hands the coroutine over."""
        self.g = g
        try:
            self.c.call_soon_threadsafe(self._start)
        except BaseException:
            self.elem[0].close()
            self.elem = None
            raise
        return PARK

    def _start(self) -> None:
        """On the loop's thread."""
        coroutine, context = self.elem
        self.elem = None
        if self.index:
            coroutine.close()
            self._over(None)
            return
        try:
            task = self.c.create_task(coroutine, context=context)
        except BaseException as e:  # the loop's task factory is the user's
            self.sel = e
            self._over(None)
            return
        self.elem = task  # a cancellation that comes from now on finds it
        task.add_done_callback(self._over)

    def _over(self, task: object) -> None:
        self.success = 1
        handoff.ready(self.g)

    def _cancel(self) -> None:
        if self.elem is not None and isinstance(self.elem, asyncio.Task):
            self.elem.cancel()

    def abort(self) -> bool:
        """Cancels the task.  False: the caller is woken when that has ended.  True at the end of the program."""
        if not self.index:
            self.index = 1
            try:
                self.c.call_soon_threadsafe(self._cancel)
            except RuntimeError:
                return True  # the loop is closed
        return bool(self.g.sched is None or self.g.sched.exiting)

    def finish(self) -> Any:
        """The coroutine's result, or its exception.  If it was cancelled for the caller's sake, that cancellation."""
        task, g, exc = self.elem, self.g, self.sel
        self.elem = self.sel = self.g = None
        if exc is None and (task is None or task.cancelled()) and self.index:
            exc = take_cancel(g)
            if exc is None:
                exc = TimeoutError("gort.aio.call() took longer than the timeout of gort.wait")
        if exc is not None:
            try:
                raise exc
            finally:
                del exc
        return task.result()

    def reason(self) -> int:
        """WAIT_ASYNCIO."""
        return WAIT_ASYNCIO


def call(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, _T]) -> Awaitable[_T]:
    """Runs a coroutine as a task of a loop that runs elsewhere: `r = await gort.aio.call(loop, client.get(url))`, from
    any goroutine.  A plain goroutine and a thread write gort.wait(gort.aio.call(…)).

    The await raises what the coroutine raises.  When the caller is cancelled, so is the task; the caller waits until that
    has ended, and then gets gort.Cancelled.  TypeError if `coroutine` is none."""
    if not asyncio.iscoroutine(coroutine):
        raise TypeError(f"gort.aio.call takes a coroutine, not {type(coroutine).__name__}")
    op = CallOp()
    op.c = loop
    op.elem = (coroutine, contextvars.copy_context())
    return op  # type: ignore[return-value]  # awaitable: op.py has given Op its protocol


class Service:
    """A loop that a goroutine of its own drives, for clients that are bound to one loop:

        async with gort.aio.Service() as loop:
            client = await gort.aio.call(loop, connect())

    The end of the block cancels what still runs in the loop, waits for it, and closes the loop."""

    def __init__(self, *, debug: bool | None = None, loop_factory: Callable[[], Loop] | None = None) -> None:
        self._debug = debug
        self._factory = loop_factory
        self._up: Chan[Loop | BaseException] = Chan(1)
        self._down: Chan[None] = Chan()
        self._loop: Loop | None = None
        self._stop: asyncio.Event | None = None

    async def __aenter__(self) -> Loop:
        go(self._serve)
        loop = await self._up.recv()
        if isinstance(loop, BaseException):
            raise loop
        self._loop = loop
        return loop

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None:
            try:
                loop.call_soon_threadsafe(stop.set)
            except RuntimeError:
                pass  # somebody has stopped it already
            async with shield():
                await self._down.recv_ok()

    async def _serve(self) -> None:
        try:
            await run(self._main(), debug=self._debug, loop_factory=self._factory)
        except Exception as e:
            if self._stop is not None:
                raise  # it had begun, and nobody else would hear of it
            self._up.try_send(e)
        finally:
            self._down.close()

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        self._up.try_send(loop)
        await self._stop.wait()
