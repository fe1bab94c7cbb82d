"""The addresses of the runtime's variables: g0, m0, sched, allp, gomaxprocs, ncpu.

They are taken from the symbol table where there is one. A stripped file has no names for data, but the boot code itself
says where they are: rt0_go takes the addresses of g0 and m0, schedinit stores 10000 into sched.maxmcount, osinit stores
the number of CPUs, procresize exchanges gomaxprocs and reads allp (runtime/asm_*.s, runtime/proc.go, runtime/os_*.go).

Invariant: a variable that is not found is absent (None). Several slices look like allp, so there are candidates for it;
state.py takes the one whose elements are Ps.
"""

from __future__ import annotations

from gort.xray.emulate.disasm import Disassembler, Ref
from gort.xray.file.image import SymbolTable
from gort.xray.file.symbols import Symbols
from gort.xray.layout.layout import Layouts
from gort.xray.record import field, record

_MAXMCOUNT = "0x2710"
"""10000, as schedinit stores it."""
_MAXMCOUNT_LOW = "0x710"
"""Its lower bits; riscv64's instructions have no room for the whole number."""

_X86 = ("amd64", "386")
_PROCESSOR = {"isIntel": 1, "lfenceBeforeRdtsc": 1, "processorVersionInfo": 4}
"""Name in package runtime -> size; in the order in which rt0_go stores them."""

_WORDS = {"argc": 4, "argv": 0, "allm": 0}
"""Name in package runtime -> size; 0 for a pointer."""


