"""gort.os: files that never stall a P.  Follows Go's package os, with Python's names where Python has one.

Ordinary files have no readiness to wait for, so their system calls run under gort.blocking: the P goes on with other
goroutines meanwhile.  Whole-file functions make one such call each, not one per block.
"""

from __future__ import annotations

import builtins
import errno
import os as _os
import shutil
import stat as _stat
from _collections_abc import AsyncIterator, Callable
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
# walk: the directories that one lies in, by device and inode, the nearest first
_Chain: TypeAlias = tuple[int, int, Any] | None


class File(Generic[AnyStr]):
    """An open file, of str or of bytes; made by gort.os.open.  Every method that touches the disk is awaited.

    Operations of several goroutines on one file do not mix; they share its position, as threads do.  Closing a file
    while another goroutine uses it takes effect when that call is over.  Go's os.File."""

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
        """Reads up to n bytes (characters in text mode), with -1 all that is left; empty at the end."""
        data: AnyStr = await self._call("read", n)
        return data

    async def readinto(self: File[bytes], buffer: Buffer) -> int:
        """Reads into a writable buffer; returns the number of bytes, 0 at the end.  Binary mode only."""
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
        """Writes all of data; returns how much that was."""
        return int(await self._call("write", data))

    async def pread(self, n: int, offset: int) -> bytes:
        """Reads up to n bytes at an offset, without moving the position.  Raises Closed if the file is closed."""
        async with self._mu:
            if self._file.closed:
                raise Closed(f"read {self.name}: file already closed")
            return bytes(await blocking(_os.pread, self._file.fileno(), n, offset))

    async def seek(self, offset: int, whence: int = 0) -> int:
        """Moves the position; returns the new one."""
        return int(await self._call("seek", offset, whence))

    async def truncate(self, size: int | None = None) -> int:
        """Cuts the file, at its position by default."""
        return int(await self._call("truncate", size))

    async def flush(self) -> None:
        """Hands what is buffered to the system."""
        await self._call("flush")

    async def sync(self) -> None:
        """Has the system write it to the disk (fsync).  Raises Closed if the file is closed."""
        async with self._mu:
            if self._file.closed:
                raise Closed(f"sync {self.name}: file already closed")
            await blocking(_sync, self._file)

    async def close(self) -> None:
        """Writes what is buffered and closes.  A second call does nothing."""
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
    """`async with await gort.os.open(path, "rb") as f`: as the builtin open, whose options and errors it has.  `mode`
    is that of open too.  Go's os.OpenFile."""
    return File(await blocking(lambda: builtins.open(path, mode, **options)), path)


def _read(path: _Path) -> bytes:
    with builtins.open(path, "rb") as f:
        return f.read()


async def read_file(path: _Path) -> bytes:
    """The whole file.  Raises OSError.  Follows Go's os.ReadFile."""
    return bytes(await blocking(_read, path))


def _write(path: _Path, data: Buffer, mode: int) -> None:
    fd = _os.open(path, _os.O_WRONLY | _os.O_CREAT | _os.O_TRUNC | getattr(_os, "O_CLOEXEC", 0), mode)
    with builtins.open(fd, "wb") as f:
        f.write(data)


async def write_file(path: _Path, data: Buffer, mode: int = 0o666) -> None:
    """Writes data to a new file, or in place of what was there.  mode: permissions of a new one, before umask.  Raises
    TypeError for a str, and OSError.  Follows Go's os.WriteFile."""
    if isinstance(data, str):
        raise TypeError("write_file takes bytes, not str: write data.encode()")
    await blocking(_write, path, data, mode)


