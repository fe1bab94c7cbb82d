"""Follows the boot while it is emulated: connects what the processor meets with the journal of stations.

What to watch is found in watchlist.py and pieces.py, which calls are open is known by chains.py, and stations.py writes
down what a station changed. Here is what happens when a watched function is entered, when it returns, and when the
program makes a system call or a thread.

A station ends when the block at its return address is entered.
"""

from __future__ import annotations

from gort.xray.ask.arguments import Arguments
from gort.xray.ask.places import find_place
from gort.xray.boot.chains import Chains, Open
from gort.xray.boot.inits import InitMeter
from gort.xray.boot.libc import LibcCalls
from gort.xray.boot.pieces import CGO_INIT, Mark, find_pieces
from gort.xray.boot.stations import Event, Journal, Station, Visit
from gort.xray.boot.story import STORY, goroutine_story
from gort.xray.boot.watchlist import EXPANDED, WatchList
from gort.xray.emulate.disasm import Disassembler
from gort.xray.emulate.process import Process
from gort.xray.errors import XrayError
from gort.xray.file.symbols import Symbols
from gort.xray.layout.state import StateReader
from gort.xray.systems.calls import Observer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_REPEATS = 200
"""Entries into a function that are followed; a program may make a million. The others are only counted."""

_MAX_NOTE = 400
"""Characters after which a station's note gets no more goroutines."""


