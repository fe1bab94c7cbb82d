"""The four layouts that Go's table of functions has had since Go 1.2, as data; pclntab.py reads a table by one of them.

Each Go release that changed the layout gave it a new magic number. The numbers here are offsets in the table's header, in
a function's record (runtime._func), in a node of the inline tree (runtime.inlinedCall), and words of runtime.moduledata.
They follow runtime/symtab.go, runtime/runtime2.go and cmd/link/internal/ld/pcln.go of the releases.

- Go 1.2 to 1.15: one table. Its offsets count from its start, and addresses are whole pointers.
- Go 1.16 and 1.17: names, files, values and records are in parts of their own, whose offsets the header has.
- Go 1.18 and 1.19: addresses are 32-bit offsets from the start of the text; functions' own data is an offset as well.
- Go 1.20 and newer: a record has its first line, the inline tree's nodes are smaller.
"""

from __future__ import annotations

from gort.xray.record import frozen

_WORD = 8
"""Bytes of a word in the numbers below."""
_MAGIC = 8
"""Bytes before the header's first word."""


@frozen
class Shape:
    """One layout. Offsets and sizes are bytes, those of `module_…` words."""

    releases: str
    oldest: int
    """The first release (1.N) that this program reads and that has it."""
    newest: int | None
    """The last release that has it; None: it is the current one."""
    parts: int | None
    """Offset in the header of the first of five offsets: names, units, files, values, records. None: one table."""
    pointers: bool
    """True where a function's address and the places of its own data are pointers."""
    record: int
    """Size of a function's record, without the lists behind it."""
    name: int
    pcfile: int
    """Its place in a record; the line table's follows."""
    npcdata: int
    unit: int
    """Where a record has its compilation unit; unused without parts."""
    inline_tree: int
    """The number of the inline tree among a function's own data."""
    node: int
    node_name: int
    """Its place in a node of the inline tree; the parent's pc follows."""
    module_length: int
    """The length of the list of functions."""
    module_minpc: int
    """The first function's address; maxpc, text and etext follow."""
    module_gofunc: int | None = None
    """Where the functions' own data begins; None where they have pointers to it."""

    def with_word(self, word: int) -> Shape:
        """Returns the layout for a processor whose words have so many bytes; those below are for 8."""
        if word == _WORD:
            return self
        values = {name: getattr(self, name) for name in self.__annotations__}
        if self.parts is not None:
            values["parts"] = _MAGIC + (self.parts - _MAGIC) // _WORD * word
        if self.pointers:  # a record begins with one
            for name in ("record", "name", "pcfile", "npcdata", "unit"):
                values[name] -= _WORD - word
        return Shape(**values)


SHAPES: dict[int, Shape] = {
    0xFFFFFFF1: Shape(
        releases="1.20 or newer",
        oldest=20,
        newest=None,
        parts=32,
        pointers=False,
        record=44,
        name=4,
        pcfile=20,
        npcdata=28,
        unit=32,
        inline_tree=3,
        node=16,
        node_name=4,
        module_length=17,
        module_minpc=20,
        module_gofunc=40,
    ),
    0xFFFFFFF0: Shape(
        releases="1.18 or 1.19",
        oldest=18,
        newest=19,
        parts=32,
        pointers=False,
        record=40,
        name=4,
        pcfile=20,
        npcdata=28,
        unit=32,
        inline_tree=3,
        node=20,
        node_name=12,
        module_length=17,
        module_minpc=20,
        module_gofunc=38,
    ),
    0xFFFFFFFA: Shape(
        releases="1.16 or 1.17",
        oldest=16,
        newest=17,
        parts=24,
        pointers=True,
        record=44,
        name=8,
        pcfile=24,
        npcdata=32,
        unit=36,
        inline_tree=3,
        node=20,
        node_name=12,
        module_length=17,
        module_minpc=20,
    ),
    0xFFFFFFFB: Shape(
        releases="1.15 or older",
        oldest=15,
        newest=15,
        parts=None,
        pointers=True,
        record=40,
        name=8,
        pcfile=24,
        npcdata=32,
        unit=0,
        inline_tree=4,
        node=20,
        node_name=12,
        module_length=4,
        module_minpc=10,
    ),
}
"""Magic number -> layout, the newest first."""
