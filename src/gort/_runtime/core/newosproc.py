"""Starts the thread of an M.  Follows newosproc in Go's runtime/os_linux.go: like that, it does not wait for the
thread.

What does not live here: which M needs a thread, and when (handoff.py); what the thread does (proc.mstart).
"""

from __future__ import annotations

import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Unawaited(threading.Event):
    """Replaces the event that Thread.start waits for, so that start returns at once.  On a busy machine without the GIL
    that wait takes a tenth of a second (see the notes in gort_rt.h); sysmon, which starts threads, would wait while
    other Ps are stuck."""

    def wait(self, timeout: float | None = None) -> bool:
        """Returns at once."""
        return True


def newosproc(name: str, mstart: Callable[[Any], None], m: Any) -> threading.Thread:
    """Starts a daemon thread that calls mstart(m), and returns without waiting for it.  thread.ident is None until the
    thread runs.

    Raises RuntimeError or MemoryError when the system refuses another thread."""
    m.thread = thread = threading.Thread(target=mstart, args=(m,), name=name, daemon=True)
    if isinstance(getattr(thread, "_started", None), threading.Event):  # a Python without it: start waits
        thread._started = Unawaited()  # type: ignore[attr-defined]
    thread.start()
    return thread


def join(thread: threading.Thread, deadline: int) -> None:
    """Waits until the thread has ended or until `deadline`, a time of time.monotonic_ns()."""
    started = getattr(thread, "_started", None)
    if isinstance(started, Unawaited) and not threading.Event.wait(started, left(deadline)):
        return
    thread.join(left(deadline))


def left(deadline: int) -> float:
    """The seconds until `deadline`; 0 when it has passed."""
    return max(0.0, (deadline - time.monotonic_ns()) / 1e9)
