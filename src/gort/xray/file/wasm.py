"""WebAssembly: Go's programs for js and wasip1.

Follows the WebAssembly core specification; Go's writer is cmd/link/internal/wasm. Two things are otherwise than in all
other formats. The data lies in a memory of its own, which begins at 0: it is copied out of the file's data section, piece
by piece. And code has no addresses. Go gives each function one, which stands for its number (PC_F) and leaves 16 bits for
a place within it (PC_B); pclntab has these. So the code is no segment: `Image.code_of` returns a function's body.

Invariants: each length is checked against the file's end before it is used, and each piece of data against `MAX_MEMORY`.
"""

from __future__ import annotations

import mmap
import struct

from gort.xray.errors import XrayError
from gort.xray.file.image import MAX_MEMORY, PC_B_BITS, Image, Section, Segment, SymbolTable

_VERSION = 1
_CUSTOM, _IMPORT, _EXPORT, _CODE, _DATA = 0, 2, 7, 10, 11
_SECTIONS = {
    1: "type", 2: "import", 3: "function", 4: "table", 5: "memory", 6: "global", 7: "export", 8: "start",
    9: "element", 10: "code", 11: "data", 12: "data count",
}  # fmt: skip
"""Number -> name."""
_FUNCTION, _TABLE, _MEMORY, _GLOBAL = 0, 1, 2, 3
"""Kinds of imports and exports."""
_FUNCTION_NAMES = 1
"""The part of the section of names that has those of functions."""
_I32_CONST, _END = 0x41, 0x0B
_ENTRIES = ("run", "_start", "_initialize")
"""Names under which Go exports the function that begins: for js, wasip1, and a library."""
_FIRST_PC_F = 0x1000
"""The number that stands for the first function that is not imported (cmd/link: funcValueOffset)."""
_MAX_ITEMS = 1_000_000
_MAX_NAME = 4096
_PAGE = 4096


class _Reader:
    """Reads numbers and names one behind the other. Raises `XrayError` where they reach behind the end."""

    def __init__(self, path: str, data: mmap.mmap, at: int, end: int) -> None:
        self.path = path
        self.data = data
        self.at = at
        self.end = end

    def number(self) -> int:
        """Returns an unsigned number (LEB128)."""
        value = shift = 0
        while True:
            if self.at >= self.end or shift > 63:
                raise XrayError(f"{self.path}: truncated or corrupt WebAssembly")
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value

    def take(self, n: int) -> int:
        """Pass over `n` bytes. Returns where they are."""
        if n < 0 or self.at + n > self.end:
            raise XrayError(f"{self.path}: truncated or corrupt WebAssembly")
        at = self.at
        self.at += n
        return at

    def name(self) -> str:
        """Returns a name."""
        n = self.number()
        at = self.take(n)
        return self.data[at : at + min(n, _MAX_NAME)].decode("utf-8", "replace")

    def count(self) -> int:
        """Returns a number of items, which the bytes that are left must have room for."""
        n = self.number()
        if n > min(_MAX_ITEMS, self.end - self.at):
            raise XrayError(f"{self.path}: {n} items in a WebAssembly section: corrupt or hostile")
        return n


def read_wasm(path: str, data: mmap.mmap, size: int) -> Image:
    """Read the sections, and put the data where the program has it in its memory. Raises `XrayError`."""
    if struct.unpack_from("<I", data, 4)[0] != _VERSION:
        raise XrayError(f"{path}: a WebAssembly file, but no module of version 1")
    sections: list[Section] = []
    parts: dict[int, _Reader] = {}
    names: _Reader | None = None
    whole = _Reader(path, data, 8, size)
    while whole.at < size:
        kind = data[whole.take(1)]
        n = whole.number()
        part = _Reader(path, data, whole.take(n), whole.at)
        name = _SECTIONS.get(kind, f"section {kind}")
        if kind == _CUSTOM:
            name = part.name()
            if name == "name":
                names = part
        else:
            parts[kind] = part
        sections.append(Section(name=name, address=0, size=n, offset=part.at, file_size=part.end - part.at, flags=""))
    if _CODE not in parts or _DATA not in parts:
        raise XrayError(f"{path}: a WebAssembly file without code or data: not a Go executable")
    imported = _imported_functions(parts.get(_IMPORT))
    bodies = _bodies(parts[_CODE])
    memory, used = _memory(parts[_DATA])

    def code_of(address: int) -> bytes:
        i = (address >> PC_B_BITS) - _FIRST_PC_F
        if not 0 <= i < len(bodies):
            return b""
        start, end = bodies[i]
        return data[start:end]

    def symbols() -> SymbolTable:
        return {} if names is None else _names(names, imported)

    return Image(
        path=path,
        data=memory,
        size=used,
        format="WebAssembly",
        arch="wasm",
        os="js",
        entry=_entry(parts.get(_EXPORT), imported),
        sections=sections,
        segments=[Segment(address=0, size=used, offset=0, file_size=used, perms="rw", name="memory")],
        code_of=code_of,
        imported=imported,
        file_size=size,
        symbol_source=symbols if names is not None else None,
    )


