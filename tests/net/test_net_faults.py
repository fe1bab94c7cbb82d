"""Other faults of gort.net that users of other libraries reported, each with the right value."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from netkit import contexts, go_result, pair, tls_pair

from gort import bufio, net


@pytest.mark.parametrize("call", ["listen", "dial", "listen_packet", "dial_packet"])
def test_n12_a_unix_path_that_is_too_long(run1: Any, tmp_path: Path, call: str) -> None:
    path = str(tmp_path / ("x" * 200))

    async def main() -> None:
        network = "unixgram" if "packet" in call else "unix"
        with pytest.raises(OSError, match=f"{call.partition('_')[0]} {network} .*x: AF_UNIX path too long") as caught:
            await getattr(net, call)(network, path)
        assert caught.value.errno == errno.EINVAL

    run1(main)


def test_n12_a_listener_that_fails_leaves_no_file(run1: Any, tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "s"

    async def main() -> None:
        for mode in ("rw", True):
            with pytest.raises(TypeError, match="mode is an int such as 0o660"):
                await net.listen("unix", str(path), mode=mode)  # type: ignore[arg-type]

        def chmod(*_args: Any) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "chmod", chmod)
        with pytest.raises(PermissionError):
            await net.listen("unix", str(path), mode=0o600)
        assert not path.exists()
        path.write_text("a file of somebody else")
        with pytest.raises(OSError, match="in use"):
            await net.listen("unix", str(path))
        assert path.read_text() == "a file of somebody else"

    run1(main)


def test_n12_a_tls_socket_is_no_plain_one(run1: Any, certificates: Any) -> None:
    _, cctx = contexts(certificates["localhost"])

    async def main() -> None:
        a, b = socket.socketpair()
        with b, cctx.wrap_socket(a, server_hostname="localhost", do_handshake_on_connect=False) as tls:
            assert isinstance(tls, ssl.SSLSocket)
            with pytest.raises(ValueError, match="plain socket"):
                net.from_socket(tls)

    run1(main)


def test_n12_a_name_is_resolved_for_each_datagram(run1: Any, monkeypatch: Any) -> None:
    async def main() -> None:
        async with await net.listen_packet("udp4", "127.0.0.1:0") as a, await net.listen_packet("udp4", ":0") as b:
            answers = ["127.0.0.1", "127.0.0.2"]

            def getaddrinfo(_host: str, port: Any, *_args: Any) -> Any:
                return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", (answers.pop(0), int(port)))]

            monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
            for i in range(2):
                await a.write_to(b"%d" % i, f"moving.test:{b.addr.port}")
                data, _ = await b.read_from()
                assert data == b"%d" % i
            assert answers == []
            for _ in range(2):
                await a.write_to(b"x", f"127.0.0.1:{b.addr.port}")  # asks nobody

    run1(main)


def test_n12_a_unix_datagram_comes_whole(run1: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            await net.listen_packet("unixgram", str(tmp_path / "a")) as a,
            await net.dial_packet("unixgram", str(tmp_path / "a")) as b,
        ):
            data = os.urandom(100_000)
            for sent in (data, b"", b"x", data):
                await b.write(sent)
                assert (await a.read_from())[0] == sent
            for sent in (data, b"x", data):
                await b.write(sent)
                assert await a.read() == sent
            await b.write(data)
            assert await a.read(5) == data[:5]
            await b.write(data)
            assert (await a.read_from(7))[0] == data[:7]

    run1(main)


def test_n12_room_is_made_for_what_comes(run1: Any) -> None:
    async def main() -> None:
        async with pair() as (a, b):
            await a.write(b"abc")
            b.set_read_deadline(0.01)
            with pytest.raises(net.DeadlineExceeded):
                await b.read_exactly(1 << 45)
            b.set_read_deadline(None)
            assert await b.read(1 << 45) == b"abc"
            data = os.urandom(3 << 20)
            out = go_result(a.write, data)
            assert await b.read_exactly(len(data)) == data
            assert await out.recv() is None
            a.close()
            with pytest.raises(net.IncompleteRead):
                await b.read_exactly(1 << 45)

    run1(main)


@pytest.mark.parametrize("kind", ["tcp", "unix", "tls", "bufio", "udp"])
def test_g12_a_read_of_no_bytes_is_no_end_of_stream_and_no_error(
    run: Any, tmp_path: Path, certificates: dict[str, Path], kind: str
) -> None:
    """As in Go: it returns at once, though there is nothing to read, and takes nothing."""

    async def reads(a: Any, write: Any) -> None:
        assert await a.read(0) == b""
        assert await a.readinto(bytearray()) == 0
        with pytest.raises(ValueError, match="-1"):
            await a.read(-1)
        await write(b"here")
        assert await a.read(0) == b""
        assert await a.read(4) == b"here"

    async def main() -> None:
        if kind == "tls":
            async with tls_pair(certificates["localhost"]) as (a, b):
                await reads(a, b.write)
                a.close()
                with pytest.raises(net.Closed):
                    await a.read(0)
        elif kind == "udp":
            async with await net.listen_packet("udp", "127.0.0.1:0") as server:
                async with await net.dial_packet("udp", str(server.addr)) as client:
                    await client.write(b"hello")
                    _, addr = await server.read_from()
                    await reads(client, lambda data: server.write_to(data, addr))
        else:
            network = "unix" if kind == "unix" else "tcp"
            async with pair(network, str(tmp_path / "s") if kind == "unix" else "") as (a, b):
                await reads(bufio.Reader(a) if kind == "bufio" else a, b.write)
                a.close()
                with pytest.raises(net.Closed, match="use of closed"):
                    await a.read(0)
                with pytest.raises(net.Closed, match="use of closed"):
                    await a.readinto(bytearray())

    run(main)
