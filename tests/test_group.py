"""Group: waits for all, the first failure cancels the rest, results and errors, limits, misuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import gort
from gort import Cancelled, Group
from support import ended, parked, send

Run = Callable[..., Any]


async def number(n: int) -> int:
    await gort.gosched()
    return n


async def fail(exc: BaseException) -> None:
    await gort.gosched()
    raise exc


async def for_ever(log: list[str] | None = None) -> None:
    try:
        await gort.sleep(3600)
    finally:
        if log is not None:
            log.append("finally")


def test_waits_for_all_and_gives_results(run: Run) -> None:
    async def main() -> list[int]:
        async with Group() as group:
            handles = [group.go(number, i) for i in range(100)]
        assert all(h.done for h in handles)
        assert all(h.exception() is None for h in handles)
        return [h.result() for h in handles]

    assert run(main) == list(range(100))


def test_arguments_and_plain_functions(run: Run) -> None:
    """async def and plain functions, positional and keyword arguments."""

    def plain(a: int, *, b: int) -> int:
        return a * b

    async def coro(a: int, *, b: int) -> int:
        return a + b

    async def main() -> tuple[int, int]:
        async with Group() as group:
            one = group.go(plain, 3, b=4)
            two = group.go(coro, 3, b=4)
        return one.result(), two.result()

    assert run(main) == (12, 7)


def test_members_may_add_members(run: Run) -> None:
    async def main() -> int:
        seen: list[int] = []

        async def tree(group: Group, depth: int) -> None:
            seen.append(depth)
            if depth:
                group.go(tree, group, depth - 1)
                group.go(tree, group, depth - 1)

        async with Group() as group:
            group.go(tree, group, 6)
        return len(seen)

    assert run(main) == 2**7 - 1


def test_empty_group(run: Run) -> None:
    async def main() -> str:
        async with Group():
            pass
        return "done"

    assert run(main) == "done"


def test_first_failure_cancels_the_rest(run: Run) -> None:
    """`finally` of all others runs before the group is left; the error comes in an ExceptionGroup."""
    log: list[str] = []

    async def main() -> None:
        async with Group() as group:
            for _ in range(10):
                group.go(for_ever, log)
            await parked(10, "sleep")
            group.go(fail, ValueError("first"))

    with pytest.raises(ExceptionGroup) as info:
        run(main)
    assert [repr(e) for e in info.value.exceptions] == ["ValueError('first')"]
    assert log == ["finally"] * 10


def test_several_failures_are_all_there(run: Run) -> None:
    """Errors raised while unwinding are kept beside the first; Cancelled is no error."""

    async def fails_when_cancelled() -> None:
        try:
            await gort.sleep(3600)
        finally:
            raise KeyError("while unwinding")

    async def main() -> None:
        async with Group() as group:
            group.go(fails_when_cancelled)
            group.go(for_ever)
            await parked(2, "sleep")
            group.go(fail, ValueError("first"))

    with pytest.raises(ExceptionGroup) as info:
        run(main)
    assert sorted(type(e).__name__ for e in info.value.exceptions) == ["KeyError", "ValueError"]


def test_except_star(run: Run) -> None:
    async def main() -> list[str]:
        seen = []
        try:
            async with Group() as group:
                group.go(fail, ValueError("v"))
        except* ValueError as caught:
            seen.append(repr(caught.exceptions[0]))
        return seen

    assert run(main) == ["ValueError('v')"]


def test_an_error_in_the_body_cancels_the_members(run: Run) -> None:
    log: list[str] = []

    async def main() -> None:
        async with Group() as group:
            group.go(for_ever, log)
            await parked(1, "sleep")
            raise ValueError("body")

    with pytest.raises(ExceptionGroup) as info:
        run(main)
    assert [repr(e) for e in info.value.exceptions] == ["ValueError('body')"]
    assert log == ["finally"]


def test_a_failure_wakes_the_body(run: Run) -> None:
    """A member's failure cancels what the body waits for, too."""

    async def main() -> None:
        ch: gort.Chan[int] = gort.Chan()
        async with Group() as group:
            group.go(fail, ValueError("member"))
            await ch.recv()

    with pytest.raises(ExceptionGroup) as info:
        run(main)
    assert [repr(e) for e in info.value.exceptions] == ["ValueError('member')"]


def test_a_failing_member_is_no_panic(run: Run) -> None:
    """Other goroutines of the program go on after a group has failed."""

    async def main() -> str:
        ch: gort.Chan[str] = gort.Chan()
        gort.go(send, ch, "alive")
        with pytest.raises(ExceptionGroup):
            async with Group() as group:
                group.go(fail, ValueError())
        return await ch.recv()

    assert run(main) == "alive"


def test_failure_of_an_inner_group_reaches_the_outer(run: Run) -> None:
    log: list[str] = []

    async def inner() -> None:
        async with Group() as group:
            group.go(for_ever, log)
            await parked(2, "sleep")
            group.go(fail, ValueError("deep"))

    async def main() -> None:
        async with Group() as group:
            group.go(for_ever, log)
            group.go(inner)

    with pytest.raises(ExceptionGroup) as info:
        run(main)
    (nested,) = info.value.exceptions
    assert isinstance(nested, ExceptionGroup)
    assert repr(nested.exceptions[0]) == "ValueError('deep')"
    assert log == ["finally"] * 2


