"""Disassembly with capstone: the calls and data references of a function, its text, and the length of blocks in
instructions.

Invariant: no more than `_MAX_CODE` bytes are decoded for one function; bytes that are no instruction end the
decoding.
"""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from typing import Any

from gort.xray.errors import require
from gort.xray.pclntab import Func
from gort.xray.symbols import Symbols

_MAX_CODE = 64 << 10
_RIP = re.compile(r"\[rip ([+-]) (0x[0-9a-f]+|\d+)\]")
_IMM = re.compile(r"#?(0x[0-9a-f]+|\d+)$")
_LO = re.compile(r"\[(x\d+)(?:, #(0x[0-9a-f]+|\d+))?\]")

Insn = tuple[int, int, str, str]
"""address, size, mnemonic, operands"""


@dataclass(frozen=True, slots=True)
class Call:
    address: int
    target: int | None
    """None for a call through a register or memory."""
    back: int
    """Where the call returns to."""
    tail: bool = False


class Disassembler:
    def __init__(self, symbols: Symbols) -> None:
        self.symbols = symbols
        self.arch = symbols.image.arch
        capstone = require("capstone")
        if self.arch == "amd64":
            self._cs: Any = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
        else:
            self._cs = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
        # The binding's generators make four objects per instruction; counting needs none.
        library = capstone._cs
        self._raw: Any = library.cs_disasm
        self._free: Any = library.cs_free
        self._list = ctypes.POINTER(capstone._cs_insn)()
        self._cache: dict[int, list[Insn]] = {}

    def code(self, func: Func) -> list[Insn]:
        got = self._cache.get(func.entry)
        if got is None:
            n = min(func.end - func.entry, _MAX_CODE)
            seg = self.symbols.image.segment_at(func.entry)
            n = 0 if seg is None else min(n, seg.end - func.entry)
            got = self._cache[func.entry] = self.decode(self.symbols.image.read(func.entry, n), func.entry)
        return got

    def decode(self, code: bytes, address: int) -> list[Insn]:
        return list(self._cs.disasm_lite(code, address))

    def count(self, code: bytes) -> int:
        """How many instructions these bytes are; at least 1."""
        found = self._raw(self._cs.csh, code, len(code), ctypes.c_uint64(0), 0, ctypes.byref(self._list))
        if found <= 0:
            return 1
        self._free(self._list, found)
        return int(found)

    def calls(self, func: Func) -> list[Call]:
        """Every call in the function, in the order of the code, and jumps to other functions' starts (tail calls)."""
        out = []
        for address, size, mnemonic, ops in self.code(func):
            if mnemonic in ("call", "bl", "blr"):
                m = _IMM.match(ops)
                out.append(Call(address, int(m[1], 0) if m else None, address + size))
            elif mnemonic in ("jmp", "b"):
                m = _IMM.match(ops)
                target = int(m[1], 0) if m else None
                if target is not None and not func.entry <= target < func.end:
                    callee = self.symbols.at(target)
                    if callee is not None and callee.entry == target:
                        out.append(Call(address, target, address + size, tail=True))
        return out

    def refs(self, func: Func) -> list[tuple[int, str, str, int]]:
        """References to data, in order: (address of the instruction, mnemonic, operands, address of the data)."""
        out = []
        pages: dict[str, int] = {}
        for address, size, mnemonic, ops in self.code(func):
            if self.arch == "amd64":
                m = _RIP.search(ops)
                if m is not None:
                    delta = int(m[2], 0) * (1 if m[1] == "+" else -1)
                    out.append((address, mnemonic, ops, address + size + delta))
                continue
            if mnemonic == "adrp":
                reg, _, value = ops.partition(", ")
                m = _IMM.search(value)
                if m is not None:
                    pages[reg] = int(m[1], 0)
                continue
            parts = ops.split(", ")
            if mnemonic == "add" and len(parts) >= 3 and parts[1] in pages:
                m = _IMM.search(parts[2])
                if m is not None:
                    target = pages.pop(parts[1]) + int(m[1], 0)
                    pages[parts[0]] = target
                    out.append((address, "lea", ops, target))
                continue
            m = _LO.search(ops)
            if m is not None and m[1] in pages:
                out.append((address, mnemonic, ops, pages[m[1]] + int(m[2] or "0", 0)))
            if parts[0] in pages and not mnemonic.startswith(("st", "cmp", "tst")):
                del pages[parts[0]]
        return out

    def text(self, func: Func, limit: int = 400) -> list[tuple[int, str, str]]:
        """The function's code as (address, instruction, comment), with the names of what it calls."""
        out = []
        for address, _, mnemonic, ops in self.code(func)[:limit]:
            comment = ""
            m = _IMM.search(ops)
            if m is not None and (mnemonic in ("call", "bl", "b") or mnemonic.startswith(("j", "b.", "cb", "tb"))):
                target = int(m[1], 0)
                if not func.entry < target < func.end:
                    comment = self.symbols.describe(target)
            out.append((address, f"{mnemonic} {ops}".strip(), comment))
        return out
