"""Go's own table of functions: names, addresses, source lines, inlined calls. Stripped files have it too.

Follows runtime/symtab.go, internal/abi/symtab.go and cmd/link/internal/ld/pcln.go, for the layouts of Go 1.18 to 1.27
(magic 0xfffffff0 and 0xfffffff1). Go 1.27 no longer stores the start of the text in the table; it is taken from the
moduledata structure that points at the table.

Invariants: every offset is checked against the table's length before it is used. The functions' addresses must rise.
Nothing is decoded before it is asked for, so a table of 100 MB costs only its list of addresses.

Rejected: trusting the section's name alone. Files without section headers have no names, and Windows files have no
section for the table. They are searched for the magic, and each candidate must check out.
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
_MAX_CACHED = 200_000
_MAX_INLINED = 100_000
_MAX_INLINE_DEPTH = 64
_HEADER_SIZE = 72
_FUNC_SIZE = {18: 40, 20: 44}
"""Layout -> bytes of a function's record (runtime._func) before its tables."""
_NAME, _PCFILE, _NPCDATA, _CU = 4, 20, 28, 32
"""Offsets of fields in the record; the line table's offset follows that of the files."""
_PCDATA_INLTREE = 2
_FUNCDATA_INLTREE = 3
_NO_FUNCDATA = 0xFFFFFFFF
_INLINED_SIZE = {18: 20, 20: 16}
"""Layout -> bytes of a node of the inline tree."""
_INLINED_NAME = {18: 12, 20: 4}
"""Layout -> offset of the name in a node; the parent's pc follows it."""

_MD_FTAB_LEN, _MD_MINPC, _MD_MAXPC, _MD_TEXT, _MD_ETEXT = 17, 20, 21, 22, 23
"""Words of runtime.moduledata that are the same from Go 1.18 on."""
_MD_GOFUNC, _MD_PCLNTAB_GOFUNC, _MD_PCLNTAB_END = 40, 43, 44
_MD_WORDS = 45


class Func:
    """A function: its name and range of addresses."""

    __slots__ = ("end", "entry", "name", "offset")

    def __init__(self, name: str, entry: int, end: int, offset: int) -> None:
        self.name: str = name
        self.entry: int = entry
        self.end: int = end
        """The address behind it."""
        self.offset: int = offset
        """Offset of its record in the table."""


@frozen
class ModuleData:
    """The part of runtime.moduledata that is needed: where the code is, and where the functions' own data begins."""

    address: int
    text: int
    etext: int
    gofunc: int


