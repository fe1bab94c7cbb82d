#!/usr/bin/env python3
"""Real drivers, unchanged, in plain calls beside the same calls by `gort.blocking`: what it costs not to announce a call.

    python scripts/drivers.py                       all; takes some minutes
    python scripts/drivers.py redis 'psycopg*'      some
    python scripts/drivers.py --rounds 3 --seconds 1 --markdown

50 goroutines call one after the other, each with a connection of its own where the driver has no pool, and await after
each call: `gosched()` after a plain one.  A ticker of 10 ms runs beside them.  Each measurement is a process of its own;
plain and announced calls take turns, and medians are compared.  One call each is made before the clock runs, so what
connecting costs is not counted.  Exit status 1 if a driver is below LEAST, 2 if something is missing.

It starts its own servers, in a folder that it removes: PostgreSQL (`initdb` and `postgres` on PATH; as root they run as
the user `postgres`), Redis (`redis-server`), and an HTTP server that answers after 3 ms.  `pip install --group drivers`
brings the drivers.  What does not live here: `time.sleep` in place of a driver (`gort bench 'blocking-*'`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import gort

LEAST = 0.8  # of the rate by gort.blocking
GOROUTINES = 50
TICK_S = 0.01
CALL_MS = 3
HOST = "127.0.0.1"
PATIENCE_S = 60.0

Call = Callable[[], object]

SLEEP = f"`select pg_sleep({CALL_MS / 1e3})`"


# The drivers: each makes the call of one goroutine, from the port of its server.


def psycopg_call(port: int) -> Call:
    import psycopg

    connection = psycopg.connect(host=HOST, port=port, user="gort", dbname="postgres", autocommit=True)
    return lambda: connection.execute(SLEEP.strip("`")).fetchone()


def psycopg_short_call(port: int) -> Call:
    import psycopg

    connection = psycopg.connect(host=HOST, port=port, user="gort", dbname="postgres", autocommit=True)
    return lambda: connection.execute("select 1").fetchone()


def sqlalchemy_call(port: int, made: list[Any] = []) -> Call:  # noqa: B006 (one engine, with its pool, for all goroutines)
    import sqlalchemy

    if not made:
        url = f"postgresql+psycopg://gort@{HOST}:{port}/postgres"
        made.append(sqlalchemy.create_engine(url, pool_size=GOROUTINES, max_overflow=0))

    def call() -> object:
        with made[0].connect() as connection:
            return connection.execute(sqlalchemy.text(SLEEP.strip("`"))).one()

    return call


def redis_call(port: int, made: list[Any] = []) -> Call:  # noqa: B006 (one client, with its pool)
    import redis

    if not made:
        made.append(redis.Redis(HOST, port))
        made[0].set("key", "value")
    return lambda: made[0].get("key")


def redis_long_call(port: int, made: list[Any] = []) -> Call:  # noqa: B006 (as above)
    import redis

    if not made:
        made.append(redis.Redis(HOST, port))
    return lambda: made[0].blpop(["nobody-pushes"], timeout=CALL_MS / 1e3)


def requests_call(port: int) -> Call:
    import requests

    session = requests.Session()
    session.trust_env = False
    return lambda: session.get(f"http://{HOST}:{port}/").content


def sqlite3_call(port: int) -> Call:
    """A query that computes for some milliseconds in C, without the GIL.  The connection is used by several threads, one
    after the other, because a goroutine may go on in another one."""
    import sqlite3

    connection = sqlite3.connect(":memory:", check_same_thread=False)
    query = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 10000) select sum(i) from n"
    return lambda: connection.execute(query).fetchone()


# Name in the table: server, driver, what is called, the modules that it needs.
DRIVERS: dict[str, tuple[str, Callable[[int], Call], str, tuple[str, ...]]] = {
    "psycopg": ("postgres", psycopg_call, SLEEP, ("psycopg",)),
    "psycopg-short": ("postgres", psycopg_short_call, "`select 1`", ("psycopg",)),
    "sqlalchemy": ("postgres", sqlalchemy_call, f"{SLEEP}, each by `engine.connect()`", ("psycopg", "sqlalchemy")),
    "redis": ("redis", redis_call, "`get`", ("redis",)),
    "redis-long": ("redis", redis_long_call, f"`blpop` that waits {CALL_MS} ms", ("redis",)),
    "requests": ("http", requests_call, f"`session.get`, answered after {CALL_MS} ms", ("requests",)),
    "sqlite3": ("", sqlite3_call, "a query that computes in C, some ms", ("sqlite3",)),
}


# One measurement, in a process of its own.


def measure(driver: str, announced: bool, port: int, seconds: float) -> dict[str, float]:
    make = DRIVERS[driver][1]
    late: list[float] = []
    counts: list[int] = []

    async def ticker() -> None:
        while True:
            due = time.monotonic() + TICK_S
            await gort.sleep(TICK_S)
            late.append(time.monotonic() - due)

    async def plain(call: Call, end: float) -> None:
        count = 0
        while time.monotonic() < end:
            call()
            count += 1
            await gort.gosched()
        counts.append(count)

    async def told(call: Call, end: float) -> None:
        count = 0
        while time.monotonic() < end:
            await gort.blocking(call)
            count += 1
        counts.append(count)

    async def main() -> float:
        calls = [make(port) for _ in range(GOROUTINES)]
        async with gort.Group() as warm:
            for call in calls:
                warm.go(gort.blocking, call)
        begin = time.monotonic()
        gort.go(ticker)
        async with gort.Group() as group:
            for call in calls:
                group.go(told if announced else plain, call, begin + seconds)
        return time.monotonic() - begin

    took = gort.run(main)
    late.sort()
    return {
        "rate": sum(counts) / took,
        "p99_ms": late[len(late) * 99 // 100] * 1e3,
        "worst_ms": late[-1] * 1e3,
    }


# The servers.


def free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


def need(command: str) -> str:
    path = shutil.which(command)
    if path is None:
        print(f"drivers: `{command}` is not on PATH", file=sys.stderr)
        raise SystemExit(2)
    return path


@contextlib.contextmanager
def running(command: list[str], port: int, **how: Any) -> Iterator[int]:
    """A server, from the moment at which it takes connections.  SIGINT ends it: for PostgreSQL, at once."""
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **how)
    try:
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                socket.create_connection((HOST, port)).close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > end:
                    print(f"drivers: {command[0]} does not start", file=sys.stderr)
                    raise SystemExit(2) from None
                time.sleep(0.02)
        yield port
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[int]:
    """PostgreSQL refuses to run as root."""
    who: dict[str, Any] = {}
    data = folder / "data"
    data.mkdir()
    if os.geteuid() == 0:
        shutil.chown(data, "postgres")
        folder.chmod(0o755)
        who = {"user": "postgres", "group": "postgres", "extra_groups": ()}
    initdb = [need("initdb"), "-D", str(data), "-U", "gort", "-A", "trust", "--no-sync"]
    subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd=data, **who)
    port = free_port()
    settings = [
        "-h",
        HOST,
        "-p",
        str(port),
        "-k",
        str(data),
        "-c",
        "fsync=off",
        "-c",
        f"max_connections={GOROUTINES + 10}",
    ]
    with running([need("postgres"), "-D", str(data), *settings], port, cwd=data, **who):
        wait_for_query(port)
        yield port


def wait_for_query(port: int) -> None:
    """PostgreSQL takes connections a moment before it answers."""
    import psycopg

    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            psycopg.connect(host=HOST, port=port, user="gort", dbname="postgres").close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[int]:
    port = free_port()
    command = [need("redis-server"), "--bind", HOST, "--port", str(port), "--save", "", "--dir", str(folder)]
    with running(command, port):
        yield port


@contextlib.contextmanager
def http_server(folder: Path) -> Iterator[int]:
    port = free_port()
    with running([sys.executable, __file__, "--http", str(port)], port):
        yield port


def serve_http(port: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(CALL_MS / 1e3)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(serve, HOST, port) as server:
            await server.serve_forever()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())


SERVERS = {"postgres": postgres, "redis": redis_server, "http": http_server}


# The table.


def one(driver: str, how: str, port: int, seconds: float) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", driver, how, str(port), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(f"drivers: {driver} ({how}) failed:\n{done.stderr[-2000:]}", file=sys.stderr)
        raise SystemExit(2)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def row(driver: str, measured: dict[str, list[dict[str, float]]]) -> tuple[list[str], bool]:
    """The driver's line in the table, and whether its plain calls are good enough."""
    middle = {how: {key: median(m[key] for m in each) for key in each[0]} for how, each in measured.items()}
    plain, announced = middle["plain"], middle["blocking"]
    ratio = plain["rate"] / announced["rate"]
    late = [f"{m['p99_ms']:.1f} / {m['worst_ms']:.1f}" for m in (plain, announced)]
    cells = [driver, DRIVERS[driver][2], f"{plain['rate']:,.0f}", f"{announced['rate']:,.0f}", f"{ratio:.2f}", *late]
    return cells, ratio >= LEAST


