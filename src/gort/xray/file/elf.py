"""ELF: Linux (and the BSDs') executables, 64-bit little-endian.

Follows the ELF-64 specification; Go's writer is cmd/link/internal/ld/elf.go. Section headers are optional (strip
tools remove them): everything but names and debug information comes from the program headers and the dynamic table.

Rejected: trusting `sh_size` for tables; each is cut at the file's end before a loop runs over it.
"""

from __future__ import annotations

import mmap
import struct

from gort.xray.errors import XrayError
from gort.xray.file.image import MAX_SECTIONS, MAX_SEGMENTS, Image, Import, Section, Segment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_MACHINES = {
    62: "amd64",
    183: "arm64",
    3: "386",
    40: "arm",
    243: "riscv64",
    21: "ppc64",
    22: "s390x",
    258: "loong64",
    8: "mips",
}
_OSABI = {0: "linux", 3: "linux", 2: "netbsd", 6: "solaris", 9: "freebsd", 12: "openbsd"}
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP, _PT_NOTE, _PT_PHDR, _PT_TLS = 1, 2, 3, 4, 6, 7
_SHT_NOBITS = 8
_MAX_RELOCATIONS = 8_000_000

# (RELATIVE, 64-bit absolute, GLOB_DAT, JUMP_SLOT, TPOFF)
_RELOC_TYPES = {"amd64": (8, 1, 6, 7, 18), "arm64": (1027, 257, 1025, 1026, 1030)}


def read_elf(path: str, data: mmap.mmap, size: int, pie_bias: int) -> Image:
    if data[4] == 1:
        raise XrayError(
            f"{path}: a 32-bit ELF file ({_machine(data)}): gort xray reads 64-bit Go executables (amd64, arm64)"
        )
    if data[4] != 2 or data[6] != 1:
        raise XrayError(f"{path}: broken ELF identification: the file is corrupt")
    if data[5] != 1:
        raise XrayError(f"{path}: a big-endian ELF file: gort xray reads amd64 and arm64")
    kind, machine, _, entry, phoff, shoff, _, _, phsize, phnum, shsize, shnum, shstr = struct.unpack_from(
        "<HHIQQQIHHHHHH", data, 16
    )
    arch = _MACHINES.get(machine, f"machine {machine}")
    if arch not in _RELOC_TYPES:
        raise XrayError(f"{path}: built for {arch}: gort xray reads amd64 and arm64")
    if kind not in (2, 3):
        what = {1: "an object file", 4: "a core dump"}.get(kind, f"ELF type {kind}")
        raise XrayError(f"{path}: {what}, not an executable")
    if phsize != 56 or phoff + 56 * phnum > size or not phnum:
        raise XrayError(f"{path}: the ELF program headers lie outside of the file: truncated or corrupt")
    if phnum > MAX_SEGMENTS:
        raise XrayError(f"{path}: {phnum} program headers: corrupt or hostile")

    bias = _bias(data, phoff, phnum, pie_bias) if kind == 3 else 0
    segments: list[Segment] = []
    dynamic: tuple[int, int] | None = None
    interp = ""
    tls_size = tls_align = 0
    phdr_at = 0
    for i in range(phnum):
        ptype, flags, off, va, _, filesz, memsz, align = struct.unpack_from("<IIQQQQQQ", data, phoff + 56 * i)
        if ptype == _PT_LOAD:
            if memsz == 0:
                continue
            if filesz > memsz:
                raise XrayError(f"{path}: segment at {va:#x} is larger in the file than in memory: corrupt")
            if filesz and off + filesz > size:
                raise XrayError(
                    f"{path}: truncated: segment at {va:#x} needs {off + filesz} bytes, the file has {size}"
                )
            if va + memsz > 1 << 47:
                raise XrayError(f"{path}: segment at {va:#x} lies outside of user memory: corrupt or hostile")
            if off <= phoff < off + filesz:
                phdr_at = va + phoff - off + bias
            perms = "".join(c for c, bit in (("r", 4), ("w", 2), ("x", 1)) if flags & bit)
            segments.append(Segment(va + bias, memsz, off, filesz, perms))
        elif ptype == _PT_DYNAMIC and filesz and off + filesz <= size:
            dynamic = (off, filesz)
        elif ptype == _PT_INTERP and off + filesz <= size and filesz < 4096:
            interp = data[off : off + filesz].rstrip(b"\0").decode("utf-8", "replace")
        elif ptype == _PT_TLS:
            tls_size, tls_align = memsz, max(1, align)
    sections = _sections(path, data, size, shoff, shsize, shnum, shstr, bias)
    image = Image(
        path,
        data,
        size,
        "ELF",
        arch,
        _os(data, sections),
        entry + bias,
        sections,
        segments,
        bias=bias,
        pie=kind == 3,
        interpreter=interp,
        phdr=(phdr_at, 56, phnum),
    )
    if dynamic is not None and segments:
        _dynamic(image, dynamic, tls_size, tls_align)
    symtab = next((s for s in sections if s.name == ".symtab"), None)
    strtab = next((s for s in sections if s.name == ".strtab"), None)
    if symtab and strtab:
        image.symbol_source = lambda: _symbols(data, size, symtab, strtab, bias)
    return image


