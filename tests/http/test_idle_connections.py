"""What a connection keeps between two requests: no parser, where it may be another connection's next, or after a while.

A parser that other connections use must be as new: what one client has sent may never change what is read of another's
request.  So whatever it was used for before, each request is taken apart as by a new one."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import Any

import pytest
from servekit import client, get, serving

import gort
from gort.http import Limits, h1
from support import until

httptools = pytest.importorskip("httptools")
from gort.http.llhttp import LlhttpParser  # noqa: E402  (it imports httptools)

Run = Callable[..., Any]
LIMITS = Limits()
SHARED = getattr(sys, "_is_gil_enabled", lambda: True)()  # without the GIL no parser is shared

# What leaves a parser as it was, each as one read.
CLEAN = {
    "GET": get("/"),
    "a long head": get("/" + "p" * 900, *(f"X-{i}: {'v' * 50}" for i in range(40))),
    "HEAD": get("/", method="HEAD"),
    "another method": get("/", method="DELETE"),
    "keep-alive": get("/", "Connection: keep-alive"),
    "an absolute target": b"GET http://host/path HTTP/1.1\r\nHost: other\r\n\r\n",
    "spaces around a value": b"GET / HTTP/1.1\r\nHost:   x  \r\nA:\t b \t\r\n\r\n",
}
# What does not: each ends the sharing of its parser for good.
UNCLEAN = {
    "two at once": get("/") * 2,
    "one and a half": get("/") + b"GET",
    "half a request": b"GET / HTTP/1.1\r\nHost",
    "a line end behind it": get("/") + b"\r\n",
    "half a line end behind it": get("/") + b"\r",
    "line ends before it": b"\r\n\r\n" + get("/"),
    "a line end alone": b"\r\n",
    "a body": get("/", method="POST", body=b"abc"),
    "an empty body": get("/", "Content-Length: 0", method="POST"),
    "chunks": get("/", "Transfer-Encoding: chunked", method="POST") + b"3\r\nabc\r\n0\r\n\r\n",
    "chunks to come": get("/", "Transfer-Encoding: chunked", method="POST"),
    "a body to come": get("/", "Content-Length: 4", method="POST"),
    "it expects": get("/", "Expect: 100-continue", "Content-Length: 0", method="POST"),
    "close": get("/", "Connection: close"),
    "close and keep-alive": get("/", "Connection: close, keep-alive"),
    "keep-alive in capitals": get("/", "Connection: Keep-Alive"),
    "a proxy's close": get("/", "Proxy-Connection: close"),
    "an upgrade": get("/", "Connection: Upgrade", "Upgrade: websocket"),
    "an upgrade to nothing": get("/", "Connection: Upgrade", "Upgrade: h2c"),
    "an upgrade that is none": get("/", "Upgrade: h2c"),
    "HTTP/1.0": b"GET / HTTP/1.0\r\n\r\n",
    "HTTP/1.0 that stays": b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "no request": b"nonsense\r\n\r\n",
    "bare line ends": b"GET / HTTP/1.1\nHost: x\n\n",
    "CONNECT": b"CONNECT host:1 HTTP/1.1\r\nHost: host:1\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a byte that is none": b"\xff",
}


def shown(parser: Any) -> Any:
    """All that a parser says."""
    requests = [
        (r.method, r.target, r.headers, r.version, r.keep_alive, r.body, r.complete, r.length, r.expects, r.upgrade)
        for r in parser.queue
    ]
    parser.queue.clear()
    failed = parser.failed
    return requests, parser.partial, None if failed is None else (failed.status, str(failed)), parser.rest()


def fed(parser: Any, *parts: bytes) -> Any:
    """The same after each part."""
    found = []
    for part in parts:
        parser.feed(part)
        found.append(shown(parser))
    return found


@pytest.mark.parametrize("name", CLEAN)
def test_a_whole_request_without_a_body_leaves_the_parser_clean(name: str) -> None:
    parser = LlhttpParser(LIMITS)
    for _ in range(3):
        parser.feed(CLEAN[name])
        assert len(parser.queue) == 1
        assert parser.queue[0].complete
        assert parser.queue[0].keep_alive
        parser.queue.clear()
        assert parser.clean
    parser.close()


@pytest.mark.parametrize("name", UNCLEAN)
def test_all_else_does_not_and_a_clean_request_later_changes_nothing(name: str) -> None:
    for before in ([], [get("/before")]):
        parser = LlhttpParser(LIMITS)
        for data in (*before, UNCLEAN[name], get("/"), get("/")):
            parser.feed(data)
            parser.queue.clear()
            assert parser.clean is (data in before)
        parser.close()


@pytest.mark.parametrize("part", [1, 7, 16, -1])
def test_a_head_in_two_reads_does_not(part: int) -> None:
    parser = LlhttpParser(LIMITS)
    data = get("/path", "A: b")
    for piece in (data[:part], data[part:]):
        parser.feed(piece)
        assert not parser.clean
    assert len(parser.queue) == 1
    parser.close()


def test_a_parser_that_is_clean_reads_as_a_new_one() -> None:
    """After each clean request, and after many, each second client's bytes: in one read, in two, byte by byte."""
    draw = random.Random(19)
    firsts = [[data] for data in CLEAN.values()] + [draw.choices(list(CLEAN.values()), k=20) for _ in range(2)]
    for data in (*CLEAN.values(), *UNCLEAN.values()):
        at = draw.randrange(len(data))
        cuts = [[data], [data[:at], data[at:]]]
        if len(data) < 100:
            cuts.append([data[i : i + 1] for i in range(len(data))])
        for parts in cuts:
            new = LlhttpParser(LIMITS)
            expected = fed(new, *parts, get("/after"))
            new.close()
            for before in firsts:
                used = LlhttpParser(LIMITS)
                fed(used, *before)
                assert used.clean
                assert fed(used, *parts, get("/after")) == expected, (before, parts)
                used.close()


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("Connection: keep-alive",),
        ("Connection: Keep-Alive",),
        ("Connection: close",),
        ("Connection: CLOSE",),
        ("Connection: close, keep-alive",),
        ("Connection: keep-alive, close",),
        ("Connection: keep-alive", "Connection: close"),
        ("Connection: close", "Connection: keep-alive"),
        ("Connection: x",),
        ("Connection:",),
        ("connection:\tclose ",),
        ("Proxy-Connection: close",),
        ("Proxy-Connection: keep-alive",),
        ("Proxy-Connection: keep-alive", "Connection: close"),
        ("Keep-Alive: 0",),
        ("Connections: close",),
    ],
)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_whether_a_connection_stays_is_what_llhttp_says(version: str, lines: tuple[str, ...]) -> None:
    data = b"".join(b"%s\r\n" % line.encode() for line in (f"GET / HTTP/{version}", "Host: x", *lines, ""))
    said: list[bool] = []

    class Says:
        def on_headers_complete(self) -> None:
            said.append(theirs.should_keep_alive())

    theirs = httptools.HttpRequestParser(Says())
    theirs.feed_data(data)
    parser = LlhttpParser(LIMITS)
    parser.feed(data)
    assert [r.keep_alive for r in parser.queue] == said
    parser.close()


