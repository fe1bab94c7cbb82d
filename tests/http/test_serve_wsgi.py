"""WSGI applications on the server: PEP 3333, and that a view that blocks holds up nobody else."""

from __future__ import annotations

import contextlib
import io
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest
from servekit import answering, client, fetch, get, serving

import gort
from gort._runtime.core.debugvars import gil_enabled
from support import until

Run = Callable[..., Any]


def test_what_pep_3333_asks(run: Run) -> None:
    """wsgiref.validate raises in the application's place for whatever is wrong on our side."""

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        asked = environ["wsgi.input"].read(4) + environ["wsgi.input"].readline() + environ["wsgi.input"].read(1000)
        environ["wsgi.errors"].write("")
        start("200 OK", [("Content-Type", "text/plain")])
        return [asked, environ["QUERY_STRING"].encode(), environ["HTTP_X_TWICE"].encode()]

    async def main() -> None:
        async with serving(validator(app)) as server, client(server) as c:
            for _ in range(2):
                data = get("/p?a=b", "X-Twice: 1", "X-Twice: 2", method="POST", body=b"line\nanother")
                status, headers, body = await c.ask(data, "POST")
                assert (status, headers["content-type"], body) == (200, "text/plain", b"line\nanothera=b1,2")

    run(main)


def test_the_environ(run: Run) -> None:
    seen: dict[str, Any] = {}

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        seen.update(environ)
        return answering()(environ, start)

    async def main() -> None:
        async with serving(app, root_path="/root") as server:
            headers = ("Content-Type: text/x", "X_Real_Ip: forged", "X-Real-Ip: true", "Cookie: a=1", "Cookie: b=2")
            await fetch(server, get("/root/%e2%82%ac/x%2Fy?q=%20", *headers))
            assert seen["SCRIPT_NAME"] == "/root"
            assert seen["PATH_INFO"].encode("latin-1").decode() == "/€/x/y"
            assert seen["QUERY_STRING"] == "q=%20"
            assert seen["CONTENT_TYPE"] == "text/x"
            assert seen["HTTP_X_REAL_IP"] == "true"
            assert seen["HTTP_COOKIE"] == "a=1;b=2"
            assert (seen["REMOTE_ADDR"], seen["SERVER_NAME"]) == ("127.0.0.1", "127.0.0.1")
            assert seen["SERVER_PORT"] == server.address.rpartition(":")[2]
            assert seen["SERVER_PROTOCOL"] == "HTTP/1.1"
            await fetch(server, b"GET http://other/absolute?x HTTP/1.1\r\nHost: other\r\n\r\n")
            assert (seen["PATH_INFO"], seen["QUERY_STRING"]) == ("/absolute", "x")

    run(main)


def test_a_view_that_blocks_holds_up_nobody_else(run: Run) -> None:
    """A hundred views wait in threading.Event, and another request is answered.  It is what sets the event."""
    gate = threading.Event()
    waiting = threading.Semaphore(0)

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/wait":
            waiting.release()
            gate.wait()
        elif environ["PATH_INFO"] == "/set":
            gate.set()
        return answering()(environ, start)

    async def main() -> None:
        async with serving(app) as server, gort.Group() as group:
            waits = [group.go(fetch, server, get("/wait")) for _ in range(100)]
            for _ in waits:
                await gort.blocking(waiting.acquire)
            assert (await fetch(server, get("/other")))[0] == 200
            assert not any(w.done for w in waits)
            assert (await fetch(server, get("/set")))[0] == 200
            assert [(await w)[0] for w in waits] == [200] * 100

    run(main)


def test_the_application_keeps_its_thread(run: Run) -> None:
    """From the call to the last part and close(), while the client is slow and while others run."""
    threads: set[int] = set()

    class Parts:
        def __iter__(self) -> Any:
            for _ in range(20):
                threads.add(threading.get_ident())
                yield b"x" * 100_000

        def close(self) -> None:
            threads.add(threading.get_ident())

    def app(environ: dict[str, Any], start: Any) -> Any:
        threads.add(threading.get_ident())
        start("200 OK", [])
        return Parts()

    async def main() -> None:
        async with serving(app) as server, client(server) as c:
            assert len((await c.ask(get()))[2]) == 2_000_000

    run(main)
    assert len(threads) == 1


def test_a_view_may_wait_for_goroutines(run: Run) -> None:
    async def main() -> None:
        ch: gort.Chan[bytes] = gort.Chan()

        def app(environ: dict[str, Any], start: Any) -> list[bytes]:
            start("200 OK", [])
            return [gort.wait(ch.recv())]

        async with serving(app) as server, gort.Group() as group:
            asked = group.go(fetch, server, get())
            await ch.send(b"from a goroutine")
            assert (await asked)[2] == b"from a goroutine"

    run(main)


