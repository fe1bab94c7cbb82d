"""Linux' system calls on files, pipes and epoll. The files themselves are in emulate/vfs.py."""

from __future__ import annotations

import struct

from gort.xray.emulate.errno import EACCES, EBADF, EFAULT, EINVAL, ENOENT, ENOTTY, EPERM, ERANGE, EROFS, ESPIPE
from gort.xray.emulate.process import Process
from gort.xray.emulate.thread import Wait
from gort.xray.emulate.vfs import File, Interest
from gort.xray.systems.calls import BLOCKED, MAX_TRANSFER, Calls, Observer

_PATH_MAX = 4096
_PATH_STEP = 64
"""Paths are read in pieces that end where such a block ends, so that a short path before unmapped memory is found."""
_MAX_VECTORS = 64
_SEEK_SET, _SEEK_CUR = 0, 1
_W_OK = 2
_UMASK = 0o022
_MODES = {"file": 0o100444, "folder": 0o040555}
_TERMINAL = 0o020620
"""Kind -> mode, with permissions; all others are character devices."""
_BLOCK_SIZE = 4096

_AMD64_STAT_SIZE, _STAT_SIZE = 144, 128
"""Bytes of struct stat."""
_AT_EMPTY_PATH = 0x1000
_F_DUPFD, _F_GETFL, _F_DUPFD_CLOEXEC = 0, 3, 1030
_O_RDWR = 2
_EPOLL_CTL_DEL = 2
_MAX_EVENTS = 128
_PACKED_EVENT, _EVENT = struct.Struct("<IQ"), struct.Struct("<I4xQ")
"""struct epoll_event, which is packed on amd64; on 386 it has no gap."""


