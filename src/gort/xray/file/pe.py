"""PE32+: Windows' executables.

Follows Microsoft's PE/COFF specification; Go's writer is cmd/link/internal/ld/pe.go, which keeps a COFF symbol table
in the file and puts long section names ("/19") into its string table.

Invariant: section and import tables are walked up to the file's end and `MAX_SECTIONS`; names are cut at 512 bytes.
"""

from __future__ import annotations

import mmap
import struct

from gort.xray.errors import XrayError
from gort.xray.file.image import MAX_SECTIONS, Image, Import, Section, Segment

_MACHINES = {0x8664: "amd64", 0xAA64: "arm64", 0x14C: "386", 0x1C4: "arm"}
_MAX_IMPORTS = 20_000


def read_pe(path: str, data: mmap.mmap, size: int) -> Image:
    pe = struct.unpack_from("<I", data, 60)[0]
    if pe + 24 > size or data[pe : pe + 4] != b"PE\0\0":
        raise XrayError(f"{path}: an MZ file without PE headers: not a 64-bit Windows executable")
    machine, nsections, _, symoff, nsyms, optsize, chars = struct.unpack_from("<HHIIIHH", data, pe + 4)
    arch = _MACHINES.get(machine, f"machine {machine:#x}")
    opt = pe + 24
    if opt + 112 > size:
        raise XrayError(f"{path}: the PE headers lie outside of the file: truncated")
    magic = struct.unpack_from("<H", data, opt)[0]
    if magic == 0x10B or arch in ("386", "arm"):
        raise XrayError(f"{path}: a 32-bit PE file ({arch}): gort xray reads 64-bit Go executables (amd64, arm64)")
    if magic != 0x20B or arch not in ("amd64", "arm64"):
        raise XrayError(f"{path}: built for {arch}: gort xray reads amd64 and arm64")
    if not chars & 2:
        raise XrayError(f"{path}: a PE object file, not an executable")
    entry = struct.unpack_from("<I", data, opt + 16)[0]
    base = struct.unpack_from("<Q", data, opt + 24)[0]
    ndirs = min(struct.unpack_from("<I", data, opt + 108)[0], 16)
    if opt + optsize + 40 * nsections > size or nsections > MAX_SECTIONS:
        raise XrayError(f"{path}: {nsections} sections do not fit the file: truncated or corrupt")

    strings_at = symoff + 18 * nsyms if symoff and symoff + 18 * nsyms + 4 <= size else 0
    sections: list[Section] = []
    segments: list[Segment] = []
    for i in range(nsections):
        at = opt + optsize + 40 * i
        raw, vsize, va, rawsize, off, _, _, _, _, flags = struct.unpack_from("<8sIIIIIIHHI", data, at)
        name = raw.rstrip(b"\0").decode("utf-8", "replace")
        if strings_at and name.startswith("/") and name[1:].isdigit():
            name = _string(data, strings_at, int(name[1:]), size) or name
        in_file = 0 if flags & 0x80 else min(rawsize, vsize) if vsize else rawsize
        if in_file and off + in_file > size:
            raise XrayError(f"{path}: truncated: section {name} needs {off + in_file} bytes, the file has {size}")
        debug = name.startswith((".debug", ".zdebug")) or name == ".symtab"
        text = ("" if debug else "A") + ("W" if flags & 0x80000000 else "") + ("X" if flags & 0x20000000 else "")
        sections.append(Section(name, base + va, vsize or rawsize, off, in_file, text))
        if not debug and (vsize or rawsize):
            perms = "".join(c for c, bit in (("r", 1 << 30), ("w", 1 << 31), ("x", 1 << 29)) if flags & bit)
            segments.append(Segment(base + va, max(vsize, in_file), off, in_file, perms, name))
    image = Image(path, data, size, "PE", arch, "windows", base + entry, sections, segments)
    image.phdr = (base, 0, 0)
    if strings_at:
        image.symbol_source = lambda: _symbols(data, size, symoff, nsyms, strings_at, sections)
    if ndirs > 1 and opt + 128 <= opt + optsize:
        image.segments.sort(key=lambda s: s.address)
        image._starts = [s.address for s in image.segments]
        _imports(image, base, *struct.unpack_from("<II", data, opt + 112 + 8))
    return image


def _string(data: mmap.mmap, strings_at: int, at: int, size: int) -> str:
    start = strings_at + at
    if start >= size:
        return ""
    end = data.find(b"\0", start, min(start + 4096, size))
    return data[start:end].decode("utf-8", "replace") if end >= 0 else ""


def _symbols(
    data: mmap.mmap, size: int, symoff: int, nsyms: int, strings_at: int, sections: list[Section]
) -> dict[str, tuple[int, int]]:
    strings = data[strings_at : min(size, strings_at + (64 << 20))]
    out: dict[str, tuple[int, int]] = {}
    skip = 0
    for raw, value, section, _, _, aux in struct.iter_unpack("<8sIhHBB", data[symoff : symoff + 18 * nsyms]):
        if skip:
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


def _imports(image: Image, base: int, rva: int, length: int) -> None:
    """The import directory: one descriptor of 20 bytes per DLL, ended by zeros."""
    if not rva or not length:
        return
    for i in range(256):
        at = base + rva + 20 * i
        seg = image.segment_at(at)
        if seg is None or at + 20 > seg.end:
            return
        lookup, _, _, name_rva, slots = struct.unpack("<IIIII", image.read(at, 20))
        if not name_rva:
            return
        library = image.cstring(base + name_rva, 512)
        image.libraries.append(library)
        table = base + (lookup or slots)
        seg = image.segment_at(table)
        while seg is not None and table + 8 <= seg.end and len(image.imports) < _MAX_IMPORTS:
            entry = struct.unpack("<Q", image.read(table, 8))[0]
            if not entry:
                break
            name = f"ordinal {entry & 0xFFFF}" if entry >> 63 else image.cstring(base + (entry & 0x7FFFFFFF) + 2, 512)
            image.imports.append(Import(base + slots + table - base - (lookup or slots), name, library))
            table += 8
