"""Groups: cancelled from outside, nested, left without an end; failures that meet a cancellation; what groups and
other blocks keep.

docs/cancellation-cases.md says which cases of CPython's and trio's own tests are shown here.
"""

from __future__ import annotations

import contextlib
import gc
import warnings
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import gort
from gort import Cancelled
from support import GIL, ended, fail, for_ever, freed, parked, until

Run = Callable[..., Any]


class Own(Exception):
    pass


class OwnBase(BaseException):
    pass


async def fails_as_it_cleans_up(exc: BaseException) -> None:
    try:
        await for_ever()
    finally:
        raise exc


def kinds(exc: BaseException) -> Any:
    """The tree of an ExceptionGroup: the names of the classes, sorted."""
    if isinstance(exc, BaseExceptionGroup):
        return sorted((kinds(e) for e in exc.exceptions), key=str)
    return type(exc).__name__


# ---- cancelled from outside -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("members", [0, 5])
@pytest.mark.parametrize("waits", [False, True], ids=["at its end", "in the body"])
def test_the_goroutine_of_a_group_is_cancelled(run: Run, waits: bool, members: int) -> None:
    """The members and the body are cancelled, and Cancelled passes as it is."""
    log: list[str] = []

    async def member() -> None:
        try:
            await for_ever()
        finally:
            log.append("member")

    async def runner() -> None:
        async with gort.Group() as group:
            for _ in range(members):
                group.go(member)
            if waits or not members:
                try:
                    await for_ever()
                except Cancelled:
                    log.append("body")
                    raise
        log.append("goes on")

    async def main() -> None:
        async with gort.Group() as group:
            h = group.go(runner)
            await parked(members + (waits or not members), "chan receive")
            await until(lambda: waits or not members or "sync.WaitGroup.Wait" in gort.runtime.stack(all=True))
            h.cancel()
        assert type(h.exception()) is Cancelled

    run(main)
    assert sorted(log) == ["body"] * (waits or not members) + ["member"] * members


def test_cancelling_a_group_reaches_the_members_of_the_groups_in_it(run: Run) -> None:
    log: list[str] = []

    async def leaf(name: str) -> None:
        try:
            await for_ever()
        finally:
            log.append(name)

    async def worker(name: str) -> None:
        async with gort.Group() as group:
            group.go(leaf, name + "1")
            group.go(leaf, name + "2")

    async def main() -> None:
        async with gort.Group() as group:
            group.go(worker, "a")
            group.go(worker, "b")
            await parked(4, "chan receive")
            group.cancel()

    run(main)
    assert sorted(log) == ["a1", "a2", "b1", "b2"]


@pytest.mark.parametrize("outer_members", [0, 1])
def test_members_that_fail_when_nested_groups_are_cancelled(run: Run, outer_members: int) -> None:
    """Each group adds its level."""

    async def runner() -> None:
        async with gort.Group() as outer:
            for _ in range(outer_members):
                outer.go(for_ever)
            async with gort.Group() as inner:
                for _ in range(3):
                    inner.go(fails_as_it_cleans_up, Own())
                await for_ever()

    async def main() -> BaseException | None:
        with pytest.raises(BaseExceptionGroup):
            async with gort.Group() as group:
                h = group.go(runner)
                await parked(4 + outer_members, "chan receive")
                h.cancel()
        return h.exception()

    assert kinds(run(main)) == [["Own"] * 3]


@pytest.mark.parametrize(("where", "tree"), [("outer", ["Own"]), ("inner", [["Own"]])])
def test_a_failure_beside_a_nested_group_and_in_it(run: Run, where: str, tree: Any) -> None:
    """A failure of the outer group ends the inner one, which adds nothing."""

    async def main() -> None:
        async with gort.Group() as outer, gort.Group() as inner:
            (inner if where == "outer" else outer).go(for_ever)
            await parked(1, "chan receive")
            (outer if where == "outer" else inner).go(fail, Own())

    with pytest.raises(BaseExceptionGroup) as caught:
        run(main)
    assert kinds(caught.value) == tree


