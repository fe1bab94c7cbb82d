"""Follows the boot: which of its functions is entered, by whom, what it changed, and when it returned.

A station is one function call (or a piece of rt0_go between two of its instructions) that a reader of the boot wants
to see: every call that an `EXPANDED` function makes. A call is recognized where it arrives: the callee's first block
is entered and the return address belongs to a call site of an expanded function. It ends when the block at that
return address is entered.

Parents are kept per goroutine, and not per thread: runtime.main parks in gcenable and may go on on another thread.
Code on g0 counts for the goroutine that called it (systemstack) while m.curg is set, and for the M's own chain
otherwise. The first station of a goroutine hangs below whatever its M was doing (schedule, execute); the first of a
thread below what called clone.

Invariants: `stations` is in the order in which they were entered, a parent before its children; a name occurs once
per parent (repeats are counted in `times`); no more than `MAX_STATIONS` are kept.

Rejected: a station for every function: a hello world enters 60,000. Matching calls by stack pointer: Go moves stacks.
"""

from __future__ import annotations

from gort.xray.boot.story import story
from gort.xray.emulate.disasm import Disassembler
from gort.xray.emulate.process import Process
from gort.xray.errors import XrayError
from gort.xray.file.pclntab import Func
from gort.xray.file.symbols import Symbols
from gort.xray.layout.state import Snapshot, StateReader
from gort.xray.record import field, frozen, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MAX_STATIONS = 1500
_MAX_CALLS = 64
_REPEATS = 200

EXPANDED = (
    "_rt0_amd64",
    "_rt0_arm64",
    "runtime.rt0_go",
    "runtime.schedinit",
    "runtime.mcommoninit",
    "runtime.procresize",
    "runtime.newproc",
    "runtime.newproc1",
    "runtime.newproc.func1",
    "runtime.mstart",
    "runtime.mstart0",
    "runtime.mstart1",
    "runtime.schedule",
    "runtime.execute",
    "runtime.main",
    "runtime.main.func1",
    "runtime.newm",
    "runtime.newm1",
    "runtime.newosproc",
    "runtime.gcenable",
    "runtime.mstartm0",
)
"""Functions whose every call is a station."""

_ENTERED = (
    "runtime.rt0_go",
    "runtime.main",
    "runtime.sysmon",
    "runtime.mstart",
    "runtime.exit",
    "main.main",
    "runtime.bgsweep",
    "runtime.bgscavenge",
    "runtime.forcegchelper",
)
"""Stations that nothing calls: goroutines and threads begin in them, or they are reached by a jump."""

_SKIPPED = (
    "runtime.morestack",
    "runtime.panic",
    "runtime.goPanic",
    "runtime.gcWriteBarrier",
    "runtime.duff",
    "runtime.throw",
    "runtime.deferreturn",
    "runtime.racecall",
)


@record
class Station:
    index: int
    name: str
    address: int
    parent: int | None
    thread: int
    start: int
    """Instructions that the process had executed when it was entered."""
    where: str = ""
    end: int | None = None
    returned: bool = False
    times: int = 1
    registers: dict[str, int] = field(default_factory=dict)
    changed: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    early: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    """What it changed before its first call that is a station: told of functions that never return."""
    syscalls: list[tuple[str, tuple[int, ...], int]] = field(default_factory=list)
    syscall_count: int = 0
    inlined: list[str] = field(default_factory=list)
    note: str = ""
    story: str = ""
    function: bool = True
    goroutine: int | None = None
    total: int = 0
    _before: Snapshot = field(default_factory=dict)
    _calls: dict[str, int] = field(default_factory=dict)

    @property
    def instructions(self) -> int:
        """Instructions while it was open, of all threads and all its `times`."""
        return self.total


@frozen
class Event:
    station: int
    begins: bool
    instructions: int
    sp: int
    thread: int
    delta: Snapshot
    """What differs from the event before."""


@record
class _Open:
    station: Station
    back: int
    g: int
    sp: int
    began: int


