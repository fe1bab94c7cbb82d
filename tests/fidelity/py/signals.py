"""Signals that a program sends to itself: gort.signal.

Twin of ../go/signals.go.
"""

from __future__ import annotations

import os
import signal as system
from typing import Any

from kit import MS, flush, phrase_of, refused, run_scenario, say, scenario, settle

import gort
from gort import context, signal


def hit(sig: int) -> None:
    os.kill(os.getpid(), sig)


def name(sig: int) -> str:
    """As Go prints a signal."""
    return str(system.strsignal(sig)).lower()


async def filled(ch: gort.Chan[Any], n: int) -> None:
    """Waits until ch holds n signals."""
    while len(ch) < n:
        await gort.gosched()


@scenario(any_procs=True)
async def arrives() -> None:
    ch: gort.Chan[Any] = gort.Chan(1)
    signal.notify(ch, signal.SIGTERM)
    for _ in range(3):
        hit(signal.SIGTERM)
        say(name(await ch.recv()))


@scenario(any_procs=True)
async def interrupt_goes_to_the_channel() -> None:
    ch: gort.Chan[Any] = gort.Chan(1)
    signal.notify(ch, signal.SIGINT)
    hit(signal.SIGINT)
    say(name(await ch.recv()))
    say("not interrupted")


@scenario(any_procs=True)
async def every_signal() -> None:
    ch: gort.Chan[Any] = gort.Chan(1)
    signal.notify(ch)
    for sig in (system.SIGHUP, system.SIGINT, system.SIGTERM, system.SIGUSR1):
        hit(sig)
        say(name(await ch.recv()))


@scenario(any_procs=True)
async def several_channels() -> None:
    both: gort.Chan[Any] = gort.Chan(2)
    one: gort.Chan[Any] = gort.Chan(2)
    signal.notify(both, system.SIGUSR1, system.SIGUSR2)
    signal.notify(one, system.SIGUSR2)
    hit(system.SIGUSR1)
    say(name(await both.recv()))
    hit(system.SIGUSR2)
    say(name(await both.recv()), name(await one.recv()))
    signal.stop(both)
    hit(system.SIGUSR2)
    say(name(await one.recv()), len(both))


@scenario(any_procs=True)
async def notify_again_adds() -> None:
    ch: gort.Chan[Any] = gort.Chan(4)
    signal.notify(ch, system.SIGUSR1)
    signal.notify(ch, system.SIGUSR1)
    signal.notify(ch, system.SIGUSR2)
    hit(system.SIGUSR1)
    await filled(ch, 1)
    hit(system.SIGUSR2)
    await filled(ch, 2)
    signal.stop(ch)
    say(name(await ch.recv()), name(await ch.recv()), len(ch))


@scenario(any_procs=True)
async def full_channel_loses() -> None:
    small: gort.Chan[Any] = gort.Chan(1)
    large: gort.Chan[Any] = gort.Chan(2)
    signal.notify(small, system.SIGUSR1, system.SIGUSR2)
    signal.notify(large, system.SIGUSR1, system.SIGUSR2)
    hit(system.SIGUSR1)
    say(name(await large.recv()))
    await filled(small, 1)
    hit(system.SIGUSR2)
    say(name(await large.recv()))
    signal.stop(small)
    say(name(await small.recv()), len(small))


@scenario
async def unbuffered_with_a_receiver() -> None:
    ch: gort.Chan[Any] = gort.Chan()
    done: gort.Chan[bool] = gort.Chan()
    signal.notify(ch, system.SIGUSR1)

    async def receiver() -> None:
        say(name(await ch.recv()))
        await done.send(True)

    gort.go(receiver)
    await settle()
    hit(system.SIGUSR1)
    await done.recv()


@scenario(any_procs=True)
async def stop_gives_the_default_back() -> None:
    ch: gort.Chan[Any] = gort.Chan(1)
    signal.notify(ch, signal.SIGTERM)
    hit(signal.SIGTERM)
    say(name(await ch.recv()))
    signal.stop(ch)
    flush()
    hit(signal.SIGTERM)
    await ch.recv()


