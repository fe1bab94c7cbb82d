"""gort.cluster finds deadlocks over several processes, and none where there is none."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

import clusterkit as kit
import gort
from gort import net
from gort.cluster import NodeDied, asleep, own
from gort.cluster.client import Cluster
from gort.cluster.link import Link, moves
from gort.cluster.peer import Peer
from support import dose, lives, until
from test_cluster_faults import SECRET, alone

QUICK = 1.8  # seconds of silence: a sign of life every 0.3 s


def test_goroutines_that_wait_for_each_other_on_two_nodes_are_told() -> None:
    left: list[Any] = []

    async def main() -> None:
        async with kit.connect(2, silence=QUICK) as c:
            left.extend([*(node.pid for node in c.nodes), getattr(c._peer.store, "folder", "")])
            a, b = c.Chan(1, on="n0"), c.Chan(3)
            async with c.Group() as g:
                g.go(kit.passes, a, b)
                await until(lambda: sum(c._peer.load.values()) == 1)  # two at once may choose the same node
                g.go(kit.passes, b, a)

    with pytest.raises(gort.Deadlock, match="all goroutines are asleep") as e:
        gort.run(main)
    dump = e.value.dump
    here, n0, n1 = dump.partition("node n0 (process")[0], *dump.split("node n")[1:]
    assert "main.<locals>" not in n0 + n1
    assert "sync.WaitGroup.Wait" in here
    assert " waits for call 1 of driver on n" in here
    assert " waits for call 2 of driver on n" in here
    for told in (n0, n1):
        assert "[chan receive] call " in told
        assert "clusterkit.passes(...)" in told
        assert "gort/cluster" not in told
    waits = [line.partition(" waits ")[2] for line in dump.splitlines() if " waits to receive from " in line]
    assert sorted(line.partition(" of ")[2] for line in waits) == ["1 on n0", "3 on driver"]
    assert not os.path.exists(left.pop())  # what lay in memory for c.put
    for pid in left:
        gort.run(until, lambda pid=pid: not lives(pid))


def test_a_node_that_is_gone_is_told_with_the_deadlock() -> None:
    """It was the one that would have sent."""
    peers: list[Peer] = []

    async def main() -> None:
        async with kit.connect(2, silence=QUICK) as c:
            peers.append(c._peer)
            ch = c.Chan(1)
            with pytest.raises(NodeDied, match=r"^node n\d is gone: \S"):
                await c.go(kit.dies)
            await ch.recv()

    with pytest.raises(gort.Deadlock) as e:
        gort.run(main)
    told = re.search(r"\nnode n\d is gone: \S.*\n\nnode n\d \(process", e.value.dump)
    assert told, (e.value.dump, [(peer.gone, peer.addresses, peer.links) for peer in peers])


def test_a_token_on_its_way_is_no_deadlock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four goroutines in three processes, of which at most one runs, and the driver asks all the time.  When the token is
    out, all wait: that is told, and not before."""
    told: list[int] = []
    arrived: list[int] = []
    agreed: list[bool] = []
    agree = asleep.agree

    def agrees(views: Any) -> bool:
        agreed.append(agree(views))
        return agreed[-1]

    async def main() -> None:
        async with kit.connect(2, silence=60) as c:
            end: gort.Chan[None] = gort.Chan(1)
            out = c.Chan(1, on="n1")
            places = ["n0", "driver", "n1", "n0"]
            ring = [c.Chan(1, on=place) for place in places]
            calls = [c.go(kit.passes_on, ring[i], ring[(i + 1) % 4], out, i, on=places[i - 1]) for i in range(4)]

            async def arrives() -> None:
                async for value in out:
                    arrived.append(value)

            def report(error: BaseException) -> None:
                told.append(len(arrived))
                end.try_send(None)

            monkeypatch.setattr(asleep, "agree", agrees)
            monkeypatch.setattr(c._peer.asleep, "report", report)
            gort.go(arrives)
            own.go(asks, c, end)
            for n in range(3):
                await ring[n].send(dose(200))
                await end.recv()
            end.close()
            for ch in (*ring, out):
                ch.close()
            for call in calls:
                await call

    async def asks(c: Any, end: gort.Chan[None]) -> None:
        while not end.closed:
            await c._peer.asleep._suspected.send(None)

    gort.run(main)
    assert told == [1, 2, 3]
    assert agreed.count(False) > 0  # it was asked while the token was in no process