def test_a_member_fails_while_the_cancelled_body_cleans_up(run: Run) -> None:
    """The failure is raised, and the cancellation from outside comes at the next await."""
    log: list[str] = []

    async def runner(go: gort.Chan[None]) -> None:
        async def member() -> None:
            try:
                await for_ever()
            finally:
                async with gort.shield():
                    await go.recv()
                    raise Own

        try:
            async with gort.Group() as group:
                h = group.go(member)
                try:
                    await for_ever()
                except Cancelled:
                    h.cancel()
                    await go.send(None)
                    await ended(h)
                    raise
        except* Own:
            log.append("failed")
        await gort.gosched()
        log.append("goes on")

    async def main() -> None:
        async with gort.Group() as group:
            h = group.go(runner, gort.Chan())
            await parked(2, "chan receive")
            h.cancel()
        assert type(h.exception()) is Cancelled

    run(main)
    assert log == ["failed"]


def test_the_body_raises_something_else_in_place_of_its_cancellation(run: Run) -> None:
    async def runner() -> None:
        async with gort.Group():
            try:
                await for_ever()
            except Cancelled:
                raise Own from None

    async def main() -> BaseException | None:
        with pytest.raises(BaseExceptionGroup):
            async with gort.Group() as group:
                h = group.go(runner)
                await parked(1, "chan receive")
                h.cancel()
        return h.exception()

    assert kinds(run(main)) == ["Own"]


# ---- several failures -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("member", [Own, OwnBase])
@pytest.mark.parametrize("body", [ValueError, OwnBase, StopIteration, StopAsyncIteration])
def test_the_body_fails_as_it_cleans_up_after_a_member(run: Run, member: Any, body: Any) -> None:
    """All are told, and nothing is pending after the group."""

    async def main() -> None:
        with pytest.raises(BaseExceptionGroup) as caught:
            async with gort.Group() as group:
                group.go(fail, member())
                try:
                    await for_ever()
                finally:
                    raise body
        assert kinds(caught.value) == sorted([member.__name__, body.__name__])
        await gort.gosched()

    run(main)


@pytest.mark.parametrize("first", ["member", "body"])
@pytest.mark.parametrize("exit_", [KeyboardInterrupt, SystemExit])
def test_an_exit_comes_out_as_it_is_with_the_failures_as_its_cause(run: Run, first: str, exit_: Any) -> None:
    async def main() -> None:
        async with gort.Group() as group:
            group.go(fail, exit_() if first == "member" else Own())
            try:
                await for_ever()
            finally:
                raise Own if first == "member" else exit_

    with pytest.raises(exit_) as caught:
        run(main)
    assert kinds(caught.value.__cause__ or OwnBase()) == ["Own"]


def test_a_members_stop_async_iteration_is_a_failure_like_others(run: Run) -> None:
    async def main() -> None:
        async with gort.Group() as group:
            group.go(fail, StopAsyncIteration())

    with pytest.raises(BaseExceptionGroup) as caught:
        run(main)
    assert kinds(caught.value) == ["StopAsyncIteration"]


def test_members_that_start_members_for_ever_end_with_a_failure(run: Run) -> None:
    """Those that ask for one more after the failure are refused."""
    count: list[int] = []

    async def hydra(group: gort.Group) -> None:
        count.append(1)
        await gort.gosched()
        group.go(hydra, group)

    async def hercules() -> None:
        await until(lambda: len(count) > 10)
        raise Own

    async def main() -> None:
        async with gort.Group() as group:
            group.go(hydra, group)
            group.go(hercules)

    with pytest.raises(BaseExceptionGroup) as caught:
        run(main)
    assert {"Own"} <= set(kinds(caught.value)) <= {"Own", "RuntimeError"}


