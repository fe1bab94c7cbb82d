"""Timers beyond what the fidelity programs compare with Go: garbage, many of them, functions, other
threads."""

from __future__ import annotations

import gc
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import gort
import gort.testing
from support import PATIENCE_S, parked, until

Run = Callable[..., Any]


def test_sleep_is_not_early_and_sleepers_run_side_by_side(run: Run) -> None:
    """A hundred sleeps of 50 ms together take far less time than their lengths add up to.  On a busy machine each sleep
    is longer, and so is the sum that the whole is compared with."""

    async def main() -> tuple[list[float], float]:
        slept: list[float] = []

        async def sleeper() -> None:
            start = time.monotonic()
            await gort.sleep(0.05)
            slept.append(time.monotonic() - start)

        start = time.monotonic()
        async with gort.Group() as group:
            for _ in range(100):
                group.go(sleeper)
        return slept, time.monotonic() - start

    slept, total = run(main)
    assert min(slept) >= 0.05
    assert total < sum(slept) / 2


def test_timer_fires_although_all_references_are_gone(run: Run) -> None:
    """A timer that a goroutine waits for is kept by the runtime."""

    async def main() -> str:
        ch = gort.Timer(0.01).c
        gc.collect()
        await ch.recv()
        await gort.after(0.01).recv()
        done: gort.Chan[None] = gort.Chan()
        gort.after_func(0.01, done.close)
        gc.collect()
        await done.recv_ok()
        return "fired"

    assert run(main) == "fired"


def test_after_func_takes_async_functions_and_gives_a_timer(run: Run) -> None:
    async def main() -> list[str]:
        ch: gort.Chan[str] = gort.Chan()

        async def body() -> None:
            await ch.send("async")

        gort.after_func(0.001, body)
        timer = gort.after_func(3600, body)
        first = await ch.recv()
        assert timer.stop()
        return [first]

    assert run(main) == ["async"]


def test_an_error_in_after_func_is_a_panic(run: Run) -> None:
    async def main() -> None:
        def boom() -> None:
            raise ValueError("in a timer")

        gort.after_func(0.001, boom)
        await gort.Chan[int]().recv()

    with pytest.raises(gort.Panic) as info:
        run(main)
    assert repr(info.value.__cause__) == "ValueError('in a timer')"


def test_stop_races_with_fire(run: Run) -> None:
    """stop() returned True: the function never runs. False: it ran, or is about to."""

    async def main() -> None:
        for n in range(100):
            ran: list[int] = []
            timer = gort.after_func(n % 10 * 0.0001, lambda ran=ran: ran.append(1))
            for _ in range(n % 7):
                await gort.gosched()
            if timer.stop():
                await gort.sleep(0.0005)
                assert ran == []
            else:
                await until(lambda ran=ran: ran)
                assert ran == [1]

    run(main)


def test_reset_many_times(run: Run) -> None:
    """A timeout that is pushed back over and over fires once, after the last push."""

    async def main() -> tuple[float, bool]:
        timer = gort.Timer(0.02)
        for _ in range(500):
            timer.reset(0.2)  # where it had fired already, on a busy machine, it is armed anew and its value is gone
            await gort.gosched()
        due = time.monotonic() + 0.2
        timer.reset(0.2)
        await timer.c.recv()
        late = time.monotonic() - due
        _, again = timer.c.try_recv()
        return late, again

    late, again = run(main)
    assert late >= 0
    assert not again


def test_reset_from_another_goroutine_wakes_the_waiter(run: Run) -> None:
    """A goroutine waits for a far timer; another one brings it near."""

    async def main() -> str:
        timer = gort.Timer(3600)

        async def nearer() -> None:
            timer.reset(0.01)

        gort.go(nearer)
        await timer.c.recv()
        return "woken"

    assert run(main) == "woken"


