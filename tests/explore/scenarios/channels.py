"""Channels, select, and cancelling what waits on them."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

import gort
import gort.sync
from explore.scenarios.base import MS, equal, scenario
from explore.standins import Thread

# ---- channels and select --------------------------------------------------------------------------------------------


@scenario()
def ping_pong() -> None:
    """Two goroutines and an unbuffered channel in each direction."""

    async def peer(a: gort.Chan[int], b: gort.Chan[int]) -> None:
        async for v in a:
            await b.send(v + 1)

    async def main() -> list[int]:
        a, b = gort.Chan[int](), gort.Chan[int]()
        gort.go(peer, a, b)
        got = []
        for v in range(2):
            await a.send(v)
            got.append(await b.recv())
        a.close()
        return got

    equal(gort.run(main, procs=2), [1, 2])


@scenario()
def buffered() -> None:
    """Two senders and two receivers on a channel with room for one: each value arrives once."""

    async def main() -> list[int]:
        ch = gort.Chan[int](1)
        out: list[int] = []
        wg = gort.sync.WaitGroup()

        async def send(v: int) -> None:
            await ch.send(v)

        async def recv() -> None:
            out.append(await ch.recv())

        for v in range(2):
            wg.go(send, v)
            wg.go(recv)
        await wg.wait()
        equal(len(ch), 0)
        return sorted(out)

    equal(gort.run(main, procs=2), [0, 1])


@scenario()
def select_meets_select() -> None:
    """Two selects that can each only be each other's partner, over two channels: one case of each runs, and they fit."""

    async def main() -> tuple[Any, Any]:
        a, b = gort.Chan[str](), gort.Chan[str]()
        done = gort.Chan[Any](1)

        async def other() -> None:
            await done.send(await gort.select(a.recv(), b.send("from other")))

        gort.go(other)
        mine = await gort.select(a.send("from main"), b.recv())
        return mine, await done.recv()

    mine, other = gort.run(main, procs=2)
    assert (mine, other) in [
        ((0, None, True), (0, "from main", True)),
        ((1, "from other", True), (1, None, True)),
    ], (mine, other)


@scenario()
def select_two_senders() -> None:
    """A select over two channels that both get a sender: one case runs, the other value is not lost."""

    async def main() -> None:
        a, b = gort.Chan[str](), gort.Chan[str]()

        async def send(ch: gort.Chan[str], v: str) -> None:
            await ch.send(v)

        gort.go(send, a, "a")
        gort.go(send, b, "b")
        i, first, ok = await gort.select(a.recv(), b.recv())
        assert ok
        equal(first, "ab"[i])
        equal(await (b, a)[i].recv(), "ba"[i])

    gort.run(main, procs=3)


@scenario()
def select_two_selects() -> None:
    """Two selects wait on the same two channels; a value into each: each select gets one, whichever."""

    async def main() -> list[str]:
        a, b = gort.Chan[str](), gort.Chan[str]()
        out = gort.Chan[str](2)

        async def take() -> None:
            _, v, _ = await gort.select(a.recv(), b.recv())
            await out.send(v)

        gort.go(take)
        gort.go(take)
        await b.send("b")
        await a.send("a")
        return sorted([await out.recv(), await out.recv()])

    equal(gort.run(main, procs=2), ["a", "b"])


@scenario()
def select_timeout() -> None:
    """A select with a timer, and a sender that comes at about the same time: sent means received."""

    async def main() -> None:
        ch = gort.Chan[int]()
        sent: list[bool] = []
        wg = gort.sync.WaitGroup()

        async def sender() -> None:
            await gort.sleep(MS)
            sent.append(ch.try_send(7))

        wg.go(sender)
        i, v, _ = await gort.select(ch.recv(), gort.after(MS).recv())
        await wg.wait()
        equal(sent, [i == 0])
        if i == 0:
            equal(v, 7)

    gort.run(main, procs=2)


@scenario()
def close_with_waiters() -> None:
    """A channel is closed over a receiver and a sender that may have met, or wait."""

    async def main() -> None:
        ch = gort.Chan[int]()
        wg = gort.sync.WaitGroup()
        sent: list[bool] = []
        got: list[Any] = []

        async def send() -> None:
            try:
                await ch.send(1)
                sent.append(True)
            except gort.ChannelClosed:
                sent.append(False)

        async def recv() -> None:
            got.append(await ch.recv_ok())

        wg.go(send)
        wg.go(recv)
        ch.close()
        await wg.wait()
        equal(got, [(1, True)] if sent == [True] else [(None, False)])

    gort.run(main, procs=2)


# ---- cancellation ---------------------------------------------------------------------------------------------------


@scenario()
def cancel_or_send() -> None:
    """A receiver is cancelled while somebody sends to it: a value that was taken arrives, and nothing else does."""

    async def main() -> None:
        ch = gort.Chan[int]()
        got: list[Any] = []
        sent: list[bool] = []

        async def receiver() -> None:
            try:
                got.append(await ch.recv())
            except gort.Cancelled:
                got.append("cancelled")

        async def sender() -> None:
            sent.append(ch.try_send(7))

        async with gort.Group() as group:
            h = group.go(receiver)
            await gort.gosched()
            group.go(sender)
            h.cancel()
        # Cancelled before it had begun: it has not run at all.
        assert got == [7] if sent == [True] else got in ([], ["cancelled"]), (got, sent)

    gort.run(main, procs=2)


