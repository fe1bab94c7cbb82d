"""The strings of a program: texts that its code and data refer to with their length.

A Go string has no zero at its end. The linker puts the texts of all constants one behind the other, so where one ends is
known only from who uses it: a string variable has address and length, and code loads both. On amd64 the address is taken
by LEA, and the length is the constant that one of the instructions around it loads; on arm64 they are ADRP and ADD, and
MOVZ. So this works for stripped files as well, which have no other trace of them.

A length that belongs to something else gives a wrong candidate. Constants do not overlap, so the longest candidate counts
that ends where the next text begins, or before. It must be whole UTF-8, and printable.

Rejected: runs of printable characters, as strings(1) finds them: neighbouring constants run into each other.
"""

from __future__ import annotations

import itertools
import struct
from array import array

from gort.xray.file.image import Image, Segment
from gort.xray.file.symbols import Symbols

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST = 1 << 16
_SHORTEST = 2
_NEAR = 24
"""Bytes around an LEA in which the length is loaded."""
_NEAR_WORDS = 6
_LEA = rb"[\x48\x4c]\x8d[\x05\x0d\x15\x1d\x25\x2d\x35\x3d]"
_LEA_SIZE = 7
_LOADS = rb"[\xb8-\xbf](..\x00\x00)"
"""MOV r32, imm32 with a small number."""
_ALLOWED = "\n\t\r\x1b"


def strings(symbols: Symbols) -> list[tuple[int, str]]:
    """Returns (address, text) of each string that code or data refers to, in the order of addresses.

    No text lies among the functions: what points there, with a small number behind it, is a table of functions."""
    image, code = symbols.image, symbols.tab.module
    functions = range(0) if image.code_of is not None else range(code.text, code.etext)
    constants = [s for s in image.segments if "w" not in s.perms and s.file_size]
    if image.code_of is not None:  # one memory for all
        constants = image.segments
    found: dict[int, set[int]] = {}
    """Address -> lengths."""
    in_code = {"amd64": _in_amd64, "arm64": _in_arm64}.get(image.arch)
    pairs = [_in_data(image, constants)]
    if in_code is not None:
        pairs += [in_code(image, seg, constants) for seg in image.segments if "x" in seg.perms]
    for address, length in itertools.chain.from_iterable(pairs):
        if address in functions:
            continue
        found.setdefault(address, set()).add(length)
    starts = sorted(found)
    out = []
    for address, behind in itertools.zip_longest(starts, starts[1:]):
        room = behind - address if behind is not None else _LONGEST
        for length in sorted((n for n in found[address] if n <= room), reverse=True):
            text = _text(image, constants, address, length)
            if text is not None:
                out.append((address, text))
                break
    return out


def _text(image: Image, constants: list[Segment], address: int, length: int) -> str | None:
    """Returns the text, None where it is none."""
    seg = next((s for s in constants if s.address <= address and address + length <= s.address + s.file_size), None)
    if seg is None:
        return None
    start = seg.offset + address - seg.address
    try:
        text = image.data[start : start + length].decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if all(c.isprintable() or c in _ALLOWED for c in text) else None


def _is_constant(constants: list[Segment], address: int) -> bool:
    return any(s.address <= address < s.address + s.file_size for s in constants)


def _in_data(image: Image, constants: list[Segment]) -> Iterator[tuple[int, int]]:
    """Yields address and length of what looks like a string variable: two words in data."""
    lo = min((s.address for s in constants), default=0)
    hi = max((s.address + s.file_size for s in constants), default=0)
    if image.relocations is not None:  # the addresses are not in the file
        for where, value in image.relocations():
            offset = image.file_offset(where + image.word)
            if lo <= value < hi and offset is not None and offset + image.word <= image.size:
                length = int.from_bytes(image.data[offset : offset + image.word], "little")
                if _SHORTEST <= length <= _LONGEST and _is_constant(constants, value):
                    yield value, length
    for seg in image.segments:
        size = seg.file_size & ~7
        if "x" in seg.perms or not size:
            continue
        words = array("Q" if image.word == 8 else "I", image.data[seg.offset : seg.offset + size])
        for value, length in itertools.pairwise(words):
            if lo <= value < hi and _SHORTEST <= length <= _LONGEST and _is_constant(constants, value):
                yield value, length


def _in_amd64(image: Image, seg: Segment, constants: list[Segment]) -> Iterator[tuple[int, int]]:
    import re  # here, because a boot needs none of this

    lea, load = re.compile(_LEA, re.DOTALL), re.compile(_LOADS, re.DOTALL)
    code = image.data[seg.offset : seg.offset + seg.file_size]
    for m in lea.finditer(code):
        at = m.start()
        if at + _LEA_SIZE > len(code):
            return
        target = seg.address + at + _LEA_SIZE + struct.unpack_from("<i", code, at + 3)[0]
        if not _is_constant(constants, target):
            continue
        for around in (code[at + _LEA_SIZE : at + _LEA_SIZE + _NEAR], code[max(0, at - _NEAR) : at]):
            for number in load.finditer(around):
                length = int.from_bytes(number[1], "little")
                if _SHORTEST <= length <= _LONGEST:
                    yield target, length


def _in_arm64(image: Image, seg: Segment, constants: list[Segment]) -> Iterator[tuple[int, int]]:
    size = seg.file_size & ~3
    words = array("I", image.data[seg.offset : seg.offset + size])
    for i, word in enumerate(words):
        if word & 0x9F000000 != 0x90000000 or i + 1 >= len(words):  # ADRP
            continue
        after = words[i + 1]
        register = word & 31
        if after & 0xFFC00000 != 0x91000000 or after >> 5 & 31 != register:  # ADD (immediate) to it
            continue
        page = (word >> 29 & 3) | (word >> 3 & 0x1FFFFC)
        page = (page ^ 0x100000) - 0x100000
        target = ((seg.address + 4 * i & ~0xFFF) + (page << 12)) + (after >> 10 & 0xFFF)
        if not _is_constant(constants, target):
            continue
        for near in words[max(0, i - _NEAR_WORDS) : i + 2 + _NEAR_WORDS]:
            length = _arm64_number(near)
            if length is not None and _SHORTEST <= length <= _LONGEST:
                yield target, length


def _arm64_number(word: int) -> int | None:
    """Returns the number that MOVZ, or ORR with the zero register, puts into a register; None for other instructions."""
    if word & 0x7FE00000 == 0x52800000:  # MOVZ without a shift
        return word >> 5 & 0xFFFF
    if word & 0xFFC003E0 == 0xB24003E0:  # ORR Xd, XZR, #(a run of ones, rotated)
        ones, rotate = (word >> 10 & 63) + 1, word >> 16 & 63
        value = (1 << ones) - 1
        return (value >> rotate | value << 64 - rotate) & (1 << 64) - 1 if rotate else value
    return None
