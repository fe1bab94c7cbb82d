"""The rules of cancellation (docs/guide-cancellation.md): whose a Cancelled is, which comes first when there are
several, what withdraws one. Groups within groups. Timeouts and shields are in test_scopes.py.

The tests that are called test_c4_…, c9, c11, c15 and c21 hold faults that users of other runtimes have reported.
"""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable
from typing import Any

import pytest

import gort
from gort import Cancelled, sync
from support import ended, fail, for_ever, parked, program, until

Run = Callable[..., Any]


# ---- C4: a cancellation is never lost -------------------------------------------------------------------------------


def test_c4_an_inner_failure_does_not_swallow_the_outer_cancellation(run: Run) -> None:
    async def main() -> str:
        with pytest.raises(BaseExceptionGroup) as caught:
            async with gort.Group() as outer:
                try:
                    async with gort.Group() as inner:
                        inner.go(fail, ValueError("inner"))
                        outer.go(fail, KeyError("outer"))
                        await for_ever()
                except* ValueError:
                    pass
                while True:
                    await gort.gosched()
        return repr(caught.value.exceptions)

    assert "KeyError('outer')" in run(main)


def test_c4_a_cancelled_member_ends_though_its_inner_group_fails(run: Run) -> None:
    """The inner group raises its own failure in place of the Cancelled, so the Cancelled comes at the next await."""
    log: list[str] = []

    async def bad_cleanup() -> None:
        try:
            await for_ever()
        finally:
            raise ValueError("cleanup")

    async def member() -> None:
        try:
            async with gort.Group() as inner:
                inner.go(bad_cleanup)
        except* ValueError:
            log.append("inner failed")
        await gort.gosched()
        log.append("lives on")

    async def main() -> None:
        async with gort.Group() as group:
            h = group.go(member)
            await parked(1, "chan receive")
            assert h.cancel()
        with pytest.raises(Cancelled):
            h.result()

    run(main)
    assert log == ["inner failed"]


def test_c4_an_inner_kick_does_not_replace_a_pending_cancellation(run1: Run) -> None:
    """Both are pending when the member comes to its await: that of the whole goroutine is raised."""
    log: list[str] = []

    async def member(me: list[gort.Handle[None]]) -> None:
        try:
            async with gort.Group() as inner:
                inner.go(fail, ValueError("inner"))
                assert me[0].cancel()
                log.append("cancelled")
                await for_ever()
        except* ValueError:
            log.append("inner failed")
        await gort.gosched()
        log.append("lives on")

    async def main() -> None:
        me: list[gort.Handle[None]] = []
        async with gort.Group() as group:
            me.append(group.go(member, me))
        with pytest.raises(Cancelled):
            me[0].result()

    run1(main)
    assert log[0] == "cancelled"
    assert "lives on" not in log


def test_the_outermost_of_several_pending_is_raised(run1: Run) -> None:
    """Three blocks are cancelled at once: the outermost one ends, and with it the others."""
    caught: list[bool] = []

    async def main() -> None:
        async with gort.move_on_after(None) as a:
            async with gort.move_on_after(None) as b:
                async with gort.move_on_after(None) as c:
                    c.cancel()
                    b.cancel()
                    a.cancel()
                    await for_ever()
                raise AssertionError("b's block goes on")
            raise AssertionError("a's block goes on")
        caught.extend(s.cancelled_caught for s in (a, b, c))
        await gort.gosched()  # nothing is left pending

    run1(main)
    assert caught == [True, False, False]


def test_an_outer_request_while_an_inner_one_unwinds(run: Run) -> None:
    """The inner block ends with its own; the outer one's comes at the next await."""
    log: list[str] = []

    async def main() -> None:
        async with gort.move_on_after(None) as outer:
            async with gort.move_on_after(None) as inner:
                inner.cancel()
                try:
                    await for_ever()
                finally:
                    outer.cancel()
            log.append(f"inner {inner.cancelled_caught}")
            await for_ever()
        log.append(f"outer {outer.cancelled_caught}")

    run(main)
    assert log == ["inner True", "outer True"]


def test_leaving_a_block_withdraws_its_cancellation(run: Run) -> None:
    async def main() -> None:
        async with gort.move_on_after(None) as scope:
            scope.cancel()
        assert (scope.cancel_called, scope.cancelled_caught) == (True, False)
        scope.cancel()
        await gort.gosched()

    run(main)


