"""Mistakes: each gets an error that names the mistake and the remedy, at the place where it was made."""

from __future__ import annotations

import asyncio
import copy
import gc
import importlib.util
import math
import pickle
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import gort
import gort.net
from gort import context
from gort.sync import Cond, Mutex, Once, Pool, RWMutex, Semaphore, WaitGroup
from support import PATIENCE_S, parked, until, wait_reasons
from support import recv as support_recv

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
            await gort.select(ch)  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="int"):
            await gort.select(None, 5)  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="an effect before it is over"):
            await gort.select(gort.blocking(print))

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


def waiting_operations() -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """Operations that have to wait, and what ends the wait."""
    ch: gort.Chan[Any] = gort.Chan()
    full: gort.Chan[Any] = gort.Chan(1)
    assert full.try_send(0)
    wg = WaitGroup()
    wg.add(1)
    mu, rw, sem = Mutex(), RWMutex(), Semaphore(1)
    assert mu.try_lock()
    assert rw.try_lock()
    assert sem.try_acquire()

    def send() -> None:
        assert ch.try_send("value")

    return {
        "recv": (ch.recv, send),
        "recv_ok": (ch.recv_ok, send),
        "send": (lambda: full.send(1), full.try_recv),
        "select": (lambda: gort.select(ch.recv()), send),
        "sleep": (lambda: gort.sleep(0.02), lambda: None),
        "wait": (wg.wait, wg.done),
        "lock": (mu.lock, mu.unlock),
        "rlock": (rw.rlock, rw.unlock),
        "acquire": (sem.acquire, sem.release),
        "blocking": (lambda: gort.blocking(lambda: None), lambda: None),
    }


@pytest.mark.parametrize("name", list(waiting_operations()))
def test_operation_awaited_by_two_goroutines(run: Run, name: str) -> None:
    """The second is refused; the first, which waits, is not disturbed and gets its result."""

    async def main() -> list[str]:
        make, end = waiting_operations()[name]
        op = make()
        got: list[str] = []

        async def user() -> None:
            try:
                await op
                got.append("done")
            except RuntimeError as exc:
                assert "already awaited" in str(exc)  # noqa: PT017  (both outcomes are looked at)
                got.append("refused")

        async with gort.Group() as group:
            group.go(user)
            await gort.gosched()
            group.go(user)
            await until(lambda: "refused" in got)
            end()
        return got

    assert sorted(run(main)) == ["done", "refused"]


@pytest.mark.parametrize("how", ["select", "wait"])
def test_operation_of_a_waiting_goroutine_used_elsewhere(run: Run, how: str) -> None:
    """By a select, or by gort.wait in a thread: refused there, and the goroutine goes on waiting."""

    async def main() -> Any:
        ch: gort.Chan[str] = gort.Chan()
        op = ch.recv()

        async def waits() -> str:
            return await op

        def in_a_thread() -> None:
            with pytest.raises(RuntimeError, match="already awaited"):
                gort.wait(op)

        async with gort.Group() as group:
            handle = group.go(waits)
            await parked(1, "chan receive")
            if how == "select":
                with pytest.raises(RuntimeError, match="already awaited"):
                    await gort.select(ch.recv(), op, default=True)
            else:
                await group.go(in_a_thread)
            await ch.send("value")
        return handle.result()

    assert run(main) == "value"


def test_operation_awaited_at_the_same_moment() -> None:
    """On two threads, where threads run in parallel: one gets the value, the other is refused, no queue is torn."""

    async def user(op: Any, ready: list[int], got: list[int]) -> None:
        ready.append(1)
        end = time.monotonic() + 0.002
        while len(ready) < 2 and time.monotonic() < end:
            pass
        try:
            got.append(await op)
        except RuntimeError:
            got.append(-1)

    async def main() -> None:
        for turn in range(300):
            ch: gort.Chan[int] = gort.Chan()
            op, ready, got = ch.recv(), [], []  # type: ignore[var-annotated]
            async with gort.Group() as group:
                group.go(user, op, ready, got)
                group.go(user, op, ready, got)
                await ch.send(turn)
            assert sorted(got) == [-1, turn]

    gort.run(main, procs=2)


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


