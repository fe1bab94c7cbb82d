"""gort.cluster over real processes, with the engine "local": goroutines, channels, deaths.

The table of promises in docs/cluster.md is tested here and in test_cluster_channels.py, where the processes are played.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

import clusterkit as kit
import gort
from gort import cluster
from support import dose, lives, until

if kit.ENGINE != "local":

    @pytest.fixture(autouse=True)
    def nothing_left() -> None:
        """In the place of conftest's: Ray keeps descriptors and threads of its own."""


def test_goroutines_on_nodes() -> None:
    async def main() -> None:
        async with kit.connect(2, context=["clusterkit:WHO"]) as c:
            assert [n.name for n in c.nodes] == ["n0", "n1"]
            assert await c.go(kit.add, 1, b=2) == 3
            assert await c.go(kit.plain, 4) == 8  # a plain function, which may use gort.wait
            assert await c.go(lambda x: x + kit.plain.__code__.co_argcount, 1) == 2  # a closure goes by value
            pids = [await c.go(kit.pid, on=n) for n in c.nodes]
            assert pids == [n.pid for n in c.nodes]
            assert os.getpid() not in pids
            assert len(set(pids)) == 2
            await results(c)
            await contexts(c)
            await cancelled(c)
            assert await c.go(kit.relay, 5, on="n0") == 6
            assert await c.map(kit.plain, range(50), chunk=7) == list(range(0, 100, 2))
            assert await c.map(kit.slow_double, range(3)) == [0, 2, 4]
            with pytest.raises(KeyError, match=r"7|8"):
                await c.map(kit.fails, ["7", "8"])
            ref = await c.put([1, 2, 3])
            assert await c.go(kit.array_sum, ref) == 6
            await groups(c)

    async def results(c: Any) -> None:
        values = [1, 2]
        h = c.go(kit.echo, values)
        values.append(3)  # too late: the arguments were copied
        assert await h == [1, 2]
        assert h.result() == [1, 2]
        assert await gort.select(c.go(kit.echo, "x")) == (0, "x", True)
        with pytest.raises(KeyError) as e:
            await c.go(kit.fails, "far")
        assert isinstance(e.value.__cause__, cluster.RemoteTraceback)
        assert "on node n" in str(e.value.__cause__)
        assert "in fails" in str(e.value.__cause__)
        with pytest.raises(cluster.RemoteError, match=r"clusterkit\.Strange: from afar"):
            await c.go(kit.fails, "strange")
        with pytest.raises(ValueError, match="cannot be opened") as bad:
            await c.go(kit.echo, kit.Bad())
        assert "in _refuse" in str(bad.value.__cause__)
        with pytest.raises(TypeError, match="pickle"):
            c.go(kit.echo, sys._getframe())

    async def contexts(c: Any) -> None:
        assert await c.go(kit.who) == "nobody"
        token = kit.WHO.set("ann")
        assert await c.go(kit.who) == "ann"
        kit.WHO.reset(token)

    async def cancelled(c: Any) -> None:
        started, ended = c.Chan(1), c.Chan(1, on="n1")
        h = c.go(kit.hangs, started, ended)
        await started.recv()
        assert h.cancel()
        with pytest.raises(gort.Cancelled):
            await h
        assert await ended.recv() == "cleaned up"
        assert not h.cancel()

    async def groups(c: Any) -> None:
        async with c.Group(limit=2) as g:
            handles = [g.go(kit.add, i, 1) for i in range(5)]
        assert [h.result() for h in handles] == [1, 2, 3, 4, 5]
        started, ended = c.Chan(1), c.Chan(1)
        with pytest.raises(ExceptionGroup) as e:
            async with c.Group() as g:
                g.go(kit.hangs, started, ended)
                await started.recv()
                g.go(kit.fails, "together")
        assert e.group_contains(KeyError)
        assert await ended.recv() == "cleaned up"  # the other member, on its node, before the group ended

    gort.run(main)


