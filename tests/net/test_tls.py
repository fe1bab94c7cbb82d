"""TLS: server and client, SNI, ALPN, certificates that do not fit, truncation, both directions at once."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from netkit import contexts, go_result, pair

import gort
from gort import net
from support import PATIENCE_S


async def echo_tls(conn: Any) -> None:
    try:
        async with conn:
            while data := await conn.read():
                await conn.write(data)
    except (OSError, ssl.SSLError):
        pass


def test_echo_alpn_and_sni(run: Any, certificates: Any) -> None:
    sctx, cctx = contexts(certificates["localhost"])
    sctx.set_alpn_protocols(["h2", "http/1.1"])
    cctx.set_alpn_protocols(["http/1.1"])
    names: list[Any] = []
    sctx.sni_callback = lambda _obj, name, _ctx: names.append(name)

    async def main() -> None:
        async with await net.listen_tls("tcp", "127.0.0.1:0", sctx) as ln:

            async def serve() -> None:
                async for conn in ln:
                    gort.go(echo_tls, conn)

            gort.go(serve)
            async with await net.dial_tls("tcp", str(ln.addr), cctx, server_name="localhost", timeout=PATIENCE_S) as c:
                assert c.alpn_protocol == "http/1.1"
                big = bytes(range(256)) * 4096
                gort.go(c.write, big)
                assert await c.read_exactly(len(big)) == big
                await c.write(b"line\nrest")
                assert await c.read_until(b"\n") == b"line\n"
                assert await c.read_exactly(4) == b"rest"
                await c.close_write()
                assert await c.read() == b""

    run(main)
    assert names == ["localhost"]


def test_certificate_errors_name_the_mistake(run: Any, certificates: Any) -> None:
    sctx, cctx = contexts(certificates["other.test"])
    _, stranger = contexts(certificates["localhost"])

    async def main() -> None:
        async with await net.listen_tls("tcp", "127.0.0.1:0", sctx) as ln:

            async def serve() -> None:
                async for conn in ln:
                    gort.go(echo_tls, conn)

            gort.go(serve)
            with pytest.raises(ssl.SSLCertVerificationError, match=r"certificate of localhost: [Hh]ostname mismatch"):
                await net.dial_tls("tcp", str(ln.addr), cctx, server_name="localhost")
            with pytest.raises(ssl.SSLCertVerificationError, match="self-signed certificate"):
                await net.dial_tls("tcp", str(ln.addr), stranger, server_name="other.test")
            async with await net.dial_tls("tcp", str(ln.addr), cctx, server_name="other.test") as c:
                await c.write(b"still serving")
                assert await c.read() == b"still serving"

    run(main)


def test_truncation_is_no_end_of_stream(run: Any, certificates: Any) -> None:
    sctx, cctx = contexts(certificates["localhost"])

    async def main() -> None:
        async with pair() as (a, b):
            out = go_result(net.tls_server, b, sctx)
            c = await net.tls_client(a, "localhost", cctx)
            s = await out.recv()
            await s.write(b"part")
            s.close()  # without a close_notify
            assert await c.read() == b"part"
            with pytest.raises(ssl.SSLEOFError):
                await c.read()
            with pytest.raises(net.Closed):
                c.close()
                await c.read()

    run(main)


def test_deadline_and_a_peer_that_goes_away_in_the_handshake(run: Any, certificates: Any) -> None:
    _, cctx = contexts(certificates["localhost"])

    async def main() -> None:
        async with pair() as (a, _b):
            a.set_deadline(0.02)
            with pytest.raises(net.DeadlineExceeded):
                await net.tls_client(a, "localhost", cctx)
        async with pair() as (a, b):
            b.close()
            with pytest.raises(ConnectionResetError):
                await net.tls_client(a, "localhost", cctx)

    run(main)


def test_a_server_that_speaks_no_tls(run: Any, certificates: Any) -> None:
    _, cctx = contexts(certificates["localhost"])

    async def main() -> None:
        async with pair() as (a, b):
            await b.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            with pytest.raises(ssl.SSLError):
                await net.tls_client(a, "localhost", cctx)

    run(main)


def test_a_client_that_leaves_without_a_word_costs_no_ssl_object(run: Any, certificates: Any) -> None:
    """Ten thousand that left together took 260 MiB."""
    sctx, _ = contexts(certificates["localhost"])
    made: list[Any] = []
    sctx.wrap_bio = lambda *args, **kwargs: made.append(args)  # type: ignore[method-assign,assignment]

    async def main() -> None:
        async with await net.listen_tls("tcp", "127.0.0.1:0", sctx) as ln:
            (await net.dial("tcp", str(ln.addr))).close()
            async with await ln.accept() as conn:
                for _ in range(2):  # as often as it is asked
                    with pytest.raises(
                        ConnectionResetError, match="the peer closed the connection during the handshake"
                    ):
                        await conn.handshake()

    run(main)
    assert made == []
