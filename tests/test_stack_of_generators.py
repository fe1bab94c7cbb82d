"""Dumps show the frames of async generators, and of what else CPython puts between two coroutines without an attribute
for it: asend, athrow, aclose, anext with a default, a coroutine's __await__."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

import gort
from gort import net, runtime
from support import parked

Run = Callable[..., Any]


async def waits_inside() -> AsyncIterator[int]:
    yield 1
    await gort.Chan[int]().recv()


async def outer_generator() -> AsyncIterator[int]:
    async for n in waits_inside():
        yield n


async def iterates() -> None:
    async for _ in outer_generator():
        pass


async def anext_with_default() -> None:
    agen = waits_inside()
    await anext(agen)
    await anext(agen, 5)


async def closes() -> None:
    async def waits_at_its_end() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await gort.Chan[int]().recv()

    async with aclosing(waits_at_its_end()) as agen:
        await anext(agen)


async def throws() -> None:
    async def waits_in_except() -> AsyncIterator[int]:
        try:
            yield 1
        except KeyError:
            await gort.Chan[int]().recv()

    agen = waits_in_except()
    await anext(agen)
    await agen.athrow(KeyError())


async def manages() -> None:
    @asynccontextmanager
    async def manager() -> AsyncIterator[None]:
        await gort.Chan[int]().recv()
        yield

    async with manager():
        pass


class Wraps:
    def __await__(self) -> Generator[Any, Any, int]:
        return self.inner().__await__()

    async def inner(self) -> int:
        return await gort.Chan[int]().recv()


async def wraps() -> None:
    await Wraps()


SHOWN = [
    (iterates, ["waits_inside", "outer_generator", "iterates"]),
    (anext_with_default, ["waits_inside", "anext_with_default"]),
    (closes, ["closes.waits_at_its_end", "aclosing.__aexit__", "closes"]),
    (throws, ["throws.waits_in_except", "throws"]),
    (manages, ["manages.manager", "_AsyncGeneratorContextManager.__aenter__", "manages"]),
    (wraps, ["Wraps.inner", "wraps"]),
]


def frames(text: str, function: str) -> list[str]:
    """The functions of the goroutine in whose stack that one is, innermost first."""
    for goroutine in text.split("\n\n"):
        names = [line[: -len("(...)")] for line in goroutine.splitlines() if line.endswith("(...)")]
        names = [name.rpartition("test_stack_of_generators.")[2].removeprefix("contextlib.") for name in names]
        if function in names:
            return names
    return []


@pytest.mark.parametrize(("function", "expected"), SHOWN, ids=lambda x: getattr(x, "__name__", ""))
def test_a_dump_shows_the_frames_within(run: Run, function: Callable[[], Any], expected: list[str]) -> None:
    async def main() -> str:
        async with gort.Group() as group:
            h = group.go(function)
            await parked(1, "chan receive")
            text = runtime.stack(all=True)
            h.cancel()
        return text

    assert frames(run(main), function.__name__) == expected


def test_a_dump_shows_who_accepts(run: Run) -> None:
    """ln.accept() is a coroutine in an object of gort's, whose frames are hidden; the user's around it are shown."""

    async def accepts(ln: net.Listener) -> None:
        async for _ in ln:
            pass

    async def main() -> str:
        async with await net.listen("tcp", "127.0.0.1:0") as ln, gort.Group() as group:
            h = group.go(accepts, ln)
            await parked(1, "IO wait")
            text = runtime.stack(all=True)
            h.cancel()
        return text

    name = "test_a_dump_shows_who_accepts.accepts"
    assert frames(run(main), name)[-1] == name
