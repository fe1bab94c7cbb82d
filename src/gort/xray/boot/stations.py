"""The stations of a boot, and the journal in which they are written down.

A station is one function call that a reader of the boot wants to see, or a piece of rt0_go between two of its
instructions. It holds what the processor and the runtime's structures were when it was entered, and what it changed.

A change belongs to who made it. The structures are compared where a station begins or ends and where another thread's
turn begins (`cut`), so each difference was made by one thread. It counts for the visits that are open on that thread,
or for the goroutine that it worked for, and for no others.

Invariants: `stations` is in the order in which they were entered, so a parent comes before its children. A name occurs
once per parent; repeats are counted in `times`, and those that changed something are in `repeats`. At most
`MAX_STATIONS` stations and `_MAX_REPEATS` repeats of each are kept.

Rejected: a station for every function. A hello world enters 60,000. Hooks for writes to the structures: every store of
the program becomes slower by them.
"""

from __future__ import annotations

from gort.xray.boot.story import story
from gort.xray.emulate.process import Process
from gort.xray.file.symbols import Symbols
from gort.xray.layout.state import Snapshot, StateReader
from gort.xray.record import field, frozen, record

MAX_STATIONS = 1500
_MAX_CALLS = 64
"""System calls that one station keeps."""
_MAX_REPEATS = 50
"""Further calls that one station keeps."""

_RANDOM = ("m0.fastrand", "m0.fastrand[0]", "m0.fastrand[1]", "m0.cheaprand")

Change = tuple[int | None, int | None]
"""(before, after); None for what was not there."""


@record
class Station:
    """A call, from when it is entered to when it is left."""

    index: int
    name: str
    address: int
    parent: int | None
    """Index of the station that it was called in."""
    thread: int
    start: int
    """Instructions that the process had executed when it was entered."""
    before: Snapshot
    """The runtime's structures when it was entered."""
    registers: dict[str, int]
    """The registers when it was entered."""
    where: str = ""
    """Its place in the source."""
    story: str = ""
    arguments: str = ""
    """Those of its first call, where they were asked for."""
    function: bool = True
    """False for a piece of rt0_go."""
    end: int | None = None
    returned: bool = False
    times: int = 1
    """The number of times that its parent called it."""
    repeats: list[Visit] = field(default_factory=list)
    """Its further calls that changed something, the first of them; `changed` is the first call's."""
    repeats_left_out: int = 0
    """Its further calls that changed something and are not in `repeats`."""
    instructions: int = 0
    """Instructions that all threads executed while it was open, in all its `times`."""
    changed: dict[str, Change] = field(default_factory=dict)
    early: dict[str, Change] = field(default_factory=dict)
    """Its changes before its first call that is a station. They are shown of functions that never return."""
    syscalls: list[tuple[str, tuple[int, ...], int]] = field(default_factory=list)
    """(name, arguments, result) of the first ones."""
    syscall_count: int = 0
    inlined: list[str] = field(default_factory=list)
    """Functions that the compiler inlined into it."""
    note: str = ""
    children: dict[str, int] = field(default_factory=dict)
    """Name -> index of the stations that were called in it."""


@record
class Visit:
    """One call of a station, from when it is entered to when it is left."""

    station: Station
    number: int
    """1 for the first call."""
    thread: int
    owner: int
    """The goroutine for which it was entered (its g), else the thread."""
    began: int
    """Instructions that the process had executed when it was entered."""
    changed: dict[str, Change] = field(default_factory=dict)
    """What it has changed so far."""


@frozen
class Event:
    """A station begins or ends."""

    station: int
    begins: bool
    instructions: int
    sp: int
    state: Snapshot
    """The runtime's structures at that moment."""


