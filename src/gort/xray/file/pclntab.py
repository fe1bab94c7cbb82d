"""Go's own table of functions: names, addresses, source lines, inlined calls. Stripped files have it too.

Follows runtime/symtab.go, internal/abi/symtab.go and cmd/link/internal/ld/pcln.go, for Go 1.15 to 1.27. Where things
lie in which release is in pclnshape.py. Go 1.27 no longer stores the start of the text in the table; it is taken from the
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
from gort.xray.file.image import PC_B_BITS, Image
from gort.xray.file.pclnshape import SHAPES, Shape
from gort.xray.record import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_FUNCS = 4_000_000
_MAX_NAME = 8192
_MAX_CACHED = 200_000
_MAX_INLINED = 100_000
_MAX_INLINE_DEPTH = 64
_HEADER_SIZE = 72
_PCDATA_INLTREE = 2
_FLAG_ASSEMBLY = 4
"""abi.FuncFlagAsm."""
_NO_FUNCDATA = 0xFFFFFFFF
_CODES = {8: "Q", 4: "I"}
"""Bytes of a word -> struct's code of it."""

_MD_PCLNTAB_GOFUNC, _MD_PCLNTAB_END = 43, 44
"""Words of runtime.moduledata since Go 1.27."""
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
    types: int = 0
    """The bounds of the type descriptors, and the bytes of those that follow each other at the beginning (Go 1.27)."""
    etypes: int = 0
    typedesc: int = 0


