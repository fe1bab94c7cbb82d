"""The interpreter's wakeup descriptor: a pipe into which its C handler writes the number of each signal that comes.

Invariants
- The process has one, and others use it too (asyncio, trio).  We never replace a descriptor that is not ours.
- To ask for the descriptor is to replace it for a moment.  So it is replaced by a pipe, and what comes meanwhile is
  passed on to its owner: to asyncio it may be the end of a child process, and no second signal would tell of that.
- Only the main thread sets it.
- A program may close our descriptors by accident and open others under the same numbers.  So before we read or close a
  pipe, we check that it is still the same one.
- While we ask, the interpreter writes to a pipe that stands in.  An errand of another thread (signals.py) that ran in
  the middle would not see the descriptor that it must give up; we would put that back, and its owner would close it.
  So no errand runs while `asking` is true.
- Nor can a signal's handler, which may run between any two lines here, know then whether the signal's number has
  reached the right pipe.  It leaves that question to the end of the exchange (settle).

What does not live here: who reads the pipe, and why (signals.py, sigqueue.py).
"""

from __future__ import annotations

import os
from _collections_abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from functools import partial
    from typing import TypeVar

    T = TypeVar("T")
else:
    import _signal as signal  # as in signals.py
    from _functools import partial


_open = 0  # exchanges in progress: one that a handler makes in the middle of another counts too
_unsettled: list[Callable[[int, bytes], object]] = []  # what settle has put off
asking = False  # the main thread is in the middle of an exchange, or of what must not be mixed with one (held)

# Makes the interpreter write to fd (-1: nowhere) and returns the descriptor that it wrote to before.  If the pipe is
# full it drops the number without a warning.
plug: Callable[[int], int] = partial(signal.set_wakeup_fd, warn_on_full_buffer=False)


def put_back(fd: int) -> bool:
    """Makes the interpreter write again to fd, which is not ours.  False if its owner has closed it in the meantime."""
    try:
        plug(fd)
    except (OSError, ValueError):
        return False
    return True


def held(fn: Callable[[], T]) -> T:
    """Calls fn() in the main thread, with no errand in the middle, and returns its result."""
    global asking
    before, asking = asking, True
    try:
        return fn()
    finally:
        asking = before


class Pipe:
    """A pipe that never blocks.  Raises OSError when the process has no descriptors left."""

    def __init__(self) -> None:
        self.r, self.w = os.pipe()
        for fd in (self.r, self.w):
            os.set_blocking(fd, False)
        self._same = self._identity(self.r)

    def same(self) -> bool:
        """Whether both descriptors are still ours."""
        return self._identity(self.r) == self._same == self._identity(self.w)

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


def exchange(fd: int, may_take: Callable[[int], bool], probe: Pipe | None) -> int:
    """Makes the interpreter write to fd (-1: nowhere) if may_take is true for the descriptor that it writes to, or if
    that is closed; and leaves it at that descriptor if not.  Returns that descriptor.

    probe: the pipe that takes its place while we ask; one that is empty.  None makes one for the time."""
    return held(lambda: _exchange(fd, may_take, probe))


def settle(fn: Callable[[int, bytes], object]) -> bool:
    """In the middle of an exchange: has fn(found, passed) called at its end, and returns True.  `found` is the
    descriptor that the exchange found, `passed` what came meanwhile and was passed on to whoever has it now.

    Otherwise returns False, and the interpreter writes to the descriptor that it seems to write to."""
    if _open:
        _unsettled.append(fn)
    return _open > 0


def _exchange(fd: int, may_take: Callable[[int], bool], probe: Pipe | None) -> int:
    global _open
    try:
        meanwhile = probe or Pipe()
    except OSError:  # no descriptor is left: what comes while we ask is lost to its owner
        meanwhile = None
    asks = fd if meanwhile is None else meanwhile.w
    found: list[int] = []
    done = False
    passed = b""
    _open += 1
    try:
        found.extend(map(plug, (asks,)))  # one call, so that a handler that raises finds both done or none
        (old,) = found
        if probe is None and meanwhile is not None and old in (meanwhile.r, meanwhile.w):
            found[0] = old = -1  # its owner has closed it, and our new pipe has its number
        owner = fd
        if not may_take(old) and put_back(old):
            owner = old
        elif fd != asks:
            plug(fd)
        done = True
        if meanwhile is not None and owner not in (-1, asks):
            passed = pass_on(meanwhile, owner)
        return old
    finally:
        try:
            if found and not done and not put_back(found[0]):  # a handler of the user's has raised
                plug(-1)
            if meanwhile is not None and probe is None:
                meanwhile.close()
        finally:
            _open -= 1
        if not _open:
            late = _unsettled.copy()
            _unsettled.clear()
            try:
                while late:
                    late.pop(0)(found[0] if found else -1, passed)
            finally:
                _unsettled[:0] = late  # a handler of the user's has raised


def claim(fd: int, gives_way: Callable[[int], bool] = lambda old: False, probe: Pipe | None = None) -> int:
    """Makes the interpreter write to fd, unless it writes to a descriptor that is not ours and for which gives_way is
    false.  Returns the descriptor that it wrote to before.  probe: as in exchange; fd may be its end."""
    return exchange(fd, lambda old: old in (-1, fd) or gives_way(old), probe)


def give_up(fd: int, probe: Pipe | None = None) -> bool:
    """Makes the interpreter stop writing to fd.  False when it writes to another descriptor, which is then left
    alone.  probe: as in exchange; the interpreter may be writing to its end."""
    ours = (-1, fd) if probe is None else (-1, fd, probe.w)
    return exchange(-1, lambda old: old in ours, probe) in ours


def pass_on(pipe: Pipe, fd: int) -> bytes:
    """Writes to fd the numbers that have come into the pipe, and returns what it took."""
    numbers = pipe.read()
    if numbers:
        try:
            os.write(fd, numbers)
        except OSError:  # it is full, or its owner has closed it: the interpreter, too, would have dropped them
            return b""
    return numbers