def test_unlock_by_a_block_that_has_not_locked(run: Run) -> None:
    """Leaving `async with` twice, or with the other kind of unlock."""

    async def main() -> None:
        mu, rw = Mutex(), RWMutex()
        async with mu:
            mu.unlock()
            with pytest.raises(RuntimeError, match="unlock of unlocked"):
                mu.unlock()
            await mu.lock()
        await rw.lock()
        with pytest.raises(RuntimeError, match="unlocked"):
            rw.runlock()
        rw.unlock()
        assert mu.try_lock()
        assert rw.try_lock()

    run(main)


def test_waitgroup_is_unchanged_by_what_it_refuses(run: Run) -> None:
    async def main() -> None:
        wg = WaitGroup()
        wg.add(2)
        with pytest.raises(ValueError, match="negative WaitGroup counter"):
            wg.add(-3)
        with pytest.raises(ValueError, match="negative WaitGroup counter"):
            wg.add(-(1 << 70))
        for much in (2**31 - 1, 2**31, 1 << 63, 1 << 70):  # a C integer must not say it in words of its own
            with pytest.raises(ValueError, match="WaitGroup counter overflow"):
                wg.add(much)
        wg.done()
        wg.done()
        await wg.wait()
        wg.add(2**31 - 1)
        wg.add(-(2**31 - 1))
        await wg.wait()

    run(main)


def test_pool_of_something_that_makes_nothing() -> None:
    with pytest.raises(TypeError, match="function that makes an object, not int"):
        Pool(5)  # type: ignore[call-overload]


# --- a group after its end -----------------------------------------------------------------------


def test_group_before_it_is_entered_and_after_its_end(run: Run) -> None:
    """Each says which it is; nothing is started."""
    ran: list[int] = []

    async def main() -> None:
        group = gort.Group()
        with pytest.raises(RuntimeError, match="has not been entered: async with"):
            group.go(ran.append, 1)
        async with group:
            with pytest.raises(RuntimeError, match="entered once"):
                async with group:
                    pass
        with pytest.raises(RuntimeError, match="has ended"):
            group.go(ran.append, 2)
        with pytest.raises(RuntimeError, match="entered once"):
            async with group:
                pass
        group.cancel()  # of what has ended: nothing
        async with gort.Group() as group:
            group.cancel()
            with pytest.raises(RuntimeError, match="has been cancelled"):
                group.go(ran.append, 3)

    run(main)
    assert ran == []


def test_result_of_a_member_that_has_not_ended(run: Run) -> None:
    async def main() -> int:
        ch: gort.Chan[int] = gort.Chan()
        async with gort.Group() as group:
            handle = group.go(support_recv, ch)
            with pytest.raises(RuntimeError, match="has not ended yet"):
                handle.result()
            await ch.send(5)
        return int(handle.result())

    assert run(main) == 5


# --- after gort.run ------------------------------------------------------------------------------


def test_what_a_program_leaves_can_still_be_used(run: Run) -> None:
    """Channels, locks, operations and handles have no runtime of their own; nobody waits in them any more."""
    ch: gort.Chan[int] = gort.Chan()
    mu, wg, cond, sem = Mutex(), WaitGroup(), Cond(), Semaphore(1)
    kept: dict[str, Any] = {}

    async def waits(operation: Callable[[], Any]) -> None:
        await operation()
        raise AssertionError("nobody ends this wait")

    async def waits_for_cond() -> None:
        async with cond:
            await cond.wait()

    async def first() -> None:
        await mu.lock()
        await sem.acquire()
        wg.add(1)
        for operation in (ch.recv, ch.recv_ok, mu.lock, wg.wait, sem.acquire):
            gort.go(waits, operation)
        gort.go(waits_for_cond)
        async with gort.Group() as kept["group"]:
            kept["handle"] = kept["group"].go(lambda: 7)
        kept["op"] = ch.recv()
        await until(lambda: sum(wait_reasons().values()) - wait_reasons()["running"] >= 6)

    async def second() -> None:
        assert await kept["handle"] == 7
        with pytest.raises(RuntimeError, match="has ended"):
            kept["group"].go(int)
        async with gort.Group() as group:
            received = group.go(recv_of, kept["op"])
            await ch.send(5)
        assert received.result() == 5
        assert not mu.try_lock()
        mu.unlock()
        await mu.lock()
        wg.done()
        await wg.wait()
        sem.release()
        await sem.acquire()
        cond.signal()
        async with cond:
            pass

    async def recv_of(op: Any) -> Any:
        return await op

    run(first)
    assert kept["handle"].result() == 7
    assert not kept["handle"].cancel()
    assert not ch.try_send(1)  # the receivers are gone
    with pytest.raises(TimeoutError):
        gort.wait(ch.recv(), timeout=0.01)
    with pytest.raises(RuntimeError, match=r"gort\.run"):
        kept["group"].go(int)
    run(second)


