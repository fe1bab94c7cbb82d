"""The emulated address space: what is reserved, what is really there, and the bound on it.

A Go program reserves gigabytes and touches little. So a mapping is only written down as an area. The emulator gets
memory for it in chunks of 256 KiB, each when it is first touched (`fault`). The bound (`limit`) is on the chunks: a
program may map a terabyte at no cost, and one that touches a terabyte is refused memory.

Invariants: areas are disjoint and sorted; a chunk lies inside one area; nothing of the host is ever mapped.

Rejected: mapping at once. Unicorn copies the whole contents of a mapping when a part of it is unmapped, and Go unmaps
parts of 64 MiB arenas.
"""

from __future__ import annotations

import ctypes
from bisect import bisect_right

from gort.xray.emulate.native import Engine
from gort.xray.errors import XrayError
from gort.xray.record import frozen

PAGE = 4096
CHUNK = 256 << 10
TOP = 1 << 47
"""The first address that no program can use on a 64-bit processor."""
NONE, READ, WRITE, EXEC = 0, 1, 2, 4
"""Protections, as mmap has them."""
ANY = READ | WRITE | EXEC
_PHYSICAL = (1 << 52) - 1
_MAX_AREAS = 65536
_MAX_READ = 64 << 20
_BUFFER = 65536
_LOWEST_PLACE = 1 << 20


