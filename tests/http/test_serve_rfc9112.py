"""RFC 9112 as a checklist: what a server must do with HTTP/1.1, a line for each requirement, by both parsers.  "9110"
before a section is RFC 9110's.  Where the RFC lets a server choose, the line says what this one does."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from servekit import client, each_parser, serving

import gort
from gort.http import Limits

pytestmark = [each_parser, pytest.mark.once]
HOST = b"Host: x\r\n"
END = b"\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def ask(line: bytes = b"GET / HTTP/1.1", *fields: bytes, host: bytes = HOST, body: bytes = b"") -> bytes:
    """The bytes of a request."""
    return line + b"\r\n" + host + b"".join(f + b"\r\n" for f in fields) + END + body


def post(*fields: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    """One with a body."""
    return ask(b"POST / HTTP/" + version, *fields, body=body)


TE, CLOSE = b"Transfer-Encoding: chunked", b"Connection: close"

# What is asked (the next request is sent behind it), the statuses of all answers: "200 200" is that both are answered,
# "400" that the connection ends; and what the application has seen of the first, where that matters.
Case = tuple[bytes, str, Callable[[dict[str, Any]], bool] | None]
CASES: dict[str, Case] = {
    "2.2 an empty line before a request is passed over": (END + ask(), "200 200", None),
    "2.2 space before the first header is refused": (b"GET / HTTP/1.1\r\n X: y\r\nHost: x\r\n\r\n", "400", None),
    "2.2 a bare CR is refused": (ask(b"GET / HTTP/1.1", b"X: a\rb"), "400", None),
    "2.2 what is no HTTP is refused": (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", "400", None),
    "2.3 the name of the protocol is in capitals": (ask(b"GET / http/1.1"), "400|505", None),
    "2.3 another major version is not served": (ask(b"GET / HTTP/3.0"), "400|505", None),
    "3 a request line of two words is refused": (ask(b"GET /"), "400|505", None),
    "3 a target with a space is refused": (ask(b"GET /a b HTTP/1.1"), "400", None),
    "3 a target that is too long is 414": (ask(b"GET /" + b"a" * 5000 + b" HTTP/1.1"), "414", None),
    "3.2 no Host is 400": (ask(host=b""), "400", None),
    "3.2 two Hosts are 400": (ask(b"GET / HTTP/1.1", b"Host: x"), "400", None),
    "3.2 a Host that is none is 400": (ask(host=b"Host: a b\r\n"), "400", None),
    "3.2 an empty Host is taken": (ask(host=b"Host:\r\n"), "200 200", None),
    "3.2 HTTP/1.0 needs no Host": (ask(b"GET / HTTP/1.0", host=b""), "200", None),
    "3.2.1 a target is a path": (ask(b"GET nothing HTTP/1.1"), "400", None),
    "3.2.2 an absolute target is taken": (
        ask(b"GET http://y/a?b HTTP/1.1"),
        "200 200",
        lambda e: (e["PATH_INFO"], e["QUERY_STRING"]) == ("/a", "b"),
    ),
    "3.2.2 its host counts, and not Host's": (
        ask(b"GET http://y:81/a HTTP/1.1"),
        "200 200",
        lambda e: e["HTTP_HOST"] == "y:81",
    ),
    "3.2.2 an absolute target without a path": (
        ask(b"GET http://y?q HTTP/1.1"),
        "200 200",
        lambda e: (e["PATH_INFO"], e["QUERY_STRING"], e["HTTP_HOST"]) == ("/", "q", "y"),
    ),
    "3.2.2 user information in it is refused": (ask(b"GET http://u@y/ HTTP/1.1"), "400", None),
    "3.2.3 only CONNECT names an authority": (ask(b"GET y:80 HTTP/1.1"), "400", None),
    "3.2.3 CONNECT is not served": (ask(b"CONNECT y:80 HTTP/1.1"), "400|501", None),
    "3.2.4 OPTIONS * is for the server": (ask(b"OPTIONS * HTTP/1.1"), "200 200", lambda e: e["PATH_INFO"] == "*"),
    "3.2.4 only OPTIONS asks for *": (ask(b"GET * HTTP/1.1"), "400", None),
    "5 a line without a colon is refused": (ask(b"GET / HTTP/1.1", b"nothing"), "400", None),
    "5.1 space before the colon is 400": (ask(b"GET / HTTP/1.1", b"X : y"), "400", None),
    "5.1 space around a value is no part of it": (
        ask(b"GET / HTTP/1.1", b"X-A: \t v w \t"),
        "200 200",
        lambda e: e["HTTP_X_A"] == "v w",
    ),
    "5.2 a folded line is refused": (ask(b"GET / HTTP/1.1", b"X: a\r\n b"), "400", None),
    "6.1 the name of a coding has no case": (post(b"Transfer-Encoding: CHUNKED", body=b"0\r\n\r\n"), "200 200", None),
    "6.1 a coding that is not known is 501": (
        post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
        "400|501",
        None,
    ),
    "6.1 HTTP/1.0 has no codings": (post(TE, body=b"0\r\n\r\n", version=b"1.0"), "400", None),
    "6.2 a length with a sign is refused": (post(b"Content-Length: +3", body=b"abc"), "400", None),
    "6.3 a coding and a length are refused": (post(TE, b"Content-Length: 3", body=b"0\r\n\r\n"), "400", None),
    "6.3 chunked that is not last is 400": (
        post(b"Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n"),
        "400|501",
        None,
    ),
    "6.3 two lengths are refused": (post(b"Content-Length: 3", b"Content-Length: 3", body=b"abc"), "400", None),
    "6.3 a request without a length has no body": (ask(b"POST / HTTP/1.1"), "200 200", lambda e: e["body"] == b""),
    "7.1 a size is hexadecimal, in both cases": (
        post(TE, body=b"a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n"),
        "200 200",
        lambda e: len(e["body"]) == 21,
    ),
    "7.1 zeros before a size": (post(TE, body=b"003\r\nabc\r\n00\r\n\r\n"), "200 200", lambda e: e["body"] == b"abc"),
    "7.1 a size that is none is refused": (post(TE, body=b"x\r\nabc\r\n0\r\n\r\n"), "400", None),
    "7.1 a size that is too large is refused": (post(TE, body=b"1" * 30 + b"\r\n"), "400", None),
    "7.1.1 extensions are passed over": (
        post(TE, body=b'3;a;b=c;d="e f"\r\nabc\r\n0;x\r\n\r\n'),
        "200 200",
        lambda e: e["body"] == b"abc",
    ),
    "7.1.2 trailers do not become headers": (
        post(TE, body=b"0\r\nX-A: b\r\nHost: z\r\n\r\n"),
        "200 200",
        lambda e: "HTTP_X_A" not in e and e["HTTP_HOST"] == "x",
    ),
    "9.3 HTTP/1.1 stays": (ask(), "200 200", None),
    "9.3 HTTP/1.0 ends": (ask(b"GET / HTTP/1.0"), "200", None),
    "9.3 HTTP/1.0 stays where it asks to": (ask(b"GET / HTTP/1.0", b"Connection: Keep-Alive"), "200 200", None),
    "9.6 after close no request is served": (ask(b"GET / HTTP/1.1", CLOSE), "200", None),
    "9.6 close among other words": (ask(b"GET / HTTP/1.1", b"Connection: x, CLOSE ,y"), "200", None),
    "9110 7.8 an upgrade that is not known is passed over": (
        ask(b"GET / HTTP/1.1", b"Connection: Upgrade", b"Upgrade: h2c"),
        "200 200",
        None,
    ),
    "9110 7.8 HTTP/1.0 does not upgrade": (
        ask(b"GET / HTTP/1.0", b"Connection: Upgrade", b"Upgrade: websocket"),
        "200",
        None,
    ),
    "9110 9.3.2 HEAD has no body": (ask(b"HEAD / HTTP/1.1"), "200 200", None),
    "9110 10.1.1 an expectation that is not known is 417": (post(b"Expect: x", b"Content-Length: 0"), "417", None),
    "9110 10.1.1 HTTP/1.0 expects nothing": (
        post(b"Expect: 100-continue", b"Content-Length: 1", body=b"a", version=b"1.0"),
        "200",
        None,
    ),
}


@pytest.mark.parametrize("what", CASES)
def test_what_a_server_must_do(what: str, parser: str) -> None:
    data, wanted, holds = CASES[what]
    seen: list[dict[str, Any]] = []

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        environ["body"] = environ["wsgi.input"].read()
        seen.append(environ)
        start("200 OK", [])
        return [b"body"]

    async def main() -> bytes:
        limits = Limits(head_bytes=4096)
        async with serving(app, parser=parser, limits=limits) as server, client(server) as c:
            await c.conn.write(data + NEXT)
            c.conn.close_write()
            got = b""
            try:
                while part := await c.conn.read():
                    got += part
            except ConnectionError:
                pass
            return got

    got = gort.run(main)
    heads = re.findall(rb"HTTP/1\.1 (\d\d\d) .*?\r\n\r\n", got, re.DOTALL)
    statuses = b" ".join(heads).decode()
    assert re.fullmatch(wanted, statuses), got
    assert got.count(b"\r\ndate: ") == len(heads)  # 9110 6.6.1: each answer has a Date
    if statuses not in ("200 200",):
        assert b"\r\nconnection: close\r\n" in got  # 9.6: who ends the connection says so
    assert len(seen) == statuses.count("200")
    if holds is not None:
        assert holds(seen[0])
    if what.startswith("9110 9.3.2"):
        assert got.count(b"body") == 1


@pytest.mark.parametrize(
    ("what", "status", "version", "banned"),
    [
        ("6.1 no coding in an answer to HTTP/1.0", "200 OK", b"1.0", [b"transfer-encoding"]),
        ("6.1 no coding with 204", "204 No Content", b"1.1", [b"transfer-encoding", b"content-length"]),
        ("6.1 no coding with 304", "304 Not Modified", b"1.1", [b"transfer-encoding"]),
    ],
)
def test_what_a_server_must_not_send(what: str, status: str, version: bytes, banned: list[bytes], parser: str) -> None:
    def app(environ: dict[str, Any], start: Any) -> Any:
        start(status, [("Transfer-Encoding", "chunked"), ("Connection", "keep-alive, x")])
        yield b"" if status[0] == "3" or status[:3] == "204" else b"a"

    async def main() -> bytes:
        async with serving(app, parser=parser) as server, client(server) as c:
            await c.conn.write(ask(b"GET / HTTP/" + version, CLOSE))
            got = b""
            while part := await c.conn.read():
                got += part
            return got

    head, _, body = gort.run(main).partition(b"\r\n\r\n")
    assert not [field for field in banned if field + b":" in head], what
    assert body == (b"a" if status[:3] == "200" else b"")


def test_6_3_a_body_that_is_not_whole_is_never_taken_for_one(parser: str) -> None:
    """The connection ends in the middle: the application's read fails."""
    ends: list[str] = []

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        except ConnectionError:
            ends.append("cut off")
            raise
        ends.append("whole")
        start("200 OK", [])
        return []

    async def main() -> None:
        for data in (
            post(b"Content-Length: 100000", body=b"abc"),
            post(TE, body=b"5\r\nabc"),
            post(TE, body=b"3\r\nabc\r\n"),
        ):
            async with serving(app, parser=parser) as server, client(server) as c:
                await c.conn.write(data)
                c.conn.close_write()
                while await c.conn.read():
                    pass

    gort.run(main)
    assert ends == ["cut off"] * 3