@scenario()
def cancel_select() -> None:
    """A select is cancelled while one of its cases is served."""

    async def main() -> None:
        a, b = gort.Chan[int](), gort.Chan[int]()
        got: list[Any] = []
        sent: list[bool] = []

        async def receiver() -> None:
            try:
                got.append((await gort.select(a.recv(), b.recv()))[1])
            except gort.Cancelled:
                got.append("cancelled")

        async def sender() -> None:
            sent.append(a.try_send(1))
            sent.append(b.try_send(2))

        async with gort.Group() as group:
            h = group.go(receiver)
            await gort.gosched()
            group.go(sender)
            h.cancel()
        if sent[0]:
            equal((got, sent[1]), ([1], False))
        elif sent[1]:
            equal(got, [2])
        else:
            assert got in ([], ["cancelled"]), (got, sent)

    gort.run(main, procs=2)


@scenario()
def cancel_mutex() -> None:
    """A goroutine that waits for a mutex is cancelled as it is handed over: it is never lost, and never held twice."""

    async def main() -> None:
        mu = gort.sync.Mutex()
        inside: list[str] = []
        ran: list[str] = []

        async def critical(name: str) -> None:
            async with mu:
                assert inside == []
                inside.append(name)
                try:
                    await gort.gosched()
                finally:
                    inside.remove(name)
                ran.append(name)

        async with gort.Group() as group:
            group.go(critical, "a")
            h = group.go(critical, "b")
            group.go(critical, "c")
            h.cancel()
        assert not mu.locked
        assert {"a", "c"} <= set(ran), ran

    gort.run(main, procs=2)


@scenario()
def group_limit() -> None:
    """A group of one at a time; a member fails while the next one starts and the body is cancelled."""

    async def main() -> None:
        ran: list[int] = []

        async def work(v: int) -> None:
            ran.append(v)
            await gort.gosched()
            if v == 1:
                raise ValueError(v)

        with pytest.raises(BaseExceptionGroup) as raised:
            async with gort.Group(limit=1) as group:
                with contextlib.suppress(RuntimeError):  # it has been cancelled already
                    for v in range(3):
                        group.go(work, v)
                await gort.Chan[int]().recv()
        equal([str(e) for e in raised.value.exceptions], ["1"])
        equal(ran[:2], [0, 1])  # the third may have begun before the cancellation

    gort.run(main, procs=2)


@scenario()
def cancel_twice() -> None:
    """Two threads cancel a goroutine that is being served: it gets the value or one Cancelled, and waits again."""

    async def main() -> None:
        ch = gort.Chan[int](2)
        got: list[Any] = []

        async def receiver() -> None:
            for _ in range(2):
                try:
                    got.append(await ch.recv())
                except gort.Cancelled:
                    got.append("cancelled")

        async with gort.Group() as group:
            h = group.go(receiver)
            await gort.gosched()
            thread = Thread(target=h.cancel)
            thread.start()
            h.cancel()
            await gort.blocking(thread.join)
            await ch.send(1)
            await ch.send(2)
        assert got.count("cancelled") <= 2, got
        assert [v for v in got if v != "cancelled"] == sorted(v for v in got if v != "cancelled"), got

    gort.run(main, procs=2)


@scenario()
def bulk() -> None:
    """Two send_many and a send meet two recv_many: each value once, the values of a send_many in order."""

    async def main() -> None:
        ch: gort.Chan[int] = gort.Chan(1)
        wg = gort.sync.WaitGroup()
        got: list[list[int]] = [[], []]

        async def receive(mine: list[int]) -> None:
            while values := await ch.recv_many(3):
                mine += values

        async with gort.Group() as group:
            for mine in got:
                group.go(receive, mine)
            for values in ([1, 2, 3], [11, 12], [21]):
                wg.go(ch.send_many, values)
            await wg.wait()
            ch.close()
        equal(sorted(got[0] + got[1]), [1, 2, 3, 11, 12, 21])
        for mine in got:
            for tens in (0, 1):
                equal([v for v in mine if v // 10 == tens], sorted(v for v in mine if v // 10 == tens))

    gort.run(main, procs=2)


@scenario()
def bulk_cancel() -> None:
    """A send_many is cancelled while a thread receives: what it says it has sent has been received."""

    async def main() -> None:
        ch: gort.Chan[int] = gort.Chan()
        sending = ch.send_many([0, 1, 2])
        got: list[int] = []

        def receive() -> None:
            got.extend(gort.wait(ch.recv_many(2)))

        async with gort.Group() as group:
            h = group.go(sent_by, sending)
            thread = Thread(target=receive)
            thread.start()
            await gort.gosched()
            h.cancel()
            await gort.gosched()
            group.go(late, ch)
            await gort.blocking(thread.join)
            ch.close()
        mine = [v for v in got if v < 9]
        equal(mine, list(range(sending.sent)))

    async def sent_by(operation: Any) -> None:
        await operation

    async def late(ch: gort.Chan[int]) -> None:
        try:
            await ch.send(9)
        except gort.ChannelClosed:
            pass

    gort.run(main, procs=2)
