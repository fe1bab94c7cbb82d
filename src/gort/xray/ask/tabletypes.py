"""The types of g, m, p and the scheduler's state for files without DWARF: from the same layouts as the boot's state.

Such a file names no variables either, so `known_variables` has those whose addresses the boot's code tells. What can be
asked of a stripped file is thus `runtime.g0`, `m0`, `sched`, `allp`, `gomaxprocs`, `ncpu`, and the fields that the boot
sets.
"""

from __future__ import annotations

from gort.xray.ask.expression import Value
from gort.xray.file.gotypes import UNKNOWN, Field, Type, Types
from gort.xray.layout.globals import Globals
from gort.xray.layout.layout import Layouts

_STRUCTS = ("runtime.g", "runtime.m", "runtime.p", "runtime.schedt")
_POINTERS = {
    "runtime.g.m": "runtime.m",
    "runtime.m.g0": "runtime.g",
    "runtime.m.gsignal": "runtime.g",
    "runtime.m.curg": "runtime.g",
    "runtime.m.p": "runtime.p",
    "runtime.m.nextp": "runtime.p",
    "runtime.m.oldp": "runtime.p",
    "runtime.m.alllink": "runtime.m",
    "runtime.p.m": "runtime.m",
    "runtime.p.link": "runtime.p",
    "runtime.p.runnext": "runtime.g",
    "runtime.schedt.pidle": "runtime.p",
}
"""Field -> what it points at."""
_POINTER_AT, _SLICE_AT = 100, 200
"""`Type.at` of a pointer to, and of a slice of pointers to, the structure of that number."""
_INT32 = Type("int32", "int", 4)


class TableTypes(Types):
    """The types that are known by their layouts. `Type.at` is the number of a structure, or one made of it."""

    def __init__(self, layouts: Layouts, word: int = 8) -> None:
        self._layouts = layouts
        self.word: int = word
        """Bytes of a pointer."""
        self._parts: list[tuple[str, str]] = [(name, "") for name in _STRUCTS]
        """(structure, the beginning of its fields' names): the structures, then those within them."""

    def of_variable(self, name: str) -> Type | None:
        """Returns None: the variables come with their types."""
        return None

    def parameters(self, function: str) -> list[tuple[str, Type]]:
        """Returns none: no function is described."""
        return []

    def named(self, name: str) -> Type | None:
        """Returns one of the four structures."""
        if name not in _STRUCTS or name not in self._layouts.structs:
            return None
        layout = self._layouts.structs[name]
        return Type(name, "struct", max((o + s for o, s in layout.values()), default=0), _STRUCTS.index(name))

    def fields(self, of: Type) -> list[Field]:
        """Returns the fields that the layout has."""
        if not 0 <= of.at < len(self._parts):
            return []
        struct, prefix = self._parts[of.at]
        layout = sorted(self._layouts.structs[struct].items(), key=lambda f: f[1])
        base = next((offset for name, (offset, _) in layout if name.startswith(prefix)), 0) if prefix else 0
        out: list[Field] = []
        for name, (offset, size) in layout:
            if not name.startswith(prefix):
                continue
            head, dot, _ = name[len(prefix) :].partition(".")
            if not dot:
                out.append(Field(head, offset - base, self._field_type(struct, name, size)))
            elif not out or out[-1].name != head:
                out.append(Field(head, offset - base, self._part(struct, prefix + head + ".")))
        return out

    def _part(self, struct: str, prefix: str) -> Type:
        """Returns the type of a structure within a structure. It begins with the first of its fields that is known."""
        if (struct, prefix) not in self._parts:
            self._parts.append((struct, prefix))
        layout = self._layouts.structs[struct].items()
        inside = [place for name, place in layout if name.startswith(prefix)]
        size = max(o + s for o, s in inside) - min(o for o, _ in inside)
        return Type(f"{struct}.{prefix[:-1]}", "struct", size, self._parts.index((struct, prefix)))

    def element(self, of: Type) -> Type:
        """Returns what a pointer points at, or what a slice is made of."""
        if _POINTER_AT <= of.at < _POINTER_AT + len(_STRUCTS):
            return self.named(_STRUCTS[of.at - _POINTER_AT]) or UNKNOWN
        if _SLICE_AT <= of.at < _SLICE_AT + len(_STRUCTS):
            return self._pointer_to(_STRUCTS[of.at - _SLICE_AT])
        return UNKNOWN

    def length(self, of: Type) -> int:
        """Returns the number of words in an array."""
        return of.size // self.word

    def _field_type(self, struct: str, name: str, size: int) -> Type:
        target = _POINTERS.get(f"{struct}.{name}")
        if target is not None:
            return self._pointer_to(target)
        if size > self.word:
            return Type(f"[{size // self.word}]uintptr", "array", size)
        return Type("uintptr" if size == self.word else f"uint{8 * size}", "uint", size)

    def _pointer_to(self, struct: str) -> Type:
        return Type("*" + struct, "pointer", self.word, _POINTER_AT + _STRUCTS.index(struct))


def known_variables(found: Globals, types: TableTypes, allp: int | None) -> dict[str, Value]:
    """Returns the variables whose addresses are known without a symbol table; `allp` is that of runtime.allp."""
    out: dict[str, Value] = {}
    for name, address, struct in (
        ("runtime.g0", found.g0, "runtime.g"),
        ("runtime.m0", found.m0, "runtime.m"),
        ("runtime.sched", found.sched, "runtime.schedt"),
    ):
        kind = types.named(struct)
        if address and kind is not None:
            out[name] = Value(kind, address)
    for name, address in (("runtime.gomaxprocs", found.gomaxprocs), ("runtime.ncpu", found.ncpu)):
        if address:
            out[name] = Value(_INT32, address)
    if allp:
        out["runtime.allp"] = Value(
            Type("[]*runtime.p", "slice", 3 * types.word, _SLICE_AT + _STRUCTS.index("runtime.p")), allp
        )
    return out
