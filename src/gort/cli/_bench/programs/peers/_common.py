"""What the peers' programs share: the command line, the protocol of a measurement, the one line of JSON.

    python PEER_.py --list          {"peer", "version", "workloads"} or {"peer", "missing": why}
    python PEER_.py WORKLOAD N      {"workload", "n", "value", "unit"}
    python PEER_.py serve KIND      prints its address, serves until EOF (peers with network rows)

A workload is a function of n that runs n operations and returns the nanoseconds they took; what it sets up
beforehand is not counted. It is run once with n/20 to warm up (skynet with a tree one level lower,
spawn-scale with n itself), then as often as a quarter of a second takes (GORT_BENCH_MINIMUM_NS: another time, for a
test that needs no exact value); the value is time over operations.
The Go program in ../go does the same. The garbage collector stays as the interpreter has it: a user's
program has it too.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

MINIMUM_NS = int(os.environ.get("GORT_BENCH_MINIMUM_NS", "250000000"))
MAX_RUNS = 1000
BATCH = 1000  # goroutines (tasks, greenlets, …) started at once in `spawn`
YIELDERS = 10  # in `yield` and `mutex`
CAPACITY = 128  # of the buffered channels
BLOCK = 1 << 18  # bytes that the writer of `lines` sends at a time
LINES = (10, 100, 1000, 10000, 65536)  # bytes of a line with its end, in `lines`

Workload = Callable[[int], float]


def warm_up(name: str, n: int) -> int:
    if name == "spawn-scale":
        return n
    if name == "skynet":
        return max(n // 10, 10)
    return max(n // 20, 100)


def block_of_lines(length: int, n: int) -> tuple[bytes, int]:
    """What the writer of `lines` sends again and again, some hundred KB, and how often for n lines or a few more."""
    lines = max(1, BLOCK // length)
    return (b"x" * (length - 1) + b"\n") * lines, -(-n // lines)


def resident() -> int:
    """Bytes of this process that are in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def memory_is(before: int, n: int) -> NoReturn:
    """Prints the growth of the resident set over n parked goroutines, and ends the process: unwinding them is
    not what is measured."""
    emit(workload="memory", n=n, value=(resident() - before) / n, unit="bytes")
    os._exit(0)


def fail(text: str) -> NoReturn:
    print(f"bench: {text}", file=sys.stderr)
    raise SystemExit(1)


def check(condition: bool, text: str) -> None:
    if not condition:
        fail(text)


def emit(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


def missing(peer: str, why: str) -> NoReturn:
    """Says that the peer cannot run here, in the form that the harness reads, and ends the program."""
    emit(peer=peer, missing=why)
    raise SystemExit(0)


def run(
    peer: str,
    version: str,
    workloads: dict[str, Workload],
    memory: Callable[[int], NoReturn] | None = None,
    servers: dict[str, Callable[[], None]] | None = None,
    notes: dict[str, str] | None = None,
) -> None:
    """The whole of a peer's command line. `memory` parks goroutines and calls memory_is()."""
    arguments = sys.argv[1:]
    servers = servers or {}
    if arguments == ["--list"]:
        names = [*workloads, *(["memory"] if memory else [])]
        emit(peer=peer, version=version, workloads=names, servers=list(servers), notes=notes or {})
        return
    if len(arguments) == 2 and arguments[0] == "serve":
        if arguments[1] not in servers:
            fail(f"{peer} has no server {arguments[1]!r}, only {', '.join(servers) or 'none'}")
        servers[arguments[1]]()
        return
    if len(arguments) != 2 or not arguments[1].isdigit() or int(arguments[1]) < 1:
        fail("usage: WORKLOAD N | --list | serve KIND")
    name, n = arguments[0], int(arguments[1])
    if name == "memory" and memory is not None:
        memory(n)
        fail(f"{peer}: `memory` came back")
    if name not in workloads:
        fail(f"{peer} has no workload {name!r}")
    workload = workloads[name]
    workload(warm_up(name, n))
    total = 0.0
    runs = 0
    while total < MINIMUM_NS and runs < MAX_RUNS:
        total += workload(n)
        runs += 1
    emit(workload=name, n=n, value=total / (n * runs), unit="ns", runs=runs)
