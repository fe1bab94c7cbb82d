"""A run that can be stopped at any instruction, and goes back.

The emulator calls `_instruction` before each instruction of the program. Where the run is to stop, the prompt is shown
from within that call: nothing of the emulator has to be stopped, saved or started again, so a run with stops executes the
same instructions as one without, and each has the same number every time.

So to go back is to run again. `back` runs from the beginning to where it is now, notes the last instruction at which the
run should have stopped, and runs again to that one. A rule that has to find out where the run is costs ten times what the
instruction does, and what it looks for is near as a rule: so it is asked for the last instructions only, and in another
run for more of them where none of those was the one. Breakpoints belong to the session and outlive a run.

Rejected: snapshots of the emulator. They would have to hold its memory, the threads, the files and the recorder's state,
and the runs are short. Stopping by `uc_emu_stop`: a block that is entered in its middle is counted twice.

Invariants: `number` is the instruction that is about to be executed, from 1 on. Rules (`Rule`) look and change nothing.
"""

from __future__ import annotations

import gc

from gort.xray.ask.expression import Expression, Scope
from gort.xray.boot.follow import Boot, Options, Static, follow
from gort.xray.emulate.disasm import Disassembler
from gort.xray.emulate.process import Process
from gort.xray.errors import XrayError
from gort.xray.layout.layout import Layouts
from gort.xray.layout.state import StateReader
from gort.xray.record import field, frozen, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    Rule = Callable[[int], bool]
    """Called with the address of the next instruction: True where the run is to stop."""

_NO_FRAME = 1 << 62
"""A depth below all others."""
_NEAR = 16_384
"""Instructions at which a search looks first; in each further run at so many times more."""
_WIDER = 64
_POSITIONS = 500_000
"""Addresses whose source position is kept."""


class Quit(Exception):
    """The user leaves."""


class _Again(Exception):
    """Run again from the beginning, to this instruction."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number: int = number


@frozen
class Place:
    """Where the run is: whose code, how deep on which stack, and at which line."""

    owner: int
    """The goroutine's g, else the thread's number."""
    g: int
    depth: int
    """Bytes between the stack's end and the frame; larger is deeper."""
    position: tuple[str, int]
    inlined: bool
    """True in the code of a function that the compiler inlined."""


@record
class Stop:
    """A breakpoint, or a variable whose changes stop the run."""

    number: int
    text: str
    addresses: list[int] = field(default_factory=list)
    expression: Expression | None = None
    """Set for a variable."""
    temporary: bool = False
    hits: int = 0


@record
class _Search:
    """Looks for the last instruction before `until` at which the run should have stopped."""

    until: int
    rule: Rule
    first: int
    """The first instruction at which it looks."""
    found: int = 0
    segments: bool = False
    """True: it is the first of several that follow each other that counts, as those of one line do."""
    before: tuple[object, ...] = ()
    sure: bool = False
    """True once nothing before `first` can change what is found. Of a segment that is open there, the beginning is not
    known."""

    def wider(self) -> _Search:
        """Returns the search of the next run."""
        near = (self.until - self.first) * _WIDER
        return _Search(self.until, self.rule, max(1, self.until - near), segments=self.segments)


