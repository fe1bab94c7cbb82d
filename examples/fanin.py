"""Fan-in: several sources, one stream, with a select and two kinds of timeout.

    gort run examples/fanin.py [SECONDS]

Every source sends on a channel of its own, at its own pace.  One loop listens to all of them, to a timer, and to a
context.  The timer is reset after each message, and ends the loop when no source has sent anything for a while.  The
context ends the whole after SECONDS.
"""

from __future__ import annotations

import random
import sys

import gort
from gort import context

QUIET = 0.2  # seconds without a message after which we stop listening


async def speak(ctx: context.Context, name: str, pace: float, out: gort.Chan[str]) -> None:
    """Says something now and then until ctx is done."""
    rng = random.Random(name)
    for i in range(1, 1_000_000):
        pause = gort.after(pace * rng.random())
        if (await gort.select(ctx.done().recv(), pause.recv()))[0] == 0:
            return
        if (await gort.select(ctx.done().recv(), out.send(f"{name} {i}")))[0] == 0:
            return


async def listen(ctx: context.Context, *sources: gort.Chan[str]) -> tuple[list[str], str]:
    """Returns (the messages of all sources in the order in which they came, why it ended)."""
    messages: list[str] = []
    quiet = gort.Timer(QUIET)
    while True:
        case, message, _ = await gort.select(ctx.done().recv(), quiet.c.recv(), *(source.recv() for source in sources))
        if case == 0:
            return messages, str(ctx.err())
        if case == 1:
            return messages, f"nobody has spoken for {QUIET} s"
        messages.append(message)
        quiet.reset(QUIET)


async def main() -> None:
    """Listens to three speakers."""
    try:
        seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 0.5
    except ValueError:
        sys.exit(f"fanin.py: SECONDS is a number, not {sys.argv[1]!r}")
    sources: list[gort.Chan[str]] = []
    async with gort.Group() as group:
        with context.with_timeout(context.background(), seconds) as ctx:  # its end is the end of the speakers, too
            for name, pace in (("Ann", 0.02), ("Bob", 0.05), ("Joe", 0.1)):
                source: gort.Chan[str] = gort.Chan()
                sources.append(source)
                group.go(speak, ctx, name, pace, source)
            messages, why = await listen(ctx, *sources)
    for message in messages:
        print(message)
    print(f"{len(messages)} messages; {why}")


if __name__ == "__main__":
    gort.run(main)
