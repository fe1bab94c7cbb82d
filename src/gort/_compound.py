"""Reads that take several steps, for every stream: connections, TLS, pipes.  Follows bufio's ReadFull and ReadBytes, and
Scanner for lines.

A read that does not come to its end (cancelled, deadline passed, stream ended) gives the bytes that it took back to the
stream, so that the next read begins with them.  So does one that got more than it wanted.  What was given back is kept
with a position in it: taking a short line from it costs the line's length.

Rejected: a reader object with a buffer of its own beside the connection.  What it has buffered is lost to whoever reads
from the connection next (a body after its header, TLS after STARTTLS).
"""

from __future__ import annotations

from _collections_abc import AsyncIterator, Awaitable

READ_SIZE = 1 << 16  # bytes that a read asks for where the caller says nothing
READ_UNTIL_LIMIT = 1 << 16
READ_EXACTLY_STEP = 1 << 20  # room is made for what comes, not for what a peer has announced


class IncompleteRead(EOFError):
    """The stream ended before read_exactly or read_until had what it wanted; `partial` is what came."""

    def __init__(self, message: str, partial: bytes = b"") -> None:
        super().__init__(message)
        self.partial: bytes = partial


class LimitExceeded(ValueError):
    """read_until found no delimiter within its limit.  The bytes are still there to be read."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)


class Compound:
    """The reads that take several steps, for every connection that has `read` and `push`."""

    __slots__ = ()

    def read(self, n: int = READ_SIZE) -> Awaitable[bytes]:
        """Up to n bytes; b"" at the end of the stream."""
        raise NotImplementedError

    def push(self, data: bytes | bytearray | memoryview) -> None:
        """Gives bytes back: the next read begins with them."""
        raise NotImplementedError

    def take_until(self, delimiter: bytes, limit: int) -> bytes | None:
        """Takes what was given back up to and including the delimiter, without waiting; None when no delimiter ends
        within `limit` bytes of it, and when a read would fail."""
        raise NotImplementedError

    async def read_exactly(self, n: int) -> bytes:
        """Exactly n bytes.  IncompleteRead when the stream ends before; otherwise raises what read does, and the bytes
        that had come are read by the next read."""
        if n < 0:
            raise ValueError(f"read_exactly(n) takes a number of bytes, not {n}")
        data = await self.read(min(n, READ_EXACTLY_STEP)) if n else b""
        if len(data) == n:
            return bytes(data)
        got = bytearray(data)
        while len(got) < n:
            if not data:
                raise IncompleteRead(f"the stream ended after {len(got)} of {n} bytes", bytes(got))
            try:
                data = await self.read(min(n - len(got), READ_EXACTLY_STEP))
            except BaseException:
                self.push(got)
                raise
            got += data
        return bytes(got)

    async def read_until(self, delimiter: bytes, limit: int = READ_UNTIL_LIMIT) -> bytes:
        """Everything up to and including the delimiter.  IncompleteRead when the stream ends before, LimitExceeded when
        `limit` bytes hold none; otherwise as read_exactly."""
        if not delimiter:
            raise ValueError("read_until needs a delimiter, such as b'\\n'")
        found = self.take_until(delimiter, limit)
        if found is not None:
            return found
        got = bytearray()
        while True:
            try:
                data = await self.read(READ_SIZE)
            except BaseException:
                self.push(got)
                raise
            if not data:
                raise IncompleteRead(f"the stream ended after {len(got)} bytes, without {delimiter!r}", bytes(got))
            start = max(0, len(got) - len(delimiter) + 1)
            got += data
            end = got.find(delimiter, start, limit)
            if end >= 0:
                end += len(delimiter)
                self.push(memoryview(got)[end:])
                return bytes(memoryview(got)[:end])
            if len(got) >= limit:
                self.push(got)
                raise LimitExceeded(f"no {delimiter!r} in the first {limit} bytes")

    async def lines(self, limit: int = READ_UNTIL_LIMIT) -> AsyncIterator[bytes]:
        """`async for line in conn.lines()`: with their ends; the last one perhaps without."""
        while True:
            line = self.take_until(b"\n", limit)
            if line is None:
                try:
                    line = await self.read_until(b"\n", limit)
                except IncompleteRead as e:
                    if e.partial:
                        yield e.partial
                    return
            yield line

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """`async for data in conn`: pieces as they come, until the stream ends."""
        while data := await self.read():
            yield data