@pytest.mark.parametrize("limit", [None, 1])
def test_a_group_that_has_failed_takes_no_members(run: Run, limit: int | None) -> None:
    """They never start, and there is no warning of a coroutine that was never awaited."""

    async def never() -> None:
        raise AssertionError

    async def main() -> None:
        with pytest.raises(BaseExceptionGroup) as caught:
            async with gort.Group(limit) as group:
                group.go(fail, Own())
                try:
                    await for_ever()
                except Cancelled:
                    with pytest.raises(RuntimeError, match="has been cancelled"):
                        group.go(never)
                    raise
        assert kinds(caught.value) == ["Own"]
        with pytest.raises(RuntimeError, match="has ended"):
            group.go(never)
        gc.collect()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(main)


def test_what_awaits_another_runtime_is_a_failure_like_others(run: Run) -> None:
    asyncio = pytest.importorskip("asyncio")

    async def main() -> None:
        async with gort.Group() as group:
            group.go(for_ever)
            loop = asyncio.new_event_loop()
            try:
                await loop.create_future()
            finally:
                loop.close()

    with pytest.raises(BaseExceptionGroup) as caught:
        run(main)
    assert "asyncio" in str(caught.value.exceptions[0])


def test_members_that_give_way_take_turns(run1: Run) -> None:
    log: list[tuple[int, str]] = []

    async def member(name: str) -> None:
        for i in range(3):
            log.append((i, name))
            await gort.gosched()

    async def main() -> None:
        async with gort.Group() as group:
            group.go(member, "a")
            group.go(member, "b")

    run1(main)
    assert [i for i, _ in log] == [0, 0, 1, 1, 2, 2]


# ---- await h ----------------------------------------------------------------------------------------------------------


def test_a_timeout_around_await_h_leaves_the_member_alone(run: Run) -> None:
    async def member(ch: gort.Chan[int]) -> int:
        return await ch.recv()

    async def main() -> int:
        ch: gort.Chan[int] = gort.Chan()
        async with gort.Group() as group:
            h = group.go(member, ch)
            async with gort.move_on_after(0.01) as scope:
                await h
            assert scope.cancelled_caught
            assert not h.done
            await ch.send(7)
            return await h

    assert run(main) == 7


def test_await_h_raises_what_the_member_raised(run: Run) -> None:
    """Cancelled, too: then it is not the waiter that was cancelled."""

    async def main() -> None:
        async with gort.Group() as group:
            h = group.go(for_ever)
            await parked(1, "chan receive")
            h.cancel()
            with pytest.raises(Cancelled):
                await h
            await gort.gosched()
        with pytest.raises(BaseExceptionGroup):
            async with gort.Group() as group:
                h = group.go(fail, Own())
                with gort.shield(), pytest.raises(Own):
                    await h

    run(main)


# ---- entered and not left ---------------------------------------------------------------------------------------------


def test_a_group_outside_a_goroutine() -> None:
    group = gort.Group()
    with pytest.raises(RuntimeError, match="outside a running gort runtime"):
        group.__aenter__().send(None)
    with pytest.raises(RuntimeError, match="outside a running gort runtime"):
        group.go(for_ever)


def test_groups_in_a_cancelled_block(run: Run) -> None:
    """The end of a group looks for a cancellation, whether there are members or not. What fails is told."""

    async def nothing() -> None:
        pass

    async def main() -> None:
        for members in range(2):
            async with gort.move_on_after(None) as scope:
                scope.cancel()
                async with gort.Group() as group:
                    for _ in range(members):
                        group.go(nothing)
            assert scope.cancelled_caught
        with pytest.raises(BaseExceptionGroup) as caught:
            async with gort.move_on_after(None) as scope:
                scope.cancel()
                async with gort.Group():
                    raise Own
        assert kinds(caught.value) == ["Own"]
        assert not scope.cancelled_caught
        await gort.gosched()

    run(main)


