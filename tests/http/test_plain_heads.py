"""The request that a parser takes without llhttp (Events.only): what it is, is what llhttp says of the same bytes.

Where llhttp refuses, waits for more, sees a body, or would not be as new afterwards, nothing may be taken."""

from __future__ import annotations

import random
from typing import Any

import pytest
from servekit import get

from gort.http import Limits

httptools = pytest.importorskip("httptools")
from gort.http.llhttp import LlhttpParser  # noqa: E402  (it imports httptools)

LIMITS = Limits(head_bytes=400, headers=8)
BROWSER = get(
    "/a/b?c=d&e=%20f",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64)",
    "Accept: text/html,*/*;q=0.8",
    "Cookie: a=b; c=d",
    "Connection: keep-alive",
)
NOT_TAKEN = {
    "another method": get("/", method="HEAD"),
    "a lower-case method": b"get / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a body": get("/", "Content-Length: 3") + b"abc",
    "an empty body": get("/", "Content-Length: 0"),
    "chunks": get("/", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "it expects": get("/", "Expect: 100-continue"),
    "an upgrade": get("/", "Connection: Upgrade", "Upgrade: websocket"),
    "close": get("/", "Connection: close"),
    "a proxy's close": get("/", "Proxy-Connection: close"),
    "two": get("/") * 2,
    "one and a byte": get("/") + b"G",
    "a part": get("/")[:-1],
    "HTTP/1.0": b"GET / HTTP/1.0\r\nHost: x\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: x\r\n\r\n",
    "two spaces": b"GET /  HTTP/1.1\r\nHost: x\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": get("/", "Host: y"),
    "a bad host": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "an absolute target": b"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "a fragment": get("/#a"),
    "a folded header": b"GET / HTTP/1.1\r\nHost: x\r\n y\r\n\r\n",
    "bare line ends": b"GET / HTTP/1.1\nHost: x\n\n",
    "a space before the colon": b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    "a name that nobody has sent": get("/", "X-Never-Seen-Before: 1"),
    "a tab": b"GET / HTTP/1.1\r\nHost:\tx\r\n\r\n",
    "a space behind a value": b"GET / HTTP/1.1\r\nHost: x \r\n\r\n",
    "an empty value": b"GET / HTTP/1.1\r\nHost: x\r\nAccept: \r\n\r\n",
    "not ASCII": b"GET / HTTP/1.1\r\nHost: x\r\nAccept: \xe4\r\n\r\n",
    "a long head": get("/", "Accept: " + "a" * 400),
    "a long target": get("/" + "a" * 400),
    "many headers": get("/", *["Accept: a"] * 8),
    "nothing": b"",
}


def made() -> LlhttpParser:
    """A parser; llhttp has taken the names of BROWSER's headers once."""
    first = LlhttpParser(Limits())
    first.feed(BROWSER)
    first.feed(get("/", "Expect: x", "Upgrade: x", "Proxy-Connection: x", "Transfer-Encoding: x", "Content-Length: 1"))
    first.close()
    return LlhttpParser(LIMITS)


def shown(request: Any) -> Any:
    """All that there is of a request."""
    return (
        *(request.method, request.target, request.headers, request.version, request.keep_alive, request.body),
        *(request.complete, request.length, request.expects, request.upgrade, request.trailers),
    )


def the_same(parser: LlhttpParser, data: bytes) -> bool:
    """Whether it is taken.  Then llhttp says the same of it."""
    request = parser.only(data)
    assert not parser.queue
    assert parser.clean
    if request is None:
        return False
    other = LlhttpParser(LIMITS)
    other.feed(data)
    assert [shown(r) for r in other.queue] == [shown(request)], data
    assert other.failed is None, data
    other.queue.clear()
    assert other.clean, data
    other.close()
    return True


@pytest.mark.parametrize("data", [get("/"), get("/a?b"), BROWSER, get("/", "Accept:a", "ACCEPT:   a  b")])
def test_a_plain_head_is_taken(data: bytes) -> None:
    parser = made()
    other = LlhttpParser(LIMITS)
    other.feed(data)  # names in other letters
    for _ in range(3):
        assert the_same(parser, data)
    parser.close()
    other.close()


@pytest.mark.parametrize("name", NOT_TAKEN)
def test_all_else_is_not(name: str) -> None:
    parser = made()
    assert parser.only(NOT_TAKEN[name]) is None
    parser.close()


def test_each_byte_in_each_place() -> None:
    """A byte of a head is replaced, by each of the 256; is left out; is there twice."""
    parser = made()
    for data in (get("/a?b", "Accept: a b"), get("/", "Connection: keep-alive")):
        taken = 0
        for i in range(len(data)):
            for c in range(256):
                taken += the_same(parser, data[:i] + bytes([c]) + data[i + 1 :])
            the_same(parser, data[:i] + data[i + 1 :])
            the_same(parser, data[:i] + data[i : i + 1] + data[i:])
        assert taken > len(data)
    parser.close()


def test_heads_put_together_at_random() -> None:
    parser = made()
    draw = random.Random(7)
    words = [b"GET ", b"/", b"a", b"?", b" ", b"HTTP/1.1", b"\r\n", b"\r", b"\n", b":", b": ", b"Host", b"x", b"Accept"]
    words += [b"Host: x\r\n", b"GET / HTTP/1.1\r\n", b"\r\n\r\n", b"Connection", b"keep-alive", b"close", b"\t", b"\0"]
    words += [b"Content-Length: 0\r\n", b"Transfer-Encoding", b"chunked", b"\xff", b"%", b"#", b"Accept: b\r\n"]
    taken = 0
    for _ in range(20_000):
        middle = b"".join(draw.choices(words, k=draw.randrange(6)))
        taken += the_same(parser, b"GET / HTTP/1.1\r\nHost: x\r\n" + middle + draw.choice((b"\r\n", b"\r\n\r\n")))
    assert taken > 100
    parser.close()


def test_a_parser_that_is_not_clean_takes_nothing() -> None:
    for before in (get("/")[:5], get("/", "Connection: close"), b"\r\n", b"nonsense\r\n\r\n", get("/") * 2):
        parser = made()
        parser.feed(before)
        parser.queue.clear()
        assert parser.only(get("/")) is None
        parser.close()
    parser = made()
    parser.feed(get("/"))
    assert parser.only(get("/")) is None, "the one before it waits"
    parser.queue.clear()
    assert parser.only(get("/")) is not None
    assert parser.only(bytearray(get("/"))) is None  # type: ignore[arg-type]
    parser.close()
