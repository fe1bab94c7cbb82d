"""Expressions about a program's memory, as `runtime.sched.maxmcount` or `runtime.allp[0].m`, and their values as text.

What can be written is a part of Go's own expressions, as debuggers have it:

    runtime.sched.maxmcount     a variable by its full name, and fields of it; a pointer on the way is followed
    runtime.allp[1]             an element of an array or a slice
    *runtime.m0.curg            what a pointer points at
    &runtime.g0                 an address
    runtime.g(0xc000002380)     memory at an address, read as a type
    $rsp, 0x577448, *0x577448   a register, a number, the 64-bit word at an address

Types come from the file's DWARF. Invariants: a name is looked up before the run, so a mistake costs no run; a value
is read when it is asked for, and reading changes nothing. How much of a value is shown is bounded (`_MAX_…`), because
a structure may refer to itself.
"""

from __future__ import annotations

import struct

from gort.xray.emulate.machine import Machine
from gort.xray.errors import XrayError, printable
from gort.xray.file.dwarf import Dwarf, has_dwarf
from gort.xray.file.gotypes import BROKEN, UINT64, UNKNOWN, Field, Type, Types, corrupt
from gort.xray.file.symbols import Symbols
from gort.xray.layout.layout import g_status, p_status
from gort.xray.record import frozen

_MAX_ELEMENTS = 32
_MAX_FIELDS = 64
_MAX_TEXT = 400
"""Characters of a string."""
_MAX_DEPTH = 2
"""Structures within structures that are written out."""
_MAX_OPERATORS = 200
_MAX_SUGGESTED = 5000
_DELIMITERS = ".[]()*&"


@frozen
class Value:
    """A value: its type, and where it is or what it is."""

    type: Type
    address: int | None
    """None for a register, a number or an address itself."""
    number: int = 0
    """The value where there is no address."""


class Scope:
    """Reads names of one file, in one run. Raises `XrayError` for a name that is not there."""

    def __init__(self, symbols: Symbols, machine: Machine | None = None) -> None:
        self.symbols: Symbols = symbols
        self.machine: Machine | None = machine
        self._types: Types | None = None
        self._known: dict[str, Value] = {}

    def know(self, types: Types, variables: dict[str, Value]) -> None:
        """Use these types and variables: the file has none of its own."""
        self._types, self._known = types, variables

    @property
    def types(self) -> Types:
        """The file's types. Raises `XrayError` when it has none."""
        if self._types is None:
            image = self.symbols.image
            if not has_dwarf(image):
                raise XrayError("the file has no DWARF, so the types of its variables are not known")
            self._types = Types(Dwarf(image))
        return self._types

    def variable(self, name: str) -> Value:
        """Returns a variable by its full name, as runtime.sched."""
        known = self._known.get(name)
        if known is not None:
            return known
        address = self.symbols.address(name)
        if address is None:
            raise XrayError(f"{name}: {_no_such(name, self.symbols, self._known)}")
        try:
            found = self.types.of_variable(name)
        except BROKEN as exc:
            raise corrupt(self.symbols.image.path, exc) from exc
        return Value(found or UNKNOWN, address)

    def read(self, address: int, n: int) -> bytes:
        """Returns memory of the run. Raises `XrayError` where there is none."""
        raw = self.machine.read(address, n) if self.machine is not None else None
        if raw is None:
            raise XrayError(f"there is no memory at {address:#x}")
        return raw

    def word(self, address: int) -> int:
        """Returns the word at an address, which is as wide as addresses are."""
        return int.from_bytes(self.read(address, self.symbols.image.word), "little")

    def name_of(self, address: int) -> str:
        """Returns the name of what is at an address: a function's, a variable's; empty where there is none."""
        func = self.symbols.at(address)
        return self.symbols.describe(address) if func is not None else self.symbols.near(address)


