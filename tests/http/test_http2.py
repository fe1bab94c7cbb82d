"""HTTP/2: gort.http's client and server with each other, with peers made of h2's frames, and with hostile ones."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from clientkit import scripted
from servekit import answering, serving

import gort
from gort import http, net
from gort.http.server import Connection
from support import PATIENCE_S, contexts, open_files, until

h2 = pytest.importorskip("h2")

from h2.config import H2Configuration  # noqa: E402
from h2.connection import H2Connection  # noqa: E402
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset  # noqa: E402
from hyperframe.frame import (  # noqa: E402
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

HEADERS = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/")]


@pytest.fixture
def tls(certificates: dict[str, Path]) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """(server's, client's) contexts that offer HTTP/2."""
    server, client = contexts(certificates["localhost"])
    server.set_alpn_protocols(["h2", "http/1.1"])
    client.set_alpn_protocols(["h2"])
    return server, client


def sockets() -> int:
    """How many this process has open."""
    return sum(name.startswith("socket:") for name in open_files().values())


def url(server: Any, path: str = "/") -> str:
    return f"https://localhost:{server.address.rpartition(':')[2]}{path}"


def echo(environ: dict[str, Any], start: Any) -> list[bytes]:
    """Says what was asked, and gives the body back."""
    body = environ["wsgi.input"].read()
    start(
        "200 OK", [("X-Asked", f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"), ("X-Host", environ["HTTP_HOST"])]
    )
    return [body]


# ---- the client and the server --------------------------------------------------------------------------------------


def test_requests(run: Any, tls: Any) -> None:
    async def main() -> None:
        async with serving(echo, tls=tls[0]) as server, http.Client(context=tls[1]) as client:
            r = await client.get(url(server, "/a?b"))
            assert (r.version, r.status, r.headers["x-asked"], r.body) == ("2", 200, "GET /a", b"")
            assert r.headers["x-host"].startswith("localhost:")
            large = bytes(range(256)) * 10_000  # more than any window

            async def parts() -> AsyncIterator[bytes]:
                for at in range(0, len(large), 100_000):
                    yield large[at : at + 100_000]

            for body in (b"x", large, parts()):
                r = await client.post(url(server), body)
                assert r.body == (b"x" if body == b"x" else large)
            r = await client.request("HEAD", url(server))
            assert (r.status, r.body) == (200, b"")
            assert client._pool.open == 1

    run(main)


def test_many_requests_on_one_connection(run: Any, tls: Any) -> None:
    async def main() -> None:
        async with serving(echo, tls=tls[0]) as server, http.Client(context=tls[1], connections=1) as client:

            async def one(n: int) -> None:
                assert (await client.post(url(server), b"%d" % n)).body == b"%d" % n

            async with gort.Group() as group:
                for n in range(300):
                    group.go(one, n)
            assert client._pool.open == 1

    run(main)


def test_a_view_that_blocks_holds_up_nobody(tls: Any) -> None:
    """On one connection: the other streams are answered while one view waits."""
    waits: Any = gort.Chan()

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        start("200 OK", [])
        if environ["PATH_INFO"] == "/slow":
            gort.wait(waits.recv())
        return [environ["PATH_INFO"].encode()]

    async def main() -> None:
        async with serving(app, tls=tls[0]) as server, http.Client(context=tls[1], connections=1) as client:
            async with gort.Group() as group:
                slow = group.go(client.get, url(server, "/slow"))
                for _ in range(10):
                    assert (await client.get(url(server, "/quick"))).body == b"/quick"
                assert not slow.done
                await waits.send(None)
                assert (await slow).body == b"/slow"

    gort.run(main)


@pytest.mark.parametrize("loop", ["native", "asyncio"])
def test_asgi(loop: str, tls: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        assert (scope["http_version"], scope["scheme"]) == ("2", "https")
        body = b""
        while True:
            message = await receive()
            body += message["body"]
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"b")]})
        for at in range(0, len(body), 50_000):
            await send({"type": "http.response.body", "body": body[at : at + 50_000], "more_body": True})
        await send({"type": "http.response.body"})

    async def main() -> None:
        async with serving(app, tls=tls[0], interface="asgi", loop=loop) as server:
            async with http.Client(context=tls[1]) as client:
                for body in (b"", b"x", b"y" * 500_000):
                    r = await client.post(url(server), body)
                    assert (r.body, r.headers["x-a"]) == (body, "b")

    gort.run(main)


def test_cancelled_requests_leave_the_connection(run: Any, tls: Any) -> None:
    go_on: Any = gort.Chan()

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        start("200 OK", [])
        if environ["PATH_INFO"] == "/wait":
            gort.wait(go_on.recv_ok())
        return [b"x" * 100_000]

    async def main() -> None:
        before = sockets()
        async with serving(app, tls=tls[0]) as server, http.Client(context=tls[1], connections=1) as client:
            async with gort.Group() as group:
                handles = [group.go(client.get, url(server, "/wait")) for _ in range(20)]
                await until(lambda: any(c.mux.streams for cs in list(client._pool._by_origin.values()) for c in cs))
                for h in handles:
                    h.cancel()
            for _ in range(3):
                async with client.stream("GET", url(server)) as r:
                    await r.read()  # and not the rest
            assert len((await client.get(url(server))).body) == 100_000
            assert client._pool.open == 1
            go_on.close()
        await until(lambda: sockets() == before)

    run(main)


def test_the_end_of_the_server_loses_no_request(run: Any, tls: Any) -> None:
    """What has begun is answered after the GOAWAY, and what comes later goes to a new connection, which is refused."""
    began: Any = gort.Chan(1)
    go_on: Any = gort.Chan()

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        start("200 OK", [])
        began.try_send(None)
        gort.wait(go_on.recv_ok())
        return [b"whole"]

    async def main() -> None:
        async with http.Client(context=tls[1]) as client, gort.Group() as group:
            async with serving(app, tls=tls[0]) as server:
                h = group.go(client.get, url(server))
                await began.recv()
                server.stop()
                (c,) = (c for cs in client._pool._by_origin.values() for c in cs)
                await until(lambda: not c.usable)
                go_on.close()
            assert (await h).body == b"whole"

    run(main)


@pytest.mark.parametrize("loop", ["asyncio", "native"])
def test_streams_are_cancelled_when_the_time_for_the_end_is_over(loop: str, tls: Any) -> None:
    began: Any = gort.Chan(1)
    ended: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        try:
            began.try_send(None)
            await gort.Chan().recv()
        finally:
            ended.append(scope["path"])

    async def ask(client: Any, address: str) -> None:
        with pytest.raises(http.RequestError):
            await client.get(address)

    async def main() -> None:
        async with http.Client(context=tls[1]) as client, gort.Group() as group:
            async with serving(app, tls=tls[0], loop=loop, grace_s=0.0) as server:
                group.go(ask, client, url(server))
                await began.recv()
            assert ended == ["/"]

    gort.run(main)


def test_a_stream_that_cannot_be_started(tls: Any, capfd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no thread, or no memory: the connection ends, and is not waited for for ever.  What has begun
    is cancelled."""
    spawn = Connection.spawn_cancellable
    began: Any = gort.Chan(1)
    ended: list[str] = []

    def full(self: Any, fn: Any, stream: Any, *args: Any) -> Any:
        if stream.id > 1:
            raise RuntimeError("there is no room")
        return spawn(self, fn, stream, *args)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            try:
                began.try_send(None)
                await gort.Chan().recv()
            finally:
                ended.append(scope["path"])

    async def main() -> None:
        monkeypatch.setattr(Connection, "spawn_cancellable", full)
        async with serving(app, tls=tls[0], loop="native") as server, hostile(server, tls) as bad:
            bad.h2.send_headers(1, HEADERS, end_stream=True)
            await bad.flush()
            await began.recv()
            for n in (3, 5, 7):
                bad.h2.send_headers(n, HEADERS, end_stream=True)
            await bad.flush()
            await bad.ended()
            await until(lambda: not server._open)

    gort.run(main)
    assert ended == ["/"]
    assert "there is no room" in capfd.readouterr().err