class Session:
    """One file under the debugger. `prompt` is called at each stop; it returns when the run is to go on."""

    def __init__(self, static: Static, options: Options, prompt: Callable[[Session], None]) -> None:
        self.static: Static = static
        self.disasm: Disassembler = Disassembler(static.symbols)
        self.scope: Scope = Scope(static.symbols)
        self.process: Process
        self.state: StateReader
        self.layouts: Layouts
        self.number: int = 0
        self.pc: int = 0
        self.stops: list[Stop] = []
        self.why: str = ""
        """The reason of this stop, in words."""
        self.ended: Boot | None = None
        """Set once the program has ended: only going back is possible."""
        self.interrupted: bool = False
        """Set by Ctrl-C: the run stops at the next instruction."""
        self._prompt = prompt
        self._options = options
        self._target = 1
        """The instruction at which the run stops whatever the rules say; 0 for none."""
        self._rule: Rule | None = None
        self._search: _Search | None = None
        self._quiet = 0
        """Before this instruction nothing is looked at."""
        self._breaks: dict[int, list[Stop]] = {}
        self._changed: Stop | None = None
        self._positions: dict[int, tuple[str, int]] = {}
        self._frames: dict[int, int] = {}
        self._place: tuple[int, Place] | None = None
        """The last answer of `place`, and the number of its instruction: a rule asks, and then the search."""
        self._inlined: dict[int, bool] = {}

    # -- the runs ----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run, and run again, until the user leaves. Raises `XrayError` for options that do not fit the file."""
        self._options.until = "exit"
        self._options.attach = self._attach
        while True:
            self.number, self.ended, self._changed, self._place = 0, None, None, None
            self._quiet = self._search.first if self._search is not None else self._target
            try:
                boot = follow(self.static, self._options)
            except _Again as again:
                self._target = again.number
                gc.collect()  # the emulator of the run before, which refers to itself
                continue
            except Quit:
                return
            try:
                self._at_end(boot)
            except _Again as again:
                self._target = again.number
                gc.collect()
            except Quit:
                return

    def _at_end(self, boot: Boot) -> None:
        """The program has ended: show the prompt until the user goes back or leaves."""
        if self._search is not None:
            self._searched(self._search)
        self.ended, self._rule = boot, None
        self.why = f"the program ended with status {boot.status}: {boot.detail}" if boot.how == "exit" else boot.detail
        while True:
            self._prompt(self)
            self.why = "the program has ended: go back, or restart"

    def _attach(self, process: Process, state: StateReader, layouts: Layouts, scope: Scope) -> None:
        """A run begins: have each instruction announced."""
        self.process, self.state, self.layouts, self.scope = process, state, layouts, scope
        process.machine.every_instruction(self._instruction)
        for stop in self.stops:
            self._arm(stop)

    def _instruction(self, address: int) -> None:
        """The program is about to execute this instruction."""
        number = self.number = self.number + 1
        if number < self._quiet:
            return
        search = self._search
        if search is not None:
            self._look(search, address, number)
            return
        why = self._why(address, number)
        if why is None:
            return
        self.pc, self.why, self._rule, self._target, self.interrupted = address, why, None, 0, False
        self._changed = None  # what changed on the way to a number
        self.state.forget()
        self._prompt(self)

    def _why(self, address: int, number: int) -> str | None:
        """Returns the reason to stop here; None to go on."""
        if self._target:  # on the way to a number nothing else counts
            return "" if number >= self._target else None
        if self._changed is not None:
            stop, self._changed = self._changed, None
            return self._hit(stop)
        hit = self._breaks.get(address)
        if hit:
            return self._hit(hit[0])
        if self.interrupted:
            return "interrupted"
        return "" if self._rule is not None and self._rule(address) else None

    def _hit(self, stop: Stop) -> str:
        stop.hits += 1
        if stop.temporary:
            self.remove(stop)
        return f"{'change of' if stop.expression else 'breakpoint'} {stop.number}: {stop.text}"

    def _look(self, search: _Search, address: int, number: int) -> None:
        if number >= search.until:
            self._searched(search)
        if search.rule(address):
            place: tuple[object, ...] = ()
            if search.segments:
                here = self.place(address)
                place = (here.position, here.depth, here.g)
            if not search.segments or place != search.before:
                search.sure = not search.segments or bool(search.before)
                search.found = number
            search.before = place

    def _searched(self, search: _Search) -> NoReturn:
        """A search has come to its end: go where it has found something, or look at more instructions."""
        if search.sure or search.first == 1:
            self._search = None
            raise _Again(search.found or 1)
        self._search = search.wider()
        raise _Again(0)

    # -- where it is -------------------------------------------------------------------------------------------

    def position(self, pc: int) -> tuple[str, int]:
        """Returns source file and line of an instruction; "" and 0 where there is none."""
        got = self._positions.get(pc)
        if got is None:
            got = self.static.symbols.tab.line(pc)
            if len(self._positions) < _POSITIONS:
                self._positions[pc] = got
        return got

    def owner(self) -> int:
        """Returns whose code runs, as `Place` has it: it is the cheaper question."""
        return self.state.goroutine(self.state.current_g()) or self.process.current.tid

    def place(self, pc: int) -> Place:
        """Returns where the run is. `pc` is the next instruction."""
        if self._place is None or self._place[0] != self.number:
            self._place = self.number, self._find_place(pc)
        return self._place[1]

    def _find_place(self, pc: int) -> Place:
        m = self.process.machine
        frame = self._frames.get(pc)
        if frame is None:
            frame = self._frames[pc] = self.static.symbols.tab.frame_size(pc) or 0
        g = self.state.current_g()
        sp = m.reg(m.arch.sp)
        lo, hi = self.layouts.offset("runtime.g", "stack.lo"), self.layouts.offset("runtime.g", "stack.hi")
        bottom = (m.pointer(g + lo) or 0) if g and lo is not None else 0
        top = (m.pointer(g + hi) or 0) if g and hi is not None else 0
        # While systemstack and its like switch, g and the stack pointer are not of one stack: no frame is there.
        depth = top - sp - frame if not top or bottom <= sp <= top else _NO_FRAME
        owner = self.state.goroutine(g) or self.process.current.tid
        inlined = self._inlined.get(pc)
        if inlined is None:
            inlined = self._inlined[pc] = self.static.symbols.tab.is_inlined(pc)
        return Place(owner, g, depth, self.position(pc), inlined)

    # -- going on and going back -------------------------------------------------------------------------------

    def go_on(self, rule: Rule | None = None) -> None:
        """Go on until the rule holds; without one, to a breakpoint or the end. Raises `XrayError` at the end."""
        if self.ended is not None:
            raise XrayError("the program has ended: go back (reverse-step, reverse-continue), or restart")
        self._rule = rule

    def go_to(self, number: int) -> None:
        """Go to an instruction by its number, forwards or backwards."""
        if self.ended is None and number > self.number:
            self._target = self._quiet = number
        else:
            raise _Again(max(1, number))

    def back(self, rule: Rule, segments: bool = False, everywhere: bool = False) -> None:
        """Go back to the last instruction at which the rule held; where there is none, to the first.

        `everywhere`: the rule is cheap, or has to see every instruction; it is asked at each in one run."""
        until = self.number if self.ended is None else self.number + 1
        first = 1 if everywhere else max(1, until - _NEAR)
        self._search = _Search(until, rule, first, segments=segments)
        raise _Again(0)

    def at_stop(self, address: int) -> bool:
        """True where a breakpoint is, or where a variable has just changed: the rule of going back to one."""
        changed, self._changed = self._changed, None
        return changed is not None or address in self._breaks

    # -- breakpoints -------------------------------------------------------------------------------------------

    def add(self, stop: Stop) -> None:
        """Add a breakpoint, or a variable to watch. Raises `XrayError` when the variable has no address."""
        if stop.expression is not None and self.ended is None:
            self._arm(stop)
        self.stops.append(stop)
        for address in stop.addresses:
            self._breaks.setdefault(address, []).append(stop)

    def remove(self, stop: Stop) -> None:
        """Forget a breakpoint."""
        self.stops.remove(stop)
        for address in stop.addresses:
            self._breaks[address].remove(stop)
            if not self._breaks[address]:
                del self._breaks[address]

    def _arm(self, stop: Stop) -> None:
        """Notice stores into a variable, in this run."""
        if stop.expression is None:
            return
        expression = Expression(stop.expression.text, self.scope)
        value = expression.value()
        if value.address is None or not value.type.size:
            raise XrayError(f"{stop.text}: only a variable can be watched")
        start, size = value.address, value.type.size
        machine = self.process.machine

        def store(address: int, length: int, number: int) -> None:
            if stop not in self.stops or address >= start + size or address + length <= start:
                return
            old = machine.read(address, length)
            if old != (number & (1 << 8 * length) - 1).to_bytes(length, "little"):
                self._changed = stop

        machine.store_hook(store, start - 64, start + size - 1)
