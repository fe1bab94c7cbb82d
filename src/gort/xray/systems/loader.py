"""What Linux does before a program's first instruction: its segments in memory, the stack with arguments and
auxiliary vector.

Follows fs/binfmt_elf.c. A position-independent program is relocated here, which is what its dynamic loader would do
first; a program that really needs libraries (cgo) has its imports bound to a page of traps, so that it stops with the
name of the function that it calls (imports.py).
"""

from __future__ import annotations

import struct

from gort.xray.emulate.process import Process, Thread
from gort.xray.errors import XrayError
from gort.xray.file.image import Image, ProgramHeaders

STACK_TOP = 0x7FFFFFFFF000
STACK_SIZE = 8 << 20
TRAMPOLINE = 0x7FFFF7FFE000
_MAX_STRINGS = 128 << 10


def load_segments(image: Image, process: Process) -> None:
    memory = process.machine.memory
    for seg in image.segments:
        prot = sum(bit for c, bit in (("r", 1), ("w", 2), ("x", 4)) if c in seg.perms)
        memory.load(seg.address, seg.size, prot, image.data[seg.offset : seg.offset + seg.file_size])
    if image.relocations is not None:
        for address, value in image.relocations():
            holder = image.segment_at(address)
            if holder is None or address + 8 > holder.end:
                raise XrayError(
                    f"{image.path}: a relocation writes to {address:#x}, outside of its segments: corrupt or hostile"
                )
            process.machine.uc.write(address, struct.pack("<Q", value))


def setup(image: Image, process: Process, argv: list[str], env: list[str]) -> Thread:
    """Load the program and make its first thread. Raises `XrayError` when it does not fit."""
    m = process.machine
    load_segments(image, process)
    memory = m.memory
    if not memory.map(STACK_TOP - STACK_SIZE, STACK_SIZE, 3):
        raise XrayError(f"{image.path}: no room for a stack")
    process.trampoline = TRAMPOLINE
    if m.arch.name == "arm64":  # mov x8, #139 (rt_sigreturn); svc #0
        memory.load(TRAMPOLINE, 4096, 5, bytes.fromhex("681180d2010000d4"))
    strings = [s.encode("utf-8", "surrogateescape") + b"\0" for s in (*argv, *env)]
    if sum(map(len, strings)) > _MAX_STRINGS or any(b"\0" in s[:-1] for s in strings):
        raise XrayError("the arguments and environment are longer than 128 KiB or hold zero bytes")
    at = STACK_TOP - 8
    name = argv[0].encode("utf-8", "surrogateescape") + b"\0" if argv else b"\0"
    at -= len(name)
    execfn = at
    memory.write(at, name)
    places: list[int] = []
    at -= sum(map(len, strings))
    spot = at
    for s in strings:
        memory.write(spot, s)
        places.append(spot)
        spot += len(s)
    at = (at & ~15) - 16
    platform = at
    memory.write(at, b"x86_64\0" if m.arch.name == "amd64" else b"aarch64\0")
    at -= 16
    randoms = at
    memory.write(at, process.files.random_bytes(16))
    headers = image.program_headers or ProgramHeaders(0, 0, 0)
    auxv = [
        (16, m.arch.hwcap),
        (6, 4096),
        (17, 100),
        (3, headers.address),
        (4, headers.entry_size),
        (5, headers.count),
        (7, 0),
        (8, 0),
        (9, image.entry),
        (11, 0),
        (12, 0),
        (13, 0),
        (14, 0),
        (23, 0),
        (25, randoms),
        (31, execfn),
        (15, platform),
        (0, 0),
    ]
    words = [len(argv), *places[: len(argv)], 0, *places[len(argv) :], 0]
    for key, value in auxv:
        words += [key, value]
    at = (at - 8 * len(words)) & ~15
    memory.write(at, struct.pack(f"<{len(words)}Q", *words))
    m.set_reg(m.arch.sp, at)
    m.set_reg(m.arch.pc, image.entry)
    return process.add_thread(m.context())
