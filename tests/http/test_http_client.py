"""gort.http's client over HTTP/1.1: requests, bodies both ways, kept connections, redirects, what goes wrong."""

from __future__ import annotations

import gc
import io
import pickle
import random
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from clientkit import Asked, asked, each, reply, scripted

import gort
from gort import context, http
from support import contexts, dose, open_files, until

QUICK = http.Timeouts(pool_s=0.05, connect_s=0.05, write_s=0.05, read_s=0.05)


def echo(request: Asked) -> bytes:
    """Says what was asked."""
    return reply(request.body, "200 OK", f"X-Method: {request.method}", f"X-Target: {request.target}")


# ---- requests and responses -----------------------------------------------------------------------------------------


def test_a_page(run: Any) -> None:
    async def main() -> None:
        async with scripted(
            each(lambda r: reply(b"h\xe4", "200 Fine", "Content-Type: text/plain; charset=latin-1"))
        ) as url:
            r = await http.get(url)
            assert (r.status, r.reason, r.version, r.ok, r.url) == (200, "Fine", "1.1", True, url)
            assert (r.body, r.text) == (b"h\xe4", "h\u00e4")
            assert r.headers["CONTENT-type"] == "text/plain; charset=latin-1"
            assert r.check() is r

    run(main)


def test_what_is_sent() -> None:
    seen: list[Asked] = []

    def answer(request: Asked) -> bytes:
        seen.append(request)
        return reply()

    async def main() -> None:
        async with scripted(each(answer)) as url, http.Client(headers={"X-All": "1"}) as client:
            await client.get(f"{url}/a b".replace(" ", "%20") + "/\u00e4?q=\u00f6&x=%41#part", headers={"X-One": "2"})
            await client.post(url, json={"a": [1, "\u00e4"]})
            await client.post(url, "text")
            await client.request("delete", url.replace("//", "//me:pass%3A@"))
            await client.post(url)

    gort.run(main)
    first, posted, text, deleted, empty = seen
    assert (first.method, first.target) == ("GET", "/a%20b/%C3%A4?q=%C3%B6&x=%41")
    assert first.headers["host"].startswith("127.0.0.1:")
    assert (first.headers["x-all"], first.headers["x-one"]) == ("1", "2")
    assert "content-length" not in first.headers
    assert (posted.body, posted.headers["content-type"]) == ('{"a":[1,"\u00e4"]}'.encode(), "application/json")
    assert text.body == b"text"
    assert (deleted.method, deleted.headers["authorization"]) == ("DELETE", "Basic bWU6cGFzczo=")
    assert empty.headers["content-length"] == "0"


