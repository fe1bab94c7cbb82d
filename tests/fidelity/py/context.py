"""Contexts: errors, cancellation down the tree and not up, deadlines, values. Twin of ../go/context.go."""

from __future__ import annotations

import time

from kit import MS, phrase_of, run_scenario, say, scenario, settle

import gort
from gort import context
from gort.sync import Mutex, WaitGroup

HOUR = 3600.0


def is_done(ctx: context.Context) -> bool:
    done = ctx.done()
    return done is not None and done.closed


def err(ctx: context.Context) -> str:
    return phrase_of(ctx.err())


async def until_done(ctx: context.Context) -> None:
    done = ctx.done()
    assert done is not None
    await done.recv_ok()


@scenario(any_procs=True)
async def background() -> None:
    ctx = context.background()
    say(err(ctx), is_done(ctx), ctx.value("k"))


@scenario(any_procs=True)
async def cancel() -> None:
    ctx, stop = context.with_cancel(context.background())
    say(err(ctx), is_done(ctx))
    stop()
    say(err(ctx), is_done(ctx))
    stop()
    say(err(ctx), is_done(ctx))


@scenario(any_procs=True)
async def cancel_wakes_waiters() -> None:
    ctx, stop = context.with_cancel(context.background())
    wg = WaitGroup()

    async def waiter() -> None:
        await until_done(ctx)
        say(err(ctx))

    for _ in range(5):
        wg.go(waiter)
    await settle()
    stop()
    await wg.wait()


@scenario(any_procs=True)
async def parent_cancels_children() -> None:
    parent, stop = context.with_cancel(context.background())
    child, stop_child = context.with_cancel(parent)
    grand = context.with_value(child, "k", "v")
    late, stop_late = context.with_timeout(grand, HOUR)
    say(is_done(child), is_done(grand), is_done(late))
    stop()
    say(is_done(child), is_done(grand), is_done(late))
    say(err(child), err(grand), err(late))
    stop_child()
    stop_late()


@scenario(any_procs=True)
async def child_leaves_parent() -> None:
    parent, stop = context.with_cancel(context.background())
    child, stop_child = context.with_cancel(parent)
    sibling, stop_sibling = context.with_cancel(parent)
    stop_child()
    say(is_done(child), is_done(parent), is_done(sibling))
    stop_sibling()
    stop()


@scenario(any_procs=True)
async def child_of_cancelled() -> None:
    parent, stop = context.with_cancel(context.background())
    stop()
    child, stop_child = context.with_cancel(parent)
    say(is_done(child), err(child))
    stop_child()


@scenario(any_procs=True)
async def timeout_expires() -> None:
    start = time.monotonic()
    ctx, stop = context.with_timeout(context.background(), 20 * MS)
    await until_done(ctx)
    say(err(ctx), time.monotonic() - start >= 20 * MS)
    stop()


@scenario(any_procs=True)
async def timeout_cancelled_first() -> None:
    ctx, stop = context.with_timeout(context.background(), HOUR)
    stop()
    await until_done(ctx)
    say(err(ctx))


@scenario(any_procs=True)
async def timeout_negative() -> None:
    ctx, stop = context.with_timeout(context.background(), -1)
    say(is_done(ctx), err(ctx))
    stop()


@scenario(any_procs=True)
async def cancel_after_expiry_keeps_error() -> None:
    ctx, stop = context.with_timeout(context.background(), MS)
    await until_done(ctx)
    stop()
    say(err(ctx))


@scenario(any_procs=True)
async def parent_deadline_is_earlier() -> None:
    parent, stop = context.with_timeout(context.background(), 20 * MS)
    child, stop_child = context.with_timeout(parent, HOUR)
    await until_done(child)
    say(err(child))
    stop_child()
    stop()


@scenario(any_procs=True)
async def child_deadline_is_earlier() -> None:
    parent, stop = context.with_timeout(context.background(), HOUR)
    child, stop_child = context.with_timeout(parent, 10 * MS)
    await until_done(child)
    say(err(child), err(parent))
    stop_child()
    stop()


@scenario(any_procs=True)
async def values() -> None:
    root = context.with_value(context.background(), "a", 1)
    ctx, stop = context.with_cancel(root)
    inner = context.with_value(ctx, "b", 2)
    shadow = context.with_value(inner, "a", 10)
    say(inner.value("a"), inner.value("b"), inner.value("c"))
    say(shadow.value("a"), shadow.value("b"), root.value("b"))
    stop()


@scenario(any_procs=True)
async def workers_stop() -> None:
    ctx, stop = context.with_cancel(context.background())
    work: gort.Chan[int] = gort.Chan()
    wg, mu = WaitGroup(), Mutex()
    total = 0

    async def worker() -> None:
        nonlocal total
        done = ctx.done()
        assert done is not None
        while True:
            i, v, _ = await gort.select(work.recv(), done.recv())
            if i == 1:
                return
            async with mu:
                total += v

    for _ in range(3):
        wg.go(worker)
    for i in range(1, 101):
        await work.send(i)
    stop()
    await wg.wait()
    say(total)


async def main() -> None:
    await run_scenario()