def test_a_swallowed_cancellation_is_over(run: Run) -> None:
    """As in asyncio: who catches Cancelled and does not raise it again goes on."""

    async def main() -> int:
        async with gort.timeout(0):
            try:
                await for_ever()
            except Cancelled:
                pass
            await gort.gosched()
            return 1
        return 2

    assert run(main) == 1


def test_a_cancelled_member_may_wait_while_it_cleans_up_though_the_group_fails_again(run: Run) -> None:
    """A second failure cancels nobody a second time."""
    log: list[str] = []

    async def slow_cleanup(go: gort.Chan[None]) -> None:
        try:
            await for_ever()
        finally:
            await go.recv()
            log.append("clean")

    async def later(go: gort.Chan[None]) -> None:
        try:
            await for_ever()
        finally:
            raise KeyError("second")

    async def main() -> None:
        go: gort.Chan[None] = gort.Chan()
        with pytest.raises(BaseExceptionGroup) as caught:
            async with gort.Group() as group:
                h = group.go(slow_cleanup, go)
                second = group.go(later, go)
                await parked(2, "chan receive")
                group.go(fail, ValueError("first"))
                try:
                    await for_ever()
                except Cancelled:
                    await ended(second)
                assert not h.done
                await go.send(None)
        assert sorted(type(e).__name__ for e in caught.value.exceptions) == ["KeyError", "ValueError"]

    run(main)
    assert log == ["clean"]


def test_a_second_cancel_of_a_member_interrupts_its_cleanup(run: Run) -> None:
    log: list[str] = []

    async def member() -> None:
        try:
            await for_ever()
        finally:
            try:
                log.append("cleaning")
                await for_ever()
            except Cancelled:
                log.append("again")
                raise

    async def main() -> None:
        async with gort.Group() as group:
            h = group.go(member)
            await parked(1, "chan receive")
            h.cancel()
            await until(lambda: log)
            h.cancel()
            await ended(h)

    run(main)
    assert log == ["cleaning", "again"]


# ---- C9: finalizers and handlers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("procs", [1, 4])
def test_c9_a_finalizer_may_cancel_while_members_end(procs: int) -> None:
    """The collector runs finalizers in the middle of the group's own work, again and again."""
    done = program(
        f"""
        import gc
        gc.set_threshold(10, 2, 2)
        class Cancels:
            def __init__(self, h, group): self.h, self.group, self.me = h, group, self
            def __del__(self):
                self.h.cancel()
                assert not self.h.done or not self.h.cancel()
        async def member():
            for _ in range(3): await gort.gosched()
        async def main():
            for _ in range(300):
                async with gort.Group(limit=3) as group:
                    for _ in range(8):
                        Cancels(group.go(member), group)
            print("ends")
        gort.run(main, procs={procs})
        """
    )
    assert (done.returncode, done.stdout) == (0, "ends\n"), done.stderr


def test_c9_a_finalizer_may_start_and_cancel_from_within_an_action(run1: Run) -> None:
    """The group's action is interrupted where it stands: in the comparison of a handle, which stands for any place."""
    log: list[str] = []

    async def member(name: str) -> None:
        log.append(name)
        await gort.gosched()

    async def main() -> None:
        async with gort.Group() as group:
            real = group._live

            class Interrupted(set[Any]):
                def add(self, h: Any) -> None:
                    if not log:
                        log.append("interrupted")
                        inner = group.go(member, "from within")
                        assert not inner.done
                        inner2 = group.go(member, "cancelled")
                        assert inner2.cancel()
                    super().add(h)

            group._live = Interrupted(real)
            group.go(member, "first")
            await gort.gosched()
            assert len(group._live) <= 3
        assert not group._live

    run1(main)
    assert log[0] == "interrupted"
    assert {"first", "from within"} <= set(log)


# ---- C11: members that wait for the limit ---------------------------------------------------------------------------


def test_c11_a_queued_member_has_the_context_of_its_go_statement(run: Run) -> None:
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="none")
    seen: list[str] = []

    async def member() -> None:
        await gort.gosched()
        seen.append(var.get())

    async def main() -> None:
        async with gort.Group(limit=1) as group:
            for i in range(4):
                var.set(f"request {i}")
                group.go(member)
            var.set("later")

    run(main)
    assert seen == [f"request {i}" for i in range(4)]


