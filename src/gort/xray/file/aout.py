"""a.out: Plan 9's executables.

Follows Plan 9's a.out(6), whose names the constants have; Go's writer is asmbPlan9 in cmd/link/internal. A header of
big-endian numbers, then the text, the data, and the symbol table follow each other; there are no sections. Where text and
data are in memory follows from the magic number: the text behind its header, the data at the next round address.
"""

from __future__ import annotations

import mmap
import struct

from gort.xray.errors import XrayError
from gort.xray.file.image import Image, Section, Segment, SymbolTable
from gort.xray.record import frozen

_HEADER, _ENTRY64 = struct.Struct(">8I"), struct.Struct(">Q")
_HDR_MAGIC = 0x8000
"""Bit of the magic number: a 64-bit entry point follows the header, and symbols have 64-bit values."""
_TYPE_FLAG = 0x80
"""Bit of a symbol's type that is always set."""
_FILE_TYPES = "zZ"
"""Types of symbols that name source files; Go writes none, and their names are written otherwise."""
_MAX_NAME = 4096


@frozen
class _Kind:
    """What a magic number stands for."""

    arch: str
    word: int
    text: int
    """The address of the header; the text is behind it."""
    round: int
    """The data begins at a multiple of it."""


_KINDS = {
    0x8A97: _Kind(arch="amd64", word=8, text=0x200000, round=0x200000),
    0x1EB: _Kind(arch="386", word=4, text=0x1000, round=0x1000),
    0x647: _Kind(arch="arm", word=4, text=0x1000, round=0x1000),
}


def read_aout(path: str, data: mmap.mmap, size: int) -> Image:
    """Read the header and the symbols. Raises `XrayError`."""
    magic, text, data_size, bss, syms, entry, _, _ = _HEADER.unpack_from(data, 0)
    kind = _KINDS[magic]
    header = _HEADER.size
    if magic & _HDR_MAGIC:
        entry = _ENTRY64.unpack_from(data, header)[0]
        header += _ENTRY64.size
    if header + text + data_size + syms > size:
        raise XrayError(f"{path}: text, data and symbols need more than the file's {size} bytes: truncated or corrupt")
    text_at = kind.text + header
    data_at = -(-(text_at + text) // kind.round) * kind.round
    parts = (
        ("text", text_at, text, header, text, "AX"),
        ("data", data_at, data_size, header + text, data_size, "AW"),
        ("bss", data_at + data_size, bss, 0, 0, "AW"),
    )
    symbols_at = header + text + data_size
    image = Image(
        path=path,
        data=data,
        size=size,
        format="a.out",
        arch=kind.arch,
        os="plan9",
        entry=entry,
        sections=[Section(*part) for part in parts],
        segments=[
            Segment(address=kind.text, size=header + text, offset=0, file_size=header + text, perms="rx"),
            Segment(address=data_at, size=data_size + bss, offset=header + text, file_size=data_size, perms="rw"),
        ],
        word=kind.word,
    )
    if syms:
        wide = bool(magic & _HDR_MAGIC)
        image.symbol_source = lambda: _symbols(data[symbols_at : symbols_at + syms], wide)
    return image


def _symbols(table: bytes, wide: bool) -> SymbolTable:
    """Read value, type and name of each symbol; a type of another form ends the table."""
    value = struct.Struct(">Q" if wide else ">I")
    out: SymbolTable = {}
    at = 0
    while at + value.size + 1 < len(table):
        address, kind = value.unpack_from(table, at)[0], table[at + value.size]
        start = at + value.size + 1
        end = table.find(b"\0", start, start + _MAX_NAME)
        if not kind & _TYPE_FLAG or chr(kind & ~_TYPE_FLAG) in _FILE_TYPES or end < 0:
            break
        out[table[start:end].decode("utf-8", "replace")] = (address, 0)
        at = end + 1
    return out
