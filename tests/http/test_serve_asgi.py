"""ASGI applications on the server: the lifespan, HTTP, and websockets; in event loops and in goroutines."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servekit import Ws, client, fetch, get, serving
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    RejectConnection,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate

import gort
from gort.http import Limits
from gort.http.asgi import _Http
from gort.http.loops import _pause
from support import until

Run = Callable[..., Any]
both = pytest.mark.parametrize("loop", ["asyncio", "native"])


async def respond(send: Any, body: bytes = b"hello", status: int = 200, *headers: tuple[bytes, bytes]) -> None:
    """A whole response."""
    await send({"type": "http.response.start", "status": status, "headers": [(b"Content-Type", b"text/x"), *headers]})
    await send({"type": "http.response.body", "body": body})


@both
def test_the_scope_the_body_and_the_response(run: Run, loop: str) -> None:
    scopes = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError("no lifespan here")
        scopes.append(scope)
        body, parts, more = b"", 0, True
        while more:
            message = await receive()
            assert message["type"] == "http.request"
            body, more, parts = body + message["body"], message["more_body"], parts + 1
        await respond(send, body, 201)

    async def main() -> None:
        async with serving(app, loop=loop, root_path="/root") as server, client(server) as c:
            for n in (0, 3, 500_000):
                status, headers, body = await c.ask(
                    get("/a%20b/%C3%A4?q=%20", "X-Y: Z", method="POST", body=b"x" * n), "POST"
                )
                assert (status, headers["content-type"], body) == (201, "text/x", b"x" * n)
                assert headers["content-length"] == str(n)

    run(main)
    scope = scopes[0]
    assert (scope["type"], scope["method"], scope["scheme"], scope["http_version"]) == ("http", "POST", "http", "1.1")
    assert (scope["path"], scope["raw_path"]) == ("/root/a b/ä", b"/root/a%20b/%C3%A4")
    assert (scope["query_string"], scope["root_path"]) == (b"q=%20", "/root")
    assert (b"x-y", b"Z") in scope["headers"]
    assert scope["client"][0] == "127.0.0.1"
    assert scope["server"][0] == "127.0.0.1"


@both
@pytest.mark.parametrize("loops", [1, 3])
def test_the_lifespan(run: Run, loop: str, loops: int) -> None:
    """One for each loop, with a state of its own, of which a request gets a copy."""
    happened: list[str] = []
    loops_seen = set()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            assert (await receive())["type"] == "lifespan.startup"
            scope["state"]["pool"] = asyncio.get_running_loop() if loop == "asyncio" else "native"
            happened.append("startup")
            await send({"type": "lifespan.startup.complete"})
            assert (await receive())["type"] == "lifespan.shutdown"
            happened.append("shutdown")
            await send({"type": "lifespan.shutdown.complete"})
            return
        if loop == "asyncio":
            await asyncio.sleep(0)
            assert scope["state"]["pool"] is asyncio.get_running_loop()
            loops_seen.add(asyncio.get_running_loop())
        scope["state"]["mine"] = 1
        await respond(send, repr(sorted(scope["state"])).encode())

    async def main() -> None:
        async with serving(app, loop=loop, loops=loops) as server:
            for _ in range(6):
                assert (await fetch(server, get()))[2] == b"['mine', 'pool']"
            assert happened == ["startup"] * len(happened)

    run(main)
    n = loops if loop == "asyncio" else 1
    assert happened == ["startup"] * n + ["shutdown"] * n
    assert len(loops_seen) == (n if loop == "asyncio" else 0)


@both
def test_an_application_that_does_not_start(run: Run, loop: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    async def main() -> None:
        server = gort.http.Server(app, loop=loop)
        ln = await gort.net.listen("tcp", "127.0.0.1:0")
        with pytest.raises(RuntimeError, match="no database"):
            await server.serve(ln)
        assert ln.closed

    run(main)


def test_a_request_that_has_just_come_goes_behind_those_that_wait() -> None:
    """For a pool, say: asyncio.Queue gives what was put to whoever comes first, and who had waited waits again."""
    served: list[str] = []

    async def main() -> None:
        pool: asyncio.Queue[int] = asyncio.Queue()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            loop: Any = asyncio.get_running_loop()
            if scope["path"] == "/holds":
                while not pool._getters:  # type: ignore[attr-defined]
                    await asyncio.sleep(0)
                os.write(late.conn.fileno(), get("/late"))
                ready = len(loop._ready)
                while len(loop._ready) == ready:  # until that request has come
                    loop._sched.netpoll.poll(0)
                pool.put_nowait(1)
            elif scope["path"] in ("/waits", "/late"):
                pool.put_nowait(await pool.get())
                served.append(scope["path"])
            await respond(send)

        async with (
            serving(app, loop="asyncio") as server,
            client(server) as holds,
            client(server) as waits,
            client(server) as late,
            gort.Group() as group,
        ):
            await late.ask(get("/"))
            group.go(waits.ask, get("/waits"))
            group.go(holds.ask, get("/holds"))
            await late.answer()

    gort.run(main, procs=1)
    assert served == ["/waits", "/late"]


def test_a_native_view_that_blocks_holds_up_nobody_else(run: Run) -> None:
    """time.sleep and the like inside of async def: a goroutine for each connection."""
    gate = threading.Event()
    waiting = threading.Semaphore(0)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/wait":
            waiting.release()
            gate.wait()
        await gort.sleep(0)
        await respond(send)

    async def main() -> None:
        async with serving(app, loop="native") as server, gort.Group() as group:
            waits = [group.go(fetch, server, get("/wait")) for _ in range(50)]
            for _ in waits:
                await gort.blocking(waiting.acquire)
            assert (await fetch(server, get("/other")))[0] == 200
            gate.set()
            assert [(await w)[0] for w in waits] == [200] * 50

    run(main)


def test_asyncio_s_own_waits_work(run: Run) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        got = await asyncio.gather(asyncio.sleep(0.001, 1), asyncio.to_thread(time.sleep, 0.001))
        await asyncio.wait_for(asyncio.sleep(0.001), 5)
        await respond(send, repr(got).encode())

    async def main() -> None:
        async with serving(app) as server, gort.Group() as group:
            answers = [group.go(fetch, server, get()) for _ in range(20)]
            assert {(await a)[2] for a in answers} == {b"[1, None]"}

    run(main)


@both
def test_receive_tells_that_the_client_has_gone(run: Run, loop: str) -> None:
    """While the application waits for it, and while it sends."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["more_body"] is False
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        if scope["path"] == "/wait":
            seen.append(await receive())
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
        except OSError as e:
            seen.append(e)

    async def main() -> None:
        async with serving(app, loop=loop) as server:
            for path in ("/wait", "/send"):
                async with client(server) as c:
                    await c.conn.write(get(path))
                    await c.conn.read_until(b"begun")
            await until(lambda: len(seen) == 3)

    run(main)
    assert {"type": "http.disconnect"} in seen


