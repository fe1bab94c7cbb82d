"""gort.timeout, gort.move_on_after and gort.shield. The rules that they follow are in test_cancel_rules.py, too."""

from __future__ import annotations

import gc
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import gort
from gort import Cancelled, testing
from support import ended, fail, for_ever, parked, program, until

Run = Callable[..., Any]


# ---- timeouts ---------------------------------------------------------------------------------------------------------


def test_timeout_raises_timeouterror_and_cleans_up(run: Run) -> None:
    log: list[str] = []

    async def main() -> None:
        with pytest.raises(TimeoutError) as caught:
            async with gort.timeout(0.01) as scope:
                try:
                    await for_ever()
                finally:
                    await gort.gosched()
                    log.append("clean")
        assert isinstance(caught.value.__cause__, Cancelled)
        assert scope.expired()
        assert scope.cancelled_caught
        assert scope.cancel_called
        await gort.gosched()

    run(main)
    assert log == ["clean"]


def test_timeout_in_time(run: Run) -> None:
    async def main() -> None:
        async with gort.timeout(3600) as scope:
            await gort.gosched()
        assert not scope.expired()
        assert not scope.cancel_called
        assert not scope.cancelled_caught

    run(main)


def test_a_timeout_that_is_over_leaves_no_timer(run: Run) -> None:
    """With main parked and no timer left, there is a deadlock and no wait for an hour."""

    async def main() -> None:
        async with gort.timeout(3600):
            await gort.gosched()
        await for_ever()

    with pytest.raises(gort.Deadlock):
        run(main)


@pytest.mark.parametrize("seconds", [0, -1, 0.0])
def test_timeout_of_zero_ends_at_the_first_await(run: Run, seconds: float) -> None:
    async def main() -> str:
        async with gort.move_on_after(seconds):
            return "no await, no end"

    assert run(main) == "no await, no end"

    async def waits() -> None:
        async with gort.timeout(seconds):
            await gort.gosched()

    with pytest.raises(TimeoutError):
        run(waits)


def test_move_on_after(run: Run) -> None:
    async def main() -> None:
        async with gort.move_on_after(0.01) as scope:
            await for_ever()
        assert scope.cancelled_caught
        assert scope.expired()
        async with gort.move_on_after(3600) as scope:
            pass
        assert not scope.cancelled_caught

    run(main)


def test_inner_and_outer_timeout(run: Run) -> None:
    """The one whose time is over ends its block, whichever it is."""

    async def main(outer_s: float, inner_s: float) -> list[bool]:
        async with gort.move_on_after(outer_s) as outer:
            async with gort.move_on_after(inner_s) as inner:
                await for_ever()
        return [outer.cancelled_caught, inner.cancelled_caught]

    assert run(main, 3600, 0.01) == [False, True]
    assert run(main, 0.01, 3600) == [True, False]
    assert run(main, 0, 0) == [True, False]


def test_an_inner_timeouterror_passes_the_outer_block(run: Run) -> None:
    async def main() -> None:
        async with gort.move_on_after(3600):
            async with gort.timeout(0):
                await for_ever()

    with pytest.raises(TimeoutError):
        run(main)


def test_another_error_in_the_block_passes(run: Run) -> None:
    """Also when the time is over while it unwinds."""

    async def main() -> None:
        async with gort.timeout(None) as scope:
            try:
                raise ValueError("body")
            finally:
                scope.deadline = 0

    with pytest.raises(ValueError, match="body"):
        run(main)


def test_deadline_can_be_moved(run: Run) -> None:
    async def moved() -> None:
        async with gort.timeout(0.01) as scope:
            scope.deadline = time.monotonic() + 3600
            await gort.sleep(0.02)
            scope.deadline = math.inf
            await gort.gosched()
        assert not scope.expired()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with gort.timeout(None) as scope:
                scope.deadline = time.monotonic() + 0.01
                await for_ever()
        scope = gort.timeout(None)
        scope.deadline = time.monotonic() - 1
        with pytest.raises(TimeoutError):
            async with scope:
                await for_ever()

    testing.run(moved)  # in virtual time: nothing is late
    run(main)


def test_cancel_of_a_timeout_ends_the_block_without_an_error(run: Run) -> None:
    async def main() -> None:
        async with gort.timeout(3600) as scope:
            scope.cancel()
            await for_ever()
        assert scope.cancelled_caught
        assert not scope.expired()
        early = gort.move_on_after(3600)
        early.cancel()
        async with early:
            await for_ever()
        assert early.cancelled_caught

    run(main)


def test_cancel_from_another_thread_and_goroutine(run: Run) -> None:
    async def main() -> None:
        async with gort.move_on_after(None) as scope:
            thread = threading.Thread(target=scope.cancel)
            thread.start()
            await for_ever()
        thread.join()
        async with gort.move_on_after(None) as scope:
            gort.go(scope.cancel)
            await for_ever()

    run(main)


def test_a_timeout_ends_a_group_in_its_block(run: Run) -> None:
    log: list[str] = []

    async def member() -> None:
        try:
            await for_ever()
        finally:
            log.append("member")

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with gort.timeout(0.01), gort.Group() as group:
                group.go(member)

    run(main)
    assert log == ["member"]


def test_a_timeout_around_a_group_that_fails_meanwhile(run: Run) -> None:
    """The failure is raised; the timeout's cancellation is withdrawn at the end of its block."""

    async def bad_cleanup() -> None:
        try:
            await for_ever()
        finally:
            raise ValueError("cleanup")

    async def main() -> None:
        with pytest.raises(BaseExceptionGroup):
            async with gort.timeout(0.01), gort.Group() as group:
                group.go(bad_cleanup)
        await gort.gosched()
        async with gort.move_on_after(0.01) as scope:
            try:
                async with gort.Group() as group:
                    group.go(bad_cleanup)
            except* ValueError:
                pass
            await for_ever()
        assert scope.cancelled_caught

    run(main)


