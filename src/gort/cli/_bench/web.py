"""The rows serve-*: web servers that serve the same application, each in its own process or processes.

The application is programs/peers/webapp_.py; the load is the Go program's, as in the network rows.  Each server has one
worker.  Its processor time, and its memory, is that of all its processes.

What does not live here: Go's net/http, whose answers are in programs/go/net.go and web.go; PostgreSQL (database.py).
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from gort.cli._bench import database, network
from gort.cli._bench.peers import WEB, BenchError, Peer, program
from gort.cli._bench.rows import Row

if TYPE_CHECKING:
    from gort.cli._bench.measure import Series

FILE_BYTES = 100_000_000
THREADS = 200  # of a pool, in the rows whose views block
BLOCK = ("sleep", "query")
KEPT_S = 60  # for how long a server keeps a connection that is idle
BESIDE = 100  # connections that ask while others are idle
FEW = 4  # in the others


def command(who: str, interface: str, app: str, port: int, threads: int) -> list[str] | None:
    """How a server is started; None where it has no such interface."""
    python, address = [sys.executable, "-m"], f"127.0.0.1:{port}"
    kind, _, loop = who.partition(" ")
    if kind == "gort":
        if interface == "wsgi":
            return [*python, "gort", "serve", app, "-b", address] if not loop else None
        return [*python, "gort", "serve", app, "-b", address, "--loop", loop or "native"]
    if kind == "uvicorn" and interface == "asgi":
        quiet = ["--no-access-log", "--log-level", "warning", "--loop", "uvloop", "--lifespan", "off"]
        return [*python, "uvicorn", app, "--port", str(port), "--timeout-keep-alive", str(KEPT_S), *quiet]
    if kind == "granian":
        pool = ["--blocking-threads", str(threads)] if interface == "wsgi" else []
        named = "asginl" if interface == "asgi" else interface
        frames = "--ws" if "websocket" in app else "--no-ws"
        return [*python, "granian", app, "--interface", named, "--port", str(port), "--no-log", frames, *pool]
    if kind == "hypercorn":
        kept = ["--keep-alive", str(KEPT_S)]
        return [*python, "hypercorn", app, "-b", address, "-k", "uvloop", "--log-level", "warning", *kept]
    if kind == "gunicorn" and interface == "wsgi":
        pool = ["-k", "gthread", "--threads", str(threads), "--worker-connections", "20000"]
        pool += ["--keep-alive", str(KEPT_S)]
        return [*python, "gunicorn", app, "-b", address, "--log-level", "warning", *pool]
    return None


def find(name: str) -> Peer:
    """A web server as a peer: its version, or that it is missing."""
    try:
        return Peer(name, version=version(name), web=True)
    except PackageNotFoundError:
        return Peer(name, missing=f"not installed (pip install {name})", web=True)


def series(row: Row, ready: list[Peer]) -> Series:
    """What is run in every round of a row, by its name in the report."""
    go = next((peer for peer in ready if peer.key == "go"), None)
    if go is None:
        return {}  # there is no load
    found: Series = {}
    what, _, interface = row.workload.partition("-")
    for peer in ready:
        names = ["gort", "gort asyncio"] if peer.key == "gort" else [peer.key] if peer.key in WEB else []
        for name in names:
            if command(name, interface, "", 0, 1) is not None:
                found[name] = partial(idle if row.kind == "idle" else measure, name, go, row)
    if (kind := kind_of(what)) in go.servers:
        server = network.Server("go", go, kind, go)
        found["go"] = partial(idle, "go", go, row) if row.kind == "idle" else partial(network.measure, server, row)
    return found


def kind_of(what: str) -> str:
    """What Go's server of a row is called; the beginning says what the load sends."""
    return {"hello": "http", "idle": "http", "websocket": "websocket"}.get(what, f"http-{what}")


