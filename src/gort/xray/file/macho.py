"""Mach-O: darwin's executables, 64-bit little-endian.

Follows Apple's <mach-o/loader.h>; Go's writer is cmd/link/internal/ld/macho.go. The imports are read from the bind
opcodes (LC_DYLD_INFO_ONLY, what Go's own linker writes) or from the indirect symbol table; chained fixups (written by
Apple's linker for cgo programs) are walked by `_chained` so that pointers in data read as plain addresses.

Invariant: every load command lies inside `sizeofcmds`, and a walk over opcodes or fixups ends at its table's end.
"""

from __future__ import annotations

import mmap
import struct

from gort.xray.errors import XrayError
from gort.xray.file.image import MAX_SECTIONS, Image, Import, Section, Segment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_CPUS = {0x01000007: "amd64", 0x0100000C: "arm64", 7: "386", 12: "arm", 0x01000012: "ppc64"}
_LC_SYMTAB, _LC_UNIXTHREAD, _LC_SEGMENT_64, _LC_MAIN = 0x2, 0x5, 0x19, 0x80000028
_LC_DYLD_INFO, _LC_DYLD_INFO_ONLY, _LC_CHAINED = 0x22, 0x80000022, 0x80000034
_LC_LOAD_DYLIB, _LC_DYSYMTAB, _LC_ENCRYPTION_64 = 0xC, 0xB, 0x2C
_MAX_IMPORTS = 100_000


def read_macho(path: str, data: mmap.mmap, size: int) -> Image:
    if data[:4] in (b"\xfe\xed\xfa\xcf", b"\xfe\xed\xfa\xce"):
        raise XrayError(f"{path}: a big-endian Mach-O file: gort xray reads amd64 and arm64")
    _, cpu, _, kind, ncmds, cmdsize = struct.unpack_from("<IIIIII", data, 0)
    arch = _CPUS.get(cpu, f"cpu {cpu:#x}")
    if data[0] == 0xCE:
        raise XrayError(f"{path}: a 32-bit Mach-O file ({arch}): gort xray reads 64-bit Go executables (amd64, arm64)")
    if arch not in ("amd64", "arm64"):
        raise XrayError(f"{path}: built for {arch}: gort xray reads amd64 and arm64")
    if kind != 2:
        raise XrayError(f"{path}: Mach-O type {kind}, not an executable")
    if 32 + cmdsize > size or ncmds * 8 > cmdsize:
        raise XrayError(f"{path}: the load commands lie outside of the file: truncated or corrupt")

    segments: list[Segment] = []
    sections: list[Section] = []
    libraries: list[str] = []
    entry = entryoff = None
    symtab = dysymtab = dyldinfo = chained = None
    pointers: list[tuple[int, int, int]] = []
    at, end = 32, 32 + cmdsize
    for _ in range(ncmds):
        if at + 8 > end:
            raise XrayError(f"{path}: load commands run over their size: corrupt")
        cmd, length = struct.unpack_from("<II", data, at)
        if length < 8 or at + length > end:
            raise XrayError(f"{path}: load command {cmd:#x} has size {length}: corrupt")
        if cmd == _LC_SEGMENT_64 and length >= 72:
            _segment(path, data, size, at, length, segments, sections, pointers)
        elif cmd == _LC_MAIN and length >= 16:
            entryoff = struct.unpack_from("<Q", data, at + 8)[0]
        elif cmd == _LC_UNIXTHREAD and length >= 16:
            at_pc = at + 16 + (16 * 8 if arch == "amd64" else 32 * 8)
            if at_pc + 8 <= at + length:
                entry = struct.unpack_from("<Q", data, at_pc)[0]
        elif cmd == _LC_SYMTAB and length >= 24:
            symtab = struct.unpack_from("<IIII", data, at + 8)
        elif cmd == _LC_DYSYMTAB and length >= 64:
            dysymtab = struct.unpack_from("<II", data, at + 56)
        elif cmd in (_LC_DYLD_INFO, _LC_DYLD_INFO_ONLY) and length >= 48:
            dyldinfo = struct.unpack_from("<10I", data, at + 8)
        elif cmd == _LC_CHAINED and length >= 16:
            chained = struct.unpack_from("<II", data, at + 8)
        elif cmd & 0x7FFFFFFF in (_LC_LOAD_DYLIB, 0x18, 0x1F) and length >= 24:
            name_at = struct.unpack_from("<I", data, at + 8)[0]
            libraries.append(
                data[at + min(name_at, length) : at + length].partition(b"\0")[0].decode("utf-8", "replace")
            )
        elif cmd == _LC_ENCRYPTION_64 and length >= 20 and struct.unpack_from("<I", data, at + 16)[0]:
            raise XrayError(f"{path}: an encrypted Mach-O file: it cannot be read")
        at += length
    base = next((s.address for s in segments if s.offset == 0 and s.file_size), 0)
    if entry is None:
        if entryoff is None:
            raise XrayError(f"{path}: no LC_MAIN and no LC_UNIXTHREAD: it has no entry point")
        entry = base + entryoff
    image = Image(path, data, size, "Mach-O", arch, "darwin", entry, sections, segments, libraries=libraries, pie=True)
    if symtab is not None:
        symoff, nsyms, stroff, strsize = symtab
        if symoff + 16 * nsyms <= size and stroff + strsize <= size:
            image.symbol_source = lambda: _symbols(data, symoff, nsyms, stroff, strsize)
    if dyldinfo is not None:
        for off, length in (dyldinfo[2:4], dyldinfo[6:8]):
            if off + length > size:
                raise XrayError(f"{path}: the bind opcodes lie outside of the file: truncated or corrupt")
            if length:
                image.imports += _binds(data, off, length, segments, libraries)
    if symtab is not None and dysymtab is not None and not image.imports:
        _indirect(image, symtab, dysymtab, pointers)
    if chained is not None:
        _chained(image, chained[0], chained[1], base)
    return image