class PclnTab:
    """The table of one image. `layout` is the Go release (1.N) that brought its layout: 18 or 20.

    Raises `XrayError` for a table whose counts or offsets cannot be.
    """

    def __init__(self, image: Image, address: int, module: ModuleData, layout: int) -> None:
        self.address: int = address
        self.module: ModuleData = module
        self._image = image
        self._layout = layout
        offset = image.file_offset(address)
        seg = image.segment_at(address)
        assert offset is not None
        assert seg is not None
        self._limit = seg.file_size - (address - seg.address)
        whole = memoryview(image.data)
        self._view = whole[offset : offset + self._limit]
        image.views += [self._view, whole]
        v = self._view
        self._quantum = v[6]
        n, nfiles, _, names, cus, files, pctab, funcs = struct.unpack_from("<8Q", v, 8)
        for where in (names, cus, files, pctab, funcs):
            if where >= self._limit:
                raise XrayError(f"{image.path}: the pclntab points beyond itself: corrupt")
        if n == 0 or n > _MAX_FUNCS or funcs + 8 * n + 4 > self._limit:
            raise XrayError(f"{image.path}: the pclntab announces {n} functions: corrupt")
        self.nfuncs: int = n
        self.nfiles: int = nfiles
        self._names, self._cus, self._files, self._pctab, self._funcs = names, cus, files, pctab, funcs
        ftab = array("I")
        ftab.frombytes(v[funcs : funcs + 8 * n + 4])
        self._entries = ftab[0::2]
        self._offsets = ftab[1::2]
        self._end = self._entries[n]
        """The end of the last function, counted from the start of the text."""
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
        if at + _FUNC_SIZE[self._layout] > self._limit:
            raise XrayError(f"{self._image.path}: function {i} of the pclntab lies beyond it: corrupt")
        name_off = struct.unpack_from("<i", self._view, at + _NAME)[0]
        base = self.module.text
        func = Func(self._name(name_off), base + self._entries[i], base + self._entries[i + 1], at)
        if len(self._cache) < _MAX_CACHED:
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
        """Returns the functions of that name: two where an assembly function has an ABI wrapper."""
        found = self._by_name.get(name)
        if found is None:
            found = self._by_name[name] = self._find(name)
        return [self._func(i) for i in found]

    def _by_offset(self) -> dict[int, list[int]]:
        """Returns name offset -> numbers of the functions that have this name."""
        if self._name_index is None:
            # One pass over all records for their name offsets: 0.1 s for 200,000 functions. It makes no strings.
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
        data = self._image.data
        start = (self._image.file_offset(self.address) or 0) + self._names
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
        raw, index, data = prefix.encode(), self._by_offset(), self._image.data
        start = (self._image.file_offset(self.address) or 0) + self._names
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
        """Returns a pc-value table as (end of range, value), up to the range that holds `stop`.

        The table is a list of variable-length differences of value and pc; a zero ends it.
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
            pc += step * self._quantum
            out.append((pc, value))
            if pc >= func.end or (stop is not None and stop < pc):
                break
        return out

    def _value(self, func: Func, off: int, pc: int) -> int:
        """Returns the value that a pc-value table has at `pc`, -1 where it has none."""
        if off == 0:
            return -1
        found = self._table(func, off, stop=pc)
        return found[-1][1] if found and pc < found[-1][0] else -1

    def line(self, pc: int) -> tuple[str, int]:
        """Returns source file and line at `pc`, of the inlined function where the code was inlined; "" and 0 without."""
        func = self.at(pc)
        if func is None:
            return "", 0
        pcfile, pcln = struct.unpack_from("<II", self._view, func.offset + _PCFILE)
        line = self._value(func, pcln, pc)
        number = self._value(func, pcfile, pc)
        cu = struct.unpack_from("<I", self._view, func.offset + _CU)[0]
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
        """Returns the functions that the compiler inlined directly into `func`: (name, address of the first code)."""
        size = _FUNC_SIZE[self._layout]
        npcdata = struct.unpack_from("<I", self._view, func.offset + _NPCDATA)[0]
        nfuncdata = self._view[func.offset + size - 1]
        tail = func.offset + size
        if npcdata > 64 or nfuncdata <= _FUNCDATA_INLTREE or npcdata <= _PCDATA_INLTREE or not self.module.gofunc:
            return []
        if tail + 4 * (npcdata + nfuncdata) > self._limit:
            return []
        table_off = struct.unpack_from("<I", self._view, tail + 4 * _PCDATA_INLTREE)[0]
        tree_off = struct.unpack_from("<I", self._view, tail + 4 * (npcdata + _FUNCDATA_INLTREE))[0]
        if not table_off or tree_off == _NO_FUNCDATA:
            return []
        ranges = self._table(func, table_off)
        tree = self.module.gofunc + tree_off
        node_size, name_at = _INLINED_SIZE[self._layout], _INLINED_NAME[self._layout]
        ends = [end for end, _ in ranges]

        def node(i: int) -> tuple[int, int]:
            """Returns (name offset, parent's pc offset) of node i of the inline tree."""
            raw = self._image.read(tree + node_size * i, node_size)
            name, parent = struct.unpack_from("<ii", raw, name_at)
            return name, parent

        def outermost(i: int) -> int:
            """Returns the node whose parent is the function itself, above node i."""
            for _ in range(_MAX_INLINE_DEPTH):
                at = bisect_right(ends, func.entry + node(i)[1])
                parent = ranges[at][1] if at < len(ranges) else -1
                if parent < 0:
                    break
                i = parent
            return i

        out: list[tuple[str, int]] = []
        seen: set[int] = set()
        pc = func.entry
        try:
            for end, value in ranges:
                if value >= 0 and value not in seen:  # a negative one: this code was not inlined
                    top = outermost(value)
                    if top < _MAX_INLINED and top not in seen:
                        out.append((self._name(node(top)[0]), pc))
                    seen |= {value, top}
                pc = end
        except XrayError:
            return []  # the tree lies outside of the segments: a corrupt file has no inlined calls
        return out


def find_pclntab(image: Image) -> PclnTab | None:
    """Find and open the table. Returns None when the file has none.

    Raises `XrayError` for a table that is corrupt, or of a Go release before 1.18.
    """
    named = image.section(".gopclntab", "__gopclntab", ".data.rel.ro.gopclntab")
    if named is not None and named.file_size >= _HEADER_SIZE:
        got = _try(image, named.address, strict=True)
        if got is not None:
            return got
    tried = 0
    for magic in reversed(_MAGICS):
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
    """Open the table at `address`. What is no table is None, or an `XrayError` when `strict`."""
    try:
        head = image.read(address, _HEADER_SIZE)
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
            w = [image.u64(address + 8 * i) for i in range(_MD_WORDS)]
        except XrayError:
            continue  # it would not fit its segment
        start, end = w[_MD_TEXT], w[_MD_ETEXT]
        if w[_MD_FTAB_LEN] not in (nfunc, nfunc + 1) or not start <= w[_MD_MINPC] < w[_MD_MAXPC] <= end:
            continue
        text = image.segment_at(start)
        if text is None or "x" not in text.perms:
            continue
        return ModuleData(address, start, end, _gofunc(image, table, w))
    return None


def _candidates(image: Image, table: int) -> Iterator[int]:
    """Yields where moduledata may be, the likely places first: the search through the data touches each of its pages."""
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
    """Returns where the functions' own data begins. Since Go 1.27 it is inside the pclntab, and the word moved."""
    if table < words[_MD_PCLNTAB_GOFUNC] <= words[_MD_PCLNTAB_END]:
        return words[_MD_PCLNTAB_GOFUNC]
    return words[_MD_GOFUNC] if image.segment_at(words[_MD_GOFUNC]) else 0