class Recorder(Observer):
    """Follows one process until the place `until` is reached ("exit": to the end).

    Raises `XrayError` when there is no such place.
    """

    def __init__(
        self, process: Process, symbols: Symbols, disasm: Disassembler, state: StateReader, until: str
    ) -> None:
        self._process = process
        self._machine = process.machine
        self._symbols = symbols
        self._state = state
        self._until = until
        self._disasm = disasm
        self._journal = Journal(process, symbols, state)
        self._chains = Chains()
        self._hits: dict[int, int] = {}
        """First address of a function -> how often it was entered."""
        self._counted: dict[tuple[int, int], Station] = {}
        """(first address of a function, return address) -> the station of that call"""
        self._libc: LibcCalls | None = None
        """Set while _cgo_init runs."""
        self.inits: InitMeter | None = None
        """Set where the packages' inits are measured."""
        self.arguments: Arguments | None = None
        """Set where arguments are noted."""
        self.entered: bool = False
        """True once the program's own entry point was reached."""
        self._backs: set[int] = set()
        """Return addresses at which a station may end."""
        self._list = WatchList(symbols, disasm)
        process.before_switch = self.switched
        for address in self._list.names:
            self._machine.watch_at(address, self._enter)
        self._machine.watch_at(symbols.image.entry, self._arrive)
        if until not in ("exit", ""):
            self._stop_at(until)
        for mark in find_pieces(symbols, disasm):
            self._machine.code_hook(self._vendor if mark.vendor else self._marker(mark), mark.address)

    @property
    def stations(self) -> list[Station]:
        """The stations so far."""
        return self._journal.stations

    @property
    def events(self) -> list[Event]:
        """The events so far: stations that began and ended."""
        return self._journal.events

    # -- what the processor meets ----------------------------------------------------------------------------------

    def loading(self, name: str, address: int) -> None:
        """The first station is the program's loader; it ends at the program's entry point."""
        self._begin(name, address, 0, 0, function=False)

    def _arrive(self, address: int) -> None:
        """The program's entry point is reached, from the system or from the loader."""
        if not self.entered:
            self.entered = True
            loader = self._chains.pop_piece(self._process.current.tid)
            if loader is not None:
                self._journal.end(loader.visit, returned=True, owner=self._process.current.tid)
        self._enter(address)

    def _enter(self, address: int) -> None:
        """A watched function is entered."""
        m = self._machine
        back = m.reg(m.arch.link) if m.arch.link else m.pointer(m.reg(m.arch.sp)) or 0
        caller = self._list.returns.get(back)
        if caller is None and address not in self._list.always:
            return
        name = self._list.names[address]
        hits = self._hits.get(address, 0) + 1
        self._hits[address] = hits
        if hits > _REPEATS:
            counted = self._counted.get((address, back))
            if counted is not None:
                counted.times += 1
        elif caller != name:  # an ABI wrapper that calls the function itself is no station
            station = self._begin(name, address, back, self._state.current_g())
            if station is not None:
                self._counted[address, back] = station
                if self.arguments is not None and station.times == 1:
                    station.arguments = self.arguments.text(address)
            if station is not None and name == "runtime.newproc":
                self._goroutine(station)

    def _goroutine(self, station: Station) -> None:
        """Say which function's goroutine newproc makes.

        Its argument points at a variable that holds the function's address, for the first goroutine runtime.mainPC. It
        is the first argument since Go 1.18, the second before, on the stack or in a register.
        """
        m = self._machine
        sp = m.reg(m.arch.sp)
        word, register = m.arch.word, m.arch.first_argument
        for pointer in (m.pointer(sp + word), m.pointer(sp + 2 * word), m.reg(register) if register else 0):
            pc = m.pointer(pointer) if pointer else None
            func = self._symbols.at(pc) if pc else None
            if func is None or func.entry != pc:
                continue
            known = self._symbols.data_name(pointer or 0)
            where = f"{known or hex(pointer or 0)}, which holds {pc:#x} ({func.name})"
            if station.times == 1:
                station.story = goroutine_story(func.name)
                station.note = f"its argument is {where}"
            elif func.name not in station.note and len(station.note) < _MAX_NOTE:
                station.story = STORY["runtime.newproc"]
                station.note += f"; {where}"
            return

    def _return(self, address: int) -> None:
        """The block at a return address is entered: the station that returns there ends."""
        owner = self._owner(self._state.current_g())
        closed = self._chains.pop_to(owner, address)
        for call in closed:
            self._journal.end(call.visit, returned=call is closed[-1], owner=owner)
            if call.station.name == "runtime.newproc":
                self._made(call.visit)

    def _made(self, visit: Visit) -> None:
        """Say what the goroutine is like that newproc has made: it is the next of this P's queue."""
        station = visit.station
        for key, (_, g) in visit.changed.items():
            made = self._state.made(g) if key.endswith("].runnext") and g else None
            if made is not None and len(station.note) < _MAX_NOTE:
                number, pc, status = made
                text = f"goroutine {number} is {status}, and will begin at {self._symbols.describe(pc)}"
                station.note = f"{station.note}; {text}" if station.note else text

    def _stopper(self, watcher: Callable[[int], None] | None) -> Callable[[int], None]:
        """Returns what is called where the run is to stop, after what watches the address already."""

        def stop(address: int) -> None:
            if watcher is not None:
                watcher(address)
            if self.stations and self.stations[-1].address == address:
                self.stations[-1].registers = self._machine.registers()
            else:
                name = self._list.names.get(address) or self._symbols.describe(address)
                self._begin(name, address, 0, self._state.current_g())
            self._process.end("until", 0, f"{self._until} was reached")

        return stop

    def _stop_at(self, until: str) -> None:
        """Have the run end at a place. Where a function begins a block is entered; elsewhere it takes a code hook."""
        place = find_place(until, self._symbols)
        for address in place.addresses:
            func = self._symbols.at(address)
            before = max((a for a, *_ in self._disasm.code(func) if a <= address), default=0) if func else address
            if before != address:
                raise XrayError(f"--until {until}: this is within an instruction, which begins at {before:#x}")
            if place.function:
                self._machine.watch_at(address, self._stopper(self._machine.watched_at(address)))
            else:
                self._machine.code_hook(self._stopper_inside(address), address)

    def _stopper_inside(self, address: int) -> Callable[[], None]:
        """Returns what is called at an instruction within a function, where the run is to stop."""

        def stop() -> None:
            if self._process.ended is None:
                self._state.forget()
                place = self._symbols.describe(address)
                self._begin(place, address, 0, self._state.current_g(), function=False)
                self._process.end("until", 0, f"{self._until} was reached")

        return stop

    def _marker(self, mark: Mark) -> Callable[[], None]:
        """Returns what is called at a mark in rt0_go: it ends a piece, and may begin one."""

        def reached() -> None:
            self._state.forget()  # in the middle of a block: the count of instructions has not moved
            g = self._state.current_g()
            owner = self._owner(g)
            ended = self._chains.pop_piece(owner)
            if ended is not None:
                self._journal.end(ended.visit, returned=True, owner=owner)
            if self._libc is not None:
                self._libc.leave()
                self._libc = None
            if mark.name is not None:
                self._begin(mark.name, mark.address, 0, g, function=False)
            if mark.name == CGO_INIT and self.stations:
                self._libc = LibcCalls(self._machine, self._symbols.image, self.stations[-1])

        return reached

    def _vendor(self) -> None:
        """Note what CPUID said."""
        r = self._machine.registers()
        words = b"".join(
            (r[n] & 0xFFFFFFFF).to_bytes(4, "little")
            for n in (("rbx", "rdx", "rcx") if "rbx" in r else ("ebx", "edx", "ecx"))
        )
        if self.stations:
            vendor, leaf = words.decode("ascii", "replace"), r["rax" if "rax" in r else "eax"] & 0xFFFFFFFF
            self.stations[-1].note = f"vendor {vendor!r}, highest leaf {leaf:#x}"

    # -- what is made of it ----------------------------------------------------------------------------------------

    def _owner(self, g: int) -> int:
        """Returns whose chain of calls this is: the goroutine's, also while its thread runs on g0 for it."""
        return self._state.goroutine(g) or self._process.current.tid

    def _begin(self, name: str, address: int, back: int, g: int, function: bool = True) -> Station | None:
        """A station begins. Returns it, None for a recursion and where there are too many."""
        m = self._machine
        sp = m.reg(m.arch.sp)
        owner, thread = self._owner(g), self._process.current.tid
        if function:
            for call in self._chains.leave(owner, thread, self._list.returns.get(back, ""), g, sp):
                self._journal.end(call.visit, returned=False, owner=owner)
        parent = self._chains.parent(owner, thread)
        if parent is not None and self._chains.depth(owner, name) > 1:
            return None  # a recursion
        if back and self._chains.is_same_call(owner, name, back):
            return None  # entered once more by the same call: morestack has given it a larger stack
        visit = self._journal.begin(name, address, parent, function, function and name in EXPANDED, owner)
        if visit is None:
            return None
        self._chains.push(owner, Open(visit, back, g, sp))
        if back and back not in self._backs:
            self._backs.add(back)
            if m.watched_at(back) is None:
                m.watch_at(back, self._return)
        return visit.station

    def _here(self, thread: int) -> Station | None:
        """Returns the innermost open station of the goroutine that runs, else of the thread."""
        return self._chains.last(self._owner(self._state.current_g())) or self._chains.last(thread)

    def switched(self) -> None:
        """Another thread's turn is about to begin: what has changed is the running one's."""
        self._journal.cut(self._owner(self._state.current_g()))

    def syscall(self, name: str, args: tuple[int, ...], result: int) -> None:
        """Note the call in the station that made it."""
        if self.inits is not None:
            self.inits.syscall()
        station = self._here(self._process.current.tid)
        if station is not None:
            self._journal.syscall(station, name, args, result)

    def cloned(self, parent: int, child: int) -> None:
        """Remember below which station the new thread's hang."""
        station = self._here(parent)
        if station is not None:
            self._chains.born(child, station)
            station.note = f"thread {child} is born"

    def finish(self) -> None:
        """End what is open when the emulation ends: these functions had not returned."""
        owner = self._owner(self._state.current_g())
        for call in self._chains.pop_all():
            self._journal.end(call.visit, returned=False, owner=owner)
