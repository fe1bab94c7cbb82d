"""What differs between the two processors: register names, the calling convention, system calls, signal frames.

Numbers of system calls follow the kernel's tables (arch/x86/entry/syscalls, include/uapi/asm-generic/unistd.h); only those
that a Go program may make are named, all others are answered with ENOSYS.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Arch:
    name: str
    uc_arch: str
    uc_mode: str
    const: str
    """The module of unicorn that has the register numbers."""
    prefix: str
    gprs: tuple[str, ...]
    pc: str
    sp: str
    ret: str
    """Where a system call's result goes."""
    number: str
    args: tuple[str, ...]
    tls: str
    g: str
    """The register that holds g in compiled Go code."""
    link: str
    """The register that holds a call's return address; empty where it is on the stack."""
    call_args: tuple[str, ...]
    """C's registers for arguments (for imported functions)."""
    hwcap: int
    syscalls: dict[int, str] = field(repr=False, default_factory=dict)


_AMD64 = {
    0: "read", 1: "write", 2: "open", 3: "close", 4: "stat", 5: "fstat", 6: "lstat", 7: "poll", 8: "lseek", 9: "mmap",
    10: "mprotect", 11: "munmap", 12: "brk", 13: "rt_sigaction", 14: "rt_sigprocmask", 15: "rt_sigreturn", 16: "ioctl",
    17: "pread64", 18: "pwrite64", 20: "writev", 21: "access", 22: "pipe", 24: "sched_yield", 27: "mincore", 28: "madvise",
    32: "dup", 33: "dup2", 35: "nanosleep", 38: "setitimer", 39: "getpid", 41: "socket", 56: "clone", 57: "fork",
    58: "vfork", 59: "execve", 60: "exit", 61: "wait4", 62: "kill", 63: "uname", 72: "fcntl", 79: "getcwd",
    89: "readlink", 96: "gettimeofday", 97: "getrlimit", 98: "getrusage", 102: "getuid", 104: "getgid", 107: "geteuid",
    108: "getegid", 110: "getppid", 131: "sigaltstack", 157: "prctl", 158: "arch_prctl", 160: "setrlimit", 186: "gettid",
    200: "tkill", 201: "time", 202: "futex", 203: "sched_setaffinity", 204: "sched_getaffinity", 217: "getdents64",
    218: "set_tid_address", 222: "timer_create", 223: "timer_settime", 226: "timer_delete", 228: "clock_gettime",
    230: "clock_nanosleep", 231: "exit_group", 233: "epoll_ctl", 234: "tgkill", 257: "openat", 262: "newfstatat",
    267: "readlinkat", 269: "faccessat", 273: "set_robust_list", 281: "epoll_pwait", 288: "accept4", 290: "eventfd2",
    291: "epoll_create1", 292: "dup3", 293: "pipe2", 302: "prlimit64", 318: "getrandom", 332: "statx", 334: "rseq",
    435: "clone3",
}
_ARM64 = {
    17: "getcwd", 19: "eventfd2", 20: "epoll_create1", 21: "epoll_ctl", 22: "epoll_pwait", 23: "dup", 24: "dup3",
    25: "fcntl", 29: "ioctl", 48: "faccessat", 56: "openat", 57: "close", 59: "pipe2", 61: "getdents64", 62: "lseek",
    63: "read", 64: "write", 66: "writev", 67: "pread64", 68: "pwrite64", 78: "readlinkat", 79: "newfstatat", 80: "fstat",
    93: "exit", 94: "exit_group", 96: "set_tid_address", 98: "futex", 99: "set_robust_list", 101: "nanosleep",
    103: "setitimer", 107: "timer_create", 110: "timer_settime", 111: "timer_delete", 113: "clock_gettime",
    115: "clock_nanosleep", 122: "sched_setaffinity", 123: "sched_getaffinity", 124: "sched_yield", 129: "kill",
    130: "tkill", 131: "tgkill", 132: "sigaltstack", 134: "rt_sigaction", 135: "rt_sigprocmask", 139: "rt_sigreturn",
    160: "uname", 163: "getrlimit", 164: "setrlimit", 165: "getrusage", 167: "prctl", 169: "gettimeofday", 172: "getpid",
    173: "getppid", 174: "getuid", 175: "geteuid", 176: "getgid", 177: "getegid", 178: "gettid", 198: "socket",
    214: "brk", 215: "munmap", 220: "clone", 221: "execve", 222: "mmap", 226: "mprotect", 232: "mincore", 233: "madvise",
    242: "accept4", 260: "wait4", 261: "prlimit64", 278: "getrandom", 291: "statx", 293: "rseq", 435: "clone3",
}

AMD64 = Arch(
    "amd64", "UC_ARCH_X86", "UC_MODE_64", "unicorn.x86_const", "UC_X86_REG_",
    ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
     "rip", "rflags", "fs_base", "gs_base"),
    "rip", "rsp", "rax", "rax", ("rdi", "rsi", "rdx", "r10", "r8", "r9"), "fs_base", "r14", "",
    ("rdi", "rsi", "rdx", "rcx", "r8", "r9"), 0x178BFBFF, _AMD64,
)
ARM64 = Arch(
    "arm64", "UC_ARCH_ARM64", "UC_MODE_ARM", "unicorn.arm64_const", "UC_ARM64_REG_",
    (*(f"x{i}" for i in range(31)), "sp", "pc", "nzcv", "tpidr_el0"),
    "pc", "sp", "x0", "x8", ("x0", "x1", "x2", "x3", "x4", "x5"), "tpidr_el0", "x28", "x30",
    tuple(f"x{i}" for i in range(8)), 0x3, _ARM64,  # FP and ASIMD, no LSE atomics: Go then uses exclusive loads
)
ARCHES = {"amd64": AMD64, "arm64": ARM64}
