"""Blocks that end early, and blocks that do not: gort.timeout, gort.move_on_after, gort.shield.  Follows trio's cancel
scopes, with asyncio's one-shot cancellation: a Cancelled is raised once, and what cleans up after it may wait.

    async with gort.timeout(5):            # TimeoutError after five seconds
        reply = await fetch(url)

    async with gort.move_on_after(5) as scope:
        reply = await fetch(url)
    if scope.cancelled_caught: ...         # the block was ended by the timeout

Go has none of this: there a function looks at its context (gort.context).  docs/guide-cancellation.md has the rules.

What does not live here: groups (group.py), what a cancellation is (_runtime/core/op.py).
"""

from __future__ import annotations

import math
import sys
from types import TracebackType

from gort._actions import Actions
from gort._runtime.core import handoff, op, runtime2, scopes
from gort._runtime.core.errors import Cancelled
from gort._runtime.core.mistakes import Shared
from gort._runtime.sched import timers
from gort._start import hints as t

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["CancelScope", "MoveOnAfter", "move_on_after", "shield", "timeout"]


class CancelScope(Shared):
    """A block of a goroutine that can be cancelled by itself: `async with` one, or `with` one where the block is in a
    plain function.  gort.timeout, gort.move_on_after and gort.shield make it.

    The Cancelled that ends the block is raised at an await in it (in a plain function: in gort.wait), once.  The block
    may clean up, and wait while it does.  At the block's end the Cancelled is swallowed, or becomes a TimeoutError."""

    # What has cancelled it first: the exception (None once the block has ended), and whether it was the deadline.
    _request: tuple[Cancelled | None, bool] | None = None

    def __init__(self, deadline: float, raises: bool, what: str) -> None:
        self._deadline = deadline  # on time.monotonic()'s clock
        self._raises = raises  # TimeoutError at the end of a block that the deadline has ended
        self._what = what
        self._scope = runtime2.Scope()
        self._timer: Any = None
        self._entered = False  # the timer is armed
        self._left = False  # the block has ended: nothing is armed any more
        self._called = False  # its cancellation had been requested when it ended
        self._caught = False
        self._handled: BaseException | None = None  # what was being handled when the block began

    def __repr__(self) -> str:
        if self._scope.shield:
            return f"<gort.{self._what}() at {id(self):#x}>"
        left = f"{self._deadline - timers.monotonic():+.3f} s" if self._deadline != math.inf else "no deadline"
        state = ", cancelled" if self.cancel_called else ""
        return f"<gort.{self._what}: {left}{state} at {id(self):#x}>"

    @property
    def deadline(self) -> float:
        """When the block is cancelled, on the clock of time.monotonic(), in seconds; math.inf: never.

        It can be set before the block and in it, from any goroutine and thread.  That does not take back a cancellation
        that has been requested, and does nothing once the block has ended.  Raises TypeError for what is no number,
        ValueError for NaN."""
        return self._deadline

    @deadline.setter
    def deadline(self, when: float) -> None:
        timers.to_ns(when)
        self._deadline = float(when)
        if self._entered:  # else __enter__ sees it
            actions: Actions = self.__dict__.setdefault("_actions", Actions())
            actions.run(self._arm)

    @property
    def cancel_called(self) -> bool:
        """Whether the block's cancellation has been requested: its deadline has passed, or cancel() was called."""
        return self._called if self._left else self._request is not None

    @property
    def cancelled_caught(self) -> bool:
        """Whether the block was ended by its cancellation.  False as long as it runs, and if it ended before the
        Cancelled was raised."""
        return self._caught

    def expired(self) -> bool:
        """Whether the block was cancelled because its deadline has passed."""
        return self.cancel_called and self._request is not None and self._request[1]

    def cancel(self) -> None:
        """Cancels the block.  Calls after the first do nothing.  If it is called before the block is entered, the
        block's first await raises.  Any thread, finalizer or signal handler may call it."""
        self._cancel(False)

    def _cancel(self, expired: bool) -> None:
        if self._left:
            return
        mine = (Cancelled(f"gort.{self._what}"), expired)
        # One operation of the interpreter, so that of several threads one is the first.
        if self.__dict__.setdefault("_request", mine) is mine:
            handoff.cancel_scope(self._scope, mine[0])

    def _fire(self, arg: object, gen: int, now: int) -> None:
        """The timer's function, on g0."""
        self._cancel(True)

    def _arm(self) -> None:
        """Arms the timer for the deadline, or disarms it.  An action, but for the first time."""
        timer = self._timer
        if timer is not None:
            timers.deltimer(timer)
        if self._deadline == math.inf or self._left or self._request is not None:
            return
        left = timers.to_ns(self._deadline - timers.monotonic())
        if left <= 0:
            self._cancel(True)
            return
        if timer is None:
            self._timer = timer = timers.Timer()
            timer.f = self._fire
        timers.addtimer(self._scope.g.sched, timer, timers.when_after(left))
        self._disarm_if_left(timer)

    def _disarm_if_left(self, timer: Any) -> None:
        """Undoes _arm where __exit__ has come on another thread in the meantime, before the timer was armed."""
        if self._left:
            timers.deltimer(timer)

    def __enter__(self) -> t.Self:
        m = runtime2.current_m()
        if m is None or m.curg is None:
            raise RuntimeError(f"gort.{self._what} outside a running gort runtime: start one with gort.run(main)")
        if self._scope.g is not None:
            raise RuntimeError(f"gort.{self._what}: the block is entered once; make a new one")
        self._handled = sys.exception()
        scopes.enter_scope(op.scopes_of(m), self._scope)
        if self._request is not None:
            handoff.cancel_scope(self._scope, self._request[0])
        deadline = self._deadline
        self._arm()
        self._entered = True
        if self._deadline != deadline:  # another thread has moved it, and did not see the line above
            self.deadline = self._deadline
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool | None:  # a checker takes bool to mean that what is assigned in the block may be unbound after it
        scope = self._scope
        self._left = True  # before the timer is looked at: see _arm
        timer, self._timer = self._timer, None
        if timer is not None:
            timers.deltimer(timer)
        scopes.leave_scope(scope)
        own = exc is not None and exc is scope.exc
        self._called = self._called or scope.exc is not None
        handled = self._handled
        # The exceptions' tracebacks have the frames of the block, which refer to this object: a circle.
        scope.exc = self._handled = None
        if self._request is not None:
            self._request = (None, self._request[1])
        if not own or exc is None:
            return False
        self._caught = True
        scopes.rearm_interrupted(scope.g, exc, handled)
        if self._raises and self.expired():
            try:
                raise TimeoutError(f"gort.{self._what}: the time is over") from exc
            finally:
                del exc
        return True

    async def __aenter__(self) -> t.Self:
        return self.__enter__()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool | None:
        return self.__exit__(exc_type, exc, tb)


