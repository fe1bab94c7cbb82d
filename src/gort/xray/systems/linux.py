"""Linux: what it does before a program's first instruction, and how its system calls are answered.

Follows fs/binfmt_elf.c: the stack gets the arguments, the environment and the auxiliary vector. A position-independent
program is relocated here, as its dynamic loader would do first. A program that really needs libraries (cgo) is started
through its own loader, which runs in the emulator (linux_loader.py). Where that loader is not to be had, the imports are
bound to addresses at which the program stops with the name of the function that it calls (imports.py).

The calls themselves are in linux_memory.py, linux_threads.py and linux_files.py; what fits none of them is here. A call
that is nowhere gets ENOSYS, as from an older kernel, and is counted in `unknown` for the report.
"""

from __future__ import annotations

import os
import struct

from gort.xray.emulate.clock import SECOND
from gort.xray.emulate.errno import EAFNOSUPPORT, EFAULT, EINVAL, ENOSYS, EPERM
from gort.xray.emulate.memory import EXEC, PAGE, READ
from gort.xray.emulate.process import Process
from gort.xray.emulate.thread import Thread
from gort.xray.errors import XrayError
from gort.xray.file.image import Image, ProgramHeaders
from gort.xray.systems.calls import BLOCKED, REPLACED, Observer
from gort.xray.systems.linux_files import FileCalls
from gort.xray.systems.linux_loader import BASE, MAPS, find_interpreter, maps
from gort.xray.systems.linux_memory import MemoryCalls
from gort.xray.systems.linux_numbers import SYSCALLS
from gort.xray.systems.linux_threads import SYSCALL_SIZE, TLS_ENTRY, ThreadCalls
from gort.xray.systems.sysroot import Sysroot
from gort.xray.systems.system import System

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gort.xray.systems.calls import Handler

_MAX_CALLS = 1_000_000
"""A bound of its own: to answer a call takes as much time as to emulate thousands of instructions."""
_TRAMPOLINE = 0x7FFFF7FFE000
_RT_SIGRETURN = {"arm64": bytes.fromhex("681180d2010000d4"), "riscv64": bytes.fromhex("9308b00873000000")}
"""mov x8, #139; svc #0. li a7, 139; ecall. Handlers return to it; amd64's programs bring their own."""
_VSYSCALL = 0xFFFFFFFFFF600000
"""The page above user memory that older programs call on amd64; Go to 1.15 does where it finds no vDSO."""
_VSYSCALL_STEP = 1024
_VSYSCALL_CODE = (bytes.fromhex("48c7c0600000000f05c3"), bytes.fromhex("48c7c0c90000000f05c3"))
"""gettimeofday and time: mov rax, number; syscall; ret."""
_MAX_STRINGS = 128 << 10

_AT_NULL, _AT_PHDR, _AT_PHENT, _AT_PHNUM, _AT_PAGESZ, _AT_BASE, _AT_FLAGS, _AT_ENTRY = 0, 3, 4, 5, 6, 7, 8, 9
_AT_UID, _AT_EUID, _AT_GID, _AT_EGID, _AT_PLATFORM, _AT_HWCAP, _AT_CLKTCK = 11, 12, 13, 14, 15, 16, 17
_AT_SECURE, _AT_RANDOM, _AT_EXECFN = 23, 25, 31
_HWCAP = {"amd64": 0x178BFBFF, "arm64": 0x3, "riscv64": 0x112D, "386": 0x178BFBFF}
"""Processor features. arm64: FP and ASIMD, no LSE atomics; Go then uses exclusive loads, which the emulator has. riscv64:
the letters I, M, A, F, D and C."""
_PLATFORMS = {"amd64": "x86_64", "arm64": "aarch64", "riscv64": "riscv64", "386": "i686"}
_TICKS_PER_SECOND = 100
_RANDOM_SIZE = 16

_RLIMIT_STACK, _RLIMIT_NOFILE = 3, 7
_RLIM_INFINITY = 2**64 - 1
_LIMITS = {_RLIMIT_NOFILE: (1024, 4096), _RLIMIT_STACK: (8 << 20, _RLIM_INFINITY)}
"""Soft and hard limits; all others are unlimited."""
_CAPABILITY_VERSION = 0x20080522
_CAPABILITIES = (1 << 41) - 1
"""Root has all of them."""
_UTSNAME_FIELD = 65
_RUSAGE_SIZE = 144
_RETURN_0 = ("getuid", "geteuid", "getgid", "getegid", "setrlimit")
_REFUSED = ("fork", "vfork", "execve", "wait4", "sched_setaffinity")
"""Calls that fail with EPERM."""


