"""The emulated processor: unicorn with the registers, counts, watched addresses and memory that the rest needs.

Every basic block that the program enters calls the block hook once. It counts instructions (per block, by disassembling
each block once), calls what watches the block's address, and stops the processor when the time slice is over.
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
from collections.abc import Callable
from typing import Any

from gort.xray.arch import ARCHES, Arch
from gort.xray.disasm import Disassembler
from gort.xray.errors import XrayError, require
from gort.xray.image import Segment
from gort.xray.memory import AddressSpace

_NOWHERE = 0xFFFFFFFFFFFFFFF0
"""An address at which no program can be: emulation runs until something stops it."""


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
        unicorn = require("unicorn")
        self.arch: Arch = ARCHES[arch]
        self.disasm = disasm
        self._u = unicorn
        const = require(self.arch.const)
        self.uc: Any = unicorn.Uc(getattr(unicorn, self.arch.uc_arch), getattr(unicorn, self.arch.uc_mode))
        self.ids: dict[str, int] = {
            name: getattr(const, self.arch.prefix + name.upper()) for name in (*self.arch.gprs,)
        }
        self._clock = [0, 0]
        """Instructions executed, and the number at which the time slice ends."""
        self.watch: dict[int, Callable[[int], None]] = {}
        self.on_syscall: Callable[[], None] | None = None
        self.error: BaseException | None = None
        self._counts: dict[int, int] = {}
        self._text: Segment | None = None
        self._fault: tuple[str, int, bool] | None = None
        self._setup_batch(const)
        self.memory = AddressSpace(self.uc, memory_limit, self._lib.uc_mem_read, self._handle)
        self._hooks(const)

    # -- registers -------------------------------------------------------------------------------------------

    def _setup_batch(self, const: Any) -> None:
        names = self.arch.gprs
        self._values = (ctypes.c_uint64 * len(names))()
        self._ids = (ctypes.c_int * len(names))(*(self.ids[n] for n in names))
        size = ctypes.sizeof(ctypes.c_uint64)
        base = ctypes.addressof(self._values)
        self._pointers = (ctypes.c_void_p * len(names))(*(base + size * i for i in range(len(names))))
        self._one = ctypes.c_uint64()
        self._index = {n: i for i, n in enumerate(names)}
        try:
            from unicorn.unicorn_py3.unicorn import uclib

            self._read_batch: Any = uclib.uc_reg_read_batch
            self._read_one: Any = uclib.uc_reg_read
            self._write_one: Any = uclib.uc_reg_write
            self._lib: Any = uclib
        except (ImportError, AttributeError) as exc:  # an older or newer binding is laid out otherwise
            raise XrayError(f"gort xray needs unicorn 2.1 or newer: pip install -U unicorn ({exc})") from exc
        self._handle = ctypes.c_void_p(ctypes.cast(self.uc._uch, ctypes.c_void_p).value)

    def registers(self) -> dict[str, int]:
        self._read_batch(self._handle, self._ids, self._pointers, len(self._values))
        return dict(zip(self.arch.gprs, self._values, strict=True))

    def reg(self, name: str) -> int:
        self._one.value = 0
        self._read_one(self._handle, ctypes.c_int(self.ids[name]), ctypes.byref(self._one))
        return self._one.value

    def set_reg(self, name: str, value: int) -> None:
        self._one.value = value & (2**64 - 1)
        self._write_one(self._handle, ctypes.c_int(self.ids[name]), ctypes.byref(self._one))

    def context(self) -> Any:
        return self.uc.context_save()

    def restore(self, context: Any) -> None:
        self.uc.context_restore(context)

    def set_in(self, context: Any, name: str, value: int) -> None:
        """Change a register of a thread that is not running."""
        context.reg_write(self.ids[name], value & (2**64 - 1))

    def in_context(self, context: Any, name: str) -> int:
        return int(context.reg_read(self.ids[name]))

    # -- memory ----------------------------------------------------------------------------------------------

    def read(self, address: int, n: int) -> bytes | None:
        return self.memory.read(address, n)

    def u64(self, address: int) -> int | None:
        raw = self.memory.read(address, 8)
        return None if raw is None else int(struct.unpack("<Q", raw)[0])

    def write(self, address: int, data: bytes) -> bool:
        return self.memory.write(address, data)

    # -- running ---------------------------------------------------------------------------------------------

    def _hooks(self, const: Any) -> None:
        u, uc = self._u, self.uc
        proto = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p)
        self._callback = proto(self._make_block())  # kept: ctypes does not hold it
        handle = ctypes.c_size_t()
        status = self._lib.uc_hook_add(
            self._handle,
            ctypes.byref(handle),
            ctypes.c_int(u.UC_HOOK_BLOCK),
            ctypes.cast(self._callback, ctypes.c_void_p),
            ctypes.c_void_p(None),
            ctypes.c_uint64(1),
            ctypes.c_uint64(0),
        )
        if status != 0:
            raise XrayError(f"unicorn refuses a block hook (status {status}): pip install -U unicorn")
        uc.hook_add(u.UC_HOOK_MEM_UNMAPPED | u.UC_HOOK_MEM_PROT, self._memory_fault)
        if self.arch.name == "amd64":
            uc.hook_add(u.UC_HOOK_INSN, self._syscall, None, 1, 0, const.UC_X86_INS_SYSCALL)
        uc.hook_add(u.UC_HOOK_INTR, self._interrupt)
        self._write_kinds = (u.UC_MEM_WRITE_UNMAPPED, u.UC_MEM_WRITE_PROT)
        self._unmapped = (u.UC_MEM_READ_UNMAPPED, u.UC_MEM_WRITE_UNMAPPED, u.UC_MEM_FETCH_UNMAPPED)

    def _make_block(self) -> Callable[[Any, int, int, Any], None]:
        """The block hook as a closure: it runs for every block, and a name is found faster there than an attribute."""
        counts, watch, clock = self._counts, self.watch, self._clock
        counted, watched = counts.get, watch.get
        stop, handle, count, fail = self._lib.uc_emu_stop, self._handle, self._count, self._fail

        def block(_uc: Any, address: int, size: int, _data: Any) -> None:
            total = clock[0]
            if total >= clock[1]:
                stop(handle)  # before this block; it is entered again, and counted then
                return
            clock[0] = total + (counted(address) or count(address, size))
            callback = watched(address)
            if callback is not None:
                try:
                    callback(address)
                except BaseException as exc:
                    fail(exc)

        return block

    @property
    def instructions(self) -> int:
        """How many were executed so far, by all threads."""
        return self._clock[0]

    def _count(self, address: int, size: int) -> int:
        if self.arch.name == "arm64":
            n = max(1, size >> 2)
        else:
            seg = self._text
            if seg is None or not seg.address <= address < seg.address + seg.file_size:
                image = self.disasm.symbols.image
                seg = image.segment_at(address)
                seg = self._text = seg if seg is not None and "x" in seg.perms and "w" not in seg.perms else None
            if seg is not None:  # code in the file: the same bytes, without asking the emulator
                at = seg.offset + address - seg.address
                raw: bytes | None = self.disasm.symbols.image.data[at : at + size]
            else:
                raw = self.memory.read(address, size)
            n = self.disasm.count(raw) if raw else 1
        self._counts[address] = n
        return n

    def _fail(self, exc: BaseException) -> None:
        if self.error is None:
            self.error = exc
        self.uc.emu_stop()

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

    def _interrupt(self, _uc: Any, number: int, _data: Any) -> None:
        if self.arch.name == "arm64" and number == 2:
            self._syscall(_uc, _data)
            return
        self._fault = (f"processor exception {number}", self.reg(self.arch.pc), False)
        self.uc.emu_stop()

    def stop(self) -> None:
        """Called from a hook: leave `run` after this instruction (or before this block)."""
        self.uc.emu_stop()

    def _take_fault(self) -> tuple[str, int, bool] | None:
        return self._fault

    def run(self, pc: int, until: int) -> None:
        """Run from `pc` until `until` instructions have been executed in total, or a hook stops it. Raises `Fault`."""
        self._clock[1] = until
        self._fault = None
        try:
            self.uc.emu_start(pc, _NOWHERE)
        except self._u.UcError as exc:
            if self.error is None:
                where = self.reg(self.arch.pc)
                kind, address, write = self._take_fault() or (str(exc).split(" (")[0].lower(), where, False)
                raise Fault(kind, address, where, write) from None
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        fault = self._take_fault()
        if fault is not None:
            kind, address, write = fault
            raise Fault(kind, address, self.reg(self.arch.pc), write)