def test_channels_between_nodes() -> None:
    async def main() -> None:
        async with kit.connect(2) as c:
            for home in ("driver", "n0"):  # the driver's own, and one that both ends reach over the wire
                a, b = c.Chan(4, on=home), c.Chan(4, on="n1", prefetch=2)
                h = c.go(kit.passes, a, b, on="n1")
                s = c.go(kit.sends, a, list(range(100)), on="n0")
                got = [await b.recv() for _ in range(100)]
                assert got == list(range(100))  # one sender, one receiving process: in order
                assert await s == 100
                a.close()
                await h
                with pytest.raises(gort.ChannelClosed):
                    await a.send(1)
                assert await a.recv_ok() == (None, False)
            await bad_values(c)
            await selects(c)
            await full(c)
            await everyone(c, ["driver", "n0", "n1"], "n0")

    async def bad_values(c: Any) -> None:
        ch = c.Chan(4, on="n0")
        value = {"a": 1}
        await ch.send(value)
        value["a"] = 2  # too late
        await ch.send(kit.Bad())
        await ch.send("good")
        assert await ch.recv() == {"a": 1}
        with pytest.raises(ValueError, match="cannot be opened") as e:
            await ch.recv()
        assert "could not be unpickled here" in e.value.__notes__[0]
        assert await ch.recv() == "good"  # the channel and the connection go on
        with pytest.raises(TypeError):
            await ch.send(sys._getframe())

    async def selects(c: Any) -> None:
        full, ready, local = c.Chan(1, on="n0"), c.Chan(1, on="n1"), gort.Chan[int]()
        await full.send(0)
        await ready.send("r")
        assert await gort.select(full.send(1), ready.recv(), local.recv()) == (1, "r", True)
        assert await gort.select(late=gort.sleep(0.01), value=ready.recv_ok()) == ("late", None, True)
        assert await full.recv() == 0  # the send of the select that chose another case has not happened
        gort.go(gort.wait, ready.send("from a plain function"))
        assert await ready.recv() == "from a plain function"

    async def full(c: Any) -> None:
        ch, sent = c.Chan(5, on="n1"), c.Chan(64)
        senders = [c.go(kit.sends_and_tells, ch, 4, sent, on=where) for where in ("driver", "n0", "n1")]
        for _ in range(5):
            await sent.recv()
        for _ in range(7):
            for where in ("n0", "n1"):
                await c.go(kit.pid, on=where)  # whoever could go on has had the time to
            assert await gort.select(sent.recv(), gort.sleep(0.005)) == (1, None, True)
            await ch.recv()
            await sent.recv()  # each receive makes room for one
        assert len([await ch.recv() for _ in range(5)]) == 5
        assert [await h for h in senders] == [4, 4, 4]

    gort.run(main)


async def everyone(c: Any, where: list[str], home: str) -> None:
    """Producers and consumers on every process, waits cut short at random: each value once."""
    n = dose(1000)
    ch, sent, got = c.Chan(7, on=home), c.Chan(9), c.Chan(9)
    k = len(where)
    parts = [list(range(i, n, k)) for i in range(k)]
    producers = [c.go(kit.hasty, ch, i, parts[i], 0.004, sent, on=where[i]) for i in range(k)]
    consumers = [c.go(kit.restless, ch, 9 + i, 0.004, got, on=where[i]) for i in range(k)]
    all_sent = [v for _ in range(k) for v in await sent.recv()]
    ch.close()
    all_got = [v for _ in range(k) for v in await got.recv()]
    assert sorted(all_sent) == list(range(n))
    assert sorted(all_got) == list(range(n))
    for h in (*producers, *consumers):
        await h


def test_a_killed_node_is_named_at_once() -> None:
    async def main() -> None:
        async with kit.connect(3) as c:
            n0, n1, n2 = c.nodes
            # The node is killed in the middle of a take: another gets the value.
            jobs = c.Chan(2)
            await jobs.send("job")
            with pytest.raises(cluster.NodeDied, match="node n0 is gone") as e:
                await c.go(kit.takes_and_dies, jobs, on=n0)
            assert e.value.node == "n0"
            async with jobs.take() as job:
                assert job == "job"
            await n0.done().recv_ok()
            assert not n0.alive
            assert [n.name for n in c.nodes] == ["n1", "n2"]
            # Started anew only if that was asked for.
            with pytest.raises(cluster.NodeDied):
                await c.go(kit.add, 1, 2, on=n0)
            # A channel whose home dies: who waits is told, on every node, and so is who comes later.
            ch, out = c.Chan(2, on=n1), c.Chan(8)
            waiting = c.go(kit.receives, ch, on=n2)
            await ch.send(1)
            killed = time.monotonic()
            os.kill(n1.pid, signal.SIGKILL)
            await n1.done().recv_ok()
            seen = time.monotonic() - killed
            with pytest.raises(cluster.NodeDied, match="n1"):
                await waiting
            for wait in (ch.recv, lambda: ch.send(1), ch.recv_ok):
                with pytest.raises(cluster.NodeDied, match="n1"):
                    await wait()
            print(f"a killed node was named after {seen * 1e3:.1f} ms")
            # A producer that dies leaves nobody hanging: its group fails, and cancels the receiver.
            with pytest.raises(ExceptionGroup) as group:
                async with c.Group() as g:
                    g.go(kit.dies)
                    await out.recv()
            assert group.group_contains(cluster.NodeDied)
            with pytest.raises(cluster.NodeDied, match="no node is left"):
                c.go(kit.add, 1, 2)

    gort.run(main)


def test_a_goroutine_is_started_anew_if_that_is_asked_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with kit.connect(2) as c:
            pid = await c.go(kit.dies_once, str(tmp_path / "mark"), retries=1)
            assert pid == c.nodes[0].pid
            assert len(c.nodes) == 1

    gort.run(main)


