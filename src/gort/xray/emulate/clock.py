"""The virtual clock: time passes with the instructions that were executed, and jumps when every thread waits.

So two runs of one program take the same time, and a program that sleeps for hours ends at once. The clock is made
first: the processor counts on it, and the process and its system read it.
"""

from __future__ import annotations

from array import array

NS_PER_INSTRUCTION = 4
"""Nanoseconds that an instruction takes. A real processor is faster; with 4, a program that computes until some time has
passed (Go's preemption needs 10 ms) gets there in fewer emulated instructions."""

EPOCH = 1_700_000_000_000_000_000
"""The wall clock at the start, in nanoseconds since 1970."""

SECOND = 1_000_000_000


class Clock:
    """Instructions and nanoseconds since the start."""

    def __init__(self) -> None:
        self.counter: array[int] = array("Q", (0, 0))
        """[instructions executed by all threads, the number at which the time slice ends]. The hook that runs for every
        block reads both and writes the first, in the memory itself: it must not be replaced."""
        self.skipped: int = 0
        """Nanoseconds in which every thread waited."""

    @property
    def instructions(self) -> int:
        """Instructions that all threads have executed."""
        return self.counter[0]

    @property
    def now(self) -> int:
        """Nanoseconds since the start."""
        return self.counter[0] * NS_PER_INSTRUCTION + self.skipped

    @property
    def wall(self) -> int:
        """Nanoseconds since 1970."""
        return EPOCH + self.now
