"""Structure layouts from the file's own DWARF: where the fields of g, m, p and the scheduler's state lie.

Follows the DWARF 4 and 5 standards, whose names the constants have, and cmd/link/internal/ld/dwarf.go. Go writes a
type's name into the type's own entry. So the entry of `runtime.g` is found by a search for the name in the decompressed
.debug_info, and only that entry and its children are decoded.

Invariants: only a DW_TAG_structure_type of exactly that name counts as found. Every read is checked against the
section's length; an `IndexError` or `struct.error` becomes an `XrayError`. At most `_MAX_FIELDS` fields of a struct are
read.

Rejected: pyelftools in the product (the tests compare with it). To import it and to decode these four entries takes
110 ms, more than a third of the time from the command to runtime.main. This module takes 5 ms.
"""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_right

from gort.xray.errors import XrayError
from gort.xray.file.image import Image, Section
from gort.xray.file.leb128 import uleb
from gort.xray.record import frozen

Layout = dict[str, tuple[int, int]]
"""field path -> (offset, size in bytes)"""

_MAX_DEBUG = 512 << 20
_MAX_FIELDS = 1000
_MAX_UNITS = 200_000
_MAX_TRIES = 200
"""Occurrences of a type's name after which the search gives up."""
_MAX_TYPEDEFS = 8
_MAX_DEPTH = 4
"""Levels of structs in structs that are read."""
_ELFCOMPRESS_ZLIB = b"\x01\0\0\0"
_CHDR_SIZE = 24
_TAG_ARRAY, _TAG_MEMBER, _TAG_POINTER, _TAG_STRUCT, _TAG_TYPEDEF = 0x01, 0x0D, 0x0F, 0x13, 0x16
_AT_NAME, _AT_BYTE_SIZE, _AT_COUNT, _AT_LOCATION, _AT_TYPE = 0x03, 0x0B, 0x37, 0x38, 0x49
_OP_PLUS_UCONST = b"\x23"
_FORM_ADDR = 0x01
_FORM_BLOCK2, _FORM_BLOCK4, _FORM_STRING, _FORM_BLOCK, _FORM_BLOCK1 = 0x03, 0x04, 0x08, 0x09, 0x0A
_FORM_SDATA, _FORM_REF_UDATA, _FORM_EXPRLOC, _FORM_IMPLICIT_CONST = 0x0D, 0x15, 0x18, 0x21
_FIXED = {
    0x05: 2,  # data2
    0x06: 4,  # data4
    0x07: 8,  # data8
    0x0B: 1,  # data1
    0x0C: 1,  # flag
    0x0E: 4,  # strp
    0x10: 4,  # ref_addr
    0x11: 1,  # ref1
    0x12: 2,  # ref2
    0x13: 4,  # ref4
    0x14: 8,  # ref8
    0x17: 4,  # sec_offset
    0x19: 0,  # flag_present
    0x1E: 16,  # data16
    0x1F: 4,  # line_strp
    0x25: 1,  # strx1
    0x26: 2,  # strx2
    0x27: 3,  # strx3
    0x28: 4,  # strx4
    0x29: 1,  # addrx1
    0x2A: 2,  # addrx2
    0x2B: 3,  # addrx3
    0x2C: 4,  # addrx4
}
"""Form -> bytes, of the forms with a fixed size (32-bit DWARF)."""
_ULEB = (0x0F, _FORM_REF_UDATA, 0x1A, 0x1B, 0x22, 0x23)
"""udata, ref_udata, strx, addrx, loclistx, rnglistx."""
_REF_IN_UNIT = (0x11, 0x12, 0x13, 0x14)
"""ref1 to ref8: they count from the start of their unit, as ref_udata does."""
_COUNTED = {_FORM_BLOCK1: 1, _FORM_BLOCK2: 2, _FORM_BLOCK4: 4}
"""Blocks whose length is a number of that many bytes."""


@frozen
class _Abbreviation:
    """The shape of entries, which name their abbreviation by a code."""

    tag: int
    children: bool
    fields: list[tuple[int, int, int]]
    """(attribute, form, the value of an implicit constant)"""


class Entry:
    """A debugging information entry (DIE). Written out and no record: a boot makes hundreds of them."""

    __slots__ = ("attributes", "children", "end", "tag")

    def __init__(self, tag: int, children: bool, attributes: dict[int, int | bytes], end: int) -> None:
        self.tag: int = tag
        self.children: bool = children
        """True when a list of child entries follows."""
        self.attributes: dict[int, int | bytes] = attributes
        self.end: int = end
        """The offset behind it."""


