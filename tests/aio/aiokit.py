"""A protocol that keeps what happens to it, and a transport with its other end, for the tests of transports."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

MB = 1 << 20
Pair = tuple[asyncio.Transport, "Peer", socket.socket]


class Peer(asyncio.Protocol):
    """Keeps what happens to it."""

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.got = bytearray()
        self.changed = asyncio.Event()
        self.keep_open = False

    def note(self, what: Any) -> None:
        self.said.append(what)
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.changed.clear()
            await self.changed.wait()

    async def has(self, what: Any) -> None:
        await self.until(lambda: what in self.said)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.note("made")

    def data_received(self, data: bytes) -> None:
        self.got += data
        self.changed.set()

    def eof_received(self) -> bool:
        self.note("eof")
        return self.keep_open

    def pause_writing(self) -> None:
        self.note("pause")

    def resume_writing(self) -> None:
        self.note("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.note(("lost", exc and type(exc)))


async def pair(protocol: Any = None) -> Pair:
    """(transport, its protocol, the other end)"""
    here, there = socket.socketpair()
    there.setblocking(False)
    loop = asyncio.get_running_loop()
    transport, peer = await loop.create_connection(lambda: protocol or Peer(), sock=here)
    return transport, peer, there  # type: ignore[return-value]


async def take(there: socket.socket, n: int) -> bytes:
    got = bytearray()
    while len(got) < n:
        part = await asyncio.get_running_loop().sock_recv(there, 1 << 18)
        if not part:
            break
        got += part
    return bytes(got)
