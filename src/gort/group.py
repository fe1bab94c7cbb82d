"""Structured concurrency: `async with Group() as g`.  Follows golang.org/x/sync/errgroup, with the exceptions of
asyncio.TaskGroup.

A group ends when its body and every goroutine started with g.go have ended.  The first failure cancels the rest and the
body; all failures are raised together, as an ExceptionGroup.
"""

from __future__ import annotations

import sys
import threading
from _collections_abc import Callable, Coroutine, Generator
from types import TracebackType

from gort._runtime.boot import main
from gort._runtime.core import handoff, runtime2
from gort._runtime.core.errors import Cancelled, Goexit
from gort._runtime.core.mistakes import Shared, check_go
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

    def __init__(
        self, group: Group, fn: Callable[..., t.Any], args: tuple[t.Any, ...], kwargs: dict[str, t.Any]
    ) -> None:
        self._group = group
        self._call: Any = (fn, args, kwargs)
        self._g: Any = None
        self._goid = 0
        self._value: Any = None
        self._exc: BaseException | None = None
        self._done: Chan[None] = Chan()
        self._cancelled = False

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return bool(self._done.closed)

    def result(self) -> t.T:
        """What it returned.  Raises what it raised (Cancelled when it was cancelled), RuntimeError while it runs."""
        if not self.done:
            raise RuntimeError("the goroutine has not ended yet: `await h`, or leave the group first")
        if self._exc is not None:
            raise self._exc
        return self._value  # type: ignore[no-any-return]

    def exception(self) -> BaseException | None:
        """What it raised, or None.  RuntimeError while it runs."""
        if not self.done:
            raise RuntimeError("the goroutine has not ended yet: `await h`, or leave the group first")
        return self._exc

    def cancel(self) -> bool:
        """Raises Cancelled at its await.  False when it has ended.  A cancelled goroutine is no failure of the group.
        From any thread."""
        with self._group._lock:
            if self.done:
                return False
            self._cancelled = True
            g = self._g
        if g is None:
            return True  # not started yet: the group sees the mark
        return bool(handoff.cancel(g, self._goid, Cancelled()))

    def __await__(self) -> Generator[t.Any, t.Any, t.T]:
        yield from self._done.recv_ok().__await__()
        return self.result()

    def finished(self, goid: int, value: t.Any, exc: BaseException | None) -> None:
        """Called by the scheduler when it has ended."""
        self._value = value
        self._exc = None if isinstance(exc, Goexit) else exc
        self._g = None
        self._call = None
        self._done.close()
        self._group._ended(self, exc)

    def abandoned(self, goid: int) -> None:
        """The program ended first."""
        self._exc = Cancelled("the program has ended")
        if not self.done:
            self._done.close()


