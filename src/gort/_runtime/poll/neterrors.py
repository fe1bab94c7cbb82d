"""The exceptions of descriptors.  Follows the errors of Go's internal/poll and net.  Imports nothing."""

from __future__ import annotations

import errno


class Closed(OSError):
    """The connection, listener or file was closed by this program, before the operation or while it waited (Go's
    net.ErrClosed)."""

    def __init__(self, message: str = "use of a closed descriptor") -> None:
        super().__init__(errno.EBADF, message)


class DeadlineExceeded(TimeoutError):
    """The deadline passed (Go's os.ErrDeadlineExceeded).  The connection is as good as before: set another deadline."""

    def __init__(self, message: str = "deadline exceeded") -> None:
        super().__init__(errno.ETIMEDOUT, message)