def test_a_call_on_its_way_is_no_deadlock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver asks all the time, while it waits for a node, which waits for another: until it has asked while a call
    was in no process."""
    told: list[BaseException] = []
    asked: list[bool] = []
    agree = asleep.agree

    def agrees(views: Any) -> bool:
        asked.append(agree(views))
        return asked[-1]

    async def main() -> None:
        async with kit.connect(2, silence=60) as c:
            over: gort.Chan[None] = gort.Chan()

            async def asks() -> None:
                while not over.closed:
                    await c._peer.asleep._suspected.send(None)

            monkeypatch.setattr(asleep, "agree", agrees)
            monkeypatch.setattr(c._peer.asleep, "report", told.append)
            own.go(asks)
            calls = 0
            while calls < dose(150) or False not in asked:
                assert await c.go(kit.relay, calls, on=f"n{calls % 2}") == calls + 1
                calls += 1
            async with c.Group(limit=3) as g:
                for n in range(dose(50)):
                    g.go(kit.add, n, 1)
            over.close()

    gort.run(main)
    assert told == []


# ---- one process ------------------------------------------------------------------------------------------------------


async def looks(peer: Peer, awake: bool = False) -> Any:
    """What a look finds while this goroutine waits.  Unless somebody is awake, it is repeated until all have fallen
    asleep: a thread needs some time to."""
    found: gort.Chan[Any] = gort.Chan(1)

    async def look() -> None:
        while (view := await peer.asleep.settled()) is None and not awake:
            await gort.sleep(0.001)
        found.try_send(view)

    own.go(look)
    return await found.recv()


def test_who_waits_for_another_goroutine_is_asleep() -> None:
    async def body(peer: Peer, c: Cluster) -> None:
        mu, ch, rw = gort.sync.Mutex(), gort.Chan[int](), gort.sync.RWMutex()
        remote = c.Chan(1)
        await mu.lock()
        await rw.lock()
        for wait in (mu.lock, ch.recv, lambda: ch.send(1), remote.recv, rw.rlock):
            gort.go(waits, wait)
        gort.go(waits, lambda: gort.select(ch.recv(), remote.recv()))
        gort.go(gort.wait, ch.recv())  # a plain function
        await until(lambda: remote._proxy.rx[0].wait == 2)
        view = await looks(peer)
        assert view is not None
        assert view.keys() == {"driver"}

    alone(body)


async def waits(operation: Callable[[], Any]) -> None:
    with suppress(NodeDied):  # the cluster ends before the program does
        await operation()


@pytest.mark.parametrize("who", ["sleeps", "times out", "accepts", "blocks", "computes", "watches", "is outside"])
def test_who_may_be_woken_from_outside_is_not_asleep(who: str) -> None:
    async def body(peer: Peer, c: Cluster) -> None:
        over = threading.Event()
        never: gort.Chan[None] = gort.Chan()
        ready: gort.Chan[None] = gort.Chan(1)

        async def times_out() -> None:
            async with gort.move_on_after(3600):
                await never.recv()

        def blocks() -> None:
            ready.try_send(None)
            over.wait()

        async def computes() -> None:
            while not over.is_set():
                await gort.gosched()

        async def accepts() -> None:
            async with await net.listen("tcp", "127.0.0.1:0") as listener:
                await listener.accept()

        thread = threading.Thread(target=blocks)
        ways: dict[str, Callable[[], Any]] = {
            "sleeps": lambda: gort.go(gort.sleep, 3600),
            "times out": lambda: gort.go(times_out),
            "accepts": lambda: gort.go(accepts),
            "blocks": lambda: gort.go(gort.blocking, blocks),
            "computes": lambda: gort.go(computes),
            "watches": lambda: gort.go(waits, lambda: gort.select(never.recv(), c.node("n7").done().recv_ok())),
            "is outside": thread.start,
        }
        assert await looks(peer) is not None
        ways[who]()
        try:
            if who in ("blocks", "is outside"):
                await ready.recv()
            for _ in range(5):
                await gort.gosched()
                assert await looks(peer, awake=True) is None
        finally:
            over.set()
            if thread.ident is not None:
                await gort.blocking(thread.join)

    alone(body)


def test_what_is_posted_and_not_written_is_seen() -> None:
    async def body(peer: Peer, c: Cluster) -> None:
        assert peer.asleep.view() == {"driver": (0, 0)}
        peer.loop.post(("c",))
        assert peer.asleep.view() is None
        peer.loop._out.clear()
        assert peer.asleep.view() is None  # the writer has been told, and may have taken it out
        link = Link(peer, "n1")
        peer._all.add(link)
        await until(lambda: peer.loop.quiet())
        assert peer.asleep.view() is None  # it is being dialled
        peer._all.discard(link)

    alone(body, procs=1)  # with more, another thread may take ("c",) out before `clear`


def test_what_is_taken_out_and_not_written_is_seen() -> None:
    async def body(peer: Peer, c: Cluster) -> None:
        link = Link(peer, "n1")
        link.post(("c",))
        assert link._batch() == [("c",)]
        assert not link._out
        assert not link.quiet()
        assert link.sent == 1  # so whoever finds it quiet finds it counted
        link.close()
        assert link._batch() is None
        assert link.quiet()

    alone(body)


def test_a_result_that_is_not_posted_yet_is_seen() -> None:
    async def body(peer: Peer, c: Cluster) -> None:
        assert await looks(peer) is not None
        peer.running[1] = None  # type: ignore[assignment]
        assert await looks(peer, awake=True) is None
        peer.running.clear()

    alone(body)


def test_a_goroutine_that_ran_between_two_looks_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits again, as before, at the second."""

    async def body(peer: Peer, c: Cluster) -> None:
        real = peer.asleep._waits
        seen: list[Any] = []
        wakes: gort.Chan[None] = gort.Chan(1)
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                await wakes.recv()
                turns += 1

        async def waits_and_wakes(s: Any) -> Any:
            while (found := await real(s)) is None:  # main may not yet wait, or not again
                await gort.sleep(0.001)
            seen.append(found)
            if len(seen) == 1:
                wakes.try_send(None)
                await until(lambda: turns == 1)
            return found

        gort.go(turn)
        monkeypatch.setattr(peer.asleep, "_waits", waits_and_wakes)
        while not seen:  # another thread may still be about to park `turn`
            assert await looks(peer, awake=True) is None
        (count, digest, outside), second = seen
        assert second[0] == count
        assert second[1] != digest
        assert second[2] == outside == []

    alone(body)


