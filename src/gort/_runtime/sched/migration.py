"""GODEBUG=migration=1: finds an RLock or a threading.local value that a goroutine keeps across an await.  Go has no
such check, because there nothing belongs to a thread; Java's virtual threads have the same problem.

After an await a goroutine may continue on another thread, and meanwhile other goroutines run on its old thread.  So it
no longer owns an RLock that it took there (or a Condition, which contains one), and another goroutine on the old thread
can take that RLock a second time, because to the lock both are the same thread.  A value that the goroutine put into a
threading.local is missing on the new thread, or is another goroutine's.

With GODEBUG=migration=1, importing gort replaces threading.RLock and threading.local by subclasses that record which
goroutine took or set what, and where.  Whenever a goroutine leaves its thread (proc.execute), we report an RLock that
it holds, even if this time no harm follows.  For a threading.local there is no such moment, so we report it when a
goroutine reads a name that it has set and does not find its own value.

1 reports on stderr, each place once; 2 raises RuntimeError, at the await or at the read.

Invariants
- Off (the default), it costs one test per suspension and replaces nothing.
- It ignores threads outside goroutines, and goroutines that are locked to their thread.

Rejected: a check at every await, even one that does not suspend (a test in every operation); tracking threading.Lock
(any thread may release one).
"""

from __future__ import annotations

import _thread
import contextvars
import sys
import threading

from gort._runtime.core import debugvars, handoff, traceback
from gort._runtime.core.mistakes import say
from gort._runtime.core.runtime2 import current_m

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

REMEDY = "gort.runtime.lock_os_thread() keeps a goroutine on its thread"
_HERE = {__file__, threading.__file__}

_mode = 0
_held: dict[int, list[RLock]] = {}  # thread -> the RLocks it holds; only that thread changes its list
_said: set[tuple[str, str]] = set()
_writes: contextvars.ContextVar[Writes] = contextvars.ContextVar("gort migration")


def _goroutine() -> Any:
    """The running goroutine, or None if there is none or lock_os_thread keeps it on its thread."""
    m = current_m()
    if m is None or m.curg is None or m.curg.lockedm is not None:
        return None
    return m.curg


def _where() -> str:
    """The place in the user's code that called into this file or into threading, as text."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename in _HERE:
        frame = frame.f_back
    if frame is None:
        return "?"
    name = traceback.function_name(frame.f_code, frame.f_globals.get("__name__"))
    return f"{frame.f_code.co_filename}:{frame.f_lineno} ({name})"


def _report(key: tuple[str, str], text: str) -> None:
    if key not in _said:
        _said.add(key)
        say(f"gort: {text}\n")


# ---- RLock ------------------------------------------------------------------------------------------------------------


class Hold:
    """Which goroutine holds a lock, how often it has taken it, and where first."""

    __slots__ = ("count", "g", "goid", "where")

    def __init__(self, g: Any, where: str) -> None:
        self.g = g
        self.goid = g.goid
        self.where = where
        self.count = 1

    def is_of(self, g: Any) -> bool:
        """True when the goroutine that g runs now has the lock.  The number decides, because a G is reused."""
        return self.g is g and self.goid == g.goid


class RLock(_thread.RLock):  # type: ignore[misc]  # final in typeshed, not in CPython
    """threading.RLock while GODEBUG=migration is on."""

    hold: Hold | None = None

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        got = super().acquire(blocking, timeout)
        if got:
            self._taken()
        return got

    def __enter__(self, blocking: bool = True, timeout: float = -1) -> bool:
        return self.acquire(blocking, timeout)

    def __exit__(self, *exc: object) -> None:
        self.release()

    def release(self) -> None:
        try:
            super().release()
        except RuntimeError as e:
            if self.hold is not None:
                where = self.hold.where
                e.add_note(
                    f"gort: goroutine {self.hold.goid} took this RLock on another thread\n\tat {where}\n{REMEDY}"
                )
            raise
        hold = self.hold
        if hold is not None:
            hold.count -= 1
            if hold.count == 0:
                self._free()

    def _taken(self) -> None:
        g = _goroutine()
        hold = self.hold
        if hold is not None:
            hold.count += 1
            if g is not None and not hold.is_of(g):
                self._shared(g, hold)
        elif g is not None:
            self.hold = Hold(g, _where())
            _held.setdefault(threading.get_ident(), []).append(self)

    def _shared(self, g: Any, hold: Hold) -> None:
        where = _where()
        text = (
            f"goroutine {g.goid} takes a threading.RLock that goroutine {hold.goid} holds across an await: the lock "
            f"cannot tell two goroutines on one thread apart\n\ttaken at {hold.where}\n\tand at {where}\n"
            f"use gort.sync.Mutex; {REMEDY}"
        )
        if _mode > 1:
            self.release()
            raise RuntimeError(text)
        _report((hold.where, where), text)

    def _free(self) -> None:
        self.hold = None
        locks = _held.get(threading.get_ident(), [])
        if self in locks:
            locks.remove(self)

    # Condition.wait calls these two: the first releases the lock fully, however often it was taken, and the second
    # takes it again as often.

    def _release_save(self) -> Any:
        state = super()._release_save()  # type: ignore[misc]
        hold = self.hold
        if hold is not None:
            self._free()
        return state, hold

    def _acquire_restore(self, saved: Any) -> None:
        state, hold = saved
        super()._acquire_restore(state)  # type: ignore[misc]
        if hold is not None:
            self.hold = hold
            _held.setdefault(threading.get_ident(), []).append(self)


def _rlock() -> Any:
    """Replaces threading.RLock: makes a tracked RLock, or a plain one for gort's own code."""
    return _thread.RLock() if traceback.hidden(sys._getframe(1).f_code) else RLock()


