"""The stations that are open: a chain of calls for each goroutine, and one for each thread where there is no goroutine.

Chains belong to goroutines and not to threads: runtime.main parks in gcenable and may continue on another thread. Code on
g0 counts for the goroutine that called it (systemstack) while m.curg is set, and for the thread's own chain otherwise.
The first station of a goroutine hangs below what its thread was doing (schedule, execute). The first one of a thread
hangs below what called clone.

Rejected: matching calls by stack pointer alone. Go moves stacks.
"""

from __future__ import annotations

from gort.xray.boot.stations import Station, Visit
from gort.xray.record import frozen


@frozen
class Open:
    """A call that has not returned."""

    visit: Visit
    back: int
    """Its return address; 0 for a piece of rt0_go."""
    g: int
    sp: int

    @property
    def station(self) -> Station:
        """The station that was called."""
        return self.visit.station


class Chains:
    """The open calls. An owner is the address of a goroutine's g, or the number of a thread."""

    def __init__(self) -> None:
        self._chains: dict[int, list[Open]] = {}
        self._births: dict[int, Station] = {}
        """Thread -> the station in which it was made."""

    def last(self, owner: int) -> Station | None:
        """Returns the innermost station that is open."""
        chain = self._chains.get(owner)
        return chain[-1].station if chain else None

    def depth(self, owner: int, name: str) -> int:
        """Returns how often a station of that name is open."""
        return sum(c.station.name == name for c in self._chains.get(owner, ()))

    def is_same_call(self, owner: int, name: str, back: int) -> bool:
        """True when the innermost open call is of that name and returns there."""
        chain = self._chains.get(owner)
        return chain is not None and chain != [] and chain[-1].station.name == name and chain[-1].back == back

    def parent(self, owner: int, thread: int) -> Station | None:
        """Returns the station below which a new one hangs."""
        return self.last(owner) or self.last(thread) or self._births.get(thread)

    def push(self, owner: int, call: Open) -> None:
        """A call begins."""
        self._chains.setdefault(owner, []).append(call)

    def born(self, thread: int, station: Station) -> None:
        """A thread was made in this station."""
        self._births[thread] = station

    def leave(self, owner: int, thread: int, caller: str, g: int, sp: int) -> list[Open]:
        """Close the calls that will never return, because `caller` calls again. Returns them, the innermost first.

        What lies above the caller switched to another stack for good. Where the caller is not open, and the chain is the
        thread's own, it is what lies at or below the stack pointer of the new call on the same stack.
        """
        chain = self._chains.get(owner, [])
        closed: list[Open] = []
        if any(c.station.name == caller for c in chain):
            while chain[-1].station.name != caller:
                closed.append(chain.pop())
        elif owner == thread:
            while chain and chain[-1].g == g and chain[-1].sp <= sp and not chain[-1].station.name.startswith("_rt0"):
                closed.append(chain.pop())
        return closed

    def pop_piece(self, owner: int) -> Open | None:
        """Close the innermost call when it is a piece of rt0_go. Returns it."""
        chain = self._chains.get(owner)
        return chain.pop() if chain and not chain[-1].station.function else None

    def pop_to(self, owner: int, back: int) -> list[Open]:
        """Close the innermost call that returns to `back`, and those above it. Returns them, the innermost first."""
        chain = self._chains.get(owner, [])
        for i in range(len(chain) - 1, -1, -1):
            if chain[i].back == back:
                closed = chain[i:]
                del chain[i:]
                return closed[::-1]
        return []

    def pop_all(self) -> list[Open]:
        """Close everything. Returns it, each chain's innermost call first."""
        closed = [call for chain in self._chains.values() for call in reversed(chain)]
        self._chains.clear()
        return closed