def test_write_and_exc_info(run: Run) -> None:
    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        import sys

        if environ["PATH_INFO"] == "/write":
            write = start("200 OK", [])
            write(b"one,")
            write(b"two,")
            return [b"three"]
        start("200 OK", [])
        try:
            raise KeyError
        except KeyError:
            start("500 Oops", [("X-A", "b")], sys.exc_info())
        return [b"replaced"]

    async def main() -> None:
        async with serving(app) as server, client(server) as c:
            assert (await c.ask(get("/write")))[2] == b"one,two,three"
            status, headers, body = await c.ask(get())
            assert (status, headers["x-a"], body) == (500, "b", b"replaced")

    run(main)


class Late(list[bytes]):
    """Calls write() when all of the response is there."""

    write: Callable[[bytes], None]

    def close(self) -> None:
        self.write(b"late")


def broken(environ: dict[str, Any], start: Any) -> Any:
    """Fails in the way that the path says."""
    how = environ["PATH_INFO"]
    if how == "/raise":
        raise ValueError("a view's own")
    if how == "/twice":
        start("200 OK", [])
    if how == "/silent":
        return [b"x"]
    header = {"/split": ("X-A", "b\r\nX-C: d"), "/name": ("X A", "b"), "/str": ("X-A", "b")}.get(how, ("X-A", "b"))
    write = start("what" if how == "/status" else "200 OK", [header])
    if how == "/late":
        parts = Late([b"x"])
        parts.write = write
        return parts
    return ["text"] if how == "/str" else [b"x"]


@pytest.mark.parametrize("how", ["raise", "twice", "silent", "split", "name", "status", "str", "late"])
def test_an_application_that_fails(run: Run, capfd: pytest.CaptureFixture[str], how: str) -> None:
    """The client gets 500 and not the traceback, which goes to standard error; the connection stays."""

    async def main() -> None:
        async with serving(broken) as server, client(server) as c:
            for _ in range(2):
                status, headers, body = await c.ask(get(f"/{how}"))
                assert (status, body) == (500, b"500 Internal Server Error\n")
                assert "x-c" not in headers
            assert (await c.ask(get("/good")))[0] == 200

    run(main)
    assert f"the application has failed (GET /{how})" in capfd.readouterr().err


@pytest.mark.parametrize("length", [None, "1000"])
def test_a_response_that_fails_half_way_is_cut_off(run: Run, capfd: pytest.CaptureFixture[str], length: Any) -> None:
    """The client must not take it for whole."""

    def app(environ: dict[str, Any], start: Any) -> Any:
        start("200 OK", [("Content-Length", length)] if length else [])
        yield b"half"
        raise ValueError("half-way")

    async def main() -> None:
        async with serving(app) as server, client(server) as c:
            with pytest.raises(ConnectionError):
                await c.ask(get())

    run(main)
    assert "half-way" in capfd.readouterr().err


