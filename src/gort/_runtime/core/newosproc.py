"""Starts the thread of an M.  Follows newosproc in Go's runtime/os_linux.go: like that, it does not wait for the
thread.

What does not live here: which M needs a thread, and when (handoff.py); what the thread does (proc.mstart).
"""

from __future__ import annotations

import sys
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


LOOK_S = 0.001  # how often join looks whether a thread runs, or never will


class Unawaited:
    """Replaces the event that Thread.start waits for, so that start returns at once.  On a busy machine without the GIL
    that wait takes a tenth of a second (see the notes in gort_rt.h); sysmon, which starts threads, would wait while
    other Ps are stuck.  A program may have thousands of threads, and an Event takes 1.3 KB of each."""

    __slots__ = ("_is_set",)

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        """The thread runs."""
        self._is_set = True

    def is_set(self) -> bool:
        """True once the thread runs."""
        return self._is_set

    def wait(self, timeout: float | None = None) -> bool:
        """Returns at once."""
        return True

    def _at_fork_reinit(self) -> None:
        """threading calls it in a forked child.  There is no lock in here."""


class NoContext:
    """In the place of the contextvars.Context in which a thread runs from 3.14 on.  Goroutines have their own.  And
    Context.run, which is C, takes so much of the stack that a goroutine that blocks needs one more page of it."""

    __slots__ = ()

    def run(self, fn: Callable[[], None]) -> None:
        """Calls fn."""
        fn()


OPTIONS: dict[str, Any] = {"daemon": True}
if sys.version_info >= (3, 14):
    OPTIONS["context"] = NoContext()


class Thread(threading.Thread):
    """The thread of an M.  It may find no memory for what threading does before it calls mstart, or for what mstart does
    before it takes the P (m.nextp).  Nobody waits for the start, so nobody would know: the P would be lost and the
    program hang.  So the thread itself then calls unlaunch(m, exc)."""

    failed = False  # it has never run the M; its ident may be set, and it may count as started
    left = False  # its M has left the runtime (proc.mexit): the thread only has to end

    def __init__(self, m: Any, unlaunch: Callable[[Any, BaseException], None], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._m = m  # until the thread ends: m refers to the thread
        self.run_of = id(m.sched)  # which gort.run it is of; for cprofiles.py
        self._unlaunch = unlaunch
        self.began = False  # mstart has taken the P; m.nextp does not tell: at the end of a program m may get one more

    def _bootstrap(self) -> None:
        """What a new thread calls first."""
        exc: BaseException | None = None
        m, self._m = self._m, None
        try:
            threading.Thread._bootstrap(self)  # type: ignore[attr-defined]
        except BaseException as e:
            if self.began:
                raise
            exc = e
            while exc.__context__ is not None:  # threading's own clean-up may fail too
                exc = exc.__context__
        if not self.began:
            self.failed = True
            for names in ("_limbo", "_active"):  # threading would go on to count it
                known = getattr(threading, names, {})
                for key, thread in known.copy().items():
                    if thread is self:
                        known.pop(key, None)
            self._unlaunch(m, exc or MemoryError())


def newosproc(
    name: str, mstart: Callable[[Any], None], m: Any, unlaunch: Callable[[Any, BaseException], None]
) -> threading.Thread:
    """Starts a daemon thread that calls mstart(m), and returns without waiting for it.  thread.ident is None until the
    thread runs.  If it does not come so far as to take m.nextp, it calls unlaunch(m, exc).

    Raises RuntimeError or MemoryError when the system refuses another thread, or an audit hook of the program's does,
    whatever that raises."""
    m.thread = thread = Thread(m, unlaunch, target=mstart, args=(m,), name=name, **OPTIONS)
    if isinstance(getattr(thread, "_started", None), threading.Event):  # a Python without it: start waits
        thread._started = Unawaited()  # type: ignore[attr-defined]
    try:
        thread.start()
    except (RuntimeError, MemoryError):
        raise
    except Exception as e:
        if thread.ident is not None or thread in getattr(threading, "_limbo", ()):
            raise  # the thread runs: a signal handler has raised since
        raise RuntimeError(type(e).__name__) from e
    return thread


def join(thread: threading.Thread, deadline: int) -> None:
    """Waits until the thread has ended or until `deadline`, a time of time.monotonic_ns()."""
    started = getattr(thread, "_started", None)
    if isinstance(started, Unawaited):
        while not started.is_set():
            if getattr(thread, "failed", False) or not left(deadline):
                return
            time.sleep(min(LOOK_S, left(deadline)))
    if not getattr(thread, "failed", False):
        thread.join(left(deadline))


def left(deadline: int) -> float:
    """The seconds until `deadline`; 0 when it has passed."""
    return max(0.0, (deadline - time.monotonic_ns()) / 1e9)
