"""The exception that a goroutine handles: sys.exc_info(), a bare `raise`, `__context__`, after an await.

A cancellation enters a goroutine through all of its coroutines, as any other resumption does. Coroutine.throw, with which
asyncio cancels, enters only the innermost one, which then does not know what the outer ones handle; trio has it right.
How a cancellation is requested and caught is in test_cancel_rules.py.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

import pytest

import gort
from gort import runtime
from gort._runtime.core.scopes import leave_scope
from support import parked

Run = Callable[..., Any]


def handled() -> str:
    """What is being handled, in three ways: exc_info, a bare raise, the context of a new exception."""
    info = repr(sys.exc_info()[1])
    try:
        raise  # what it raises again is the question
    except BaseException as e:
        again = repr(e)
    try:
        raise IndexError
    except IndexError as e:
        context = repr(e.__context__)
    assert info == again == context or info == "None", (info, again, context)
    return info


async def times_out() -> None:
    async with gort.move_on_after(0.001):
        await gort.sleep(3600)


async def times_out_within() -> None:
    """The same, with the timeout around a function that waits."""

    async def waits() -> None:
        try:
            await gort.Chan[None]().recv()
        finally:
            assert handled() == "Cancelled('gort.move_on_after(0.001)')"

    async with gort.move_on_after(0.001):
        await waits()


async def timeout_caught() -> None:
    try:
        async with gort.timeout(0.001):
            await gort.Chan[None]().recv()
    except TimeoutError:
        pass


async def generator_times_out() -> None:
    async def waits() -> AsyncIterator[int]:
        yield 1
        try:
            await gort.sleep(3600)
        finally:
            yield 2

    async with gort.move_on_after(0.001):
        async for n in waits():
            if n == 2:
                assert handled() == "KeyError('k')"


class ByHand:
    """A hand-written awaitable around an operation."""

    def __await__(self) -> Generator[Any, Any, None]:
        yield from gort.sleep(3600).__await__()


async def by_hand() -> None:
    async with gort.move_on_after(0.001):
        await ByHand()


async def finishes() -> None:
    await gort.sleep(0.001)


WAYS = [times_out, times_out_within, timeout_caught, generator_times_out, by_hand, finishes]


@pytest.mark.parametrize("wait", WAYS, ids=lambda wait: wait.__name__)
def test_an_inner_function_knows_what_an_outer_one_handles(run: Run, wait: Callable[[], Any]) -> None:
    async def inner() -> list[str]:
        seen = [handled()]
        await wait()
        seen.append(handled())
        await gort.gosched()
        seen.append(handled())
        return seen

    async def main() -> list[str]:
        try:
            raise KeyError("k")
        except KeyError:
            seen = [*await inner(), handled()]
        return [*seen, repr(sys.exc_info()[1])]

    assert run(main) == ["KeyError('k')"] * 4 + ["None"]


def test_the_cancellation_itself_has_it_as_its_context(run: Run) -> None:
    async def inner() -> BaseException | None:
        try:
            await gort.Chan[None]().recv()
        except gort.Cancelled as e:
            context = e.__context__
            assert handled() == "Cancelled()"
            return context
        return None

    async def member() -> BaseException | None:
        try:
            raise KeyError("k")
        except KeyError:
            return await inner()

    async def main() -> BaseException | None:
        async with gort.Group() as group:
            h = group.go(member)
            await parked(1, "chan receive")
            h.cancel()
        return h.result()

    assert repr(run(main)) == "KeyError('k')"


def test_nothing_is_left_of_a_handled_one(run: Run) -> None:
    """What one goroutine handles is no other's."""

    async def other() -> str:
        await times_out()
        return handled_or_none()

    def handled_or_none() -> str:
        return repr(sys.exc_info()[1])

    async def main() -> list[str]:
        async with gort.Group() as group:
            try:
                raise KeyError("k")
            except KeyError:
                hs = [group.go(other) for _ in range(3)]
                await times_out()
                mine = handled_or_none()
        return [mine, *(h.result() for h in hs)]

    assert run(main) == ["KeyError('k')", "None", "None", "None"]


def test_the_traceback_ends_in_the_users_code(run: Run) -> None:
    async def waits() -> None:
        await gort.sleep(3600)

    async def main() -> list[str]:
        with pytest.raises(gort.Cancelled) as caught:
            async with gort.Group() as group:
                h = group.go(waits)
                await parked(1, "sleep")
                h.cancel()
            await h
        return [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]

    names = run(main)
    assert "waits" in names
    if runtime.compiled:
        assert names[-1] == "waits"


