"""The server's HTTP/1.1, by requests as bytes: framing, keep-alive, pipelining, limits, and what is refused.  With each
parser that is there."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from servekit import Client, answering, client, each_parser, fetch, get, serving

import gort
from gort.http import Limits, h1
from gort.http.server import parser_of
from support import freed, until

Run = Callable[..., Any]
pytestmark = each_parser


def echo(environ: dict[str, Any], start: Any) -> list[bytes]:
    """Says what was asked and sends the body back."""
    body = environ["wsgi.input"].read()
    start("200 OK", [("X-Asked", f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}?{environ['QUERY_STRING']}")])
    return [body]


async def rest_of(c: Client) -> bytes:
    """All that comes to the end of the connection."""
    data = b""
    while part := await c.conn.read():
        data += part
    return data


def streaming(environ: dict[str, Any], start: Any) -> Any:
    """A body in parts."""
    start("200 OK", [("Content-Type", "text/plain")])
    for i in range(3):
        yield b"part %d," % i


def test_a_connection_stays_for_more_requests(run: Run, parser: str) -> None:
    async def main() -> None:
        async with serving(echo, parser=parser) as server, client(server) as c:
            for i in range(3):
                status, headers, body = await c.ask(get(f"/a%20b/{i}?q=1", method="POST", body=b"x" * i), "POST")
                assert (status, headers["x-asked"], body) == (200, f"POST /a b/{i}?q=1", b"x" * i)
                assert headers["content-length"] == str(i)
                assert "date" in headers
                assert "connection" not in headers
            status, headers, _ = await c.ask(get("/", "Connection: close"))
            assert (status, headers["connection"]) == (200, "close")
            assert await c.ended()

    run(main)


def test_requests_that_come_together_are_answered_in_order(run: Run, parser: str) -> None:
    async def main() -> None:
        async with serving(echo, parser=parser) as server, client(server) as c:
            await c.conn.write(b"".join(get(f"/{i}", method="POST", body=b"%d" % i) for i in range(50)))
            for i in range(50):
                assert (await c.answer("POST"))[2] == b"%d" % i

    run(main)


def test_a_request_may_come_in_pieces(run: Run, parser: str) -> None:
    async def main() -> None:
        data = get("/pieces", "X-Y: z", method="POST", body=b"body") * 2
        async with serving(echo, parser=parser) as server, client(server) as c:
            for i in range(len(data)):
                await c.conn.write(data[i : i + 1])
            for _ in range(2):
                status, headers, body = await c.answer("POST")
                assert (status, headers["x-asked"], body) == (200, "POST /pieces?", b"body")

    run(main)


def test_chunks_and_trailers_of_a_request(run: Run, parser: str) -> None:
    async def main() -> None:
        head = get("/", "Transfer-Encoding: chunked", method="POST")
        chunks = b'3\r\nabc\r\n4;name="value"\r\ndefg\r\n0\r\nX-Sum: 7\r\n\r\n'
        async with serving(echo, parser=parser) as server, client(server) as c:
            for _ in range(2):  # the trailers have not become headers of the next one
                assert (await c.ask(head + chunks, "POST"))[2] == b"abcdefg"
            assert (await c.ask(get("/x")))[0] == 200

    run(main)


def test_a_response_without_a_length_is_chunked(run: Run, parser: str) -> None:
    async def main() -> None:
        async with serving(streaming, parser=parser) as server, client(server) as c:
            for _ in range(2):
                status, headers, body = await c.ask(get())
                assert (status, body) == (200, b"part 0,part 1,part 2,")
                assert headers["transfer-encoding"] == "chunked"
                assert "content-length" not in headers

    run(main)


def test_http_1_0(run: Run, parser: str) -> None:
    """No chunks, no keep-alive where it was not asked for, and no Host needed."""

    async def main() -> None:
        async with serving(streaming, parser=parser) as server, client(server) as c:
            await c.conn.write(b"GET / HTTP/1.0\r\n\r\n")
            head, _, body = (await rest_of(c)).partition(b"\r\n\r\n")
            assert b"transfer-encoding" not in head
            assert b"connection: close" in head
            assert body == b"part 0,part 1,part 2,"
        async with serving(answering(), parser=parser) as server, client(server) as c:
            for _ in range(2):
                status, headers, _ = await c.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                assert (status, headers["connection"]) == (200, "keep-alive")

    run(main)


def test_head_has_the_headers_of_get_and_no_body(run: Run, parser: str) -> None:
    async def main() -> None:
        for app in (answering(), streaming):
            async with serving(app, parser=parser) as server, client(server) as c:
                for _ in range(2):
                    status, headers, body = await c.ask(get(method="HEAD"), "HEAD")
                    assert (status, body) == (200, b"")
                    assert headers.get("content-length", "5") == "5"

    run(main)


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_a_status_without_a_body(run: Run, parser: str, status: str) -> None:
    async def main() -> None:
        async with serving(answering(b"", status), parser=parser) as server, client(server) as c:
            for _ in range(2):
                number, headers, body = await c.ask(get())
                assert (number, body) == (int(status[:3]), b"")
                assert "content-length" not in headers
                assert "transfer-encoding" not in headers

    run(main)


def test_100_continue_is_sent_when_the_body_is_read(run: Run, parser: str) -> None:
    async def main() -> None:
        head = get("/", "Expect: 100-continue", "Content-Length: 4", method="POST")
        async with serving(echo, parser=parser) as server, client(server) as c:
            await c.conn.write(head)
            assert await c.conn.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert (await c.ask(b"body", "POST"))[2] == b"body"
            assert (await c.ask(get()))[0] == 200
        async with serving(answering(b"no", "403 Forbidden"), parser=parser) as server, client(server) as c:
            status, headers, body = await c.ask(head, "POST")
            assert (status, body, headers["connection"]) == (403, b"no", "close")
            assert await c.ended()  # whether the body comes is not known

    run(main)


def test_a_body_that_nobody_reads(run: Run, parser: str) -> None:
    """A short one is passed over, a long one ends the connection; the client has its response in both cases."""

    async def main() -> None:
        async with serving(answering(), parser=parser) as server:
            async with client(server) as c:
                for n in (10, 100_000):
                    assert (await c.ask(get(method="POST", body=b"x" * n), "POST"))[0] == 200
            async with client(server) as c:
                await c.conn.write(get("/", "Content-Length: 100000000", method="POST"))
                status, headers, _ = await c.answer("POST")
                assert (status, headers["connection"]) == (200, "close")

    run(main)


def test_large_bodies_go_both_ways_with_little_memory(run: Run, parser: str) -> None:
    """The application reads and yields parts; a client that reads nothing stops the application."""
    made = 0

    def back(environ: dict[str, Any], start: Any) -> Any:
        nonlocal made
        start("200 OK", [])
        while part := environ["wsgi.input"].read(65536):
            made += len(part)
            yield part

    size = 30_000_000

    async def main() -> None:
        async def send(c: Client) -> None:
            await c.conn.write(get("/", f"Content-Length: {size}", method="POST"))
            for _ in range(size // 100_000):
                await c.conn.write(b"y" * 100_000)

        async with serving(back, parser=parser) as server, client(server) as c, gort.Group() as group:
            sender = group.go(send, c)
            head = await c.conn.read_until(b"\r\n\r\n")
            assert b"chunked" in head
            before = -1
            while made != before:  # until it makes no more: the buffers of the two sockets are full
                before = made
                await gort.sleep(0.05)
            assert made < size
            assert not sender.done
            got = 0
            while got < size:  # with the frames of the chunks: enough to see that it goes on
                got += len(await c.conn.read())

    run(main)


REFUSED = {
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (get("/", "Host: b"), 400),
    "a host with a space": (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    "no request": (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
    "a space before the colon": (get("/", "X-Y : z"), 400),
    "a folded header": (get("/", "X-Y: z\r\n more"), 400),
    "both lengths": (get("/", "Content-Length: 3", "Transfer-Encoding: chunked", method="POST"), 400),
    "two lengths": (get("/", "Content-Length: 3", "Content-Length: 4", method="POST"), 400),
    "the same length twice": (get("/", "Content-Length: 3", "Content-Length: 3", method="POST"), 400),
    "a list of lengths": (get("/", "Content-Length: 3, 3", method="POST"), 400),
    "a length with a sign": (get("/", "Content-Length: +3", method="POST"), 400),
    "chunked in 1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked is not the last": (get("/", "Transfer-Encoding: chunked, gzip", method="POST"), 400),
    "an unknown coding": (get("/", "Transfer-Encoding: gzip, chunked", method="POST"), 501),
    "a version of the future": (b"GET / HTTP/3.7\r\nHost: x\r\n\r\n", 400),
    "another expectation": (get("/", "Expect: 200-ok", "Content-Length: 3", method="POST"), 417),
    "connect": (b"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n", 501),
    "a large head": (get("/", "X-Y: " + "z" * 70000), 431),
    "many headers": (get("/", *[f"X-{i}: z" for i in range(200)]), 431),
    "a large body": (get("/", "Content-Length: 1001", method="POST"), 413),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(run: Run, parser: str, name: str) -> None:
    """It gets its status, the connection ends, and what stands behind it is no request; those before are answered."""
    data, expected = REFUSED[name]

    async def main() -> None:
        asked = []

        def app(environ: dict[str, Any], start: Any) -> list[bytes]:
            asked.append(environ["PATH_INFO"])
            return answering()(environ, start)

        async with serving(app, parser=parser, limits=Limits(body_bytes=1000)) as server, client(server) as c:
            assert (await c.ask(get("/before")))[0] == 200
            status, headers, _ = await c.ask(data + get("/smuggled"))
            others = {"a version of the future": 505, "chunked is not the last": 501}  # as the parser has it
            assert status in (expected, others.get(name))
            assert headers["connection"] == "close"
            assert await c.ended()
            assert asked == ["/before"]

    run(main)


def test_a_chunked_body_that_is_too_large_or_malformed(run: Run, parser: str) -> None:
    async def main() -> None:
        head = get("/", "Transfer-Encoding: chunked", method="POST")
        async with serving(echo, parser=parser, limits=Limits(body_bytes=1000)) as server:
            for chunks, expected in ((b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n", 413), (b"xyz\r\n", 400)):
                async with client(server) as c:
                    await c.conn.write(head)
                    status, headers, _ = await c.ask(chunks, "POST")
                    assert (status, headers["connection"]) == (expected, "close")
                    assert await c.ended()

    run(main)


def test_times_of_each_phase(run: Run, monkeypatch: pytest.MonkeyPatch, parser: str) -> None:
    """A head and a body that do not come get 408; an idle connection ends without a word; so does one whose client takes
    nothing."""
    monkeypatch.setattr(h1, "SLACK_S", 0.0)  # each read has its own deadline
    asked: list[None] = []

    def large(environ: dict[str, Any], start: Any) -> list[bytes]:
        asked.append(None)
        start("200 OK", [])
        return [b"x" * 50_000_000]

    async def main() -> None:
        # One short limit at a time: a client on a busy machine may be late with what the others are for.
        async with serving(echo, parser=parser, limits=Limits(head_s=0.05)) as server:
            assert (await fetch(server, b"GET / HT"))[0] == 408
        async with serving(echo, parser=parser, limits=Limits(body_s=0.05)) as server:
            assert (await fetch(server, get("/", "Content-Length: 5", method="POST") + b"x"))[0] == 408
        async with serving(echo, parser=parser, limits=Limits(idle_s=0.05)) as server, client(server) as c:
            assert await c.ended()

        def hurries(environ: dict[str, Any], start: Any) -> Any:
            server.limits = Limits(idle_s=0.05)  # for what comes after this response
            return echo(environ, start)

        async with serving(hurries, parser=parser) as server, client(server) as c:
            assert (await c.ask(get()))[0] == 200
            assert await c.ended()
        async with serving(large, parser=parser, limits=Limits(write_s=0.05)) as server, client(server) as c:
            await c.conn.write(get())
            await until(lambda: asked)
            await until(lambda: not server._open)  # it is ended though nothing is read

    run(main)


def test_an_empty_line_before_a_request(run: Run, parser: str) -> None:
    async def main() -> None:
        async with serving(answering(), parser=parser) as server, client(server) as c:
            for _ in range(2):
                assert (await c.ask(b"\r\n" + get()))[0] == 200

    run(main)


def test_an_upgrade_to_what_is_not_known_is_no_upgrade(run: Run, parser: str) -> None:
    async def main() -> None:
        async with serving(echo, parser=parser) as server, client(server) as c:
            upgrade = get("/", "Connection: Upgrade", "Upgrade: h2c", method="POST", body=b"body")
            await c.conn.write(upgrade + get("/next"))
            assert (await c.answer("POST"))[2] == b"body"
            assert (await c.answer())[1]["x-asked"] == "GET /next?"

    run(main)


def test_no_more_connections_and_requests_than_the_limits_say(run: Run, parser: str) -> None:
    gate = threading.Event()

    def slow(environ: dict[str, Any], start: Any) -> list[bytes]:
        gate.wait()
        return answering()(environ, start)

    async def main() -> None:
        async with serving(slow, parser=parser, limits=Limits(requests=2)) as server, gort.Group() as group:
            first = [group.go(fetch, server, get()) for _ in range(2)]
            while server._served < 2:
                await gort.sleep(0.001)
            status, headers, _ = await fetch(server, get())
            assert (status, headers["retry-after"]) == (503, "1")
            gate.set()
            assert [(await f)[0] for f in first] == [200, 200]
        async with serving(answering(), parser=parser, limits=Limits(connections=1)) as server:
            async with client(server) as a, client(server) as b:
                assert (await a.ask(get()))[0] == 200
                await b.conn.write(get())
                async with gort.move_on_after(0.05) as scope:
                    await b.conn.peek(1)
                assert scope.cancelled_caught
                assert len(server._open) == 1
                a.conn.close()
                assert (await b.answer())[0] == 200

    run(main)


def test_a_connection_leaves_nothing_for_the_collector(run: Run, parser: str) -> None:
    """What it was made of goes with it, without a collection."""
    there: list[weakref.ref[Any]] = []

    async def main() -> None:
        async with serving(echo, parser=parser) as server:
            make = server.new_parser

            def noted(limits: Limits) -> Any:
                made = make(limits)
                there.append(weakref.ref(made))
                return made

            server.new_parser = noted
            gc.disable()
            try:
                for _ in range(3):
                    await fetch(server, get(method="POST", body=b"x"), "POST")
                await until(lambda: not server._open)
                await until(lambda: freed(*there))
            finally:
                gc.enable()

    run(main)
    assert len(there) == 3


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
@pytest.mark.parametrize("kind", ["counted", "chunked", "17 digits"])
def test_a_body_that_ends_in_the_middle_is_the_clients_fault(
    run: Run, parser: str, interface: str, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is refused, also to a client that has ended only its own side, and nobody reports the application."""
    begin = {
        "counted": get("/", "Content-Length: 100000", method="POST") + b"abc",
        "chunked": get("/", "Transfer-Encoding: chunked", method="POST") + b"5\r\nabc",
        "17 digits": get("/", "Transfer-Encoding: chunked", method="POST") + b"1" * 17,
    }[kind]

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            assert message["more_body"]

    async def main() -> None:
        app: Any = echo if interface == "wsgi" else asgi
        async with serving(app, parser=parser, loop="native") as server:
            async with client(server) as c:
                await c.conn.write(begin)
                c.conn.close_write()
                assert (await c.answer())[0] == 400
            if kind == "17 digits":
                return  # httptools does not wait for the end
            async with client(server) as c:  # one that has gone altogether
                await c.conn.write(begin)
                await until(lambda: any(o.protocol and o.protocol.exchange for o in list(server._open)))
                c.conn.reset()
            await until(lambda: not server._open)

    run(main)
    assert capfd.readouterr().err == ""


