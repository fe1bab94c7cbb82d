"""Calls into a loop that another goroutine drives: `await gort.aio.call(loop, coroutine)`, and Service, such a loop.

What does not live here: the operation of a call (_runtime/aio/bridge.py); how a task of the loop awaits gort's operations
(tasks.py).
"""

from __future__ import annotations

import asyncio
from types import CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from gort._runtime.sched.newproc import go
from gort._runtime.wait.chan import Chan
from gort._start.cython import lent
from gort.aio.loop import Loop
from gort.aio.running import run
from gort.scope import shield

with lent():
    from gort._runtime.aio.bridge import make_call

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

_T = TypeVar("_T")


def call(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, _T]) -> Awaitable[_T]:
    """Runs a coroutine as a task of a loop that runs elsewhere: `r = await gort.aio.call(loop, client.get(url))`, from
    any goroutine.  A plain goroutine and a thread write gort.wait(gort.aio.call(…)).

    The await raises what the coroutine raises.  When the caller is cancelled, so is the task; the caller waits until that
    has ended, and then gets gort.Cancelled.  TypeError if `coroutine` is none."""
    if type(coroutine) is not CoroutineType and not asyncio.iscoroutine(coroutine):
        raise TypeError(f"gort.aio.call takes a coroutine, not {type(coroutine).__name__}")
    return make_call(loop, coroutine)  # type: ignore[no-any-return]


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