def _no_such(name: str, symbols: Symbols, known_variables: dict[str, Value]) -> str:
    if symbols.stripped:
        there = ", ".join(known_variables)
        return "the file names no variables (it is stripped)" + (f"; its code tells where {there} are" if there else "")
    import difflib

    package = name[: name.find(".", name.rfind("/") + 1) + 1]
    code = symbols.tab.module
    known = [n for n, (at, _) in symbols.data.items() if n.startswith(package) and not code.text <= at < code.etext]
    known = known[:_MAX_SUGGESTED] if package else []
    close = difflib.get_close_matches(name, known, 3)
    known_as = f"; did you mean {', '.join(close)}?" if close else " (use the full name, as runtime.sched)"
    return f"no such variable in the file{known_as}"


class Expression:
    """An expression of the user's. Raises `XrayError` for one that cannot be read, or whose name is not in the file."""

    def __init__(self, text: str, scope: Scope) -> None:
        self.text: str = text
        self._scope = scope
        self._tokens = _split(text)
        self._at = 0
        self._operators: list[tuple[str, str]] = []
        """What is done to the first value, in this order: (how, with what)."""
        self._first = self._unary()
        if self._at != len(self._tokens):
            raise self._wrong()

    def value(self) -> Value:
        """Returns what it stands for now. Raises `XrayError` where the program has no memory for it."""
        scope = self._scope
        kind, name = self._first
        try:
            value = self._begin(kind, name)
            for how, operand in self._operators:
                value = _apply(scope, value, how, operand)
        except BROKEN as exc:
            raise corrupt(scope.symbols.image.path, exc) from exc
        return value

    def _begin(self, kind: str, name: str) -> Value:
        if kind == "register":
            machine = self._scope.machine
            return Value(UINT64, None, machine.reg(name) if machine is not None else 0)
        if kind == "number":
            return Value(UINT64, None, int(name, 0))
        if kind == "cast":
            type_name, _, number = name.rpartition(" ")
            found = self._scope.types.named(type_name)
            if found is None:
                raise XrayError(f"{type_name}: the file describes no such type")
            return Value(found, int(number, 0))
        return self._scope.variable(name)

    # -- reading the text --------------------------------------------------------------------------------------

    def _wrong(self) -> XrayError:
        return XrayError(f"{self.text}: write it as runtime.sched.maxmcount, runtime.allp[0].m, *0x4000 or $rsp")

    def _next(self) -> str:
        if self._at >= len(self._tokens):
            raise self._wrong()
        self._at += 1
        return self._tokens[self._at - 1]

    def _unary(self) -> tuple[str, str]:
        prefixes = []
        while self._at < len(self._tokens) and self._tokens[self._at] in "*&":
            prefixes.append(self._next())
        first = self._primary()
        self._operators += [(p, "") for p in reversed(prefixes)]
        if len(self._operators) > _MAX_OPERATORS:
            raise self._wrong()
        return first

    def _primary(self) -> tuple[str, str]:
        token = self._next()
        if token.startswith("$"):
            machine = self._scope.machine
            if machine is not None and token[1:] not in machine.arch.registers:
                raise XrayError(f"{token}: no such register; there are {', '.join(machine.arch.registers)}")
            return "register", token[1:]
        if token[:1].isdigit():
            return "number", str(_number(token, self.text))
        if token in _DELIMITERS:
            raise self._wrong()
        return self._named(token)

    def _named(self, first: str) -> tuple[str, str]:
        """Read a package and a name, then what follows. A package's path may have dots before its last slash."""
        name = first
        while self._peek() == "." and "/" in "".join(self._tokens[self._at :]):
            name += self._next() + self._next()
        if self._peek() != ".":
            raise self._wrong()
        name += self._next() + self._next()
        if self._peek() == "(":
            self._next()
            number = _number(self._next(), self.text)
            if self._next() != ")":
                raise self._wrong()
            first_value = "cast", f"{name} {number}"
        else:
            self._scope.variable(name)
            first_value = "variable", name
        while self._peek() in (".", "["):
            if self._next() == ".":
                self._operators.append((".", self._next()))
            else:
                self._operators.append(("[", str(_number(self._next(), self.text))))
                if self._next() != "]":
                    raise self._wrong()
        return first_value

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""


