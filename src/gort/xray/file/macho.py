"""Mach-O: darwin's executables, 64-bit little-endian.

Follows Apple's <mach-o/loader.h>, <mach-o/nlist.h> and <mach-o/fixup-chains.h>, whose names the constants have; Go's
writer is cmd/link/internal/ld/macho.go. Go's own linker writes the imports as bind opcodes (LC_DYLD_INFO_ONLY); other
files name them through the indirect symbol table. Apple's linker, which links cgo programs, writes chained fixups:
`_chained` follows the chains, so that pointers in data read as plain addresses.

A universal file is several such files, one for each processor, behind a big-endian list (<mach-o/fat.h>). Here the list
is read (`universal_parts`); open.py maps one of the parts as a file of its own.

Invariant: every load command lies inside `sizeofcmds`, and a walk over opcodes or fixups ends at its table's end.
"""

from __future__ import annotations

import mmap
import struct

from gort.xray.errors import XrayError
from gort.xray.file.image import MAX_SECTIONS, Image, Import, Section, Segment, SymbolTable
from gort.xray.record import field, frozen, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_BIG_ENDIAN = (b"\xfe\xed\xfa\xcf", b"\xfe\xed\xfa\xce")
_MAGIC_32 = 0xCE
"""First byte of a little-endian 32-bit file."""
_CPUS = {0x01000007: "amd64", 0x0100000C: "arm64", 7: "386", 12: "arm", 0x01000012: "ppc64"}
_FAT_64_MAGIC = 0xBF
"""Last byte of the universal header whose offsets have 64 bits."""
_MAX_PARTS = 32
_MH_EXECUTE = 2
_MH_LIBRARIES = (6, 8)
"""MH_DYLIB, MH_BUNDLE."""
_HEADER_SIZE = 32
_LC_REQ_DYLD = 0x80000000
_LC_SYMTAB, _LC_UNIXTHREAD, _LC_DYSYMTAB, _LC_SEGMENT_64 = 0x2, 0x5, 0xB, 0x19
_LC_LOAD_DYLIB, _LC_LOAD_WEAK_DYLIB, _LC_REEXPORT_DYLIB = 0xC, 0x18, 0x1F
"""The last two have `_LC_REQ_DYLD` set."""
_LC_DYLD_INFO, _LC_DYLD_INFO_ONLY = 0x22, 0x22 | _LC_REQ_DYLD
_LC_MAIN, _LC_CHAINED_FIXUPS, _LC_ENCRYPTION_INFO_64 = 0x28 | _LC_REQ_DYLD, 0x34 | _LC_REQ_DYLD, 0x2C
_THREAD_PC = {"amd64": 16 * 8, "arm64": 32 * 8}
"""Offset of the program counter among the registers of LC_UNIXTHREAD."""
_PERMS = (("r", 1), ("w", 2), ("x", 4))
"""VM_PROT_READ, VM_PROT_WRITE, VM_PROT_EXECUTE."""
_UNLOADED = ("__PAGEZERO", "__DWARF", "__LINKEDIT")
_SECTION_TYPE = 0xFF
_S_ZEROFILL, _S_GB_ZEROFILL = 0x1, 0xC
_S_NON_LAZY_SYMBOL_POINTERS, _S_LAZY_SYMBOL_POINTERS = 0x6, 0x7
_SEGMENT_SIZE, _SECTION_SIZE, _NLIST_SIZE = 72, 80, 16
_N_STAB, _N_TYPE, _N_SECT = 0xE0, 0x0E, 0x0E
_MAX_IMPORTS = 100_000
_MAX_FOUND = 64
_GO_PREFIXES = ("_runtime.", "_main.", "__rt0", "_internal/")
"""Mach-O puts `_` before every symbol; Go's own names are given without it, as in the other formats."""

_OPCODE, _IMMEDIATE = 0xF0, 0x0F
_SET_DYLIB_ORDINAL_IMM = 0x10
_SET_DYLIB_ORDINAL_ULEB = 0x20
_SET_SYMBOL = 0x40
_SET_ADDEND_SLEB = 0x60
_SET_SEGMENT_AND_OFFSET = 0x70
_ADD_ADDR = 0x80
_DO_BIND = 0x90
_DO_BIND_ADD_ADDR = 0xA0
_DO_BIND_ADD_ADDR_SCALED = 0xB0
_DO_BIND_TIMES_SKIPPING = 0xC0