@contextmanager
def running(who: str, row: Row) -> Iterator[tuple[str, int]]:
    """Starts a server; gives its address and process id; ends it."""
    what, _, interface = row.workload.partition("-")
    port = network.free_port()
    app = Path(program("webapp"))
    threads = THREADS if what in BLOCK else FEW
    argv = command(who, interface, f"{app.stem}:{what}_{interface}", port, threads)
    assert argv is not None
    stored: AbstractContextManager[str] = database.running() if what == "query" else nullcontext("")
    with stored as postgres, tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "file")
        with open(file, "wb") as f:
            f.truncate(FILE_BYTES if what == "file" else 0)
        environment = Peer("").full_environment()
        # gort is imported from where it is imported here, although the server runs in another folder.
        paths = [str(app.parent), *(os.path.abspath(p) for p in sys.path if p)]
        environment.update(PYTHONPATH=os.pathsep.join(paths), GORT_BENCH_FILE=str(file), GORT_BENCH_POSTGRES=postgres)
        with open(Path(folder, "said"), "w") as said:
            process = subprocess.Popen(argv, cwd=app.parent, env=environment, stdout=said, stderr=said)
            try:
                _wait(process, port, Path(folder, "said"))
                yield f"127.0.0.1:{port}", process.pid
            finally:
                process.terminate()
                try:
                    process.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, said: Path) -> None:
    """Waits until the server takes connections.  Raises BenchError."""
    until = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                lines = said.read_text().strip().splitlines()
                raise BenchError(f"the server has not started: {lines[-1][:200] if lines else ''}") from None
            time.sleep(0.02)


def family(pid: int) -> list[int]:
    """A process and those that it has started."""
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended
            parents.setdefault(int(fields[1]), []).append(int(name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def processor_seconds(pids: list[int]) -> float:
    """What they have taken together."""
    return sum(network.processor_seconds(pid) for pid in pids)


def measure(who: str, go: Peer, row: Row) -> tuple[float, dict[str, float]]:
    """Answers a second, and the rest, as network.measure."""
    network.allow_descriptors()
    with running(who, row) as (address, pid):
        server = network.Server(who, go, kind_of(row.workload.partition("-")[0]), go)
        network.load(server, address, min(row.n, 8))  # modules are loaded, threads are made
        pids = family(pid)
        before = processor_seconds(pids)
        full = network.load(server, address, row.n)
        used = processor_seconds(pids) - before
        half = network.load(server, address, row.n, max(1, int(full["rate"] / 2)))
        messages = full["rate"] * network.SECONDS * 1.2
        return full["rate"], {
            "p50_us": full["p50_us"],
            "p99_us": full["p99_us"],
            "cpu_us": used / messages * 1e6,
            "half_p99_us": half["p99_us"],
        }


def memory(pids: list[int]) -> float:
    """Bytes that they have in memory; what several share counts once."""
    kilobytes = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                kilobytes += int(line.split()[1])
    return kilobytes * 1024.0


@contextmanager
def held(go: Peer, address: str, connections: int) -> Iterator[None]:
    """So many connections, each of which has had an answer and asks for nothing more."""
    with network.started(go, "load", "idle", address, str(connections), "1") as (_, output, errors):
        line = output.readline()
        if not line:
            raise BenchError(f"the connections were not made: {errors.read().strip()[-200:]}")
        assert json.loads(line)["connections"] == connections
        yield


def idle(who: str, go: Peer, row: Row) -> tuple[float, dict[str, float]]:
    """Megabytes of a server with idle connections; beside it how much each of them takes, and how long others wait for
    their answers then."""
    network.allow_descriptors(2 * row.n)
    server = network.Server(who, go, "http", go)
    with network.running(server) if who == "go" else running(who, row) as (address, pid):
        network.load(server, address, 8)  # modules are loaded, threads are made
        before = memory(family(pid))
        with held(go, address, row.n):
            after = memory(family(pid))
            beside = network.load(server, address, BESIDE)
    return after / 1e6, {
        "connection_bytes": (after - before) / row.n,
        "p50_us": beside["p50_us"],
        "p99_us": beside["p99_us"],
    }
