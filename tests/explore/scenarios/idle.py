"""Idle threads that end (idle.endidle)."""

from __future__ import annotations

import gort
import gort.sync
from explore.scenarios.base import MS, equal, scenario
from explore.standins import Thread
from explore.standins import sleep as blocks
from gort._runtime.core import idle


@scenario()
def idle_threads_end() -> None:
    """As sysmon does, at any moment: while goroutines block their threads, wake each other, and all wait.  Each call gets
    a thread, and no deadlock is seen where there is none."""

    async def main() -> list[int]:
        s = gort._runtime.boot.main._running[-1]
        wg = gort.sync.WaitGroup()
        out: list[int] = []

        async def call(v: int) -> None:
            await gort.blocking(blocks, v * MS)
            out.append(v)

        def sysmon() -> None:
            for _ in range(2):
                idle.endidle(s, 1)
                blocks(MS)

        thread = Thread(target=sysmon)
        thread.listed = False  # the deadlock check waits for threads from outside; sysmon is none
        thread.start()
        for v in range(3):
            wg.go(call, v)
        await wg.wait()
        wg.go(call, 3)
        await wg.wait()
        return sorted(out)

    equal(gort.run(main, procs=2), [0, 1, 2, 3])
