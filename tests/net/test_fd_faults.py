"""Faults of descriptors that users of other libraries reported: who owns a number, and who may close it."""

from __future__ import annotations

import gc
import os
import select
import socket
import subprocess
import sys
import threading
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from netkit import pair

import gort
from gort import net
from gort._runtime.core import debugvars, runtime2
from gort._runtime.poll import polldesc
from support import parked, until

# Linux tells in /proc which descriptors are epolls, and what they watch.
EPOLL = pytest.mark.skipif(
    debugvars.parse()["netpoll"] != debugvars.NETPOLL_EPOLL or not Path("/proc/self/fdinfo").exists(),
    reason="asks what an epoll watches",
)


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


def polled(number: int) -> int:
    """The events for which an epoll of this process watches a descriptor, as Linux tells them."""
    for info in Path("/proc/self/fdinfo").iterdir():
        try:
            lines = info.read_text().splitlines()
        except OSError:
            continue  # the one by which iterdir has looked
        for line in lines:
            if line.startswith("tfd:") and int(line.split()[1]) == number:
                return int(line.split()[3], 16)
    return 0


@EPOLL
@pytest.mark.parametrize("how", ["write", "writev", "call"])
def test_a_unix_connection_is_polled_for_writing_once_a_write_has_waited(run: Any, how: str) -> None:
    """Before, each message that the peer had read woke the sender's poller for nothing."""
    payload = bytes(1 << 22)  # more than the kernel takes
    a, b = socket.socketpair()
    near, far = net.from_socket(a), net.from_socket(b)

    async def write() -> None:
        if how == "write":
            await near.write(payload)
        elif how == "writev":
            await near.writev([payload])
        else:
            left = memoryview(payload)
            with socket.socket(fileno=os.dup(near.fileno())) as own:
                while left:
                    left = left[await near.call_op(lambda: own.send(left), True) :]  # noqa: B023  (called in this turn)

    async def pass_one() -> None:
        await near.write(b"x")
        assert await far.read(1) == b"x"
        assert polled(near.fileno()) & select.EPOLLIN
        assert not polled(near.fileno()) & select.EPOLLOUT

    async def pass_much() -> None:
        async with gort.Group() as g:
            g.go(write)
            await until(lambda: polled(near.fileno()) & select.EPOLLOUT)  # who reads meanwhile may make room each time
            assert await far.read_exactly(len(payload)) == payload
        assert polled(near.fileno()) & select.EPOLLOUT

    async def again() -> None:
        """In a later runtime, it stays so."""
        await near.write(b"x")
        assert polled(near.fileno()) & select.EPOLLOUT
        assert await far.read(1) == b"x"
        assert not polled(far.fileno()) & select.EPOLLOUT
        async with gort.Group() as g:
            g.go(write)
            assert await far.read_exactly(len(payload)) == payload

    try:
        run(pass_one)
        run(pass_much)
        run(again)
    finally:
        near.close()
        far.close()


def test_a_first_write_that_waits_ends_with_the_connection(run: Any) -> None:
    """By this end, by the peer, and by a deadline."""

    async def main() -> None:
        for end in ("close", "peer", "deadline"):
            a, b = socket.socketpair()
            near, far = net.from_socket(a), net.from_socket(b)
            async with far, near, gort.Group() as g:
                failed = g.go(fails, near)
                await parked(1, "IO wait")
                if end == "close":
                    near.close()
                elif end == "peer":
                    far.close()
                else:
                    near.set_write_deadline(0.001)
                assert isinstance(await failed, OSError)

    async def fails(conn: net.Conn) -> BaseException:
        with pytest.raises(OSError) as info:
            await conn.write(bytes(1 << 22))
        return info.value

    run(main)


@EPOLL
def test_a_write_that_the_poller_cannot_watch_fails_each_time(run1: Any) -> None:
    """Somebody has taken the descriptor out of the epoll: the second write would have waited for ever."""
    a, b = socket.socketpair()
    near, far = net.from_socket(a), net.from_socket(b)

    def take_out() -> None:
        for link in list(Path("/proc/self/fd").iterdir()):
            with suppress(OSError):
                if os.readlink(link) == "anon_inode:[eventpoll]":
                    with select.epoll.fromfd(os.dup(int(link.name))) as epoll:
                        epoll.unregister(near.fileno())

    async def main() -> None:
        await near.write(b"x")
        assert await far.read(1) == b"x"
        take_out()
        for _ in range(2):
            with pytest.raises(FileNotFoundError):
                await near.write(bytes(1 << 22))

    try:
        run1(main)
    finally:
        near.close()
        far.close()


def test_a_connection_that_nobody_has_closed_ends_quietly_with_the_interpreter() -> None:
    """Without the GIL the names of polldesc.py are gone by then: __del__ raised a TypeError, which was printed."""
    program = (
        "import socket, gort\n"
        "from gort import net\n"
        "a, b = socket.socketpair()\n"
        "near, far = net.from_socket(a), net.from_socket(b)\n"
        "async def main():\n"
        "    await near.write(b'x')\n"
        "gort.run(main)\n"
    )
    command = [sys.executable, "-W", "ignore::ResourceWarning", "-c", program]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=True)
    assert done.stderr == ""


@pytest.mark.skipif(gort.runtime.compiled, reason="takes the place of a function that C calls itself")
@pytest.mark.parametrize("ends", ["closed", "expired"])
def test_an_operation_that_is_out_of_its_queue_has_its_outcome(run1: Any, monkeypatch: Any, ends: str) -> None:
    """Who takes an operation back (a select, the end of the program) looks at it before its goroutine is woken."""
    outcomes: list[int] = []

    def complete(chain: Any) -> None:
        if chain is not None:
            outcomes.append(chain.success)
        completes(chain)

    completes = polldesc.complete
    monkeypatch.setattr(polldesc, "complete", complete)

    async def reads(conn: net.Conn) -> None:
        with suppress(net.Closed, net.DeadlineExceeded):
            await conn.read()

    async def main() -> None:
        async with pair() as (a, _), gort.Group() as group:
            group.go(reads, a)
            await parked(1, "IO wait")
            if ends == "closed":
                a.close()
            else:
                a.set_read_deadline(0)

    run1(main)
    assert outcomes == [polldesc.CLOSED if ends == "closed" else polldesc.EXPIRED]


@pytest.mark.skipif(runtime2.COMPILED, reason="nothing can be put in place of what is compiled")
def test_who_arms_a_deadline_again_tells_the_poller(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a timer that is too early fires it is in no heap, and a thread may go to sleep in the poller for ever."""
    told: list[int] = []
    wake_for = polldesc.wake_for

    def tells(s: Any, when: int) -> None:
        told.append(when)
        wake_for(s, when)

    async def main() -> None:
        here, there = socket.socketpair()
        conn = net.from_socket(here)
        conn.set_read_deadline(0.02)
        conn.set_read_deadline(0.05)  # the timer of the first stays
        monkeypatch.setattr(polldesc, "wake_for", tells)
        with pytest.raises(net.DeadlineExceeded):
            await conn.read()
        monkeypatch.undo()
        conn.close()
        there.close()

    gort.run(main, procs=1)
    assert len(told) == 1
