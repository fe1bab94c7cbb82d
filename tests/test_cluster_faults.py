"""gort.cluster where something fails: large values, connections of strangers, the end of a cluster, what is left behind.

Each test was a fault once: an error that ended the program, a wait without an end, or memory that only grew.  What needs
one process alone uses a Peer that starts goroutines on itself.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

import clusterkit as kit
import gort
from gort import cluster, net
from gort.cluster import NodeDied, wire
from gort.cluster import peer as peers
from gort.cluster.client import Cluster
from gort.cluster.engine import local
from gort.cluster.link import Link
from gort.cluster.peer import Peer
from support import let_go, until

SECRET = b"of this cluster"


def alone(body: Callable[[Peer, Cluster], Coroutine[Any, Any, None]], procs: int | None = None) -> None:
    """Runs body(peer, cluster) in a cluster whose only process is this one.  procs: as for gort.run."""

    async def main() -> None:
        wire.use("cloudpickle")
        peer = Peer("s", SECRET, "driver", 6.0, ())
        await peer.begin("127.0.0.1")
        try:
            await body(peer, Cluster(peer))
        finally:
            peer.end()

    gort.run(main, procs=procs)


class Deaf:
    """A connection that takes whatever is written."""

    def __init__(self) -> None:
        self.written: list[Any] = []

    async def writev(self, buffers: list[Any]) -> None:
        self.written.append(buffers)

    def close(self) -> None:
        pass


# ---- large values -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["x" * wire.LARGE, b"x" * wire.LARGE, (1, "x" * wire.LARGE)])
def test_a_large_text_lies_behind_the_frame(value: Any) -> None:
    """As each large value: in the frame's pickle it would be copied, and it could be larger than a frame."""
    wire.use("cloudpickle")
    sealed = wire.seal(value)
    body, behind = wire.encode([("done", 1, True, sealed)])[-2:]
    assert len(body) < 1000
    assert len(behind) >= wire.LARGE
    assert wire.unseal(sealed) == value


def test_a_frame_may_be_larger_than_4_gib() -> None:
    class Huge(bytes):
        """Says that it is larger than it is."""

        def __len__(self) -> int:
            return 5 << 30

    head = wire.head(Huge(), [])
    assert wire.HEAD.unpack(head) == (5 << 30, 0)


def test_a_message_that_cannot_be_written_ends_the_link_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(batch: list[Any]) -> list[Any]:
        raise MemoryError("too much")

    async def body(peer: Peer, c: Cluster) -> None:
        link = Link(peer, "n1", Deaf())  # type: ignore[arg-type]
        gort.go(link._write)
        link.post(("beat",))
        await until(lambda: link.dead is not None)
        assert link.dead == "a message to it could not be written (MemoryError: too much)"

    monkeypatch.setattr(wire, "encode", encode)
    alone(body)


# ---- failures that nobody asks for ------------------------------------------------------------------------------------


def fails(what: str) -> None:
    raise LookupError(what)


def test_a_failure_that_nobody_can_ask_for_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda u: told.append(f"{u.err_msg}: {u.exc_value}"))
    what = "gort: a remote goroutine failed, and nobody awaited it: "

    def heard() -> bool:
        let_go()  # what stands for the goroutine tells it, when it goes
        return bool(told)

    async def body(peer: Peer, c: Cluster) -> None:
        seen = c.go(fails, "seen", on="driver")
        with pytest.raises(LookupError):
            await seen
        c.go(fails, "dropped", on="driver")
        await until(heard)
        assert told == [what + "dropped"]
        held = [c.go(fails, "held", on="driver")]
        await until(lambda: held[0].done)
        assert len(told) == 1  # who holds it may still ask
        for early in (True, False):  # who does not want to know
            given_up = c.go(fails, "given up", on="driver")
            if early:
                given_up.abandon()
            await given_up.end().recv_ok()
            given_up.abandon()
            del given_up
        assert list(peer.failed) == [held[0].number]
        peer.end()
        peer.report_all()
        assert told[1:] == [what + "held"]
        held.clear()

    alone(body)
    assert len(told) == 2


# ---- encryption -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("host", "encrypted"), [("", False), ("127.0.0.1", False), ("localhost", True)])
def test_what_leaves_the_loopback_is_encrypted_unless_that_is_refused(host: str, encrypted: bool) -> None:
    """A name is taken for another machine's: what it means is known only later."""

    class Engine(local.Engine):
        pass

    Engine.host = host

    async def main() -> None:
        async with cluster.connect(Engine(nodes=1)) as c:
            assert (c._peer.tls is not None) is encrypted
            assert c._peer.addresses["driver"].startswith("/" if not host else "127.0.0.1:")
            assert await c.go(kit.add, 1, 2) == 3

    gort.run(main)


