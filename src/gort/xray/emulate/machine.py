"""The emulated processor: unicorn with the registers, counts, watched addresses and memory that the rest needs.

The block hook is called for every basic block that the program enters. It counts the block's instructions (it asks the
emulator once for each block how many there are), calls what watches the block's address, and stops the processor when
the time slice is over. Functions and return addresses are always the start of a block. So calls can be followed without
another hook, and counts and slices are the same in every run. For blocks that it has counted before, machine code does
this (blockhook.py).

Rejected: unicorn's own instruction counter (`count=`), which tells nothing when a run is stopped before its end. One
code hook for each watched address: each makes the translation of code slower, and a boot has hundreds. The binding's
own hook and register calls, which take 3 µs each; through ctypes the same call takes 1 µs.

Invariant: no exception leaves a hook. It is kept in `_error`, and `run` raises it.
"""

from __future__ import annotations

import ctypes
import struct

from gort.xray.emulate.arch import ARCHES, Arch
from gort.xray.emulate.blockhook import BlockHook
from gort.xray.emulate.clock import Clock
from gort.xray.emulate.memory import PAGE, READ, WRITE, AddressSpace
from gort.xray.emulate.native import Context, Engine, constants
from gort.xray.errors import XrayError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Literal

    Kind = Literal["memory", "division", "instruction"]

_BLOCK = (ctypes.c_uint64, ctypes.c_uint32)
_ACCESS = (ctypes.c_int, ctypes.c_uint64, ctypes.c_int, ctypes.c_int64)
_NOWHERE = 0xFFFFFFFFFFFFFFF0
"""An address at which no program can be: emulation runs until something stops it."""
_DIVIDE_ERROR = 0
"""amd64's number of the exception."""
_GDT, _GDT_ENTRIES = 0xFFFFE000, 16
"""386: where the table of descriptors is, and how many it has."""
_DATA_SEGMENT = 0x00CFF200
"""386: the upper half of a descriptor: data that may be written, for programs, up to 4 GiB."""
_CODE_FLAT, _DATA_FLAT = 0x00CF9A00, 0x00CF9200
"""386: the same of code and data. Without them the emulator takes the stack for one of 16 bits once GS is loaded."""
_ILLEGAL_INSTRUCTION = 2
"""riscv64's number of the exception."""
_MSTATUS_FS = 0x6000
"""riscv64: the bits of the status register that let a program use floating-point registers. The kernel sets them."""
_RDTIME, _RDCYCLE = 0xC0102073, 0xC0002073
"""riscv64: the two instructions, without the register that gets the value. unicorn refuses both."""
_RD_SHIFT, _RD_MASK = 7, 0x1F
_TB_REQUEST_CACHE, _TWO_ARGUMENTS, _IN_AND_OUT = 8, 2 << 26, 3 << 30
_REQUEST_BLOCK = _TB_REQUEST_CACHE | _TWO_ARGUMENTS | _IN_AND_OUT
"""unicorn's request for a translated block."""


class _TranslatedBlock(ctypes.Structure):
    """unicorn's uc_tb."""

    _fields_ = (("pc", ctypes.c_uint64), ("instructions", ctypes.c_uint16), ("size", ctypes.c_uint16))


class Fault(Exception):
    """The program did something that a processor refuses: `what` says it in words, `kind` for the kernel."""

    def __init__(self, kind: Kind, what: str, address: int, pc: int) -> None:
        super().__init__(f"{what} at {address:#x} (pc {pc:#x})")
        self.kind: Kind = kind
        self.what: str = what
        self.address: int = address
        self.pc: int = pc


