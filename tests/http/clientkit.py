"""Helpers of the tests of gort.http's client: servers that say what a test wants, byte by byte."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import gort
from gort import bufio, net


@asynccontextmanager
async def scripted(handle: Callable[[Any], Awaitable[Any]], tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server that calls `handle` for each connection; gives its URL, without a slash at the end."""
    ln: Any = await net.listen("tcp", "127.0.0.1:0")
    url = f"http://{ln.addr}" if tls is None else f"https://localhost:{ln.addr.port}"
    if tls is not None:
        ln = net.TLSListener(ln, tls)

    async def one(conn: Any) -> None:
        async with conn:
            try:
                await handle(conn)
            except (OSError, bufio.IncompleteRead):
                pass  # the client has had enough

    async with gort.Group() as group:

        async def accept() -> None:
            async for conn in ln:
                group.go(one, conn)

        group.go(accept)
        try:
            yield url
        finally:
            ln.close()
            group.cancel()


class Asked:
    """A request as a scripted server has read it."""

    def __init__(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        self.method, self.target, self.headers, self.body = method, target, headers, body


async def asked(conn: Any) -> Asked | None:
    """The next request on a connection, or None at its end."""
    if not await conn.peek(1):
        return None
    first, *lines = (await conn.read_until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {}
    for line in filter(None, lines):
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = bytearray()
    if headers.get("transfer-encoding") == "chunked":
        while size := int(await conn.read_until(b"\r\n"), 16):
            body += await conn.read_exactly(size)
            await conn.read_exactly(2)
        await conn.read_line()
    elif "content-length" in headers:
        body += await conn.read_exactly(int(headers["content-length"]))
    return Asked(method, target, headers, bytes(body))


def reply(body: bytes = b"hello", status: str = "200 OK", *headers: str) -> bytes:
    """The bytes of a response."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def each(answer: Callable[[Asked], bytes]) -> Callable[[Any], Awaitable[None]]:
    """A handler that answers each request of a connection with what `answer` gives."""

    async def handle(conn: Any) -> None:
        while (request := await asked(conn)) is not None:
            await conn.write(answer(request))

    return handle
