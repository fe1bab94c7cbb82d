"""Many short calls that block, with an await between them: what one costs, and how late others are meanwhile.

    python blocking_.py WHO MS GOROUTINES [RUN_MS]   WHO: gort, gort.blocking, asyncio, threads
    python blocking_.py --list

GOROUTINES goroutines (tasks, threads) each make 40 calls of `time.sleep` for MS milliseconds, and start again until
RUN_MS (2,000) are over. Beside them ten tickers sleep 10 ms at a time, one millisecond apart, and note how much later
than asked they came to run. Prints one JSON line: calls a second, those of the first 40 calls each (nothing is known or
started then), the lateness that one tick in a thousand exceeds, and the highest. The Go program has the same as
`blocking`.

`gort` calls in plain code and awaits `gosched()` after each call; `gort.blocking` announces each call; asyncio hands each
to a thread by `to_thread`, over a pool with a thread for each task (the default pool has six on two processors, which
limits the rate); threads have nothing to await. gort has one P, or GORT_BENCH_PROCS.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from time import monotonic, sleep

from _common import emit, fail

CALLS = 40
TICK_S = 0.01
TICKERS = 10


class Notes:
    """What is noted while the callers run again and again."""

    def __init__(self, goroutines: int, run_s: float) -> None:
        self.late: list[float] = []
        self._each = goroutines * CALLS
        self._runs = 0
        self._first_s = 0.0
        self._start = monotonic()
        self._run_s = run_s
        self.over = False

    def ran(self) -> None:
        """Every caller has made its 40 calls."""
        self._runs += 1
        took = monotonic() - self._start
        if self._runs == 1:
            self._first_s = took
        # On a busy machine a short run would have no tick.
        if took >= self._run_s and self.late:
            self.over = True
            self._took_s = took

    def ticked(self, due: float) -> None:
        if not self.over:
            self.late.append(monotonic() - due)

    def report(self, who: str) -> None:
        late = sorted(self.late)
        emit(
            who=who,
            value=self._runs * self._each / self._took_s,
            unit="calls/s",
            first=self._each / self._first_s,
            p999_ms=late[len(late) * 999 // 1000] * 1e3,
            worst_ms=late[-1] * 1e3,
            ticks=len(late),
        )


def by_gort(call_s: float, goroutines: int, notes: Notes, announced: bool = False) -> None:
    import gort

    async def ticker(offset_s: float) -> None:
        await gort.sleep(offset_s)
        while not notes.over:
            due = monotonic() + TICK_S
            await gort.sleep(TICK_S)
            notes.ticked(due)

    async def plain() -> None:
        for _ in range(CALLS):
            sleep(call_s)
            await gort.gosched()

    async def told() -> None:
        for _ in range(CALLS):
            await gort.blocking(sleep, call_s)

    async def main() -> None:
        for i in range(TICKERS):
            gort.go(ticker, i * TICK_S / TICKERS)
        while not notes.over:
            async with gort.Group() as group:
                for _ in range(goroutines):
                    group.go(told if announced else plain)
            notes.ran()

    gort.run(main, procs=int(os.environ.get("GORT_BENCH_PROCS", "1")))


def by_gort_blocking(call_s: float, goroutines: int, notes: Notes) -> None:
    by_gort(call_s, goroutines, notes, announced=True)


def by_asyncio(call_s: float, goroutines: int, notes: Notes) -> None:
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    async def ticker(offset_s: float) -> None:
        await asyncio.sleep(offset_s)
        while not notes.over:
            due = monotonic() + TICK_S
            await asyncio.sleep(TICK_S)
            notes.ticked(due)

    async def caller() -> None:
        for _ in range(CALLS):
            await asyncio.to_thread(sleep, call_s)

    async def main() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(goroutines))
        async with asyncio.TaskGroup() as tickers:
            for i in range(TICKERS):
                tickers.create_task(ticker(i * TICK_S / TICKERS))
            while not notes.over:
                async with asyncio.TaskGroup() as callers:
                    for _ in range(goroutines):
                        callers.create_task(caller())
                notes.ran()

    asyncio.run(main())


def by_threads(call_s: float, goroutines: int, notes: Notes) -> None:
    from threading import Thread

    def ticker(offset_s: float) -> None:
        sleep(offset_s)
        while not notes.over:
            due = monotonic() + TICK_S
            sleep(TICK_S)
            notes.ticked(due)

    def caller() -> None:
        for _ in range(CALLS):
            sleep(call_s)

    tickers = [Thread(target=ticker, args=(i * TICK_S / TICKERS,)) for i in range(TICKERS)]
    for thread in tickers:
        thread.start()
    while not notes.over:
        callers = [Thread(target=caller) for _ in range(goroutines)]
        for thread in callers:
            thread.start()
        for thread in callers:
            thread.join()
        notes.ran()
    for thread in tickers:
        thread.join()


WHO: dict[str, Callable[[float, int, Notes], None]] = {
    "gort": by_gort,
    "gort.blocking": by_gort_blocking,
    "asyncio": by_asyncio,
    "threads": by_threads,
}

if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments == ["--list"]:
        emit(who=list(WHO))
    elif len(arguments) in (3, 4) and arguments[0] in WHO:
        ms, count, run_ms = float(arguments[1]), int(arguments[2]), float((arguments[3:] or ["2000"])[0])
        noted = Notes(count, run_ms / 1e3)
        WHO[arguments[0]](ms / 1e3, count, noted)
        noted.report(arguments[0])
    else:
        fail(f"usage: {'|'.join(WHO)} MS GOROUTINES [RUN_MS]")
