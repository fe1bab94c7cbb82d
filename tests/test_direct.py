"""The short way of a send or a receive (wait/direct.py): what it gives, and what must still come first."""

from __future__ import annotations

import gc
import sys
import threading
import traceback
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import gort
import gort.testing
from gort import Cancelled, ChannelClosed
from support import parked, recv, send

Run = Callable[..., Any]


def test_a_buffer_goes_round(run: Run) -> None:
    async def main() -> list[Any]:
        ch: gort.Chan[int | None] = gort.Chan(3)
        got: list[Any] = []
        for i in range(10):
            sent: Any = [await ch.send(i), await ch.send(None)]  # type: ignore[func-returns-value]
            got += [sent, await ch.recv(), await ch.recv_ok(), len(ch)]
        return got

    assert run(main) == [x for i in range(10) for x in ([None, None], i, (None, True), 0)]


def test_who_waits_comes_first(run: Run) -> None:
    """A sender that finds room while others wait would overtake them, and so would a receiver."""

    async def main() -> tuple[list[int], dict[int, int]]:
        ch: gort.Chan[int] = gort.Chan(1)
        got: dict[int, int] = {}

        async def receives(i: int) -> None:
            got[i] = await ch.recv()

        await ch.send(0)
        async with gort.Group() as group:
            for i in (1, 2, 3):
                group.go(send, ch, i)
                await parked(i, "chan send")
            first = [await ch.recv() for _ in range(4)]  # each makes room, which the first that waits fills
        async with gort.Group() as group:
            for i in (1, 2):
                group.go(receives, i)
                await parked(i, "chan receive")
            await ch.send(7)
            await ch.send(8)
        return first, got

    assert run(main) == ([0, 1, 2, 3], {1: 7, 2: 8})


@pytest.mark.parametrize("capacity", [0, 1])
@pytest.mark.parametrize("receive", ["recv", "recv_ok", "async for", "select"])
@pytest.mark.parametrize("give", ["send", "send_many", "select"])
def test_who_meets_whom(run: Run, capacity: int, receive: str, give: str) -> None:
    """Each way to send meets each way to receive, and either of them waits first."""

    async def main() -> list[list[int]]:
        async def gives(ch: gort.Chan[int], values: list[int]) -> None:
            if give == "send_many":
                await ch.send_many(values)
            else:
                for value in values:
                    await (ch.send(value) if give == "send" else gort.select(nobody.recv(), ch.send(value)))

        async def takes(ch: gort.Chan[int], n: int) -> list[int]:
            if receive == "async for":
                got = []
                async for value in ch:
                    got.append(value)
                    if len(got) == n:
                        break
                return got
            out: list[Any] = []
            for _ in range(n):
                if receive == "select":
                    out.append((await gort.select(nobody.recv(), ch.recv()))[1])
                else:
                    out.append(await ch.recv() if receive == "recv" else (await ch.recv_ok())[0])
            return out

        nobody: gort.Chan[int] = gort.Chan()
        results = []
        for first in ("gives", "takes"):
            ch: gort.Chan[int] = gort.Chan(capacity)
            values = list(range(7))
            async with gort.Group() as group:
                if first == "gives":
                    group.go(gives, ch, values)
                    await parked(1, "select" if give == "select" else "chan send")
                    results.append(await takes(ch, 7))
                else:
                    taken = group.go(takes, ch, 7)
                    await parked(1, "select" if receive == "select" else "chan receive")
                    await gives(ch, values)
                    results.append(await taken)
            assert len(ch) == 0
        return results

    assert run(main) == [list(range(7))] * 2


def test_a_select_that_has_won_elsewhere_is_passed_over(run1: Run) -> None:
    """Its case stays in the queue of the second channel until its goroutine runs: a sender must not take it for a
    receiver, and waits for the next one."""

    async def main() -> tuple[Any, int, int]:
        a: gort.Chan[int] = gort.Chan()
        b: gort.Chan[int] = gort.Chan()

        async def chooses() -> Any:
            return await gort.select(a.recv(), b.recv())

        async with gort.Group() as group:
            chosen = group.go(chooses)
            await parked(1, "select")
            await a.send(1)  # the select has won, and its goroutine has not run yet
            sender = group.go(send, b, 2)
            got = await b.recv()
            await sender
            return await chosen, got, len(b)

    assert run1(main) == ((0, 1, True), 2, 0)


