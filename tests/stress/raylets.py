"""What only Ray can show of gort.cluster, on three raylets: `python scripts/cluster_engines.py ray` runs it, beside the
tests that are the same for all engines.

The raylet that is killed belongs to a Ray cluster of its own, which this file starts.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import ray
from ray.cluster_utils import Cluster

import clusterkit as kit
import gort
from gort import cluster
from support import lives, until
from test_cluster import everyone


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """In the place of conftest's: Ray keeps descriptors and threads of its own."""


@pytest.fixture
def raylets() -> Iterator[Any]:
    """A Ray cluster of this test's own, to which this process is connected."""
    ray.shutdown()
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    try:
        nodes.add_node(num_cpus=2)
        nodes.add_node(num_cpus=2)
        nodes.wait_for_nodes()
        ray.init(address=nodes.address, log_to_driver=False)
        yield nodes
    finally:
        ray.shutdown()
        nodes.shutdown()


async def where() -> str:
    return str(ray.get_runtime_context().get_node_id())


async def waits_for(ch: Any) -> Any:
    return await ch.recv()


def test_a_killed_raylet_and_its_worker_that_lives(raylets: Any) -> None:
    """Ray's workers go on after their raylet.  Ours ends: what it ran may have been started anew elsewhere."""

    async def main() -> None:
        async with cluster.connect("ray", nodes=3) as c:
            places = {await c.go(where, on=n): n for n in c.nodes}
            assert len(places) == 3
            victim = next(iter(raylets.worker_nodes))
            node = places[victim.node_id]
            pid = node.pid
            started, ended = c.Chan(1), c.Chan(1)
            h = c.go(kit.hangs, started, ended, on=node)
            await started.recv()
            os.kill(victim.all_processes["raylet"][0].process.pid, signal.SIGKILL)
            killed = time.monotonic()
            with pytest.raises(cluster.NodeDied, match=node.name):
                await h
            told = time.monotonic() - killed
            await until(lambda: not lives(pid))
            print(
                f"told {told:.3f} s after the raylet was killed; its worker ended {time.monotonic() - killed:.3f} s after"
            )
            assert told < 6
            assert await c.go(kit.add, 1, 2) == 3

    gort.run(main)


@pytest.mark.parametrize("home", ["driver", "n2"])
def test_each_value_once_on_three_raylets(raylets: Any, home: str) -> None:
    """Producers and consumers on each, and their waits are cut short at random."""

    async def main() -> None:
        async with cluster.connect("ray", nodes=3) as c:
            assert len({await c.go(where, on=n) for n in c.nodes}) == 3
            await everyone(c, [n.name for n in c.nodes], home)

    gort.run(main)


def test_big_values_by_reference(raylets: Any) -> None:
    async def main() -> None:
        async with cluster.connect("ray", nodes=2) as c:
            array = np.arange(10_000_000, dtype=np.float64)  # 80 MB
            began = time.monotonic()
            ref = await c.put(array)
            put = time.monotonic()
            for _ in range(3):
                assert await c.go(total, ref, on="n0") == array.sum()
            print(f"80 MB: put {put - began:.3f} s, used three times {time.monotonic() - put:.3f} s")
            assert await c.go(total, await c.go(puts, array[:1000], on="n1"), on="n0") == array[:1000].sum()

    gort.run(main)


async def total(ref: Any) -> float:
    return float((await ref).sum())


async def puts(array: Any) -> Any:
    return await cluster.current().put(array)


def test_a_deadlock_is_found_with_ray_loaded(raylets: Any) -> None:
    async def main() -> None:
        async with cluster.connect("ray", nodes=1) as c:
            await c.go(kit.add, 1, 2)
        await gort.Chan[None]().recv()

    with pytest.raises(gort.Deadlock):
        gort.run(main)


def test_a_deadlock_over_two_nodes_is_found(raylets: Any) -> None:
    async def main() -> None:
        async with cluster.connect("ray", nodes=2) as c:
            a, b = c.Chan(1, on="n0"), c.Chan(1)
            async with c.Group() as g:
                g.go(kit.passes, a, b)
                g.go(kit.passes, b, a)

    with pytest.raises(gort.Deadlock) as e:
        gort.run(main)
    assert e.value.dump.count("clusterkit.passes(...)") == 2


def test_a_call_of_ray_is_no_deadlock(raylets: Any) -> None:
    async def main() -> float:
        async with cluster.connect("ray", nodes=1):
            return float(await gort.blocking(ray.get, ray.remote(slow).remote()))

    assert gort.run(main) == 1.0


def slow() -> float:
    async def main() -> float:
        await asyncio.sleep(0.5)
        return 1.0

    return asyncio.run(main())
