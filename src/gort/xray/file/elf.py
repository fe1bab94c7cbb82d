"""ELF: Linux' and the BSDs' executables, little-endian.

Follows the ELF specification, whose names the constants have; elfclass.py has the shapes of its records. Go's writer is
cmd/link/internal/ld/elf.go. Tools that
strip a file may remove the section headers. So names and debug information come from the sections, and everything else
comes from the program headers and the dynamic table.

Rejected: trusting a table's size in its header. Each table is cut at the file's end before a loop runs over it.
"""

from __future__ import annotations

import mmap
import struct

from gort.xray.errors import XrayError
from gort.xray.file.elfclass import CLASS32, CLASS64, ElfClass, ProgramHeader
from gort.xray.file.image import (
    MAX_SECTIONS,
    MAX_SEGMENTS,
    TOP_OF_USER_MEMORY,
    Image,
    Import,
    ProgramHeaders,
    Section,
    Segment,
    SymbolTable,
)
from gort.xray.record import frozen, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_EI_CLASS, _EI_DATA, _EI_VERSION, _EI_OSABI = 4, 5, 6, 7
_CLASSES = {1: CLASS32, 2: CLASS64}
_ELFDATA2LSB = 1
_EV_CURRENT = 1
_ET_REL, _ET_EXEC, _ET_DYN, _ET_CORE = 1, 2, 3, 4
_MACHINES = {
    62: "amd64",
    183: "arm64",
    3: "386",
    40: "arm",
    243: "riscv64",
    21: "ppc64le",
    22: "s390x",
    258: "loong64",
    8: "mips",
}
_32_BIT = ("386", "arm")
_TLS_BELOW = ("amd64", "386")
"""Processors on which a program's thread-local storage lies below the thread pointer."""
PIE_BIAS_32 = 0x56555000
"""Where Linux puts a 32-bit position-independent program under gdb."""
_INTERPRETERS = (
    ("/system/bin/linker", "android"),
    ("/lib/amd64/ld.so", "solaris"),
    ("/usr/lib/amd64/ld.so", "solaris"),
    ("/libexec/ld-elf.so", "freebsd"),
    ("/usr/libexec/ld-elf.so", "freebsd"),
    ("/usr/libexec/ld.so", "openbsd"),
    ("/libexec/ld.elf_so", "netbsd"),
)
"""The beginnings of the paths of dynamic loaders."""
_OSABI = {0: "linux", 3: "linux", 2: "netbsd", 6: "solaris", 9: "freebsd", 12: "openbsd"}
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP, _PT_TLS = 1, 2, 3, 7
_PERMS = (("r", 4), ("w", 2), ("x", 1))
"""PF_R, PF_W, PF_X."""
_SHT_NULL, _SHT_NOBITS = 0, 8
_SECTION_FLAGS = (("A", 0x2), ("W", 0x1), ("X", 0x4), ("T", 0x400), ("C", 0x800))
"""SHF_ALLOC, SHF_WRITE, SHF_EXECINSTR, SHF_TLS, SHF_COMPRESSED."""
_DT_NULL, _DT_NEEDED, _DT_PLTRELSZ, _DT_STRTAB, _DT_SYMTAB = 0, 1, 2, 5, 6
_DT_RELA, _DT_RELASZ, _DT_JMPREL = 7, 8, 23
_DT_REL, _DT_RELSZ = 17, 18
_MAX_DYNAMIC = 512
_MAX_LIBRARIES = 256
_MAX_IMPORTS = 100_000
_MAX_RELOCATIONS = 8_000_000
_MAX_FOUND = 64
_TCB = {"arm64": 16}
"""Bytes between the thread pointer and the program's thread-local storage, where it lies above."""


@frozen
class _RelocationTypes:
    """The numbers of a processor's relocations; each is R_X86_64_NAME or R_AARCH64_NAME."""

    relative: int
    absolute: int
    """R_X86_64_64, R_AARCH64_ABS64."""
    glob_dat: int
    jump_slot: int
    tpoff: int
    """R_X86_64_TPOFF64, R_AARCH64_TLS_TPREL64."""


_RELOCATIONS = {
    "amd64": _RelocationTypes(relative=8, absolute=1, glob_dat=6, jump_slot=7, tpoff=18),
    "arm64": _RelocationTypes(relative=1027, absolute=257, glob_dat=1025, jump_slot=1026, tpoff=1030),
    "386": _RelocationTypes(relative=8, absolute=1, glob_dat=6, jump_slot=7, tpoff=14),
    "arm": _RelocationTypes(relative=23, absolute=2, glob_dat=21, jump_slot=22, tpoff=19),
    "riscv64": _RelocationTypes(relative=3, absolute=2, glob_dat=2, jump_slot=5, tpoff=11),
    "loong64": _RelocationTypes(relative=3, absolute=2, glob_dat=2, jump_slot=5, tpoff=11),
    "ppc64le": _RelocationTypes(relative=22, absolute=38, glob_dat=20, jump_slot=21, tpoff=73),
}


