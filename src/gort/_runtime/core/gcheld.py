"""Holds the collector off.  Locks under which no collection runs, for where the uncompiled core's sections alone do not
keep it away; and `hold`, for a dump on CPython 3.11 (traceback.py).

A finalizer that runs in the middle of a section, on the thread that holds the lock, and then uses gort (h.cancel,
ch.close, ch.try_send, timer.stop) waits for that lock for ever.  Nothing can be put off there, as such a call has a
result.  So no finalizer may run there, which needs two things:
- A section drops no last reference to an object of the user's (HACKING.md, "Compiled critical sections").
- No collection begins in it.  One begins where an object is made that the collector tracks (3.11), or at the next check
  of the interpreter after that, on the same thread (3.13 and later).  Sections make no such object, and between the last
  one before a section and its lock() there is such a check (tests/test_collector_faults.py).  So the ordinary lock,
  without a Python frame, is enough.

There it is not enough:
- The checked locks of GODEBUG=lockrank=1 record stacks, which are such objects.
- CPython 3.12 begins a collection on whichever thread comes to the next check.

What does not live here: which of the two a lock is (lockrank.make_lock).  What nothing can keep away: without the GIL
CPython 3.13 runs the finalizer of an object that another thread has let go on the thread that made it, at any bytecode.

Rejected: these locks everywhere (a section then has two more Python frames; yield, spawn and ping-pong take 30 % longer).
"""

from __future__ import annotations

import gc
import os
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_enable, _disable, _isenabled = gc.enable, gc.disable, gc.isenabled
# Guards the next two.  Re-entrant, because a finalizer may run until _disable has been called.
_guard = threading.RLock()
_held = 0  # how many of these locks are held or waited for, by all threads
_wanted = False  # while _held is not 0: whether the program wants collections


class Lock:
    """threading.Lock, and no collection begins while it is held, on any thread."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Acquires the lock, as threading.Lock does."""
        hold()
        taken = False
        try:
            taken = self._lock.acquire(blocking, timeout)
        finally:
            if not taken:
                let_go()
        return taken

    def release(self) -> None:
        """Releases the lock."""
        self._lock.release()
        let_go()


def hold() -> None:
    """No collection begins from now on, until let_go() has been called as often as this."""
    global _held, _wanted
    with _guard:
        if _held == 0:
            _wanted = _isenabled()
        _held += 1
        _disable()


def let_go() -> None:
    """Takes one call of hold() back."""
    global _held
    with _guard:
        _held -= 1
        if _held == 0 and _wanted:
            _enable()


def _program_enables() -> None:
    global _wanted
    with _guard:
        _wanted = True
        if _held == 0:
            _enable()


def _program_disables() -> None:
    global _wanted
    with _guard:
        _wanted = False
        _disable()


def _program_asks() -> bool:
    with _guard:
        return _wanted if _held else _isenabled()


def _after_fork() -> None:
    """In the child there is only the thread that forked, which holds none of the runtime's locks."""
    global _guard, _held
    _guard = threading.RLock()
    if _held:
        _held = 0
        if _wanted:
            _enable()


# The program sees its own choice, and not that a thread is in a section at the moment.
_gc: Any = gc
_gc.enable, _gc.disable, _gc.isenabled = _program_enables, _program_disables, _program_asks
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