class Linux(System):
    """Linux. `exe` is the program's path as the program itself sees it; `sysroot` has the libraries that it may load."""

    def __init__(
        self, process: Process, exe: str, observer: Observer | None = None, sysroot: Sysroot | None = None
    ) -> None:
        super().__init__(process, observer)
        self._sysroot = sysroot
        self._interpreter: Image | None = None
        """The program's loader, which is started in its place."""
        memory, threads, files = MemoryCalls, ThreadCalls, FileCalls
        if self.machine.arch.word == 4:
            from gort.xray.systems.linux386 import Files386, Memory386, Threads386  # here, because few programs need it

            memory, threads, files = Memory386, Threads386, Files386
        self.handlers: dict[str, Handler] = {
            **dict.fromkeys(_RETURN_0, self._zero),
            **dict.fromkeys(_REFUSED, self._refuse),
            **memory(process, self.observer).methods("sys_"),
            **threads(process, self.observer).methods("sys_"),
            **files(process, self.observer, exe).methods("sys_"),
            **self.methods("sys_"),
        }
        """System call -> what answers it."""
        self._names = SYSCALLS[self.machine.arch.name]

    # -- before the first instruction --------------------------------------------------------------------------

    def setup(self, image: Image, argv: list[str], env: list[str]) -> Thread:
        """As `System.setup`. The observer is told when the first thread begins in the program's loader."""
        thread = super().setup(image, argv, env)
        if self._interpreter is not None:
            self.observer.loading(os.path.basename(image.interpreter), self._interpreter.entry)
        return thread

    def _load(self, image: Image, relocate: bool = True) -> None:
        memory = self.machine.memory
        self.process.files.made[MAPS] = lambda: maps(memory)
        if self._sysroot is not None:
            self._interpreter = find_interpreter(image, self._sysroot)
        if self._interpreter is None:
            super()._load(image, relocate)
            return
        super()._load(image, relocate=False)
        with self._interpreter as interpreter:
            super()._load(interpreter, relocate=False)
        self.process.files.libraries = self._sysroot

    def _start(self, image: Image) -> int:
        return image.entry if self._interpreter is None else self._interpreter.entry

    def _prepare(self, image: Image, argv: list[str], env: list[str]) -> None:
        m = self.machine
        if m.arch.link:
            m.memory.load(_TRAMPOLINE, PAGE, READ | EXEC, _RT_SIGRETURN[m.arch.name])
            self.process.signals.trampoline = _TRAMPOLINE
        elif self.is_amd64:
            m.memory.load_above(_VSYSCALL, b"".join(code.ljust(_VSYSCALL_STEP, b"\xcc") for code in _VSYSCALL_CODE))
        if image.imports and image.word == 4:
            raise XrayError(f"{image.path}: {image.arch} programs that are linked to libc are not emulated")
        if image.imports and self._interpreter is None:
            from gort.xray.systems.imports import Libc  # here, because only cgo programs need it

            Libc(self.process, image).bind(image)
        m.set_reg(m.arch.sp, self._fill_stack(image, argv, env))

    def _fill_stack(self, image: Image, argv: list[str], env: list[str]) -> int:
        """Write arguments, environment and auxiliary vector. Returns the stack pointer."""
        memory = self.machine.memory
        strings = [s.encode("utf-8", "surrogateescape") + b"\0" for s in (*argv, *env)]
        if sum(map(len, strings)) > _MAX_STRINGS or any(b"\0" in s[:-1] for s in strings):
            raise XrayError("the arguments and environment are longer than 128 KiB or hold zero bytes")
        self.process.files.made["/proc/self/cmdline"] = lambda: b"".join(strings[: len(argv)])
        name = strings[0] if argv else b"\0"
        at = self.machine.arch.stack_top - 8 - len(name)
        execfn = at
        memory.write(at, name)
        places: list[int] = []
        at -= sum(map(len, strings))
        spot = at
        for s in strings:
            memory.write(spot, s)
            places.append(spot)
            spot += len(s)
        platform = (at & ~15) - 16
        memory.write(platform, _PLATFORMS[self.machine.arch.name].encode() + b"\0")
        random = platform - _RANDOM_SIZE
        memory.write(random, self.process.files.random_bytes(_RANDOM_SIZE))
        words = [len(argv), *places[: len(argv)], 0, *places[len(argv) :], 0]
        headers = image.program_headers or ProgramHeaders(0, 0, 0)
        for pair in (
            (_AT_HWCAP, _HWCAP[self.machine.arch.name]),
            (_AT_PAGESZ, PAGE),
            (_AT_CLKTCK, _TICKS_PER_SECOND),
            (_AT_PHDR, headers.address),
            (_AT_PHENT, headers.entry_size),
            (_AT_PHNUM, headers.count),
            (_AT_BASE, BASE if self._interpreter is not None else 0),
            (_AT_FLAGS, 0),
            (_AT_ENTRY, image.entry),
            (_AT_UID, 0),
            (_AT_EUID, 0),
            (_AT_GID, 0),
            (_AT_EGID, 0),
            (_AT_SECURE, 0),
            (_AT_RANDOM, random),
            (_AT_EXECFN, execfn),
            (_AT_PLATFORM, platform),
            (_AT_NULL, 0),
        ):
            words += pair
        word = self.machine.arch.word
        sp = (random - word * len(words)) & ~15
        memory.write(sp, struct.pack(f"<{len(words)}{'Q' if word == 8 else 'I'}", *words))
        return sp

    def before_slice(self) -> None:
        """Put the descriptor of the thread whose turn begins into the table."""
        thread = self.process.current
        if thread.tls:
            self.machine.set_segment(TLS_ENTRY, thread.tls)

    # -- system calls ------------------------------------------------------------------------------------------

    def syscall(self) -> None:
        """Decode the call, answer it, and return to the program as the kernel does."""
        m, arch = self.machine, self.machine.arch
        r = m.registers()
        number = r[arch.syscall_number]
        args = tuple(r[a] for a in arch.syscall_args)
        name = self._names.get(number) or f"syscall {number & 0xFFFFFFFF}"
        if self._count_call() > _MAX_CALLS:
            detail = f"more than {_MAX_CALLS:,} system calls: the program seems to do nothing else"
            self.process.end("steps", 0, detail)
            return
        handler = self.handlers.get(name)
        if handler is None:
            self.unknown[name] = self.unknown.get(name, 0) + 1
            result = -ENOSYS
        else:
            result = handler(*args)
        self.observer.syscall(name, args, result)
        if result == REPLACED:
            return
        if self.is_amd64:  # what the SYSCALL instruction itself leaves there
            m.set_reg("rcx", r["rip"] + SYSCALL_SIZE)
            m.set_reg("r11", r["rflags"])
        if result != BLOCKED:
            m.set_reg(arch.result, result)

    def _zero(self, *_: int) -> int:
        return 0

    def _refuse(self, *_: int) -> int:
        return -EPERM

    def sys_socket(self, *_: int) -> int:
        return -EAFNOSUPPORT

    def sys_capget(self, header: int, data: int, *_: int) -> int:
        raw = self.machine.read(header, 4)
        if raw is None:
            return -EFAULT
        if int.from_bytes(raw, "little") != _CAPABILITY_VERSION:  # the kernel writes its own version there
            known = self.machine.write_u32(header, _CAPABILITY_VERSION)
            return (0 if not data else -EINVAL) if known else -EFAULT
        low, high = _CAPABILITIES & 0xFFFFFFFF, _CAPABILITIES >> 32
        sets = struct.pack("<6I", low, low, 0, high, high, 0)  # effective, permitted, inheritable
        return 0 if self.machine.write(data, sets) else -EFAULT

    def sys_getrandom(self, buf: int, n: int, *_: int) -> int:
        n = min(n, 1 << 16)
        return n if self.machine.write(buf, self.process.files.random_bytes(n)) else -EFAULT

    def sys_uname(self, buf: int, *_: int) -> int:
        fields = ("Linux", "xray", "6.1.0", "#1", _PLATFORMS[self.machine.arch.name], "")
        raw = b"".join(f.encode().ljust(_UTSNAME_FIELD, b"\0") for f in fields)
        return 0 if self.machine.write(buf, raw) else -EFAULT

    def sys_prlimit64(self, _pid: int, what: int, _new: int, old: int, *_: int) -> int:
        if old:
            limits = _LIMITS.get(what, (_RLIM_INFINITY, _RLIM_INFINITY))
            return 0 if self.machine.write(old, struct.pack("<QQ", *limits)) else -EFAULT
        return 0

    def sys_getrlimit(self, what: int, old: int, *_: int) -> int:
        if self.machine.arch.word == 4:
            limits = (min(limit, 2**32 - 1) for limit in _LIMITS.get(what, (_RLIM_INFINITY, _RLIM_INFINITY)))
            return 0 if self.machine.write(old, struct.pack("<II", *limits)) else -EFAULT
        return self.sys_prlimit64(0, what, 0, old)

    def sys_getrusage(self, _who: int, buf: int, *_: int) -> int:
        seconds, ns = divmod(self.clock.now, SECOND)
        raw = struct.pack("<qq", seconds, ns // 1000).ljust(_RUSAGE_SIZE, b"\0")
        return 0 if self.machine.write(buf, raw) else -EFAULT
