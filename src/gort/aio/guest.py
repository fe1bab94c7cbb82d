"""gort.aio.trio: a goroutine runs a trio program, by trio's guest mode.

trio waits for descriptors and timers in a thread of its own, and hands the goroutine what is to be done next; so the
goroutine runs trio's tasks, on its own thread, which it keeps meanwhile.

What does not live here: trio, which the user installs.  gort's operations are no trio operations: a trio task talks to
goroutines by `ch.try_send(v)`, `ch.try_recv()`, or with `trio.to_thread.run_sync(gort.wait, op)`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from gort import runtime
from gort._runtime.core import runtime2
from gort._runtime.core.errors import Cancelled
from gort._runtime.wait.chan import Chan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


async def trio(fn: Callable[[*_Ts], Awaitable[_T]], *args: *_Ts) -> _T:
    """Runs `await fn(*args)` as trio's main task, in this goroutine: `r = await gort.aio.trio(main)`.  As trio.run does.

    When the goroutine is cancelled, trio's main task is, and waited for.  Raises what fn raises; ImportError where trio
    is not installed; RuntimeError outside a goroutine."""
    m = runtime2.current_m()
    if m is None or m.curg is None or m.mcall == runtime2.MCALL_LOOP:
        raise RuntimeError("gort.aio.trio() outside a goroutine")
    import trio

    todo: deque[Callable[[], object]] = deque()
    bell: Chan[None] = Chan(1)
    outcomes: list[Any] = []
    scope = trio.CancelScope()

    def soon(call: Callable[[], object]) -> None:
        todo.append(call)
        bell.try_send(None)

    async def main() -> _T:
        with scope:
            return await fn(*args)
        raise Cancelled

    runtime.lock_os_thread()
    try:
        trio.lowlevel.start_guest_run(
            main, run_sync_soon_threadsafe=soon, done_callback=outcomes.append, host_uses_signal_set_wakeup_fd=True
        )
        cancelled: Cancelled | None = None
        while not outcomes:
            while todo:
                todo.popleft()()
            if not outcomes:
                try:
                    await bell.recv()
                except Cancelled as e:
                    cancelled = e
                    scope.cancel()
        try:
            return outcomes[0].unwrap()  # type: ignore[no-any-return]
        except Cancelled:
            if cancelled is not None:
                raise cancelled from None
            raise
    finally:
        runtime.unlock_os_thread()
