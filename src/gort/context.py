"""Contexts: deadlines, cancellation and values that belong to one piece of work.  Follows Go's package context
(context/context.go).

    with context.with_timeout(parent, 1.5) as ctx:      # or: ctx, cancel = context.with_timeout(parent, 1.5)
        i, v, ok = await gort.select(ctx.done().recv(), results.recv())

A context is handed down as a function's first argument; `done()` is closed when the work is to stop, `err()` then says
why.  Nothing is interrupted: a goroutine stops because it looks (a `select` with `ctx.done().recv()`), which is what
tells a context from a Group, whose members are cancelled at their await.

Invariants
- A context is cancelled once; the first error and the first cause stay.  `err()` is set before `done()` is closed.
- Cancelling a context cancels its descendants, never its ancestors.  They get its error and its cause.
- A context that has been cancelled is in nobody's table of children and has no timer.
- `_lock` guards a context's own fields.  It is held for a few assignments, never across an await, a channel operation,
  a timer or another context's lock.  It is re-entrant because a finalizer, which the collector may run in between,
  may cancel a child of the very context that is locked.
- The tree is walked in loops, without recursion, so a chain of ten thousand contexts raises no RecursionError.

Where it differs from Go: `done()` of a context that is never cancelled is a channel that is never closed (Go has nil
there), so a `select` needs no case distinction.  A deadline is a time of `time.monotonic()`, or a datetime.

Rejected: contextvars instead of an argument (a goroutine may live longer than its caller, so the code must show which
deadline it is given); weak references to children (a context that nobody holds may still have a timer or an after_func
that must run).
"""

from __future__ import annotations

import math
import sys
import threading
import time
from _collections_abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Any, Generic, NamedTuple, TypeVar, TypeVarTuple

from gort._done import close_chan as _close
from gort._done import new_done as _new_done
from gort._runtime.boot import main as _main
from gort._runtime.core import runtime2 as _runtime2
from gort._runtime.core.mistakes import Shared as _Shared
from gort._runtime.core.public import publish as _publish
from gort._runtime.sched import newproc as _newproc
from gort._runtime.sched.timers import monotonic, to_ns
from gort._runtime.wait.chan import Chan
from gort._runtime.wait.select import select
from gort._runtime.wait.timechan import after_func as _timer_func

__all__ = [
    "CancelCauseFunc",
    "CancelFunc",
    "Canceled",
    "Cancellable",
    "Context",
    "DeadlineExceeded",
    "after_func",
    "background",
    "cause",
    "todo",
    "with_cancel",
    "with_cancel_cause",
    "with_deadline",
    "with_timeout",
    "with_value",
    "without_cancel",
]

_FAR = 10 * 365 * 86400.0  # seconds ahead beyond which a float is taken for a time.time() given by mistake


class Canceled(Exception):
    """What ctx.err() gives when the context was cancelled.  Not to be mixed up with gort.Cancelled, which is raised in
    a goroutine that is cancelled itself.  Go's context.Canceled."""

    def __init__(self, message: str = "context canceled") -> None:
        super().__init__(message)


class DeadlineExceeded(TimeoutError):
    """What ctx.err() gives when the context's deadline passed.  Go's context.DeadlineExceeded."""

    def __init__(self, message: str = "context deadline exceeded") -> None:
        super().__init__(message)


class Context(_Shared):
    """A deadline, a cancellation and values.  This class itself is a context that is never cancelled, has no deadline
    and no values; a subclass of yours may override any of its methods, and everything here takes it as a parent.
    Follows Go's context.Context."""

    __slots__ = ("__weakref__",)

    def deadline(self) -> float | None:
        """When it will be cancelled at the latest, on time.monotonic()'s clock; None when it has no deadline."""
        return None

    def done(self) -> Chan[None]:
        """A channel that is closed when the context is cancelled: always the same one.  It is receive-only: to send to it
        or to close it raises TypeError.

        `await ctx.done().recv_ok()` waits for it, `gort.select(ctx.done().recv(), …)` has it as a case."""
        return _never

    def err(self) -> Exception | None:
        """None while done() is open; then a Canceled or a DeadlineExceeded, always the same one."""
        return None

    def value(self, key: object) -> Any:
        """What with_value has stored under an equal key, here or in the nearest ancestor; else None."""
        return None