def test_who_is_busy_is_not_looked_at_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(peer: Peer, c: Cluster) -> None:
        looked: list[bool] = []

        async def look() -> Any:
            looked.append(True)
            return {}

        monkeypatch.setattr(peer.asleep, "look", look)
        for _ in range(3):
            peer.loop.sent += 1
            assert not peer.asleep.hint()
        await gort.gosched()
        assert not looked
        assert not peer.asleep.hint()
        await until(peer.asleep.hint)
        assert all(peer.asleep.hint() for _ in range(3))
        assert len(looked) == 1
        peer.loop.sent += 1
        assert not peer.asleep.hint()

    alone(body)


def test_a_sign_of_life_waits_for_no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """With many goroutines a look takes long, and a node whose signs of life are late ends itself.  So a look is in
    slices, and the goroutine that gives the signs makes none."""

    async def body(peer: Peer, c: Cluster) -> None:
        monkeypatch.setattr(asleep, "SLICE", 10)
        never: gort.Chan[None] = gort.Chan()
        for _ in range(100):
            gort.go(never.recv)
        assert await looks(peer) is not None
        real = peer.asleep._wait
        ended: gort.Chan[Any] = gort.Chan(1)
        seen = 0  # goroutines looked at
        between: list[int] = []

        def wait(g: Any, op: Any, ends: set[int]) -> Any:
            nonlocal seen
            seen += 1
            return real(g, op, ends)

        async def ticks() -> None:
            while seen < 100:
                await gort.gosched()
                between.append(seen)

        async def look() -> None:
            while (found := await peer.asleep.look()) is None:  # something has changed meanwhile
                await gort.sleep(0.01)
            ended.try_send(found)

        monkeypatch.setattr(peer.asleep, "_wait", wait)
        for _ in range(3):
            peer.asleep.hint()
        assert seen == 0
        own.go(look)
        own.go(ticks)
        assert await ended.recv() is not None
        assert any(0 < n < 100 for n in between)

    alone(body, procs=1)  # with more, the look may have ended before a thread comes to run `ticks`


def test_a_process_in_two_clusters_is_not_asleep() -> None:
    """The other cluster's messages may wake it, and are in no view of this one."""

    async def body(peer: Peer, c: Cluster) -> None:
        other = Peer("another", SECRET, "n0", 6.0, ())
        assert await looks(peer) is not None
        await other.begin("127.0.0.1")
        try:
            await until(lambda: other.loop.quiet())
            for _ in range(5):
                await gort.gosched()
                assert await looks(peer, awake=True) is None
                assert await looks(other, awake=True) is None
        finally:
            other.end()
        assert await looks(peer) is not None

    alone(body)


# ---- all of them ------------------------------------------------------------------------------------------------------


def test_what_one_has_sent_the_other_must_have_received() -> None:
    assert asleep.agree({"driver": {"driver": (3, 3), "n0": (5, 2)}, "n0": {"driver": (2, 5)}})
    assert not asleep.agree({"driver": {"n0": (5, 2)}, "n0": {"driver": (2, 4)}})  # one is under way
    assert not asleep.agree({"driver": {"n0": (5, 2)}, "n0": {"driver": (1, 5)}})
    assert not asleep.agree({"driver": {"n0": (0, 0)}, "n0": {}})  # only one end of a link knows of it
    assert not asleep.agree({"driver": {"n7": (0, 0)}})


