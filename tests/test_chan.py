"""Channels and select beyond what the fidelity programs compare with Go: Python's side of them, other
threads."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import gort
from gort import ChannelClosed
from support import ended, parked, recv, send

Run = Callable[..., Any]


def test_properties() -> None:
    ch: gort.Chan[int] = gort.Chan(3)
    assert (len(ch), ch.capacity, ch.closed) == (0, 3, False)
    assert ch.try_send(1)
    assert (len(ch), ch.capacity, ch.closed) == (1, 3, False)
    ch.close()
    assert (len(ch), ch.capacity, ch.closed) == (1, 3, True)
    assert ch.try_recv() == (1, True)
    assert ch.try_recv() == (None, False)


def test_an_empty_channel_is_true() -> None:
    """`if ch` asks whether there is a channel (the nil idiom), not whether it holds values."""
    assert gort.Chan(1)


def test_repr_tells_the_state() -> None:
    ch: gort.Chan[int] = gort.Chan(3)
    ch.try_send(1)
    assert "1" in repr(ch)
    assert "3" in repr(ch)
    ch.close()
    assert "closed" in repr(ch)


def test_closed_errors(run: Run) -> None:
    """recv on a closed and drained channel, send and close on a closed one."""

    async def main() -> None:
        ch: gort.Chan[int] = gort.Chan(1)
        await ch.send(1)
        ch.close()
        assert await ch.recv() == 1
        with pytest.raises(ChannelClosed, match="closed"):
            await ch.recv()
        with pytest.raises(ChannelClosed, match="send on closed channel"):
            await ch.send(1)
        with pytest.raises(ChannelClosed, match="send on closed channel"):
            ch.try_send(1)
        with pytest.raises(ChannelClosed, match="close of closed channel"):
            ch.close()
        assert await ch.recv_ok() == (None, False)

    run(main)


def test_channel_closed_is_not_stop_iteration(run: Run) -> None:
    """Raised inside an async generator it stays what it is."""

    async def relay(ch: gort.Chan[int]) -> Any:
        while True:
            yield await ch.recv()

    async def main() -> list[int]:
        ch: gort.Chan[int] = gort.Chan(2)
        await ch.send(1)
        await ch.send(2)
        ch.close()
        got = []
        with pytest.raises(ChannelClosed):
            async for v in relay(ch):
                got.append(v)
        return got

    assert run(main) == [1, 2]


def test_select_results(run: Run) -> None:
    """(index, value, ok): a send gives (i, None, True), a closed receive (i, None, False), default (-1,
    None, False)."""

    async def main() -> list[Any]:
        ch: gort.Chan[str] = gort.Chan(1)
        out = [await gort.select(ch.recv(), default=True)]
        out.append(await gort.select(None, ch.send("x")))
        out.append(await gort.select(ch.recv()))
        ch.close()
        out.append(await gort.select(ch.recv()))
        return out

    assert run(main) == [(-1, None, False), (1, None, True), (0, "x", True), (0, None, False)]


def test_select_with_recv_ok(run: Run) -> None:
    """recv and recv_ok are the same in a select: ok is in the result already."""

    async def main() -> list[Any]:
        ch: gort.Chan[int] = gort.Chan(1)
        await ch.send(4)
        out = [await gort.select(ch.recv_ok())]
        ch.close()
        out.append(await gort.select(ch.recv_ok()))
        return out

    assert run(main) == [(0, 4, True), (0, None, False)]


def test_an_operation_does_nothing_before_it_is_awaited(run: Run) -> None:
    async def main() -> tuple[int, bool]:
        ch: gort.Chan[int] = gort.Chan(1)
        op = ch.send(1)
        before = len(ch)
        await op
        later = ch.recv()
        ch.close()
        return before, await later == 1

    assert run(main) == (0, True)


@pytest.mark.parametrize("n", [2, 16, 17, 40])
def test_select_with_many_cases_on_one_channel(run: Run, n: int) -> None:
    """Each value is taken once, and no case of those on one channel comes before the others, however many there are."""

    async def main() -> tuple[list[int], int]:
        ch: gort.Chan[int] = gort.Chan()
        other: gort.Chan[int] = gort.Chan()
        values, first = [], 0
        for k in range(200):
            async with gort.Group() as group:
                if k % 2:  # else select waits, and the send finds it
                    group.go(send, ch, k)
                    await parked(1, "chan send")
                else:
                    group.go(later, ch, k)
                i, v, ok = await gort.select(other.recv(), *[ch.recv() for _ in range(n)])
                assert ok
                assert 1 <= i <= n
                values.append(v)
                first += i == 1
        return values, first

    async def later(ch: gort.Chan[int], k: int) -> None:
        await parked(1, "select")
        await ch.send(k)

    values, first = run(main)
    assert values == list(range(200))
    assert 0 < first < 200 if n < 40 else first < 40


def test_select_fairness_over_waiting_senders(run: Run) -> None:
    """Two busy senders on two channels: both are served about equally (binomial, 8 sigma)."""

    async def main() -> list[int]:
        a: gort.Chan[int] = gort.Chan(1)
        b: gort.Chan[int] = gort.Chan(1)
        counts = [0, 0]
        for _ in range(2000):
            a.try_send(1)
            b.try_send(1)
            i, _, _ = await gort.select(a.recv(), b.recv())
            counts[i] += 1
        return counts

    counts = run(main)
    assert abs(counts[0] - 1000) < 180


def test_values_are_freed_when_received(run: Run) -> None:
    """Neither the buffer nor an operation keeps a received value alive."""

    class Thing:
        pass

    async def main() -> list[Any]:
        ch: gort.Chan[Thing] = gort.Chan(2)
        unbuffered: gort.Chan[Thing] = gort.Chan()
        refs = []

        async def feed() -> None:
            for channel in (ch, unbuffered):
                thing = Thing()
                refs.append(weakref.ref(thing))
                await channel.send(thing)

        async with gort.Group() as group:
            group.go(feed)
            await ch.recv()
            await unbuffered.recv()
        gc.collect()
        return [r() for r in refs]

    assert run(main) == [None, None]


def test_a_dropped_channel_is_collected(run: Run) -> None:
    """A channel in a cycle with the value it holds is garbage like any other."""

    async def main() -> Any:
        ch: gort.Chan[Any] = gort.Chan(1)
        await ch.send([ch])

        class Mark:
            pass

        mark = Mark()
        ref = weakref.ref(mark)
        inner: gort.Chan[Any] = gort.Chan(2)
        await inner.send(mark)
        await inner.send(inner)
        del ch, inner, mark
        gc.collect()
        return ref()

    assert run(main) is None


def test_channels_outlive_a_run(procs: int) -> None:
    """A channel made outside, filled in one run, is drained in the next."""
    ch: gort.Chan[int] = gort.Chan(2)

    async def fill() -> None:
        await ch.send(1)
        await ch.send(2)

    async def drain() -> list[int]:
        return [await ch.recv(), await ch.recv()]

    gort.run(fill, procs=procs)
    assert gort.run(drain, procs=procs) == [1, 2]


def test_waiters_of_an_ended_run_are_gone(procs: int) -> None:
    """A goroutine that was parked on a channel when its program ended is no receiver for the next one."""
    ch: gort.Chan[int] = gort.Chan()

    async def leaves_waiters() -> None:
        for _ in range(3):
            gort.go(recv, ch)
        await parked(3, "chan receive")

    gort.run(leaves_waiters, procs=procs)
    assert not ch.try_send(1)

    async def leaves_senders() -> None:
        for _ in range(3):
            gort.go(send, ch, 5)
        await parked(3, "chan send")

    gort.run(leaves_senders, procs=procs)
    assert ch.try_recv() == (None, False)


def test_iteration_ends_once_for_all(run: Run) -> None:
    """Several goroutines iterate over one channel; each value goes to one of them; all end at close."""

    async def main() -> list[int]:
        ch: gort.Chan[int] = gort.Chan()
        got: list[int] = []

        async def consumer() -> None:
            async for v in ch:
                got.append(v)

        async with gort.Group() as group:
            handles = [group.go(consumer) for _ in range(5)]
            for i in range(100):
                await ch.send(i)
            ch.close()
            await ended(*handles)
        return sorted(got)

    assert run(main) == list(range(100))


@pytest.mark.parametrize("capacity", [0, 1, 7])
def test_close_races_with_senders_and_receivers(run: Run, capacity: int) -> None:
    """What was sent without an error is received; what raised ChannelClosed is not."""

    async def main() -> None:
        for n in range(30):
            ch: gort.Chan[int] = gort.Chan(capacity)
            sent: list[int] = []
            got: list[int] = []

            async def sender(base: int, ch: gort.Chan[int] = ch, sent: list[int] = sent) -> None:
                try:
                    for i in range(20):
                        await ch.send(base + i)
                        sent.append(base + i)
                except ChannelClosed:
                    pass

            async def receiver(ch: gort.Chan[int] = ch, got: list[int] = got) -> None:
                async for v in ch:
                    got.append(v)

            async with gort.Group() as group:
                for k in range(3):
                    group.go(sender, 100 * k)
                    group.go(receiver)
                for _ in range(n):
                    await gort.gosched()
                ch.close()
            assert sorted(got) == sorted(sent)

    run(main)
