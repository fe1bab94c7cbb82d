"""Types and variables as the file's DWARF describes them: for values that somebody wants printed.

Follows cmd/internal/dwarf and cmd/link/internal/ld/dwarf.go. Go gives each type's entry the number of its kind
(DW_AT_go_kind, reflect's numbers). A variable's address is taken from the symbol table, which has the load address in it;
its type is taken from DWARF. What dwarf.py reads (four structures, quickly) is read there.

Invariants: a type refers to its parts by offsets in .debug_info; they are decoded when they are asked for. So a type that
contains a pointer to itself costs nothing, and a hostile one is followed only as far as somebody looks.
"""

from __future__ import annotations

from gort.xray.errors import XrayError
from gort.xray.file.dwarf import Dwarf, Entry, location
from gort.xray.record import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Kind = Literal[
        "bool", "int", "uint", "float", "complex", "pointer", "string", "slice", "array", "struct", "func", "map",
        "chan", "interface", "unknown",
    ]  # fmt: skip

_TAG_ARRAY, _TAG_MEMBER, _TAG_POINTER, _TAG_STRUCT, _TAG_SUBROUTINE, _TAG_TYPEDEF = 0x01, 0x0D, 0x0F, 0x13, 0x15, 0x16
_TAG_PARAMETER, _TAG_BASE, _TAG_SUBPROGRAM, _TAG_VARIABLE = 0x05, 0x24, 0x2E, 0x34
_AT_RESULT = 0x4B
"""DW_AT_variable_parameter, which Go sets on results."""
_AT_NAME, _AT_BYTE_SIZE, _AT_COUNT, _AT_LOCATION, _AT_ENCODING, _AT_TYPE = 0x03, 0x0B, 0x37, 0x38, 0x3E, 0x49
_AT_GO_KIND = 0x2900
_KIND_MASK = 31
_GO_KINDS: dict[int, Kind] = {
    1: "bool", **dict.fromkeys(range(2, 7), "int"), **dict.fromkeys(range(7, 13), "uint"), 13: "float", 14: "float",
    15: "complex", 16: "complex", 17: "array", 18: "chan", 19: "func", 20: "interface", 21: "map", 22: "pointer",
    23: "slice", 24: "string", 25: "struct", 26: "pointer",
}  # fmt: skip
"""reflect.Kind -> kind."""
_OF_TAG: dict[int, Kind] = {
    _TAG_ARRAY: "array",
    _TAG_POINTER: "pointer",
    _TAG_STRUCT: "struct",
    _TAG_SUBROUTINE: "func",
}
_ENCODINGS: dict[int, Kind] = {2: "bool", 3: "complex", 4: "float", 5: "int", 6: "int", 7: "uint", 8: "uint"}
"""DW_ATE_… of a base type, for C's types, which have no Go kind."""
_MAX_TYPEDEFS = 16


@frozen
class Type:
    """A type: its name, its kind, its size in bytes, and where its description is."""

    name: str
    kind: Kind
    size: int
    at: int = -1
    """Offset of its entry, behind typedefs; -1 for one that is in no file."""


UINT64 = Type("uint64", "uint", 8)
UNKNOWN = Type("?", "unknown", 8)


@frozen
class Field:
    """A field of a structure."""

    name: str
    offset: int
    type: Type


class Types:
    """The types of one file. Raises `XrayError` when it has no DWARF."""

    def __init__(self, dwarf: Dwarf) -> None:
        self._dwarf = dwarf
        self._made: dict[int, Type] = {}

    def of_variable(self, name: str) -> Type | None:
        """Returns the type of a variable in a package, None when the DWARF does not describe it."""
        entry = self._dwarf.find(name, _TAG_VARIABLE)
        return None if entry is None else self._referred(entry)

    def parameters(self, function: str) -> list[tuple[str, Type]]:
        """Returns name and type of each parameter of a function, without its results; none where it is not described."""
        entry = self._dwarf.find(function, _TAG_SUBPROGRAM)
        out = []
        for child in self._dwarf.children(entry) if entry is not None else ():
            name = child.attributes.get(_AT_NAME)
            if child.tag == _TAG_PARAMETER and isinstance(name, bytes) and not child.attributes.get(_AT_RESULT):
                out.append((name.decode("utf-8", "replace"), self._referred(child)))
        return out

    def named(self, name: str) -> Type | None:
        """Returns the type of that name, as runtime.g."""
        for tag in (_TAG_STRUCT, _TAG_TYPEDEF, _TAG_BASE):
            at = self._dwarf.find_at(name, tag)
            if at is not None:
                return self._type(at)
        return None

    def fields(self, of: Type) -> list[Field]:
        """Returns the fields of a structure; a string's, slice's or interface's words are fields as well."""
        entry = self._entry(of)
        out = []
        for child in self._dwarf.children(entry) if entry is not None else ():
            name = child.attributes.get(_AT_NAME)
            if child.tag == _TAG_MEMBER and isinstance(name, bytes):
                out.append(Field(name.decode("utf-8", "replace"), _offset(child), self._referred(child)))
        return out

    def element(self, of: Type) -> Type:
        """Returns what a pointer points at, or what an array or a slice is made of."""
        entry = self._entry(of)
        if entry is None:
            return UNKNOWN
        if of.kind == "slice":
            array = next((f.type for f in self.fields(of) if f.name == "array"), UNKNOWN)
            return self.element(array) if array.kind == "pointer" else UNKNOWN
        return self._referred(entry)

    def length(self, of: Type) -> int:
        """Returns the number of an array's elements."""
        size = self.element(of).size
        return of.size // size if size else 0

    def _entry(self, of: Type) -> Entry | None:
        return self._dwarf.entry(of.at) if of.at >= 0 else None

    def _referred(self, entry: Entry) -> Type:
        ref = entry.attributes.get(_AT_TYPE)
        return self._type(ref) if isinstance(ref, int) else UNKNOWN

    def _type(self, at: int) -> Type:
        got = self._made.get(at)
        if got is None:
            got = self._made[at] = self._decode(at)
        return got

    def _decode(self, at: int) -> Type:
        name, kind = "", None
        for _ in range(_MAX_TYPEDEFS):
            entry = self._dwarf.entry(at)
            if entry is None:
                break
            raw = entry.attributes.get(_AT_NAME)
            if not name and isinstance(raw, bytes):
                name = raw.decode("utf-8", "replace")
            number = entry.attributes.get(_AT_GO_KIND)
            if kind is None and isinstance(number, int):
                kind = _GO_KINDS.get(number & _KIND_MASK)
            if entry.tag != _TAG_TYPEDEF:
                if kind is None:
                    encoding = entry.attributes.get(_AT_ENCODING)
                    kind = _OF_TAG.get(entry.tag) or _ENCODINGS.get(encoding if isinstance(encoding, int) else 0)
                return Type(name or "?", kind or "unknown", self._dwarf.size(entry), at)
            ref = entry.attributes.get(_AT_TYPE)
            if not isinstance(ref, int):
                break
            at = ref
        return UNKNOWN


def _offset(member: Entry) -> int:
    where = member.attributes.get(_AT_LOCATION)
    return where if isinstance(where, int) else location(where)


def corrupt(path: str, exc: Exception) -> XrayError:
    """Returns the error for DWARF that breaks off or refers to nothing."""
    return XrayError(f"{path}: its DWARF cannot be read ({type(exc).__name__}: {exc})")


BROKEN = (IndexError, KeyError, ValueError)
"""Raised by `Types` where the DWARF is corrupt."""
