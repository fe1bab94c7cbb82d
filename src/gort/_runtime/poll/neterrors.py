"""The exceptions of operations on descriptors.  Follows the errors of Go's internal/poll and net.  Imports nothing of
gort, so every room may raise them.

Each class defines __reduce__, because OSError pickles an errno and a message, and these classes take only the message.
"""

from __future__ import annotations

import errno


class Closed(OSError):
    """This program closed the connection, listener or file before the operation or while it waited (Go's
    net.ErrClosed)."""

    def __init__(self, message: str = "use of a closed descriptor") -> None:
        super().__init__(errno.EBADF, message)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.strerror,), self.__dict__


class DeadlineExceeded(TimeoutError):
    """The deadline passed (Go's os.ErrDeadlineExceeded).  The connection remains usable after another deadline is
    set."""

    def __init__(self, message: str = "deadline exceeded") -> None:
        super().__init__(errno.ETIMEDOUT, message)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.strerror,), self.__dict__
