"""Structured concurrency: `async with Group() as g`.  Follows golang.org/x/sync/errgroup, with the exceptions of
asyncio.TaskGroup.

A group ends when its body and every goroutine started with g.go have ended.  The first failure cancels the rest and the
body; all failures are raised together, as an ExceptionGroup.

What a group does to its own state is an *action*, and `Actions` (_actions.py) runs one at a time.  A finalizer or a
signal handler can run in the middle of an action, on the same thread, and may call h.cancel(), g.cancel() or g.go():
then the new action waits until the interrupted one is over.  So no action finds the state half changed, and none waits
for its own thread.

What does not live here: timeouts and shields (scope.py), what a cancellation is (_runtime/core/op.py).
"""

from __future__ import annotations

import sys
from _collections_abc import Callable, Coroutine, Generator
from types import TracebackType

from gort._actions import Actions
from gort._runtime.boot import main
from gort._runtime.core import handoff, op, runtime2, scopes
from gort._runtime.core.errors import Cancelled, Goexit, is_a
from gort._runtime.core.mistakes import Shared, check_go
from gort._runtime.core.traceback import trim
from gort._runtime.sched import newproc
from gort._runtime.sched.newproc import Done
from gort._runtime.wait.chan import Chan
from gort._runtime.wait.sema import WaitGroup
from gort._start import hints as t

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from typing import Any

    from gort._start.hints import Generic, T, overload
else:
    from _collections import deque  # as threading has it: collections itself is a millisecond

    from gort._runtime.core.public import Generic, T

__all__ = ["Group", "Handle"]