def test_an_application_that_was_told_of_the_clients_end_owes_no_response(
    run: Run, parser: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            while (await receive())["type"] != "http.disconnect":
                pass

    async def main() -> None:
        async with serving(app, parser=parser, loop="native") as server, client(server) as c:
            await c.conn.write(get())
            c.conn.close_write()
            assert await c.ended()

    run(main)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("own", ["Connection", "Keep-Alive", "Transfer-Encoding"])
def test_a_header_that_is_left_out_lets_no_line_end_in(
    run: Run, parser: str, own: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        app = answering(b"x", "200 OK", (own, "x"), ("X-A", "a\r\nSet-Cookie: b"))
        async with serving(app, parser=parser) as server:
            status, headers, _ = await fetch(server, get())
            assert (status, headers.get("set-cookie")) == (500, None)

    run(main)
    assert "a line end in it" in capfd.readouterr().err


@pytest.mark.parametrize("cut", [*range(1, 60, 7), 1000])
def test_the_version_of_each_request(parser: str, cut: int) -> None:
    """Also of those that come with others in one read, and of one whose head comes in pieces."""
    requests = [
        b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\nX: HTTP/1.1\r\n\r\n",
        b"\r\nGET /HTTP/1.0 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /c HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"GET /d HTTP/1.1\r\nHost: x\r\n\r\n",
    ]
    for first in range(4):
        made = parser_of(parser)(Limits())
        data = b"".join(requests[first:] + requests[:first])
        for at in range(0, len(data), cut):
            made.feed(data[at : at + cut])
        assert made.failed is None
        wanted = ["1.0", "1.1", "1.0", "1.1"]
        assert [r.version for r in made.queue] == wanted[first:] + wanted[:first]
        made.close()


@pytest.mark.parametrize("head", [b"X: ", b"X", b"X: a\r\nY:", b"X: a\r\n" * 3 + b"Z: "])
def test_a_header_without_an_end_is_refused(run: Run, parser: str, head: bytes) -> None:
    """Also where the parser reports a header only when it is whole."""

    async def main() -> None:
        async with serving(answering(), parser=parser, limits=Limits(head_bytes=4096)) as server, client(server) as c:
            await c.conn.write(get() + b"GET / HTTP/1.1\r\nHost: x\r\n" + head)
            assert (await c.answer())[0] == 200
            more = b" " if head.endswith(b":") else b"a"
            gort.go(trickle, c.conn, more * 2048, 1000)
            assert (await c.answer())[0] == 431
            c.conn.close()

    async def trickle(conn: Any, data: bytes, times: int) -> None:
        try:
            for _ in range(times):
                await conn.write(data)
                await gort.gosched()
        except OSError:
            pass

    run(main)


def test_a_refusal_behind_an_upgrade_says_what_is_wrong(run: Run, parser: str) -> None:
    async def main() -> None:
        async with serving(answering(), parser=parser) as server, client(server) as c:
            upgrade = get("/", "Connection: upgrade", "Upgrade: h2c")
            assert (await c.ask(upgrade + get("/", *[f"X-{i}: z" for i in range(200)])))[0] == 200
            assert (await c.answer())[0] == 431

    run(main)


@pytest.mark.parametrize("status", ["100 Continue", "103 Early Hints", "101 Switching Protocols"])
def test_an_answer_before_the_response_is_no_response(
    run: Run, parser: str, status: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The client would take the next response for this one's."""

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        start(status if environ["PATH_INFO"] == "/early" else "200 OK", [])
        return [b""]

    async def main() -> None:
        async with serving(app, parser=parser) as server, client(server) as c:
            assert (await c.ask(get("/early")))[0] == 500
            assert (await c.ask(get("/")))[0] == 200

    run(main)
    assert "is no status of a response" in capfd.readouterr().err


def test_long_names_and_targets_are_not_kept(run: Run, parser: str) -> None:
    """A client could fill the caches with them."""

    async def main() -> None:
        long = f"X-{parser}-" + "n" * 1000
        async with serving(answering(), parser=parser) as server, client(server) as c:
            assert (await c.ask(get("/" + "t" * 1000, long + ": z")))[0] == 200
            held = [o for o in gc.get_objects() if isinstance(o, dict) and long.lower().encode() in o]
            held += [o for o in gc.get_objects() if isinstance(o, dict) and long.encode() in o]
            assert not held

    run(main)