def test_more_than_the_content_length_is_not_sent(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        async with serving(answering(b"too long", "200 OK", ("Content-Length", "3"))) as server, client(server) as c:
            assert (await c.ask(get()))[2] == b"too"
            assert await c.ended()
            async with client(server) as c2:
                assert (await c2.ask(get(method="HEAD"), "HEAD"))[1]["content-length"] == "3"
                assert await c2.ended()

    run(main)
    assert "longer than its content-length" in capfd.readouterr().err


@pytest.mark.parametrize("kind", ["file", "part of a file", "no descriptor"])
def test_a_file_is_sent_and_closed(run: Run, kind: str) -> None:
    contents = bytes(range(256)) * 20_000
    closed = []

    def app(environ: dict[str, Any], start: Any) -> Any:
        with contextlib.ExitStack() as stack:
            f: Any = io.BytesIO(contents) if kind == "no descriptor" else stack.enter_context(temporary())
            stack.pop_all()
        if kind == "part of a file":
            f.seek(100_000)
        close = f.close
        wrapper = environ["wsgi.file_wrapper"](f)
        wrapper.close = lambda: (closed.append(1), close())
        start("200 OK", [("Content-Type", "application/octet-stream")])
        return wrapper

    def temporary() -> Any:
        f = tempfile.TemporaryFile()  # noqa: SIM115  (the server closes it)
        f.write(contents)
        f.flush()
        f.seek(0)
        return f

    async def main() -> None:
        async with serving(app) as server, client(server) as c:
            for _ in range(2):
                assert (await c.ask(get()))[2] == contents[100_000 if kind == "part of a file" else 0 :]

    run(main)
    assert closed == [1, 1]


def test_a_dump_shows_which_request_a_goroutine_serves(run: Run) -> None:
    gate, begun = threading.Event(), threading.Event()

    def slow(environ: dict[str, Any], start: Any) -> list[bytes]:
        begun.set()
        gate.wait()
        return answering()(environ, start)

    async def main() -> None:
        async with serving(slow) as server, gort.Group() as group:
            asked = group.go(fetch, server, get("/what/is/slow"))
            try:
                await until(begun.is_set)
                await until(lambda: gort.runtime.stack(all=True).count("{request: GET /what/is/slow}") == 2)
                dump = gort.runtime.stack(all=True)
                view = dump[dump.rindex("{request: GET") :]
                # Without the GIL a dump of the uncompiled core says of a thread that runs where its goroutine has begun.
                assert ("slow(" if gil_enabled() or gort.runtime.compiled else "Rules.enter(") in view
            finally:
                gate.set()
            assert (await asked)[0] == 200

    run(main)


def test_the_graceful_end_loses_no_request(run: Run) -> None:
    """Clients count: what they have sent is answered, on connections that are idle, busy, and not accepted yet."""
    sent, answered, refused = [0] * 30, [0] * 30, []

    async def keep_asking(server: Any, i: int) -> None:
        while True:
            try:
                async with client(server) as c:
                    while True:
                        sent[i] += 1
                        status, headers, body = await c.ask(get(f"/{i}"))
                        assert (status, body) == (200, b"hello")
                        answered[i] += 1
                        if headers.get("connection") == "close":
                            break
            except ConnectionRefusedError:
                refused.append(i)
                return

    async def main() -> None:
        async with gort.Group() as group:
            async with serving(answering(), linger_s=60.0, grace_s=60.0) as server:
                for i in range(30):
                    group.go(keep_asking, server, i)
                await until(lambda: min(answered) > 20)
            assert server._open == set()

    run(main)
    assert sent == answered
    assert sorted(refused) == list(range(30))


def test_the_end_does_not_wait_for_ever(run: Run) -> None:
    """After grace_s what is left is given up; abort() does not wait at all."""

    async def main() -> None:
        for grace_s in (0.02, 1000.0):
            release: gort.Chan[None] = gort.Chan()

            def app(environ: dict[str, Any], start: Any, release: Any = release) -> list[bytes]:
                gort.wait(release.recv_ok())
                return answering()(environ, start)

            async with gort.Group() as group:
                async with serving(app, grace_s=grace_s) as server:
                    c = await gort.net.dial("tcp", server.address)
                    await c.write(get())
                    await until(
                        lambda server=server: any(c.protocol and c.protocol.exchange for c in list(server._open))
                    )
                    server.stop()
                    if grace_s > 1:
                        group.go(server.abort)
                c.close()
            release.close()

    run(main)


@pytest.mark.parametrize("before", [0, 5])
def test_a_view_is_cancelled_at_the_end(run: Run, before: int, capfd: pytest.CaptureFixture[str]) -> None:
    """After grace_s the view's own goroutine is cancelled: its gort.wait raises Cancelled, and it may clean up.  So it is
    where the path is known to block (gort.blocking)."""
    told: list[str] = []
    waits: gort.Chan[None] = gort.Chan()
    began: gort.Chan[None] = gort.Chan(1)

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        if environ["QUERY_STRING"] == "wait":
            began.try_send(None)
            try:
                gort.wait(waits.recv_ok())
            except gort.Cancelled:
                told.append("cancelled")
                gort.wait(gort.sleep(0.001))
                told.append("cleaned up")
                raise
        else:
            time.sleep(0.002)  # a habit
        return answering()(environ, start)

    async def main() -> None:
        async with serving(app, grace_s=0.0) as server, client(server) as c:
            for _ in range(before):
                assert (await c.ask(get("/?")))[0] == 200
            await c.conn.write(get("/?wait"))
            await began.recv()
            server.stop()
            assert await c.ended()
            await until(lambda: not server._open)
            assert told == ["cancelled", "cleaned up"]

    run(main)
    assert capfd.readouterr().err == ""


def test_a_unix_socket(run: Run, tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        seen.update(environ)
        return answering()(environ, start)

    async def main() -> None:
        async with serving(app, address=str(tmp_path / "s")) as server:
            assert (await fetch(server, get()))[0] == 200
        assert "REMOTE_ADDR" not in seen
        assert seen["SERVER_NAME"] == str(tmp_path / "s")

    run(main)


def test_strings_of_a_class_of_the_applications(run: Run) -> None:
    """As Markup and SafeString are."""

    class Text(str):
        pass

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        start(Text("231 Of its own"), [(Text("X-Name"), Text("value")), (Text("Content-Length"), Text("5"))])
        return [b"hello"]

    async def main() -> None:
        async with serving(app) as server:
            status, headers, body = await fetch(server, get())
            assert (status, headers["x-name"], body) == (231, "value", b"hello")

    run(main)


@pytest.mark.parametrize("parts", [b"x", b"hello", None])
def test_parts_that_are_no_bytes(run: Run, parts: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing has gone out, so the client is told."""

    def app(environ: dict[str, Any], start: Any) -> Any:
        start("200 OK", [])
        return iter(["text"]) if parts is None else parts

    async def main() -> None:
        async with serving(app) as server:
            assert (await fetch(server, get()))[0] == 500

    run(main)
    assert "not bytes" in capfd.readouterr().err
