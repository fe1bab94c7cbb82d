"""Timeouts and other blocks: which awaits end them, what is told of the exceptions that meet, when they are set anew or
left out of order. That they keep nothing is in test_group_more.py.

docs/cancellation-cases.md says which cases of CPython's and trio's own tests are shown here.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import gort
import gort.scope as scope_module
from gort import Cancelled
from gort.sync import Mutex, RWMutex, Semaphore, WaitGroup
from support import PATIENCE_S, ended, for_ever, parked, until

Run = Callable[..., Any]


# ---- which awaits raise -----------------------------------------------------------------------------------------------


def _recv() -> tuple[Callable[[], Awaitable[Any]], Callable[[], object]]:
    ch: gort.Chan[int] = gort.Chan(1)
    ch.try_send(7)
    return ch.recv, lambda: ch.try_recv() == (7, True)


def _iterate() -> tuple[Callable[[], Awaitable[Any]], Callable[[], object]]:
    ch: gort.Chan[int] = gort.Chan(1)
    ch.try_send(7)
    return ch.__aiter__().__anext__, lambda: ch.try_recv() == (7, True)


def _send() -> tuple[Callable[[], Awaitable[Any]], Callable[[], object]]:
    ch: gort.Chan[int] = gort.Chan(1)
    return lambda: ch.send(7), lambda: ch.try_recv() == (None, False)


def _select() -> tuple[Callable[[], Awaitable[Any]], Callable[[], object]]:
    ch: gort.Chan[int] = gort.Chan(1)
    ch.try_send(7)
    return lambda: gort.select(ch.recv()), lambda: ch.try_recv() == (7, True)


def _select_default() -> tuple[Callable[[], Awaitable[Any]], Callable[[], object]]:
    ch: gort.Chan[int] = gort.Chan(1)
    return lambda: gort.select(ch.recv(), default=True), lambda: True


def _gosched() -> tuple[Callable[[], Awaitable[Any]], Callable[[], object]]:
    return gort.gosched, lambda: True


def _sleep() -> tuple[Callable[[], Awaitable[Any]], Callable[[], object]]:
    return lambda: gort.sleep(0), lambda: True


def _mutex() -> tuple[Callable[[], Awaitable[Any]], Callable[[], object]]:
    mu = Mutex()
    return mu.lock, mu.try_lock


def _rlock() -> tuple[Callable[[], Awaitable[Any]], Callable[[], object]]:
    rw = RWMutex()
    return rw.rlock, rw.try_lock


def _semaphore() -> tuple[Callable[[], Awaitable[Any]], Callable[[], object]]:
    sem = Semaphore(1)
    return sem.acquire, sem.try_acquire


def _waitgroup() -> tuple[Callable[[], Awaitable[Any]], Callable[[], object]]:
    return WaitGroup().wait, lambda: True


READY = [
    _recv, _iterate, _send, _select, _select_default, _gosched, _sleep, _mutex, _rlock, _semaphore, _waitgroup
]  # fmt: skip


@pytest.mark.parametrize("case", READY, ids=[case.__name__ for case in READY])
def test_an_await_with_nothing_to_wait_for_raises_and_has_no_effect(run: Run, case: Callable[[], Any]) -> None:
    async def main() -> None:
        wait, untouched = case()
        async with gort.move_on_after(None) as scope:
            scope.cancel()
            await wait()
        assert scope.cancelled_caught
        assert untouched()

    run(main)


def test_await_of_a_member_that_has_ended_raises_too(run: Run) -> None:
    async def main() -> int:
        async with gort.Group() as group:
            h = group.go(int, 7)
            await ended(h)
            with pytest.raises(TimeoutError):
                async with gort.timeout(0):
                    await h
            return await h

    assert run(main) == 7


def test_a_block_that_never_parks_ends_too(run: Run) -> None:
    async def main() -> None:
        async with gort.move_on_after(0.01) as scope:
            while True:
                await gort.gosched()
        assert scope.expired()

    run(main)


def test_a_function_whose_time_is_over_begins_and_ends_at_its_first_await(run: Run) -> None:
    log: list[str] = []

    async def late() -> None:
        log.append("begins")
        await gort.gosched()
        log.append("goes on")

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with gort.timeout(-1):
                await late()

    run(main)
    assert log == ["begins"]


# ---- exceptions that meet ---------------------------------------------------------------------------------------------


def test_what_was_handled_is_told_with_the_timeout(run: Run) -> None:
    """TimeoutError, caused by Cancelled, raised in the handling of what the block was about."""

    async def main() -> None:
        async with gort.timeout(0.01):
            try:
                raise ZeroDivisionError
            finally:
                await for_ever()

    with pytest.raises(TimeoutError) as caught:
        run(main)
    cancelled = caught.value.__cause__
    assert isinstance(cancelled, Cancelled)
    assert cancelled.__cause__ is None
    assert isinstance(cancelled.__context__, ZeroDivisionError)


@pytest.mark.parametrize("make", [gort.timeout, gort.move_on_after])
def test_a_cleanup_that_fails_replaces_the_timeout(run: Run, make: Callable[[float], gort.CancelScope]) -> None:
    async def main() -> None:
        scope = make(0.01)
        try:
            async with scope:
                try:
                    await for_ever()
                finally:
                    raise ZeroDivisionError
        finally:
            assert scope.expired()
            assert not scope.cancelled_caught
            await gort.gosched()  # nothing is pending

    with pytest.raises(ZeroDivisionError) as caught:
        run(main)
    assert caught.value.__cause__ is None
    assert isinstance(caught.value.__context__, Cancelled)
    assert "gort.timeout" in str(caught.value.__context__) or make is gort.move_on_after


def test_an_exception_group_in_a_cancelled_block_passes(run: Run) -> None:
    async def main() -> None:
        async with gort.move_on_after(None) as scope:
            scope.cancel()
            try:
                raise ExceptionGroup("two", [ValueError(), KeyError()])
            finally:
                assert not scope.cancelled_caught

    with pytest.raises(ExceptionGroup, match="two"):
        run(main)


def test_a_cancellation_of_the_goroutine_is_no_timeout(run: Run) -> None:
    seen: list[gort.CancelScope] = []

    async def member() -> None:
        async with gort.timeout(3600) as scope:
            seen.append(scope)
            await for_ever()

    async def main() -> None:
        async with gort.Group() as group:
            h = group.go(member)
            await parked(1, "chan receive")
            h.cancel()
        assert type(h.exception()) is Cancelled
        assert not seen[0].expired()
        assert not seen[0].cancel_called

    run(main)


def test_a_timeout_in_the_cleanup_after_a_timeout(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError) as outer:
            async with gort.timeout(0.01):
                try:
                    await for_ever()
                finally:
                    with pytest.raises(TimeoutError) as inner:
                        async with gort.timeout(0.01):
                            await for_ever()
        first, second = outer.value.__cause__, inner.value.__cause__
        assert isinstance(first, Cancelled)
        assert isinstance(second, Cancelled)
        assert second.__context__ is first
        assert first.__context__ is None

    run(main)


@pytest.mark.parametrize("again", [False, True])
def test_a_timeout_after_a_swallowed_cancellation(run: Run, again: bool) -> None:
    """It works as ever; a second cancellation passes through it."""
    inside: list[int] = []
    log: list[str] = []

    async def member() -> None:
        try:
            await for_ever()
        except Cancelled:
            pass
        try:
            async with gort.timeout(3600 if again else 0.01):
                inside.append(1)
                await for_ever()
        except TimeoutError:
            log.append("timeout")

    async def main() -> None:
        async with gort.Group() as group:
            h = group.go(member)
            await parked(1, "chan receive")
            h.cancel()
            if again:
                await until(lambda: inside)
                h.cancel()
        assert type(h.exception()) is (Cancelled if again else type(None))

    run(main)
    assert log == ([] if again else ["timeout"])


@pytest.mark.parametrize("inner", [False, True])
def test_what_is_being_handled_outlives_a_cancelled_await(run: Run, inner: bool) -> None:
    """A bare raise after it raises what it would have raised."""

    async def waits() -> None:
        async with gort.move_on_after(0.01):
            await for_ever()

    async def main() -> None:
        try:
            raise KeyError("mine")
        except KeyError:
            if inner:
                await waits()
            else:
                async with gort.move_on_after(0.01):
                    await for_ever()
            raise

    with pytest.raises(KeyError, match="mine") as caught:
        run(main)
    assert caught.value.__context__ is None


# ---- the deadline -----------------------------------------------------------------------------------------------------


def test_the_time_begins_with_the_call(run: Run) -> None:
    """As in asyncio; in trio it begins with the block."""

    async def main() -> None:
        before = time.monotonic()
        scope = gort.timeout(5)
        after = time.monotonic()
        deadline = scope.deadline
        assert before + 5 <= deadline <= after + 5
        async with scope:
            assert scope.deadline == deadline
        assert gort.timeout(None).deadline == math.inf

    run(main)


def test_another_goroutine_moves_the_deadline(run: Run) -> None:
    async def later(scope: gort.CancelScope, when: float) -> None:
        scope.deadline = when

    async def main() -> None:
        async with gort.timeout(3600) as scope:
            async with gort.Group() as group:
                group.go(later, scope, math.inf)
            async with gort.Group() as group:
                group.go(later, scope, time.monotonic() + 7200)
            assert not scope.cancel_called
        with pytest.raises(TimeoutError):
            async with gort.timeout(3600) as scope:
                gort.go(later, scope, 0)
                await for_ever()

    run(main)


@pytest.mark.parametrize("ended_by", ["end", "deadline"])
def test_a_deadline_that_is_moved_after_the_block_arms_nothing(run: Run, ended_by: str) -> None:
    """A timer that is left would hide the deadlock for an hour."""

    async def main() -> None:
        async with gort.move_on_after(3600) as scope:
            if ended_by == "deadline":
                scope.deadline = 0
                await for_ever()
        scope.deadline = time.monotonic() + 3600
        assert scope.expired() == scope.cancelled_caught == (ended_by == "deadline")
        await for_ever()

    with pytest.raises(gort.Deadlock):
        run(main)


def test_a_deadline_that_is_moved_often_is_one_timer(run: Run) -> None:
    async def main() -> None:
        async with gort.timeout(None) as scope:
            for i in range(2000):
                scope.deadline = time.monotonic() + 3600 + i % 7
            await gort.gosched()
        await for_ever()

    with pytest.raises(gort.Deadlock):
        run(main)


def test_many_threads_move_a_deadline_while_its_block_ends() -> None:
    """No timer is left, and none is armed twice."""

    async def mover(scope: gort.CancelScope, stop: list[int]) -> None:
        while not stop:
            scope.deadline = time.monotonic() + 3600
            await gort.gosched()

    async def main() -> None:
        for _ in range(50):
            stop: list[int] = []
            async with gort.Group() as group:
                async with gort.timeout(3600) as scope:
                    for _ in range(3):
                        group.go(mover, scope, stop)
                    for _ in range(5):
                        await gort.gosched()
                for _ in range(3):
                    await gort.gosched()
                stop.append(1)
        await for_ever()

    with pytest.raises(gort.Deadlock):
        gort.run(main, procs=4)


def test_the_goroutine_ends_its_block_before_the_other_thread_is_back(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs as soon as it has been woken. Its block knows by then that the deadline has ended it."""
    left = threading.Event()
    real = scope_module.handoff.cancel_scope

    def slow(scope: Any, exc: BaseException) -> bool:
        done = bool(real(scope, exc))
        assert left.wait(PATIENCE_S)
        return done

    async def main() -> None:
        scope = gort.timeout(3600)
        thread = threading.Thread(target=setattr, args=(scope, "deadline", 0))
        with pytest.raises(TimeoutError):
            try:
                async with scope:
                    thread.start()
                    await for_ever()
            finally:
                left.set()
        await gort.blocking(thread.join)
        assert scope.expired()

    monkeypatch.setattr(scope_module.handoff, "cancel_scope", slow)
    run(main)


