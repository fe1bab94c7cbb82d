"""The files that an emulated program sees. Nothing here touches the host: every byte is made in this file.

The contents are what a Go runtime looks for when it boots on Linux (transparent huge pages, cgroups), plus empty
standard input and captured standard output and error. Every other path does not exist, nothing can be written, there
is no network.

Invariant: what a program can make this module hold is bounded: output by `_MAX_OUTPUT`, descriptors by `_MAX_FDS`,
pipes by `_MAX_PIPE`.
"""

from __future__ import annotations

import _random

from gort.xray.record import field, record

_MAX_OUTPUT = 1 << 20
_MAX_FDS = 1024
_MAX_PIPE = 65536

FILES: dict[str, bytes] = {
    "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size": b"2097152\n",
    "/sys/kernel/mm/transparent_hugepage/enabled": b"always [madvise] never\n",
    "/proc/self/cgroup": b"0::/\n",
    "/proc/sys/net/core/somaxconn": b"4096\n",
    "/proc/sys/kernel/osrelease": b"6.1.0\n",
    "/etc/hosts": b"127.0.0.1 localhost\n",
}
_DEVICES = {"/dev/null": "null", "/dev/zero": "zero", "/dev/urandom": "random", "/dev/random": "random"}

ENOENT, EBADF, EAGAIN, EACCES, EINVAL, EMFILE, EROFS, ESPIPE, EPIPE, EPERM = 2, 9, 11, 13, 22, 24, 30, 29, 32, 1


@record
class Pipe:
    data: bytearray = field(default_factory=bytearray)
    readers: int = 1
    writers: int = 1


@record
class File:
    kind: str
    path: str = ""
    data: bytes = b""
    pos: int = 0
    counter: int = 0
    pipe: Pipe | None = None
    interest: dict[int, tuple[int, int]] = field(default_factory=dict)
    """epoll: descriptor -> (events, the program's own word)."""
    reported: set[int] = field(default_factory=set)
    """epoll: edge-triggered descriptors whose readiness was told."""


class Files:
    def __init__(self, seed: int = 1) -> None:
        self.table: dict[int, File] = {0: File("stdin", "/dev/stdin"), 1: File("stdout"), 2: File("stderr")}
        self.output = {1: bytearray(), 2: bytearray()}
        self.order = bytearray()
        """Both outputs as a terminal would show them."""
        self.truncated = False
        self.random = _random.Random(seed)  # the same bytes in every run: a boot can be compared with another

    def random_bytes(self, n: int) -> bytes:
        return self.random.getrandbits(8 * n).to_bytes(n, "little")  # as random.Random.randbytes does

    def add(self, file: File, at_least: int = 3) -> int:
        for fd in range(at_least, _MAX_FDS):
            if fd not in self.table:
                self.table[fd] = file
                return fd
        return -EMFILE

    def open(self, path: str, flags: int) -> int:
        device = _DEVICES.get(path)
        if device is not None:
            return self.add(File(device, path))
        data = FILES.get(path)
        if data is None:
            return -ENOENT if not flags & 0o100 else -EROFS
        if flags & 3:
            return -EROFS
        return self.add(File("file", path, data))

    def read(self, fd: int, n: int) -> bytes | int:
        file = self.table.get(fd)
        n = min(n, 1 << 20)
        if file is None:
            return -EBADF
        if file.kind in ("stdin", "null"):
            return b""
        if file.kind == "zero":
            return bytes(n)
        if file.kind == "random":
            return self.random_bytes(n)
        if file.kind == "eventfd":
            if not file.counter:
                return -EAGAIN
            value, file.counter = file.counter, 0
            return value.to_bytes(8, "little")
        if file.kind == "file":
            data = file.data[file.pos : file.pos + n]
            file.pos += len(data)
            return data
        if file.kind == "pipe_r" and file.pipe is not None:
            if not file.pipe.data:
                return -EAGAIN if file.pipe.writers else b""
            data = bytes(file.pipe.data[:n])
            del file.pipe.data[:n]
            return data
        return -EINVAL

    def write(self, fd: int, data: bytes) -> int:
        file = self.table.get(fd)
        if file is None:
            return -EBADF
        if file.kind in ("stdout", "stderr"):
            kept = self.output[1 if file.kind == "stdout" else 2]
            room = max(0, _MAX_OUTPUT - len(self.order))
            self.truncated = self.truncated or len(data) > room
            kept += data[:room]
            self.order += data[:room]
            return len(data)
        if file.kind == "null":
            return len(data)
        if file.kind == "eventfd":
            file.counter = min(file.counter + int.from_bytes(data[:8], "little"), 2**63)
            return 8
        if file.kind == "pipe_w" and file.pipe is not None:
            if not file.pipe.readers:
                return -EPIPE
            room = _MAX_PIPE - len(file.pipe.data)
            if room <= 0:
                return -EAGAIN
            file.pipe.data += data[:room]
            return min(len(data), room)
        return -EBADF

    def close(self, fd: int) -> int:
        file = self.table.pop(fd, None)
        if file is None:
            return -EBADF
        if file.pipe is not None:
            if file.kind == "pipe_r":
                file.pipe.readers -= 1
            else:
                file.pipe.writers -= 1
        for other in self.table.values():
            other.interest.pop(fd, None)
        return 0

    def make_pipe(self) -> tuple[int, int]:
        pipe = Pipe()
        r = self.add(File("pipe_r", pipe=pipe))
        w = self.add(File("pipe_w", pipe=pipe))
        return r, w

    def ready(self, fd: int) -> int:
        """The epoll events that hold for a descriptor (1: input, 4: output, 16: hang-up)."""
        file = self.table.get(fd)
        if file is None:
            return 0
        if file.kind == "eventfd":
            return (1 if file.counter else 0) | 4
        if file.kind == "pipe_r" and file.pipe is not None:
            return (1 if file.pipe.data else 0) | (16 if not file.pipe.writers else 0)
        if file.kind == "pipe_w" and file.pipe is not None:
            return 4 if len(file.pipe.data) < _MAX_PIPE else 0
        return 0

    def poll(self, epoll: File, limit: int) -> list[tuple[int, int]]:
        """(events, word) of the ready descriptors; an edge-triggered one is told once until it was unready in
        between.
        """
        out: list[tuple[int, int]] = []
        for fd, (events, word) in epoll.interest.items():
            now = self.ready(fd) & (events | 24)
            if not now:
                epoll.reported.discard(fd)
                continue
            if events & 0x80000000:
                if fd in epoll.reported:
                    continue
                epoll.reported.add(fd)
            out.append((now, word))
            if len(out) >= limit:
                break
        return out