class Recorder:
    def __init__(
        self, process: Process, symbols: Symbols, disasm: Disassembler, state: StateReader, until: str
    ) -> None:
        self.process = process
        self.machine = process.machine
        self.symbols = symbols
        self.disasm = disasm
        self.state = state
        self.stations: list[Station] = []
        self.events: list[Event] = []
        """Every entry and end in the order of time, each with what the structures had become by then."""
        self._seen: Snapshot = {}
        self._open: dict[int, list[_Open]] = {}
        """owner (a g's address, or the thread number where there is none) -> its open stations, innermost last."""
        self._returns: dict[int, str] = {}
        """return address of a call in an expanded function -> that function's name."""
        self._backs: set[int] = set()
        self._names: dict[int, str] = {}
        self._births: dict[int, int | None] = {}
        self._until = until
        self._hits: dict[int, int] = {}
        self._last_open: Station | None = None
        self._always: set[int] = set()
        self._plan()

    # -- what is watched -----------------------------------------------------------------------------------------

    def _plan(self) -> None:
        names = list(EXPANDED)
        entry = self.symbols.at(self.symbols.image.entry)
        if entry is not None:
            names.insert(0, entry.name)
            self._watch_entry(entry, always=True)
        mains = self.symbols.tab.names("main.")[:200]
        for func in mains:
            self._expand(func)
        for name in names:
            for func in self.symbols.bodies(name):
                self._expand(func)
        for name in _ENTERED:
            for func in self.symbols.bodies(name):
                self._watch_entry(func, always=True)
        if self._until not in ("exit", ""):
            found = self.symbols.bodies(self._until)
            if not found:
                raise XrayError(f"--until {self._until}: {_no_such(self._until, self.symbols)}")
            # Where a function has an ABI wrapper the stop is in the function itself, as with a breakpoint in gdb.
            func = max(found, key=lambda f: f.end - f.entry)
            self.machine.watch_at(func.entry, self._stopper(self.machine.watch.get(func.entry)))
        self._points()

    def _watch_entry(self, func: Func, always: bool = False) -> None:
        self._names[func.entry] = func.name
        if always:
            self._always.add(func.entry)
        self.machine.watch_at(func.entry, self._enter)

    def _expand(self, func: Func) -> None:
        for call in self.disasm.calls(func):
            if call.target is None:
                continue
            callee = self.symbols.at(call.target)
            if callee is None or callee.entry != call.target or callee.name.startswith(_SKIPPED):
                continue
            self._returns[call.back] = func.name
            self._watch_entry(callee, always=call.tail and func.name.startswith("_rt0"))

    def _stopper(self, previous: Callable[[int], None] | None) -> Callable[[int], None]:
        def stop(address: int) -> None:
            if previous is not None:
                previous(address)
            if not self.stations or self.stations[-1].address != address:
                self._begin(
                    self._names.get(address) or self.symbols.describe(address), address, 0, self.state.current_g()
                )
            elif self.stations:
                self.stations[-1].registers = self.machine.registers()
            self.process.end("until", 0, f"{self._until} was reached")

        return stop

    def _points(self) -> None:
        """The pieces of rt0_go that are no calls: found by their instructions, watched one by one."""
        func = self.symbols.func("runtime.rt0_go")
        if func is None:
            return
        code = self.disasm.code(func)
        calls = {c.address: c for c in self.disasm.calls(func)}
        named = {(self.symbols.describe(c.target) if c.target is not None else ""): c for c in calls.values()}
        marks: list[tuple[int, str | None]] = [(func.entry, "g0 stack")]
        """(address, name of the piece that begins there; None ends the one before)"""
        if self.disasm.arch == "amd64":
            cpuids = [i for i, (_, _, mn, _) in enumerate(code) if mn == "cpuid"]
            # darwin jumps over settls: its slot of thread-local storage is fixed
            settls = named.get("runtime.settls") if self.symbols.image.os != "darwin" else None
            compare = next(
                (i for i, (_, _, mn, ops) in enumerate(code) if mn == "cmp" and ops.endswith(", 0x123")), None
            )
            cld = next((a for a, _, mn, _ in code if mn == "cld"), None)
            if cpuids:
                marks.append((code[cpuids[0]][0], "cpuid"))
                marks.append((code[cpuids[0]][0] + 2, "="))
            if settls is not None:
                marks.append((settls.address, None))
                if compare is not None:
                    marks.append((settls.back, "tls check"))
                    marks.append((code[compare + 1][0], "bind g0 and m0"))
            elif cld is not None:
                stores = [a for a, _, mn, ops in code if a < cld and mn == "mov" and ("gs:" in ops or "fs:" in ops)]
                if stores:
                    marks.append((stores[-1], "bind g0 and m0"))
            if cld is not None:
                marks.append((cld, None))
        else:
            save = named.get("runtime.save_g")
            check = named.get("runtime.check")
            if save is not None:
                marks.append((save.address, None))
                if check is not None:
                    marks += [(save.back, "bind g0 and m0"), (check.address, None)]
        marks.sort(key=lambda m: m[0])
        for address, name in marks:
            if name == "=":
                self._code_hook(address, self._vendor)
            else:
                self._code_hook(address, self._point(name, address))

    def _code_hook(self, address: int, callback: Callable[[], None]) -> None:
        def hook(*_: Any) -> None:
            try:
                callback()
            except BaseException as exc:
                self.machine._fail(exc)

        self.machine.code_hook(hook, address)

    def _point(self, name: str | None, address: int) -> Callable[[], None]:
        def mark() -> None:
            self.state.forget()  # in the middle of a block: the count of instructions has not moved
            chain = self._open.get(self._owner(self.state.current_g()), [])
            if chain and not chain[-1].station.function:
                self._finish(chain.pop(), returned=True)
            if name is not None:
                self._begin(name, address, 0, self.state.current_g(), function=False)

        return mark

    def _vendor(self) -> None:
        r = self.machine.registers()
        words = b"".join((r[n] & 0xFFFFFFFF).to_bytes(4, "little") for n in ("rbx", "rdx", "rcx"))
        if self.stations:
            self.stations[
                -1
            ].note = f"vendor {words.decode('ascii', 'replace')!r}, highest leaf {r['rax'] & 0xFFFFFFFF:#x}"

    # -- what happens ---------------------------------------------------------------------------------------------

    def _owner(self, g: int) -> int:
        """Whose chain of calls this is: the goroutine's, also while its M runs on g0 for it."""
        tid = self.process.current.tid
        if not g or self.state.m_offset is None or self.state.curg_offset is None:
            return tid
        m = self.machine.u64(g + self.state.m_offset)
        if m is None or m == 0:
            return tid
        curg = self.machine.u64(m + self.state.curg_offset)
        return curg if curg else tid

    def _enter(self, address: int) -> None:
        m = self.machine
        sp = m.reg(m.arch.sp)
        back = m.reg(m.arch.link) if m.arch.link else m.u64(sp) or 0
        if back not in self._returns:
            if address not in self._always:
                return
        name = self._names[address]
        hits = self._hits.get(address, 0) + 1
        self._hits[address] = hits
        if hits > _REPEATS:  # enough of this one
            m.watch.pop(address, None)
            return
        g = self.state.current_g()
        if back in self._returns and self._returns[back] == name:
            return  # an ABI wrapper calling the function itself
        self._begin(name, address, back, g)

    def _begin(self, name: str, address: int, back: int, g: int, function: bool = True) -> None:
        m, process = self.machine, self.process
        sp = m.reg(m.arch.sp)
        owner = self._owner(g)
        chain = self._open.setdefault(owner, [])
        tid = process.current.tid
        caller = self._returns.get(back, "")
        if function and chain:
            # What lies above the caller has not returned and never will: it switched to another stack for good.
            if any(c.station.name == caller for c in chain):
                while chain[-1].station.name != caller:
                    self._finish(chain.pop(), returned=False)
            elif owner == tid:
                while (
                    chain and chain[-1].g == g and chain[-1].sp <= sp and not chain[-1].station.name.startswith("_rt0")
                ):
                    self._finish(chain.pop(), returned=False)
        parent: Station | None = None
        if chain:
            parent = chain[-1].station
        elif owner != tid and self._open.get(tid):
            parent = self._open[tid][-1].station
        elif tid in self._births and self._births[tid] is not None:
            parent = self.stations[self._births[tid] or 0]
        depth_names = [c.station.name for c in chain]
        if parent is not None and depth_names.count(name) > 1:
            return
        station = None
        if parent is not None:
            seen = parent._calls.get(name)
            if seen is not None:
                station = self.stations[seen]
                station.times += 1
        if station is None:
            if len(self.stations) >= MAX_STATIONS:
                return
            body = self.symbols.func(name) if function else None
            if body is not None and body.entry != address and self.symbols.at(address) is not None:
                address = body.entry  # entered through its ABI wrapper, which has no source of its own
            station = Station(
                len(self.stations),
                name,
                address,
                parent.index if parent else None,
                tid,
                m.instructions,
                story=story(name),
                where=self.symbols.where(address),
                registers=m.registers(),
                function=function,
            )
            station._before = dict(self.state.snapshot())
            if function and name in EXPANDED:
                func = self.symbols.at(address)
                if func is not None:
                    station.inlined = list(dict.fromkeys(n for n, _ in self.symbols.tab.inlined(func)))
            self.stations.append(station)
            if parent is not None:
                if not parent._calls and parent.end is None:
                    parent.early = _difference(parent._before, station._before)
                parent._calls[name] = station.index
        if station.times == 1:
            self._event(station, True)
        chain.append(_Open(station, back, g, sp, m.instructions))
        self._last_open = station
        if back and back not in self._backs:
            self._backs.add(back)
            if back not in m.watch:
                m.watch_at(back, self._return)

    def _return(self, address: int) -> None:
        chain = self._open.get(self._owner(self.state.current_g()), [])
        for i in range(len(chain) - 1, -1, -1):
            if chain[i].back == address:
                while len(chain) > i + 1:
                    self._finish(chain.pop(), returned=False)
                self._finish(chain.pop(), returned=True)
                return

    def _finish(self, opened: _Open, returned: bool) -> None:
        station = opened.station
        station.total += self.machine.instructions - opened.began
        station.end = self.machine.instructions
        station.returned = station.returned or returned
        if station.times > 1:
            return
        after = self.state.snapshot()
        self._event(station, False)
        before = station._before
        changed = _difference(before, after)
        # Registers only tell something when it is still the station's thread that runs.
        here = self.machine.registers() if self.process.current.tid == station.thread else {}
        for key, value in here.items():
            old = station.registers.get(key)
            if old != value and key != self.machine.arch.pc:
                changed["register " + key] = (old, value)
        station.changed = changed

    def _event(self, station: Station, begins: bool) -> None:
        now, seen = self.state.snapshot(), self._seen
        delta = {k: v for k, v in now.items() if seen.get(k) != v}
        self._seen = now
        m = self.machine
        self.events.append(
            Event(station.index, begins, m.instructions, m.reg(m.arch.sp), self.process.current.tid, delta)
        )

    def syscall(self, name: str, args: tuple[int, ...], result: int) -> None:
        chain = self._open.get(self._owner(self.state.current_g()))
        if not chain:
            chain = self._open.get(self.process.current.tid)
        if not chain:
            return
        station = chain[-1].station
        station.syscall_count += 1
        if len(station.syscalls) < _MAX_CALLS:
            station.syscalls.append((name, args, result))

    def cloned(self, parent: int, child: int) -> None:
        chain = self._open.get(self._owner(self.state.current_g())) or self._open.get(parent) or []
        self._births[child] = chain[-1].station.index if chain else None
        if chain:
            chain[-1].station.note = f"thread {child} is born"

    def finish(self) -> None:
        """Close what is open when the emulation ends: these functions had not returned."""
        for chain in self._open.values():
            while chain:
                self._finish(chain.pop(), returned=False)


def _difference(before: Snapshot, after: Snapshot) -> dict[str, tuple[Any, Any]]:
    """Name -> (before, after) of what differs; the base of thread-local storage is a register, and told as one."""
    return {k: (before.get(k), v) for k, v in after.items() if before.get(k) != v and k != "tls base"}


def _no_such(name: str, symbols: Symbols) -> str:
    import difflib

    prefix = name.rpartition(".")[0]
    known = [f.name for f in symbols.tab.names(prefix + "." if prefix else "main.")[:5000]]
    close = difflib.get_close_matches(name, known, 3)
    return "no such function in the file" + (
        f"; did you mean {', '.join(close)}?" if close else " (use the full name, as main.main or runtime.schedinit)"
    )
