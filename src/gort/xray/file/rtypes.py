"""The types that a program carries with it: its type descriptors (runtime._type), which reflection and interfaces need.

Follows internal/abi/type.go and reflect/type.go. The descriptors lie between two addresses of moduledata; a stripped
file has them as well. Since Go 1.27 most follow each other there, and are read in their order. Before, names and other
data lie between them. So what code and data refer to is tried, and what a descriptor that was found refers to.

Invariants: a descriptor counts only where all its parts agree: kind, size, alignment, name. Everything is read through
the image, which checks addresses; at most `_MAX_TYPES` are read.

Rejected: the list of types (typelinks) of Go 1.26 and older. It has only the types without a name.
"""

from __future__ import annotations

import itertools
import re
import struct
from array import array

from gort.xray.errors import XrayError
from gort.xray.file.image import Image
from gort.xray.file.symbols import Symbols
from gort.xray.record import field, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_TYPES = 1_000_000
_MAX_NAME = 1 << 14
_MAX_FIELDS = 4096
_LARGEST = 1 << 40
_KINDS = (
    *("", "bool", "int", "int8", "int16", "int32", "int64", "uint", "uint8", "uint16", "uint32", "uint64", "uintptr"),
    *("float32", "float64", "complex64", "complex128", "array", "chan", "func", "interface", "map", "ptr", "slice"),
    *("string", "struct", "unsafe.Pointer"),
)
"""reflect's names of the kinds, by their numbers."""
_KIND_MASK = 0x1F
_BYTES = ("bool int8 uint8", "int16 uint16", "int32 uint32 float32", "int64 uint64 float64 complex64", "complex128")
_SIZES = {kind: 1 << i for i, kinds in enumerate(_BYTES) for kind in kinds.split()}
_IN_WORDS = ("int uint uintptr chan func map ptr unsafe.Pointer", "interface string", "slice")
_WORDS = {kind: i + 1 for i, kinds in enumerate(_IN_WORDS) for kind in kinds.split()}
"""Kind -> size in words."""
_BEGINNINGS = {
    "array": ("[",),
    "chan": ("chan ", "<-chan ", "chan<- ", "chan("),
    "func": ("func(",),
    "interface": ("interface {", "any"),
    "map": ("map[",),
    "ptr": ("*",),
    "slice": ("[]",),
    "struct": ("struct {", "map.", "noalg."),
}
"""How the text of a type without a name begins. `map.` and `noalg.map.` are the structures that maps are made of."""
_UNCOMMON, _EXTRA_STAR, _NAMED, _FLAGS = 1, 2, 4, 0x3F
_UNCOMMON_SIZE, _METHOD_SIZE = 16, 16
_FUNC_SIZE = 8
_VARIADIC = 1 << 15
_LEA = rb"[\x48\x4c]\x8d[\x05\x0d\x15\x1d\x25\x2d\x35\x3d]"
_WALKED_SINCE = 27


@record
class RType:
    """A type of the program."""

    address: int
    name: str
    """As reflection has it: http.Header, map[string]int."""
    kind: str
    size: int
    align: int
    package: str = ""
    """The path of its package, where it has a name."""
    element: int = 0
    """The address of what a pointer, slice, array, chan or map holds."""
    fields: list[tuple[str, int, int]] = field(default_factory=list)
    """A struct's fields: name, address of the type, offset."""
    methods: list[tuple[str, int, int]] = field(default_factory=list)
    """Name, address of the type, address of the code (0 for none) of each method; an interface's have no code."""
    refers: list[int] = field(default_factory=list)
    """Addresses of other types."""
    end: int = 0
    """The address behind the descriptor."""

    @property
    def full_name(self) -> str:
        """The name with the path of the package, as net/http.Header; of a type without a name, reflection's text."""
        if not self.package or "." not in self.name or self.name.startswith(self.package + "."):
            return self.name
        return f"{self.package}.{self.name.partition('.')[2]}"


