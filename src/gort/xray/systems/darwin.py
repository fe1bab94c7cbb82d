"""darwin: the functions of libSystem that a Go program calls while it boots.

Follows runtime/sys_darwin.go and os_darwin.go. Go calls them with C's convention on g0; an error is -1, and its number
is where `__error` says. Mutexes and condition variables, which carry Go's semaphores here, are kept by their address.
Signals are accepted and not delivered, so a goroutine that spins is not preempted. A function that is not here ends the
run with its name.

Rejected: emulating dyld. Go's imports are few, and are bound directly.
"""

from __future__ import annotations

import struct

from gort.xray.emulate.arch import AMD64, ARM64
from gort.xray.emulate.memory import ANY, READ, WRITE, whole_pages
from gort.xray.emulate.process import Process
from gort.xray.emulate.thread import Wait
from gort.xray.file.image import Image
from gort.xray.systems.calls import BLOCKED, MAX_TRANSFER, Observer
from gort.xray.systems.library import FIRST_BLOCK, Convention, LibrarySystem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gort.xray.systems.calls import Handler

_CONVENTION = Convention(
    library="libSystem",
    argument_registers={"amd64": AMD64.call_args, "arm64": ARM64.call_args[:6]},
    block_registers={"amd64": "gs_base", "arm64": "tpidrro_el0"},
    block_size=16384,
    stack_size=512 << 10,
    stack_gap=64,
    exit="_pthread_exit",
)
_FIRST_BLOCK_SIZE = 8192
_ERRNO = 0x800
"""Offset of the error number in a thread's block."""
_TLS_KEY, _TLS_SLOTS = 256, 512
"""The key that Go gets for its thread-local g, and how many slots the block has."""
_ENOENT, _ENOMEM, _EFAULT, _EINVAL, _EAGAIN, _ETIMEDOUT = 2, 12, 14, 22, 35, 60
"""darwin's numbers: the higher ones differ from Linux'."""
_CLOCK_REALTIME = 0
_MAP_FIXED = 0x10
_LARGEST_MAPPING = 1 << 46
_KQUEUE_FD = 5
_CF_OBJECTS = 0x7FFFF4000000
"""The handles of CoreFoundation's objects; no memory is there."""
_LIMITS = (1024, 4096)
"""Soft and hard limit of everything that is limited."""
_CTL_KERN, _CTL_HW = 1, 6
_MIB = {
    (_CTL_HW, 3): "hw.ncpu",
    (_CTL_HW, 25): "hw.availcpu",
    (_CTL_HW, 7): "hw.pagesize",
    (_CTL_KERN, 2): "kern.osrelease",
}
_ACCEPTED = (
    "close",
    "fcntl",
    "issetugid",
    "madvise",
    "mlock",
    "notify_is_valid_token",
    "pthread_attr_init",
    "pthread_attr_setdetachstate",
    "pthread_attr_setstacksize",
    "pthread_cond_init",
    "pthread_kill",
    "pthread_mutex_init",
    "pthread_sigmask",
    "raise",
    "read",
    "setrlimit",
    "sigaction",
    "sigaltstack",
    "xpc_date_create_from_current",
)
"""Functions that do nothing and return 0."""
_NO_SUCH_FILE = (
    "dup",
    "dup2",
    "execve",
    "fstat",
    "fstat64",
    "fstatat",
    "fstatat64",
    "lseek",
    "lstat",
    "lstat64",
    "open",
    "readdir_r",
    "readlink",
    "stat",
    "stat64",
)
"""Functions that fail with ENOENT: there are no files."""


