"""The network programs in examples/, each against a real peer: nc-like sockets, curl, wrk, http.server."""

from __future__ import annotations

import hashlib
import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import PATIENCE_S, ROOT

EXAMPLES = ROOT / "examples"


@contextmanager
def example(name: str, *args: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Starts a server; gives the line that it prints first, and the process."""
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        yield line.strip(), process
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_S)
        process.stdout.close()
        process.stderr.close()


def connect(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE_S)


def address_in(line: str) -> str:
    return next(word for word in line.replace("/", " ").split() if word.startswith("127.0.0.1:"))


def read_all(s: socket.socket) -> bytes:
    parts = []
    while data := s.recv(1 << 16):
        parts.append(data)
    return b"".join(parts)


def test_echo() -> None:
    with example("echo", "serve", "127.0.0.1:0") as (line, _):
        address = address_in(line)
        with connect(address) as a, connect(address) as b:
            a.sendall(b"one")
            b.sendall(b"two")
            assert b.recv(100) == b"two"
            assert a.recv(100) == b"one"
            a.sendall(b"x" * 100_000)
            a.shutdown(socket.SHUT_WR)
            assert read_all(a) == b"x" * 100_000
        client = subprocess.run(
            [sys.executable, str(EXAMPLES / "echo.py"), "talk", address, "hello", "world"],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=True,
        )
        assert client.stdout == "hello\nworld\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A small site: pages that link to each other, a large file, one with an odd name."""
    root = tmp_path / "site"
    (root / "sub").mkdir(parents=True)
    (root / "index.html").write_text('<a href="/a.html">a</a> <a href="sub/">sub</a> <a href="http://else.test/">x</a>')
    (root / "a.html").write_text('<a href="/">home</a> <a href="sub/b.html">b</a> <a href="/none.html">none</a>')
    (root / "sub" / "index.html").write_text('<a href="b.html">b</a>')
    (root / "sub" / "b.html").write_text("the end")
    (root / "large.bin").write_bytes(os.urandom(3 << 20))
    (root / "odd name.txt").write_text("odd")
    (tmp_path / "secret").write_text("secret")
    return root


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_httpd_with_curl(site: Path) -> None:
    pytest.importorskip("h11")

    def curl(*args: str) -> bytes:
        command = ["curl", "-sS", "--max-time", str(PATIENCE_S), *args]
        return subprocess.run(command, capture_output=True, check=True).stdout

    with example("httpd", "serve", "127.0.0.1:0", str(site)) as (line, _):
        url = f"http://{address_in(line)}"
        assert curl(f"{url}/") == (site / "index.html").read_bytes()
        large = (site / "large.bin").read_bytes()
        assert hashlib.sha256(curl(f"{url}/large.bin")).digest() == hashlib.sha256(large).digest()
        assert curl("-r", "5-9", f"{url}/large.bin") == (site / "large.bin").read_bytes()[5:10]
        assert curl("-r", "-4", f"{url}/large.bin") == (site / "large.bin").read_bytes()[-4:]
        assert curl(f"{url}/odd%20name.txt") == b"odd"
        code = ["-o", os.devnull, "-w", "%{http_code} "]
        assert curl(*code, f"{url}/none", *code, f"{url}/a.html") == b"404 200 "
        assert curl(*code, "--path-as-is", f"{url}/../secret") == b"403 "
        assert curl(*code, "-X", "DELETE", f"{url}/") == b"405 "
        assert curl(*code, "-d", "body", f"{url}/") == b"405 "
        assert curl(*code, f"{url}/a%00b") == b"403 "
        assert curl(*code, "-I", f"{url}/none") == b"404 "
        assert curl(*code, "-r", "9000000-", f"{url}/large.bin") == b"416 "
        assert curl(*code, "-I", "-r", "9000000-", f"{url}/large.bin") == b"200 "  # ranges are for GET (RFC 9110, 14.2)
        assert b"Content-Length: 3145728" in curl("-I", f"{url}/large.bin")
        # Two requests of one curl share a connection.
        assert curl("-w", "%{num_connects} ", *["-o", os.devnull] * 2, f"{url}/", f"{url}/a.html").split() == [
            b"1",
            b"0",
        ]
        with connect(url[7:]) as s:
            s.sendall(b"nonsense\r\n\r\n")
            assert b" 400 " in s.recv(1000)
        client = subprocess.run(
            [sys.executable, str(EXAMPLES / "httpd.py"), "get", url[7:], "/sub/b.html"],
            capture_output=True,
            timeout=PATIENCE_S,
            check=True,
        )
        assert client.stdout == b"the end"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("wrk") is None, reason="needs wrk")
