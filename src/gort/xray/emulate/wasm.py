"""WebAssembly's code as instructions: enough to find calls and the addresses of functions that are taken.

Follows the WebAssembly core specification (binary format, instructions). A call names its function by number; Go's
address of a function is that number above 16 bits. Decoding ends at an instruction that is not known, as a vector's.
"""

from __future__ import annotations

from gort.xray.emulate.native import Insn
from gort.xray.file.image import PC_B_BITS, Image
from gort.xray.file.leb128 import uleb
from gort.xray.file.wasm import address_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_CALL, _I32_CONST, _I64_CONST, _BR_TABLE, _SELECT_TYPES, _MORE = 0x10, 0x41, 0x42, 0x0E, 0x1C, 0xFC
_FIXED = {0x43: 4, 0x44: 8}
"""f32.const, f64.const -> bytes."""
_NUMBERS = {
    **dict.fromkeys((0x02, 0x03, 0x04, 0x0C, 0x0D, 0x10, 0x12), 1),  # blocks, branches, calls
    **dict.fromkeys((0x11, 0x13), 2),  # indirect calls
    **dict.fromkeys(range(0x20, 0x27), 1),  # variables, tables
    **dict.fromkeys(range(0x28, 0x3F), 2),  # loads and stores
    **dict.fromkeys((0x3F, 0x40, 0x41, 0x42, 0xD0, 0xD2), 1),  # memory, constants, references
}
"""Instruction -> how many numbers follow it. All others up to `_LAST` have none."""
_NUMBERS_OF_MORE = {**dict.fromkeys(range(8), 0), 8: 2, 9: 1, 10: 2, 11: 1, 12: 2, 13: 1, 14: 2, 15: 1, 16: 1, 17: 1}
"""The same for those that begin with 0xFC."""
_LAST = 0xD2
_NAMES = {_CALL: "call", _I32_CONST: "i32.const", _I64_CONST: "i64.const"}


def instructions(code: bytes, address: int) -> list[Insn]:
    """Returns the instructions; only calls and constants have names, and their operand is a number."""
    out: list[Insn] = []
    at = 0
    try:
        while at < len(code):
            start, kind = at, code[at]
            at += 1
            count = _NUMBERS.get(kind, 0)
            if kind == _MORE:
                more, at = uleb(code, at)
                found = _NUMBERS_OF_MORE.get(more)
                if found is None:
                    break
                count = found
            elif kind in (_BR_TABLE, _SELECT_TYPES):
                count, at = uleb(code, at)
                count += kind == _BR_TABLE
            elif kind > _LAST:
                break
            at += _FIXED.get(kind, 0)
            operand = 0
            for _ in range(min(count, len(code) - at)):
                begin = at
                operand, at = uleb(code, at)
                if kind in (_I32_CONST, _I64_CONST) and code[at - 1] & 0x40:
                    operand -= 1 << 7 * (at - begin)
            name = _NAMES.get(kind)
            out.append((address + start, at - start, name or f"{kind:#04x}", str(operand) if name else ""))
    except IndexError:
        pass  # the last instruction is cut off
    return out


def calls(image: Image, code: list[Insn]) -> Iterator[tuple[int, int, int]]:
    """Yields (address, size, target) of each call of a function that is not imported."""
    for address, size, mnemonic, operand in code:
        if mnemonic == "call" and int(operand) >= image.imported:
            yield address, size, address_of(int(operand), image.imported)


def refs(code: list[Insn]) -> Iterator[tuple[int, str, str, int]]:
    """Yields (address, "lea", operand, target) of each constant that can be the address of a function."""
    for address, _, mnemonic, operand in code:
        if mnemonic.endswith(".const"):
            target = int(operand)
            if target > 0 and target % (1 << PC_B_BITS) == 0:
                yield address, "lea", operand, target