def test_timers_and_contexts_after_their_program(run: Run) -> None:
    """They can be stopped, also those that were armed; a function that cannot be started any more is refused."""
    kept: dict[str, Any] = {}

    async def main() -> None:
        kept["timers"] = [gort.Timer(100), gort.Ticker(100), gort.after_func(100, int), gort.after_func(200, int)]
        gort.go(support_recv, kept["timers"][0].c)
        kept["ctx"] = context.with_timeout(context.background(), 100)
        await gort.gosched()

    async def fires(timer: gort.Timer) -> bool:
        return bool((await gort.select(timer.c.recv(), gort.after(PATIENCE_S).recv()))[0] == 0)

    run(main)
    timer, ticker, function, other = kept["timers"]
    assert timer.stop()
    ticker.stop()
    assert function.stop()
    assert not function.stop()
    for t in (function, other):
        with pytest.raises(RuntimeError, match="program in which its function would be started has ended"):
            t.reset(1)
    assert not timer.reset(0.001)
    assert run(fires, timer)
    ctx, cancel = kept["ctx"]
    cancel()
    assert isinstance(ctx.err(), context.Canceled)
    for make in (context.with_timeout, context.with_deadline):
        with pytest.raises(RuntimeError, match=rf"context\.{make.__name__} outside a running gort runtime"):
            make(context.background(), time.monotonic() + 100)
    with pytest.raises(RuntimeError, match=r"gort\.after_func"):
        gort.after_func(1, int)


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
            except (RuntimeError, ValueError):  # the latter, where the other is just running it, without the GIL
                results.append("refused")
                await ch.send("value")

        async with gort.Group() as group:
            group.go(user)
            group.go(user)
        return results

    assert sorted(run(main)) == ["refused", "value"]


# --- a forgotten await ----------------------------------------------------------------------------


def test_a_forgotten_await_is_told_of_at_its_line(run: Run) -> None:
    async def helper(ch: gort.Chan[int]) -> None:
        ch.send(1)  # this line

    async def main() -> None:
        await helper(gort.Chan[int]())

    with pytest.warns(RuntimeWarning, match=r"ch\.send\(\) was never awaited") as told:
        run(main)
    assert told[0].filename == __file__
    assert told[0].lineno == helper.__code__.co_firstlineno + 1


def test_a_forgotten_await_before_an_unpacking(run: Run) -> None:
    async def main() -> None:
        _v, _ok = gort.Chan[int]().recv_ok()  # type: ignore[misc]

    with pytest.raises(RuntimeError, match=r"is an `await` missing"):
        run(main)


# --- asyncio ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wait", [lambda: asyncio.sleep(1), lambda: asyncio.Event().wait(), lambda: asyncio.Queue[int]().get()]
)
def test_what_needs_an_asyncio_loop_says_what_to_use(run: Run, wait: Callable[[], Any]) -> None:
    """asyncio's own error, which says that there is no loop, and a note."""

    async def main() -> None:
        await wait()

    with pytest.raises((RuntimeError, AttributeError)) as told:
        run(main)
    assert "await gort.aio.run(main())" in told.value.__notes__[0]


