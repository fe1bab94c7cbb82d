"""A fuzzer of examples/httpd.py and examples/crawler.py: requests, answers and pages that nobody should send.

    python tests/net/test_http_fuzz.py [SECONDS] [SEED]

pytest runs a fixed number of cases from fixed seeds, some seconds' worth; by hand it runs for as long as it is told, half
of the time on the server and half on the client, and prints the seed of a case that fails.

The server: whatever comes, each answer is a whole HTTP response, the connection ends when the client's side has, nothing
is written to standard error, and the next client is served.  A sequence of good requests gets its answers, however it is
cut into segments.  The client: fetch gives an answer or raises OSError or ValueError; crawl ends, whatever the pages
hold.
"""

from __future__ import annotations

import os
import random
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

import pytest
from netkit import serving
from test_net_examples import EXAMPLES, address_in, connect, example, read_all

import gort
from gort import net
from support import PATIENCE_S, dose

h11 = pytest.importorskip("h11")
sys.path.insert(0, str(EXAMPLES))
CASES = dose(600)

# ---- what is sent -----------------------------------------------------------------------------------------------------

METHODS = [b"GET", b"GET", b"GET", b"POST", b"PUT", b"OPTIONS", b"get", b"G\0T", b"", b"X" * 300, b"CONNECT", b"TRACE"]
TARGETS = [
    *(
        b"/ten",
        b"/ten",
        b"/large",
        b"/",
        b"*",
        b"x:80",
        b"http://x/ten",
        b"http://",
        b"//",
        b"/%",
        b"/%00",
        b"/..",
        b"",
    ),
    *(b"/ten?" + b"q" * 3000, b"/" + b"y" * 20_000, b"/\xc3\xa9", b"/ ten", b"/ten#f", b"/%2e%2e/%2e%2e", b"/fifo"),
]
VERSIONS = [b"HTTP/1.1"] * 6 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.9", b"http/1.1", b"HTTP/1", b"", b"HTTP/11.1"]
HEADERS = [
    *(b"Host: x", b"Host: x", b"Host: a b", b"Host:", b"X: y", b"X: \xff", b"X: a\0", b"X : y", b" folded", b":", b"X"),
    *(
        b"Connection: close",
        b"Connection: keep-alive",
        b"Connection: upgrade",
        b"Upgrade: h2c",
        b"Expect: 100-continue",
    ),
    *(b"Expect: more", b"Range: bytes=0-3", b"Range: bytes=-", b"Range: bytes=9-1", b"Range: bytes=" + b"1-2," * 500),
    *(b"Content-Length: 0", b"Content-Length: 5", b"Content-Length: -1", b"Content-Length: 99999999999999999999"),
    *(b"Content-Length: " + b"1" * 5000, b"Content-Length: 5, 5", b"Content-Length: 5000000", b"If-Range: x"),
    *(
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding: chunked, chunked",
        b"TE: trailers",
    ),
    *(b"X: " + b"z" * 30_000, b"If-Modified-Since: yesterday", b"\r", b"Host: x\rX: y", b"Cookie: " + b"a=b; " * 1000),
]
BODIES = [
    *(b"", b"", b"12345", b"0\r\n\r\n", b"5\r\n12345\r\n0\r\n\r\n", b"5;ext\r\n12345\r\n0\r\nT: v\r\n\r\n", b"zz\r\n"),
    *(b"FFFFFFFFFFFFFFFFFFFF\r\n", b"-5\r\n", b"5\r\n1234567", b"0\r\nX" + b"t" * 30_000, bytes(3000), b"\r\n\r\n\r\n"),
]
GOOD = [
    (b"GET /ten HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    (b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    (b"GET /ten HTTP/1.1\r\nHost: x\r\nRange: bytes=2-4\r\n\r\n", 206),
    (b"POST /ten HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12345", 405),
    (
        b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5;a=b\r\n12345\r\nA\r\n0123456789\r\n0\r\nT: v\r\n\r\n",
        405,
    ),
    (b"\r\nGET /large HTTP/1.1\nHost: x\n\n", 200),
]


def bad_request(rng: random.Random) -> bytes:
    """A request of parts that need not fit together."""
    lines = [b" ".join([rng.choice(METHODS), rng.choice(TARGETS), rng.choice(VERSIONS)])]
    if rng.random() < 0.8:
        lines.append(b"Host: x")
    lines += rng.choices(HEADERS, k=rng.choice((0, 1, 1, 2, 3, 8)))
    end = rng.choice((b"\r\n",) * 6 + (b"\n", b"\r"))
    return end.join(lines) + end * 2 + rng.choice(BODIES)


def mutated(rng: random.Random, data: bytes) -> bytes:
    """The same with bytes changed, lost, repeated, or cut off."""
    found = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 2, 5, 20))):
        at = rng.randrange(len(found) + 1)
        kind = rng.randrange(6)
        if kind == 0 and found:
            found[at % len(found)] = rng.randrange(256)
        elif kind == 1:
            del found[at : at + rng.choice((1, 1, 3, 50))]
        elif kind == 2:
            found[at:at] = bytes(rng.choices(b"\r\n \t\0:/\x7f\xff0", k=rng.choice((1, 1, 2, 9))))
        elif kind == 3:
            found[at:at] = found[at : at + rng.choice((1, 10, 100))]
        elif kind == 4:
            found[at:at] = rng.randbytes(rng.choice((1, 4, 40)))
        elif rng.random() < 0.3:
            del found[at:]
    return bytes(found)