class Group(Shared):
    """`async with gort.Group(limit=None) as g: h = g.go(fn, *args)` waits at its end for all goroutines of the group.

    limit: at most so many run at a time; further ones start as others end, in order.  When one fails, the others and
    the body are cancelled, and an ExceptionGroup of all failures is raised when everything has ended."""

    def __init__(self, limit: int | None = None) -> None:
        if limit is not None:
            if isinstance(limit, bool) or not isinstance(limit, int):
                raise TypeError(f"a group's limit is an int, not {type(limit).__name__}")
            if limit < 1:
                raise ValueError(f"a group's limit must be at least 1, not {limit}")
        self.limit = limit
        self._lock = threading.Lock()  # guards everything below; never held across an await or a hand-over
        self._live: set[Handle[Any]] = set()
        self._queue: deque[Handle[Any]] = deque()
        self._errors: list[BaseException] = []
        self._fatal: BaseException | None = None  # KeyboardInterrupt or SystemExit of a member
        self._wg = WaitGroup()
        self._state = "new"
        self._parent: tuple[Any, int] | None = None
        self._kick: Cancelled | None = None  # what the body was cancelled with, by us

    async def __aenter__(self) -> t.Self:
        if self._state != "new":
            raise RuntimeError("a Group is entered once: make a new one")
        m = runtime2.current_m()
        self._parent = (m.curg, m.curg.goid) if m is not None and m.curg is not None else None
        if self._parent is None:
            raise RuntimeError("gort.Group outside a running gort runtime: start one with gort.run(main)")
        self._state = "body"
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
        cancelled."""
        s = main.current("Group.go()")
        check_go(s, fn, "Group.go")
        h: Handle[Any] = Handle(self, fn, args, kwargs)
        with self._lock:
            if self._state not in ("body", "ending"):
                why = {"new": "has not been entered: async with gort.Group() as g"}.get(self._state, "has ended")
                if self._state == "cancelled":
                    why = "has been cancelled"
                raise RuntimeError(f"Group.go: the group {why}")
            start = self.limit is None or len(self._live) < self.limit
            if start:
                self._live.add(h)
            else:
                self._queue.append(h)
            self._wg.add(1)
        if start:
            frame = sys._getframe(1)
            try:
                self._start(s, h, frame.f_code, frame.f_lasti)
            except BaseException:
                with self._lock:
                    self._live.discard(h)
                self._wg.done()
                raise
        return h

    def _start(self, s: Any, h: Handle[Any], code: Any = None, lasti: int = -1) -> None:
        fn, args, kwargs = h._call
        g = newproc.newproc_from(s, fn, args, kwargs, h, code, lasti)
        with self._lock:
            if h.done:
                return
            h._g, h._goid = g
            cancelled = h._cancelled
        if cancelled:
            handoff.cancel(h._g, h._goid, Cancelled())

    def _ended(self, h: Handle[Any], exc: BaseException | None) -> None:
        """A member has ended, on whatever thread: the next one starts, or the group is cancelled."""
        failed = exc is not None and not isinstance(exc, (Cancelled, Goexit))
        nxt: Handle[Any] | None = None
        dropped: list[Handle[Any]] = []
        with self._lock:
            self._live.discard(h)
            if failed:
                assert exc is not None
                if isinstance(exc, (KeyboardInterrupt, SystemExit)):
                    self._fatal = self._fatal or exc
                else:
                    self._errors.append(exc)
            while not failed and self._queue and nxt is None:
                nxt = self._queue.popleft()
                if nxt._cancelled:
                    dropped.append(nxt)
                    nxt = None
                else:
                    self._live.add(nxt)
        for d in dropped:
            self._drop(d)
        if failed:
            self._cancel(True)
        if nxt is not None:
            m = runtime2.current_m()
            try:
                self._start(m.sched, nxt)
            except BaseException as e:
                nxt.finished(0, None, e)
        self._wg.done()

    def _drop(self, h: Handle[Any]) -> None:
        """A member that will never start."""
        h._exc = Cancelled("the group was cancelled before it started")
        h._call = None
        h._done.close()
        self._wg.done()

    def cancel(self) -> None:
        """Cancels every member; those that have not started never will.  The body goes on.  From any thread."""
        self._cancel(False)

    def _cancel(self, failed: bool) -> None:
        """Cancels every member; where one has failed, the body too."""
        kick: tuple[Any, int] | None = None
        with self._lock:
            if self._state == "ended":
                return
            live = [h for h in self._live if h._g is not None]
            for h in self._live:
                h._cancelled = True
            queued, self._queue = list(self._queue), deque()
            if self._state == "body" and failed and self._kick is None:
                self._kick = Cancelled("a member of the group failed")
                kick = self._parent
            if self._state == "body":
                self._state = "cancelled"
        for h in queued:
            self._drop(h)
        for h in live:
            g = h._g
            if g is not None:
                handoff.cancel(g, h._goid, Cancelled("the group was cancelled"))
        if kick is not None and self._kick is not None:
            handoff.cancel(kick[0], kick[1], self._kick)

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:  # not bool: a checker would take what is assigned in the block for possibly unbound after it
        with self._lock:
            if self._state == "body":
                self._state = "ending"
        body = exc if exc is not None and exc is not self._kick else None
        if body is not None:
            self.cancel()
        interrupted: BaseException | None = None
        while True:
            try:
                await self._wg.wait()
                break
            except (Cancelled, KeyboardInterrupt) as e:  # while we wait: the members are cancelled too
                if e is not self._kick:
                    interrupted = e
                self.cancel()
        with self._lock:
            self._state = "ended"
        if self._kick is not None and self._parent is not None:
            handoff.uncancel(self._parent[0], self._kick)
        self._parent = None
        try:
            self._outcome(body, interrupted)
        finally:
            del body, interrupted, exc
            self._errors = []

    def _outcome(self, body: BaseException | None, interrupted: BaseException | None) -> None:
        """Raises what the group ends with; returns where the body's own exception, if any, goes on as it is.  The body's
        kick does not go on: it comes only after an error, which is raised in its place."""
        if self._fatal is not None:
            raise self._fatal
        if interrupted is not None and not self._errors:
            raise interrupted
        if body is not None and (not isinstance(body, Exception) or not self._errors):
            if isinstance(body, Exception):
                raise BaseExceptionGroup("unhandled errors in a Group", [body, *self._errors])
            if not self._errors or not isinstance(body, Cancelled):
                return  # Cancelled, KeyboardInterrupt, GeneratorExit
        if self._errors:
            errors = ([body] if isinstance(body, Exception) else []) + self._errors
            raise BaseExceptionGroup("unhandled errors in a Group", errors)
