"""The emulated processor: unicorn with the registers, counts, watched addresses and memory that the rest needs.

Every basic block that the program enters calls the block hook once. It counts instructions (asking the emulator once for
each block how many it has), calls what watches the block's address, and stops the processor when the time slice is over.
Functions and return addresses are always the start of a block, so no other hook is needed to follow calls, and counts
and slices come out the same in every run.

Rejected: unicorn's own instruction counter (`count=`): it tells nothing when a run is stopped in between. One code
hook per watched address: each makes translating code slower, and a boot has hundreds. The binding's own hook and
register calls cost 3 µs each, three times of what the same call costs through ctypes; the raw calls are used where
the binding has them.

Invariant: no exception leaves a hook; it is kept in `error` and raised by `run`.
"""

from __future__ import annotations

import ctypes
import struct

from gort.xray.emulate.arch import ARCHES, Arch
from gort.xray.emulate.disasm import Disassembler
from gort.xray.emulate.memory import TOP, AddressSpace
from gort.xray.emulate.native import Context, Engine, constants
from gort.xray.errors import XrayError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_BLOCK = (ctypes.c_uint64, ctypes.c_uint32)
_ACCESS = (ctypes.c_int, ctypes.c_uint64, ctypes.c_int, ctypes.c_int64)
_NOWHERE = 0xFFFFFFFFFFFFFFF0
"""An address at which no program can be: emulation runs until something stops it."""


_REQUEST_BLOCK = 8 | 2 << 26 | 3 << 30
"""UC_CTL_TB_REQUEST_CACHE, two arguments, one in and one out."""


class _TranslatedBlock(ctypes.Structure):
    _fields_ = (("pc", ctypes.c_uint64), ("instructions", ctypes.c_uint16), ("size", ctypes.c_uint16))


class Fault(Exception):
    """The program did something that a processor refuses: unmapped memory, an unknown instruction."""

    def __init__(self, kind: str, address: int, pc: int, write: bool = False) -> None:
        super().__init__(f"{kind} at {address:#x} (pc {pc:#x})")
        self.kind = kind
        self.address = address
        self.pc = pc
        self.write = write


