"""Clients that send, or take, a little at a time, so as to hold a connection for ever: in virtual time, on a network in
memory.  What counts is the time in which the server waits for the client, and the bytes that have moved in it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import h2.connection
import h2.events
import pytest
from servekit import Client, Ws, get
from wsproto.events import Ping

import gort
from gort import net, testing
from gort.http import Limits, Server
from gort.http.pace import Pace, write_all
from support import until

pytestmark = pytest.mark.once  # the time is virtual, and what waits is the same in both cores
HEAD = get("/", "Content-Length: 500", method="POST")
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")  # and empty settings
HEADERS = [(":method", "POST"), (":path", "/"), (":scheme", "https"), (":authority", "x")]


class Listener:
    """A listener of the network in memory; h2: its connections speak HTTP/2."""

    def __init__(self, ln: Any, h2: bool) -> None:
        self.ln, self.h2, self.addr = ln, h2, ln.addr

    async def __anext__(self) -> Any:
        conn = await self.ln.accept()
        if self.h2:
            conn.alpn_protocol, conn.handshake = "h2", _nothing
        return conn

    def close(self) -> None:
        """Closes it."""
        self.ln.close()


async def _nothing() -> None:
    """A handshake."""


@asynccontextmanager
async def connected(app: Any, limits: Limits, h2: bool = False) -> AsyncIterator[Any]:
    """A connection to a server of the application; each way holds 4 KiB."""
    with testing.Network(window=4096):
        ln: Any = await net.listen("tcp", "127.0.0.1:0")
        async with gort.Group() as group:
            group.go(Server(app, loop="native", limits=limits).serve, Listener(ln, h2))
            async with await net.dial("tcp", str(ln.addr)) as conn:
                yield conn
            group.cancel()


def reading(pause_s: float = 0.0) -> Callable[..., Any]:
    """An application that reads the body, and says how long it is."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        n, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            n, more = n + len(message["body"]), message["more_body"]
            await gort.sleep(pause_s)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d" % n})

    return app


def writing(part: int, parts: int) -> Callable[..., Any]:
    """An application whose response has so many parts of so many bytes."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        length = [(b"content-length", b"%d" % (part * parts))]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        for i in range(parts):
            await send({"type": "http.response.body", "body": b"x" * part, "more_body": i + 1 < parts})

    return app


async def taken(conn: Any, size: int, every_s: float) -> tuple[int, float]:
    """Takes `size` bytes at a time, until the server ends the connection: (how many bytes came, after which time)."""
    began, got = time.monotonic(), 0
    try:
        while data := await conn.read(size):
            got += len(data)
            if b"\r\n\r\n" in data:
                got -= data.index(b"\r\n\r\n") + 4
            await gort.sleep(every_s)
    except OSError:
        pass
    return got, time.monotonic() - began


@pytest.mark.parametrize("before", [b"", PREFACE], ids=["nothing", "preface"])
def test_a_connection_of_http2_on_which_nothing_comes(before: bytes) -> None:
    """Neither the client's preface nor, after it, a stream."""

    async def main() -> float:
        async with connected(reading(), Limits(head_s=20.0, idle_s=20.0), h2=True) as conn:
            began = time.monotonic()
            await conn.write(before)
            with suppress(OSError):
                while await conn.read():
                    pass
            return time.monotonic() - began

    assert 20 <= testing.run(main) <= 21


def test_a_websocket_whose_client_says_nothing_is_asked() -> None:
    ends: list[dict[str, Any]] = []

    async def listens(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            ends.append(await receive())

    async def main() -> float:
        async with connected(listens, Limits(ping_s=20.0)) as conn:
            ws = Ws(Client(conn))
            await ws.open()
            began = time.monotonic()
            ping = await ws.next()
            assert isinstance(ping, Ping)
            await ws.send(ping.response())
            assert isinstance(await ws.next(), Ping)  # and no answer this time
            assert await ws.next() is None
            await until(lambda: ends)
            return time.monotonic() - began

    assert 60 <= testing.run(main) <= 61
    assert (ends[0]["type"], ends[0]["code"]) == ("websocket.disconnect", 1006)


@pytest.mark.parametrize("before", [b"", get("/")], ids=["alone", "behind another"])
def test_a_head_of_a_byte_now_and_then(before: bytes) -> None:
    """The limit is for the whole of it."""

    async def main() -> float:
        async with connected(reading(), Limits(head_s=20.0)) as conn, gort.Group() as group:
            client = Client(conn)
            await conn.write(before + b"GET / HTTP/1.1\r\nX: ")
            began = time.monotonic()
            if before:
                assert (await client.answer())[0] == 200

            async def trickle() -> None:
                for _ in range(500):
                    await gort.sleep(5.0)
                    await conn.write(b"x")

            group.go(trickle)
            assert (await client.answer())[0] == 408
            took = time.monotonic() - began
            group.cancel()
        return took

    assert 20 <= testing.run(main) <= 21


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("rate", "status"), [(240, 408), (None, 200)])
def test_a_body_of_a_byte_now_and_then(rate: int | None, status: int, chunked: bool) -> None:
    """No byte comes too late, but all together do."""

    async def main() -> float:
        async with connected(reading(), Limits(rate=rate)) as conn, gort.Group() as group:
            began = time.monotonic()
            await conn.write(get("/", "Transfer-Encoding: chunked", method="POST") if chunked else HEAD)

            async def trickle() -> None:
                for _ in range(500):
                    await gort.sleep(20.0)
                    await conn.write(b"1\r\nx\r\n" if chunked else b"x")
                if chunked:
                    await conn.write(b"0\r\n\r\n")

            group.go(trickle)
            assert (await Client(conn).answer())[0] == status
            took = time.monotonic() - began
            group.cancel()
        return took

    took = testing.run(main)
    assert 30 <= took <= 32 if rate else took >= 10_000


