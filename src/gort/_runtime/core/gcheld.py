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
# Guards the next two.  Re-entrant, because a finalizer may run until _disable has been called.  Such a finalizer may wait
# for a lock (a group's, say) whose holder waits for this one.  So nobody waits for it for ever: who does not get it in
# GUARD_S goes on, with collections as they are, or leaves what it has to take back in _debts.
_guard = threading.RLock()
GUARD_S = 5.0  # far longer than a busy machine leaves a thread aside: a section in which a collection begins is worse
_debts: list[None] = []  # one for each let_go that did not get the guard; who has it next settles them
_held = 0  # how many of these locks are held or waited for, by all threads
_wanted = False  # while _held is not 0: whether the program wants collections


class Lock:
    """threading.Lock, and no collection begins while it is held, on any thread."""

    __slots__ = ("_counted", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted = False  # the holder's own: whether hold() counts it

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Acquires the lock, as threading.Lock does."""
        counted = hold()
        taken = False
        try:
            taken = self._lock.acquire(blocking, timeout)
        finally:
            if not taken and counted:
                let_go()
        if taken:
            self._counted = counted
        return taken

    def release(self) -> None:
        """Releases the lock."""
        counted = self._counted
        self._lock.release()
        if counted:
            let_go()

    def _at_fork_reinit(self) -> None:
        """Frees the lock in a forked child, as threading.Lock's does."""
        self._lock._at_fork_reinit()  # type: ignore[attr-defined]  # typeshed leaves it out
        self._counted = False


def hold() -> bool:
    """No collection begins from now on, until let_go() has been called as often as this.  False when a finalizer under
    the guard may be waiting for the caller: then nothing has changed."""
    global _held, _wanted
    if not _guard.acquire(timeout=GUARD_S):
        return False
    try:
        if _held == 0:
            _wanted = _isenabled()
        _held += 1
        _disable()
        _settle()
    finally:
        _guard.release()
    return True


def let_go() -> None:
    """Takes one call of hold() back."""
    global _held
    if not _guard.acquire(timeout=GUARD_S):
        _debts.append(None)
        return
    try:
        _held -= 1
        _settle()
        if _held == 0 and _wanted:
            _enable()
    finally:
        _guard.release()


def _settle() -> None:
    """Takes back what let_go could not.  The guard is held."""
    global _held
    while _debts:
        _debts.pop()
        _held -= 1


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
    _debts.clear()
    if _held:
        _held = 0
        if _wanted:
            _enable()


# The program sees its own choice, and not that a thread is in a section at the moment.
_gc: Any = gc
_gc.enable, _gc.disable, _gc.isenabled = _program_enables, _program_disables, _program_asks
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