def test_the_traceback_ends_there_when_the_goroutine_did_not_wait(run: Run) -> None:
    """The cancellation has come before the operation begins."""

    async def waits(own: gort.Chan[Any]) -> None:
        (await own.recv()).cancel()  # another P may run this before `go` has returned
        await gort.sleep(3600)

    async def main() -> list[str]:
        own = gort.Chan[Any](1)
        async with gort.Group() as group:
            h = group.go(waits, own)
            await own.send(h)
        exc = h.exception()
        assert isinstance(exc, gort.Cancelled)
        return [frame.name for frame in traceback.extract_tb(exc.__traceback__)]

    names = run(main)
    assert names[0] == "waits"
    if runtime.compiled:
        assert names == ["waits"]


@pytest.mark.parametrize("before", [False, True], ids=["while it waits", "before"])
def test_the_traceback_of_a_wait_shows_who_waits(run: Run, before: bool) -> None:
    """And not how gort.wait learns of the cancellation."""

    def waits(own: gort.Chan[Any]) -> None:
        if before:
            gort.wait(own.recv()).cancel()
        gort.wait(gort.sleep(3600))

    async def main() -> list[str]:
        own = gort.Chan[Any](1)
        async with gort.Group() as group:
            h = group.go(waits, own)
            await own.send(h)
            if not before:
                await parked(1, "syscall")
                h.cancel()
        exc = h.exception()
        assert isinstance(exc, gort.Cancelled)
        return [frame.name for frame in traceback.extract_tb(exc.__traceback__)]

    names = run(main)
    assert names[names.index("waits") :] == ["waits", "wait", "_wait_op"]


def test_an_awaitable_that_keeps_its_operation_from_being_resumed_is_thrown_into(run: Run) -> None:
    """It yields what the operation has yielded, and would go on without the operation's second step."""
    told: list[str] = []

    class Keeps:
        def __await__(self) -> Generator[Any, Any, None]:
            operation = iter(gort.sleep(3600).__await__())
            next(operation)
            while True:
                try:
                    yield
                except gort.Cancelled:
                    told.append("thrown")
                    raise

    async def main() -> bool:
        async with gort.move_on_after(None) as scope:
            gort.go(cancel_while_it_waits, scope, "sleep")
            await Keeps()
        return bool(scope.cancelled_caught)

    assert run(main)
    assert told == ["thrown"]


async def cancel_while_it_waits(scope: gort.CancelScope, reason: str) -> None:
    """Cancels when a goroutine waits for `reason`: a deadline could pass before it does, on a busy machine."""
    await parked(1, reason)
    scope.cancel()


class Forgets:
    """An awaitable that does not resume its operation, but returns when it is resumed."""

    def __await__(self) -> Generator[Any, Any, None]:
        next(iter(gort.sleep(3600).__await__()))
        yield


def test_what_an_awaitable_keeps_is_not_raised_outside_its_scope(run: Run) -> None:
    class Foreign:
        def __await__(self) -> Generator[Any, Any, None]:
            yield 42

    async def main() -> str:
        async with gort.move_on_after(0.001):
            await Forgets()
        await gort.gosched()
        async with gort.move_on_after(0.001):
            await Forgets()
        with pytest.raises(TypeError, match="only gort's operations can suspend"):
            await Foreign()
        return "goes on"

    assert run(main) == "goes on"


def test_what_an_awaitable_keeps_is_held_off_by_a_shield(run: Run) -> None:
    async def main() -> list[str]:
        told = []
        async with gort.move_on_after(None) as scope:
            gort.go(cancel_while_it_waits, scope, "sleep")
            await Forgets()
            async with gort.shield():
                await gort.gosched()
                told.append("shielded")
            await gort.gosched()
            told.append("not reached")
        assert scope.cancelled_caught
        return told

    assert run(main) == ["shielded"]


def test_another_goroutines_operation_does_not_get_the_cancellation(run: Run) -> None:
    ch: gort.Chan[int] = gort.Chan()
    iterators: list[Any] = []

    class Shares:
        def __await__(self) -> Generator[Any, Any, int]:
            iterators.append(iter(ch.recv().__await__()))
            return (yield from iterators[0])  # type: ignore[no-any-return]

    class Disturbs:
        def __await__(self) -> Generator[Any, Any, None]:
            operation = iter(gort.sleep(3600).__await__())
            next(operation)
            yield
            with pytest.raises(RuntimeError, match="already awaited"):
                next(iterators[0])
            next(operation)

    async def shares() -> int:
        return await Shares()

    async def disturbs() -> None:
        await Disturbs()

    async def main() -> tuple[int | None, BaseException | None]:
        async with gort.Group() as group:
            receiver = group.go(shares)
            await parked(1, "chan receive")
            disturber = group.go(disturbs)
            await parked(1, "sleep")
            disturber.cancel()
            with pytest.raises(gort.Cancelled):
                await disturber
            await ch.send(3)
        return receiver.result(), disturber.exception()

    got, exc = run(main)
    assert isinstance(exc, gort.Cancelled)
    if runtime.compiled:  # else the error has ended the shared generator
        assert got == 3