def segments(rng: random.Random, data: bytes) -> Iterator[bytes]:
    """The data in pieces, of one byte to all of it."""
    size = rng.choice((1 << 30, 1 << 30, 1000, 100, 7, 1 if len(data) < 400 else 50))
    for at in range(0, len(data), size):
        yield data[at : at + size]


# ---- the server -------------------------------------------------------------------------------------------------------


def exchange(address: str, pieces: Iterator[bytes]) -> bytes:
    """Sends the pieces, ends its side, and gives all that comes until the server ends its own."""
    with connect(address) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in pieces:
                s.sendall(piece)
            s.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the server has ended the connection already, and may
        try:
            return read_all(s)
        except ConnectionResetError:
            return b""


def statuses(raw: bytes, whole: bool) -> list[int]:
    """The statuses of the responses, each of which must be a whole one."""
    found = []
    while raw:
        head, end, rest = raw.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        assert end, raw[:300]
        assert first.startswith(b"HTTP/1.1 "), raw[:300]
        status = int(first[9:12])
        fields = dict(line.lower().split(b": ", 1) for line in lines)
        length = int(fields[b"content-length"]) if status >= 200 else 0
        assert len(rest) >= length or not whole, f"{len(rest)} of {length} bytes: {raw[:300]!r}"
        found.append(status)
        raw = rest[length:]
    return found


def fuzz_server(address: str, rng: random.Random) -> None:
    """One case."""
    if rng.random() < 0.3:
        chosen = rng.choices(GOOD, k=rng.randrange(1, 9))
        raw = exchange(address, segments(rng, b"".join(request for request, _ in chosen)))
        assert statuses(raw, True) == [status for _, status in chosen]
        return
    kind = rng.random()
    if kind < 0.1:
        data = rng.randbytes(rng.randrange(3000))
    elif kind < 0.4:
        data = mutated(rng, b"".join(request for request, _ in rng.choices(GOOD, k=rng.randrange(1, 4))))
    else:
        data = b"".join(mutated(rng, bad_request(rng)) for _ in range(rng.choice((1, 1, 2, 4))))
    raw = exchange(address, segments(rng, data))
    if b"HEAD" not in data:
        statuses(raw, True)


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """httpd in a process of its own, which must end as it has begun: without a word on standard error."""
    (folder / "ten").write_bytes(b"0123456789")
    (folder / "large").write_bytes(random.Random(1).randbytes(200_000))
    os.mkfifo(folder / "fifo")
    with example("httpd", "serve", "127.0.0.1:0", str(folder)) as (line, process):
        yield address_in(line)
        assert process.poll() is None
        process.terminate()
        assert process.stderr is not None
        said = process.stderr.read()
        assert said == "", said


