"""The loader of a program that is linked to libc: its ELF interpreter (ld.so), which runs in the emulator as well.

Follows fs/binfmt_elf.c: the kernel maps the program and its interpreter and starts the interpreter. That one maps the
libraries, relocates the program, and jumps to its entry. A program without libraries needs no interpreter; system.py
relocates it. What may be read of this machine is in sysroot.py.
"""

from __future__ import annotations

from gort.xray.emulate.memory import EXEC, READ, WRITE, AddressSpace
from gort.xray.errors import XrayError
from gort.xray.file.image import Image
from gort.xray.file.open import load
from gort.xray.systems.sysroot import Sysroot

BASE = 0x7FFFF7E00000
"""The interpreter's first address: above everything that mmap places, as on a real Linux."""
_ROOM = 0x1FE000
"""Bytes up to what else has a fixed place above it."""
MAPS = "/proc/self/maps"
"""libc asks here for the bounds of the first thread's stack (pthread_getattr_np)."""


def find_interpreter(image: Image, sysroot: Sysroot) -> Image | None:
    """Returns the interpreter of a program that needs libraries; None without one. Raises `XrayError` for a bad one."""
    if not image.libraries or not image.interpreter:
        return None
    library = sysroot.open(image.interpreter)
    if library is None:
        return None
    interpreter = load(library.host_path, BASE)
    if interpreter.libraries or any(s.end > BASE + _ROOM or s.address < BASE for s in interpreter.segments):
        interpreter.close()
        raise XrayError(f"{library.host_path}: it does not fit as the loader of {image.path}")
    return interpreter


def maps(memory: AddressSpace) -> bytes:
    """Returns the address space as /proc/self/maps shows it, without the names of files."""
    lines: list[str] = []
    for area in memory.areas():
        letters = "".join(c if area.protection & bit else "-" for c, bit in (("r", READ), ("w", WRITE), ("x", EXEC)))
        lines.append(f"{area.start:08x}-{area.end:08x} {letters}p 00000000 00:00 0\n")
    return "".join(lines).encode()
