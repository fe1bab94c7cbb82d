"""The records of an emulated thread: its registers while it does not run, what it waits for, its signals.

process.py runs the threads, signals.py interrupts them; what both need is here, so that neither imports the other.
"""

from __future__ import annotations

from gort.xray.record import field, frozen, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from gort.xray.emulate.native import Context


@frozen
class Wait:
    """The reason why a thread waits: `kind` says for what sort of thing, `on` has the numbers that identify it."""

    kind: str
    """futex, epoll, sleep; kevent, mutex, cond (darwin); object, completion (windows)."""
    on: tuple[int, ...] = ()


@frozen
class Signal:
    """A signal on its way to a thread; `address` and `code` are those of its siginfo."""

    number: int
    address: int = 0
    code: int = 0


@frozen
class Frame:
    """A handler that runs: where its frame lies, and the registers that it interrupted."""

    ucontext: int
    context: Context


@record
class Thread:
    """One thread of the process."""

    tid: int
    context: Context
    """The registers while the thread does not run."""
    state: Literal["runnable", "waiting", "dead"] = "runnable"
    wait: Wait | None = None
    """Set while the state is "waiting"."""
    wake_at: int | None = None
    """The time at which the wait is over, on the virtual clock; None for never."""
    timeout_result: int = 0
    """The result of the system call when it does."""
    instructions: int = 0
    """Instructions that it has executed in the slices that are over."""
    sigmask: int = 0
    altstack: tuple[int, int] = (0, 0)
    """Start and size of the stack for signal handlers."""
    pending: list[Signal] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    tls: int = 0
    """386: the address of its thread-local storage."""
    clear_tid: int = 0
    """Linux: the address that is set to 0 and woken when the thread ends."""

    def blocks(self, signo: int) -> bool:
        """True when the thread's mask holds the signal back."""
        return bool(self.sigmask >> (signo - 1) & 1)
