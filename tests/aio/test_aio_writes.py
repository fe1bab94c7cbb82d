"""When what is written to a transport of gort.aio.Loop is sent."""

from __future__ import annotations

import asyncio
import asyncio.trsock
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from aiokit import pair

import gort.aio


def test_a_second_small_write_does_not_wait_for_an_acknowledgement() -> None:
    """asyncio leaves Nagle's algorithm on where the server's socket was made without a protocol (create_server)."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        made = loop.create_future()

        class Accepted(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                made.set_result(transport)

        with socket.create_server(("127.0.0.1", 0)) as listening:
            server = await loop.create_server(Accepted, sock=listening)
            with socket.create_connection(listening.getsockname()):
                transport = await made
                sock = transport.get_extra_info("socket")
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                transport.abort()
            server.close()
            await server.wait_closed()

    with asyncio.Runner(loop_factory=gort.aio.Loop) as runner:
        runner.run(main())


def test_what_a_callback_writes_to_one_connection_goes_in_one_send() -> None:
    """When the callback returns; or before, when it writes to another one."""

    async def main() -> None:
        transport, _, there = await pair()
        other, _, there_too = await pair()
        transport.write(b"he")
        transport.write(b"")
        transport.write(b"ad")
        transport.write(b"body")
        with pytest.raises(BlockingIOError):
            there.recv(10)
        await asyncio.sleep(0)
        assert there.recv(10) == b"headbody"
        transport.write(b"first")
        other.write(b"second")
        assert there.recv(10) == b"first"
        with pytest.raises(BlockingIOError):
            there_too.recv(10)
        await asyncio.sleep(0)
        assert there_too.recv(10) == b"second"
        transport.write(b"small")
        transport.write(b"x" * 20000)  # much is not held
        assert there.recv(30000) == b"small" + b"x" * 20000
        for end in (transport, other, there, there_too):
            end.close()

    with asyncio.Runner(loop_factory=gort.aio.Loop) as runner:
        runner.run(main())


@pytest.mark.parametrize(
    "then",
    [
        lambda transport: transport.get_write_buffer_size(),
        lambda transport: transport.set_write_buffer_limits(),
        lambda transport: transport.get_extra_info("socket"),
        lambda transport: transport.write(bytearray(b"b")),
        lambda transport: transport.writelines([b"b"]),
        lambda transport: transport.write_eof(),
        lambda transport: transport.close(),
        lambda transport: transport.abort(),
    ],
)
def test_what_a_callback_has_written_has_gone_when_it_does_something_else(
    on_loop: Callable[..., Any], then: Callable[[Any], Any]
) -> None:
    async def main() -> None:
        transport, peer, there = await pair()
        transport.write(b"a")
        then(transport)
        assert there.recv(1) == b"a"
        transport.close()
        await peer.has(("lost", None))
        there.close()

    on_loop(main())


@pytest.mark.parametrize(
    "then",
    [
        lambda sock: sock.shutdown(socket.SHUT_WR),
        lambda sock: os.write(sock.fileno(), b"b"),
        lambda sock: sock.dup().detach(),
        lambda sock: sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    ],
)
def test_who_has_kept_the_socket_finds_what_was_written_gone(
    on_loop: Callable[..., Any], then: Callable[[Any], Any]
) -> None:
    async def main() -> None:
        transport, peer, there = await pair()
        sock = transport.get_extra_info("socket")
        transport.write(b"a")
        closed = then(sock)
        assert there.recv(1) == b"a"
        assert isinstance(sock, asyncio.trsock.TransportSocket)
        transport.abort()
        await peer.has(("lost", None))
        there.close()
        if closed not in (None, 1):  # a duplicate's number
            os.close(closed)

    on_loop(main())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_sends_nothing_again_and_loses_nothing(on_loop: Callable[..., Any]) -> None:
    """It has a copy of what its parent's callback has written; what it writes itself goes at once."""

    async def main() -> None:
        transport, peer, there = await pair()
        transport.write(b"a")
        if (pid := os.fork()) == 0:
            try:
                transport.write(b"b")
                transport.close()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        transport.write(b"c")
        await asyncio.sleep(0)
        assert there.recv(10) == b"abc"
        transport.abort()
        await peer.has(("lost", None))
        there.close()

    on_loop(main())


def test_what_another_thread_writes_is_not_held(on_loop: Callable[..., Any]) -> None:
    """asyncio does not allow it, and some do."""

    async def main() -> None:
        transport, peer, there = await pair()
        thread = threading.Thread(target=transport.write, args=(b"a",))
        thread.start()
        thread.join()  # the callback goes on
        assert there.recv(1) == b"a"
        transport.abort()
        await peer.has(("lost", None))
        there.close()

    on_loop(main())


def test_asyncios_methods_get_the_arguments_as_they_were_given(
    on_loop: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Libraries' tests put others in their place."""
    given: list[Any] = []
    for name in ("get_extra_info", "set_write_buffer_limits"):
        monkeypatch.setattr(
            f"asyncio.Transport.{name}", lambda self, *args, **kwargs: given.append((args, kwargs)), raising=True
        )
    monkeypatch.delattr("asyncio.transports._FlowControlMixin.set_write_buffer_limits")

    async def main() -> None:
        transport, _, there = await pair()
        given.clear()
        transport.get_extra_info("peername")
        transport.get_extra_info("sockname", default=1)
        transport.set_write_buffer_limits(high=5)
        assert given == [(("peername",), {}), (("sockname",), {"default": 1}), ((), {"high": 5})]
        transport.abort()
        there.close()

    on_loop(main())


def test_a_protocol_that_wants_to_be_paused_early_is_paused_at_once(on_loop: Callable[..., Any]) -> None:
    async def main() -> None:
        transport, peer, there = await pair()
        transport.set_write_buffer_limits(high=0)
        for _ in range(10000):
            if peer.said[-1] == "pause":
                break
            transport.write(b"x" * 1000)
        assert peer.said[-1] == "pause"
        transport.abort()
        there.close()

    on_loop(main())


def test_what_a_callback_has_written_goes_when_it_ends_the_loop(loop_class: Any) -> None:
    """It raises SystemExit; or it runs the loop itself, which asyncio forbids, and some do."""
    loop = loop_class()
    transport, _, there = loop.run_until_complete(pair())

    def leave() -> None:
        transport.write(b"last")
        raise SystemExit

    def run_it() -> None:
        transport.write(b"once")
        loop.call_soon(lambda: None)
        loop._run_once()
        assert there.recv(10) == b"once"
        loop.stop()

    loop.call_soon(leave)
    with pytest.raises(SystemExit):
        loop.run_forever()
    assert there.recv(10) == b"last"
    loop.call_soon(run_it)
    loop.run_forever()
    transport.close()
    loop.run_until_complete(asyncio.sleep(0))
    there.close()
    loop.close()


def test_a_write_that_finds_the_connection_broken_ends_it(on_loop: Callable[..., Any]) -> None:
    async def main() -> None:
        transport, peer, there = await pair()
        transport.pause_reading()
        there.close()
        transport.write(b"a")
        transport.write(b"b")
        await peer.has(("lost", BrokenPipeError))
        transport.write(b"c")

    on_loop(main())