class FileCalls(Calls):
    """A method sys_NAME answers the system call of that name; `exe` is what /proc/self/exe points at."""

    def __init__(self, process: Process, observer: Observer, exe: str) -> None:
        super().__init__(process, observer)
        self._exe = exe
        self._stat_size = _AMD64_STAT_SIZE if self.is_amd64 else _STAT_SIZE
        self._event = _PACKED_EVENT if self.is_amd64 or self.machine.arch.word == 4 else _EVENT

    def _file(self, fd: int) -> File | None:
        return self.process.files.table.get(fd & 0xFFFFFFFF)

    # -- paths -----------------------------------------------------------------------------------------------

    def _path(self, addr: int) -> str | None:
        out = b""
        while len(out) < _PATH_MAX:
            at = addr + len(out)
            part = self.machine.read(at, _PATH_STEP - at % _PATH_STEP)
            if part is None:
                return None
            head, sep, _ = part.partition(b"\0")
            out += head
            if sep:
                return out.decode("utf-8", "replace")
        return None

    def sys_openat(self, _dir: int, path: int, flags: int, *_: int) -> int:
        name = self._path(path)
        return -EFAULT if name is None else self.process.files.open(name, flags)

    def sys_open(self, path: int, flags: int, *_: int) -> int:
        return self.sys_openat(0, path, flags)

    def sys_faccessat(self, _dir: int, path: int, mode: int, *_: int) -> int:
        if self.process.files.look(self._path(path) or "") is None:
            return -ENOENT
        return -EACCES if mode & _W_OK else 0

    def sys_access(self, path: int, mode: int, *_: int) -> int:
        return self.sys_faccessat(0, path, mode)

    def sys_mkdirat(self, *_: int) -> int:
        return -EROFS

    def sys_mkdir(self, *_: int) -> int:
        return -EROFS

    def sys_umask(self, *_: int) -> int:
        return _UMASK

    def sys_readlinkat(self, _dir: int, path: int, buf: int, size: int, *_: int) -> int:
        if self._path(path) != "/proc/self/exe":
            return -ENOENT
        data = self._exe.encode()[: min(size, _PATH_MAX)]
        return len(data) if self.machine.write(buf, data) else -EFAULT

    def sys_readlink(self, path: int, buf: int, size: int, *_: int) -> int:
        return self.sys_readlinkat(0, path, buf, size)

    def sys_getcwd(self, buf: int, size: int, *_: int) -> int:
        path = b"/\0"
        if size < len(path):
            return -ERANGE
        return len(path) if self.machine.write(buf, path) else -EFAULT

    # -- contents --------------------------------------------------------------------------------------------

    def sys_read(self, fd: int, buf: int, n: int, *_: int) -> int:
        got = self.process.files.read(fd & 0xFFFFFFFF, n)
        if isinstance(got, int):
            return got
        return len(got) if self.machine.write(buf, got) else -EFAULT

    def sys_pread64(self, fd: int, buf: int, n: int, offset: int, *_: int) -> int:
        file = self.process.files.regular(fd & 0xFFFFFFFF)
        if file is None:
            return -ESPIPE
        data = file.data[offset : offset + min(n, MAX_TRANSFER)]
        return len(data) if self.machine.write(buf, data) else -EFAULT

    def sys_write(self, fd: int, buf: int, n: int, *_: int) -> int:
        data = self.machine.read(buf, min(n, MAX_TRANSFER))
        if data is None:
            return -EFAULT
        result = self.process.files.write(fd & 0xFFFFFFFF, data)
        self._wake_pollers()
        return result

    def sys_writev(self, fd: int, iov: int, count: int, *_: int) -> int:
        total = 0
        for i in range(min(count, _MAX_VECTORS)):
            raw = self.machine.read(iov + 16 * i, 16)
            if raw is None:
                return -EFAULT
            n = self.sys_write(fd, *struct.unpack("<QQ", raw))
            if n < 0:
                return n
            total += n
        return total

    def sys_lseek(self, fd: int, offset: int, whence: int, *_: int) -> int:
        file = self.process.files.regular(fd & 0xFFFFFFFF)
        if file is None:
            return -ESPIPE
        signed = offset - (1 << 64) if offset >> 63 else offset
        base = 0 if whence == _SEEK_SET else file.pos if whence == _SEEK_CUR else len(file.data)
        if base + signed < 0:
            return -EINVAL
        file.pos = base + signed
        return file.pos

    # -- facts -----------------------------------------------------------------------------------------------

    def _stat(self, buf: int, file: File) -> int:
        mode, size, number = _MODES.get(file.kind, _TERMINAL), len(file.data), file.number
        if self.is_amd64:
            raw = struct.pack("<QQQIIIIQqqq", 1, number, 1, mode, 0, 0, 0, 0, size, _BLOCK_SIZE, 0)
        else:
            raw = struct.pack("<QQIIIIQQqiiq", 1, number, mode, 1, 0, 0, 0, 0, size, _BLOCK_SIZE, 0, 0)
        return 0 if self.machine.write(buf, raw.ljust(self._stat_size, b"\0")) else -EFAULT

    def sys_fstat(self, fd: int, buf: int, *_: int) -> int:
        file = self._file(fd)
        return -EBADF if file is None else self._stat(buf, file)

    def sys_newfstatat(self, fd: int, path: int, buf: int, flags: int, *_: int) -> int:
        if flags & _AT_EMPTY_PATH and not self._path(path):
            return self.sys_fstat(fd, buf)
        file = self.process.files.look(self._path(path) or "")
        return -ENOENT if file is None else self._stat(buf, file)

    def sys_stat(self, path: int, buf: int, *_: int) -> int:
        return self.sys_newfstatat(0, path, buf, 0)

    def sys_lstat(self, path: int, buf: int, *_: int) -> int:
        return self.sys_newfstatat(0, path, buf, 0)

    def sys_ioctl(self, *_: int) -> int:
        return -ENOTTY

    # -- descriptors -----------------------------------------------------------------------------------------

    def sys_close(self, fd: int, *_: int) -> int:
        return self.process.files.close(fd & 0xFFFFFFFF)

    def sys_fcntl(self, fd: int, command: int, *_: int) -> int:
        file = self._file(fd)
        if file is None:
            return -EBADF
        if command in (_F_DUPFD, _F_DUPFD_CLOEXEC):
            return self.process.files.add(file)
        return _O_RDWR if command == _F_GETFL else 0

    def sys_dup(self, fd: int, *_: int) -> int:
        file = self._file(fd)
        return -EBADF if file is None else self.process.files.add(file)

    def sys_pipe2(self, addr: int, *_: int) -> int:
        r, w = self.process.files.make_pipe()
        if r < 0 or w < 0:
            return min(r, w)
        return 0 if self.machine.write(addr, struct.pack("<ii", r, w)) else -EFAULT

    def sys_pipe(self, addr: int, *_: int) -> int:
        return self.sys_pipe2(addr)

    def sys_eventfd2(self, value: int, *_: int) -> int:
        return self.process.files.add(File("eventfd", counter=value & 0xFFFFFFFF))

    # -- epoll -----------------------------------------------------------------------------------------------

    def _epoll(self, fd: int) -> File | None:
        file = self._file(fd)
        return file if file is not None and file.kind == "epoll" else None

    def sys_epoll_create1(self, *_: int) -> int:
        return self.process.files.add(File("epoll"))

    def sys_epoll_ctl(self, epfd: int, op: int, fd: int, event: int, *_: int) -> int:
        epoll, file = self._epoll(epfd), self._file(fd)
        if epoll is None or file is None:
            return -EBADF
        if file.kind not in ("eventfd", "pipe_r", "pipe_w"):
            return -EPERM
        if op == _EPOLL_CTL_DEL:
            epoll.interest.pop(fd, None)
            return 0
        raw = self.machine.read(event, self._event.size)
        if raw is None:
            return -EFAULT
        epoll.interest[fd] = Interest(*self._event.unpack(raw))
        epoll.reported.discard(fd)
        self._wake_pollers()
        return 0

    def _report(self, buf: int, found: list[Interest]) -> int:
        """Write the events to the program's array. Returns how many there are, or an error."""
        raw = b"".join(self._event.pack(e.events, e.data) for e in found)
        return len(found) if self.machine.write(buf, raw) else -EFAULT

    def sys_epoll_pwait(self, epfd: int, buf: int, limit: int, timeout: int, *_: int) -> int:
        epoll = self._epoll(epfd)
        if epoll is None:
            return -EBADF
        limit = min(max(limit, 1), _MAX_EVENTS)
        found = self.process.files.poll(epoll, limit)
        ms = timeout & 0xFFFFFFFF
        if found or ms == 0:
            return self._report(buf, found)
        forever = ms >> 31  # a negative number
        self.process.block(Wait("epoll", (epfd, buf, limit)), None if forever else ms * 1_000_000, 0)
        return BLOCKED

    def _wake_pollers(self) -> None:
        """Wake the threads whose epoll has something to report now."""
        for t, (epfd, buf, limit) in self.process.waiting("epoll"):
            epoll = self._file(epfd)
            found = self.process.files.poll(epoll, limit) if epoll is not None else []
            if found:
                self.process.wake(t, self._report(buf, found))
