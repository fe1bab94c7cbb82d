"""Structure layouts from the file's own DWARF: where the fields of g, m, p and the scheduler's state lie.

Follows the DWARF 4 and 5 standards, and cmd/link/internal/ld/dwarf.go: Go writes a type's name inline in its record,
so the record of `runtime.g` is found by searching the decompressed .debug_info for the name, and only that record and
its children are decoded.

Invariants: what is found is a DW_TAG_structure_type with that very name, anything else counts as absent; every read
is checked against the section's length (an `IndexError` or `struct.error` becomes "cannot be read"); a struct has at
most `_MAX_FIELDS` fields.

Rejected: pyelftools, for the product (the tests compare with it). Importing it and decoding these four records with
it takes 110 ms, more than a third of the time from the command to runtime.main; this takes 5 ms.
"""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_right

from gort.xray.errors import XrayError
from gort.xray.file.image import Image, Section

Layout = dict[str, tuple[int, int]]
"""field path -> (offset, size in bytes)"""

_MAX_DEBUG = 512 << 20
_MAX_FIELDS = 1000
_MAX_UNITS = 200_000
_TAG_ARRAY, _TAG_MEMBER, _TAG_POINTER, _TAG_STRUCT, _TAG_TYPEDEF, _TAG_SUBRANGE = 0x01, 0x0D, 0x0F, 0x13, 0x16, 0x21
_AT_NAME, _AT_BYTE_SIZE, _AT_COUNT, _AT_LOCATION, _AT_TYPE = 0x03, 0x0B, 0x37, 0x38, 0x49
_FIXED = {
    0x01: 8,
    0x05: 2,
    0x06: 4,
    0x07: 8,
    0x0B: 1,
    0x0C: 1,
    0x0E: 4,
    0x10: 4,
    0x11: 1,
    0x12: 2,
    0x13: 4,
    0x14: 8,
    0x17: 4,
    0x19: 0,
    0x1E: 16,
    0x1F: 4,
    0x25: 1,
    0x26: 2,
    0x27: 3,
    0x28: 4,
    0x29: 1,
    0x2A: 2,
    0x2B: 3,
    0x2C: 4,
    0x21: 0,
}
"""Sizes of the forms with a fixed one (32-bit DWARF)."""
_ULEB = (0x0F, 0x15, 0x1A, 0x1B, 0x22, 0x23)
_REF_IN_UNIT = (0x11, 0x12, 0x13, 0x14, 0x15)

Record = tuple[int, bool, dict[int, int | bytes], int]
"""tag, whether children follow, attributes, offset behind the record"""


def _contents(image: Image, section: Section) -> bytes:
    raw = image.data[section.offset : section.offset + section.file_size]
    if section.name.startswith((".zdebug", "__zdebug")) and raw[:4] == b"ZLIB":
        size, body = int.from_bytes(raw[4:12], "big"), raw[12:]
    elif "C" in section.flags and len(raw) > 24 and raw[:4] == b"\x01\0\0\0":
        size, body = int.from_bytes(raw[8:16], "little"), raw[24:]
    else:
        return raw
    if size > _MAX_DEBUG:
        raise XrayError(f"{image.path}: {section.name} says it unpacks to {size >> 20} MiB: corrupt or hostile")
    try:
        return zlib.decompressobj().decompress(body, size)
    except zlib.error as exc:
        raise XrayError(f"{image.path}: {section.name} does not unpack ({exc}): corrupt") from exc


def _section(image: Image, name: str) -> Section | None:
    # Mach-O cuts names at 16 characters; PE and ELF have them whole.
    return image.section(f".debug_{name}", f".zdebug_{name}", f"__debug_{name}"[:16], f"__zdebug_{name}"[:16])