# --- copies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, pickle.dumps], ids=lambda fn: fn.__name__)
def test_what_is_shared_is_not_copied(run: Run, how: Callable[[Any], Any]) -> None:
    """A TypeError that names it, where a copy would be a second lock, or own the descriptor once more."""

    async def main() -> list[str]:
        listener = await gort.net.listen("tcp", "127.0.0.1:0")
        group = gort.Group()
        ctx, cancel = context.with_cancel(context.background())
        timer = gort.Timer(9.0)
        ch = gort.Chan[int](1)
        await ch.send(1)
        receive = ch.recv()
        refused = []
        try:
            things = [ch, Mutex(), RWMutex(), WaitGroup(), Semaphore(1), Once(), Cond(), Pool(), timer,
                      gort.Ticker(9.0), group, ctx, listener, receive]  # fmt: skip
            for thing in things:
                name = type(thing).__name__
                with pytest.raises(TypeError, match=f"a {name} cannot be copied or pickled"):
                    how(thing)
                refused.append(name)
            things[9].stop()  # type: ignore[union-attr]
        finally:
            timer.stop()
            cancel()
            listener.close()
            assert await receive == 1
        return refused

    assert len(run(main)) == 14


# --- a forgotten await -------------------------------------------------------------------------------


async def three() -> int:
    return 3


async def a_generator() -> Any:
    yield 3


unawaited: list[Any] = []  # closed by the test: without the GIL they may live on, and would warn in another test


def made(coroutine: Any) -> Any:
    unawaited.append(coroutine)
    return coroutine


def adds_a_coroutine() -> None:
    made(three()) + 1


def enters_a_coroutine() -> Any:
    async def enter() -> None:
        async with made(gort.net.listen("tcp", "127.0.0.1:0")):
            pass

    return enter()


def adds_an_operation() -> None:
    gort.Chan[int](1).recv() + 1  # type: ignore[operator]


def unpacks_a_coroutine() -> None:
    _, _ = made(three())


def asks_a_coroutine() -> None:
    made(three()).real


def goes_through_a_channel() -> None:
    for _ in gort.Chan[int]():  # type: ignore[attr-defined]
        pass


def goes_through_an_async_generator() -> None:
    for _ in a_generator():
        pass


def enters_a_group() -> None:
    with gort.Group():  # type: ignore[attr-defined]
        pass


FORGOTTEN = [
    (adds_a_coroutine, "write `await f(x)`"),
    (asks_a_coroutine, "write `await f(x)`"),
    (enters_a_coroutine, "write `async with await f(x) as y`"),
    (adds_an_operation, "write `await ch.recv()`"),
    (unpacks_a_coroutine, "write `await f(x)`"),
    (goes_through_a_channel, "write `async for value in ch`"),
    (goes_through_an_async_generator, "write `async for`"),
    (enters_a_group, "write `async with gort.Group() as group`"),
]


@pytest.mark.filterwarnings("ignore:.*was never awaited:RuntimeWarning")  # an operation tells it at once
@pytest.mark.parametrize(("mistake", "remedy"), FORGOTTEN, ids=[mistake.__name__ for mistake, _ in FORGOTTEN])
def test_a_forgotten_await_is_explained(mistake: Callable[[], Any], remedy: str) -> None:
    """Python's message names types; the note says what to write. So it does for a member of a group."""

    async def main() -> None:
        entered = mistake()
        if entered is not None:
            await entered

    async def with_a_group() -> None:
        async with gort.Group() as group:
            group.go(main)

    try:
        with pytest.raises((TypeError, AttributeError)) as alone:
            gort.run(main)
        with pytest.raises(ExceptionGroup) as grouped:
            gort.run(with_a_group)
    finally:
        while unawaited:
            unawaited.pop().close()
    for error in (alone.value, grouped.value.exceptions[0]):
        assert [note for note in error.__notes__ if note.startswith("gort: ") and note.endswith(remedy)], error


def test_other_errors_get_no_note() -> None:
    async def main() -> None:
        "a" + 1  # type: ignore[operator]

    with pytest.raises(TypeError) as failed:
        gort.run(main)
    assert not hasattr(failed.value, "__notes__")
