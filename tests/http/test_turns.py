"""A connection whose client sends, or takes, without end makes way for the others: each test counts what it had done
when another client, which came meanwhile, was answered."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from servekit import client, get, serving

import gort
from gort import net

pytestmark = pytest.mark.once
CHUNKED = b"POST /busy HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
COUNT = 50  # of what the busy client is served


class App:
    """An application that does something for /busy, step by step, in which the first step sends the request of another
    client, and notes the steps done when that is served."""

    def __init__(self) -> None:
        self.other: Any = None  # that client's socket
        self.done = 0
        self.found = -1

    def step(self) -> None:
        """One step, in which the time goes by after which the poller is asked again."""
        if self.done == 0:
            self.other.sendall(get("/other"))
        self.done += 1
        until = time.monotonic() + 0.0003
        while time.monotonic() < until:
            pass

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == "/other":
            self.found = self.done
        parts = 0
        while True:
            message = await receive()
            if scope["path"] == "/busy":
                self.step()
            if not message["more_body"]:
                break
            parts += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/large":
            for _ in range(COUNT):
                self.step()
                await send({"type": "http.response.body", "body": bytes(16384), "more_body": True})
        await send({"type": "http.response.body", "body": b"end"})


async def pipelines(conn: Any) -> None:
    """Sends many requests at once."""
    await conn.write(get("/busy") * COUNT)
    answers = b""
    while answers.count(b"HTTP/1.1 200") < COUNT:
        answers += await conn.read()


async def sends_chunks(conn: Any) -> None:
    """Sends a body of many small chunks."""
    await conn.write(CHUNKED + b"1\r\nx\r\n" * 300_000 + b"0\r\n\r\n")
    assert b"200" in await conn.read()


async def asks_for_much(conn: Any) -> None:
    """Asks for a response that the kernel takes as fast as it is made."""
    await conn.write(get("/large"))
    got = 0
    while got < COUNT * 16384:
        got += len(await conn.read())


@pytest.mark.parametrize("busy", [pipelines, sends_chunks, asks_for_much])
def test_another_client_is_answered_meanwhile(busy: Callable[[Any], Any]) -> None:
    app = App()

    async def main() -> None:
        async with serving(app, loop="native") as server, client(server) as first:
            await first.ask(get())  # whatever is loaded late is loaded
            host, _, port = server.address.rpartition(":")
            with socket.create_connection((host, int(port))) as app.other:
                async with await net.dial("tcp", server.address) as conn:
                    await busy(conn)

    gort.run(main, procs=1)
    assert 0 < app.found <= 15 < app.done
