"""The errors that end a program: panics, deadlocks, and the await of another library's object.  Follows Go's
runtime/panic.go.

A goroutine that ends with an uncaught exception ends the program: gort.run raises gort.Panic from it, and `gort run`
prints the dump.  The dump is made here at once, because the G, which knows who started it, is then freed.  `gort run`
also prints it at once (`report`), as Go does: the `finally` blocks of the other goroutines, which Go does not run, print
after it.  What does not live here: how the program ends (boot/main.py).
"""

from __future__ import annotations

import sys

from gort._runtime.core import handoff, traceback
from gort._runtime.core.errors import Deadlock, Panic, is_a, traceback_of
from gort._runtime.core.traceback import COMPILED, HIDDEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def headline(exc: BaseException) -> str:
    """`panic: ValueError: text`, and a line for each exception that it was raised from.

    `fatal error: text` for a mistake that Go calls that, and from which it does not recover (its runtime.fatal): the
    unlock of an unlocked mutex.  Here it is a RuntimeError that can be caught."""
    import traceback as py_traceback

    if type(exc) is RuntimeError and exc.__dict__.get("fatal"):
        lines = [f"fatal error: {exc}"]
    else:
        lines = ["panic: " + "".join(py_traceback.format_exception_only(exc)).rstrip("\n").replace("\n", "\n\t")]
    cause = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)
    seen = {id(exc)}
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        lines.append("\tfrom: " + "".join(py_traceback.format_exception_only(cause)).rstrip("\n"))
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "\n".join(lines)


def dump_of(exc: BaseException, goid: int, creator: str) -> str:
    """The text that Go prints for an unrecovered panic."""
    try:
        return _dump_of(exc, goid, creator)
    except BaseException as e:
        # Something of the user's that the dump shows (a __str__, a __cause__, a __notes__) has raised.
        return f"panic: {type(exc).__name__}\n\t(its text cannot be shown: {type(e).__name__})\n{creator}"


def _dump_of(exc: BaseException, goid: int, creator: str) -> str:
    import traceback as py_traceback

    frames = traceback.render(traceback.raised(exc.__traceback__))
    text = f"{headline(exc)}\n\ngoroutine {goid} [running]:\n{frames}{creator}"
    if isinstance(exc, BaseExceptionGroup):
        told = py_traceback.TracebackException.from_exception(exc)
        hide(told)
        text += "\n" + "".join(told.format())
    return text


def hide(told: Any) -> None:
    """Takes gort's own frames out of a traceback.TracebackException and of those that it holds."""
    rest = [told]
    while rest:
        each = rest.pop()
        frames = [f for f in each.stack if not f.filename.startswith(HIDDEN) and not f.name.startswith(COMPILED)]
        each.stack[:] = frames
        rest += [e for e in (each.__cause__, each.__context__, *(each.exceptions or ())) if e is not None]


def goroutine_panic(g: Any, exc: BaseException) -> BaseException:
    """The exception that gort.run raises when goroutine g ends with the uncaught exception exc: a Panic with its dump,
    or exc itself if it is a KeyboardInterrupt or a SystemExit."""
    if is_a(exc, KeyboardInterrupt, SystemExit):
        return exc
    p = Panic(f"goroutine {g.goid}: {type(exc).__name__}: {shown(exc)}")
    p.__cause__ = exc
    p.goroutine = g.goid
    p.dump = dump_of(exc, g.goid, traceback.created_by(g.gocode, g.golasti, g.parentgoid))
    return p


def shown(exc: BaseException) -> str:
    """str(exc), or word that it cannot be had: __str__ is the user's."""
    try:
        return str(exc)
    except BaseException as e:
        return f"<str() raised {type(e).__name__}>"


def uncaught(s: Any, g: Any, exc: BaseException) -> None:
    """Goroutine g has ended with the uncaught exception exc: ends the program.  Runs on g0."""
    if not (s.ending and is_a(exc, GeneratorExit)):
        error = goroutine_panic(g, exc)
        if handoff.fatal(s, error):
            report(s, error)


