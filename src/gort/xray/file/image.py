"""An executable file as segments of memory: what every format's reader hands to the rest of xray.

Invariants:
- The file is mapped read-only and never executed, and no byte beyond it is ever read: every offset and size of a
  header is checked against the file's length before it is used, so a lying header costs one comparison.
- Segments are sorted by address, do not overlap, and lie within `MAX_MEMORY` in total; every loop is bounded by a
  count checked against the file's length. A file that breaks one of these is refused in the reader, so that symbols,
  layout and emulator need no checks of their own.
- Addresses are those in memory: link-time addresses plus `bias`, which is 0 except for position-independent ELF
  files.

Rejected: lief, for the product (the tests compare every section, segment and entry against it). Importing it costs
more than the whole emulation of a hello world (0.5 s warm, 1.9 s cold), it copies the file into memory several times,
and it is native code that would read hostile bytes inside this process. The three headers we need are small.
"""

from __future__ import annotations

import itertools
import mmap
import os
import stat
import struct
from bisect import bisect_right

from gort.xray.errors import XrayError
from gort.xray.record import field, frozen, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

MAX_MEMORY = 1 << 30
"""Bytes that all segments may take together: the largest Go programs we know of take a third of it."""

MAX_SECTIONS = 4096
MAX_SEGMENTS = 256
PIE_BIAS = 0x555555554000
"""Where Linux puts a position-independent program under gdb (no randomization), so that addresses can be compared."""


@frozen
class Section:
    name: str
    address: int
    size: int
    offset: int
    """Place in the file; the contents take `file_size` bytes there (0: zeros at run time)."""
    file_size: int
    flags: str
    """A: occupies memory, W: writable, X: executable."""


@frozen
class Segment:
    address: int
    size: int
    offset: int
    file_size: int
    perms: str
    """Any of r, w, x."""
    name: str = ""

    @property
    def end(self) -> int:
        return self.address + self.size


@frozen
class Import:
    """A place in memory that the system's loader would fill with the address of a library's function."""

    slot: int
    name: str
    library: str