def test_an_application_that_reads_slowly_is_not_the_client_s_fault() -> None:
    async def main() -> None:
        async with connected(reading(100.0), Limits(body_s=1.0)) as conn:
            await conn.write(get(method="POST", body=b"x" * 60_000))
            assert (await Client(conn).answer())[2] == b"60000"

    testing.run(main)


@pytest.mark.parametrize(("part", "parts"), [(1000, 1000), (1_000_000, 1)])
def test_a_response_of_which_a_little_is_taken(part: int, parts: int) -> None:
    """100 bytes in 20 s are too few, in one part as in many; 1,000 bytes a second are not, however long it takes."""

    async def main() -> tuple[Any, Any, Any]:
        results = []
        for size, every_s in ((100, 20.0), (1000, 1.0), (1, 1e6)):
            async with connected(writing(part, parts), Limits()) as conn:
                await conn.write(get())
                results.append(await taken(conn, size, every_s))
        return tuple(results)

    slow, steady, none = testing.run(main)
    assert slow[0] < 10_000
    assert steady[0] == 1_000_000
    assert steady[1] > 900
    assert none[0] < 10_000


def test_a_client_that_takes_a_little_is_given_up_in_time() -> None:
    """The server does not wait longer than write_s twice."""

    async def main() -> float:
        ended: gort.Chan[float] = gort.Chan(1)
        app = writing(1000, 1000)

        async def timed(scope: Any, receive: Any, send: Any) -> None:
            try:
                await app(scope, receive, send)
            finally:
                if scope["type"] == "http":
                    ended.try_send(time.monotonic())

        async with connected(timed, Limits()) as conn, gort.Group() as group:
            began = time.monotonic()
            await conn.write(get())
            group.go(taken, conn, 10, 20.0)
            took = await ended.recv() - began
            group.cancel()
        return took

    assert 30 <= testing.run(main) <= 90


def test_http2_body_and_response() -> None:
    """The same for a stream: a byte of the body every 20 s, and a window that is opened by a byte every 20 s."""

    async def main() -> None:
        for kind in ("body", "window"):
            app = reading() if kind == "body" else writing(100_000, 1)
            async with connected(app, Limits(), h2=True) as conn, gort.Group() as group:
                c = h2.connection.H2Connection()
                c.initiate_connection()
                c.send_headers(1, HEADERS, end_stream=kind == "window")
                began = time.monotonic()

                async def trickle(c: Any = c, conn: Any = conn, kind: str = kind) -> None:
                    while True:
                        await conn.write(c.data_to_send())
                        await gort.sleep(20.0)
                        if kind == "body":
                            c.send_data(1, b"x")
                        else:
                            c.increment_flow_control_window(1)
                            c.increment_flow_control_window(1, 1)

                h = group.go(trickle)
                said: Any = None
                while said is None:
                    for event in c.receive_data(await conn.read()):
                        if isinstance(event, h2.events.ResponseReceived) and kind == "body":
                            said = dict(event.headers or ())[b":status"]
                        elif isinstance(event, h2.events.StreamReset) and said is None:
                            said = b"reset"
                h.cancel()
                group.cancel()
            assert said == (b"408" if kind == "body" else b"reset")
            # The 64 KiB that go at once give the response 273 s more.
            assert 30 <= time.monotonic() - began <= (62 if kind == "body" else 310)

    testing.run(main)


def test_http2_other_streams_do_not_lengthen_the_wait() -> None:
    """A stream whose window stays shut ends after write_s, although the connection's window is opened again and again."""

    async def main() -> None:
        async with connected(writing(100_000, 1), Limits(rate=None), h2=True) as conn, gort.Group() as group:
            c = h2.connection.H2Connection()
            c.initiate_connection()
            c.send_headers(1, HEADERS, end_stream=True)
            began = time.monotonic()

            async def open_connection() -> None:
                while True:
                    await conn.write(c.data_to_send())
                    await gort.sleep(5.0)
                    c.increment_flow_control_window(100)

            group.go(open_connection)
            while True:
                events = c.receive_data(await conn.read())
                if any(isinstance(e, h2.events.StreamReset) for e in events):
                    break
            group.cancel()
            assert 30 <= time.monotonic() - began <= 32

    testing.run(main)


def deadline(written: int) -> net.DeadlineExceeded:
    """What a write raises."""
    e = net.DeadlineExceeded()
    e.written = written  # type: ignore[attr-defined]
    return e


@pytest.mark.parametrize("tls", [False, True])
def test_pieces_of_a_write(tls: bool) -> None:
    """A write that is cut short goes on where the client has taken something; over TLS it would break the records."""

    class Conn:
        taken = 0
        writes = 0
        late = False

        def set_write_deadline(self, seconds: float | None) -> None:
            assert seconds is not None
            self.late = seconds <= 0

        async def write(self, data: Any) -> None:
            if self.late:
                raise deadline(0)
            self.writes += 1
            n = min(len(data), 65536 if tls else 50_000)
            self.taken += n
            await gort.sleep(10.0)
            if n < len(data):
                raise deadline(n)

    async def main() -> None:
        conn: Any = Conn()
        if tls:
            conn.handshake = None
        await write_all(conn, b"x" * 300_000, Pace(30.0, 240))
        assert (conn.taken, conn.writes) == (300_000, 5 if tls else 6)
        conn.taken = 0
        with pytest.raises(net.DeadlineExceeded):  # so many bytes in 10 s are too few
            await write_all(conn, b"x" * 3_000_000, Pace(30.0, 100_000))
        assert conn.taken < 3_000_000

    testing.run(main)