def test_connections_are_encrypted_where_that_is_asked_for() -> None:
    """And who has not the cluster's certificate, or not its secret, is disconnected without a word."""
    from gort.cluster import peer, wire

    async def main() -> None:
        async with kit.connect(2, tls=True) as c:
            assert await c.go(kit.relay, 1, on="n0") == 2  # from node to node, too
            assert await c.go(kit.echo, "x" * 300_000) == "x" * 300_000
            async with await kit.stranger(peer.only()) as conn:
                await conn.write(wire.MAGIC + bytes(wire.NONCE))
                with pytest.raises((EOFError, OSError)):
                    await conn.read_exactly(1000)
        async with kit.connect(1, tls=False) as c:
            async with await kit.stranger(peer.only()) as conn:
                await conn.write(wire.MAGIC + bytes(wire.NONCE))
                await conn.read_exactly(64)
                await conn.write(bytes(32))  # no proof
                with pytest.raises((EOFError, OSError)):
                    await conn.read_exactly(1)
            assert await c.go(kit.add, 1, 2) == 3

    gort.run(main)


def test_a_silent_node_is_given_up_and_killed() -> None:
    async def main() -> None:
        async with kit.connect(1, silence=1.5) as c:
            node, pid = c.nodes[0], c.nodes[0].pid
            started, ended = c.Chan(1), c.Chan(1)
            h = c.go(kit.hangs, started, ended)
            await started.recv()
            os.kill(pid, signal.SIGSTOP)
            stopped = time.monotonic()
            with pytest.raises(cluster.NodeDied, match=r"nothing was heard from it for 1\.5 s"):
                await h
            print(f"a stopped node was given up after {time.monotonic() - stopped:.2f} s of 1.5")
            await node.done().recv_ok()
            assert not node.alive

        await until(lambda: not lives(pid))  # it was killed

    gort.run(main)


ORPHANS = """
import os, signal, time
import clusterkit as kit
import gort
from gort import cluster

async def main():
    async with kit.connect(2) as c:
        started, ended = c.Chan(2), c.Chan(2)
        for n in c.nodes:
            c.go(kit.hangs, started, ended, on=n)
        await c.put(b"x")
        folder = getattr(c._peer.store, "folder", ".")
        print(await started.recv(), await started.recv(), folder, time.monotonic(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

gort.run(main)
"""


def test_orphans_end_themselves() -> None:
    *pids, folder, killed = kit.killed_driver(ORPHANS)
    print(f"all nodes had ended {time.monotonic() - float(killed):.3f} s after their driver was killed")
    assert len(pids) == 2
    assert folder == b"." or not os.path.exists(folder)  # nobody can reach what lay in memory for c.put


def test_modules_of_the_working_directory_are_not_taken_for_pythons(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A node starts where the driver is, which need not be where the driver's modules are."""
    (tmp_path / "json.py").write_text("raise SystemExit('somebody else')")
    monkeypatch.chdir(tmp_path)

    async def main() -> None:
        async with cluster.connect("local", nodes=1) as c:
            assert await c.go(kit.add, 1, 2) == 3

    gort.run(main)


def test_a_connect_that_is_cancelled_twice_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    from gort.cluster.engine import local

    steps: gort.Chan[str] = gort.Chan(8)

    class Engine(local.Engine):
        async def close(self) -> None:
            await steps.send("closes")
            await gort.gosched()
            await super().close()
            await steps.send("closed")

    engine = Engine(nodes=1)

    async def connects() -> None:
        async with cluster.connect(engine):
            raise AssertionError("it came up")

    async def main() -> None:
        async with gort.Group() as g:
            h = g.go(connects)
            await until(lambda: "n0" in engine._processes)
            h.cancel()
            assert await steps.recv() == "closes"
            h.cancel()
            with pytest.raises(gort.Cancelled):
                await h
        assert steps.try_recv() == ("closed", True)
        assert not lives(engine._processes["n0"].pid)

    monkeypatch.setattr(local, "_PROGRAM", "import sys; sys.stdin.read(); import time; time.sleep(3600)")
    gort.run(main)


def test_nodes_that_do_not_come_up_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from gort.cluster.engine import local

    async def main() -> None:
        with pytest.raises(cluster.ClusterError, match=r"node n0 did not come up: its process ended with status 3"):
            async with cluster.connect("local", nodes=1):
                raise AssertionError("it came up")

    monkeypatch.setattr(local, "_PROGRAM", "raise SystemExit(3)")
    gort.run(main)


def test_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="has the engines"):
            async with cluster.connect("nowhere"):
                pass
        with pytest.raises(ValueError, match="nodes is how many"):
            async with cluster.connect("local", nodes=0):
                pass
        with pytest.raises(RuntimeError, match="exactly one cluster"):
            cluster.current()
        with pytest.raises(ValueError, match="seconds above 0"):
            cluster.connect(silence=0)
        with pytest.raises(ValueError, match="module:name"):
            async with cluster.connect("local", nodes=1, context=["WHO"]):
                pass

    made: list[str] = []
    make = tempfile.mkdtemp

    def mkdtemp(*args: Any, **kwargs: Any) -> str:
        made.append(make(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp)
    gort.run(main)
    assert not [folder for folder in made if os.path.exists(folder)]  # what does not begin leaves none for c.put
