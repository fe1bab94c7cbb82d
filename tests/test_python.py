"""Goroutines are ordinary Python coroutines: context variables, async with/for, generators, tracebacks."""

from __future__ import annotations

import contextlib
import contextvars
import decimal
import gc
import itertools
import sys
import traceback
import types
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

import pytest

import gort
from gort.sync import WaitGroup
from support import parked, recv, until

Run = Callable[..., Any]
var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="default")


# --- context variables --------------------------------------------------------------------------


def test_contextvars_are_inherited_at_go(run: Run) -> None:
    """A goroutine sees the values its creator had at the go statement, not later ones."""

    async def main() -> list[str]:
        seen: list[str] = []
        wg = WaitGroup()

        async def child() -> None:
            seen.append(var.get())

        var.set("one")
        wg.go(child)
        var.set("two")
        wg.go(child)
        await wg.wait()
        return sorted(seen)

    assert run(main) == ["one", "two"]


def test_contextvars_are_isolated(run: Run) -> None:
    """What a goroutine sets is its own, across awaits and migrations."""

    async def main() -> bool:
        good: list[bool] = []

        async def child(name: str) -> None:
            var.set(name)
            for _ in range(20):
                await gort.gosched()
                good.append(var.get() == name)

        var.set("main")
        async with gort.Group() as group:
            for i in range(10):
                group.go(child, f"child {i}")
        return var.get() == "main" and all(good) and len(good) == 200

    assert run(main)


def test_contextvars_of_the_caller_reach_main(run: Run) -> None:
    """main inherits from the caller of run, and does not change the caller's."""

    async def main() -> str:
        before = var.get()
        var.set("changed")
        await gort.gosched()
        assert var.get() == "changed"
        return before

    token = var.set("caller")
    try:
        assert run(main) == "caller"
        assert var.get() == "caller"
    finally:
        var.reset(token)


def test_contextvars_in_plain_functions_and_blocking(run: Run) -> None:
    async def main() -> list[str]:
        seen: list[str] = []
        var.set("set in main")
        seen.append(await gort.blocking(var.get))
        gort.go(lambda: seen.append(var.get()))
        await until(lambda: len(seen) == 2)
        fired: gort.Chan[str] = gort.Chan(1)
        gort.after_func(0.001, lambda: fired.try_send(var.get()))
        seen.append(await fired.recv())
        return seen

    assert run(main) == ["set in main"] * 3


def test_contextvar_tokens_reset_after_an_await(run: Run) -> None:
    """A token is valid in the goroutine that made it, wherever it runs."""

    async def child() -> None:
        for _ in range(20):
            token = var.set("inner")
            await gort.gosched()
            var.reset(token)
            assert var.get() == "default"

    async def main() -> None:
        async with gort.Group() as group:
            for _ in range(8):
                group.go(child)

    run(main)


def test_decimal_contexts_are_per_goroutine(run: Run) -> None:
    """decimal.localcontext lives in a context variable: precision does not leak."""

    async def child(prec: int) -> int:
        with decimal.localcontext() as ctx:
            ctx.prec = prec
            await gort.gosched()
            return len(str(decimal.Decimal(1) / decimal.Decimal(3))) - 2

    async def main() -> list[int]:
        async with gort.Group() as group:
            handles = [group.go(child, prec) for prec in range(5, 25)]
        return [h.result() for h in handles]

    assert run(main) == list(range(5, 25))


# --- async with, async for, comprehensions ------------------------------------------------------


async def count(n: int) -> AsyncIterator[int]:
    for i in range(n):
        await gort.gosched()
        yield i


def test_async_comprehensions(run: Run) -> None:
    async def main() -> tuple[Any, ...]:
        ch: gort.Chan[int] = gort.Chan(5)
        for i in range(5):
            await ch.send(i)
        return (
            [i async for i in count(5) if i % 2],
            {i async for i in count(3)},
            {i: j async for i in count(2) async for j in count(3)},
            [i + await ch.recv() for i in range(2)],
            sum([x async for x in (i * i async for i in count(4))]),
        )

    assert run(main) == ([1, 3], {0, 1, 2}, {0: 2, 1: 2}, [0, 2], 14)


def test_async_context_managers(run: Run) -> None:
    """AsyncExitStack, exceptions seen and swallowed in __aexit__, awaits inside."""
    log: list[str] = []

    @contextlib.asynccontextmanager
    async def manager(name: str, swallow: bool = False) -> AsyncIterator[str]:
        await gort.gosched()
        log.append(f"enter {name}")
        try:
            yield name
        except ValueError:
            log.append(f"error in {name}")
            if not swallow:
                raise
        finally:
            await gort.gosched()
            log.append(f"exit {name}")

    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(manager("a", swallow=True))
            await stack.enter_async_context(manager("b"))
            raise ValueError

    run(main)
    assert log == ["enter a", "enter b", "error in b", "exit b", "error in a", "exit a"]


