"""gort.select over reads of a TLS connection: one case runs, a loser has taken nothing."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from netkit import contexts, pair, renegotiating_server, tls_pair

import gort
from gort import net
from support import dose, parked, until


def test_read_and_readinto(run: Any, certificates: Any) -> None:
    async def main() -> None:
        async with tls_pair(certificates["localhost"]) as (a, b):
            assert await gort.select(b.read(10), gort.sleep(0.001)) == (1, None, True)
            await a.write(b"one")
            assert await gort.select(b.read(2), gort.sleep(3600)) == (0, b"on", True)
            assert await b.read() == b"e"  # the losing read has taken nothing
            b.unread(b"kept")
            assert await gort.select(b.read(), gort.Chan[int]().recv()) == (0, b"kept", True)
            assert await gort.select(b.read(0), gort.sleep(3600)) == (0, b"", True)
            buffer = bytearray(8)

            async def answer() -> None:
                await parked(1, "select")
                await a.write(b"two")

            gort.go(answer)
            assert await gort.select(n=b.readinto(buffer), t=gort.sleep(3600)) == ("n", 3, True)
            assert buffer[:3] == b"two"
            await a.write(b"three")
            with pytest.raises(TypeError, match="writable"):
                gort.select(b.readinto(b"constant"), gort.sleep(3600))
            assert await b.read() == b"three"  # the refused case has taken nothing
            await a.close_write()
            assert await gort.select(b.read(), gort.sleep(3600)) == (0, b"", True)
            b.close()
            with pytest.raises(net.Closed):
                await gort.select(b.read(), gort.sleep(3600))

    run(main)


def test_a_select_that_never_waits_asks_the_system(run: Any, certificates: Any) -> None:
    """What has come since the last look is found, although a loop of such selects lets the poller look at nothing."""

    async def main() -> None:
        async with tls_pair(certificates["localhost"]) as (a, b):
            for _ in range(20):
                assert (await gort.select(b.read(), default=True))[0] == -1
                await a.write(b"x")
                assert await gort.select(b.read(), default=True) == (0, b"x", True)

    run(main)


def test_close_and_a_deadline_end_a_waiting_select(run: Any, certificates: Any) -> None:
    async def main() -> None:
        async with tls_pair(certificates["localhost"]) as (_, b):
            b.set_read_deadline(0.01)
            with pytest.raises(net.DeadlineExceeded):
                await gort.select(b.read(), gort.sleep(3600))
            b.set_read_deadline(None)

            async def close() -> None:
                await parked(1, "select")
                b.close()

            gort.go(close)
            with pytest.raises(net.Closed):
                await gort.select(b.read(), gort.sleep(3600))

    run(main)


def test_a_lost_read_is_out_of_the_way_at_once(run1: Any, certificates: Any) -> None:
    """When a select is over, no helper of it stands between the next read and the connection."""

    async def main() -> None:
        ch: gort.Chan[int] = gort.Chan()
        async with tls_pair(certificates["localhost"]) as (a, b):

            async def send() -> None:
                await parked(1, "select")
                await a.write(b"data")  # the helper and the channel are ready at the same time
                await ch.send(1)

            gort.go(send)
            name, value, _ = await gort.select(ch=ch.recv(), data=b.read())
            if name == "ch":
                assert value == 1
                assert b._feeding.try_lock()
                b._feeding.unlock()
                assert await b.read() == b"data"
            else:
                assert value == b"data"
                assert await ch.recv() == 1

    for _ in range(20):
        run1(main)


def test_before_the_handshake_it_is_refused(run1: Any, certificates: Any) -> None:
    sctx, cctx = contexts(certificates["localhost"])

    async def main() -> None:
        async with await net.listen_tls("tcp", "127.0.0.1:0", sctx) as ln, gort.Group() as group:
            dialled = group.go(net.dial_tls, "tcp", str(ln.addr), cctx, server_name="localhost")
            async with await ln.accept() as b:
                with pytest.raises(TypeError, match=r"TLSConn.read cannot .*; `await conn\.handshake\(\)` first"):
                    gort.select(b.read(), gort.sleep(1))
                await b.handshake()
                a = await dialled
                await a.write(b"x")
                assert await gort.select(b.read(), gort.sleep(3600)) == (0, b"x", True)
                a.close()

    run1(main)


def test_what_was_cut_off_is_an_error(run: Any, certificates: Any) -> None:
    async def main() -> None:
        async with tls_pair(certificates["localhost"]) as (a, b):
            a.conn.close_write()  # without a close_notify
            with pytest.raises(ssl.SSLEOFError):
                await gort.select(b.read(), gort.sleep(3600))

    run(main)


def test_tls_in_tls(run: Any, certificates: Any) -> None:
    sctx, cctx = contexts(certificates["localhost"])

    async def main() -> None:
        async with tls_pair(certificates["localhost"]) as (a, b), gort.Group() as group:
            server = group.go(net.tls_server, b, sctx)
            client = await net.tls_client(a, "localhost", cctx)  # type: ignore[arg-type]
            within = await server
            assert await gort.select(within.read(), gort.sleep(0.001)) == (1, None, True)
            await client.write(b"deep")
            assert await gort.select(within.read(), gort.sleep(3600)) == (0, b"deep", True)

    run(main)


def test_losers_have_no_effect_in_a_storm(run: Any, certificates: Any) -> None:
    """Values and bytes come while many selects wait for both, beside a plain reader: nothing is lost or there twice."""
    values = dose(200)
    writes = (values + 2) // 3

    async def main() -> None:
        ch: gort.Chan[int] = gort.Chan()
        stop: gort.Chan[None] = gort.Chan()
        got: list[int] = []
        data: list[bytes] = []

        async with tls_pair(certificates["localhost"]) as (a, b), gort.Group() as group:

            async def selects() -> None:
                while True:
                    name, value, _ = await gort.select(
                        v=ch.recv(), data=b.read(3), stop=stop.recv(), t=gort.sleep(0.05)
                    )
                    if name == "v":
                        got.append(value)
                    elif name == "data":
                        data.append(value)
                    elif name == "stop":
                        return

            async def reads() -> None:
                with_limit = 0
                while with_limit < 30:
                    with_limit += 1
                    async with gort.move_on_after(0.005):
                        data.append(await b.read(5))

            for _ in range(5):
                group.go(selects)
            group.go(reads)
            for i in range(values):
                await ch.send(i)
                if i % 3 == 0:
                    await a.write(b"abcdefgh")
            await until(lambda: sum(map(len, data)) == 8 * writes, "all bytes are read")
            stop.close()
        assert sorted(got) == list(range(values))
        assert sorted(b"".join(data)) == sorted(b"abcdefgh" * writes)

    run(main)


def test_a_select_answers_a_renegotiation(run: Any, certificates: Any) -> None:
    """The server asks for a renegotiation (TLS 1.2), and the client does nothing but select."""
    command, port, cctx = renegotiating_server(certificates["localhost"])

    async def main() -> None:
        options = {"stdin": gort.exec.PIPE, "stdout": gort.exec.PIPE, "stderr": gort.exec.STDOUT}
        async with await gort.exec.start(*command, **options) as server:
            said = b""

            async def hears(words: bytes) -> None:
                nonlocal said
                while words not in said:
                    piece = await server.stdout.read()
                    if not piece:
                        pytest.skip(f"this openssl does not serve: {said!r}")
                    said += piece

            await hears(b"ACCEPT")
            async with await net.dial_tls("tcp", f"127.0.0.1:{port}", cctx, "localhost") as c, gort.Group() as group:
                flushed: list[int] = []
                flush = c._flush

                async def counted() -> None:
                    flushed.append(c._out.pending)
                    await flush()

                c._flush = counted  # type: ignore[method-assign]

                async def selects() -> bytes:
                    got = b""
                    while b"after" not in got:
                        _, data, _ = await gort.select(c.read(), gort.Chan[bytes]().recv())
                        assert data, got
                        got += data
                    return got

                h = group.go(selects)
                await hears(b"CIPHER is")
                await server.stdin.write(b"r\n")
                await until(lambda: flushed)  # the client's part of the new handshake
                await server.stdin.write(b"after\n")
                assert await h == b"after\n"

    run(main)


def test_a_plain_connection_beside_it(run1: Any, certificates: Any) -> None:
    async def main() -> None:
        async with tls_pair(certificates["localhost"]) as (a, b), pair() as (c, d):
            await c.write(b"plain")
            assert await gort.select(tls=b.read(), plain=d.read()) == ("plain", b"plain", True)
            await a.write(b"tls")
            assert await gort.select(tls=b.read(), plain=d.read()) == ("tls", b"tls", True)

    run1(main)