class Darwin(LibrarySystem):
    """darwin. A method c_NAME answers libSystem's function of that name; its arguments are words."""

    def __init__(self, process: Process, observer: Observer | None = None) -> None:
        super().__init__(process, observer, _CONVENTION)
        self._owners: dict[int, int] = {}
        """Mutex -> the thread that holds it."""
        self._cf_objects = 0

    def _functions(self) -> dict[str, Handler]:
        found = {**dict.fromkeys(_ACCEPTED, self._accept), **dict.fromkeys(_NO_SUCH_FILE, self._no_such_file)}
        found.update(self.methods("c_"))
        return {"_" + name: handler for name, handler in found.items()}

    def _prepare(self, image: Image, argv: list[str], env: list[str]) -> None:
        m, memory = self.machine, self.machine.memory
        memory.load(FIRST_BLOCK, _FIRST_BLOCK_SIZE, READ | WRITE, struct.pack("<Q", FIRST_BLOCK))
        self.imports.bind(image)
        at = self.machine.arch.stack_top - 64
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
        m.set_reg(self._block_register, FIRST_BLOCK)
        if not self.is_amd64:
            m.set_reg("x0", n)
            m.set_reg("x1", at + 8)
            m.set_reg("x30", self.imports.place("_exit_of_main"))

    def _make_block(self, block: int, stack: int, stack_size: int) -> None:
        self.machine.write_u64(block, block)

    def _fail(self, number: int) -> int:
        self.machine.write_u32(self._block + _ERRNO, number)
        return -1

    def _accept(self, *_: int) -> int:
        return 0

    def _no_such_file(self, *_: int) -> int:
        return self._fail(_ENOENT)

    def c___error(self, *_: int) -> int:
        return self._block + _ERRNO

    # -- memory ----------------------------------------------------------------------------------------------

    def c_mmap(self, addr: int, size: int, prot: int, flags: int, *_: int) -> int:
        memory = self.machine.memory
        size = whole_pages(size)
        if not 0 < size < _LARGEST_MAPPING:
            return self._fail(_EINVAL)
        start = memory.place_at(addr, size, bool(flags & _MAP_FIXED))
        return start if start and memory.map(start, size, prot & ANY) else self._fail(_ENOMEM)

    def c_munmap(self, addr: int, size: int, *_: int) -> int:
        if addr % 4096 or not 0 < size < _LARGEST_MAPPING:
            return self._fail(_EINVAL)
        self.machine.memory.unmap(addr, size)
        return 0

    # -- the process, time, random bytes ---------------------------------------------------------------------

    def c_getpid(self, *_: int) -> int:
        return self.process.pid

    def c__exit(self, status: int, *_: int) -> int:
        self.process.end("exit", status & 0xFF, "exit")
        return 0

    def c_CFStringCreateWithBytes(self, *_: int) -> int:
        """Returns a handle: crypto/x509 of Go 1.16 and 1.17 makes strings at its init, and nothing looks into them."""
        self._cf_objects += 1
        return _CF_OBJECTS + 16 * self._cf_objects

    def c_exit(self, status: int, *_: int) -> int:  # Go to 1.16 ends by exit, later ones by _exit
        return self.c__exit(status)

    def c_mach_absolute_time(self, *_: int) -> int:
        return self.clock.now

    def c_mach_timebase_info(self, out: int, *_: int) -> int:
        self.machine.write(out, struct.pack("<II", 1, 1))
        return 0

    def c_clock_gettime(self, clock: int, out: int, *_: int) -> int:
        self.write_timespec(out, self.clock.wall if clock == _CLOCK_REALTIME else self.clock.now)
        return 0

    def c_usleep(self, microseconds: int, *_: int) -> int:
        return self.sleep((microseconds & 0xFFFFFFFF) * 1000)

    def c_arc4random_buf(self, buf: int, n: int, *_: int) -> int:
        self.machine.write(buf, self.process.files.random_bytes(min(n, 1 << 16)))
        return 0

    def c_getrlimit(self, _what: int, out: int, *_: int) -> int:
        self.machine.write(out, struct.pack("<QQ", *_LIMITS))
        return 0

    def _answer(self, name: str, out: int, length: int) -> int:
        """Answer sysctl: write the value to `out` when there is room, and its size to `length`."""
        m, cpus = self.machine, self.process.cpus
        page = 4096 if self.is_amd64 else 16384
        values = {"hw.ncpu": cpus, "hw.availcpu": cpus, "hw.activecpu": cpus, "hw.pagesize": page}
        if name == "kern.osrelease":
            data = b"23.0.0\0"
        elif name in values:
            data = struct.pack("<I", values[name])
        elif name.startswith("hw.optional."):
            data = struct.pack("<I", 0)
        else:
            return self._fail(_ENOENT)
        room = m.u64(length) or 0
        if out and not m.write(out, data[:room].ljust(min(room, 8), b"\0")):
            return self._fail(_EFAULT)
        m.write_u64(length, len(data))
        return 0

    def c_sysctl(self, mib: int, count: int, out: int, length: int, *_: int) -> int:
        raw = self.machine.read(mib, 4 * min(count, 8))
        key = struct.unpack_from("<II", raw) if raw is not None and len(raw) >= 8 else (0, 0)
        return self._answer(_MIB.get((key[0], key[1]), ""), out, length)

    def c_sysctlbyname(self, name: int, out: int, length: int, *_: int) -> int:
        raw = self.machine.read(name, 64) or b""
        return self._answer(raw.partition(b"\0")[0].decode("ascii", "replace"), out, length)

    # -- files and events ------------------------------------------------------------------------------------

    def c_getcwd(self, buf: int, size: int, *_: int) -> int:
        return buf if size >= 2 and self.machine.write(buf, b"/\0") else 0

    def c_write(self, fd: int, buf: int, n: int, *_: int) -> int:
        data = self.machine.read(buf, min(n, MAX_TRANSFER))
        return self._fail(_EFAULT) if data is None else self.process.files.write(fd & 0xFFFFFFFF, data)

    def c_kqueue(self, *_: int) -> int:
        return _KQUEUE_FD

    def c_kevent(self, _kq: int, _changes: int, _n: int, _events: int, room: int, timeout: int, *_: int) -> int:
        ns = self.read_timespec(timeout) if timeout else None
        if not room or ns == 0:
            return 0
        self.process.block(Wait("kevent"), ns, 0)
        return BLOCKED

    # -- threads ---------------------------------------------------------------------------------------------

    def c_pthread_self(self, *_: int) -> int:
        return self._block

    def c_pthread_attr_getstacksize(self, _attr: int, out: int, *_: int) -> int:
        self.machine.write_u64(out, _CONVENTION.stack_size)
        return 0

    def c_pthread_key_create(self, out: int, *_: int) -> int:
        self.machine.write_u64(out, _TLS_KEY)
        return 0

    def c_pthread_setspecific(self, key: int, value: int, *_: int) -> int:
        if key < _TLS_SLOTS:
            self.machine.write_u64(self._block + 8 * key, value)
        return 0

    def c_pthread_create(self, out: int, _attr: int, function: int, argument: int, *_: int) -> int:
        if self.process.is_full():
            return _EAGAIN
        child = self._new_thread(function, argument)
        if child is None:
            return _ENOMEM
        self.machine.write_u64(out, self._places[child.tid].block)
        return 0

    def c_pthread_exit(self, *_: int) -> int:
        self.process.current.state = "dead"
        return BLOCKED

    def c_pthread_mutex_lock(self, mutex: int, *_: int) -> int:
        if mutex not in self._owners:
            self._owners[mutex] = self.process.current.tid
            return 0
        self.process.block(Wait("mutex", (mutex,)), None, 0)
        return BLOCKED

    def c_pthread_mutex_unlock(self, mutex: int, *_: int) -> int:
        self._owners.pop(mutex, None)
        for t, on in self.process.waiting("mutex"):
            if on == (mutex,):
                self._owners[mutex] = t.tid
                self.process.wake(t, 0)
                break
        return 0

    def c_pthread_cond_wait(self, cond: int, mutex: int, *_: int) -> int:
        self.c_pthread_mutex_unlock(mutex)
        self.process.block(Wait("cond", (cond, mutex)), None, 0)
        return BLOCKED

    def c_pthread_cond_timedwait_relative_np(self, cond: int, mutex: int, timeout: int, *_: int) -> int:
        ns = self.read_timespec(timeout) or 0
        self.c_pthread_mutex_unlock(mutex)
        # At the timeout the thread goes on without taking the mutex again: nobody holds it for long.
        self.process.block(Wait("cond", (cond, mutex)), ns, _ETIMEDOUT)
        return BLOCKED

    def c_pthread_cond_signal(self, cond: int, *_: int) -> int:
        for t, (waits_for, mutex) in self.process.waiting("cond"):
            if waits_for == cond:
                if mutex in self._owners:  # it goes on when it gets the mutex
                    t.wait, t.wake_at = Wait("mutex", (mutex,)), None
                else:
                    self._owners[mutex] = t.tid
                    self.process.wake(t, 0)
                break
        return 0
