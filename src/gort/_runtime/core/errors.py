"""The exceptions of the public API.  Imports nothing, so every layer may raise them.

Each can be pickled and copied, and comes back with its attributes: what a process pool raises in a worker arrives whole.
An `__init__` that only passes its arguments on is there for `inspect.signature`, which finds none in Exception.
"""

from __future__ import annotations


class ChannelClosed(Exception):
    """A send on a closed channel, or a receive on a channel that is closed and drained."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)


class Cancelled(BaseException):
    """Raised at a goroutine's await when it has been cancelled.  A BaseException, so that `except Exception` does not
    swallow it; let it pass after cleaning up."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)


class Panic(RuntimeError):
    """A goroutine ended with an exception that nobody caught.  __cause__ is that exception; `goroutine` is the
    goroutine's number and `dump` the text that Go would print."""

    goroutine: int = 0
    dump: str = ""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)


class Deadlock(RuntimeError):
    """Nothing can run any more.  `dump` shows every goroutine's wait reason and stack."""

    dump: str = ""

    def __init__(self, message: str = "all goroutines are asleep - deadlock!") -> None:
        super().__init__(message)


class Stopping(RuntimeError):
    """Raised at an operation that would wait while its goroutine is being closed at the program's end."""


class Goexit(BaseException):
    """Unwinds a goroutine for gort.runtime.goexit(): `finally` blocks run, and nobody is told."""
