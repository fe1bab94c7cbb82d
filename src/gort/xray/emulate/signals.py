"""Signals of the emulated kernel: what the program wants done with each, and the frames that its handlers find.

Follows the kernel's struct rt_sigframe (arch/x86/kernel/signal_64.c, and signal.c of arch/arm64 and arch/riscv) as far as
a Go program looks at it: general registers, pc, sp, flags, fault address, mask. Go changes pc and sp in the frame to
preempt a goroutine, so a return takes the general registers from memory. Floating-point registers are kept in a copy of
the processor's context.

This module changes threads and their memory. That a signal ends the program is returned, not done here.
"""

from __future__ import annotations

import struct

from gort.xray.emulate import signal386
from gort.xray.emulate.machine import Machine
from gort.xray.emulate.thread import Frame, Signal, Thread
from gort.xray.record import frozen

SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGKILL = 1, 2, 3, 4, 5, 6, 7, 8, 9
SIGUSR1, SIGSEGV, SIGUSR2, SIGPIPE, SIGALRM, SIGTERM, SIGCHLD, SIGCONT = 10, 11, 12, 13, 14, 15, 17, 18
SIGSTOP, SIGURG, SIGPROF, SIGWINCH = 19, 23, 27, 28
HIGHEST = 64
NAMES = {
    SIGHUP: "SIGHUP",
    SIGINT: "SIGINT",
    SIGQUIT: "SIGQUIT",
    SIGILL: "SIGILL",
    SIGTRAP: "SIGTRAP",
    SIGABRT: "SIGABRT",
    SIGBUS: "SIGBUS",
    SIGFPE: "SIGFPE",
    SIGKILL: "SIGKILL",
    SIGUSR1: "SIGUSR1",
    SIGSEGV: "SIGSEGV",
    SIGUSR2: "SIGUSR2",
    SIGPIPE: "SIGPIPE",
    SIGALRM: "SIGALRM",
    SIGTERM: "SIGTERM",
    SIGCHLD: "SIGCHLD",
    SIGCONT: "SIGCONT",
    SIGURG: "SIGURG",
    SIGPROF: "SIGPROF",
}
SEGV_MAPERR = 1
"""siginfo's code for an address at which nothing is mapped."""

_IGNORED_BY_DEFAULT = {SIGCHLD, SIGCONT, SIGURG, SIGWINCH}
_SIG_DFL, _SIG_IGN = 0, 1
_SA_ONSTACK, _SA_NODEFER, _SA_RESETHAND = 0x08000000, 0x40000000, 0x80000000
_MAX_NESTED = 64
_SIGINFO_SIZE = 128
_RED_ZONE = 128
"""Bytes below the stack pointer that amd64's code may use; a frame is put below them."""