def test_a_close_wakes_who_waits_by_the_short_way(run: Run) -> None:
    async def main() -> list[str]:
        said: list[str] = []

        async def waits(ch: gort.Chan[int], kind: str) -> None:
            try:
                said.append(f"{kind} {await (ch.recv() if kind == 'recv' else ch.send(1))}")  # type: ignore[func-returns-value]
            except ChannelClosed as e:
                said.append(f"{kind}: {e}")

        for kind, reason in (("recv", "chan receive"), ("send", "chan send")):
            ch: gort.Chan[int] = gort.Chan()
            async with gort.Group() as group:
                group.go(waits, ch, kind)
                await parked(1, reason)
                ch.close()
        return said

    assert run(main) == ["recv: receive on closed channel", "send: send on closed channel"]


def test_a_wait_in_a_bubble_on_a_channel_from_outside_is_refused() -> None:
    async def main(outside: gort.Chan[int]) -> list[str]:
        said = []
        for op in (outside.recv(), outside.send(1), outside.send(2)):
            try:
                said.append(str(await op))  # type: ignore[func-returns-value]
            except RuntimeError as e:
                said.append(str(e)[:50])
        return said

    refused = " in a bubble of gort.testing would wait on a channel"
    said = gort.testing.run(main, gort.Chan[int](1))
    assert said == [("ch.recv()" + refused)[:50], "None", ("ch.send()" + refused)[:50]]


def test_the_goroutine_that_waits_is_cancelled_and_the_value_stays(run: Run) -> None:
    async def main() -> tuple[str, int]:
        ch: gort.Chan[int] = gort.Chan()
        async with gort.Group() as group:
            handle = group.go(recv, ch)
            await parked(1, "chan receive")
            handle.cancel()
            with gort.move_on_after(0):
                await ch.send(1)
            try:
                await handle
                said = "got it"
            except Cancelled:
                said = "cancelled"
        assert not ch.try_send(2)
        return said, len(ch)

    assert run(main) == ("cancelled", 0)


def test_closed(run: Run) -> None:
    async def main() -> list[Any]:
        ch: gort.Chan[str] = gort.Chan(2)
        await ch.send("left")
        ch.close()
        with pytest.raises(ChannelClosed, match="send on closed channel") as caught:
            await ch.send("late")
        modules = {entry.filename.rpartition("/")[2] for entry in traceback.extract_tb(caught.value.__traceback__)}
        rest = [v async for v in ch]
        with pytest.raises(ChannelClosed, match="receive on closed channel"):
            await ch.recv()
        return [rest, modules & {"direct.py"}]

    assert run(main) == [["left"], set()]


def test_a_cancellation_comes_before_the_value(run: Run) -> None:
    async def main() -> tuple[list[int], bool]:
        ch: gort.Chan[int] = gort.Chan(4)
        for i in (1, 2):
            await ch.send(i)
        with gort.move_on_after(3600) as scope:
            scope.cancel()
            await ch.recv()
            raise AssertionError("not reached")
        with gort.move_on_after(3600) as scope:
            scope.cancel()
            await ch.send(3)
        return [await ch.recv() for _ in range(2)], len(ch) == 0

    assert run(main) == ([1, 2], True)


def test_a_goroutine_that_only_moves_values_makes_way() -> None:
    """Its operations do not wait; sysmon asks it to yield, and the next one does."""

    async def main() -> int:
        ch: gort.Chan[int] = gort.Chan(1)
        over = False
        turns = 0

        async def busy() -> None:
            while not over:
                await ch.send(1)
                await ch.recv()

        async with gort.Group() as group:
            group.go(busy)
            while turns < 3:
                await gort.gosched()
                turns += 1
            over = True
        return turns

    assert gort.run(main, procs=1) == 3


