"""The network rows: each peer's server, the same load generator for all of them, everything on the loopback.

A server runs in its own process, prints its address and serves until its standard input ends. The load generator is the
Go program's `load` command with GOMAXPROCS=1, so that on two processors server and load have one each; the server of a
row that is `pinned` cannot take more. Beside the rate: latencies at full load, the server's processor time (user and
system) per message, and the 99th percentile at half of the rate that the server reached.
"""

from __future__ import annotations

import os
import resource
import selectors
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from gort.cli._bench.peers import BenchError, Peer
from gort.cli._bench.rows import Row

SECONDS = 2.0
# The server's kind -> how the report names it beside the peer.
VARIANTS = {"": "", "-protocol": " protocol"}


@dataclass(frozen=True)
class Server:
    name: str
    peer: Peer
    kind: str
    load: Peer


def servers(row: Row, ready: list[Peer]) -> dict[str, Server]:
    """The servers of the row by their names in the report. Without Go there is no load generator, so none."""
    go = next((peer for peer in ready if peer.key == "go"), None)
    if go is None:
        return {}
    found = {}
    for peer in ready:
        for suffix, label in VARIANTS.items():
            kind = row.workload + suffix
            if kind in peer.servers:
                name = peer.key + label
                found[name] = Server(name, peer, kind, go)
    return found


@contextmanager
def started(peer: Peer, *words: str) -> Iterator[tuple[subprocess.Popen[str], IO[str], IO[str]]]:
    """Starts a program of a peer's, which runs until its input ends; gives its process, its output and its errors; ends
    it."""
    process = subprocess.Popen(
        [*peer.command, *words],
        env=peer.full_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        yield process, process.stdout, process.stderr
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        process.stderr.close()


@contextmanager
def running(server: Server, pinned: bool = False) -> Iterator[tuple[str, int]]:
    """Starts the server; gives its address and process id; ends it.  pinned: on one processor, where the system can."""
    with started(server.peer, "serve", server.kind) as (process, output, errors):
        if pinned and sys.platform == "linux":  # before it has a second thread
            os.sched_setaffinity(process.pid, {max(os.sched_getaffinity(0))})
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            if not selector.select(timeout=30):
                raise BenchError("the server did not start within 30 s")
        address = output.readline().strip()
        if not address:
            process.wait(timeout=10)
            lines = errors.read().strip().splitlines()
            raise BenchError(f"the server ended: {lines[-1][:200] if lines else process.returncode}")
        yield address, process.pid


def free_port() -> int:
    """One that nobody uses now, of this machine's own address."""
    with socket.create_server(("127.0.0.1", 0)) as s:
        return int(s.getsockname()[1])


def processor_seconds(pid: int) -> float:
    """User and system time of a process and its threads so far."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def allow_descriptors(wanted: int = 4096) -> None:
    """A thousand connections need more descriptors than the soft limit usually gives."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def measure(server: Server, row: Row) -> tuple[float, dict[str, float] | None]:
    """Messages a second, and the rest of what was measured. Raises BenchError when server or load fail."""
    allow_descriptors()
    with running(server, row.pinned) as (address, pid):
        before = processor_seconds(pid)
        full = load(server, address, row.n)
        used = processor_seconds(pid) - before
        half = load(server, address, row.n, int(full["rate"] / 2))
        # A fifth of the time goes before the measurement; the server works then too.
        messages = full["rate"] * SECONDS * 1.2
        return full["rate"], {
            "p50_us": full["p50_us"],
            "p99_us": full["p99_us"],
            "cpu_us": used / messages * 1e6,
            "half_p99_us": half["p99_us"],
        }


def load(server: Server, address: str, connections: int, rate: int = 0) -> dict[str, float]:
    kind = next((kind for kind in ("echo", "websocket") if server.kind.startswith(kind)), "http")
    answer = server.load.run(
        "load", kind, address, str(connections), str(SECONDS), *([str(rate)] if rate > 0 else []), timeout=60
    )
    return {key: float(value) for key, value in answer.items() if isinstance(value, (int, float))}