_CHAINED_IMPORT = 1
_CHAINED_PTR_64, _CHAINED_PTR_64_OFFSET = 2, 6
_CHAINED_START_NONE = 0xFFFF
_CHAINED_HEADER, _CHAINED_STARTS = 28, 22
"""Sizes of dyld_chained_fixups_header, and of dyld_chained_starts_in_segment before its list of pages."""


@frozen
class _Pointers:
    """A section of pointers that the loader fills; their symbols begin at `first` in the indirect symbol table."""

    address: int
    count: int
    first: int


@frozen
class _Symtab:
    symbols_at: int
    count: int
    strings_at: int
    strings_size: int


@record
class _Commands:
    """The contents of the load commands."""

    segments: list[Segment] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    pointers: list[_Pointers] = field(default_factory=list)
    libraries: list[str] = field(default_factory=list)
    entry: int | None = None
    """From LC_UNIXTHREAD: an address."""
    entry_offset: int | None = None
    """From LC_MAIN: an offset in the file."""
    symtab: _Symtab | None = None
    indirect: tuple[int, int] | None = None
    """Offset and number of the indirect symbols."""
    binds: tuple[tuple[int, int], ...] = ()
    """Offset and size of the bind opcodes and of the lazy ones."""
    chained: tuple[int, int] | None = None
    """Offset and size of the chained fixups."""


def universal_parts(path: str, data: mmap.mmap, size: int) -> list[tuple[str, int, int]]:
    """Returns (processor, offset, size) of each program in a universal file. Raises `XrayError`."""
    wide = data[3] == _FAT_64_MAGIC
    (count,) = struct.unpack_from(">I", data, 4)
    form = struct.Struct(">IIQQII" if wide else ">IIIII")
    if not 0 < count <= _MAX_PARTS or 8 + form.size * count > size:
        raise XrayError(
            f"{path}: a universal Mach-O file of {count} programs (or a Java class): corrupt, or no program"
        )
    out = []
    for i in range(count):
        cpu, _, offset, length, *_ = form.unpack_from(data, 8 + form.size * i)
        if not length or offset + length > size:
            raise XrayError(f"{path}: a universal Mach-O file whose program {i + 1} lies beyond its end: truncated")
        out.append((_CPUS.get(cpu, f"cpu {cpu:#x}"), offset, length))
    return out


def read_macho(path: str, data: mmap.mmap, size: int) -> Image:
    """Read the load commands. Raises `XrayError`."""
    if data[:4] in _BIG_ENDIAN:
        raise XrayError(f"{path}: a big-endian Mach-O file: gort xray reads amd64 and arm64")
    _, cpu, _, kind, ncmds, cmdsize = struct.unpack_from("<IIIIII", data, 0)
    arch = _CPUS.get(cpu, f"cpu {cpu:#x}")
    if data[0] == _MAGIC_32:
        raise XrayError(f"{path}: a 32-bit Mach-O file ({arch}): gort xray reads 64-bit Go executables (amd64, arm64)")
    if arch not in _THREAD_PC:
        raise XrayError(f"{path}: built for {arch}: gort xray reads amd64 and arm64")
    if kind != _MH_EXECUTE and kind not in _MH_LIBRARIES:
        raise XrayError(f"{path}: Mach-O type {kind}, not an executable")
    if _HEADER_SIZE + cmdsize > size or ncmds * 8 > cmdsize:
        raise XrayError(f"{path}: the load commands lie outside of the file: truncated or corrupt")
    found = _commands(path, data, size, arch, ncmds, _HEADER_SIZE + cmdsize)
    base = next((s.address for s in found.segments if s.offset == 0 and s.file_size), 0)
    entry = 0 if kind in _MH_LIBRARIES else found.entry
    if entry is None:
        if found.entry_offset is None:
            raise XrayError(f"{path}: no LC_MAIN and no LC_UNIXTHREAD: it has no entry point")
        entry = base + found.entry_offset
    image = Image(
        path=path,
        data=data,
        size=size,
        format="Mach-O",
        arch=arch,
        os="darwin",
        entry=entry,
        sections=found.sections,
        segments=found.segments,
        libraries=found.libraries,
        pie=True,
        library=kind in _MH_LIBRARIES,
    )
    symtab = found.symtab
    if symtab is not None:
        whole = symtab.symbols_at + _NLIST_SIZE * symtab.count <= size
        if whole and symtab.strings_at + symtab.strings_size <= size:
            image.symbol_source = lambda: _symbols(data, symtab)
    for off, length in found.binds:
        if off + length > size:
            raise XrayError(f"{path}: the bind opcodes lie outside of the file: truncated or corrupt")
        if length:
            image.imports += _binds(data, off, length, image.segments, image.libraries)
    if symtab is not None and found.indirect is not None and not image.imports:
        _indirect(image, symtab, found.indirect, found.pointers)
    if found.chained is not None:
        _chained(image, *found.chained, base)
    return image


