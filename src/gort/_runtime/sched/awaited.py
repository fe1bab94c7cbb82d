"""What a goroutine's plain function has returned, if that is to be awaited.  proc.run asks; imported when one returns a
value.

An async function gives a coroutine when it is called, and not only Python's own `async def` makes one: so do functions
that Cython has compiled, those of types.coroutine, and the wrappers of decorators.  And `gort.go(ch.send, 1)` returns an
operation, which Go's `go ch.send(1)` would run.  What does not live here: how a coroutine is resumed (proc.py).
"""

from __future__ import annotations

from _collections_abc import AsyncGenerator, Coroutine, Generator
from types import CoroutineType, GeneratorType

from gort._runtime.core.runtime2 import Op
from gort._runtime.sched.blocking import calls_user

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CO_ITERABLE_COROUTINE = 0x100  # inspect's: a generator of types.coroutine, which `await` takes


async def _await(what: Any) -> Any:
    return await what


calls_user.add(_await.__code__)  # what Cython has compiled has no frame


def coroutine_of(value: Any) -> Any:
    """A coroutine that awaits value, if value is an operation or a coroutine of any kind; else None: it is a result.

    Raises TypeError for a generator and an async generator, whose code would never run."""
    kind = type(value)
    if kind is CoroutineType:
        return value
    if issubclass(kind, (Op, Coroutine)):
        return _await(value)
    if kind is GeneratorType and value.gi_code.co_flags & CO_ITERABLE_COROUTINE:
        return _await(value)
    if issubclass(kind, (AsyncGenerator, Generator)):
        what = "an async generator" if issubclass(kind, AsyncGenerator) else "a generator"
        raise TypeError(
            f"a goroutine's function has returned {what} ({getattr(value, '__qualname__', kind.__name__)}), whose code "
            "has not run: start a function that iterates over it"
        )
    return None
