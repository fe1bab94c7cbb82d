"""Reads that take several steps, for every stream: connections, TLS, pipes, and what gort.bufio.Reader reads.  Follows
bufio.Reader of Go (bufio/bufio.go), and ReadFull of its package io.

A stream keeps the bytes that it has read and that nobody has asked for yet.  `push` gives bytes back, `held` looks at
them, `skip` and `take_until` take from them, and `read` and `readinto` begin with them.  The kept bytes lie in one
object, with a position in it, so taking a short line costs the line's length.  Kept has these methods in Python; a
descriptor has them in the core (_runtime/poll/fd.py).

A read that fails (cancelled, deadline passed, limit exceeded) puts the bytes that it had taken back into the stream, so
that the next read begins with them.  A read that got more than it wanted puts the rest back.

Rejected: a reader object with a buffer of its own beside the connection, as Go has it.  Its buffered bytes would be
lost to whoever reads from the connection next (a body after its header, TLS after STARTTLS).
"""

from __future__ import annotations

from _collections_abc import AsyncIterator, Awaitable

from gort._start.hints import Buffer

READ_SIZE = 1 << 16  # bytes that a read asks for where the caller says nothing
READ_UNTIL_LIMIT = 1 << 16
READ_EXACTLY_STEP = 1 << 20  # room is made for what comes, not for what a peer has announced
SMALL = 512  # a piece up to this size is copied to the one before: an object for each would take more than its bytes


class IncompleteRead(EOFError):
    """The stream ended before read_exactly or read_until had what it wanted; `partial` is what came.  Go's
    io.ErrUnexpectedEOF."""

    def __init__(self, message: str, partial: bytes = b"") -> None:
        super().__init__(message)
        self.partial: bytes = partial


