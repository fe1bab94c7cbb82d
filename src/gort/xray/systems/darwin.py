"""darwin: the functions of libSystem that a Go program calls while it boots.

Follows runtime/sys_darwin.go and os_darwin.go. Go calls them with C's convention on g0; an error is -1 with the
number in `__error`. Threads are those of process.py; mutexes and condition variables, on which Go's semaphores stand
here, are kept by address. Signals are accepted and not delivered: a goroutine that spins is not preempted. A function
that is not here ends the run with its name.

Rejected: emulating dyld; Go's imports are few, and are bound directly.
"""

from __future__ import annotations

import struct

from gort.xray.emulate.process import EPOCH, Process, Thread
from gort.xray.errors import XrayError
from gort.xray.file.image import Image
from gort.xray.systems.imports import Imports
from gort.xray.systems.linux import BLOCKED
from gort.xray.systems.loader import STACK_SIZE, STACK_TOP, load_segments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_TLS = 0x7FFFF5000000
"""The thread's own block: darwin's pthread_self, with the slots of thread-local storage."""

_THREAD_STACK = 512 << 10
_ETIMEDOUT = 60
_MIB = {(6, 3): "hw.ncpu", (6, 25): "hw.availcpu", (6, 7): "hw.pagesize", (1, 2): "kern.osrelease"}


