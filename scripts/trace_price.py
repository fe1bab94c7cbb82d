"""What an execution trace costs: processor time for each step with it and without it, alternately in one process.

    python scripts/trace_price.py [--rounds 15]

Three programs: yield (100 goroutines that yield), ping-pong (a value through a channel and back), echo-100 (100 TCP
connections over the loopback, both ends goroutines of this process, so both are traced). For each it prints the time of a
step without and with the trace, their ratio, the events of a step, and what one costs. What is counted is the process's
CPU time; other processes can only add to it, so the smallest of the rounds counts. The bounds are those that the project
has set itself: echo-100 at most 1.10, yield 2.5, ping-pong 2.3 (real Go's ratios), 60 ns an event.

The trace is written to a file, as `gort run --trace` does; to make Go's format of it, when it ends, is not counted.
What does not live here: the price of a trace that is off, which scripts/instructions.py shows.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable

import gort
import gort.net
from gort import trace
from gort._runtime.core import tracing
from gort.sync import WaitGroup

EVENT_BYTES = 32
BOUNDS = {"yield": 2.5, "ping-pong": 2.3, "echo-100": 1.10}
EVENT_NS = 60

Body = Callable[[int], Awaitable[None]]


async def yields(n: int) -> None:
    """n steps in all."""
    wg = WaitGroup()

    async def one() -> None:
        for _ in range(n // 100):
            await gort.gosched()
        wg.done()

    wg.add(100)
    for _ in range(100):
        gort.go(one)
    await wg.wait()


async def ping_pong(n: int) -> None:
    """n values there and back."""
    there: gort.Chan[int] = gort.Chan()
    back: gort.Chan[int] = gort.Chan()

    async def pong() -> None:
        for _ in range(n):
            await back.send(await there.recv())

    gort.go(pong)
    for i in range(n):
        await there.send(i)
        await back.recv()


async def echo(n: int) -> None:
    """n messages of 128 bytes there and back, over 100 connections."""
    wg = WaitGroup()

    async def serves(conn: gort.net.Conn) -> None:
        async with conn:
            while data := await conn.read(4096):
                await conn.write(data)

    async def asks(address: str) -> None:
        async with await gort.net.dial("tcp", address) as conn:
            for _ in range(n // 100):
                await conn.write(b"x" * 128)
                await conn.read(4096)
        wg.done()

    async with await gort.net.listen("tcp", "127.0.0.1:0") as ln:

        async def accepts() -> None:
            for _ in range(100):
                gort.go(serves, await ln.accept())

        gort.go(accepts)
        wg.add(100)
        for _ in range(100):
            gort.go(asks, str(ln.addr))
        await wg.wait()


PROGRAMS: dict[str, tuple[Body, int]] = {
    "yield": (yields, 100_000),
    "ping-pong": (ping_pong, 30_000),
    "echo-100": (echo, 20_000),
}


async def taken(body: Body, n: int) -> float:
    """The processor time of a step, ns."""
    begin = time.process_time_ns()
    await body(n)
    return (time.process_time_ns() - begin) / n


async def events(body: Body, n: int) -> float:
    """The events of a step."""
    recorder = trace.FlightRecorder(min_age=3600, max_bytes=1 << 30)
    recorder.start()
    await body(n)
    count = sum(len(chunk[-1]) for chunk in tracing.recorded()[1]) // EVENT_BYTES
    recorder.stop()
    return count / n


async def measure(name: str, rounds: int) -> tuple[float, float, float]:
    """The time of a step without and with the trace, and its events."""
    body, n = PROGRAMS[name]
    each = await events(body, n)
    off, on = [], []
    for i in range(2 * rounds):
        if i % 2:
            with tempfile.TemporaryDirectory() as folder:
                trace.start(os.path.join(folder, "trace"))
                on.append(await taken(body, n))
                trace.stop()
        else:
            off.append(await taken(body, n))
    return min(off), min(on), each


def main() -> None:
    parser = argparse.ArgumentParser(description="What an execution trace costs.")
    parser.add_argument("--rounds", type=int, default=15, help="measurements of each kind (default 15)")
    parser.add_argument("--only", default=",".join(PROGRAMS), help="names, separated by commas")
    options = parser.parse_args()
    if not gort.runtime.compiled:
        parser.error("the compiled core is needed")
    failed = False
    print(f"{'program':12}{'off':>9}{'on':>9}{'ratio':>8}{'bound':>8}{'events':>9}{'ns each':>9}")
    for name in options.only.split(","):
        off, on, each = gort.run(measure, name, options.rounds, procs=1)
        price = (on - off) / each
        # Of an echo an event is so small a part that its price cannot be told.
        failed |= on / off > BOUNDS[name] or (price > EVENT_NS and name != "echo-100")
        print(f"{name:12}{off:9.0f}{on:9.0f}{on / off:8.2f}{BOUNDS[name]:8.2f}{each:9.1f}{price:9.1f}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