class LimitExceeded(ValueError):
    """No end of the line or record was found within the limit.  The bytes are still there to be read.  Go's
    bufio.ErrTooLong."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)


class Compound:
    """The reads that take several steps, for every stream that has `read` and keeps what is given back to it.  One
    goroutine at a time may be inside them."""

    __slots__ = ()

    def read(self, n: int = READ_SIZE) -> Awaitable[bytes]:
        """Up to n bytes, as soon as there are any; b"" at the end of the stream."""
        raise NotImplementedError

    def readinto(self, buffer: Buffer) -> Awaitable[int]:
        """`n = await stream.readinto(buffer)` reads into a writable buffer; n is 0 at the end of the stream.

        Raises TypeError if the buffer is not writable, ValueError if it is not contiguous or empty, and what read
        raises."""
        raise NotImplementedError

    def push(self, data: bytes | bytearray | memoryview, at: int = 0) -> None:
        """Gives data[at:] back: the next read begins with it."""
        raise NotImplementedError

    def held(self) -> tuple[bytes, int]:
        """Returns (data, start): the next read begins with data[start:].  Returns (b"", 0) if nothing is kept, or if a
        read would fail."""
        raise NotImplementedError

    def skip(self, n: int) -> int:
        """Drops up to n of the kept bytes, and returns how many it dropped."""
        raise NotImplementedError

    def take_until(self, delimiter: bytes, limit: int) -> bytes | None:
        """Takes and returns the kept bytes up to and including the delimiter, without waiting.  Returns None if no
        delimiter ends within the first `limit` of them, or if a read would fail."""
        raise NotImplementedError

    @property
    def buffered(self) -> int:
        """The number of bytes that can be read without waiting for the peer: those that were read ahead or given back.
        0 if a read would fail."""
        data, start = self.held()
        return len(data) - start

    def unread(self, data: bytes | bytearray | memoryview) -> None:
        """Gives bytes back: the next read begins with them.  They need not be the ones that were read."""
        self.push(data)

    async def read_exactly(self, n: int) -> bytes:
        """Returns exactly n bytes.  Raises IncompleteRead if the stream ends before.  Raises what read raises; then the
        next read gives the bytes that had come.  ValueError if n is negative."""
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
        """Returns everything up to and including the delimiter.  Raises IncompleteRead if the stream ends before,
        LimitExceeded if the first `limit` bytes do not contain the whole delimiter; otherwise as read_exactly."""
        found = self.take_until(delimiter, limit)
        return found if found is not None else await self._read_until(delimiter, limit)

    async def _read_until(self, delimiter: bytes, limit: int) -> bytes:
        """read_until where the kept bytes hold no whole delimiter.  It looks at each byte once, and copies it once, at
        the end."""
        if not delimiter:
            raise ValueError("read_until needs a delimiter, such as b'\\n'")
        kept, start = self.held()
        size = len(kept) - start
        if size >= limit:
            raise LimitExceeded(f"no {delimiter!r} in the first {limit} bytes")
        self.skip(size)
        parts: list[bytes | bytearray | memoryview] = [kept[start:]]
        over = len(delimiter) - 1  # so many bytes of a delimiter may lie before a piece
        tail = kept[max(start, len(kept) - over) :] if over else b""
        while True:
            try:
                data = await self.read(READ_SIZE)
            except BaseException:
                self.push(b"".join(parts))
                raise
            if not data:
                whole = b"".join(parts)
                raise IncompleteRead(f"the stream ended after {size} bytes, without {delimiter!r}", whole)
            end = -1
            if over:
                end = (tail + data[:over]).find(delimiter)
                end = end + len(delimiter) - len(tail) if end >= 0 else -1
                tail = data[-over:] if len(data) >= over else (tail + data)[-over:]
            if end < 0:
                end = data.find(delimiter, 0, limit - size)
                end = end + len(delimiter) if end >= 0 else -1
            if 0 <= end <= limit - size:
                self.push(data, end)
                parts.append(memoryview(data)[:end])
                return b"".join(parts)
            size += len(data)
            last = parts[-1]
            if len(data) > SMALL:
                parts.append(data)
            elif type(last) is bytearray:
                last += data
            else:
                parts.append(bytearray(data))
            if size >= limit:
                self.push(b"".join(parts))
                raise LimitExceeded(f"no {delimiter!r} in the first {limit} bytes")

    async def read_line(self, limit: int = READ_UNTIL_LIMIT) -> bytes:
        """Returns the next line with its end, b"\\n", which the last line may lack; b"" at the end of the stream.
        Otherwise as read_until.  limit is in bytes."""
        line = self.take_until(b"\n", limit)
        if line is None:
            try:
                line = await self._read_until(b"\n", limit)
            except IncompleteRead as e:
                line = e.partial
        return line

    async def lines(self, limit: int = READ_UNTIL_LIMIT) -> AsyncIterator[bytes]:
        """`async for line in conn.lines()`: each line with its end, which the last line may lack.  Raises as
        read_line.  limit is in bytes."""
        while True:
            line = self.take_until(b"\n", limit)
            if line is None:
                line = await self.read_line(limit)
                if not line:
                    return
            yield line

    async def peek(self, n: int) -> bytes:
        """Returns the next n bytes, and leaves them for the next read; fewer only at the end of the stream.  Otherwise
        raises as read_exactly.  ValueError if n is negative."""
        if n < 0:
            raise ValueError(f"peek(n) takes a number of bytes, not {n}")
        await self._hold(n)
        data, start = self.held()
        return data[start : start + n]

    async def discard(self, n: int) -> int:
        """Skips n bytes, and returns how many it skipped: fewer only at the end of the stream.  Raises what read
        raises; the exception's `discarded`, Cancelled's too, says how many have been skipped.  ValueError if n is
        negative."""
        if n < 0:
            raise ValueError(f"discard(n) takes a number of bytes, not {n}")
        done = self.skip(n) if self.buffered else 0
        try:
            while done < n and (data := await self.read(min(n - done, READ_SIZE))):
                done += len(data)
        except BaseException as e:
            e.discarded = done  # type: ignore[attr-defined]
            raise
        return done

    async def _hold(self, n: int) -> bool:
        """Reads until n bytes are kept.  False when the stream ends before; raises what read does, and keeps what has
        come in each case."""
        data, start = self.held()
        if len(data) - start >= n:
            return True
        got = bytearray(memoryview(data)[start:])
        self.skip(len(got))
        try:
            while len(got) < n:
                data = await self.read(min(max(n - len(got), READ_SIZE), READ_EXACTLY_STEP))
                if not data:
                    return False
                got += data
        finally:
            self.push(got)
        return True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """`async for data in conn`: pieces as they come, until the stream ends."""
        while data := await self.read():
            yield data


def writable(buffer: Buffer) -> memoryview:
    """The bytes of a buffer that readinto fills.  Raises TypeError if it is not writable, ValueError if it is not
    contiguous."""
    view = memoryview(buffer)
    if view.readonly:
        raise TypeError(f"readinto takes a writable buffer such as bytearray, not {type(buffer).__name__}")
    if not view.c_contiguous:
        raise ValueError("readinto takes a contiguous buffer")
    return view.cast("B")


class Kept(Compound):
    """Keeps the bytes of a stream that is written in Python.  The stream's `read` begins with `_pop`."""

    _pushed: bytes = b""
    _pushedat: int = 0  # what is kept begins there

    def refuses_reads(self) -> bool:
        """Whether a read would fail now."""
        return False

    def push(self, data: bytes | bytearray | memoryview, at: int = 0) -> None:
        """As Compound.push."""
        if at >= len(data):
            return
        if type(data) is not bytes or self._pushed:
            data = bytes(memoryview(data)[at:]) + self._pushed[self._pushedat :]
            at = 0
        self._pushed, self._pushedat = data, at

    def held(self) -> tuple[bytes, int]:
        """As Compound.held."""
        if not self._pushed or self.refuses_reads():
            return b"", 0
        return self._pushed, self._pushedat

    def skip(self, n: int) -> int:
        """As Compound.skip."""
        left = len(self._pushed) - self._pushedat
        if n < left:
            self._pushedat += n
            return n
        self._pushed, self._pushedat = b"", 0
        return left

    def take_until(self, delimiter: bytes, limit: int) -> bytes | None:
        """As Compound.take_until."""
        data, start = self._pushed, self._pushedat
        if not data or not delimiter or self.refuses_reads():
            return None
        end = data.find(delimiter, start, start + limit) if limit > 0 else -1
        if end < 0:
            return None
        end += len(delimiter)
        if end == len(data):
            self._pushed, self._pushedat = b"", 0
        else:
            self._pushedat = end
        return data[start:end]

    async def readinto(self, buffer: Buffer) -> int:
        """As Compound.readinto."""
        view = writable(buffer)
        data = await self.read(view.nbytes)
        view[: len(data)] = data
        return len(data)

    def _pop(self, n: int) -> bytes:
        """Takes and returns up to n of the kept bytes."""
        data, start = self._pushed, self._pushedat
        self.skip(n)
        return data[start : start + n]
