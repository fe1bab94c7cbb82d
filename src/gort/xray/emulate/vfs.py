"""The files that an emulated program sees. Nothing here touches the host.

There are the files for which a Go runtime looks when it boots on Linux (transparent huge pages, cgroups), those that
name the user, who is root, an empty standard input, and standard output and error, which are kept. A program that is
linked to libc also finds libraries (`libraries`), which systems/sysroot.py reads.
No other path exists, nothing can be opened for writing, and there is no network.

Invariant: what a program can make this module hold is bounded: output by `_MAX_OUTPUT`, descriptors by `_MAX_FDS`,
pipes by `_MAX_PIPE`.
"""

from __future__ import annotations

import _random  # random itself takes 4 ms to import

from gort.xray.emulate.errno import EAGAIN, EBADF, EINVAL, EMFILE, ENOENT, EPIPE, EROFS
from gort.xray.record import field, frozen, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable
    from typing import Literal, Protocol

    class Library(Protocol):
        """A library's contents, and a number that no other file has."""

        @property
        def data(self) -> mmap.mmap: ...
        @property
        def number(self) -> int: ...

    class Libraries(Protocol):
        """Where the libraries come from."""

        def kind(self, path: str) -> Literal["folder", "library", ""]: ...
        def open(self, path: str) -> Library | None: ...

    Kind = Literal[
        "stdin",
        "stdout",
        "stderr",
        "null",
        "zero",
        "random",
        "file",
        "folder",
        "pipe_r",
        "pipe_w",
        "eventfd",
        "epoll",
    ]

_MAX_OUTPUT = 1 << 20
_MAX_FDS = 1024
_MAX_PIPE = 65536
_MAX_READ = 1 << 20
_FIRST_FD = 3
_O_ACCMODE, _O_CREAT = 0o3, 0o100
EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP = 1, 4, 8, 16
EPOLLET = 1 << 31
"""Edge-triggered: a descriptor is reported once each time that it becomes ready."""

FILES: dict[str, bytes] = {
    "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size": b"2097152\n",
    "/sys/kernel/mm/transparent_hugepage/enabled": b"always [madvise] never\n",
    "/proc/self/cgroup": b"0::/\n",
    "/proc/sys/net/core/somaxconn": b"4096\n",
    "/proc/sys/kernel/osrelease": b"6.1.0\n",
    "/proc/sys/kernel/cap_last_cap": b"40\n",
    "/proc/self/status": b"Name:\tgo\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n"
    b"CapInh:\t0000000000000000\nCapPrm:\t000001ffffffffff\nCapEff:\t000001ffffffffff\n"
    b"CapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000000\n",
    "/proc/self/uid_map": b"         0          0 4294967295\n",
    "/proc/self/gid_map": b"         0          0 4294967295\n",
    "/etc/hosts": b"127.0.0.1 localhost\n",
    "/etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n",
    "/etc/group": b"root:x:0:\n",
    "/etc/nsswitch.conf": b"passwd: files\ngroup: files\nhosts: files\n",
}
_DEVICES: dict[str, Kind] = {
    "/dev/null": "null",
    "/dev/zero": "zero",
    "/dev/urandom": "random",
    "/dev/random": "random",
}


@record
class Pipe:
    """A pipe: the bytes that were not read yet, and the number of descriptors of each end."""

    data: bytearray = field(default_factory=bytearray)
    readers: int = 1
    writers: int = 1


@frozen
class Interest:
    """The epoll events of a descriptor that a program wants, or that hold; `data` is the program's own word."""

    events: int
    data: int


@record
class File:
    """An open file, to which descriptors lead."""

    kind: Kind
    data: bytes | mmap.mmap = b""
    pos: int = 0
    number: int = 1
    """Its inode's number."""
    counter: int = 0
    """eventfd."""
    pipe: Pipe | None = None
    interest: dict[int, Interest] = field(default_factory=dict)
    """epoll: descriptor -> what is wanted of it."""
    reported: set[int] = field(default_factory=set)
    """epoll: the edge-triggered descriptors that are ready and were reported."""


