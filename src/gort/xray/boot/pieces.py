"""The pieces of rt0_go that are stations and no calls: found by their instructions.

rt0_go makes the first g and m by hand, in assembly, between its calls: it sets g0's stack, asks the processor who it is,
tests thread-local storage and ties g0 and m0 together. Where the program has C code (cgo), it calls `_cgo_init` through
a pointer instead of making thread-local storage. Each piece begins at an instruction that only it has, and ends where
the next one begins or at a mark without a name. The two ways meet at "bind g0 and m0".
"""

from __future__ import annotations

from itertools import pairwise

from gort.xray.emulate.disasm import Disassembler
from gort.xray.file.symbols import Symbols
from gort.xray.record import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gort.xray.emulate.disasm import Call
    from gort.xray.emulate.native import Insn

G0_STACK, CPUID, TLS_CHECK, BIND = "g0 stack", "cpuid", "tls check", "bind g0 and m0"
CGO_INIT = "_cgo_init"
_CPUID_SIZE = 2
_AUIPC_SIZE = 4
_REGISTERS = ("rax", "rbx", "rcx", "rdx")
"""amd64: a call through one of them, before settls, is that of _cgo_init."""
_TLS_MAGIC = ", 0x123"
"""The operand of the comparison that tests thread-local storage."""


@frozen
class Mark:
    """An instruction at which a piece begins, ends, or has a result."""

    address: int
    name: str | None = None
    """The piece that begins here; None ends the piece before."""
    vendor: bool = False
    """True behind CPUID: the registers hold the processor's name. No piece begins or ends here."""


def find_pieces(symbols: Symbols, disasm: Disassembler) -> list[Mark]:
    """Returns the marks in the order of their addresses; none when the file has no rt0_go."""
    func = symbols.func("runtime.rt0_go")
    if func is None:
        return []
    calls = {symbols.describe(c.target): c for c in disasm.calls(func) if c.target is not None}
    code = disasm.code(func)
    marks = [Mark(func.entry, G0_STACK)]
    if disasm.arch == "amd64":
        marks += _amd64(code, calls, symbols.image.os)
    elif disasm.arch == "386":
        marks += _386(code, calls)
    elif disasm.arch == "riscv64":
        marks += _riscv64(symbols, disasm, calls)
    else:
        tlsinit = calls.get("runtime.tlsinit")
        if tlsinit is not None:  # darwin: it is called before g0's stack is made
            marks = [Mark(tlsinit.back, G0_STACK)]
        marks += _arm64(code, calls)
    return sorted(marks, key=lambda m: m.address)


def _386(code: list[Insn], calls: dict[str, Call]) -> list[Mark]:
    """ldt0setup stands for settls. The two ways meet where thread-local storage is read last before CLD."""
    setup = calls.get("ldt0setup")
    cpuid = next((a for a, _, mnemonic, _ in code if mnemonic == "cpuid"), None)
    cld = next((a for a, _, mnemonic, _ in code if mnemonic == "cld"), None)
    marks = [] if cpuid is None else [Mark(cpuid, CPUID), Mark(cpuid + _CPUID_SIZE, vendor=True)]
    if setup is None or cld is None:
        return marks
    marks += [Mark(setup.address), Mark(setup.back, TLS_CHECK), Mark(cld)]
    marks += [Mark(a, CGO_INIT) for a, _, mn, ops in code if a < setup.address and mn == "call" and ops == "eax"]
    reads = [a for a, _, mnemonic, ops in code if a < cld and mnemonic == "mov" and ops.endswith("gs:[0]")]
    if len(reads) > 1:
        marks.append(Mark(reads[-1], BIND))
    return marks


def _riscv64(symbols: Symbols, disasm: Disassembler, calls: dict[str, Call]) -> list[Mark]:
    """The last address that is taken before the call of check is that of m0: two instructions make it."""
    func, check = symbols.func("runtime.rt0_go"), calls.get("runtime.check")
    if func is None or check is None:
        return []
    marks = [Mark(c.address, CGO_INIT) for c in disasm.calls(func) if c.target is None and c.address < check.address]
    m0 = [r.address for r in disasm.refs(func) if r.mnemonic == "lea" and r.address < check.address]
    if m0:
        marks += [Mark(m0[-1] - _AUIPC_SIZE, BIND), Mark(check.address)]
    return marks


def _amd64(code: list[Insn], calls: dict[str, Call], system: str) -> list[Mark]:
    marks: list[Mark] = []
    cpuid = next((a for a, _, mnemonic, _ in code if mnemonic == "cpuid"), None)
    if cpuid is not None:
        marks += [Mark(cpuid, CPUID), Mark(cpuid + _CPUID_SIZE, vendor=True)]
    cld = next((a for a, _, mnemonic, _ in code if mnemonic == "cld"), None)
    # darwin jumps over settls: its slot of thread-local storage is fixed.
    settls = calls.get("runtime.settls") if system != "darwin" else None
    if settls is not None:
        marks.append(Mark(settls.address))
        for (_, _, mnemonic, operands), (behind, _, _, target) in pairwise(code):
            if mnemonic == "cmp" and operands.endswith(_TLS_MAGIC):
                # The jump behind the comparison leads over abort, to where the way through _cgo_init arrives as well.
                meet = int(target, 16) if target.startswith("0x") else behind
                marks += [Mark(settls.back, TLS_CHECK), Mark(behind), Mark(meet, BIND)]
                break
        init = next((a for a, _, mn, ops in code if a < settls.address and mn == "call" and ops in _REGISTERS), None)
        if init is not None:
            marks.append(Mark(init, CGO_INIT))
    elif cld is not None:
        stores = [a for a, _, mn, ops in code if a < cld and mn == "mov" and ("gs:" in ops or "fs:" in ops)]
        if stores:
            marks.append(Mark(stores[-1], BIND))
    if cld is not None:
        marks.append(Mark(cld))
    return marks


def _arm64(code: list[Insn], calls: dict[str, Call]) -> list[Mark]:
    save, check = calls.get("runtime.save_g"), calls.get("runtime.check")
    if save is None:
        return []
    marks = [Mark(save.address)]
    marks += [Mark(a, CGO_INIT) for a, _, mnemonic, _ in code if a < save.address and mnemonic == "blr"]
    if check is not None:
        marks += [Mark(save.back, BIND), Mark(check.address)]
    return marks
