"""examples/httpd.py beside RFC 9112 (HTTP/1.1): each MUST that binds an origin server without TLS, one line each.

A row is (section, what is asked, the bytes that a client sends, what must hold of the answers).  The client sends them at
once and ends its side; the answers are all that comes until the server ends its own.  Rows marked SHOULD are no MUST, but
the server does it.  "9110" is RFC 9110, where 9112 refers to it for what a message means.

What does not apply, and why:

| section | what | why not |
|---|---|---|
| 2.2, 5.2, 6.1, 6.2 | what must not be sent: bare CR, folded lines, both lengths | `sound` looks at each answer |
| 2.1 | parsing as octets | no decision depends on a character set; the row with 0xff shows it |
| 3.2.3, 6.1 | CONNECT, and 2xx answers to it | the server is no tunnel: 405 |
| 3.3 | rebuilding the target URI | every host is served from one directory; only the path counts |
| 4, 6.1, 6.2 | answers of 1xx, 204 and 304 with a body or lengths | it sends 100 alone, without headers |
| 6.1 | transfer codings of answers | it sends Content-Length always |
| 6.3 items 2, 8 | answers without a length | the same |
| 7.1 | sending chunks, trailers | the same |
| 7.4, 9.2, 9.3.1, 9.4, 9.5 | TE, matching answers to requests, retries, how many connections | clients |
| 9.7, 9.8 | TLS | `httpd serve` has none; gort.net sends close_notify (test_tls.py) |
| 10, and all of "intermediary", "proxy", "gateway" | forwarding | it forwards nothing |
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from test_net_examples import EXAMPLES, address_in, connect, example, read_all

pytest.importorskip("h11")
sys.path.insert(0, str(EXAMPLES))


@pytest.fixture(scope="module")
def served(tmp_path_factory: Any) -> Iterator[str]:
    """The address of one httpd for all tests of this file."""
    root: Path = tmp_path_factory.mktemp("site")
    (root / "ten").write_bytes(b"0123456789")
    (root / "five").write_bytes(b"abcde")
    (root / "large").write_bytes(os.urandom(1 << 20))
    with example("httpd", "serve", "127.0.0.1:0", str(root)) as (line, process):
        yield address_in(line)
        process.terminate()
        assert process.stderr is not None
        assert process.stderr.read() == ""  # no traceback


@dataclass
class Answer:
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes
    first: bytes

    @property
    def closes(self) -> bool:
        """It says that it is the last."""
        return self.headers.get("connection", "").lower() == "close"


def answers(raw: bytes, *methods: bytes) -> list[Answer]:
    """All responses; to requests with these methods, GET where there are no more."""
    found = []
    left = list(methods)
    while raw:
        head, end, rest = raw.partition(b"\r\n\r\n")
        assert end, f"a response without an end: {raw!r}"
        first, *lines = head.split(b"\r\n")
        pairs = [line.decode("latin-1").partition(":") for line in lines]
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        status = int(first[9:12])
        sound(first, lines, headers, status)
        method = left.pop(0) if left and status >= 200 else b"GET"
        length = 0 if status < 200 or method == b"HEAD" else int(headers["content-length"])
        assert len(rest) >= length
        found.append(Answer(status, headers, rest[:length], first))
        raw = rest[length:]
    return found


def sound(first: bytes, lines: list[bytes], headers: dict[str, str], status: int) -> None:
    """What each response must be, whatever was asked."""
    assert first.startswith(b"HTTP/1.1 ")  # 2.3: no version to which the server is not conformant
    assert first[12:13] == b" "  # 4: the space after the status, even without a reason
    for line in lines:
        assert not line.startswith((b" ", b"\t"))  # 5.2
        assert b"\r" not in line  # 2.2
        assert b"\n" not in line
        name, colon, _ = line.partition(b":")
        assert colon
        assert name == name.strip()  # 5.1
    assert "transfer-encoding" not in headers  # 6.1: it sends lengths
    if status < 200:
        assert "content-length" not in headers  # 9110, 8.6
    else:
        assert headers["content-length"].isdecimal()
        assert "date" in headers  # 9110, 6.6.1


Check = Callable[[list[Answer]], object]


def gives(*statuses: int) -> Check:
    """The responses have these statuses; where all are 200, the body is that of the file that was asked for."""
    return lambda got: [a.status for a in got] == list(statuses)


def refused(*statuses: int) -> Check:
    """One response with such a status, which says that it is the last."""
    return lambda got: len(got) == 1 and got[0].status in statuses and got[0].closes


def both(*checks: Check) -> Check:
    return lambda got: all(check(got) for check in checks)


def last_closes(got: list[Answer]) -> bool:
    return got[-1].closes and not any(a.closes for a in got[:-1])


def open_(got: list[Answer]) -> bool:
    return not any(a.closes for a in got)


TEN = b"GET /ten HTTP/1.1\r\nHost: x\r\n\r\n"
FIVE = b"GET /five HTTP/1.1\r\nHost: x\r\n\r\n"


def get(*lines: bytes, target: bytes = b"/ten", version: bytes = b"1.1", method: bytes = b"GET") -> bytes:
    """A request, with Host where the lines do not begin with one."""
    host = () if any(line.lower().startswith(b"host") for line in lines) else (b"Host: x",)
    return b"\r\n".join([b"%s %s HTTP/%s" % (method, target, version), *host, *lines]) + b"\r\n\r\n"


CHUNKED = get(b"Transfer-Encoding: chunked", method=b"POST")

ROWS: list[tuple[str, str, bytes, Check]] = [
    # ---- 2 Message
    ("2.2", "a bare CR in a header makes it invalid, or is a space", get(b"X: a\rb"), refused(400)),
    ("2.2", "a bare CR ends no line", b"GET /ten HTTP/1.1\rHost: x\r\r", refused(400)),
    (
        "2.2",
        "white space before the first header: rejected, or the line skipped",
        b"GET /ten HTTP/1.1\r\n X: y\r\nHost: x\r\n\r\n",
        refused(400),
    ),
    (
        "2.2 SHOULD",
        "what is no HTTP gets 400, and the connection ends",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        refused(400),
    ),
    *[
        ("2.2 SHOULD", "an empty line before the request is passed over", data, gives(200, 200))
        for data in (b"\r\n" + TEN + TEN, TEN + b"\r\n" + TEN, b"\r\n\r\n" + TEN + b"\n\r\n" + TEN + b"\r\n")
    ],
    ("2.2 MAY", "LF alone ends a line", b"GET /ten HTTP/1.1\nHost: x\n\n", gives(200)),
    ("2.1", "bytes of no character set are only bytes", get(b"X: \xff\xfe"), gives(200)),
    ("2.3", "the version is case-sensitive", b"GET /ten http/1.1\r\nHost: x\r\n\r\n", refused(400)),
    ("2.3", "a higher minor version is served as the own one", get(version=b"1.2"), gives(200)),
    ("2.3", "another major version is refused", get(version=b"2.0"), refused(400, 505)),
    ("2.3", "a version is a digit, a dot and a digit", get(version=b"1.10"), refused(400, 505)),
    # ---- 3 Request line
    ("3", "a target that is too long gets 414", get(target=b"/" + b"x" * 100_000), refused(414)),
    ("3.1", "a method is case-sensitive", get(method=b"get"), gives(405)),
    (
        "3.1",
        "405 has Allow (9110, 15.5.6)",
        get(method=b"BREW"),
        lambda got: (got[0].status, got[0].headers["allow"]) == (405, "GET, HEAD"),
    ),
    ("3.2", "no Host gets 400", b"GET /ten HTTP/1.1\r\n\r\n", refused(400)),
    ("3.2", "two Hosts get 400", get(b"Host: x", b"Host: x"), refused(400)),
    ("3.2", "HTTP/1.0 needs no Host", b"GET /ten HTTP/1.0\r\n\r\n", gives(200)),
    *[
        ("3.2", "a Host that is none gets 400", get(b"Host: " + host), refused(400))
        for host in (
            b"a b",
            b"a/b",
            b"http://x",
            b"x:80:80",
            b"x:port",
            b"[::1",
            b"::1",
            b"a@b",
            b"\xe9",
            b"x?",
            b"%zz",
        )
    ],
    *[
        ("3.2", "a Host that is one is taken", get(b"Host: " + host), gives(200))
        for host in (
            b"",
            b"x",
            b"x:",
            b"x:8000",
            b"1.2.3.4",
            b"[::1]",
            b"[::1]:80",
            b"[v1.a:b]",
            b"a-b_c.~d!$&'()*+,;=",
            b"%C3%A9",
        )
    ],
    ("3.2.1", "origin-form", TEN, lambda got: got[0].body == b"0123456789"),
    ("3.2.2", "absolute-form is accepted", get(target=b"http://y/ten"), lambda got: got[0].body == b"0123456789"),
    (
        "3.2.2",
        "in absolute-form Host is ignored, but must be there",
        get(b"X: y", b"Host: z", target=b"HTTP://y:80/ten"),
        gives(200),
    ),
    ("3.2.2", "… and valid", get(b"Host: z z", target=b"http://y/ten"), refused(400)),
    (
        "3.2.3",
        "authority-form is for CONNECT, which is not offered",
        get(method=b"CONNECT", target=b"x:80"),
        gives(405),
    ),
    ("3.2.4", "asterisk-form", get(method=b"OPTIONS", target=b"*"), gives(405)),
    ("3.2", "a target with white space is invalid", get(target=b"/ten ten"), refused(400)),
    # ---- 5 Fields
    ("5.1", "white space before the colon gets 400", get(b"X : y"), refused(400)),
    (
        "5.1",
        "white space around the value is none of it",
        get(b"Range:\t bytes=1-2 \t"),
        lambda got: got[0].body == b"12",
    ),
    (
        "5.2",
        "a folded line gets 400, or is joined by spaces",
        get(b"Range: bytes=1-2", b"  ,4-5"),
        lambda got: got[0].status == 400 or got[0].body == b"0123456789",
    ),
    ("5 (9110, 5.5)", "NUL in a value is invalid", get(b"X: a\0b"), refused(400)),
    ("5 (9110, 5.1)", "a name is a token", get(b"X(): y"), refused(400)),
    ("5 (9110, 5.4) SHOULD", "headers that are too large get a 4xx", get(b"X: " + b"y" * 100_000), refused(431)),
    # ---- 6 Body
    ("6.1", "chunks are decoded", CHUNKED + b"3\r\nabc\r\n0\r\n\r\n" + TEN, both(gives(405, 200), open_)),
    (
        "6.1",
        "both lengths: the connection ends",
        get(b"Content-Length: 3", b"Transfer-Encoding: chunked") + b"0\r\n\r\n" + TEN,
        both(gives(200), last_closes),
    ),
    (
        "6.1",
        "HTTP/1.0 with Transfer-Encoding: the connection ends",
        get(b"Transfer-Encoding: chunked", b"Connection: keep-alive", version=b"1.0") + b"0\r\n\r\n" + TEN,
        lambda got: len(got) == 1 and got[0].closes,
    ),
    ("6.1", "a coding that is not understood is refused", get(b"Transfer-Encoding: gzip, chunked"), refused(400, 501)),
    *[
        (
            "6.3 item 4",
            "chunked is not the last coding: 400, and the connection ends",
            get(b"Transfer-Encoding: " + coding) + TEN,
            refused(400),
        )
        for coding in (b"chunked, gzip", b"gzip", b"identity", b"xchunked", b"chunked;q=1", b"\x0bchunked")
    ],
    (
        "6.3 item 1",
        "an answer to HEAD ends with its headers",
        get(method=b"HEAD") + TEN,
        lambda got: got[0].headers["content-length"] == "10" and got[1].body == b"0123456789",
    ),
    *[
        (
            "6.3 item 5",
            "a Content-Length that is none: 400, and the connection ends",
            get(b"Content-Length: " + length) + b"xxxx" + TEN,
            refused(400),
        )
        for length in (
            b"+4",
            b"-4",
            b"4 4",
            b"0x4",
            b"",
            b"4,5",
            b"4;",
            b"\xb2",
            b"4.0",
            b"1e1",
            b"9" * 30,
            b"9" * 5000,
        )
    ],
    ("6.3 item 5", "two that disagree: 400", get(b"Content-Length: 4", b"Content-Length: 5") + b"xxxxx", refused(400)),
    (
        "6.3 item 5",
        "a list of equal ones is one, or 400",
        get(b"Content-Length: 4, 4") + b"xxxx" + TEN,
        lambda got: gives(200, 200)(got) or refused(400)(got),
    ),
    (
        "6.3 item 6",
        "a body that ends early is incomplete: the connection ends",
        get(b"Content-Length: 10") + b"xxx",
        lambda got: got == [] or refused(400)(got),
    ),
    ("6.3 item 6", "a body is as long as it says", get(b"Content-Length: 4") + b"GET " + TEN, gives(200, 200)),
    (
        "6.3 item 7",
        "without a length there is no body",
        TEN + FIVE,
        lambda got: [a.body for a in got] == [b"0123456789", b"abcde"],
    ),
    # ---- 7 Chunks
    (
        "7.1",
        "sizes are hexadecimal",
        CHUNKED + b"00a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n" + TEN,
        gives(405, 200),
    ),
    *[
        (
            "7.1",
            "a size that overflows is no small one",
            CHUNKED + size + b"\r\n\r\n0\r\n\r\n" + TEN,
            lambda got: len(got) <= 1 and all(a.status >= 400 and a.closes for a in got),
        )
        for size in (b"FFFFFFFF", b"100000000", b"FFFFFFFFFFFFFFFF", b"10000000000000000", b"F" * 5000)
    ],
    *[
        ("7.1", "a size that is none is refused", CHUNKED + size + b"\r\nabc\r\n0\r\n\r\n" + TEN, refused(400))
        for size in (b"-3", b"+3", b"0x3", b"3 3", b"", b"g", b"\xb3")
    ],
    ("7.1", "a chunk ends with CRLF", CHUNKED + b"3\r\nabcde\r\n0\r\n\r\n" + TEN, refused(400)),
    (
        "7.1.1",
        "an extension that is not known is ignored",
        CHUNKED + b'3;a=b;c="d"\r\nabc\r\n0;e\r\n\r\n' + TEN,
        gives(405, 200),
    ),
    (
        "7.1.1 SHOULD",
        "extensions have a limit",
        CHUNKED + b"3;" + b"x" * 100_000 + b"\r\nabc\r\n0\r\n\r\n",
        refused(400, 431),
    ),
    (
        "7.1.2",
        "trailers are read",
        CHUNKED + b"3\r\nabc\r\n0\r\nX: y\r\nContent-Length: 5\r\n\r\n" + TEN,
        gives(405, 200),
    ),
    (
        "7.1",
        "a body without its last chunk is incomplete",
        CHUNKED + b"3\r\nabc\r\n",
        lambda got: got == [] or refused(400)(got),
    ),
    (
        "7.3",
        "names of codings are case-insensitive",
        get(b"Transfer-Encoding: CHUNKED") + b"0\r\n\r\n" + TEN,
        gives(200, 200),
    ),
    # ---- 9 Connections
    ("9.3", "HTTP/1.1 goes on", TEN + TEN + TEN, both(gives(200, 200, 200), open_)),
    ("9.3", "HTTP/1.0 ends", get(version=b"1.0") + TEN, both(gives(200), last_closes)),
    (
        "9.3",
        "a body that is not read to its end ends the connection",
        get(b"Content-Length: 3000000", method=b"POST") + bytes(3_000_000) + TEN,
        refused(413),
    ),
    (
        "9.3",
        "a body that nobody wants is no request",
        get(b"Content-Length: %d" % len(FIVE)) + FIVE + TEN,
        gives(200, 200),
    ),
    (
        "9.3.2",
        "answers come in the order of the requests",
        (TEN + FIVE) * 20,
        lambda got: [a.body for a in got] == [b"0123456789", b"abcde"] * 20,
    ),
    *[
        (
            "9.6",
            "close: the answer says so, and nothing after it is processed",
            get(b"Connection: " + option) + FIVE,
            both(gives(200), last_closes),
        )
        for option in (b"close", b"Close", b"keep-alive, close", b"x,close ,y")
    ],
    (
        "9.6",
        "close with a body",
        get(b"Connection: close", b"Content-Length: 3") + b"abc" + FIVE,
        both(gives(200), last_closes),
    ),
    # ---- RFC 9110
    (
        "9110, 10.1.1",
        "100-continue comes before the body is there, and once",
        get(b"Expect: 100-continue", b"Content-Length: 3"),
        lambda got: [a.status for a in got] in ([100], [100, 400]),
    ),
    (
        "9110, 10.1.1",
        "… and never to HTTP/1.0",
        get(b"Expect: 100-continue", b"Content-Length: 3", version=b"1.0") + b"abc",
        gives(200),
    ),
    ("9110, 7.8", "an Upgrade may be ignored", get(b"Connection: upgrade", b"Upgrade: h2c") + FIVE, gives(200, 200)),
]


def talk(address: str, data: bytes) -> bytes:
    """Sends all of it, and gives what comes.  The server may end the connection before it has read everything."""
    with connect(address) as s:
        try:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has refused the rest
        return read_all(s)


@pytest.mark.parametrize(
    ("section", "must", "request_", "check"),
    [pytest.param(*row, id=f"{row[0]}: {row[1]}-{n}") for n, row in enumerate(ROWS)],
)
def test_rfc9112(served: str, section: str, must: str, request_: bytes, check: Check) -> None:
    raw = talk(served, request_)
    methods = [line.split()[0] for line in request_.split(b"\r\n") if line.endswith((b" HTTP/1.1", b" HTTP/1.0"))]
    got = answers(raw, *methods)
    assert check(got), f"{section}, {must}: {raw[:500]!r}"


@pytest.mark.parametrize("cut", [1, 2, 3, 7])
def test_answers_do_not_depend_on_how_the_bytes_come(served: str, cut: int) -> None:
    """Each byte, or every few, in a segment of its own."""
    data = CHUNKED + b"3\r\nabc\r\n0\r\n\r\n" + TEN + get(b"Connection: close")
    with connect(served) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(data), cut):
            s.send(data[at : at + cut])
        got = answers(read_all(s))
    assert [a.status for a in got] == [405, 200, 200]
    assert got[-1].closes


def test_9_6_a_connection_is_closed_in_stages(served: str) -> None:
    """Who still sends while the server ends the connection gets the answer, and no reset."""
    with connect(served) as s:
        s.sendall(get(b"Content-Length: 2000000", method=b"POST") + bytes(1_500_000))
        assert answers(read_all(s))[0].status == 413  # the server's end of the stream is there
        s.sendall(bytes(500_000))