class Files:
    """The descriptors of a process, and what it wrote."""

    def __init__(self, seed: int = 1) -> None:
        self.table: dict[int, File] = {0: File("stdin"), 1: File("stdout"), 2: File("stderr")}
        self.output: bytearray = bytearray()
        """Standard output and error, as a terminal would show them."""
        self.libraries: Libraries | None = None
        """Set for a program that is linked to libc."""
        self.made: dict[str, Callable[[], bytes]] = {}
        """Path of a file whose contents are made when it is opened -> what makes them."""
        self._random = _random.Random(seed)  # the same bytes in every run: boots can be compared

    def random_bytes(self, n: int) -> bytes:
        """Returns `n` bytes that look random, the same in every run."""
        return self._random.getrandbits(8 * n).to_bytes(n, "little")

    def add(self, file: File) -> int:
        """Give a file the lowest free descriptor. Returns it, or -EMFILE."""
        for fd in range(_FIRST_FD, _MAX_FDS):
            if fd not in self.table:
                self.table[fd] = file
                return fd
        return -EMFILE

    def regular(self, fd: int) -> File | None:
        """Returns the file behind a descriptor when it is an ordinary one, with contents."""
        file = self.table.get(fd)
        return file if file is not None and file.kind == "file" else None

    def open(self, path: str, flags: int) -> int:
        """Returns a descriptor, or a negative error number."""
        device = _DEVICES.get(path)
        if device is not None:
            return self.add(File(device))
        file = self._find(path)
        if file is None:
            return -ENOENT if not flags & _O_CREAT else -EROFS
        if flags & _O_ACCMODE:
            return -EROFS
        return self.add(file)

    def _find(self, path: str) -> File | None:
        make = self.made.get(path)
        data = FILES.get(path) if make is None else make()
        if data is not None:
            return File("file", data)
        library = self.libraries.open(path) if self.libraries is not None else None
        return File("file", library.data, number=library.number) if library is not None else None

    def look(self, path: str) -> File | None:
        """Returns what is at a path, without opening it for the program: for its facts. None for nothing."""
        device = _DEVICES.get(path)
        if device is not None:
            return File(device)
        if self.libraries is not None and self.libraries.kind(path) == "folder":
            return File("folder")
        return self._find(path)

    def read(self, fd: int, n: int) -> bytes | int:
        """Returns at most `n` bytes, or a negative error number."""
        file = self.table.get(fd)
        n = min(n, _MAX_READ)
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
        """Returns how many bytes were taken, or a negative error number."""
        file = self.table.get(fd)
        if file is None:
            return -EBADF
        if file.kind in ("stdout", "stderr"):
            self.output += data[: max(0, _MAX_OUTPUT - len(self.output))]
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
        """Returns 0, or a negative error number."""
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
        """Returns the descriptors of the end to read from and of the one to write to, or negative error numbers."""
        pipe = Pipe()
        r = self.add(File("pipe_r", pipe=pipe))
        w = self.add(File("pipe_w", pipe=pipe))
        return r, w

    def ready(self, fd: int) -> int:
        """Returns the epoll events that hold for a descriptor."""
        file = self.table.get(fd)
        if file is None:
            return 0
        if file.kind == "eventfd":
            return (EPOLLIN if file.counter else 0) | EPOLLOUT
        if file.kind == "pipe_r" and file.pipe is not None:
            return (EPOLLIN if file.pipe.data else 0) | (EPOLLHUP if not file.pipe.writers else 0)
        if file.kind == "pipe_w" and file.pipe is not None:
            return EPOLLOUT if len(file.pipe.data) < _MAX_PIPE else 0
        return 0

    def poll(self, epoll: File, limit: int) -> list[Interest]:
        """Returns what an epoll has to report, with the events that hold now.

        An edge-triggered descriptor is reported once, and again only after it was not ready in between.
        """
        out: list[Interest] = []
        for fd, interest in epoll.interest.items():
            now = self.ready(fd) & (interest.events | EPOLLERR | EPOLLHUP)
            if not now:
                epoll.reported.discard(fd)
                continue
            if interest.events & EPOLLET:
                if fd in epoll.reported:
                    continue
                epoll.reported.add(fd)
            out.append(Interest(now, interest.data))
            if len(out) >= limit:
                break
        return out