class Machine:
    """A processor and its memory, of which the program may touch `memory_limit` bytes. It counts on the clock.

    Without `counts` there is no block hook: no instruction is counted, no address watched, and no time slice ends.
    """

    def __init__(self, arch: str, memory_limit: int, clock: Clock, counts: bool = True) -> None:
        self.arch: Arch = ARCHES[arch]
        self.clock: Clock = clock
        self._counter = clock.counter
        self._u = constants("unicorn.unicorn_const")
        const = constants(self.arch.const)
        self._uc = Engine(getattr(self._u, self.arch.uc_arch), getattr(self._u, self.arch.uc_mode))
        self.stop: Callable[[], object] = self._uc.stop
        """Called from a hook: leave `run` after this instruction, or before this block."""
        self._ids = {name: int(getattr(const, self.arch.prefix + name.upper())) for name in self.arch.registers}
        self._watched: dict[int, Callable[[int], None]] = {}
        self._on_syscall: Callable[[], None] | None = None
        self._error: BaseException | None = None
        self._fault: tuple[Kind, str, int] | None = None
        """Kind, words and address of what the processor refused."""
        self._last = self.arch.top - 8
        """The last address of a 64-bit word."""
        self._counts: dict[int, int] = {}
        """Block -> instructions, of the blocks that nothing watches."""
        self._lengths: dict[int, int] = {}
        """Block -> instructions, of all blocks."""
        self._blocks = BlockHook(self._counter)
        """Knows the same blocks as `_counts`, or fewer."""
        self._block = _TranslatedBlock()
        self._block_at = ctypes.c_uint64()
        self._to_block = ctypes.byref(self._block)
        self._setup_registers()
        self.memory: AddressSpace = AddressSpace(self._uc, memory_limit, self.arch.top, self.arch.first_place)
        if counts:
            hook = self._make_block()
            self._uc.hook(self._u.UC_HOOK_BLOCK, None, (ctypes.c_uint64,), hook, short=True, over=self._blocks.over)
        self.last_address: int = _NOWHERE
        """Where the emulator leaves `run` by itself."""
        self._hooks(const)
        if arch == "riscv64":
            self._ids["mstatus"] = const.UC_RISCV_REG_MSTATUS
            self.set_reg("mstatus", _MSTATUS_FS)
        elif arch == "386":
            self._setup_segments(const)

    # -- registers -------------------------------------------------------------------------------------------

    def _setup_registers(self) -> None:
        names = self.arch.registers
        self._values = (ctypes.c_uint64 * len(names))()
        self._words = struct.Struct(f"<{len(names)}Q")
        self._batch = (ctypes.c_int * len(names))(*(self._ids[n] for n in names))
        size = ctypes.sizeof(ctypes.c_uint64)
        base = ctypes.addressof(self._values)
        self._pointers = (ctypes.c_void_p * len(names))(*(base + size * i for i in range(len(names))))
        self._one = ctypes.c_uint64()
        self._at_one = ctypes.byref(self._one)
        library = self._uc.library
        self._read_batch = library.uc_reg_read_batch
        self._read_one = library.uc_reg_read
        self._write_one = library.uc_reg_write
        self._mem_read = library.uc_mem_read
        self._control = library.uc_ctl
        self._handle = self._uc.handle

    def registers(self) -> dict[str, int]:
        """Returns all registers of the running thread."""
        self._read_batch(self._handle, self._batch, self._pointers, len(self._values))
        return dict(zip(self.arch.registers, self._words.unpack(self._values), strict=True))

    def reg(self, name: str) -> int:
        """Returns a register of the running thread."""
        self._one.value = 0
        self._read_one(self._handle, self._ids[name], self._at_one)
        return self._one.value

    def set_reg(self, name: str, value: int) -> None:
        """Change a register of the running thread."""
        self._one.value = value & (2**64 - 1)
        self._write_one(self._handle, self._ids[name], self._at_one)

    def context(self) -> Context:
        """Returns a copy of the processor's registers."""
        return self._uc.context()

    def save(self, context: Context) -> None:
        """Copy the processor's registers into a context."""
        self._uc.save(context)

    def restore(self, context: Context) -> None:
        """Copy a context into the processor's registers."""
        self._uc.restore(context)

    def copy(self, context: Context) -> Context:
        """Returns a second copy of a context. It goes through the processor, whose registers are lost."""
        self._uc.restore(context)
        return self._uc.context()

    def set_in(self, context: Context, name: str, value: int) -> None:
        """Change a register of a thread that is not running."""
        context.set_reg(self._ids[name], value)

    def in_context(self, context: Context, name: str) -> int:
        """Returns a register of a thread that is not running."""
        return context.reg(self._ids[name])

    # -- memory ----------------------------------------------------------------------------------------------

    def read(self, address: int, n: int) -> bytes | None:
        """Returns `n` bytes of memory, or None when they are not all mapped."""
        return self.memory.read(address, n)

    def pointer(self, address: int) -> int | None:
        """Returns a word of memory that is as wide as an address, or None when it is not mapped."""
        if self.arch.word == 8:
            return self.u64(address)
        raw = self.memory.read(address, 4)
        return None if raw is None else int.from_bytes(raw, "little")

    def u64(self, address: int) -> int | None:
        """Returns a 64-bit word of memory, or None when it is not mapped."""
        if 0 <= address <= self._last and self._mem_read(self._handle, address, self._at_one, 8) == 0:
            return self._one.value
        raw = self.memory.read(address, 8)  # reserved, but not in the emulator yet
        return None if raw is None else int.from_bytes(raw, "little")

    def write(self, address: int, data: bytes) -> bool:
        """Write to memory. False when it is not all mapped."""
        return self.memory.write(address, data)

    def write_u32(self, address: int, value: int) -> bool:
        """Write a 32-bit word. False when it is not mapped."""
        return self.memory.write(address, (value & 0xFFFFFFFF).to_bytes(4, "little"))

    def write_u64(self, address: int, value: int) -> bool:
        """Write a 64-bit word. False when it is not mapped."""
        return self.memory.write(address, (value & (2**64 - 1)).to_bytes(8, "little"))

    # -- 386's segments --------------------------------------------------------------------------------------

    def _setup_segments(self, const: ModuleType) -> None:
        """Give the processor a table of descriptors (GDT), above the program's memory."""
        self._uc.map(_GDT, PAGE, READ | WRITE)
        register = struct.pack("<H6xQIII", 0, _GDT, _GDT_ENTRIES * 8 - 1, 0, 0)
        self._write_one(self._handle, const.UC_X86_REG_GDTR, ctypes.create_string_buffer(register))
        for name, entry, kind in (
            ("cs", 4, _CODE_FLAT),
            ("ss", 5, _DATA_FLAT),
            ("ds", 5, _DATA_FLAT),
            ("es", 5, _DATA_FLAT),
        ):
            self._uc.write(_GDT + 8 * entry, struct.pack("<II", 0xFFFF, kind))
            self._ids[name] = getattr(const, "UC_X86_REG_" + name.upper())
            self.set_reg(name, 8 * entry)

    def set_segment(self, entry: int, base: int) -> None:
        """Write a descriptor of the program's data into the table: 4 GiB from `base`."""
        low, high = 0xFFFF | (base & 0xFFFFFF) << 16, _DATA_SEGMENT | base >> 24 << 24
        self._uc.write(_GDT + 8 * entry, struct.pack("<II", low & 0xFFFFFFFF, high | (base >> 16 & 0xFF)))

    def tls(self) -> int:
        """Returns the address of the running thread's thread-local storage; 0 where there is none yet."""
        if self.arch.tls:
            return self.reg(self.arch.tls)
        entry = self.reg("gs") >> 3
        raw = self._uc.read(_GDT + 8 * entry, 8) if 0 < entry < _GDT_ENTRIES else None
        return 0 if raw is None else int.from_bytes(raw[2:5], "little") | raw[7] << 24

    # -- running ---------------------------------------------------------------------------------------------

    def _hooks(self, const: ModuleType) -> None:
        u, uc = self._u, self._uc
        uc.hook(u.UC_HOOK_MEM_UNMAPPED | u.UC_HOOK_MEM_PROT, ctypes.c_bool, _ACCESS, self._memory_fault)
        if self.arch.name == "amd64":
            uc.hook(u.UC_HOOK_INSN, None, (), self._syscall, 1, 0, const.UC_X86_INS_SYSCALL)
        if self.arch.name in ("amd64", "386"):
            for instruction in (const.UC_X86_INS_RDTSC, const.UC_X86_INS_RDTSCP):
                uc.hook(u.UC_HOOK_INSN, ctypes.c_int, (), self._read_ticks, 1, 0, instruction)
        uc.hook(u.UC_HOOK_INTR, None, (ctypes.c_uint32,), self._interrupt)
        self._unmapped = (u.UC_MEM_READ_UNMAPPED, u.UC_MEM_WRITE_UNMAPPED, u.UC_MEM_FETCH_UNMAPPED)

    def _make_block(self) -> Callable[[object, int], None]:
        """Returns the block hook. It is a closure because it runs for every block: its names are found faster."""
        counts, counter, stop, first = self._counts, self._counter, self._uc.stop, self._first
        remember = self._blocks.remember

        def block(_uc: object, address: int) -> None:
            total = counter[0]
            if total >= counter[1]:
                stop()  # before this block; it is entered again, and counted then
                return
            try:
                n = counts[address]
            except KeyError:
                first(address)
                return
            counter[0] = total + n
            remember(address, n)

        return block

    def _first(self, address: int) -> None:
        """Count a block that is new or watched. Only blocks that nothing watches get into `_counts`."""
        n = self._lengths.get(address)
        try:
            if n is None:
                n = self._lengths[address] = self._count(address)
            self._counter[0] += n
            callback = self._watched.get(address)
            if callback is None:
                self._counts[address] = n
                self._blocks.remember(address, n)
            else:
                callback(address)
        except BaseException as exc:
            self._fail(exc)

    def watch_at(self, address: int, callback: Callable[[int], None]) -> None:
        """Have `callback` called with the address when a block that begins there is entered. It replaces an older one."""
        self._watched[address] = callback
        self._counts.pop(address, None)
        self._blocks.forget(address)

    def watched_at(self, address: int) -> Callable[[int], None] | None:
        """Returns what watches the address."""
        return self._watched.get(address)

    def unwatch(self, address: int) -> None:
        """Have nothing called any more when the block at the address is entered."""
        self._watched.pop(address, None)

    def _count(self, address: int) -> int:
        """Returns how many instructions the block that is being entered has; the emulator has just translated it."""
        block = self._block
        self._block_at.value = address
        status = self._control(self._handle, _REQUEST_BLOCK, self._block_at, self._to_block)
        if status != 0 or block.pc != address:
            raise XrayError(f"the emulator does not tell how long the block at {address:#x} is: pip install -U unicorn")
        return max(1, int(block.instructions))

    @property
    def instructions(self) -> int:
        """Instructions that all threads have executed."""
        return self._counter[0]

    def _fail(self, exc: BaseException) -> None:
        """Keep the first exception that was raised in a hook, and leave `run`."""
        if self._error is None:
            self._error = exc
        self._uc.stop()

    def _memory_fault(self, _uc: object, access: int, address: int, size: int, _value: int, _data: object) -> bool:
        """True when the memory is there now and the instruction can be tried again."""
        try:
            if access in self._unmapped and self.memory.fault(address):
                end = address + max(size, 1) - 1
                if end // PAGE != address // PAGE and self.memory.find(end) is not None:
                    self.memory.fault(end)
                return True
            mapped = self.memory.find(address) is not None
            what = "access that is not allowed" if mapped else "access to unmapped memory"
            self._fault = ("memory", what, address)
        except BaseException as exc:
            self._fail(exc)
        return False

    def _syscall(self, _uc: object, _data: object) -> None:
        try:
            if self._on_syscall is not None:
                self._on_syscall()
        except BaseException as exc:
            self._fail(exc)

    def _read_ticks(self, _uc: object, _data: object) -> int:
        """RDTSC and RDTSCP show the virtual clock; the host's would make each run another. 1: the instruction is done."""
        try:
            now = self.clock.now
            low, high = ("rax", "rdx") if self.arch.word == 8 else ("eax", "edx")
            self.set_reg(low, now & 0xFFFFFFFF)
            self.set_reg(high, now >> 32 & 0xFFFFFFFF)
            return 1
        except BaseException as exc:
            self._fail(exc)
            return 0

    def _interrupt(self, _uc: object, number: int, _data: object) -> None:
        if number == self.arch.syscall_exception:
            self._syscall(_uc, _data)
            return
        if self.arch.name == "riscv64" and number == _ILLEGAL_INSTRUCTION and self._read_clock():
            return
        kind: Kind = "division" if number == _DIVIDE_ERROR else "instruction"
        self._fault = (kind, f"processor exception {number}", self.reg(self.arch.pc))
        self._uc.stop()

    def _read_clock(self) -> bool:
        """Do what RDTIME does, with the virtual clock. False when the instruction before pc is another one."""
        raw = self.read(self.reg(self.arch.pc) - 4, 4)
        word = int.from_bytes(raw or b"", "little")
        if word & ~(_RD_MASK << _RD_SHIFT) not in (_RDTIME, _RDCYCLE):
            return False
        number = word >> _RD_SHIFT & _RD_MASK
        if number:
            self.set_reg(self.arch.registers[number], self.clock.now)  # pc stands where x0 would
        return True

    def code_hook(self, callback: Callable[[], None], address: int) -> None:
        """Have `callback` called before the instruction at this address."""

        def hook(*_: object) -> None:
            try:
                callback()
            except BaseException as exc:
                self._fail(exc)

        self._uc.hook(self._u.UC_HOOK_CODE, None, _BLOCK, hook, address, address)

    def every_instruction(self, callback: Callable[[int], None]) -> None:
        """Have `callback` called with the address before each instruction. The program runs a tenth as fast then."""

        def hook(_uc: object, address: int, _size: int) -> None:
            try:
                if self._error is None:
                    callback(address)
            except BaseException as exc:
                self._fail(exc)

        self._uc.hook(self._u.UC_HOOK_CODE, None, _BLOCK, hook, short=True)

    def store_hook(self, callback: Callable[[int, int, int], None], first: int, last: int) -> None:
        """Have `callback` called with address, size and value before each store that begins in [first, last]."""

        def hook(_uc: object, _access: int, address: int, size: int, value: int, _data: object) -> None:
            try:
                callback(address, size, value)
            except BaseException as exc:
                self._fail(exc)

        self._uc.hook(self._u.UC_HOOK_MEM_WRITE, None, _ACCESS, hook, max(first, 0), last)

    def run(self, pc: int, until: int, on_syscall: Callable[[], None]) -> None:
        """Run from `pc` until `until` instructions have been executed in total, or a hook stops the processor.

        `on_syscall` is called at every system call. Raises `Fault`, and what was raised in a hook.
        """
        self._reset(until, on_syscall)
        status = self._uc.start(pc, self.last_address)
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        if self._fault is not None:
            raise Fault(*self._fault, self.reg(self.arch.pc))
        if status != 0:
            where = self.reg(self.arch.pc)
            what = self._uc.message(status).split(" (")[0].lower()
            raise Fault("memory" if "memory" in what else "instruction", what, where, where)

    def _reset(self, until: int, on_syscall: Callable[[], None]) -> None:
        self._counter[1] = until
        self._on_syscall = on_syscall
        self._fault = None
