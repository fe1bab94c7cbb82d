"""An executable file as segments of memory: what each format's reader makes, and what the rest of xray works on.

The readers are elf.py, macho.py and pe.py; open.py maps the file and picks one of them. This module imports none of
them, so the room has no circle.

Invariants:
- The file is mapped read-only and never executed. No byte behind its end is read: a reader checks each offset and size
  of a header against the file's length before it uses it.
- Segments are sorted by address, do not overlap, and together take at most `MAX_MEMORY`. Every loop over the file is
  bounded by a count that was checked against the file's length. The reader refuses a file that breaks one of these, so
  symbols, layouts and emulator need no checks of their own.
- Addresses are those in memory: the linker's addresses plus `bias`. The bias is 0 except in position-independent ELF
  files.

Rejected: lief in the product (the tests compare every section, segment and entry point with it). Its import takes
longer than the whole emulation of a hello world (0.5 s warm, 1.9 s cold), it copies the file several times, and it is
native code that would read hostile bytes inside this process. The three headers that we need are small.
"""

from __future__ import annotations

import itertools
import mmap
import struct
from bisect import bisect_right

from gort.xray.errors import XrayError
from gort.xray.record import field, frozen, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

SymbolTable = dict[str, tuple[int, int]]
"""Name -> (address, size); the size is 0 where the format does not keep it."""

MAX_MEMORY = 1 << 30
"""Bytes that all segments may take together. The largest Go programs that we know take a third of it."""

PC_B_BITS = 16
"""WebAssembly: bits of an address that are a place within a function."""

MAX_SECTIONS = 4096
MAX_SEGMENTS = 256
TOP_OF_USER_MEMORY = 1 << 47
"""The first address that no program can use: both processors give programs 47 bits."""


@frozen
class Section:
    """A named part of the file, as the section headers describe it."""

    name: str
    address: int
    size: int
    offset: int
    """Offset of the contents in the file."""
    file_size: int
    """Bytes that the contents take in the file; 0 for a section that is zeros at run time."""
    flags: str
    """A: occupies memory, W: writable, X: executable, T: thread-local, C: compressed."""


@frozen
class Segment:
    """A range of memory that the system's loader would map."""

    address: int
    size: int
    offset: int
    file_size: int
    perms: str
    """Any of r, w, x."""
    name: str = ""

    @property
    def end(self) -> int:
        """The first address behind the segment."""
        return self.address + self.size


@frozen
class Import:
    """A place in memory that the system's loader would fill with the address of a library's function."""

    slot: int
    name: str
    library: str


@frozen
class ProgramHeaders:
    """ELF's program headers in memory, of which the kernel tells the program in the auxiliary vector."""

    address: int
    entry_size: int
    count: int


