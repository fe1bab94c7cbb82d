"""gort.aio.serve: several loops serve one address; and TLS on gort's loop."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gort
import gort.aio
from support import contexts, until

Run = Callable[..., Any]
LOOPS = 3


def ask(port: int) -> str:
    """A client, in a plain thread or goroutine."""
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.sendall(b"who?\n")
        with s.makefile() as answer:
            return answer.read()


async def served(sock: socket.socket, ports: gort.Chan[int]) -> None:
    """Answers with the number of its thread, until it is cancelled."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(str(threading.get_ident()).encode())
        writer.close()

    server = await asyncio.start_server(handle, sock=sock)
    await ports.send(sock.getsockname()[1])
    async with server:
        await server.serve_forever()


def test_each_loop_gets_connections_of_one_address(run: Run) -> None:
    async def main() -> None:
        ports = gort.Chan[int]()
        async with gort.Group() as group:
            group.go(gort.aio.serve, lambda sock: served(sock, ports), "127.0.0.1", 0, loops=LOOPS)
            port = await ports.recv()
            assert [await ports.recv() for _ in range(LOOPS - 1)] == [port] * (LOOPS - 1)
            seen = set()
            for _ in range(1000):  # the kernel goes by a hash of the client's port: a dozen connections are enough
                seen.add(await gort.blocking(ask, port))
                if len(seen) == LOOPS:
                    break
            assert len(seen) == LOOPS
            group.cancel()

    run(main)


def test_the_results_of_all(run: Run) -> None:
    async def app(sock: socket.socket) -> tuple[int, bool]:
        await asyncio.sleep(0)
        return sock.getsockname()[1], sock.getblocking()

    async def main() -> None:
        got = await gort.aio.serve(app, port=0, loops=LOOPS)
        assert len(got) == LOOPS
        assert len(set(got)) == 1
        assert not got[0][1]
        assert len(await gort.aio.serve(app, port=0)) == gort.runtime.gomaxprocs()

    run(main)


def test_when_one_fails_the_others_are_cancelled(run: Run) -> None:
    cleaned: list[None] = []

    async def main() -> None:
        numbers = iter(range(LOOPS))
        waiting = gort.Chan[None](LOOPS)

        async def app(number: int) -> None:
            if number == 0:
                for _ in range(LOOPS - 1):
                    await waiting.recv()
                raise KeyError("mine")
            waiting.try_send(None)
            try:
                await asyncio.sleep(3600)
            finally:
                await asyncio.sleep(0)
                cleaned.append(None)

        with pytest.raises(ExceptionGroup) as e:
            await gort.aio.serve(lambda sock: app(next(numbers)), port=0, loops=LOOPS)
        assert [repr(x) for x in e.value.exceptions] == ["KeyError('mine')"]

    run(main)
    assert len(cleaned) == LOOPS - 1


def test_a_loop_that_has_ended_gets_no_connections(run: Run) -> None:
    async def main() -> None:
        ports = gort.Chan[int](2)
        ended, over = gort.Chan[None](), gort.Chan[None]()
        numbers = iter(range(2))

        async def app(sock: socket.socket, number: int) -> None:
            server = await asyncio.start_server(handle, sock=sock)
            await ports.send(sock.getsockname()[1])
            if number:
                await over.recv_ok()
                server.close()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            writer.close()

        async def first(sock: socket.socket, number: int) -> None:
            await app(sock, number)
            if not number:
                ended.close()

        async with gort.Group() as group:
            group.go(gort.aio.serve, lambda sock: first(sock, next(numbers)), port=0, loops=2)
            port = await ports.recv()
            await ports.recv()
            await ended.recv_ok()
            await until(lambda: listeners(port) == 1)
            for _ in range(30):
                assert await gort.blocking(asked, port) == "who?\n"
            over.close()

    run(main)


def listeners(port: int) -> int:
    """How many sockets listen at a port of 127.0.0.1, as the kernel says."""
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(each[1] == f"0100007F:{port:04X}" and each[3] == "0A" for each in sockets)


def asked(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as s:
        s.sendall(b"who?\n")
        with s.makefile() as answer:
            return answer.read()


def test_mistakes(run: Run) -> None:
    async def app(sock: socket.socket) -> None:
        raise AssertionError("not called")

    async def main() -> None:
        with pytest.raises(ValueError, match="at least 1"):
            await gort.aio.serve(app, loops=0)
        with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
            await gort.aio.serve(app, port=taken.getsockname()[1], loops=2)
        with socket.socket() as other:  # a second start of a program that serves so
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            other.bind(("127.0.0.1", 0))
            other.listen()
            with pytest.raises(OSError, match="in use"):
                await gort.aio.serve(app, port=other.getsockname()[1], loops=2)

    run(main)


@pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
def test_tls(certificates: dict[str, Path], debug: bool) -> None:
    """More than a buffer's worth both ways, STARTTLS, a certificate that does not fit, the end of a connection."""
    at_server, at_client = contexts(certificates["localhost"])
    data = b"0123456789abcdef" * 50_000

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await reader.readline()
            if line == b"STARTTLS\n":
                writer.write(b"go on\n")
                await writer.drain()
                await writer.start_tls(at_server)
                line = await reader.readline()
            if line:
                writer.write(await reader.readexactly(int(line)))
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"%d\n" % len(data) + data)
        await writer.drain()
        got = await reader.readexactly(len(data))
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        return got

    async def main() -> None:
        async with await asyncio.start_server(echo, "127.0.0.1", 0, ssl=at_server) as server:
            address = server.sockets[0].getsockname()
            connection = await asyncio.open_connection(*address, ssl=at_client, server_hostname="localhost")
            assert connection[1].get_extra_info("ssl_object").version() == "TLSv1.3"
            assert await back(*connection) == data
            with pytest.raises(ssl.SSLCertVerificationError):
                await asyncio.open_connection(*address, ssl=at_client, server_hostname="other.test")
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"STARTTLS\n")
            assert await reader.readline() == b"go on\n"
            await writer.start_tls(at_client, server_hostname="localhost")
            assert await back(reader, writer) == data

    with asyncio.Runner(loop_factory=gort.aio.Loop, debug=debug) as runner:
        runner.run(main())