_never: Chan[None] = _new_done()  # done() of all contexts that are never cancelled
_closed: Chan[None] = _new_done()  # done() of all contexts whose channel nobody had asked for when they were cancelled
_close(_closed)
_SELF = object()  # the key under which a cancellable context finds itself, through contexts of other classes too


class _Empty(Context):
    """background and todo."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"context.{self._name}"


class _Derived(Context):
    """A context with a parent."""

    __slots__ = ("_parent", "_source")

    def __init__(self, parent: Context) -> None:
        self._parent = parent
        # Who is asked for done, err and deadline: past any number of contexts that only add a value.
        self._source: Context = parent._source if type(parent) is _Value else parent

    def deadline(self) -> float | None:
        ctx: Context = self
        while isinstance(ctx, _Derived):
            if type(ctx) is _Without:
                return None
            if type(ctx) is _Cancel and ctx._deadline is not None:
                return ctx._deadline
            ctx = ctx._source
        return ctx.deadline()

    def value(self, key: object) -> Any:
        return _lookup(self, key)

    def __repr__(self) -> str:
        names = []
        ctx: Context = self
        while isinstance(ctx, _Derived):
            names.append(ctx._describe())
            ctx = ctx._parent
        return ".".join([repr(ctx), *reversed(names)])

    def _describe(self) -> str:
        raise NotImplementedError


class _Value(_Derived):
    """One value."""

    __slots__ = ("_key", "_val")

    def __init__(self, parent: Context, key: object, val: object) -> None:
        super().__init__(parent)
        self._key = key
        self._val = val

    def done(self) -> Chan[None]:
        return self._source.done()

    def err(self) -> Exception | None:
        return self._source.err()

    def _describe(self) -> str:
        return f"with_value({self._key!r})"


class _Without(_Derived):
    """The parent's values, without its end."""

    __slots__ = ()

    def _describe(self) -> str:
        return "without_cancel"


class _Cancel(_Derived):
    """A context that can be cancelled.  With a timer it is Go's timerCtx; with a function to run it is Go's
    afterFuncCtx."""

    __slots__ = ("_cause", "_children", "_deadline", "_done", "_err", "_lock", "_run", "_timer")

    def __init__(self, parent: Context) -> None:
        super().__init__(parent)
        self._lock = threading.RLock()
        self._done: Chan[None] | None = None  # made when first asked for
        self._err: Exception | None = None
        self._cause: BaseException | None = None
        self._children: dict[_Cancel, None] | None = None  # in the order in which they came; None when there are none
        self._deadline: float | None = None
        self._timer: _Alarm | None = None
        self._run: Callable[[], None] | None = None  # starts the function of an after_func

    def done(self) -> Chan[None]:
        done = self._done
        if done is None:
            fresh = _new_done()
            with self._lock:
                if self._done is None:
                    self._done = fresh
                done = self._done
        return done

    def err(self) -> Exception | None:
        return self._err

    def _describe(self) -> str:
        if self._deadline is None:
            return "with_cancel"
        return f"with_deadline({self._deadline - monotonic():+.3f} s)"

    def _adopt(self, child: _Cancel) -> bool:
        """Enters a child that is to be cancelled with this context.  False when that has happened already."""
        with self._lock:
            if self._err is not None:
                return False
            if self._children is None:
                self._children = {}
            self._children[child] = None
            return True

    def _cancel(self, err: Exception, why: BaseException | None) -> None:
        """Cancels it and its descendants, unless it was cancelled before."""
        if self._err is not None:
            return
        if why is None:
            why = err
        pending = [self]
        while pending:
            ctx = pending.pop()
            with ctx._lock:
                if ctx._err is not None:
                    continue
                ctx._err = err
                ctx._cause = why
                done, ctx._done = ctx._done, ctx._done or _closed
                children, ctx._children = ctx._children, None
                timer, ctx._timer = ctx._timer, None
                start, ctx._run = ctx._run, None
            if done is not None:
                _close(done)
            if timer is not None:
                timer.stop()
            if start is not None:
                start()
            if children:
                pending.extend(reversed(children))
        self._leave()

    def _leave(self) -> None:
        """Takes it out of its ancestor's table of children."""
        ancestor = _cancellable(self._parent)
        if ancestor is not None:
            with ancestor._lock:
                if ancestor._children is not None:
                    ancestor._children.pop(self, None)

    def _follow(self) -> None:
        """Arranges that it is cancelled when its parent is.  Follows propagateCancel."""
        done = self._parent.done()
        if done is _never:
            return
        ancestor = _cancellable(self._parent)
        if ancestor is not None:
            if not ancestor._adopt(self):
                assert ancestor._err is not None
                self._cancel(ancestor._err, ancestor._cause)
        elif done.closed:
            self._cancel(_err_of(self._parent), cause(self._parent))
        else:
            _newproc.go(_watch, self._parent, self)


