"""Virtual time for tests: run and wait.  Follows Go's package testing/synctest.

What does not live here: how time goes on (_runtime/wait/bubble.py); the clocks of Python's modules (clock.py).
"""

from __future__ import annotations

from _collections_abc import Callable, Coroutine
from typing import Any, TypeVar, TypeVarTuple

from gort._runtime.boot import main
from gort._runtime.core import runtime2
from gort._start.cython import lent
from gort.testing import clock

with lent():
    from gort._runtime.wait import bubble

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MIDNIGHT_NS = 946_684_800 * 10**9  # 2000-01-01 00:00 UTC, where Go's bubbles begin
MONOTONIC_NS = 100_000 * 10**9  # what time.monotonic() shows then: a machine that has been up for a day


def run(fn: Callable[[*Ts], Coroutine[Any, Any, T]], *args: *Ts, procs: int = 1) -> T:
    """Runs `await fn(*args)` in a bubble, a program with a time of its own, and returns its result.

    Time begins at 2000-01-01 00:00 UTC.  It stands still while any goroutine can run.  When all of them wait it goes on
    at once to the next moment at which one can: gort.sleep, timers, tickers, contexts, deadlines, time.time,
    time.monotonic and datetime.now agree on it.  So hours of timeouts take no time, and happen in the same order each
    time.

    run returns when fn has returned and every goroutine of the bubble has ended; time stands still once fn has
    returned.  An exception of fn is raised at once; the goroutines that are left are closed then.

    Raises what fn raises; Deadlock when every goroutine waits and no timer is left, or when fn has returned and others
    wait; Panic as gort.run does; RuntimeError inside a goroutine; TypeError or ValueError for wrong arguments.  Inside,
    a wait on a channel from outside the bubble raises RuntimeError, and so does the use of its channels and timers
    outside, which ends a Go program.  Follows Go's synctest.Test."""
    if runtime2.current_m() is not None:
        raise RuntimeError("gort.testing.run inside a running gort runtime: call it from a plain test function")

    with clock.redirected():
        return main.start(fn, args, procs, None, make_bubble)  # type: ignore[no-any-return]


def make_bubble(s: Any) -> None:
    """Makes the runtime s, which has been booted and has not begun to run, a bubble."""
    bubble.enter(s, main.end, MONOTONIC_NS, MIDNIGHT_NS)


async def wait() -> None:
    """Waits until every other goroutine of the bubble waits: `await gort.testing.wait()`.  What they could do before the
    next moment of time they have done then.

    Raises RuntimeError outside a bubble, and when another goroutine waits here already.  Follows Go's
    synctest.Wait."""
    await bubble.wait()
