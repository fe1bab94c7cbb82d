"""gort.bufio: buffered reading and writing, lines and other tokens.  Follows Go's package bufio (bufio.go, scan.go).

    async for word in gort.bufio.Scanner(conn, gort.bufio.scan_words): ...
    async with gort.bufio.Writer(conn) as w:
        await w.write(b"many small pieces")

Connections, TLS connections and the pipes of gort.exec have the methods of Reader themselves, and a Reader of one of them
has no buffer of its own: both can be used in turn, and nothing is lost between them.  A Reader of anything else, such as
a file of gort.os, has the buffer.

One goroutine at a time may use a Reader, a Scanner or a Writer, as in Go.

What does not live here: the reads themselves (_compound.py).
"""

from __future__ import annotations

from _collections_abc import AsyncIterator, Awaitable, Callable
from _warnings import warn
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias

from gort._compound import READ_SIZE, Compound, IncompleteRead, Kept, LimitExceeded
from gort._runtime.core.mistakes import Shared, name_of
from gort._runtime.core.public import publish as _publish
from gort._runtime.poll.neterrors import Closed
from gort._start.hints import Buffer

__all__ = [
    "IncompleteRead",
    "LimitExceeded",
    "Reader",
    "Scanner",
    "Sink",
    "Source",
    "Split",
    "Writer",
    "scan_bytes",
    "scan_lines",
    "scan_runes",
    "scan_words",
]

SCAN_LIMIT = 1 << 16  # bytes of a token, with what ends it
WRITE_SIZE = 1 << 16  # bytes that a Writer collects
EMPTY_MAX = 100  # tokens in a row for which nothing was taken: no split function means that


class Source(Protocol):
    """What a Reader reads: its `read(n)` is awaited and gives up to n bytes, b"" at the end of the stream.  A cancelled
    read must have taken nothing."""

    def read(self, n: int, /) -> Awaitable[bytes]:
        """Up to n bytes."""


class _Filled(Protocol):
    """The other kind of source: it reads into a buffer."""

    def readinto(self, buffer: memoryview, /) -> Awaitable[int]: ...


class Sink(Protocol):
    """What a Writer writes to: its `write(data)` is awaited."""

    def write(self, data: bytes, /) -> Awaitable[object]:
        """All of data."""


class _Buffer(Kept):
    """Makes a stream of a source that is none of gort's: it keeps the bytes that were read ahead."""

    def __init__(self, source: Any) -> None:
        self._read: Any = getattr(source, "read", None)
        self._readinto: Any = getattr(source, "readinto", None)
        if self._read is None and self._readinto is None:
            raise TypeError(f"a Reader takes what has `read` or `readinto`, which {type(source).__name__} has not")

    async def read(self, n: int = READ_SIZE) -> bytes:
        """Up to n bytes; asks the source for READ_SIZE at least, and keeps what is too much."""
        if n <= 0:
            if n == 0:
                return b""
            raise ValueError(f"read(n) takes a number of bytes, not {n}")
        if self._pushed:
            return self._pop(n)
        data = await self._more(max(n, READ_SIZE))
        if len(data) > n:
            self.push(data, n)
            data = data[:n]
        return data

    async def _more(self, n: int) -> bytes:
        if self._read is None:
            into = bytearray(n)
            return bytes(memoryview(into)[: await _awaited(self._readinto(memoryview(into)), "readinto")])
        data = await _awaited(self._read(n), "read")
        if type(data) is bytes:
            return data
        if data is None or isinstance(data, str):
            raise TypeError(f"a Reader's source gives bytes, not {type(data).__name__}: open files in binary mode")
        return bytes(data)


def _awaited(result: Any, name: str) -> Any:
    """Returns the result of a source's method if it can be awaited.  Raises TypeError otherwise."""
    if not hasattr(result, "__await__"):
        raise TypeError(
            f"a Reader awaits its source's {name}, which gave {type(result).__name__}: "
            "open files with gort.os.open; what is in memory already needs no Reader"
        )
    return result


