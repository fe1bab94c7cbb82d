"""The transports and handles of gort.aio.Loop do what those of asyncio's loop do: each test runs on both."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import re
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from aiokit import MB, Peer, pair, take

import gort.aio


def test_much_goes_out_in_order_and_the_writer_is_paused(on_loop: Callable[..., Any]) -> None:
    async def main() -> None:
        transport, peer, there = await pair()
        parts = [bytes([i]) * (MB // 8 + i) for i in range(16)]
        for part in parts:
            transport.write(part)
        assert peer.said == ["made", "pause"]
        assert transport.get_write_buffer_size() > MB
        assert "write=<polling" in repr(transport)
        assert await take(there, sum(map(len, parts))) == b"".join(parts)
        await peer.has("resume")
        assert peer.said == ["made", "pause", "resume"]
        assert transport.get_write_buffer_size() == 0
        transport.write(b"direct")
        await asyncio.sleep(0)
        assert there.recv(10) == b"direct"  # at once
        transport.close()
        there.close()
        await peer.has(("lost", None))

    on_loop(main())


def test_a_protocol_is_called_in_the_contextvars_of_who_has_opened_the_connection(on_loop: Callable[..., Any]) -> None:
    """From 3.15 on in the same ones always; before, in copies that asyncio makes on the way."""
    var = contextvars.ContextVar("var", default="none")
    step = contextvars.ContextVar("step", default="none")

    class Both(Peer):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            step.set("made")
            self.transport: Any = transport
            self.note(("made", var.get()))

        def data_received(self, data: bytes) -> None:
            self.note(("data", var.get(), step.get()))

        def resume_writing(self) -> None:
            self.note(("resume", var.get(), step.get()))

    kept = "made" if sys.version_info >= (3, 15) else "none"

    async def main() -> None:
        loop = asyncio.get_running_loop()
        served: list[Both] = []

        def serve() -> Both:
            served.append(Both())
            return served[-1]

        var.set("server")
        server = await loop.create_server(serve, "127.0.0.1", 0)
        var.set("client")
        transport, client = await loop.create_connection(Both, *server.sockets[0].getsockname())
        var.set("other")
        transport.write(b"x")
        await client.has(("made", "client"))
        while not served:
            await asyncio.sleep(0)
        await served[0].has(("data", "server", kept))
        assert served[0].said == [("made", "server"), ("data", "server", kept)]
        served[0].transport.write(b"y")
        await client.has(("data", "client", kept))
        transport.close()
        server.close()
        here = Both()
        transport, _, there = await pair(here)
        transport.write(b"z" * MB)
        await take(there, MB)
        await here.until(lambda: here.said[-1][0] == "resume")
        assert here.said[-1][1] == "other"
        if sys.version_info >= (3, 15):
            assert here.said[-1][2] == "made"
        transport.close()
        there.close()

    on_loop(main())


def test_lines_and_other_buffers_are_written(on_loop: Callable[..., Any]) -> None:
    async def main() -> None:
        transport, _, there = await pair()
        transport.write(b"")
        transport.write(bytearray(b"ab"))
        transport.write(memoryview(b"xcdx")[1:3])
        transport.writelines([b"e", bytearray(b"f"), memoryview(b"g")])
        assert await take(there, 7) == b"abcdefg"
        with pytest.raises(TypeError, match=r"data argument must be a bytes.*, not 'str'"):
            transport.write("text")  # type: ignore[arg-type]
        transport.close()
        with pytest.raises(TypeError, match="not 'int'"):
            transport.write(1)  # type: ignore[arg-type]
        there.close()

    on_loop(main())


@pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
def test_much_comes_in(on_loop: Callable[..., Any], debug: bool) -> None:
    """More than one recv takes, and the end right behind it."""

    async def main() -> None:
        transport, peer, there = await pair()
        data = bytes(range(256)) * (3 * MB // 256)
        await asyncio.get_running_loop().sock_sendall(there, data)
        there.close()
        await peer.has(("lost", None))
        assert bytes(peer.got) == data
        assert peer.said == ["made", "eof", ("lost", None)]
        assert transport.is_closing()

    on_loop(main(), debug=debug)


def test_a_protocol_with_a_buffer(on_loop: Callable[..., Any]) -> None:
    class Buffered(asyncio.BufferedProtocol, Peer):
        def __init__(self) -> None:
            Peer.__init__(self)
            self.buffer = bytearray(1000)

        def get_buffer(self, sizehint: int) -> bytearray:
            assert sizehint == -1
            return self.buffer

        def buffer_updated(self, nbytes: int) -> None:
            self.data_received(self.buffer[:nbytes])

    async def main() -> None:
        _, peer, there = await pair(Buffered())
        await asyncio.get_running_loop().sock_sendall(there, b"0123456789" * 1234)
        await peer.until(lambda: len(peer.got) == 12340)
        assert peer.got == b"0123456789" * 1234
        there.close()
        await peer.has(("lost", None))

    on_loop(main())


def test_what_comes_while_reading_is_paused_is_read_later(on_loop: Callable[..., Any]) -> None:
    async def main() -> None:
        transport, peer, there = await pair()
        there.send(b"1")
        await peer.until(lambda: peer.got == b"1")
        for n in range(2, 20):
            assert transport.is_reading()
            assert "read=polling" in repr(transport)
            transport.pause_reading()
            transport.pause_reading()
            assert not transport.is_reading()
            assert "read=idle" in repr(transport)
            there.send(b"2")
            await asyncio.sleep(0.0001 if n % 2 else 0)
            assert len(peer.got) == n - 1
            transport.resume_reading()
            await peer.until(lambda n=n: len(peer.got) == n)  # type: ignore[misc]
        transport.pause_reading()
        there.close()
        transport.resume_reading()
        await peer.has(("lost", None))

    on_loop(main())


def test_data_received_may_pause_what_is_left(on_loop: Callable[..., Any]) -> None:
    class Pauses(Peer):
        transport: Any = None

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()

    async def main() -> None:
        transport, peer, there = await pair(Pauses())
        peer.transport = transport  # type: ignore[attr-defined]
        data = b"x" * 200_000
        sent = asyncio.create_task(asyncio.get_running_loop().sock_sendall(there, data))
        seen = -1
        while len(peer.got) < len(data):
            await peer.until(lambda: not transport.is_reading())
            assert len(peer.got) > seen
            seen = len(peer.got)
            transport.resume_reading()
            await asyncio.sleep(0)
        await sent
        transport.close()
        there.close()

    on_loop(main())


def test_one_end_may_end_first(on_loop: Callable[..., Any]) -> None:
    async def main() -> None:
        transport, peer, there = await pair()
        peer.keep_open = True
        there.shutdown(socket.SHUT_WR)
        await peer.has("eof")
        transport.write(b"still here")
        assert await take(there, 10) == b"still here"
        transport.write(b"y" * MB)
        transport.write_eof()
        transport.write_eof()
        with pytest.raises(RuntimeError, match=re.escape("Cannot call write() after write_eof()")):
            transport.write(b"z")
        assert await take(there, 2 * MB) == b"y" * MB  # and then the end
        assert "lost" not in str(peer.said)
        transport.close()
        await peer.has(("lost", None))
        there.close()

    on_loop(main())


def test_close_sends_what_is_buffered_and_abort_does_not(on_loop: Callable[..., Any]) -> None:
    async def main() -> None:
        transport, peer, there = await pair()
        transport.write(b"c" * MB)
        transport.close()
        transport.write(b"late")
        assert len(await take(there, 2 * MB)) in (MB, MB + 4)  # asyncio sends what is written after close, too
        await peer.has(("lost", None))
        assert peer.said.count(("lost", None)) == 1
        there.close()

        transport, peer, there = await pair()
        transport.write(b"c" * 4 * MB)
        transport.abort()
        await peer.has(("lost", None))
        assert len(await take(there, 4 * MB)) < 4 * MB
        there.close()
        for _ in range(10):
            transport.write(b"after the end")

    on_loop(main())


def test_a_lost_connection_is_told(on_loop: Callable[..., Any]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            transport, peer = await loop.create_connection(Peer, *listener.getsockname())
            there, _ = listener.accept()
        assert transport.get_extra_info("peername") == there.getsockname()
        assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        there.close()  # a reset
        await peer.has(("lost", ConnectionResetError))

        transport, peer, there = await pair()
        transport.pause_reading()
        there.close()
        transport.write(b"x")
        await peer.has(("lost", BrokenPipeError))

    on_loop(main())


@pytest.mark.parametrize("where", ["data_received", "get_buffer", "buffer_updated"])
def test_an_error_of_the_protocol_ends_the_connection(on_loop: Callable[..., Any], where: str) -> None:
    class Fails(Peer):
        def data_received(self, data: bytes) -> None:
            raise KeyError(where)

    class FailsBuffered(asyncio.BufferedProtocol, Peer):
        def __init__(self) -> None:
            Peer.__init__(self)

        def get_buffer(self, sizehint: int) -> bytearray:
            if where == "get_buffer":
                raise KeyError(where)
            return bytearray(10)

        def buffer_updated(self, nbytes: int) -> None:
            raise KeyError(where)

    async def main() -> None:
        told: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        transport, peer, there = await pair(Fails() if where == "data_received" else FailsBuffered())
        there.send(b"x")
        await peer.has(("lost", KeyError))
        there.close()
        assert [c["message"] for c in told] == [f"Fatal error: protocol.{where}() call failed."]
        assert told[0]["transport"] is transport
        assert told[0]["protocol"] is peer

    on_loop(main())


def test_system_exit_passes_and_the_others_are_served_afterwards(loop_class: Any) -> None:
    """The loop runs anew, on gort in another runtime, with the same connections."""

    class Exits(Peer):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if data == b"exit":
                raise SystemExit(7)

    loop = loop_class()
    try:
        pairs = [loop.run_until_complete(pair(Exits())) for _ in range(5)]
        for n, (_, _, there) in enumerate(pairs):
            there.send(b"exit" if n == 2 else b"stay")
        with pytest.raises(SystemExit):
            loop.run_forever()
        for transport, peer, there in pairs:
            loop.run_until_complete(peer.until(lambda peer=peer: len(peer.got) == 4))
            there.send(b"more")
            loop.run_until_complete(peer.until(lambda peer=peer: len(peer.got) == 8))
            transport.close()
            there.close()
            loop.run_until_complete(peer.has(("lost", None)))
    finally:
        loop.close()


def test_a_file_in_between_messages(on_loop: Callable[..., Any]) -> None:
    async def main() -> None:
        transport, peer, there = await pair()
        loop = asyncio.get_running_loop()
        transport.write(b"<")
        with tempfile.TemporaryFile() as file:
            file.write(b"f" * MB)
            file.seek(0)
            sending = asyncio.create_task(loop.sendfile(transport, file))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="sendfile is in progress"):
                transport.write(b"no")
            assert await take(there, MB + 1) == b"<" + b"f" * MB
            await sending
        transport.write(b">")
        there.send(b"answer")
        assert await take(there, 1) == b">"
        await peer.until(lambda: peer.got == b"answer")
        transport.close()
        there.close()

    on_loop(main())


def test_the_context_of_a_connection(on_loop: Callable[..., Any]) -> None:
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="none")

    class Looks(Peer):
        def data_received(self, data: bytes) -> None:
            self.note((var.get(), data))

    async def main() -> None:
        var.set("of the connection")
        transport, peer, there = await pair(Looks())
        var.set("of the task")
        there.send(b"x")
        await peer.has(("of the connection", b"x"))
        transport.close()
        there.close()

    on_loop(main())


def test_callbacks_without_end_do_not_keep_messages_away(on_loop: Callable[..., Any]) -> None:
    async def main() -> None:
        transport, peer, there = await pair()
        there.send(b"x")
        while not peer.got:
            await asyncio.sleep(0)  # the loop never waits
        transport.close()
        there.close()

    on_loop(main())


def test_add_reader_is_called_as_long_as_there_is_something(on_loop: Callable[..., Any]) -> None:
    async def main() -> bytes:
        a, b = socket.socketpair()
        loop = asyncio.get_running_loop()
        got = bytearray()
        over = asyncio.Event()

        def one() -> None:
            byte = a.recv(1)
            got.extend(byte)
            if not byte:
                loop.remove_reader(a)
                over.set()

        loop.add_reader(a, one)
        b.send(b"byte by byte")
        b.close()
        await over.wait()
        a.close()
        return bytes(got)

    assert on_loop(main()) == b"byte by byte"


def test_readers_and_writers_that_come_and_go(on_loop: Callable[..., Any]) -> None:
    """For each answer, as psycopg does.  Both may be there; the later reader takes the place of the earlier one; one that
    is removed before its turn is not called; what nobody has read is told again."""

    async def main() -> list[Any]:
        a, b = socket.socketpair()
        a.setblocking(False)
        loop = asyncio.get_running_loop()
        said: list[Any] = []
        over = asyncio.Event()

        def reads(name: str) -> None:
            said.append((name, a.recv(1)))
            said.append(loop.remove_reader(a))
            over.set()

        def writes() -> None:
            said.append("room")
            said.append(loop.remove_writer(a.fileno()))

        for i in range(3):
            over.clear()
            loop.add_reader(a, reads, "earlier")
            loop.add_writer(a.fileno(), writes)
            loop.add_reader(a.fileno(), reads, f"later {i}")
            await asyncio.sleep(0.001)  # there is nothing to read yet
            b.send(b"xy")
            await over.wait()
            if i < 2:
                over.clear()
                loop.add_reader(a, reads, "rest")
                await over.wait()
        said.append([loop.remove_reader(a), loop.remove_writer(a)])
        c, d = socket.socketpair()
        removed: list[bool] = []

        def removes(other: socket.socket) -> None:
            removed.append(loop.remove_reader(other))

        loop.add_reader(a, removes, c)
        loop.add_reader(c, removes, a)
        d.send(b"z")  # one look finds both
        while not removed:
            await asyncio.sleep(0)  # a loop that has something to run need not look in each round
        await asyncio.sleep(0)
        said.append(loop.remove_reader(a) + loop.remove_reader(c))  # the first has removed the second
        a.close()
        said.append(loop.remove_reader(b))
        loop.add_reader(b, over.set)
        over.clear()
        await over.wait()  # the end
        loop.remove_reader(b)
        for sock in (b, c, d):
            sock.close()
        return said

    rounds = [["room", True, (f"later {i}", b"x"), True, ("rest", b"y"), True] for i in range(3)]
    assert on_loop(main()) == [*rounds[0], *rounds[1], *rounds[2][:-2], [False, False], 1, False]


@pytest.mark.parametrize("name", ["add_reader", "add_writer"])
def test_what_cannot_be_watched(on_loop: Callable[..., Any], name: str) -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        add, remove = getattr(loop, name), getattr(loop, name.replace("add", "remove"))
        transport, _, there = await pair()
        with tempfile.TemporaryFile() as file:
            said = []
            for what in (file, "nothing", -1, transport.get_extra_info("socket").fileno(), 10**6):
                for fn in (lambda what=what: add(what, print), lambda what=what: remove(what)):  # type: ignore[misc]
                    try:
                        said.append(fn())
                    except Exception as e:
                        said.append(type(e))
        transport.close()
        there.close()
        return said

    said = on_loop(main())
    error = [ValueError, ValueError]
    assert said == [PermissionError, False, *error, *error, RuntimeError, RuntimeError, OSError, False]


def test_a_selector_that_others_use_sees_readers() -> None:
    """nest_asyncio takes what the loop's selector says for itself."""
    loop: Any = gort.aio.Loop()
    a, b = socket.socketpair()
    loop.add_reader(a, print)
    loop.add_writer(a, print)
    key = loop._selector.get_key(a)
    assert (key.fileobj, key.fd, key.events) == (a, a.fileno(), 3)
    assert [callable(handle._callback) for handle in key.data] == [True, True]
    b.send(b"x")
    assert [(one.fd, mask) for one, mask in loop._selector.select(0)] == [(a.fileno(), 3)]
    loop.remove_writer(a)
    assert loop._selector.get_key(a.fileno()).events == 1
    loop.close()
    a.close()
    b.close()


