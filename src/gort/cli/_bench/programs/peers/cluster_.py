"""Work for another process: gort.cluster (engine `local`) beside Ray and Dask.  One line of JSON.

    python cluster_.py --list
    python cluster_.py WHO JOB N        WHO: gort, gort-one (with one node), ray (actors, ray.util.queue), ray-task, dask,
                                             socket and asyncio (_cluster_floor.py)

- go: N calls of a function that adds, one after another.  The median, and p99_us.
- many: N such calls at once, then all results.
- ints, dicts: N values through one channel (1024) from this process to another; strict: through one of 1.  gort gives the
  receiving process 1024 ahead; the queues of Ray and Dask have no such thing, are a hundred times slower, and get N/50.
- array: an array of N bytes by reference, put, and used once in another process.
- connect: from nothing to the answer of the first node.
- words: the words of N lines, counted in Python by c.map: by two nodes, or by one.
- parked: N goroutines that wait on a channel in another process: bytes of that process for each.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns as now
from typing import Any

import _cluster_floor as floor
import _cluster_work as work
from _common import check, emit, fail

CAPACITY = 1024
PART = 10_000  # lines that are counted at a time


def told(times: list[int]) -> dict[str, float]:
    times.sort()
    return {"value": times[len(times) // 2] / 1e3, "p99_us": times[len(times) * 99 // 100] / 1e3}


def rate(n: int, start: int) -> dict[str, float]:
    return {"value": n / (now() - start) * 1e9}


def array(n: int) -> Any:
    import numpy

    return numpy.ones(n // 8)


# ---- gort ------------------------------------------------------------------------------------------------------------


def gort(job: str, n: int, nodes: int = 2) -> dict[str, float]:
    import gort
    from gort import cluster

    async def main() -> dict[str, float]:
        start = now()
        async with cluster.connect("local", nodes=nodes) as c:
            await c.go(work.add, 1, 2, on="n0")
            if job == "connect":
                return {"value": (now() - start) / 1e6}
            if job == "go":
                times = []
                for i in range(n + n // 10):
                    start = now()
                    check(await c.go(work.add, i, 1, on="n0") == i + 1, "a wrong result")
                    times.append(now() - start)
                return told(times[n // 10 :])
            if job == "many":
                for h in [c.go(work.add, i, 1) for i in range(n // 10)]:
                    await h
                start = now()
                calls = [c.go(work.add, i, 1) for i in range(n)]
                for h in calls:
                    await h
                return rate(n, start)
            if job == "array":
                big = array(n)
                start = now()
                ref = await c.put(big)
                check(await c.go(work.first, ref, on="n0") == 1.0, "a wrong array")
                return {"value": (now() - start) / 1e6}
            if job == "words":
                await c.map(work.count, [(0, 1)] * nodes, chunk=1)
                parts = [(i, min(i + PART, n)) for i in range(0, n, PART)]
                start = now()
                words = sum(await c.map(work.count, parts, chunk=1), Counter[str]())
                check(words["fox"] == n, "lost lines")
                return {"value": (now() - start) / 1e6}
            if job == "parked":
                ch = c.Chan(1, on="n0")
                warm = [c.go(work.park, ch, on="n0") for _ in range(n // 10)]
                few = await c.go(work.parked, n // 10, ch, on="n0")
                before = await c.go(work.resident, on="n0")
                more = [c.go(work.park, ch, on="n0") for _ in range(n)]
                await c.go(work.parked, few + n - 2, ch, on="n0")
                after = await c.go(work.resident, on="n0")
                ch.close()
                for h in warm + more:
                    await h
                return {"value": (after - before) / n}
            ahead = 0 if job == "strict" else CAPACITY
            ch = c.Chan(1 if job == "strict" else CAPACITY, on="n0", prefetch=ahead)
            kind = "ints" if job == "strict" else job
            h = c.go(work.receive, ch, n + n // 10, on="n0")
            await work.send(ch, kind, n // 10)
            start = now()
            await work.send(ch, kind, n)
            check(await h == n + n // 10, "lost values")
            return rate(n, start)

    return gort.run(main)


# ---- Ray -------------------------------------------------------------------------------------------------------------


def ray(job: str, n: int, task: bool = False) -> dict[str, float]:
    import ray
    from ray.util.queue import Queue

    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    start = now()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)

    class Actor:
        def add(self, a: int, b: int) -> int:
            return work.plain_add(a, b)

        def first(self, value: Any) -> float:
            return work.first_of(value)

        def drain(self, queue: Any, n: int) -> int:
            return work.drain(queue, n)

    actor: Any = ray.remote(Actor).remote()
    call: Any = ray.remote(work.plain_add).remote if task else actor.add.remote
    try:
        ray.get(call(1, 2))
        if job == "connect":
            return {"value": (now() - start) / 1e6}
        if job == "go":
            times = []
            for i in range(n + n // 10):
                start = now()
                check(ray.get(call(i, 1)) == i + 1, "a wrong result")
                times.append(now() - start)
            return told(times[n // 10 :])
        if job == "many":
            ray.get([call(i, 1) for i in range(n // 10)])
            start = now()
            ray.get([call(i, 1) for i in range(n)])
            return rate(n, start)
        if job == "array":
            big = array(n)
            start = now()
            ref = ray.put(big)
            check(ray.get(actor.first.remote(ref)) == 1.0, "a wrong array")
            return {"value": (now() - start) / 1e6}
        n = max(1, n // 50)
        value = work.VALUES["ints" if job == "strict" else job]
        queue = Queue(1 if job == "strict" else CAPACITY, actor_options={"num_cpus": 0})
        done = actor.drain.remote(queue, n)
        start = now()
        for _ in range(n):
            queue.put(value)
        check(ray.get(done) == n, "lost values")
        return rate(n, start)
    finally:
        ray.shutdown()


# ---- Dask ------------------------------------------------------------------------------------------------------------


def dask(job: str, n: int) -> dict[str, float]:
    from distributed import Client, LocalCluster, Queue

    start = now()
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        one = sorted(client.scheduler_info()["workers"])[0]
        client.submit(work.plain_add, 1, 2, workers=[one], pure=False).result()
        if job == "connect":
            return {"value": (now() - start) / 1e6}
        if job == "go":
            times = []
            for i in range(n + n // 10):
                start = now()
                check(
                    client.submit(work.plain_add, i, 1, workers=[one], pure=False).result() == i + 1, "a wrong result"
                )
                times.append(now() - start)
            return told(times[n // 10 :])
        if job == "many":
            start = now()
            client.gather(client.map(work.plain_add, range(n), [1] * n, pure=False))
            return rate(n, start)
        if job == "array":
            big = array(n)
            start = now()
            ref = client.scatter(big)
            check(client.submit(work.first_of, ref, workers=[one]).result() == 1.0, "a wrong array")
            return {"value": (now() - start) / 1e6}
        n = max(1, n // 50)
        value = work.VALUES["ints" if job == "strict" else job]
        queue = Queue("bench", client, maxsize=1 if job == "strict" else CAPACITY)
        done = client.submit(work.drain, queue, n, workers=[one])
        start = now()
        for _ in range(n):
            queue.put(value)
        check(done.result() == n, "lost values")
        return rate(n, start)


WHO: dict[str, Callable[[str, int], dict[str, float]]] = {
    "gort": gort,
    "gort-one": lambda job, n: gort(job, n, nodes=1),
    "ray": ray,
    "ray-task": lambda job, n: ray(job, n, task=True),
    "dask": dask,
    "socket": lambda job, n: told(floor.measure("socket", n + n // 10)[n // 10 :]),
    "asyncio": lambda job, n: told(floor.measure("asyncio", n + n // 10)[n // 10 :]),
}
NEEDS = {
    "gort": "cloudpickle",
    "gort-one": "cloudpickle",
    "ray": "ray",
    "ray-task": "ray",
    "dask": "distributed",
    "socket": "socket",
    "asyncio": "asyncio",
}


def main() -> None:
    if sys.argv[1:] == ["--list"]:
        from importlib.util import find_spec

        emit(who=[who for who, module in NEEDS.items() if find_spec(module) is not None])
        return
    if len(sys.argv) != 4 or sys.argv[1] not in WHO:
        fail("usage: WHO JOB N")
    emit(**WHO[sys.argv[1]](sys.argv[2], int(sys.argv[3])))


if __name__ == "__main__":
    main()
