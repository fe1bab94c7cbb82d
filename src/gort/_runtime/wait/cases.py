"""The cases of select that are no channel operations: sleep, locks, reads, accepts, the end of a goroutine or a process,
another select; and cases with names.  Go has neither; the promise is the same: one case runs, the others have no effect.

Each case becomes an *arm*.  An arm can be tried without waiting, which has an effect only if it succeeds.  The select
tries its arms in a random order, so that each one that can run is chosen with the same probability.  If none can, it
waits in the core's select: for the arms that are channels themselves, and for a channel `wake`, on which the others tell
that a new try may succeed.

- Channels: a sleep is a receive from a timer's channel, the handle of a Group's member one from the channel that the
  member's end closes.
- Read, accept: a helper waits until the descriptor is readable, which takes nothing from it.
- A lock, a semaphore, a wait group: a helper waits in the queue with all others, so that a select overtakes nobody and is
  not overtaken.  If the lock is granted to it and another case runs, the lock is passed on at once.
- Others (a process): a helper waits as the arm says.

A helper is a goroutine of the runtime's own.  When a case has run, the helpers are cancelled: each is out of its queue
before the select returns.

A case that cannot keep the promise is refused: a write may be half done, a coroutine and a blocking call have effects
before they end, Cond.wait unlocks its mutex.

What does not live here: the core's select (select.py); what is tried (chan.py, sema.py, poll/fd.py).
"""

from __future__ import annotations

from _collections_abc import Awaitable, Callable, Coroutine, Generator
from types import CoroutineType

from gort._runtime.core import handoff, outside, runtime2
from gort._runtime.core.errors import Cancelled
from gort._runtime.core.op import (
    WAIT_COND,
    WAIT_MUTEX,
    WAIT_RWMUTEX_R,
    WAIT_RWMUTEX_W,
    WAIT_SEMACQUIRE,
    awaited_twice,
    describe,
    unready,
)
from gort._runtime.core.runtime2 import OP_DONE, OP_NEW, PARK, Op
from gort._runtime.sched import newproc
from gort._runtime.sched.timers import SleepOp
from gort._runtime.wait import select as core
from gort._runtime.wait.chan import SEND, SEND_MANY, Chan, ChanOp, receive_only
from gort._runtime.wait.sema import WaitOp
from gort._runtime.wait.timechan import Timer
from gort._start import hints as t

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Outcome = tuple[Any, bool]  # the value, and Go's comma-ok


class Selectable(Coroutine["Any", "Any", "t.T"]):
    """A coroutine that gort.select takes as a case: what `ln.accept()` and `cmd.wait()` give.  `arm()` makes its arm."""

    def __init__(self, coro: Coroutine[Any, Any, t.T], arm: Callable[[], Arm]) -> None:
        self._coro = coro
        self._make_arm = arm

    def __await__(self) -> Generator[Any, Any, t.T]:
        return self._coro.__await__()

    def send(self, value: Any) -> Any:
        """As the coroutine's."""
        return self._coro.send(value)

    def throw(self, *args: Any) -> Any:
        """As the coroutine's."""
        return self._coro.throw(*args)

    def close(self) -> None:
        """As the coroutine's."""
        self._coro.close()

    def arm(self) -> Arm:
        """Its arm.  The coroutine itself is not run any more."""
        self._coro.close()
        return self._make_arm()


class Arm:
    """A case.  `wrap` makes its outcome of what was received, or is None."""

    def __init__(self) -> None:
        self.name: int | str = 0

    def outcome(self, value: Any, ok: bool) -> Outcome:
        """What the select returns, beside the name.  Raises what the case raises."""
        return value, ok

    def attempt(self, g: Any) -> Outcome | None:
        """Runs the case if that needs no wait.  Otherwise returns None and has no effect.  g stands for the goroutine in
        wait queues."""
        raise NotImplementedError

    def op(self) -> Any:
        """A fresh channel operation, on which the core's select can wait; None for an arm that is no channel's."""
        return None

    def ask(self) -> None:
        """The next attempt asks the system, and does not rely on what the poller has seen so far."""

    async def wait(self) -> None:
        """Waits until an attempt may succeed, without an effect.  Runs in a helper."""

    def begin_wait(self, s: Any, wake: Chan[None]) -> None:
        """Starts the helper, if it does not run."""

    def leave(self, won: bool) -> None:
        """The select is over.  won: this case has run."""


