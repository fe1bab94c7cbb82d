"""HTTP/2 in the server: a connection, and its requests, each of which is a stream and has a goroutine of its own.

Streams at a time: as many as STREAMS, which h2 holds the client to.  A stream that the client has reset does not count
there, but its goroutine may still run; so where more than twice as many run, the client is sent away (rapid reset,
CVE-2023-44487).  What else a hostile client may try is in http2.py.

The end.  drain() sends a GOAWAY with the number of the last stream: what was begun is answered, and later streams are
refused, so the client may repeat them elsewhere.

What does not live here: what both ends of a connection have in common (http2.py), HTTP/1.1 (h1.py).
"""

from __future__ import annotations

import os
import re
from _collections_abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, Event, RequestReceived
from h2.exceptions import H2Error
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame

from gort._runtime.sched.blocking import blocking
from gort._runtime.sched.timers import monotonic
from gort._runtime.wait.chan import Chan
from gort._runtime.web.request import Refusal
from gort._runtime.web.response import date_line
from gort.http import fields
from gort.http.exchange import Disconnected, Exchange
from gort.http.http2 import Flood, Late, Mux, Stream
from gort.http.pace import Pace

if TYPE_CHECKING:
    from gort.http.config import Limits
    from gort.http.exchange import Headers
    from gort.http.server import Connection, Server

