"""Faults of gort.net's dialling, listening and addresses that users of other libraries reported, each with the right
value.

What lives here: what a deadline bounds, addresses, defaults of sockets.  TLS is in test_tls_faults.py.
"""

from __future__ import annotations

import errno
import importlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from netkit import pair

import gort
from gort import net
from support import PATIENCE_S, until

dial_module = importlib.import_module("gort.net.dial")  # gort.net.dial is the function


@pytest.fixture
def no_answer(monkeypatch: Any) -> Iterator[threading.Event]:
    """The resolver never answers.  The event is set where it was asked."""
    asked, over = threading.Event(), threading.Event()
    threads = []

    def getaddrinfo(*_args: Any) -> Any:
        threads.append(threading.current_thread())
        asked.set()
        assert over.wait(PATIENCE_S)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield asked
    over.set()
    for thread in threads:
        if thread is not threading.main_thread():
            thread.join(PATIENCE_S)


@pytest.mark.parametrize("how", ["dial", "dial_tls", "local_addr"])
def test_n2_a_timeout_bounds_name_resolution(run: Any, no_answer: threading.Event, how: str) -> None:
    async def main() -> None:
        with pytest.raises(net.DeadlineExceeded, match=r"timed out after 0.05 s"):
            if how == "dial":
                await net.dial("tcp", "name.test:80", timeout=0.05)
            elif how == "dial_tls":
                await net.dial_tls("tcp", "name.test:443", timeout=0.05)
            else:
                await net.dial("tcp", "127.0.0.1:80", timeout=0.05, local_addr="name.test:0")

    run(main)  # the program ends too, while the resolver's thread is still there
    assert no_answer.is_set()


@pytest.mark.parametrize("how", ["dial", "listen", "dial_packet", "listen_packet", "write_to"])
def test_n2_a_cancellation_does_not_wait_for_the_resolver(run: Any, no_answer: threading.Event, how: str) -> None:
    async def write_to() -> None:
        async with await net.listen_packet("udp4", "127.0.0.1:0") as pc:
            await pc.write_to(b"x", "name.test:9")

    async def main() -> None:
        async with gort.Group() as group:
            if how == "write_to":
                h: Any = group.go(write_to)
            else:
                kind = "udp" if "packet" in how else "tcp"
                h = group.go(getattr(net, how), kind, "name.test:80")
            await until(no_answer.is_set)
            h.cancel()
        assert isinstance(h.exception(), gort.Cancelled)

    run(main)


def test_n2_a_timeout_of_dial_tls_is_for_everything_together(run1: Any, monkeypatch: Any) -> None:
    """Resolution, connection and handshake share it: what resolution took is not there for the handshake."""
    took: list[float] = []
    left: list[float | None] = []
    real = socket.getaddrinfo

    def getaddrinfo(_host: str, *args: Any) -> Any:
        begin = time.monotonic()
        while time.monotonic() < begin + 0.02:
            pass
        found = real("127.0.0.1", *args)
        took.append(time.monotonic() - begin)
        return found

    def set_deadline(self: net.Conn, seconds: float | None) -> None:
        left.append(seconds)
        net.conn.Descriptor.set_deadline(self, 0.01 if seconds else None)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(net.Conn, "set_deadline", set_deadline)

    async def main() -> None:
        async with await net.listen("tcp", "127.0.0.1:0") as ln:  # it accepts nobody
            with pytest.raises(net.DeadlineExceeded, match=r"dial tls silent\.test"):
                await net.dial_tls("tcp", f"silent.test:{ln.addr.port}", timeout=1000.0)

    run1(main)
    assert left[0] is not None
    assert left[0] <= 1000.0 - took[0]


def options_of(conn: net.Conn) -> list[Any]:
    return [
        conn.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        conn.getsockopt(socket.SOL_TCP, socket.TCP_KEEPIDLE),
        conn.getsockopt(socket.SOL_TCP, socket.TCP_KEEPINTVL),
        conn.getsockopt(socket.SOL_TCP, socket.TCP_KEEPCNT),
        conn.getsockopt(socket.SOL_TCP, socket.TCP_NODELAY),
    ]