def test_bad_durations(run: Run) -> None:
    async def main() -> None:
        for make in (gort.timeout, gort.move_on_after):
            with pytest.raises(TypeError):
                make("1")  # type: ignore[operator]
            with pytest.raises(ValueError, match="NaN"):
                make(math.nan)
            async with make(math.inf):
                await gort.gosched()
            async with make(1e300):
                await gort.gosched()

    run(main)


def test_blocks_are_entered_once_and_in_a_goroutine(run: Run) -> None:
    async def main() -> None:
        scope = gort.timeout(1)
        async with scope:
            pass
        with pytest.raises(RuntimeError, match="entered once"):
            async with scope:
                pass

    run(main)
    with pytest.raises(RuntimeError, match="outside a running gort runtime"):
        gort.timeout(1).__enter__()


def test_a_scope_does_not_outlive_its_goroutine(run1: Run) -> None:
    """A scope that was not left (its generator was dropped) does nothing to the goroutine that gets the G next."""

    async def leaks(out: list[gort.CancelScope]) -> None:
        scope = gort.move_on_after(None)
        scope.__enter__()
        out.append(scope)

    async def next_one(seen: list[str]) -> None:
        for _ in range(3):
            await gort.gosched()
        seen.append("whole")

    async def main() -> list[str]:
        out: list[gort.CancelScope] = []
        seen: list[str] = []
        async with gort.Group() as group:
            await ended(group.go(leaks, out))
            h = group.go(next_one, seen)
            out[0].cancel()
            await ended(h)
        out[0].__exit__(None, None, None)
        return seen

    assert run1(main) == ["whole"]


def test_async_generator_that_holds_a_block_across_yield(run: Run) -> None:
    """The block is that of the goroutine that entered it; leaving it elsewhere, or out of order, breaks nothing."""

    async def ticks() -> Any:
        async with gort.move_on_after(3600):
            yield 1
            yield 2

    async def main() -> None:
        gen = ticks()
        assert await anext(gen) == 1
        async with gort.move_on_after(None) as scope:
            await gen.aclose()  # leaves the generator's block, which is not the innermost one
            scope.cancel()
            await for_ever()
        assert scope.cancelled_caught
        gen = ticks()
        await anext(gen)
        async with gort.Group() as group:
            h = group.go(gen.aclose)
            await ended(h)
        h.result()
        await gort.gosched()

    run(main)


# ---- shield -----------------------------------------------------------------------------------------------------------


def test_shield_holds_a_second_cancellation_off_until_it_is_over(run: Run) -> None:
    log: list[str] = []

    async def member(go: gort.Chan[None]) -> None:
        try:
            await for_ever()
        finally:
            async with gort.shield():
                log.append("cleaning")
                await go.recv()
                log.append("clean")
            try:
                await gort.gosched()
            except Cancelled:
                log.append("then the second")
                raise

    async def main() -> None:
        go: gort.Chan[None] = gort.Chan()
        async with gort.Group() as group:
            h = group.go(member, go)
            await parked(1, "chan receive")
            h.cancel()
            await until(lambda: log)
            h.cancel()
            await go.send(None)
            await ended(h)

    run(main)
    assert log == ["cleaning", "clean", "then the second"]


def test_what_is_in_a_shield_works_as_ever(run: Run) -> None:
    async def main() -> None:
        async with gort.move_on_after(None) as outer:
            outer.cancel()
            async with gort.shield(), gort.move_on_after(0.01) as inner:
                await for_ever()
            assert inner.cancelled_caught
            async with gort.shield():
                with pytest.raises(BaseExceptionGroup):
                    async with gort.Group() as group:
                        group.go(fail, ValueError("x"))
                        await for_ever()
                async with gort.Group() as group:
                    group.go(gort.sleep, 0)
                await gort.gosched()
            await for_ever()
        assert outer.cancelled_caught

    run(main)


def test_a_shield_can_be_cancelled_by_itself(run: Run) -> None:
    async def main() -> None:
        async with gort.shield() as scope:
            scope.cancel()
            await for_ever()
        assert scope.cancelled_caught

    run(main)


def test_ctrl_c_passes_a_shield() -> None:
    done = program("""
        import os, signal
        async def main():
            async with gort.shield():
                threading.Timer(.05, os.kill, (os.getpid(), signal.SIGINT)).start()
                await gort.sleep(3600)
        try: gort.run(main)
        except KeyboardInterrupt: print("interrupted")
    """)
    assert done.stdout == "interrupted\n", done.stderr


# ---- the end of the program -------------------------------------------------------------------------------------------


def test_left_blocks_at_the_end_of_the_program(run: Run) -> None:
    """Goroutines that are left get GeneratorExit; no block swallows it or waits."""
    log: list[str] = []

    async def left(inside: list[int]) -> None:
        try:
            async with gort.timeout(3600), gort.shield(), gort.Group() as group:
                group.go(for_ever)
                inside.append(1)
                await for_ever()
        except GeneratorExit:
            log.append("GeneratorExit")
            raise

    async def main() -> int:
        inside: list[int] = []
        gort.go(left, inside)
        await until(lambda: inside)
        return 42

    assert run(main) == 42
    gc.collect()
    assert log == ["GeneratorExit"]