def test_a_transport_that_nobody_closes_warns(loop_class: Any) -> None:
    loop = loop_class()
    transport, _, there = loop.run_until_complete(pair())
    fd = transport.get_extra_info("socket").fileno()
    loop.close()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        del transport
        gc.collect()
    assert [m for m in (str(w.message) for w in seen) if m.startswith("unclosed transport") and f"fd={fd}" in m]
    assert there.recv(1) == b""
    there.close()


def test_handles_are_asyncios(on_loop: Callable[..., Any]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        called: list[Any] = []
        soon = loop.call_soon(called.append, 1)
        gone = loop.call_soon(called.append, 2)
        gone.cancel()
        gone.cancel()
        assert isinstance(soon, asyncio.Handle)
        assert not isinstance(soon, asyncio.TimerHandle)
        assert (soon.cancelled(), gone.cancelled()) == (False, True)
        assert re.fullmatch(r"<Handle .*append\(.*\)>", repr(soon))
        assert repr(gone) == "<Handle cancelled>"
        late, early = loop.call_at(loop.time() + 60, called.append, 3), loop.call_later(0, called.append, 4)
        assert isinstance(late, asyncio.TimerHandle)
        assert early < late
        assert early <= late
        assert late > early
        assert late >= early
        assert late == late
        assert late != early
        assert len({late, early}) == 2
        assert re.fullmatch(r"<TimerHandle when=\d+\.\d+ .*append\(.*\)>", repr(late))
        late.cancel()
        assert re.fullmatch(r"<TimerHandle cancelled when=\d+\.\d+>", repr(late))
        while 4 not in called:
            await asyncio.sleep(0)
        assert called == [1, 4]
        with pytest.raises(TypeError, match="delay must not be None"):
            loop.call_later(None, print)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="when cannot be None"):
            loop.call_at(None, print)  # type: ignore[arg-type]

    on_loop(main())


