"""The frame of a signal handler on 386, where arguments are on the stack.

Follows the kernel's struct rt_sigframe (arch/x86/include/asm/sigframe.h, sigcontext_32) as far as a Go program looks at
it. signals.py has what is the same on all processors.
"""

from __future__ import annotations

import struct

from gort.xray.emulate.machine import Machine
from gort.xray.emulate.thread import Signal, Thread

REGISTERS: tuple[str, ...] = ("edi", "esi", "ebp", "esp", "ebx", "edx", "ecx", "eax")
"""In the order of the frame, behind the four segment registers."""
MCONTEXT = 20
"""Offset of the registers in ucontext_t."""
FIRST = MCONTEXT + 16
"""Offset of `REGISTERS`."""
EIP = FIRST + 4 * len(REGISTERS) + 8
"""Offset of the program counter, behind the number of the exception and its code."""
SIGMASK = MCONTEXT + 88
_DS, _CS = 0x2B, 0x23
_SIGINFO_SIZE = 128


def siginfo(signal: Signal) -> bytes:
    """Returns struct siginfo."""
    return struct.pack("<iiiI", signal.number, 0, signal.code, signal.address & 0xFFFFFFFF).ljust(_SIGINFO_SIZE, b"\0")


def enter(
    machine: Machine, thread: Thread, signal: Signal, handler: int, restorer: int, sp: int, trap: int
) -> tuple[int, dict[str, int]] | None:
    """Write the frame. Returns the address of its ucontext and the handler's registers; None without room."""

    def reg(name: str) -> int:
        return machine.in_context(thread.context, name)

    base, size = thread.altstack
    registers = struct.pack("<4I", reg("gs"), 0, _DS, _DS) + struct.pack("<8I", *(reg(r) for r in REGISTERS))
    registers += struct.pack("<6I", trap, 0, reg("eip"), _CS, reg("eflags"), reg("esp"))
    registers += struct.pack("<4I", _DS, 0, thread.sigmask & 0xFFFFFFFF, signal.address & 0xFFFFFFFF)
    ucontext = struct.pack("<5I", 0, 0, base, 0, size) + registers + struct.pack("<Q", thread.sigmask)
    at = ((sp - len(ucontext) - _SIGINFO_SIZE - 16) & ~15) - 4
    info = at + 16
    ucontext_at = info + _SIGINFO_SIZE
    head = struct.pack("<4I", restorer, signal.number, info, ucontext_at)
    if not machine.write(at, head + siginfo(signal) + ucontext):
        return None
    return ucontext_at, {"esp": at, "eip": handler, "eax": signal.number, "edx": info, "ecx": ucontext_at}
