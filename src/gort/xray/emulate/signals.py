"""Signals of the emulated kernel: dispositions, masks, and the frames that a handler finds on its stack.

Follows the kernel's struct rt_sigframe (arch/x86/kernel/signal_64.c, arch/arm64/kernel/signal.c) as far as a Go
program looks at it: general registers, pc, sp, flags, fault address, mask. Go changes pc and sp in the frame to
preempt a goroutine, so a return takes them from memory; floating-point registers are kept aside, in the processor's
context.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gort.xray.emulate.process import Process, Thread

SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGKILL, SIGSEGV = 1, 2, 3, 4, 6, 7, 8, 9, 11
NAMES = {
    1: "SIGHUP",
    2: "SIGINT",
    3: "SIGQUIT",
    4: "SIGILL",
    5: "SIGTRAP",
    6: "SIGABRT",
    7: "SIGBUS",
    8: "SIGFPE",
    9: "SIGKILL",
    10: "SIGUSR1",
    11: "SIGSEGV",
    12: "SIGUSR2",
    13: "SIGPIPE",
    14: "SIGALRM",
    15: "SIGTERM",
    17: "SIGCHLD",
    18: "SIGCONT",
    23: "SIGURG",
    27: "SIGPROF",
}
_IGNORED_BY_DEFAULT = {17, 18, 23, 28}
_SA_ONSTACK, _SA_NODEFER, _SA_RESETHAND = 0x08000000, 0x40000000, 0x80000000
_REGS_AMD64 = (
    "r8",
    "r9",
    "r10",
    "r11",
    "r12",
    "r13",
    "r14",
    "r15",
    "rdi",
    "rsi",
    "rbp",
    "rbx",
    "rdx",
    "rax",
    "rcx",
    "rsp",
    "rip",
    "rflags",
)
_MCONTEXT = {"amd64": 40, "arm64": 176}


def deliver(process: Process, thread: Thread, signo: int, address: int = 0, code: int = 0) -> None:
    """Make the thread, which is not running, enter its handler; or do what the signal does without one.

    Raises nothing; a signal that ends the program sets `process.ended`.
    """
    handler, flags, restorer, mask = process.actions.get(signo, (0, 0, 0, 0))
    if handler == 1 or (handler == 0 and signo in _IGNORED_BY_DEFAULT):
        return
    name = NAMES.get(signo, f"signal {signo}")
    if handler == 0:
        process.end("killed", 128 + signo, f"{name}, for which the program has no handler")
        return
    m, ctx = process.machine, thread.context
    sp = m.in_context(ctx, m.arch.sp)
    base, size = thread.altstack
    if flags & _SA_ONSTACK and size and not base <= sp < base + size:
        sp = base + size
    elif m.arch.name == "amd64":
        sp -= 128
    info = struct.pack("<iiiiQ", signo, 0, code, 0, address).ljust(128, b"\0")
    if m.arch.name == "amd64":
        regs = struct.pack("<18Q", *(m.in_context(ctx, r) for r in _REGS_AMD64))
        regs += struct.pack(
            "<HHHHQQQQQ", 0x33, 0, 0, 0x2B, 0, 14 if signo == SIGSEGV else 0, thread.sigmask, address, 0
        )
        ucontext = (
            struct.pack("<QQQQQ", 0, 0, base, 0, size) + regs.ljust(256, b"\0") + struct.pack("<Q", thread.sigmask)
        )
        frame_size = 8 + len(ucontext) + len(info)
        at = ((sp - frame_size) & ~15) - 8
        ok = m.write(at, struct.pack("<Q", restorer) + ucontext + info)
        uc_at, info_at = at + 8, at + 8 + len(ucontext)
        new = {"rdi": signo, "rsi": info_at, "rdx": uc_at, "rsp": at, "rip": handler, "rax": 0}
    else:
        regs = struct.pack(
            "<Q31QQQQ",
            address,
            *(m.in_context(ctx, f"x{i}") for i in range(31)),
            sp_of(m, ctx),
            m.in_context(ctx, "pc"),
            m.in_context(ctx, "nzcv") & 0xF0000000,
        )
        ucontext = struct.pack("<QQQQQQ", 0, 0, base, 0, size, thread.sigmask).ljust(176, b"\0") + regs + bytes(64)
        at = (sp - len(ucontext) - len(info)) & ~15
        ok = m.write(at, info + ucontext)
        uc_at, info_at = at + len(info), at
        new = {"x0": signo, "x1": info_at, "x2": uc_at, "sp": at, "pc": handler, "x30": restorer or process.trampoline}
    if not ok:
        process.end("killed", 128 + SIGSEGV, f"{name} could not be delivered: no stack for its handler")
        return
    if len(thread.frames) >= 64:
        process.end("killed", 128 + SIGSEGV, f"more than 64 signal handlers nested in thread {thread.tid}")
        return
    thread.frames.append((uc_at, thread.copy_context(m)))
    for reg, value in new.items():
        m.set_in(ctx, reg, value)
    thread.sigmask |= mask | (0 if flags & _SA_NODEFER else 1 << (signo - 1))
    if flags & _SA_RESETHAND:
        process.actions[signo] = (0, 0, 0, 0)


def sp_of(machine: Any, context: Any) -> int:
    return int(machine.in_context(context, "sp"))


def sigreturn(process: Process, thread: Thread) -> bool:
    """Go back to where the thread was interrupted, with the registers that the handler left in the frame."""
    m = process.machine
    if not thread.frames:
        process.end("killed", 128 + SIGSEGV, "rt_sigreturn outside of a signal handler")
        return False
    uc_at, context = thread.frames.pop()
    if m.arch.name == "amd64":
        raw = m.read(uc_at + 40, 18 * 8)
        mask = m.u64(uc_at + 40 + 256)
        names: tuple[str, ...] = _REGS_AMD64
    else:
        raw = m.read(uc_at + 176 + 8, 33 * 8)
        mask = m.u64(uc_at + 40)
        names = (*(f"x{i}" for i in range(31)), "sp", "pc")
    if raw is None or mask is None:
        process.end("killed", 128 + SIGSEGV, "the frame of a signal handler is gone")
        return False
    for name, value in zip(names, struct.unpack(f"<{len(names)}Q", raw), strict=True):
        m.set_in(context, name, value)
    thread.context = context
    thread.sigmask = mask
    return True
