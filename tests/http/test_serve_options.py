"""What stands around the server: TLS, addresses, proxies, the access log, metrics, the command and its end."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from servekit import Client, answering, client, fetch, get, serving

import gort
from gort import net
from gort.http import serve
from gort.http.access import AccessLog
from gort.http.proxy import Trusted
from gort.http.serving import inherited
from support import PATIENCE_S, command, contexts, environment, gort_cli, make_certificate, until

Run = Callable[..., Any]

APP = """
import time
def app(environ, start):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(0.3)
    start("200 OK", [("Content-Type", "text/plain")])
    return [WORD, environ["PATH_INFO"].encode()]
async def aapp(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"asgi"})
def make():
    return app
number = 7
WORD = b"one "
"""


def test_tls(run: Run, tmp_path: Path) -> None:
    """https, keep-alive, large answers, files; and a client that speaks no TLS holds up nobody."""
    sctx, cctx = contexts(make_certificate(tmp_path, "localhost"))
    schemes = []

    def app(environ: dict[str, Any], start: Any) -> Any:
        schemes.append(environ["wsgi.url_scheme"])
        start("200 OK", [])
        if environ["PATH_INFO"] == "/file":
            return environ["wsgi.file_wrapper"](open(tmp_path / "f", "rb"))
        return [b"x" * 1_000_000]

    (tmp_path / "f").write_bytes(b"file" * 100_000)

    async def main() -> None:
        async with serving(app, tls=sctx) as server, client(server) as plain:
            await plain.conn.write(get())
            async with client(server, cctx) as c:
                for _ in range(2):
                    assert (await c.ask(get()))[2] == b"x" * 1_000_000
                    assert (await c.ask(get("/file")))[2] == b"file" * 100_000

    run(main)
    assert set(schemes) == {"https"}


@pytest.mark.once
def test_whom_a_proxy_says_the_client_is() -> None:
    class Exchange:
        def __init__(self, client: Any, *headers: tuple[bytes, bytes]) -> None:
            self.client, self.scheme, self.headers = client, "http", list(headers)

    def seen(trusted: str, client: Any, *headers: tuple[bytes, bytes]) -> Any:
        exchange: Any = Exchange(client, *headers)
        Trusted(trusted.split()).apply(exchange)
        return exchange.client and exchange.client[0], exchange.scheme

    proxy, other = ("10.0.0.1", 5), ("8.8.8.8", 5)
    xff, https = b"x-forwarded-for", (b"x-forwarded-proto", b"https")
    assert seen("10.0.0.0/8", other, (xff, b"1.2.3.4"), https) == ("8.8.8.8", "http")
    assert seen("10.0.0.0/8", proxy, (xff, b"1.2.3.4"), https) == ("1.2.3.4", "https")
    assert seen("10.0.0.0/8", proxy, (xff, b"6.6.6.6, 1.2.3.4, 10.0.0.7")) == ("1.2.3.4", "http")
    assert seen("10.0.0.0/8", proxy, (xff, b"6.6.6.6"), (xff, b"1.2.3.4")) == ("1.2.3.4", "http")
    assert seen("10.0.0.0/8", proxy, (xff, b"[2001:db8::1]:99")) == ("2001:db8::1", "http")
    assert seen("10.0.0.0/8", proxy, (xff, b"1.2.3.4:99, 10.0.0.2:80")) == ("1.2.3.4", "http")
    assert seen("10.0.0.0/8", proxy, (xff, b"6.6.6.6, nonsense")) == ("10.0.0.1", "http")
    assert seen("10.0.0.0/8", None, (xff, b"1.2.3.4")) == (None, "http")
    assert seen("unix", None, (xff, b"1.2.3.4")) == ("1.2.3.4", "http")
    assert seen("*", other, (xff, b"1.2.3.4")) == ("1.2.3.4", "http")
    with pytest.raises(ValueError, match="nonsense"):
        Trusted(["nonsense"])


def test_proxies_on_the_server(run: Run) -> None:
    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        start("200 OK", [])
        return [f"{environ['wsgi.url_scheme']} {environ['REMOTE_ADDR']}".encode()]

    async def main() -> None:
        data = get("/", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https")
        for proxies, expected in (((), b"http 127.0.0.1"), (("127.0.0.1",), b"https 1.2.3.4")):
            async with serving(app, proxies=proxies) as server:
                assert (await fetch(server, data))[2] == expected

    run(main)


@pytest.mark.parametrize("form", ["common", "json"])
def test_the_access_log(run: Run, form: str) -> None:
    """A line for each request; nothing that a client sends ends a line or a quotation."""
    out = io.StringIO()

    async def main() -> None:
        async with serving(answering(), access_log=AccessLog(form, out)) as server:
            await fetch(server, get('/a"b', "User-Agent: x\x80\ty", "Referer: r"))
            await fetch(server, get("/c", "Content-Length: 3", method="POST") + b"abc")

    run(main)
    # A request is noted after its answer, so the next one may be noted before it.
    first, second = sorted(out.getvalue().splitlines(), key=lambda line: "POST" in line)
    if form == "json":
        record = json.loads(first)
        assert (record["method"], record["target"], record["status"], record["bytes"]) == ("GET", '/a"b', 200, 5)
        assert record["client"] == "127.0.0.1"
        assert json.loads(second)["method"] == "POST"
    else:
        pattern = r'127\.0\.0\.1 - - \[[^]]+\] "GET /a\\x22b HTTP/1\.1" 200 5 "r" "x\\x80\\x09y" \d\.\d{4}'
        assert re.fullmatch(pattern, first), first
        assert '"POST /c HTTP/1.1" 200 5 "-" "-"' in second


def test_metrics(run: Run) -> None:
    async def main() -> None:
        async with serving(answering(), metrics="/metrics") as server:
            for path in ("/a", "/b"):
                await fetch(server, get(path))
            await fetch(server, b"nonsense\r\n\r\n")
            # A request counts when its goroutine is done, which may be after the client has the answer.
            await until(lambda: sum(server._counts.statuses.values()) == 3)
            status, headers, body = await fetch(server, get("/metrics"))
            lines = body.decode().splitlines()
            assert status == 200
            assert headers["content-type"].startswith("text/plain")
            assert 'gort_http_requests_total{status="200"} 2' in lines
            assert 'gort_http_requests_total{status="400"} 1' in lines
            assert "gort_http_requests_served 1" in lines
            assert "gort_http_request_seconds_count 3" in lines
            assert any(line.startswith("gort_gc_cycles_total") for line in lines)  # the runtime's own

    run(main)


@pytest.mark.once
def test_sockets_of_the_parent_process() -> None:
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0", "LISTEN_FDNAMES": "x"}
    assert inherited(environ) == []
    assert environ == {}
    assert inherited({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) == []


def test_serve_takes_sockets_and_several_addresses(run: Run, tmp_path: Path) -> None:
    """A socket that others may have too goes on to take connections when the server has ended."""

    async def main() -> None:
        sock = socket.create_server(("127.0.0.1", 0))
        mine = sock.dup()
        up: gort.Chan[Any] = gort.Chan(1)
        async with gort.Group() as group:
            addresses = [mine, f"unix:{tmp_path / 's'}", "127.0.0.1:0"]
            group.go(
                lambda: serve(answering(), addresses, signals=False, linger_s=0.0, started=lambda *a: up.try_send(a))
            )
            server, listeners = await up.recv()
            assert len(listeners) == 3
            for ln in listeners:
                conn = await net.dial(ln.network, str(ln.addr))
                assert (await Client(conn).ask(get()))[0] == 200
                conn.close()
            server.stop()
        late = await net.dial("tcp", "127.0.0.1:" + str(sock.getsockname()[1]))
        late.close()
        sock.close()
        with socket.socket() as idle, pytest.raises(ValueError, match="does not listen"):
            await serve(answering(), [idle])
        with pytest.raises(ValueError, match="no sockets were inherited"):
            await serve(answering(), "systemd")

    run(main)


def test_options_that_are_none(run: Run) -> None:
    for wrong in ({"interface": "cgi"}, {"parser": "mine"}, {"proxies": ["x"]}, {"interface": "asgi", "loop": "uv"}):
        with pytest.raises(ValueError, match=str(next(reversed(wrong.values()))[0])):
            gort.http.Server(answering(), **wrong)


# ---- the command ----------------------------------------------------------------------------------------------------


@contextmanager
def served(folder: Path, *args: str, **env: str) -> Iterator[tuple[Any, str]]:
    """`gort serve` in a process of its own: (it, its address)."""
    (folder / "webapp.py").write_text(APP)
    child = subprocess.Popen(
        command("serve", "-b", "127.0.0.1:0", *args),
        cwd=folder,
        stderr=subprocess.PIPE,
        env=environment(**env),
        text=True,
    )
    assert child.stderr is not None
    try:
        line = child.stderr.readline()
        found = re.search(r"https?://(\S+)", line)
        assert found, line + child.stderr.read()
        yield child, found[1]
    finally:
        child.kill()
        child.wait()
        child.stderr.close()


def ask(address: str, path: str = "/") -> bytes:
    """A request of a client in this thread."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port))) as s:
        s.sendall(get(path, "Connection: close"))
        with s.makefile("rb") as f:
            return f.read()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_and_ends_gracefully(tmp_path: Path, number: int) -> None:
    """The request that is being served is answered, and the status is 0."""
    with served(tmp_path, "webapp:app") as (child, address):
        assert ask(address, "/x").endswith(b"one /x")
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port))) as s:
            s.sendall(get("/slow"))
            child.send_signal(number)
            with s.makefile("rb") as f:
                assert f.read().endswith(b"one /slow")
        assert child.wait(PATIENCE_S) == 0


