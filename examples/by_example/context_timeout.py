"""A deadline goes through all calls that are given the context. A cause says why, for those who ask."""

import gort
from gort import context


async def query(ctx: context.Context, rows: gort.Chan[str]) -> str:
    case, row, _ = await gort.select(ctx.done().recv(), rows.recv())
    if case == 0:
        raise ctx.err() or context.Canceled()
    return str(row)


async def main() -> None:
    why = TimeoutError("the page took too long")
    with context.with_timeout(context.background(), 0.01, cause=why) as ctx:
        try:
            print(await query(ctx, gort.Chan()))
        except context.DeadlineExceeded as error:
            print(error, "|", context.cause(ctx))


if __name__ == "__main__":
    gort.run(main)
