"""Helpers of the network tests: pairs of connections, servers, and how many descriptors are open."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import gort
import gort.net as net


def descriptors() -> int:
    """Open descriptors of this process."""
    return len(os.listdir("/proc/self/fd")) - 1


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