class PclnTab:
    """The table of one image. Raises `XrayError` for a table whose counts or offsets cannot be."""

    def __init__(self, image: Image, address: int, module: ModuleData, shape: Shape) -> None:
        self.address: int = address
        self.module: ModuleData = module
        self.shape: Shape = shape
        self._image = image
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
        word = image.word
        code = _CODES[word]
        (n,) = struct.unpack_from(f"<{code}", v, 8)
        if shape.parts is not None:
            (nfiles,) = struct.unpack_from(f"<{code}", v, 8 + word)
            names, cus, files, pctab, funcs = struct.unpack_from(f"<5{code}", v, shape.parts)
            ftab_at, names_end = funcs, cus
            for where in (names, cus, files, pctab, funcs):
                if where >= self._limit:
                    raise XrayError(f"{image.path}: the pclntab points beyond itself: corrupt")
        else:
            names = cus = files = pctab = funcs = nfiles = 0
            ftab_at, names_end = 8 + word, self._limit
        width = word if shape.pointers else 4
        end = ftab_at + (2 * n + 1) * width
        if n == 0 or n > _MAX_FUNCS or end + 4 > self._limit:
            raise XrayError(f"{image.path}: the pclntab announces {n} functions: corrupt")
        if shape.parts is None:
            (files,) = struct.unpack_from("<I", v, end)
            if files + 4 > self._limit:
                raise XrayError(f"{image.path}: the pclntab points beyond itself: corrupt")
            (nfiles,) = struct.unpack_from("<I", v, files)
        self.nfuncs: int = n
        self.nfiles: int = nfiles
        self._names, self._names_end, self._pctab, self._funcs = names, max(names, names_end), pctab, funcs
        self._cus, self._files = cus, files
        ftab = array(code if shape.pointers else "I")
        ftab.frombytes(image.read_loaded(address + ftab_at, end - ftab_at) if shape.pointers else v[ftab_at:end])
        self._base = 0 if shape.pointers else module.text
        """The address from which the functions' addresses count."""
        self._entries = ftab[0::2]
        if image.code_of is not None and self._entries[1] - self._entries[0] < 1 << PC_B_BITS:
            self._entries = array(
                "Q", (number << PC_B_BITS for number in self._entries)
            )  # it has the functions' numbers
        self._offsets = ftab[1::2]
        self._end = self._entries[n]
        """The end of the last function."""
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
        if at + self.shape.record > self._limit:
            raise XrayError(f"{self._image.path}: function {i} of the pclntab lies beyond it: corrupt")
        name_off = struct.unpack_from("<i", self._view, at + self.shape.name)[0]
        base = self._base
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
        rel = pc - self._base
        if not self._entries[0] <= rel < self._end:
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
            base, name = self._funcs, self.shape.name
            index: dict[int, list[int]] = {}
            top = len(words)
            for i, off in enumerate(self._offsets[: self.nfuncs]):
                w = (base + off + name) >> 2
                if w < top:
                    index.setdefault(words[w], []).append(i)
            self._name_index = index
        return self._name_index

    def _find(self, name: str) -> list[int]:
        index = self._by_offset()
        wanted = name.encode() + b"\0"
        data = self._image.data
        start = (self._image.file_offset(self.address) or 0) + self._names
        end = start + self._names_end - self._names
        at = data.find(wanted, start, end)
        while at >= 0:
            found = index.get(at - start)  # none where the name is the end of a longer one
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

    def frame_size(self, pc: int) -> int | None:
        """Returns how far the stack pointer is below the return address at `pc`; None where there is no function."""
        func = self.at(pc)
        if func is None:
            return None
        (table,) = struct.unpack_from("<I", self._view, func.offset + self.shape.pcfile - 4)
        return self._value(func, table, pc) if table else None

    def is_assembly(self, func: Func) -> bool:
        """True for a function that was written in assembly. Known since Go 1.18, False before."""
        if self.shape.pointers:
            return False
        return bool(self._view[func.offset + self.shape.record - 3] & _FLAG_ASSEMBLY)

    def is_inlined(self, pc: int) -> bool:
        """True where the code at `pc` belongs to a function that the compiler inlined."""
        func = self.at(pc)
        if func is None:
            return False
        (npcdata,) = struct.unpack_from("<I", self._view, func.offset + self.shape.npcdata)
        at = func.offset + self.shape.record + 4 * _PCDATA_INLTREE
        if not _PCDATA_INLTREE < npcdata <= 64 or at + 4 > self._limit:
            return False
        (table,) = struct.unpack_from("<I", self._view, at)
        return bool(table) and self._value(func, table, pc) >= 0

    def line_addresses(self, file: str, line: int) -> tuple[list[int], int, bool]:
        """Returns where the code of a source line begins in each function that has some, copies by inlining among them.

        The second value is the next line of that file that has code, 0 for none; the third is False where no code comes
        from a file of that name. The name may leave out the path's beginning.
        """
        found: list[int] = []
        matches: dict[tuple[int, int], bool] = {}
        behind, known = 0, False
        for i in range(self.nfuncs):
            func = self._func(i)
            pcfile, pcln = struct.unpack_from("<II", self._view, func.offset + self.shape.pcfile)
            unit = struct.unpack_from("<I", self._view, func.offset + self.shape.unit)[0] if self.shape.parts else 0
            start = func.entry
            ranges: list[tuple[int, int]] = []
            for end, number in self._table(func, pcfile) if pcfile else ():
                same = matches.get((unit, number))
                if same is None:
                    name = self._file(unit, number)
                    same = matches[unit, number] = name == file or name.endswith("/" + file)
                if same:
                    ranges.append((start, end))
                start = end
            if not ranges:
                continue
            known = True
            start = func.entry
            for end, value in self._table(func, pcln):
                first = next((max(start, a) for a, b in ranges if a < end and start < b), None)
                if first is not None and value == line and (not found or found[-1] < func.entry):
                    found.append(first)
                elif first is not None and value > line:
                    behind = min(behind or value, value)
                start = end
        return found, behind, known

    def _file(self, unit: int, number: int) -> str:
        """Returns the name of a source file by its number in a compilation unit; empty where there is none."""
        if number < 0:
            return ""
        at = self._files + 4 * number if self.shape.parts is None else self._cus + 4 * (unit + number)
        if at + 4 > self._limit:
            return ""
        start = (0 if self.shape.parts is None else self._files) + struct.unpack_from("<I", self._view, at)[0]
        if start >= self._limit:
            return ""
        raw = bytes(self._view[start : min(start + 4096, self._limit)])
        return raw.partition(b"\0")[0].decode("utf-8", "replace")

    def line(self, pc: int) -> tuple[str, int]:
        """Returns source file and line at `pc`, of the inlined function where the code was inlined; "" and 0 without."""
        func = self.at(pc)
        if func is None:
            return "", 0
        pcfile, pcln = struct.unpack_from("<II", self._view, func.offset + self.shape.pcfile)
        line = self._value(func, pcln, pc)
        number = self._value(func, pcfile, pc)
        if number < 0 or line < 0:
            return "", max(line, 0)
        unit = 0 if self.shape.parts is None else struct.unpack_from("<I", self._view, func.offset + self.shape.unit)[0]
        return self._file(unit, number), line

    def _own_data(self, at: int, number: int) -> int:
        """Returns the address of a function's own data of that number, 0 for none. The list of them begins at `at`."""
        if self.shape.pointers:
            try:
                word = self._image.word
                return self._image.pointer(-(-(self.address + at) // word) * word + word * number)
            except XrayError:
                return 0
        (offset,) = struct.unpack_from("<I", self._view, at + 4 * number)
        return 0 if offset == _NO_FUNCDATA or not self.module.gofunc else self.module.gofunc + offset

    def inlined(self, func: Func) -> list[tuple[str, int]]:
        """Returns the functions that the compiler inlined directly into `func`: (name, address of the first code)."""
        shape = self.shape
        (npcdata,) = struct.unpack_from("<I", self._view, func.offset + shape.npcdata)
        nfuncdata = self._view[func.offset + shape.record - 1]
        tail = func.offset + shape.record
        if npcdata > 64 or nfuncdata <= shape.inline_tree or npcdata <= _PCDATA_INLTREE:
            return []
        if tail + 8 + 4 * npcdata + 8 * nfuncdata > self._limit:
            return []
        (table_off,) = struct.unpack_from("<I", self._view, tail + 4 * _PCDATA_INLTREE)
        tree = self._own_data(tail + 4 * npcdata, shape.inline_tree)
        if not table_off or not tree:
            return []
        ranges = self._table(func, table_off)
        node_size, name_at = shape.node, shape.node_name
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

    Raises `XrayError` for a table that is corrupt.
    """
    named = image.section(".gopclntab", "__gopclntab", ".data.rel.ro.gopclntab")
    if named is not None and named.file_size >= _HEADER_SIZE:
        got = _try(image, named.address, strict=True)
        if got is not None:
            return got
    tried = 0
    for magic in SHAPES:
        needle = struct.pack("<IBB", magic, 0, 0)
        for seg in image.segments:
            at = image.data.find(needle, seg.offset, seg.offset + seg.file_size)
            while at >= 0 and tried < 64:
                address = seg.address + at - seg.offset
                if address % image.word == 0:
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
    if magic not in SHAPES or pad or minlc not in (1, 2, 4) or ptrsize != image.word:
        if strict:
            raise XrayError(
                f"{image.path}: its pclntab has an unknown magic {magic:#x}: corrupt, obfuscated or too new"
            )
        return None
    shape = SHAPES[magic].with_word(ptrsize)
    try:
        module = _moduledata(image, address, head, shape)
        if module is None:
            if strict:
                raise XrayError(
                    f"{image.path}: nothing points at its pclntab (no runtime.moduledata): the file is corrupt"
                )
            return None
        return PclnTab(image, address, module, shape)
    except XrayError:
        if strict:
            raise
        return None


def _moduledata(image: Image, table: int, head: bytes, shape: Shape) -> ModuleData | None:
    """Find the structure that points at the table, at its list of functions or names, and at the text."""
    word = image.word
    code = _CODES[word]
    (nfunc,) = struct.unpack_from(f"<{code}", head, 8)
    if shape.parts is None:  # the whole table as a slice, then the list of functions
        words = {0: table, 3: table + 8 + word}
    else:
        words = {0: table, 1: (table + struct.unpack_from(f"<{code}", head, shape.parts)[0]) & (1 << 8 * word) - 1}
    for address in _candidates(image, table):
        try:
            if any(image.pointer(address + word * i) != value for i, value in words.items()):
                continue
            w = [image.pointer(address + word * i) for i in range(_MD_WORDS)]
        except XrayError:
            continue  # it would not fit its segment
        minpc, maxpc, start, end = w[shape.module_minpc : shape.module_minpc + 4]
        if image.code_of is not None:  # WebAssembly: text and etext say where its code lies in the file
            start, end = start if start == minpc else 0, maxpc
        if w[shape.module_length] not in (nfunc, nfunc + 1) or not start <= minpc < maxpc <= end:
            continue
        text = image.segment_at(start)
        if image.code_of is None and (text is None or "x" not in text.perms):
            continue
        newest = shape.newest is None and table < w[_MD_PCLNTAB_GOFUNC] <= w[_MD_PCLNTAB_END]
        at = shape.module_minpc + (17 if shape.newest is None else 15)  # two words more since Go 1.20
        return ModuleData(
            address,
            start,
            end,
            _gofunc(image, table, w, shape),
            types=w[at],
            etypes=w[at + 2] if newest else w[at + 1],
            typedesc=w[at + 1] if newest else 0,
        )
    return None


def _candidates(image: Image, table: int) -> Iterator[int]:
    """Yields where moduledata may be, the likely places first: the search through the data touches each of its pages."""
    section = image.section(".go.module", "__go_module")
    if section is not None:
        yield section.address
    if image.find_relocated is not None:
        yield from image.find_relocated(table)
    needle = struct.pack(f"<{_CODES[image.word]}", table)
    found = 0
    for seg in sorted(image.segments, key=lambda s: "w" not in s.perms):
        if "x" in seg.perms:
            continue
        at = image.data.find(needle, seg.offset, seg.offset + seg.file_size)
        while at >= 0 and found < 256:
            if (at - seg.offset) % image.word == 0:
                found += 1
                yield seg.address + at - seg.offset
            at = image.data.find(needle, at + 1, seg.offset + seg.file_size)


def _gofunc(image: Image, table: int, words: list[int], shape: Shape) -> int:
    """Returns where the functions' own data begins. Since Go 1.27 it is inside the pclntab, and the word moved."""
    if shape.module_gofunc is None:
        return 0
    if shape.newest is None and table < words[_MD_PCLNTAB_GOFUNC] <= words[_MD_PCLNTAB_END]:
        return words[_MD_PCLNTAB_GOFUNC]
    found = words[shape.module_gofunc]
    return found if image.segment_at(found) else 0
