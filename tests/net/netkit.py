"""Helpers of the network tests: pairs of connections, servers, and how many descriptors are open."""

from __future__ import annotations

import shutil
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import gort
import gort.net as net
from support import contexts, open_files


def descriptors() -> int:
    """Open descriptors of this process, without those in /proc: sysmon has one open for a moment when it looks at a
    thread.  Another thread may have a module's file open, which it imports: wait with `until` for what is expected."""
    return sum(not target.startswith("/proc/") for target in open_files().values())


@asynccontextmanager
async def pair(network: str = "tcp", path: str = "") -> AsyncIterator[tuple[net.Conn, net.Conn]]:
    """Two ends of one connection: (client, server)."""
    ln = await net.listen(network, path or "127.0.0.1:0")
    a = await net.dial(network, str(ln.addr))
    b = await ln.accept()
    ln.close()
    try:
        yield a, b
    finally:
        a.close()
        b.close()


@asynccontextmanager
async def serving(handler: Callable[[net.Conn], Any], address: str = "127.0.0.1:0") -> AsyncIterator[str]:
    """A server whose handler runs in a goroutine per connection; gives its address.  Waits for all of them at its end."""
    ln = await net.listen("tcp", address)
    wg = gort.sync.WaitGroup()

    async def accept() -> None:
        async for conn in ln:
            wg.go(handler, conn)

    wg.go(accept)
    try:
        yield str(ln.addr)
    finally:
        ln.close()
        await wg.wait()


async def echo(conn: net.Conn) -> None:
    """Sends back what comes."""
    async with conn:
        while data := await conn.read():
            await conn.write(data)


def go_result(fn: Callable[..., Any], *args: Any) -> Any:
    """Starts fn in a goroutine; its result or exception comes over the channel that is returned."""
    out: Any = gort.Chan(1)

    async def work() -> None:
        try:
            result = await fn(*args)
        except Exception as e:
            result = e
        out.try_send(result)

    gort.go(work)
    return out


def renegotiating_server(cert: Path) -> tuple[list[str], int, ssl.SSLContext]:
    """The command of a TLS 1.2 server that asks for a renegotiation when it reads a line "r", its port, and a context
    for its client.  Skips the test where there is no openssl."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl")
    _, cctx = contexts(cert)
    cctx.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
    files = ["-cert", str(cert), "-key", str(cert.with_suffix(".key"))]
    return [openssl, "s_server", "-accept", f"127.0.0.1:{port}", *files, "-tls1_2", "-legacy_renegotiation"], port, cctx


@asynccontextmanager
async def tls_pair(cert: Path) -> AsyncIterator[tuple[net.TLSConn, net.TLSConn]]:
    """Two ends of one TLS connection, after the handshake: (client, server)."""
    sctx, cctx = contexts(cert)
    async with pair() as (a, b):
        out = go_result(net.tls_server, b, sctx)
        client = await net.tls_client(a, "localhost", cctx)
        yield client, await out.recv()