def test_what_a_block_says_of_itself(run: Run) -> None:
    async def main() -> None:
        scope = gort.timeout(None)
        assert "timeout(None): no deadline" in repr(scope)
        scope.deadline = time.monotonic() + 10
        assert "s at" in repr(scope)
        async with scope:
            scope.cancel()
            assert ", cancelled" in repr(scope)
        assert "move_on_after(3600): +3" in repr(gort.move_on_after(3600))
        assert "shield()" in repr(gort.shield())

    run(main)


# ---- entered, left ----------------------------------------------------------------------------------------------------


def test_a_block_is_entered_by_one_goroutine(run: Run) -> None:
    async def enters(scope: gort.CancelScope) -> None:
        async with scope:
            await for_ever()

    async def main() -> None:
        scope = gort.move_on_after(None)
        async with gort.Group() as group:
            group.go(enters, scope)
            await parked(1, "chan receive")
            with pytest.raises(RuntimeError, match="entered once"):
                async with scope:
                    pass
            scope.cancel()
        async with gort.move_on_after(None) as scope:
            with pytest.raises(RuntimeError, match="entered once"):
                async with scope:
                    pass
            scope.cancel()
            await for_ever()
        assert scope.cancelled_caught

    run(main)


def test_the_outer_block_is_left_first(run: Run) -> None:
    """The inner one still works, and what the outer one had pending is withdrawn."""

    async def main() -> None:
        stack = contextlib.ExitStack()
        outer = stack.enter_context(gort.move_on_after(3600))
        async with gort.move_on_after(None) as inner:
            outer.cancel()
            stack.close()
            await gort.gosched()
            inner.cancel()
            await for_ever()
        assert inner.cancelled_caught
        assert not outer.cancelled_caught
        await gort.gosched()

    run(main)


