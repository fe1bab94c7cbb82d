"""The interpreter's wakeup descriptor: a pipe into which its C handler writes the number of each signal that comes.

Invariants
- There is one for the process, and others use it too (asyncio, trio): what somebody else has put there stays there.
- It is set in the main thread only.
- A program may close our descriptors without knowing of them, and open others under their numbers: before a pipe is read
  or closed it is looked whether it is still the same.

What does not live here: who reads, and what for (signals.py, sigqueue.py).
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
else:
    import _signal as signal  # as in signals.py


def plug(fd: int) -> int:
    """Has the interpreter write to fd (-1: nowhere); what it wrote to before.  It says nothing when a pipe is full."""
    return signal.set_wakeup_fd(fd, warn_on_full_buffer=False)


def put_back(fd: int) -> None:
    """Has it write to what somebody else had put there, who may have closed it in the meantime."""
    try:
        plug(fd)
    except (OSError, ValueError):
        pass


def claim(fd: int, gives_way: Callable[[int], bool] = lambda old: False) -> int:
    """Has the interpreter write to fd, unless it writes to somebody else's that does not give way.  What it wrote to
    before."""
    old = plug(fd)
    if old not in (-1, fd) and not gives_way(old):
        put_back(old)
    return old


def give_up(fd: int) -> bool:
    """Has it write to fd no more.  False where it did not: somebody else's stays."""
    old = plug(-1)
    if old in (-1, fd):
        return True
    put_back(old)
    return False


class Pipe:
    """Reading it never waits.  OSError when the process has no descriptors left."""

    def __init__(self) -> None:
        self.r, self.w = os.pipe()
        for fd in (self.r, self.w):
            os.set_blocking(fd, False)
        self._same = self._identity(self.r)

    def _identity(self, fd: int) -> tuple[int, int] | None:
        try:
            status = os.fstat(fd)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def read(self) -> bytes:
        """The numbers that have come."""
        if self._identity(self.r) == self._same:
            try:
                return os.read(self.r, 4096)
            except OSError:
                pass  # mostly: nothing has come
        return b""

    def close(self) -> None:
        """Both ends, where they are ours still."""
        for fd in (self.r, self.w):
            if self._identity(fd) == self._same:
                os.close(fd)