def _bias(data: mmap.mmap, phoff: int, phnum: int, wanted: int) -> int:
    """The distance that puts the first segment at `wanted`, as the kernel does (a Go PIE is linked at 0x400000)."""
    if not wanted:
        return 0
    first = [
        va
        for kind, va in (
            (struct.unpack_from("<I", data, phoff + 56 * i)[0], struct.unpack_from("<Q", data, phoff + 56 * i + 16)[0])
            for i in range(phnum)
        )
        if kind == _PT_LOAD
    ]
    return wanted - (min(first, default=0) & ~0xFFF)


def _machine(data: mmap.mmap) -> str:
    machine = struct.unpack_from("<H", data, 18)[0]
    return _MACHINES.get(machine, f"machine {machine}")


def _os(data: mmap.mmap, sections: list[Section]) -> str:
    names = {s.name for s in sections}
    for os_name in ("netbsd", "openbsd"):
        if f".note.{os_name}.ident" in names:
            return os_name
    return _OSABI.get(data[7], "linux")


def _sections(
    path: str, data: mmap.mmap, size: int, shoff: int, shsize: int, shnum: int, shstr: int, bias: int
) -> list[Section]:
    """The section headers; a table that does not fit the file is treated as stripped, as the kernel does."""
    if not shoff or not shnum or shsize != 64:
        return []
    if shoff + 64 * shnum > size:
        raise XrayError(f"{path}: truncated: the section headers at {shoff:#x} lie beyond the file's {size} bytes")
    if shnum > MAX_SECTIONS:
        raise XrayError(f"{path}: {shnum} section headers: corrupt or hostile")
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, shoff + 64 * i) for i in range(shnum)]
    names = b""
    if shstr < shnum:
        _, _, _, _, off, length = headers[shstr][:6]
        names = data[off : off + min(length, 1 << 20)] if off < size else b""
    out = []
    for name, kind, flags, va, off, length, *_ in headers[1:]:
        if kind == 0:
            continue
        in_file = 0 if kind == _SHT_NOBITS else length
        if in_file and off + in_file > size:
            raise XrayError(
                f"{path}: section {_name(names, name) or '?'} needs {in_file} bytes at {off:#x}: truncated or corrupt"
            )
        text = "".join(c for c, bit in (("A", 2), ("W", 1), ("X", 4), ("T", 0x400), ("C", 0x800)) if flags & bit)
        out.append(Section(_name(names, name), va + bias if "A" in text else va, length, off, in_file, text))
    return out


def _name(table: bytes, at: int) -> str:
    end = table.find(b"\0", at)
    return table[at:end][:200].decode("utf-8", "replace") if 0 <= at <= end else ""