def _uleb(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80 or shift > 63:
            return value, at


class Dwarf:
    """The DWARF of one image. Raises `XrayError` when there is none or a section does not unpack."""

    def __init__(self, image: Image) -> None:
        info, abbrev = _section(image, "info"), _section(image, "abbrev")
        if info is None or abbrev is None:
            raise XrayError(f"{image.path}: no DWARF")
        self.info = _contents(image, info)
        self.abbrev = _contents(image, abbrev)
        self._tables: dict[int, dict[int, tuple[int, bool, list[tuple[int, int, int]]]]] = {}
        self._starts: list[int] = []
        self._units: list[int] = []
        """Offset of each unit's abbreviations."""
        at = 0
        while at + 12 <= len(self.info) and len(self._starts) < _MAX_UNITS:
            length, version = struct.unpack_from("<IH", self.info, at)
            if length >= 0xFFFFFFF0 or not 2 <= version <= 5:
                break
            self._starts.append(at)
            self._units.append(struct.unpack_from("<I", self.info, at + (8 if version == 5 else 6))[0])
            at += 4 + length

    def _abbreviations(self, offset: int) -> dict[int, tuple[int, bool, list[tuple[int, int, int]]]]:
        table = self._tables.get(offset)
        if table is not None:
            return table
        table = self._tables[offset] = {}
        at = offset
        while at < len(self.abbrev):
            code, at = _uleb(self.abbrev, at)
            if code == 0:
                break
            tag, at = _uleb(self.abbrev, at)
            children = bool(self.abbrev[at])
            at += 1
            fields: list[tuple[int, int, int]] = []
            while True:
                name, at = _uleb(self.abbrev, at)
                form, at = _uleb(self.abbrev, at)
                const = 0
                if form == 0x21:
                    const, at = _uleb(self.abbrev, at)
                if not name and not form:
                    break
                fields.append((name, form, const))
            table[code] = (tag, children, fields)
        return table

    def record(self, at: int) -> Record | None:
        """The record at this offset; None for the mark that ends a list of children."""
        unit = bisect_right(self._starts, at) - 1
        if unit < 0:
            raise IndexError("no unit")
        code, at = _uleb(self.info, at)
        if code == 0:
            return None
        tag, children, fields = self._abbreviations(self._units[unit])[code]
        values: dict[int, int | bytes] = {}
        for name, form, const in fields:
            size = _FIXED.get(form)
            value: int | bytes
            if form == 0x21:
                value = const
            elif size is not None:
                value = int.from_bytes(self.info[at : at + size], "little")
                at += size
                if form in _REF_IN_UNIT:
                    value += self._starts[unit]
            elif form == 0x08:
                end = self.info.index(b"\0", at)
                value = self.info[at:end]
                at = end + 1
            elif form in _ULEB:
                value, at = _uleb(self.info, at)
                if form == 0x15:
                    value += self._starts[unit]
            elif form == 0x0D:
                value, at = _uleb(self.info, at)
            elif form in (0x09, 0x18, 0x0A, 0x03, 0x04):
                if form in (0x09, 0x18):
                    length, at = _uleb(self.info, at)
                else:
                    width = {0x0A: 1, 0x03: 2, 0x04: 4}[form]
                    length = int.from_bytes(self.info[at : at + width], "little")
                    at += width
                value = self.info[at : at + length]
                at += length
            else:
                raise IndexError(f"form {form:#x}")
            values[name] = value
        if at > len(self.info):
            raise IndexError("record runs over the section")
        return tag, children, values, at

    def _find(self, name: str) -> tuple[Record, int] | None:
        needle = name.encode() + b"\0"
        at = self.info.find(needle)
        for _ in range(200):
            if at <= 0:
                return None
            for back in (1, 2):  # the abbreviation's number is a varint of one or two bytes
                try:
                    got = self.record(at - back)
                except (IndexError, KeyError, ValueError):
                    continue
                if got is not None and got[0] == _TAG_STRUCT and got[2].get(_AT_NAME) == needle[:-1]:
                    return got, at - back
            at = self.info.find(needle, at + 1)
        return None

    def _children(self, record: Record) -> list[Record]:
        """The record's children, not theirs: children of children are skipped (Go's members have none)."""
        out: list[Record] = []
        if not record[1]:
            return out
        at, depth = record[3], 0
        for _ in range(_MAX_FIELDS * 4):
            got = self.record(at)
            if got is None:
                at += 1
                if depth == 0:
                    break
                depth -= 1
                continue
            if depth == 0:
                out.append(got)
                if len(out) >= _MAX_FIELDS:
                    break
            at = got[3]
            depth += got[1]
        return out

    def _type(self, record: Record) -> Record | None:
        """The record of the type that this one refers to, behind typedefs."""
        for _ in range(8):
            ref = record[2].get(_AT_TYPE)
            got = self.record(ref) if isinstance(ref, int) else None
            if got is None or got[0] != _TAG_TYPEDEF:
                return got
            record = got
        return None

    def _size(self, record: Record | None, depth: int = 0) -> int:
        if record is None or record[0] == _TAG_POINTER:
            return 8
        size = record[2].get(_AT_BYTE_SIZE)
        if isinstance(size, int):
            return size
        if depth >= 8:
            return 8
        inner = self._size(self._type(record), depth + 1)
        if record[0] == _TAG_ARRAY:
            for child in self._children(record):
                count = child[2].get(_AT_COUNT)
                if isinstance(count, int):
                    return inner * count
        return inner

    def struct(self, name: str, wanted: tuple[str, ...] = ()) -> Layout:
        """The fields of a struct, nested ones as `sched.sp`, limited to the paths in `wanted`; empty when it is not
        described.
        """
        found = self._find(name)
        return {} if found is None else self._members(found[0], wanted, "", 0, 0)

    def _members(self, record: Record, wanted: tuple[str, ...], prefix: str, base: int, depth: int) -> Layout:
        out: Layout = {}
        for child in self._children(record):
            raw = child[2].get(_AT_NAME)
            if child[0] != _TAG_MEMBER or not isinstance(raw, bytes):
                continue
            field = prefix + raw.decode("utf-8", "replace")
            deeper = any(w.startswith(field + ".") for w in wanted)
            if wanted and field not in wanted and not deeper:
                continue
            location = child[2].get(_AT_LOCATION)
            offset = base + (location if isinstance(location, int) else _location(location))
            kind = self._type(child)
            out[field] = (offset, self._size(kind))
            if deeper and kind is not None and kind[0] == _TAG_STRUCT and depth < 4:
                out.update(self._members(kind, wanted, field + ".", offset, depth + 1))
        return out


def _location(expression: int | bytes | None) -> int:
    """Older Go wrote a member's place as an expression: DW_OP_plus_uconst N."""
    if isinstance(expression, bytes) and expression[:1] == b"\x23":
        return _uleb(expression, 1)[0]
    return 0


def read_layouts(image: Image, wanted: dict[str, tuple[str, ...]]) -> dict[str, Layout]:
    """The layouts of the structs named in `wanted`, each limited to the given fields; empty without DWARF.

    Raises `XrayError` when there is DWARF that cannot be read.
    """
    if _section(image, "info") is None:
        return {}
    try:
        dwarf = Dwarf(image)
        return {name: layout for name, fields in wanted.items() if (layout := dwarf.struct(name, fields))}
    except (IndexError, KeyError, ValueError, struct.error, MemoryError) as exc:
        raise XrayError(f"{image.path}: its DWARF cannot be read ({type(exc).__name__}: {exc})") from exc