class _Alarm:
    """The timer of a deadline.  It lets go of its context when it is stopped, so that a context which was cancelled in
    time is freed at once, whatever the timer still hangs on to."""

    __slots__ = ("_ctx", "_timer", "_why")

    def __init__(self, ctx: _Cancel, seconds: float, why: BaseException | None) -> None:
        self._ctx: _Cancel | None = ctx
        self._why = why
        self._timer = _timer_func(seconds, self._fire)

    def _fire(self) -> None:
        ctx, self._ctx = self._ctx, None
        if ctx is not None:
            ctx._cancel(DeadlineExceeded(), self._why)

    def stop(self) -> None:
        self._ctx = self._why = None
        self._timer.stop()


async def _watch(parent: Context, child: _Cancel) -> None:
    """Follows a parent of a class that is not ours, until either is done."""
    i, _, _ = await select(parent.done().recv(), child.done().recv())
    if i == 0:
        child._cancel(_err_of(parent), cause(parent))


def _err_of(ctx: Context) -> Exception:
    """Why a context that is done has ended."""
    err = ctx.err()
    if err is None:
        raise RuntimeError(f"{type(ctx).__name__}: done() is closed but err() is None; err() must be set first")
    return err


def _lookup(ctx: Context, key: object) -> Any:
    """value(), as a loop."""
    while isinstance(ctx, _Derived):
        if type(ctx) is _Value:
            if ctx._key is key or ctx._key == key:
                return ctx._val
        elif key is _SELF:
            return ctx if type(ctx) is _Cancel else None
        ctx = ctx._parent
    return ctx.value(key)


def _cancellable(ctx: Context) -> _Cancel | None:
    """The nearest context that can be cancelled, if ctx ends exactly with it.  Follows parentCancelCtx."""
    while type(ctx) is _Value:
        ctx = ctx._source
    if type(ctx) is _Cancel:
        return ctx
    if isinstance(ctx, (_Derived, _Empty)):
        return None
    found = ctx.value(_SELF)  # a class of the user's around one of ours
    if type(found) is _Cancel and found.done() is ctx.done():
        return found
    return None


def _check_parent(parent: object, name: str) -> None:
    if not isinstance(parent, Context):
        what = "None" if parent is None else f"a {type(parent).__name__}"
        raise TypeError(f"context.{name}: the parent must be a Context, not {what}; context.background() is the root")


def _check_cause(why: object, name: str) -> None:
    if why is not None and not isinstance(why, BaseException):
        raise TypeError(f"context.{name}: a cause is an exception or None, not {type(why).__name__}")


def _check_number(x: object, name: str) -> None:
    if isinstance(x, (str, bytes)) or not hasattr(x, "__float__"):
        raise TypeError(f"context.{name}: a duration or instant is a number of seconds, not a {type(x).__name__}")
    to_ns(x)  # refuses NaN


