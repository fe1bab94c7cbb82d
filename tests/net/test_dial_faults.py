"""Faults of gort.net's dialling, listening and addresses that users of other libraries reported, each with the right
value.

What lives here: what a deadline bounds, addresses, defaults of sockets.  TLS is in test_tls_faults.py.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import gort
from gort import net
from support import PATIENCE_S, until


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
