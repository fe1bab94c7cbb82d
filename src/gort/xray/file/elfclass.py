"""The two classes of ELF files, for 64-bit and for 32-bit processors: the shapes of their records.

Follows the ELF-64 and the System V ABI's (ELF-32) specifications. The records hold the same in both; sizes and orders
differ. elf.py reads files by them.
"""

from __future__ import annotations

import struct

from gort.xray.record import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterator

    Buffer = mmap.mmap | bytes

ProgramHeader = tuple[int, int, int, int, int, int, int]
"""type, flags, offset, address, size in the file, size in memory, alignment"""


@frozen
class ElfClass:
    """The records of one class, as struct's formats."""

    word: int
    """Bytes of an address."""
    header: str
    """The file's header behind its identification."""
    program: str
    program_order: tuple[int, ...]
    """Where a program header has what `ProgramHeader` has."""
    section: str
    dynamic: str
    relocation: str
    """RELA with an addend; 32-bit processors have REL, without one."""
    symbol_shift: int
    """A relocation's second word: its symbol is above these bits, its type below."""
    symbol: str
    symbol_order: tuple[int, int, int, int]
    """Where a symbol has its name, section, value and size."""

    @property
    def program_size(self) -> int:
        """Bytes of a program header."""
        return struct.calcsize(self.program)

    @property
    def section_size(self) -> int:
        """Bytes of a section header."""
        return struct.calcsize(self.section)

    @property
    def dynamic_size(self) -> int:
        """Bytes of an entry of the dynamic table."""
        return struct.calcsize(self.dynamic)

    @property
    def relocation_size(self) -> int:
        """Bytes of a relocation."""
        return struct.calcsize(self.relocation)

    @property
    def symbol_size(self) -> int:
        """Bytes of a symbol."""
        return struct.calcsize(self.symbol)

    @property
    def mask(self) -> int:
        """The largest address."""
        return (1 << 8 * self.word) - 1

    def program_header(self, data: Buffer, at: int) -> ProgramHeader:
        """Returns the program header at an offset."""
        found = struct.unpack_from(self.program, data, at)
        kind, flags, offset, address, in_file, in_memory, align = (found[i] for i in self.program_order)
        return kind, flags, offset, address, in_file, in_memory, align

    def relocations(self, raw: bytes) -> Iterator[tuple[int, int, int, int | None]]:
        """Yields (address, type, symbol, addend) of each relocation; no addend where it lies at the address itself."""
        shift = self.symbol_shift
        mask = (1 << shift) - 1
        if self.word == 4:
            for address, info in struct.iter_unpack(self.relocation, raw):
                yield address, info & mask, info >> shift, None
            return
        for address, info, addend in struct.iter_unpack(self.relocation, raw):
            yield address, info & mask, info >> shift, addend

    def symbols(self, raw: bytes) -> Iterator[tuple[int, int, int, int]]:
        """Yields (name, section, value, size) of each symbol."""
        a, b, c, d = self.symbol_order
        for found in struct.iter_unpack(self.symbol, raw):
            yield found[a], found[b], found[c], found[d]


CLASS64 = ElfClass(
    word=8,
    header="<HHIQQQIHHHHHH",
    program="<IIQQQQQQ",
    program_order=(0, 1, 2, 3, 5, 6, 7),
    section="<IIQQQQIIQQ",
    dynamic="<QQ",
    relocation="<QQq",
    symbol_shift=32,
    symbol="<IBBHQQ",
    symbol_order=(0, 3, 4, 5),
)
CLASS32 = ElfClass(
    word=4,
    header="<HHIIIIIHHHHHH",
    program="<IIIIIIII",
    program_order=(0, 6, 1, 2, 4, 5, 7),
    section="<IIIIIIIIII",
    dynamic="<II",
    relocation="<II",
    symbol_shift=8,
    symbol="<IIIBBH",
    symbol_order=(0, 5, 1, 2),
)
