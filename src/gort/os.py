"""gort.os: files that never stall a P.  Follows Go's package os, with Python's names where Python has one.

Ordinary files have no readiness to wait for, so their system calls run under gort.blocking: the P goes on with other
goroutines meanwhile.  Whole-file functions make one such call each, not one per block.
"""

from __future__ import annotations

import builtins
import os as _os
import shutil
from _collections_abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, AnyStr, Generic, Self, TypeAlias, overload

from gort import sync
from gort._runtime.core.public import publish as _publish
from gort._runtime.poll.neterrors import Closed
from gort._runtime.sched.blocking import blocking
from gort._start.hints import Buffer

if TYPE_CHECKING:
    from _typeshed import OpenBinaryMode, OpenTextMode

__all__ = [
    "File",
    "copy",
    "listdir",
    "makedirs",
    "mkdir",
    "open",
    "read_file",
    "remove",
    "rename",
    "rmtree",
    "stat",
    "walk",
    "write_file",
]

COPY_CHUNK = 1 << 20
WALK_BATCH = 256  # entries per blocking call: a directory of millions is walked without holding them all
LINE_CHUNK = 1 << 16

_Path: TypeAlias = str | _os.PathLike[str]


class File(Generic[AnyStr]):
    """An open file, of str or of bytes; made by gort.os.open.  Every method that touches the disk is awaited.

    Operations of several goroutines on one file do not mix; they share its position, as threads do.  Closing a file
    while another goroutine uses it takes effect when that call is over."""

    def __init__(self, file: Any, name: _Path | int) -> None:
        self._file = file
        self.name: _Path | int = name
        self._mu = sync.Mutex()

    def __repr__(self) -> str:
        return f"<gort.os.File {self.name!r}{' closed' if self._file.closed else ''}>"

    @property
    def closed(self) -> bool:
        """Whether it has been closed."""
        return bool(self._file.closed)

    def fileno(self) -> int:
        """Its descriptor."""
        return int(self._file.fileno())

    async def _call(self, name: str, *args: Any) -> Any:
        async with self._mu:
            if self._file.closed:
                raise Closed(f"{name} {self.name}: file already closed")
            return await blocking(getattr(self._file, name), *args)

    async def read(self, n: int = -1) -> AnyStr:
        """Up to n bytes (characters in text mode); all that is left for -1; empty at the end."""
        data: AnyStr = await self._call("read", n)
        return data

    async def readinto(self: File[bytes], buffer: Buffer) -> int:
        """Into a writable buffer; how many bytes came, 0 at the end.  Binary mode only."""
        return int(await self._call("readinto", buffer))

    async def readline(self) -> AnyStr:
        """The next line with its end; empty at the end of the file."""
        line: AnyStr = await self._call("readline")
        return line

    if TYPE_CHECKING:

        @overload
        async def write(self: File[str], data: str) -> int: ...
        @overload
        async def write(self: File[bytes], data: Buffer) -> int: ...

    async def write(self, data: Any) -> int:
        """All of data; how much that was."""
        return int(await self._call("write", data))

    async def pread(self, n: int, offset: int) -> bytes:
        """Up to n bytes at an offset, without moving the position."""
        async with self._mu:
            if self._file.closed:
                raise Closed(f"read {self.name}: file already closed")
            return bytes(await blocking(_os.pread, self._file.fileno(), n, offset))

    async def seek(self, offset: int, whence: int = 0) -> int:
        """Moves the position; gives the new one."""
        return int(await self._call("seek", offset, whence))

    async def truncate(self, size: int | None = None) -> int:
        """Cuts the file, at its position by default."""
        return int(await self._call("truncate", size))

    async def flush(self) -> None:
        """Hands what is buffered to the system."""
        await self._call("flush")

    async def sync(self) -> None:
        """Has the system write it to the disk (fsync)."""
        async with self._mu:
            if self._file.closed:
                raise Closed(f"sync {self.name}: file already closed")
            await blocking(_sync, self._file)

    async def close(self) -> None:
        """Writes what is buffered and closes.  Again does nothing."""
        async with self._mu:
            if not self._file.closed:
                await blocking(self._file.close)

    async def __aiter__(self) -> AsyncIterator[AnyStr]:
        """`async for line in f`: many lines per blocking call."""
        while lines := await self._call("readlines", LINE_CHUNK):
            for line in lines:
                yield line

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()


def _sync(file: Any) -> None:
    file.flush()
    _os.fsync(file.fileno())


