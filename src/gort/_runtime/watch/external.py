"""What outside the runtime may still make a goroutine runnable, so that there is no deadlock yet.  Follows checkdead in
Go's runtime/proc.go where that asks for cgo and for the threads that handle signals.

The rule: a deadlock is reported when every goroutine waits and nothing is left that could wake one.  These could:

- another thread of the process, whoever started it: threading, _thread, or a library written in C.  Nobody can tell
  whether it will call try_send or gort.wait, so each counts while it lives.  Go reports no deadlock once a program uses
  cgo, for the same reason;
- a signal handler that the program has set with signal.signal.  Go's counterpart is os/signal.Notify, whose thread
  also keeps the check silent.  The handlers of Python itself and of gort do not count: they wake no goroutine, or only
  to end the program.

A wrong answer here would end a program that works, while silence only leaves a stuck one as it is.  So in doubt there
is no deadlock.  The price: goroutines that wait for each other are not found while such a thread lives.

Rejected: to count only threads that Python knows (a library's thread is unknown to Python until it calls in, and that
call is what the goroutines wait for); to leave out threads that block all signals, as faulthandler's does (so do the
threads of libraries that call back).

What does not live here: the check itself (handoff.checkdead); how often it is repeated (sysmon.py).
"""

from __future__ import annotations

import sys
import threading

from gort._runtime.core import machine, newosproc
from gort._runtime.watch import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _collections_abc import Callable
    from typing import Any

harmless: set[int] = set()  # the kernel's numbers of threads that wake no goroutine; the tests' own alarm is one
# Each names more of these when it is asked, for the threads of a library come and go.
tellers: list[Callable[[], set[int]]] = []
awaited: set[object] = set()  # each stands for a callback of such a thread that is due, and will wake a goroutine


def _ident(thread: threading.Thread) -> int | None:
    """The thread's ident, as Thread says and not as a class of the user's: this is g0."""
    return threading.Thread.ident.fget(thread)  # type: ignore[attr-defined, no-any-return]


def _native(thread: threading.Thread) -> int | None:
    """The kernel's number of the thread, as Thread says."""
    return threading.Thread.native_id.fget(thread)  # type: ignore[attr-defined, no-any-return]


def _leaving(thread: threading.Thread) -> bool:
    """Whether it is the thread of an M that has left its runtime, so that it only has to end."""
    return type(thread) is newosproc.Thread and thread.left


def _is_alive(thread: threading.Thread) -> bool:
    """Whether the thread is alive, as Thread says and not as a class of the user's."""
    dummy: Any = getattr(threading, "_DummyThread", None)
    kind: Any = dummy if type(thread) is dummy else threading.Thread
    return bool(kind.is_alive(thread))


class External:
    """Returns True when called while something outside the runtime s may make a goroutine runnable.  A thread of the
    runtime calls it; a thread of the runtime that is leaving is no M any more, but does not count as outside either."""

    def __init__(self, s: Any) -> None:
        self.s = s
        self.home = threading.current_thread()

    def __call__(self) -> bool:
        s = self.s
        if s.nexternal > 0 or awaited or (s.agens is not None and (s.agens.late or s.agens.beginning)):
            return True  # the last: sysmon is about to make goroutines for them
        known = set(harmless)
        for tell in tellers:
            known |= tell()
        return self._python_thread(known) or signals.user_handlers() or self._other_thread(known)

    def _python_thread(self, known: set[int]) -> bool:
        """True while a thread of threading's is alive that is no M."""
        s = self.s
        own = {id(self.home)} | {id(m.thread) for m in list(s.allm)}
        # threading lists sysmon's once it has run a user's callback
        idents = (threading.get_ident(), s.sysmon.ident if s.sysmon is not None else None)
        return any(
            id(t) not in own
            and _ident(t) not in idents
            and not _leaving(t)
            and _is_alive(t)
            and _native(t) not in known
            for t in threading.enumerate()
        )

    def _other_thread(self, known: set[int]) -> bool:
        """True while there is a thread that threading does not know.  A thread of ours counts too in its last moments,
        when threading has already forgotten it; sysmon asks again."""
        s = self.s
        alive = machine.os_threads()
        if alive is not None:
            own = {m.procid for m in list(s.allm)} | known | {threading.get_native_id()}
            own |= {t.native_id for t in threading.enumerate() if _leaving(t)}
            return bool(alive - own - ({s.sysmon.procid} if s.sysmon is not None else set()))
        # The system does not list its threads: those that are in Python, at least.
        idents = {m.ident for m in list(s.allm)} | {threading.get_ident()}
        return bool(set(sys._current_frames()) - idents - ({s.sysmon.ident} if s.sysmon is not None else set()))
