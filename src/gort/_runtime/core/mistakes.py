"""Errors for common mistakes: a wrong go statement, a copied runtime object, code that belongs to one thread or to
asyncio; and `say`, for what the runtime tells on stderr.  The scheduler imports this module; it imports nothing from the
scheduler.

What does not live here: the error for a wrong await (panic.py), and those for a misused operation (op.py).
"""

from __future__ import annotations

import sys
from _warnings import warn as _warn  # warnings.warn itself, without the cost of importing warnings
from types import CoroutineType, FunctionType

from gort._start import hints as t

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

GENERATORS = 0x20 | 0x200  # inspect's CO_GENERATOR and CO_ASYNC_GENERATOR; 0x100 is CO_ITERABLE_COROUTINE
MAX_PROCS = 1 << 16  # Go sets no limit and dies of memory; a P here costs about a kilobyte


MIGRATES = "goroutines may continue on another thread after an await."
# What Python says of something that was not awaited, or not as it should be (a regular expression), and the remedy. The
# first that fits counts. Both cores' names of the classes.
NOT_AWAITED = (
    (
        "'coroutine' object does not support the asynchronous context manager",
        "an async function was called without `await`: write `async with await f(x) as y`",
    ),
    (
        "'coroutine'|non-iterable coroutine object",
        "an async function was called without `await`: write `await f(x)`",
    ),
    (
        r"\b(Value|Chan|RecvMany|Select|Blocking|IO)Op'",
        "an operation was not awaited: write `await ch.recv()`",
    ),
    (r"'(gort\.)?Chan' object is not iterable", "write `async for value in ch`"),
    ("'async_generator' object is not iterable", "write `async for`"),
    (r"'(gort\.)?Group' object does not support the context manager", "write `async with gort.Group() as group`"),
)
LOCK_TEXTS = {"cannot release un-acquired lock", "cannot wait on un-acquired lock", "cannot notify on un-acquired lock"}


def say(text: str) -> bool:
    """Writes text to stderr at once; False when it could not.  Never raises: the process may have no stderr, and
    sys.stderr may be an object of the user's.  The scheduler and sysmon must survive that."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except BaseException:
        return False  # nothing is left to say it with
    return True


def explain(exc: BaseException) -> None:
    """Adds a note with the remedy to an exception that has ended a goroutine, if the exception says that an object
    belongs to another thread, that asyncio code found no event loop, or that an `await` was forgotten.  Looks into
    exception groups.

    Runs on g0 and never raises: an exception that does not let itself be looked at gets no note."""
    try:
        _explain(exc)
    except BaseException:
        pass


def _explain(exc: BaseException) -> None:
    kind = type(exc)
    if kind is ExceptionGroup or kind is BaseExceptionGroup:  # a subclass may be the user's, and so its `exceptions`
        for inner in exc.exceptions:  # type: ignore[attr-defined]
            _explain(inner)
        return
    text = exc.args[0] if len(exc.args) == 1 else None
    if type(text) is not str:  # str(exc) would call a __str__ of the user's
        return
    if kind is RuntimeError and text in LOCK_TEXTS:
        what = (
            f"{MIGRATES} A threading.RLock or Condition belongs to the thread that took it. Held across an await, use "
            "gort.sync.Mutex or Cond; GODEBUG=migration=1 names the place where it was taken"
        )
    elif kind.__name__ == "ProgrammingError" and kind.__module__ == "sqlite3" and "in that same thread" in text:
        what = (
            f"{MIGRATES} Call gort.runtime.lock_os_thread() before sqlite3.connect in the goroutine that uses the "
            "connection, or share one made with check_same_thread=False under a gort.sync.Mutex"
        )
    elif (kind is RuntimeError and text == "no running event loop") or (
        kind is AttributeError and text == "'NoneType' object has no attribute 'create_future'"
    ):
        what = (
            "a goroutine is no asyncio task: use gort.sleep, gort.Chan, gort.net and so on; what needs an asyncio loop "
            "runs in one with `await gort.aio.run(main())`"
        )
    elif kind is TypeError or kind is AttributeError:
        import re

        remedies = [remedy for said, remedy in NOT_AWAITED if re.search(said, text)]
        if not remedies:
            return
        what = remedies[0]
    else:
        return
    if not any(note.startswith("gort: ") for note in getattr(exc, "__notes__", ())):
        exc.add_note(f"gort: {what}")


def shared(self: object, protocol: t.SupportsIndex, /) -> t.NoReturn:
    """`__reduce_ex__` of a compiled class whose objects must not be copied.  A copy would hold the same waiters or
    descriptor a second time, and a lock that nobody unlocks.  In Go, vet's copylocks check finds this mistake.

    Raises TypeError."""
    raise TypeError(f"a {type(self).__name__} cannot be copied or pickled: all who use it share it, in one process")


def warn(text: str, stacklevel: int) -> None:
    """warnings.warn, of a RuntimeWarning, from a finalizer: what the user's warnings.showwarning raises is reported.  C
    would report it too, but end the process at a SystemExit."""
    try:
        _warn(text, RuntimeWarning, stacklevel=stacklevel + 1)
    except BaseException as e:
        from gort._runtime.core import panic

        panic.unraisable(e, None, text)


def name_of(obj: object) -> str:
    """The repr of an object that is about to go, for a warning.  A repr that fails must not keep it from going."""
    try:
        return repr(obj)
    except Exception:
        return object.__repr__(obj)


class Shared:
    """The base of the Python classes whose objects cannot be copied."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: t.SupportsIndex, /) -> t.NoReturn:
        shared(self, protocol)


def not_running(fn: Any, name: str) -> NoReturn:
    """Raises RuntimeError for a go statement outside a runtime.  Closes fn first if it is a coroutine, so that Python
    does not warn about it as well."""
    if isinstance(fn, CoroutineType):
        fn.close()
    raise RuntimeError(f"{name}() outside a running gort runtime: start one with gort.run(main)")


def check_go(s: Any, fn: Any, name: str) -> None:
    """Raises TypeError if fn cannot be started as a goroutine, RuntimeError if the runtime is stopping."""
    if not callable(fn):
        if isinstance(fn, CoroutineType):
            fn.close()
            raise TypeError(f"{name} takes the function and its arguments: write {name}(f, x), not {name}(f(x))")
        raise TypeError(f"{name} takes a function, not {type(fn).__name__}")
    if s.ending:
        raise RuntimeError(f"{name}: the runtime is stopping, no goroutine can be started any more")


def raise_late(exc: BaseException) -> NoReturn:
    """The goroutine of a function that could not be started when its time came (newproc.make_late)."""
    raise exc


def check_plain(fn: Any) -> None:
    """Raises TypeError if fn is a generator function of Python's: a call of it would run none of its code."""
    if type(fn) is FunctionType and fn.__code__.co_flags & GENERATORS and not fn.__code__.co_flags & 0x100:
        raise TypeError(
            f"{fn.__qualname__} is {'an async generator' if fn.__code__.co_flags & 0x200 else 'a generator'} function: "
            "start a function that iterates over it"
        )


def check_procs(n: int, source: str) -> int:
    """Returns n.  Raises ValueError, which names `source`, if n is more than MAX_PROCS."""
    if n > MAX_PROCS:
        raise ValueError(f"{source}={n} is too many Ps: at most {MAX_PROCS}")
    return n