@both
def test_receive_after_the_body_ends_with_the_response(run: Run, loop: str) -> None:
    """As Starlette asks for it beside a streaming response; what the client sends meanwhile is the next request."""
    told = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        over: Any = gort.Chan()

        async def listen() -> None:
            told.append((await receive())["type"])
            over.close()

        if loop == "asyncio":
            task = asyncio.create_task(listen())
            await asyncio.sleep(0)
        else:
            gort.go(listen)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(3):
            await send({"type": "http.response.body", "body": b"part,", "more_body": True})
        if scope["path"] == "/cancel" and loop == "asyncio":
            task.cancel()
        await send({"type": "http.response.body"})

    async def main() -> None:
        async with serving(app, loop=loop) as server, client(server) as c:
            for _ in range(3):
                await c.conn.write(get() + get("/cancel"))
                for _ in range(2):
                    assert (await c.answer())[2] == b"part,part,part,"
            await until(lambda: len(told) >= 3)

    run(main)
    assert set(told) == {"http.disconnect"}


@both
def test_trailers_hints_and_files(run: Run, loop: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"file" * 300_000)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/file":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.pathsend", "path": str(tmp_path / "f")})
            return
        await send({"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]})
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
        await send({"type": "http.response.body", "body": b"body"})
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"4")]})

    async def main() -> None:
        async with serving(app, loop=loop) as server, client(server) as c:
            for _ in range(2):
                assert (await c.ask(get("/file")))[2] == b"file" * 300_000
                assert (await c.ask(get()))[2] == b"body"
                assert c.trailers == [(b"x-sum", b"4")]
                assert c.informed == (103, {b"link": b"</style.css>; rel=preload"})

    run(main)


@both
@pytest.mark.parametrize("how", ["raise", "nothing", "order", "kind", "half"])
def test_an_application_that_fails(run: Run, loop: str, how: str, capfd: pytest.CaptureFixture[str]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        if how == "raise":
            raise ValueError("a view's own")
        if how == "order":
            await send({"type": "http.response.body", "body": b""})
        if how == "kind":
            await send({"type": "http.response.nonsense"})
        if how == "half":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})

    async def main() -> None:
        async with serving(app, loop=loop) as server, client(server) as c:
            if how == "half":
                with pytest.raises(ConnectionError):
                    await c.ask(get())
            else:
                for _ in range(2):
                    assert (await c.ask(get()))[0] == 500

    run(main)
    assert how == "half" or "gort.http: the application has" in capfd.readouterr().err


BAD_FIELDS = [(b"x y", b"z"), (b"x:y", b"z"), (b"", b"z"), (b"x\r\ny", b"z"), (b"x", b"y\r\nz: 1"), (b"x", b"\0")]