def test_other_users_cannot_connect_to_the_nodes_of_one_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unix sockets lie in a folder that nobody else may open.  The system allows them a short path only: where the folder
    for values in memory has a long one, it is the loopback interface."""

    async def host(where: Path) -> tuple[str, int]:
        monkeypatch.setattr(local, "_memory", lambda: str(where))
        engine = local.Engine(nodes=11)
        try:
            await engine.nodes()
            return engine.host, os.stat(engine._folder).st_mode & 0o777
        finally:
            await engine.close()

    async def main() -> None:
        folder, mode = await host(Path(tempfile.gettempdir()))
        assert folder.startswith(tempfile.gettempdir())
        assert mode == 0o700
        deep = tmp_path / ("x" * 100)
        deep.mkdir()
        assert await host(deep) == ("127.0.0.1", 0o700)

    gort.run(main)


def test_a_read_of_a_peers_unix_socket_is_one_system_call() -> None:
    """A short read has emptied it, if the peer passes no descriptors: a stranger might."""

    async def main() -> None:
        async with cluster.connect("local", nodes=1) as c:
            (link,) = c._peer._all
            assert link.conn is not None
            assert link.conn.network == "unix"
            assert link.conn.stream
            async with await kit.stranger(c._peer) as conn:
                await until(lambda: len(c._peer._unproven) == 1)
                assert not next(iter(c._peer._unproven)).stream
                assert not conn.stream

    gort.run(main)


# ---- connections of strangers -----------------------------------------------------------------------------------------


def test_strangers_fill_no_process_and_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "UNPROVEN", 2)
    monkeypatch.setattr(peers, "HASTE_S", 0.01)
    most = 0

    async def body(peer: Peer, c: Cluster) -> None:
        strangers = [await kit.stranger(peer) for _ in range(6)]

        async def watches() -> None:
            nonlocal most
            while not over.closed:
                most = max(most, len(peer._unproven))
                await gort.gosched()

        over: gort.Chan[None] = gort.Chan()
        gort.go(watches)
        await until(lambda: most == 2)
        async with await kit.stranger(peer) as friend:
            await wire.prove(friend, SECRET)
            await until(lambda: peer._all)  # it has got in
        over.close()
        for conn in strangers[:4]:
            async with conn:
                assert await conn.read(1) == b""  # closed without a word
        for conn in strangers[4:]:
            conn.close()

    alone(body)
    assert most == 2


def test_a_stranger_ends_with_the_cluster() -> None:
    async def body(peer: Peer, c: Cluster) -> None:
        async with await kit.stranger(peer) as conn:
            await until(lambda: peer._unproven)
            peer.end()
            assert await conn.read(1) == b""

    alone(body)


def test_connections_are_accepted_again_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after one that gort.net does not take for a passing one."""
    monkeypatch.setattr(peers, "ACCEPT_S", 0.0)
    told: list[str] = []
    monkeypatch.setattr(peers, "say", told.append)

    class Ill:
        """A listener whose first accept fails."""

        def __init__(self, listener: Any) -> None:
            self.listener = listener
            self.tries = 0

        def __aiter__(self) -> Ill:
            return self

        async def __anext__(self) -> Any:
            self.tries += 1
            if self.tries == 1:
                raise OSError(errno.EPERM, "a firewall says no")
            return await self.listener.__anext__()

    async def body(peer: Peer, c: Cluster) -> None:
        listener = await net.listen("tcp", "127.0.0.1:0")
        gort.go(peer._serve, Ill(listener))
        async with await net.dial("tcp", listener.addr) as conn:
            await wire.prove(conn, SECRET)
        assert "a firewall says no" in told[0]
        listener.close()

    alone(body)


def test_a_node_that_is_gone_does_not_come_back() -> None:
    """Dask starts a task again whose worker has died; it says that it is the node that was given up."""

    async def body(peer: Peer, c: Cluster) -> None:
        peer.node_gone("n0", "it was killed")
        async with await kit.stranger(peer) as conn:
            await wire.prove(conn, SECRET)
            await conn.write(wire.encode([("hello", "n0", "127.0.0.1:1", 1, "here")]))
            while await conn.read():
                pass  # until it is closed
        assert c.nodes == []

    alone(body)


# ---- the end ----------------------------------------------------------------------------------------------------------


