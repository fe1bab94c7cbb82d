"""How late others are while one blocks or computes: a thousand tickers beside calls that no scheduler sees coming.

    python stalled_.py WHO JOB [SECONDS]   WHO: gort, asyncio, uvloop, trio, gevent (nothing patched)
    python stalled_.py --list

A ticker sleeps 10 ms, again and again, and notes how much later than asked it came to run. Meanwhile four others (one,
in `compute`, and in `extension` as many as leave a processor free) make the call of JOB in plain code, again and again
for SECONDS (two); in `offload` they hand `time.sleep` to a thread as the library offers it. Prints one JSON line: the
99th percentile of the lateness in milliseconds, the highest, and how many of the ticks that the time has came about.
`none` has no such calls: what the tickers cost alone.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from _common import emit, fail

TICKERS = 1000
TICK_S = 0.01
CALLERS = 4
RUN_S = float(sys.argv[3]) if len(sys.argv) > 3 else 2.0
CALL_S = RUN_S / 8


def blocking_socket() -> None:
    """What a client of a slow server does: waits in recv."""
    here, there = socket.socketpair()
    with here, there:
        here.settimeout(CALL_S)
        try:
            here.recv(1)
        except TimeoutError:
            pass


def child() -> None:
    subprocess.run(["sleep", str(CALL_S)], check=True)


def locked_database() -> None:
    """sqlite3 waits for a lock that somebody else holds."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "db"
        holder = sqlite3.connect(path)
        holder.execute("create table t (x)")
        holder.execute("begin exclusive")
        waiting = sqlite3.connect(path, timeout=CALL_S)
        try:
            waiting.execute("insert into t values (1)")
        except sqlite3.OperationalError:
            pass
        waiting.close()
        holder.close()


def extension() -> None:
    """C code that computes without the GIL."""
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 200_000)


def compute() -> None:
    """Pure Python, for as long as the tickers run."""
    end = monotonic() + RUN_S
    n = 0
    while monotonic() < end:
        for i in range(1000):
            n ^= i


JOBS: dict[str, Callable[[], None] | None] = {
    "none": None,
    "sleep": lambda: sleep(CALL_S),
    "socket": blocking_socket,
    "subprocess": child,
    "sqlite": locked_database,
    "extension": extension,
    "saturated": extension,
    "compute": compute,
    "offload": lambda: sleep(CALL_S),
}


def callers(job: str) -> int:
    """One that computes in Python: with the GIL several would leave the tickers less of it than they need, whoever
    schedules. Of those that compute in C one less than there are processors, for the same reason: the tickers take
    half of one. `saturated` shows what comes of more."""
    if job == "compute":
        return 1
    if job == "extension":
        return max(1, min(CALLERS, (os.cpu_count() or 1) - 1))
    return CALLERS


class Ticks:
    """What the tickers note."""

    def __init__(self) -> None:
        self._end = monotonic() + RUN_S
        self.late: list[float] = []

    @property
    def end(self) -> float:
        """When the run is over.  Not before a ticker has come to run: on a busy machine a short run would have none."""
        return self._end if self.late else float("inf")

    def report(self, who: str, job: str) -> None:
        late = sorted(self.late)
        emit(
            who=who,
            job=job,
            value=late[len(late) * 99 // 100] * 1e3,
            unit="ms",
            worst_ms=late[-1] * 1e3,
            ticks=len(late) / (TICKERS * RUN_S / TICK_S),
        )


def by_gort(job: str) -> Ticks:
    import gort

    call = JOBS[job]

    async def ticker(ticks: Ticks) -> None:
        while (due := monotonic() + TICK_S) < ticks.end:
            await gort.sleep(TICK_S)
            ticks.late.append(monotonic() - due)

    async def caller(ticks: Ticks) -> None:
        while call is not None and monotonic() < ticks.end:
            if job == "offload":
                await gort.blocking(call)
            else:
                call()
                await gort.gosched()

    async def main() -> Ticks:
        ticks = Ticks()
        async with gort.Group() as group:
            for _ in range(TICKERS):
                group.go(ticker, ticks)
            for _ in range(callers(job)):
                group.go(caller, ticks)
        return ticks

    return gort.run(main)


def by_asyncio(job: str, library: str = "asyncio") -> Ticks:
    import asyncio

    call = JOBS[job]

    async def ticker(ticks: Ticks) -> None:
        while (due := monotonic() + TICK_S) < ticks.end:
            await asyncio.sleep(TICK_S)
            ticks.late.append(monotonic() - due)

    async def caller(ticks: Ticks) -> None:
        while call is not None and monotonic() < ticks.end:
            if job == "offload":
                await asyncio.to_thread(call)
            else:
                call()
                await asyncio.sleep(0)

    async def main() -> Ticks:
        ticks = Ticks()
        async with asyncio.TaskGroup() as group:
            for _ in range(TICKERS):
                group.create_task(ticker(ticks))
            for _ in range(callers(job)):
                group.create_task(caller(ticks))
        return ticks

    ran: Ticks = importlib.import_module(library).run(main())
    return ran


def by_trio(job: str) -> Ticks:
    import trio

    call = JOBS[job]

    async def ticker(ticks: Ticks) -> None:
        while (due := monotonic() + TICK_S) < ticks.end:
            await trio.sleep(TICK_S)
            ticks.late.append(monotonic() - due)

    async def caller(ticks: Ticks) -> None:
        while call is not None and monotonic() < ticks.end:
            if job == "offload":
                await trio.to_thread.run_sync(call)
            else:
                call()
                await trio.lowlevel.checkpoint()

    async def main() -> Ticks:
        ticks = Ticks()
        async with trio.open_nursery() as nursery:
            for _ in range(TICKERS):
                nursery.start_soon(ticker, ticks)
            for _ in range(callers(job)):
                nursery.start_soon(caller, ticks)
        return ticks

    ran: Ticks = trio.run(main)
    return ran


def by_gevent(job: str) -> Ticks:
    import gevent

    call = JOBS[job]
    ticks = Ticks()

    def ticker() -> None:
        while (due := monotonic() + TICK_S) < ticks.end:
            gevent.sleep(TICK_S)
            ticks.late.append(monotonic() - due)

    def caller() -> None:
        while call is not None and monotonic() < ticks.end:
            if job == "offload":
                gevent.get_hub().threadpool.apply(call)
            else:
                call()
                gevent.sleep(0)

    gevent.joinall([gevent.spawn(ticker) for _ in range(TICKERS)] + [gevent.spawn(caller) for _ in range(callers(job))])
    return ticks


WHO: dict[str, Callable[[str], Any]] = {
    "gort": by_gort,
    "asyncio": by_asyncio,
    "uvloop": lambda job: by_asyncio(job, "uvloop"),
    "trio": by_trio,
    "gevent": by_gevent,
}

if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments == ["--list"]:
        emit(who=list(WHO), jobs=list(JOBS))
    elif len(arguments) in (2, 3) and arguments[0] in WHO and arguments[1] in JOBS:
        WHO[arguments[0]](arguments[1]).report(*arguments[:2])
    else:
        fail(f"usage: {'|'.join(WHO)} {'|'.join(JOBS)} [SECONDS]")
