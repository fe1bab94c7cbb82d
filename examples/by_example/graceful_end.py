"""A signal cancels a context, the goroutines that look at it finish, and main waits for them."""

import os

import gort
from gort import context, signal


async def work(ctx: context.Context) -> None:
    await ctx.done().recv_ok()
    print("finishing what was begun")


async def main() -> None:
    with signal.notify_context(context.background(), signal.SIGTERM) as ctx:
        async with gort.Group() as group:
            group.go(work, ctx)
            os.kill(os.getpid(), signal.SIGTERM)
    print("goodbye")


if __name__ == "__main__":
    gort.run(main)
