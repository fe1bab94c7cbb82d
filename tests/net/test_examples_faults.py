"""Faults of the network programs in examples/ under hostile clients, servers and pages, each with the right value."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from test_net_examples import EXAMPLES, address_in, connect, example, read_all

from support import PATIENCE_S, settles, sockets_of

h11 = pytest.importorskip("h11")
sys.path.insert(0, str(EXAMPLES))


@pytest.fixture(scope="module")
def served(tmp_path_factory: Any) -> Iterator[tuple[str, Path, Any]]:
    """(address, the directory, the process) of one httpd for all tests of this file."""
    root = tmp_path_factory.mktemp("site")
    (root / "ten").write_bytes(b"0123456789")
    (root / "empty").touch()
    (root / "large").write_bytes(os.urandom(8 << 20))
    os.mkfifo(root / "fifo")
    with example("httpd", "serve", "127.0.0.1:0", str(root)) as (line, process):
        yield address_in(line), root, process
        process.terminate()
        assert process.stderr.read() == ""  # no traceback


def ask(address: str, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """One raw request, and all that comes until the end: (status, headers, body)."""
    with connect(address) as s:
        s.sendall(request)
        s.shutdown(socket.SHUT_WR)
        return parse(read_all(s))


def parse(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}
    return int(first.split()[1]), headers, body


def get(address: str, target: bytes, *headers: bytes, method: bytes = b"GET") -> tuple[int, dict[str, str], bytes]:
    lines = [method + b" " + target + b" HTTP/1.1", b"Host: x", *headers]
    return ask(address, b"\r\n".join(lines) + b"\r\n\r\n")


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"//[::1", 404),
        (b"http://[/", 404),  # the directory itself, which has no index.html
        (b"http://x/ten", 200),
        (b"/ten?a=b", 200),
        (b"ten", 400),
        (b"*", 400),
        (b"ftp://x/ten", 400),
        (b"/../../../etc/passwd", 403),
        (b"/%2e%2e/%2e%2e/etc/passwd", 403),
        (b"/a%00b", 403),
        (b"/" + b"x" * 5000, 404),
        (b"/%ff%fe", 404),
        (b"/fifo", 404),  # it kept a thread and a descriptor for ever
        (b"/ten/", 200),
    ],
)
def test_n13_httpd_any_target(served: Any, target: bytes, status: int) -> None:
    assert get(served[0], target)[0] == status


WHOLE = (200, None, b"0123456789")
NONE = (416, "bytes */10", b"no such range\n")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"bytes=0-0", (206, "bytes 0-0/10", b"0")),
        (b"bytes=7-", (206, "bytes 7-9/10", b"789")),
        (b"bytes=7-99999", (206, "bytes 7-9/10", b"789")),
        (b"Bytes= 1-2 ", (206, "bytes 1-2/10", b"12")),
        (b"bytes=-3", (206, "bytes 7-9/10", b"789")),
        (b"bytes=-30", (206, "bytes 0-9/10", b"0123456789")),
        (b"bytes=-" + b"9" * 5000, (206, "bytes 0-9/10", b"0123456789")),
        (b"bytes=0-" + b"9" * 5000, (206, "bytes 0-9/10", b"0123456789")),
        (b"bytes=" + b"0" * 5000 + b"1-2", (206, "bytes 1-2/10", b"12")),
        (b"bytes=" + b"9" * 5000 + b"-", NONE),
        (b"bytes=10-", NONE),
        (b"bytes=-0", NONE),
        (b"bytes=\xb2-", WHOLE),
        (b"bytes=1-x", WHOLE),
        (b"bytes=2-1", WHOLE),
        (b"bytes=-", WHOLE),
        (b"lines=0-1", WHOLE),
        (b"bytes=0-1,3-4", WHOLE),
    ],
)
def test_n13_httpd_any_range(served: Any, value: bytes, expected: tuple[int, str | None, bytes]) -> None:
    status, headers, body = get(served[0], b"/ten", b"Range: " + value)
    assert (status, headers.get("content-range"), body) == expected


def test_n13_httpd_ranges_that_do_not_count(served: Any) -> None:
    address = served[0]
    assert get(address, b"/empty", b"Range: bytes=-5")[::2] == (200, b"")
    assert get(address, b"/ten", b"Range: bytes=0-1", method=b"HEAD")[0] == 200
    modified = get(address, b"/ten")[1]["last-modified"].encode()
    assert get(address, b"/ten", b"Range: bytes=0-1", b"If-Range: " + modified)[0] == 206
    assert get(address, b"/ten", b"Range: bytes=0-1", b'If-Range: "tag"')[0] == 200


def test_n13_httpd_methods_and_bodies(served: Any) -> None:
    address = served[0]
    status, headers, _ = get(address, b"/ten", method=b"DELETE")
    assert (status, headers["allow"]) == (405, "GET, HEAD")
    assert get(address, b"*", method=b"OPTIONS")[0] == 405
    post = b"POST /ten HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    status, headers, _ = ask(address, post % (3 << 20) + bytes(3 << 20))
    assert (status, headers["connection"]) == (413, "close")
    # Both lengths: somebody in between may have seen another request. The connection ends after the answer.
    both = b"GET /ten HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    again = b"GET /ten HTTP/1.1\r\nHost: x\r\n\r\n"
    with connect(address) as s:
        s.sendall(both + again)
        s.shutdown(socket.SHUT_WR)
        answer = read_all(s)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert parse(answer)[1]["connection"] == "close"
    with connect(address) as s:
        s.sendall(again + again)
        s.shutdown(socket.SHUT_WR)
        assert read_all(s).count(b"HTTP/1.1 200") == 2


def test_n13_httpd_says_continue(served: Any) -> None:
    with connect(served[0]) as s:
        s.sendall(b"GET /ten HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        assert s.recv(1000).startswith(b"HTTP/1.1 100 ")
        s.sendall(b"body")
        s.shutdown(socket.SHUT_WR)
        assert parse(read_all(s))[::2] == (200, b"0123456789")


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 100_000,
    ],
)
def test_n13_httpd_refuses_what_is_no_request(served: Any, request_: bytes) -> None:
    status, headers, _ = ask(served[0], request_)
    assert 400 <= status < 502
    assert headers["connection"] == "close"


def test_n13_httpd_does_not_keep_those_who_read_nothing(tmp_path: Path) -> None:
    """With short limits: who does not send, or does not read, is let go."""
    (tmp_path / "large").write_bytes(os.urandom(16 << 20))
    program = f"import sys; sys.path.insert(0, {str(EXAMPLES)!r}); import httpd, gort; "
    program += "httpd.IDLE_S = httpd.WRITE_S = 0.3; "
    program += f"gort.run(httpd.serve, '127.0.0.1:0', {str(tmp_path)!r})"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = address_in(process.stdout.readline())
        idle = [connect(address) for _ in range(20)]
        deaf = [connect(address) for _ in range(20)]
        for s in deaf:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        for s in idle:
            assert s.recv(10) == b""
        assert settles(lambda: sockets_of(process.pid) == 1)  # the listener's
        for s in [*idle, *deaf]:
            s.close()
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        process.stdout.close()  # type: ignore[union-attr]


@contextmanager
def server_of(answers: dict[str, bytes]) -> Iterator[str]:
    """A server that sends these bytes for these paths, whatever they are; gives its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.wfile.write(answers.get(self.path, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))
            self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def page(text: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(text) + text


def test_n13_crawler_survives_any_page_and_any_server() -> None:
    links = ["/a b", "/\u00e9", "/nul\0", "/new\nline", "http://[", "//[::1", "/%zz", "mailto:x", "/early", "/garbage"]
    links += ["/hints", "/cut", "/nothing", "/huge", "/last?query#part", "\ufffd"]
    text = "".join(f'<a href="{link}">x</a>' for link in links).encode() + b"<![if \xff<!DOCTYPE <!-- <a href='/after'>"
    answers = {
        "/": page(text),
        "/a%20b": page(b"space"),
        "/%C3%A9": page(b"letter"),
        "/early": b"",
        "/garbage": b"\0\1\2 this is no HTTP\r\n\r\n",
        "/hints": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + page(b"after the hints"),
        "/cut": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        "/nothing": b"HTTP/1.1 200",
        "/last": page(b"last"),
    }
    with server_of(answers) as address:
        done = subprocess.run(
            [sys.executable, str(EXAMPLES / "crawler.py"), address],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 0
    found = {line.split()[2]: line.split()[:2] for line in done.stdout.splitlines()}
    assert found["/a%20b"] == ["200", "5"]
    assert found["/%C3%A9"] == ["200", "6"]
    assert found["/hints"] == ["200", "15"]
    assert found["/last"] == ["200", "4"]
    assert found["/huge"] == ["404", "0"]
    for failed in ("/early", "/garbage", "/cut", "/nothing"):
        assert failed not in found
        assert f"{failed}: the server" in done.stderr


def test_n13_chat_a_pasted_text_throws_nobody_out() -> None:
    with example("chat", "127.0.0.1:0") as (line, process):
        address = address_in(line)
        people = {}
        for name in ("ann", "ben"):
            s = connect(address)
            f = s.makefile("rwb")
            f.write(name.encode() + b"\n")
            f.flush()
            assert f.readline() == b"your name?\n"
            assert f.readline().startswith(b"* here")
            people[name] = (s, f)
        assert people["ann"][1].readline() == b"* ben has come\n"
        lines = [b"line %d\n" % i for i in range(5000)]
        people["ann"][0].sendall(b"".join(lines))
        for text in lines:
            assert people["ben"][1].readline() == b"ann: " + text
        for s, f in people.values():
            f.close()
            s.close()
        assert process.poll() is None