@pytest.mark.slow
def test_httpd_under_fuzz(tmp_path: Path) -> None:
    with server(tmp_path) as address:
        for seed in range(CASES):
            try:
                fuzz_server(address, random.Random(seed))
            except BaseException as e:
                e.add_note(f"seed {seed}")
                raise
        assert statuses(exchange(address, iter([GOOD[0][0]])), True) == [200]


# ---- the client -------------------------------------------------------------------------------------------------------

RESPONSES = [
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nT: v\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nxxxx",
    b"HTTP/1.1 301 Moved\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFF\r\nhello",
    b"HTTP/1.1 100 Continue\r\n\r\n" * 200,
    b"HTTP/1.1 999 \r\n\r\n",
    b"HTTP/1.1 2\xb20 OK\r\n\r\n",
    b"HTTP/9.9 200 OK\r\n\r\n",
    b"<html>no HTTP",
    b"",
]
LINKS = [
    "/a",
    "/b",
    "c",
    "/a b",
    "../up",
    "//x/y",
    "http://site/z",
    "http://[",
    "/\u00e9",
    "/%zz",
    "?q",
    "#f",
    "",
    " ",
    "\0",
]
SOUP = [
    *(
        "<a href='{}'>",
        '<a href="{}">x</a>',
        "<A HREF={}>",
        "<a href>",
        "<a href='",
        "<!--",
        "-->",
        "<![if ",
        "<![CDATA[",
    ),
    *(
        "<!DOCTYPE [",
        "]>",
        "<script>",
        "</script>",
        "<a/href={}/>",
        "&#x110000;",
        "&#",
        "<base href='{}'>",
        "<",
        ">",
        "</a ",
        "<?",
    ),
    *(
        "<a href='{}' href='{}'>",
        "\x00",
        "\ud800",
        "\u2028",
        "<plaintext>",
        "<a\nhref\n=\n{}>",
        "text " * 50,
        "<!>",
        "<!-",
    ),
]


def random_page(rng: random.Random, paths: int) -> bytes:
    """A page of pieces of markup, with links to some of so many paths."""
    parts = []
    for _ in range(rng.choice((1, 5, 30, 100))):
        link = rng.choice(LINKS) if rng.random() < 0.5 else f"/page{rng.randrange(paths)}"
        parts.append(rng.choice(SOUP).replace("{}", link))
    data = "".join(parts).encode("utf-8", "surrogatepass")
    return mutated(rng, data) if rng.random() < 0.5 else data


def random_response(rng: random.Random, paths: int) -> bytes:
    """An answer: a page, or something else."""
    if rng.random() < 0.6:
        page = random_page(rng, paths)
        head = rng.choice((b"text/html", b"text/html; charset=x", b"TEXT/HTML", b"\xff"))
        return b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (head, len(page)) + page
    found = rng.choice(RESPONSES)
    return mutated(rng, found) if rng.random() < 0.7 else found


@asynccontextmanager
async def answering(answer: Callable[[bytes], tuple[Iterator[bytes], bool]]) -> AsyncIterator[str]:
    """A server that reads a request, and sends the pieces that `answer` has for it; then it closes, or resets."""

    async def handle(conn: net.Conn) -> None:
        async with conn:
            try:
                request = await conn.read_until(b"\r\n\r\n", limit=1 << 20)
                pieces, reset = answer(request)
                for piece in pieces:
                    await conn.write(piece)
                if reset:
                    conn.reset()
            except (OSError, net.IncompleteRead):
                pass  # the client has had enough

    async with serving(handle) as address:
        yield address