def test_used_once(run: Run) -> None:
    async def main() -> int:
        ch: gort.Chan[int] = gort.Chan(4)
        op = ch.send(1)
        await op
        with pytest.raises(RuntimeError, match="already awaited"):
            await op
        back = ch.recv()
        assert await back == 1
        with pytest.raises(RuntimeError, match="already awaited"):
            await back
        return len(ch)

    assert run(main) == 0


@pytest.mark.parametrize("kind", ["send", "recv", "async for"])
@pytest.mark.parametrize("who", ["the same goroutine", "another with its G"])
def test_used_once_where_it_has_waited(run1: Run, kind: str, who: str) -> None:
    """A goroutine that has ended leaves its G to the next one: the operation's G alone does not tell who has waited."""

    async def main() -> tuple[str, int]:
        ch: gort.Chan[int] = gort.Chan()
        op: Any = ch.send(1) if kind == "send" else ch.recv() if kind == "recv" else ch.__anext__()

        async def first() -> str:
            await op
            return await again() if who == "the same goroutine" else ""

        async def again() -> str:
            try:
                return repr(await op)
            except RuntimeError as e:
                return str(e)

        async with gort.Group() as group:
            handle = group.go(first)
            await parked(1, "chan send" if kind == "send" else "chan receive")
            if kind == "send":
                assert await ch.recv() == 1
            else:
                await ch.send(1)
            said = await handle
            if not said:
                said = await group.go(again)
        return said, len(ch)

    said, left = run1(main)
    assert "was already awaited" in said
    assert left == 0


def test_one_operation_awaited_by_two_threads_moves_one_value() -> None:
    async def main() -> tuple[int, int]:
        ch: gort.Chan[int] = gort.Chan(1 << 12)
        refused = 0
        lock = threading.Lock()

        async def awaits(op: Any) -> None:
            nonlocal refused
            try:
                await op
            except RuntimeError:
                with lock:
                    refused += 1

        for i in range(200):
            op = ch.send(i)
            async with gort.Group() as group:
                group.go(awaits, op)
                group.go(awaits, op)
        return len(ch), refused

    assert gort.run(main, procs=4) == (200, 200)


def test_no_reference_is_left_or_lost(run: Run) -> None:
    class Thing:
        pass

    async def main() -> tuple[list[int], int]:
        ch: gort.Chan[Thing] = gort.Chan(2)
        thing = Thing()
        before = sys.getrefcount(thing)
        counts = []
        for _ in range(5):
            op = ch.send(thing)
            await op
            del op
            counts.append(sys.getrefcount(thing) - before)
            assert await ch.recv() is thing
            counts.append(sys.getrefcount(thing) - before)
        await ch.send(thing)
        kept = weakref.ref(thing)
        del thing, ch
        gc.collect()
        return counts, kept() is None

    assert run(main) == ([1, 0] * 5, True)


@pytest.mark.parametrize("kind", ["send", "recv"])
def test_outside_a_goroutine(kind: str) -> None:
    ch: gort.Chan[int] = gort.Chan(2)
    ch.try_send(1)

    async def other() -> None:
        await (ch.send(2) if kind == "send" else ch.recv())

    coro = other()
    with pytest.raises(RuntimeError, match="outside a running gort runtime"):
        coro.send(None)
    assert len(ch) == 1


def test_in_a_finally_block_at_the_end(run: Run) -> None:
    """A program that ends closes its goroutines: what need not wait still works there."""
    left: gort.Chan[str] = gort.Chan(4)

    async def main() -> None:
        async def waits() -> None:
            try:
                await gort.Chan[int]().recv()
            finally:
                await left.send("closed")
                left.try_send("twice")

        gort.go(waits)
        await gort.gosched()

    run(main)
    assert [left.try_recv()[0] for _ in range(2)] == ["closed", "twice"]


def test_cancelled_is_not_swallowed() -> None:
    async def main() -> str:
        ch: gort.Chan[int] = gort.Chan(1)

        async def busy() -> None:
            while True:
                await ch.send(1)
                await ch.recv()

        async with gort.Group() as group:
            handle = group.go(busy)
            await gort.gosched()
            handle.cancel()
            try:
                await handle
            except Cancelled:
                return "cancelled"
        return "?"

    assert gort.run(main, procs=1) == "cancelled"