# Offsets in ucontext_t: on amd64 the registers come before the mask, on arm64 and riscv64 behind it.
_AMD64_MCONTEXT, _AMD64_MCONTEXT_SIZE = 40, 256
_AMD64_SIGMASK = _AMD64_MCONTEXT + _AMD64_MCONTEXT_SIZE
_SIGMASK, _MCONTEXT = 40, 176
_ARM64_FAULT_ADDRESS_SIZE = 8
"""The fault address comes before the registers."""
_ARM64_RESERVED = 64
_RISCV64_FLOATS = 528
"""Bytes of the floating-point registers, behind the others."""
_ARM64_FLAGS = 0xF0000000
_AMD64_CS, _AMD64_SS = 0x33, 0x2B
_AMD64_PAGE_FAULT = 14
"""The number of the processor's exception."""
_AMD64_REGISTERS: tuple[str, ...] = (
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
_ARM64_REGISTERS = (*(f"x{i}" for i in range(31)), "sp", "pc")


@frozen
class Action:
    """A program's wish for a signal: the kernel's struct sigaction."""

    handler: int = _SIG_DFL
    flags: int = 0
    restorer: int = 0
    mask: int = 0

    @property
    def is_handled(self) -> bool:
        """True when the program has a handler for it."""
        return self.handler not in (_SIG_DFL, _SIG_IGN)


@frozen
class Killed:
    """A signal ends the program: with this status, for this reason."""

    status: int
    detail: str


class Signals:
    """The actions of one process, and what happens when a signal arrives."""

    def __init__(self, machine: Machine) -> None:
        self.actions: dict[int, Action] = {}
        self.trampoline: int = 0
        """arm64 and riscv64: where a handler returns to that gave no address itself."""
        self._machine = machine
        self._is_amd64 = machine.arch.name == "amd64"

    def action(self, signo: int) -> Action:
        """Returns what the program wants done with the signal."""
        return self.actions.get(signo) or Action()

    def deliver(self, thread: Thread, signal: Signal) -> Killed | None:
        """Make the thread, which is not running, enter its handler, or do what the signal does without one.

        Returns why the program ends, when it does.
        """
        signo = signal.number
        action = self.action(signo)
        if not action.is_handled:
            if action.handler == _SIG_IGN or signo in _IGNORED_BY_DEFAULT:
                return None
            return Killed(128 + signo, f"{_name(signo)}, for which the program has no handler")
        sp = self._machine.in_context(thread.context, self._machine.arch.sp)
        base, size = thread.altstack
        if action.flags & _SA_ONSTACK and size and not base <= sp < base + size:
            sp = base + size
        elif self._is_amd64:
            sp -= _RED_ZONE
        if self._machine.arch.word == 4:
            trap = _AMD64_PAGE_FAULT if signo == SIGSEGV else 0
            entered = signal386.enter(self._machine, thread, signal, action.handler, action.restorer, sp, trap)
        else:
            enter = self._enter_amd64 if self._is_amd64 else self._enter_linked
            entered = enter(thread, signal, action, sp)
        if entered is None:
            return Killed(128 + SIGSEGV, f"{_name(signo)} could not be delivered: no stack for its handler")
        if len(thread.frames) >= _MAX_NESTED:
            return Killed(128 + SIGSEGV, f"more than {_MAX_NESTED} signal handlers nested in thread {thread.tid}")
        ucontext, registers = entered
        thread.frames.append(Frame(ucontext, self._machine.copy(thread.context)))
        for register, value in registers.items():
            self._machine.set_in(thread.context, register, value)
        thread.sigmask |= action.mask | (0 if action.flags & _SA_NODEFER else 1 << (signo - 1))
        if action.flags & _SA_RESETHAND:
            self.actions[signo] = Action()
        return None

    def _enter_amd64(
        self, thread: Thread, signal: Signal, action: Action, sp: int
    ) -> tuple[int, dict[str, int]] | None:
        """Write the frame. Returns the address of its ucontext and the handler's registers; None without room."""
        m = self._machine
        base, size = thread.altstack
        trap = _AMD64_PAGE_FAULT if signal.number == SIGSEGV else 0
        registers = struct.pack("<18Q", *(m.in_context(thread.context, r) for r in _AMD64_REGISTERS))
        registers += struct.pack("<HHHHQQQQQ", _AMD64_CS, 0, 0, _AMD64_SS, 0, trap, thread.sigmask, signal.address, 0)
        ucontext = struct.pack("<QQQQQ", 0, 0, base, 0, size)
        ucontext += registers.ljust(_AMD64_MCONTEXT_SIZE, b"\0") + struct.pack("<Q", thread.sigmask)
        at = ((sp - 8 - len(ucontext) - _SIGINFO_SIZE) & ~15) - 8
        if not m.write(at, struct.pack("<Q", action.restorer) + ucontext + _siginfo(signal)):
            return None
        ucontext_at = at + 8
        return ucontext_at, {
            "rdi": signal.number,
            "rsi": ucontext_at + len(ucontext),
            "rdx": ucontext_at,
            "rsp": at,
            "rip": action.handler,
            "rax": 0,
        }

    def _enter_linked(
        self, thread: Thread, signal: Signal, action: Action, sp: int
    ) -> tuple[int, dict[str, int]] | None:
        """As `_enter_amd64`, for processors that keep a call's return address in a register."""
        m, arch = self._machine, self._machine.arch
        base, size = thread.altstack
        ucontext = struct.pack("<QQQQQQ", 0, 0, base, 0, size, thread.sigmask).ljust(_MCONTEXT, b"\0")
        if arch.name == "arm64":
            registers = struct.pack(
                "<Q33QQ",
                signal.address,
                *(m.in_context(thread.context, r) for r in _ARM64_REGISTERS),
                m.in_context(thread.context, "nzcv") & _ARM64_FLAGS,
            )
            ucontext += registers + bytes(_ARM64_RESERVED)
        else:
            ucontext += struct.pack("<32Q", *(m.in_context(thread.context, r) for r in arch.registers))
            ucontext += bytes(_RISCV64_FLOATS)
        at = (sp - len(ucontext) - _SIGINFO_SIZE) & ~15
        if not m.write(at, _siginfo(signal) + ucontext):
            return None
        ucontext_at = at + _SIGINFO_SIZE
        return ucontext_at, {
            arch.call_args[0]: signal.number,
            arch.call_args[1]: at,
            arch.call_args[2]: ucontext_at,
            arch.sp: at,
            arch.pc: action.handler,
            arch.link: action.restorer or self.trampoline,
        }

    def sigreturn(self, thread: Thread) -> Killed | None:
        """Go back to where the thread was interrupted, with the registers that the handler left in the frame.

        Returns why the program ends, when there is no frame to go back to.
        """
        m = self._machine
        if not thread.frames:
            return Killed(128 + SIGSEGV, "rt_sigreturn outside of a signal handler")
        frame = thread.frames.pop()
        if m.arch.word == 4:
            return self._sigreturn_386(thread, frame)
        if self._is_amd64:
            names, at, mask_at = _AMD64_REGISTERS, _AMD64_MCONTEXT, _AMD64_SIGMASK
        elif m.arch.name == "arm64":
            names, at, mask_at = _ARM64_REGISTERS, _MCONTEXT + _ARM64_FAULT_ADDRESS_SIZE, _SIGMASK
        else:
            names, at, mask_at = m.arch.registers, _MCONTEXT, _SIGMASK
        raw = m.read(frame.ucontext + at, 8 * len(names))
        mask = m.u64(frame.ucontext + mask_at)
        if raw is None or mask is None:
            return Killed(128 + SIGSEGV, "the frame of a signal handler is gone")
        for name, value in zip(names, struct.unpack(f"<{len(names)}Q", raw), strict=True):
            m.set_in(frame.context, name, value)
        thread.context = frame.context
        thread.sigmask = mask
        return None

    def _sigreturn_386(self, thread: Thread, frame: Frame) -> Killed | None:
        m = self._machine
        raw, mask = m.read(frame.ucontext, signal386.SIGMASK), m.u64(frame.ucontext + signal386.SIGMASK)
        if raw is None or mask is None:
            return Killed(128 + SIGSEGV, "the frame of a signal handler is gone")
        registers = struct.unpack_from(f"<{len(signal386.REGISTERS)}I", raw, signal386.FIRST)
        for name, value in zip(signal386.REGISTERS, registers, strict=True):
            m.set_in(frame.context, name, value)
        eip, _, eflags = struct.unpack_from("<3I", raw, signal386.EIP)
        m.set_in(frame.context, "eip", eip)
        m.set_in(frame.context, "eflags", eflags)
        thread.context = frame.context
        thread.sigmask = mask
        return None


def _name(signo: int) -> str:
    return NAMES.get(signo, f"signal {signo}")


def _siginfo(signal: Signal) -> bytes:
    return struct.pack("<iiiiQ", signal.number, 0, signal.code, 0, signal.address).ljust(_SIGINFO_SIZE, b"\0")