def _dynamic(image: Image, where: tuple[int, int], tls_size: int, tls_align: int) -> None:
    off, length = where
    tags: dict[int, int] = {}
    needed: list[int] = []
    for i in range(min(length // 16, 512)):
        tag, value = struct.unpack_from("<QQ", image.data, off + 16 * i)
        if tag == 0:
            break
        if tag == 1:
            needed.append(value)
        tags[tag] = value
    bias = image.bias
    strtab = tags.get(5, 0) + bias
    if needed and image.segment_at(strtab):
        image.libraries = [image.cstring(strtab + n, 512) for n in needed[:256] if image.segment_at(strtab + n)]
    symtab = tags.get(6, 0) + bias
    tables = [(tags.get(7, 0), tags.get(8, 0)), (tags.get(23, 0), tags.get(2, 0))]
    tables = [(a + bias, n) for a, n in tables if a and n >= 24]
    spans: list[tuple[int, int]] = []
    for address, nbytes in tables:
        start = image.file_offset(address)
        seg = image.segment_at(address)
        if start is None or seg is None or address + nbytes > seg.address + seg.file_size:
            raise XrayError(f"{image.path}: the relocation table at {address:#x} lies outside of the file: corrupt")
        if nbytes // 24 > _MAX_RELOCATIONS:
            raise XrayError(f"{image.path}: {nbytes // 24} relocations: corrupt or hostile")
        spans.append((start, nbytes // 24))
    if not spans:
        return
    relative, absolute, glob_dat, jump_slot, tpoff = _RELOC_TYPES[image.arch]
    tls_block = -(-tls_size // tls_align) * tls_align if tls_size else 0

    def relocations() -> Iterator[tuple[int, int]]:
        for start, count in spans:
            for address, info, addend in struct.iter_unpack("<QQq", image.data[start : start + 24 * count]):
                kind = info & 0xFFFFFFFF
                if kind == relative:
                    yield address + bias, (addend + bias) & (2**64 - 1)
                elif kind == tpoff:
                    base = addend - tls_block if image.arch == "amd64" else addend + 16
                    yield address + bias, base & (2**64 - 1)
                elif kind in (absolute, glob_dat, jump_slot):
                    value = _dynsym(image, symtab, info >> 32)
                    if value:
                        yield address + bias, (value + bias + addend) & (2**64 - 1)

    def find_relocated(value: int) -> list[int]:
        wanted = struct.pack("<q", value - bias)
        out: list[int] = []
        for start, count in spans:
            end = start + 24 * count
            at = image.data.find(wanted, start, end)
            while at >= 0 and len(out) < 64:
                if (at - start) % 24 == 16:
                    out.append(int(struct.unpack_from("<Q", image.data, at - 16)[0]) + bias)
                at = image.data.find(wanted, at + 1, end)
        return out

    image.relocations = relocations
    image.find_relocated = find_relocated
    library = ", ".join(image.libraries)
    if image.libraries:
        for start, count in spans:
            for i in range(min(count, 100_000)):
                address, info, _ = struct.unpack_from("<QQq", image.data, start + 24 * i)
                if info & 0xFFFFFFFF in (glob_dat, jump_slot, absolute) and not _dynsym(image, symtab, info >> 32):
                    at = symtab + 24 * (info >> 32)
                    seg = image.segment_at(at)
                    if seg is not None and at + 24 <= seg.end:
                        name = image.cstring(strtab + struct.unpack("<I", image.read(at, 4))[0], 256)
                        image.imports.append(Import(address + bias, name, library))


def _dynsym(image: Image, symtab: int, index: int) -> int:
    at = symtab + 24 * index
    seg = image.segment_at(at)
    if seg is None or at + 24 > seg.end:
        return 0
    return int(struct.unpack("<Q", image.read(at + 8, 8))[0])


def _symbols(data: mmap.mmap, size: int, symtab: Section, strtab: Section, bias: int) -> dict[str, tuple[int, int]]:
    """Every defined symbol's name, address and size (Go's own tables hold functions only; data is found here)."""
    strings = data[strtab.offset : strtab.offset + strtab.file_size]
    table = data[symtab.offset : symtab.offset + symtab.file_size // 24 * 24]
    out: dict[str, tuple[int, int]] = {}
    find = strings.find
    limit = len(strings)
    for name, _info, _, shndx, value, length in struct.iter_unpack("<IBBHQQ", table):
        if shndx and name < limit:
            end = find(b"\0", name)
            if 0 < end - name < 4096:
                out[strings[name:end].decode("utf-8", "replace")] = (value + bias, length)
    return out
