"""The exceptions of descriptors.  Follows the errors of Go's internal/poll and net.  Imports nothing of gort.

OSError pickles the arguments it was made with, an errno and a message; these classes take the message alone, and say so.
"""

from __future__ import annotations

import errno


class Closed(OSError):
    """The connection, listener or file was closed by this program, before the operation or while it waited (Go's
    net.ErrClosed)."""

    def __init__(self, message: str = "use of a closed descriptor") -> None:
        super().__init__(errno.EBADF, message)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.strerror,), self.__dict__


class DeadlineExceeded(TimeoutError):
    """The deadline passed (Go's os.ErrDeadlineExceeded).  The connection is as good as before: set another deadline."""

    def __init__(self, message: str = "deadline exceeded") -> None:
        super().__init__(errno.ETIMEDOUT, message)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.strerror,), self.__dict__
