"""GODEBUG=migration=1: what belongs to a thread and is held across an await.  Go has nothing like it, because there
nothing belongs to a thread; Java's virtual threads met the same pitfall.

A goroutine may go on on another thread after an await, and meanwhile others run on the thread that it has left.  Then
an RLock (or a Condition, which is made of one) is not its own any more, or is taken a second time by a goroutine that to
the lock is the same thread; and what it put into a threading.local is not there, or is somebody else's.

How it is seen: with GODEBUG=migration=1 threading.RLock and threading.local are replaced, when gort is imported, by
subclasses that know which goroutine took or set what, and where.  An RLock is looked for whenever a goroutine leaves its
thread (proc.execute), so it is reported whether or not anything went wrong this time.  A threading.local has no such
moment: it is reported when a goroutine reads what it has set itself, and it is not that.

1 reports on stderr, each place once; 2 raises RuntimeError, at the await or at the read.

Invariants
- Off (the default) costs one test per suspension, and nothing is replaced.
- What a thread does outside of goroutines is not looked at, nor what a goroutine does that is locked to its thread.

Rejected: looking at every await, also one that does not wait (a test in every operation); tracking threading.Lock (any
thread may release it).
"""

from __future__ import annotations

import _thread
import contextvars
import sys
import threading

from gort._runtime.core import debugvars, handoff, traceback
from gort._runtime.core.runtime2 import current_m

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

REMEDY = "gort.runtime.lock_os_thread() keeps a goroutine on its thread"
_HERE = {__file__, threading.__file__}

_mode = 0
_held: dict[int, list[RLock]] = {}  # by thread; changed by that thread alone
_said: set[tuple[str, str]] = set()
_writes: contextvars.ContextVar[Writes] = contextvars.ContextVar("gort migration")


def _goroutine() -> Any:
    """The goroutine that runs here and may leave its thread, or None."""
    m = current_m()
    if m is None or m.curg is None or m.curg.lockedm is not None:
        return None
    return m.curg


def _where() -> str:
    """The place in the user's code from which this was called."""
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
        sys.stderr.write(f"gort: {text}\n")


# ---- RLock ------------------------------------------------------------------------------------------------------------


class Hold:
    """Who has a lock."""

    __slots__ = ("count", "g", "goid", "where")

    def __init__(self, g: Any, where: str) -> None:
        self.g = g
        self.goid = g.goid
        self.where = where
        self.count = 1

    def is_of(self, g: Any) -> bool:
        """Whether g has it; its G may run another goroutine by now."""
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
            f"goroutine {g.goid} takes a threading.RLock that goroutine {hold.goid} holds across an await: on one thread "
            f"they are the same to it\n\ttaken at {hold.where}\n\tand at {where}\nuse gort.sync.Mutex; {REMEDY}"
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

    # What a Condition calls: it lets go of the lock, however often it was taken, and takes it as often again.

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
    """threading.RLock, for whoever is not gort."""
    return _thread.RLock() if traceback.hidden(sys._getframe(1).f_code) else RLock()


def suspended(g: Any) -> None:
    """g is leaving its thread: whether it holds an RLock there."""
    if g.lockedm is not None:
        return
    for lock in _held.get(threading.get_ident(), ()):
        hold = lock.hold
        if hold is None or not hold.is_of(g):
            continue
        frames = traceback.awaited(g.coro)
        waits = "{1}:{2} ({0})".format(*frames[0]) if frames else "?"
        text = (
            f"goroutine {g.goid} waits while it holds a threading.RLock: it may go on on another thread, which is not "
            f"the lock's owner\n\ttaken at {hold.where}\n\twaits at {waits}\n"
            f"use gort.sync.Mutex, or release it before the await; {REMEDY}"
        )
        if _mode > 1:
            handoff.cancel(g, g.goid, RuntimeError(text))
        else:
            _report((hold.where, waits), text)
        return


# ---- threading.local --------------------------------------------------------------------------------------------------


class Writes(dict["tuple[int, str]", "tuple[Any, int, str]"]):
    """What a goroutine has put into locals: by local and name, with the local, the thread and the place."""

    def __init__(self, g: Any) -> None:
        super().__init__()
        self.g = g
        self.goid = g.goid


def _written(g: Any) -> Writes | None:
    """g's own, not the one it has inherited from whoever started it."""
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
    """g has set this before: is it still there?"""
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
    """Replaces threading.RLock and threading.local, as GODEBUG asks for when gort is imported."""
    global _mode
    _mode = debugvars.parse()["migration"]
    if _mode > 0:
        vars(threading).update(RLock=_rlock, local=Local)


install()
