"""The emulated address space: what is reserved, what is really there, and the bound on it.

A Go program reserves gigabytes and touches little. So a mapping is only written down as an area; the emulator gets
memory for it in chunks of 256 KiB when it is first touched (`fault`). What is bounded is what is there (`limit`),
thus a program that maps a terabyte costs nothing and one that touches a terabyte is refused memory.

Invariants: areas are disjoint and sorted; a chunk lies inside one area; nothing of the host is ever mapped.

Rejected: mapping at once. Unicorn copies a mapping's whole contents when a part of it is unmapped, and Go unmaps
parts of 64 MiB arenas.
"""

from __future__ import annotations

import ctypes
from bisect import bisect_right

from gort.xray.emulate.native import Engine
from gort.xray.errors import XrayError

PAGE = 4096
CHUNK = 256 << 10
TOP = 1 << 47
_MAX_AREAS = 65536
_BUFFER = 65536


class AddressSpace:
    def __init__(self, engine: Engine, limit: int) -> None:
        self.uc = engine
        self._mem_read, self._handle = engine.library.uc_mem_read, engine.handle
        self._buffer = ctypes.create_string_buffer(_BUFFER)
        self._view = memoryview(self._buffer).cast("B")
        self.limit = limit
        self.used = 0
        self._starts: list[int] = []
        self._areas: list[tuple[int, int, int]] = []
        """(start, end, protection); protection as in mmap: 1 read, 2 write, 4 execute."""
        self._chunks: dict[int, tuple[int, int]] = {}
        """start of a part that is in the emulator -> (end, protection)."""
        self._chunk_starts: list[int] = []
        self._next = 0x7FFFF7E00000

    # -- areas ---------------------------------------------------------------------------------------------

    def find(self, address: int) -> tuple[int, int, int] | None:
        i = bisect_right(self._starts, address) - 1
        if i >= 0 and address < self._areas[i][1]:
            return self._areas[i]
        return None

    def is_free(self, start: int, size: int) -> bool:
        i = bisect_right(self._starts, start) - 1
        if i >= 0 and start < self._areas[i][1]:
            return False
        return i + 1 >= len(self._areas) or self._areas[i + 1][0] >= start + size

    def place(self, size: int) -> int:
        """Free addresses for a mapping without a wish, downwards like Linux's."""
        start = (self._next - size) & ~(PAGE - 1)
        for _ in range(1000):
            if start < 1 << 20:
                return 0
            if self.is_free(start, size):
                self._next = start
                return start
            area = self.find(start + size - 1) or self.find(start)
            start = ((area[0] if area else start) - size) & ~(PAGE - 1)
        return 0

    def map(self, start: int, size: int, prot: int) -> bool:
        """Reserve [start, start+size), replacing what is there. False when the addresses or the areas run out."""
        size = -(-size // PAGE) * PAGE
        if size <= 0 or start % PAGE or start < PAGE or start + size > TOP or len(self._areas) >= _MAX_AREAS:
            return False
        self.unmap(start, size)
        i = bisect_right(self._starts, start)
        self._starts.insert(i, start)
        self._areas.insert(i, (start, start + size, prot))
        return True

    def _cut(self, start: int, end: int) -> list[int]:
        """Split areas at the two addresses; returns the indexes of those between."""
        for at in (start, end):
            i = bisect_right(self._starts, at) - 1
            if i >= 0 and self._areas[i][0] < at < self._areas[i][1]:
                a, b, prot = self._areas[i]
                self._areas[i : i + 1] = [(a, at, prot), (at, b, prot)]
                self._starts.insert(i + 1, at)
        lo = bisect_right(self._starts, start - 1)
        hi = bisect_right(self._starts, end - 1)
        return list(range(lo, hi))

    def unmap(self, start: int, size: int) -> None:
        end = start + -(-size // PAGE) * PAGE
        inside = self._cut(start, end)
        if inside:
            del self._areas[inside[0] : inside[-1] + 1]
            del self._starts[inside[0] : inside[-1] + 1]
        for a, b in self._split_chunks(start, end):
            self.uc.unmap(a, b - a)
            self.used -= b - a
            self._drop(a)

    def protect(self, start: int, size: int, prot: int) -> None:
        end = start + -(-size // PAGE) * PAGE
        for i in self._cut(start, end):
            a, b, _ = self._areas[i]
            self._areas[i] = (a, b, prot)
        for a, b in self._split_chunks(start, end):
            self.uc.protect(a, b - a, prot & 7)
            self._chunks[a] = (b, prot)

    # -- chunks --------------------------------------------------------------------------------------------

    def _drop(self, start: int) -> None:
        del self._chunks[start]
        del self._chunk_starts[bisect_right(self._chunk_starts, start) - 1]

    def _add(self, start: int, end: int, prot: int) -> None:
        self._chunks[start] = (end, prot)
        self._chunk_starts.insert(bisect_right(self._chunk_starts, start), start)

    def _split_chunks(self, start: int, end: int) -> list[tuple[int, int]]:
        """The chunks inside [start, end), after splitting those that lie across its edges."""
        out = []
        i = max(0, bisect_right(self._chunk_starts, start) - 1)
        for a in self._chunk_starts[i : bisect_right(self._chunk_starts, end - 1)]:
            b, prot = self._chunks[a]
            lo, hi = max(a, start), min(b, end)
            if lo >= hi:
                continue
            if (lo, hi) != (a, b):
                # unicorn splits its own region when a part of it is changed; the books here follow
                self._drop(a)
                for x, y in ((a, lo), (lo, hi), (hi, b)):
                    if x < y:
                        self._add(x, y, prot)
            out.append((lo, hi))
        return out

    def fault(self, address: int) -> bool:
        """Bring in memory for a reserved address. False: nothing is mapped there (or nothing may be accessed)."""
        area = self.find(address)
        if area is None or area[2] & 7 == 0:
            return False
        start = max(area[0], address & ~(CHUNK - 1))
        end = min(area[1], (address & ~(CHUNK - 1)) + CHUNK)
        i = bisect_right(self._chunk_starts, address) - 1
        if i >= 0:
            a = self._chunk_starts[i]
            b = self._chunks[a][0]
            if address < b:
                return False  # it is there: the access was not allowed
            start = max(start, b)
        if i + 1 < len(self._chunk_starts):
            end = min(end, self._chunk_starts[i + 1])
        if self.used + end - start > self.limit:
            raise XrayError(
                f"the program touched more than the {self.limit >> 20} MiB of memory that it may have (--memory)"
            )
        self.uc.map(start, end - start, area[2] & 7)
        self.used += end - start
        self._add(start, end, area[2])
        return True

    def load(self, start: int, size: int, prot: int, contents: bytes) -> None:
        """Map a segment of the file at once, with its contents."""
        a, b = start & ~(PAGE - 1), -(-(start + size) // PAGE) * PAGE
        old = self.find(a)
        if old is not None:  # two segments share a page
            self.protect(a, PAGE, old[2] | prot)
            a += PAGE
        if a < b:
            if not self.map(a, b - a, prot):
                raise XrayError(f"segment at {start:#x} cannot be placed in memory")
            if self.used + b - a > self.limit:
                raise XrayError(
                    f"its segments need more than the {self.limit >> 20} MiB of memory it may have (--memory)"
                )
            self.uc.map(a, b - a, prot & 7)
            self.used += b - a
            self._add(a, b, prot)
        if contents:
            self.uc.write(start, contents)

    # -- access for the emulated kernel ----------------------------------------------------------------------

    def _present(self, address: int, n: int) -> bool:
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
        """`n` bytes, or None when they are not all mapped."""
        if n < 0 or n > 64 << 20 or address < 0 or address + n > TOP:
            return None
        # Mostly it is all there, which the emulator finds out faster than the books here.
        if n <= _BUFFER and self._mem_read(self._handle, address, self._buffer, n) == 0:
            return self._view[:n].tobytes()
        if not self._present(address, n):
            return None
        return self.uc.read(address, n)

    def write(self, address: int, data: bytes) -> bool:
        if address < 0 or address + len(data) > TOP or not self._present(address, len(data)):
            return False
        self.uc.write(address, data)
        return True
