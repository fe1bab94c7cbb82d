"""gort.testing.explore and replay: which orders they reach, which faults they find, what they show, and what they leave.

Programs that are right, and stay clean under all their schedules, are here too: a false alarm would cost the kit its
users.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Coroutine
from typing import Any

import hypothesis
import pytest

import gort
from gort import sync
from gort.testing import Explored, Schedule, ScheduleFailure, explore, replay, schedules
from gort.testing import search as kit
from gort.testing.schedule import Plan, Stage
from support import dose

Program = Callable[[], Coroutine[Any, Any, Any]]


async def lost_update() -> None:
    n = 0
    mu = sync.Mutex()

    async def add() -> None:
        nonlocal n
        async with mu:
            seen = n
        async with mu:
            n = seen + 1

    async with gort.Group() as group:
        for _ in range(3):
            group.go(add)
    assert n == 3, n


async def closed_twice() -> None:
    done: gort.Chan[None] = gort.Chan()
    log: gort.Chan[str] = gort.Chan(2)

    async def stop() -> None:
        if not done.closed:
            await log.send("stopping")
            done.close()

    async with gort.Group() as group:
        group.go(stop)
        group.go(stop)


async def crossed_locks() -> None:
    a, b = sync.Mutex(), sync.Mutex()

    async def both(first: sync.Mutex, second: sync.Mutex) -> None:
        async with first, second:
            pass

    async with gort.Group() as group:
        group.go(both, a, b)
        group.go(both, b, a)


async def result_and_timeout() -> None:
    """A result that comes as the timeout fires is lost."""
    out: gort.Chan[int] = gort.Chan(1)

    async def work() -> None:
        await gort.sleep(1.0)
        await out.send(42)

    gort.go(work)
    await gort.gosched()
    case, _, _ = await gort.select(out.recv(), gort.sleep(1.0))
    assert case == 0, "timed out although the result was there"


async def add_inside() -> None:
    """wg.add is called by the goroutine that is waited for, and may come after the wait."""
    wg = sync.WaitGroup()
    seen = []

    async def member() -> None:
        wg.add(1)
        seen.append(1)
        await gort.gosched()
        wg.done()

    for _ in range(2):
        gort.go(member)
    await gort.gosched()
    await wg.wait()
    assert len(seen) == 2, "wait() came before add()"


async def lost_wakeup() -> None:
    """The flag is looked at without the lock, so the signal may come before the wait."""
    cond = sync.Cond(sync.Mutex())
    ready = False

    async def waiter() -> None:
        if not ready:
            await cond.mutex.lock()
            await cond.wait()
            cond.mutex.unlock()

    async def signaller() -> None:
        nonlocal ready
        ready = True
        cond.signal()

    async with gort.Group() as group:
        group.go(waiter)
        group.go(signaller)


FAULTS: dict[Program, str] = {
    lost_update: "AssertionError",
    closed_twice: "ExceptionGroup",
    crossed_locks: "Deadlock",
    result_and_timeout: "AssertionError",
    add_inside: "AssertionError",
    lost_wakeup: "Deadlock",
}


def found(program: Program, **how: Any) -> ScheduleFailure:
    with pytest.raises(ScheduleFailure) as caught:
        explore(program, **how)
    return caught.value


@pytest.mark.parametrize("strategy", kit.STRATEGIES)
@pytest.mark.parametrize("program", FAULTS, ids=lambda p: p.__name__)
def test_each_fault_is_found_and_its_token_repeats_it(program: Program, strategy: str) -> None:
    error = found(program, schedules=2000, strategy=strategy)
    assert type(error.__cause__).__name__ == FAULTS[program]
    for _ in range(3):
        with pytest.raises(ScheduleFailure) as again:
            replay(error.token, program)
        assert again.value.table == error.table
        assert type(again.value.__cause__) is type(error.__cause__)


@pytest.mark.parametrize("program", FAULTS, ids=lambda p: p.__name__)
def test_the_same_arguments_find_the_same_schedule(program: Program) -> None:
    first, again = (found(program, strategy="random", seed=5) for _ in range(2))
    assert (first.token, first.schedule, first.table) == (again.token, again.schedule, again.table)


def test_a_fault_that_needs_one_interruption_is_shown_with_one() -> None:
    error = found(lost_update, strategy="random")
    seed, deviations = kit.from_token(error.token)
    assert len(deviations) == 1
    with Stage(lost_update, ()) as stage:
        assert stage.run(Plan(seed)).exc is None  # none of them can be left out


def test_the_table_says_who_did_what() -> None:
    error = found(lost_update)
    assert error.table in str(error)
    assert f"replay({error.token!r}, lost_update)" in str(error)
    lines = error.table.splitlines()
    assert lines[0].split() == ["goroutine", "where", "what"]
    assert lines[1].split()[:3] == ["1", "1", "lost_update"]
    assert any("add" in line and "async with mu:" in line and "interrupted after it" in line for line in lines)
    assert lines[-1].endswith("ends; then AssertionError")
    assert "test_schedules.py:" in lines[2]


def orders(turns: int, **how: Any) -> tuple[Explored, set[str]]:
    """The orders in which two goroutines, each with so many turns, are seen to take them."""
    seen = set()

    async def program() -> None:
        order = []
        room: gort.Chan[None] = gort.Chan(100)

        async def taker(name: str) -> None:
            for _ in range(turns):
                order.append(name)
                await room.send(None)

        async with gort.Group() as group:
            group.go(taker, "a")
            group.go(taker, "b")
        seen.add("".join(order))

    return explore(program, **how), seen


def test_all_orders_are_reached_and_then_it_stops() -> None:
    done, seen = orders(2, schedules=1_000_000, strategy="few")
    assert done.complete
    assert len(seen) == math.comb(4, 2)
    assert done.schedules < 1_000_000


@pytest.mark.parametrize("strategy", ["random", "pct"])
def test_drawn_schedules_reach_all_orders_too(strategy: str) -> None:
    _, seen = orders(2, schedules=1000, strategy=strategy)
    assert len(seen) == math.comb(4, 2)


def test_few_interruptions_come_first() -> None:
    """The first schedules interrupt nobody; then come those with one interruption."""
    tried = []
    with Stage(lost_update, ()) as stage:
        run = stage.run

        def watched(plan: Plan, record: bool = False) -> Any:
            outcome = run(plan, record=record)
            assert outcome.record is not None
            tried.append(sum(1 for choice in outcome.record if choice >> 20 and choice & 1))
            outcome.exc = None
            return outcome

        stage.run = watched  # type: ignore[method-assign,assignment]
        kit.Search(stage, 300, "few", 1).run()
    assert len(tried) == 300
    assert tried == sorted(tried)
    assert set(tried) >= {0, 1}


def test_another_seed_tries_other_schedules() -> None:
    assert (
        orders(4, schedules=20, strategy="random", seed=1)[1] != orders(4, schedules=20, strategy="random", seed=2)[1]
    )


# ---- programs that are right ------------------------------------------------------------------------------------------


async def pipeline() -> None:
    source: gort.Chan[int] = gort.Chan()
    squares: gort.Chan[int] = gort.Chan(2)

    async def produce() -> None:
        for i in range(4):
            await source.send(i)
        source.close()

    async def square() -> None:
        async for v in source:
            await squares.send(v * v)
        squares.close()

    async with gort.Group() as group:
        group.go(produce)
        group.go(square)
        got = [v async for v in squares]
    assert got == [0, 1, 4, 9]


async def counter() -> None:
    n = 0
    mu = sync.Mutex()

    async def add() -> None:
        nonlocal n
        for _ in range(3):
            async with mu:
                seen = n
                await gort.gosched()
                n = seen + 1

    async with gort.Group() as group:
        for _ in range(3):
            group.go(add)
    assert n == 9


async def timeouts() -> None:
    async def slow(seconds: float) -> str:
        await gort.sleep(seconds)
        return "done"

    async def guarded(seconds: float) -> str:
        try:
            async with gort.timeout(2):
                return await slow(seconds)
        except TimeoutError:
            return "late"

    async with gort.Group() as group:
        handles = [group.go(guarded, s) for s in (1, 3)]
    assert [h.result() for h in handles] == ["done", "late"]


async def cancellations() -> None:
    ends = []

    async def waits(ch: gort.Chan[None]) -> None:
        try:
            await ch.recv()
        finally:
            ends.append(1)

    with pytest.raises(ExceptionGroup):
        async with gort.Group() as group:
            for _ in range(2):
                group.go(waits, gort.Chan[None]())
            await gort.gosched()
            raise ValueError
    assert len(ends) in (0, 1, 2)  # one that had not begun ends without a beginning


async def conditions() -> None:
    cond = sync.Cond(sync.Mutex())
    ready = False

    async def waiter() -> None:
        await cond.mutex.lock()
        while not ready:
            await cond.wait()
        cond.mutex.unlock()

    async def signaller() -> None:
        nonlocal ready
        async with cond.mutex:
            ready = True
        cond.broadcast()

    async with gort.Group() as group:
        group.go(waiter)
        group.go(waiter)
        group.go(signaller)


async def ticks() -> None:
    ticker = gort.Ticker(60)
    start = time.monotonic()
    for _ in range(3):
        await ticker.c.recv()
    ticker.stop()
    assert time.monotonic() - start == 180


RIGHT = [pipeline, counter, timeouts, cancellations, conditions, ticks]


@pytest.mark.parametrize("program", RIGHT, ids=lambda p: p.__name__)
def test_a_right_program_is_clean(program: Program) -> None:
    done = explore(program, schedules=dose(2000))
    assert done.complete or done.schedules == dose(2000)
    assert repr(done).startswith("<gort.testing.Explored")


# ---- what a program may do --------------------------------------------------------------------------------------------


def test_goroutines_that_are_left_are_a_failure_unless_leaks_are_allowed() -> None:
    async def program() -> str:
        gort.go(gort.Chan[None]().recv)
        return "over"

    error = found(program)
    assert "goroutines are left" in str(error.__cause__)
    assert "chan receive" in error.__cause__.dump  # type: ignore[union-attr]
    assert explore(program, leaks=True).complete
    assert replay(error.token, program, leaks=True) == "over"


def test_others_may_end_after_main() -> None:
    async def program() -> None:
        async def late() -> None:
            await gort.gosched()

        gort.go(late)

    assert explore(program).complete


def test_a_panic_is_found_with_its_dump() -> None:
    async def program() -> None:
        async def bad() -> None:
            raise ValueError("of a goroutine")

        gort.go(bad)
        await gort.sleep(1)

    cause = found(program).__cause__
    assert isinstance(cause, gort.Panic)
    assert "panic: ValueError: of a goroutine" in cause.dump


def test_a_program_without_end_is_a_failure() -> None:
    async def program() -> None:
        while True:
            await gort.gosched()

    error = found(program, limit=1000)
    assert "had not ended after 1000 operations" in str(error)


def test_a_blocking_call_is_made_at_once_and_a_plain_function_runs() -> None:
    async def program() -> list[int]:
        out: gort.Chan[int] = gort.Chan(2)

        def plain() -> None:
            out.try_send(1)

        gort.go(plain)
        await out.send(await gort.blocking(max, 1, 2))
        return sorted([await out.recv(), await out.recv()])

    assert explore(program).complete
    assert replay("1:", program) == [1, 2]


def test_gort_wait_would_block_the_only_thread() -> None:
    async def program() -> None:
        ch: gort.Chan[int] = gort.Chan()

        def plain() -> None:
            gort.wait(ch.recv())

        async with gort.Group() as group:
            group.go(plain)

    with pytest.raises(ScheduleFailure) as caught:
        explore(program)
    cause = caught.value.__cause__
    assert isinstance(cause, ExceptionGroup)
    assert "would block the only thread" in str(cause.exceptions[0])


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_process_is_no_finding(error: type[BaseException]) -> None:
    async def program() -> None:
        raise error

    with pytest.raises(error):
        explore(program)
    assert gort.run(returns_one) == 1


async def returns_one() -> int:
    return 1


def test_async_generators_that_are_left_are_closed_after_each_schedule() -> None:
    closed = []

    async def program() -> None:
        async def numbers() -> Any:
            try:
                yield 1
                yield 2
            finally:
                closed.append(1)

        async for _ in numbers():
            break
        await gort.gosched()

    done = explore(program, schedules=10)
    gc.collect()
    assert len(closed) == done.schedules


def test_time_is_the_bubbles_and_begins_anew() -> None:
    starts = set()

    async def program() -> None:
        starts.add(time.time())
        await gort.sleep(3600)
        assert time.time() - min(starts) == 3600
        await gort.testing.wait()

    before = time.monotonic()
    explore(program, schedules=20)
    assert starts == {946_684_800.0}
    assert time.monotonic() - before < 3600


def test_a_program_that_is_not_deterministic_is_told_so() -> None:
    runs = []

    async def program() -> None:
        runs.append(1)
        assert len(runs) != 2

    with pytest.raises(ScheduleFailure, match="not deterministic"):
        explore(program, strategy="random")


def test_nothing_is_left_behind() -> None:
    """Neither objects nor a runtime: as many schedules again leave no more."""

    def count() -> int:
        gc.collect()
        return len(gc.get_objects())

    for program in (lost_update, crossed_locks):
        found(program)
    explore(pipeline, schedules=50)
    before = count()
    for program in (lost_update, crossed_locks):
        found(program)
    explore(pipeline, schedules=500)
    assert count() - before < 100
    assert gort.run(returns_one) == 1


# ---- tokens, arguments, hypothesis ------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["", "x", "1", "0:", "1:2", "1:a=b", "-3:1=1"])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="no token"):
        replay(token, returns_one)


def test_a_token_is_read_back() -> None:
    assert kit.from_token(kit.to_token(7, {57: 2, 12: 1})) == (7, {12: 1, 57: 2})
    assert kit.to_token(7, {57: 2, 12: 1}) == "7:12=1,57=2"


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"schedules": 0}, ValueError),
        ({"schedules": 1.5}, TypeError),
        ({"seed": 0}, ValueError),
        ({"limit": True}, TypeError),
        ({"strategy": "best"}, ValueError),
    ],
)
def test_wrong_arguments_are_refused(how: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        explore(returns_one, **how)


def test_wrong_functions_are_refused() -> None:
    with pytest.raises(TypeError, match="async function"):
        explore(len)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        explore(returns_one, 1)

    async def inside() -> None:
        explore(returns_one)

    with pytest.raises(RuntimeError, match="inside a running gort runtime"):
        gort.run(inside)


def test_hypothesis_draws_schedules_and_shrinks_them() -> None:
    """It finds the lost update, and ends with the one interruption that it needs."""
    failing = []

    @hypothesis.settings(max_examples=60, database=None, deadline=None, derandomize=True)
    @hypothesis.given(schedules(max_position=40))
    def test(schedule: Schedule) -> None:
        try:
            schedule.run(lost_update)
        except ScheduleFailure:
            failing.append(schedule)
            raise

    with pytest.raises(ScheduleFailure):
        test()
    _, deviations = kit.from_token(failing[-1].token)
    assert len(deviations) == 1
    assert failing[-1].token in repr(failing[-1])


def test_arguments_reach_the_program() -> None:
    async def program(a: int, b: int) -> int:
        return a + b

    assert replay("1:", program, 1, 2) == 3
    assert explore(program, 1, 2).complete


def test_a_replay_has_the_limit_and_the_message_says_how() -> None:
    async def main(n: int) -> None:
        for _ in range(n):
            await gort.gosched()

    with pytest.raises(ScheduleFailure, match=r"main, \.\.\., leaks=True, limit=10\)") as caught:
        explore(main, 30, leaks=True, limit=10)
    with pytest.raises(ScheduleFailure):
        replay(caught.value.token, main, 30, limit=10)
    replay(caught.value.token, main, 30)


@pytest.mark.parametrize("strategy", ["random", "pct"])
def test_what_fails_once_only_is_shown_with_what_it_has_failed_with(strategy: str) -> None:
    runs = 0

    async def main() -> None:
        nonlocal runs
        runs += 1
        if runs == 5:
            raise KeyError("once")

    with pytest.raises(ScheduleFailure, match="not deterministic: KeyError: 'once'") as caught:
        explore(main, strategy=strategy)
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.token


def test_large_seeds_are_seeds() -> None:
    async def main() -> None:
        async with gort.Group() as group:
            group.go(gort.Chan(1).send, 1)

    for seed in (10**13, (1 << 63) - 1):
        explore(main, seed=seed, strategy="random", schedules=3)
    with pytest.raises(ValueError, match="seed must be"):
        explore(main, seed=1 << 63)
    for wrong in (f"{1 << 63}:", "1:-1=2", "1:1=-2", b"1:"):
        with pytest.raises(ValueError, match="is no token"):
            replay(wrong, main)  # type: ignore[arg-type]