def whole_pages(size: int) -> int:
    """Returns the size of the pages that hold `size` bytes."""
    return -(-size // PAGE) * PAGE


@frozen
class Area:
    """Reserved addresses, up to `end`."""

    start: int
    end: int
    protection: int


class AddressSpace:
    """The memory of an engine, of which `limit` bytes may be touched.

    Programs can use addresses below `top`. Mappings without a wish are placed from `first_place` downwards.
    """

    def __init__(self, engine: Engine, limit: int, top: int, first_place: int) -> None:
        self.limit: int = limit
        self.used: int = 0
        """Bytes that are really there."""
        self._uc = engine
        self._mem_read, self._handle = engine.library.uc_mem_read, engine.handle
        self._buffer = ctypes.create_string_buffer(_BUFFER)
        self._view = memoryview(self._buffer).cast("B")
        self._starts: list[int] = []
        self._areas: list[Area] = []
        self._chunks: dict[int, tuple[int, int]] = {}
        """Start of a chunk -> (end, protection)."""
        self._chunk_starts: list[int] = []
        self._next = first_place
        self._top = top

    # -- areas ---------------------------------------------------------------------------------------------

    def find(self, address: int) -> Area | None:
        """Returns the area that holds the address."""
        i = bisect_right(self._starts, address) - 1
        if i >= 0 and address < self._areas[i].end:
            return self._areas[i]
        return None

    def areas(self) -> list[Area]:
        """Returns what is reserved, in the order of addresses."""
        return list(self._areas)

    def is_free(self, start: int, size: int) -> bool:
        """True when nothing is reserved in [start, start+size)."""
        i = bisect_right(self._starts, start) - 1
        if i >= 0 and start < self._areas[i].end:
            return False
        return i + 1 >= len(self._areas) or self._areas[i + 1].start >= start + size

    def place(self, size: int) -> int:
        """Returns free addresses for a mapping without a wish; 0 when there are none."""
        start = (self._next - size) & ~(PAGE - 1)
        for _ in range(1000):
            if start < _LOWEST_PLACE:
                return 0
            if self.is_free(start, size):
                self._next = start
                return start
            area = self.find(start + size - 1) or self.find(start)
            start = ((area.start if area else start) - size) & ~(PAGE - 1)
        return 0

    def place_at(self, wish: int, size: int, fixed: bool) -> int:
        """Returns where mmap puts a mapping: at `wish` when it must (`fixed`) or can be, else anywhere; 0 for nowhere."""
        if fixed or (wish and wish % PAGE == 0 and wish + size < self._top and self.is_free(wish, size)):
            return wish
        return self.place(size)

    def map(self, start: int, size: int, protection: int) -> bool:
        """Reserve [start, start+size) and replace what is there. False when the addresses or the areas run out."""
        size = whole_pages(size)
        if size <= 0 or start % PAGE or start < PAGE or start + size > self._top or len(self._areas) >= _MAX_AREAS:
            return False
        self.unmap(start, size)
        i = bisect_right(self._starts, start)
        self._starts.insert(i, start)
        self._areas.insert(i, Area(start, start + size, protection))
        return True

    def _cut(self, start: int, end: int) -> range:
        """Split areas at the two addresses. Returns the indexes of those between."""
        for at in (start, end):
            i = bisect_right(self._starts, at) - 1
            if i >= 0 and self._areas[i].start < at < self._areas[i].end:
                a = self._areas[i]
                self._areas[i : i + 1] = [Area(a.start, at, a.protection), Area(at, a.end, a.protection)]
                self._starts.insert(i + 1, at)
        return range(bisect_right(self._starts, start - 1), bisect_right(self._starts, end - 1))

    def unmap(self, start: int, size: int) -> None:
        """Give the addresses up, whether they are reserved or not."""
        end = start + whole_pages(size)
        inside = self._cut(start, end)
        if inside:
            del self._areas[inside[0] : inside[-1] + 1]
            del self._starts[inside[0] : inside[-1] + 1]
        for a, b in self._split_chunks(start, end):
            self._uc.unmap(a, b - a)
            self.used -= b - a
            self._drop(a)

    def protect(self, start: int, size: int, protection: int) -> None:
        """Change the protection of what is reserved there."""
        end = start + whole_pages(size)
        for i in self._cut(start, end):
            a = self._areas[i]
            self._areas[i] = Area(a.start, a.end, protection)
        for lo, hi in self._split_chunks(start, end):
            self._uc.protect(lo, hi - lo, protection & ANY)
            self._chunks[lo] = (hi, protection)

    # -- chunks --------------------------------------------------------------------------------------------

    def _drop(self, start: int) -> None:
        del self._chunks[start]
        del self._chunk_starts[bisect_right(self._chunk_starts, start) - 1]

    def _add(self, start: int, end: int, prot: int) -> None:
        self._chunks[start] = (end, prot)
        self._chunk_starts.insert(bisect_right(self._chunk_starts, start), start)

    def _split_chunks(self, start: int, end: int) -> list[tuple[int, int]]:
        """Split the chunks that lie across the edges of [start, end). Returns (start, end) of those inside."""
        out = []
        i = max(0, bisect_right(self._chunk_starts, start) - 1)
        for a in self._chunk_starts[i : bisect_right(self._chunk_starts, end - 1)]:
            b, prot = self._chunks[a]
            lo, hi = max(a, start), min(b, end)
            if lo >= hi:
                continue
            if (lo, hi) != (a, b):
                # unicorn splits its own region when a part of it is changed: do the same here
                self._drop(a)
                for x, y in ((a, lo), (lo, hi), (hi, b)):
                    if x < y:
                        self._add(x, y, prot)
            out.append((lo, hi))
        return out

    def fault(self, address: int) -> bool:
        """Give the emulator memory for a reserved address.

        False when nothing is reserved there, when nothing may be accessed there, or when the memory is there already.
        Raises `XrayError` when the program may have no more memory.
        """
        area = self.find(address)
        if area is None or area.protection & ANY == NONE:
            return False
        start = max(area.start, address & ~(CHUNK - 1))
        end = min(area.end, (address & ~(CHUNK - 1)) + CHUNK)
        i = bisect_right(self._chunk_starts, address) - 1
        if i >= 0:
            a = self._chunk_starts[i]
            b = self._chunks[a][0]
            if address < b:
                return False
            start = max(start, b)
        if i + 1 < len(self._chunk_starts):
            end = min(end, self._chunk_starts[i + 1])
        if self.used + end - start > self.limit:
            raise XrayError(
                f"the program touched more than the {self.limit >> 20} MiB of memory that it may have (--memory)"
            )
        self._uc.map(start, end - start, area.protection & ANY)
        self.used += end - start
        self._add(start, end, area.protection)
        return True

    def load(self, start: int, size: int, protection: int, contents: bytes) -> None:
        """Map memory that is there at once, with its contents. Raises `XrayError` when it does not fit."""
        a, b = start & ~(PAGE - 1), whole_pages(start + size)
        old = self.find(a)
        if old is not None:  # two segments share a page
            self.protect(a, PAGE, old.protection | protection)
            a += PAGE
        if a < b:
            if not self.map(a, b - a, protection):
                raise XrayError(f"segment at {start:#x} cannot be placed in memory")
            if self.used + b - a > self.limit:
                raise XrayError(
                    f"its segments need more than the {self.limit >> 20} MiB of memory it may have (--memory)"
                )
            self._uc.map(a, b - a, protection & ANY)
            self.used += b - a
            self._add(a, b, protection)
        if contents:
            self._uc.write(start, contents)

    def store(self, address: int, data: bytes) -> None:
        """Write to memory that is there, as that of `load`."""
        self._uc.write(address, data)

    def load_above(self, address: int, contents: bytes) -> None:
        """Map a page of code that the kernel has above the program's memory. It is no area, and nothing unmaps it."""
        place = address & _PHYSICAL  # the emulator looks memory up by these bits
        self._uc.map(place, PAGE, READ | EXEC)
        self._uc.write(place, contents)

    # -- access for the emulated kernel: protections do not hold for it ---------------------------------------

    def _present(self, address: int, n: int) -> bool:
        """Bring in the memory of [address, address+n). False when it is not all reserved."""
        at = address
        end = address + n
        while at < end:
            i = bisect_right(self._chunk_starts, at) - 1
            b = self._chunks[self._chunk_starts[i]][0] if i >= 0 else 0
            if at >= b:
                if not self.fault(at):
                    return False
                continue
            at = b
        return True

    def read(self, address: int, n: int) -> bytes | None:
        """Returns `n` bytes, or None when they are not all mapped, or more than 64 MiB."""
        if n < 0 or n > _MAX_READ or address < 0 or address + n > self._top:
            return None
        # Mostly it is all there, and the emulator finds that out faster than `_present`.
        if n <= _BUFFER and self._mem_read(self._handle, address, self._buffer, n) == 0:
            return self._view[:n].tobytes()
        if not self._present(address, n):
            return None
        return self._uc.read(address, n)

    def write(self, address: int, data: bytes) -> bool:
        """Write to memory. False when it is not all mapped."""
        if address < 0 or address + len(data) > self._top or not self._present(address, len(data)):
            return False
        self._uc.write(address, data)
        return True