class Machine:
    def __init__(self, arch: str, disasm: Disassembler, memory_limit: int) -> None:
        self.arch: Arch = ARCHES[arch]
        self.disasm = disasm
        self._u: Any = constants("unicorn.unicorn_const")
        const: Any = constants(self.arch.const)
        self.uc = Engine(getattr(self._u, self.arch.uc_arch), getattr(self._u, self.arch.uc_mode))
        self.ids: dict[str, int] = {
            name: getattr(const, self.arch.prefix + name.upper()) for name in (*self.arch.gprs,)
        }
        self._clock = [0, 0]
        """Instructions executed, and the number at which the time slice ends."""
        self.watch: dict[int, Callable[[int], None]] = {}
        self.ticks: Callable[[], int] = lambda: self.instructions
        """What the processor's time stamp counter shows."""
        self.on_syscall: Callable[[], None] | None = None
        self.error: BaseException | None = None
        self._counts: dict[int, int] = {}
        self._lengths: dict[int, int] = {}
        self._block = _TranslatedBlock()
        self._block_at = ctypes.c_uint64()
        self._to_block = ctypes.byref(self._block)
        self._fault: tuple[str, int, bool] | None = None
        self._setup_batch()
        self.memory = AddressSpace(self.uc, memory_limit)
        self._hooks(const)

    # -- registers -------------------------------------------------------------------------------------------

    def _setup_batch(self) -> None:
        names = self.arch.gprs
        self._values = (ctypes.c_uint64 * len(names))()
        self._words = struct.Struct(f"<{len(names)}Q")
        self._ids = (ctypes.c_int * len(names))(*(self.ids[n] for n in names))
        size = ctypes.sizeof(ctypes.c_uint64)
        base = ctypes.addressof(self._values)
        self._pointers = (ctypes.c_void_p * len(names))(*(base + size * i for i in range(len(names))))
        self._one = ctypes.c_uint64()
        self._at_one = ctypes.byref(self._one)
        library = self.uc.library
        self._read_batch: Any = library.uc_reg_read_batch
        self._read_one: Any = library.uc_reg_read
        self._write_one: Any = library.uc_reg_write
        self._mem_read: Any = library.uc_mem_read
        self._control: Any = library.uc_ctl
        self._handle = self.uc.handle

    def registers(self) -> dict[str, int]:
        self._read_batch(self._handle, self._ids, self._pointers, len(self._values))
        return dict(zip(self.arch.gprs, self._words.unpack(self._values), strict=True))

    def reg(self, name: str) -> int:
        self._one.value = 0
        self._read_one(self._handle, self.ids[name], self._at_one)
        return self._one.value

    def set_reg(self, name: str, value: int) -> None:
        self._one.value = value & (2**64 - 1)
        self._write_one(self._handle, self.ids[name], self._at_one)

    def context(self) -> Context:
        return self.uc.context()

    def restore(self, context: Context) -> None:
        self.uc.restore(context)

    def set_in(self, context: Context, name: str, value: int) -> None:
        """Change a register of a thread that is not running."""
        context.set_reg(self.ids[name], value)

    def in_context(self, context: Context, name: str) -> int:
        return context.reg(self.ids[name])

    # -- memory ----------------------------------------------------------------------------------------------

    def read(self, address: int, n: int) -> bytes | None:
        return self.memory.read(address, n)

    def u64(self, address: int) -> int | None:
        if 0 <= address <= TOP - 8 and self._mem_read(self._handle, address, self._at_one, 8) == 0:
            return self._one.value
        raw = self.memory.read(address, 8)  # not there yet
        return None if raw is None else int.from_bytes(raw, "little")

    def write(self, address: int, data: bytes) -> bool:
        return self.memory.write(address, data)

    # -- running ---------------------------------------------------------------------------------------------

    def _hooks(self, const: Any) -> None:
        u, uc = self._u, self.uc
        uc.hook(u.UC_HOOK_BLOCK, None, (ctypes.c_uint64,), self._make_block(), short=True)
        uc.hook(u.UC_HOOK_MEM_UNMAPPED | u.UC_HOOK_MEM_PROT, ctypes.c_bool, _ACCESS, self._memory_fault)
        if self.arch.name == "amd64":
            uc.hook(u.UC_HOOK_INSN, None, (), self._syscall, 1, 0, const.UC_X86_INS_SYSCALL)
            for instruction in (const.UC_X86_INS_RDTSC, const.UC_X86_INS_RDTSCP):
                uc.hook(u.UC_HOOK_INSN, ctypes.c_int, (), self._read_ticks, 1, 0, instruction)
        uc.hook(u.UC_HOOK_INTR, None, (ctypes.c_uint32,), self._interrupt)
        self._write_kinds = (u.UC_MEM_WRITE_UNMAPPED, u.UC_MEM_WRITE_PROT)
        self._unmapped = (u.UC_MEM_READ_UNMAPPED, u.UC_MEM_WRITE_UNMAPPED, u.UC_MEM_FETCH_UNMAPPED)

    def _make_block(self) -> Callable[[Any, int], None]:
        """The block hook as a closure: it runs for every block, and a name is found faster there than an attribute."""
        counts, clock, stop, first = self._counts, self._clock, self.uc.stop, self._first

        def block(_uc: Any, address: int) -> None:
            total = clock[0]
            if total >= clock[1]:
                stop()  # before this block; it is entered again, and counted then
                return
            try:
                clock[0] = total + counts[address]
            except KeyError:
                first(address)

        return block

    def _first(self, address: int) -> None:
        """A block that is new, or watched: only unwatched ones get into `_counts`."""
        n = self._lengths.get(address)
        try:
            if n is None:
                n = self._lengths[address] = self._count(address)
            self._clock[0] += n
            callback = self.watch.get(address)
            if callback is None:
                self._counts[address] = n
            else:
                callback(address)
        except BaseException as exc:
            self._fail(exc)

    def watch_at(self, address: int, callback: Callable[[int], None]) -> None:
        """Have `callback` called when a block that begins here is entered. One for each address."""
        self.watch[address] = callback
        self._counts.pop(address, None)

    def _count(self, address: int) -> int:
        """How many instructions the block that is entered has: the emulator knows, it has just translated it."""
        block = self._block
        self._block_at.value = address
        status = self._control(self._handle, _REQUEST_BLOCK, self._block_at, self._to_block)
        if status != 0 or block.pc != address:
            raise XrayError(f"the emulator does not tell how long the block at {address:#x} is: pip install -U unicorn")
        return max(1, int(block.instructions))

    @property
    def instructions(self) -> int:
        """How many were executed so far, by all threads."""
        return self._clock[0]

    def _fail(self, exc: BaseException) -> None:
        if self.error is None:
            self.error = exc
        self.uc.stop()

    def _memory_fault(self, _uc: Any, access: int, address: int, size: int, _value: int, _data: Any) -> bool:
        try:
            if access in self._unmapped and self.memory.fault(address):
                end = address + max(size, 1) - 1
                if end >> 12 != address >> 12 and self.memory.find(end) is not None:
                    self.memory.fault(end)
                return True
            kind = "access to unmapped memory" if self.memory.find(address) is None else "access that is not allowed"
            self._fault = (kind, address, access in self._write_kinds)
        except BaseException as exc:
            self._fail(exc)
        return False

    def _syscall(self, _uc: Any, _data: Any) -> None:
        try:
            if self.on_syscall is not None:
                self.on_syscall()
        except BaseException as exc:
            self._fail(exc)

    def _read_ticks(self, _uc: Any, _data: Any) -> int:
        """RDTSC and RDTSCP: the host's counter would make each run another. 1: the instruction is done."""
        try:
            now = self.ticks()
            for name, value in (("rax", now & 0xFFFFFFFF), ("rdx", now >> 32 & 0xFFFFFFFF)):
                self.set_reg(name, value)
            return 1
        except BaseException as exc:
            self._fail(exc)
            return 0

    def _interrupt(self, _uc: Any, number: int, _data: Any) -> None:
        if self.arch.name == "arm64" and number == 2:
            self._syscall(_uc, _data)
            return
        self._fault = (f"processor exception {number}", self.reg(self.arch.pc), False)
        self.uc.stop()

    def code_hook(self, function: Callable[..., None], address: int) -> None:
        """Have `function` called before the instruction at this address."""
        self.uc.hook(self._u.UC_HOOK_CODE, None, _BLOCK, function, address, address)

    def stop(self) -> None:
        """Called from a hook: leave `run` after this instruction (or before this block)."""
        self.uc.stop()

    def _take_fault(self) -> tuple[str, int, bool] | None:
        return self._fault

    def run(self, pc: int, until: int) -> None:
        """Run from `pc` until `until` instructions have been executed in total, or a hook stops it. Raises `Fault`."""
        self._clock[1] = until
        self._fault = None
        status = self.uc.start(pc, _NOWHERE)
        if status != 0 and self.error is None:
            where = self.reg(self.arch.pc)
            text = self.uc.message(status).split(" (")[0].lower()
            kind, address, write = self._take_fault() or (text, where, False)
            raise Fault(kind, address, where, write)
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        fault = self._take_fault()
        if fault is not None:
            kind, address, write = fault
            raise Fault(kind, address, self.reg(self.arch.pc), write)