if TYPE_CHECKING:

    @overload
    async def open(path: _Path | int, mode: OpenTextMode = "r", **options: Any) -> File[str]: ...
    @overload
    async def open(path: _Path | int, mode: OpenBinaryMode, **options: Any) -> File[bytes]: ...


async def open(path: _Path | int, mode: str = "r", **options: Any) -> File[Any]:
    """`async with await gort.os.open(path, "rb") as f`: as the builtin open, whose options and errors it has."""
    return File(await blocking(lambda: builtins.open(path, mode, **options)), path)


def _read(path: _Path) -> bytes:
    with builtins.open(path, "rb") as f:
        return f.read()


async def read_file(path: _Path) -> bytes:
    """The whole file."""
    return bytes(await blocking(_read, path))


def _write(path: _Path, data: Buffer, mode: int) -> None:
    fd = _os.open(path, _os.O_WRONLY | _os.O_CREAT | _os.O_TRUNC | getattr(_os, "O_CLOEXEC", 0), mode)
    with builtins.open(fd, "wb") as f:
        f.write(data)


async def write_file(path: _Path, data: Buffer, mode: int = 0o666) -> None:
    """Writes data to a new file, or in place of what was there.  mode: permissions of a new one, before umask."""
    if isinstance(data, str):
        raise TypeError("write_file takes bytes, not str: write data.encode()")
    await blocking(_write, path, data, mode)


async def copy(source: _Path, target: _Path) -> int:
    """Copies a file's contents and permissions; how many bytes.  A cancellation or an error takes the target away."""
    src = await blocking(builtins.open, source, "rb", 0)
    try:
        dst = await blocking(builtins.open, target, "wb", 0)
        total = 0
        try:
            try:
                while n := await blocking(_copy_chunk, src.fileno(), dst.fileno()):
                    total += n
                await blocking(shutil.copymode, source, target)
            finally:
                dst.close()
        except BaseException:
            _os.unlink(target)
            raise
        return total
    finally:
        src.close()


def _copy_chunk(source: int, target: int) -> int:
    """One chunk, inside the system where it can."""
    if hasattr(_os, "copy_file_range"):
        try:
            return _os.copy_file_range(source, target, COPY_CHUNK)
        except OSError as e:
            if e.errno not in (18, 22, 38, 95):  # EXDEV, EINVAL, ENOSYS, EOPNOTSUPP: not between these two
                raise
    data = _os.read(source, COPY_CHUNK)
    left = memoryview(data)
    while left:
        left = left[_os.write(target, left) :]
    return len(data)


async def walk(top: _Path, follow_links: bool = False) -> AsyncIterator[_os.DirEntry[str]]:
    """`async for entry in walk(top)`: every entry beneath top, a directory before what is in it.  Directories that cannot
    be read raise OSError at their turn, as reading them would."""
    stack = [_os.fspath(top)]
    while stack:
        scan = await blocking(_os.scandir, stack.pop())
        try:
            below: list[str] = []
            while batch := await blocking(_batch, scan, follow_links):
                for entry, is_dir in batch:
                    if is_dir:
                        below.append(entry.path)
                    yield entry
            stack.extend(reversed(below))
        finally:
            scan.close()


def _batch(scan: Any, follow_links: bool) -> list[tuple[_os.DirEntry[str], bool]]:
    found = []
    for entry in scan:
        found.append((entry, entry.is_dir(follow_symlinks=follow_links)))
        if len(found) == WALK_BATCH:
            break
    return found


async def listdir(path: _Path = ".") -> list[str]:
    """The names in a directory."""
    return list(await blocking(_os.listdir, path))


async def stat(path: _Path, *, follow_symlinks: bool = True) -> _os.stat_result:
    """As os.stat."""
    result: _os.stat_result = await blocking(_os.stat, path, follow_symlinks=follow_symlinks)
    return result


async def mkdir(path: _Path, mode: int = 0o777) -> None:
    """As os.mkdir."""
    await blocking(_os.mkdir, path, mode)


async def makedirs(path: _Path, mode: int = 0o777, exist_ok: bool = False) -> None:
    """As os.makedirs."""
    await blocking(_os.makedirs, path, mode, exist_ok)


async def rename(source: _Path, target: _Path) -> None:
    """As os.replace: an existing target is replaced."""
    await blocking(_os.replace, source, target)


async def remove(path: _Path) -> None:
    """As os.remove."""
    await blocking(_os.remove, path)


async def rmtree(path: _Path) -> None:
    """As shutil.rmtree."""
    await blocking(shutil.rmtree, path)


_publish(globals())