def address_of(function: int, imported: int) -> int:
    """Returns the address that Go gives to the function of that number."""
    return _FIRST_PC_F + function - imported << PC_B_BITS


def _imported_functions(part: _Reader | None) -> int:
    """Returns how many functions are imported: they have the first numbers."""
    if part is None:
        return 0
    found = 0
    for _ in range(part.count()):
        part.name()
        part.name()
        kind = part.number()
        if kind == _FUNCTION:
            found += 1
            part.number()
        elif kind in (_TABLE, _MEMORY):
            if kind == _TABLE:
                part.number()
            if part.number() & 1:  # a maximum follows the minimum
                part.number()
            part.number()
        elif kind == _GLOBAL:
            part.take(2)
        else:
            raise XrayError(f"{part.path}: an import of an unknown kind: corrupt WebAssembly")
    return found


def _entry(part: _Reader | None, imported: int) -> int:
    """Returns the address of the function that begins; 0 where there is none."""
    found: dict[str, int] = {}
    for _ in range(part.count() if part is not None else 0):
        assert part is not None
        name, kind, number = part.name(), part.number(), part.number()
        if kind == _FUNCTION and number >= imported:
            found[name] = address_of(number, imported)
    return next((found[name] for name in _ENTRIES if name in found), 0)


def _bodies(part: _Reader) -> list[tuple[int, int]]:
    """Returns where each function's instructions are in the file, behind the list of its variables."""
    out = []
    for _ in range(part.count()):
        n = part.number()
        body = _Reader(part.path, part.data, part.take(n), part.at)
        for _ in range(body.count()):
            body.number()
            body.take(1)
        out.append((body.at, body.end))
    return out


def _memory(part: _Reader) -> tuple[mmap.mmap, int]:
    """Returns the program's memory with its data, and how much of it is used."""
    pieces: list[tuple[int, int, int]] = []
    for _ in range(part.count()):
        if part.number() != 0 or part.data[part.take(1)] != _I32_CONST:
            raise XrayError(f"{part.path}: a piece of data without a fixed place: not a Go executable")
        address = part.number() & 0xFFFFFFFF
        if part.data[part.take(1)] != _END:
            raise XrayError(f"{part.path}: a piece of data without a fixed place: not a Go executable")
        n = part.number()
        pieces.append((address, part.take(n), n))
    used = max((address + n for address, _, n in pieces), default=0)
    if not 0 < used <= MAX_MEMORY:
        raise XrayError(f"{part.path}: its data reaches to {used >> 20} MiB: corrupt or hostile")
    memory = mmap.mmap(-1, -(-used // _PAGE) * _PAGE)
    for address, at, n in pieces:
        memory[address : address + n] = part.data[at : at + n]
    return memory, used


def _names(part: _Reader, imported: int) -> SymbolTable:
    """Read the names of functions."""
    out: SymbolTable = {}
    at = part.at
    try:
        while part.at < part.end:
            kind, n = part.number(), part.number()
            inner = _Reader(part.path, part.data, part.take(n), part.at)
            if kind == _FUNCTION_NAMES:
                for _ in range(inner.count()):
                    number, name = inner.number(), inner.name()
                    if number >= imported:
                        out[name] = (address_of(number, imported), 0)
    except XrayError:
        pass  # names are not needed: those before the damage are used
    part.at = at
    return out
