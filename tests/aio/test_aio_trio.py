"""gort.aio.trio: trio as a goroutine; anyio over asyncio and over trio on gort; sniffio tells which is which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import gort
import gort.aio

trio = pytest.importorskip("trio")
anyio = pytest.importorskip("anyio")
sniffio = pytest.importorskip("sniffio")

Run = Callable[..., Any]


async def sums(n: int) -> tuple[int, bool]:
    """A trio program: a nursery, a channel, a timeout, a thread."""
    got = []
    async with trio.open_nursery() as nursery:
        send, receive = trio.open_memory_channel(0)

        async def produce() -> None:
            async with send:
                for i in range(n):
                    await send.send(i)

        nursery.start_soon(produce)
        async for v in receive:
            got.append(v)
    with trio.move_on_after(0.001) as scope:
        await trio.sleep_forever()
    return await trio.to_thread.run_sync(sum, got), scope.cancelled_caught


def test_trio_programs_beside_each_other_and_beside_goroutines(run: Run) -> None:
    async def main() -> None:
        async with gort.Group() as group:
            handles = [group.go(gort.aio.trio, sums, 50) for _ in range(4)]
        assert [h.result() for h in handles] == [(1225, True)] * 4

    run(main)


def test_what_it_raises_is_raised(run: Run) -> None:
    async def fails() -> None:
        await trio.lowlevel.checkpoint()
        raise KeyError("mine")

    async def main() -> None:
        with pytest.raises(KeyError, match="mine"):
            await gort.aio.trio(fails)

    run(main)


def test_cancelling_the_goroutine_cancels_the_program(run: Run) -> None:
    seen: list[object] = []
    begun = gort.Chan[None](1)

    async def forever() -> None:
        begun.try_send(None)
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.001)
            seen.append("cleaned up")

    async def main() -> None:
        async def cancels() -> None:
            await begun.recv()
            scope.cancel()

        async with gort.move_on_after(None) as scope:
            gort.go(cancels)
            await gort.aio.trio(forever)
        seen.append(scope.cancelled_caught)

    run(main)
    assert seen == ["cleaned up", True]


def test_a_trio_task_talks_to_a_goroutine(run: Run) -> None:
    async def program(ch: gort.Chan[int]) -> int:
        return await trio.to_thread.run_sync(lambda: gort.wait(ch.recv()))  # type: ignore[no-any-return]

    async def main() -> None:
        ch = gort.Chan[int]()
        async with gort.Group() as group:
            h = group.go(gort.aio.trio, program, ch)
            await ch.send(7)
        assert h.result() == 7

    run(main)


def test_sniffio_tells_the_truth(run: Run) -> None:
    async def which() -> str:
        return str(sniffio.current_async_library())

    async def main() -> None:
        async def goroutine() -> None:
            with pytest.raises(sniffio.AsyncLibraryNotFoundError):
                sniffio.current_async_library()

        await goroutine()
        assert await gort.aio.run(which()) == "asyncio"
        assert await gort.aio.trio(which) == "trio"
        async with gort.aio.Service() as loop:
            assert await gort.aio.call(loop, which()) == "asyncio"
            await goroutine()
        await goroutine()

    run(main)


async def anyio_program() -> list[int]:
    """Runs on both of anyio's backends."""
    send, receive = anyio.create_memory_object_stream(1)
    got: list[int] = []

    async def produce() -> None:
        async with send:
            for i in range(20):
                await send.send(i)

    async with anyio.create_task_group() as group:
        group.start_soon(produce)
        async for v in receive:
            got.append(v)
    receive.close()
    with anyio.move_on_after(0.001) as scope:
        await anyio.sleep(60)
    assert scope.cancelled_caught
    return await anyio.to_thread.run_sync(lambda: got)  # type: ignore[no-any-return]


def test_anyio_on_both(run: Run) -> None:
    async def main() -> None:
        assert await gort.aio.run(anyio_program()) == list(range(20))
        assert await gort.aio.trio(anyio_program) == list(range(20))

    run(main)


def test_mistakes() -> None:
    async def program() -> None:
        with pytest.raises(RuntimeError, match="outside a goroutine"):
            await gort.aio.trio(sums, 1)

    async def main() -> None:
        await gort.aio.run(program())

    gort.run(main)
    with pytest.raises(RuntimeError, match="outside a goroutine"):
        gort.aio.trio(sums, 1).send(None)
