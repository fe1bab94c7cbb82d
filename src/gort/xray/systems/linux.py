"""The system calls of the emulated Linux: what a Go program asks of its kernel, answered without the host.

Each handler takes the six argument words and returns the result (a negative errno on failure), or `BLOCKED` when the
thread now waits, or `REPLACED` when its registers were replaced. A call that is not here gets ENOSYS, as from an
older kernel, and is remembered in `unknown` for the report.

Invariant: a handler reads and writes memory only through the machine's checked access (EFAULT otherwise), bounds
every length it is given, and touches nothing outside of the process object: no host file, clock, random numbers,
process or network.
"""

from __future__ import annotations

import struct

from gort.xray.emulate import signals
from gort.xray.emulate.process import EPOCH, Process
from gort.xray.emulate.vfs import File

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Observer = Callable[[str, tuple[int, ...], int], None]

BLOCKED = -(1 << 62)
REPLACED = -(1 << 62) - 1
EPERM, ENOENT, EINTR, EAGAIN, ENOMEM, EFAULT, EINVAL, ENOTTY, ENOSYS, ETIMEDOUT, EAFNOSUPPORT = (
    1,
    2,
    4,
    11,
    12,
    14,
    22,
    25,
    38,
    110,
    97,
)
_PATH_MAX = 4096
_MAX_CALLS = 1_000_000
"""A bound of its own: a call costs as much time here as thousands of instructions."""


