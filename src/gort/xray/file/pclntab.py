"""Go's own table of functions: names, addresses, source lines, inlined calls. It is there even in stripped files.

Follows runtime/symtab.go, internal/abi/symtab.go and cmd/link/internal/ld/pcln.go, for the layouts of Go 1.18 to 1.27
(magic 0xfffffff0 and 0xfffffff1). Go 1.27 no longer stores the start of the text in the table; it comes from the
moduledata structure that points at the table.

Invariants: everything is read through offsets that are checked against the table's length; the functions' addresses
must rise; nothing is decoded before it is asked for, so a table of 100 MB costs only its list of addresses.

Rejected: trusting the section's name alone. Files without section headers, and Windows files (whose table has no
section), are searched for the magic, and each candidate must check out.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right

from gort.xray.errors import XrayError
from gort.xray.file.image import Image
from gort.xray.record import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_MAGICS = {0xFFFFFFF0: 18, 0xFFFFFFF1: 20}
_OLD_MAGICS = {0xFFFFFFFB: "1.15 or older", 0xFFFFFFFA: "1.16 or 1.17"}
_MAX_FUNCS = 4_000_000
_MAX_NAME = 8192
_FUNC_SIZE = {18: 40, 20: 44}
_PCDATA_INLTREE = 2
_FUNCDATA_INLTREE = 3


class Func:
    """One function. `offset` is that of its record in the table."""

    __slots__ = ("end", "entry", "name", "offset", "start_line")

    def __init__(self, name: str, entry: int, end: int, start_line: int, offset: int) -> None:
        self.name = name
        self.entry = entry
        self.end = end
        self.start_line = start_line
        self.offset = offset


@frozen
class ModuleData:
    """The part of runtime.moduledata that is the same from Go 1.18 on."""

    address: int
    text: int
    etext: int
    spans: dict[str, tuple[int, int]]
    gofunc: int


class PclnTab:
    def __init__(self, image: Image, address: int, module: ModuleData, layout: int) -> None:
        self.image = image
        self.address = address
        self.module = module
        self.layout = layout
        offset = image.file_offset(address)
        seg = image.segment_at(address)
        assert offset is not None
        assert seg is not None
        self._limit = seg.file_size - (address - seg.address)
        whole = memoryview(image.data)
        self._view = whole[offset : offset + self._limit]
        image.views += [self._view, whole]
        v = self._view
        self.quantum = v[6]
        n, self.nfiles, _, names, cus, files, pctab, funcs = struct.unpack_from("<8Q", v, 8)
        for where in (names, cus, files, pctab, funcs):
            if where >= self._limit:
                raise XrayError(f"{image.path}: the pclntab points beyond itself: corrupt")
        if n == 0 or n > _MAX_FUNCS or funcs + 8 * n + 4 > self._limit:
            raise XrayError(f"{image.path}: the pclntab announces {n} functions: corrupt")
        self.nfuncs = n
        self._names, self._cus, self._files, self._pctab, self._funcs = names, cus, files, pctab, funcs
        ftab = array("I")
        ftab.frombytes(v[funcs : funcs + 8 * n + 4])
        self._entries = ftab[0::2]
        self._offsets = ftab[1::2]
        self._end = self._entries[n]
        if any(a > b for a, b in zip(self._entries, self._entries[1:], strict=False)):
            raise XrayError(f"{image.path}: the pclntab's functions are not in order: corrupt")
        self._by_name: dict[str, list[int]] = {}
        self._name_index: dict[int, list[int]] | None = None
        self._cache: dict[int, Func] = {}

    # -- functions ---------------------------------------------------------------------------------------------

    def _func(self, i: int) -> Func:
        got = self._cache.get(i)
        if got is not None:
            return got
        at = self._funcs + self._offsets[i]
        if at + _FUNC_SIZE[self.layout] > self._limit:
            raise XrayError(f"{self.image.path}: function {i} of the pclntab lies beyond it: corrupt")
        name_off = struct.unpack_from("<i", self._view, at + 4)[0]
        line = struct.unpack_from("<i", self._view, at + 36)[0] if self.layout >= 20 else 0
        base = self.module.text
        func = Func(self._name(name_off), base + self._entries[i], base + self._entries[i + 1], line, at)
        if len(self._cache) < 200_000:
            self._cache[i] = func
        return func

    def _name(self, off: int) -> str:
        start = self._names + off
        if not off >= 0 or start >= self._limit:
            return "?"
        raw = bytes(self._view[start : min(start + _MAX_NAME, self._limit)])
        return raw.partition(b"\0")[0].decode("utf-8", "replace")

    def at(self, pc: int) -> Func | None:
        """The function that holds `pc`."""
        rel = pc - self.module.text
        if rel < 0 or rel >= self._end:
            return None
        return self._func(bisect_right(self._entries, rel, 0, self.nfuncs) - 1)

    def find_all(self, name: str) -> list[Func]:
        """The functions of that name: more than one where an assembly function has an ABI wrapper."""
        found = self._by_name.get(name)
        if found is None:
            found = self._by_name[name] = self._find(name)
        return [self._func(i) for i in found]

    def _by_offset(self) -> dict[int, list[int]]:
        """The functions by the place of their name."""
        if self._name_index is None:
            # One pass over all records for their name offsets: 0.1 s for 200,000 functions, and no strings are made.
            words = memoryview(self._view[: self._limit & ~3]).cast("I")
            base = self._funcs
            index: dict[int, list[int]] = {}
            top = len(words)
            for i, off in enumerate(self._offsets[: self.nfuncs]):
                w = ((base + off) >> 2) + 1
                if w < top:
                    index.setdefault(words[w], []).append(i)
            self._name_index = index
        return self._name_index

    def _find(self, name: str) -> list[int]:
        index = self._by_offset()
        wanted = name.encode() + b"\0"
        data = self.image.data
        start = (self.image.file_offset(self.address) or 0) + self._names
        end = start + max(0, self._cus - self._names)
        at = data.find(wanted, start, end)
        while at >= 0:
            if at == start or data[at - 1] == 0:
                found = index.get(at - start)
                if found is not None:
                    return found
            at = data.find(wanted, at + 1, end)
        return []

    def names(self, prefix: str) -> list[Func]:
        """All functions whose name begins with `prefix`, in the order of their addresses."""
        raw, index, data = prefix.encode(), self._by_offset(), self.image.data
        start = (self.image.file_offset(self.address) or 0) + self._names
        end = start + self._limit - self._names
        found: list[int] = []
        if not raw:
            return [self._func(i) for i in range(self.nfuncs)]
        at = data.find(raw, start, end)
        while at >= 0:
            found += index.get(at - start, ())
            at = data.find(raw, at + 1, end)
        return [self._func(i) for i in sorted(found)]

    # -- lines and inlining ------------------------------------------------------------------------------------

    def _varint(self, at: int) -> tuple[int, int]:
        value = shift = 0
        while at < self._limit and shift < 35:
            byte = self._view[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        return value, at

    def _table(self, func: Func, off: int, limit: int = 200_000, stop: int | None = None) -> list[tuple[int, int]]:
        """A pc-value table as (end of range, value), up to the range of `stop`; varints of differences, ended by a
        zero.
        """
        at = self._pctab + off
        value, pc = -1, func.entry
        out: list[tuple[int, int]] = []
        while at < self._limit and len(out) < limit:
            delta, at = self._varint(at)
            if delta == 0 and out:
                break
            value += -(delta + 1) // 2 if delta & 1 else delta // 2
            step, at = self._varint(at)
            pc += step * self.quantum
            out.append((pc, value))
            if pc >= func.end or (stop is not None and stop < pc):
                break
        return out

    def _value(self, func: Func, off: int, pc: int) -> int:
        if off == 0:
            return -1
        found = self._table(func, off, stop=pc)
        return found[-1][1] if found and pc < found[-1][0] else -1

    def line(self, pc: int) -> tuple[str, int]:
        """Source file and line of the innermost code at `pc` (with inlined code: of the inlined function)."""
        func = self.at(pc)
        if func is None:
            return "", 0
        pcfile, pcln = struct.unpack_from("<II", self._view, func.offset + 20)
        line = self._value(func, pcln, pc)
        number = self._value(func, pcfile, pc)
        cu = struct.unpack_from("<I", self._view, func.offset + 32)[0]
        if number < 0 or line < 0:
            return "", max(line, 0)
        at = self._cus + 4 * (cu + number)
        if at + 4 > self._limit:
            return "", line
        start = self._files + struct.unpack_from("<I", self._view, at)[0]
        if start >= self._limit:
            return "", line
        raw = bytes(self._view[start : min(start + 4096, self._limit)])
        return raw.partition(b"\0")[0].decode("utf-8", "replace"), line

    def inlined(self, func: Func) -> list[tuple[str, int]]:
        """Functions that the compiler inlined directly into `func`: (name, address of their first instruction)."""
        npcdata = struct.unpack_from("<I", self._view, func.offset + 28)[0]
        nfuncdata = self._view[func.offset + _FUNC_SIZE[self.layout] - 1]
        tail = func.offset + _FUNC_SIZE[self.layout]
        if npcdata > 64 or nfuncdata <= _FUNCDATA_INLTREE or npcdata <= _PCDATA_INLTREE or not self.module.gofunc:
            return []
        if tail + 4 * (npcdata + nfuncdata) > self._limit:
            return []
        table_off = struct.unpack_from("<I", self._view, tail + 4 * _PCDATA_INLTREE)[0]
        tree_off = struct.unpack_from("<I", self._view, tail + 4 * (npcdata + _FUNCDATA_INLTREE))[0]
        if not table_off or tree_off == 0xFFFFFFFF:
            return []
        ranges = self._table(func, table_off)
        tree = self.module.gofunc + tree_off
        parents: dict[int, tuple[int, int]] = {}

        def entry(i: int) -> tuple[int, int]:
            """(name offset, parent's pc offset) of node i of the inline tree."""
            if i not in parents:
                raw = self.image.read(tree + (16 * i if self.layout >= 20 else 20 * i), 16 if self.layout >= 20 else 20)
                parents[i] = (
                    struct.unpack_from("<ii", raw, 4) if self.layout >= 20 else struct.unpack_from("<ii", raw, 12)
                )
            return parents[i]

        def node_at(pc: int) -> int:
            for end, value in ranges:
                if pc < end:
                    return value
            return -1

        out: list[tuple[str, int]] = []
        seen: set[int] = set()
        pc = func.entry
        try:
            for end, value in ranges:
                depth = 0
                while value >= 0 and depth < 64:  # up to the node whose parent is the function itself
                    parent = node_at(func.entry + entry(value)[1])
                    if parent < 0:
                        break
                    value, depth = parent, depth + 1
                if 0 <= value < 100_000 and value not in seen:
                    seen.add(value)
                    out.append((self._name(entry(value)[0]), pc))
                pc = end
        except XrayError:
            return []
        return out


def find_pclntab(image: Image) -> PclnTab | None:
    """Find and open the table; None when the file has none. Raises `XrayError` for a table that is corrupt or too
    old.
    """
    named = image.section(".gopclntab", "__gopclntab", ".data.rel.ro.gopclntab")
    if named is not None and named.file_size >= 72:
        got = _try(image, named.address, strict=True)
        if got is not None:
            return got
    tried = 0
    for magic in (0xFFFFFFF1, 0xFFFFFFF0):
        needle = struct.pack("<IBB", magic, 0, 0)
        for seg in image.segments:
            at = image.data.find(needle, seg.offset, seg.offset + seg.file_size)
            while at >= 0 and tried < 64:
                address = seg.address + at - seg.offset
                if address % 8 == 0:
                    tried += 1
                    got = _try(image, address, strict=False)
                    if got is not None:
                        return got
                at = image.data.find(needle, at + 1, seg.offset + seg.file_size)
    return None


def _try(image: Image, address: int, strict: bool) -> PclnTab | None:
    try:
        head = image.read(address, 72)
    except XrayError:
        return None
    magic, pad, minlc, ptrsize = struct.unpack_from("<IHBB", head)
    if magic in _OLD_MAGICS and strict:
        raise XrayError(f"{image.path}: built by Go {_OLD_MAGICS[magic]}: gort xray reads Go 1.18 and newer")
    if magic not in _MAGICS or pad or minlc not in (1, 4) or ptrsize != 8:
        if strict:
            raise XrayError(
                f"{image.path}: its pclntab has an unknown magic {magic:#x}: corrupt, obfuscated or too new"
            )
        return None
    try:
        module = _moduledata(image, address, head)
        if module is None:
            if strict:
                raise XrayError(
                    f"{image.path}: nothing points at its pclntab (no runtime.moduledata): the file is corrupt"
                )
            return None
        return PclnTab(image, address, module, _MAGICS[magic])
    except XrayError:
        if strict:
            raise
        return None


def _moduledata(image: Image, table: int, head: bytes) -> ModuleData | None:
    """Find the structure whose first word is the table's address and whose second is its list of names."""
    (nfunc,) = struct.unpack_from("<Q", head, 8)
    (name_off,) = struct.unpack_from("<Q", head, 32)
    for address in _candidates(image, table):
        try:
            if image.u64(address) != table or image.u64(address + 8) != (table + name_off) & (2**64 - 1):
                continue
            w = [image.u64(address + 8 * i) for i in range(45)]
        except XrayError:
            continue
        if w[17] not in (nfunc, nfunc + 1) or not w[22] <= w[20] < w[21] <= w[23]:
            continue
        text = image.segment_at(w[22])
        if text is None or "x" not in text.perms:
            continue
        names = ("noptrdata", "data", "bss", "noptrbss")
        spans = {n: (w[24 + 2 * i], w[25 + 2 * i]) for i, n in enumerate(names)}
        return ModuleData(address, w[22], w[23], spans, _gofunc(image, table, w))
    return None


def _candidates(image: Image, table: int) -> Iterator[int]:
    """Where moduledata may be. The likely places first: the search through the data touches every page of it."""
    section = image.section(".go.module", "__go_module")
    if section is not None:
        yield section.address
    if image.find_relocated is not None:
        yield from image.find_relocated(table)
    needle = struct.pack("<Q", table)
    found = 0
    for seg in sorted(image.segments, key=lambda s: "w" not in s.perms):
        if "x" in seg.perms:
            continue
        at = image.data.find(needle, seg.offset, seg.offset + seg.file_size)
        while at >= 0 and found < 256:
            if (at - seg.offset) % 8 == 0:
                found += 1
                yield seg.address + at - seg.offset
            at = image.data.find(needle, at + 1, seg.offset + seg.file_size)


def _gofunc(image: Image, table: int, words: list[int]) -> int:
    """Where the functions' own data begins: since Go 1.27 inside the pclntab, three words later in moduledata."""
    if table < words[43] <= words[44]:
        return words[43]
    return words[40] if image.segment_at(words[40]) else 0