def suspended(g: Any) -> None:
    """Reports an RLock that g holds.  Called when g leaves its thread."""
    if g.lockedm is not None:
        return
    for lock in _held.get(threading.get_ident(), ()):
        hold = lock.hold
        if hold is None or not hold.is_of(g):
            continue
        frames = traceback.awaited(g.coro)
        waits = "{1}:{2} ({0})".format(*frames[0]) if frames else "?"
        text = (
            f"goroutine {g.goid} waits while it holds a threading.RLock: it may continue on another thread, which is "
            f"not the lock's owner\n\ttaken at {hold.where}\n\twaits at {waits}\n"
            f"use gort.sync.Mutex, or release it before the await; {REMEDY}"
        )
        if _mode > 1:
            handoff.cancel(g, g.goid, RuntimeError(text))
        else:
            _report((hold.where, waits), text)
        return


# ---- threading.local --------------------------------------------------------------------------------------------------


class Writes(dict["tuple[int, str]", "tuple[Any, int, str]"]):
    """A goroutine's writes to locals: (id of the local, name) -> (the local, the thread, the place)."""

    def __init__(self, g: Any) -> None:
        super().__init__()
        self.g = g
        self.goid = g.goid


def _written(g: Any) -> Writes | None:
    """The Writes of g itself, or None.  The context variable may still hold those of the goroutine that started g."""
    writes = _writes.get(None)
    if writes is not None and writes.g is g and writes.goid == g.goid:
        return writes
    return None


class Local(_thread._local):
    """threading.local while GODEBUG=migration is on."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        g = _goroutine()
        by = self.__dict__.setdefault("_gort_set_by", {})
        by[name] = None if g is None else (g, g.goid)
        if g is not None:
            writes = _written(g)
            if writes is None:
                writes = Writes(g)
                _writes.set(writes)
            writes[id(self), name] = (self, threading.get_ident(), _where())

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("__"):
            g = _goroutine()
            writes = None if g is None else _written(g)
            if writes is not None and (id(self), name) in writes:
                _check_read(self, name, g, writes)
        return super().__getattribute__(name)


def _check_read(local: Local, name: str, g: Any, writes: Writes) -> None:
    """Reports a read by g of a name that g has set, if the value there is no longer the one that g set."""
    _, ident, where = writes[id(local), name]
    if ident != threading.get_ident():
        why = "on the thread it was on then"
    elif local.__dict__.get("_gort_set_by", {}).get(name) != (g, g.goid):
        why = "and another goroutine on this thread has set it since"
    else:
        return
    here = _where()
    text = (
        f"goroutine {g.goid} reads {name!r} of a threading.local that it set before an await, {why}\n\tset at {where}\n"
        f"\tread at {here}\nuse contextvars.ContextVar, of which each goroutine has its own; {REMEDY}"
    )
    if _mode > 1:
        raise RuntimeError(text)
    _report((where, here), text)


def install() -> None:
    """Replaces threading.RLock and threading.local if GODEBUG=migration is on.  Runs when this module is imported."""
    global _mode
    _mode = debugvars.parse()["migration"]
    if _mode > 0:
        vars(threading).update(RLock=_rlock, local=Local)


install()