@record
class _Loaded:
    """The contents of the program headers."""

    segments: list[Segment]
    dynamic: tuple[int, int] | None = None
    """File offset and size of the dynamic table."""
    interpreter: str = ""
    tls_size: int = 0
    tls_align: int = 0
    headers_at: int = 0
    """Address of the program headers themselves."""


def read_elf(path: str, data: mmap.mmap, size: int, pie_bias: int) -> Image:
    """Read the headers; `pie_bias` is the first address of a position-independent file. Raises `XrayError`."""
    form = _CLASSES.get(data[_EI_CLASS])
    if form is None or data[_EI_VERSION] != _EV_CURRENT:
        raise XrayError(f"{path}: broken ELF identification: the file is corrupt")
    if data[_EI_DATA] != _ELFDATA2LSB:
        raise XrayError(f"{path}: a big-endian ELF file: gort xray reads amd64 and arm64")
    kind, machine, _, entry, phoff, shoff, _, _, phsize, phnum, shsize, shnum, shstr = struct.unpack_from(
        form.header, data, 16
    )
    arch = _MACHINES.get(machine, f"machine {machine}")
    if arch not in _RELOCATIONS or (arch in _32_BIT) != (form.word == 4):
        raise XrayError(f"{path}: built for {arch}: gort xray reads {', '.join(_RELOCATIONS)}")
    if kind not in (_ET_EXEC, _ET_DYN):
        what = {_ET_REL: "an object file", _ET_CORE: "a core dump"}.get(kind, f"ELF type {kind}")
        raise XrayError(f"{path}: {what}, not an executable")
    if phsize != form.program_size or phoff + phsize * phnum > size or not phnum:
        raise XrayError(f"{path}: the ELF program headers lie outside of the file: truncated or corrupt")
    if phnum > MAX_SEGMENTS:
        raise XrayError(f"{path}: {phnum} program headers: corrupt or hostile")

    headers = [form.program_header(data, phoff + phsize * i) for i in range(phnum)]
    bias = _bias(headers, pie_bias if form.word == 8 else PIE_BIAS_32) if kind == _ET_DYN and pie_bias else 0
    loaded = _program_headers(path, data, size, phoff, headers, bias)
    sections = _sections(path, data, size, form, shoff, shsize, shnum, shstr, bias)
    image = Image(
        path=path,
        data=data,
        size=size,
        format="ELF",
        arch=arch,
        os=_os(data, sections, loaded.interpreter),
        entry=entry + bias,
        sections=sections,
        segments=loaded.segments,
        bias=bias,
        pie=kind == _ET_DYN,
        library=kind == _ET_DYN and not entry,
        interpreter=loaded.interpreter,
        program_headers=ProgramHeaders(address=loaded.headers_at, entry_size=phsize, count=phnum),
        word=form.word,
    )
    if loaded.dynamic is not None and loaded.segments:
        _dynamic(image, form, loaded.dynamic, loaded.tls_size, loaded.tls_align)
    symtab = next((s for s in sections if s.name == ".symtab"), None)
    strtab = next((s for s in sections if s.name == ".strtab"), None)
    if symtab and strtab:
        image.symbol_source = lambda: _symbols(data, form, symtab, strtab, bias)
    return image


def _program_headers(
    path: str, data: mmap.mmap, size: int, phoff: int, headers: list[ProgramHeader], bias: int
) -> _Loaded:
    out = _Loaded([])
    for ptype, flags, off, va, filesz, memsz, align in headers:
        if ptype == _PT_LOAD:
            if memsz == 0:
                continue
            if filesz > memsz:
                raise XrayError(f"{path}: segment at {va:#x} is larger in the file than in memory: corrupt")
            if filesz and off + filesz > size:
                raise XrayError(
                    f"{path}: truncated: segment at {va:#x} needs {off + filesz} bytes, the file has {size}"
                )
            if va + memsz > TOP_OF_USER_MEMORY:
                raise XrayError(f"{path}: segment at {va:#x} lies outside of user memory: corrupt or hostile")
            if off <= phoff < off + filesz:
                out.headers_at = va + phoff - off + bias
            perms = "".join(c for c, bit in _PERMS if flags & bit)
            out.segments.append(Segment(address=va + bias, size=memsz, offset=off, file_size=filesz, perms=perms))
        elif ptype == _PT_DYNAMIC and filesz and off + filesz <= size:
            out.dynamic = (off, filesz)
        elif ptype == _PT_INTERP and off + filesz <= size and filesz < 4096:
            out.interpreter = data[off : off + filesz].rstrip(b"\0").decode("utf-8", "replace")
        elif ptype == _PT_TLS:
            out.tls_size, out.tls_align = memsz, max(1, align)
    return out