def test_cancelling_a_member_that_has_a_group_cancels_that_group(run: Run) -> None:
    log: list[str] = []

    async def inner() -> None:
        async with Group() as group:
            for _ in range(5):
                group.go(for_ever, log)

    async def main() -> None:
        async with Group() as group:
            handle = group.go(inner)
            await parked(5, "sleep")
            handle.cancel()
        assert isinstance(handle.exception(), Cancelled)

    run(main)
    assert log == ["finally"] * 5


def test_group_cancel_ends_it_without_an_error(run: Run) -> None:
    log: list[str] = []

    async def main() -> str:
        async with Group() as group:
            handles = [group.go(for_ever, log) for _ in range(5)]
            await parked(5, "sleep")
            group.cancel()
        for h in handles:
            with pytest.raises(Cancelled):
                h.result()
        return "left"

    assert run(main) == "left"
    assert log == ["finally"] * 5


def test_cancelling_one_member_leaves_the_others(run: Run) -> None:
    async def main() -> int:
        async with Group() as group:
            one = group.go(for_ever)
            two = group.go(number, 2)
            await parked(1, "sleep")
            one.cancel()
        assert isinstance(one.exception(), Cancelled)
        return two.result()

    assert run(main) == 2


@pytest.mark.parametrize("limit", [1, 3])
def test_limit(run: Run, limit: int) -> None:
    """No more than `limit` members run at once, and all of them get their turn."""

    async def main() -> tuple[int, int]:
        now = most = 0
        lock = gort.sync.Mutex()

        async def member() -> None:
            nonlocal now, most
            async with lock:
                now += 1
                most = max(most, now)
            for _ in range(5):
                await gort.gosched()
            while most < limit:  # on several threads members would end as fast as they are started
                await gort.gosched()
            async with lock:
                now -= 1

        async with Group(limit=limit) as group:
            handles = [group.go(member) for _ in range(20)]
        return most, sum(h.done for h in handles)

    assert run(main) == (limit, 20)


def test_limit_and_failure(run: Run) -> None:
    """Members that wait for their turn when another fails never run."""
    ran: list[int] = []

    async def member(i: int) -> None:
        ran.append(i)
        await gort.gosched()
        if i == 0:
            raise ValueError
        await gort.sleep(3600)

    async def main() -> None:
        async with Group(limit=2) as group:
            for i in range(10):
                group.go(member, i)

    with pytest.raises(ExceptionGroup):
        gort.run(main, procs=1)
    assert len(ran) < 10


def test_result_before_the_end_is_refused(run: Run) -> None:
    async def main() -> None:
        async with Group() as group:
            handle = group.go(for_ever)
            assert not handle.done
            with pytest.raises(RuntimeError, match=r"(?i)not (yet )?(done|finished|ended)|still"):
                handle.result()
            group.cancel()

    run(main)


def test_result_raises_what_the_member_raised(run: Run) -> None:
    async def main() -> None:
        handle = None
        with pytest.raises(ExceptionGroup):
            async with Group() as group:
                handle = group.go(fail, ValueError("mine"))
        assert handle is not None
        assert repr(handle.exception()) == "ValueError('mine')"
        with pytest.raises(ValueError, match="mine"):
            handle.result()

    run(main)


def test_go_after_the_end_is_refused(run: Run) -> None:
    """A group used after its `async with` says so, and the function is not run."""
    ran: list[int] = []

    async def main() -> None:
        async with Group() as group:
            pass
        with pytest.raises(RuntimeError, match=r"(?i)group"):
            group.go(ran.append, 1)
        for _ in range(3):
            await gort.gosched()

    run(main)
    assert ran == []


def test_go_before_async_with_is_refused(run: Run) -> None:
    async def main() -> None:
        group = Group()
        with pytest.raises(RuntimeError, match="async with"):
            group.go(number, 1)

    run(main)


@pytest.mark.parametrize("limit", [0, -1])
def test_limit_must_be_positive(limit: int) -> None:
    with pytest.raises(ValueError, match="limit"):
        Group(limit=limit)


def test_tracebacks_of_members_are_whole(run: Run) -> None:
    """The ExceptionGroup's member names the frames in which it was raised."""

    async def deep() -> None:
        await gort.gosched()
        raise ValueError("deep")

    async def shallow() -> None:
        await deep()

    async def main() -> None:
        async with Group() as group:
            group.go(shallow)

    with pytest.raises(ExceptionGroup) as info:
        run(main)
    names = []
    tb = info.value.exceptions[0].__traceback__
    while tb:
        names.append(tb.tb_frame.f_code.co_name)
        tb = tb.tb_next
    assert names[-2:] == ["shallow", "deep"]


def test_handle_done_is_seen_by_a_waiter(run: Run) -> None:
    """`done` turns true without the group being left."""

    async def main() -> int:
        async with Group() as group:
            handle = group.go(number, 3)
            await ended(handle)
            return handle.result()

    assert run(main) == 3


def test_a_refused_go_is_no_error_beside_the_failure_that_led_to_it(run: Run) -> None:
    """On several threads a member can fail before the body has started the next one."""
    error = ValueError("the failure")

    async def fails() -> None:
        raise error

    async def starts(group: gort.Group) -> None:
        try:
            await gort.Chan[None]().recv()
        finally:
            group.go(fails)

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as told:
            async with gort.Group() as group:
                group.go(starts, group)
                group.go(fails)
                await starts(group)
        assert told.value.exceptions == (error,)
        with pytest.raises(ExceptionGroup) as told:
            async with gort.Group() as group:
                group.cancel()
                group.go(fails)
        assert [str(e) for e in told.value.exceptions] == ["Group.go: the group has been cancelled"]

    run(main)