def test_c11_wrong_arguments_of_a_queued_member_are_an_error_at_go(run: Run) -> None:
    async def member(x: int) -> None: ...

    async def main() -> None:
        async with gort.Group(limit=1) as group:
            group.go(for_ever)
            with pytest.raises(TypeError, match="missing 1 required positional argument"):
                group.go(member)  # type: ignore[call-arg]
            group.cancel()

    run(main)


def test_c11_a_cancelled_queued_member_is_done_before_there_is_a_slot(run: Run) -> None:
    started: list[int] = []

    def plain() -> None:
        started.append(1)

    async def main() -> None:
        async with gort.Group(limit=1) as group:
            first = group.go(for_ever)
            queued = [group.go(for_ever), group.go(plain)]
            for h in queued:
                assert h.cancel()
            await ended(*queued)
            assert not first.done
            for h in queued:
                with pytest.raises(Cancelled):
                    h.result()
            first.cancel()
            last = group.go(plain)
            await ended(last)

    run(main)
    assert started == [1]


def test_c11_a_queued_member_names_its_go_statement_in_dumps(run: Run) -> None:
    async def main() -> None:
        async with gort.Group(limit=1) as group:
            group.go(for_ever)
            group.go(for_ever)
            await parked(1, "chan receive")
            text = gort.runtime.stack(all=True)
            group.cancel()
        assert text.count("created by ") >= 2
        assert "mstart" not in text

    run(main)


# ---- C15 and others of groups ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [None, 1])
def test_c15_a_cancelled_group_takes_no_members(run: Run, limit: int | None) -> None:
    """Neither in its body nor after it."""
    refused: list[str] = []

    async def member(group: gort.Group) -> None:
        try:
            await for_ever()
        finally:
            try:
                group.go(for_ever)
            except RuntimeError as e:
                refused.append(str(e))

    async def main() -> None:
        async with gort.Group(limit) as group:
            h = group.go(member, group)

            async def cancel_later() -> None:
                await parked(1, "chan receive")
                group.cancel()

            gort.go(cancel_later)
        assert h.done
        with pytest.raises(RuntimeError, match="has ended"):
            group.go(for_ever)

    run(main)
    assert refused == ["Group.go: the group has been cancelled"]


def test_group_cancel_ends_the_body_too(run: Run) -> None:
    """As in trio, anyio and asyncio: the body gets Cancelled at its next await, and the group swallows it."""
    log: list[str] = []

    async def main() -> None:
        async with gort.Group() as group:
            group.go(for_ever)
            try:
                group.cancel()
                log.append("goes on to its await")
                await for_ever()
            except Cancelled:
                log.append("cancelled")
                raise
        log.append("after")
        await gort.gosched()

    run(main)
    assert log == ["goes on to its await", "cancelled", "after"]


def test_group_cancel_hides_no_failure(run: Run) -> None:
    async def bad_cleanup() -> None:
        try:
            await for_ever()
        finally:
            raise ValueError("cleanup")

    async def main() -> None:
        with pytest.raises(BaseExceptionGroup) as caught:
            async with gort.Group() as group:
                group.go(bad_cleanup)
                await parked(1, "chan receive")
                group.cancel()
        assert [repr(e) for e in caught.value.exceptions] == ["ValueError('cleanup')"]

    run(main)


class Own(BaseException):
    pass


def test_c21_a_base_exception_of_the_body_keeps_the_errors(run: Run) -> None:
    async def bad_cleanup() -> None:
        try:
            await for_ever()
        finally:
            raise ValueError("cleanup")

    async def main(body: BaseException) -> None:
        async with gort.Group() as group:
            group.go(bad_cleanup)
            await parked(1, "chan receive")
            raise body

    with pytest.raises(BaseExceptionGroup) as caught:
        run(main, Own("body"))
    assert [type(e) for e in caught.value.exceptions] == [Own, ValueError]
    with pytest.raises(KeyboardInterrupt) as stopped:
        run(main, KeyboardInterrupt())
    assert isinstance(stopped.value.__cause__, BaseExceptionGroup)


def test_c21_a_base_exception_of_the_body_alone_passes_as_it_is(run: Run) -> None:
    async def main() -> None:
        async with gort.Group() as group:
            group.go(for_ever)
            raise Own("body")

    with pytest.raises(Own):
        run(main)


# ---- names ------------------------------------------------------------------------------------------------------------