@scenario(any_procs=True)
async def reset_gives_the_default_back() -> None:
    a: gort.Chan[Any] = gort.Chan(1)
    b: gort.Chan[Any] = gort.Chan(1)
    signal.notify(a, system.SIGHUP, system.SIGUSR1)
    signal.notify(b, system.SIGHUP)
    signal.reset(system.SIGHUP)
    hit(system.SIGUSR1)
    say(name(await a.recv()), len(a), len(b))
    flush()
    hit(system.SIGHUP)
    await b.recv()


@scenario(any_procs=True)
async def reset_of_all() -> None:
    ch: gort.Chan[Any] = gort.Chan(1)
    signal.notify(ch)
    signal.reset()
    flush()
    hit(signal.SIGTERM)
    await ch.recv()


@scenario(any_procs=True)
async def ignored() -> None:
    say(signal.ignored(signal.SIGTERM))
    signal.ignore(signal.SIGTERM)
    say(signal.ignored(signal.SIGTERM))
    hit(signal.SIGTERM)
    ch: gort.Chan[Any] = gort.Chan(1)
    signal.notify(ch, signal.SIGTERM)
    say(signal.ignored(signal.SIGTERM))
    hit(signal.SIGTERM)
    say(name(await ch.recv()), len(ch))
    signal.ignore(signal.SIGTERM)
    hit(signal.SIGTERM)
    await settle()
    say(len(ch), signal.ignored(signal.SIGTERM))
    signal.notify(ch, signal.SIGTERM)
    signal.stop(ch)
    say(signal.ignored(signal.SIGTERM))
    flush()
    hit(signal.SIGTERM)
    await ch.recv()


@scenario(any_procs=True)
async def nil_channel() -> None:
    say(await refused(lambda: signal.notify(None, signal.SIGTERM)))  # type: ignore[arg-type]
    signal.stop(gort.Chan())


@scenario(mode="fatal", phrase="send on closed channel", any_procs=True)
async def closed_channel() -> None:
    ch: gort.Chan[Any] = gort.Chan(1)
    signal.notify(ch, system.SIGUSR1)
    ch.close()
    hit(system.SIGUSR1)
    await gort.select()


@scenario(any_procs=True)
async def waiting_for_a_signal_is_no_deadlock() -> None:
    ch: gort.Chan[Any] = gort.Chan(1)
    signal.notify(ch, system.SIGUSR1)
    signal.stop(ch)

    async def later() -> None:
        for _ in range(3):
            await gort.sleep(150 * MS)
        say("no deadlock")
        flush()
        os._exit(7)

    gort.go(later)
    await ch.recv()


def cause(ctx: context.Context) -> str:
    return str(context.cause(ctx))


@scenario(any_procs=True)
async def notify_context() -> None:
    ctx, stop = signal.notify_context(context.background(), system.SIGUSR1, signal.SIGTERM)
    say(ctx.err())
    hit(system.SIGUSR1)
    await ctx.done().recv_ok()
    say(phrase_of(ctx.err()), cause(ctx), isinstance(context.cause(ctx), context.Canceled))
    hit(system.SIGUSR1)
    stop()
    stop()
    say(phrase_of(ctx.err()), cause(ctx))
    flush()
    hit(signal.SIGTERM)
    await gort.select()


@scenario(any_procs=True)
async def context_stopped() -> None:
    ctx, stop = signal.notify_context(context.background(), system.SIGUSR1)
    stop()
    await ctx.done().recv_ok()
    say(phrase_of(ctx.err()), cause(ctx))


@scenario(any_procs=True)
async def context_of_a_parent() -> None:
    parent, cancel = context.with_cancel_cause(context.background())
    ctx, stop = signal.notify_context(parent, signal.SIGTERM)
    with stop:
        cancel(ValueError("enough"))
        await ctx.done().recv_ok()
        say(phrase_of(ctx.err()), cause(ctx))
        hit(signal.SIGTERM)
        say("alive")


async def main() -> None:
    await run_scenario()