# ---- the server ------------------------------------------------------------------------------------------------------


def told(environ: dict[str, Any], start: Any) -> list[bytes]:
    """Says what was asked, by whom, and what was sent."""
    body = environ["wsgi.input"].read()
    start("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['PATH_INFO']} {environ.get('HTTP_WHO', '')} ".encode() + body]


def lines_of(server: Any) -> list[Any]:
    """The server's connections of HTTP/1.1."""
    return [c.protocol for c in server._open if c.protocol is not None]


@pytest.mark.skipif(not SHARED, reason="no parser is shared without the GIL")
def test_idle_connections_keep_no_parser(run: Run) -> None:
    async def main() -> None:
        async with serving(told, parser="httptools") as server, gort.Group() as group:
            done = gort.Chan()
            asked = gort.Chan()

            async def one(i: int) -> None:
                async with client(server) as c:
                    for j in range(3):
                        _, _, body = await c.ask(get(f"/{i}/{j}", f"Who: {i}"))
                        assert body == f"/{i}/{j} {i} ".encode()
                    await asked.send(None)
                    await done.recv_ok()
                    # Each may now do what ends the sharing of its parser; the others do not see it.
                    data = b"x" * i
                    _, _, body = await c.ask(get(f"/{i}", f"Who: {i}", method="POST", body=data), "POST")
                    assert body == f"/{i} {i} ".encode() + data
                    _, _, body = await c.ask(get(f"/{i}", f"Who: {i}"))
                    assert body == f"/{i} {i} ".encode()

            for i in range(1, 41):
                group.go(one, i)
            for _ in range(40):
                await asked.recv()
            await until(lambda: all(line.idle for line in lines_of(server)))
            assert len(lines_of(server)) == 40
            assert all(line.parser is None for line in lines_of(server))
            assert 1 <= len(server.parsers) <= 40
            done.close()

    run(main)


def test_a_parser_that_is_not_clean_is_let_go_after_a_while(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h1, "SLEEPY_S", 0.02)
    monkeypatch.setattr(h1, "SLACK_S", 0.01)

    async def main() -> None:
        async with serving(told, parser="httptools") as server, client(server) as c:
            for i in range(3):
                data = b"x" * (i + 1)
                assert (await c.ask(get("/", method="POST", body=data), "POST"))[2] == b"/  " + data
                [line] = lines_of(server)
                await until(lambda line=line: line.asleep)
                assert line.parser is None
                assert line.idle

    run(main)


@pytest.mark.parametrize("idle_s", [0.01, 0.1])
@pytest.mark.parametrize("body", [b"", b"abc"])
def test_a_connection_that_sleeps_ends_as_one_that_does_not(
    run: Run, monkeypatch: pytest.MonkeyPatch, idle_s: float, body: bytes
) -> None:
    monkeypatch.setattr(h1, "SLEEPY_S", 0.02)
    monkeypatch.setattr(h1, "SLACK_S", 0.0)  # each read has its own deadline

    def hurries(environ: dict[str, Any], start: Any) -> list[bytes]:
        servers[0].limits = Limits(idle_s=idle_s)  # for what comes after this response: the client may be late with it
        return told(environ, start)

    servers: list[Any] = []

    async def main() -> None:
        async with serving(hurries, parser="httptools") as server, client(server) as c:
            servers.append(server)
            assert (await c.ask(get("/", method="POST", body=body), "POST"))[0] == 200
            assert await c.ended()

    run(main)


def test_the_graceful_end_of_a_connection_that_sleeps(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes within linger_s is still answered."""
    monkeypatch.setattr(h1, "SLEEPY_S", 0.02)
    monkeypatch.setattr(h1, "SLACK_S", 0.01)

    async def main() -> None:
        async with serving(told, parser="httptools", linger_s=30.0) as server, client(server) as c:
            await c.ask(get("/", method="POST", body=b"a"), "POST")
            [line] = lines_of(server)
            await until(lambda: line.asleep)
            server.stop()
            status, headers, _ = await c.ask(get("/last"))
            assert (status, headers["connection"]) == (200, "close")
            assert await c.ended()

    run(main)
