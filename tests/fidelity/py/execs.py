"""exec: what cancel makes of the end of a context, its error, and wait_delay. Twin of ../go/execs.go."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable
from typing import Any

from kit import MS, run_scenario, say, scenario

import gort
from gort import context
from gort import exec as processes

# Programs say in the file "$0" that they are ready; then their context ends. This one ends with the status that it is
# given when it is told to.
OBEDIENT = 'trap "exit $1" TERM; : > "$0"; while :; do sleep 0.01; done'

# This one ends by itself, some time after its context.
INDEPENDENT = ': > "$0"; until [ -e "$0.end" ]; do sleep 0.01; done; exit $1'


def outcome(error: Exception | None) -> str:
    """How a run ended."""
    if error is None:
        return "well"
    if isinstance(error, context.Canceled):
        return "the context's error"
    if isinstance(error, processes.WaitDelayExceeded):
        return "wait delay"
    if isinstance(error, processes.ExitError):
        n = error.returncode
        return f"exit status {n}" if n >= 0 else f"signal: {signal.strsignal(-n)}".lower()
    return "cancel's error" if "no such thing" in str(error) else repr(error)


async def running(script: str, argument: str, cancel: Callable[[Any], Any] | None, delay: float | None) -> None:
    """Runs a shell script, and ends its context as soon as the script has made the file "$0"."""
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "ready")
        called = False

        def call(cmd: processes.Cmd) -> Any:
            nonlocal called
            called = True
            end(file)
            assert cancel is not None
            return cancel(cmd)

        error = None
        ctx, stop = context.with_cancel(context.background())

        async def watch() -> None:
            while ctx.err() is None:
                if os.path.exists(file):
                    stop()
                    if cancel is None:
                        end(file)
                await gort.sleep(MS)

        gort.go(watch)
        try:
            await processes.run(
                "sh", "-c", script, file, argument, ctx=ctx, cancel=call if cancel else None, wait_delay=delay
            )
        except Exception as e:
            error = e
        finally:
            stop()
        say(outcome(error), called)


def end(file: str) -> None:
    """Lets an independent program end."""
    with open(file + ".end", "w"):
        pass


def terminate(cmd: processes.Cmd) -> bool:
    """Asks a program to end."""
    return cmd.terminate()


def nothing(cmd: processes.Cmd) -> None:
    """Takes no notice."""


def fails(cmd: processes.Cmd) -> None:
    raise ValueError("no such thing")


def ended(cmd: processes.Cmd) -> None:
    raise ProcessLookupError


@scenario(any_procs=True)
async def it_ends_well() -> None:
    await running(OBEDIENT, "0", terminate, None)


@scenario(any_procs=True)
async def it_fails() -> None:
    await running(OBEDIENT, "3", terminate, None)


@scenario(any_procs=True)
async def it_dies_of_the_signal() -> None:
    await running(': > "$0"; exec sleep 1000', "", terminate, None)


async def both(cancel: Callable[[Any], Any] | None) -> None:
    await running(INDEPENDENT, "0", cancel, None)
    await running(INDEPENDENT, "3", cancel, None)


@scenario(any_procs=True)
async def it_takes_no_notice() -> None:
    await both(nothing)


@scenario(any_procs=True)
async def cancel_fails() -> None:
    await both(fails)


@scenario(any_procs=True)
async def it_had_ended() -> None:
    await both(ended)


@scenario(any_procs=True)
async def no_cancel() -> None:
    await both(None)


@scenario(any_procs=True)
async def it_ends_before() -> None:
    await running("true", "", terminate, None)
    await running("exit 3", "", terminate, None)


@scenario(any_procs=True)
async def others_hold_the_pipe() -> None:
    holds = 'sleep 6 & trap "exit $1" TERM; : > "$0"; while :; do sleep 0.01; done'
    await running(holds, "0", terminate, 1000 * MS)
    await running(holds, "3", terminate, 1000 * MS)
    await running("sleep 6 & exit 0", "", None, 50 * MS)


async def main() -> None:
    await run_scenario()
