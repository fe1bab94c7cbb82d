"""Async generators: what a cancellation, a drop, a second iterator and the program's end do to them.

docs/cancellation-cases.md says which cases of CPython's and trio's own tests are shown here. How one is iterated, sent to
and thrown into is in test_python.py; one that raises as it is closed in test_faults.py.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import gort
from gort import Cancelled
from gort._runtime.boot import main as boot
from gort._runtime.core import runtime2
from support import parked, until

Run = Callable[..., Any]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What sys.unraisablehook is told of."""
    seen: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda u: seen.append(u.exc_value))
    return seen


async def drop(agen: Any) -> None:
    """Begins the generator, and keeps it no longer."""
    await anext(agen)


# ---- iteration --------------------------------------------------------------------------------------------------------


def test_it_waits_returns_and_stays_at_its_end(run: Run) -> None:
    async def numbers(ch: gort.Chan[int]) -> AsyncIterator[int]:
        yield 1
        yield await ch.recv()
        await gort.gosched()

    async def main() -> list[int]:
        ch: gort.Chan[int] = gort.Chan(1)
        await ch.send(2)
        gen = numbers(ch)
        got = [n async for n in gen]
        for _ in range(2):
            with pytest.raises(StopAsyncIteration):
                await anext(gen)
        return got

    assert run(main) == [1, 2]


def test_an_error_ends_it(run: Run) -> None:
    log: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            await gort.gosched()
            raise ZeroDivisionError
        finally:
            await gort.gosched()
            log.append("closed")

    async def main() -> None:
        gen = numbers()
        with pytest.raises(ZeroDivisionError):
            async for n in gen:
                log.append(str(n))
        with pytest.raises(StopAsyncIteration):
            await anext(gen)

    run(main)
    assert log == ["1", "closed"]


def test_a_second_iterator_is_refused_and_the_first_goes_on(run: Run) -> None:
    async def numbers(ch: gort.Chan[int]) -> AsyncIterator[int]:
        yield 0
        yield await ch.recv()

    async def take(gen: Any) -> Any:
        return await anext(gen)

    async def main() -> int:
        ch: gort.Chan[int] = gort.Chan()
        gen: Any = numbers(ch)
        await anext(gen)
        async with gort.Group() as group:
            first = group.go(take, gen)
            await parked(1, "chan receive")
            for again in (gen.asend, lambda _: gen.athrow(KeyError()), lambda _: gen.aclose()):
                with pytest.raises(RuntimeError, match="already running"):
                    await again(None)
            await ch.send(7)
        await gen.aclose()
        await gen.aclose()
        return int(first.result())

    assert run(main) == 7


# ---- closing ----------------------------------------------------------------------------------------------------------


def test_aclose_waits_for_the_cleanup(run: Run) -> None:
    """Also for a member of a group outside, and for what the cleanup catches."""
    log: list[str] = []

    async def fails() -> None:
        raise ZeroDivisionError

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            try:
                async with gort.Group() as group:
                    group.go(fails)
            except* ZeroDivisionError:
                log.append("caught")
            await gort.gosched()
            log.append("closed")
        log.append("never")

    async def main() -> None:
        gen: Any = numbers()
        await anext(gen)
        await gen.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(gen)

    run(main)
    assert log == ["caught", "closed"]


async def refuses() -> AsyncIterator[int]:
    try:
        yield 1
    finally:
        await gort.gosched()
        yield 2


def test_one_that_yields_as_it_is_closed(run: Run) -> None:
    async def main() -> None:
        gen: Any = refuses()
        await anext(gen)
        with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
            await gen.aclose()

    run(main)


def test_one_that_is_dropped_and_yields_as_it_is_closed_is_reported(run: Run, told: list[Any]) -> None:
    async def main() -> None:
        await drop(refuses())
        gc.collect()
        await until(lambda: told)

    run(main)
    assert [type(e) for e in told] == [RuntimeError]


def test_one_that_is_dropped_before_it_has_begun_runs_nothing(run: Run, told: list[Any]) -> None:
    async def never() -> AsyncIterator[int]:
        told.append("begun")
        yield 1

    async def main() -> int:
        never()
        gen = never()
        del gen
        gc.collect()
        return gort.runtime.num_goroutine()

    assert run(main) == 1
    assert told == []


