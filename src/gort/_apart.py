"""Calls that block and whose waiter may leave before they end: each runs in a thread of its own.

gort.blocking runs a call in its goroutine's own thread, so the goroutine cannot leave before the call returns.  That is
right for files.  But the system's resolver may take a minute, and goroutines with deadlines wait for it.  Go has the
same two ways: its lookups through libc run in a goroutine of their own, and the waiter selects on the result and its
context (net/cgo_unix.go, doBlockingWithCtx).

What does not live here: the handoff of a P (sched/blocking.py).  A thread of this module has no P and is no M.
"""

from __future__ import annotations

import threading
from _collections_abc import Callable
from typing import Any, TypeVar, cast

from gort._runtime.sched.blocking import blocking
from gort._runtime.wait.chan import Chan

_T = TypeVar("_T")


async def apart(name: str, fn: Callable[..., _T], *args: Any) -> _T:
    """Calls fn(*args) in a thread of that name, and returns what it returns.  Raises what fn raises.

    A cancelled waiter leaves at once; the thread ends by itself, and its result is dropped.  Where the system starts no
    thread, gort.blocking makes the call."""
    result: Chan[tuple[_T | None, BaseException | None]] = Chan(1)

    def work() -> None:
        try:
            got: tuple[_T | None, BaseException | None] = fn(*args), None
        except BaseException as e:  # whatever it is, it is the waiter's
            got = None, e
        # There is room.  Until it is sent this thread is alive, so the runtime reports no deadlock.
        result.try_send(got)

    try:
        threading.Thread(target=work, name=name, daemon=True).start()
    except RuntimeError:
        return await blocking(fn, *args)
    value, exc = await result.recv()
    if exc is not None:
        try:
            raise exc
        finally:
            del exc
    return cast(_T, value)
