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

from typing import Any

Headers = list[tuple[bytes, bytes]]  # names in lower case


class Disconnected(ConnectionError):
    """The client has gone, or the connection was given up: nobody reads the response."""


class Exchange:
    """A request, and what is needed to answer it.  Methods that a protocol must have raise NotImplementedError here.

    method, target: as the request has them ("GET", b"/a%20b?c").  headers: the request's, names in lower case.
    version: "1.0", "1.1" or "2".  scheme: "http" or "https".  client, server: (host, port); for a Unix socket
    (path, None), or None for a peer without a name."""

    __slots__ = ("client", "headers", "method", "scheme", "server", "started", "status", "target", "version")

    method: str
    target: bytes
    headers: Headers
    version: str
    scheme: str
    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    started: bool  # the head of the response has been given
    status: int  # of the response, 0 before

    async def read(self) -> bytes:
        """The next part of the request's body; b"" at its end, again and again.  Raises Disconnected."""
        raise NotImplementedError

    async def gone(self) -> None:
        """Returns when the client has gone or the response has ended.  From any goroutine, or task of a loop."""
        raise NotImplementedError

    async def respond(self, status: int, reason: bytes, headers: Headers, body: bytes) -> None:
        """The whole response at once.  As start, and send of the last part."""
        raise NotImplementedError

    def start(self, status: int, reason: bytes, headers: Headers) -> None:
        """The head of the response.  It goes out with the first part of the body.

        headers: without those of a connection.  Where there is no content-length the protocol frames the body itself."""
        raise NotImplementedError

    async def send(self, data: bytes, more: bool) -> None:
        """A part of the response's body; more=False: the last one.  Waits while the client takes nothing.  Raises
        Disconnected."""
        raise NotImplementedError

    async def inform(self, status: int, headers: Headers) -> None:
        """An answer before the response: 103 Early Hints."""
        raise NotImplementedError

    async def send_file(self, file: Any, offset: int, count: int) -> None:
        """`count` bytes of an open file as the rest of the body."""
        raise NotImplementedError

    async def end(self, trailers: Headers) -> None:
        """The end of a body whose parts were all sent with more=True, with trailers."""
        raise NotImplementedError
