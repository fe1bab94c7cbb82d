"""One connection of the client that speaks HTTP/1.1, and one request on it at a time.  The protocol is h11's.

Two goroutines may use it at once: one sends the body, one reads the response.  `_mu` guards the state of h11, and is
never held across an await.  release() says whether the connection can be used again.

What does not live here: which connection a request gets (client_pool.py), HTTP/2 (client_h2.py).
"""

from __future__ import annotations

import select
import threading
from typing import TYPE_CHECKING, Any

import h11

from gort._runtime.poll.neterrors import DeadlineExceeded
from gort.http.client_errors import Malformed, PhaseTimeout, Unanswered

if TYPE_CHECKING:
    from gort.http.client_errors import Timeouts
    from gort.http.client_request import Head, Request

HEAD_MAX = 100 * 1024  # bytes of a response's head, or of a chunk's or the trailers' lines
INFORMATIONAL_MAX = 20  # answers 1xx before a response


class H1Connection:
    """A connection to a server.  conn: gort.net's, plain or TLS."""

    version = "1.1"
    room = 1  # requests at a time

    def __init__(self, conn: Any) -> None:
        self.conn = conn
        self.used: int = 0  # requests that it has now; the pool's
        self.served: int = 0  # requests that it has had before
        self._mu = threading.RLock()
        self._h11 = h11.Connection(h11.CLIENT, HEAD_MAX)
        self._broken = False
        self._got = False  # something of this response has come
        self._sending = False  # the request has not been sent to its end: the server need not say anything

    @property
    def usable(self) -> bool:
        """Whether it can take a request: asks the system whether the server has closed it, or sent what nobody wants."""
        if self._broken or self.conn.closed:
            return False
        poll = select.poll()
        try:
            poll.register(self.conn.fileno(), select.POLLIN)
            return not poll.poll(0)
        except (OSError, ValueError):
            return False

    def close(self) -> None:
        """Closes it at once.  From any goroutine."""
        self._broken = True
        self.conn.close()

    def leave(self) -> None:
        """As close: there is nothing to say before."""
        self.close()

    def begin(self) -> H1Connection:
        """Begins a request: gives what has the methods below."""
        self._got = False
        return self

    # ---- a request --------------------------------------------------------------------------------------------------

    async def send(self, request: Request, timeouts: Timeouts, whole: bool) -> None:
        """Sends the head, and the body too if it is `whole`: bytes that go out with the head."""
        headers = [(name.encode(), value.encode("latin-1")) for name, value in request.fields()]
        if request.length is None:
            headers.append((b"Transfer-Encoding", b"chunked"))
        head = h11.Request(method=request.method, target=request.target, headers=headers)
        with self._mu:
            data = self._h11.send(head) or b""
            if whole and request.body:
                data += self._h11.send(h11.Data(data=request.body)) or b""  # type: ignore[arg-type]
            if whole:
                data += self._h11.send(h11.EndOfMessage()) or b""
        self._sending = not whole
        await self._write(data, timeouts)

    async def send_part(self, data: bytes, timeouts: Timeouts) -> None:
        """Sends a part of the body; b"" is its end."""
        with self._mu:
            out = self._h11.send(h11.Data(data=data) if data else h11.EndOfMessage()) or b""
        if out:
            await self._write(out, timeouts)
        if not data:
            with self._mu:
                self._sending = False
                self.conn.set_read_deadline(timeouts.read_s)  # of the read that waits

    async def _write(self, data: bytes, timeouts: Timeouts) -> None:
        self.conn.set_write_deadline(timeouts.write_s)
        try:
            await self.conn.write(data)
        except DeadlineExceeded:
            self._broken = True
            raise PhaseTimeout("write", timeouts.write_s or 0) from None
        except BaseException:
            self._broken = True
            raise

    async def head(self, timeouts: Timeouts) -> Head:
        """The head of the response: (status, reason, headers, version).  Answers before it (1xx) are passed over."""
        for _ in range(INFORMATIONAL_MAX):
            event = await self._event(timeouts)
            if type(event) is h11.Response:
                version = event.http_version.decode()
                if not version.startswith("1."):
                    raise Malformed(f"the response is HTTP/{version}")
                return event.status_code, event.reason, list(event.headers.raw_items()), version
            if type(event) is not h11.InformationalResponse:
                if self._got:
                    raise Malformed("the connection ended within the head of the response")
                raise Unanswered("the server closed the connection without an answer")
        raise Malformed(f"more than {INFORMATIONAL_MAX} informational responses")

    async def read(self, timeouts: Timeouts) -> tuple[bytes, list[tuple[bytes, bytes]] | None]:
        """(the next part of the body, None); (b"", the trailers) at its end."""
        event = await self._event(timeouts)
        if type(event) is h11.Data:
            return bytes(event.data), None
        if type(event) is h11.EndOfMessage:
            return b"", list(event.headers.raw_items())
        raise Malformed("the response was cut off")

    async def _event(self, timeouts: Timeouts) -> Any:
        while True:
            with self._mu:
                try:
                    event = self._h11.next_event()
                except h11.RemoteProtocolError as e:
                    self._broken = True
                    if not self._got:
                        raise Unanswered("the server closed the connection without an answer") from None
                    raise Malformed(str(e)) from None
                if event is h11.PAUSED:
                    self._broken = True
                    raise Malformed("the server changes to a protocol that nobody has asked for")
            if event is not h11.NEED_DATA:
                return event
            with self._mu:
                self.conn.set_read_deadline(None if self._sending else timeouts.read_s)
            try:
                data = await self.conn.read()
            except DeadlineExceeded:
                self._broken = True
                raise PhaseTimeout("read", timeouts.read_s or 0) from None
            except ConnectionError as e:
                self._broken = True
                if not self._got:
                    raise Unanswered(str(e)) from e
                raise
            except BaseException:
                self._broken = True
                raise
            if data:
                self._got = True
            with self._mu:
                self._h11.receive_data(data)

    def abort(self) -> None:
        """Ends the request at once: whoever waits gets Closed.  From any goroutine."""
        self.close()

    def release(self) -> bool:
        """The request is over: whether the connection can be used again.  If not, it is closed."""
        with self._mu:
            state = self._h11
            if self._broken or state.our_state is not h11.DONE or state.their_state is not h11.DONE:
                self.close()
                return False
            state.start_next_cycle()
            if state.trailing_data[0]:  # more than one response: nobody knows whose
                self.close()
                return False
        self.served += 1
        return True
