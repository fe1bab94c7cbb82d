"""One request and its response, as an application's adapter sees them: the seam between the protocols of a connection
and the interfaces of applications.

    h1.py, an HTTP/2 connection   ->   Exchange   ->   wsgi.py, asgi.py

A protocol makes an Exchange for each request, and awaits `server.handle(exchange)` in the goroutine that serves it.  The
adapter reads the body and gives the response by the methods here; it knows nothing of frames, chunks and connections.
When handle() returns, the protocol finishes what the adapter has left: a response that has begun and not ended is cut
off, an unread body is passed over or ends the connection.

What does not live here: how bytes go out (h1.py), what an application gets (wsgi.py, asgi.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gort._runtime.web.response import Fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from gort.http.config import Limits

Headers = list[tuple[bytes, bytes]]  # names in lower case


class Disconnected(ConnectionError):
    """The client has gone, or the connection was given up: nobody reads the response."""


class Exchange(Fields):
    """A request, and what is needed to answer it.  Methods that a protocol must have raise NotImplementedError here.

    method, target: as the request has them ("GET", b"/a%20b?c").  headers: the request's, names in lower case.
    version: "1.0", "1.1" or "2".  scheme: "http" or "https".  client, server: (host, port); (path, None) for a Unix
    socket, None for a peer without a name.  length: of the request's body, 0 without one, None where nobody has said.
    upgrade: the protocol that the client wants to change to, b"" for none.

    started: the head of the response has been given.  status: of the response, 0 before.  sent: bytes of its body.
    refusal: what is wrong with the request's body; read() has raised Disconnected because of it.
    lost: the client has gone, and read() or gone() has told the application so: no response is expected of it."""

    __slots__ = ()

    @property
    def limits(self) -> Limits:
        """The server's limits."""
        raise NotImplementedError

    @property
    def stopping(self) -> bool:
        """Whether the server ends.  Who has the connection (hijack) is woken then: its read raises DeadlineExceeded."""
        raise NotImplementedError

    def spawn(self, fn: Callable[..., Any], *args: Any) -> None:
        """Starts another goroutine, or task, where this request is served."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        """The request as a dump shows it beside the goroutine that serves it."""
        return f"{{request: {self.method} {self.target[:200].decode('ascii', 'replace')}}}"

    @property
    def ready(self) -> bytes | None:
        """The whole body, where it has come and nothing of it was read; else None.  Does not wait."""
        return None

    @property
    def expects(self) -> bool:
        """Whether the client sends the body only when it is asked for."""
        return False

    @property
    def at_end(self) -> bool:
        """Whether read() has nothing more to give, as far as is known without waiting."""
        raise NotImplementedError

    async def read(self) -> bytes:
        """The next part of the request's body; b"" at its end, again and again.  Raises Disconnected."""
        raise NotImplementedError

    async def gone(self) -> None:
        """Returns when the client has gone or the response has ended.  From any goroutine, or task of a loop."""
        raise NotImplementedError

    async def respond(self, status: int, reason: bytes, headers: Headers, body: bytes) -> None:
        """The whole response at once: start, and send of the only part."""
        self.start(status, reason, headers)
        await self.send(body, False)

    def start(self, status: int, reason: bytes, headers: Headers) -> None:
        """The head of the response.  It goes out with the first part of the body.

        headers: those that belong to a connection (Connection, Transfer-Encoding) are the protocol's and are left out.
        Where there is no content-length the protocol frames the body itself.  Raises ValueError for headers that cannot
        be sent."""
        raise NotImplementedError

    async def send(self, data: bytes, more: bool) -> None:
        """A part of the response's body; more=False: the last one.  Waits while the client takes nothing.  Raises
        Disconnected; RuntimeError for more than the content-length says, or after the last part."""
        raise NotImplementedError

    async def inform(self, status: int, headers: Headers) -> None:
        """An answer before the response: 103 Early Hints."""
        raise NotImplementedError

    async def send_file(self, file: Any, offset: int, count: int) -> None:
        """`count` bytes of an open file as the rest of the body.  As send."""
        raise NotImplementedError

    async def end(self, trailers: Headers) -> None:
        """The end of a body whose parts were all sent with more=True, with trailers."""
        raise NotImplementedError

    async def hijack(self) -> tuple[Any, bytes]:
        """Gives the connection to another protocol: (it, what the client has sent for that protocol).  Only where
        upgrade is not empty; the exchange is over with it."""
        raise NotImplementedError