def test_an_earlier_timer_wakes_an_idle_runtime(run: Run) -> None:
    """All threads sleep until a far timer; one set later, by a foreign thread's doing, fires before it."""

    async def main() -> float:
        ch: gort.Chan[None] = gort.Chan(1)
        far = gort.Timer(3600)

        async def waiter() -> float:
            await ch.recv()
            start = time.monotonic()
            await gort.sleep(0.01)
            return time.monotonic() - start

        thread = threading.Timer(0.05, lambda: ch.try_send(None))
        thread.start()
        async with gort.Group() as group:
            handle = group.go(waiter)
        thread.join(PATIENCE_S)
        far.stop()
        return handle.result()

    assert run(main) >= 0.01


def test_ticker_keeps_its_beat(run: Run) -> None:
    """Ticks are never early, counted from the start: the n-th not before n periods."""

    async def main() -> list[float]:
        start = time.monotonic()
        ticker = gort.Ticker(0.005)
        at = []
        for _ in range(20):
            await ticker.c.recv()
            at.append(time.monotonic() - start)
        ticker.stop()
        return at

    at = run(main)
    assert all(t >= 0.005 * (n + 1) for n, t in enumerate(at))


def test_ticker_that_is_found_due_by_a_look_ticks_on(run1: Run) -> None:
    """A second receiver finds the tick of the first before the heap does; then it waits for the next one, which comes."""

    async def main() -> int:
        ticker = gort.Ticker(0.001)
        got: list[float] = []

        async def receiver() -> None:
            got.append(await ticker.c.recv())

        async with gort.Group() as group:
            group.go(receiver)
            await until(lambda: bool(got) or "chan receive" in gort.runtime.stack(all=True), "it waits, or waited")
            end = time.monotonic() + 0.002
            while time.monotonic() < end:
                pass  # it is due now, and this thread has not been to the scheduler since
            await receiver()
        return len(got)

    assert run1(main) == 2


def test_many_tickers(run: Run) -> None:
    """A thousand tickers of 20 ms: each ticks."""

    async def main() -> int:
        async def one() -> None:
            ticker = gort.Ticker(0.02)
            for _ in range(3):
                await ticker.c.recv()
            ticker.stop()

        async with gort.Group() as group:
            handles = [group.go(one) for _ in range(1000)]
        return sum(h.done for h in handles)

    assert run(main) == 1000


def test_a_ticker_whose_receiver_has_its_tick_is_not_armed(run1: Run) -> None:
    """Where a thousand took longer to fire than a tick lasts, they fired again before each turn of a goroutine."""

    async def main() -> list[int]:
        ticker = gort.Ticker(0.001)
        ticks: list[float] = []
        pids: list[int] = []

        async def receives() -> None:
            while not pids:
                ticks.append(await ticker.c.recv())

        async with gort.Group() as group:
            group.go(receives)
            await parked(1, "chan receive")
            time.sleep(0.01)
            ticker.c.try_recv()  # the tick is due: the receiver gets it, and runs later
            pids.append(ticker.pid)  # type: ignore[attr-defined]
        assert ticks == sorted(set(ticks))
        ticker.stop()
        return pids

    assert run1(main) == [-1]


@pytest.mark.parametrize("seed", range(8))
def test_timers_fire_in_the_order_of_their_times_and_then_of_their_start(seed: int) -> None:
    """Many are due at the same instant, and many are stopped or set anew in any order, so that the heap is sifted both
    ways.  A bubble's clock stands still meanwhile."""
    draw = random.Random(seed)

    async def main() -> tuple[list[int], list[int]]:
        fired: list[int] = []
        due: dict[int, tuple[int, int]] = {}  # number: seconds, the how manieth setting it is
        timers: dict[int, gort.Timer] = {}
        for setting in range(600):
            what = draw.random()
            if what < 0.25 and timers:
                number = draw.choice(list(timers))
                assert timers.pop(number).stop()
                del due[number]
            elif what < 0.4 and timers:
                number = draw.choice(list(timers))
                due[number] = (draw.randrange(1, 9), setting)
                assert timers[number].reset(due[number][0])
            else:
                due[setting] = (draw.choice([1, 2, 3, 3, 3, 8]), setting)
                timers[setting] = gort.after_func(due[setting][0], fired.append, setting)
        for second in range(1, 10):
            await gort.sleep(1)
            if second in (2, 5):  # goes on with what is left of the heap
                for number in [n for n, (at, _) in due.items() if at > second][::3]:
                    assert timers[number].stop()
                    del due[number]
        return fired, sorted(due, key=due.__getitem__)

    fired, expected = gort.testing.run(main)
    assert [sorted(fired)] == [sorted(expected)]
    assert fired == expected


