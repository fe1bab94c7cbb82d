"""A context tells everybody who works on one request that it is over. It interrupts nobody: each looks at it."""

import gort
from gort import context
from gort.sync import WaitGroup


async def main() -> None:
    stopped = WaitGroup()

    async def work(ctx: context.Context, jobs: gort.Chan[int]) -> None:
        case, _, _ = await gort.select(ctx.done().recv(), jobs.recv())
        if case == 0:
            print("stopped:", ctx.err())

    with context.with_cancel(context.background()) as ctx:
        for _ in range(2):
            stopped.go(work, ctx, gort.Chan[int]())
    # The end of the block has cancelled the context, as `defer cancel()` does.
    await stopped.wait()


if __name__ == "__main__":
    gort.run(main)