def test_the_goroutine_ends_and_has_not_left_its_group(run: Run) -> None:
    """Its members go on, and end with the program."""
    log: list[str] = []

    async def member() -> None:
        try:
            await for_ever()
        finally:
            log.append("closed")

    async def leaves() -> gort.Group:
        group = gort.Group()
        await group.__aenter__()
        group.go(member)
        return group

    async def main() -> None:
        async with gort.Group() as group:
            h = group.go(leaves)
        await parked(1, "chan receive")
        h.result().cancel()
        await until(lambda: log)
        async with gort.Group() as group:
            h = group.go(leaves)
        await parked(1, "chan receive")

    run(main)
    assert log == ["closed"] * 2


def test_the_outer_group_ends_first(run: Run) -> None:
    """Nobody is confused: the inner group can still be left, and its members and its body cancelled."""

    async def main() -> None:
        inner = gort.Group()
        async with gort.Group() as outer:
            outer.go(gort.sleep, 0)
            await inner.__aenter__()
            h = inner.go(for_ever)
        await parked(1, "chan receive")
        with pytest.raises(BaseExceptionGroup) as caught:
            try:
                inner.go(fail, Own())
                await for_ever()
            except Cancelled as e:
                await inner.__aexit__(type(e), e, e.__traceback__)
        assert kinds(caught.value) == ["Own"]
        assert isinstance(h.exception(), Cancelled)
        await gort.gosched()

    run(main)


# ---- what is kept -----------------------------------------------------------------------------------------------------


def test_a_group_keeps_no_member_that_has_ended(run: Run) -> None:
    class Result:
        pass

    async def member() -> Result:
        return Result()

    async def main() -> None:
        async with gort.Group() as group:
            h = group.go(member)
            await ended(h)
            handle, result = weakref.ref(h), weakref.ref(h.result())
            del h
            for _ in range(10):  # whoever ended it may still have it in hand
                await gort.gosched()
            gc.collect()
            await until(lambda: freed(handle, result))

    run(main)


def test_the_locals_of_a_cancelled_member_are_freed_with_it(run1: Run) -> None:
    class Local:
        pass

    kept: list[weakref.ref[Local]] = []

    async def member() -> None:
        local = Local()
        kept.append(weakref.ref(local))
        await for_ever()

    async def main() -> None:
        async with gort.Group() as group:
            group.go(member)
            await parked(1, "chan receive")
            group.cancel()
        if GIL:
            assert kept[0]() is None
        await until(lambda: freed(*kept))  # without the GIL another thread may still have it in hand

    gc.disable()
    try:
        run1(main)
    finally:
        gc.enable()


async def _cancels() -> None:
    async with gort.move_on_after(None) as scope:
        scope.cancel()
        await for_ever()


async def _times_out() -> None:
    with contextlib.suppress(TimeoutError):
        async with gort.timeout(0):
            await for_ever()


async def _in_time() -> None:
    async with gort.timeout(3600), gort.shield():
        await gort.gosched()


async def _cancels_a_group() -> None:
    async with gort.Group() as group:
        group.go(for_ever)
        group.cancel()


async def _fails_in_a_group() -> None:
    async def fails() -> None:
        raise ValueError

    with contextlib.suppress(BaseExceptionGroup):
        async with gort.Group() as group:
            group.go(for_ever)
            group.go(fails)
            await for_ever()


async def _fails_in_a_cancelled_block() -> None:
    with contextlib.suppress(BaseExceptionGroup):
        async with gort.move_on_after(None) as outer, gort.Group() as group:
            group.go(for_ever)
            outer.cancel()
            raise ValueError


KEPT = [_cancels, _times_out, _in_time, _cancels_a_group, _fails_in_a_group, _fails_in_a_cancelled_block]


@pytest.mark.parametrize("case", KEPT, ids=[case.__name__ for case in KEPT])
def test_blocks_and_groups_make_no_circles(run1: Run, case: Callable[[], Awaitable[None]]) -> None:
    """All goes when it is over, and nothing is left to the collector."""

    async def main() -> list[str]:
        await case()
        await gort.gosched()
        gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            await case()
            await gort.gosched()
            gc.collect()
            return [f"{type(o).__name__}: {o!r:.100}" for o in gc.garbage]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()

    gc.disable()
    try:
        assert run1(main) == []
    finally:
        gc.enable()
