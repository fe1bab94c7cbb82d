"""Runs the tests of gort.cluster with another engine than "local": `python scripts/cluster_engines.py ray`, and what
follows goes to pytest; or `dask`.

Ray: a cluster of three raylets on this machine (ray.cluster_utils.Cluster), to which every test connects.  Dask: one
of four workers.  It is no part of `make test`: these are large, Ray has no wheels for each interpreter, and both take
seconds to start.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent


@contextmanager
def three_raylets() -> Iterator[dict[str, str]]:
    """A Ray cluster; gives what the environment needs so that ray.init finds it."""
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 8})
    try:
        for _ in range(2):
            nodes.add_node(num_cpus=8)
        nodes.wait_for_nodes()
        yield {"RAY_ADDRESS": nodes.address}
    finally:
        nodes.shutdown()


@contextmanager
def four_workers() -> Iterator[dict[str, str]]:
    """A Dask cluster, whose nannies start a worker anew that was killed."""
    from distributed import LocalCluster

    sys.path[:0] = os.environ["PYTHONPATH"].split(os.pathsep)  # the workers get this process's path
    with LocalCluster(n_workers=4, threads_per_worker=2, dashboard_address=None) as nodes:
        yield {"DASK_SCHEDULER_ADDRESS": nodes.scheduler_address}


@contextmanager
def nothing() -> Iterator[dict[str, str]]:
    """The engine starts what it needs by itself."""
    yield {}


ENGINES = {"ray": three_raylets, "dask": four_workers, "local": nothing}
OWN = {
    "ray": ["tests/stress/raylets.py"],
    "dask": ["tests/stress/workers.py"],
    "local": [],
}  # tests of this engine alone


def main() -> int:
    """The exit status of pytest."""
    engine, *arguments = sys.argv[1:] or ["ray"]
    path = os.pathsep.join(
        [str(ROOT / "src"), str(ROOT / "tests"), str(ROOT / "tests" / "stress"), os.environ.get("PYTHONPATH", "")]
    )
    env = {**os.environ, "PYTHONPATH": path, "GORT_CLUSTER_ENGINE": engine, "RAY_DEDUP_LOGS": "0"}
    os.environ.update(env)  # for the raylets, whose workers import the tests' functions
    with ENGINES[engine]() as more:
        command = [sys.executable, "-m", "pytest", "tests/test_cluster.py", *OWN[engine], "-W", "default", *arguments]
        return subprocess.run(command, cwd=ROOT, env={**env, **more}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