def report(s: Any, exc: BaseException) -> None:
    """Tells `gort run` of the error that ends the program, while the other goroutines are as they were."""
    if s.report is not None and not is_a(exc, KeyboardInterrupt, SystemExit):
        try:
            s.report(exc)
        except BaseException:
            pass  # sys.stderr is the user's, and this may be g0


def unraisable(exc: BaseException, obj: Any, what: str) -> None:
    """Reports an exception that cannot be raised anywhere: calls sys.unraisablehook, as Python does for finalizers.

    Never raises.  A hook that raises is reported by Python's own hook, and the caller goes on.  `what` says what
    happened, obj is what it happened in."""
    try:
        sys.unraisablehook(_hook_args(exc, what, obj))
    except BaseException as e:
        try:
            sys.__unraisablehook__(_hook_args(e, "sys.unraisablehook raised", None))
        except BaseException:
            pass  # stderr is gone: nothing is left to say it with


def _hook_args(exc: BaseException, what: str, obj: Any) -> Any:
    """The argument of a hook.  Python's own refuses all but its own type, to which it gives no name; any tuple type
    knows it."""
    name = type.__dict__["__name__"].__get__  # a metaclass of the user's may have its own
    kind: Any = next(t for t in tuple.__subclasses__() if name(t) == "UnraisableHookArgs")
    return kind((type(exc), exc, traceback_of(exc), f"gort: {what}", obj))


def deadlock(s: Any, exc: Deadlock) -> None:
    """Writes the dump of every goroutine to exc, and reports it.  Called before the goroutines are closed, which ends
    their stacks."""
    text = traceback.dump(s, None, group=True)
    if s.maingone:
        exc.args = ("no goroutines (main called runtime.Goexit) - deadlock!",)
    exc.dump = f"fatal error: {exc.args[0]}\n\n{text}" + (exc.elsewhere and f"\n{exc.elsewhere}")
    report(s, exc)


await_future: Callable[[Any, Any], Any] | None = None  # gort.aio's: the operation that waits for an asyncio future


def wait_foreign(value: Any, g: Any) -> Any:
    """The operation on which the goroutine g, which has yielded `value`, waits for it; None where nothing can.  Runs on
    g0; value may be of a class of the user's."""
    try:
        return await_future(value, g) if await_future is not None else None
    except BaseException as e:
        unraisable(e, None, "an asyncio future that a goroutine awaited raised")
        return None


def foreign_await(value: Any) -> BaseException:
    """The error for an await, inside a goroutine, of an object that yields to another library's scheduler.  `value` is
    what it yielded."""
    cause = None
    try:
        what = _foreign(value)
    except BaseException as e:
        cause = e
        what = f"an object that cannot be looked at ({type(e).__name__})"
    error = TypeError(
        f"a goroutine awaited {what}: only gort's operations can suspend a goroutine. "
        "Use gort's own (gort.sleep, channels, gort.net), or run asyncio code in an event loop: "
        "await gort.aio.run(main())"
    )
    error.__cause__ = cause
    return error


def _foreign(value: Any) -> str:
    """What the object is that another library has yielded.  Its attributes are the user's code."""
    kind = value if isinstance(value, type) else type(value)
    module = kind.__module__.partition(".")[0]
    if value is None:
        what = "something that yields to asyncio (asyncio.sleep(0), a bare `yield`)"
    elif getattr(value, "_asyncio_future_blocking", None) is not None:
        value._asyncio_future_blocking = False
        what = f"an asyncio {type(value).__name__}"
    elif module in ("trio", "outcome"):
        what = f"a trio operation ({kind.__name__})"
    else:
        what = f"an object of another event loop ({kind.__module__}.{kind.__qualname__})"
    return what
