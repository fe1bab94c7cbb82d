"""ch.recv_many and ch.send_many: what they promise on closing, cancellation, capacity and order.

What does not live here: random scripts against a model (test_model.py), and every order of threads (explore).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import gort
from gort import Cancelled, ChannelClosed
from support import ended, parked, until

Run = Callable[..., Any]


@pytest.mark.parametrize("capacity", [0, 1, 3, 100])
def test_values_come_in_order_whatever_the_sizes(run: Run, capacity: int) -> None:
    async def main() -> list[int]:
        ch: gort.Chan[int] = gort.Chan(capacity)

        async def sends() -> None:
            n = 0
            for size in (1, 7, 0, 50, 2, 200):
                assert await ch.send_many(range(n, n + size)) == size
                n += size
                await ch.send(n)
                n += 1
            ch.close()

        gort.go(sends)
        got: list[int] = []
        for size in (5, 1, 100, 3):
            values = await ch.recv_many(size)
            assert 1 <= len(values) <= size
            got += values
            got.append(await ch.recv())
        while values := await ch.recv_many(64):
            got += values
        return got

    assert run(main) == list(range(266))


def test_nobodys_values_come_between(run: Run) -> None:
    """Senders of one and of many, receivers of one and of many, on several threads: each value once, and the values of a
    send_many one after the other in the channel's order (one receiver at a time takes from it)."""

    async def main() -> list[tuple[int, int]]:
        ch: gort.Chan[tuple[int, int]] = gort.Chan(4)
        mu = gort.sync.Mutex()
        got: list[tuple[int, int]] = []
        wg = gort.sync.WaitGroup()

        async def sends(who: int) -> None:
            for _ in range(10):
                if who % 2:
                    await ch.send_many([(who, i) for i in range(9)])
                else:
                    await ch.send((who, 0))

        async def receives(size: int) -> None:
            while True:
                async with mu:
                    values = await ch.recv_many(size)
                    got.extend(values)
                if not values:
                    return

        async with gort.Group() as group:
            for size in (1, 5, 30):
                group.go(receives, size)
            for who in range(8):
                wg.go(sends, who)
            await wg.wait()
            ch.close()
        return got

    got = run(main)
    assert len(got) == 4 * 10 * 9 + 4 * 10
    for at, (who, i) in enumerate(got):
        if who % 2 and i:
            assert got[at - 1] == (who, i - 1)


def test_recv_many_takes_what_is_there_and_waits_for_no_more(run1: Run) -> None:
    async def main() -> None:
        ch: gort.Chan[int] = gort.Chan(3)
        gort.go(ch.send_many, range(5))
        await parked(1, "chan send")
        gort.go(ch.send, 5)
        await parked(2, "chan send")
        assert len(ch) == 3
        assert await ch.recv_many(4) == [0, 1, 2, 3]
        assert len(ch) == 2, "the rest of the waiting senders' values are in the buffer"
        assert await ch.recv_many(100) == [4, 5]
        handle: gort.Chan[list[int]] = gort.Chan(1)

        async def waits() -> None:
            await handle.send(await ch.recv_many(10))

        gort.go(waits)
        await parked(1, "chan receive")
        assert ch.try_send(6)
        assert ch.try_send(7)
        assert await handle.recv() == [6, 7], "what has come until its goroutine runs"

    run1(main)


def test_a_closed_channel(run: Run) -> None:
    async def main() -> None:
        ch: gort.Chan[int] = gort.Chan(2)
        sending = ch.send_many([1, 2, 3, 4])
        failed: list[ChannelClosed] = []

        async def sends() -> None:
            try:
                await sending
            except ChannelClosed as e:
                failed.append(e)

        async with gort.Group() as group:
            group.go(sends)
            await parked(1, "chan send")
            assert sending.sent == 2
            ch.close()
        assert [(str(e), e.sent) for e in failed] == [("send on closed channel", 2)]
        assert sending.sent == 2
        assert await ch.recv_many(1) == [1]
        assert await ch.recv_many(5) == [2]
        assert await ch.recv_many(5) == []
        with pytest.raises(ChannelClosed) as info:
            await ch.send_many([1])
        assert info.value.sent == 0
        assert await ch.send_many([]) == 0, "nothing was to be sent"
        with pytest.raises(ChannelClosed) as info:
            await ch.send(1)
        assert info.value.sent == 0

    run(main)


def test_closing_wakes_who_waits_to_receive_many(run: Run) -> None:
    async def main() -> None:
        ch: gort.Chan[int] = gort.Chan()
        async with gort.Group() as group:
            handles = [group.go(ch.recv_many, 3) for _ in range(2)]
            await parked(2, "chan receive")
            ch.close()
        assert [h.result() for h in handles] == [[], []]

    run(main)


def test_a_cancelled_send_many_tells_how_many_have_been_sent(run: Run) -> None:
    """By the exception and by the operation; the channel goes on without it."""

    async def main() -> None:
        ch: gort.Chan[int] = gort.Chan(2)
        sending = ch.send_many(range(10))
        told: list[int] = []

        async def sends() -> None:
            try:
                await sending
            except Cancelled as e:
                told.append(e.sent)  # type: ignore[attr-defined]
                raise

        async with gort.Group() as group:
            handle = group.go(sends)
            await parked(1, "chan send")
            group.go(ch.send, 100)
            await parked(2, "chan send")
            assert await ch.recv_many(3) == [0, 1, 2]
            handle.cancel()
            await ended(handle)
            assert (told, sending.sent) == ([5], 5)
            assert [await ch.recv() for _ in range(3)] == [3, 4, 100]

    run(main)