async def copy(source: _Path, target: _Path) -> int:
    """Copies a file's contents and permissions; returns the number of bytes.

    The copy is made in a new file beside the target and then takes the target's place in one step.  So the target is the
    whole copy, or what it was before: an error or a cancellation leaves nothing behind.  A target that was another name
    (a hard link) of a file becomes a file of its own; through a symbolic link the file that it names is replaced.  A
    device as target is written to as it is.

    Raises shutil.SameFileError when both are one file, shutil.SpecialFileError for a named pipe or a socket,
    IsADirectoryError, PermissionError and other OSErrors."""
    src = await blocking(_open_source, source)
    try:
        dst = await blocking(_CopyTarget, src, source, target)
        try:
            total = 0
            while n := await blocking(_copy_chunk, src, dst, total):
                total += n
            await blocking(dst.finish, _os.fstat(src))
        finally:
            dst.close()
        return total
    finally:
        _os.close(src)


def _open_source(path: _Path) -> int:
    """Opens the file to copy; gives its descriptor.  A named pipe would make its opener wait for a writer: O_NONBLOCK
    opens it at once, so that it can be refused."""
    fd = _os.open(path, _os.O_RDONLY | _os.O_NONBLOCK | _os.O_CLOEXEC)
    try:
        _check_kind(_os.fstat(fd).st_mode, path)
        _os.set_blocking(fd, True)
    except BaseException:
        _os.close(fd)
        raise
    return fd


def _check_kind(mode: int, path: _Path) -> None:
    """Raises for what cannot be copied, or copied to."""
    if _stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, _os.strerror(errno.EISDIR), _os.fspath(path))
    if _stat.S_ISFIFO(mode) or _stat.S_ISSOCK(mode):
        kind = "a named pipe" if _stat.S_ISFIFO(mode) else "a socket"
        raise shutil.SpecialFileError(f"copy: {_os.fspath(path)!r} is {kind}")


class _CopyTarget:
    """What copy writes to: a new file beside the target, which finish() renames over it, or a device."""

    def __init__(self, src: int, source: _Path, target: _Path) -> None:
        self.fd = -1
        self.path = _os.path.realpath(target)  # the file, where target is a symbolic link to one
        self.temporary: str | None = None
        self.linear = False  # copy_file_range does not fit these two, or is not there: read and write
        before: _os.stat_result | None
        try:
            before = _os.stat(target)
        except FileNotFoundError:
            before = None
        if before is None and _os.fspath(target).endswith("/"):
            raise IsADirectoryError(errno.EISDIR, _os.strerror(errno.EISDIR), _os.fspath(target))
        if before is not None:
            if _os.path.samestat(_os.fstat(src), before):
                raise shutil.SameFileError(f"copy: {_os.fspath(source)!r} and {_os.fspath(target)!r} are the same file")
            _check_kind(before.st_mode, target)
            if not _stat.S_ISREG(before.st_mode):
                self.fd = _os.open(target, _os.O_WRONLY | _os.O_CLOEXEC)
                self.linear = True
                return
            if not _os.access(target, _os.W_OK):  # renaming would not ask for that
                raise PermissionError(errno.EACCES, _os.strerror(errno.EACCES), _os.fspath(target))
        name = _os.path.join(_os.path.dirname(self.path), f".gort-copy-{_os.urandom(6).hex()}")
        try:
            self.fd = _os.open(name, _os.O_WRONLY | _os.O_CREAT | _os.O_EXCL | _os.O_CLOEXEC, 0o600)
        except OSError as e:
            e.filename = _os.fspath(target)
            raise
        self.temporary = name

    def finish(self, source: _os.stat_result) -> None:
        """The copy is complete: gives it the source's permissions and the target's name."""
        if self.temporary is not None:
            _os.fchmod(self.fd, _stat.S_IMODE(source.st_mode))
            _os.rename(self.temporary, self.path)
            self.temporary = None

    def close(self) -> None:
        """Closes it, and deletes a copy that is not complete."""
        if self.temporary is not None:
            _os.unlink(self.temporary)
        _os.close(self.fd)