class MoveOnAfter(CancelScope):
    """What gort.move_on_after gives: a block that may end half-way without an exception."""

    if TYPE_CHECKING:

        def __exit__(
            self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
        ) -> bool: ...
        async def __aexit__(
            self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
        ) -> bool: ...


def timeout(seconds: float | None) -> CancelScope:
    """`async with gort.timeout(5):` raises TimeoutError when the block takes longer than five seconds.

    The time begins with this call.

    The block is cancelled first: Cancelled is raised at its await, and becomes the TimeoutError at the end of the
    block.  With None there is no limit until `deadline` is set.  With zero or less the first operation that the block
    awaits raises.  An outer block whose time is over ends the blocks in it.  Raises TypeError if seconds is not a
    number, ValueError if it is NaN, and at the block's begin RuntimeError outside a goroutine."""
    return CancelScope(_deadline(seconds), True, f"timeout({seconds!r})")


def move_on_after(seconds: float | None) -> MoveOnAfter:
    """`async with gort.move_on_after(5) as scope:` ends the block after five seconds and goes on behind it.

    scope.cancelled_caught then says whether the block was cut short.  Otherwise as gort.timeout."""
    return MoveOnAfter(_deadline(seconds), False, f"move_on_after({seconds!r})")


def shield() -> CancelScope:
    """`async with gort.shield():` for a clean-up that must finish: while the goroutine is in the block, no cancellation
    of what is around it is raised.  It is raised at the first await after the block.

    Timeouts and groups in the block work as ever, so `async with gort.shield(), gort.move_on_after(5):` bounds the
    clean-up.  Ctrl-C is not held off, and neither is the end of the program."""
    scope = CancelScope(math.inf, False, "shield")
    scope._scope.shield = True
    return scope


def _deadline(seconds: float | None) -> float:
    if seconds is None:
        return math.inf
    timers.to_ns(seconds)
    return timers.monotonic() + float(seconds)