class Linux:
    def __init__(self, process: Process, exe: str) -> None:
        self.p = process
        self.m = process.machine
        self.exe = exe
        self.unknown: dict[str, int] = {}
        self.observer: Observer | None = None
        self.on_clone: Callable[[int, int], None] | None = None
        self.calls = 0
        arch = self.m.arch
        self._names = arch.syscalls
        self._handlers: dict[str, Callable[..., int]] = {
            name: getattr(self, "sys_" + name) for name in set(arch.syscalls.values()) if hasattr(self, "sys_" + name)
        }
        self._amd64 = arch.name == "amd64"
        self.m.on_syscall = self.enter

    def enter(self) -> None:
        """The hook: decode, answer, return."""
        r = self.m.registers()
        arch = self.m.arch
        number = r[arch.number]
        args = tuple(r[a] for a in arch.args)
        name = self._names.get(number) or f"syscall {number & 0xFFFFFFFF}"
        handler = self._handlers.get(name)
        self.calls += 1
        if self.calls > _MAX_CALLS:
            self.p.end("steps", 0, f"more than {_MAX_CALLS:,} system calls: the program seems to do nothing else")
            return
        if handler is None:
            self.unknown[name] = self.unknown.get(name, 0) + 1
            result = -ENOSYS
        else:
            result = handler(*args)
        if self.observer is not None:
            self.observer(name, args, result)
        if result == REPLACED:
            return
        if self._amd64:
            self.m.set_reg("rcx", r["rip"] + 2)
            self.m.set_reg("r11", r["rflags"])
        if result != BLOCKED:
            self.m.set_reg(arch.ret, result)

    # -- memory ----------------------------------------------------------------------------------------------

    def sys_mmap(self, addr: int, size: int, prot: int, flags: int, fd: int, offset: int) -> int:
        mem = self.m.memory
        size = -(-size // 4096) * 4096
        if size <= 0 or size >= 1 << 47:
            return -EINVAL if size <= 0 else -ENOMEM
        contents = b""
        if not flags & 0x20:
            file = self.p.files.table.get(fd & 0xFFFFFFFF)
            if file is None or file.kind != "file":
                return -9
            contents = file.data[offset : offset + size]
        if flags & 0x10:
            start = addr
        elif addr and addr % 4096 == 0 and addr + size < 1 << 47 and mem.is_free(addr, size):
            start = addr
        else:
            start = mem.place(size)
        if not start or not mem.map(start, size, prot & 7):
            return -ENOMEM
        if contents:
            mem.protect(start, size, 3)
            self.m.write(start, contents)
            mem.protect(start, size, prot & 7)
        return start

    def sys_munmap(self, addr: int, size: int, *_: int) -> int:
        if addr % 4096 or not 0 < size < 1 << 47 or addr + size > 1 << 47:
            return -EINVAL
        self.m.memory.unmap(addr, size)
        return 0

    def sys_mprotect(self, addr: int, size: int, prot: int, *_: int) -> int:
        if addr % 4096 or size < 0 or addr + size > 1 << 47:
            return -EINVAL
        if size:
            self.m.memory.protect(addr, size, prot & 7)
        return 0

    def sys_madvise(self, addr: int, size: int, advice: int, *_: int) -> int:
        if advice == 4 and 0 < size <= 64 << 20 and addr % 4096 == 0:  # MADV_DONTNEED: reads as zeros afterwards
            area = self.m.memory.find(addr)
            if area is not None and addr + size <= area[1]:
                self.m.memory.unmap(addr, size)
                self.m.memory.map(addr, size, area[2])
        return 0

    def sys_brk(self, *_: int) -> int:
        return 0

    def sys_mincore(self, addr: int, size: int, vec: int, *_: int) -> int:
        area = self.m.memory.find(addr)
        if area is None or size > 1 << 24:
            return -ENOMEM
        return 0 if self.m.write(vec, b"\1" * -(-size // 4096)) else -EFAULT

    # -- threads ---------------------------------------------------------------------------------------------

    def sys_clone(self, flags: int, stack: int, parent_tid: int, a3: int, a4: int, *_: int) -> int:
        child_tid, tls = (a3, a4) if self._amd64 else (a4, a3)
        if not flags & 0x100 or not flags & 0x10000:
            return -EPERM  # without CLONE_VM it would be another process
        if sum(t.state != "dead" for t in self.p.threads) >= self.p.max_threads:
            return -EAGAIN
        m = self.m
        context = m.context()
        child = self.p.add_thread(context, self.p.current.tid)
        child.sigmask = self.p.current.sigmask
        if self._amd64:
            m.set_in(context, "rip", m.in_context(context, "rip") + 2)
            m.set_in(context, "rcx", m.in_context(context, "rip"))
        m.set_in(context, m.arch.ret, 0)
        if stack:
            m.set_in(context, m.arch.sp, stack)
        if flags & 0x80000:
            m.set_in(context, m.arch.tls, tls)
        tid = struct.pack("<I", child.tid)
        if flags & 0x100000:
            m.write(parent_tid, tid)
        if flags & 0x1000000:
            m.write(child_tid, tid)
        if flags & 0x200000:
            child.clear_tid = child_tid
        if self.on_clone is not None:
            self.on_clone(self.p.current.tid, child.tid)
        return child.tid

    def sys_exit(self, status: int, *_: int) -> int:
        t = self.p.current
        t.state = "dead"
        if t.clear_tid:
            self.m.write(t.clear_tid, bytes(4))
            self._futex_wake(t.clear_tid, 1)
        self.m.stop()
        if all(x.state == "dead" for x in self.p.threads):
            self.p.end("exit", status & 0xFF, "the last thread ended")
        return 0

    def sys_exit_group(self, status: int, *_: int) -> int:
        self.p.end("exit", status & 0xFF, "exit_group")
        return 0

    def _futex_wake(self, addr: int, n: int) -> int:
        return self.p.wake_waiting(lambda w: w[:2] == ("futex", addr), n)

    def sys_futex(self, addr: int, op: int, value: int, timeout: int, _a4: int, _a5: int) -> int:
        cmd = op & 0x7F
        if cmd in (0, 9):  # FUTEX_WAIT, FUTEX_WAIT_BITSET
            raw = self.m.read(addr, 4)
            if raw is None:
                return -EFAULT
            if struct.unpack("<I", raw)[0] != value & 0xFFFFFFFF:
                return -EAGAIN
            ns: int | None = None
            if timeout:
                ns = self._timespec(timeout)
                if ns is None:
                    return -EFAULT
                if cmd == 9:
                    ns -= self.p.now if not op & 0x100 else EPOCH + self.p.now
            self.p.block(("futex", addr), ns, -ETIMEDOUT)
            return BLOCKED
        if cmd in (1, 10):
            return self._futex_wake(addr, value & 0x7FFFFFFF)
        return -ENOSYS

    def sys_sched_yield(self, *_: int) -> int:
        if sum(t.state == "runnable" for t in self.p.threads) > 1:
            self.m.stop()
        return 0

    def sys_gettid(self, *_: int) -> int:
        return self.p.current.tid

    def sys_getpid(self, *_: int) -> int:
        return self.p.pid

    def sys_getppid(self, *_: int) -> int:
        return 1

    def sys_set_tid_address(self, addr: int, *_: int) -> int:
        self.p.current.clear_tid = addr
        return self.p.current.tid

    def sys_set_robust_list(self, *_: int) -> int:
        return 0

    def sys_sched_getaffinity(self, _pid: int, size: int, addr: int, *_: int) -> int:
        mask = ((1 << self.p.cpus) - 1).to_bytes(128, "little")
        need = -(-self.p.cpus // 64) * 8
        if size < need:
            return -EINVAL
        return need if self.m.write(addr, mask[:need]) else -EFAULT

    def sys_arch_prctl(self, code: int, addr: int, *_: int) -> int:
        reg = {0x1002: "fs_base", 0x1001: "gs_base"}.get(code)
        if reg is not None:
            if addr >= 1 << 47:
                return -EPERM
            self.m.set_reg(reg, addr)
            return 0
        reg = {0x1003: "fs_base", 0x1004: "gs_base"}.get(code)
        if reg is not None:
            return 0 if self.m.write(addr, struct.pack("<Q", self.m.reg(reg))) else -EFAULT
        return -EINVAL

    def sys_prctl(self, *_: int) -> int:
        return 0

    # -- time ------------------------------------------------------------------------------------------------

    def _timespec(self, addr: int) -> int | None:
        raw = self.m.read(addr, 16)
        if raw is None:
            return None
        sec, ns = struct.unpack("<qq", raw)
        return min(max(int(sec), 0), 1 << 33) * 1_000_000_000 + int(ns)

    def sys_clock_gettime(self, clock: int, addr: int, *_: int) -> int:
        now = self.p.now + (EPOCH if clock in (0, 5) else 0)
        return 0 if self.m.write(addr, struct.pack("<qq", *divmod(now, 1_000_000_000))) else -EFAULT

    def sys_gettimeofday(self, addr: int, *_: int) -> int:
        sec, ns = divmod(EPOCH + self.p.now, 1_000_000_000)
        return 0 if not addr or self.m.write(addr, struct.pack("<qq", sec, ns // 1000)) else -EFAULT

    def sys_time(self, addr: int, *_: int) -> int:
        now = (EPOCH + self.p.now) // 1_000_000_000
        return now if not addr or self.m.write(addr, struct.pack("<q", now)) else -EFAULT

    def sys_nanosleep(self, addr: int, *_: int) -> int:
        ns = self._timespec(addr)
        if ns is None:
            return -EFAULT
        self.p.block(("sleep",), ns, 0)
        return BLOCKED

    def sys_clock_nanosleep(self, _clock: int, flags: int, addr: int, *_: int) -> int:
        ns = self._timespec(addr)
        if ns is None:
            return -EFAULT
        self.p.block(("sleep",), ns - self.p.now if flags & 1 else ns, 0)
        return BLOCKED

    def sys_setitimer(self, *_: int) -> int:
        return 0

    # -- signals ---------------------------------------------------------------------------------------------

    def sys_rt_sigaction(self, signo: int, new: int, old: int, *_: int) -> int:
        if not 1 <= signo <= 64 or (new and signo in (9, 19)):
            return -EINVAL
        if old and not self.m.write(old, struct.pack("<4Q", *self.p.actions.get(signo, (0, 0, 0, 0)))):
            return -EFAULT
        if new:
            raw = self.m.read(new, 32)
            if raw is None:
                return -EFAULT
            self.p.actions[signo] = struct.unpack("<4Q", raw)
        return 0

    def sys_rt_sigprocmask(self, how: int, new: int, old: int, *_: int) -> int:
        t = self.p.current
        if old and not self.m.write(old, struct.pack("<Q", t.sigmask)):
            return -EFAULT
        if new:
            mask = self.m.u64(new)
            if mask is None:
                return -EFAULT
            t.sigmask = t.sigmask | mask if how == 0 else t.sigmask & ~mask if how == 1 else mask
            if t.pending:
                self.m.stop()
        return 0

    def sys_sigaltstack(self, new: int, old: int, *_: int) -> int:
        t = self.p.current
        if old and not self.m.write(old, struct.pack("<QQQ", t.altstack[0], 0 if t.altstack[1] else 2, t.altstack[1])):
            return -EFAULT
        if new:
            raw = self.m.read(new, 24)
            if raw is None:
                return -EFAULT
            base, flags, size = struct.unpack("<QQQ", raw)
            t.altstack = (0, 0) if flags & 2 else (base, min(size, 1 << 32))
        return 0

    def sys_rt_sigreturn(self, *_: int) -> int:
        self.p.replaced = signals.sigreturn(self.p, self.p.current)
        self.m.stop()
        return REPLACED

    def sys_tgkill(self, _pid: int, tid: int, signo: int, *_: int) -> int:
        return self.sys_tkill(tid, signo)

    def sys_tkill(self, tid: int, signo: int, *_: int) -> int:
        t = self.p.thread(tid)
        if t is None:
            return -3
        if not 0 <= signo <= 64:
            return -EINVAL
        if signo:
            self.p.send(t, signo)
        return 0

    def sys_kill(self, pid: int, signo: int, *_: int) -> int:
        if pid != self.p.pid:
            return -3
        return self.sys_tkill(self.p.threads[0].tid if self.p.threads[0].state != "dead" else self.p.current.tid, signo)

    # -- files -----------------------------------------------------------------------------------------------

    def _path(self, addr: int) -> str | None:
        out = b""
        while len(out) < _PATH_MAX:
            part = self.m.read(addr + len(out), 64 - (addr + len(out)) % 64)
            if part is None:
                return None
            head, sep, _ = part.partition(b"\0")
            out += head
            if sep:
                return out.decode("utf-8", "replace")
        return None

    def sys_openat(self, _dir: int, path: int, flags: int, *_: int) -> int:
        name = self._path(path)
        return -EFAULT if name is None else self.p.files.open(name, flags)

    def sys_open(self, path: int, flags: int, *_: int) -> int:
        return self.sys_openat(0, path, flags)

    def sys_access(self, *_: int) -> int:
        return -ENOENT

    sys_faccessat = sys_access

    def sys_readlinkat(self, _dir: int, path: int, buf: int, size: int, *_: int) -> int:
        if self._path(path) != "/proc/self/exe":
            return -ENOENT
        data = self.exe.encode()[: min(size, _PATH_MAX)]
        return len(data) if self.m.write(buf, data) else -EFAULT

    def sys_readlink(self, path: int, buf: int, size: int, *_: int) -> int:
        return self.sys_readlinkat(0, path, buf, size)

    def sys_getcwd(self, buf: int, size: int, *_: int) -> int:
        return -34 if size < 2 else 2 if self.m.write(buf, b"/\0") else -EFAULT

    def sys_read(self, fd: int, buf: int, n: int, *_: int) -> int:
        got = self.p.files.read(fd & 0xFFFFFFFF, n)
        if isinstance(got, int):
            return got
        return len(got) if self.m.write(buf, got) else -EFAULT

    def sys_pread64(self, fd: int, buf: int, n: int, offset: int, *_: int) -> int:
        file = self.p.files.table.get(fd & 0xFFFFFFFF)
        if file is None or file.kind != "file":
            return -29
        data = file.data[offset : offset + min(n, 1 << 20)]
        return len(data) if self.m.write(buf, data) else -EFAULT

    def sys_write(self, fd: int, buf: int, n: int, *_: int) -> int:
        data = self.m.read(buf, min(n, 1 << 20))
        if data is None:
            return -EFAULT
        result = self.p.files.write(fd & 0xFFFFFFFF, data)
        self._poll_waiters()
        return result

    def sys_writev(self, fd: int, iov: int, count: int, *_: int) -> int:
        total = 0
        for i in range(min(count, 64)):
            raw = self.m.read(iov + 16 * i, 16)
            if raw is None:
                return -EFAULT
            n = self.sys_write(fd, *struct.unpack("<QQ", raw))
            if n < 0:
                return n
            total += n
        return total

    def sys_close(self, fd: int, *_: int) -> int:
        return self.p.files.close(fd & 0xFFFFFFFF)

    def sys_lseek(self, fd: int, offset: int, whence: int, *_: int) -> int:
        file = self.p.files.table.get(fd & 0xFFFFFFFF)
        if file is None or file.kind != "file":
            return -29
        signed = offset - (1 << 64) if offset >> 63 else offset
        base = 0 if whence == 0 else file.pos if whence == 1 else len(file.data)
        if base + signed < 0:
            return -EINVAL
        file.pos = base + signed
        return file.pos

    def _stat(self, buf: int, file: File | None) -> int:
        mode, size = (0o100444, len(file.data)) if file and file.kind == "file" else (0o020620, 0)
        if self._amd64:
            raw = struct.pack("<QQQIIIIQqqq", 1, 1, 1, mode, 0, 0, 0, 0, size, 4096, 0).ljust(144, b"\0")
        else:
            raw = struct.pack("<QQIIIIQQqiiq", 1, 1, mode, 1, 0, 0, 0, 0, size, 4096, 0, 0).ljust(128, b"\0")
        return 0 if self.m.write(buf, raw) else -EFAULT

    def sys_fstat(self, fd: int, buf: int, *_: int) -> int:
        file = self.p.files.table.get(fd & 0xFFFFFFFF)
        return -9 if file is None else self._stat(buf, file)

    def sys_newfstatat(self, fd: int, path: int, buf: int, flags: int, *_: int) -> int:
        if flags & 0x1000 and not self._path(path):
            return self.sys_fstat(fd, buf)
        got = self.p.files.open(self._path(path) or "", 0)
        if got < 0:
            return got
        file = self.p.files.table.pop(got)
        return self._stat(buf, file)

    def sys_ioctl(self, *_: int) -> int:
        return -ENOTTY

    def sys_fcntl(self, fd: int, cmd: int, *_: int) -> int:
        if fd & 0xFFFFFFFF not in self.p.files.table:
            return -9
        if cmd in (0, 1030):
            return self.p.files.add(self.p.files.table[fd & 0xFFFFFFFF])
        return 2 if cmd == 3 else 0

    def sys_dup(self, fd: int, *_: int) -> int:
        file = self.p.files.table.get(fd & 0xFFFFFFFF)
        return -9 if file is None else self.p.files.add(file)

    def sys_pipe2(self, addr: int, *_: int) -> int:
        r, w = self.p.files.make_pipe()
        if r < 0 or w < 0:
            return min(r, w)
        return 0 if self.m.write(addr, struct.pack("<ii", r, w)) else -EFAULT

    sys_pipe = sys_pipe2

    def sys_eventfd2(self, value: int, *_: int) -> int:
        return self.p.files.add(File("eventfd", counter=value & 0xFFFFFFFF))

    def sys_epoll_create1(self, *_: int) -> int:
        return self.p.files.add(File("epoll"))

    def sys_epoll_ctl(self, epfd: int, op: int, fd: int, event: int, *_: int) -> int:
        ep = self.p.files.table.get(epfd & 0xFFFFFFFF)
        file = self.p.files.table.get(fd & 0xFFFFFFFF)
        if ep is None or ep.kind != "epoll" or file is None:
            return -9
        if file.kind not in ("eventfd", "pipe_r", "pipe_w"):
            return -EPERM
        if op == 2:
            ep.interest.pop(fd, None)
            return 0
        raw = self.m.read(event, 12 if self._amd64 else 16)
        if raw is None:
            return -EFAULT
        ep.interest[fd] = struct.unpack("<IQ", raw) if self._amd64 else struct.unpack("<I4xQ", raw)
        ep.reported.discard(fd)
        self._poll_waiters()
        return 0

    def _events(self, buf: int, events: list[tuple[int, int]]) -> int:
        form = "<IQ" if self._amd64 else "<I4xQ"
        return len(events) if self.m.write(buf, b"".join(struct.pack(form, *e) for e in events)) else -EFAULT

    def sys_epoll_pwait(self, epfd: int, buf: int, limit: int, timeout: int, *_: int) -> int:
        ep = self.p.files.table.get(epfd & 0xFFFFFFFF)
        if ep is None or ep.kind != "epoll":
            return -9
        events = self.p.files.poll(ep, min(max(limit, 1), 128))
        ms = timeout & 0xFFFFFFFF
        if events or ms == 0:
            return self._events(buf, events)
        self.p.block(("epoll", epfd, buf, min(max(limit, 1), 128)), None if ms >= 1 << 31 else ms * 1_000_000, 0)
        return BLOCKED

    def _poll_waiters(self) -> None:
        for t in self.p.threads:
            if t.state == "waiting" and t.wait[0] == "epoll":
                _, epfd, buf, limit = t.wait
                ep = self.p.files.table.get(epfd)
                events = self.p.files.poll(ep, limit) if ep is not None else []
                if events:
                    self.p.wake(t, self._events(buf, events))

    # -- the rest --------------------------------------------------------------------------------------------

    def sys_getrandom(self, buf: int, n: int, *_: int) -> int:
        n = min(n, 1 << 16)
        return n if self.m.write(buf, self.p.files.random_bytes(n)) else -EFAULT

    def sys_uname(self, buf: int, *_: int) -> int:
        fields = ("Linux", "xray", "6.1.0", "#1", "x86_64" if self._amd64 else "aarch64", "")
        raw = b"".join(f.encode().ljust(65, b"\0") for f in fields)
        return 0 if self.m.write(buf, raw) else -EFAULT

    def sys_prlimit64(self, _pid: int, what: int, _new: int, old: int, *_: int) -> int:
        if old:
            limits = (1024, 4096) if what == 7 else (8 << 20, 2**64 - 1) if what == 3 else (2**64 - 1, 2**64 - 1)
            return 0 if self.m.write(old, struct.pack("<QQ", *limits)) else -EFAULT
        return 0

    def sys_getrlimit(self, what: int, old: int, *_: int) -> int:
        return self.sys_prlimit64(0, what, 0, old)

    def sys_setrlimit(self, *_: int) -> int:
        return 0

    def sys_getrusage(self, _who: int, buf: int, *_: int) -> int:
        sec, ns = divmod(self.p.now, 1_000_000_000)
        return 0 if self.m.write(buf, struct.pack("<qq", sec, ns // 1000).ljust(144, b"\0")) else -EFAULT

    def _zero(self, *_: int) -> int:
        return 0

    sys_getuid = sys_geteuid = sys_getgid = sys_getegid = _zero

    def _refuse(self, *_: int) -> int:
        return -EPERM

    sys_fork = sys_vfork = sys_execve = sys_wait4 = sys_sched_setaffinity = _refuse

    def sys_socket(self, *_: int) -> int:
        return -EAFNOSUPPORT
