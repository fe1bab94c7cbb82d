"""Disassembly with capstone: the calls and data references of a function, and its text.

Invariant: no more than `_MAX_CODE` bytes are decoded for one function. Bytes that are no instruction end the decoding.
"""

from __future__ import annotations

from gort.xray.emulate import riscv, wasm
from gort.xray.emulate.native import Decoder, Insn
from gort.xray.file.image import SymbolTable
from gort.xray.file.pclntab import Func
from gort.xray.file.symbols import Symbols
from gort.xray.record import frozen

_MAX_CODE = 64 << 10
_PADDING = ("int3", "udf", "c.unimp")
"""Instructions between functions."""

# Patterns of operands. They are compiled where they are used: a boot needs none, and importing re takes 3 ms.
_RIP = r"\[rip ([+-]) (0x[0-9a-f]+|\d+)\]"
_ABSOLUTE = r"(?:\[|\+ |, |^)(0x[0-9a-f]{4,8})(\])?"
"""386: an address in an operand; with a bracket behind it where it is memory."""
_IMM = r"#?(0x[0-9a-f]+|\d+)$"
_LO = r"\[(x\d+)(?:, #(0x[0-9a-f]+|\d+))?\]"


class Call:
    """A call, or a jump that ends a function by going on in another one. No record: there are thousands."""

    __slots__ = ("address", "back", "tail", "target")

    def __init__(self, address: int, target: int | None, back: int, tail: bool = False) -> None:
        self.address: int = address
        self.target: int | None = target
        """None for a call through a register or memory."""
        self.back: int = back
        """The address to which it returns."""
        self.tail: bool = tail
        """True for a jump."""


@frozen
class Ref:
    """An instruction that takes the address of data, or reads or writes it."""

    address: int
    mnemonic: str
    """`lea` where the address is taken, on both processors."""
    operands: str
    target: int


