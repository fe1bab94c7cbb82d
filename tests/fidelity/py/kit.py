"""What the fidelity programs share, with the helpers of ../go/kit.go under the same names.

A scenario is an ``async def`` under ``@scenario`` whose name is that of its Go twin. The keyword
arguments of ``scenario`` are read by the harness from the source (literals only), never executed by it:

- ``mode``: ``"stdout"`` compares stdout and exit status; ``"deadlock"`` also stderr's first line and the wait
  reasons of all goroutines; ``"names"`` also the functions in the stacks of all goroutines but main's, and who created
  each; ``"fatal"`` also that stderr's first line says ``phrase``; ``"profile"`` compares the profiles that are written.
- ``any_procs``: the output does not depend on GOMAXPROCS, so the pair runs with 1 and with 4.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import gort
from gort._runtime.watch import sysmon

if os.environ.get("FIDELITY_KEEPS_P"):
    # The order with one P is compared. To sysmon a thread that a busy machine leaves without a processor for a
    # millisecond looks blocked; its P would be handed on, and two goroutines would run at a time.
    sysmon.retake, sysmon.noticed = lambda s, seen, ousted: (0, False, False), lambda s, watcher, ousted: False

Body = Callable[[], Awaitable[None]]
scenarios: dict[str, Body] = {}

MS = 0.001

# What Go panics with; an exception of gort says it somewhere in its text, with the remedy around it.
GO_PHRASES = (
    "send on closed channel",
    "close of closed channel",
    "sync: negative WaitGroup counter",
    "context canceled",
    "context deadline exceeded",
)


def scenario(body: Body | None = None, *, mode: str = "stdout", phrase: str = "", any_procs: bool = False) -> Any:
    """Enter a scenario in the table; ``mode``, ``phrase`` and ``any_procs`` are for the harness."""

    def enter(body: Body) -> Body:
        scenarios[body.__name__] = body
        return body

    return enter if body is None else enter(body)


def _go_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "<nil>" if value is None else str(value)


_said: list[str] = []


def say(*values: object) -> None:
    """Keep a line, as fmt.Println would print it, for flush: no system call between the steps of a scenario."""
    _said.append(" ".join(map(_go_text, values)) + "\n")


def flush() -> None:
    """Print what was said so far. Programs that do not end by returning call it themselves."""
    sys.stdout.write("".join(_said))
    sys.stdout.flush()
    _said.clear()


async def settle() -> None:
    """Let every other goroutine run until it parks (exact with GOMAXPROCS=1)."""
    for _ in range(5):
        await gort.gosched()


def phrase_of(exc: BaseException | None) -> str:
    """Go's text for this exception, if it says it anywhere; else the whole text."""
    if exc is None:
        return "<nil>"
    return next((phrase for phrase in GO_PHRASES if phrase in str(exc)), f"{type(exc).__name__}: {exc}")


async def caught(operation: Callable[[], Any]) -> str:
    """Do it (and await what it gives, if it can be); Go's text for what it raised, '' for nothing."""
    try:
        result = operation()
        if hasattr(result, "__await__"):
            await result
    except Exception as exc:
        return phrase_of(exc)
    return ""


async def refused(operation: Callable[[], Any]) -> bool:
    """Whether it raised an error."""
    return await caught(operation) != ""


async def run_scenario() -> None:
    """Run the scenario named on the command line."""
    await scenarios[sys.argv[1]]()
    flush()