class CancelFunc:
    """Cancels a context: `cancel()`.  Calling it again does nothing.  Any thread may call it.

    `with cancel:` calls it at the end of the block, as Go's `defer cancel()` would."""

    __slots__ = ("_ctx",)

    def __init__(self, ctx: _Cancel) -> None:
        self._ctx = ctx

    def __call__(self) -> None:
        """Cancels it with a Canceled."""
        if self._ctx._err is None:
            self._ctx._cancel(Canceled(), None)

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self()


class CancelCauseFunc(CancelFunc):
    """Cancels a context and says why: `cancel(ValueError("no such user"))`; context.cause(ctx) gives it back."""

    __slots__ = ()

    def __call__(self, why: BaseException | None = None) -> None:
        """Cancels it with a Canceled.  why: what cause() gives from then on; the Canceled itself when left out.

        TypeError when it is no exception."""
        _check_cause(why, "cancel")
        if self._ctx._err is None:
            self._ctx._cancel(Canceled(), why)


C = TypeVar("C", bound=CancelFunc)
Ts = TypeVarTuple("Ts")


class Cancellable(NamedTuple, Generic[C]):
    """A new context and the function that cancels it: `ctx, cancel = with_cancel(parent)`.

    `with with_cancel(parent) as ctx:` cancels it at the end of the block."""

    ctx: Context
    cancel: C

    def __enter__(self) -> Context:
        return self.ctx

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.cancel()


_background = _Empty("background")
_todo = _Empty("todo")


def background() -> Context:
    """The root of all contexts: never cancelled, no deadline, no values.  Always the same object.  Follows Go's
    context.Background."""
    return _background


def todo() -> Context:
    """Like background: for places where it is not clear yet which context to use.  Follows Go's context.TODO."""
    return _todo


def with_cancel(parent: Context) -> Cancellable[CancelFunc]:
    """(ctx, cancel): ctx is done when cancel() is called or when parent is done.

    Call cancel() as soon as the work is over, so that parent lets go of ctx; `with` does.  TypeError when parent is no
    Context.  Follows Go's context.WithCancel."""
    _check_parent(parent, "with_cancel")
    ctx = _Cancel(parent)
    ctx._follow()
    return Cancellable(ctx, CancelFunc(ctx))


def with_cancel_cause(parent: Context) -> Cancellable[CancelCauseFunc]:
    """(ctx, cancel): like with_cancel, with a cancel(why) whose exception cause(ctx) and cause(descendant) give.
    Follows Go's context.WithCancelCause."""
    _check_parent(parent, "with_cancel_cause")
    ctx = _Cancel(parent)
    ctx._follow()
    return Cancellable(ctx, CancelCauseFunc(ctx))


def with_timeout(parent: Context, seconds: float, cause: BaseException | None = None) -> Cancellable[CancelFunc]:
    """(ctx, cancel): like with_cancel, and ctx is done `seconds` from now at the latest, with a DeadlineExceeded.

    With zero or less ctx is done at once; math.inf sets no deadline.  cause: what cause(ctx) gives when the time is
    over.  TypeError or ValueError for what is no duration, RuntimeError outside a running runtime, which has the
    timers.  Follows Go's context.WithTimeout and WithTimeoutCause."""
    _check_parent(parent, "with_timeout")
    _check_number(seconds, "with_timeout")
    return _with_deadline(parent, monotonic() + float(seconds), cause, "with_timeout")


def with_deadline(
    parent: Context, when: float | datetime, cause: BaseException | None = None
) -> Cancellable[CancelFunc]:
    """(ctx, cancel): like with_timeout, with an instant instead of a duration.

    when: a float is a time of time.monotonic() (what ctx.deadline() gives; it does not jump when the clock is set), a
    datetime (local time when it has no zone) is what the wall clock shows, and is converted now.  An earlier deadline
    of parent's stays in force.  ValueError for a float that is years ahead: that is a time.time().  Follows Go's
    context.WithDeadline and WithDeadlineCause."""
    _check_parent(parent, "with_deadline")
    now = monotonic()
    if isinstance(when, datetime):
        when = now + (when.timestamp() - time.time())
    else:
        _check_number(when, "with_deadline")
        if when != math.inf and when - now > _FAR:
            raise ValueError(
                f"context.with_deadline: {when!r} is years ahead on time.monotonic()'s clock; is it a time.time()? "
                "Give time.monotonic() + seconds, or a datetime"
            )
    return _with_deadline(parent, when, cause, "with_deadline")


