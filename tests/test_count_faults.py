"""C21: num_goroutine() costs the same however many goroutines there are, and is exact."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import gort
from gort import runtime
from support import PATIENCE_S, parked, until

Run = Callable[..., Any]


def quickest(fn: Callable[[], object]) -> int:
    """The shortest of many calls, in ns: what it costs when nobody is in the way."""
    best = 1 << 62
    for _ in range(200):
        start = time.perf_counter_ns()
        fn()
        best = min(best, time.perf_counter_ns() - start)
    return best


def test_c21_num_goroutine_does_not_walk_them() -> None:
    n = 50_000 if runtime.compiled else 10_000  # uncompiled they take 5 s

    async def main() -> tuple[int, int, int]:
        gate: gort.Chan[None] = gort.Chan()

        async def wait() -> None:
            await gate.recv_ok()

        few = quickest(runtime.num_goroutine)
        for _ in range(n):
            gort.go(wait)
        many = quickest(runtime.num_goroutine)
        count = runtime.num_goroutine()
        gate.close()
        await until(lambda: runtime.num_goroutine() == 1)
        return few, many, count

    few, many, count = gort.run(main)
    assert count == n + 1
    assert many < 100 * few, "it was 20,000 times as much, and 4000 times with 10,000"


def test_c21_num_goroutine_is_exact(run: Run) -> None:
    """However goroutines are made and end, on whatever thread; the runtime's own do not count."""

    async def main() -> None:
        assert runtime.num_goroutine() == 1
        gate: gort.Chan[None] = gort.Chan()

        async def wait() -> None:
            await gate.recv_ok()

        async def coroutine() -> int:
            return runtime.num_goroutine()

        async def locked() -> None:
            runtime.lock_os_thread()  # its thread ends with it
            await gort.sleep(0.001)

        async def numbers() -> AsyncIterator[int]:
            try:
                yield 1
            finally:
                await gate.recv_ok()  # a goroutine of the runtime's waits here

        def plain() -> None:
            for _ in range(3):
                gort.go(wait)
            time.sleep(0.002)

        async with gort.Group() as group:
            for fn in (wait, plain, locked, wait):
                group.go(fn)
            timer = gort.after_func(0.001, runtime.goexit)
            outside: list[int] = []
            thread = threading.Thread(target=lambda: outside.append(gort.wait(coroutine())))
            thread.start()
            await gort.blocking(thread.join, PATIENCE_S)
            await until(lambda: not timer.stop())
            async for _ in numbers():
                break
            await until(lambda: runtime.num_goroutine() == 1 + 2 + 3)
            assert outside[0] >= 3
            gate.close()
        await until(lambda: runtime.num_goroutine() == 1)

    run(main)
    assert runtime.num_goroutine() == 0


def test_c21_num_goroutine_while_the_program_ends(run: Run) -> None:
    """In the `finally` blocks of what is left, those that are closed already count no more."""
    seen: list[int] = []

    async def left() -> None:
        try:
            await gort.Chan[int]().recv()
        finally:
            seen.append(runtime.num_goroutine())

    async def main() -> None:
        for _ in range(3):
            gort.go(left)
        await parked(3, "chan receive")

    run(main)
    assert sorted(seen) == [1, 2, 3]
