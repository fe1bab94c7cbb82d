"""PE32+: Windows' executables.

Follows Microsoft's PE/COFF specification, whose names the constants have; Go's writer is cmd/link/internal/ld/pe.go. Go
keeps a COFF symbol table in the file, and puts long section names ("/19") into that table's strings.

Invariant: section and import tables are walked up to the file's end and `MAX_SECTIONS`; names are cut at 512 bytes.
"""

from __future__ import annotations

import mmap
import struct

from gort.xray.errors import XrayError
from gort.xray.file.image import MAX_SECTIONS, Image, Import, Section, Segment, SymbolTable
from gort.xray.record import frozen

_MACHINES = {0x8664: "amd64", 0xAA64: "arm64", 0x14C: "386", 0x1C4: "arm"}
_PE_OFFSET_AT = 60
_FILE_EXECUTABLE_IMAGE, _FILE_DLL = 0x2, 0x2000
_PE32_MAGIC, _PE32_PLUS_MAGIC = 0x10B, 0x20B
_FILE_HEADER_SIZE, _SECTION_SIZE, _SYMBOL_SIZE, _IMPORT_SIZE = 24, 40, 18, 20
_ENTRY_AT, _IMAGE_BASE_AT, _DIRECTORIES_AT = 16, 24, 108
"""Offsets in the optional header."""
_DIRECTORY_SIZE = 8
_IMPORT_DIRECTORY = 1
_MAX_DIRECTORIES = 16
_SCN_CNT_UNINITIALIZED_DATA = 0x80
_SCN_MEM_EXECUTE, _SCN_MEM_READ, _SCN_MEM_WRITE = 0x20000000, 0x40000000, 0x80000000
_PERMS = (("r", _SCN_MEM_READ), ("w", _SCN_MEM_WRITE), ("x", _SCN_MEM_EXECUTE))
_ORDINAL_FLAG = 1 << 63
_MAX_LIBRARIES = 256
_MAX_IMPORTS = 20_000


@frozen
class _Symtab:
    symbols_at: int
    count: int
    strings_at: int


def read_pe(path: str, data: mmap.mmap, size: int) -> Image:
    """Read the headers, sections and imports. Raises `XrayError`."""
    pe = struct.unpack_from("<I", data, _PE_OFFSET_AT)[0]
    if pe + _FILE_HEADER_SIZE > size or data[pe : pe + 4] != b"PE\0\0":
        raise XrayError(f"{path}: an MZ file without PE headers: not a 64-bit Windows executable")
    machine, nsections, _, symoff, nsyms, optsize, chars = struct.unpack_from("<HHIIIHH", data, pe + 4)
    arch = _MACHINES.get(machine, f"machine {machine:#x}")
    opt = pe + _FILE_HEADER_SIZE
    if opt + _DIRECTORIES_AT + 4 > size:
        raise XrayError(f"{path}: the PE headers lie outside of the file: truncated")
    magic = struct.unpack_from("<H", data, opt)[0]
    if magic == _PE32_MAGIC or arch in ("386", "arm"):
        raise XrayError(f"{path}: a 32-bit PE file ({arch}): gort xray reads 64-bit Go executables (amd64, arm64)")
    if magic != _PE32_PLUS_MAGIC or arch not in ("amd64", "arm64"):
        raise XrayError(f"{path}: built for {arch}: gort xray reads amd64 and arm64")
    if not chars & _FILE_EXECUTABLE_IMAGE:
        raise XrayError(f"{path}: a PE object file, not an executable")
    entry = struct.unpack_from("<I", data, opt + _ENTRY_AT)[0]
    base = struct.unpack_from("<Q", data, opt + _IMAGE_BASE_AT)[0]
    ndirs = min(struct.unpack_from("<I", data, opt + _DIRECTORIES_AT)[0], _MAX_DIRECTORIES)
    if opt + optsize + _SECTION_SIZE * nsections > size or nsections > MAX_SECTIONS:
        raise XrayError(f"{path}: {nsections} sections do not fit the file: truncated or corrupt")

    symtab: _Symtab | None = None
    strings_at = symoff + _SYMBOL_SIZE * nsyms
    if symoff and strings_at + 4 <= size:
        symtab = _Symtab(symbols_at=symoff, count=nsyms, strings_at=strings_at)
    sections, segments = _sections(path, data, size, opt + optsize, nsections, base, symtab)
    image = Image(
        path=path,
        data=data,
        size=size,
        format="PE",
        arch=arch,
        os="windows",
        entry=base + entry,
        sections=sections,
        segments=segments,
        base=base,
        library=bool(chars & _FILE_DLL),
    )
    if symtab is not None:
        image.symbol_source = lambda: _symbols(data, size, symtab, sections)
    directory = _DIRECTORIES_AT + 4 + _DIRECTORY_SIZE * _IMPORT_DIRECTORY
    if ndirs > _IMPORT_DIRECTORY and directory + _DIRECTORY_SIZE <= optsize:
        _imports(image, *struct.unpack_from("<II", data, opt + directory))
    return image