def test_a_timer_that_a_timer_of_the_same_instant_stops_does_not_fire(run1: Run) -> None:
    async def main() -> list[str]:
        said: list[str] = []
        timers: list[gort.Timer] = []

        def first() -> None:
            said.append("first")
            said.append(f"stopped {timers[1].stop()}")

        timers.append(gort.after_func(0.01, first))
        timers.append(gort.after_func(3600, said.append, "second"))
        await gort.sleep(0.05)
        return said

    assert run1(main) == ["first", "stopped True"]


def test_whole_seconds_that_do_not_fit(run: Run) -> None:
    """2**63 ns are 9,223,372,036 s: what is longer is for ever, and what is as far below zero is over."""

    async def main() -> list[bool]:
        out = []
        for seconds in (9_199_999_999, 9_200_000_000, 10**30):
            out.append(gort.after_func(seconds, print).stop())
        for seconds in (-9_200_000_000, -(10**30), 0):
            await gort.sleep(seconds)
            out.append(True)
        return out

    assert run(main) == [True] * 6


def test_idle_runtime_uses_no_cpu(run: Run) -> None:
    """While everything sleeps, so does the runtime: far less CPU time than wall time.  Of the CPU time that is counted
    others use none, and the sleep is at least a second."""

    async def main() -> float:
        before = time.process_time()
        await gort.sleep(1.0)
        return time.process_time() - before

    assert run(main) < 0.3


def test_timers_made_before_the_program(run: Run) -> None:
    """A timer's channel needs no program until somebody waits; a function run by a timer does."""
    timer = gort.after(0.01)
    with pytest.raises(RuntimeError, match=r"gort\.run"):
        gort.after_func(1, print)

    async def main() -> int:
        i, _, _ = await gort.select(timer.recv(), gort.after(PATIENCE_S).recv())
        return i

    assert run(main) == 0


@pytest.mark.skipif(gort.runtime.compiled, reason="the compiled core's heap cannot be reached from here")
@pytest.mark.parametrize("first", ["stop", "fire"])
def test_stop_and_fire_agree_on_who_came_first(run1: Run, first: str) -> None:
    """A function timer that has left the heap and not fired yet, as between two instructions of another thread: either
    stop() says that it stopped it, or the function runs; never neither."""
    from gort._runtime.sched.timers import deltimer

    async def main() -> tuple[bool, bool]:
        ran = gort.Chan[None](1)
        timer: Any = gort.after_func(3600, ran.try_send, None)
        timer.expires = 1  # due
        gen = timer.gen
        assert deltimer(timer)  # as checktimers does before it calls fire()
        if first == "stop":
            stopped = timer.stop()
            timer.fire(gen, 2)
        else:
            timer.fire(gen, 2)
            stopped = timer.stop()
        await gort.gosched()
        return stopped, len(ran) == 1

    assert run1(main) == ((True, False) if first == "stop" else (False, True))


def test_who_takes_a_sleep_back_too_late_leaves_the_next_one_alone(run: Run) -> None:
    """Who cancels has found a goroutine in a sleep, and may then be so late that it is in another one, which has the same
    timer: that one ended early."""

    async def main() -> None:
        first = gort.sleep(0.001)

        async def sleeps() -> None:
            await first
            await gort.sleep(3600)

        async with gort.Group() as group:
            group.go(sleeps)
            await parked(1, "sleep")
            await until(lambda: first.success)
            await parked(1, "sleep")
            assert not first.abort()
            group.cancel()

    run(main)
