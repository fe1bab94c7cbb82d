"""The differences between the processors: register names, the calling convention, the way into the kernel."""

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
    """Holds the address of thread-local storage on Linux; empty where a segment has it."""
    g: str
    """Holds g while Go code runs; empty where only thread-local storage has it at all times."""
    link: str
    """Holds a call's return address; empty where it is on the stack."""
    call_args: tuple[str, ...]
    """C's registers for arguments; none where they are on the stack."""
    first_argument: str
    """Go's register for the first argument (ABIInternal); empty where it is on the stack."""
    word: int
    """Bytes of an address."""
    top: int
    """The first address that no program can use."""
    stack_top: int
    first_place: int
    """Mappings without a wish are placed from here downwards, as Linux does."""
    syscall_exception: int | None
    """unicorn's number of the exception that the system call's instruction makes; None where it has a hook of its own."""


_TOP = {"word": 8, "top": 1 << 47, "stack_top": 0x7FFFFFFFF000, "first_place": 0x7FFFF7E00000}
_TOP_32 = {"word": 4, "top": 0xC0000000, "stack_top": 0xBFFFF000, "first_place": 0xB7E00000}

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
    **_TOP,
    syscall_exception=None,
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
    **_TOP,
    syscall_exception=2,
)
RISCV64 = Arch(
    name="riscv64",
    uc_arch="UC_ARCH_RISCV",
    uc_mode="UC_MODE_RISCV64",
    const="unicorn.riscv_const",
    prefix="UC_RISCV_REG_",
    registers=(
        *("pc", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1"),
        *(f"a{i}" for i in range(8)),
        *(f"s{i}" for i in range(2, 12)),
        *("t3", "t4", "t5", "t6"),
    ),
    pc="pc",
    sp="sp",
    result="a0",
    syscall_number="a7",
    syscall_args=("a0", "a1", "a2", "a3", "a4", "a5"),
    tls="tp",
    g="s11",
    link="ra",
    call_args=tuple(f"a{i}" for i in range(8)),
    first_argument="a0",
    **_TOP,
    syscall_exception=8,
)
"""Its registers are in the order in which the kernel puts them into a signal's frame."""
I386 = Arch(
    name="386",
    uc_arch="UC_ARCH_X86",
    uc_mode="UC_MODE_32",
    const="unicorn.x86_const",
    prefix="UC_X86_REG_",
    registers=("eax", "ebx", "ecx", "edx", "esi", "edi", "ebp", "esp", "eip", "eflags", "gs"),
    pc="eip",
    sp="esp",
    result="eax",
    syscall_number="eax",
    syscall_args=("ebx", "ecx", "edx", "esi", "edi", "ebp"),
    tls="",
    g="",
    link="",
    call_args=(),
    first_argument="",
    **_TOP_32,
    syscall_exception=0x80,
)
ARCHES: dict[str, Arch] = {arch.name: arch for arch in (AMD64, ARM64, RISCV64, I386)}