def test_a_cleanup_that_catches_the_exit_ends_as_usual(run: Run) -> None:
    log: list[str] = []

    async def catches() -> AsyncIterator[int]:
        try:
            yield 1
        except GeneratorExit:
            await gort.gosched()
        log.append("goes on to its end")

    async def main() -> None:
        gen: Any = catches()
        await anext(gen)
        await gen.aclose()

    run(main)
    assert log == ["goes on to its end"]


# ---- cancellation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["for", "asend", "athrow"])
def test_the_goroutine_is_cancelled_while_it_waits_in_the_generator(run: Run, how: str) -> None:
    """Cancelled is raised in the generator, which cleans up, waits, and is at its end."""
    log: list[str] = []

    async def numbers(ch: gort.Chan[int]) -> AsyncIterator[int]:
        try:
            try:
                yield 1
            except KeyError:
                log.append("thrown")
            await ch.recv()
        except Cancelled:
            log.append("cancelled")
            raise
        finally:
            await gort.gosched()
            log.append("closed")

    async def main() -> None:
        gens: list[Any] = [numbers(gort.Chan())]

        async def member() -> None:
            gen = gens[0]
            if how == "for":
                async for _ in gen:
                    pass
            await anext(gen)
            await (gen.asend(5) if how == "asend" else gen.athrow(KeyError()))

        async with gort.Group() as group:
            h = group.go(member)
            await parked(1, "chan receive")
            h.cancel()
        assert isinstance(h.exception(), Cancelled)
        with pytest.raises(StopAsyncIteration):
            await anext(gens[0])

    run(main)
    assert log == (["thrown"] if how == "athrow" else []) + ["cancelled", "closed"]


def test_a_timeout_around_the_iteration(run: Run) -> None:
    log: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            await gort.Chan[int]().recv()
        finally:
            await gort.gosched()
            log.append("closed")

    async def main() -> None:
        gen = numbers()
        with pytest.raises(TimeoutError):
            async with gort.timeout(0.01):
                async for n in gen:
                    log.append(str(n))
        assert log == ["1", "closed"]

    run(main)


def test_a_dump_shows_who_iterates(run: Run) -> None:
    """And has no frames of the generator itself: the interpreter does not tell which one is awaited."""

    async def numbers(ch: gort.Chan[int]) -> AsyncIterator[int]:
        yield await ch.recv()

    async def iterates(ch: gort.Chan[int]) -> None:
        async for _ in numbers(ch):
            pass

    async def main() -> str:
        ch: gort.Chan[int] = gort.Chan()
        gen: Any = numbers(ch)
        async with gort.Group() as group:
            group.go(iterates, ch)
            group.go(gen.__anext__)
            await parked(2, "chan receive")
            text = gort.runtime.stack(all=True)
            group.cancel()
        return text

    assert "iterates(...)" in run(main)


@pytest.mark.parametrize("method", ["__anext__", "aclose"])
def test_a_method_of_a_generator_is_a_goroutines_function(run: Run, method: str) -> None:
    log: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            await gort.gosched()
            yield 2
        finally:
            log.append("closed")

    async def main() -> Any:
        gen = numbers()
        await anext(gen)
        async with gort.Group() as group:
            h = group.go(getattr(gen, method))
        await gen.aclose()  # type: ignore[attr-defined]
        return h.result()

    assert run(main) == (2 if method == "__anext__" else None)
    assert log == ["closed"]


# ---- the end of the program -------------------------------------------------------------------------------------------


def test_goroutines_that_wait_in_a_generator_at_the_end(run: Run, told: list[Any]) -> None:
    """Theirs are closed with them, and nothing is reported."""
    log: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            await gort.Chan[int]().recv()
            yield 1
        finally:
            log.append("closed")

    async def iterates() -> None:
        async for _ in numbers():
            pass

    async def main() -> None:
        gort.go(iterates)
        gort.go(iterates)
        await parked(2, "chan receive")

    run(main)
    gc.collect()
    assert log == ["closed"] * 2
    assert told == []


