"""The threads from which sysmon has taken the P, until their goroutines come to the scheduler.  Go has none that compute
so: there a goroutine that comes back from a system call waits for a P, while CPython has no such moment.

What sysmon wants to know is how many of them compute, in a time that does not grow with their number: thousands may be
blocked.  So the blocked ones wait in a queue, of which each round looks at a few.  Only sysmon's thread uses this.

What does not live here: what sysmon does with that number (sysmon.py); goroutines that have handed their Ps on by
themselves (sched/predict.py has those that may compute in `fresh`).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable
    from typing import Any
else:
    from _collections import deque  # collections itself imports half a dozen modules

LOOKS = 16  # so many of those that were blocked are looked at in a round
COMPUTES_NS = 1_000_000  # who has used so much CPU time since it was found blocked computes now


class Entry:
    """A thread that runs a goroutine without a P."""

    __slots__ = ("cpu", "g", "goid", "m")

    def __init__(self, m: Any, g: Any, cpu: int | None) -> None:
        self.m = m
        self.g = g
        self.goid = g.goid
        self.cpu = cpu  # of the thread, when the P was taken; ns

    def is_back(self) -> bool:
        """True when the goroutine has come to the scheduler, or its thread has a P again."""
        p = self.m.p  # read once, because m's thread may change it
        return self.m.curg is not self.g or self.g.goid != self.goid or (p is not None and p.mid == self.m.id)


class Ousted:
    """All of them."""

    def __init__(self) -> None:
        self.computing: list[Entry] = []
        self.blocked: deque[Entry] = deque()

    def add(self, m: Any, g: Any, cpu: int | None, blocked: bool) -> None:
        """m has lost its P while it ran g, in a call that blocks or while it computed."""
        if g is not None:
            (self.blocked if blocked else self.computing).append(Entry(m, g, cpu))

    def look(self, clock: Callable[[Any], int | None]) -> None:
        """Looks at some that were blocked: have they come back, or do they compute now?  clock(m) gives the CPU time of
        m's thread."""
        for _ in range(min(LOOKS, len(self.blocked))):
            entry = self.blocked.popleft()
            if entry.is_back():
                continue
            cpu = clock(entry.m)
            if cpu is not None and entry.cpu is not None and cpu - entry.cpu >= COMPUTES_NS:
                self.computing.append(entry)
            else:
                self.blocked.append(entry)

    def count(self) -> int:
        """The number of those that compute."""
        self.computing = [entry for entry in self.computing if not entry.is_back()]
        return len(self.computing)