def test_names_of_members_and_groups_are_in_dumps(run: Run) -> None:
    async def main() -> None:
        async with gort.Group(name='the "crawl"\n') as group, gort.Group() as other:
            a, b, c, d = group.go(for_ever), group.go(for_ever), other.go(for_ever), other.go(for_ever)
            assert a.name == "for_ever"
            a.name = "first"
            c.name = "third"
            await parked(4, "chan receive")
            text = gort.runtime.stack(all=True)
            assert '[chan receive] {name: first, group: "the \\"crawl\\"\\n"}:' in text
            assert '[chan receive] {group: "the \\"crawl\\"\\n"}:' in text
            assert "[chan receive] {name: third}:" in text
            assert text.count("[chan receive]:") == 1
            assert repr(a).startswith("<gort.Handle first running at 0x")
            group.cancel()
            other.cancel()
        assert "for_ever ended" in repr(b)
        with pytest.raises(TypeError, match="a name is a str"):
            d.name = 3  # type: ignore[assignment]
        with pytest.raises(TypeError, match="a name is a str"):
            gort.Group(name=3)  # type: ignore[arg-type]

    run(main)


@pytest.mark.parametrize("cancelled_first", [False, True])
def test_c11_after_func_of_a_context_sees_the_values_of_where_it_was_registered(
    run: Run, cancelled_first: bool
) -> None:
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="none")
    seen: list[str] = []

    async def main() -> None:
        ctx, cancel = gort.context.with_cancel(gort.context.background())
        var.set("registered")
        if cancelled_first:
            cancel()
        gort.context.after_func(ctx, lambda: seen.append(var.get()))
        var.set("cancelled")
        cancel()
        await until(lambda: seen)

    run(main)
    assert seen == ["registered"]


@pytest.mark.parametrize(
    "lock",
    [sync.Mutex, sync.Semaphore, lambda: sync.RWMutex().reader(), lambda: sync.RWMutex().writer()],
    ids=["Mutex", "Semaphore", "reader", "writer"],
)
def test_leaving_a_lock_raises_no_cancellation(run1: Run, lock: Callable[[], Any]) -> None:
    """What the block has read would be lost: a timeout that came between the read and the end of the block took bytes of
    a TLS connection along.  The next operation raises it."""
    got: list[str] = []

    async def member() -> None:
        async with lock():
            got.append("cancelled")
            h.cancel()
        got.append("read")
        await gort.gosched()
        got.append("not here")

    async def main() -> None:
        nonlocal h
        async with gort.Group() as group:
            h = group.go(member)

    h: Any = None
    run1(main)
    assert got == ["cancelled", "read"]


async def _fail() -> None:
    raise ValueError


async def cancelled_where_it_waits(member: Callable[[], Any]) -> None:
    """Cancels a goroutine that waits for a channel; it ends with that."""
    async with gort.Group() as group:
        h = group.go(member)
        await parked(1, "chan receive")
        h.cancel()
    assert type(h.exception()) is Cancelled


@pytest.mark.parametrize(
    ("block", "own", "ends"),
    [
        (gort.Group, lambda group: group.go(_fail), ["ExceptionGroup"]),
        (gort.Group, lambda group: group.cancel(), []),
        (lambda: gort.timeout(None), lambda scope: setattr(scope, "deadline", time.monotonic()), ["TimeoutError"]),
        (lambda: gort.move_on_after(None), lambda scope: scope.cancel(), []),
    ],
    ids=["a member fails", "group.cancel", "timeout", "move_on_after"],
)
def test_c4_a_blocks_own_cancellation_in_the_middle_of_the_handling_of_an_outer_one(
    run: Run, block: Callable[[], Any], own: Callable[[Any], Any], ends: list[str]
) -> None:
    """The block swallows its own, and nobody raised the outer one again: the goroutine went on as if it had not been
    cancelled."""
    log: list[str] = []

    async def member() -> None:
        try:
            async with block() as inner:
                try:
                    await for_ever()
                except Cancelled:
                    own(inner)
                    await for_ever()
        except (TimeoutError, BaseExceptionGroup) as e:
            log.append(type(e).__name__)
        await gort.gosched()
        log.append("goes on")

    run(cancelled_where_it_waits, member)
    assert log == ends


def test_c4_a_block_in_the_handling_of_a_cancellation_raises_it_once(run: Run) -> None:
    """The handler is around the block: it raises the cancellation again by itself."""
    log: list[str] = []

    async def member() -> None:
        try:
            await for_ever()
        finally:
            async with gort.move_on_after(0.001):
                await for_ever()
            await gort.gosched()
            log.append("cleaned up")

    run(cancelled_where_it_waits, member)
    assert log == ["cleaned up"]