class _Reader:
    """Reads descriptors between `low` and `high`."""

    def __init__(self, symbols: Symbols, minor: int | None, low: int, high: int) -> None:
        self._symbols = symbols
        self._image = symbols.image
        self._word = symbols.image.word
        self._minor = minor if minor is not None else _WALKED_SINCE
        self._long_names = self._minor < 17
        """True where a name's length has two bytes; since Go 1.17 it is a variable-length number."""
        self.low: int = low
        self.high: int = high
        self._size = 4 * self._word + 16
        """Bytes of the part that all descriptors have."""
        self._form = struct.Struct("<QQIBBBBQQii" if self._word == 8 else "<IIIBBBBIIii")

    def _name(self, at: int) -> str | None:
        """Returns the name at an address; None where there is none."""
        image = self._image
        try:
            if self._long_names:
                count = int.from_bytes(image.read(at + 1, 2), "big")
                start = at + 3
            else:
                count, start = 0, at + 1
                for shift in (0, 7, 14):
                    byte = image.read(start, 1)[0]
                    start += 1
                    count |= (byte & 0x7F) << shift
                    if not byte & 0x80:
                        break
            return image.read(start, count).decode("utf-8") if count <= _MAX_NAME else None
        except (XrayError, UnicodeDecodeError):
            return None

    def _pointer(self, at: int) -> int:
        try:
            return self._image.pointer(at)
        except XrayError:
            return 0

    def _slice(self, at: int) -> tuple[int, int]:
        """Returns address and length of a slice, which has at most `_MAX_FIELDS` elements."""
        return self._pointer(at), min(self._pointer(at + self._word), _MAX_FIELDS)

    def read(self, at: int) -> RType | None:
        """Returns the type whose descriptor is at an address; None where it is none."""
        if not self.low <= at < self.high or at % self._word:
            return None
        try:
            raw = self._image.read(at, self._size)
        except XrayError:
            return None
        size, pointers, _, flags, align, field_align, number, _, _, name_at, to_this = self._form.unpack(raw)
        if not 0 < number & _KIND_MASK < len(_KINDS) or flags & ~_FLAGS or align not in (1, 2, 4, 8, 16):
            return None
        kind = _KINDS[number & _KIND_MASK]
        if field_align not in (1, 2, 4, 8, 16) or size > _LARGEST or pointers > size or size % align:
            return None
        wanted = _SIZES.get(kind) or _WORDS.get(kind, 0) * self._word
        if (wanted and size != wanted) or name_at <= 0 or self.low + name_at >= self.high:
            return None
        name = self._name(self.low + name_at)
        if name is None or not self._fits(name, kind, flags):
            return None
        found = RType(at, name[1:] if flags & _EXTRA_STAR else name, kind, size, align)
        if to_this > 0:
            found.refers.append(self.low + to_this)
        found.end = at + self._size
        self._rest(found)
        if flags & _UNCOMMON:
            self._uncommon(found, bool(flags & _NAMED))
        found.end += self._more
        return found

    def _fits(self, name: str, kind: str, flags: int) -> bool:
        if not name or not name.isprintable() or (flags & _EXTRA_STAR and not name.startswith("*")):
            return False
        text = name[1:] if flags & _EXTRA_STAR else name
        if flags & _NAMED:
            return bool(text) and (text[0].isalpha() or text[0] == "_")
        beginnings = _BEGINNINGS.get(kind)
        return beginnings is not None and text.startswith(beginnings)

    def _rest(self, t: RType) -> None:
        """Read what only this kind of type has."""
        word, at = self._word, t.address + self._size
        self._more = 0
        """Bytes behind the uncommon part."""
        if t.kind in ("ptr", "slice", "array", "chan"):
            t.element = self._pointer(at)
            t.refers.append(t.element)
            t.end += word * {"ptr": 1, "slice": 1, "array": 3, "chan": 2}[t.kind]
            if t.kind == "array":
                t.refers.append(self._pointer(at + word))
        elif t.kind == "map":
            t.element = self._pointer(at + word)
            t.refers += [self._pointer(at + word * i) for i in range(3)]
            words = 10 if self._minor >= 27 else 7 if self._minor >= 24 else 4
            t.end += word * words + max(word, 4 if self._minor >= 24 else 8)
        elif t.kind == "struct":
            self._fields(t, at + word)
            t.end += 4 * word
        elif t.kind == "interface":
            first, count = self._slice(at + word)
            t.end += 4 * word
            self._more = 8 * count
            for i in range(count):
                name, kind = self._offsets(first + 8 * i, 2)
                t.methods.append((self._name(self.low + name) or "?", self.low + kind, 0))
                t.refers.append(self.low + kind)
        elif t.kind == "func":
            self._func(t, at)

    def _fields(self, t: RType, at: int) -> None:
        first, count = self._slice(at)
        word = self._word
        self._more = 3 * word * count
        for i in range(count):
            place = first + 3 * word * i
            name, kind, offset = (self._pointer(place + word * j) for j in range(3))
            t.fields.append((self._name(name) or "?", kind, offset >> 1 if self._minor < 19 else offset))
            t.refers.append(kind)

    def _func(self, t: RType, at: int) -> None:
        try:
            taken, given = struct.unpack("<HH", self._image.read(at, 4))
        except XrayError:
            return
        word = self._word
        t.end += max(word, 4)
        count = taken + (given & ~_VARIADIC)
        self._more = word * count
        at = t.end + (_UNCOMMON_SIZE if self._image.read(t.address + 2 * word + 4, 1)[0] & _UNCOMMON else 0)
        t.refers += [self._pointer(at + word * i) for i in range(min(count, _MAX_FIELDS))]

    def _offsets(self, at: int, count: int) -> tuple[int, ...]:
        try:
            return struct.unpack(f"<{count}i", self._image.read(at, 4 * count))
        except XrayError:
            return (0,) * count

    def _uncommon(self, t: RType, named: bool) -> None:
        """Read the package and the methods, which lie behind what the kind has."""
        at = t.end
        t.end += _UNCOMMON_SIZE
        try:
            package, count, exported, first = struct.unpack("<iHHI", self._image.read(at, 12))
        except XrayError:
            return
        if exported > count or count > _MAX_FIELDS:
            return
        if named and package > 0:
            t.package = self._name(self.low + package) or ""
        text = self._symbols.tab.module.text
        for i in range(count):
            name, kind, _, code = self._offsets(at + first + _METHOD_SIZE * i, 4)
            entry = self._symbols.at(text + code) if code > 0 else None
            t.methods.append(
                (self._name(self.low + name) or "?", self.low + kind if kind > 0 else 0, entry.entry if entry else 0)
            )
            if kind > 0:
                t.refers.append(self.low + kind)
        self._more += _METHOD_SIZE * count


