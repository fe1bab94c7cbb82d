"""Starting the thread of an M.  Follows newosproc in Go's runtime/os_linux.go, which does not wait for it either.

What does not live here: which M is started, and when (handoff.py); what the thread does (proc.mstart).
"""

from __future__ import annotations

import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Unawaited(threading.Event):
    """What Thread.start waits for.  On a busy machine that takes a tenth of a second without the GIL (see the notes in
    gort_rt.h), and it would be sysmon that waits while other Ps are stuck."""

    def wait(self, timeout: float | None = None) -> bool:
        """Not at all."""
        return True


def newosproc(name: str, mstart: Callable[[Any], None], m: Any) -> threading.Thread:
    """Starts a daemon thread that calls mstart(m), and does not wait until it runs: its ident is None until then.

    Raises RuntimeError or MemoryError when the system gives no more threads."""
    m.thread = thread = threading.Thread(target=mstart, args=(m,), name=name, daemon=True)
    if isinstance(getattr(thread, "_started", None), threading.Event):  # where there is no such thing, start waits
        thread._started = Unawaited()  # type: ignore[attr-defined]
    thread.start()
    return thread


def join(thread: threading.Thread, deadline: int) -> None:
    """Waits for the thread's end until `deadline`, an instant of time.monotonic_ns."""
    started = getattr(thread, "_started", None)
    if isinstance(started, Unawaited) and not threading.Event.wait(started, left(deadline)):
        return
    thread.join(left(deadline))


def left(deadline: int) -> float:
    """Seconds until then; 0 when it is past."""
    return max(0.0, (deadline - time.monotonic_ns()) / 1e9)
