"""The common part of the answers to a program's calls: results with a meaning, times in memory, new threads.

A call is a system call of Linux or a function of a library. Its handler gets integers, returns an integer, and touches
nothing but the process object: no file, clock, random number, process or network of the host.
"""

from __future__ import annotations

import struct

from gort.xray.emulate.clock import SECOND, Clock
from gort.xray.emulate.machine import Machine
from gort.xray.emulate.process import Process
from gort.xray.emulate.thread import Thread, Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Handler = Callable[..., int]

BLOCKED = -(1 << 62)
"""The result of a call after which the thread waits."""

REPLACED = BLOCKED - 1
"""The result of a system call that has replaced the thread's registers."""

YIELDED = BLOCKED - 2
"""The result of a function that gives the processor to another thread, and has returned 1 when it goes on."""

JUMPED = BLOCKED - 3
"""The result of a function that has set the registers, the program counter among them, to go on elsewhere."""

MAX_TRANSFER = 1 << 20
"""Bytes that one call may write, on every system."""
_MAX_SECONDS = 1 << 33


class Observer:
    """Is told what a program asks of its system. This one does nothing with it."""

    def syscall(self, name: str, args: tuple[int, ...], result: int) -> None:
        """A system call, or a library's function, was answered."""

    def cloned(self, parent: int, child: int) -> None:
        """The thread `parent` made the thread `child`."""

    def loading(self, name: str, address: int) -> None:
        """The first thread begins in the program's loader, not in the program; it will jump to the program's entry."""


class Calls:
    """A group of handlers, and what they have in common."""

    def __init__(self, process: Process, observer: Observer) -> None:
        self.process: Process = process
        self.machine: Machine = process.machine
        self.clock: Clock = process.clock
        self.observer: Observer = observer
        self._time: int = process.machine.arch.word
        """Bytes of each number of a struct timespec."""
        self.is_amd64: bool = process.machine.arch.name == "amd64"

    def methods(self, prefix: str) -> dict[str, Handler]:
        """Returns the methods whose names begin with `prefix`, by the rest of their names."""
        return {name.removeprefix(prefix): getattr(self, name) for name in dir(self) if name.startswith(prefix)}

    def read_timespec(self, address: int) -> int | None:
        """Returns the nanoseconds of a struct timespec, or None when it is not mapped."""
        raw = self.machine.read(address, 2 * self._time)
        if raw is None:
            return None
        seconds, ns = struct.unpack("<qq" if self._time == 8 else "<ii", raw)
        return min(max(int(seconds), 0), _MAX_SECONDS) * SECOND + int(ns)

    def write_timespec(self, address: int, ns: int) -> bool:
        """Write a struct timespec. False when it is not mapped."""
        return self.machine.write(address, struct.pack("<qq" if self._time == 8 else "<ii", *divmod(ns, SECOND)))

    def _with_wide_times(self, call: Handler, *args: int) -> int:
        """Answer a call whose times have 64 bits on a 32-bit processor."""
        self._time = 8
        try:
            return call(*args)
        finally:
            self._time = self.machine.arch.word

    def sleep(self, ns: int) -> int:
        """Make the thread wait for this time, after which its call returns 0."""
        self.process.block(Wait("sleep"), ns, 0)
        return BLOCKED

    def clone_thread(self) -> Thread:
        """Make a thread with a copy of the running one's registers, and tell the observer."""
        child = self.process.add_thread(self.machine.context())
        self.observer.cloned(self.process.current.tid, child.tid)
        return child
