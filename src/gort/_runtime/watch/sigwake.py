"""The interpreter's wakeup descriptor: a pipe into which its C handler writes the number of each signal that comes.

Invariants
- The process has one, and others use it too (asyncio, trio).  We never replace a descriptor that is not ours.
- Only the main thread sets it.
- A program may close our descriptors by accident and open others under the same numbers.  So before we read or close a
  pipe, we check that it is still the same one.

What does not live here: who reads the pipe, and why (signals.py, sigqueue.py).
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
    """Makes the interpreter write to fd (-1: nowhere) and returns the descriptor that it wrote to before.  If the pipe
    is full it drops the number without a warning."""
    return signal.set_wakeup_fd(fd, warn_on_full_buffer=False)


def put_back(fd: int) -> None:
    """Makes the interpreter write again to fd, which is not ours; its owner may have closed it in the meantime."""
    try:
        plug(fd)
    except (OSError, ValueError):
        pass


def claim(fd: int, gives_way: Callable[[int], bool] = lambda old: False) -> int:
    """Makes the interpreter write to fd, unless it writes to a descriptor that is not ours and for which gives_way is
    false.  Returns the descriptor that it wrote to before."""
    old = plug(fd)
    if old not in (-1, fd) and not gives_way(old):
        put_back(old)
    return old


def give_up(fd: int) -> bool:
    """Makes the interpreter stop writing to fd.  False when it writes to another descriptor, which is then left
    alone."""
    old = plug(-1)
    if old in (-1, fd):
        return True
    put_back(old)
    return False


class Pipe:
    """A pipe that never blocks.  Raises OSError when the process has no descriptors left."""

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
        """Reads the numbers that have come; b"" if there are none or the pipe is no longer ours."""
        if self._identity(self.r) == self._same:
            try:
                return os.read(self.r, 4096)
            except OSError:
                pass  # nothing has come (BlockingIOError), or the pipe cannot be read, which leaves us without it
        return b""

    def close(self) -> None:
        """Closes both ends, if they are still ours."""
        for fd in (self.r, self.w):
            if self._identity(fd) == self._same:
                os.close(fd)
