"""Goroutines of the cluster's own: they read and write connections, and watch.  They count as the runtime's own do: dumps
leave them out, and no deadlock is one less because they wait (asleep.py).  What they run is never the user's code."""

from __future__ import annotations

from _collections_abc import Callable
from typing import Any

from gort._runtime.core import mistakes, runtime2
from gort._runtime.sched import newproc

__all__ = ["Own", "go"]


class Own(newproc.Done):
    """The Done by which such a goroutine is known."""

    panics = True  # an error that one does not catch ends the program, as with gort.go

    def finished(self, goid: int, value: Any, exc: BaseException | None) -> None:
        """Called by the scheduler.  Nobody waits for it."""


_OWN = Own()


def go(fn: Callable[..., Any], *args: Any) -> None:
    """Starts one.  As gort.go."""
    m = runtime2.current_m()
    if m is None:
        mistakes.not_running(fn, "gort.go")
    newproc.newproc(m.sched, fn, args, None, _OWN, True)