def test_questions_and_signs_of_life_move_nothing() -> None:
    assert not moves([("beat", True), ("look", 1), ("shown", 1, "n0", "")])
    assert moves([("beat", True), ("done", 1, True, None)])


class Node:
    """A node that is played: it answers the driver's questions after a while."""

    def __init__(self, peer: Peer, took: float, after: float) -> None:
        self.peer, self.asleep, self.after = peer, took, after
        self.asked: list[str] = []
        peer.addresses["n0"] = ""
        peer.links["n0"] = self  # type: ignore[assignment]

    def post(self, message: Any) -> None:
        self.asked.append(message[0])
        own.go(self.answer, *message)

    def end(self, why: str) -> None:
        pass

    async def answer(self, question: str, number: int) -> None:
        await gort.sleep(self.after)
        verb, what = {"look": ("seen", {}), "show": ("shown", "node n0")}[question]
        self.peer.asleep.inbox.try_send((self, (verb, number, "n0", what)))


def test_who_has_many_goroutines_has_longer_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at a million of them takes longer than the time after which a silent node is given up."""

    async def body(peer: Peer, c: Cluster) -> None:
        peer.silence = 0.01
        told: gort.Chan[Any] = gort.Chan(1)
        monkeypatch.setattr(peer.asleep, "report", told.try_send)
        node = Node(peer, 0.0, 0.1)
        peer.asleep.suspect()
        await until(lambda: len(peer.asleep._suspected) == 0)
        assert node.asked == []  # it is awake
        node.asleep = 1000.0
        peer.asleep.suspect()
        assert (await told.recv()).elsewhere == "node n0"
        *looks, show = node.asked
        assert set(looks) == {"look"}
        assert len(looks) >= 2  # more, where main did not yet wait
        assert show == "show"

    alone(body)


def test_questions_take_a_small_part_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    async def body(peer: Peer, c: Cluster) -> None:
        nonlocal now
        turns = ended = 0
        ask_all = peer.asleep._ask_all

        async def asks() -> None:
            nonlocal now, turns
            now += 3.0
            turns += 1

        async def asks_all() -> None:
            nonlocal ended
            await ask_all()
            ended += 1

        async def suspects() -> None:
            """Until the question is over, where one is due: the goroutine that asks may be on another thread."""
            over = ended + (now >= peer.asleep._next_question)
            peer.asleep.suspect()
            await until(lambda: ended == over)

        monkeypatch.setattr(peer.asleep, "_ask_all", asks_all)
        monkeypatch.setattr(peer.asleep, "_ask_twice", asks)
        monkeypatch.setattr(asleep, "time", SimpleNamespace(monotonic=lambda: now))
        Node(peer, 1.0, 0.0)
        for wait in (0.0, 59.9, 0.1, 30.0):
            now += wait
            await suspects()
        assert turns == 2  # and not four: a twentieth of the time

    alone(body)


def test_the_report_has_no_line_for_each_goroutine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asleep, "LINES", 2)

    async def body(peer: Peer, c: Cluster) -> None:
        first, second, third = c.Chan(1), c.Chan(1), c.Chan(1)
        for ch, n in ((first, 9), (second, 1), (third, 3)):
            for _ in range(n):
                gort.go(waits, ch.recv)
        await until(lambda: [ch._proxy.rx[0].wait for ch in (first, second, third)] == [9, 1, 3])
        await until(lambda: peer.asleep._told().count("wait") == 3)
        lines = peer.asleep._told().splitlines()
        where = f"channel {first._made[1][:8]} of 1 on driver"
        assert re.fullmatch(rf"goroutines (\d+, ){{5}}and 4 others, on driver wait to receive from {where}", lines[0])
        assert re.fullmatch(r"goroutine \d+ on driver waits to receive from channel \w+ of 1 on driver", lines[1])
        assert lines[2:] == ["3 other goroutines on driver wait for other processes", ""]

    alone(body)


# ---- the end ----------------------------------------------------------------------------------------------------------


def test_a_program_that_ends_in_the_middle_leaves_nothing() -> None:
    left: list[Any] = []

    async def panics() -> None:
        raise LookupError("in the middle")

    async def main() -> None:
        async with kit.connect(1) as c:
            left.extend([c.nodes[0].pid, c._peer.store.folder])
            await c.put(b"x")
            gort.go(panics)
            await gort.sleep(3600)

    with pytest.raises(gort.Panic):
        gort.run(main)
    assert not os.path.exists(left[1])
    gort.run(until, lambda: not lives(left[0]))