@record
class Image:
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
    """(address, value) of each word the loader would write; None when there are none."""
    find_relocated: Callable[[int], list[int]] | None = None
    """The addresses whose relocated word is the given value."""
    symbol_source: Callable[[], dict[str, tuple[int, int]]] | None = None
    """Reads the file's own symbol table: name -> (address, size)."""
    phdr: tuple[int, int, int] = (0, 0, 0)
    """ELF: address, entry size and count of the program headers, for the auxiliary vector."""
    views: list[memoryview] = field(default_factory=list)
    """Views that others hold of the mapping: released before it is closed."""
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
        except BufferError:  # a table still holds a view of the file; the mapping goes with it
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def segment_at(self, address: int) -> Segment | None:
        i = bisect_right(self._starts, address) - 1
        if i >= 0 and address < self.segments[i].end:
            return self.segments[i]
        return None

    def section(self, *names: str) -> Section | None:
        for s in self.sections:
            if s.name in names:
                return s
        return None

    def section_at(self, address: int) -> Section | None:
        for s in self.sections:
            if "A" in s.flags and s.address <= address < s.address + s.size:
                return s
        return None

    def read(self, address: int, n: int) -> bytes:
        """`n` bytes as they are in the file (zeros where the file has none); relocations are not applied.

        Raises `XrayError` when they are not all in one segment.
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
        """Where in the file the byte at `address` lies, or None when it is not in the file."""
        seg = self.segment_at(address)
        if seg is None or address - seg.address >= seg.file_size:
            return None
        return seg.offset + address - seg.address

    def address_of(self, offset: int) -> int | None:
        for seg in self.segments:
            if seg.offset <= offset < seg.offset + seg.file_size:
                return seg.address + offset - seg.offset
        return None

    def u64(self, address: int) -> int:
        """A word as it is after loading (relocated)."""
        if self.relocations is not None:
            if self._relocated is None:
                self._relocated = dict(self.relocations())
            value = self._relocated.get(address)
            if value is not None:
                return value
        return int(struct.unpack("<Q", self.read(address, 8))[0])

    def cstring(self, address: int, limit: int = 4096) -> str:
        seg = self.segment_at(address)
        if seg is None:
            return ""
        raw = self.read(address, min(limit, seg.end - address))
        return raw.partition(b"\0")[0].decode("utf-8", "replace")


def check_segments(path: str, segments: list[Segment]) -> None:
    """Refuse segments that overlap or together take too much memory."""
    if not segments:
        raise XrayError(f"{path}: no loadable segment: not an executable")
    if len(segments) > MAX_SEGMENTS:
        raise XrayError(f"{path}: {len(segments)} segments: more than {MAX_SEGMENTS}, the file is corrupt or hostile")
    total = sum(s.size for s in segments)
    if total > MAX_MEMORY:
        raise XrayError(f"{path}: its segments ask for {total >> 20} MiB of memory, more than {MAX_MEMORY >> 20} MiB")
    ordered = sorted(segments, key=lambda s: s.address)
    for s in ordered:
        if s.end > 1 << 47:
            raise XrayError(
                f"{path}: segment at {s.address:#x} lies outside of user memory: the file is corrupt or hostile"
            )
    for a, b in itertools.pairwise(ordered):
        if a.end > b.address:
            raise XrayError(
                f"{path}: segments at {a.address:#x} and {b.address:#x} overlap: the file is corrupt or hostile"
            )


def check_entry(image: Image) -> None:
    seg = image.segment_at(image.entry)
    if seg is None or "x" not in seg.perms or image.entry - seg.address >= seg.file_size:
        raise XrayError(
            f"{image.path}: the entry point {image.entry:#x} is not in executable code: the file is corrupt"
        )


def _map(path: str) -> tuple[mmap.mmap, int]:
    try:
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
        if st.st_size < 64:
            raise XrayError(f"{path}: {st.st_size} bytes: too short for an executable")
        try:
            return mmap.mmap(fd, 0, access=mmap.ACCESS_READ), st.st_size
        except (OSError, ValueError) as exc:
            raise XrayError(f"{path}: cannot be mapped: {exc}") from exc
    finally:
        os.close(fd)


def load(path: str | os.PathLike[str], bias: int | None = None) -> Image:
    """Read an executable's headers. `bias` places a position-independent ELF file (None: `PIE_BIAS`).

    Raises `XrayError` for everything that is not a sound 64-bit executable of a known format.
    """
    name = os.fspath(path)
    data, size = _map(name)
    head = data[:4]
    try:
        if head == b"\x7fELF":
            from gort.xray.file.elf import read_elf

            image = read_elf(name, data, size, PIE_BIAS if bias is None else bias)
        elif head in (b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xfe\xed\xfa\xcf", b"\xfe\xed\xfa\xce"):
            from gort.xray.file.macho import read_macho

            image = read_macho(name, data, size)
        elif head in (b"\xca\xfe\xba\xbe", b"\xca\xfe\xba\xbf"):
            raise XrayError(f"{name}: a universal Mach-O file: pick one architecture with `lipo -thin arm64`")
        elif head[:2] == b"MZ":
            from gort.xray.file.pe import read_pe

            image = read_pe(name, data, size)
        else:
            what = "a script" if head[:2] == b"#!" else "a WebAssembly file" if head == b"\0asm" else "unknown contents"
            raise XrayError(f"{name}: {what}: not an ELF, Mach-O or PE executable")
        check_segments(name, image.segments)
        check_entry(image)
    except (struct.error, IndexError, OverflowError) as exc:
        data.close()
        raise XrayError(f"{name}: truncated or corrupt headers ({exc})") from exc
    except XrayError:
        data.close()
        raise
    return image
