"""One connection of the client that speaks HTTP/2, and the requests on it: each is a stream.

What does not live here: what both ends of a connection have in common (http2.py), which connection a
request gets (client_pool.py), HTTP/1.1 (client_h1.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    Event,
    InformationalResponseReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    TrailersReceived,
)
from h2.exceptions import H2Error, TooManyStreamsError
from h2.settings import SettingCodes

from gort._runtime.sched.newproc import go
from gort.http.client_errors import Malformed, PhaseTimeout, Unanswered
from gort.http.client_h1 import HEAD_MAX, INFORMATIONAL_MAX
from gort.http.http2 import Late, Mux, Reset, Stream
from gort.http.pace import Pace

if TYPE_CHECKING:
    from gort.http.client_errors import Timeouts
    from gort.http.client_request import Head, Request

ROOM = 100  # requests at a time
WINDOW = 1 << 24  # bytes of all responses that come before somebody takes them
STREAM_WINDOW = 1 << 20  # of one response
_SETTINGS: dict[int, int] = {
    SettingCodes.ENABLE_PUSH: 0,
    SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
    SettingCodes.MAX_HEADER_LIST_SIZE: HEAD_MAX,
}
_OF_A_CONNECTION = ("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "host")


class H2Connection:
    """A connection to a server that has agreed to speak HTTP/2."""

    version = "2"

    def __init__(self, conn: Any) -> None:
        self.conn = conn
        self.room: int = ROOM  # requests at a time
        self.used: int = 0  # requests that it has now; the pool's
        self.served: int = 0  # requests that it has had before
        self.mux: Mux = Mux(conn, True, _SETTINGS, WINDOW, HEAD_MAX, 30.0)
        self._leaving = False  # the server takes no more requests

    @classmethod
    async def start(cls, conn: Any) -> H2Connection:
        """Begins to speak HTTP/2."""
        made = cls(conn)
        made.mux.start()
        go(made.mux.write_loop)
        go(made._read)
        return made

    async def _read(self) -> None:
        await self.mux.read_loop(self._event)

    def _event(self, event: Event) -> None:
        """`mux.mu` is held."""
        if isinstance(event, ConnectionTerminated):
            self._leaving = True
            for each in list(self.mux.streams.values()):
                if each.id > (event.last_stream_id or 0) or event.error_code:
                    self.mux.end_stream(each, Unanswered("the server ends the connection"))
            return
        if isinstance(event, RemoteSettingsChanged):
            if not self._leaving and self.room:
                allowed = self.mux.h2.remote_settings.max_concurrent_streams
                self.room = max(1, min(ROOM, allowed))
            return
        stream = self.mux.streams.get(getattr(event, "stream_id", None) or 0)
        if stream is None:
            return
        if isinstance(event, ResponseReceived):
            stream.head = list(event.headers or ())
        elif isinstance(event, InformationalResponseReceived):
            stream.informed += 1
            if stream.informed > INFORMATIONAL_MAX:
                self.mux.end_stream(stream, ConnectionError("too many informational responses"))
        elif isinstance(event, TrailersReceived):
            stream.trailers = list(event.headers or ())
        stream.changed.try_send(None)

    @property
    def usable(self) -> bool:
        """Whether it can take a request."""
        return self.mux.error is None and not self._leaving and not self.conn.closed

    def close(self) -> None:
        """Closes it at once.  From any goroutine."""
        self.mux.fail(ConnectionError("the connection was closed"))
        self.conn.close()

    def leave(self) -> None:
        """As close.  No GOAWAY: it would need a goroutine that waits until it is out, and the client has no streams."""
        self.close()

    def begin(self) -> H2Stream:
        """Begins a request."""
        return H2Stream(self)


class H2Stream:
    """A request: the methods are those of H1Connection."""

    def __init__(self, connection: H2Connection) -> None:
        self._c = connection
        self._mux = connection.mux
        self._stream = Stream(0)  # its number is known when the request goes out
        self._sending = False
        self._stuck = False  # the connection gave nothing for too long: it may be dead

    async def send(self, request: Request, timeouts: Timeouts, whole: bool) -> None:
        """Sends the head, and a `whole` body with it."""
        fields = request.fields()
        host = next((value for name, value in fields if name.lower() == "host"), request.origin.authority)
        headers = [
            (b":method", request.method.encode()),
            (b":scheme", request.origin.scheme.encode()),
            (b":authority", host.encode("latin-1")),
            (b":path", request.target.encode()),
        ]
        for name, value in fields:
            if name.lower() not in _OF_A_CONNECTION:
                headers.append((name.lower().encode(), value.encode("latin-1")))
        body = request.body if whole and isinstance(request.body, bytes) else None
        self._sending = True
        await self._open(headers, whole and not body, timeouts)
        if body:
            await self._data(body, True, timeouts)
        if whole:
            self._sending = False

    async def _open(self, headers: list[tuple[bytes, bytes]], end: bool, timeouts: Timeouts) -> None:
        mux, stream = self._mux, self._stream
        while True:
            with mux.mu:
                if not self._c.usable:
                    raise Unanswered("the server has closed the connection")
                try:
                    stream.id = mux.h2.get_next_available_stream_id()
                    mux.h2.send_headers(stream.id, headers, end_stream=end)
                except TooManyStreamsError:
                    stream.id = 0
                except H2Error as e:
                    self._c._leaving = True
                    raise ConnectionError(str(e)) from None
                else:
                    stream.local_ended = end
                    mux.streams[stream.id] = stream
                    mux.pull()
                    return
            await self._late("pool", mux.for_room(stream, timeouts.pool_s), timeouts.pool_s)

    async def _late(self, phase: str, op: Any, seconds: float | None) -> Any:
        try:
            return await op
        except Late:
            self._stuck = phase != "pool"
            raise PhaseTimeout(phase, seconds or 0) from None

    async def _data(self, data: bytes, end: bool, timeouts: Timeouts) -> None:
        pace = Pace(timeouts.write_s, None)
        await self._late("write", self._mux.send_data(self._stream, data, end, pace), timeouts.write_s)

    async def send_part(self, data: bytes, timeouts: Timeouts) -> None:
        """A part of the body; b"" is its end."""
        await self._data(data, not data, timeouts)
        if not data:
            self._sending = False
            self._stream.changed.try_send(None)  # who waits for the response does so with a limit now

    async def head(self, timeouts: Timeouts) -> Head:
        """The head of the response."""
        mux, stream = self._mux, self._stream
        while True:
            with mux.mu:
                if stream.head is not None:
                    break
                error = stream.error or mux.error
            if error is not None:
                if isinstance(error, Reset) and error.code != ErrorCodes.REFUSED_STREAM:
                    raise error
                raise Unanswered(str(error)) from None
            limit = None if self._sending else timeouts.read_s
            await self._late("read", mux.wait_change(stream, limit), limit)
        head = stream.head
        pairs = [pair for pair in head if not pair[0].startswith(b":")]
        status = dict(head).get(b":status", b"")
        if not (len(status) == 3 and status.isdigit()):
            raise Malformed("the response has no status")
        return int(status), b"", pairs, "2"

    async def read(self, timeouts: Timeouts) -> tuple[bytes, list[tuple[bytes, bytes]] | None]:
        """A part of the body; at its end the trailers too."""
        limit = None if self._sending else timeouts.read_s
        data = await self._late("read", self._mux.take(self._stream, limit), limit)
        return data, (None if data else self._stream.trailers)

    def abort(self) -> None:
        """Ends the request at once.  From any goroutine."""
        with self._mux.mu:
            self._mux.end_stream(self._stream, ConnectionError("the request was ended"))

    def release(self) -> bool:
        """The request is over: whether the connection can take another one."""
        self._c.served += 1
        stream = self._stream
        if stream.id:
            if isinstance(stream.error, ConnectionError) and not isinstance(stream.error, Reset | Unanswered):
                stream.error = None  # of this end: the server has to be told
            self._mux.drop(stream, ErrorCodes.CANCEL)
        return self._c.usable and not self._stuck