def test_who_waits_for_a_channel_of_this_process_is_told_of_the_end() -> None:
    async def body(peer: Peer, c: Cluster) -> None:
        ch, full = c.Chan(4), c.Chan(1)
        await full.send(0)
        async with gort.Group() as g:
            received = g.go(outcome, ch.recv)
            sent = g.go(outcome, lambda: full.send(1))
            await until(lambda: ch._proxy.rx[0].wait == 1 and full._proxy.tx.wait == 1)
            peer.end()
        assert isinstance(received.result(), NodeDied)
        assert isinstance(sent.result(), NodeDied)
        assert "the cluster has been left" in str(sent.result())
        assert isinstance(await outcome(lambda: ch.send(1)), NodeDied)

    alone(body)


async def outcome(wait: Any) -> Any:
    try:
        return await wait()
    except NodeDied as e:
        return e


def test_slots_that_a_sender_has_ahead_go_with_the_home() -> None:
    async def body(peer: Peer, c: Cluster) -> None:
        ch = c.Chan(64)
        await ch.send(0)
        await until(lambda: ch._proxy.tx.given > 0)
        ch._proxy.lost("killed")
        with pytest.raises(NodeDied):
            await ch.send(1)  # with no slot it would wait for one: with one in hand it would be lost in silence
        assert not ch._proxy.tx.given

    alone(body)


def test_what_begins_while_the_cluster_ends_is_ended_by_one_of_both() -> None:
    async def body(peer: Peer, c: Cluster) -> None:
        class Late(dict[str, Any]):
            """Another thread ends the cluster just before the link can be found."""

            def setdefault(self, key: str, value: Any) -> Any:
                peer.end()
                return super().setdefault(key, value)

        peer.addresses["n1"] = peer.addresses["driver"]
        peer.links = Late(peer.links)
        assert peer.link_to("n1").dead is not None
        assert not peer._all
        assert c.node("n2").done().closed  # who asks after the end waits for nothing

    alone(body)


def test_an_end_in_two_threads_at_once() -> None:
    async def body(peer: Peer, c: Cluster) -> None:
        class Over:
            """A channel that another thread closes just after the look whether it is closed."""

            closed = False

            def close(self) -> None:
                raise gort.ChannelClosed("close of closed channel")

        over, peer._over = peer._over, Over()  # type: ignore[assignment]
        peer.end()
        peer._over = over

    alone(body)


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_silence_is_told_in_time(part: float) -> None:
    """Not later than after the time that the cluster allows, wherever between two looks the last sign came; and not much
    earlier."""

    async def body(peer: Peer, c: Cluster) -> None:
        link = Link(peer, "n1")
        link._hear()
        looks = 1
        while link.looks() < peers.SILENT:
            looks += 1
        waited = (looks - part) * peer.silence / peers.LOOKS
        assert 0.9 * peer.silence <= waited <= peer.silence

    alone(body)


def test_a_dead_link_collects_nothing() -> None:
    async def body(peer: Peer, c: Cluster) -> None:
        link = Link(peer, "n1")
        link.post(("beat",))  # the writer, which never began to look, has been told
        link.end("it was killed")
        for _ in range(10):
            link.post(("cancel", 1))
        assert not link._out

    alone(body)


# ---- what is left behind ----------------------------------------------------------------------------------------------

ORPHANS = """
import os, signal
import clusterkit as kit
import gort

async def main():
    async with kit.connect(1) as c:
        started = c.Chan(1)
        c.go(kit.stuck, started)
        await c.put(b"x")
        print(await started.recv(), c._peer.store.folder, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

gort.run(main)
"""


def test_values_of_put_go_also_if_a_node_ends_in_the_middle_of_something() -> None:
    _, folder = kit.killed_driver(ORPHANS)
    assert not os.path.exists(folder)


def test_values_of_put_whose_processes_were_all_killed_go_with_the_next_cluster(tmp_path: Path) -> None:
    left, new = tmp_path / (local._PREFIX + "left"), tmp_path / (local._PREFIX + "new")
    for folder in (left, new):
        folder.mkdir()
        (folder / "value").write_text("x")
    held, lock = local._new_folder(str(tmp_path))
    ancient = time.time() - 10 * local._NEW_S
    for path in (left, held):
        os.utime(path, (ancient, ancient))
    _, lock2 = local._new_folder(str(tmp_path))
    assert not left.exists()
    assert new.exists()  # its driver may be about to take its lock
    assert os.path.exists(held)
    os.close(lock)
    os.close(lock2)
