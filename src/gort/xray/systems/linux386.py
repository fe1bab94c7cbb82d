"""Linux' system calls on 386, where they are otherwise than on 64-bit processors: words, times and offsets of 32 bits.

Thread-local storage is a segment: set_thread_area writes a descriptor into a table (GDT), and the program loads its
number into GS. As in the kernel, each thread has a descriptor of its own, which is put into the table when the thread's
turn begins.
"""

from __future__ import annotations

import struct

from gort.xray.emulate.clock import SECOND
from gort.xray.emulate.errno import EFAULT, EINVAL
from gort.xray.emulate.memory import PAGE
from gort.xray.emulate.signals import HIGHEST, SIGKILL, SIGSTOP, Action
from gort.xray.emulate.vfs import File
from gort.xray.systems.linux_files import FileCalls
from gort.xray.systems.linux_memory import MemoryCalls
from gort.xray.systems.linux_threads import TLS_ENTRY, ThreadCalls

_SS_DISABLE = 2
_MAX_ALTSTACK = 1 << 30
_MODES = {"file": 0o100444, "folder": 0o040555}
_TERMINAL = 0o020620
_STAT_SIZE = 96
_MAX_VECTORS = 64


class Memory386(MemoryCalls):
    """Memory."""

    def sys_mmap2(self, addr: int, size: int, prot: int, flags: int, fd: int, pages: int) -> int:
        return self.sys_mmap(addr, size, prot, flags, fd, pages * PAGE)


class Threads386(ThreadCalls):
    """Threads, signals, time."""

    def sys_set_thread_area(self, desc: int, *_: int) -> int:
        raw = self.machine.read(desc, 16)
        if raw is None:
            return -EFAULT
        entry, base = struct.unpack_from("<II", raw)
        if entry not in (TLS_ENTRY, 0xFFFFFFFF):
            return -EINVAL
        self.process.current.tls = base
        self.machine.set_segment(TLS_ENTRY, base)
        return 0 if self.machine.write_u32(desc, TLS_ENTRY) else -EFAULT

    def sys_rt_sigaction(self, signo: int, new: int, old: int, *_: int) -> int:
        if not 1 <= signo <= HIGHEST or (new and signo in (SIGKILL, SIGSTOP)):
            return -EINVAL
        if old:
            a = self.process.signals.action(signo)
            if not self.machine.write(old, struct.pack("<3IQ", a.handler, a.flags, a.restorer, a.mask)):
                return -EFAULT
        if new:
            raw = self.machine.read(new, 20)
            if raw is None:
                return -EFAULT
            self.process.signals.actions[signo] = Action(*struct.unpack("<3IQ", raw))
        return 0

    def sys_sigaltstack(self, new: int, old: int, *_: int) -> int:
        t = self.process.current
        if old:
            base, size = t.altstack
            if not self.machine.write(old, struct.pack("<III", base, 0 if size else _SS_DISABLE, size)):
                return -EFAULT
        if new:
            raw = self.machine.read(new, 12)
            if raw is None:
                return -EFAULT
            base, flags, size = struct.unpack("<III", raw)
            t.altstack = (0, 0) if flags & _SS_DISABLE else (base, min(size, _MAX_ALTSTACK))
        return 0

    def sys_gettimeofday(self, addr: int, *_: int) -> int:
        seconds, ns = divmod(self.clock.wall, SECOND)
        return 0 if not addr or self.machine.write(addr, struct.pack("<ii", seconds, ns // 1000)) else -EFAULT

    def sys_time(self, addr: int, *_: int) -> int:
        now = self.clock.wall // SECOND
        return now if not addr or self.machine.write_u32(addr, now) else -EFAULT

    # Those with 64-bit times: the kernel's newer calls.

    def sys_clock_gettime64(self, clock: int, addr: int, *_: int) -> int:
        return self._with_wide_times(self.sys_clock_gettime, clock, addr)

    def sys_futex_time64(self, *args: int) -> int:
        return self._with_wide_times(self.sys_futex, *args)

    def sys_clock_nanosleep_time64(self, *args: int) -> int:
        return self._with_wide_times(self.sys_clock_nanosleep, *args)


class Files386(FileCalls):
    """Files."""

    def sys_writev(self, fd: int, iov: int, count: int, *_: int) -> int:
        total = 0
        for i in range(min(count, _MAX_VECTORS)):
            raw = self.machine.read(iov + 8 * i, 8)
            if raw is None:
                return -EFAULT
            n = self.sys_write(fd, *struct.unpack("<II", raw))
            if n < 0:
                return n
            total += n
        return total

    def sys__llseek(self, fd: int, high: int, low: int, result: int, whence: int, *_: int) -> int:
        at = self.sys_lseek(fd, high << 32 | low, whence)
        if at < 0:
            return at
        return 0 if self.machine.write_u64(result, at) else -EFAULT

    def sys_pread64(self, fd: int, buf: int, n: int, low: int, high: int = 0, *_: int) -> int:
        return super().sys_pread64(fd, buf, n, high << 32 | low)

    def _stat(self, buf: int, file: File) -> int:
        mode, size = _MODES.get(file.kind, _TERMINAL), len(file.data)
        raw = struct.pack("<QIIIIIIQIqIQ", 1, 0, file.number, mode, 1, 0, 0, 0, 0, size, PAGE, 0).ljust(88, b"\0")
        raw += struct.pack("<Q", file.number)
        assert len(raw) == _STAT_SIZE
        return 0 if self.machine.write(buf, raw) else -EFAULT
