"""The machine code that counts a program's basic blocks: what the emulator calls most, without Python.

A boot enters millions of blocks. The emulator calls a hook for each, and one in Python takes some 0.4 µs, longer than
the block itself. So the hook is some sixty bytes of the host's machine code, `_CODE`. It adds the block's instructions to
the counter and returns. Only where the table has no number for the block, or the time slice is over, does it go on to
the Python function (machine.py), which does the same work and puts the number into the table. What is watched is never
in the table, so its callback is called each time.

The table is a cache: one word for each value of an address's lowest bits, with the address above bit `_COUNT_BITS` and
the number of instructions below. Two blocks that share a place take it from each other. The empty word is that of a
block at address 0, where nothing can be mapped.

A host for which there is no code (all but Linux on amd64), or that refuses executable memory, calls the Python function
for each block. Results are the same, bit by bit; a test compares them.

Rejected: a compiled module. gort xray knows nothing of the compiled core, and runs where nobody can compile. The
emulator's own counter of instructions: see machine.py.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from array import array

_INDEX_BITS = 17
_COUNT_BITS = 16
_MAX_COUNT = (1 << _COUNT_BITS) - 1
_MAX_ADDRESS = 1 << (64 - _COUNT_BITS)
_INDEX = (1 << _INDEX_BITS) - 1

_CODE: tuple[tuple[str, str], ...] = (
    # The arguments: rdi the engine, rsi the block's address, edx its size, rcx the words of `BlockHook`.
    ("f30f1efa", "endbr64"),
    ("488b01", "mov rax, qword ptr [rcx]"),  # the counter: instructions so far, end of the slice
    ("4c8b00", "mov r8, qword ptr [rax]"),
    ("4c3b4008", "cmp r8, qword ptr [rax + 8]"),
    ("7329", "jae 0x39"),  # the slice is over
    ("4c8b4908", "mov r9, qword ptr [rcx + 8]"),  # the table
    ("4189f2", "mov r10d, esi"),
    ("4181e2ffff0100", "and r10d, 0x1ffff"),  # _INDEX
    ("4f8b14d1", "mov r10, qword ptr [r9 + r10*8]"),
    ("4d89d1", "mov r9, r10"),
    ("49c1e910", "shr r9, 0x10"),  # _COUNT_BITS
    ("4939f1", "cmp r9, rsi"),
    ("750b", "jne 0x39"),  # another block's word, or none
    ("450fb7d2", "movzx r10d, r10w"),
    ("4d01d0", "add r8, r10"),
    ("4c8900", "mov qword ptr [rax], r8"),
    ("c3", "ret"),
    ("ff6110", "jmp qword ptr [rcx + 0x10]"),  # to the Python function, with the same arguments
)
"""The hook's bytes and what they say. It follows the calling convention of System V and uses registers that are free."""


def has_code() -> bool:
    """True where `_CODE` is the host's machine code."""
    return sys.platform == "linux" and os.uname().machine == "x86_64" and sys.maxsize > 1 << 32


class BlockHook:
    """The table of blocks, and the hook that reads it. It must live as long as the engine that calls it."""

    def __init__(self, counter: array[int]) -> None:
        """`counter` holds the instructions so far, and the number at which the time slice ends. It keeps its place."""
        self._table = array("Q", bytes(8 << _INDEX_BITS))
        self._counter = counter
        self._words = (ctypes.c_uint64 * 3)(counter.buffer_info()[0], self._table.buffer_info()[0], 0)
        self._memory: mmap.mmap | None = None

    def over(self, function: int) -> tuple[int, int] | None:
        """Returns the addresses of the hook and of its last argument; `function` is called for what it cannot do.

        None where the host cannot run it.
        """
        if not has_code():
            return None
        code = bytes.fromhex("".join(octets for octets, _ in _CODE))
        try:
            self._memory = mmap.mmap(
                -1,
                len(code),
                mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,
                mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC,
            )
        except OSError:  # a hardened system
            return None
        self._memory[: len(code)] = code
        self._words[2] = function
        return ctypes.addressof(ctypes.c_char.from_buffer(self._memory)), ctypes.addressof(self._words)

    def remember(self, address: int, instructions: int) -> None:
        """Have the hook count these blocks by itself from now on."""
        if address < _MAX_ADDRESS and instructions <= _MAX_COUNT:
            self._table[address & _INDEX] = address << _COUNT_BITS | instructions

    def forget(self, address: int) -> None:
        """Have the Python function called for the block again."""
        at = address & _INDEX
        if self._table[at] >> _COUNT_BITS == address:
            self._table[at] = 0
