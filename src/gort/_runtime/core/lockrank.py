"""The order in which the runtime's locks nest, and the checker that enforces it.  Follows Go's runtime/lockrank.go.

A thread may acquire a lock only if every lock it holds has a lower rank.  Locks of the same rank are acquired in the
order of their addresses; select locks its channels this way.  With ``GODEBUG=lockrank=1`` each acquisition is checked,
and a violation ends the process with the stacks of both acquisitions.  Without it the check costs one branch in the
compiled core and nothing in the uncompiled one, which then uses the methods of a plain lock.

What does not live here: the locks themselves.  Each is in the structure whose fields it guards (runtime2.py).
"""

from __future__ import annotations

import os
import sys
import threading
from types import CodeType, FrameType

import cython

from gort._runtime.core.mistakes import say

TYPE_CHECKING = False  # typing itself takes longer to import than this whole package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

if not cython.compiled:
    # One number per class of locks; a higher one may be acquired under a lower one.  lockrank.pxd has the same for C.
    LOCK_RANK_SEMA = 10  # sema.py: a synchronisation object's state and its queue
    LOCK_RANK_HCHAN = 20  # chan.py: a channel's buffer and wait queues
    LOCK_RANK_POLLDESC = 25  # netpoll.py: one descriptor's waiting operations and deadlines
    LOCK_RANK_TIMERS = 30  # P.timers
    LOCK_RANK_G = 40  # G: parked/readied, waitop, pending cancellation
    LOCK_RANK_ALLG = 50  # sched.allgs
    LOCK_RANK_SCHED = 60  # the global queue, idle lists, counts
    LOCK_RANK_P = 70  # a P's run queue, runnext, owner
    LOCK_RANK_NETPOLL = 80  # the poller's table of descriptors

LOCK_NAMES = {
    LOCK_RANK_SEMA: "sema",
    LOCK_RANK_HCHAN: "hchan",
    LOCK_RANK_POLLDESC: "pollDesc",
    LOCK_RANK_TIMERS: "timers",
    LOCK_RANK_G: "g",
    LOCK_RANK_ALLG: "allg",
    LOCK_RANK_SCHED: "sched",
    LOCK_RANK_P: "p",
    LOCK_RANK_NETPOLL: "netpoll",
}


def wanted() -> bool:
    """True when GODEBUG asks for the checker (lockrank=1).  Called once, when the runtime is imported, because a lock
    that exists cannot become a checked one."""
    return "lockrank=1" in os.environ.get("GODEBUG", "").split(",")


_dying = threading.RLock()  # never released


def trace_of_error() -> str:
    """The traceback of the exception that is being handled, for throw."""
    import traceback

    return traceback.format_exc()


def throw(message: str, *stacks: str | Callable[[], str], first: str = "") -> NoReturn:
    """Prints `first`, the message and the stacks, and ends the process with status 2, as Go's throw does.  A stack may be
    a function that returns it: what finds no memory for it still says the message.  The runtime is broken, so nothing is
    unwound.  If several threads throw at once, only the first one prints."""
    _dying.acquire()
    said = False
    try:
        try:
            sys.stdout.flush()
        except BaseException:  # it may be closed, or an object of the user's
            pass
        text = f"{first}fatal error: {message}\n"
        try:
            whole = [stack if isinstance(stack, str) else stack() for stack in stacks]
            text += "".join(stack.rstrip("\n") + "\n" for stack in whole)
        except MemoryError:
            pass
        said = say(text)
    finally:
        try:
            if not said and sys.stderr is sys.__stderr__ and sys.stderr is not None:
                os.write(2, b"fatal error: out of memory, and so no more can be told (MemoryError)\n")
        finally:
            os._exit(2)