def _bias(headers: list[ProgramHeader], wanted: int) -> int:
    """Returns the distance that puts the first segment at `wanted`, as the kernel does (Go links a PIE at 0x400000)."""
    first = [va for kind, _, _, va, *_ in headers if kind == _PT_LOAD]
    return wanted - (min(first, default=0) & ~0xFFF)


def _os(data: mmap.mmap, sections: list[Section], interpreter: str) -> str:
    """Returns the system as the headers tell it. They do not always: symbols.py knows Go's own name for it."""
    names = {s.name for s in sections}
    for os_name in ("netbsd", "openbsd"):
        if f".note.{os_name}.ident" in names:
            return os_name
    for beginning, os_name in _INTERPRETERS:
        if interpreter.startswith(beginning):
            return os_name
    return _OSABI.get(data[_EI_OSABI], "linux")


def _sections(
    path: str, data: mmap.mmap, size: int, form: ElfClass, shoff: int, shsize: int, shnum: int, shstr: int, bias: int
) -> list[Section]:
    """Read the section headers. A file without any, or with entries of another size, counts as stripped of them."""
    if not shoff or not shnum or shsize != form.section_size:
        return []
    if shoff + shsize * shnum > size:
        raise XrayError(f"{path}: truncated: the section headers at {shoff:#x} lie beyond the file's {size} bytes")
    if shnum > MAX_SECTIONS:
        raise XrayError(f"{path}: {shnum} section headers: corrupt or hostile")
    headers = [struct.unpack_from(form.section, data, shoff + shsize * i) for i in range(shnum)]
    names = b""
    if shstr < shnum:
        _, _, _, _, off, length = headers[shstr][:6]
        names = data[off : off + min(length, 1 << 20)] if off < size else b""
    out = []
    for name_at, kind, flags, va, off, length, *_ in headers[1:]:
        if kind == _SHT_NULL:
            continue
        name = _name(names, name_at)
        in_file = 0 if kind == _SHT_NOBITS else length
        if in_file and off + in_file > size:
            raise XrayError(f"{path}: section {name or '?'} needs {in_file} bytes at {off:#x}: truncated or corrupt")
        text = "".join(c for c, bit in _SECTION_FLAGS if flags & bit)
        address = va + bias if "A" in text else va
        out.append(Section(name=name, address=address, size=length, offset=off, file_size=in_file, flags=text))
    return out


def _name(table: bytes, at: int) -> str:
    end = table.find(b"\0", at)
    return table[at:end][:200].decode("utf-8", "replace") if 0 <= at <= end else ""