def test_httpd_under_wrk(site: Path) -> None:
    pytest.importorskip("h11")
    with example("httpd", "serve", "127.0.0.1:0", str(site)) as (line, process):
        url = f"http://{address_in(line)}/"
        out = subprocess.run(
            ["wrk", "-t1", "-c50", "-d3s", url], capture_output=True, text=True, timeout=PATIENCE_S, check=True
        )
        assert "requests in" in out.stdout, out.stdout
        assert "Non-2xx" not in out.stdout
        assert "Socket errors" not in out.stdout
        assert process.poll() is None


def test_proxy_keeps_half_close_and_resets() -> None:
    backend = socket.create_server(("127.0.0.1", 0))
    backend.settimeout(PATIENCE_S)
    with example("proxy", "127.0.0.1:0", f"127.0.0.1:{backend.getsockname()[1]}") as (line, _), backend:
        with connect(address_in(line)) as client:
            server, _ = backend.accept()
            with server:
                server.settimeout(PATIENCE_S)
                client.sendall(b"question" * 10_000)
                client.shutdown(socket.SHUT_WR)
                assert read_all(server) == b"question" * 10_000
                server.sendall(b"answer")  # after the client has ended its side
                server.shutdown(socket.SHUT_WR)
                assert read_all(client) == b"answer"
        with connect(address_in(line)) as client:
            server, _ = backend.accept()
            client.sendall(b"x")
            assert server.recv(1) == b"x"
            server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            server.close()
            with pytest.raises(ConnectionResetError):
                client.recv(1)


def test_chat_broadcasts_and_drops_the_slow() -> None:
    with example("chat", "127.0.0.1:0") as (line, process):
        address = address_in(line)
        people = {}
        for name in ("ann", "ben"):
            s = connect(address)
            f = s.makefile("rwb", buffering=0)
            assert f.readline() == b"your name?\n"
            f.write(name.encode() + b"\n")
            people[name] = (s, f)
            # She is in the room when she is told who else is: until then he may be there first.
            assert f.readline() == (b"* here: nobody else\n" if name == "ann" else b"* here: ann\n")
            if name == "ben":
                assert people["ann"][1].readline() == b"* ben has come\n"
        people["ann"][1].write(b"hello\n")
        assert people["ben"][1].readline() == b"ann: hello\n"
        people["ben"][1].write(b"hi\r\n")
        assert people["ann"][1].readline() == b"ben: hi\n"

        people["ben"][0].shutdown(socket.SHUT_WR)
        assert people["ann"][1].readline() == b"* ben has left\n"

        # One who never reads is dropped; the others go on.
        slow = connect(address)
        slow.sendall(b"slow\n")
        assert people["ann"][1].readline() == b"* slow has come\n"
        assert process.stderr is not None
        text = b"x" * 30_000 + b"\n"
        told = threading.Event()

        def talk() -> None:
            while not told.is_set():
                people["ann"][0].sendall(text)

        talker = threading.Thread(target=talk)
        talker.start()
        try:
            assert process.stderr.readline() == "slow is too slow\n"
        finally:
            told.set()
            talker.join()
            slow.close()
        cat = connect(address)
        people["cat"] = (cat, cat.makefile("rwb", buffering=0))
        people["cat"][1].write(b"cat\n")
        assert [people["cat"][1].readline() for _ in range(2)] == [b"your name?\n", b"* here: ann\n"]
        assert people["ann"][1].readline() == b"* cat has come\n"
        people["cat"][1].write(b"still here\n")
        assert people["ann"][1].readline() == b"cat: still here\n"
        for s, f in people.values():
            f.close()
            s.close()
        assert process.poll() is None


def test_crawler_finds_every_page_once_and_keeps_its_deadline(site: Path) -> None:
    pytest.importorskip("h11")
    hits: list[str] = []
    stuck = threading.Event()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(site))  # type: ignore[arg-type]

        def do_GET(self) -> None:
            hits.append(self.path)
            if self.path == "/stuck":
                stuck.wait(PATIENCE_S)
                return
            super().do_GET()

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"127.0.0.1:{server.server_address[1]}"

    def crawl(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(EXAMPLES / "crawler.py"), address, *args],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    try:
        done = crawl("/", "--at-once", "2", "--seconds", "1000")
        assert done.returncode == 0, done.stderr
        assert sorted(hits) == ["/", "/a.html", "/none.html", "/sub/", "/sub/b.html"]
        found = {line.split()[2]: int(line.split()[0]) for line in done.stdout.splitlines()}
        assert found == {"/": 200, "/a.html": 200, "/none.html": 404, "/sub/": 200, "/sub/b.html": 200}
        late = crawl("/stuck", "--seconds", "0.3")
        assert late.returncode == 1
        assert late.stderr.endswith("0 pages\n")
    finally:
        stuck.set()
        server.shutdown()
        thread.join()
        server.server_close()