def test_a_send_many_that_was_cancelled_before_it_began(run1: Run) -> None:
    async def main() -> None:
        ch: gort.Chan[int] = gort.Chan(9)
        sending = ch.send_many([1, 2])

        async def sends() -> None:
            handle.cancel()
            await sending

        async with gort.Group() as group:
            handle = group.go(sends)
        assert (sending.sent, len(ch)) == (0, 0)
        assert isinstance(handle.exception(), Cancelled)

    run1(main)


def test_a_cancelled_recv_many_has_taken_nothing(run: Run) -> None:
    async def main() -> None:
        ch: gort.Chan[int] = gort.Chan()
        async with gort.Group() as group:
            handle = group.go(ch.recv_many, 3)
            await parked(1, "chan receive")
            handle.cancel()
            await ended(handle)
            assert not ch.try_send(1)

    run(main)


def test_recv_many_raced_with_cancel_loses_nothing(run: Run) -> None:
    """A receiver is cancelled again and again while values come: each is received once, in order."""

    async def main() -> list[int]:
        ch: gort.Chan[int] = gort.Chan(3)
        got: list[int] = []

        async def receives() -> None:
            while True:
                got.extend(await ch.recv_many(4))
                if len(got) == 1000:
                    return

        async with gort.Group() as group:
            sender = group.go(ch.send_many, range(1000))
            while not sender.done or len(ch):
                handle = group.go(receives)
                await gort.gosched()
                handle.cancel()
                await ended(handle)
        return got

    assert run(main) == list(range(1000))


def test_select(run: Run) -> None:
    async def main() -> None:
        a: gort.Chan[int] = gort.Chan(5)
        b: gort.Chan[int] = gort.Chan()
        await a.send_many([1, 2, 3])
        assert await gort.select(b.recv(), a.recv_many(2)) == (1, [1, 2], True)
        assert await gort.select(a.recv_many(2), default=True) == (0, [3], True)
        assert await gort.select(a.recv_many(2), default=True) == (-1, None, False)
        out: gort.Chan[Any] = gort.Chan(1)

        async def waits() -> None:
            await out.send(await gort.select(b.recv(), a.recv_many(2)))

        gort.go(waits)
        await parked(1, "select")
        await a.send_many([4, 5, 6])
        assert await out.recv() == (1, [4, 5], True)
        a.close()
        assert await gort.select(a.recv_many(9), b.recv()) == (0, [6], True)
        assert await gort.select(a.recv_many(9), b.recv()) == (0, [], False)
        with pytest.raises(TypeError, match=r"takes no ch.send_many\(\).*use ch.send\(v\)"):
            await gort.select(b.send_many([1]), a.recv())

    run(main)


def test_wrong_arguments(run: Run) -> None:
    async def main() -> None:
        ch: gort.Chan[Any] = gort.Chan(4)
        for wrong in ("3", None, 1.5, True):
            with pytest.raises(TypeError, match="takes a number of values"):
                ch.recv_many(wrong)  # type: ignore[arg-type]
        for few in (0, -1):
            with pytest.raises(ValueError, match=f"positive number of values, not {few}"):
                ch.recv_many(few)
        with pytest.raises(TypeError, match="not iterable"):
            ch.send_many(3)  # type: ignore[arg-type]

        def breaks() -> Iterator[int]:
            yield 1
            raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            ch.send_many(breaks())
        assert len(ch) == 0
        await ch.send_many("ab")
        assert await ch.recv_many(1 << 100) == ["a", "b"]
        with pytest.raises(TypeError, match="receive-only"):
            await gort.after(1).send_many([1.0])
        assert len(await gort.after(0).recv_many(10)) == 1

    run(main)


def test_the_values_are_those_of_the_call(run1: Run) -> None:
    async def main() -> list[int]:
        ch: gort.Chan[int] = gort.Chan()
        values = [1, 2, 3]
        gort.go(ch.send_many, values)
        await parked(1, "chan send")
        values.clear()
        return await ch.recv_many(9)

    assert run1(main) == [1, 2, 3]


def test_from_threads(run: Run) -> None:
    """gort.wait takes them, and a timeout tells how many were sent."""

    async def main() -> None:
        ch: gort.Chan[int] = gort.Chan(2)
        found: list[Any] = []

        def outside() -> None:
            sending = ch.send_many([1, 2, 3])
            try:
                gort.wait(sending, timeout=0.01)
            except TimeoutError:
                found.append(sending.sent)
            found.append(gort.wait(ch.recv_many(9)))
            found.append(gort.wait(ch.send_many([4])))

        thread = threading.Thread(target=outside)
        thread.start()
        await until(lambda: len(found) == 3)
        thread.join()
        assert found == [2, [1, 2], 1]
        assert await ch.recv() == 4

    run(main)


def test_an_operation_that_is_never_awaited_warns() -> None:
    ch: gort.Chan[int] = gort.Chan()
    with pytest.warns(RuntimeWarning, match=r"ch.send_many\(\) was never awaited"):
        ch.send_many([1])
    with pytest.warns(RuntimeWarning, match=r"ch.recv_many\(\) was never awaited"):
        ch.recv_many(1)