class ChanArm(Arm):
    """A channel operation."""

    def __init__(self, op: Any, outcome: Callable[[Any, bool], Outcome] | None = None, timer: Any = None) -> None:
        super().__init__()
        op.state = OP_DONE  # each wait takes a fresh one
        self.first = op
        self.kind, self.c, self.when, self.elem = op.kind, op.c, op.when, op.elem
        self.own = outcome
        self.timer = timer

    def outcome(self, value: Any, ok: bool) -> Outcome:
        return (value, ok) if self.own is None else self.own(value, ok)

    def op(self) -> Any:
        op = type(self.first)()
        op.kind, op.c, op.when, op.elem = self.kind, self.c, self.when, self.elem
        return op

    def leave(self, won: bool) -> None:
        if self.timer is not None:
            self.timer.stop()


class HelpedArm(Arm):
    """A case for which a helper waits."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: bool = False  # a helper has been started and has not ended
        self.helper: Any = None  # (g, goid) of the last one

    def begin_wait(self, s: Any, wake: Chan[None]) -> None:
        if not self.waiting:
            self.waiting = True
            # A goroutine of the system's: it does not count, and dumps leave it out.
            self.helper = newproc.make_from(s, self._help, (wake,), None, _Helped(), None, -1, True)
            newproc.start(self.helper[0], None)

    async def _help(self, wake: Chan[None]) -> None:
        try:
            await self.wait()
        finally:
            self.waiting = False
            wake.try_send(None)

    def leave(self, won: bool) -> None:
        if self.helper is not None:
            g, goid = self.helper
            handoff.cancel(g, goid, Cancelled())  # does nothing when it has ended


class _Helped(newproc.Done):
    """The Done of a helper.  If the helper raises, the next attempt raises the same, in the select."""

    def finished(self, goid: int, value: Any, exc: BaseException | None) -> None:
        """Nothing to do: the helper has sent on `wake`."""


class OpArm(HelpedArm):
    """A read or an accept: op.readiness() gives the operation that waits without an effect."""

    def __init__(self, op: Any, outcome: Callable[[Any, bool], Outcome] | None = None) -> None:
        super().__init__()
        op.state = OP_DONE  # each attempt takes a fresh one
        self.first = op
        self.fields = (op.kind, op.c, op.when, op.elem)
        self.own = outcome

    def outcome(self, value: Any, ok: bool) -> Outcome:
        return (value, ok) if self.own is None else self.own(value, ok)

    def attempt(self, g: Any) -> Outcome | None:
        op = type(self.first)()
        op.state = OP_DONE
        op.kind, op.c, op.when, op.elem = self.fields
        if op.begin(g) == PARK:
            if op.abort():
                return None
            unready(g)  # who has completed it has yet to read op.g, which finish clears
        return self.outcome(op.finish(), True)

    def ask(self) -> None:
        self.first.c.ask(self.first.kind)

    async def wait(self) -> None:
        await self.first.readiness()


class LockArm(OpArm):
    """A lock, permits of a semaphore, a wait group.  The helper waits for the thing itself and holds it until the select
    takes it over, or passes it on.

    Before there is a helper a lock is tried by its own try method.  An operation that is begun and taken back would do
    the same, but a writer's holds back readers in between."""

    def __init__(self, op: Any) -> None:
        super().__init__(op)
        self.granted = False
        self.over = False  # another case has run
        self.pending: Any = None  # the operation in which the helper waits
        self.claims = [self._release(op)]  # whoever pops it owns what was granted

    @staticmethod
    def _release(op: Any) -> Callable[[], None]:
        lock, kind, permits = op.c, op.kind, op.when
        if kind == WAIT_RWMUTEX_R:
            return lambda: lock.runlock()
        if kind == WAIT_SEMACQUIRE:
            return lambda: lock.release(permits)
        if kind in (WAIT_MUTEX, WAIT_RWMUTEX_W):
            return lambda: lock.unlock()
        return lambda: None

    def _take(self, g: Any) -> bool:
        kind, lock, permits, _ = self.fields
        if kind == WAIT_RWMUTEX_R:
            return bool(lock.try_rlock())
        if kind == WAIT_SEMACQUIRE:
            return bool(lock.try_acquire(permits))
        if kind in (WAIT_MUTEX, WAIT_RWMUTEX_W):
            return bool(lock.try_lock())
        return super().attempt(g) is not None

    def _claim(self) -> Callable[[], None] | None:
        try:
            return self.claims.pop()
        except IndexError:
            return None

    def ask(self) -> None:
        """A lock needs nobody to be asked."""

    def attempt(self, g: Any) -> Outcome | None:
        if self.helper is None:
            taken = self._take(g)
        else:
            taken = self.granted and self._claim() is not None
            if taken:
                self.first.c._hold()
        return (None, True) if taken else None

    async def wait(self) -> None:
        op = type(self.first)()
        op.kind, op.c, op.when, op.elem = self.fields
        self.pending = op
        await op
        self.granted = True
        if self.over and (release := self._claim()) is not None:
            release()

    def leave(self, won: bool) -> None:
        self.over = True
        super().leave(won)
        # Granted, and perhaps the helper has not run since.
        granted = self.granted or (self.pending is not None and self.pending.success)
        if not won and granted and (release := self._claim()) is not None:
            release()