class Darwin:
    def __init__(self, process: Process) -> None:
        self.p = process
        self.m = process.machine
        table: dict[str, Callable[..., int]] = {
            "_" + name.removeprefix("c_"): getattr(self, name) for name in dir(self) if name.startswith("c_")
        }
        self.imports = Imports(process, "libSystem", table, self.m.arch.call_args[:6])
        self.on_clone: Callable[[int, int], None] | None = None
        self._blocks = {0: _TLS}
        """Thread number -> its block of thread-local storage."""
        self._owners: dict[int, int] = {}
        """Mutex -> the thread that holds it."""

    def setup(self, image: Image, argv: list[str], env: list[str]) -> Thread:
        """Load the program as dyld would leave it, and make its first thread."""
        m = self.m
        load_segments(image, self.p)
        memory = m.memory
        memory.load(_TLS, 8192, 3, struct.pack("<Q", _TLS))
        self.imports.bind(image)
        if not memory.map(STACK_TOP - STACK_SIZE, STACK_SIZE, 3):
            raise XrayError(f"{image.path}: no room for a stack")
        at = STACK_TOP - 64
        places = []
        for text in (*argv, *env, "executable_path=/" + (argv[0] if argv else "")):
            raw = text.encode("utf-8", "surrogateescape") + b"\0"
            at -= len(raw)
            memory.write(at, raw)
            places.append(at)
        n = len(argv)
        words = [n, *places[:n], 0, *places[n:-1], 0, places[-1], 0]
        at = (at - 8 * len(words)) & ~15
        memory.write(at, struct.pack(f"<{len(words)}Q", *words))
        m.set_reg(m.arch.sp, at)
        if m.arch.name == "arm64":
            m.set_reg("x0", n)
            m.set_reg("x1", at + 8)
            m.set_reg("x30", self.imports.place("_exit_of_main"))
            m.set_reg("tpidrro_el0", _TLS)
        else:
            m.set_reg("gs_base", _TLS)
        m.set_reg(m.arch.pc, image.entry)
        return self.p.add_thread(m.context())

    @property
    def _block(self) -> int:
        return self._blocks.get(self.p.current.tid, _TLS)

    def _fail(self, number: int) -> int:
        self.m.write(self._block + 0x800, struct.pack("<I", number))
        return -1

    # Functions of libSystem, as c_NAME. Arguments are words.

    def c___error(self, *_: int) -> int:
        return self._block + 0x800

    def c_mmap(self, addr: int, size: int, prot: int, flags: int, *_: int) -> int:
        mem = self.m.memory
        size = -(-size // 4096) * 4096
        if not 0 < size < 1 << 46:
            return self._fail(22)
        fixed = flags & 0x10 or (addr and addr % 4096 == 0 and addr + size < 1 << 47 and mem.is_free(addr, size))
        start = addr if fixed else mem.place(size)
        return start if start and mem.map(start, size, prot & 7) else self._fail(12)

    def c_munmap(self, addr: int, size: int, *_: int) -> int:
        if addr % 4096 or not 0 < size < 1 << 46:
            return self._fail(22)
        self.m.memory.unmap(addr, size)
        return 0

    def _zero(self, *_: int) -> int:
        return 0

    c_madvise = c_mlock = c_sigaction = c_pthread_sigmask = c_sigaltstack = c_issetugid = c_pthread_attr_init = _zero
    c_pthread_mutex_init = c_pthread_cond_init = c_pthread_kill = _zero
    c_pthread_attr_setdetachstate = c_pthread_attr_setstacksize = c_notify_is_valid_token = c_raise = _zero
    c_xpc_date_create_from_current = c_close = c_fcntl = _zero

    def c_pthread_attr_getstacksize(self, _attr: int, out: int, *_: int) -> int:
        self.m.write(out, struct.pack("<Q", 512 << 10))
        return 0

    def c_pthread_self(self, *_: int) -> int:
        return self._block

    def c_getpid(self, *_: int) -> int:
        return self.p.pid

    def c_pthread_key_create(self, out: int, *_: int) -> int:
        self.m.write(out, struct.pack("<Q", 256))
        return 0

    def c_pthread_setspecific(self, key: int, value: int, *_: int) -> int:
        if key < 512:
            self.m.write(self._block + 8 * key, struct.pack("<Q", value))
        return 0

    def c_mach_absolute_time(self, *_: int) -> int:
        return self.p.now

    def c_mach_timebase_info(self, out: int, *_: int) -> int:
        self.m.write(out, struct.pack("<II", 1, 1))
        return 0

    def c_clock_gettime(self, clock: int, out: int, *_: int) -> int:
        now = self.p.now + (EPOCH if clock == 0 else 0)
        self.m.write(out, struct.pack("<qq", *divmod(now, 1_000_000_000)))
        return 0

    def c_arc4random_buf(self, buf: int, n: int, *_: int) -> int:
        self.m.write(buf, self.p.files.random_bytes(min(n, 1 << 16)))
        return 0

    def _answer(self, name: str, out: int, length: int) -> int:
        page = 16384 if self.m.arch.name == "arm64" else 4096
        values = {"hw.ncpu": self.p.cpus, "hw.availcpu": self.p.cpus, "hw.activecpu": self.p.cpus, "hw.pagesize": page}
        if name == "kern.osrelease":
            data = b"23.0.0\0"
        elif name in values:
            data = struct.pack("<I", values[name])
        elif name.startswith("hw.optional."):
            data = struct.pack("<I", 0)
        else:
            return self._fail(2)
        room = self.m.u64(length) or 0
        if out and not self.m.write(out, data[:room].ljust(min(room, 8), b"\0")):
            return self._fail(14)
        self.m.write(length, struct.pack("<Q", len(data)))
        return 0

    def c_sysctl(self, mib: int, count: int, out: int, length: int, *_: int) -> int:
        raw = self.m.read(mib, 4 * min(count, 8))
        key = struct.unpack(f"<{len(raw) // 4}I", raw) if raw else ()
        return self._answer(_MIB.get(key[:2], ""), out, length)

    def c_sysctlbyname(self, name: int, out: int, length: int, *_: int) -> int:
        raw = self.m.read(name, 64) or b""
        return self._answer(raw.partition(b"\0")[0].decode("ascii", "replace"), out, length)

    def c_open(self, *_: int) -> int:
        return self._fail(2)

    c_stat = c_stat64 = c_lstat = c_lstat64 = c_fstatat = c_fstatat64 = c_fstat = c_fstat64 = c_open
    c_readlink = c_readdir_r = c_execve = c_lseek = c_dup = c_dup2 = c_open

    def c_getcwd(self, buf: int, size: int, *_: int) -> int:
        return buf if size >= 2 and self.m.write(buf, b"/\0") else 0

    def c_read(self, *_: int) -> int:
        return 0

    def c_write(self, fd: int, buf: int, n: int, *_: int) -> int:
        data = self.m.read(buf, min(n, 1 << 20))
        return self._fail(14) if data is None else self.p.files.write(fd & 0xFFFFFFFF, data)

    def c_getrlimit(self, _what: int, out: int, *_: int) -> int:
        self.m.write(out, struct.pack("<QQ", 1024, 4096))
        return 0

    c_setrlimit = _zero

    def c_kqueue(self, *_: int) -> int:
        return 5

    def c__exit(self, status: int, *_: int) -> int:
        self.p.end("exit", status & 0xFF, "exit")
        return 0

    def c_kevent(self, _kq: int, _changes: int, _n: int, _events: int, room: int, timeout: int, *_: int) -> int:
        raw = self.m.read(timeout, 16) if timeout else None
        ns = None if raw is None else struct.unpack("<qq", raw)[0] * 1_000_000_000 + struct.unpack("<qq", raw)[1]
        if not room or ns == 0:
            return 0
        self.p.block(("kevent",), ns, 0)
        return BLOCKED

    # Threads.

    def c_pthread_create(self, out: int, _attr: int, function: int, argument: int, *_: int) -> int:
        if sum(t.state != "dead" for t in self.p.threads) >= self.p.max_threads:
            return 35
        m = self.m
        block = m.memory.place(16384)
        stack = m.memory.place(_THREAD_STACK)
        if not block or not stack or not m.memory.map(block, 16384, 3) or not m.memory.map(stack, _THREAD_STACK, 3):
            return 12
        m.write(block, struct.pack("<Q", block))
        context = m.context()
        child = self.p.add_thread(context, self.p.current.tid)
        self._blocks[child.tid] = block
        top = stack + _THREAD_STACK - 64
        if m.arch.name == "arm64":
            m.set_in(context, "x30", self.imports.place("_pthread_exit"))
            m.set_in(context, "tpidrro_el0", block)
        else:
            top -= 8
            m.write(top, struct.pack("<Q", self.imports.place("_pthread_exit")))
            m.set_in(context, "gs_base", block)
        m.set_in(context, m.arch.sp, top)
        m.set_in(context, m.arch.call_args[0], argument)
        m.set_in(context, m.arch.pc, function)
        m.write(out, struct.pack("<Q", block))
        if self.on_clone is not None:
            self.on_clone(self.p.current.tid, child.tid)
        return 0

    def c_pthread_exit(self, *_: int) -> int:
        self.p.current.state = "dead"
        return BLOCKED

    def c_pthread_mutex_lock(self, mutex: int, *_: int) -> int:
        if mutex not in self._owners:
            self._owners[mutex] = self.p.current.tid
            return 0
        self.p.block(("mutex", mutex), None, 0)
        return BLOCKED

    def c_pthread_mutex_unlock(self, mutex: int, *_: int) -> int:
        self._owners.pop(mutex, None)
        for t in self.p.threads:
            if t.state == "waiting" and t.wait == ("mutex", mutex):
                self._owners[mutex] = t.tid
                self.p.wake(t, 0)
                break
        return 0

    def c_pthread_cond_wait(self, cond: int, mutex: int, *_: int) -> int:
        self.c_pthread_mutex_unlock(mutex)
        self.p.block(("cond", cond, mutex), None, 0)
        return BLOCKED

    def c_pthread_cond_timedwait_relative_np(self, cond: int, mutex: int, timeout: int, *_: int) -> int:
        sec, ns = struct.unpack("<qq", self.m.read(timeout, 16) or bytes(16))
        self.c_pthread_mutex_unlock(mutex)
        # The mutex is taken again at the time-out without asking: nobody holds it for longer than a few instructions.
        self.p.block(("cond", cond, mutex), min(max(sec, 0), 1 << 33) * 1_000_000_000 + ns, _ETIMEDOUT)
        return BLOCKED

    def c_pthread_cond_signal(self, cond: int, *_: int) -> int:
        for t in self.p.threads:
            if t.state == "waiting" and t.wait[:2] == ("cond", cond):
                mutex = t.wait[2]
                if mutex in self._owners:  # it goes on when it gets the mutex
                    t.wait, t.wake_at = ("mutex", mutex), None
                else:
                    self._owners[mutex] = t.tid
                    self.p.wake(t, 0)
                break
        return 0

    def c_usleep(self, microseconds: int, *_: int) -> int:
        self.p.block(("sleep",), (microseconds & 0xFFFFFFFF) * 1000, 0)
        return BLOCKED
