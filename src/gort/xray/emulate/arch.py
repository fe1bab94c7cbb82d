"""The differences between the two processors: register names, the calling convention, the way into the kernel."""

from __future__ import annotations

from gort.xray.record import frozen


@frozen
class Arch:
    """One processor. Registers are named as unicorn names them, in lower case."""

    name: str
    uc_arch: str
    """unicorn's name of the processor."""
    uc_mode: str
    const: str
    """The module of unicorn that has the numbers of registers."""
    prefix: str
    """The beginning of a register's name in that module."""
    registers: tuple[str, ...]
    pc: str
    sp: str
    result: str
    """Holds the result of a system call, and of a C function."""
    syscall_number: str
    syscall_args: tuple[str, ...]
    tls: str
    """Holds the address of thread-local storage on Linux."""
    g: str
    """Holds g while Go code runs; empty where only thread-local storage has it at all times."""
    link: str
    """Holds a call's return address; empty where it is on the stack."""
    call_args: tuple[str, ...]
    """C's registers for arguments."""
    first_argument: str
    """Go's register for the first argument (ABIInternal)."""


AMD64 = Arch(
    name="amd64",
    uc_arch="UC_ARCH_X86",
    uc_mode="UC_MODE_64",
    const="unicorn.x86_const",
    prefix="UC_X86_REG_",
    registers=(
        "rax",
        "rbx",
        "rcx",
        "rdx",
        "rsi",
        "rdi",
        "rbp",
        "rsp",
        "r8",
        "r9",
        "r10",
        "r11",
        "r12",
        "r13",
        "r14",
        "r15",
        "rip",
        "rflags",
        "fs_base",
        "gs_base",
    ),
    pc="rip",
    sp="rsp",
    result="rax",
    syscall_number="rax",
    syscall_args=("rdi", "rsi", "rdx", "r10", "r8", "r9"),
    tls="fs_base",
    g="",
    link="",
    call_args=("rdi", "rsi", "rdx", "rcx", "r8", "r9"),
    first_argument="rax",
)
ARM64 = Arch(
    name="arm64",
    uc_arch="UC_ARCH_ARM64",
    uc_mode="UC_MODE_ARM",
    const="unicorn.arm64_const",
    prefix="UC_ARM64_REG_",
    registers=(*(f"x{i}" for i in range(31)), "sp", "pc", "nzcv", "tpidr_el0", "tpidrro_el0"),
    pc="pc",
    sp="sp",
    result="x0",
    syscall_number="x8",
    syscall_args=("x0", "x1", "x2", "x3", "x4", "x5"),
    tls="tpidr_el0",
    g="x28",
    link="x30",
    call_args=tuple(f"x{i}" for i in range(8)),
    first_argument="x0",
)
ARCHES: dict[str, Arch] = {"amd64": AMD64, "arm64": ARM64}