def _segment(
    path: str,
    data: mmap.mmap,
    size: int,
    at: int,
    length: int,
    segments: list[Segment],
    sections: list[Section],
    pointers: list[tuple[int, int, int]],
) -> None:
    name, va, vmsize, off, filesz, _maxprot, initprot, nsects, _ = struct.unpack_from("<16sQQQQIIII", data, at + 8)
    text = name.rstrip(b"\0").decode("utf-8", "replace")
    if filesz and off + filesz > size:
        raise XrayError(f"{path}: truncated: segment {text} needs {off + filesz} bytes, the file has {size}")
    if 72 + 80 * nsects > length:
        raise XrayError(f"{path}: segment {text} announces {nsects} sections: corrupt or hostile")
    if text in ("__PAGEZERO", "__DWARF", "__LINKEDIT") or vmsize == 0 or initprot & 7 == 0:
        loaded = False
    else:
        loaded = True
        if filesz > vmsize:
            raise XrayError(f"{path}: segment {text} is larger in the file than in memory: corrupt")
        perms = "".join(c for c, bit in (("r", 1), ("w", 2), ("x", 4)) if initprot & bit)
        segments.append(Segment(va, vmsize, off, filesz, perms, text))
    for i in range(nsects):
        sname, _, addr, ssize, soff, _, _, _, flags, first, *_ = struct.unpack_from(
            "<16s16sQQIIIIIIII", data, at + 72 + 80 * i
        )
        zerofill = flags & 0xFF in (1, 12)
        in_file = 0 if zerofill else ssize
        label = sname.rstrip(b"\0").decode("utf-8", "replace")
        if in_file and soff + in_file > size:
            raise XrayError(f"{path}: section {label} needs {in_file} bytes at {soff:#x}: truncated or corrupt")
        if len(sections) >= MAX_SECTIONS:
            raise XrayError(f"{path}: more than {MAX_SECTIONS} sections: corrupt or hostile")
        kind = (
            ("A" if loaded else "")
            + ("W" if initprot & 2 and loaded else "")
            + ("X" if initprot & 4 and loaded else "")
        )
        sections.append(Section(label, addr, ssize, soff, in_file, kind))
        if flags & 0xFF in (6, 7):
            pointers.append((addr, ssize // 8, first))


def _symbols(data: mmap.mmap, symoff: int, nsyms: int, stroff: int, strsize: int) -> dict[str, tuple[int, int]]:
    strings = data[stroff : stroff + strsize]
    out: dict[str, tuple[int, int]] = {}
    for name, kind, _, _, value in struct.iter_unpack("<IBBHQ", data[symoff : symoff + 16 * nsyms]):
        if kind & 0xE0 == 0 and kind & 0x0E == 0x0E and name < strsize:
            end = strings.find(b"\0", name)
            text = strings[name:end][:4096].decode("utf-8", "replace")
            out[text.removeprefix("_") if text.startswith(("_runtime.", "_main.", "__rt0", "_internal/")) else text] = (
                value,
                0,
            )
    return out


def _indirect(
    image: Image, symtab: tuple[int, int, int, int], table: tuple[int, int], pointers: list[tuple[int, int, int]]
) -> None:
    """Imports of files without bind opcodes: pointer sections name their symbols through the indirect table."""
    data, (symoff, nsyms, stroff, strsize), (off, count) = image.data, symtab, table
    if off + 4 * count > image.size or symoff + 16 * nsyms > image.size or stroff + strsize > image.size:
        return
    for address, slots, first in pointers:
        for i in range(min(slots, count - first if count > first else 0, _MAX_IMPORTS)):
            index = struct.unpack_from("<I", data, off + 4 * (first + i))[0]
            if index < nsyms:
                at = stroff + struct.unpack_from("<I", data, symoff + 16 * index)[0]
                stop = data.find(b"\0", at, stroff + strsize)
                if stop >= 0:
                    name = data[at : min(stop, at + 512)].decode("utf-8", "replace")
                    image.imports.append(Import(address + 8 * i, name, ""))


def _uleb(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            break
    return value, at


def _binds(data: mmap.mmap, off: int, length: int, segments: list[Segment], libraries: list[str]) -> list[Import]:
    """The bind opcodes, as a small machine; 0x00 separates entries (and is skipped)."""
    # Segment indexes count __PAGEZERO, which is not loaded: Go's and Apple's linkers both put it first.
    order: list[Segment | None] = [None, *segments]
    out: list[Import] = []
    at, end = off, off + length
    seg: Segment | None = None
    offset = 0
    name = library = ""
    while at < end and len(out) < _MAX_IMPORTS:
        byte = data[at]
        at += 1
        op, imm = byte & 0xF0, byte & 0x0F
        count, skip = 0, 0
        if op == 0x10:
            library = libraries[imm - 1] if 0 < imm <= len(libraries) else ""
        elif op == 0x20:
            _, at = _uleb(data, at, end)
        elif op == 0x40:
            stop = data.find(b"\0", at, end)
            stop = end if stop < 0 else stop
            name = data[at : min(stop, at + 512)].decode("utf-8", "replace")
            at = stop + 1
        elif op == 0x60:
            _, at = _uleb(data, at, end)
        elif op == 0x70:
            seg = order[imm] if imm < len(order) else None
            offset, at = _uleb(data, at, end)
        elif op == 0x80:
            delta, at = _uleb(data, at, end)
            offset = (offset + delta) & (2**64 - 1)
        elif op == 0x90:
            count = 1
        elif op == 0xA0:
            count = 1
            skip, at = _uleb(data, at, end)
        elif op == 0xB0:
            count, skip = 1, 8 * imm
        elif op == 0xC0:
            count, at = _uleb(data, at, end)
            skip, at = _uleb(data, at, end)
        for _ in range(min(count, _MAX_IMPORTS)):
            if seg is not None and offset + 8 <= seg.size:
                out.append(Import(seg.address + offset, name, library))
            offset = (offset + 8 + skip) & (2**64 - 1)
            if len(out) >= _MAX_IMPORTS:
                break
    return out


def _chained(image: Image, off: int, length: int, base: int) -> None:
    """DYLD_CHAINED_PTR_64 and _64_OFFSET: pages of linked pointers, imports by number."""
    data = image.data
    if off + length > image.size or length < 28:
        raise XrayError(f"{image.path}: the chained fixups lie outside of the file: truncated or corrupt")
    _, starts_off, imports_off, symbols_off, imports_count, imports_format, _ = struct.unpack_from("<7I", data, off)
    if starts_off + 4 > length or imports_count > _MAX_IMPORTS or imports_off + 4 * imports_count > length:
        raise XrayError(f"{image.path}: the chained fixups are corrupt")
    names: list[str] = []
    if imports_format == 1:
        for (word,) in struct.iter_unpack("<I", data[off + imports_off : off + imports_off + 4 * imports_count]):
            s = off + symbols_off + (word >> 9)
            stop = data.find(b"\0", s, off + length)
            names.append(data[s:stop][:512].decode("utf-8", "replace") if stop >= 0 else "?")
    starts = off + starts_off
    seg_count = struct.unpack_from("<I", data, starts)[0]
    if seg_count > 256 or starts_off + 4 + 4 * seg_count > length:
        raise XrayError(f"{image.path}: the chained fixups name {seg_count} segments: corrupt")

    def walk() -> Iterator[tuple[int, int, bool]]:
        for i in range(seg_count):
            rel = struct.unpack_from("<I", data, starts + 4 + 4 * i)[0]
            if not rel or starts_off + rel + 22 > length:
                continue
            _, page_size, fmt, seg_offset, _, pages = struct.unpack_from("<IHHQIH", data, starts + rel)
            if fmt not in (2, 6) or starts_off + rel + 22 + 2 * pages > length:
                continue
            for page in range(pages):
                first = struct.unpack_from("<H", data, starts + rel + 22 + 2 * page)[0]
                address = base + seg_offset + page * page_size + first
                for _ in range(page_size // 4 if first != 0xFFFF else 0):
                    place = image.file_offset(address)
                    if place is None or place + 8 > image.size:
                        break
                    word = struct.unpack_from("<Q", data, place)[0]
                    if word >> 63:
                        yield address, word & 0xFFFFFF, True
                    else:
                        yield address, (word & ((1 << 36) - 1)) + (base if fmt == 6 else 0), False
                    step = (word >> 51) & 0xFFF
                    if not step:
                        break
                    address += 4 * step

    image.relocations = lambda: ((a, v) for a, v, bind in walk() if not bind)
    image.find_relocated = lambda value: [a for a, v, bind in walk() if not bind and v == value][:64]
    image.imports = [Import(a, names[v] if v < len(names) else "?", "") for a, v, bind in walk() if bind]