@pytest.mark.parametrize("where", ["start", "inform", "trailers", "late"])
def test_fields_that_cannot_be_sent(where: str, tls: Any, capfd: Any) -> None:
    fields = {"start": (b"x y", b""), "inform": (b"link", b"a\nb"), "trailers": (b":status", b"200")}
    field = fields.get(where, (b"content-length", b"4"))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if where == "inform":
            await send({"type": "http.response.early_hint", "links": [field[1]]})
        headers = [field] if where == "start" else []
        await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": where != "start"})
        await send({"type": "http.response.body", "body": b"body"})
        await send({"type": "http.response.trailers", "headers": [field]})

    async def main() -> None:
        async with serving(app, tls=tls[0], loop="native") as server, http.Client(context=tls[1]) as client:
            if where in ("start", "inform"):
                assert (await client.get(url(server))).status == 500
            else:
                with pytest.raises(http.RequestError, match="reset"):
                    await client.get(url(server))

    gort.run(main)
    assert "ValueError" in capfd.readouterr().err


@pytest.mark.parametrize("status", ["100 Continue", "103 Early Hints", "101 Switching Protocols"])
def test_an_answer_before_the_response_is_no_response(status: str, tls: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """The client would wait for the response that follows it."""

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        start(status if environ["PATH_INFO"] == "/early" else "200 OK", [])
        return [b""]

    async def main() -> None:
        async with serving(app, tls=tls[0]) as server, http.Client(context=tls[1], connections=1) as client:
            assert (await client.get(url(server, "/early"))).status == 500
            assert (await client.get(url(server))).status == 200

    gort.run(main)
    assert "is no status of a response" in capfd.readouterr().err


def test_the_servers_own_answer_knows_nothing_of_a_head_that_was_refused(tls: Any, capfd: Any) -> None:
    """Its body would be cut to the content-length of the other."""

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        start("200 OK", [("Content-Length", "3"), ("Content-Length", "3")])
        return [b"abc"]

    async def main() -> None:
        async with serving(app, tls=tls[0]) as server, http.Client(context=tls[1]) as client:
            r = await client.get(url(server))
            assert (r.status, r.body) == (500, b"500 Internal Server Error\n")

    gort.run(main)
    assert "content-length" in capfd.readouterr().err


def test_limits_of_a_request(tls: Any) -> None:
    async def main() -> None:
        limits = http.Limits(body_bytes=1000, headers=20)
        async with serving(echo, tls=tls[0], limits=limits) as server, http.Client(context=tls[1]) as client:
            assert (await client.post(url(server), b"x" * 1001)).status == 413
            assert (await client.post(url(server), iter([b"x" * 600] * 2))).status == 413
            assert (await client.get(url(server), headers={f"X-{n}": "y" for n in range(30)})).status == 431
            with pytest.raises(http.RequestError):
                await client.get(url(server), headers={f"X-{n}": "y" * 10_000 for n in range(8)})
            assert (await client.post(url(server), b"x" * 1000)).status == 200

    gort.run(main)


def test_a_response_that_is_not_whole_is_an_error(tls: Any, capfd: Any) -> None:
    def app(environ: dict[str, Any], start: Any) -> Any:
        start("200 OK", [("Content-Length", "10")] if environ["PATH_INFO"] == "/short" else [])
        yield b"abc"
        if environ["PATH_INFO"] == "/fails":
            raise ValueError("the view")

    async def main() -> None:
        async with serving(app, tls=tls[0]) as server, http.Client(context=tls[1]) as client:
            for path in ("/short", "/fails"):
                with pytest.raises(http.RequestError, match="reset"):
                    await client.get(url(server, path))
            assert (await client.get(url(server))).body == b"abc"

    gort.run(main)
    assert "the view" in capfd.readouterr().err


def test_the_limits_of_the_phases(tls: Any) -> None:
    waits: Any = gort.Chan()

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        gort.wait(waits.recv_ok())
        start("200 OK", [])
        return []

    async def main() -> None:
        quick = http.Timeouts(read_s=0.05, write_s=0.05)
        async with serving(app, tls=tls[0]) as server, http.Client(context=tls[1], timeouts=quick) as client:
            for phase, body in (("read", None), ("write", b"x" * 10_000_000)):
                with pytest.raises(http.RequestTimeout) as e:
                    await client.post(url(server), body)
                assert e.value.phase == phase
            assert client._pool.open == 0  # it may be dead
            waits.close()

    gort.run(main)


def test_curl(tls: Any, certificates: dict[str, Path]) -> None:
    curl = shutil.which("curl")
    if curl is None or "HTTP2" not in subprocess.run([curl, "-V"], capture_output=True, text=True).stdout:
        pytest.skip("needs curl with HTTP/2")

    async def main() -> None:
        async with serving(answering(b"x" * 300_000), tls=tls[0]) as server:
            done = await gort.exec.output(
                *(
                    curl,
                    "-sS",
                    "--http2",
                    "--cacert",
                    str(certificates["localhost"]),
                    "-w",
                    "%{http_version} %{size_download}\\n",
                ),
                *("-o", "/dev/null", url(server), "-o", "/dev/null", url(server)),
                text=True,
            )
            assert done.split() == ["2", "300000"] * 2

    gort.run(main)


# ---- a server that says what a test wants ---------------------------------------------------------------------------


@asynccontextmanager
async def frames(tls: Any, *said: Frame, then: str = "wait") -> AsyncIterator[str]:
    """A server that answers a connection's first request with these frames, as they are, and then waits or closes."""

    async def handle(conn: Any) -> None:
        peer = H2Connection(H2Configuration(client_side=False))
        peer.initiate_connection()
        await conn.write(peer.data_to_send())
        asked = False
        while data := await conn.read():
            asked = asked or any(type(e).__name__ == "RequestReceived" for e in peer.receive_data(data))
            await conn.write(
                peer.data_to_send() + b"".join(f.serialize() for f in said) if asked else peer.data_to_send()
            )
            if asked and then == "close":
                return
            if asked:
                said_once.clear()
                while await conn.read():
                    pass

    said_once: list[Frame] = list(said)
    async with scripted(handle, tls[0]) as at:
        yield at


def block(*pairs: tuple[str, str]) -> bytes:
    from hpack import Encoder

    return bytes(Encoder().encode(list(pairs)))


OK = block((":status", "200"))


@pytest.mark.parametrize(
    ("said", "then"),
    [
        ([GoAwayFrame(0, last_stream_id=0, error_code=2)], "close"),
        ([RstStreamFrame(1, error_code=2)], "wait"),
        ([HeadersFrame(1, OK, flags=["END_HEADERS"]), RstStreamFrame(1, error_code=2)], "wait"),
        ([HeadersFrame(1, OK, flags=["END_HEADERS"]), DataFrame(1, b"abc")], "close"),
        ([HeadersFrame(1, b"\xff\xff\xff", flags=["END_HEADERS"])], "wait"),
        ([HeadersFrame(1, block((":status", "abc")), flags=["END_HEADERS"])], "close"),
        ([HeadersFrame(1, block(("x", "y")), flags=["END_HEADERS"])], "wait"),
        ([DataFrame(1, b"abc")], "wait"),
        ([ContinuationFrame(1, OK)], "wait"),
        ([HeadersFrame(1, block((":status", "103")), flags=["END_HEADERS"])] * 30, "wait"),
        ([WindowUpdateFrame(0, window_increment=2**31 - 1)], "wait"),
        ([HeadersFrame(1, block((":status", "200"), ("content-length", "2")), flags=["END_HEADERS"]),
          DataFrame(1, b"abc", flags=["END_STREAM"])], "wait"),
        ([PingFrame(0, b"12345678")] * 3000, "wait"),
    ],
)  # fmt: skip
def test_a_server_that_breaks_the_protocol(said: list[Frame], then: str, tls: Any) -> None:
    async def main() -> None:
        async with frames(tls, *said, then=then) as at:
            async with http.Client(context=tls[1]) as client:
                with pytest.raises(http.RequestError):
                    await client.post(at)

    gort.run(main)


# ---- hostile clients ------------------------------------------------------------------------------------------------


class Hostile:
    """A connection of frames."""

    def __init__(self, conn: Any) -> None:
        self.conn = conn
        self.h2 = H2Connection(H2Configuration(client_side=True))
        self.h2.initiate_connection()

    async def flush(self) -> None:
        await self.conn.write(self.h2.data_to_send())

    async def ended(self) -> int:
        """Reads until the server ends the connection; gives the code of its GOAWAY, -1 without one."""
        code = -1
        try:
            while data := await self.conn.read():
                for event in self.h2.receive_data(data):
                    if isinstance(event, ConnectionTerminated):
                        code = int(event.error_code or 0)
        except OSError:
            pass
        return code


@asynccontextmanager
async def hostile(server: Any, tls: Any) -> AsyncIterator[Hostile]:
    conn = await net.dial_tls("tcp", server.address, server_name="localhost", context=tls[1])
    try:
        yield Hostile(conn)
    finally:
        conn.close()


def request(stream: int, end: bool = True) -> bytes:
    flags = ["END_HEADERS", "END_STREAM"] if end else ["END_HEADERS"]
    return HeadersFrame(stream, block(*HEADERS), flags=flags).serialize()


FLOODS = {
    "rapid reset": b"".join(request(n) + RstStreamFrame(n, error_code=8).serialize() for n in range(1, 6001, 2)),
    "pings": PingFrame(0, b"12345678").serialize() * 3000,
    "settings": SettingsFrame(0, settings={3: 100}).serialize() * 3000,
    "priorities": PriorityFrame(1, depends_on=0, stream_weight=1).serialize() * 3000,
    "empty data": request(1, False) + DataFrame(1).serialize() * 3000,
    "continuations": HeadersFrame(1, block(*HEADERS), flags=["END_STREAM"]).serialize()
    + ContinuationFrame(1, b"").serialize() * 3000,
    "header list": HeadersFrame(1, block(*HEADERS, *[("x", "y" * 4000)]), flags=["END_STREAM"]).serialize()
    + b"".join(ContinuationFrame(1, block(("x", "y" * 4000)) * 4).serialize() for _ in range(8))
    + ContinuationFrame(1, b"", flags=["END_HEADERS"]).serialize(),
    "too many streams": b"".join(request(n, False) for n in range(1, 401, 2)),
    "data without a stream": DataFrame(1, b"x").serialize(),
    "a stream of the server": request(2),
    "no preface": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_client_that_is_sent_away(kind: str, tls: Any, capfd: Any) -> None:
    """It is sent away, and others on the same server are answered all the while; nothing is said on standard error."""

    async def main() -> None:
        app = echo if kind == "empty data" else answering(b"")
        async with serving(app, tls=tls[0]) as server, http.Client(context=tls[1]) as other:
            async with hostile(server, tls) as bad, gort.Group() as group:
                h = group.go(bad.ended)
                try:
                    if kind == "no preface":
                        await bad.conn.write(FLOODS[kind])
                    else:
                        await bad.conn.write(bad.h2.data_to_send() + FLOODS[kind])
                except OSError:
                    pass  # it was sent away before the end
                assert (await other.get(url(server))).status == 200
                await h
            assert (await other.get(url(server))).status == 200
            await until(lambda: len(server._open) == 1)

    gort.run(main)
    assert capfd.readouterr().err == ""


def test_a_client_that_takes_nothing(tls: Any) -> None:
    """Its windows are full: the response waits in the view, not in memory, and ends after write_s."""

    async def main() -> None:
        limits = http.Limits(write_s=0.2)
        async with serving(answering(b"x" * 10_000_000), tls=tls[0], limits=limits) as server:
            async with hostile(server, tls) as bad:
                bad.h2.send_headers(1, HEADERS, end_stream=True)
                await bad.flush()
                got, reset = 0, False
                while not reset:
                    for event in bad.h2.receive_data(await bad.conn.read()):
                        got += len(event.data) if isinstance(event, DataReceived) else 0
                        reset = reset or isinstance(event, StreamReset)
                assert got == 65535

    gort.run(main)


def test_a_body_that_nobody_reads_stops_its_sender(tls: Any) -> None:
    waits: Any = gort.Chan()

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        gort.wait(waits.recv_ok())
        start("200 OK", [])
        return [b"done"]

    async def main() -> None:
        async with serving(app, tls=tls[0]) as server, hostile(server, tls) as bad:
            bad.h2.send_headers(1, [(":method", "POST"), *HEADERS[1:]])
            await bad.flush()
            sent = 0
            bad.h2.receive_data(await bad.conn.read())
            while window := min(bad.h2.local_flow_control_window(1), 16384):
                bad.h2.send_data(1, b"x" * window)
                sent += window
                await bad.flush()
            assert sent <= 1 << 20
            waits.close()  # the view answers, and reads nothing
            seen: list[type] = []
            while StreamEnded not in seen:
                seen += [type(e) for e in bad.h2.receive_data(await bad.conn.read())]
            assert ResponseReceived in seen

    gort.run(main)


def test_an_idle_connection_ends(tls: Any) -> None:
    async def main() -> None:
        def hurries(environ: dict[str, Any], start: Any) -> Any:
            server.limits = http.Limits(idle_s=0.1)  # not before: a busy machine may be late with the request
            return answering()(environ, start)

        async with serving(hurries, tls=tls[0]) as server, hostile(server, tls) as bad:
            bad.h2.send_headers(1, HEADERS, end_stream=True)
            await bad.flush()
            async with gort.timeout(PATIENCE_S):
                await bad.ended()

    gort.run(main)
