"""What rt.pxd declares, for the uncompiled core: same names, same contracts.  The C is in gort_rt.h.

Nothing here decides anything about scheduling.  Only the uncompiled core imports this file, through
`from cython.cimports.gort._runtime.c.rt import …`, which the compiled core turns into C declarations.

What is called at every switch is a C function where one will do (rt_getm, copy_context): a Python frame costs 350
instructions.  Rejected, all counted on CPython 3.11: the M in a dict by thread number (two C calls, dearer than the
thread-local); a SimpleQueue of one token in a lock's place (as dear as the lock); slots for Op too (2 % less, and each
operation then has to set all of them); the resumption written out in proc.execute (1.4 %).  And locks left out where a
critical section makes no call, as the compiled core leaves them out: CPython 3.11 and later switch threads at calls and
loops alone, but under a tracer (a debugger, coverage) at every line.
"""

from __future__ import annotations

import contextvars
import sys
import time
from _thread import _local
from types import FunctionType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from functools import partial
    from typing import Any
else:
    from _functools import partial  # functools itself brings half a dozen modules along

nanotime = time.monotonic_ns

FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()

_CO_COROUTINE = 0x80

_slot = _local()

# The M of this thread, or None.  No function of ours: a Python frame would cost as much as the look.
rt_getm = partial(getattr, _slot, "m", None)


def rt_setm(m: Any) -> None:
    """Binds this thread to an M (None unbinds it)."""
    _slot.m = m


def rt_import() -> int:
    """Fetches the state that the compiled modules share; the uncompiled ones share it as Python objects do."""
    return 0


def rt_usleep(us: int) -> None:
    """Sleeps for some microseconds."""
    time.sleep(us / 1e6)


def own_dict(obj: Any) -> None:
    """Called first in the __init__ of what several threads share.  Without the GIL, CPython 3.13 does not find an
    attribute ("'WaitGroup' object has no attribute 'lock_state'") at the moment in which another thread adds one that
    the class's shared keys have no room for: the values then move from the object into a dict, which is entered in the
    object afterwards.  Here they are in a dict from the start."""
    if FREE_THREADED:
        obj.__dict__ = {**obj.__dict__}


def fields(cls: Any) -> Any:
    """cls with its plain class attributes, which are its fields and their values at first, turned into slots.

    A slot is read and written in one specialised instruction, a default that lies in the class is looked up each time;
    and what is no field cannot be set, as in the compiled core."""
    body = dict(vars(cls))
    names = [n for n, v in body.items() if not n.startswith("__") and not hasattr(v, "__get__")]
    defaults = [body.pop(n) for n in names]
    init = body.get("__init__")
    source = "\n".join(["def __init__(self):", *(f" self.{n} = v{i}" for i, n in enumerate(names)), " init(self)"])
    scope = {"init": init or (lambda self: None), **{f"v{i}": v for i, v in enumerate(defaults)}}
    exec(source, scope)
    for gone in ("__dict__", "__weakref__"):
        body.pop(gone, None)
    return type(cls.__name__, cls.__bases__, {**body, "__slots__": names, "__init__": scope["__init__"]})


def rt_is_async_function(fn: Any) -> bool:
    """True for a plain `async def` function object."""
    return isinstance(fn, FunctionType) and bool(fn.__code__.co_flags & _CO_COROUTINE)


copy_context = contextvars.copy_context  # the context that a new goroutine inherits


def rt_set_public(cls: Any, home: str, signature: str | None) -> None:
    """Gives a class its public module.  An uncompiled class has its signature in its __init__."""
    cls.__module__ = home


def _compiled_only(*args: Any) -> Any:
    raise NotImplementedError("only the compiled core calls this; see gort_rt.h")


# What stands in branches of the compiled core alone.
rt_export = rt_set_rank_throw = rt_set_lockrank = rt_stack_bounds = rt_tls_store = rt_tls_load = _compiled_only
rt_install_op = rt_op_check = rt_set_op_send = rt_set_never = rt_claim = rt_load_once = _compiled_only
rt_resume = rt_swap_context = rt_copy_context = rt_fetch_exc = _compiled_only
rt_builtin = rt_call = rt_vectorcall = rt_new_none = rt_caller = _compiled_only
rt_note_sleep = rt_note_wakeup = rt_note_clear = _compiled_only
rt_gc_hide = rt_gc_show = rt_gc_hide_coro = rt_gc_show_coro = _compiled_only
