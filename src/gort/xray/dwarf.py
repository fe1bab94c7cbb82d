"""Structure layouts from the file's own DWARF: where the fields of g, m, p and the scheduler's state lie.

Follows cmd/link/internal/ld/dwarf.go: Go writes a type's name inline in its record, so that the record of `runtime.g` is
found by searching the decompressed .debug_info for the name, and only that record and its children are decoded with
pyelftools: 10 ms instead of the half second that a walk over all records of a hello world takes.

Invariant: what is found is a DW_TAG_structure_type with that very name; anything else counts as absent.
"""

from __future__ import annotations

import io
import zlib
from typing import Any

from gort.xray.errors import XrayError, require
from gort.xray.image import Image, Section

Layout = dict[str, tuple[int, int]]
"""field path -> (offset, size in bytes)"""

_MAX_DEBUG = 512 << 20


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


class Dwarf:
    """The DWARF of one image. Raises `XrayError` when pyelftools is missing or a section does not unpack."""

    def __init__(self, image: Image) -> None:
        info, abbrev = _section(image, "info"), _section(image, "abbrev")
        if info is None or abbrev is None:
            raise XrayError(f"{image.path}: no DWARF")
        self._info = _contents(image, info)
        parts: dict[str, bytes] = {"info": self._info, "abbrev": _contents(image, abbrev)}
        for name in ("str", "line_str"):
            section = _section(image, name)
            if section is not None:
                parts[name] = _contents(image, section)
        dwarfinfo = require("elftools.dwarf.dwarfinfo")
        describe = dwarfinfo.DebugSectionDescriptor

        def section_of(name: str) -> Any:
            data = parts.get(name)
            return None if data is None else describe(io.BytesIO(data), f".debug_{name}", None, len(data), 0)

        self._dwarf = dwarfinfo.DWARFInfo(
            config=dwarfinfo.DwarfConfig(little_endian=True, machine_arch="x64", default_address_size=8),
            debug_info_sec=section_of("info"), debug_aranges_sec=None, debug_abbrev_sec=section_of("abbrev"),
            debug_frame_sec=None, eh_frame_sec=None, debug_str_sec=section_of("str"), debug_loc_sec=None,
            debug_ranges_sec=None, debug_line_sec=None, debug_pubtypes_sec=None, debug_pubnames_sec=None,
            debug_addr_sec=None, debug_str_offsets_sec=None, debug_line_str_sec=section_of("line_str"),
            debug_loclists_sec=None, debug_rnglists_sec=None, debug_sup_sec=None, gnu_debugaltlink_sec=None,
            debug_types_sec=None,
        )

    def _find(self, name: str) -> Any:
        needle = name.encode() + b"\0"
        at = self._info.find(needle)
        tries = 0
        while at > 0 and tries < 200:
            tries += 1
            # The record begins with its abbreviation number, a varint of one or two bytes.
            for back in (1, 2):
                try:
                    die = self._dwarf.get_DIE_from_refaddr(at - back)
                    if die.tag in ("DW_TAG_structure_type", "DW_TAG_typedef"):
                        attr = die.attributes.get("DW_AT_name")
                        if attr is not None and attr.value == needle[:-1] and attr.offset == at:
                            return die
                except Exception:
                    # pyelftools raises many kinds of error when it is pointed at something that is no record.
                    continue
            at = self._info.find(needle, at + 1)
        return None

    def _size(self, die: Any, depth: int = 0) -> int:
        if die.tag == "DW_TAG_pointer_type":
            return 8
        if "DW_AT_byte_size" in die.attributes:
            return int(die.attributes["DW_AT_byte_size"].value)
        if depth < 8 and "DW_AT_type" in die.attributes:
            inner = self._size(die.get_DIE_from_attribute("DW_AT_type"), depth + 1)
            if die.tag == "DW_TAG_array_type":
                for child in die.iter_children():
                    if "DW_AT_count" in child.attributes:
                        return inner * int(child.attributes["DW_AT_count"].value)
            return inner
        return 8

    def struct(self, name: str, wanted: tuple[str, ...] = (), prefix: str = "", base: int = 0, depth: int = 0) -> Layout:
        """The fields of a struct, nested ones as `sched.sp`. Empty when the struct is not described.

        `wanted` limits what is decoded to these paths.
        """
        die = self._find(name) if depth == 0 else None
        return {} if die is None else self._members(die, wanted, prefix, base, 0)

    def _members(self, die: Any, wanted: tuple[str, ...], prefix: str, base: int, depth: int) -> Layout:
        out: Layout = {}
        for child in die.iter_children():
            if child.tag != "DW_TAG_member":
                continue
            attrs = child.attributes
            field = prefix + attrs["DW_AT_name"].value.decode("utf-8", "replace")
            deeper = any(w.startswith(field + ".") for w in wanted)
            if wanted and field not in wanted and not deeper:
                continue
            location = attrs.get("DW_AT_data_member_location")
            offset = base + (int(location.value) if location is not None and isinstance(location.value, int) else 0)
            kind = child.get_DIE_from_attribute("DW_AT_type")
            for _ in range(8):
                if kind.tag != "DW_TAG_typedef":
                    break
                kind = kind.get_DIE_from_attribute("DW_AT_type")
            out[field] = (offset, self._size(kind))
            if deeper and kind.tag == "DW_TAG_structure_type" and depth < 4:
                out.update(self._members(kind, wanted, field + ".", offset, depth + 1))
        return out


def read_layouts(image: Image, wanted: dict[str, tuple[str, ...]]) -> dict[str, Layout]:
    """The layouts of the structs named in `wanted`, each limited to the given fields; empty without DWARF."""
    if _section(image, "info") is None:
        return {}
    try:
        dwarf = Dwarf(image)
        return {name: layout for name, fields in wanted.items() if (layout := dwarf.struct(name, fields))}
    except XrayError:
        raise
    except Exception as exc:
        # DWARF is a help, not a condition: a file whose DWARF pyelftools cannot read still has its known layout.
        raise XrayError(f"{image.path}: its DWARF cannot be read ({type(exc).__name__}: {exc})") from exc
