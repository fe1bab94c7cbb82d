"""Opens an executable: maps the file, tells its format from the first bytes, and has that format's reader make the image.

What the formats have in common is in image.py, each format is in its own file. Only this module knows all of them.
"""

from __future__ import annotations

import mmap
import os
import stat
import struct

from gort.xray.errors import XrayError
from gort.xray.file.elf import read_elf
from gort.xray.file.image import Image, check_entry, check_segments
from gort.xray.file.macho import read_macho, universal_parts
from gort.xray.file.pe import read_pe

_ELF = b"\x7fELF"
_MACHO = (b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xfe\xed\xfa\xcf", b"\xfe\xed\xfa\xce")
"""64-bit and 32-bit, little-endian and big-endian."""
_PLAN9 = (b"\0\0\x8a\x97", b"\0\0\x01\xeb", b"\0\0\x06\x47")
"""amd64, 386, arm."""
_WASM = b"\0asm"
_UNIVERSAL = (b"\xca\xfe\xba\xbe", b"\xca\xfe\xba\xbf")
_READ = ("arm64", "amd64")
"""Processors whose part of a universal file is read where nobody asked for one."""
_SMALLEST = 64
"""Bytes: no format has a shorter header."""

PIE_BIAS = 0x555555554000
"""Linux puts a position-independent program there under gdb, which turns randomization off: so addresses compare."""


def load(path: str | os.PathLike[str], bias: int | None = None, arch: str = "") -> Image:
    """Read an executable's headers. `bias` places a position-independent ELF file; None stands for `PIE_BIAS`.

    `arch` chooses a part of a universal file; without it, it is the first part that can be read. Raises `XrayError` for
    everything that is not a sound 64-bit executable of a known format, and where `arch` is not in the file.
    """
    name = os.fspath(path)
    data, size = _map(name)
    others: list[str] = []
    try:
        if data[:4] in _UNIVERSAL:
            whole, parts = data, universal_parts(name, data, size)
            data, size, others = _part(name, whole, parts, arch)
            whole.close()
        image = _read(name, data, size, PIE_BIAS if bias is None else bias)
        image.others = others
        if arch and image.arch != arch:
            raise XrayError(f"{name}: --arch {arch}: the file is for {image.arch}, and for no other processor")
        check_segments(name, image.segments)
        if not image.library:
            check_entry(image)
    except (struct.error, IndexError, OverflowError) as exc:
        data.close()
        raise XrayError(f"{name}: truncated or corrupt headers ({exc})") from exc
    except XrayError:
        data.close()
        raise
    return image


def _part(
    path: str, whole: mmap.mmap, parts: list[tuple[str, int, int]], arch: str
) -> tuple[mmap.mmap, int, list[str]]:
    """Map one program of a universal file by itself. Returns the mapping, its size, and the other processors."""
    names = [name for name, _, _ in parts]
    found = next((p for p in parts if p[0] == arch or (not arch and p[0] in _READ)), None)
    if found is None:
        what = f"--arch {arch}: " if arch else ""
        raise XrayError(f"{path}: {what}a universal Mach-O file for {', '.join(names)}")
    name, offset, size = found
    part = mmap.mmap(-1, size)  # a copy: a mapping of the file itself would have to begin at a page
    part.write(whole[offset : offset + size])
    names.remove(name)
    return part, size, names


def _map(path: str) -> tuple[mmap.mmap, int]:
    """Map the file read-only. Returns the mapping and the file's size."""
    try:
        # O_NONBLOCK: opening a pipe without a writer would wait for ever.
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except OSError as exc:
        raise XrayError(f"{path}: {exc.strerror or exc}") from exc
    except ValueError as exc:
        raise XrayError(f"{path!r}: {exc}") from exc
    try:
        st = os.fstat(fd)
        if not stat.S_ISREG(st.st_mode):
            kind = "a directory" if stat.S_ISDIR(st.st_mode) else "not a regular file"
            raise XrayError(f"{path}: {kind}: give the path of an executable")
        if st.st_size < _SMALLEST:
            raise XrayError(f"{path}: {st.st_size} bytes: too short for an executable")
        try:
            return mmap.mmap(fd, 0, access=mmap.ACCESS_READ), st.st_size
        except (OSError, ValueError) as exc:
            raise XrayError(f"{path}: cannot be mapped: {exc}") from exc
    finally:
        os.close(fd)


def _read(path: str, data: mmap.mmap, size: int, bias: int) -> Image:
    head = data[:4]
    if head == _ELF:
        return read_elf(path, data, size, bias)
    if head in _MACHO:
        return read_macho(path, data, size)
    if head[:2] == b"MZ":
        return read_pe(path, data, size)
    if head in _PLAN9:
        from gort.xray.file.aout import read_aout  # here, as the next one: few files need them

        return read_aout(path, data, size)
    if head == _WASM:
        from gort.xray.file.wasm import read_wasm

        return read_wasm(path, data, size)
    what = "a script" if head[:2] == b"#!" else "unknown contents"
    raise XrayError(f"{path}: {what}: not an ELF, Mach-O, PE, Plan 9 or WebAssembly executable")