class Reader(Compound, Shared):
    """Reads a stream in the sizes that its user wants: `Reader(source)` for anything whose `read` or `readinto` is
    awaited.

    The Reader of a connection, TLS connection, pipe or other Reader keeps nothing for itself: it can be dropped at any
    moment, and who reads from the stream next misses nothing.  The Reader of anything else asks its source for 64 KiB at
    a time.  A read that is cancelled, or raises, has taken nothing.  Follows Go's bufio.Reader."""

    def __init__(self, source: Source | _Filled) -> None:
        stream = source if isinstance(source, Compound) else _Buffer(source)
        self.source: Source | _Filled = source
        # The methods on which all others are built are the stream's own: a call less for each line.
        for name in ("read", "readinto", "push", "held", "skip", "take_until"):
            vars(self)[name] = getattr(stream, name)

    def __repr__(self) -> str:
        return f"<gort.bufio.Reader of {self.source!r}>"


# (data, start, at the end of the stream) -> (where the next token begins, the token or None for none), or None: more data
Split: TypeAlias = Callable[[bytes, int, bool], tuple[int, bytes | None] | None]


def scan_lines(data: bytes, start: int, at_end: bool) -> tuple[int, bytes | None] | None:
    """Splits into lines, without their ends, which are b"\\n" or b"\\r\\n".  The last one may have none.  Follows Go's
    bufio.ScanLines."""
    end = data.find(b"\n", start)
    if end >= 0:
        return end + 1, _without_return(data[start:end])
    return (len(data), _without_return(data[start:])) if at_end and start < len(data) else None


def _without_return(line: bytes) -> bytes:
    return line[:-1] if line.endswith(b"\r") else line


def scan_bytes(data: bytes, start: int, at_end: bool) -> tuple[int, bytes | None] | None:
    """Splits into single bytes.  Follows Go's bufio.ScanBytes."""
    return (start + 1, data[start : start + 1]) if start < len(data) else None


def scan_runes(data: bytes, start: int, at_end: bool) -> tuple[int, bytes | None] | None:
    """Splits into the characters of UTF-8, each as its bytes.  A byte that belongs to no character gives
    b"\\xef\\xbf\\xbd" (U+FFFD), as in Go.  Follows Go's bufio.ScanRunes."""
    if start >= len(data):
        return None
    first = data[start]
    size = 1 if first < 0x80 else 2 if 0xC2 <= first < 0xE0 else 3 if 0xE0 <= first < 0xF0 else 4
    rune = data[start : start + size]
    try:
        rune.decode()
        return start + size, rune
    except UnicodeDecodeError as e:
        if e.reason == "unexpected end of data" and not at_end:
            return None
        return start + 1, b"\xef\xbf\xbd"


_SPACES = b" \t\n\v\f\r"


def scan_words(data: bytes, start: int, at_end: bool) -> tuple[int, bytes | None] | None:
    """Splits into words, which ASCII white space separates.  Follows Go's bufio.ScanWords."""
    size = len(data)
    while start < size and data[start] in _SPACES:
        start += 1
    end = start
    while end < size and data[end] not in _SPACES:
        end += 1
    if end < size:
        return end + 1, data[start:end]
    return (size, data[start:] or None) if at_end else (start, None)