def _dynamic(image: Image, form: ElfClass, where: tuple[int, int], tls_size: int, tls_align: int) -> None:
    """Read the dynamic table: the libraries, the relocations, and the imports that libraries would fill."""
    off, length = where
    tags: dict[int, int] = {}
    needed: list[int] = []
    for i in range(min(length // form.dynamic_size, _MAX_DYNAMIC)):
        tag, value = struct.unpack_from(form.dynamic, image.data, off + form.dynamic_size * i)
        if tag == _DT_NULL:
            break
        if tag == _DT_NEEDED:
            needed.append(value)
        tags[tag] = value
    bias = image.bias
    strtab = tags.get(_DT_STRTAB, 0) + bias
    symtab = tags.get(_DT_SYMTAB, 0) + bias
    if needed and image.segment_at(strtab):
        names = (strtab + n for n in needed[:_MAX_LIBRARIES])
        image.libraries = [image.cstring(at, 512) for at in names if image.segment_at(at)]
    table, nbytes = (_DT_RELA, _DT_RELASZ) if form.word == 8 else (_DT_REL, _DT_RELSZ)
    spans = _relocation_tables(
        image,
        form.relocation_size,
        [
            (tags.get(table, 0), tags.get(nbytes, 0)),
            (tags.get(_DT_JMPREL, 0), tags.get(_DT_PLTRELSZ, 0)),
        ],
    )
    if not spans:
        return
    kinds = _RELOCATIONS[image.arch]
    tls_block = -(-tls_size // tls_align) * tls_align if tls_size else 0

    def relocations() -> Iterator[tuple[int, int]]:
        for start, count in spans:
            raw = image.data[start : start + form.relocation_size * count]
            for address, kind, symbol, stored in form.relocations(raw):
                addend = stored if stored is not None else _in_place(image, address)
                if kind == kinds.relative:
                    yield address + bias, (addend + bias) & form.mask
                elif kind == kinds.tpoff:
                    base = addend - tls_block if image.arch in _TLS_BELOW else addend + _TCB.get(image.arch, 0)
                    yield address + bias, base & form.mask
                elif kind in (kinds.absolute, kinds.glob_dat, kinds.jump_slot):
                    value = _dynsym(image, form, symtab, symbol)
                    if value:
                        yield address + bias, (value + bias + addend) & form.mask

    def find_relocated(value: int) -> list[int]:
        wanted = struct.pack("<q", value - bias)
        out: list[int] = []
        for start, count in spans:
            end = start + form.relocation_size * count
            at = image.data.find(wanted, start, end)
            while at >= 0 and len(out) < _MAX_FOUND:
                if (at - start) % form.relocation_size == 16:  # the addend, behind address and info
                    out.append(int(struct.unpack_from("<Q", image.data, at - 16)[0]) + bias)
                at = image.data.find(wanted, at + 1, end)
        return out

    image.relocations = relocations
    if form.word == 8:  # else the values lie at the addresses themselves
        image.find_relocated = find_relocated
    if image.libraries:
        _imports(image, form, spans, kinds, symtab, strtab)


def _in_place(image: Image, address: int) -> int:
    """Returns what the file has at the address of a relocation without an addend; 0 where it has nothing."""
    at = image.file_offset(address + image.bias)
    return 0 if at is None else int.from_bytes(image.data[at : at + image.word], "little")


def _relocation_tables(image: Image, each: int, tables: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Turn (address, bytes) of each table into (file offset, number of relocations). Raises `XrayError`."""
    spans: list[tuple[int, int]] = []
    for where, nbytes in tables:
        if not where or nbytes < each:
            continue
        address, count = where + image.bias, nbytes // each
        start = image.file_offset(address)
        seg = image.segment_at(address)
        if start is None or seg is None or address + nbytes > seg.address + seg.file_size:
            raise XrayError(f"{image.path}: the relocation table at {address:#x} lies outside of the file: corrupt")
        if count > _MAX_RELOCATIONS:
            raise XrayError(f"{image.path}: {count} relocations: corrupt or hostile")
        spans.append((start, count))
    return spans


def _imports(
    image: Image, form: ElfClass, spans: list[tuple[int, int]], kinds: _RelocationTypes, symtab: int, strtab: int
) -> None:
    """Collect the relocations whose symbol the file itself does not define."""
    library = ", ".join(image.libraries)
    for start, count in spans:
        raw = image.data[start : start + form.relocation_size * min(count, _MAX_IMPORTS)]
        for address, kind, symbol, _ in form.relocations(raw):
            if kind not in (kinds.glob_dat, kinds.jump_slot, kinds.absolute):
                continue
            if _dynsym(image, form, symtab, symbol):
                continue
            at = symtab + form.symbol_size * symbol
            seg = image.segment_at(at)
            if seg is not None and at + form.symbol_size <= seg.end:
                name = image.cstring(strtab + struct.unpack("<I", image.read(at, 4))[0], 256)
                image.imports.append(Import(slot=address + image.bias, name=name, library=library))


def _dynsym(image: Image, form: ElfClass, symtab: int, index: int) -> int:
    """Returns the value of a dynamic symbol, 0 for one that the file does not define."""
    at = symtab + form.symbol_size * index
    seg = image.segment_at(at)
    if seg is None or at + form.symbol_size > seg.end:
        return 0
    return next(form.symbols(image.read(at, form.symbol_size)))[2]


def _symbols(data: mmap.mmap, form: ElfClass, symtab: Section, strtab: Section, bias: int) -> SymbolTable:
    """Read every defined symbol. Go's own tables hold functions only; variables are found here."""
    strings = data[strtab.offset : strtab.offset + strtab.file_size]
    table = data[symtab.offset : symtab.offset + symtab.file_size // form.symbol_size * form.symbol_size]
    out: SymbolTable = {}
    find = strings.find
    limit = len(strings)
    for name, shndx, value, length in form.symbols(table):
        if shndx and name < limit:
            end = find(b"\0", name)
            if 0 < end - name < 4096:
                out[strings[name:end].decode("utf-8", "replace")] = (value + bias, length)
    return out