def test_async_generators_send_throw_close(run: Run) -> None:
    async def main() -> list[Any]:
        log: list[Any] = []

        async def echo() -> Any:
            got = None
            try:
                while True:
                    await gort.gosched()
                    try:
                        got = yield got
                    except KeyError:
                        got = "thrown"
            finally:
                await gort.gosched()
                log.append("closed")

        gen = echo()
        log.append(await gen.asend(None))
        log.append(await gen.asend("x"))
        log.append(await gen.athrow(KeyError()))
        await gen.aclose()
        return log

    assert run(main) == [None, "x", "thrown", "closed"]


def test_abandoned_async_generator_is_closed(run: Run) -> None:
    """An async generator left early runs its `finally`, awaits in it included, before the program ends."""
    log: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            for i in range(100):
                yield i
        finally:
            log.append("closing")
            await gort.gosched()
            log.append("closed")

    async def main() -> None:
        async for i in numbers():
            if i == 3:
                break
        gc.collect()

    run(main)
    assert log == ["closing", "closed"]


def test_async_generator_still_referenced_at_the_end_is_closed(run: Run) -> None:
    log: list[str] = []
    kept: list[Any] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await gort.gosched()
            log.append("closed")

    async def main() -> None:
        gen = numbers()
        kept.append(gen)
        assert await anext(gen) == 1

    run(main)
    assert log == ["closed"]
    hooks = sys.get_asyncgen_hooks()
    assert (hooks.firstiter, hooks.finalizer) == (None, None), "the thread's hooks were left behind"


def test_async_generator_between_goroutines(run: Run) -> None:
    """Started in one goroutine, finished in another (on another thread, with several Ps)."""

    async def main() -> list[int]:
        gen = count(10)
        got: list[int] = []

        async def take(n: int) -> None:
            for _ in range(n):
                got.append(await anext(gen))

        for _ in range(5):
            async with gort.Group() as group:
                group.go(take, 2)
        with pytest.raises(StopAsyncIteration):
            await anext(gen)
        return got

    assert run(main) == list(range(10))


# --- awaiting -----------------------------------------------------------------------------------


def test_custom_awaitables(run: Run) -> None:
    """__await__ written in Python, types.coroutine, generators between: operations pass through them all."""

    class Twice:
        def __init__(self, ch: gort.Chan[int]) -> None:
            self.ch = ch

        def __await__(self) -> Generator[Any, Any, int]:
            a = yield from self.ch.recv().__await__()
            b = yield from self.ch.recv().__await__()
            return int(a + b)

    @types.coroutine
    def old_style(ch: gort.Chan[int]) -> Generator[Any, Any, int]:
        value = yield from ch.recv().__await__()
        return int(value)

    async def main() -> tuple[int, int]:
        ch: gort.Chan[int] = gort.Chan()

        async def feed() -> None:
            for i in (1, 2, 4):
                await ch.send(i)

        gort.go(feed)
        return await Twice(ch), await old_style(ch)

    assert run(main) == (3, 4)


@pytest.mark.parametrize("cancelled", [False, True])
def test_what_an_awaitable_yields_is_nobodys_result(run: Run, cancelled: bool) -> None:
    """An awaitable may suspend on an operation and yield an object of its own.  No goroutine gets that as its result."""

    class Own:
        """Suspends on an operation by hand, twice, if the first one is cancelled."""

        def __await__(self) -> Generator[Any, Any, None]:
            for ch in (gort.Chan[int](), gort.Chan[int]()):
                steps = iter(ch.recv())
                next(steps)
                chans.append(ch)
                try:
                    yield self
                    next(steps, None)
                except gort.Cancelled:
                    continue
                return

    chans: list[gort.Chan[int]] = []

    async def waits() -> None:
        await Own()

    async def nothing() -> None:
        pass

    async def main() -> tuple[object, object]:
        async with gort.Group() as group:
            first = group.go(waits)
            await parked(1, "chan receive")
            if cancelled:
                first.cancel()
                await until(lambda: len(chans) == 2)
                await parked(1, "chan receive")
            last = group.go(nothing)
            await until(lambda: last.done)
            await chans[-1].send(1)
        return first.result(), last.result()

    assert run(main) == (None, None)


def test_deep_awaits(run: Run) -> None:
    """An operation under two hundred coroutines suspends and resumes them all."""

    async def deep(n: int, ch: gort.Chan[int]) -> int:
        return await ch.recv() if n == 0 else 1 + await deep(n - 1, ch)

    async def main() -> int:
        ch: gort.Chan[int] = gort.Chan()
        async with gort.Group() as group:
            handle = group.go(deep, 200, ch)
            await parked(1, "chan receive")
            await ch.send(1000)
        return handle.result()

    assert run(main) == 1200