@pytest.mark.parametrize("where", ["start", "trailers", "reject", "accept"])
def test_fields_that_cannot_be_sent(run: Run, where: str, capfd: pytest.CaptureFixture[str]) -> None:
    """The application gets a ValueError, and nothing of it goes out."""
    raised: list[BaseException] = []
    fields = [*BAD_FIELDS, (b"Content-Length", b"3")] if where == "trailers" else BAD_FIELDS

    async def app(scope: Any, receive: Any, send: Any) -> None:
        field = fields[int(scope["query_string"] or 0)] if scope["type"] != "lifespan" else None
        try:
            if scope["type"] == "websocket":
                kind = "accept" if where == "accept" else "http.response.start"
                await send({"type": f"websocket.{kind}", "status": 400, "headers": [field]})
            elif scope["type"] == "http":
                headers = [field] if where == "start" else []
                start = {"type": "http.response.start", "status": 200, "headers": headers}
                await send({**start, "trailers": where == "trailers"})
                await send({"type": "http.response.body", "body": b"body"})
                await send({"type": "http.response.trailers", "headers": [field]})
        except ValueError as e:
            raised.append(e)
            raise

    async def main() -> None:
        key = ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
        upgrade = ("Connection: Upgrade", "Upgrade: websocket", *key) if where in ("reject", "accept") else ()
        async with serving(app, loop="native") as server:
            for i in range(len(fields)):
                async with client(server) as c:
                    await c.conn.write(get(f"/?{i}", *upgrade))
                    c.conn.close_write()
                    data = b""
                    while part := await c.conn.read():
                        data += part
                    assert data.startswith(b"HTTP/1.1 200" if where == "trailers" else b"HTTP/1.1 500")
                    assert b"z" not in data

    run(main)
    assert len(raised) == len(fields)
    assert capfd.readouterr().err.count("\nValueError: ") == len(fields)


# ---- websockets -----------------------------------------------------------------------------------------------------