@pytest.mark.once
@pytest.mark.parametrize(
    ("args", "error"),
    [
        (("GET", "ftp://x/"), ValueError),
        (("GET", "/x"), ValueError),
        (("GET", "http:///x"), ValueError),
        (("GET", "http://a b/"), ValueError),
        (("GET", "http://x/\r\nHost: y"), ValueError),
        (("GET", "http://x:99999/"), ValueError),
        (("GET", "http://x\u2028/"), ValueError),
        (("G T", "http://x/"), ValueError),
        (("CONNECT", "http://x/"), ValueError),
        (("GET", b"http://x/"), TypeError),
    ],
)
def test_what_is_no_request(args: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        http.Client().stream(*args)


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"headers": {"A": "b\r\nC: d"}}, ValueError),
        ({"headers": {"A b": "c"}}, ValueError),
        ({"headers": {"A": "\u20ac"}}, ValueError),
        ({"headers": {"A": 1}}, TypeError),
        ({"headers": {"Transfer-Encoding": "chunked"}}, ValueError),
        ({"headers": {"Content-Length": "7"}, "body": b"123"}, ValueError),
        ({"headers": {"Content-Length": "x"}, "body": iter([])}, ValueError),
        ({"body": {"a": 1}}, TypeError),
        ({"body": 7}, TypeError),
        ({"body": b"", "json": 1}, ValueError),
    ],
)
def test_what_no_request_can_have(options: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        http.Client().stream("POST", "http://x/", **options)


def test_answers_before_the_answer_and_head() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"

    def answer(request: Asked) -> bytes:
        if request.method == "HEAD":
            return b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
        return early * 3 + (b"HTTP/1.1 204 No Content\r\n\r\n" if request.target == "/none" else reply())

    async def main() -> None:
        async with scripted(each(answer)) as url, http.Client() as client:
            r = await client.request("HEAD", url)
            assert (r.body, r.headers["content-length"]) == (b"", "10")
            assert (await client.get(url)).body == b"hello"
            assert (await client.get(f"{url}/none")).body == b""
            assert client._pool.open == 1

    gort.run(main)


def test_a_body_in_chunks_with_trailers() -> None:
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n"
    raw += b"5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nX: y\r\n\r\n"

    async def main() -> None:
        async with scripted(each(lambda r: raw)) as url, http.Client() as client:
            r = await client.get(url)
            assert (r.body, r.trailers["x"]) == (b"hello world", "y")
            assert (await client.get(url)).body == b"hello world"
            assert client._pool.open == 1

    gort.run(main)


def test_a_body_up_to_the_end_of_the_connection() -> None:
    async def handle(conn: Any) -> None:
        await asked(conn)
        await conn.write(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 100_000)

    async def main() -> None:
        async with scripted(handle) as url, http.Client() as client:
            for _ in range(2):
                r = await client.get(url)
                assert (len(r.body), r.version) == (100_000, "1.0")
            assert client._pool.open == 0

    gort.run(main)


def test_a_content_encoding_is_left_as_it_is() -> None:
    async def main() -> None:
        async with scripted(each(lambda r: reply(b"\x1f\x8b", "200 OK", "Content-Encoding: gzip"))) as url:
            assert (await http.get(url)).body == b"\x1f\x8b"

    gort.run(main)


# ---- bodies both ways -----------------------------------------------------------------------------------------------


def test_bodies_of_every_kind() -> None:
    async def parts() -> AsyncIterator[bytes]:
        for n in range(10):
            await gort.gosched()
            yield b"%d," % n

    class Chatty(io.BytesIO):
        """A file that gives less than it is asked for."""

        def read(self, n: int | None = -1) -> bytes:
            return super().read(7)

    async def main() -> None:
        async with scripted(each(echo)) as url, http.Client() as client:
            assert (await client.post(url, parts())).body == b"0,1,2,3,4,5,6,7,8,9,"
            assert (await client.post(url, iter([b"a", b"", bytearray(b"b")]))).body == b"ab"
            assert (await client.post(url, Chatty(b"x" * 50))).body == b"x" * 50
            assert (await client.post(url, iter([b"abc"]), headers={"Content-Length": "3"})).body == b"abc"
            large = random.Random(1).randbytes(3_000_000)
            assert (await client.post(url, large)).body == large
            assert client._pool.open == 1

    gort.run(main)


def test_a_body_goes_up_while_another_comes_down(run: Any) -> None:
    """Each part is sent when the one before has come back: neither direction waits for the other's end."""
    back: Any = gort.Chan(1)

    async def handle(conn: Any) -> None:
        await conn.read_until(b"\r\n\r\n")
        await conn.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            line = await conn.read_line()
            data = await conn.read_exactly(int(line, 16) + 2)
            await conn.write(line + data)
            if line == b"0\r\n":
                return

    async def parts() -> AsyncIterator[bytes]:
        for n in range(50):
            yield b"%d" % n
            assert await back.recv() == b"%d" % n

    async def main() -> None:
        async with scripted(handle) as url, http.Client() as client:
            async with client.stream("POST", url, body=parts()) as r:
                async for part in r:
                    await back.send(part)

    run(main)


def test_backpressure() -> None:
    """What the client does not read, the server cannot send; and the other way round."""
    sent = 0

    async def handle(conn: Any) -> None:
        nonlocal sent
        await conn.read_until(b"\r\n\r\n")
        await conn.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            await conn.write(b"x" * 100_000)
            sent += 100_000
            if sent == 100_000:
                conn.set_write_deadline(0.2)

    async def main() -> None:
        async with scripted(handle) as url, http.Client() as client:
            async with client.stream("GET", url) as r:
                await r.read()
                await gort.sleep(0.3)
            assert sent < 30_000_000

    gort.run(main)


def test_a_body_that_fails_fails_the_request(run: Any) -> None:
    def parts() -> Any:
        yield b"a"
        raise KeyError("mine")

    async def main() -> None:
        async with scripted(each(echo)) as url, http.Client() as client:
            with pytest.raises(KeyError, match="mine"):
                await client.post(url, parts())
            with pytest.raises(ValueError, match="not of the 5 bytes"):
                await client.post(url, iter([b"abc"]), headers={"Content-Length": "5"})
            assert client._pool.open == 0
            assert (await client.post(url, b"x")).body == b"x"

    run(main)


def test_an_answer_before_the_end_of_the_request(run: Any) -> None:
    """A server that refuses a body and closes: its answer is given, not the broken pipe."""

    async def handle(conn: Any) -> None:
        await conn.read_until(b"\r\n\r\n")
        await conn.write(reply(b"too large", "413 Content Too Large", "Connection: close"))
        conn.close_write()
        while await conn.read():
            pass

    endless: Any = gort.Chan()

    async def parts() -> AsyncIterator[bytes]:
        yield b"a"
        await endless.recv()

    async def main() -> None:
        async with scripted(handle) as url, http.Client() as client:
            assert (await client.post(url, b"x" * 10_000_000)).status == 413
            assert (await client.post(url, parts())).body == b"too large"
            assert client._pool.open == 0

    run(main)


def test_a_limit_on_the_body() -> None:
    async def main() -> None:
        async with scripted(each(lambda r: reply(b"x" * 100_000))) as url, http.Client(max_body=99_999) as client:
            with pytest.raises(http.ProtocolError, match="more than 99999 bytes"):
                await client.get(url)
            assert client._pool.open == 0

    gort.run(main)


# ---- connections that are kept --------------------------------------------------------------------------------------


def test_a_thousand_requests_over_ten_connections(run: Any) -> None:
    connections: list[Any] = []

    async def handle(conn: Any) -> None:
        connections.append(conn)
        await each(echo)(conn)

    async def main() -> None:
        async with scripted(handle) as url, http.Client(connections=10) as client:

            async def one(n: int) -> None:
                assert (await client.post(url, b"%d" % n)).body == b"%d" % n
                assert client._pool.open <= 10

            async with gort.Group() as group:
                for n in range(1000):
                    group.go(one, n)
            assert client._pool.open == len(connections) == 10

    run(main)


def test_a_connection_that_the_server_has_closed_is_not_used() -> None:
    """Seen before the request; or where the server closes just as it comes, by sending again what may be."""
    served = 0

    async def handle(conn: Any) -> None:
        nonlocal served
        if (request := await asked(conn)) is not None:
            served += 1
            await conn.write(reply(request.method.encode()))
            if request.target == "/late" and await asked(conn) is not None:
                conn.reset()

    async def main() -> None:
        async with scripted(handle) as url, http.Client() as client:
            assert (await client.get(url)).body == b"GET"
            (c,) = client._pool._idle
            await until(lambda: not c.usable, "the server's end has come")
            assert (await client.post(url)).body == b"POST"
            assert (await client.get(f"{url}/late")).status == 200
            assert (await client.get(f"{url}/late")).status == 200  # on the same connection, then again
            assert served == 4
            with pytest.raises(http.RequestError, match=r"without an answer|reset"):
                await client.post(url)  # it might have been served

    gort.run(main)


def test_an_idle_connection_makes_room_for_another_origin() -> None:
    async def main() -> None:
        async with scripted(each(echo)) as one, scripted(each(echo)) as other, http.Client(connections=1) as client:
            for url in (one, other, one):
                await client.get(url)
                assert client._pool.open == 1

    gort.run(main)


def test_idle_connections_are_closed_after_a_while(run1: Any) -> None:
    async def main() -> None:
        async with scripted(each(echo)) as url, http.Client(idle_s=0.0) as client:
            await client.get(url)
            assert client._pool.open == 0

    run1(main)


def test_who_waits_for_a_connection(run: Any) -> None:
    """The limit on the wait, its cancellation, and the end of the client."""
    go_on: Any = gort.Chan()

    async def handle(conn: Any) -> None:
        while await asked(conn) is not None:
            await go_on.recv()
            await conn.write(reply())

    async def main() -> None:
        async with scripted(handle) as url, http.Client(connections=1, timeouts=http.Timeouts(pool_s=None)) as client:
            async with gort.Group() as group:
                first = group.go(client.get, url)
                await until(lambda: client._pool.open == 1 and not client._pool._waiting)
                with pytest.raises(http.RequestTimeout) as e:
                    await client.get(url, timeouts=QUICK)
                assert e.value.phase == "pool"
                waits = group.go(client.get, url)
                second = group.go(client.get, url)
                await until(lambda: len(client._pool._waiting) == 2)
                waits.cancel()
                await until(lambda: len(client._pool._waiting) == 1)
                await go_on.send(None)
                await go_on.send(None)
                assert [(await h).status for h in (first, second)] == [200, 200]
                last = group.go(client.get, url)
                await until(lambda: client._pool.open == 1 and not client._pool._idle)
                refused = group.go(outcome, client, url)
                await until(lambda: len(client._pool._waiting) == 1)
                client.close()
                assert isinstance(await refused, RuntimeError)
                await go_on.send(None)
                assert (await last).status == 200
                assert client._pool.open == 0
                with pytest.raises(RuntimeError, match="closed"):
                    await client.get(url)

    run(main)


async def outcome(client: http.Client, url: str, **options: Any) -> Any:
    """The response, or the exception."""
    try:
        return await client.get(url, **options)
    except Exception as e:
        return e


def test_cancelled_anywhere(run: Any) -> None:
    """Requests that are cancelled at some moment leave no descriptor and no broken connection in the pool."""

    async def handle(conn: Any) -> None:
        while (request := await asked(conn)) is not None:
            data = echo(request)
            for at in range(0, len(data), 20):
                await conn.write(data[at : at + 20])
                await gort.gosched()

    async def main() -> None:
        rng = random.Random(1)
        before = len(open_files())
        async with scripted(handle) as url:
            async with http.Client(connections=3) as client:
                for _ in range(dose(100)):
                    async with gort.Group() as group:
                        for n in range(6):
                            h = group.go(client.post, url, b"%d" % n * 20)
                            group.go(later, rng.randrange(60), h.cancel)
                    assert client._pool.open <= 3
                    assert client._pool.open == len(client._pool._idle)
                assert (await client.post(url, b"x")).body == b"x"
            await until(lambda: len(open_files()) <= before + 3)  # the listener, and the poller's own

    run(main)


async def later(yields: int, call: Any) -> None:
    for _ in range(yields):
        await gort.gosched()
    call()


# ---- contexts and limits of time ------------------------------------------------------------------------------------


def test_a_context_ends_a_request(run: Any) -> None:
    async def handle(conn: Any) -> None:
        request = await asked(conn)
        if request is None:
            return  # on a busy machine the context may end before the request has gone out
        if request.target == "/body":
            await conn.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        await asked(conn)

    async def main() -> None:
        async with scripted(handle) as url, http.Client(connections=1) as client:
            for path in ("/head", "/body"):
                with context.with_timeout(context.background(), 0.05) as ctx:
                    with pytest.raises(context.DeadlineExceeded):
                        await client.get(url + path, ctx=ctx)
                ctx, cancel = context.with_cancel(context.background())
                gort.after_func(0.05, cancel)
                with pytest.raises(context.Canceled):
                    await client.get(url + path, ctx=ctx)
                with pytest.raises(context.Canceled):
                    await client.get(url + path, ctx=ctx)  # over before it begins
                assert client._pool.open == 0
            async with client.stream("GET", f"{url}/body") as r:  # holds the only connection
                assert await r.read() == b"abc"
                with context.with_timeout(context.background(), 0.05) as ctx:
                    with pytest.raises(context.DeadlineExceeded):
                        await client.get(url, ctx=ctx)
            assert client._pool.open == 0

    run(main)


def test_a_context_that_goes_on_disturbs_nothing() -> None:
    async def main() -> None:
        async with scripted(each(echo)) as url, http.Client() as client:
            ctx, cancel = context.with_cancel(context.background())
            for _ in range(3):
                assert (await client.post(url, b"x", ctx=ctx)).body == b"x"
            cancel()
            assert client._pool.open == 1
            assert (await client.post(url, b"x")).body == b"x"

    gort.run(main)


@pytest.mark.parametrize("phase", ["read", "body", "write", "connect"])
def test_the_limits_of_the_phases(phase: str) -> None:
    async def handle(conn: Any) -> None:
        if phase == "write":
            await gort.Chan().recv()
        await asked(conn)
        if phase == "body":
            await conn.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        await asked(conn)

    async def main() -> None:
        tls = phase == "connect"
        # The other limits are not short: a busy machine may be late with any phase.
        quick = http.Timeouts(**{"read_s" if phase == "body" else f"{phase}_s": 0.05})
        async with scripted(handle) as url, http.Client(timeouts=quick) as client:
            with pytest.raises(http.RequestTimeout) as e:
                body = b"x" * 20_000_000 if phase == "write" else None
                await client.post(url.replace("http", "https") if tls else url, body)
            assert e.value.phase == ("read" if phase == "body" else phase)
            assert isinstance(e.value, TimeoutError)
            assert (e.value.method, e.value.url[-6:]) == ("POST", url[-6:])
            assert client._pool.open == 0

    gort.run(main)


def test_a_timeout_around_it() -> None:
    async def handle(conn: Any) -> None:
        await asked(conn)
        await asked(conn)

    async def main() -> None:
        async with scripted(handle) as url, http.Client() as client:
            with pytest.raises(TimeoutError):
                async with gort.timeout(0.05):
                    await client.get(url)
            assert client._pool.open == 0

    gort.run(main)


# ---- redirects ------------------------------------------------------------------------------------------------------


def to(where: str, status: int = 302) -> bytes:
    return reply(b"moved", f"{status} Moved", f"Location: {where}")


def test_redirects() -> None:
    seen: list[Asked] = []

    def answer(request: Asked) -> bytes:
        seen.append(request)
        path, _, query = request.target.partition("?")
        if path.isascii() and path[1:].isdigit():
            return to("../end", int(path[1:]))
        return {
            "/loop": lambda: to("/loop"),
            "/bad": lambda: to("http://["),
            "/ftp": lambda: to("ftp://x/"),
            "/none": lambda: reply(b"", "302 Found"),
            "/far": lambda: to(query),
        }.get(path, lambda: reply(request.method.encode() + request.body))()

    async def main() -> None:
        async with scripted(each(answer)) as url, scripted(each(answer)) as other, http.Client(redirects=3) as client:
            r = await client.get(f"{url}/301")
            assert (r.body, r.url, r.history) == (b"GET", f"{url}/end", (f"{url}/301",))
            for status, body in ((301, b"GET"), (302, b"GET"), (303, b"GET"), (307, b"POSTx"), (308, b"POSTx")):
                r = await client.post(f"{url}/{status}", b"x", headers={"Content-Type": "text/x"})
                assert (r.body, "content-type" in seen[-1].headers) == (body, status > 303)
            assert (await client.request("HEAD", f"{url}/303")).method == "HEAD"
            assert (await client.post(f"{url}/307", iter([b"x"]))).status == 307  # cannot be sent twice
            assert (await client.get(f"{url}/302", redirects=0)).body == b"moved"
            assert (await client.get(f"{url}/none")).status == 302
            with pytest.raises(http.TooManyRedirects, match="more than 3"):
                await client.get(f"{url}/loop")
            for path in ("bad", "ftp"):
                with pytest.raises(http.ProtocolError, match="no URL"):
                    await client.get(f"{url}/{path}")
            secret = {"Authorization": "s", "Cookie": "s", "X-Mine": "m"}
            await client.get(f"{url}/far?{url}/end", headers=secret)
            assert (seen[-1].headers["authorization"], seen[-1].headers["cookie"]) == ("s", "s")
            await client.get(f"{url}/far?{other}/end", headers={**secret, "Host": "a.test"})
            assert "authorization" not in seen[-1].headers
            assert "cookie" not in seen[-1].headers
            assert (seen[-1].headers["x-mine"], seen[-1].headers["host"]) == ("m", other[7:])
            assert client._pool.open == len(client._pool._idle)

    gort.run(main)


# ---- what goes wrong ------------------------------------------------------------------------------------------------


def test_a_server_that_dies_at_each_byte(run1: Any) -> None:
    """Every cut of a response is an error that says so, or what HTTP says is whole; and nothing is left."""
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    cut, reset = 0, False

    async def handle(conn: Any) -> None:
        await asked(conn)
        await conn.write(raw[:cut])
        if reset:
            conn.reset()

    async def main() -> None:
        nonlocal cut, reset
        async with scripted(handle) as url, http.Client() as client:
            for n in range(2 * len(raw)):
                cut, reset = n // 2, n % 2 == 1
                with pytest.raises(http.RequestError, match=r"^GET http://127"):
                    await client.get(url)
                assert client._pool.open == 0

    run1(main)


@pytest.mark.parametrize(
    "raw",
    [
        b"<html>\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 2\xb20 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFFFFF\r\nhello",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 30,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nxxxx",
        b"HTTP/1.1 200 OK\r\nX\0: y\r\n\r\n",
    ],
)
def test_what_is_no_response(raw: bytes, run1: Any) -> None:
    async def handle(conn: Any) -> None:
        await asked(conn)
        await conn.write(raw)
        await asked(conn)

    async def main() -> None:
        async with scripted(handle) as url, http.Client() as client:
            with pytest.raises(http.ProtocolError):
                await client.get(url)
            assert client._pool.open == 0

    run1(main)


def test_two_answers_to_one_request() -> None:
    """What comes after a response belongs to nobody: the connection is not used again."""

    async def main() -> None:
        async with scripted(each(lambda r: reply(b"1") + reply(b"2"))) as url, http.Client() as client:
            for _ in range(3):
                assert (await client.get(url)).body == b"1"

    gort.run(main)


def test_errors_say_which_request() -> None:
    async def main() -> None:
        with pytest.raises(http.RequestError, match=r"GET http://127.0.0.1:1/x: dial tcp .*refused") as e:
            await http.get("http://127.0.0.1:1/x")
        assert isinstance(e.value.__cause__, ConnectionRefusedError)
        assert e.value.errno == e.value.__cause__.errno
        async with scripted(each(lambda r: reply(b"no", "404 Not Found"))) as url:
            r = await http.get(url)
            with pytest.raises(http.StatusError, match="404 Not Found") as status:
                r.check()
            assert status.value.response is r
        async with http.Client() as client:
            stream = client.stream("GET", url)
            with pytest.raises(http.RequestError):
                async with stream:
                    raise AssertionError("there is no server any more")

    gort.run(main)


def test_a_response_is_read_in_its_block() -> None:
    async def main() -> None:
        async with scripted(each(lambda r: reply(b"x" * 1_000_000))) as url, http.Client() as client:
            async with client.stream("GET", url) as r:
                with pytest.raises(RuntimeError, match="not been read"):
                    r.body
            with pytest.raises(RuntimeError, match="in its block"):
                await r.read()
            assert client._pool.open == 0

    gort.run(main)


def test_tls(certificates: dict[str, Path]) -> None:
    server, trusted = contexts(certificates["localhost"])

    async def main() -> None:
        async with scripted(each(echo), server) as url:
            async with http.Client(context=trusted) as client:
                for _ in range(2):
                    assert (await client.post(url, b"x" * 100_000)).body == b"x" * 100_000
                assert client._pool.open == 1
            with pytest.raises(http.RequestError) as e:
                await http.get(url)
            assert isinstance(e.value.__cause__, ssl.SSLCertVerificationError)

    gort.run(main)


def test_a_client_that_is_dropped_leaves_nothing() -> None:
    async def main() -> None:
        async with scripted(each(echo)) as url:
            client: Any = http.Client()
            await client.get(url)
            client.close()
            del client
            gc.collect()

    gort.run(main)


def test_gorts_own_server(run: Any) -> None:
    from servekit import serving

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        start("200 OK", [("Content-Type", "text/plain")])
        return [environ["wsgi.input"].read()]

    async def main() -> None:
        async with serving(app) as server, http.Client() as client:
            for body in (b"", b"x", b"y" * 1_000_000, iter([b"a", b"b"])):
                r = await client.post(f"http://{server.address}/", body)
                assert r.status == 200
            assert r.body == b"ab"

    run(main)


def test_the_address_is_dialled_as_it_is_written() -> None:
    async def main() -> None:
        with pytest.raises(http.RequestError, match=r"GET http://\[::1\]:1/: "):
            await http.get("http://[::1]:1/")
        with pytest.raises(http.RequestError, match=r"nowhere\.invalid") as e:
            await http.get("http://nowhere.invalid/")
        assert e.value.__cause__ is not None

    gort.run(main)


@pytest.mark.once
@pytest.mark.parametrize("kind", ["RequestError", "RequestTimeout", "ProtocolError", "TooManyRedirects", "StatusError"])
def test_errors_come_out_of_a_pickle(kind: str) -> None:
    error = getattr(http, kind)("GET http://x/: why", "GET", "http://x/")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), vars(again)) == (str(error), vars(error))