def test_a_block_that_another_goroutine_leaves(run: Run) -> None:
    seen: list[gort.CancelScope] = []

    async def member(ch: gort.Chan[int]) -> int:
        async with gort.move_on_after(3600) as scope:
            seen.append(scope)
            return await ch.recv()
        raise AssertionError

    async def main() -> int:
        ch: gort.Chan[int] = gort.Chan()
        async with gort.Group() as group:
            h = group.go(member, ch)
            await parked(1, "chan receive")
            seen[0].__exit__(None, None, None)
            seen[0].cancel()
            await ch.send(7)
        return h.result()

    assert run(main) == 7


def test_very_many_blocks_in_each_other(run: Run) -> None:
    async def main() -> None:
        with contextlib.ExitStack() as stack:
            outer = stack.enter_context(gort.move_on_after(None))
            for _ in range(5000):
                stack.enter_context(gort.move_on_after(None))
            outer.cancel()
            await for_ever()
        assert outer.cancelled_caught
        await gort.gosched()

    run(main)


def test_a_plain_function_has_blocks_too(run: Run) -> None:
    def plain() -> str:
        ch: gort.Chan[int] = gort.Chan()
        with gort.move_on_after(0.01) as scope:
            gort.wait(ch.recv())
        assert scope.cancelled_caught
        with pytest.raises(TimeoutError), gort.timeout(0):
            gort.wait(ch.recv())
        return "goes on"

    async def main() -> str:
        async with gort.Group() as group:
            h = group.go(plain)
        return h.result()

    assert run(main) == "goes on"
