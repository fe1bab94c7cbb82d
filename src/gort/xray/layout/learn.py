"""What rt0_go tells about g and m: it makes the first ones by hand, so its stores name their fields' offsets.

In the order of the code it stores g0.stackguard0, g0.stackguard1, g0.stack.lo and g0.stack.hi, then m0.g0 and g0.m; on
amd64 it takes the address of m0.tls before that (runtime/asm_*.s, Go 1.15 to 1.27). So the offsets hold for
whatever Go built the file: a development version, a fork, a release that no table has. They are also the test of a
table: one that disagrees with them is not used.

Invariant: an offset is learned only from a store through a register that the code itself has just given the address of
g0 or m0. What is not found is left out.
"""

from __future__ import annotations

import re

from gort.xray.emulate.disasm import Disassembler
from gort.xray.file.dwarf import Layout
from gort.xray.file.symbols import Symbols
from gort.xray.layout.globals import Globals
from gort.xray.layout.layout import Layouts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gort.xray.emulate.native import Insn

_FIRST_STORES = ("stackguard0", "stackguard1", "stack.lo", "stack.hi")
_TLS_SLOTS = 6
_MAX_TLS_OFFSET = 512
_AMD64_STORE = re.compile(r"^qword ptr \[(r\w+)(?: \+ (0x[0-9a-f]+|\d+))?\], (r\w+)$")
_386_STORE = re.compile(r"^dword ptr \[(e\w+)(?: \+ (0x[0-9a-f]+|\d+))?\], (e\w+)$")
_RISCV64_STORE = re.compile(r"^(\w+), (0x[0-9a-f]+|\d+)\((\w+)\)$")
_ARM64_STORE = re.compile(r"^(x\d+), \[(x\d+)(?:, #(0x[0-9a-f]+|\d+))?\]$")


def learn(symbols: Symbols, disasm: Disassembler, found: Globals) -> dict[str, Layout]:
    """Returns the fields of g and m that rt0_go stores; empty when g0 or m0 is not known. Raises `XrayError`."""
    func = symbols.func("runtime.rt0_go")
    if func is None or not found.g0 or not found.m0:
        return {}
    word = symbols.image.word
    taken = {r.address: r.target for r in disasm.refs(func) if r.mnemonic == "lea"}
    g: Layout = {}
    m: Layout = {}
    tested = [r.target for r in disasm.refs(func) if disasm.arch == "386" and r.mnemonic == "mov"]
    for target in (*taken.values(), *tested):  # 386 takes the address of m0.tls elsewhere, and reads it here
        if found.m0 < target < found.m0 + _MAX_TLS_OFFSET and target != found.g0:
            m["tls"] = (target - found.m0, word * _TLS_SLOTS)
    held: dict[str, int] = {}
    """Register -> the address that it holds."""
    stores = 0
    for instruction in disasm.code(func):
        address, _, mnemonic, ops = instruction
        if address in taken:
            held[ops.split(",")[0]] = taken[address]
            continue
        store = _store(instruction, disasm.arch)
        if store is None:
            written = ops.split(",")[0]
            if not mnemonic.startswith(("cmp", "test", "push", "j", "st", "call", "b", "c.sdsp")):
                held.pop(written, None)
            continue
        base, offset, value = store
        into, what = held.get(base), held.get(value)
        if into == found.g0 and what == found.m0:
            g["m"] = (offset, word)
        elif into == found.m0 and what == found.g0:
            m["g0"] = (offset, word)
        elif into == found.g0 and stores < len(_FIRST_STORES):
            g[_FIRST_STORES[stores]] = (offset, word)
            stores += 1
    if stores < len(_FIRST_STORES):
        g = {name: place for name, place in g.items() if name == "m"}
    return {name: fields for name, fields in (("runtime.g", g), ("runtime.m", m)) if fields}


def _store(instruction: Insn, arch: str) -> tuple[str, int, str] | None:
    """Returns (base register, offset, stored register) of an instruction that stores a word."""
    _, _, mnemonic, ops = instruction
    if arch in ("amd64", "386"):
        m = (_AMD64_STORE if arch == "amd64" else _386_STORE).match(ops) if mnemonic == "mov" else None
        return None if m is None else (m[1], int(m[2] or "0", 0), m[3])
    if arch == "riscv64":
        m = _RISCV64_STORE.match(ops) if mnemonic in ("sd", "c.sd") else None
        return None if m is None else (m[3], int(m[2], 0), m[1])
    m = _ARM64_STORE.match(ops) if mnemonic == "str" else None
    return None if m is None else (m[2], int(m[3] or "0", 0), m[1])


def checked(layouts: Layouts, symbols: Symbols, disasm: Disassembler, found: Globals) -> Layouts:
    """Returns the layouts as rt0_go confirms them: its own stores where there is no table, or where it disagrees."""
    if layouts.source == "DWARF":
        return layouts
    learned = learn(symbols, disasm, found)
    if not learned:
        return layouts
    for struct, fields in learned.items():
        for name, place in fields.items():
            known = layouts.offset(struct, name)
            if known is not None and known != place[0]:
                why = f"rt0_go has {struct}.{name} at {place[0]}, the table at {known}"
                return Layouts(learned, f"rt0_go's own stores ({why})")
    if layouts.structs:
        return layouts
    return Layouts(learned, f"rt0_go's own stores ({layouts.source.removeprefix('none: ')})")
