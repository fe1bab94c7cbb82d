"""Stand-ins, for the uncompiled core, of the C in gort_rt.h: same names, same contracts.

Nothing here decides anything about scheduling.  Only the uncompiled core imports this file.
"""

from __future__ import annotations

import contextvars
import sys
import threading
import time
from types import FunctionType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any

nanotime = time.monotonic_ns

_CO_COROUTINE = 0x80


class _MSlot(threading.local):
    m = None  # the class attribute is what a thread that is no M reads


_slot = _MSlot()


def getm() -> Any:
    """The M of this thread, or None."""
    return _slot.m


def setm(m: Any) -> None:
    """Binds this thread to an M (None unbinds it)."""
    _slot.m = m


_free_threaded = not getattr(sys, "_is_gil_enabled", lambda: True)()


def own_dict(obj: Any) -> None:
    """Called first in the __init__ of what several threads share.  Without the GIL, CPython 3.13 does not find an
    attribute ("'WaitGroup' object has no attribute 'lock_state'") at the moment in which another thread adds one that
    the class's shared keys have no room for: the values then move from the object into a dict, which is entered in the
    object afterwards.  Here they are in a dict from the start."""
    if _free_threaded:
        obj.__dict__ = {**obj.__dict__}


def caller(depth: int = 2) -> tuple[CodeType | None, int]:
    """Code object and instruction offset of the frame `depth` calls up: where a go statement stands."""
    f = sys._getframe(depth)
    return f.f_code, f.f_lasti


def rt_is_async_function(fn: Any) -> bool:
    """True for a plain `async def` function object."""
    return isinstance(fn, FunctionType) and bool(fn.__code__.co_flags & _CO_COROUTINE)


def resume(m: Any, g: Any) -> int:
    """Runs g's coroutine to its next suspension in its own context: 1 suspended, 0 returned, -1 raised.

    The value or exception is left in m.retval or m.exc."""
    try:
        m.retval = g.context.run(g.coro.send, None)
        return 1
    except StopIteration as e:
        m.retval = e.value
        return 0
    except BaseException as e:
        m.exc = e
        return -1


def copy_context() -> contextvars.Context:
    """The context that a new goroutine inherits."""
    return contextvars.copy_context()