def _sections(
    path: str, data: mmap.mmap, size: int, table: int, count: int, base: int, symtab: _Symtab | None
) -> tuple[list[Section], list[Segment]]:
    sections: list[Section] = []
    segments: list[Segment] = []
    for i in range(count):
        raw, vsize, va, rawsize, off, _, _, _, _, flags = struct.unpack_from(
            "<8sIIIIIIHHI", data, table + _SECTION_SIZE * i
        )
        name = raw.rstrip(b"\0").decode("utf-8", "replace")
        if symtab is not None and name.startswith("/") and name[1:].isdigit():
            name = _string(data, symtab.strings_at, int(name[1:]), size) or name
        in_file = 0 if flags & _SCN_CNT_UNINITIALIZED_DATA else min(rawsize, vsize) if vsize else rawsize
        if in_file and off + in_file > size:
            raise XrayError(f"{path}: truncated: section {name} needs {off + in_file} bytes, the file has {size}")
        debug = name.startswith((".debug", ".zdebug")) or name == ".symtab"
        perms = "".join(c for c, bit in _PERMS if flags & bit)
        sections.append(
            Section(
                name=name,
                address=base + va,
                size=vsize or rawsize,
                offset=off,
                file_size=in_file,
                flags=("" if debug else "A") + "W" * ("w" in perms) + "X" * ("x" in perms),
            )
        )
        if not debug and (vsize or rawsize):
            segments.append(
                Segment(
                    address=base + va,
                    size=max(vsize, in_file),
                    offset=off,
                    file_size=in_file,
                    perms=perms,
                    name=name,
                )
            )
    return sections, segments


def _string(data: mmap.mmap, strings_at: int, at: int, size: int) -> str:
    start = strings_at + at
    if start >= size:
        return ""
    end = data.find(b"\0", start, min(start + 4096, size))
    return data[start:end].decode("utf-8", "replace") if end >= 0 else ""


def _symbols(data: mmap.mmap, size: int, symtab: _Symtab, sections: list[Section]) -> SymbolTable:
    strings = data[symtab.strings_at : min(size, symtab.strings_at + (64 << 20))]
    table = data[symtab.symbols_at : symtab.symbols_at + _SYMBOL_SIZE * symtab.count]
    out: SymbolTable = {}
    skip = 0
    for raw, value, section, _, _, aux in struct.iter_unpack("<8sIhHBB", table):
        if skip:  # an auxiliary record of the symbol before
            skip -= 1
            continue
        skip = aux
        if not 0 < section <= len(sections):
            continue
        if raw[:4] == b"\0\0\0\0":
            at = struct.unpack_from("<I", raw, 4)[0]
            end = strings.find(b"\0", at)
            name = strings[at:end][:4096].decode("utf-8", "replace") if 0 <= at <= end else ""
        else:
            name = raw.rstrip(b"\0").decode("utf-8", "replace")
        if name:
            out[name] = (sections[section - 1].address + value, 0)
    return out


def _imports(image: Image, rva: int, length: int) -> None:
    """Read the import directory: a descriptor for each library, ended by one of zeros."""
    if not rva or not length:
        return
    base = image.base
    for i in range(_MAX_LIBRARIES):
        at = base + rva + _IMPORT_SIZE * i
        seg = image.segment_at(at)
        if seg is None or at + _IMPORT_SIZE > seg.end:
            return
        lookup, _, _, name_rva, slots = struct.unpack("<IIIII", image.read(at, _IMPORT_SIZE))
        if not name_rva:
            return
        library = image.cstring(base + name_rva, 512)
        image.libraries.append(library)
        names = base + (lookup or slots)
        slot = base + slots
        seg = image.segment_at(names)
        while seg is not None and names + 8 <= seg.end and len(image.imports) < _MAX_IMPORTS:
            entry = struct.unpack("<Q", image.read(names, 8))[0]
            if not entry:
                break
            if entry & _ORDINAL_FLAG:
                name = f"ordinal {entry & 0xFFFF}"
            else:
                name = image.cstring(base + (entry & 0x7FFFFFFF) + 2, 512)
            image.imports.append(Import(slot=slot, name=name, library=library))
            names += 8
            slot += 8
