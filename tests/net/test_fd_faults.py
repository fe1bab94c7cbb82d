"""Faults of descriptors that users of other libraries reported: who owns a number, and who may close it."""

from __future__ import annotations

import gc
import os
import socket
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest

import gort
from gort import net


@pytest.mark.parametrize("kind", ["listener", "unix", "packet", "conn"])
def test_n5_a_collected_descriptor_closes_its_number_once(run1: Any, tmp_path: Path, kind: str) -> None:
    """Whoever gets the number between two closes loses it by the second: here a file that is opened in the first warning,
    which comes after the first close."""
    kept: list[Any] = []

    def showwarning(*_args: Any, **_more: Any) -> None:
        kept.append(os.open("/dev/null", os.O_RDONLY))  # gets the number that has just become free

    async def main() -> None:
        if kind == "listener":
            made: Any = await net.listen("tcp", "127.0.0.1:0")
        elif kind == "unix":
            made = await net.listen("unix", str(tmp_path / "s"))
        elif kind == "packet":
            made = await net.listen_packet("udp", "127.0.0.1:0")
        else:
            a, b = socket.socketpair()
            b.close()
            made = net.from_socket(a)
        number = made.fileno()
        with warnings.catch_warnings():
            warnings.simplefilter("always", ResourceWarning)
            warnings.showwarning = showwarning
            del made
            gc.collect()
        assert kept[0] == number
        assert os.readlink(f"/proc/self/fd/{number}") == "/dev/null"

    run1(main)
    for fd in kept:
        os.close(fd)


def test_n5_a_detached_listener_owns_nothing(run1: Any) -> None:
    async def main() -> None:
        ln = await net.listen("tcp", "127.0.0.1:0")
        number = ln.detach()
        del ln
        gc.collect()
        with socket.socket(fileno=number) as s:
            assert s.getsockname()[0] == "127.0.0.1"

    run1(main)


@pytest.mark.parametrize("kind", ["listener", "packet", "conn"])
def test_n12_a_warning_names_the_addresses(run1: Any, kind: str) -> None:
    async def main() -> None:
        made: Any
        if kind == "packet":
            made = await net.listen_packet("udp", "127.0.0.1:0")
            names = [str(made.addr)]
        else:
            ln = await net.listen("tcp", "127.0.0.1:0")
            names = [str(ln.addr)]
            if kind == "listener":
                made = ln
            else:
                made = await net.dial("tcp", str(ln.addr))
                with made._socket() as s:
                    names.append(f"127.0.0.1:{s.getsockname()[1]}")
                ln.close()
        with pytest.warns(ResourceWarning) as caught:  # noqa: PT031
            ln = None  # type: ignore[assignment]
            del made
            gc.collect()
        for name in names:
            assert name in str(caught[0].message)

    run1(main)


def test_n12_a_listener_that_was_not_asked_for_its_address_names_it(run1: Any) -> None:
    async def main() -> None:
        with pytest.warns(ResourceWarning, match=r"unclosed <gort\.net\.Listener tcp 127\.0\.0\.1:\d+"):  # noqa: PT031
            await net.listen("tcp", "127.0.0.1:0")
            gc.collect()

    run1(main)
    assert gort.runtime.num_goroutine() == 0


def test_a_half_close_never_meets_the_next_owner_of_the_number() -> None:
    """close_write, an option and an address of a connection that another thread closes at that moment: each happens on
    that connection, or raises Closed, but never touches whoever has got the number since."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # a thread may be interrupted between any two steps
    hurt = 0
    try:
        for _ in range(4000):
            a, b = socket.socketpair()
            conn = net.from_socket(a)
            number = conn.fileno()

            def half_close(conn: net.Conn = conn) -> None:
                try:
                    conn.close_write()
                except (gort.net.Closed, OSError):
                    pass

            thread = threading.Thread(target=half_close)
            thread.start()
            conn.close()
            c, d = socket.socketpair()
            thread.join()
            if number in (c.fileno(), d.fileno()):
                for s in (c, d):
                    try:
                        s.send(b"x")
                    except BrokenPipeError:
                        hurt += 1
            for s in (b, c, d):
                s.close()
    finally:
        sys.setswitchinterval(interval)
    assert hurt == 0
