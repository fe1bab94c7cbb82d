"""Functions of the system's libraries: a place for each, where a call arrives and is answered, or ends the emulation
with its name.

Programs for darwin and windows, and cgo programs everywhere, reach their system through library functions. The
libraries are the host's and are never opened. Instead, each import is bound to an address of its own on a page of
return instructions; when a block begins there, the function's name is looked up among the emulated ones. One that is
not emulated ends the run: honest, and it says how far it came.

Invariant: a handler gets integers and returns an integer; like a system call it touches nothing but the process
object.
"""

from __future__ import annotations

import struct

from gort.xray.emulate.process import Process
from gort.xray.file.image import Image
from gort.xray.systems.linux import BLOCKED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Handler = Callable[..., int]

TRAPS = 0x7FFFF6000000
_STEP = 16
_MAX_TRAPS = 8192

YIELDED = BLOCKED - 2
"""The result of a function that gives the processor to another thread, and has returned 1 when it goes on."""

JUMPED = BLOCKED - 3
"""The result of a function that has set the registers, the program counter among them, to go on elsewhere."""


class Imports:
    def __init__(self, process: Process, system: str, table: dict[str, Handler], registers: tuple[str, ...]) -> None:
        self.process = process
        self.m = process.machine
        self.system = system
        self.table = table
        self.registers = registers
        self.called: dict[str, int] = {}
        self.observer: Callable[[str, tuple[int, ...], int], None] | None = None
        self._places: dict[str, int] = {}
        self._names: dict[int, str] = {}
        arm = self.m.arch.name == "arm64"
        code = bytes.fromhex("c0035fd6" * 4) if arm else b"\xc3" * _STEP
        self.m.memory.load(TRAPS, _STEP * _MAX_TRAPS, 5, code * _MAX_TRAPS)

    def bind(self, image: Image) -> None:
        """Fill the places where the system's loader would put the addresses of functions."""
        for item in image.imports[:_MAX_TRAPS]:
            self.m.write(item.slot, struct.pack("<Q", self.place(item.name)))

    def place(self, name: str) -> int:
        """The address of a function, made when it is first asked for; 0 when there are too many."""
        address = self._places.get(name, 0)
        if not address and len(self._places) < _MAX_TRAPS:
            address = TRAPS + _STEP * len(self._places)
            self._places[name] = address
            self._names[address] = name
            self.m.watch_at(address, self._arrive)
        return address

    def _arrive(self, address: int) -> None:
        name = self._names[address]
        self.called[name] = self.called.get(name, 0) + 1
        handler = self.table.get(name)
        if handler is None:
            self.process.end("unsupported", 0, f"{name} of {self.system} was called, which is not emulated")
            return
        r = self.m.registers()
        args = tuple(r[n] for n in self.registers)
        result = handler(*args)
        if self.observer is not None:
            self.observer(name, args, result)
        if result == JUMPED:
            self.m.stop()
            return
        if result in (BLOCKED, YIELDED):
            # The thread stops before the return instruction and would arrive here again: return for it.
            if self.m.arch.link:
                back = self.m.reg(self.m.arch.link)
            else:
                back = self.m.u64(r["rsp"]) or 0
                self.m.set_reg("rsp", r["rsp"] + 8)
            self.m.set_reg(self.m.arch.pc, back)
            if result == YIELDED:
                self.m.set_reg(self.m.arch.ret, 1)
            self.m.stop()
            return
        self.m.set_reg(self.m.arch.ret, result)

    def stack_argument(self, index: int, skip: int = 0) -> int:
        """The argument behind those in registers (amd64: behind the return address and `skip` bytes)."""
        sp = self.m.reg(self.m.arch.sp)
        return self.m.u64(sp + (0 if self.m.arch.link else 8) + skip + 8 * index) or 0


class Libc(Imports):
    """The C library of a cgo program, of which only the way in is here: __libc_start_main calls main.

    From there Go's own code runs, up to its first call into the library (in _cgo_init, right after g0's stack is made).
    """

    def __init__(self, process: Process, image: Image) -> None:
        names = ", ".join(image.libraries) or "a library"
        super().__init__(process, names, {"__libc_start_main": self._start}, process.machine.arch.call_args)

    def _start(self, main: int, argc: int, argv: int, *_: int) -> int:
        m = self.m
        first, second, third = m.arch.call_args[:3]
        m.set_reg(first, argc)
        m.set_reg(second, argv)
        m.set_reg(third, argv + 8 * (argc + 1))
        back = self.place("exit")
        if m.arch.link:
            m.set_reg(m.arch.link, back)
        else:  # the call's return address gives way to main's
            m.write(m.reg(m.arch.sp), struct.pack("<Q", back))
        m.set_reg(m.arch.pc, main)
        return JUMPED