def test_a_generator_that_begins_another_as_it_is_closed(run: Run, told: list[Any]) -> None:
    """That one is closed too, and may wait, however many follow."""
    kept: list[Any] = []
    log: list[int] = []

    async def numbers(n: int) -> AsyncIterator[int]:
        try:
            yield n
        finally:
            await gort.gosched()
            log.append(n)
            if n:
                kept.append(numbers(n - 1))
                await anext(kept[-1])

    async def main() -> None:
        kept.append(numbers(3))
        await anext(kept[0])

    run(main)
    assert log == [3, 2, 1, 0]
    assert told == []


def test_generators_that_need_each_other_as_they_are_closed(run: Run, told: list[Any]) -> None:
    """Each ends the one inside it, if the program's end has not done so yet. It cannot choose a wrong order."""
    kept: list[Any] = []
    log: list[int] = []

    async def innermost() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await gort.gosched()
            log.append(0)

    async def around(n: int, inner: Any) -> AsyncIterator[int]:
        try:
            yield await anext(inner)
        finally:
            with pytest.raises(StopAsyncIteration):
                await anext(inner)
            log.append(n)

    async def main() -> None:
        gen: Any = innermost()
        for n in range(1, 50):
            gen = around(n, gen)
        kept.append(gen)
        await anext(gen)

    run(main)
    assert log == list(range(50))
    assert told == []


def test_the_last_reference_goes_while_the_others_are_closed(run: Run, told: list[Any]) -> None:
    kept: list[Any] = []
    log: list[str] = []

    async def numbers(name: str) -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            kept.clear()
            gc.collect()
            await gort.gosched()
            log.append(name)

    async def main() -> None:
        kept.extend([numbers("a"), numbers("b"), numbers("c")])
        for gen in kept:
            await anext(gen)

    run(main)
    assert sorted(log) == ["a", "b", "c"]
    assert told == []


def test_the_callers_hooks_get_the_callers_generators(run: Run) -> None:
    """gort takes those that begin in its goroutines. One that began before belongs to who had the hooks then."""
    log: list[str] = []

    async def numbers(name: str) -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            log.append(f"{name} closed")

    def first(agen: Any) -> None:
        log.append(f"first {agen.ag_frame.f_locals['name']}")

    def last(agen: Any) -> None:
        log.append(f"last {agen.ag_frame.f_locals['name']}")
        with pytest.raises(StopIteration):
            agen.aclose().send(None)

    old = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(first, last)
    try:
        theirs: Any = numbers("theirs")
        with pytest.raises(StopIteration):
            theirs.asend(None).send(None)

        async def main() -> None:
            nonlocal theirs
            assert await anext(theirs) == 2
            theirs = None
            gc.collect()
            await drop(numbers("ours"))
            gc.collect()

        run(main)
        assert sys.get_asyncgen_hooks() == (first, last)
    finally:
        sys.set_asyncgen_hooks(*old)
    assert log == ["first theirs", "last theirs", "theirs closed", "ours closed"]


def test_one_that_has_refused_to_close_is_not_reported_at_the_end(run: Run, told: list[Any]) -> None:
    """The program's end calls aclose() again, which raises StopAsyncIteration on a generator that was closed before."""
    kept: list[Any] = []

    async def main() -> None:
        kept.append(refuses())
        await anext(kept[0])
        with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
            await kept[0].aclose()

    run(main)
    assert told == []
    kept.clear()
    gc.collect()


@pytest.mark.skipif(not boot.UNCOMPILED_WITHOUT_GIL, reason="there the interpreter drops nothing in a section")
def test_one_that_is_dropped_in_a_section_is_closed_outside(run: Run) -> None:
    """Without the GIL the uncompiled core may be in the middle of a section when the interpreter drops a generator that
    another thread has let go.  The finalizer took locks there, which the checker of ranks ends the program for."""
    closed: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await gort.gosched()
            closed.append("closed")

    async def main() -> None:
        s = runtime2.current_m().sched
        agen: Any = numbers()
        await anext(agen)
        s.lock()
        s.agens.finalizer(agen)
        s.unlock()
        await until(lambda: closed)

    run(main)
    assert closed == ["closed"]