def test_endless_recursion_is_an_error_not_a_crash(run: Run) -> None:
    async def endless() -> None:
        await endless()

    async def main() -> str:
        with pytest.raises(RecursionError):
            await endless()
        await gort.gosched()
        return "went on"

    assert run(main) == "went on"


def test_stop_iteration_through_a_channel(run: Run) -> None:
    """Values that Python's protocols treat specially pass as ordinary values."""

    async def main() -> list[str]:
        ch: gort.Chan[Any] = gort.Chan()
        out = []

        async def feed() -> None:
            for v in (StopIteration(5), (1, 2), None, StopAsyncIteration(), ValueError("v"), NotImplemented):
                await ch.send(v)
            ch.close()

        gort.go(feed)
        async for v in ch:
            out.append(repr(v))
        return out

    assert run(main) == ["StopIteration(5)", "(1, 2)", "None", "StopAsyncIteration()", "ValueError('v')",
                         "NotImplemented"]  # fmt: skip


def test_raising_stop_iteration_in_a_goroutine(run: Run) -> None:
    """Becomes a RuntimeError, as in any coroutine."""

    async def bad() -> None:
        await gort.gosched()
        raise StopIteration

    async def main() -> None:
        with pytest.raises(RuntimeError, match="StopIteration"):
            await bad()

    run(main)


def test_operations_in_exception_handlers(run: Run) -> None:
    """The exception being handled belongs to the goroutine: others do not see it, and it is there after."""

    async def handler(name: str) -> str:
        try:
            raise ValueError(name)
        except ValueError:
            for _ in range(10):
                await gort.gosched()
            current = sys.exc_info()[1]
            return repr(current)

    async def clean() -> str:
        for _ in range(10):
            await gort.gosched()
        return repr(sys.exc_info()[1])

    async def main() -> list[str]:
        async with gort.Group() as group:
            handles = [group.go(handler, "a"), group.go(clean), group.go(handler, "b"), group.go(clean)]
        return [h.result() for h in handles]

    assert run(main) == ["ValueError('a')", "None", "ValueError('b')", "None"]


# --- tracebacks ---------------------------------------------------------------------------------


async def _raises() -> None:
    await gort.gosched()
    raise LookupError("here")


async def _middle() -> None:
    await _raises()


async def _outer() -> None:
    await _middle()


def _functions(exc: BaseException) -> list[str]:
    return [f.name for f in traceback.extract_tb(exc.__traceback__)]


def test_traceback_across_awaits(run: Run) -> None:
    """All coroutines of the goroutine are in the traceback, in order, and none of gort's frames among
    them."""

    async def main() -> list[str]:
        try:
            await _outer()
        except LookupError as exc:
            return _functions(exc)
        return []

    assert run(main) == ["main", "_outer", "_middle", "_raises"]


def test_traceback_of_main(run: Run) -> None:
    """What leaves run still shows the user's frames, last."""
    with pytest.raises(LookupError) as info:
        run(_outer)
    assert _functions(info.value)[-3:] == ["_outer", "_middle", "_raises"]


def test_traceback_names_the_await(run: Run) -> None:
    """An error raised by an operation points at the line that awaits it."""

    async def main() -> str:
        ch: gort.Chan[int] = gort.Chan()
        ch.close()
        try:
            await ch.send(1)  # this line
        except gort.ChannelClosed as exc:
            lines = [f.line or "" for f in traceback.extract_tb(exc.__traceback__) if f.filename == __file__]
            return lines[-1]
        return ""

    assert "this line" in run(main)


def test_causes_and_contexts(run: Run) -> None:
    async def main() -> tuple[str, str]:
        try:
            try:
                await _raises()
            except LookupError as exc:
                await gort.gosched()
                raise ValueError from exc
        except ValueError as exc:
            cause = exc.__cause__
        try:
            try:
                await _raises()
            finally:
                await gort.gosched()
                raise KeyError
        except KeyError as exc:
            context = exc.__context__
        return repr(cause), repr(context)

    assert run(main) == ("LookupError('here')", "LookupError('here')")


def test_the_same_error_object_does_not_grow(run: Run) -> None:
    """ChannelClosed raised to many goroutines: each has a traceback of its own."""

    async def main() -> list[int]:
        ch: gort.Chan[int] = gort.Chan()
        lengths: list[int] = []

        async def waiter() -> None:
            try:
                await recv(ch)
            except gort.ChannelClosed as exc:
                lengths.append(len(_functions(exc)))

        async with gort.Group() as group:
            for _ in range(10):
                group.go(waiter)
            await parked(10, "chan receive")
            ch.close()
        return lengths

    lengths = run(main)
    assert len(lengths) == 10
    assert len(set(lengths)) == 1