async def fuzz_fetch(rng: random.Random) -> None:
    """One answer that fetch has to deal with."""
    from httpd import fetch

    data = random_response(rng, 5)

    def answer(request: bytes) -> tuple[Iterator[bytes], bool]:
        return segments(rng, data), rng.random() < 0.1

    async with answering(answer) as address:
        try:
            status, headers, body = await fetch(address, rng.choice(("/", "/a b", "/\u00e9", "/%00", "x", "")))
        except (OSError, ValueError):
            return
        assert 200 <= status <= 999
        assert len(body) <= len(data)
        assert all(name == name.lower() for name in headers)


async def fuzz_crawl(rng: random.Random) -> None:
    """A site whose pages are all of this kind: the crawl ends, and has asked for nothing that is no request."""
    from crawler import crawl

    asked: set[bytes] = set()

    def answer(request: bytes) -> tuple[Iterator[bytes], bool]:
        asked.add(request.split()[1])
        return segments(rng, random_response(rng, 20)), rng.random() < 0.05

    async with answering(answer) as address:
        pages, _ = await crawl(address, "/", 4, PATIENCE_S, at_most=60)
    assert len(pages) <= len(asked) <= 60
    assert all(path.startswith(b"/") for path in asked)


def fuzz_links(rng: random.Random) -> None:
    """Whatever a page holds, its links can be requested."""
    from crawler import links

    base = rng.choice(("/", "/a/b", "/%", "//", "/a?b"))
    for path in links(base, random_page(rng, 50)):
        h11.Request(method="GET", target=path, headers=[("Host", "x")])


@pytest.mark.slow
def test_client_under_fuzz(capfd: Any) -> None:
    async def main() -> None:
        for seed in range(CASES):
            await one_of_client(seed)

    gort.run(main)


async def one_of_client(seed: int) -> None:
    rng = random.Random(seed)
    try:
        if seed % 20 == 0:
            await fuzz_crawl(rng)
        elif seed % 2:
            await fuzz_fetch(rng)
        else:
            fuzz_links(rng)
    except BaseException as e:
        e.add_note(f"seed {seed}")
        raise


def test_crawl_of_a_site_without_an_end(capfd: Any) -> None:
    """Each page has new links, more than can be followed: the limit ends it, and what waits are no goroutines."""
    from crawler import crawl

    most = 0

    def answer(request: bytes) -> tuple[Iterator[bytes], bool]:
        nonlocal most
        most = max(most, gort.runtime.num_goroutine())
        path = request.split()[1].decode()
        page = "".join(f'<a href="{path.rstrip("/")}/{n}">' for n in range(200)).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(page)
        return iter([head + page]), False

    async def main() -> None:
        async with answering(answer) as address:
            pages, complete = await crawl(address, "/", 4, PATIENCE_S, at_most=300)
            assert (len(pages), complete) == (300, False)

    gort.run(main)
    assert most < 50


def by_hand(seconds: float, seed: int) -> None:
    """Runs for so long, from this seed on."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder, server(Path(folder)) as address:
        end = time.monotonic() + seconds / 2
        n = seed
        while time.monotonic() < end:
            try:
                fuzz_server(address, random.Random(n))
            except BaseException:
                print(f"server, seed {n}", file=sys.stderr)
                raise
            n += 1
    print(f"server: {n - seed} cases, seeds {seed} to {n - 1}")

    async def main() -> int:
        end = time.monotonic() + seconds / 2
        n = seed
        while time.monotonic() < end:
            await one_of_client(n)
            n += 1
        return n

    n = gort.run(main)
    print(f"client: {n - seed} cases, seeds {seed} to {n - 1}")


if __name__ == "__main__":
    arguments = [*sys.argv[1:], *["120", "1000"][len(sys.argv) - 1 :]]
    by_hand(float(arguments[0]), int(arguments[1]))
