"""Sending files over connections.  Follows Go's net/sendfile.go, internal/poll/sendfile_unix.go and the generic copy that
io.Copy falls back to.

A sendfile goes out whole, as a write does: from its first byte to its last it keeps its place in the connection's queue
of writes.  So it is one operation, which sends one part after the other.

- A file of up to DIRECT bytes is one part.  The operation hands it to the system, and waits only for the peer.
- Of a larger file the operation gets a part at a time, and waits without a thread until the goroutine gives it the next:
  so the file does not hold a P for long, and cancellations and deadlines are seen between two parts.
- What the system cannot send (a pipe, files of /proc) is read under gort.blocking, and given in the same way.
"""

from __future__ import annotations

import errno
import os
import stat
from _collections_abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from gort._runtime.poll import fd as _fd
from gort._runtime.sched.blocking import blocking
from gort._runtime.wait.chan import Chan
from gort.group import Group

if TYPE_CHECKING:
    from gort.net.conn import Conn
    from gort.os import File

    Sendable: TypeAlias = BinaryIO | int | File[bytes] | _fd.FD
else:
    Sendable = Any

DIRECT = 1 << 23  # bytes: a few milliseconds of a fast peer's
READ_CHUNK = 1 << 18

# The system does not send from this file; nothing has been sent.
_REFUSED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ESPIPE, errno.EOVERFLOW)


class Source:
    """A file from `offset` on, `count` bytes or all that there are: by parts of it, or read."""

    def __init__(self, file: Any, offset: int, count: int | None) -> None:
        if offset < 0 or (count is not None and count < 0):
            raise ValueError(f"sendfile takes no negative offset or count, not {offset}, {count}")
        self.stream: _fd.FD | None = file if isinstance(file, _fd.FD) else None
        self.fd: int = file if isinstance(file, int) else file.fileno()
        self.at: int = offset
        self.left: int | None = count
        st = os.fstat(self.fd)
        self.seekable: bool = self.stream is None and not stat.S_ISFIFO(st.st_mode) and not stat.S_ISSOCK(st.st_mode)
        self.size: int = st.st_size if stat.S_ISREG(st.st_mode) else 0
        if offset and not self.seekable:
            raise OSError(errno.ESPIPE, f"sendfile from offset {offset}: {os.strerror(errno.ESPIPE)}")

    def whole(self) -> int:
        """How many bytes the system has to send, as far as the file's size tells; 0: it has to be read."""
        there = max(0, self.size - self.at)
        return there if self.left is None else min(there, self.left)

    async def read(self) -> bytes:
        """The next bytes; b"" at the end."""
        n = READ_CHUNK if self.left is None else min(READ_CHUNK, self.left)
        if n == 0:
            return b""
        data = await self.stream.read(n) if self.stream is not None else await blocking(self._read, n)
        self.at += len(data)
        if self.left is not None:
            self.left -= len(data)
        return data

    def _read(self, n: int) -> bytes:
        if self.seekable:
            return os.pread(self.fd, n, self.at)
        while True:
            try:
                return os.read(self.fd, n)
            except BlockingIOError:  # somebody has made it non-blocking
                import select

                poll = select.poll()
                poll.register(self.fd, select.POLLIN)
                poll.poll()


def _over() -> int:
    """The part after the last one."""
    return 0


class _Parts:
    """The attempt of the operation: sends the parts that it is given.  Another thread may give the next one meanwhile, or
    a finalizer in the middle of a method here: so `part` is read once and written once, without a lock."""

    def __init__(self, conn: Conn) -> None:
        self.conn = conn
        self.sent = 0
        self.part: Callable[[], int] | None = None  # sends some of it, and gives how much; 0: it is sent
        self.taken: Chan[None] = Chan(1)  # a part has been sent

    def give(self, part: Callable[[], int] | None) -> None:
        """The next part, or the end.  The one before has been taken."""
        self.part = part or _over

    def __call__(self) -> None:
        while True:
            part = self.part
            if part is _over:
                return
            if part is None:
                raise BlockingIOError  # give, and then retry_writes, go on
            n = part()  # BlockingIOError: the peer is slow
            self.sent += n
            if n == 0:
                if self.part is part:  # else it was the only one (_Then)
                    self.part = None
                self.taken.try_send(None)


class _FromFile:
    """A part that the system moves: `count` bytes from `at` on."""

    def __init__(self, conn: Conn, source: int, at: int, count: int) -> None:
        self.conn, self.source, self.at, self.left = conn, source, at, count

    def __call__(self) -> int:
        n = os.sendfile(self.conn.fd, self.source, self.at, self.left) if self.left else 0
        self.at += n
        self.left = self.left - n if n else 0  # the file may have become shorter
        return n


class _FromBytes:
    """A part that has been read."""

    def __init__(self, conn: Conn, data: bytes) -> None:
        self.conn, self.left = conn, memoryview(data)

    def __call__(self) -> int:
        n = os.write(self.conn.fd, self.left) if self.left else 0
        self.left = self.left[n:]
        return n


async def sendfile(conn: Conn, file: Any, offset: int, count: int | None) -> int:
    """Conn.sendfile."""
    source = Source(file, offset, count)
    parts = _Parts(conn)
    whole = source.whole()
    try:
        if 0 < whole <= DIRECT:
            try:
                parts.give(_Then(_FromFile(conn, source.fd, source.at, whole), parts))
                await conn.call_op(parts, True)
                return parts.sent
            except OSError as e:
                if e.errno not in _REFUSED or parts.sent:
                    raise
                parts = _Parts(conn)
                whole = 0
        await _by_parts(conn, source, parts, whole)
    except BaseException as e:
        e.written = parts.sent  # type: ignore[attr-defined]
        raise
    return parts.sent


class _Then:
    """The only part: the operation is over after it."""

    def __init__(self, part: Callable[[], int], parts: _Parts) -> None:
        self.part, self.parts = part, parts

    def __call__(self) -> int:
        n = self.part()
        if n == 0:
            self.parts.give(None)
        return n


async def _by_parts(conn: Conn, source: Source, parts: _Parts, whole: int) -> None:
    """Gives the operation one part after the other; whole: how many bytes the system sends, 0: what there is is read."""

    async def hold() -> None:
        await conn.call_op(parts, True)

    try:
        async with Group() as group:
            group.go(hold)
            end = source.at + whole
            while True:
                if whole:
                    n = min(DIRECT, end - source.at)
                    part: Callable[[], int] | None = _FromFile(conn, source.fd, source.at, n) if n else None
                    source.at += n
                else:
                    data = await source.read()
                    part = _FromBytes(conn, data) if data else None
                parts.give(part)
                conn.retry_writes()
                if part is None:
                    break
                await parts.taken.recv()
    except BaseExceptionGroup as e:
        if len(e.exceptions) == 1:
            raise e.exceptions[0] from None
        raise
    finally:
        # The side is marked as not ready while the operation waits for a part: nothing would wake the next write.
        conn.retry_writes()