def _contents(image: Image, section: Section) -> bytes:
    """Returns what is in a section, unpacked. Raises `XrayError`."""
    raw = image.data[section.offset : section.offset + section.file_size]
    if section.name.startswith((".zdebug", "__zdebug")) and raw[:4] == b"ZLIB":
        size, body = int.from_bytes(raw[4:12], "big"), raw[12:]
    elif "C" in section.flags and len(raw) > _CHDR_SIZE and raw[:4] == _ELFCOMPRESS_ZLIB:
        word = image.word  # a header of type, size and alignment, each a word
        size, body = int.from_bytes(raw[word : 2 * word], "little"), raw[3 * word :]
    else:
        return raw
    if size > _MAX_DEBUG:
        raise XrayError(f"{image.path}: {section.name} says it unpacks to {size >> 20} MiB: corrupt or hostile")
    try:
        return zlib.decompressobj().decompress(body, size)
    except zlib.error as exc:
        raise XrayError(f"{image.path}: {section.name} does not unpack ({exc}): corrupt") from exc


def _section(image: Image, name: str) -> Section | None:
    # Mach-O cuts names at 16 characters; PE and ELF keep them whole.
    return image.section(f".debug_{name}", f".zdebug_{name}", f"__debug_{name}"[:16], f"__zdebug_{name}"[:16])


