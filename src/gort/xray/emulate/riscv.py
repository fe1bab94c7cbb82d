"""Calls and data references in code for riscv64, as instructions.

A jump's distance counts from the jump itself. An address further away takes two instructions: AUIPC puts the upper part
of it into a register, the next one (JALR, JR, ADDI, a load or a store) has the rest.
"""

from __future__ import annotations

from gort.xray.emulate.native import Insn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_CALLS, _JUMPS = ("jal", "jalr", "c.jalr"), ("j", "c.j", "jr", "c.jr")
_MASK = (1 << 64) - 1


def calls(code: list[Insn]) -> Iterator[tuple[int, int, int | None, bool]]:
    """Yields (address, size, target, whether it is a jump) of each call and jump; target: None where it is not known."""
    pages: dict[str, int] = {}
    for address, size, mnemonic, operands in code:
        if mnemonic in _CALLS or mnemonic in _JUMPS:
            target = _target(address, mnemonic, operands, pages)
            links = mnemonic in _CALLS and operands.split(", ")[0] != "zero"
            if links or target is not None:
                yield address, size, target, not links
        _follow(pages, address, mnemonic, operands)


def refs(code: list[Insn]) -> Iterator[tuple[int, str, str, int]]:
    """Yields (address, mnemonic, operands, target) of each reference to data; `lea` where only the address is taken."""
    pages: dict[str, int] = {}
    for address, _, mnemonic, operands in code:
        parts = operands.split(", ")
        if mnemonic in ("addi", "c.addi") and parts[-2:-1] and parts[-2] in pages:
            number = _number(parts[-1])
            if number is not None:
                yield address, "lea", operands, (pages[parts[-2]] + number) & _MASK
        elif len(parts) == 2 and parts[1].endswith(")"):
            offset, _, base = parts[1][:-1].partition("(")
            number = _number(offset)
            if base in pages and number is not None:
                yield address, mnemonic, operands, (pages[base] + number) & _MASK
        _follow(pages, address, mnemonic, operands)


def _follow(pages: dict[str, int], address: int, mnemonic: str, operands: str) -> None:
    """Keep what AUIPC and an addition to it put into registers."""
    parts = operands.split(", ")
    if mnemonic == "auipc" and len(parts) == 2:
        upper = _number(parts[1]) or 0
        pages[parts[0]] = (address + ((upper ^ 0x80000) - 0x80000 << 12)) & _MASK
        return
    number = _number(parts[-1]) if len(parts) == 3 else None
    if mnemonic == "addi" and number is not None and parts[1] in pages:
        pages[parts[0]] = (pages[parts[1]] + number) & _MASK
    elif not mnemonic.startswith(("s", "c.s", "b")):  # a store or a branch changes no register
        pages.pop(parts[0], None)


def _target(address: int, mnemonic: str, operands: str, pages: dict[str, int]) -> int | None:
    parts = operands.split(", ")
    last = parts[-1]
    if mnemonic in ("jal", "j", "c.j"):
        number = _number(last)
        return None if number is None else (address + number) & _MASK
    offset, _, base = last[:-1].partition("(") if last.endswith(")") else ("0", "", last)
    number = _number(offset)
    return (pages[base] + number) & _MASK if base in pages and number is not None else None


def _number(text: str) -> int | None:
    try:
        return int(text, 0)
    except ValueError:
        return None