def _number(token: str, text: str) -> int:
    try:
        return int(token, 0)
    except ValueError:
        raise XrayError(f"{text}: {token} is no number") from None


def _split(text: str) -> list[str]:
    out = [""]
    for c in text:
        if c in _DELIMITERS:
            out += [c, ""]
        elif not c.isspace():
            out[-1] += c
    return [t for t in out if t]


def _apply(scope: Scope, value: Value, how: str, operand: str) -> Value:
    """Returns what an operator makes of a value. Raises `XrayError`."""
    kind = value.type.kind
    if how == "&":
        if value.address is None:
            raise XrayError("only what is in memory has an address")
        return Value(Type("*" + value.type.name, "pointer", scope.symbols.image.word), None, value.address)
    if how == "*":
        if kind == "pointer" and value.type.at >= 0:
            return Value(scope.types.element(value.type), _pointer(scope, value))
        return Value(UINT64, _pointer(scope, value))
    if how == ".":
        if kind == "pointer":
            value = Value(scope.types.element(value.type), _pointer(scope, value))
        elif kind == "uint" and value.type.name.endswith(_HIDDEN):  # a pointer that the collector does not see
            inner = scope.types.named("runtime." + _HIDDEN_TYPE[value.type.name.rpartition(".")[2]])
            value = Value(inner or UNKNOWN, _pointer(scope, value))
        fields = scope.types.fields(value.type)
        found = next((f for f in fields if f.name == operand), None)
        if found is None or value.address is None:
            there = ", ".join(f.name for f in fields[:_MAX_FIELDS]) or "no fields"
            raise XrayError(f"{value.type.name} has no field {operand}; it has {there}")
        return Value(found.type, value.address + found.offset)
    return _element(scope, value, int(operand))


_HIDDEN_TYPE = {"guintptr": "g", "muintptr": "m", "puintptr": "p"}
_HIDDEN = tuple(_HIDDEN_TYPE)


def _element(scope: Scope, value: Value, index: int) -> Value:
    kind, types, word = value.type.kind, scope.types, scope.symbols.image.word
    if kind == "slice" and value.address is not None:
        start, length = scope.word(value.address), scope.word(value.address + word)
    elif kind == "array" and value.address is not None:
        start, length = value.address, types.length(value.type)
    else:
        raise XrayError(f"{value.type.name} is neither an array nor a slice")
    if index >= length:
        raise XrayError(f"[{index}] is beyond its {length} elements")
    one = types.element(value.type)
    return Value(one, start + index * one.size)


def _pointer(scope: Scope, value: Value) -> int:
    """Returns the address that a pointer holds. Raises `XrayError` for nil."""
    number = value.number if value.address is None else scope.word(value.address)
    if number == 0:
        raise XrayError("it is nil")
    return number


def show(scope: Scope, value: Value, depth: int = 0) -> str:
    """Returns a value as text. Where the memory is gone, the text says so."""
    try:
        return _show(scope, value, depth)
    except XrayError as exc:
        return f"({exc})"
    except BROKEN:
        return "(the DWARF of its type is corrupt)"


