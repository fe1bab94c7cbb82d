"""Helpers of the tests of gort.http's server: a server in a goroutine, and a client that sends bytes as they are."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import h11
import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import Request

import gort
from gort import http, net

PARSERS = [p for p in ("httptools", "h11") if importlib.util.find_spec(p) is not None]
# What is the same for every parser runs on the first.
each_parser = pytest.mark.parametrize("parser", PARSERS)
LIMITS: dict[str, Any] = {}


@asynccontextmanager
async def serving(app: Any, *, tls: Any = None, address: str = "127.0.0.1:0", **options: Any) -> AsyncIterator[Any]:
    """A server of the application; gives it, with its address as `address`.  Ends it gracefully."""
    server: Any = http.Server(app, **{"linger_s": 0.0, **options})
    ln: Any = await net.listen("unix" if address.startswith("/") else "tcp", address)
    server.address = str(ln.addr)
    if tls is not None:
        ln = net.TLSListener(ln, tls)
    async with gort.Group() as group:
        group.go(server.serve, ln)
        try:
            yield server
        finally:
            server.stop()


class Client:
    """A connection to a server: sends bytes as they are, and reads responses one after the other."""

    def __init__(self, conn: Any) -> None:
        self.conn = conn
        self._held = b""

    async def ask(self, data: bytes, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        """Sends what is a request, or not, and reads a response."""
        await self.conn.write(data)
        return await self.answer(method)

    async def answer(self, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        """Reads a response: (status, headers, body).  Raises ConnectionError where it is not whole."""
        parser = h11.Connection(h11.CLIENT)
        parser.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        parser.send(h11.EndOfMessage())
        if self._held:
            parser.receive_data(self._held)
        status, headers, body = 0, {}, bytearray()
        self.trailers: Any = []
        while True:
            try:
                event = parser.next_event()
            except h11.RemoteProtocolError as e:
                raise ConnectionError(str(e)) from e
            if event is h11.NEED_DATA:
                parser.receive_data(await self.conn.read())
            elif isinstance(event, h11.Response):
                status, headers = event.status_code, {k.decode(): v.decode() for k, v in event.headers}
            elif isinstance(event, h11.InformationalResponse):
                self.informed = event.status_code, dict(event.headers)
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self.trailers = list(event.headers)
                break
            else:
                raise ConnectionError(f"no whole response: {event}")
        self._held = bytes(parser.trailing_data[0])
        return status, headers, bytes(body)

    async def ended(self) -> bool:
        """Whether the server has ended the connection, and has sent nothing more."""
        try:
            return not self._held and await self.conn.read() == b""
        except OSError:
            return True


class Ws:
    """A client's websocket."""

    def __init__(self, c: Client) -> None:
        self.conn = c.conn
        self.ws = WSConnection(ConnectionType.CLIENT)

    async def send(self, event: Any) -> None:
        """Sends an event."""
        await self.conn.write(self.ws.send(event))

    async def next(self) -> Any:
        """The next event; None at the end of the connection."""
        while True:
            for event in self.ws.events():
                return event
            data = await self.conn.read()
            if not data:
                return None
            self.ws.receive_data(data)

    async def open(self, path: str = "/", **more: Any) -> Any:
        """The handshake; its answer."""
        await self.send(Request(host="test", target=path, **more))
        return await self.next()


@asynccontextmanager
async def client(server: Any, tls: Any = None) -> AsyncIterator[Client]:
    """A connection to the server."""
    address = server.address
    if tls is not None:
        conn: Any = await net.dial_tls("tcp", address, server_name="localhost", context=tls)
    else:
        conn = await net.dial("unix" if address.startswith("/") else "tcp", address)
    try:
        yield Client(conn)
    finally:
        conn.close()


async def fetch(server: Any, data: bytes, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """One request on a connection of its own."""
    async with client(server) as c:
        return await c.ask(data, method)


def get(path: str = "/", *headers: str, method: str = "GET", body: bytes = b"") -> bytes:
    """The bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: test", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def answering(body: bytes = b"hello", status: str = "200 OK", *headers: tuple[str, str]) -> Callable[..., list[bytes]]:
    """A WSGI application that always says the same."""

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        start(status, [("Content-Type", "text/plain"), *headers])
        return [body]

    return app