def _commands(path: str, data: mmap.mmap, size: int, arch: str, count: int, end: int) -> _Commands:
    out = _Commands()
    at = _HEADER_SIZE
    for _ in range(count):
        if at + 8 > end:
            raise XrayError(f"{path}: load commands run over their size: corrupt")
        cmd, length = struct.unpack_from("<II", data, at)
        if length < 8 or at + length > end:
            raise XrayError(f"{path}: load command {cmd:#x} has size {length}: corrupt")
        if cmd == _LC_SEGMENT_64 and length >= _SEGMENT_SIZE:
            _segment(path, data, size, at, length, out)
        elif cmd == _LC_MAIN and length >= 16:
            out.entry_offset = struct.unpack_from("<Q", data, at + 8)[0]
        elif cmd == _LC_UNIXTHREAD and length >= 16:
            at_pc = at + 16 + _THREAD_PC[arch]
            if at_pc + 8 <= at + length:
                out.entry = struct.unpack_from("<Q", data, at_pc)[0]
        elif cmd == _LC_SYMTAB and length >= 24:
            out.symtab = _Symtab(*struct.unpack_from("<IIII", data, at + 8))
        elif cmd == _LC_DYSYMTAB and length >= 64:
            out.indirect = struct.unpack_from("<II", data, at + 56)
        elif cmd in (_LC_DYLD_INFO, _LC_DYLD_INFO_ONLY) and length >= 48:
            words = struct.unpack_from("<10I", data, at + 8)
            out.binds = (words[2:4], words[6:8])
        elif cmd == _LC_CHAINED_FIXUPS and length >= 16:
            out.chained = struct.unpack_from("<II", data, at + 8)
        elif cmd & ~_LC_REQ_DYLD in (_LC_LOAD_DYLIB, _LC_LOAD_WEAK_DYLIB, _LC_REEXPORT_DYLIB) and length >= 24:
            name_at = struct.unpack_from("<I", data, at + 8)[0]
            name = data[at + min(name_at, length) : at + length].partition(b"\0")[0]
            out.libraries.append(name.decode("utf-8", "replace"))
        elif cmd == _LC_ENCRYPTION_INFO_64 and length >= 20 and struct.unpack_from("<I", data, at + 16)[0]:
            raise XrayError(f"{path}: an encrypted Mach-O file: it cannot be read")
        at += length
    return out