class Dwarf:
    """The debugging information of one image. Raises `XrayError` when there is none or a section does not unpack."""

    def __init__(self, image: Image) -> None:
        info, abbrev = _section(image, "info"), _section(image, "abbrev")
        if info is None or abbrev is None:
            raise XrayError(f"{image.path}: no DWARF")
        self._info = _contents(image, info)
        self._abbrev = _contents(image, abbrev)
        self._word = image.word
        self._tables: dict[int, dict[int, _Abbreviation]] = {}
        """Offset of a table of abbreviations -> the table."""
        self._starts: list[int] = []
        """Offset of each unit."""
        self._units: list[int] = []
        """Offset of each unit's abbreviations."""
        at = 0
        while at + 12 <= len(self._info) and len(self._starts) < _MAX_UNITS:
            length, version = struct.unpack_from("<IH", self._info, at)
            if length >= 0xFFFFFFF0 or not 2 <= version <= 5:
                break
            self._starts.append(at)
            self._units.append(struct.unpack_from("<I", self._info, at + (8 if version == 5 else 6))[0])
            at += 4 + length

    def _abbreviations(self, offset: int) -> dict[int, _Abbreviation]:
        table = self._tables.get(offset)
        if table is not None:
            return table
        table = self._tables[offset] = {}
        at = offset
        while at < len(self._abbrev):
            code, at = uleb(self._abbrev, at)
            if code == 0:
                break
            tag, at = uleb(self._abbrev, at)
            children = bool(self._abbrev[at])
            at += 1
            fields: list[tuple[int, int, int]] = []
            while True:
                name, at = uleb(self._abbrev, at)
                form, at = uleb(self._abbrev, at)
                const = 0
                if form == _FORM_IMPLICIT_CONST:
                    const, at = uleb(self._abbrev, at)
                if not name and not form:
                    break
                fields.append((name, form, const))
            table[code] = _Abbreviation(tag, children, fields)
        return table

    def entry(self, at: int) -> Entry | None:
        """Decode the entry at this offset. Returns None for the mark that ends a list of children.

        Raises `IndexError` or `KeyError` when there is no entry.
        """
        number = bisect_right(self._starts, at) - 1
        if number < 0:
            raise IndexError("no unit")
        code, at = uleb(self._info, at)
        if code == 0:
            return None
        unit = self._starts[number]
        abbreviation = self._abbreviations(self._units[number])[code]
        values: dict[int, int | bytes] = {}
        for name, form, const in abbreviation.fields:
            if form == _FORM_IMPLICIT_CONST:
                values[name] = const
            else:
                values[name], at = self._value(form, at, unit)
        if at > len(self._info):
            raise IndexError("the entry runs over the section")
        return Entry(abbreviation.tag, abbreviation.children, values, at)

    def _value(self, form: int, at: int, unit: int) -> tuple[int | bytes, int]:
        """Returns the value at `at` and the offset behind it; references to entries as offsets in the section."""
        info = self._info
        size = self._word if form == _FORM_ADDR else _FIXED.get(form)
        if size is not None:
            number = int.from_bytes(info[at : at + size], "little")
            return number + unit if form in _REF_IN_UNIT else number, at + size
        if form == _FORM_STRING:
            end = info.index(b"\0", at)
            return info[at:end], end + 1
        if form in _ULEB or form == _FORM_SDATA:
            number, at = uleb(info, at)
            return number + unit if form == _FORM_REF_UDATA else number, at
        if form in (_FORM_BLOCK, _FORM_EXPRLOC):
            length, at = uleb(info, at)
        elif form in _COUNTED:
            width = _COUNTED[form]
            length = int.from_bytes(info[at : at + width], "little")
            at += width
        else:
            raise IndexError(f"form {form:#x}")
        return info[at : at + length], at + length

    def find(self, name: str, tag: int = _TAG_STRUCT) -> Entry | None:
        """Returns the entry of that name and tag; the name must be its first attribute, as Go writes it."""
        at = self.find_at(name, tag)
        return None if at is None else self.entry(at)

    def find_at(self, name: str, tag: int) -> int | None:
        """Returns the offset of the entry of that name and tag."""
        needle = name.encode() + b"\0"
        at = self._info.find(needle)
        for _ in range(_MAX_TRIES):
            if at <= 0:
                return None
            for back in (1, 2):  # the abbreviation's code before the name is a number of one or two bytes
                try:
                    got = self.entry(at - back)
                except (IndexError, KeyError, ValueError):
                    continue  # these bytes are no entry: the name stands here for something else
                if got is not None and got.tag == tag and got.attributes.get(_AT_NAME) == needle[:-1]:
                    return at - back
            at = self._info.find(needle, at + 1)
        return None

    def children(self, entry: Entry) -> list[Entry]:
        """Returns the entry's children. Their own children are skipped; Go's members have none."""
        out: list[Entry] = []
        if not entry.children:
            return out
        at, depth = entry.end, 0
        for _ in range(_MAX_FIELDS * 4):
            got = self.entry(at)
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
            at = got.end
            depth += got.children
        return out

    def _type(self, entry: Entry) -> Entry | None:
        """The entry of the type that this one refers to, behind typedefs."""
        for _ in range(_MAX_TYPEDEFS):
            ref = entry.attributes.get(_AT_TYPE)
            got = self.entry(ref) if isinstance(ref, int) else None
            if got is None or got.tag != _TAG_TYPEDEF:
                return got
            entry = got
        return None

    def size(self, entry: Entry | None, depth: int = 0) -> int:
        """Returns the size of a type in bytes; of one that is not described, that of a pointer."""
        if entry is None or entry.tag == _TAG_POINTER:
            return self._word
        size = entry.attributes.get(_AT_BYTE_SIZE)
        if isinstance(size, int):
            return size
        if depth >= _MAX_TYPEDEFS:
            return self._word
        inner = self.size(self._type(entry), depth + 1)
        if entry.tag == _TAG_ARRAY:
            for child in self.children(entry):
                count = child.attributes.get(_AT_COUNT)
                if isinstance(count, int):
                    return inner * count
        return inner

    def struct(self, name: str, wanted: tuple[str, ...] = ()) -> Layout:
        """Returns the fields of a struct, those of a struct in it as `sched.sp`; empty when it is not described.

        `wanted` limits them to these paths. Raises `IndexError`, `KeyError` or `struct.error` for corrupt entries.
        """
        found = self.find(name)
        return {} if found is None else self._members(found, wanted, "", 0, 0)

    def _members(self, entry: Entry, wanted: tuple[str, ...], prefix: str, base: int, depth: int) -> Layout:
        out: Layout = {}
        for child in self.children(entry):
            raw = child.attributes.get(_AT_NAME)
            if child.tag != _TAG_MEMBER or not isinstance(raw, bytes):
                continue
            field = prefix + raw.decode("utf-8", "replace")
            deeper = any(w.startswith(field + ".") for w in wanted)
            if wanted and field not in wanted and not deeper:
                continue
            place = child.attributes.get(_AT_LOCATION)
            offset = base + (place if isinstance(place, int) else location(place))
            kind = self._type(child)
            out[field] = (offset, self.size(kind))
            if kind is not None and kind.tag == _TAG_ARRAY:
                one = self.size(self._type(kind))
                for i in range(min(out[field][1] // max(one, 1), _MAX_FIELDS)):
                    if f"{field}[{i}]" in wanted:
                        out[f"{field}[{i}]"] = (offset + one * i, one)
            if deeper and kind is not None and kind.tag == _TAG_STRUCT and depth < _MAX_DEPTH:
                out.update(self._members(kind, wanted, field + ".", offset, depth + 1))
        return out


def location(expression: bytes | None) -> int:
    """Returns a member's offset where an older Go wrote it as an expression: DW_OP_plus_uconst N."""
    if expression is not None and expression[:1] == _OP_PLUS_UCONST:
        return uleb(expression, 1)[0]
    return 0


def has_dwarf(image: Image) -> bool:
    """True when the file has debugging information, of Go or of another language."""
    return _section(image, "info") is not None


def read_layouts(image: Image, wanted: dict[str, tuple[str, ...]]) -> dict[str, Layout]:
    """Returns the layouts of the structs named in `wanted`, each limited to the given fields; empty without DWARF.

    Raises `XrayError` when there is DWARF that cannot be read.
    """
    if not has_dwarf(image):
        return {}
    try:
        dwarf = Dwarf(image)
        return {name: layout for name, fields in wanted.items() if (layout := dwarf.struct(name, fields))}
    except (IndexError, KeyError, ValueError, struct.error, MemoryError) as exc:
        raise XrayError(f"{image.path}: its DWARF cannot be read ({type(exc).__name__}: {exc})") from exc