def test_the_handle_of_another_threads_callback(on_loop: Callable[..., Any]) -> None:
    """From CPython 3.14 on who cancels it waits while the callback runs."""

    async def main() -> None:
        began, ended = threading.Event(), []
        loop = asyncio.get_running_loop()
        seen: list[Any] = []

        def callback() -> None:
            began.set()
            time.sleep(0.05)
            ended.append(True)

        def outside() -> None:
            handle = loop.call_soon_threadsafe(callback)
            began.wait()
            handle.cancel()
            seen.extend([type(handle), bool(ended)])

        await loop.run_in_executor(None, outside)
        known = getattr(asyncio.events, "_ThreadSafeHandle", None)
        assert known is None or seen == [known, True]

    on_loop(main())


def test_an_error_in_a_callback_is_told(on_loop: Callable[..., Any]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        told: list[Any] = []
        loop.set_exception_handler(lambda _, context: told.append(context))

        def fails(a: int, b: int) -> None:
            raise KeyError(a + b)

        handle = loop.call_soon(fails, 1, 2)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [c["handle"] for c in told] == [handle]
        assert "Exception in callback" in told[0]["message"]
        assert "fails(" in told[0]["message"]
        assert told[0]["exception"].args == (3,)

    on_loop(main())


def test_timers_that_are_cancelled_are_dropped(on_loop: Callable[..., Any]) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        handles = [loop.call_later(60 + n, print) for n in range(300)]
        for handle in handles[:290]:
            handle.cancel()
        await asyncio.sleep(0.001)
        assert len(loop._scheduled) < 50
        order: list[int] = []
        now = loop.time()
        for n in (3, 1, 2):
            loop.call_at(now + n / 1000, order.append, n)
        while len(order) < 3:
            await asyncio.sleep(0.001)
        assert order == [1, 2, 3]
        for handle in handles[290:]:
            handle.cancel()

    on_loop(main())


def test_a_closed_loop_takes_no_callbacks(loop_class: Any) -> None:
    loop = loop_class()
    loop.close()
    for call in (loop.call_soon, lambda fn: loop.call_later(0, fn), lambda fn: loop.call_at(0, fn)):
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            call(print)


def test_what_was_enqueued_before_an_answer_runs_before_it(on_loop: Callable[..., Any]) -> None:
    """The callbacks that are there when an iteration begins run first, then what comes."""

    async def main() -> None:
        order: list[str] = []

        class Answer(Peer):
            def data_received(self, data: bytes) -> None:
                order.append("answer")
                super().data_received(data)

        transport, peer, there = await pair(Answer())
        loop = asyncio.get_running_loop()
        for _ in range(20):  # also where the loop has not looked for events for a while
            peer.got.clear()
            loop.call_later(0, order.append, "timer")
            there.send(b"answer")
            loop.call_soon(order.append, "first")
            time.sleep(0.0002)
            await peer.until(lambda: peer.got == b"answer")
            await asyncio.sleep(0)
        assert order == ["first", "answer", "timer"] * 20
        transport.close()
        there.close()

    on_loop(main())


def test_a_socket_with_methods_of_its_own_is_asked(on_loop: Callable[..., Any]) -> None:
    """A program's class of sockets sees what goes through it."""

    class Counting(socket.socket):
        calls = 0

        def recv(self, *args: Any) -> bytes:
            self.calls += 1
            return super().recv(*args)

        def send(self, *args: Any) -> int:
            self.calls += 1
            return super().send(*args)

    async def main() -> None:
        here, there = socket.socketpair()
        there.setblocking(False)
        ours = Counting(fileno=here.detach())
        transport, peer = await asyncio.get_running_loop().create_connection(Peer, sock=ours)
        transport.write(b"one")
        assert await take(there, 3) == b"one"
        there.send(b"two")
        await peer.until(lambda: peer.got == b"two")
        assert ours.calls >= 2
        transport.close()
        there.close()

    on_loop(main())


def test_a_message_costs_no_epoll_ctl() -> None:
    """A stream is watched in the loop's own epoll: to read, to write what has no room, also while reading is paused."""

    async def main() -> None:
        transport, peer, there = await pair()
        loop: Any = asyncio.get_running_loop()
        watched = set(loop._selector.get_map())
        there.send(b"x")
        await peer.until(lambda: peer.got == b"x")
        transport.pause_reading()
        transport.write(b"c" * MB)
        assert set(loop._selector.get_map()) == watched
        transport.resume_reading()
        await take(there, MB)
        assert transport.get_extra_info("socket").fileno() not in loop._selector.get_map()
        transport.close()
        there.close()

    with asyncio.Runner(loop_factory=gort.aio.Loop) as runner:
        runner.run(main())


def test_a_message_that_a_recv_does_not_give_whole_comes_whole(on_loop: Callable[..., Any]) -> None:
    """A recv ends at bytes that came with a descriptor, and before urgent data; there is more all the same."""

    async def main() -> tuple[bytes, bytes]:
        loop = asyncio.get_running_loop()
        there, here = socket.socketpair()
        here.setblocking(False)
        transport, unix = await loop.create_connection(Peer, sock=here)
        with open("/dev/null", "rb") as null:
            socket.send_fds(there, [b"one"], [null.fileno()])
        there.send(b"two")
        await unix.until(lambda: len(unix.got) == 6)
        transport.close()
        there.close()
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as there:
            here, _ = server.accept()
            here.setblocking(False)
            transport, tcp = await loop.create_connection(Peer, sock=here)
            there.send(b"abc")
            there.send(b"X", socket.MSG_OOB)
            there.send(b"def")
            await tcp.until(lambda: len(tcp.got) == 6)
            there.send(b"g")
            there.send(b"Y", socket.MSG_OOB)
            there.send(b"h")
            await tcp.until(lambda: len(tcp.got) == 8)
            transport.close()
        return bytes(unix.got), bytes(tcp.got)

    assert on_loop(main()) == (b"onetwo", b"abcdefgh")


@pytest.mark.parametrize("again", [False, True])
def test_a_paused_transport_that_nobody_keeps_is_collected(loop_class: Any, again: bool) -> None:
    """Its socket is closed, and the usual warning comes, while the loop is open."""
    loop = loop_class()

    async def paused() -> Any:
        transport, peer, there = await pair()
        transport.pause_reading()
        if again:
            there.send(b"x")
            transport.resume_reading()
            await peer.until(lambda peer=peer: bool(peer.got))  # type: ignore[misc]
            transport.pause_reading()
        await asyncio.sleep(0)
        return transport, there

    transport, there = loop.run_until_complete(paused())
    loop.run_until_complete(asyncio.sleep(0.001))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        del transport
        gc.collect()
    assert any(str(w.message).startswith("unclosed transport") for w in seen)
    there.settimeout(10)
    assert there.recv(1) == b""
    there.close()
    loop.close()