class GoesOn:
    """An awaitable that catches the cancellation of its operation where that is not resumed, and then resumes it."""

    def __init__(self, operation: Any, another: bool) -> None:
        self.operation = operation
        self.another = another  # whether the cancellation is raised at another operation

    def __await__(self) -> Generator[Any, Any, Any]:
        waits = iter(self.operation.__await__())
        next(waits)
        yield
        try:
            if self.another:
                next(iter(gort.sleep(3600).__await__()))
            yield
        except gort.Cancelled:
            pass
        return (yield from waits)


def locked() -> gort.sync.Mutex:
    mu = gort.sync.Mutex()
    assert mu.try_lock()
    return mu


RESUMED: dict[str, tuple[str, Callable[[], Any]]] = {
    "recv": ("chan receive", lambda: gort.Chan[int]().recv()),
    "recv_ok": ("chan receive", lambda: gort.Chan[int]().recv_ok()),
    "recv_many": ("chan receive", lambda: gort.Chan[int]().recv_many(2)),
    "send": ("chan send", lambda: gort.Chan[int]().send(1)),
    "send_many": ("chan send", lambda: gort.Chan[int]().send_many([1, 2])),
    "sleep": ("sleep", lambda: gort.sleep(3600)),
    "select": ("select", lambda: gort.select(gort.Chan[int]().recv(), gort.Chan[int]().send(1))),
    "Mutex.lock": ("sync.Mutex.Lock", lambda: locked().lock()),
}


@pytest.mark.parametrize("another", [False, True], ids=["thrown", "at another operation"])
@pytest.mark.parametrize("what", RESUMED)
def test_an_operation_that_was_cancelled_cannot_be_resumed(run: Run, what: str, another: bool) -> None:
    """It has left its queue and has no result.  It ended as if it had one: with None, or a lock that it did not hold."""
    ended: list[str] = []

    async def member(operation: Any) -> None:
        try:
            ended.append(f"result {await GoesOn(operation, another)}")
        except RuntimeError as e:
            ended.append(str(e))
        await gort.gosched()  # the goroutine can wait again

    reason, operation = RESUMED[what]

    async def main() -> None:
        async with gort.Group() as group:
            h = group.go(member, operation())
            await parked(1, reason)
            h.cancel()

    run(main)
    assert len(ended) == 1
    assert "was cancelled while it waited" in ended[0]


def test_an_operation_that_was_cancelled_cannot_be_resumed_after_its_scope(run: Run) -> None:
    """Nor where the scheduler was to raise the cancellation, which is withdrawn as its scope is left."""

    class Leaves:
        def __init__(self, scope: Any) -> None:
            self.scope = scope

        def __await__(self) -> Generator[Any, Any, Any]:
            waits = iter(gort.Chan[int]().recv().__await__())
            next(waits)
            yield
            leave_scope(self.scope)
            return (yield from waits)

    async def main() -> str:
        scope = gort.move_on_after(None)
        async with scope:
            gort.go(cancel_while_it_waits, scope, "chan receive")
            try:
                await Leaves(scope._scope)
            except RuntimeError as e:
                return str(e)
        return "no error"

    assert "was cancelled while it waited" in run(main)


def test_the_error_for_a_foreign_await_is_raised_there(run: Run) -> None:
    class Foreign:
        def __await__(self) -> Generator[Any, Any, None]:
            yield 42

    async def main() -> str:
        with pytest.raises(TypeError, match="another event loop"):
            await Foreign()
        await times_out()
        return "goes on"

    assert run(main) == "goes on"


def test_what_asyncio_does() -> None:
    """CPython's own limit, for the comparison above: when this changes, the head of this file is out of date."""

    async def inner() -> str:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.sleep(3600)
        except TimeoutError:
            pass
        return repr(sys.exc_info()[1])

    async def main() -> str:
        try:
            raise KeyError("k")
        except KeyError:
            return await inner()

    assert asyncio.run(main()) == "None"