class Watched(HelpedArm):
    """A case of another kind: `attempt` returns its value in a tuple, or None; `watch` waits without an effect."""

    def __init__(self, attempt: Callable[[], tuple[Any] | None], watch: Callable[[], Awaitable[None]]) -> None:
        super().__init__()
        self._attempt = attempt
        self._watch = watch

    def attempt(self, g: Any) -> Outcome | None:
        found = self._attempt()
        return None if found is None else (found[0], True)

    async def wait(self) -> None:
        await self._watch()


class Nested(Arm):
    """A case of a select that is itself a case."""

    def __init__(self, arm: Arm) -> None:
        super().__init__()
        self.inner = arm

    def outcome(self, value: Any, ok: bool) -> Outcome:
        value, ok = self.inner.outcome(value, ok)
        return (self.inner.name, value, ok), True

    def attempt(self, g: Any) -> Outcome | None:
        found = self.inner.attempt(g)
        return None if found is None else ((self.inner.name, *found), True)

    def op(self) -> Any:
        return self.inner.op()

    def begin_wait(self, s: Any, wake: Chan[None]) -> None:
        self.inner.begin_wait(s, wake)

    def leave(self, won: bool) -> None:
        self.inner.leave(won)


def refuse(case: Any, why: str) -> TypeError:
    """The error for what is no case."""
    return TypeError(f"{case if isinstance(case, str) else describe(case)} cannot be a case of gort.select: {why}")


