"""Functions of the system's libraries: each has an address, and a call that arrives there is answered.

Programs for darwin and windows, and cgo programs for Linux whose loader is not here, reach their system through
functions of libraries that are not opened. Instead, each import is bound to an address of its own on pages of return
instructions. When a block begins there, the function's name is looked up among the emulated ones. A function that is not
emulated ends the run with its name, so the report says how far the program came.
"""

from __future__ import annotations

from gort.xray.emulate.memory import EXEC, READ
from gort.xray.emulate.process import Process
from gort.xray.file.image import Image
from gort.xray.systems.calls import BLOCKED, JUMPED, YIELDED, Observer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gort.xray.systems.calls import Handler

TRAPS = 0x7FFFF6000000
"""Address of the return instructions."""
_STEP = 16
_MAX_TRAPS = 8192
_ARM64_RET = bytes.fromhex("c0035fd6")
_AMD64_RET = b"\xc3"


class Imports:
    """The functions of `library`: name -> handler in `table`. `registers` hold the first arguments."""

    def __init__(
        self, process: Process, library: str, table: dict[str, Handler], registers: tuple[str, ...], observer: Observer
    ) -> None:
        self.registers: tuple[str, ...] = registers
        self._process = process
        self._machine = process.machine
        self._library = library
        self._table = table
        self._observer = observer
        self._places: dict[str, int] = {}
        self._names: dict[int, str] = {}
        ret = _ARM64_RET if self._machine.arch.link else _AMD64_RET
        self._machine.memory.load(TRAPS, _STEP * _MAX_TRAPS, READ | EXEC, ret * (_STEP * _MAX_TRAPS // len(ret)))

    def bind(self, image: Image) -> None:
        """Fill the places where the system's loader would put the addresses of functions."""
        for item in image.imports[:_MAX_TRAPS]:
            self._machine.write_u64(item.slot, self.place(item.name))

    def place(self, name: str) -> int:
        """Returns the address of a function, made when it is first asked for; 0 when there are too many."""
        address = self._places.get(name, 0)
        if not address and len(self._places) < _MAX_TRAPS:
            address = TRAPS + _STEP * len(self._places)
            self._places[name] = address
            self._names[address] = name
            self._machine.watch_at(address, self._arrive)
        return address

    def _arrive(self, address: int) -> None:
        """Answer a call. The return instruction at the address then goes back to the caller."""
        name = self._names[address]
        handler = self._table.get(name)
        if handler is None:
            self._process.end("unsupported", 0, self._refusal(name))
            return
        m = self._machine
        r = m.registers()
        args = tuple(r[n] for n in self.registers)
        result = handler(*args)
        self._observer.syscall(name, args, result)
        if result == JUMPED:
            m.stop()
            return
        if result in (BLOCKED, YIELDED):
            # The thread stops before the return instruction and would arrive here again: return for it.
            if m.arch.link:
                back = m.reg(m.arch.link)
            else:
                back = m.u64(r["rsp"]) or 0
                m.set_reg("rsp", r["rsp"] + 8)
            m.set_reg(m.arch.pc, back)
            if result == YIELDED:
                m.set_reg(m.arch.result, 1)
            m.stop()
            return
        m.set_reg(m.arch.result, result)

    def _refusal(self, name: str) -> str:
        return f"{name} of {self._library} was called, which is not emulated"

    def stack_argument(self, index: int, skip: int = 0) -> int:
        """Returns an argument that is on the stack, behind the return address (amd64) and `skip` bytes."""
        m = self._machine
        return m.u64(m.reg(m.arch.sp) + (0 if m.arch.link else 8) + skip + 8 * index) or 0


class Libc(Imports):
    """Takes the place of libc where the program's loader is not to be had (linux_loader.py): on another system, say.

    Only the way in is emulated: __libc_start_main calls main. From there Go's own code runs, up to its first call into
    the library: in _cgo_init, right after g0's stack is made.
    """

    def __init__(self, process: Process, image: Image) -> None:
        names = ", ".join(image.libraries) or "a library"
        self._loader = image.interpreter
        table: dict[str, Handler] = {"__libc_start_main": self._start}
        super().__init__(process, names, table, process.machine.arch.call_args, Observer())

    def _refusal(self, name: str) -> str:
        there = f"; {self._loader} is not here: --sysroot DIR names a system that has it" if self._loader else ""
        return super()._refusal(name) + there

    def _start(self, main: int, argc: int, argv: int, *_: int) -> int:
        m = self._machine
        first, second, third = m.arch.call_args[:3]
        m.set_reg(first, argc)
        m.set_reg(second, argv)
        m.set_reg(third, argv + 8 * (argc + 1))
        back = self.place("exit")
        if m.arch.link:
            m.set_reg(m.arch.link, back)
        else:  # main's return address takes the place of this call's
            m.write_u64(m.reg(m.arch.sp), back)
        m.set_reg(m.arch.pc, main)
        return JUMPED