STREAMS = 100
WINDOW = 1 << 20  # bytes of all bodies that come before somebody takes them
STREAM_WINDOW = 1 << 18  # of one body
PIECE = 1 << 17  # bytes of a file at a time
_OF_A_CONNECTION = (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
_TARGET = re.compile(rb"[!-~]+")
_HOST = re.compile(rb"[!-~]*")


class H2Server:
    """One connection.  exchange: None: a connection has many requests, and each goroutine shows its own."""

    exchange = None

    def __init__(self, owner: Connection) -> None:
        self.owner: Connection = owner
        self.server: Server = owner.server
        limits = owner.server.limits
        settings: dict[int, int] = {
            SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS,
            SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            SettingCodes.MAX_HEADER_LIST_SIZE: limits.head_bytes,
        }
        self.mux: Mux = Mux(owner.conn, False, settings, WINDOW, limits.head_bytes, limits.write_s)
        self._running = 0  # goroutines of streams; guarded by mux.mu
        # By a stream's number: what cancels its goroutine; True for one that has ended before that was entered.  Who
        # starts the goroutine and who ends it each come once, and the second removes the entry.  Guarded by mux.mu.
        self._cancels: dict[int, Any] = {}
        self._begin: list[tuple[Stream, Any, bool]] = []  # streams that have come with this read
        self._last = 0  # the number of the newest stream
        self._draining = False
        self._ended: Chan[None] = Chan(1)  # a stream's goroutine has ended

    async def run(self) -> None:
        """Serves the connection to its end.  The caller closes it."""
        mux, conn = self.mux, self.owner.conn
        mux.start()
        self.owner.spawn(mux.write_loop)
        conn.set_read_deadline(self.server.limits.head_s)
        try:
            try:
                await mux.read_loop(self._event, self._start_streams)
            finally:
                with mux.mu:  # those that came with the read that has ended it
                    self._running -= len(self._begin)
                    self._begin.clear()
                mux.fail(Disconnected("the connection is over"))
                mux.close()
            await mux.written.recv_ok()
            while self._running:
                await self._ended.recv()
        except BaseException:  # cancelled: the streams are, too
            with mux.mu:
                cancels = [c for c in self._cancels.values() if c is not True]
            for cancel in cancels:
                cancel()
            while self._running:
                await self._ended.recv()
            raise

    def drain(self) -> None:
        """The server ends.  From any goroutine."""
        with self.mux.mu:
            if self._draining:
                return
            self._draining = True
            if self.mux.error is None:
                self.mux.put(GoAwayFrame(0, last_stream_id=self._last).serialize())
            self._idle()

    def _idle(self) -> None:
        """Sets how long the connection may go on without a stream.  `mux.mu` is held."""
        if self._running:
            limit = None
        else:
            limit = self.server.linger_s if self._draining else self.server.limits.idle_s
        try:
            self.owner.conn.set_read_deadline(limit)
        except OSError:
            pass  # it is closed

    def _event(self, event: Event) -> None:
        """`mux.mu` is held."""
        if isinstance(event, RequestReceived) and event.stream_id is not None:
            mux = self.mux
            stream = Stream(event.stream_id)
            if self._draining:
                mux.h2.reset_stream(stream.id, ErrorCodes.REFUSED_STREAM)
                return
            if self._running >= 2 * STREAMS:
                raise Flood("streams are reset faster than they end")
            self._last = stream.id
            self._running += 1
            if self._running == 1:
                self._idle()
            mux.streams[stream.id] = stream
            self._begin.append((stream, event.headers, event.stream_ended is not None))
        elif isinstance(event, ConnectionTerminated) and event.error_code:
            raise Flood("the client ends the connection")

    def _start_streams(self) -> None:
        begin = self._begin
        while begin:  # what is still in it when this raises, run() counts as ended
            stream, headers, whole = begin[0]
            cancel = self.owner.spawn_cancellable(self._serve, stream, headers, whole)
            with self.mux.mu:
                del begin[0]
                if self._cancels.pop(stream.id, None) is None:
                    self._cancels[stream.id] = cancel

    async def _serve(self, stream: Stream, headers: Any, whole: bool) -> None:
        """The goroutine of a stream."""
        exchange = H2Exchange(self, stream, headers, whole)
        try:
            if exchange.refusal is not None:
                await self._refuse(exchange, exchange.refusal)
            else:
                await self.owner.handle(exchange)
        except Disconnected:
            pass
        except Exception:
            self.server.report("a stream failed", exchange)
        finally:
            exchange.finish()
            with self.mux.mu:
                if self._cancels.pop(stream.id, None) is None:
                    self._cancels[stream.id] = True
                self._running -= 1
                if not self._running:
                    self._idle()
            self._ended.try_send(None)

    async def _refuse(self, exchange: H2Exchange, refusal: Refusal) -> None:
        """Answers what is no request that an application may see."""
        self.server.refused(refusal.status)
        await exchange.respond(
            refusal.status, b"", [(b"content-type", b"text/plain; charset=utf-8")], f"{refusal}\n".encode()
        )


class H2Exchange(Exchange):
    """A request on an HTTP/2 connection.

    _head: the head of the response while it waits for the first part of the body.  _left: how much of the body is to come
    where a content-length says; -1: nobody says."""

    __slots__ = ("_c", "_comes", "_ended", "_goes", "_got", "_head", "_left", "_mux", "_stream")

    def __init__(self, connection: H2Server, stream: Stream, headers: Headers, whole: bool) -> None:
        owner = connection.owner
        self._c = connection
        self._mux = connection.mux
        self._stream = stream
        self._head: Headers | None = None
        self._left = -1
        self._got = 0
        self._ended = False
        self._comes: Pace | None = None  # how slow the client is with the body
        self.version: str = "2"
        self.scheme: str = owner.scheme
        self.client: tuple[str, int | None] | None = owner.client
        self.server: tuple[str, int | None] | None = owner.where
        self.upgrade: bytes = b""
        self.started: bool = False
        self.status: int = 0
        self.sent: int = 0
        self.refusal: Refusal | None = None
        self.lost: bool = False
        self.method: str = ""
        self.target: bytes = b""
        self.headers: Headers = []
        self.length: int | None = 0
        limits = connection.server.limits
        self._goes = Pace(limits.write_s, limits.rate)
        try:
            self._take(headers, whole)
        except Refusal as e:
            self.refusal = e

    def _take(self, headers: Headers, whole: bool) -> None:
        """Fills in what the headers say.  h2 has checked them; what it leaves is checked here.  Raises Refusal."""
        cookies: list[bytes] = []
        authority = None
        host = None
        length = None
        for name, value in headers:
            if name[:1] == b":":
                if name == b":method":
                    self.method = bytes(value).decode("ascii", "replace")
                elif name == b":path":
                    self.target = bytes(value)
                elif name == b":authority":
                    authority = bytes(value)
                continue
            if name == b"cookie":  # a client may send its parts one by one: RFC 9113, section 8.2.3
                cookies.append(bytes(value))
                continue
            if name == b"host":
                host = bytes(value)
            elif name == b"content-length":
                length = bytes(value)
            self.headers.append((bytes(name), bytes(value)))
        if cookies:
            self.headers.append((b"cookie", b"; ".join(cookies)))
        if len(self.headers) > self.limits.headers:
            raise Refusal(431, "too many headers")
        if authority is not None and host is None:
            self.headers.insert(0, (b"host", authority))
        if self.method == "CONNECT":
            raise Refusal(501, "CONNECT is a proxy's")
        if not _TARGET.fullmatch(self.target) or not (self.target[:1] == b"/" or self.target == b"*"):
            raise Refusal(400, "malformed target")
        if not _HOST.fullmatch(authority or host or b""):
            raise Refusal(400, "malformed authority")
        self.length = 0 if whole else None
        if length is not None:
            if not length.isdigit() or len(length) > 18:
                raise Refusal(400, "malformed Content-Length")
            self.length = int(length)
            if self.limits.body_bytes is not None and self.length > self.limits.body_bytes:
                raise Refusal(413, "the body is too large")

    @property
    def limits(self) -> Limits:
        """The server's limits."""
        return self._c.server.limits

    def spawn(self, fn: Callable[..., Any], *args: Any) -> None:
        """Starts another goroutine or task."""
        self._c.owner.spawn(fn, *args)

    # ---- the request ------------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bytes | None:
        """The whole body, where nothing is to come; else None: read() gives it."""
        with self._mux.mu:
            return b"" if self._stream.ended and not self._stream.parts and not self._got else None

    @property
    def expects(self) -> bool:
        """Nobody waits for 100 Continue: a stream's window lets the body come."""
        return False

    @property
    def at_end(self) -> bool:
        """Whether the whole body was read."""
        with self._mux.mu:
            return self._stream.ended and not self._stream.parts

    async def read(self) -> bytes:
        """The next part of the body."""
        limits = self.limits
        pace = self._comes
        if pace is None:
            pace = self._comes = Pace(limits.body_s, limits.rate)
        began = monotonic()
        try:
            data = await self._mux.take(self._stream, pace.left())
            pace.add(len(data), began)
        except Late:
            self._refuse(Refusal(408, "the request's body took too long"))
        except ConnectionError as e:
            self.lost = True
            self._refuse(Refusal(400, str(e)))
        self._got += len(data)
        if limits.body_bytes is not None and self._got > limits.body_bytes:
            self._refuse(Refusal(413, "the body is too large"))
        return data

    def _refuse(self, refusal: Refusal) -> NoReturn:
        self.refusal = refusal
        raise Disconnected(f"{refusal.status}: {refusal}") from None

    async def gone(self) -> None:
        """Returns when the client has gone or the response has ended."""
        await self._stream.gone.recv_ok()
        self.lost = not self._ended

    # ---- the response -----------------------------------------------------------------------------------------------

    def start(self, status: int, reason: bytes, headers: Headers) -> None:
        """The head of the response."""
        if self.started:
            raise RuntimeError("the response has begun already")
        if not 200 <= status <= 999:  # after a 1xx the client would wait for the response
            raise ValueError(f"{status} is no status of a response")
        head = [(b":status", b"%d" % status)]
        dated = False
        length = -1  # nothing is kept of a head that is refused: the server's own answer follows
        for name, value in fields.checked(headers):
            if name == b"content-length":
                if length >= 0 or not value.isdigit():
                    raise ValueError(f"the response has a malformed content-length: {value!r}")
                length = int(value)
            elif name in _OF_A_CONNECTION:
                continue
            elif name == b"date":
                dated = True
            head.append((name, value))
        if not dated:
            head.append((b"date", date_line()[6:-2]))
        self._head, self._left = head, length
        self.started, self.status = True, status

    async def send(self, data: bytes, more: bool) -> None:
        """A part of the body."""
        if self._ended or not self.started:
            raise RuntimeError("the response has ended" if self._ended else "the response has not begun")
        bare = self.method == "HEAD" or self.status in (204, 304)
        n = len(data)
        over = False
        if self._left >= 0 and not bare:
            over = n > self._left
            data, n = (data[: self._left], self._left) if over else (data, n)
            self._left -= n
        if bare:
            data = b""
        try:
            self._put_head(end=bare or (not more and not data and self._left <= 0 and not over))
            if not bare and (data or not more) and not self._stream.local_ended:
                self.sent += n
                last = not more and self._left <= 0 and not over
                await self._mux.send_data(self._stream, data, last, self._goes)
        except Late:
            self._fail("the client takes nothing")
        except ConnectionError as e:
            self._fail(str(e))
        if over:
            self._end()
            raise RuntimeError("the response is longer than its content-length")
        if not more:
            self._end()

    def _fail(self, why: str) -> NoReturn:
        self._end()
        raise Disconnected(why) from None

    def _end(self) -> None:
        self._ended = True
        with self._mux.mu:
            if not self._stream.gone.closed:
                self._stream.gone.close()

    def _put_head(self, end: bool) -> None:
        head, self._head = self._head, None
        if head is not None:
            with self._mux.mu:
                self._mux.send_headers(self._stream, head, end)

    async def inform(self, status: int, headers: Headers) -> None:
        """An answer before the response."""
        headers = fields.checked(headers)
        head = [(b":status", b"%d" % fields.early(status)), *headers]
        if self.started:
            return
        try:
            with self._mux.mu:
                self._mux.send_headers(self._stream, head, False)
        except ConnectionError as e:
            raise Disconnected(str(e)) from None

    async def send_file(self, file: Any, offset: int, count: int) -> None:
        """`count` bytes of a file as the rest of the body."""
        fd = file if isinstance(file, int) else file.fileno()
        if self._left < 0 and self._head is not None:
            self._head.append((b"content-length", b"%d" % count))
            self._left = count
        if self.method == "HEAD" or not count:
            await self.send(b"", False)
            return
        while count:
            data = await blocking(os.pread, fd, min(PIECE, count), offset)
            if not data:
                raise Disconnected("the file became shorter")
            offset, count = offset + len(data), count - len(data)
            await self.send(data, bool(count))

    async def end(self, trailers: Headers) -> None:
        """The end, with trailers."""
        if self._ended:
            raise RuntimeError("the response has ended")
        trailers = fields.trailers(trailers)
        if not trailers or self._head is not None:
            await self.send(b"", False)
            return
        try:
            with self._mux.mu:
                self._mux.send_headers(self._stream, trailers, True)
        except ConnectionError as e:
            self._fail(str(e))
        self._end()

    def finish(self) -> None:
        """The adapter is done: ends what it has left.  A response that is not whole is cut off by a reset."""
        whole = self._ended and self._stream.local_ended
        self._end()
        try:
            self._mux.drop(self._stream, ErrorCodes.NO_ERROR if whole else ErrorCodes.INTERNAL_ERROR)
        except H2Error:
            pass  # the connection is over
