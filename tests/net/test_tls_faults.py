"""Faults of TLS connections that users of other libraries reported, each with the right value."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import pytest
from netkit import contexts, descriptors, go_result, pair, renegotiating_server, tls_pair

import gort
import gort.exec
from gort import net
from gort.net import tls
from support import parked, until


def test_n3_leaving_the_block_while_another_goroutine_is_blocked_writing(run: Any, certificates: Any) -> None:
    async def main() -> None:
        async with tls_pair(certificates["localhost"]) as (a, _b):
            async with a:
                out = go_result(a.write, bytes(64 << 20))  # nobody reads
                await parked(1, "IO wait")
            assert a.closed
            assert isinstance(await out.recv(), net.Closed)

    run(main)


def test_n3_leaving_the_block_while_the_peer_reads_nothing(run: Any, certificates: Any, monkeypatch: Any) -> None:
    """The close_notify finds no room.  Its time is limited."""
    monkeypatch.setattr(tls, "GOODBYE_S", 0.01)

    async def main() -> None:
        async with tls_pair(certificates["localhost"]) as (a, b):
            async with a:
                a.conn.set_write_deadline(0.01)
                with pytest.raises(net.DeadlineExceeded):
                    while True:
                        await a.conn.write(bytes(1 << 16))  # beneath TLS: what counts is that the buffers are full
                a.conn.set_write_deadline(None)
            assert a.closed
            assert not b.closed

    run(main)


def test_n3_leaving_the_block_still_says_goodbye(run: Any, certificates: Any) -> None:
    async def main() -> None:
        async with tls_pair(certificates["localhost"]) as (a, b):
            async with a:
                await a.write(b"last")
            assert await b.read() == b"last"
            assert await b.read() == b""

    run(main)


def public(cls: type) -> set[str]:
    """The names that gort's own classes give to users of a connection or listener."""
    found = set(FD_METHODS)
    for base in cls.__mro__:
        if base.__module__ in ("gort.net", "gort.net.conn", "gort.net.listen"):
            found |= {name for name in vars(base) if not name.startswith("_")}
    return found - {"noun", "on_error"}


FD_METHODS = {"read", "readinto", "write", "writev"}


def test_n8_a_tls_connection_has_the_methods_of_a_connection() -> None:
    assert public(net.Conn) <= set(dir(net.TLSConn))
    assert public(net.Listener) - FD_METHODS <= set(dir(net.TLSListener))
    for name in ("network", "on_error", "closed"):
        assert hasattr(net.TLSListener, name)


def test_n8_sendfile_and_the_options(run: Any, certificates: Any, tmp_path: Any) -> None:
    data = bytes(range(256)) * 8192
    (tmp_path / "file").write_bytes(data)

    async def main() -> None:
        async with tls_pair(certificates["localhost"]) as (a, b):
            with open(tmp_path / "file", "rb") as f:
                out = go_result(a.sendfile, f, 5, 1_000_000)
                assert await b.read_exactly(1_000_000) == data[5:1_000_005]
                assert await out.recv() == 1_000_000
            a.set_no_delay(False)
            assert a.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
            assert (a.fileno(), a.network) == (a.conn.fileno(), "tcp")
            b.reset()
            with pytest.raises(ConnectionResetError):
                await a.read()

    run(main)


def test_n8_a_write_that_fails_counts_its_own_bytes(run: Any, certificates: Any) -> None:
    async def main() -> None:
        async with tls_pair(certificates["localhost"]) as (a, b):
            out = go_result(a.write, bytes(64 << 20))
            await parked(1, "IO wait")
            assert await b.read_exactly(100_000) == bytes(100_000)
            a.set_write_deadline(0)
            error = await out.recv()
            assert isinstance(error, net.DeadlineExceeded)
            assert 0 < error.written < 64 << 20  # type: ignore[attr-defined]
            got = 100_000
            a.conn.close_write()
            with pytest.raises(ssl.SSLEOFError):
                while piece := await b.read():
                    got += len(piece)
            assert error.written <= got  # type: ignore[attr-defined]

    run(main)


class Held:
    """A connection whose next read gives nothing before `go_on` is closed."""

    def __init__(self, conn: net.Conn) -> None:
        self.conn = conn
        self.reads = 0
        self.go_on: gort.Chan[None] = gort.Chan()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.conn, name)

    async def read(self, n: int) -> bytes:
        self.reads += 1
        data = await self.conn.read(n)
        await self.go_on.recv_ok()
        return data