class Scanner(Shared):
    """`async for token in Scanner(conn)`: lines without their ends, or what `split` makes of a stream.

    split: bytes, which end each token (the last one need not have them); or one of scan_lines, scan_words, scan_runes,
    scan_bytes; or a function of (data, start, at_end).  It looks at data[start:], which is never empty unless at_end
    says that the stream has ended, and returns (end, token): the next token begins at data[end].  With a token of None
    the Scanner passes over what lies before `end`.  It returns None when it needs more data; at the end of the stream,
    None says that there is no further token.  The Scanner raises what the function raises.

    limit: how many bytes a token and what ends it may have.  More raises LimitExceeded, and the bytes are still in the
    stream.  What the Scanner has not given out stays in the stream too, for whoever reads it next.  So a token that a
    cancellation or a deadline held up is the next one.  Follows Go's bufio.Scanner."""

    def __init__(self, source: Source | _Filled, split: Split | bytes = scan_lines, *, limit: int = SCAN_LIMIT) -> None:
        given: Any = split
        if not callable(given) and not (isinstance(given, bytes) and given):
            raise TypeError(f"split is a function or bytes that end a token, not {given!r}")
        if limit < 1:
            raise ValueError(f"limit is a number of bytes, not {limit}")
        stream = source if isinstance(source, Compound) else Reader(source)
        self.source: Source | _Filled = source
        self.limit: int = limit
        self._stream: Compound = stream
        self._split = split
        self._until: bytes = b"\n" if split is scan_lines else split if isinstance(split, bytes) else b""
        self._at_end = False
        self._empty = 0  # tokens in a row for which nothing was taken

    def __repr__(self) -> str:
        return f"<gort.bufio.Scanner of {self.source!r}>"

    async def scan(self) -> bytes | None:
        """Returns the next token; None at the end of the stream.  Raises LimitExceeded, what reading the source raises,
        and what the split function raises.  Raises ValueError if the split function goes backwards or beyond its data,
        RuntimeError if it gives a hundred tokens in a row without going on."""
        if not self._until:
            return await self._scan_by_function()
        token = self._stream.take_until(self._until, self.limit)
        if token is None:
            try:
                token = await self._stream.read_until(self._until, self.limit)
            except IncompleteRead as e:
                if not e.partial:
                    return None
                return _without_return(e.partial) if self._split is scan_lines else e.partial
        return self._bare(token)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._until:
            take, until, limit, bare = self._stream.take_until, self._until, self.limit, self._bare
            while True:
                token = take(until, limit)
                if token is not None:
                    yield bare(token)
                elif (token := await self.scan()) is not None:
                    yield token
                else:
                    return
        while (token := await self._scan_by_function()) is not None:
            yield token

    def _bare(self, token: bytes) -> bytes:
        """The token without what ends it."""
        if self._split is scan_lines:
            return token[:-2] if token.endswith(b"\r\n") else token[:-1]
        return token[: -len(self._until)]

    async def _scan_by_function(self) -> bytes | None:
        stream = self._stream
        assert callable(self._split)
        while True:
            data, start = stream.held()
            size = len(data) - start
            if size or self._at_end:
                step = self._split(data, start, self._at_end)
                if step is not None and step[0] - start > self.limit:
                    # It saw more than a token may have. What counts is what it makes of so much.
                    data, start = data[start : start + self.limit], 0
                    step = self._split(data, start, False)
                if step is not None:
                    end, token = step
                    if not start <= end <= len(data):
                        raise ValueError(f"the split function went to {end}, not to {start} … {len(data)}")
                    stream.skip(end - start)
                    self._empty = 0 if end > start or token is None else self._empty + 1
                    if self._empty > EMPTY_MAX:
                        raise RuntimeError(f"the split function gave {self._empty} tokens without going on")
                    if token is not None:
                        return token
                    if end > start:
                        continue
            if self._at_end:
                return None
            if size >= self.limit:
                raise LimitExceeded(f"no token in the first {self.limit} bytes")
            self._at_end = not await stream._hold(size + 1)