def _with_deadline(parent: Context, when: float, why: BaseException | None, name: str) -> Cancellable[CancelFunc]:
    _check_cause(why, name)
    ctx = _Cancel(parent)
    before = parent.deadline()
    if when == math.inf or (before is not None and before <= when):
        ctx._follow()  # the parent's deadline comes first
        return Cancellable(ctx, CancelFunc(ctx))
    ctx._deadline = when
    ctx._follow()
    left = when - monotonic()
    if left <= 0:
        ctx._cancel(DeadlineExceeded(), why)
    elif ctx._err is None:
        try:
            if _runtime2.current_m() is None:
                raise RuntimeError(f"context.{name} outside a running gort runtime: start one with gort.run(main)")
            alarm = _Alarm(ctx, left, why)
        except BaseException:
            ctx._leave()
            raise
        with ctx._lock:
            if ctx._err is None:
                ctx._timer = alarm
        if ctx._timer is not alarm:
            alarm.stop()
    return Cancellable(ctx, CancelFunc(ctx))


def with_value(parent: Context, key: object, value: object) -> Context:
    """A context in which value(key) is `value`, and everything else as in parent.

    For data that travels with a request, not for optional arguments.  An object of your own as key (`KEY = object()`)
    cannot collide with anybody else's.  TypeError when key is None or cannot be hashed.  Follows Go's
    context.WithValue."""
    _check_parent(parent, "with_value")
    if key is None:
        raise TypeError("context.with_value: the key is None; use an object of your own, such as KEY = object()")
    try:
        hash(key)
    except TypeError:
        raise TypeError(
            f"context.with_value: a {type(key).__name__} is no key: it can change; use a str or an object of your own"
        ) from None
    return _Value(parent, key, value)


def without_cancel(parent: Context) -> Context:
    """parent's values without its end: never done, no deadline.  For work that must be finished even after a
    cancellation.  Follows Go's context.WithoutCancel."""
    _check_parent(parent, "without_cancel")
    return _Without(parent)


def cause(ctx: Context) -> BaseException | None:
    """Why ctx was cancelled: the first cause that was given to a cancel function or to a deadline, on ctx or on the
    ancestor that took ctx with it; else ctx.err().  None while it is not cancelled.  Follows Go's context.Cause."""
    _check_parent(ctx, "cause")
    found = ctx.value(_SELF)
    if type(found) is _Cancel and found._err is not None:
        # Under the lock: whoever cancels it right now has set both when it is released.
        with found._lock:
            return found._cause
    return ctx.err()


def after_func(ctx: Context, fn: Callable[[*Ts], object], *args: *Ts) -> Callable[[], bool]:
    """Starts fn(*args), plain or async, in a goroutine of its own once ctx is done: at once if it is already.

    Returns stop(): True when it kept fn from being started, False when fn was started, or stopped before.  An exception
    that fn does not catch is a panic.  TypeError when fn cannot be called, RuntimeError outside a running runtime.
    Follows Go's context.AfterFunc."""
    _check_parent(ctx, "after_func")
    if not callable(fn):
        raise TypeError(f"context.after_func(ctx, fn, *args): fn must be callable, not {type(fn).__name__}")
    sched = _main.current("context.after_func()")
    waiting = _Cancel(ctx)

    values, frame = _newproc.current_context(), sys._getframe(1)
    line = (frame.f_code, frame.f_lasti, _runtime2.current_m().curg.goid)

    def start() -> None:  # on whatever thread cancels; what the function sees is what was here
        if not sched.exiting:
            _newproc.newproc_in(sched, fn, args, values, *line)

    waiting._run = start

    def stop() -> bool:
        with waiting._lock:
            stopped = waiting._run is not None
            waiting._run = None
        if stopped:
            waiting._cancel(Canceled(), None)
        return stopped

    waiting._follow()
    return stop


_publish(globals())