def test_n8_a_write_during_a_renegotiation(run: Any, certificates: Any) -> None:
    """The server asks for a renegotiation (TLS 1.2).  While it goes on, a write has to wait for what the peer says; here
    with a goroutine that reads and with none."""
    command, port, cctx = renegotiating_server(certificates["localhost"])

    async def main(reader: bool) -> None:
        options = {"stdin": gort.exec.PIPE, "stdout": gort.exec.PIPE, "stderr": gort.exec.STDOUT}
        async with await gort.exec.start(*command, **options) as server:
            said = b""
            while b"ACCEPT" not in said:
                piece = await server.stdout.read()
                if not piece:
                    pytest.skip(f"this openssl does not serve: {said!r}")
                said += piece
            async with await net.dial_tls("tcp", f"127.0.0.1:{port}", cctx, "localhost") as c:
                if reader:
                    gort.go(swallow, c.read)
                await c.write(b"x")
                while b"x" not in said.partition(b"CIPHER is")[2].partition(b"\n")[2]:
                    said += await server.stdout.read()
                held = Held(c.conn)
                if reader:
                    await parked(1, "IO wait")
                    c.conn = held  # type: ignore[assignment]
                await server.stdin.write(b"r\n")  # renegotiate
                if reader:
                    # The read that goes on takes the server's wish.  The next one is for the server's part of the new
                    # handshake: until it comes, nothing can be written.
                    await until(lambda: held.reads == 1)
                wire = b"0123456789" * 1000 + b"\n"
                said = b""

                async def heard() -> None:
                    nonlocal said
                    while said.count(b"0123456789") < 20 * 1000:
                        piece = await server.stdout.read()
                        assert piece, said[-300:]
                        said += piece

                async def write() -> None:
                    for _ in range(20):
                        await c.write(wire)

                async with gort.Group() as g:
                    g.go(heard)
                    g.go(write)
                    if reader:
                        await parked(1, "sync.Mutex.Lock")
                    held.go_on.close()

    run(main, True)
    run(main, False)


async def swallow(read: Any) -> None:
    try:
        while await read():
            pass
    except OSError:
        pass


def test_n8_listeners(run: Any, certificates: Any, monkeypatch: Any) -> None:
    sctx, cctx = contexts(certificates["localhost"])
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *args: real(host.rstrip("."), *args))

    async def main() -> None:
        before = descriptors()
        said: list[str] = []
        async with await net.listen_tls("tcp", "127.0.0.1:0", sctx) as ln:
            assert not ln.closed
            ln.on_error = said.append
            assert ln.inner.on_error == said.append
            assert repr(ln) == f"<gort.net.TLSListener over <gort.net.Listener tcp {ln.addr}>>"
            ln.set_deadline(0)
            with pytest.raises(net.DeadlineExceeded):
                await ln.accept()
            ln.set_deadline(None)

            async def serve() -> None:
                async for conn in ln:
                    gort.go(say, conn)

            gort.go(serve)
            port = ln.addr.port
            for address in (ln.addr, f":{port}", f"localhost:{port}", f"localhost.:{port}"):
                async with await net.dial_tls(
                    "tcp", address, cctx, None if "local" in str(address) else "localhost"
                ) as c:
                    assert await c.read() == b"hello"
            with pytest.raises(ssl.SSLCertVerificationError, match="localhost"):
                await net.dial_tls("tcp", f":{port}", ssl.create_default_context())
            wrong = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            with pytest.raises(ssl.SSLError):
                await net.dial_tls("tcp", ln.addr, wrong)
        assert ln.closed
        del c
        await until(lambda: descriptors() <= before + 2)

    run(main)


async def say(conn: net.TLSConn) -> None:
    try:
        async with conn:
            await conn.write(b"hello")
    except OSError:
        pass


def test_n12_after_a_failed_handshake_everything_says_why(run: Any, certificates: Any) -> None:
    _, cctx = contexts(certificates["localhost"])

    async def main() -> None:
        async with pair() as (a, b):
            await b.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            c = net.TLSConn(a, cctx, False, "localhost")
            with pytest.raises(ssl.SSLError) as first:
                await c.handshake()
            for again in (c.handshake, c.read, lambda: c.write(b"x")):
                with pytest.raises(ssl.SSLError) as later:
                    await again()
                assert str(later.value) == str(first.value)
            depths = []
            for _ in range(5):
                with pytest.raises(ssl.SSLError) as later:
                    await c.handshake()
                depths.append(len(later.traceback))
            assert len(set(depths)) == 1, "the traceback grows"

    run(main)