def _copy_chunk(source: int, target: _CopyTarget, done: int) -> int:
    """Copies one chunk, at the offset `done`; returns 0 at the end.  The system copies where it can.  Files that are
    made as they are read (/proc) look empty to copy_file_range, so only a read can say that a file is empty."""
    if not target.linear and hasattr(_os, "copy_file_range"):
        try:
            n = _os.copy_file_range(source, target.fd, COPY_CHUNK)
            if n or done:
                return n
        except OSError:
            pass  # file systems refuse with many errors; if this one is of the files, read and write raise it again
        target.linear = True
    data = _os.read(source, COPY_CHUNK)
    left = memoryview(data)
    while left:
        left = left[_os.write(target.fd, left) :]
    return len(data)


async def walk(
    top: _Path, follow_links: bool = False, on_error: Callable[[OSError], object] | None = None
) -> AsyncIterator[_os.DirEntry[str]]:
    """`async for entry in walk(top)`: every entry beneath top, a directory before what is in it.

    The walk goes on where a directory beneath top cannot be read, or has vanished: on_error is called with the OSError,
    whose filename is the directory's, and may raise to end the walk.  Without on_error such directories are passed
    over, as os.walk does.  With follow_links the walk gives, but does not enter, a link to a directory that contains
    it; on_error gets ELOOP.  Raises OSError if top itself cannot be read.  Go's filepath.WalkDir."""
    stack: list[tuple[str, _Chain]] = [(_os.fspath(top), None)]
    first = True
    while stack:
        path, above = stack.pop()
        below: list[tuple[str, _Chain]] = []
        errors: list[OSError] = []
        scan = None
        try:
            chain: _Chain = None
            if follow_links:
                chain = await blocking(_enter, path, above)
            scan = await blocking(_os.scandir, path)
            while batch := await blocking(_batch, scan, follow_links, errors):
                for entry, is_dir in batch:
                    if is_dir:
                        below.append((entry.path, chain))
                    yield entry
        except OSError as e:
            if first:
                raise
            errors.append(e)
        finally:
            if scan is not None:
                scan.close()
        first = False
        for error in errors:
            if on_error is not None:
                error.filename = error.filename or path
                on_error(error)
        stack.extend(reversed(below))


def _enter(path: str, above: Any) -> Any:
    """Returns the chain of a directory and those above it.  Raises ELOOP if it is one of those above."""
    st = _os.stat(path)
    link = above
    while link is not None:
        if (st.st_dev, st.st_ino) == link[:2]:
            raise OSError(errno.ELOOP, "it leads to a directory that it lies in", path)
        link = link[2]
    return st.st_dev, st.st_ino, above


def _batch(scan: Any, follow_links: bool, errors: list[OSError]) -> list[tuple[_os.DirEntry[str], bool]]:
    """The next entries, and whether each is a directory to enter."""
    found: list[tuple[_os.DirEntry[str], bool]] = []
    while len(found) < WALK_BATCH:
        try:
            entry = next(scan)
        except StopIteration:
            break
        except OSError as e:  # the rest of the directory cannot be read
            errors.append(e)
            break
        try:
            is_dir = entry.is_dir(follow_symlinks=follow_links)
        except OSError:
            is_dir = False  # a link to itself, or it has vanished: it is given, and cannot be entered
        found.append((entry, is_dir))
    return found


async def listdir(path: _Path = ".") -> list[str]:
    """The names in a directory."""
    return list(await blocking(_os.listdir, path))


async def stat(path: _Path, *, follow_symlinks: bool = True) -> _os.stat_result:
    """As os.stat."""
    result: _os.stat_result = await blocking(_os.stat, path, follow_symlinks=follow_symlinks)
    return result


async def mkdir(path: _Path, mode: int = 0o777) -> None:
    """As os.mkdir.  mode: the permissions, before umask.  Go's os.Mkdir."""
    await blocking(_os.mkdir, path, mode)


async def makedirs(path: _Path, mode: int = 0o777, exist_ok: bool = False) -> None:
    """As os.makedirs.  mode: the permissions, before umask.  Go's os.MkdirAll."""
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