def order_violation(held: int, rank: int, here: str, there: str) -> NoReturn:
    """Ends the process: a thread acquired a lock of rank `rank` at `here` and held one of rank `held` since `there`."""
    throw(
        f"lock ordering problem: took {LOCK_NAMES.get(rank, rank)} (rank {rank}) "
        f"while holding {LOCK_NAMES.get(held, held)} (rank {held})",
        "holding since:\n" + there,
        "taken at:\n" + here,
    )


def violated(held: int, rank: int) -> None:
    """order_violation for the compiled core.  There a lock is never held across a switch, so this stack is also the one
    on which the thread took the lock it holds."""
    import traceback

    stack = "".join(traceback.format_stack())
    order_violation(held, rank, stack, stack)


def _callers(frame: FrameType | None) -> list[tuple[CodeType, int]]:
    """The stack of an acquisition, unformatted: formatting it each time made the checker twenty times slower."""
    stack: list[tuple[CodeType, int]] = []
    while frame is not None and len(stack) < 8:
        stack.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return stack


def _text(stack: list[tuple[CodeType, int]]) -> str:
    return "".join(f'  File "{code.co_filename}", line {line}, in {code.co_name}\n' for code, line in reversed(stack))


class RankedLock:
    """A lock that checks the order at each acquisition.  Replaces threading.Lock in the uncompiled core."""

    _held = threading.local()

    def __init__(self, rank: int, key: int = 0) -> None:
        self.rank = rank
        self.key = key or id(self)  # orders locks of the same rank: the address of the structure that has the lock
        self._lock = gcheld.Lock() if HELD else threading.Lock()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Acquires the lock after checking its rank against every lock that this thread holds."""
        held = self._held.__dict__.setdefault("locks", [])
        stack = _callers(sys._getframe(1))
        for lock, where in held:
            if lock.rank > self.rank or (lock.rank == self.rank and lock.key >= self.key):
                order_violation(lock.rank, self.rank, _text(stack), _text(where))
        taken = self._lock.acquire(blocking, timeout)
        if taken:
            held.append((self, stack))
        return taken

    def release(self) -> None:
        """Releases the lock."""
        held = self._held.__dict__.get("locks", [])
        for i in range(len(held) - 1, -1, -1):
            if held[i][0] is self:
                del held[i]
                break
        self._lock.release()

    def _at_fork_reinit(self) -> None:
        """Frees the lock in a forked child, as threading.Lock's does."""
        self._lock._at_fork_reinit()  # type: ignore[union-attr]  # typeshed leaves it out


CHECKED = wanted()
# Where a collection may begin in a section of the uncompiled core: gcheld.py says why.
HELD = not cython.compiled and (CHECKED or sys.version_info[:2] == (3, 12))
if HELD:
    from gort._runtime.core import gcheld

_owners: set[type] = set()  # the classes of the uncompiled core whose objects have locks
OWN = ("lock", "lock_timers", "lock_allg", "lock_state", "countlock")  # and where: acquire of each


def make_lock(rank: int, owner: object = None) -> threading.Lock | RankedLock | gcheld.Lock:
    """Makes a lock of the given rank for the uncompiled core: a plain one, or a checked one under
    GODEBUG=lockrank=1."""
    _owners.add(type(owner))
    if CHECKED:
        return RankedLock(rank, id(owner) if owner is not None else 0)
    return gcheld.Lock() if HELD else threading.Lock()


def free_locks() -> None:
    """In a forked child: frees the locks that other threads of the parent held at the fork, as nobody else will.  The
    thread that forked holds none, for a section runs nothing of the user's.

    The compiled core needs it not.  Nothing in its sections lets the GIL go; and without the GIL CPython stops all
    threads before it forks, which it does only where they run Python."""
    if not _owners:
        return
    import gc

    for owner in gc.get_objects():
        if type(owner) in _owners:
            for name in OWN:
                try:  # of a user's subclass too, of whom this calls nothing
                    lock = object.__getattribute__(owner, name)
                except AttributeError:
                    continue
                if lock is not None:
                    lock.__self__._at_fork_reinit()  # as threading does with its own
