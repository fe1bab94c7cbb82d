"""Disassembly with capstone: the calls and data references of a function, its text, and the length of blocks in
instructions.

Invariant: no more than `_MAX_CODE` bytes are decoded for one function; bytes that are no instruction end the
decoding.
"""

from __future__ import annotations

from gort.xray.emulate.native import Decoder
from gort.xray.file.pclntab import Func
from gort.xray.file.symbols import Symbols

_MAX_CODE = 64 << 10
_RIP = r"\[rip ([+-]) (0x[0-9a-f]+|\d+)\]"
_IMM = r"#?(0x[0-9a-f]+|\d+)$"
_LO = r"\[(x\d+)(?:, #(0x[0-9a-f]+|\d+))?\]"
"""Not compiled here: following a boot needs none of them, and importing re takes 3 ms."""

Insn = tuple[int, int, str, str]
"""address, size, mnemonic, operands"""


class Call:
    """`target` is None for a call through a register or memory; `back` is where it returns to."""

    __slots__ = ("address", "back", "tail", "target")

    def __init__(self, address: int, target: int | None, back: int, tail: bool = False) -> None:
        self.address = address
        self.target = target
        self.back = back
        self.tail = tail


class Disassembler:
    def __init__(self, symbols: Symbols) -> None:
        self.symbols = symbols
        self.arch = symbols.image.arch
        self._decoder: Decoder | None = None
        self._cache: dict[int, list[Insn]] = {}

    def code(self, func: Func) -> list[Insn]:
        got = self._cache.get(func.entry)
        if got is None:
            n = min(func.end - func.entry, _MAX_CODE)
            seg = self.symbols.image.segment_at(func.entry)
            n = 0 if seg is None else min(n, seg.end - func.entry)
            got = self._cache[func.entry] = self.decoder.instructions(
                self.symbols.image.read(func.entry, n), func.entry
            )
        return got

    @property
    def decoder(self) -> Decoder:
        if self._decoder is None:
            self._decoder = Decoder(self.arch)
        return self._decoder

    def calls(self, func: Func) -> list[Call]:
        """Every call in the function, in the order of the code, and jumps to other functions' starts (tail calls)."""
        out = []
        for address, size, mnemonic, ops in self.code(func):
            if mnemonic in ("call", "bl", "blr"):
                out.append(Call(address, _immediate(ops), address + size))
            elif mnemonic in ("jmp", "b"):
                target = _immediate(ops)
                if target is not None and not func.entry <= target < func.end:
                    callee = self.symbols.at(target)
                    if callee is not None and callee.entry == target:
                        out.append(Call(address, target, address + size, tail=True))
        return out

    def refs(self, func: Func) -> list[tuple[int, str, str, int]]:
        """References to data, in order: (address of the instruction, mnemonic, operands, address of the data)."""
        import re

        rip, imm, lo = re.compile(_RIP), re.compile(_IMM), re.compile(_LO)
        out = []
        pages: dict[str, int] = {}
        for address, size, mnemonic, ops in self.code(func):
            if self.arch == "amd64":
                m = rip.search(ops)
                if m is not None:
                    delta = int(m[2], 0) * (1 if m[1] == "+" else -1)
                    out.append((address, mnemonic, ops, address + size + delta))
                continue
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
                    out.append((address, "lea", ops, target))
                continue
            m = lo.search(ops)
            if m is not None and m[1] in pages:
                out.append((address, mnemonic, ops, pages[m[1]] + int(m[2] or "0", 0)))
            if parts[0] in pages and not mnemonic.startswith(("st", "cmp", "tst")):
                del pages[parts[0]]
        return out

    def text(self, func: Func, limit: int = 400) -> list[tuple[int, str, str]]:
        """The function's code as (address, instruction, comment), with the names of what it calls."""
        import re

        imm = re.compile(_IMM)
        out = []
        for address, _, mnemonic, ops in self.code(func)[:limit]:
            comment = ""
            m = imm.search(ops)
            if m is not None and (mnemonic in ("call", "bl", "b") or mnemonic.startswith(("j", "b.", "cb", "tb"))):
                target = int(m[1], 0)
                if not func.entry < target < func.end:
                    comment = self.symbols.describe(target)
            out.append((address, f"{mnemonic} {ops}".strip(), comment))
        return out


def _immediate(operands: str) -> int | None:
    """The number that is the only operand; None for a register or memory."""
    text = operands.removeprefix("#")
    try:
        return int(text, 0) if text[:1].isdigit() else None
    except ValueError:
        return None