def _segment(path: str, data: mmap.mmap, size: int, at: int, length: int, out: _Commands) -> None:
    raw, va, vmsize, off, filesz, _maxprot, initprot, nsects, _ = struct.unpack_from("<16sQQQQIIII", data, at + 8)
    segment = raw.rstrip(b"\0").decode("utf-8", "replace")
    if filesz and off + filesz > size:
        raise XrayError(f"{path}: truncated: segment {segment} needs {off + filesz} bytes, the file has {size}")
    if _SEGMENT_SIZE + _SECTION_SIZE * nsects > length:
        raise XrayError(f"{path}: segment {segment} announces {nsects} sections: corrupt or hostile")
    perms = "".join(c for c, bit in _PERMS if initprot & bit)
    loaded = segment not in _UNLOADED and vmsize != 0 and perms != ""
    if loaded:
        if filesz > vmsize:
            raise XrayError(f"{path}: segment {segment} is larger in the file than in memory: corrupt")
        out.segments.append(Segment(address=va, size=vmsize, offset=off, file_size=filesz, perms=perms, name=segment))
    section_flags = ("A" + "W" * ("w" in perms) + "X" * ("x" in perms)) if loaded else ""
    for i in range(nsects):
        sname, _, addr, ssize, soff, _, _, _, flags, first, *_ = struct.unpack_from(
            "<16s16sQQIIIIIIII", data, at + _SEGMENT_SIZE + _SECTION_SIZE * i
        )
        kind = flags & _SECTION_TYPE
        in_file = 0 if kind in (_S_ZEROFILL, _S_GB_ZEROFILL) else ssize
        name = sname.rstrip(b"\0").decode("utf-8", "replace")
        if in_file and soff + in_file > size:
            raise XrayError(f"{path}: section {name} needs {in_file} bytes at {soff:#x}: truncated or corrupt")
        if len(out.sections) >= MAX_SECTIONS:
            raise XrayError(f"{path}: more than {MAX_SECTIONS} sections: corrupt or hostile")
        out.sections.append(
            Section(name=name, address=addr, size=ssize, offset=soff, file_size=in_file, flags=section_flags)
        )
        if kind in (_S_NON_LAZY_SYMBOL_POINTERS, _S_LAZY_SYMBOL_POINTERS):
            out.pointers.append(_Pointers(address=addr, count=ssize // 8, first=first))


def _symbols(data: mmap.mmap, symtab: _Symtab) -> SymbolTable:
    strings = data[symtab.strings_at : symtab.strings_at + symtab.strings_size]
    table = data[symtab.symbols_at : symtab.symbols_at + _NLIST_SIZE * symtab.count]
    out: SymbolTable = {}
    for name_at, kind, _, _, value in struct.iter_unpack("<IBBHQ", table):
        if kind & _N_STAB == 0 and kind & _N_TYPE == _N_SECT and name_at < symtab.strings_size:
            end = strings.find(b"\0", name_at)
            name = strings[name_at:end][:4096].decode("utf-8", "replace")
            out[name.removeprefix("_") if name.startswith(_GO_PREFIXES) else name] = (value, 0)
    return out


def _indirect(image: Image, symtab: _Symtab, table: tuple[int, int], pointers: list[_Pointers]) -> None:
    """Imports of files without bind opcodes: sections of pointers name their symbols through the indirect table."""
    data, (off, count) = image.data, table
    strings_end = symtab.strings_at + symtab.strings_size
    symbols_end = symtab.symbols_at + _NLIST_SIZE * symtab.count
    if off + 4 * count > image.size or symbols_end > image.size or strings_end > image.size:
        return
    for section in pointers:
        for i in range(min(section.count, max(0, count - section.first), _MAX_IMPORTS)):
            index = struct.unpack_from("<I", data, off + 4 * (section.first + i))[0]
            if index < symtab.count:
                name_at = struct.unpack_from("<I", data, symtab.symbols_at + _NLIST_SIZE * index)[0]
                at = symtab.strings_at + name_at
                stop = data.find(b"\0", at, strings_end)
                if stop >= 0:
                    name = data[at : min(stop, at + 512)].decode("utf-8", "replace")
                    image.imports.append(Import(slot=section.address + 8 * i, name=name, library=""))


def _uleb(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """Returns the number at `at` (LEB128, unsigned) and the offset behind it."""
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
    """Run the bind opcodes: they set a library, a name and a place, and then bind. Opcode 0 is padding."""
    # Segment numbers count __PAGEZERO, which is not loaded: Go's and Apple's linkers both put it first.
    order: list[Segment | None] = [None, *segments]
    out: list[Import] = []
    at, end = off, off + length
    seg: Segment | None = None
    offset = 0
    name = library = ""
    while at < end and len(out) < _MAX_IMPORTS:
        opcode, immediate = data[at] & _OPCODE, data[at] & _IMMEDIATE
        at += 1
        count, skip = 0, 0
        if opcode == _SET_DYLIB_ORDINAL_IMM:
            library = libraries[immediate - 1] if 0 < immediate <= len(libraries) else ""
        elif opcode in (_SET_DYLIB_ORDINAL_ULEB, _SET_ADDEND_SLEB):
            _, at = _uleb(data, at, end)
        elif opcode == _SET_SYMBOL:
            stop = data.find(b"\0", at, end)
            stop = end if stop < 0 else stop
            name = data[at : min(stop, at + 512)].decode("utf-8", "replace")
            at = stop + 1
        elif opcode == _SET_SEGMENT_AND_OFFSET:
            seg = order[immediate] if immediate < len(order) else None
            offset, at = _uleb(data, at, end)
        elif opcode == _ADD_ADDR:
            delta, at = _uleb(data, at, end)
            offset = (offset + delta) & (2**64 - 1)
        elif opcode == _DO_BIND:
            count = 1
        elif opcode == _DO_BIND_ADD_ADDR:
            count = 1
            skip, at = _uleb(data, at, end)
        elif opcode == _DO_BIND_ADD_ADDR_SCALED:
            count, skip = 1, 8 * immediate
        elif opcode == _DO_BIND_TIMES_SKIPPING:
            count, at = _uleb(data, at, end)
            skip, at = _uleb(data, at, end)
        for _ in range(min(count, _MAX_IMPORTS)):
            if seg is not None and offset + 8 <= seg.size:
                out.append(Import(slot=seg.address + offset, name=name, library=library))
            offset = (offset + 8 + skip) & (2**64 - 1)
            if len(out) >= _MAX_IMPORTS:
                break
    return out


def _chained(image: Image, off: int, length: int, base: int) -> None:
    """Follow the chained fixups (DYLD_CHAINED_PTR_64 and _64_OFFSET): in each page, a pointer leads to the next one."""
    data = image.data
    if off + length > image.size or length < _CHAINED_HEADER:
        raise XrayError(f"{image.path}: the chained fixups lie outside of the file: truncated or corrupt")
    _, starts_off, imports_off, symbols_off, imports_count, imports_format, _ = struct.unpack_from("<7I", data, off)
    if starts_off + 4 > length or imports_count > _MAX_IMPORTS or imports_off + 4 * imports_count > length:
        raise XrayError(f"{image.path}: the chained fixups are corrupt")
    names: list[str] = []
    if imports_format == _CHAINED_IMPORT:
        for (word,) in struct.iter_unpack("<I", data[off + imports_off : off + imports_off + 4 * imports_count]):
            s = off + symbols_off + (word >> 9)
            stop = data.find(b"\0", s, off + length)
            names.append(data[s:stop][:512].decode("utf-8", "replace") if stop >= 0 else "?")
    starts = off + starts_off
    seg_count = struct.unpack_from("<I", data, starts)[0]
    if seg_count > 256 or starts_off + 4 + 4 * seg_count > length:
        raise XrayError(f"{image.path}: the chained fixups name {seg_count} segments: corrupt")

    def walk() -> Iterator[tuple[int, int, bool]]:
        """Yields (address, value, is an import); the value of an import is its number."""
        for i in range(seg_count):
            rel = struct.unpack_from("<I", data, starts + 4 + 4 * i)[0]
            if not rel or starts_off + rel + _CHAINED_STARTS > length:
                continue
            _, page_size, fmt, seg_offset, _, pages = struct.unpack_from("<IHHQIH", data, starts + rel)
            known = fmt in (_CHAINED_PTR_64, _CHAINED_PTR_64_OFFSET)
            if not known or starts_off + rel + _CHAINED_STARTS + 2 * pages > length:
                continue
            for page in range(pages):
                first = struct.unpack_from("<H", data, starts + rel + _CHAINED_STARTS + 2 * page)[0]
                address = base + seg_offset + page * page_size + first
                for _ in range(page_size // 4 if first != _CHAINED_START_NONE else 0):
                    place = image.file_offset(address)
                    if place is None or place + 8 > image.size:
                        break
                    word = struct.unpack_from("<Q", data, place)[0]
                    if word >> 63:
                        yield address, word & 0xFFFFFF, True
                    else:
                        target = word & ((1 << 36) - 1)
                        yield address, target + (base if fmt == _CHAINED_PTR_64_OFFSET else 0), False
                    step = (word >> 51) & 0xFFF
                    if not step:
                        break
                    address += 4 * step

    image.relocations = lambda: ((a, v) for a, v, bind in walk() if not bind)
    image.find_relocated = lambda value: [a for a, v, bind in walk() if not bind and v == value][:_MAX_FOUND]
    image.imports = [
        Import(slot=a, name=names[v] if v < len(names) else "?", library="") for a, v, bind in walk() if bind
    ]