async def chat(scope: Any, receive: Any, send: Any) -> None:
    """A websocket application that says everything back, and does what the path says."""
    if scope["type"] != "websocket":
        raise NotImplementedError
    assert await receive() == {"type": "websocket.connect"}
    path = scope["path"]
    if path == "/refuse":
        await send({"type": "websocket.close"})
        return
    if path == "/say":
        await send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-a", b"b")]})
        await send({"type": "websocket.http.response.body", "body": b"who are you?"})
        return
    if path == "/raise":
        raise ValueError("before accept")
    protocols = scope["subprotocols"]
    await send(
        {"type": "websocket.accept", "subprotocol": protocols[0] if protocols else None, "headers": [(b"x-a", b"b")]}
    )
    if path == "/fail":
        raise ValueError("after accept")
    if path == "/close":
        await send({"type": "websocket.close", "code": 4001, "reason": "enough"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            ends.append((message["code"], message["reason"]))
            return
        if message.get("text") == "bye":
            return
        await send({**message, "type": "websocket.send"})


ends: list[Any] = []


@both
def test_a_websocket(run: Run, loop: str) -> None:
    async def main() -> None:
        ends.clear()
        async with serving(chat, loop=loop) as server:
            for extensions in ([], [PerMessageDeflate()]):
                async with client(server) as c:
                    ws = Ws(c)
                    opened = await ws.open(subprotocols=["a", "b"], extensions=extensions)
                    assert isinstance(opened, AcceptConnection)
                    assert opened.subprotocol == "a"
                    assert bool(opened.extensions) == bool(extensions)
                    for n in (0, 1, 200, 100_000):
                        await ws.send(TextMessage(data="ä" * n, message_finished=False))
                        await ws.send(TextMessage(data="!"))
                        got = ""
                        while not got.endswith("!"):
                            got += (await ws.next()).data
                        assert got == "ä" * n + "!"
                        await ws.send(BytesMessage(data=b"b" * n))
                        raw, finished = b"", False
                        while not finished:
                            event = await ws.next()
                            raw, finished = raw + bytes(event.data), event.message_finished
                        assert raw == b"b" * n
                    await ws.send(Ping(payload=b"?"))
                    assert await ws.next() == Pong(payload=b"?")
                    await ws.send(CloseConnection(code=4000, reason="enough"))
                    assert isinstance(await ws.next(), CloseConnection)
                    assert await ws.next() is None
        assert ends == [(4000, "enough")] * 2

    run(main)


@both
def test_a_websocket_that_is_not_accepted(run: Run, loop: str, capfd: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        async with serving(chat, loop=loop) as server:
            for path, status in (("/refuse", 403), ("/say", 401), ("/raise", 500)):
                async with client(server) as c:
                    rejected = await Ws(c).open(path)
                    assert isinstance(rejected, RejectConnection)
                    assert rejected.status_code == status
            bad = ("Connection: Upgrade", "Upgrade: websocket")
            assert (await fetch(server, get("/", *bad)))[0] == 400
            key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
            status, headers, _ = await fetch(server, get("/", *bad, key, "Sec-WebSocket-Version: 12"))
            assert (status, headers["sec-websocket-version"]) == (426, "13")

    run(main)
    assert "before accept" in capfd.readouterr().err


@both
def test_the_end_of_a_websocket(run: Run, loop: str, capfd: pytest.CaptureFixture[str]) -> None:
    """By the application, by its failure, by a client that vanishes, that sends too much, or nonsense."""
    limits = Limits(message_bytes=1000)

    async def main() -> None:
        ends.clear()
        async with serving(chat, loop=loop, limits=limits) as server:
            for path, code in (("/close", 4001), ("/fail", 1011), ("/", 1000)):
                async with client(server) as c:
                    ws = Ws(c)
                    await ws.open(path)
                    if path == "/":
                        await ws.send(TextMessage(data="bye"))
                    event = await ws.next()
                    assert (type(event), event.code) == (CloseConnection, code)
                    await ws.send(event.response())
                    assert await ws.next() is None
            async with client(server) as c:
                ws = Ws(c)
                await ws.open()
                await ws.send(TextMessage(data="x" * 1001))
                assert (await ws.next()).code == 1009
            async with client(server) as c:  # frames without contents, which are kept until the message ends
                ws = Ws(c)
                await ws.open()
                for _ in range(1001):
                    await ws.send(TextMessage(data="", message_finished=False))
                assert (await ws.next()).code == 1009
            async with client(server) as c:
                ws = Ws(c)
                await ws.open()
                await c.conn.write(b"\xff\xff\xff\xff")
                assert (await ws.next()).code == 1002
            async with client(server) as c:
                await Ws(c).open()
            await until(lambda: (1006, "") in ends)

    run(main)
    assert "after accept" in capfd.readouterr().err


def test_a_cancellation_wins_over_the_disconnect(run: Run) -> None:
    """Who cancels the task that waits in receive() just as the response ends sees it cancelled, as Django expects."""

    class Exchange:
        def __init__(self) -> None:
            self.over: Any = gort.Chan()

        async def gone(self) -> None:
            await self.over.recv_ok()

    async def in_a_loop() -> None:
        exchange: Any = Exchange()
        http = _Http(exchange, _pause)
        http._read = True
        task = asyncio.create_task(http.receive())
        await asyncio.sleep(0.001)
        exchange.over.close()  # the wait is over, and the task has not run
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def main() -> None:
        await gort.aio.run(in_a_loop())

    run(main)


@both
def test_the_graceful_end_closes_websockets(run: Run, loop: str) -> None:
    """The client is told (1001), the application learns of the close that the client answers, and nobody waits longer."""

    async def main() -> None:
        ends.clear()
        async with serving(chat, loop=loop) as server, client(server) as c:
            ws = Ws(c)
            await ws.open()
            await ws.send(TextMessage(data="x"))
            assert (await ws.next()).data == "x"
            server.stop()
            event = await ws.next()
            assert (type(event), event.code) == (CloseConnection, 1001)
            await ws.send(event.response())
            assert await ws.next() is None
        assert ends == [(1001, "the server ends")]

    run(main)


@pytest.mark.once
@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_headers_of_other_kinds_than_bytes(run: Run, kind: Any) -> None:
    """Names and values may be any bytes-like objects; an unhashable name was an error."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(kind(b"X-Kind"), kind(b"yes")), (kind(b"content-length"), kind(b"2"))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})

    async def main() -> None:
        async with serving(app, loop="native") as server, client(server) as c:
            status, headers, body = await c.ask(get())
            assert (status, headers["x-kind"], body) == (200, "yes", b"ok")

    run(main)


@pytest.mark.once
def test_the_end_keeps_what_a_response_has_said(run: Run) -> None:
    """A response that had said that the connection stays: the request after it is answered, and is the last."""

    async def main() -> None:
        release: gort.Chan[None] = gort.Chan()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
            await send({"type": "http.response.body", "body": b"o", "more_body": True})
            if scope["path"] == "/first":
                await release.recv_ok()
            await send({"type": "http.response.body", "body": b"k"})

        async with serving(app, loop="native", linger_s=60.0, grace_s=60.0) as server, client(server) as c:
            before = server._grace.deadline
            await c.conn.write(get("/first"))
            await c.conn.peek(1)
            server.stop()
            await until(lambda: server._grace.deadline != before)  # every connection was told
            release.close()
            status, headers, _ = await c.answer()
            assert (status, headers.get("connection")) == (200, None)
            status, headers, _ = await c.ask(get("/second"))
            assert (status, headers.get("connection")) == (200, "close")

    run(main)