def test_n11_connections_notice_a_dead_peer(run1: Any) -> None:
    async def main() -> None:
        async with pair() as (a, b):
            assert options_of(a) == options_of(b) == [1, 15, 15, 9, 1]

    run1(main)


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_n11_an_ipv4_peer_of_a_listener_of_both_families(run1: Any, kind: str) -> None:
    async def main() -> None:
        if kind == "tcp":
            async with await net.listen("tcp", ":0") as ln:
                async with await net.dial("tcp4", f"127.0.0.1:{ln.addr.port}") as a, await ln.accept() as b:
                    assert b.remote_addr[1:] == a.local_addr[1:]
                    assert b.remote_addr.host == b.local_addr.host == "127.0.0.1"
                    assert str(a.local_addr) in repr(b)
            return
        async with await net.listen_packet("udp", ":0") as pc, await net.listen_packet("udp4", "127.0.0.1:0") as far:
            await far.write_to(b"x", f"127.0.0.1:{pc.addr.port}")
            data, addr = await pc.read_from()
            assert (data, addr[1:]) == (b"x", far.addr[1:])
            await pc.write_to(b"y", addr)
            assert (await far.read_from())[0] == b"y"

    run1(main)


@pytest.mark.parametrize("times", [1, 2, 1000])
def test_n11_a_connection_does_not_connect_to_itself(run1: Any, monkeypatch: Any, times: int) -> None:
    """The system chooses the port that is dialled for this end too, so many times."""
    tries = []

    class Unlucky(socket.socket):
        def connect_ex(self, address: Any) -> int:
            tries.append(address)
            if len(tries) <= times:
                self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                self.bind(address)
            return super().connect_ex(address)

    async def main() -> None:
        async with await net.listen("tcp4", "127.0.0.1:0") as ln:
            address = str(ln.addr)
        monkeypatch.setattr(dial_module.socket, "socket", Unlucky)
        with pytest.raises(ConnectionRefusedError, match=r"dial tcp 127\.0\.0\.1:\d+: Connection refused"):
            await net.dial("tcp", address)
        assert len(tries) == min(times + 1, 3)

    run1(main)


def test_n11_a_port_of_ones_own_choice_may_be_the_peers(run1: Any) -> None:
    async def main() -> None:
        async with await net.listen("tcp4", "127.0.0.1:0") as ln:
            address = str(ln.addr)
        async with await net.dial("tcp", address, local_addr=address) as conn:
            assert conn.local_addr == conn.remote_addr

    run1(main)


def test_n11_broadcasts(run1: Any) -> None:
    async def main() -> None:
        async with await net.listen_packet("udp4", "127.0.0.1:0") as pc:
            try:
                await pc.write_to(b"x", "255.255.255.255:9")
            except PermissionError:
                raise
            except OSError:
                pass  # no network here that would take it
            assert pc.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST)

    run1(main)


def test_n11_a_local_address_of_another_family(run1: Any) -> None:
    async def main() -> None:
        async with await net.listen("tcp4", "127.0.0.1:0") as ln:
            with pytest.raises(OSError, match=r"dial tcp 127\.0\.0\.1:\d+: no address .* local address \[::1\]:0"):
                await net.dial("tcp", ln.addr, local_addr="[::1]:0")
            for local in ("127.0.0.1:0", ":0", net.Addr("tcp", "127.0.0.2")):
                async with await net.dial("tcp", ln.addr, local_addr=local) as conn:
                    assert conn.local_addr.host in ("127.0.0.1", "127.0.0.2")

    run1(main)


@pytest.mark.parametrize("call", ["listen", "listen_packet"])
def test_n11_without_ipv6(run1: Any, monkeypatch: Any, call: str) -> None:
    class NoIPv6(socket.socket):
        def __init__(self, family: int = -1, *args: Any, **more: Any) -> None:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, *args, **more)

    monkeypatch.setattr(dial_module.socket, "socket", NoIPv6)

    async def main() -> None:
        kind = "udp" if "packet" in call else "tcp"
        async with await getattr(net, call)(kind, ":0") as made:
            assert made.addr.host == "0.0.0.0"
        with pytest.raises(OSError, match=rf"^\[Errno 97\] listen {kind}6 :0: Address family"):
            await getattr(net, call)(f"{kind}6", ":0")

    run1(main)
