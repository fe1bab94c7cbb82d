"""A connection that speaks HTTP/1.1 or 1.0: it reads requests, has each served, and frames the responses.

One goroutine (or one task of a loop) runs a connection: it reads, serves one request after the other, and writes.  So a
client that sends requests without waiting (pipelining) gets the answers in order, and one that reads slowly stops nobody
but itself: nothing more is read from it meanwhile.

Times.  A deadline is moved only when it is nearer than it must be (`_renew_read`, `_renew_write`), so a busy connection
sets one a second, and not two a request.  A limit of n seconds ends a wait after n to n + SLACK_S.

What does not live here: parsing (llhttp.py, h11parser.py), accepting (server.py), what a request means (wsgi.py,
asgi.py).
"""

from __future__ import annotations

from http import HTTPStatus
from time import monotonic
from typing import TYPE_CHECKING, Any

from gort._runtime.poll.neterrors import DeadlineExceeded
from gort._runtime.wait.chan import Chan
from gort._runtime.wait.select import select
from gort.http.exchange import Disconnected, Exchange
from gort.http.incoming import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from gort.http.config import Limits
    from gort.http.exchange import Headers
    from gort.http.incoming import Incoming, Parser
    from gort.http.server import Connection, Server

SLACK_S = 1.0
READ = 65536
JOIN = 65536  # bytes of a body up to which head and body are one write
STEP = 1 << 18  # bytes that a client has write_s to take
DRAIN = 65536  # bytes of an unread body that are passed over for the sake of the connection
LINGER_S = 2.0  # for a client to read the last response before the connection is closed
AHEAD = 65536  # bytes that are read ahead while a request is served, to notice that the client goes

NO_BODY, COUNTED, CHUNKED, TO_THE_END = range(4)  # how a response's body is framed

_STATUS_LINES: dict[int, bytes] = {
    s.value: b"HTTP/1.1 %d %s\r\n" % (s.value, s.phrase.encode("ascii")) for s in HTTPStatus if s.value >= 200
}
_OWN = frozenset((b"connection", b"transfer-encoding", b"keep-alive", b"upgrade", b"proxy-connection"))


