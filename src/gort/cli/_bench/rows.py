"""The rows of the benchmark table: what is measured, how often, in which unit.

A row says what a user would recognise; how it is written for each peer stands in that peer's own program in `programs/`.
The number of operations is the same for every peer, and so is the protocol (`programs/peers/_common.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

# What a program prints for a row, and how the report writes it.
UNITS = {
    "ns": "ns per operation",
    "bytes": "bytes per goroutine",
    "MB": "megabytes",
    "ms": "ms",
    "s": "s",
    "msg/s": "messages a second",
    "calls/s": "calls a second",
    "us": "µs, the median",
}
RATES = ("msg/s", "calls/s")  # units of which more is better


@dataclass(frozen=True)
class Row:
    key: str  # the row's name on the command line and in the report
    workload: str  # the workload's name in the peers' programs
    n: int  # operations; of a row `blocking-*` how long it lasts at least, ms
    quick: int  # the same with --quick
    text: str  # what a user would recognise
    unit: str = "ns"
    kind: str = "op"  # op, lines, bridge, loop, memory, start, parallel, stall, blocking, net, cluster, serve or idle
    rounds: int = 1000  # at most so many rounds: the big ones take long and vary little
    goroutines: int = 0  # how many are alive at once, for the check that memory suffices
    call_ms: float = 0.0  # of a row `blocking-*`: how long a call blocks
    pinned: bool = False  # of a network row: the server is kept on one processor


def _blocking(key: str, call_ms: float, goroutines: int) -> Row:
    text = f"{goroutines} goroutines call time.sleep for {call_ms:g} ms, with an await after each call"
    return Row(key, "blocking", 2_000, 500, text, "calls/s", "blocking", 3, goroutines, call_ms)


def _on_loop(server: str, text: str) -> Row:
    return Row(f"loop-{server}", server, 100, 100, text, "msg/s", "net", 3, pinned=True)


def _query(interface: str, text: str) -> Row:
    text = f"… {text}; 1,000 connections"
    return Row(f"serve-psycopg-{interface}", f"query-{interface}", 1000, 1000, text, "msg/s", "serve", 3)


def _cluster(job: str, n: int, quick: int, text: str, unit: str) -> Row:
    return Row(f"cluster-{job}", job, n, quick, text, unit, "cluster", 3)


ROWS: tuple[Row, ...] = (
    Row("yield", "yield", 100_000, 20_000, "10 goroutines hand over to each other; per hand-over"),
    Row("spawn", "spawn", 20_000, 5_000, "start and finish a goroutine, a thousand at a time"),
    Row("spawn-1e3", "spawn-scale", 1_000, 1_000, "10^3 goroutines started at once, per goroutine"),
    Row("spawn-1e4", "spawn-scale", 10_000, 10_000, "10^4 goroutines started at once, per goroutine"),
    Row(
        "spawn-1e5",
        "spawn-scale",
        100_000,
        100_000,
        "10^5 goroutines started at once, per goroutine",
        goroutines=100_000,
    ),
    Row(
        "spawn-1e6",
        "spawn-scale",
        1_000_000,
        200_000,
        "10^6 goroutines started at once, per goroutine",
        rounds=3,
        goroutines=1_000_000,
    ),
    Row("ping-pong", "ping-pong", 20_000, 5_000, "round trip over two unbuffered channels"),
    Row("pipeline-1", "pipeline-1", 100_000, 20_000, "an item through one buffered channel (128)"),
    Row("pipeline-100", "pipeline-100", 200_000, 50_000, "an item through 100 stages, per stage"),
    Row("pipeline-bulk", "pipeline-bulk", 100_000, 20_000, "an item through one buffered channel (128), 128 at a time"),
    Row("select-2", "select-2", 20_000, 4_800, "receive by select over 2 channels"),
    Row("select-4", "select-4", 20_000, 4_800, "receive by select over 4 channels"),
    Row("select-16", "select-16", 19_200, 4_800, "receive by select over 16 channels"),
    Row("lines-10", "lines-10", 200_000, 50_000, "read a line of 10 bytes from a TCP connection", kind="lines"),
    Row("lines-100", "lines-100", 100_000, 20_000, "a line of 100 bytes", kind="lines"),
    Row("lines-1000", "lines-1000", 20_000, 5_000, "a line of 1,000 bytes", kind="lines"),
    Row("lines-10000", "lines-10000", 4_000, 1_000, "a line of 10,000 bytes", kind="lines"),
    Row("lines-65536", "lines-65536", 1_000, 200, "a line of 64 KiB", kind="lines"),
    Row("mutex", "mutex", 20_000, 5_000, "a lock that 10 goroutines contend for, held over one hand-over"),
    Row("timers", "timers", 100_000, 20_000, "start and stop a timer, 10^5 pending at once"),
    Row(
        "sleepers",
        "sleepers",
        100_000,
        20_000,
        "10^5 goroutines sleep 1 to 10 ms, per sleeper",
        rounds=3,
        goroutines=100_000,
    ),
    Row(
        "skynet",
        "skynet",
        1_000_000,
        100_000,
        "10^6 goroutines in a tree of tens, per leaf",
        rounds=3,
        goroutines=1_111_111,
    ),
    Row(
        "bridge-op",
        "bridge-op",
        100_000,
        20_000,
        "an operation in an asyncio task that need not wait (channel of 1)",
        kind="bridge",
    ),
    Row(
        "bridge-ping-pong",
        "bridge-ping-pong",
        20_000,
        5_000,
        "round trip between two asyncio tasks over two channels",
        kind="bridge",
    ),
    Row(
        "bridge-call",
        "bridge-call",
        5_000,
        1_000,
        "a goroutine calls a coroutine of a loop; a task: of its own loop",
        kind="bridge",
    ),
    Row(
        "bridge-call-100",
        "bridge-call-100",
        20_000,
        5_000,
        "the same, 100 goroutines (tasks) at once, per call",
        kind="bridge",
    ),
    Row("loop-call-soon", "call-soon", 100_000, 20_000, "an event loop calls a callback, 100 at a time", kind="loop"),
    Row(
        "loop-reader",
        "reader",
        20_000,
        4_000,
        "a reader added and removed for each answer, as psycopg does",
        kind="loop",
    ),
    Row("loop-run", "asyncio-run", 200, 50, "asyncio.run of a coroutine that returns at once", kind="loop"),
    _on_loop("uvicorn", "an event loop under uvicorn with httptools: a raw ASGI application, 100 connections"),
    _on_loop("fastapi", "… under FastAPI in uvicorn: an async view that returns a dict"),
    _on_loop("aiohttp", "… under aiohttp's server"),
    Row("memory-1e5", "memory", 100_000, 100_000, "10^5 goroutines parked on a channel", "bytes", "memory", 3, 100_000),
    Row(
        "memory-1e6",
        "memory",
        1_000_000,
        200_000,
        "10^6 goroutines parked on a channel",
        "bytes",
        "memory",
        2,
        1_000_000,
    ),
    Row("start", "start", 10, 5, "interpreter, import, boot, hello, exit", "ms", "start"),
    Row("parallel-primes", "primes", 1, 1, "sieve of primes in segments, pure Python", "s", "parallel", 3),
    Row("parallel-json", "json", 1, 1, "parsing JSON", "s", "parallel", 3),
    Row("parallel-mandelbrot", "mandelbrot", 1, 1, "Mandelbrot set in pure Python", "s", "parallel", 3),
    Row("parallel-hashing", "hashing", 1, 1, "SHA-256 of blocks of 256 KiB", "s", "parallel", 3),
    Row("parallel-stages", "stages", 1, 1, "pipeline of 4 stages that compute, channels of 128", "s", "parallel", 3),
    Row("stall-none", "none", 1, 1, "how late 1,000 tickers of 10 ms are: nothing beside them", "ms", "stall", 5),
    Row("stall-sleep", "sleep", 1, 1, "… while 4 others call time.sleep", "ms", "stall", 5),
    Row("stall-socket", "socket", 1, 1, "… wait in a blocking socket's recv", "ms", "stall", 5),
    Row("stall-subprocess", "subprocess", 1, 1, "… call subprocess.run", "ms", "stall", 5),
    Row("stall-sqlite", "sqlite", 1, 1, "… wait for a locked sqlite3 database", "ms", "stall", 5),
    Row("stall-extension", "extension", 1, 1, "… compute in C without the GIL (pbkdf2_hmac)", "ms", "stall", 5),
    Row("stall-saturated", "saturated", 1, 1, "… the same, 4 of them on however few processors", "ms", "stall", 5),
    Row("stall-compute", "compute", 1, 1, "… compute in Python", "ms", "stall", 5),
    Row("stall-offload", "offload", 1, 1, "… hand time.sleep to a thread, as the library offers it", "ms", "stall", 5),
    _blocking("blocking-0.3ms", 0.3, 50),
    _blocking("blocking-1ms", 1, 50),
    _blocking("blocking-3ms", 3, 50),
    _blocking("blocking-20ms", 20, 50),
    _blocking("blocking-3ms-5", 3, 5),
    _blocking("blocking-3ms-200", 3, 200),
    Row("echo-1", "echo", 1, 1, "TCP echo of 128 bytes, 1 connection", "msg/s", "net", 3),
    Row("echo-100", "echo", 100, 100, "TCP echo of 128 bytes, 100 connections", "msg/s", "net", 3),
    Row("echo-1000", "echo", 1000, 1000, "TCP echo of 128 bytes, 1,000 connections", "msg/s", "net", 3),
    Row("http-100", "http", 100, 100, "HTTP/1.1 keep-alive GET, 100 connections", "msg/s", "net", 3),
    _cluster("go", 2_000, 500, "call a function in another process, one after another", "us"),
    _cluster("many", 20_000, 2_000, "such calls, all at once", "calls/s"),
    _cluster("ints", 50_000, 5_000, "ints through a channel or queue of 1,024 to another process", "msg/s"),
    _cluster("dicts", 50_000, 5_000, "small dicts through it", "msg/s"),
    _cluster("strict", 5_000, 1_000, "ints through one of 1", "msg/s"),
    _cluster("array", 80_000_000, 8_000_000, "an array of so many bytes by reference: put, and used once", "ms"),
    _cluster("connect", 1, 1, "from nothing to the first answer of a node", "ms"),
    _cluster("words", 1_000_000, 20_000, "the words of 10^6 lines, counted in Python on two nodes", "ms"),
    _cluster("parked", 20_000, 5_000, "goroutines that wait in another process, per goroutine", "bytes"),
    Row("serve-wsgi", "hello-wsgi", 100, 100, "web servers: WSGI, 13 bytes, 100 connections", "msg/s", "serve", 3),
    Row("serve-asgi", "hello-asgi", 100, 100, "… ASGI, 13 bytes", "msg/s", "serve", 3),
    Row("serve-json-wsgi", "json-wsgi", 100, 100, "… WSGI, JSON of 10 KB, made for each answer", "msg/s", "serve", 3),
    Row("serve-json-asgi", "json-asgi", 100, 100, "… ASGI, JSON of 10 KB", "msg/s", "serve", 3),
    Row(
        "serve-50ms-wsgi",
        "sleep-wsgi",
        200,
        200,
        "… WSGI, time.sleep(0.05) in the view, 200 connections",
        "msg/s",
        "serve",
        3,
    ),
    Row("serve-50ms-asgi", "sleep-asgi", 200, 200, "… ASGI, time.sleep(0.05) in an async view", "msg/s", "serve", 3),
    Row("serve-file", "file-wsgi", 4, 4, "… WSGI, a file of 100 MB, 4 connections", "msg/s", "serve", 3),
    _query("wsgi", "WSGI, a query of PostgreSQL by psycopg in the view"),
    _query("asgi", "ASGI, the same; by psycopg's AsyncConnection where there is an event loop"),
    Row("serve-websocket", "websocket-asgi", 100, 100, "… websocket echo of 128 bytes, 100", "msg/s", "serve", 3),
    Row("serve-idle-wsgi", "idle-wsgi", 10_000, 2_000, "… WSGI, memory with 10,000 idle connections", "MB", "idle", 3),
    Row("serve-idle-asgi", "idle-asgi", 10_000, 2_000, "… ASGI, memory with 10,000 idle connections", "MB", "idle", 3),
)


def choose(patterns: tuple[str, ...], quick: bool) -> list[Row]:
    """The rows whose names match one of the patterns (all of them when there are none).

    Raises ValueError, with the names that exist, for a pattern that matches nothing.
    """
    chosen = []
    for pattern in patterns:
        if not any(fnmatchcase(row.key, pattern) for row in ROWS):
            raise ValueError(f"no row matches {pattern!r}; there are: {', '.join(row.key for row in ROWS)}")
    for row in ROWS:
        if not patterns or any(fnmatchcase(row.key, pattern) for pattern in patterns):
            chosen.append(replace(row, n=row.quick) if quick else row)
    return chosen