def _show(scope: Scope, value: Value, depth: int) -> str:
    kind, size, at = value.type.kind, value.type.size, value.address
    word = scope.symbols.image.word
    if at is None and kind in ("int", "bool"):
        number = value.number & (1 << 8 * size) - 1
        if kind == "bool":
            return "true" if number else "false"
        return str(number - (1 << 8 * size) if number >> 8 * size - 1 else number)
    if at is None:
        return _word(scope, value.number & (1 << 8 * min(size, 8)) - 1, value.type)
    if kind == "struct":
        return _struct(scope, value, depth)
    if kind == "array":
        count = scope.types.length(value.type)
        return _list(scope, [Value(scope.types.element(value.type), at)] if count else [], count, depth)
    if kind == "slice":
        start, count = scope.word(at), scope.word(at + word)
        first = [Value(scope.types.element(value.type), start)] if count and start else []
        return f"len {count} cap {scope.word(at + 2 * word)} " + _list(scope, first, count if start else 0, depth)
    if kind == "string":
        start, count = scope.word(at), scope.word(at + word)
        text = scope.read(start, min(count, _MAX_TEXT)).decode("utf-8", "replace") if count else ""
        return '"' + printable(text) + '"' + (f" and {count - _MAX_TEXT} bytes more" if count > _MAX_TEXT else "")
    if kind == "interface":
        of, data = scope.word(at), scope.word(at + word)
        return f"{_word(scope, of, UNKNOWN)}, {_word(scope, data, UNKNOWN)}" if of else "nil"
    raw = scope.read(at, size if 0 < size <= 16 else word)
    if kind == "bool":
        return "true" if raw[0] else "false"
    if kind == "float":
        return repr(struct.unpack("<d" if size == 8 else "<f", raw)[0])
    if kind == "int":
        return str(int.from_bytes(raw, "little", signed=True))
    return _word(scope, int.from_bytes(raw[:8], "little"), value.type)


def _word(scope: Scope, number: int, of: Type) -> str:
    """Returns a number in decimal where it is one, and as an address with a name where it is that."""
    if of.kind == "uint" and not of.name.endswith(("uintptr", "UnsafePointer")) and of is not UINT64:
        return str(number)
    if of.kind in ("pointer", "func", "map", "chan") and not number:
        return "nil"
    if of.kind == "func":
        code = scope.machine.pointer(number) if scope.machine is not None else None
        name = scope.name_of(code) if code else ""
    else:
        name = scope.name_of(number) if number else ""
    return f"{number:#x}" + (f" ({name})" if name else "")


def _struct(scope: Scope, value: Value, depth: int) -> str:
    assert value.address is not None
    fields = scope.types.fields(value.type)
    wrapped = value.type.name.startswith("internal/runtime/atomic.") or value.type.name.startswith("runtime/internal/")
    real = [f for f in fields if f.name not in ("_", "noCopy") and f.type.size]
    if wrapped and len(real) == 1:  # atomic.Uint32: nobody wants to see its field
        text = show(scope, Value(real[0].type, value.address + real[0].offset), depth)
        return ("false" if text == "0" else "true") if value.type.name.endswith(".Bool") else text
    if depth >= _MAX_DEPTH:
        return "{…}"
    shown = [f"{f.name}: {_field(scope, value, f, depth)}" for f in fields[:_MAX_FIELDS]]
    more = f", and {len(fields) - _MAX_FIELDS} fields more" if len(fields) > _MAX_FIELDS else ""
    return "{" + ", ".join(shown) + more + "}"


def _field(scope: Scope, value: Value, field: Field, depth: int) -> str:
    assert value.address is not None
    inner = Value(field.type, value.address + field.offset)
    text = show(scope, inner, depth + 1)
    names = {"runtime.g.atomicstatus": g_status, "runtime.p.status": p_status}
    naming = names.get(f"{value.type.name}.{field.name}")
    return f"{text} ({naming(int(text))})" if naming is not None and text.isdigit() else text


def _list(scope: Scope, first: list[Value], count: int, depth: int) -> str:
    """Returns the elements that begin with the first one."""
    if not first or not count:
        return "[]"
    if depth >= _MAX_DEPTH:
        return "[…]"
    start, one = first[0].address, first[0].type
    assert start is not None
    shown = [show(scope, Value(one, start + i * one.size), depth + 1) for i in range(min(count, _MAX_ELEMENTS))]
    more = f", and {count - _MAX_ELEMENTS} more" if count > _MAX_ELEMENTS else ""
    return "[" + ", ".join(shown) + more + "]"
