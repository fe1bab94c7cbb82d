"""Request smuggling, by kind: bytes that two parsers could take apart in two ways.  The server refuses each, and ends the
connection; what an attacker has hidden behind it is never served."""

from __future__ import annotations

from typing import Any

import pytest
from servekit import client, each_parser, serving

import gort

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"0\r\n\r\n"


def post(*lines: bytes, body: bytes = b"", first: bytes = b"POST / HTTP/1.1", host: bytes = b"Host: x") -> bytes:
    """A request of these lines, with what is hidden behind its body."""
    return b"\r\n".join([first, host, *lines]) + b"\r\n\r\n" + body + HIDDEN


TE, CL = b"Transfer-Encoding: chunked", b"Content-Length: 5"
CASES = {
    "CL.TE": post(CL, TE, body=CHUNKED),
    "TE.CL": post(TE, CL, body=CHUNKED),
    "CL.CL": post(CL, b"Content-Length: 6", body=b"hello"),
    "CL.CL the same": post(CL, CL, body=b"hello"),
    "CL list": post(b"Content-Length: 5, 5", body=b"hello"),
    "CL with a sign": post(b"Content-Length: +5", body=b"hello"),
    "CL negative": post(b"Content-Length: -5"),
    "CL in hexadecimal": post(b"Content-Length: 0x5", body=b"hello"),
    "CL with an underscore": post(b"Content-Length: 1_0", body=b"0123456789"),
    "CL with a space": post(b"Content-Length: 5 6", body=b"hello"),
    "CL of other digits": post("Content-Length: \u0665".encode(), body=b"hello"),
    "CL empty": post(b"Content-Length:"),
    "CL too large": post(b"Content-Length: 99999999999999999999"),
    "TE.TE": post(TE, TE, body=CHUNKED),
    "TE twice in one": post(b"Transfer-Encoding: chunked, chunked", body=CHUNKED),
    "TE then identity": post(TE, b"Transfer-Encoding: identity", body=CHUNKED),
    "TE not last": post(b"Transfer-Encoding: chunked, gzip", body=CHUNKED),
    "TE unknown": post(b"Transfer-Encoding: xchunked", body=CHUNKED),
    "TE quoted": post(b'Transfer-Encoding: "chunked"', body=CHUNKED),
    "TE with a parameter": post(b"Transfer-Encoding: chunked;a=b", body=CHUNKED),
    "TE with a control character": post(b"Transfer-Encoding: \x0bchunked", body=CHUNKED),
    "TE space before colon": post(b"Transfer-Encoding : chunked", body=CHUNKED),
    "TE tab before colon": post(b"Transfer-Encoding\t: chunked", body=CHUNKED),
    "TE line begins with a space": post(b" Transfer-Encoding: chunked", body=CHUNKED),
    "TE folded": post(b"Transfer-Encoding:\r\n chunked", body=CHUNKED),
    "TE after NUL": post(b"X: y\0\r\nTransfer-Encoding: chunked", body=CHUNKED),
    "TE after a bare CR": post(b"X: y\rTransfer-Encoding: chunked", body=CHUNKED),
    "TE in HTTP/1.0": post(TE, body=CHUNKED, first=b"POST / HTTP/1.0"),
    "a bare CR in the name": post(b"X\rY: z"),
    "a name that is empty": post(b": z"),
    "a line without a colon": post(b"nothing"),
    "a name with a space": post(b"X Y: z"),
    "two hosts": post(b"Host: y"),
    "no host": post(host=b"X: y"),
    "a host that is none": post(host=b"Host: x y"),
    "a host with a path": post(host=b"Host: x/y"),
    "a target with a space": post(first=b"GET /a b HTTP/1.1"),
    "a target with NUL": post(first=b"GET /a\0 HTTP/1.1"),
    "a version that is none": post(first=b"GET / HTTP/1.1x"),
    "no version": post(first=b"GET /"),
    "a method with a space before": post(first=b" GET / HTTP/1.1"),
    "chunk size negative": post(TE, body=b"-1\r\n\r\n"),
    "chunk size in 0x": post(TE, body=b"0x0\r\n\r\n"),
    "chunk size with a sign": post(TE, body=b"+0\r\n\r\n"),
    "chunk size empty": post(TE, body=b"\r\n\r\n"),
    "chunk size too large": post(TE, body=b"f" * 21 + b"\r\n"),
    "chunk size with an underscore": post(TE, body=b"0_0\r\n\r\n"),
    "chunk longer than its size": post(TE, body=b"3\r\nhello\r\n0\r\n\r\n"),
    "chunk without its end": post(TE, body=b"5\r\nhello0\r\n\r\n"),
    "trailer without a colon": post(TE, body=b"0\r\nnothing\r\n\r\n"),
}


@pytest.mark.once
@each_parser
@pytest.mark.parametrize("kind", CASES)
def test_what_is_hidden_is_not_served(kind: str, parser: str) -> None:
    seen: list[str] = []

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        seen.append(environ["PATH_INFO"])
        environ["wsgi.input"].read()
        start("200 OK", [])
        return [b"x"]

    async def main() -> list[bytes]:
        async with serving(app, parser=parser) as server, client(server) as c:
            await c.conn.write(CASES[kind])
            c.conn.close_write()
            got = bytearray()
            try:
                while data := await c.conn.read():
                    got += data
            except ConnectionError:
                pass
            return bytes(got).split(b"HTTP/1.1 ")[1:]

    answers = gort.run(main)
    assert "/hidden" not in seen
    assert [a[:3] for a in answers] in ([], [b"400"], [b"411"], [b"413"], [b"414"], [b"431"], [b"501"], [b"505"])