LATE = "ticker late, p99 / worst, ms"
HEADER = ["driver", "call", "plain, calls/s", "by `gort.blocking`", "ratio", f"plain: {LATE}", f"announced: {LATE}"]
WIDTHS = (14, 58, 14, 18, 5, 0, 0)


def show(cells: list[str], markdown: bool) -> None:
    padded = cells if markdown else [cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)]
    print("| " + " | ".join(padded) + " |" if markdown else "  ".join(padded), flush=True)


def main() -> int:
    if sys.argv[1:2] == ["--http"]:
        serve_http(int(sys.argv[2]))
        return 0
    if sys.argv[1:2] == ["--one"]:
        driver, how, port, seconds = sys.argv[2:]
        print(json.dumps(measure(driver, how == "blocking", int(port), float(seconds))))
        return 0
    parser = argparse.ArgumentParser(description="Real drivers in plain calls, beside the same calls by gort.blocking.")
    parser.add_argument("drivers", nargs="*", help=f"names or patterns; there are {', '.join(DRIVERS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each measurement takes")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    wanted = [name for name in DRIVERS if not options.drivers or any(fnmatchcase(name, p) for p in options.drivers)]
    if not wanted:
        parser.error(f"no such driver; there are {', '.join(DRIVERS)}")

    for module in {package for name in wanted for package in DRIVERS[name][3]}:
        if find_spec(module) is None:
            print(f"drivers: no module {module} (pip install --group drivers)", file=sys.stderr)
            return 2
    enough = True
    show(HEADER, options.markdown)
    if options.markdown:
        print("|" + "---|" * len(HEADER))
    with contextlib.ExitStack() as stack:
        ports: dict[str, int] = {"": 0}
        for driver in wanted:
            server = DRIVERS[driver][0]
            if server not in ports:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gort-drivers-")))
                ports[server] = stack.enter_context(SERVERS[server](folder))
            measured: dict[str, list[dict[str, float]]] = {"plain": [], "blocking": []}
            for turn in range(options.rounds):
                for how in sorted(measured, reverse=bool(turn % 2)):
                    measured[how].append(one(driver, how, ports[server], options.seconds))
            cells, good = row(driver, measured)
            show(cells, options.markdown)
            enough = enough and good
    if not enough:
        print(f"drivers: below {LEAST} of the rate by gort.blocking", file=sys.stderr)
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
