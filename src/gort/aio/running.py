"""gort.aio.run: a goroutine runs an asyncio program, in a loop of its own.  asyncio.run's counterpart.

What does not live here: the loop (loop.py).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from gort._runtime.core import runtime2
from gort._runtime.core.errors import Cancelled
from gort.aio.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_T = TypeVar("_T")


def _stop(future: asyncio.Future[Any]) -> None:
    """The done callback of what a loop runs for; SystemExit and KeyboardInterrupt have stopped it already."""
    if future.cancelled() or not isinstance(future.exception(), SystemExit | KeyboardInterrupt):
        future.get_loop().stop()


async def _until(loop: Loop, future: asyncio.Future[_T]) -> _T:
    """Drives the loop until future is done.  When the goroutine is cancelled, the future is, and waited for."""
    cancelled: Cancelled | None = None
    future.add_done_callback(_stop)
    try:
        while not future.done():
            try:
                await loop.drive()
            except Cancelled as e:
                cancelled = e
                future.cancel()
                continue
            if not future.done():
                raise RuntimeError("the event loop was stopped before its task was done")
    except BaseException:
        if future.done() and not future.cancelled():
            future.exception()  # it has been retrieved: what stops the loop is raised here
        raise
    finally:
        future.remove_done_callback(_stop)
    if cancelled is not None and future.cancelled():
        try:
            raise cancelled
        finally:
            del cancelled
    return future.result()


async def run(
    main: Coroutine[Any, Any, _T], *, debug: bool | None = None, loop_factory: Callable[[], Loop] | None = None
) -> _T:
    """Runs an asyncio coroutine in an event loop of its own, driven by this goroutine: `r = await gort.aio.run(main())`.
    The goroutine keeps its thread meanwhile; others go on.  Follows asyncio.run.

    When the goroutine is cancelled, the coroutine's task is cancelled and waited for; gort.Cancelled is raised then, if
    the task does not end in another way.  Raises what main raises; ValueError if it is no coroutine, RuntimeError outside
    a goroutine and in an asyncio task (await it there)."""
    m = runtime2.current_m()
    problem = ""
    if not asyncio.iscoroutine(main):
        raise ValueError(f"a coroutine was expected, got {main!r}")
    if m is None or m.curg is None:
        problem = "outside a goroutine: use asyncio.run(main(), loop_factory=gort.aio.Loop)"
    elif asyncio.events._get_running_loop() is not None:
        problem = "in a running event loop: await the coroutine"
    if problem:
        main.close()
        raise RuntimeError(f"gort.aio.run() {problem}")
    try:
        loop = (loop_factory or Loop)()
    except BaseException:
        main.close()
        raise
    try:
        if debug is not None:
            loop.set_debug(debug)
        return await _until(loop, loop.create_task(main))
    except GeneratorExit:
        loop.abandon()
        raise
    finally:
        await _finish(loop)


async def _finish(loop: Loop) -> None:
    """Cancels the tasks that are left, ends async generators and threads, closes the loop."""
    m = runtime2.current_m()
    try:
        if m is None or not m.sched.ending:
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                await _until(loop, loop.create_task(_gather(left)))
            for task in left:
                if not task.cancelled() and (exc := task.exception()) is not None:
                    message = "unhandled exception during gort.aio.run() shutdown"
                    loop.call_exception_handler({"message": message, "exception": exc, "task": task})
            if loop._asyncgens:  # type: ignore[attr-defined]
                await _until(loop, loop.create_task(loop.shutdown_asyncgens()))
            if loop._default_executor is not None:  # type: ignore[attr-defined]
                await _until(loop, loop.create_task(loop.shutdown_default_executor()))
    finally:
        loop.close()


async def _gather(tasks: set[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)