def test_chan_is_generic_at_run_time() -> None:
    """Chan[int](8) makes a channel; the parameter is for type checkers."""
    ch = gort.Chan[int](8)
    assert ch.capacity == 8
    assert isinstance(ch, gort.Chan)
    assert ch.try_send("not checked")  # type: ignore[arg-type]


# --- tracebacks of groups -----------------------------------------------------------------------


def entries(exc: BaseException) -> list[str]:
    """The functions in a traceback."""
    return [frame.name for frame in traceback.extract_tb(exc.__traceback__)]


def test_c20_a_result_raises_the_same_traceback_each_time(run: Run) -> None:
    """The tenth `await h` or h.result() shows no more than the first: the caller, and where the member failed."""

    async def fails() -> None:
        await gort.gosched()
        raise ValueError("no")

    async def main() -> None:
        with contextlib.suppress(ExceptionGroup):
            async with gort.Group() as g:
                h = g.go(fails)
        seen = []
        for _ in range(10):
            with pytest.raises(ValueError, match="no") as by_result:
                h.result()
            seen.append(entries(by_result.value))
            with pytest.raises(ValueError, match="no") as by_await:
                await h
            seen.append(entries(by_await.value))
        assert seen[0] == ["main", "result", "fails"]
        assert seen == seen[:2] * 10

    run(main)


def test_c20_a_members_traceback_begins_at_the_member(run: Run) -> None:
    """Of the scheduler's frames it has none, however the member was resumed."""

    async def fails_cancelled() -> None:
        try:
            await gort.Chan[int]().recv()
        finally:
            raise KeyError("in the cleanup")

    async def fails() -> None:
        await gort.gosched()
        raise ValueError("first")

    def plain() -> None:
        raise IndexError("plain")

    async def main(fn: Callable[[], Any]) -> None:
        async with gort.Group() as g:
            h = g.go(fn)
            if fn is fails_cancelled:
                await parked(1, "chan receive")
                h.cancel()

    for fn in (fails_cancelled, fails, plain):
        with pytest.raises(ExceptionGroup) as info:
            run(main, fn)
        assert entries(info.value.exceptions[0]) == [fn.__name__]


def text_of(exc: BaseException) -> str:
    return "".join(traceback.format_exception(exc))


@pytest.mark.parametrize("waits", [False, True], ids=["body ends", "body waits"])
def test_c20_the_traceback_of_nested_groups_is_linear(run: Run, waits: bool) -> None:
    """One level adds three frames at any depth, and tells of no cancellation: that was the group's own."""

    async def level(n: int) -> None:
        if n == 0:
            raise ValueError("deep")
        async with gort.Group() as g:
            g.go(level, n - 1)
            if waits:
                await gort.Chan[int]().recv()

    def frames(depth: int) -> int:
        with pytest.raises(ExceptionGroup) as info:
            run(level, depth)
        text = text_of(info.value)
        assert "Cancelled" not in text
        assert "During handling" not in text
        return text.count('File "')

    at = [frames(depth) for depth in range(1, 9)]
    assert {b - a for a, b in itertools.pairwise(at)} == {3}, at  # the member's, and __aexit__ and what it calls


def test_a_groups_error_keeps_what_the_user_was_handling(run: Run) -> None:
    """The failure of the body itself, its cause and its context are told: they are members of the group."""

    async def main() -> None:
        async with gort.Group():
            try:
                raise KeyError("first")
            except KeyError:
                raise ValueError("second")

    with pytest.raises(ExceptionGroup) as info:
        run(main)
    text = text_of(info.value)
    assert text.count("KeyError: 'first'") == 1
    assert text.count("ValueError: second") == 1


@pytest.mark.parametrize("ends", ["returns", "fails", "panics", "deadlocks"])
def test_async_generators_are_closed_however_the_program_ends(run: Run, ends: str) -> None:
    """Also one that only a goroutine held which the end has closed."""
    log: list[str] = []

    async def numbers(name: str) -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            log.append(name)

    async def holds(name: str) -> None:
        mine = numbers(name)
        await anext(mine)
        await gort.Chan[int]().recv()

    async def fails() -> None:
        raise ValueError

    async def main() -> None:
        gort.go(holds, "goroutine")
        await parked(1, "chan receive")
        if ends == "panics":
            gort.go(fails)
        elif ends == "fails":
            await fails()
        elif ends == "returns":
            return
        await holds("main")

    with contextlib.suppress(ValueError, gort.Panic, gort.Deadlock):
        run(main)
    assert "goroutine" in log
    assert "main" in log or ends != "deadlocks"  # where another goroutine panics, main may not have come to it
