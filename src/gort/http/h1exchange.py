"""A request on a connection that speaks HTTP/1.1 or 1.0: its body as it is read, and the parts of its response.

What does not live here: the head of the response, and a response of one part (_runtime/web/response.py); what reads and
writes the connection, and its limits of time (h1.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gort._runtime.wait.chan import Chan
from gort._runtime.wait.select import select
from gort._runtime.web.request import Refusal
from gort._runtime.web.response import CHUNKED, COUNTED, DRAIN, JOIN, NO_BODY, STATUS_LINES, TO_THE_END, Answer
from gort.http import fields
from gort.http.exchange import Disconnected, Exchange
from gort.http.pace import Pace, send_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from gort.http.config import Limits
    from gort.http.exchange import Headers

READ = 65536
AHEAD = 65536  # bytes that are read ahead while a request is served, to notice that the client goes


class H1Exchange(Answer, Exchange):
    """A request on an H1Connection.  Answer says what its fields are."""

    __slots__ = ()

    sent: int
    refusal: Refusal | None
    lost: bool

    @property
    def limits(self) -> Limits:
        """The server's limits."""
        limits: Limits = self._c.server.limits
        return limits

    @property
    def stopping(self) -> bool:
        """Whether the server ends."""
        return bool(self._c.server.stopping)

    def spawn(self, fn: Callable[..., Any], *args: Any) -> None:
        """Starts another goroutine or task."""
        self._c.owner.spawn(fn, *args)

    # ---- the request ----------------------------------------------------------------------------------------------

    async def read(self) -> bytes:
        """The next part of the body."""
        request, c = self._request, self._c
        while not request.body:
            if request.complete:
                return b""
            if c.broken or self._ended:
                raise Disconnected("the request is over")
            try:
                if request.expects:
                    request.expects = False
                    await c.write(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
                await self._more()
            except Refusal as e:
                self._refuse(e)
            except Disconnected as e:
                self.lost = True
                self._refuse(Refusal(400, str(e)))
        body = request.body
        data = body[0] if len(body) == 1 else b"".join(body)
        body.clear()
        self._got += len(data)
        limit = c.server.limits.body_bytes
        if limit is not None and self._got > limit:
            self._refuse(Refusal(413, "the body is too large"))
        return data

    async def _more(self) -> None:
        pace = self._comes
        if pace is None:
            limits = self._c.server.limits
            pace = self._comes = Pace(limits.body_s, limits.rate)
        await self._c.more(self._request, pace)

    def _refuse(self, refusal: Refusal) -> None:
        self.refusal = refusal
        self._c.keep = False
        raise Disconnected(f"{refusal.status}: {refusal}") from None

    async def gone(self) -> None:
        """Returns when the client has gone or the response has ended."""
        if self._ended:
            return
        if self._over is None:
            self._over = Chan()
        over, c = self._over, self._c
        if self._watching or not self._request.complete:
            await over.recv_ok()
            return
        self._watching = True
        self._idle = Chan()
        took = 0
        try:
            c._deadline(None)
            while took < AHEAD and c.parser.failed is None:
                i, data, _ = await select(c.conn.read(READ), over.recv())
                if i == 1:
                    return
                if not data:
                    self.lost = True
                    return
                took += len(data)
                c.parser.feed(data)
            await over.recv_ok()
        except OSError:
            c.broken = self.lost = True
        finally:
            self._watching = False
            self._idle.close()

    # ---- the response ---------------------------------------------------------------------------------------------

    async def respond(self, status: int, reason: bytes, headers: Headers, body: bytes) -> None:
        """The whole response."""
        data = self.whole(status, reason, headers, body)
        if data is None:
            await self.send(body, False)
            return
        c = self._c
        began = c.write_begins()
        try:
            await c.conn.write(data)
        except OSError as e:
            await c.write_fails(data, e, None, began)

    async def send(self, data: bytes, more: bool) -> None:
        """A part of the body."""
        if not more and (whole := self.last(data)) is not None:
            c = self._c
            began = c.write_begins()
            try:
                await c.conn.write(whole)
            except OSError as e:
                await c.write_fails(whole, e, None, began)
            return
        if self._ended or not self.started:
            raise RuntimeError("the response has ended" if self._ended else "the response has not begun")
        pace = self._goes
        if not more:
            self._ended = True
        elif pace is None:
            pace = self._goes = self._c.new_pace()
        n = len(data)
        mode = self._mode
        head = b""
        if self._head:
            if mode == CHUNKED and not more:  # the only part: it can be counted
                self._head += b"content-length: %d\r\n" % n
                self._mode = mode = COUNTED
                self._left = n
            head = self.take_head(b"")
        if mode == COUNTED:
            self._left -= n
            if self._left < 0:
                self._c.keep = False
                self._ended = True
                part = b"" if self.method == "HEAD" else memoryview(data)[: n + self._left]
                if head or part:
                    await self._c.write(head, part)
                raise RuntimeError("the response is longer than its content-length")
            if self._left and not more and self.method != "HEAD":
                self._c.keep = False
        if mode == NO_BODY or self.method == "HEAD":
            if head:
                await self._c.write(head, b"", pace)
            return
        self.sent += n
        if mode == CHUNKED:
            if n:
                head += b"%x\r\n" % n
                if n > JOIN:
                    await self._c.write(head, data, pace)
                    await self._c.write(b"\r\n" if more else b"\r\n0\r\n\r\n", b"", pace)
                    return
                data = b"%s\r\n" % data if more else b"%s\r\n0\r\n\r\n" % data
            elif not more:
                data = b"0\r\n\r\n"
        if head or data:
            await self._c.write(head, data, pace)

    async def inform(self, status: int, headers: Headers) -> None:
        """An answer before the response."""
        lines = b"".join([b"%s: %s\r\n" % h for h in fields.checked(headers)])
        line = STATUS_LINES.get(fields.early(status)) or b"HTTP/1.1 %d \r\n" % status
        if self.started or self._request.version != "1.1":
            return
        await self._c.write(b"%s%s\r\n" % (line, lines), b"")

    async def send_file(self, file: Any, offset: int, count: int) -> None:
        """`count` bytes of a file as the rest of the body."""
        if self._mode == CHUNKED and self._head:
            self._head += b"content-length: %d\r\n" % count
            self._mode, self._left = COUNTED, count
        if self._mode == CHUNKED or self.method == "HEAD" or self._mode == NO_BODY:
            if self._mode != CHUNKED:
                await self.send(b"", False)
                return
            raise RuntimeError("a file is sent where its length is known")
        c = self._c
        if self._head:
            await c.write(self.take_head(b""), b"")
        if self._mode == COUNTED and count > self._left:
            raise RuntimeError("the response is longer than its content-length")
        end = offset + count
        pace = self._goes or c.new_pace()
        try:
            while offset < end:
                n = await send_file(c.conn, file, offset, end - offset, pace)
                if n == 0:
                    raise Disconnected("the file became shorter")
                offset += n
                self.sent += n
            c.write_until = 0.0
        except OSError as e:
            c.broken, c.keep = True, False
            raise Disconnected(str(e)) from None
        self._left -= count
        if self._left > 0:
            c.keep = False
        self._ended = True

    async def end(self, trailers: Headers) -> None:
        """The end, with trailers."""
        if self._ended:
            raise RuntimeError("the response has ended")
        if self._mode != CHUNKED or self.method == "HEAD":
            await self.send(b"", False)
            return
        lines = b"".join([b"%s: %s\r\n" % h for h in fields.trailers(trailers)])
        self._ended = True
        head = self.take_head(b"") if self._head else b""
        await self._c.write(head + b"0\r\n" + lines + b"\r\n", b"", self._goes)

    async def finish(self) -> None:
        """The adapter is done: ends what it has left."""
        c, request = self._c, self._request
        complete = self._ended
        self._ended = True
        if self._over is not None:
            self._over.close()
            if self._idle is not None:
                await self._idle.recv_ok()
        if not complete or (self._left > 0 and self.method != "HEAD"):
            c.keep = False
            c.broken = True  # cut off: the client must not take it for whole
            if self._mode == TO_THE_END and self.started:
                c.conn.reset()
        if c.keep and not request.complete:
            try:
                while not request.complete:
                    await self._more()
                    self._got += sum(map(len, request.body))
                    request.body.clear()
                    if self._got > DRAIN + (request.length or 0):
                        break
            except (Disconnected, Refusal):
                pass
            c.keep = request.complete
        if not request.keep_alive:
            c.keep = False

    async def hijack(self) -> tuple[Any, bytes]:
        """The connection, for another protocol."""
        c = self._c
        c.keep = False
        c.broken = True  # nobody here writes to it any more
        self._ended = self.started = True
        self.status = 101
        self._left = 0
        c.conn.set_deadline(None)
        return c.conn, c.parser.rest()