def test_the_command_finds_the_application(tmp_path: Path) -> None:
    with served(tmp_path, "webapp:aapp", "--access-log", "common") as (_, address):
        assert ask(address).endswith(b"asgi")
    with served(tmp_path, "webapp:make", "--factory", "--procs", "2") as (_, address):
        assert ask(address).endswith(b"one /")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nowhere", "cannot import 'nowhere'"),
        ("webapp:nothing", "has no 'nothing'"),
        ("webapp:number", "is no application, but int"),
        ("bad", "ZeroDivisionError"),
    ],
)
@pytest.mark.once
def test_what_is_no_application(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "webapp.py").write_text(APP)
    (tmp_path / "bad.py").write_text("1 / 0")
    done = gort_cli("serve", name, cwd=tmp_path)
    assert done.returncode == 2
    assert text in done.stderr
    assert "Panic" not in done.stderr


@pytest.mark.once
def test_an_address_that_is_taken(tmp_path: Path) -> None:
    (tmp_path / "webapp.py").write_text(APP)
    with socket.create_server(("127.0.0.1", 0)) as s:
        done = gort_cli("serve", "webapp:app", "-b", f"127.0.0.1:{s.getsockname()[1]}", cwd=tmp_path)
    assert done.returncode == 2
    assert "Address already in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_inherited_sockets(tmp_path: Path) -> None:
    """As systemd gives them: from descriptor 3 on, with LISTEN_PID set to the process itself."""
    (tmp_path / "webapp.py").write_text(APP)
    start = (
        "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid()); os.environ['LISTEN_FDS'] = '1';"
        "os.dup2(int(sys.argv[1]), 3); os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
    )
    with socket.create_server(("127.0.0.1", 0)) as s:
        args = [sys.executable, "-c", start, str(s.fileno()), "-m", "gort", "serve", "webapp:app", "-b", "systemd"]
        child = subprocess.Popen(args, cwd=tmp_path, pass_fds=[s.fileno()], env=environment())
        try:
            assert ask(f"127.0.0.1:{s.getsockname()[1]}", "/x").endswith(b"one /x")
            child.terminate()
            assert child.wait(PATIENCE_S) == 0
        finally:
            child.kill()
            child.wait()


@pytest.mark.once
def test_reload(tmp_path: Path) -> None:
    """A changed file of Python is seen by the next requests; SIGTERM ends both processes."""
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
    (tmp_path / "webapp.py").write_text(APP)
    args = command("serve", "webapp:app", "-b", f"127.0.0.1:{port}", "--reload", "--app-dir", str(tmp_path))
    child = subprocess.Popen(args, stderr=subprocess.PIPE, env=environment(PYTHONDONTWRITEBYTECODE="1"), text=True)
    assert child.stderr is not None
    try:
        assert "serving webapp:app" in child.stderr.readline()
        assert ask(f"127.0.0.1:{port}", "/x").endswith(b"one /x")
        (tmp_path / "webapp.py").write_text(APP.replace('b"one "', 'b"another "'))
        assert "webapp.py has changed" in child.stderr.readline()
        assert "serving webapp:app" in child.stderr.readline()
        assert ask(f"127.0.0.1:{port}", "/x").endswith(b"another /x")
        child.terminate()
        assert child.wait(PATIENCE_S) == 0
        assert child.stderr.read() == ""  # nobody writes to it any more
    finally:
        child.kill()
        child.wait()
        child.stderr.close()