class Disassembler:
    """The functions of one file as instructions; each is decoded once."""

    def __init__(self, symbols: Symbols) -> None:
        self.arch: str = symbols.image.arch
        self._symbols = symbols
        self._decoder: Decoder | None = None
        self._cache: dict[int, list[Insn]] = {}

    def code(self, func: Func) -> list[Insn]:
        """Returns the function's instructions. Raises `XrayError` when capstone is missing."""
        got = self._cache.get(func.entry)
        if got is None:
            image = self._symbols.image
            if image.code_of is not None:
                got = self._cache[func.entry] = wasm.instructions(image.code_of(func.entry), func.entry)
                return got
            if self._decoder is None:
                self._decoder = Decoder(self.arch)
            n = min(func.end - func.entry, _MAX_CODE)
            seg = image.segment_at(func.entry)
            n = 0 if seg is None else min(n, seg.end - func.entry)
            got = self._cache[func.entry] = self._decoder.instructions(image.read(func.entry, n), func.entry)
        return got

    def calls(self, func: Func) -> list[Call]:
        """Returns every call in the function, in the order of the code, and jumps to the starts of other functions."""
        out = []
        if self.arch == "wasm":
            return [Call(a, target, a + size) for a, size, target in wasm.calls(self._symbols.image, self.code(func))]
        if self.arch == "riscv64":
            for address, size, target, jump in riscv.calls(self.code(func)):
                if not jump:
                    out.append(Call(address, target, address + size))
                elif target is not None and self._begins(target, func):
                    out.append(Call(address, target, address + size, tail=True))
            return out
        for address, size, mnemonic, ops in self.code(func):
            if mnemonic in ("call", "bl", "blr"):
                out.append(Call(address, _immediate(ops), address + size))
            elif mnemonic in ("jmp", "b"):
                target = _immediate(ops)
                if target is not None and self._begins(target, func):
                    out.append(Call(address, target, address + size, tail=True))
        return out

    def _begins(self, target: int, func: Func) -> bool:
        """True when another function begins at `target`."""
        callee = None if func.entry <= target < func.end else self._symbols.at(target)
        return callee is not None and callee.entry == target

    def refs(self, func: Func) -> list[Ref]:
        """Returns the function's references to data, in the order of the code."""
        if self.arch == "riscv64":
            return [Ref(*found) for found in riscv.refs(self.code(func))]
        if self.arch == "wasm":
            return [Ref(*found) for found in wasm.refs(self.code(func))]
        if self.arch == "386":
            return self._refs_386(func)
        return self._refs_amd64(func) if self.arch == "amd64" else self._refs_arm64(func)

    def _refs_386(self, func: Func) -> list[Ref]:
        """Addresses are numbers in the instructions: of memory, in LEA, or as what MOV stores."""
        import re

        absolute = re.compile(_ABSOLUTE)
        find = self._symbols.image.segment_at
        out = []
        for address, _, mnemonic, ops in self.code(func):
            if mnemonic == "call" or mnemonic[0] == "j":
                continue
            for m in absolute.finditer(ops):
                target = int(m[1], 16)
                if find(target) is not None:
                    out.append(Ref(address, mnemonic if m[2] else "lea", ops, target))
        return out

    def _refs_amd64(self, func: Func) -> list[Ref]:
        import re

        rip = re.compile(_RIP)
        out = []
        for address, size, mnemonic, ops in self.code(func):
            m = rip.search(ops)
            if m is not None:
                delta = int(m[2], 0) * (1 if m[1] == "+" else -1)
                out.append(Ref(address, mnemonic, ops, address + size + delta))
        return out

    def _refs_arm64(self, func: Func) -> list[Ref]:
        """An address is made in two steps: ADRP puts the page into a register, the next instruction has the rest."""
        import re

        imm, lo = re.compile(_IMM), re.compile(_LO)
        out = []
        pages: dict[str, int] = {}
        for address, _, mnemonic, ops in self.code(func):
            if mnemonic == "adrp":
                reg, _, value = ops.partition(", ")
                m = imm.search(value)
                if m is not None:
                    pages[reg] = int(m[1], 0)
                continue
            parts = ops.split(", ")
            if mnemonic == "add" and len(parts) >= 3 and parts[1] in pages:
                m = imm.search(parts[2])
                if m is not None:
                    target = pages.pop(parts[1]) + int(m[1], 0)
                    pages[parts[0]] = target
                    out.append(Ref(address, "lea", ops, target))
                continue
            m = lo.search(ops)
            if m is not None and m[1] in pages:
                out.append(Ref(address, mnemonic, ops, pages[m[1]] + int(m[2] or "0", 0)))
            if parts[0] in pages and not mnemonic.startswith(("st", "cmp", "tst")):
                del pages[parts[0]]  # it holds something else now
        return out

    def text(self, func: Func, limit: int, names: SymbolTable | None = None) -> list[tuple[int, str, str]]:
        """Returns the first `limit` instructions as (address, instruction, what it calls or which data it uses).

        `names` has names of data for a file that has none.
        """
        import re

        imm = re.compile(_IMM)
        data = {ref.address: self._data_name(ref.target, names or {}) for ref in self.refs(func)}
        out = []
        code = self.code(func)
        relative = {} if self.arch != "riscv64" else {a: target for a, _, target, _ in riscv.calls(code)}
        while code and code[-1][2] in _PADDING:
            code = code[:-1]
        for address, _, mnemonic, ops in code[:limit]:
            comment = data.get(address, "")
            m = imm.search(ops) if self.arch != "riscv64" else None
            target = relative.get(address)
            if m is not None and (mnemonic in ("call", "bl", "b") or mnemonic.startswith(("j", "b.", "cb", "tb"))):
                target = int(m[1], 0)
            if target is not None and not func.entry < target < func.end:
                comment = self._symbols.describe(target)
            out.append((address, f"{mnemonic} {ops}".strip(), comment))
        return out

    def _data_name(self, address: int, names: SymbolTable) -> str:
        """Returns the name of the data or the function at an address, with an offset where it is within."""
        for name, (start, size) in names.items():
            if start <= address < start + max(size, 1):
                return name + (f"+{address - start:#x}" if address > start else "")
        func = self._symbols.at(address)
        return self._symbols.describe(address) if func is not None else self._symbols.near(address).removeprefix("&")


def _immediate(operands: str) -> int | None:
    """Returns the number that is the only operand; None for a register or memory."""
    text = operands.removeprefix("#")
    try:
        return int(text, 0) if text[:1].isdigit() else None
    except ValueError:
        return None  # a number and something else