class Handle(Shared, Done, Generic[T]):
    """A goroutine of a group: `await h` or, once the group is over, `h.result()`."""

    def __init__(self, group: Group, name: str) -> None:
        self._group = group
        self._name = name
        self.label: str = _label(None, group.name)  # for dumps
        self._g: Any = None
        self._goid = 0
        self._value: Any = None
        self._exc: BaseException | None = None
        self._tb: TracebackType | None = None  # where it failed: each raise of _exc adds the frames that it passes
        self._done: Chan[None] = Chan()
        self._waits = False  # the group has put it off, for its limit; changed by the group's actions alone
        self._refused = False  # the group had ended or been cancelled when it was to be started

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return bool(self._done.closed)

    @property
    def name(self) -> str:
        """Its name: that of its function, or what it was set to.

        A name that was set shows in dumps, beside the goroutine's state, and so does the group's.  TypeError when it is
        set to what is no str."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = _check_name(name)
        self.label = _label(name, self._group.name)

    def __repr__(self) -> str:
        state = "ended" if self.done else "waits for the limit" if self._waits else "running"
        return f"<gort.Handle {self._name} {state} at {id(self):#x}>"

    def result(self) -> t.T:
        """Returns what it returned.  Raises what it raised (Cancelled if it was cancelled), RuntimeError while it
        runs."""
        if not self.done:
            raise RuntimeError("the goroutine has not ended yet: `await h`, or leave the group first")
        if self._exc is not None:
            raise BaseException.with_traceback(self._exc, self._tb)
        return self._value  # type: ignore[no-any-return]

    def exception(self) -> BaseException | None:
        """The exception that it raised, or None.  Raises RuntimeError while it runs."""
        if not self.done:
            raise RuntimeError("the goroutine has not ended yet: `await h`, or leave the group first")
        return self._exc

    def cancel(self) -> bool:
        """Cancels it: raises Cancelled at its await, once.  Returns False if it has ended.

        A cancelled goroutine is no failure of the group.  One that waits for the group's limit never starts.  A second
        call before the Cancelled has been raised changes nothing; a call after that raises another, in what the
        goroutine does to clean up.  Any thread, finalizer or signal handler may call it."""
        if self.done:
            return False
        self._group._actions.run(self._group._cancel_one, self)
        return True

    def _select_arm(self) -> Any:
        """Its arm, as a case of gort.select."""
        from gort._runtime.wait.cases import ChanArm

        return ChanArm(self._done.recv_ok(), lambda value, ok: (self.result(), True))

    def __await__(self) -> Generator[t.Any, t.Any, t.T]:
        yield from self._done.recv_ok().__await__()
        return self.result()

    def finished(self, goid: int, value: t.Any, exc: BaseException | None) -> None:
        """Called by the scheduler when it has ended."""
        self._value = value
        if exc is not None:
            self._tb = trim(exc)
            if not is_a(exc, Goexit):
                self._exc = exc
        self._done.close()
        self._group._actions.run(self._group._ended, self, exc)
        self._group._wg.done()

    def abandoned(self, goid: int) -> None:
        """The program ended first."""
        self._exc = Cancelled("the program has ended")
        if not self.done:
            self._done.close()


class Group(Shared):
    """`async with gort.Group(limit=None) as g: h = g.go(fn, *args)` waits at its end for all goroutines of the group.

    limit: at most this many members run at a time; the others start in order, as members end.  name: dumps show it with
    each member.  When one fails, the others and the body are cancelled, and an ExceptionGroup of all failures is raised
    when everything has ended.  Go's nearest is errgroup.Group (golang.org/x/sync/errgroup), which gives the first
    error alone."""

    def __init__(self, limit: int | None = None, name: str | None = None) -> None:
        if limit is not None:
            if isinstance(limit, bool) or not isinstance(limit, int):
                raise TypeError(f"a group's limit is an int, not {type(limit).__name__}")
            if limit < 1:
                raise ValueError(f"a group's limit must be at least 1, not {limit}")
        self.limit = limit
        self.name: str | None = None if name is None else _check_name(name)
        self._actions = Actions()  # their methods alone change what follows, up to _wg
        self._state = "new"  # then "body", "ending", "ended"
        self._cancelled = False  # it takes no more members, and its members have been cancelled
        self._live: set[Handle[Any]] = set()
        self._queue: deque[Handle[Any]] = deque()  # put off for the limit; those cancelled meanwhile are skipped
        self._errors: list[BaseException] = []
        self._fatal: BaseException | None = None  # KeyboardInterrupt or SystemExit of a member
        self._wg = WaitGroup()
        self._scope = runtime2.Scope()  # the body: from __aenter__ to the end of __aexit__
        self._handled: BaseException | None = None  # what was being handled when the body began

    async def __aenter__(self) -> t.Self:
        if self._state != "new":
            raise RuntimeError("a Group is entered once: make a new one")
        m = runtime2.current_m()
        if m is None or m.curg is None:
            raise RuntimeError("gort.Group outside a running gort runtime: start one with gort.run(main)")
        self._state = "body"
        self._handled = sys.exception()
        scopes.enter_scope(op.scopes_of(m), self._scope)
        return self

    if TYPE_CHECKING:

        @overload
        def go(
            self, fn: Callable[t.P, Coroutine[t.Any, t.Any, t.T]], /, *args: t.P.args, **kwargs: t.P.kwargs
        ) -> Handle[t.T]: ...
        @overload
        def go(self, fn: Callable[t.P, t.T], /, *args: t.P.args, **kwargs: t.P.kwargs) -> Handle[t.T]: ...

    def go(self, fn: Callable[..., t.Any], /, *args: t.Any, **kwargs: t.Any) -> Handle[t.Any]:
        """Starts fn(*args, **kwargs) as a goroutine of the group.

        Raises TypeError as gort.go does, RuntimeError before the group is entered, after its end, or once it has been
        cancelled.  A member may fail on another thread just before, so where one has, the group's error does not name
        that RuntimeError."""
        s = main.current("Group.go()")
        check_go(s, fn, "Group.go")
        self._check_open()
        name = getattr(fn, "__qualname__", None)
        h: Handle[Any] = Handle(self, name if type(name) is str else type(fn).__name__)
        frame = sys._getframe(1)
        # A member that has to wait for the limit is made now too: its arguments are checked here, and its context
        # variables are those of here.
        h._g, h._goid = newproc.make_from(s, fn, args, kwargs, h, frame.f_code, frame.f_lasti)
        self._actions.run(self._admit, h)
        if h._refused:
            newproc.discard(h._g)
            self._check_open()
        return h

    def _check_open(self) -> None:
        """Raises RuntimeError when the group takes no members."""
        if self._state == "new":
            raise RuntimeError("Group.go: the group has not been entered: async with gort.Group() as g")
        if self._state == "ended":
            raise RuntimeError("Group.go: the group has ended")
        if self._cancelled:
            refusal = RuntimeError("Group.go: the group has been cancelled")
            refusal._refused_by = self._actions  # type: ignore[attr-defined]
            raise refusal

    def _is_refusal(self, exc: BaseException) -> bool:
        """Whether it is an error of _check_open for this group's cancellation."""
        return type(exc) is RuntimeError and exc.__dict__.get("_refused_by") is self._actions

    def cancel(self) -> None:
        """Cancels the group: every member, those that have not started, and the body, at its next await.

        The group then ends without an error of its own; `async with` swallows the Cancelled of the body.  A member that
        raises something else is a failure as ever.  A second call changes nothing.  Any thread, finalizer or signal
        handler may call it."""
        self._actions.run(self._cancel, "the group was cancelled", False)

    # ---- actions ----

    def _admit(self, h: Handle[Any]) -> None:
        """Starts a new member, or puts it off for the limit."""
        if self._state == "ended" or self._cancelled:
            h._refused = True
            return
        self._wg.add(1)
        if self.limit is None or len(self._live) < self.limit:
            self._live.add(h)
            newproc.start(h._g, None)
        else:
            h._waits = True
            self._queue.append(h)

    def _ended(self, h: Handle[Any], exc: BaseException | None) -> None:
        """A member has ended: the next one starts, or the group is cancelled."""
        self._live.discard(h)
        h._g = None
        if exc is not None and not is_a(exc, Cancelled, Goexit):
            if is_a(exc, KeyboardInterrupt, SystemExit):
                self._fatal = exc if self._fatal is None else self._fatal
            else:
                self._errors.append(exc)
            self._cancel("a member of the group failed", False)
        while self._queue and (self.limit is None or len(self._live) < self.limit):
            waiting = self._queue.popleft()
            if waiting._waits:
                waiting._waits = False
                self._live.add(waiting)
                newproc.start(waiting._g, None)

    def _cancel_one(self, h: Handle[Any]) -> None:
        """Cancels a member."""
        if h._waits:
            h._waits = False
            newproc.start(h._g, Cancelled("cancelled before it started"))
        elif h._g is not None:
            handoff.cancel(h._g, h._goid, Cancelled())

    def _cancel(self, why: str, again: bool) -> None:
        """Cancels every member, and the body if it has not ended.  Only the first call does that, or a call with
        `again`: a second Cancelled would stop what the members do to clean up."""
        if self._state == "ended" or (self._cancelled and not again):
            return
        for h in self._live:
            if h._g is not None:
                handoff.cancel(h._g, h._goid, Cancelled("the group was cancelled"))
        while self._queue:
            waiting = self._queue.popleft()
            if waiting._waits:
                waiting._waits = False
                newproc.start(waiting._g, Cancelled("the group was cancelled before it started"))
        if self._state == "body":
            handoff.cancel_scope(self._scope, Cancelled(why))
        # Last: if an exception comes on the way (of a signal handler, or MemoryError), the next call begins anew.
        self._cancelled = True

    def _set_state(self, state: str) -> None:
        self._state = state

    # ---- the end ----

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool | None:  # not bool: a checker would take what is assigned in the block for possibly unbound after it
        self._actions.run(self._set_state, "ending")
        own = exc is not None and exc is self._scope.exc  # the group's own cancellation of the body; it goes no further
        body = None if own else exc
        if body is not None:
            self._actions.run(self._cancel, "", False)
        outer: list[BaseException] = []  # Cancelled of scopes further out, raised while we wait for the members
        stop: BaseException | None = None
        try:
            while True:
                try:
                    await self._wg.wait()
                    break
                except GeneratorExit:  # the program ends
                    raise
                except Cancelled as e:
                    if e is not self._scope.exc:
                        outer.append(e)
                    self._actions.run(self._cancel, "", False)
                except BaseException as e:  # KeyboardInterrupt, or what a signal handler has raised
                    self._actions.run(self._cancel, "", stop is not None)
                    stop = e
        finally:
            self._actions.run(self._set_state, "ended")
            scopes.leave_scope(self._scope)
        try:
            if own and exc is not None:
                scopes.rearm_interrupted(self._scope.g, exc, self._handled)
            return self._outcome(body, own, outer, stop)
        finally:
            del body, exc, outer, stop
            self._errors = []
            self._fatal = None
            self._scope.exc = self._handled = None  # their tracebacks have frames that refer to the group

    def _outcome(
        self, body: BaseException | None, own: bool, outer: list[BaseException], stop: BaseException | None
    ) -> bool | None:
        """Raises what the group ends with; returns True where the body's exception ends here, None where it goes on.

        No cancellation of a scope further out gets lost: if something else is raised in its place, the goroutine gets it
        at its next await."""
        errors = self._errors
        end = stop if self._fatal is None else self._fatal
        if body is not None and is_a(body, Cancelled):
            outer = [body, *outer]
        elif end is None and is_a(body, KeyboardInterrupt, SystemExit, GeneratorExit):
            end = body
        elif body is not None and (errors or end is not None or is_a(body, Exception)):
            errors = [body, *errors]
        failures = [e for e in errors if not self._is_refusal(e)]
        if failures or end is not None:
            errors = failures  # go refused the others because of them
        try:
            if end is not None:
                if errors and end.__cause__ is None:
                    end.__cause__ = _together(errors)
                if end is body:
                    return None
                raise end
            g = self._scope.g
            if errors:
                _rearm(g, outer)
                raise _together(errors) from None  # what it replaces is in it, or is the group's own
            if outer and (len(outer) > 1 or body is None):
                _rearm(g, outer)
                # That of the outermost scope; leaving the other scopes withdraws theirs.  If there is none, somebody has
                # raised one by hand.
                end = scopes.take_cancel(g)
                raise outer[-1] if end is None else end
            return True if own else None
        finally:
            del body, end, errors, failures, outer, stop  # this frame is in the traceback of what it raises: no circle


def _rearm(g: Any, outer: list[BaseException]) -> None:
    for e in outer:
        scopes.rearm(g, e)


def _check_name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"a name is a str, not {type(name).__name__}")
    return str(name)


def _label(name: str | None, group: str | None) -> str:
    """The names as Go's dumps show labels (printlabels in runtime/traceback.go); empty where nobody has given one."""
    pairs = [f"{key}: {_quoted(value)}" for key, value in (("name", name), ("group", group)) if value is not None]
    return "{" + ", ".join(pairs) + "}" if pairs else ""


def _quoted(text: str) -> str:
    """The text on one line, in double quotes unless it has only characters that need none."""
    if text and text.isascii() and all(c.isalnum() or c in "._/" for c in text):
        return text
    return '"' + repr(text)[1:-1].replace('"', '\\"') + '"'


def _together(errors: list[BaseException]) -> BaseExceptionGroup[BaseException]:
    return BaseExceptionGroup("unhandled errors in a Group", errors)
