"""LEB128, the numbers of variable length in DWARF and in WebAssembly's code.

Readers that must tell where the file ends (of WebAssembly's sections, Mach-O's exports) have their own.
"""

from __future__ import annotations


def uleb(data: bytes, at: int) -> tuple[int, int]:
    """Returns the unsigned number at `at` and the offset behind it; it has ten bytes at most. Raises `IndexError` at the
    end of the data."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80 or shift > 63:
            return value, at