class Journal:
    """Writes stations and events down. It reads the running thread's state when a station begins and ends."""

    def __init__(self, process: Process, symbols: Symbols, state: StateReader) -> None:
        self.stations: list[Station] = []
        self.events: list[Event] = []
        self._process = process
        self._machine = process.machine
        self._symbols = symbols
        self._state = state
        self._open: list[Visit] = []
        """The visits that have not ended."""
        self._last: Snapshot | None = None
        """The structures at the last cut."""

    def cut(self, owner: int) -> Snapshot:
        """Give what changed since the last cut to the visits whose it is. Returns the structures.

        The running thread made the changes, working for `owner`.
        """
        now = self._state.snapshot()
        if self._last is not None and now is not self._last:
            made = _difference(self._last, now)
            if made:
                tid = self._process.current.tid
                for visit in self._open:
                    if visit.owner == owner or (visit.owner == visit.thread == tid):
                        mine = visit.changed
                        for key, (old, new) in made.items():
                            mine[key] = (mine[key][0] if key in mine else old, new)
        self._last = now
        return now

    def begin(
        self, name: str, address: int, parent: Station | None, function: bool, list_inlined: bool, owner: int
    ) -> Visit | None:
        """Enter a station. Returns the visit, or None when there are too many stations."""
        before = self.cut(owner)
        seen = parent.children.get(name) if parent is not None else None
        if seen is not None:
            station = self.stations[seen]
            station.times += 1
            return self._visit(station, owner)
        if len(self.stations) >= MAX_STATIONS:
            return None
        body = self._symbols.func(name) if function else None
        if body is not None and body.entry != address and self._symbols.at(address) is not None:
            address = body.entry  # entered through its ABI wrapper, which has no source of its own
        m = self._machine
        station = Station(
            index=len(self.stations),
            name=name,
            address=address,
            parent=parent.index if parent else None,
            thread=self._process.current.tid,
            start=m.instructions,
            before=before,
            registers=m.registers(),
            where=self._symbols.where(address),
            story=story(name, self._symbols.image.os, address == self._symbols.image.entry),
            function=function,
        )
        if list_inlined:
            func = self._symbols.at(address)
            if func is not None:
                station.inlined = list(dict.fromkeys(n for n, _ in self._symbols.tab.inlined(func)))
        self.stations.append(station)
        if parent is not None:
            if not parent.children and parent.end is None:
                parent.early = next((_kept(v.changed) for v in reversed(self._open) if v.station is parent), {})
            parent.children[name] = station.index
        self._event(station, True, before)
        return self._visit(station, owner)

    def _visit(self, station: Station, owner: int) -> Visit:
        visit = Visit(station, station.times, self._process.current.tid, owner, self._machine.instructions)
        self._open.append(visit)
        return visit

    def end(self, visit: Visit, returned: bool, owner: int) -> None:
        """Leave a station. `owner` is whom the running thread works for."""
        m, station = self._machine, visit.station
        after = self.cut(owner)
        self._open.remove(visit)
        station.instructions += m.instructions - visit.began
        station.end = m.instructions
        station.returned = station.returned or returned
        changed = visit.changed = _kept(visit.changed)
        if visit.number > 1:
            if changed and len(station.repeats) < _MAX_REPEATS:
                station.repeats.append(visit)
            elif changed:
                station.repeats_left_out += 1
            return
        self._event(station, False, after)
        # Registers say something about the station only while its own thread runs.
        here = m.registers() if self._process.current.tid == station.thread else {}
        for key, value in here.items():
            old = station.registers.get(key)
            if old != value and key != m.arch.pc:
                changed["register " + key] = (old, value)
        station.changed = changed

    def syscall(self, station: Station, name: str, args: tuple[int, ...], result: int) -> None:
        """Note a system call that was made in a station."""
        station.syscall_count += 1
        if len(station.syscalls) < _MAX_CALLS:
            station.syscalls.append((name, args, result))

    def _event(self, station: Station, begins: bool, state: Snapshot) -> None:
        m = self._machine
        self.events.append(
            Event(station=station.index, begins=begins, instructions=m.instructions, sp=m.reg(m.arch.sp), state=state)
        )


def _kept(changed: dict[str, Change]) -> dict[str, Change]:
    """Returns the changes without those that were undone."""
    return {key: change for key, change in changed.items() if change[0] != change[1]}


def _difference(before: Snapshot, after: Snapshot) -> dict[str, Change]:
    """Returns what differs. The base of thread-local storage is left out: it is a register, and shown as one.

    Random numbers are new at each use, so only their first value counts.
    """
    return {
        k: (before.get(k), v)
        for k, v in after.items()
        if before.get(k) != v and k != "tls base" and not (k in _RANDOM and before.get(k))
    }
