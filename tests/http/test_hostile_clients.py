"""Hostile clients, each kind for a moment (scripts/hostile_clients.py has more of them, and for longer): others are
answered all the while, nothing is said on standard error, no descriptor and no connection is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servekit import Client, answering, client, fetch, get, serving

import gort
from gort import net
from gort.http import Limits
from gort.http import server as http_server
from support import PATIENCE_S, contexts, make_certificate, open_files, script, settles, until

Run = Callable[..., Any]
pytestmark = pytest.mark.once


KINDS = ("slow-head", "slow-body", "slow-chunks", "slow-read", "headers", "chunks", "chunk-extensions", "pipelining",
         "pings", "bombs", "frames", "fuzz")  # fmt: skip
GO_ON = ("pipelining", "pings", "chunks")  # their connections are not ended, so nobody makes another
SLOW = ("slow-head", "slow-body", "slow-chunks", "slow-read")
SCRIPT = script("hostile_clients")


@pytest.mark.parametrize("kind", KINDS)
def test_others_are_served(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    scope: dict[str, Any] = {}
    exec(SCRIPT.APP, scope)

    async def main() -> None:
        limits = Limits(head_s=0.2, body_s=0.2, write_s=0.2, message_bytes=100_000)
        async with serving(scope["app"], loop="native", limits=limits) as server:
            attack = SCRIPT.Attack(server.address, "", 2, time.monotonic() + PATIENCE_S)
            async with gort.Group() as group:
                for _ in range(2):
                    group.go(SCRIPT.KINDS[kind][1], attack)
                async with client(server) as c:
                    answers = 0
                    # The slow ones are seen to be ended, floods that are ended come again, some go on.
                    while attack.made < (2 if kind in GO_ON or kind in SLOW else 4) or answers < 5:
                        assert (await c.ask(get()))[0] == 200
                        answers += 1
                        await gort.sleep(0.001)
                    if kind in SLOW:
                        await until(lambda: len(server._open) == 1)
                        assert (await c.ask(get()))[0] == 200
                group.cancel()
            await until(lambda: not server._open)
            assert (await fetch(server, get()))[0] == 200

    before = open_files()
    gort.run(main)
    assert settles(lambda: open_files() == before)
    said = capfd.readouterr().err
    assert said == ""


def test_half_open_handshakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more than the limit the oldest ends, and who means it is served."""
    monkeypatch.setattr(http_server, "HASTE_S", 0.0)
    sctx, cctx = contexts(make_certificate(tmp_path, "localhost"))

    async def main() -> None:
        limits = Limits(handshakes=10)
        async with serving(answering(), tls=sctx, limits=limits) as server, gort.Group() as group:
            silent = [await net.dial("tcp", server.address) for _ in range(30)]
            ended: list[Any] = []

            async def wait(conn: Any) -> None:
                assert await conn.read() == b""
                ended.append(conn)

            for conn in silent:
                group.go(wait, conn)
            await until(lambda: len(ended) == 20)
            assert len(server._handshakes) == 10
            assert [c for c in server._handshakes if c._ssl is not None] == []  # who says nothing costs little
            async with client(server, cctx) as c:
                assert (await c.ask(get()))[0] == 200
            await until(lambda: len(ended) == 21)  # there was another handshake
            group.cancel()
            for conn in silent:
                conn.close()
            await until(lambda: not server._open)
            assert not server._handshakes

    gort.run(main)


def test_the_end_does_not_wait_for_half_open_handshakes(tmp_path: Path) -> None:
    sctx, _ = contexts(make_certificate(tmp_path, "localhost"))

    async def main() -> None:
        limits = Limits(head_s=None)
        async with serving(answering(), tls=sctx, limits=limits, grace_s=1000.0) as server:
            conn = await net.dial("tcp", server.address)
            await until(lambda: len(server._handshakes) == 1)
        assert await conn.read() == b""
        conn.close()

    gort.run(main)


def test_many_handshakes_at_once(tmp_path: Path) -> None:
    """More clients than the limit, who all mean it, are all served."""
    sctx, cctx = contexts(make_certificate(tmp_path, "localhost"))

    async def main() -> None:
        async with serving(answering(), tls=sctx, limits=Limits(handshakes=3)) as server:
            conns = [await net.dial("tcp", server.address) for _ in range(10)]
            await until(lambda: len(server._handshakes) == 10)
            for conn in conns:
                c = Client(await net.tls_client(conn, "localhost", cctx))
                assert (await c.ask(get()))[0] == 200
                c.conn.close()

    gort.run(main)


def test_a_handshake_that_is_no_text(capfd: pytest.CaptureFixture[str]) -> None:
    """What wsproto trips over in the headers of a websocket's handshake is the client's fault."""
    ok = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        """Is not called for them."""

    async def main() -> None:
        async with serving(app, loop="native") as server:
            for name in ("Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol", "Sec-WebSocket-Key"):
                status, _, _ = await fetch(server, get("/", *ok, f"{name}: \x8c"))
                assert status == 400

    gort.run(main)
    assert capfd.readouterr().err == ""