class Writer(Shared):
    """Collects small writes, and passes them on together: `async with Writer(conn) as w`, then `await w.write(data)`.

    Nothing is sent before `size` bytes have come together, or before `flush`, `close` or the end of the block.  A block
    that is left by an exception sends nothing more: what is buffered then is dropped.  The stream beneath stays open.

    When a write to the stream fails or is cancelled, and the exception says in `written` how much went (those of gort's
    connections and pipes do), the rest stays buffered, and the next flush goes on with it: no byte is lost or sent twice.
    Where that is unknown, the Writer can send nothing any more, and says so each time.  Follows Go's bufio.Writer."""

    def __init__(self, stream: Sink, size: int = WRITE_SIZE) -> None:
        if size < 1:
            raise ValueError(f"size is a number of bytes, not {size}")
        self.stream: Sink = stream
        self.size: int = size
        self._buf = bytearray()
        self._busy = False  # a goroutine is writing to the stream
        self._closed = False
        self._failed: BaseException | None = None  # a write failed, and nobody knows how much of it went
        self._told = False  # somebody has been told that what is buffered was not sent

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._buf)} of {self.size} bytes"
        return f"<gort.bufio.Writer to {self.stream!r}, {state}>"

    def __del__(self) -> None:
        if getattr(self, "_buf", None) and not self._told:
            text = f"{name_of(self)}: never flushed, so the bytes are lost"
            warn(text, ResourceWarning, source=self, stacklevel=2)

    @property
    def buffered(self) -> int:
        """How many bytes wait to be sent."""
        return len(self._buf)

    @property
    def available(self) -> int:
        """How many bytes can be written before something is sent."""
        return max(0, self.size - len(self._buf))

    @property
    def closed(self) -> bool:
        """Whether close() has been called."""
        return self._closed

    async def write(self, data: Buffer) -> None:
        """Takes all of data: into the buffer, or on to the stream where there is no room for it.

        Raises TypeError for what is no bytes, Closed after close, RuntimeError while another goroutine writes, and what
        the stream raises; `written` is then the number of bytes of data that were sent.  The Writer keeps none of the
        others."""
        if type(data) is not bytes:
            data = _flat(data)
        if self._busy or self._closed or self._failed is not None:
            self._refuse("write")
        if len(data) <= self.size - len(self._buf):
            self._buf += data
            return
        kept = len(self._buf)
        try:
            if kept and not hasattr(self.stream, "writev"):
                await self._send()
                kept = 0
                if len(data) < self.size:
                    self._buf += data
                    return
            await self._send(data)
        except BaseException as e:
            if isinstance(getattr(e, "written", None), int):
                e.written = max(0, e.written - kept)  # type: ignore[attr-defined]
            raise

    async def flush(self) -> None:
        """Sends what is buffered.  Raises as write does; `written` is then the number of bytes that went, and the
        others are still buffered.  It does not flush the stream itself: a file of gort.os has a flush of its own."""
        if self._busy or self._closed or self._failed is not None:
            self._refuse("flush")
        if self._buf:
            await self._send()

    async def close(self) -> None:
        """Flushes; from then on write raises Closed.  The stream stays open.  A second call does nothing.  When the
        flush fails, the Writer is as it was, and close may be tried again."""
        if not self._closed:
            await self.flush()
            self._closed = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if exc is None:
            await self.close()
            return
        self._closed = True
        self._buf = bytearray()

    def _refuse(self, what: str) -> None:
        if self._closed:
            raise Closed(f"{what}: use of closed Writer")
        if self._busy:
            raise RuntimeError(f"{what}: another goroutine is writing; let them share a gort.sync.Mutex")
        raise OSError(f"{what}: an earlier write failed, and nobody knows how much of it went") from self._failed

    async def _send(self, data: bytes | memoryview = b"") -> None:
        """Sends what is buffered, then data.  What it cannot send of the buffer stays there."""
        first = bytes(self._buf)
        self._busy = True
        try:
            if first and data:
                await self.stream.writev((first, data))  # type: ignore[attr-defined]
            else:
                await _write(self.stream, first or data)
        except BaseException as e:
            self._told = True
            # gort's streams say nothing where nothing went: the cancellation was pending, the handshake failed
            written = getattr(e, "written", 0 if isinstance(self.stream, Compound) else None)
            if isinstance(written, int):
                e.written = written  # type: ignore[attr-defined]
                del self._buf[:written]
            else:
                self._failed = e
                self._buf = bytearray()
            raise
        finally:
            self._busy = False
        self._buf.clear()
        self._told = False


async def _write(stream: Any, data: bytes | memoryview) -> None:
    """Writes all of data to a stream that may take less at a time, as an unbuffered file does."""
    done = 0
    while True:
        try:
            n = await stream.write(data if done == 0 else memoryview(data)[done:])
        except BaseException as e:
            if done and isinstance(getattr(e, "written", None), int):
                e.written += done  # type: ignore[attr-defined]
            raise
        done = len(data) if n is None else done + n
        if done >= len(data):
            return
        if n <= 0:
            error = OSError(f"write: {stream!r} took {n} of {len(data) - done} bytes")
            error.written = done  # type: ignore[attr-defined]
            raise error


def _flat(data: Any) -> memoryview:
    """A view of another buffer than bytes, with items of one byte."""
    if isinstance(data, str):
        raise TypeError("write takes bytes, not str: write data.encode()")
    try:
        return memoryview(data).cast("B")
    except TypeError:
        raise TypeError(f"write takes bytes or another contiguous buffer, not {type(data).__name__}") from None


_publish(globals())