class H1Connection:
    """One connection.  exchange: the request that is being served, for a dump.  owner: whose connection it is."""

    __slots__ = (
        "_counted",
        "_read_until",
        "_write_until",
        "broken",
        "client",
        "conn",
        "exchange",
        "idle",
        "keep",
        "owner",
        "parser",
        "scheme",
        "server",
        "where",
    )

    def __init__(self, owner: Connection) -> None:
        self.owner: Connection = owner
        self.server: Server = owner.server
        server = owner.server
        self.conn: Any = owner.conn
        self.client: tuple[str, int | None] | None = owner.client
        self.where: tuple[str, int | None] | None = owner.where
        self.scheme: str = owner.scheme
        self.parser: Parser = server.new_parser(server.limits)
        self.exchange: H1Exchange | None = None
        self.idle: bool = False  # waits for a request of which nothing has come
        self.keep: bool = True  # another request may follow
        self.broken: bool = False  # nothing more can be written
        self._read_until = self._write_until = 0.0  # no later deadline is needed before

    async def run(self) -> None:
        """Serves the connection to its end.  The caller closes it."""
        handle = self.owner.handle
        try:
            while True:
                request = await self._next()
                if request is None:
                    break
                exchange = self.exchange = H1Exchange(self, request)
                await handle(exchange)
                await exchange.finish()
                self.exchange = None
                if not self.keep:
                    break
                del request, exchange  # a connection that is idle keeps nothing of them
            if not self.keep and not self.broken:
                await self._linger()
        finally:
            self.parser.close()

    def drain(self) -> None:
        """The server ends.  From any goroutine."""
        self.keep = False
        exchange = self.exchange
        hijacked = exchange is not None and exchange.status == 101
        if self.idle or hijacked:
            try:
                self.conn.set_read_deadline(0 if hijacked else self.server.linger_s)
            except OSError:
                pass

    async def _next(self) -> Incoming | None:
        """The next request; None at the end of the connection."""
        parser, limits = self.parser, self.server.limits
        queue = parser.queue
        while not queue:
            if parser.failed is not None:
                await self.refuse(parser.failed)
                return None
            if parser.partial:
                if not self.idle:
                    self._deadline(limits.head_s)
            self.idle = not parser.partial
            try:
                if self.idle:
                    if self.server.stopping:
                        self.conn.set_read_deadline(self.server.linger_s)
                    elif limits.idle_s is not None and (now := monotonic()) > self._read_until:
                        self._read_until = now + SLACK_S
                        self.conn.set_read_deadline(limits.idle_s + SLACK_S)
                data = await self.conn.read(READ)
                waiting, self.idle = self.idle, False
                if not data:
                    return None
                parser.feed(data)
                if parser.partial and waiting:
                    self._deadline(limits.head_s)
                    self.idle = False
            except DeadlineExceeded:
                if parser.partial:
                    await self.refuse(Refusal(408, "the request took too long"))
                else:
                    self.broken = True  # idle: there is nothing to wait for
                return None
            except OSError:
                self.broken = True
                return None
        return queue.pop(0)

    def _deadline(self, seconds: float | None) -> None:
        """For the reads that follow, until a request has come."""
        self._read_until = 0.0
        self.conn.set_read_deadline(seconds)

    async def more(self, request: Incoming) -> None:
        """Reads more of a request's body, in the time that body_s gives for it.  Raises Disconnected."""
        parser = self.parser
        self._deadline(self.server.limits.body_s)
        took = 0
        try:
            while not request.body and not request.complete:
                if parser.failed is not None:
                    raise parser.failed
                data = await self.conn.read(READ)
                if not data:  # it may have ended only its own side, and still read
                    raise Refusal(400, "the request's body is not whole")
                parser.feed(data)
                took += len(data)
                if took > DRAIN and not request.body and not request.complete:
                    raise Refusal(400, "chunks without contents")
        except DeadlineExceeded:
            raise Refusal(408, "the request's body took too long") from None
        except OSError as e:
            self.broken = True
            raise Disconnected(str(e)) from None

    async def write(self, head: bytes, body: Any) -> None:
        """Writes both.  Raises Disconnected."""
        n = len(body)
        try:
            limit = self.server.limits.write_s
            if limit is not None and (now := monotonic()) > self._write_until:
                self._write_until = now + SLACK_S
                self.conn.set_write_deadline(limit + SLACK_S)
            if n <= JOIN:
                await self.conn.write(head + body if n else head)
                return
            if head:
                await self.conn.write(head)
            view = memoryview(body)
            for at in range(0, n, STEP):
                self.conn.set_write_deadline(limit)
                await self.conn.write(view[at : at + STEP])
            self._write_until = 0.0
        except OSError as e:
            self.broken, self.keep = True, False
            raise Disconnected(str(e)) from None

    async def refuse(self, refusal: Refusal) -> None:
        """Answers what is no request, or the beginning of one."""
        self.keep = False
        status = refusal.status
        body = f"{status} {HTTPStatus(status).phrase}: {refusal}\n".encode("latin-1", "replace")
        head = b"%scontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n%sconnection: close\r\n\r\n" % (
            _STATUS_LINES[status],
            len(body),
            self.server.date_line(),
        )
        self.server.refused(status)
        try:
            await self.write(head, body)
        except Disconnected:
            pass

    async def _linger(self) -> None:
        """The end of a connection that the server ends: what the client still sends is read for a while, for a close with
        unread bytes would reset the connection, and the client would lose the response (RFC 9112, section 9.6)."""
        try:
            await self.server.finish_writing(self.conn)
            self.conn.set_read_deadline(LINGER_S)
            while await self.conn.read(READ):
                pass
        except OSError:
            pass