@record
class Image:
    """One executable. Close it (or use `with`) when nothing reads from it any more."""

    path: str
    data: mmap.mmap
    size: int
    format: str
    arch: str
    os: str
    entry: int
    sections: list[Section]
    segments: list[Segment]
    bias: int = 0
    pie: bool = False
    interpreter: str = ""
    libraries: list[str] = field(default_factory=list)
    imports: list[Import] = field(default_factory=list)
    relocations: Callable[[], Iterator[tuple[int, int]]] | None = None
    """Yields (address, value) of each word that the loader would write; None when there are none."""
    find_relocated: Callable[[int], list[int]] | None = None
    """Returns the addresses whose relocated word is the given value."""
    symbol_source: Callable[[], SymbolTable] | None = None
    """Reads the file's own symbol table; None in a stripped file."""
    program_headers: ProgramHeaders | None = None
    """ELF only."""
    word: int = 8
    """Bytes of an address in the program's data."""
    base: int = 0
    """PE only: the address of the file's headers in memory."""
    code_of: Callable[[int], bytes] | None = None
    """WebAssembly only: returns the code of the function at an address. There it lies in no segment."""
    imported: int = 0
    """WebAssembly only: the number of functions that are imported."""
    file_size: int = 0
    """Bytes of the file, where `data` is not its mapping."""
    library: bool = False
    """True for a file that other programs load, a shared library or a plugin: it need not have an entry point."""
    others: list[str] = field(default_factory=list)
    """The processors of a universal Mach-O file's other parts."""
    views: list[memoryview] = field(default_factory=list)
    """Views of the mapping that tables hold. `close` releases them, because a mapping with views cannot be closed."""
    _starts: list[int] = field(default_factory=list)
    _relocated: dict[int, int] | None = None

    def __post_init__(self) -> None:
        self.segments.sort(key=lambda s: s.address)
        self._starts = [s.address for s in self.segments]

    def close(self) -> None:
        """Unmap the file. Nothing may be read from it afterwards."""
        for view in self.views:
            view.release()
        self.views.clear()
        try:
            self.data.close()
        except BufferError:
            pass  # somebody holds a view that is not in `views`; the mapping goes when that view goes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def segment_at(self, address: int) -> Segment | None:
        """The segment that holds `address`."""
        i = bisect_right(self._starts, address) - 1
        if i >= 0 and address < self.segments[i].end:
            return self.segments[i]
        return None

    def section(self, *names: str) -> Section | None:
        """The first section that has one of these names."""
        for s in self.sections:
            if s.name in names:
                return s
        return None

    def read(self, address: int, n: int) -> bytes:
        """Returns `n` bytes as they are in the file, zeros where the file has none. Relocations are not applied.

        Raises `XrayError` when the bytes are not all in one segment.
        """
        seg = self.segment_at(address)
        if seg is None or n < 0 or address + n > seg.end:
            raise XrayError(f"{self.path}: nothing is loaded at {address:#x} (+{n}): the file is corrupt")
        start = address - seg.address
        have = (
            self.data[seg.offset + start : seg.offset + min(start + n, seg.file_size)] if start < seg.file_size else b""
        )
        return have + bytes(n - len(have))

    def file_offset(self, address: int) -> int | None:
        """Returns where in the file the byte at `address` lies, or None when the file does not hold it."""
        seg = self.segment_at(address)
        if seg is None or address - seg.address >= seg.file_size:
            return None
        return seg.offset + address - seg.address

    def pointer(self, address: int) -> int:
        """Returns the word at `address` as it is after loading, with relocations applied. Raises `XrayError`."""
        if self.relocations is not None:
            if self._relocated is None:
                self._relocated = dict(self.relocations())
            value = self._relocated.get(address)
            if value is not None:
                return value
        return int.from_bytes(self.read(address, self.word), "little")

    def read_loaded(self, address: int, n: int) -> bytes:
        """Returns `n` bytes as they are after loading, with relocations applied. Raises `XrayError` as `read` does."""
        raw = self.read(address, n)
        if self.relocations is None:
            return raw
        if self._relocated is None:
            self._relocated = dict(self.relocations())
        patched = bytearray(raw)
        form, word = "<Q" if self.word == 8 else "<I", self.word
        for where, value in self._relocated.items():
            if address <= where <= address + n - word:
                struct.pack_into(form, patched, where - address, value)
        return bytes(patched)

    def cstring(self, address: int, limit: int = 4096) -> str:
        """Returns the text up to the first zero byte, at most `limit` bytes; empty where no segment is."""
        seg = self.segment_at(address)
        if seg is None:
            return ""
        raw = self.read(address, min(limit, seg.end - address))
        return raw.partition(b"\0")[0].decode("utf-8", "replace")


def check_segments(path: str, segments: list[Segment]) -> None:
    """Raises `XrayError` for segments that overlap, that lie outside of user memory, or that take too much of it."""
    if not segments:
        raise XrayError(f"{path}: no loadable segment: not an executable")
    if len(segments) > MAX_SEGMENTS:
        raise XrayError(f"{path}: {len(segments)} segments: more than {MAX_SEGMENTS}, the file is corrupt or hostile")
    total = sum(s.size for s in segments)
    if total > MAX_MEMORY:
        raise XrayError(f"{path}: its segments ask for {total >> 20} MiB of memory, more than {MAX_MEMORY >> 20} MiB")
    ordered = sorted(segments, key=lambda s: s.address)
    for s in ordered:
        if s.end > TOP_OF_USER_MEMORY:
            raise XrayError(
                f"{path}: segment at {s.address:#x} lies outside of user memory: the file is corrupt or hostile"
            )
    for a, b in itertools.pairwise(ordered):
        if a.end > b.address:
            raise XrayError(
                f"{path}: segments at {a.address:#x} and {b.address:#x} overlap: the file is corrupt or hostile"
            )


def check_entry(image: Image) -> None:
    """Raises `XrayError` when the entry point is not in code that the file holds."""
    if image.code_of is not None:
        if not image.code_of(image.entry):
            raise XrayError(f"{image.path}: it exports no function that begins: not a Go executable")
        return
    seg = image.segment_at(image.entry)
    if seg is None or "x" not in seg.perms or image.entry - seg.address >= seg.file_size:
        raise XrayError(
            f"{image.path}: the entry point {image.entry:#x} is not in executable code: the file is corrupt"
        )