def arms_of(case: Any) -> list[Arm]:
    """The arms of a case: one, or those of a select.  Raises TypeError, RuntimeError for an operation that was used."""
    if isinstance(case, Select):
        case.close()
        return [Nested(arm) for arm in case.arms]
    if isinstance(case, Selectable):
        return [case.arm()]
    if not isinstance(case, Op):
        arm = getattr(type(case), "_select_arm", None)
        if arm is not None:
            return [arm(case)]
        if isinstance(case, Chan):
            raise TypeError("a case of gort.select is an operation: write ch.recv() or ch.send(value), not the channel")
        if isinstance(case, (CoroutineType, Coroutine)):
            name = getattr(case, "__qualname__", type(case).__name__)
            why = (
                "a coroutine may have had an effect when another case runs; start it in a gort.Group, and select on h, "
                "or give it its time with gort.move_on_after"
            )
            raise refuse(name, why)
        what = type(case).__name__
        raise TypeError(f"a case of gort.select is an operation such as ch.recv() or gort.sleep(1), not a {what}")
    if case.state != OP_NEW:
        raise awaited_twice(case)
    if isinstance(case, core.SelectOp):
        if case.kind & core.DEFAULT:
            raise refuse(case, "with default=True it never waits")
        found: list[Arm] = []
        for i, op in enumerate(case.c):
            if op is not None:
                arm = ChanArm(op)
                arm.name = i
                found.append(Nested(arm))
        case.state = OP_DONE
        return found
    if isinstance(case, ChanOp):
        if case.kind == SEND_MANY:
            raise refuse(case, "it may send some of its values and then wait")
        if case.kind == SEND and case.c.timer is not None and case.c.timer.owner is not None:
            raise receive_only("send to", case.c)
        return [ChanArm(case)]
    if isinstance(case, SleepOp):
        case.state = OP_DONE
        timer = Timer(case.when / 1e9)
        return [ChanArm(timer.c.recv(), lambda value, ok: (None, True), timer)]
    if isinstance(case, WaitOp):
        if case.kind == WAIT_COND:
            raise refuse(case, "it unlocks its mutex before it waits")
        case.state = OP_DONE
        return [LockArm(case)]
    io: Any = case
    if hasattr(io, "readiness"):
        why = io.refusal()
        if why:
            raise refuse(case, why)
        case.state = OP_DONE
        return [OpArm(case)]
    raise refuse(case, "it has an effect before it is over; start it in a gort.Group, and select on h")


class Select(Selectable["tuple[t.T, Any, bool]"]):
    """A select with cases of all kinds."""

    def __init__(self, cases: tuple[Any, ...], named: dict[str, Any], default: bool) -> None:
        self.arms: list[Arm] = []
        given: list[tuple[int | str, Any]] = [*enumerate(cases), *named.items()]
        try:
            for name, case in given:
                if case is not None:
                    for arm in arms_of(case):
                        arm.name = name
                        self.arms.append(arm)
        except BaseException:
            for _, case in given:
                drop(case)
            raise
        super().__init__(_run(self.arms, default), lambda: Arm())


def drop(case: Any) -> None:
    """Marks a case as used, so that nothing says that it was never awaited."""
    if isinstance(case, Op):
        if case.state == OP_NEW:
            case.state = OP_DONE
        for op in case.c if isinstance(case, core.SelectOp) else ():
            drop(op)
    elif isinstance(case, (CoroutineType, Selectable)):
        case.close()


async def _run(arms: list[Arm], default: bool) -> tuple[Any, Any, bool]:
    s = runtime2.current_m().sched
    standin = outside.thread_g(s)
    wake: Chan[None] = Chan(1)
    won: Arm | None = None
    try:
        for arm in arms if default else ():
            arm.ask()  # a loop that never waits leaves the poller no time to look
        while True:
            for i in core.shuffled(len(arms), runtime2.current_m()):
                arm = arms[i]
                op = arm.op()
                if op is not None:
                    tried, value, ok = await core.select(op, default=True)
                    if tried < 0:
                        continue
                    won = arm
                    return (arm.name, *arm.outcome(value, ok))
                found = arm.attempt(standin)
                if found is not None:
                    won = arm
                    return (arm.name, *found)
            if default:
                return -1, None, False
            for arm in arms:
                arm.begin_wait(s, wake)
            waiting = [(arm, op) for arm in arms if (op := arm.op()) is not None]
            i, value, ok = await core.select(*[op for _, op in waiting], wake.recv())
            if i < len(waiting):
                won = waiting[i][0]
                return (won.name, *won.outcome(value, ok))
    finally:
        for arm in arms:
            arm.leave(arm is won)