@record
class Globals:
    """Addresses of variables."""

    g0: int | None = None
    m0: int | None = None
    sched: int | None = None
    gomaxprocs: int | None = None
    ncpu: int | None = None
    allp: list[int] = field(default_factory=list)
    """Candidates: one when the symbol table names it."""
    processor: dict[str, tuple[int, int]] = field(default_factory=dict)
    """What rt0_go notes of the processor on amd64: name -> (address, size). Which of them there are depends on the Go."""
    words: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Other variables that the boot sets: name -> (address, size). Only a symbol table names them."""
    steal_order: int | None = None
    """The address of stealOrder: a number, then a slice of numbers."""
    source: str = "the symbol table"
    """The source of the addresses, for the report."""


def find_globals(symbols: Symbols, layouts: Layouts, disasm: Disassembler) -> Globals:
    """Returns the addresses that are found. Raises `XrayError` when they have to be read off the code and cannot be."""
    found = Globals()
    if not symbols.stripped:
        found.g0 = symbols.address("runtime.g0")
        found.m0 = symbols.address("runtime.m0")
        found.sched = symbols.address("runtime.sched")
        found.gomaxprocs = symbols.address("runtime.gomaxprocs")
        found.ncpu = symbols.address("runtime.ncpu") or symbols.address("runtime.numCPUStartup")
        allp = symbols.address("runtime.allp")
        found.allp = [allp] if allp else []
        found.steal_order = symbols.address("runtime.stealOrder")
        for name, size in _WORDS.items():
            address = symbols.address(f"runtime.{name}")
            if address:
                found.words[name] = (address, size or symbols.image.word)
        for name, size in _PROCESSOR.items():
            address = symbols.address(f"runtime.{name}")
            if address:
                found.processor[name] = (address, size)
        if found.g0 and found.m0:
            return found
    found.source = "the code (the file has no symbols for data)"
    _rt0(found, symbols, disasm)
    _processor(found, symbols, disasm)
    _sched(found, symbols, layouts, disasm)
    _osinit(found, symbols, disasm)
    _procresize(found, symbols, disasm)
    return found


def named(found: Globals, layouts: Layouts) -> SymbolTable:
    """Returns the variables by name, with the sizes as far as they are known: for files that name no data."""
    out: SymbolTable = {}
    for name, address, struct in (
        ("g0", found.g0, "runtime.g"),
        ("m0", found.m0, "runtime.m"),
        ("sched", found.sched, "runtime.schedt"),
        ("gomaxprocs", found.gomaxprocs, ""),
        ("ncpu", found.ncpu, ""),
    ):
        if address:
            fields = layouts.structs.get(struct, {}).values()
            out[f"runtime.{name}"] = (address, max((offset + size for offset, size in fields), default=4))
    for name, place in found.processor.items():
        out[f"runtime.{name}"] = place
    return out


def _is_data(symbols: Symbols, address: int) -> bool:
    seg = symbols.image.segment_at(address)
    return seg is not None and "w" in seg.perms


def _rt0(found: Globals, symbols: Symbols, disasm: Disassembler) -> None:
    """Find g0 and m0 among the addresses that rt0_go takes."""
    func = symbols.func("runtime.rt0_go")
    if func is None:
        return
    taken = [r for r in disasm.refs(func) if r.mnemonic == "lea" and _is_data(symbols, r.target)]
    if not taken:
        return
    targets = [r.target for r in taken]
    if disasm.arch in _X86:
        # The order is: g0 (its stack), g0 (where cgo is used), m0.tls (settls), g0 (once more), m0.
        found.g0 = targets[0]
        last = max(i for i, t in enumerate(targets) if t == found.g0)
        if last and last + 1 < len(targets):
            found.m0 = targets[last + 1]
        return
    # One register is g, so its address is that of g0. m0 is where g is stored: m0.g0 = g0.
    if disasm.arch == "riscv64":
        found.g0 = next((r.target for r in taken if r.operands.startswith("s11,")), None)
        stored = (r.target for r in disasm.refs(func) if r.mnemonic == "sd" and r.operands.startswith("s11,"))
        found.m0 = next(stored, None)
        return
    held: dict[str, int] = {}
    """Register -> the variable whose address it holds."""
    taken_at = {r.address: r.target for r in taken}
    for address, _, mnemonic, ops in disasm.code(func):
        if address in taken_at:
            register = ops.split(",")[0]
            held[register] = taken_at[address]
            if register == "x28":
                found.g0 = found.g0 or taken_at[address]
        elif mnemonic == "str" and ops.startswith("x28, [x") and found.g0 is not None:
            found.m0 = held.get(ops[5:].strip("[]").split(",")[0])
            if found.m0 is not None:
                return


def _processor(found: Globals, symbols: Symbols, disasm: Disassembler) -> None:
    """Find what rt0_go stores behind CPUID: one byte or two where the vendor is Intel, then the version in EAX.

    lfenceBeforeRdtsc is the second byte; Go 1.15 to 1.17 have it.
    """
    func = symbols.func("runtime.rt0_go")
    if func is None or disasm.arch not in _X86:
        return
    flags: list[int] = []
    for ref in disasm.refs(func):
        if not _is_data(symbols, ref.target):
            continue
        if ref.mnemonic == "mov" and ref.operands.startswith("byte ptr") and ref.operands.endswith(", 1"):
            flags.append(ref.target)
        elif ref.mnemonic == "mov" and ref.operands.startswith("dword ptr") and ref.operands.endswith(", eax"):
            found.processor["processorVersionInfo"] = (ref.target, _PROCESSOR["processorVersionInfo"])
            break
    for name, address in zip(_PROCESSOR, flags, strict=False):
        found.processor[name] = (address, _PROCESSOR[name])


def _sched(found: Globals, symbols: Symbols, layouts: Layouts, disasm: Disassembler) -> None:
    """Find sched through the store of sched.maxmcount in schedinit."""
    func = symbols.func("runtime.schedinit")
    offset = layouts.offset("runtime.schedt", "maxmcount")
    if func is None or offset is None:
        return
    if disasm.arch in _X86:
        for ref in disasm.refs(func):
            if ref.mnemonic == "mov" and ref.operands.endswith(f", {_MAXMCOUNT}"):
                found.sched = ref.target - offset
                return
        return
    holders: set[str] = set()
    """Registers that hold 10000."""
    refs = {r.address: r for r in disasm.refs(func)}
    for address, _, mnemonic, ops in disasm.code(func):
        if mnemonic in ("mov", "movz", "orr") and ops.endswith(f"#{_MAXMCOUNT}"):
            holders.add(_digits(ops))
        elif mnemonic == "addiw" and ops.endswith(f", {_MAXMCOUNT_LOW}"):
            holders.add(ops.split(",")[0])
        elif address in refs and mnemonic == "sw" and ops.split(",")[0] in holders:
            found.sched = refs[address].target - offset
            return
        elif address in refs and mnemonic == "str" and _digits(ops) in holders:
            found.sched = refs[address].target - offset
            return


def _digits(operands: str) -> str:
    """Returns the number of the register that is the first operand."""
    return "".join(c for c in operands.split(",")[0] if c.isdigit())


def _osinit(found: Globals, symbols: Symbols, disasm: Disassembler) -> None:
    """Find ncpu: osinit stores there what getproccount returned."""
    func = symbols.func("runtime.osinit")
    if func is None or symbols.image.os == "windows":  # there, osinit stores much else first
        return
    for ref in disasm.refs(func):
        amd64 = ref.mnemonic == "mov" and ref.operands.endswith(", eax")
        arm64 = ref.mnemonic == "str" and ref.operands.startswith("w0,")
        riscv64 = ref.mnemonic == "sw" and ref.operands.startswith("a0,")
        if (amd64 or arm64 or riscv64) and _is_data(symbols, ref.target):
            found.ncpu = ref.target
            return


def _procresize(found: Globals, symbols: Symbols, disasm: Disassembler) -> None:
    """Find gomaxprocs, which procresize stores atomically, and the slices that may be allp."""
    func = symbols.func("runtime.procresize")
    if func is None:
        return
    refs = {r.address: r for r in disasm.refs(func) if _is_data(symbols, r.target)}
    held: dict[str, int] = {}
    """Register -> the address that it holds."""
    for address, _, mnemonic, ops in disasm.code(func):
        ref = refs.get(address)
        if ref is not None and ref.mnemonic == "lea":
            held[ops.split(",")[0]] = ref.target
        elif found.gomaxprocs is None and (
            (mnemonic == "xchg" and ops.startswith("dword"))
            or (mnemonic == "stlr" and ops.startswith("w"))
            or mnemonic.startswith("amoswap.w")
        ):
            found.gomaxprocs = _stored_at(ops, ref, held)
    targets = [r.target for r in refs.values()]
    known = set(targets)
    found.allp = [
        t for t in dict.fromkeys(targets) if t + symbols.image.word in known
    ]  # a slice's length is read as well


def _stored_at(operands: str, ref: Ref | None, held: dict[str, int]) -> int | None:
    """Returns the address that an atomic store writes to: it is in a register, or in the instruction."""
    import re  # here, because a file with symbols needs none of this

    m = re.search(r"\[([re]\w+|x\d+)\]|\((\w+)\)", operands)
    if m is not None:
        return held.get(m[1] or m[2])
    return ref.target if ref is not None else None