def types(symbols: Symbols, minor: int | None) -> list[RType]:
    """Returns the types of the program in the order of addresses. `minor` is the Go release (1.N) that built it."""
    module = symbols.tab.module
    if not module.types < module.etypes:
        return []
    reader = _Reader(symbols, minor, module.types, module.etypes)
    found: dict[int, RType] = {}
    if module.typedesc:
        at = module.types + symbols.image.word
        while at < module.types + module.typedesc and len(found) < _MAX_TYPES:
            at = -(-at // symbols.image.word) * symbols.image.word
            t = reader.read(at)
            if t is None:
                break
            found[at] = t
            at = t.end
    todo = [a for t in found.values() for a in t.refers] + list(_candidates(symbols.image, module.types, module.etypes))
    tried = set(found)
    while todo and len(found) < _MAX_TYPES:
        at = todo.pop()
        if at in tried:
            continue
        tried.add(at)
        t = reader.read(at)
        if t is not None:
            found[at] = t
            todo += t.refers
    return [found[at] for at in sorted(found)]


def _candidates(image: Image, low: int, high: int) -> Iterator[int]:
    """Yields the addresses in the range to which data or code refers."""
    if image.relocations is not None:
        yield from (value for _, value in image.relocations() if low <= value < high)
    for seg in image.segments:
        if "x" not in seg.perms:
            size = seg.file_size & ~7
            words = array("Q" if image.word == 8 else "I", image.data[seg.offset : seg.offset + size])
            yield from {w for w in words if low <= w < high}
            continue
        code = image.data[seg.offset : seg.offset + seg.file_size]
        if image.arch == "amd64":
            for m in re.finditer(_LEA, code[:-7], re.DOTALL):
                target = seg.address + m.start() + 7 + struct.unpack_from("<i", code, m.start() + 3)[0]
                if low <= target < high:
                    yield target
        elif image.arch == "386":
            for shift in range(4):
                part = array("I", code[shift : shift + (len(code) - shift & ~3)])
                yield from {w for w in part if low <= w < high}
        elif image.arch == "arm64":
            yield from _in_arm64(code, seg.address, low, high)
        elif image.arch == "riscv64":
            yield from _in_riscv64(code, seg.address, low, high)


def _in_arm64(code: bytes, address: int, low: int, high: int) -> Iterator[int]:
    """ADRP puts a page into a register, and the ADD behind it has the rest."""
    words = array("I", code[: len(code) & ~3])
    for i, (first, second) in enumerate(itertools.pairwise(words)):
        if first & 0x9F000000 == 0x90000000 and second & 0xFFC00000 == 0x91000000:
            page = (first >> 29 & 3) | (first >> 5 & 0x7FFFF) << 2
            page -= (page & 1 << 20) << 1
            target = (address + 4 * i & ~0xFFF) + (page << 12) + (second >> 10 & 0xFFF)
            if low <= target < high:
                yield target


def _in_riscv64(code: bytes, address: int, low: int, high: int) -> Iterator[int]:
    """AUIPC has the upper part of an address, and the ADDI behind it the rest. Instructions have two bytes or four."""
    halves = array("H", code[: len(code) & ~1])
    for i in range(len(halves) - 3):
        first, second = halves[i], halves[i + 2]
        if first & 0x7F == 0x17 and second & 0x707F == 0x13:
            upper = (first | halves[i + 1] << 16) & ~0xFFF
            lower = halves[i + 3] >> 4
            target = address + 2 * i + upper - ((upper & 1 << 31) << 1) + lower - ((lower & 1 << 11) << 1)
            if low <= target < high:
                yield target