class H1Exchange(Exchange):
    """A request on an H1Connection.

    _mode, _left: how the response's body is framed, and how much of it is to come where that is counted.  _head: the
    head of the response while it waits for the first part of the body.  _over: closed when the response has ended, made
    by who waits for that; _watching: somebody reads, to notice that the client goes."""

    __slots__ = ("_c", "_ended", "_got", "_head", "_idle", "_left", "_mode", "_over", "_request", "_watching")

    def __init__(self, connection: H1Connection, request: Incoming) -> None:
        self.method: str = request.method
        self.target: bytes = request.target
        self.headers: Headers = request.headers
        self.version: str = request.version
        self.length: int | None = request.length
        self.upgrade: bytes = request.upgrade
        self.scheme: str = connection.scheme
        self.client: tuple[str, int | None] | None = connection.client
        self.server: tuple[str, int | None] | None = connection.where
        self.started: bool = False
        self.status: int = 0
        self.sent: int = 0
        self.refusal = None
        self.lost: bool = False
        self._c = connection
        self._request = request
        self._got = 0
        self._head = b""
        self._mode = NO_BODY
        self._left = 0
        self._ended = False
        self._over: Chan[None] | None = None
        self._idle: Chan[None] | None = None
        self._watching = False

    @property
    def limits(self) -> Limits:
        """The server's limits."""
        return self._c.server.limits

    @property
    def stopping(self) -> bool:
        """Whether the server ends."""
        return self._c.server.stopping

    def spawn(self, fn: Callable[..., Any], *args: Any) -> None:
        """Starts another goroutine or task."""
        self._c.owner.spawn(fn, *args)

    # ---- the request ----------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bytes | None:
        """The whole body, where it has come and nothing of it was read; else None."""
        request = self._request
        if not request.complete or self._got:
            return None
        body = request.body
        if not body:
            return b""
        data = body[0] if len(body) == 1 else b"".join(body)
        limit = self._c.server.limits.body_bytes
        return data if limit is None or len(data) <= limit else None  # read() refuses it

    @property
    def expects(self) -> bool:
        """Whether the client waits for 100 Continue."""
        return self._request.expects

    @property
    def at_end(self) -> bool:
        """Whether the whole body was read."""
        return self._request.complete and not self._request.body

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
                await c.more(request)
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
        n = len(body)
        self.start(status, reason, headers, n)
        c = self._c
        if self._mode != COUNTED or self._left != n or self.method == "HEAD" or n > JOIN:
            await self.send(body, False)
            return
        self._ended = True
        self._left = 0
        self.sent = n
        await c.write(self._take_head(), body)

    def start(self, status: int, reason: bytes, headers: Headers, known: int = -1) -> None:
        """The head.  known: the length of the body, where headers need not say it."""
        if self.started:
            raise RuntimeError("the response has begun already")
        c, request = self._c, self._request
        line = _STATUS_LINES.get(status) if not reason else None
        parts = [line or b"HTTP/1.1 %d %s\r\n" % (status, reason)]
        length = -1
        date = c.server.date_line()
        for name, value in headers:
            if name == b"content-length":
                if length >= 0 or not value.isdigit():
                    raise ValueError(f"the response has a malformed content-length: {value!r}")
                length = int(value)
            elif name in _OWN:
                if name == b"connection" and b"close" in value.lower():
                    c.keep = False
                continue
            elif name == b"date":
                date = b""
            parts += (name, b": ", value, b"\r\n")
        lines = len(parts) // 4 + 1  # what was left out has none
        if not request.complete and (request.expects or request.length is None or request.length - self._got > DRAIN):
            c.keep = False
        if not request.keep_alive or c.server.stopping:
            c.keep = False
        if status < 200 or status == 204 or status == 304:
            self._mode = NO_BODY
            if length >= 0 and status != 304:
                raise ValueError(f"a response {status} has no body, and no content-length")
        elif length >= 0:
            self._mode, self._left = COUNTED, length
        elif known >= 0:
            self._mode, self._left = COUNTED, known
            date = b"content-length: %d\r\n%s" % (known, date)
        elif request.version == "1.1":
            self._mode = CHUNKED
        else:
            self._mode = TO_THE_END
            c.keep = False
        head = b"".join(parts)
        if head.count(b"\n") > lines or head.count(b"\r") > lines or b"\0" in head:
            raise ValueError("a header of the response has a line end in it")
        self._head = head + date
        self.started, self.status = True, status

    def _take_head(self) -> bytes:
        """The rest of the head: how the body is framed, and whether the connection stays."""
        head, self._head = self._head, b""
        if self._mode == CHUNKED:
            head += b"transfer-encoding: chunked\r\n"
        if not self._c.keep:
            return head + b"connection: close\r\n\r\n"
        if self._request.version == "1.0":
            return head + b"connection: keep-alive\r\n\r\n"
        return head + b"\r\n"

    async def send(self, data: bytes, more: bool) -> None:
        """A part of the body."""
        if self._ended or not self.started:
            raise RuntimeError("the response has ended" if self._ended else "the response has not begun")
        if not more:
            self._ended = True
        n = len(data)
        mode = self._mode
        head = b""
        if self._head:
            if mode == CHUNKED and not more:  # the only part: it can be counted
                self._head += b"content-length: %d\r\n" % n
                self._mode = mode = COUNTED
                self._left = n
            head = self._take_head()
        if mode == COUNTED:
            self._left -= n
            if self._left < 0:
                self._c.keep = False
                self._ended = True
                if head or n + self._left > 0:
                    await self._c.write(head, memoryview(data)[: n + self._left])
                raise RuntimeError("the response is longer than its content-length")
            if self._left and not more and self.method != "HEAD":
                self._c.keep = False
        if mode == NO_BODY or self.method == "HEAD":
            if head:
                await self._c.write(head, b"")
            return
        self.sent += n
        if mode == CHUNKED:
            if n:
                head += b"%x\r\n" % n
                if n > JOIN:
                    await self._c.write(head, data)
                    await self._c.write(b"\r\n" if more else b"\r\n0\r\n\r\n", b"")
                    return
                data = b"%s\r\n" % data if more else b"%s\r\n0\r\n\r\n" % data
            elif not more:
                data = b"0\r\n\r\n"
        if head or data:
            await self._c.write(head, data)

    async def inform(self, status: int, headers: Headers) -> None:
        """An answer before the response."""
        if self.started or self._request.version != "1.1":
            return
        lines = b"".join([b"%s: %s\r\n" % h for h in headers])
        if lines.count(b"\n") > len(headers) or lines.count(b"\r") > len(headers):
            raise ValueError("a header has a line end in it")
        await self._c.write(b"HTTP/1.1 %d %s\r\n%s\r\n" % (status, HTTPStatus(status).phrase.encode(), lines), b"")

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
            await c.write(self._take_head(), b"")
        if self._mode == COUNTED and count > self._left:
            raise RuntimeError("the response is longer than its content-length")
        end = offset + count
        try:
            while offset < end:
                c.conn.set_write_deadline(c.server.limits.write_s)
                n = await c.conn.sendfile(file, offset, min(1 << 20, end - offset))
                if n == 0:
                    raise Disconnected("the file became shorter")
                offset += n
                self.sent += n
            c._write_until = 0.0
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
        lines = b"".join([b"%s: %s\r\n" % h for h in trailers])
        if lines.count(b"\n") > len(trailers) or lines.count(b"\r") > len(trailers):
            raise ValueError("a trailer has a line end in it")
        self._ended = True
        await self._c.write((self._take_head() if self._head else b"") + b"0\r\n" + lines + b"\r\n", b"")

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
                    await c.more(request)
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
