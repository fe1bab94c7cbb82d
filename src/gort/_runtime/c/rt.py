"""The functions that rt.pxd declares, for the uncompiled core: the same names and contracts as the C in gort_rt.h.

No scheduling is decided here.  Only the uncompiled core imports this file, through
`from cython.cimports.gort._runtime.c.rt import …`, which the compiled core turns into C declarations.

Functions that every switch calls (rt_getm, copy_context) are C functions of the interpreter, because a Python frame
costs 350 instructions.

Rejected, all counted on CPython 3.11: the M in a dict by thread number (two C calls, which cost more than the
thread-local); a SimpleQueue with one token instead of a lock (costs as much as the lock); slots for Op too (saves 2 %,
but each operation must then set all of them); the resumption inlined in proc.execute (saves 1.4 %).  Also rejected: no
locks around critical sections that make no call, as in the compiled core.  CPython 3.11 and later switch threads only
at calls and loops, but under a tracer (a debugger, coverage) at every line.
"""

from __future__ import annotations

import contextvars
import sys
import time
from _thread import _local
from types import FunctionType

_resource: Any
try:
    import resource as _resource
except ImportError:
    _resource = None

TYPE_CHECKING = False
if TYPE_CHECKING:
    from functools import partial
    from typing import Any
else:
    from _functools import partial  # functools itself imports half a dozen modules

# A C function that gort.testing does not redirect, unlike time.monotonic_ns.
nanotime = (
    partial(time.clock_gettime_ns, time.CLOCK_MONOTONIC) if hasattr(time, "CLOCK_MONOTONIC") else time.monotonic_ns
)
rt_cputime = time.thread_time_ns


def rt_sleeps() -> int:
    """How often this thread has gone to sleep by itself; -1 where the system does not tell."""
    return _resource.getrusage(_resource.RUSAGE_THREAD).ru_nvcsw if hasattr(_resource, "RUSAGE_THREAD") else -1


def rt_stack_here() -> int:
    """An address in this thread's stack; 0: unknown."""
    return 0


def rt_stack_trim(top: int) -> None:
    """Nothing: an interpreter's frames are not where the compiled core's are."""


FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()

WATCHES = False  # no look at another thread without the GIL
UNKNOWN = RUNS = WAITS_FOR_GIL = WAITS_FOR_LOCK = WAITS_INSIDE = 0  # machine.py has their values for this core

_CO_COROUTINE = 0x80
_SUSPENDS = 0x80 | 0x20 | 0x200  # and those of generators

_slot = _local()

# rt_getm() is the M of this thread, or None.  A partial and no function, because a Python frame costs as much as the
# lookup.
rt_getm = partial(getattr, _slot, "m", None)


def rt_setm(m: Any) -> None:
    """Binds this thread to an M (None unbinds it)."""
    _slot.m = m


def rt_import() -> int:
    """Does nothing.  In the compiled core it fetches the C state that the modules share; here they share Python
    objects."""
    return 0


def rt_share(op: Any) -> None:
    """Nothing: it speeds up the counting of references in the compiled core."""


def rt_usleep(us: int) -> None:
    """Sleeps for us microseconds."""
    time.sleep(us / 1e6)


def own_dict(obj: Any) -> None:
    """Puts obj's attributes into a dict from the start.  Called first in the __init__ of objects that threads share.

    Works around a race in CPython 3.13 without the GIL.  When one thread adds an attribute for which the class's shared
    keys have no room, the values move from the object into a dict, and the dict is entered in the object only
    afterwards.  Another thread that reads an attribute in between does not find it ("'WaitGroup' object has no
    attribute 'lock_state'")."""
    if FREE_THREADED:
        obj.__dict__ = {**obj.__dict__}


def fields(cls: Any) -> Any:
    """Returns cls with its plain class attributes, which are its fields and their first values, turned into slots.

    One specialised instruction reads or writes a slot, while a default in the class is looked up each time.  And as in
    the compiled core, only fields can be set."""
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


@classmethod  # type: ignore[misc]
def with_keys(cls: Any) -> None:
    """An __init_subclass__ for operations: gives each field a place in the class's shared keys.

    CPython makes the dict of an object, and so perhaps a collection, when it gets an attribute that has no place there,
    and the places go to what the first twenty objects of the class set.  A section may set a field that none of those
    has needed."""
    op = object.__new__(cls)
    for base in cls.__mro__:
        for name, value in vars(base).items():
            if not name.startswith("__") and (value is None or type(value) in (int, bool)):
                setattr(op, name, value)
    op.state = -1  # it is none that anybody has forgotten


def rt_is_async_function(fn: Any) -> bool:
    """True for a plain `async def` function object."""
    return isinstance(fn, FunctionType) and bool(fn.__code__.co_flags & _CO_COROUTINE)


rt_traced = sys.gettrace  # a C function, because every switch calls it


def rt_begin_loop() -> None:
    """Nothing: sys.gettrace looks the thread up."""


copy_context = contextvars.copy_context  # the context that a new goroutine inherits


def rt_set_public(cls: Any, home: str, signature: str | None) -> None:
    """Sets the class's public module.  The signature is not needed: an uncompiled class has it from its __init__."""
    cls.__module__ = home


rt_list_pop = list.pop


def rt_deque_append(q: Any, item: Any) -> None:
    """Puts item at the end of a deque."""
    q.append(item)


def rt_deque_popleft(q: Any) -> Any:
    """Takes the first item of a deque."""
    return q.popleft()


rt_deque_len = len


def rt_key(code: Any, lasti: int) -> int:
    """A place of sched/predict.py as a number other than 0: an instruction of a code object; -1: where it begins."""
    return (id(code) << 15 ^ lasti & 0xFFFFFFFF) & 0x7FFFFFFFFFFFFFFF | 1


def rt_place(own: str) -> int:
    """The place at which the running goroutine awaits an operation, in the innermost frame whose file is not below the
    folder `own`.  0 where that is none of a coroutine or generator."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if not str.startswith(code.co_filename, own):
            return rt_key(code, frame.f_lasti) if code.co_flags & _SUSPENDS else 0
        frame = frame.f_back
    return 0


def _compiled_only(*args: Any) -> Any:
    raise NotImplementedError("only the compiled core calls this; see gort_rt.h")


# Names that appear only in branches for the compiled core.
rt_export = rt_set_rank_throw = rt_set_lockrank = rt_stack_bounds = rt_tls_store = rt_tls_load = _compiled_only
rt_install_op = rt_op_check = rt_set_op_send = rt_set_op_await = rt_set_never = rt_claim = rt_load_once = _compiled_only
rt_op_send = rt_locks = rt_tuple_at = rt_set_value_send = rt_install_value = _compiled_only
rt_list_put = rt_op_swap = rt_op_take = rt_op_trade = _compiled_only
rt_resume = rt_call_in = rt_throw_in = rt_swap_context = rt_copy_context = rt_fetch_exc = rt_raise = _compiled_only
rt_deque_learn = rt_fast_method = rt_call_method = _compiled_only
rt_builtin = rt_call = rt_vectorcall = rt_tuple = rt_new_none = rt_caller = _compiled_only
rt_note_sleep = rt_note_pass = rt_note_wakeup = rt_note_clear = rt_note_doze = rt_cpu_of = rt_doing = _compiled_only
rt_gil_measure = rt_gil_taken = rt_gil_waits = _compiled_only
rt_sharp_sleeps = _compiled_only
rt_fence = _compiled_only  # there CPython's lock of the object whose attribute is stored does it
rt_gc_hide = rt_gc_show = rt_gc_hide_coro = rt_gc_show_coro = _compiled_only
