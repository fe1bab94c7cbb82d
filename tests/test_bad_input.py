"""Mistakes: each gets an error that names the mistake and the remedy, at the place where it was made."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import gort
from gort.sync import Cond, Mutex, RWMutex, Semaphore, WaitGroup

Run = Callable[..., Any]


async def nothing() -> None:
    pass


async def one_argument(a: int) -> None:
    pass


# --- run and go ----------------------------------------------------------------------------------


def test_go_outside_of_a_runtime() -> None:
    """RuntimeError that says to start with gort.run; the function is not called."""
    called: list[int] = []
    with pytest.raises(RuntimeError, match=r"gort\.run"):
        gort.go(called.append, 1)
    assert called == []


def test_run_of_a_plain_function() -> None:
    def main() -> None:
        raise AssertionError("must not be called")

    with pytest.raises(TypeError, match=r"async def"):
        gort.run(main)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("error")
def test_run_of_a_coroutine_object() -> None:
    """run(main()) instead of run(main): says so, and closes the coroutine (no "never awaited" besides)."""
    with pytest.raises(TypeError, match=r"run\(\w+"):
        gort.run(nothing())  # type: ignore[arg-type]
    gc.collect()


@pytest.mark.filterwarnings("error")
def test_go_of_a_coroutine_object(run: Run) -> None:
    """go(f()) instead of go(f)."""

    async def main() -> None:
        with pytest.raises(TypeError, match=r"go\(\w+"):
            gort.go(nothing())  # type: ignore[arg-type]
        gc.collect()

    run(main)


@pytest.mark.parametrize("thing", [None, 5, "main"])
def test_run_of_something_else(thing: Any) -> None:
    with pytest.raises(TypeError, match=r"async (def|function)"):
        gort.run(thing)


@pytest.mark.parametrize("thing", [None, 5, "f"])
def test_go_of_something_else(run: Run, thing: Any) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match=r"(?i)function|callable"):
            gort.go(thing)

    run(main)


@pytest.mark.parametrize("args", [(), (1, 2)])
def test_go_with_wrong_arguments(run: Run, args: tuple[int, ...]) -> None:
    """Found at the go statement, not later in a goroutine nobody sees; the message names the function."""

    async def main() -> None:
        with pytest.raises(TypeError, match="one_argument"):
            gort.go(one_argument, *args)

    run(main)


def test_group_go_with_wrong_arguments(run: Run) -> None:
    async def main() -> None:
        async with gort.Group() as group:
            with pytest.raises(TypeError, match="one_argument"):
                group.go(one_argument)

    run(main)


def test_run_with_wrong_arguments() -> None:
    with pytest.raises(TypeError, match="one_argument"):
        gort.run(one_argument)


@pytest.mark.parametrize("procs", [0, -1])
def test_procs_must_be_positive(procs: int) -> None:
    with pytest.raises(ValueError, match="procs"):
        gort.run(nothing, procs=procs)


@pytest.mark.parametrize("procs", ["2", 1.5])
def test_procs_must_be_a_number(procs: Any) -> None:
    with pytest.raises(TypeError, match=r"procs|int"):
        gort.run(nothing, procs=procs)


# --- operations ----------------------------------------------------------------------------------


def operations() -> dict[str, Callable[[], Any]]:
    ch: gort.Chan[int] = gort.Chan()
    wg = WaitGroup()
    wg.add(1)
    mu = Mutex()
    assert mu.try_lock()
    return {
        "send": lambda: ch.send(1),
        "recv": ch.recv,
        "recv_ok": ch.recv_ok,
        "select": lambda: gort.select(ch.recv(), ch.recv()),
        "gosched": gort.gosched,
        "sleep": lambda: gort.sleep(0.01),
        "lock": mu.lock,
        "wait": wg.wait,
    }


@pytest.mark.parametrize("name", list(operations()))
def test_operation_outside_of_a_runtime(name: str) -> None:
    """Awaited in an asyncio program: a RuntimeError that says gort.run (or gort.wait), nothing hangs."""

    async def main() -> None:
        await operations()[name]()

    with pytest.raises(RuntimeError, match=r"gort\.(run|wait)"):
        asyncio.run(main())


@pytest.mark.parametrize("name", ["recv", "send", "gosched", "sleep"])
def test_operation_awaited_twice(run: Run, name: str) -> None:
    async def main() -> None:
        ch: gort.Chan[int] = gort.Chan(5)
        assert ch.try_send(1)
        assert ch.try_send(2)
        makers: dict[str, Callable[[], Any]] = {
            "recv": ch.recv,
            "send": lambda: ch.send(3),
            "gosched": gort.gosched,
            "sleep": lambda: gort.sleep(0),
        }
        op = makers[name]()
        await op
        before = len(ch)
        with pytest.raises(RuntimeError, match=r"(?i)already|twice|once"):
            await op
        assert len(ch) == before

    run(main)


def test_operation_selected_and_awaited(run: Run) -> None:
    """Used in a select, it is used; a second select refuses it too."""

    async def main() -> None:
        ch: gort.Chan[int] = gort.Chan(3)
        for i in range(3):
            assert ch.try_send(i)
        op = ch.recv()
        await gort.select(op)
        with pytest.raises(RuntimeError, match=r"(?i)already|twice|once"):
            await op
        with pytest.raises(RuntimeError, match=r"(?i)already|twice|once"):
            await gort.select(op)
        assert len(ch) == 2

    run(main)


def test_operation_twice_in_one_select(run: Run) -> None:
    async def main() -> None:
        ch: gort.Chan[int] = gort.Chan(3)
        assert ch.try_send(1)
        op = ch.recv()
        with pytest.raises(RuntimeError, match=r"(?i)already|twice|once"):
            await gort.select(op, op)
        assert len(ch) == 1

    run(main)


@pytest.mark.parametrize("name", list(operations()))
def test_operation_never_awaited(run: Run, name: str) -> None:
    """A forgotten `await` is told like Python tells it of a coroutine."""

    async def main() -> None:
        make = operations()[name]
        with pytest.warns(RuntimeWarning, match="never awaited"):
            make()  # dropped at once

    run(main)


def test_select_says_which_case_is_wrong(run: Run) -> None:
    async def main() -> None:
        ch: gort.Chan[int] = gort.Chan(1)
        with pytest.raises(TypeError, match=r"recv\(\)"):
            await gort.select(ch)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="int"):
            await gort.select(None, 5)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"(?i)sleep|after|channel"):
            await gort.select(gort.sleep(1))  # type: ignore[arg-type]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the refused operations were indeed never awaited
        run(main)
        gc.collect()


def test_await_a_channel(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(TypeError):
            await gort.Chan(1)  # type: ignore[misc]
        with pytest.raises(TypeError, match=r"async for|not iterable"):
            for _ in gort.Chan(1):  # type: ignore[attr-defined]
                pass

    run(main)


# --- values --------------------------------------------------------------------------------------


def test_negative_capacity() -> None:
    with pytest.raises(ValueError, match="capacity"):
        gort.Chan(-1)


@pytest.mark.parametrize("capacity", ["3", 1.5, None])
def test_capacity_must_be_an_int(capacity: Any) -> None:
    with pytest.raises(TypeError, match=r"capacity|int"):
        gort.Chan(capacity)


@pytest.mark.parametrize("seconds", ["1", None])
def test_sleep_needs_a_number(run: Run, seconds: Any) -> None:
    async def main() -> None:
        with pytest.raises(TypeError):
            await gort.sleep(seconds)

    run(main)


def test_nan_is_no_duration(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match=r"(?i)nan|not a number"):
            await gort.sleep(math.nan)
        with pytest.raises(ValueError, match=r"(?i)nan|not a number"):
            gort.after(math.nan)

    run(main)


def test_infinite_and_huge_durations_wait(run: Run) -> None:
    """Beyond what the clock can hold is for ever, not an overflow."""

    async def main() -> list[int]:
        out = []
        for seconds in (math.inf, 1e300, 1e12):
            i, _, _ = await gort.select(gort.after(seconds).recv(), gort.after(0.01).recv())
            out.append(i)
        return out

    assert run(main) == [1, 1, 1]


def test_negative_durations_fire_at_once(run: Run) -> None:
    async def main() -> None:
        await gort.sleep(-1)
        await gort.sleep(-math.inf)
        await gort.after(-1).recv()
        await gort.Timer(-5).c.recv()

    run(main)


@pytest.mark.parametrize("seconds", [0, -1])
def test_ticker_refuses_what_is_not_positive(run: Run, seconds: float) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match=r"(?i)positive"):
            gort.Ticker(seconds)
        ticker = gort.Ticker(10)
        with pytest.raises(ValueError, match=r"(?i)positive"):
            ticker.reset(seconds)
        ticker.stop()

    run(main)


# --- sync ----------------------------------------------------------------------------------------


def test_unlock_of_unlocked(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="unlock of unlocked"):
            Mutex().unlock()
        with pytest.raises(RuntimeError, match="unlocked"):
            RWMutex().unlock()
        with pytest.raises(RuntimeError, match="unlocked"):
            RWMutex().runlock()
        rw = RWMutex()
        await rw.rlock()
        with pytest.raises(RuntimeError, match="unlocked"):
            rw.unlock()
        rw.runlock()

    run(main)


def test_waitgroup_misuse(run: Run) -> None:
    async def main() -> None:
        with pytest.raises((RuntimeError, ValueError), match="negative WaitGroup counter"):
            WaitGroup().done()
        with pytest.raises(TypeError):
            WaitGroup().add("1")  # type: ignore[arg-type]

    run(main)


def test_cond_wait_without_the_lock(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"(?i)lock"):
            await Cond(Mutex()).wait()

    run(main)


def test_semaphore_misuse(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(ValueError):
            Semaphore(-1)
        sem = Semaphore(2)
        with pytest.raises(ValueError):
            await sem.acquire(-1)
        with pytest.raises(ValueError, match=r"3|2"):
            await sem.acquire(3)  # can never be had
        with pytest.raises((RuntimeError, ValueError)):
            sem.release()
        assert sem.try_acquire(2)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        run(main)


def test_with_instead_of_async_with(run: Run) -> None:
    async def main() -> None:
        with pytest.raises((TypeError, AttributeError), match=r"async with|context manager"):
            with Mutex():  # type: ignore[attr-defined]
                pass
        with pytest.raises((TypeError, AttributeError), match=r"async with|context manager"):
            with gort.Group():  # type: ignore[attr-defined]
                pass

    run(main)


# --- other libraries -----------------------------------------------------------------------------


def test_asyncio_future_in_a_goroutine(run: Run) -> None:
    """Awaiting what only an event loop can wake names asyncio and a way out; other goroutines go on."""

    async def main() -> str:
        loop = asyncio.new_event_loop()
        try:
            future = loop.create_future()
            with pytest.raises((RuntimeError, TypeError), match="asyncio"):
                await future
        finally:
            loop.close()
        ch: gort.Chan[str] = gort.Chan(1)
        await ch.send("went on")
        return await ch.recv()

    assert run(main) == "went on"


def test_asyncio_sleep_in_a_goroutine(run: Run) -> None:
    async def main() -> str:
        with pytest.raises(RuntimeError):
            await asyncio.sleep(1)
        await gort.gosched()
        return "went on"

    assert run(main) == "went on"


@pytest.mark.skipif(importlib.util.find_spec("trio") is None, reason="trio is not installed")
def test_trio_in_a_goroutine(run: Run) -> None:
    import trio

    async def main() -> str:
        with pytest.raises((RuntimeError, TypeError), match=r"(?i)trio|async context"):
            await trio.sleep(1)
        with pytest.raises((RuntimeError, TypeError), match=r"(?i)trio|async context"):
            await trio.lowlevel.checkpoint()
        await gort.gosched()
        return "went on"

    assert run(main) == "went on"


def test_an_awaitable_that_yields_something(run: Run) -> None:
    """A strange yield raises in the goroutine that did it, naming what was yielded."""

    class Strange:
        def __await__(self) -> Any:
            yield "something strange"

    async def main() -> str:
        with pytest.raises((RuntimeError, TypeError), match=r"something strange|str"):
            await Strange()
        await gort.gosched()
        return "went on"

    assert run(main) == "went on"


def test_asyncio_run_inside_a_goroutine_that_uses_gort(run: Run) -> None:
    """An event loop inside a goroutine works for asyncio's things; gort's operations in it are refused."""

    async def inner() -> None:
        await gort.gosched()

    async def main() -> str:
        assert asyncio.run(asyncio.sleep(0, "asyncio")) == "asyncio"
        with pytest.raises(RuntimeError, match=r"(?i)gort|event loop"):
            asyncio.run(inner())
        await gort.gosched()
        return "went on"

    assert run(main) == "went on"


def test_one_coroutine_awaited_by_two_goroutines(run: Run) -> None:
    """Python's own error, in the second goroutine; the first is not disturbed."""

    async def main() -> list[str]:
        ch: gort.Chan[str] = gort.Chan()

        async def shared() -> str:
            return await ch.recv()

        coro = shared()
        results: list[str] = []

        async def user() -> None:
            try:
                results.append(await coro)
            except RuntimeError as exc:
                results.append(type(exc).__name__)
                await ch.send("value")

        async with gort.Group() as group:
            group.go(user)
            group.go(user)
        return results

    assert sorted(run(main)) == ["RuntimeError", "value"]
