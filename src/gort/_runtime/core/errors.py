"""The exceptions that users see, and two of the runtime's own.  Imports nothing, so every room may raise them.

Each can be pickled and copied with its attributes, so that one raised in a worker of a process pool arrives whole.
Some have an `__init__` that only passes its arguments on, because `inspect.signature` finds none in Exception.
"""

from __future__ import annotations


class ChannelClosed(Exception):
    """A send on a closed channel, or a receive on a channel that is closed and drained.  `sent` is the number of values
    that a send_many had sent before."""

    sent: int = 0

    def __init__(self, *args: object) -> None:
        super().__init__(*args)


class Cancelled(BaseException):
    """Raised at an await of a goroutine that has been cancelled.  It is a BaseException, so that `except Exception`
    does not swallow it.  Clean up in `finally` and let it pass."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)


class Panic(RuntimeError):
    """A goroutine ended with an uncaught exception.  __cause__ is that exception, `goroutine` is the goroutine's
    number, and `dump` is the text that Go would print.  Go prints it as `panic: …` and ends the process."""

    goroutine: int = 0
    dump: str = ""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)


class Deadlock(RuntimeError):
    """Every goroutine waits, and nothing can wake one.  `dump` shows each goroutine's wait reason and stack.  Go says
    `all goroutines are asleep` (runtime/proc.go: checkdead) and ends the process.  Where gort.cluster has found it,
    `elsewhere` is the part of `dump` that shows the goroutines of the other processes."""

    dump: str = ""
    elsewhere: str = ""

    def __init__(self, message: str = "all goroutines are asleep - deadlock!") -> None:
        super().__init__(message)


class Stopping(GeneratorExit):
    """Raised at an operation that would have to wait while the program ends and its goroutine is being closed."""


class Goexit(BaseException):
    """Unwinds a goroutine for gort.runtime.goexit(): its `finally` blocks run, and the exception is not reported."""


def is_a(exc: object, *kinds: type[BaseException]) -> bool:
    """isinstance(exc, kinds) for what runs on g0, where an exception is a value from the user: isinstance would run a
    `__class__` property of its class."""
    return issubclass(type(exc), kinds)


# An exception's traceback and context, without what its class may have of that name.
traceback_of = BaseException.__dict__["__traceback__"].__get__
context_of = BaseException.__dict__["__context__"].__get__
