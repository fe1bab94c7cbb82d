"""Where the runtime's variables lie: g0, m0, sched, allp, gomaxprocs, ncpu.

From the symbol table where there is one. A stripped file has no names for data, but the boot code itself tells them:
rt0_go takes the addresses of g0 and m0, schedinit stores 10000 into sched.maxmcount, osinit stores the number of
CPUs, procresize exchanges gomaxprocs and reads allp (runtime/asm_*.s, runtime/proc.go, runtime/os_*.go).

Invariant: a variable that is not found is absent (None); for allp, which several slices resemble, there are
candidates, and the reader of the memory takes the one whose contents are Ps (state.py).
"""

from __future__ import annotations

from gort.xray.emulate.disasm import Disassembler
from gort.xray.file.symbols import Symbols
from gort.xray.layout.layout import Layouts
from gort.xray.record import field, record


@record
class Globals:
    g0: int | None = None
    m0: int | None = None
    sched: int | None = None
    gomaxprocs: int | None = None
    ncpu: int | None = None
    allp: list[int] = field(default_factory=list)
    source: str = "the symbol table"


def find_globals(symbols: Symbols, layouts: Layouts, disasm: Disassembler) -> Globals:
    found = Globals()
    if not symbols.stripped:
        found.g0 = symbols.address("runtime.g0")
        found.m0 = symbols.address("runtime.m0")
        found.sched = symbols.address("runtime.sched")
        found.gomaxprocs = symbols.address("runtime.gomaxprocs")
        found.ncpu = symbols.address("runtime.ncpu") or symbols.address("runtime.numCPUStartup")
        allp = symbols.address("runtime.allp")
        found.allp = [allp] if allp else []
        if found.g0 and found.m0:
            return found
    found.source = "the code (the file has no symbols for data)"
    _rt0(found, symbols, disasm)
    _sched(found, symbols, layouts, disasm)
    _osinit(found, symbols, disasm)
    _procresize(found, symbols, disasm)
    return found


def _rt0(found: Globals, symbols: Symbols, disasm: Disassembler) -> None:
    func = symbols.func("runtime.rt0_go")
    if func is None:
        return
    leas = [
        (ops, target)
        for _, mnemonic, ops, target in disasm.refs(func)
        if mnemonic == "lea" and _is_data(symbols, target)
    ]
    if not leas:
        return
    targets = [t for _, t in leas]
    if disasm.arch == "amd64":
        # ... g0 (its stack), g0 (cgo's path), m0.tls (settls), g0 (once more), m0
        found.g0 = targets[0]
        last = max(i for i, t in enumerate(targets) if t == found.g0)
        if last and last + 1 < len(targets):
            found.m0 = targets[last + 1]
        return
    # R28 is g; the next other variable is m0.
    for i, (ops, target) in enumerate(leas):
        if ops.startswith("x28,"):
            found.g0 = target
            found.m0 = next((t for t in targets[i:] if t != target), None)
            return


def _is_data(symbols: Symbols, address: int) -> bool:
    seg = symbols.image.segment_at(address)
    return seg is not None and "w" in seg.perms


def _sched(found: Globals, symbols: Symbols, layouts: Layouts, disasm: Disassembler) -> None:
    func = symbols.func("runtime.schedinit")
    offset = layouts.offset("runtime.schedt", "maxmcount")
    if func is None or offset is None:
        return
    if disasm.arch == "amd64":
        for _, mnemonic, ops, target in disasm.refs(func):
            if mnemonic == "mov" and ops.endswith(", 0x2710"):
                found.sched = target - offset
                return
        return
    holders: set[str] = set()
    refs = {a: (m, o, t) for a, m, o, t in disasm.refs(func)}
    for address, _, mnemonic, ops in disasm.code(func):
        if mnemonic in ("mov", "movz", "orr") and ops.endswith("#0x2710"):
            holders.add(_digits(ops))
        elif address in refs and mnemonic == "str" and _digits(ops) in holders:
            found.sched = refs[address][2] - offset
            return


def _digits(operands: str) -> str:
    """The number of the register that is the first operand."""
    return "".join(c for c in operands.split(",")[0] if c.isdigit())


def _osinit(found: Globals, symbols: Symbols, disasm: Disassembler) -> None:
    func = symbols.func("runtime.osinit")
    if func is None or symbols.image.os == "windows":  # there, osinit stores much else first
        return
    for _, mnemonic, ops, target in disasm.refs(func):
        if _is_data(symbols, target) and (
            (mnemonic == "mov" and ops.endswith(", eax")) or (mnemonic == "str" and ops.startswith("w0,"))
        ):
            found.ncpu = target
            return


def _procresize(found: Globals, symbols: Symbols, disasm: Disassembler) -> None:
    func = symbols.func("runtime.procresize")
    if func is None:
        return
    refs = {a: (m, o, t) for a, m, o, t in disasm.refs(func) if _is_data(symbols, t)}
    held: dict[str, int] = {}
    for address, _, mnemonic, ops in disasm.code(func):
        if address in refs and refs[address][0] == "lea":
            held[ops.split(",")[0]] = refs[address][2]
        elif found.gomaxprocs is None and (
            (mnemonic == "xchg" and ops.startswith("dword")) or (mnemonic == "stlr" and ops.startswith("w"))
        ):
            # the store is atomic, through a register that was given the address
            import re  # here, because a file with symbols needs none of this

            m = re.search(r"\[(r\w+|x\d+)\]", ops)
            found.gomaxprocs = held.get(m[1]) if m is not None else refs[address][2] if address in refs else None
    targets = [t for _, _, t in refs.values()]
    known = set(targets)
    found.allp = [t for t in dict.fromkeys(targets) if t + 8 in known]
