"""gort.net: reading, writing, closing, deadlines, cancellation; every error it documents."""

from __future__ import annotations

import errno
import os
import resource
import socket
import sys
from typing import Any

import pytest
from netkit import descriptors, echo, go_result, pair, serving

import gort
from gort import net
from support import PATIENCE_S, parked, until


def test_echo_over_tcp_and_unix(run: Any, tmp_path: Any) -> None:
    async def main(network: str, path: str) -> list[bytes]:
        async with pair(network, path) as (a, b), gort.Group() as group:
            group.go(echo, b)  # pair must not close b while echo is between two reads
            got = []
            for i in range(3):
                await a.write(b"message %d" % i)
                got.append(await a.read())
            a.close()
        return got

    expected = [b"message 0", b"message 1", b"message 2"]
    assert run(main, "tcp", "") == expected
    assert run(main, "unix", str(tmp_path / "sock")) == expected
    assert run(main, "unix", f"@gort-test-{os.getpid()}") == expected
    assert os.listdir(tmp_path) == []  # the listener removed its file


def test_a_large_transfer_arrives_whole_and_in_order(run: Any) -> None:
    total = 8 << 20
    data = os.urandom(1 << 16) * (total >> 16)

    async def main() -> bytes:
        async with pair() as (a, b):

            async def send() -> None:
                await a.write(data)
                a.close_write()

            gort.go(send)
            got = bytearray()
            while piece := await b.read(100_000):
                got += piece
            return bytes(got)

    assert run(main) == data


def test_readinto_writev_and_views(run: Any) -> None:
    async def main() -> None:
        async with pair() as (a, b):
            await a.writev([b"one", bytearray(b"two"), memoryview(b"-three-")[1:6]])
            buffer = bytearray(64)
            n = 0
            while n < 11:
                n += await b.readinto(memoryview(buffer)[n:])
            assert buffer[:n] == b"onetwothree"
            await a.writev([b"x" * 10] * 200)  # more than one call gathers
            assert await b.read_exactly(2000) == b"x" * 2000
            await a.writev([])
            with pytest.raises(TypeError, match="encode"):
                a.write("text")
            with pytest.raises(ValueError, match="a number of bytes, not -1"):
                a.read(-1)
            with pytest.raises(TypeError, match="writable"):
                a.readinto(b"abc")
            a.close()
            assert await b.readinto(buffer) == 0

    run(main)


def test_compound_reads(run: Any) -> None:
    async def main() -> None:
        async with pair() as (a, b):
            await a.write(b"line one\nline two\nrest")
            assert await b.read_until(b"\n") == b"line one\n"
            assert await b.read_until(b"\n") == b"line two\n"
            assert await b.read_exactly(2) == b"re"
            await a.write(b"no delimiter here")
            with pytest.raises(net.LimitExceeded):
                await b.read_until(b"\n", limit=5)
            a.close()
            with pytest.raises(net.IncompleteRead) as caught:
                await b.read_exactly(100)
            assert caught.value.partial == b"stno delimiter here"

    run(main)


def test_lines_and_pieces(run: Any) -> None:
    async def main() -> None:
        async with pair() as (a, b):
            await a.write(b"a\nb\nc")
            a.close_write()
            assert [line async for line in b.lines()] == [b"a\n", b"b\n", b"c"]
            await b.write(b"back")
            b.close()
            assert b"".join([piece async for piece in a]) == b"back"

    run(main)


def test_half_close(run: Any) -> None:
    async def main() -> None:
        async with pair() as (a, b):
            await a.write(b"question")
            a.close_write()
            assert await b.read() == b"question"
            assert await b.read() == b""
            await b.write(b"answer")
            assert await a.read() == b"answer"

    run(main)


def test_refused(run: Any) -> None:
    async def main() -> None:
        before = descriptors()
        ln = await net.listen("tcp", "127.0.0.1:0")
        address = str(ln.addr)
        ln.close()
        with pytest.raises(ConnectionRefusedError, match=f"dial tcp {address}: Connection refused"):
            await net.dial("tcp", address)
        await until(lambda: descriptors() <= before + 2)  # the poller's own

    run(main)


def test_reset_in_mid_write_says_how_much_went(run: Any) -> None:
    async def main() -> None:
        async with pair() as (a, b):
            out = go_result(a.__class__.write, a, b"x" * (32 << 20))
            await b.read_exactly(100_000)
            b.reset()
            error = await out.recv()
            assert isinstance(error, (ConnectionResetError, BrokenPipeError))
            assert 100_000 <= error.written < 32 << 20
            with pytest.raises(OSError):
                await a.write(b"more")

    run(main)


def test_close_while_another_goroutine_reads_or_writes(run: Any) -> None:
    async def main() -> None:
        async with pair() as (a, b):
            reads = [go_result(a.__class__.read, a, 10) for _ in range(3)]
            write = go_result(a.__class__.write, a, b"x" * (32 << 20))
            await parked(4, "IO wait")
            a.close()
            for out in reads:
                assert isinstance(await out.recv(), net.Closed)
            error = await write.recv()
            assert isinstance(error, net.Closed)
            assert error.written > 0
            with pytest.raises(net.Closed, match="use of closed"):
                await a.read()
            with pytest.raises(net.Closed):
                a.set_deadline(1)
            a.close()
            assert a.fileno() == -1
            b.close()

    run(main)


def test_writes_of_several_goroutines_do_not_mix(run: Any) -> None:
    size, n = 300_000, 6

    async def main() -> bytes:
        async with pair() as (a, b):
            outs = [go_result(a.__class__.write, a, bytes([65 + i]) * size) for i in range(n)]
            data = await b.read_exactly(size * n)
            for out in outs:
                assert await out.recv() is None
            return data

    data = run(main)
    pieces = [data[i * size : (i + 1) * size] for i in range(n)]
    assert sorted(pieces) == [bytes([65 + i]) * size for i in range(n)]


# ---- deadlines -------------------------------------------------------------------------------------------------------


def test_deadline_passes_while_waiting_and_the_connection_stays_good(run: Any) -> None:
    async def main() -> None:
        async with pair() as (a, b):
            a.set_read_deadline(0.01)
            with pytest.raises(net.DeadlineExceeded, match="deadline exceeded"):
                await a.read()
            with pytest.raises(TimeoutError):
                await a.read()  # still passed
            await a.write(b"writes are not concerned")
            assert await b.read() == b"writes are not concerned"
            a.set_read_deadline(None)
            await b.write(b"late")
            assert await a.read() == b"late"

    run(main)


def test_deadline_changed_while_another_goroutine_waits(run: Any) -> None:
    async def main() -> None:
        async with pair() as (a, b):
            a.set_deadline(3600)
            out = go_result(a.__class__.read, a, 10)
            await parked(1, "IO wait")
            a.set_read_deadline(7200)  # later: the timer stays
            a.set_read_deadline(0)  # now
            assert isinstance(await out.recv(), net.DeadlineExceeded)
            a.set_deadline(0.01)
            a.set_read_deadline(None)  # taken back before it fires
            out = go_result(a.__class__.read, a, 10)
            await gort.sleep(0.03)
            await b.write(b"kept")
            assert await out.recv() == b"kept"
            a.set_read_deadline(0.005)
            a.set_read_deadline(0.02)  # moved on: the first firing only arms again
            with pytest.raises(net.DeadlineExceeded):
                await a.read()

    run(main)


def test_write_deadline_says_how_much_went(run: Any) -> None:
    async def main() -> None:
        async with pair() as (a, _b):
            out = go_result(a.__class__.write, a, b"x" * (64 << 20))
            await parked(1, "IO wait")  # the kernel's buffers are full
            a.set_write_deadline(0.01)
            error = await out.recv()
            assert isinstance(error, net.DeadlineExceeded)
            assert 0 < error.written < 64 << 20

    run(main)


def test_accept_has_a_deadline(run: Any) -> None:
    async def main() -> None:
        async with await net.listen("tcp", "127.0.0.1:0") as ln:
            ln.set_deadline(0.01)
            with pytest.raises(net.DeadlineExceeded, match="accept tcp"):
                await ln.accept()
            ln.set_deadline(None)
            c = await net.dial("tcp", str(ln.addr))
            (await ln.accept()).close()
            c.close()

    run(main)


# ---- cancellation ----------------------------------------------------------------------------------------------------


def test_cancelled_read_takes_nothing(run: Any) -> None:
    async def main() -> None:
        async with pair() as (a, b):
            for i in range(50):
                async with gort.Group() as g:
                    h = g.go(a.read_exactly, 10)
                    await parked(1, "IO wait")
                    await b.write(b"%05d" % i)
                    await until(lambda: True)
                    h.cancel()
                if isinstance(h.exception(), gort.Cancelled):
                    await b.write(b"abcde")
                    assert await a.read_exactly(10) == b"%05dabcde" % i

    run(main)


def test_cancelled_write_says_how_much_went(run: Any) -> None:
    async def main() -> None:
        async with pair() as (a, b):
            data = b"x" * (32 << 20)

            async def write() -> None:
                await a.write(data)

            async with gort.Group() as g:
                h = g.go(write)
                await parked(1, "IO wait")
                h.cancel()
            written = h.exception().written
            assert 0 < written < 32 << 20
            end = go_result(a.__class__.write, a, b"end")
            assert (await b.read_exactly(written + 3))[-3:] == b"end"
            assert await end.recv() is None

    run(main)


def test_cancelled_accept_and_dial(run: Any) -> None:
    async def main() -> None:
        async with await net.listen("tcp", "127.0.0.1:0") as ln:
            async with gort.Group() as g:
                h = g.go(ln.accept)
                await parked(1, "IO wait")
                h.cancel()
            assert isinstance(h.exception(), gort.Cancelled)
            async with serving(echo) as address:
                async with gort.Group() as g:
                    handles = [g.go(net.dial, "tcp", address) for _ in range(20)]
                    for h in handles:
                        h.cancel()
                for h in handles:
                    if h.exception() is None:  # it was faster
                        h.result().close()

    run(main)


# ---- listeners -------------------------------------------------------------------------------------------------------


def test_a_closed_listener_ends_its_loop(run: Any) -> None:
    async def main() -> int:
        ln = await net.listen("tcp", "127.0.0.1:0")
        done = gort.Chan(1)

        async def loop() -> None:
            n = 0
            async for conn in ln:
                conn.close()
                n += 1
            done.try_send(n)

        gort.go(loop)
        for _ in range(5):
            c = await net.dial("tcp", str(ln.addr))
            assert await c.read() == b""
            c.close()
        ln.close()
        return await done.recv()

    assert run(main) == 5


def test_out_of_descriptors_while_accepting(run: Any) -> None:
    """The server says so, keeps its other connections, and serves the waiting client when descriptors are free."""
    said: list[str] = []

    async def main() -> None:
        ln = await net.listen("tcp", "127.0.0.1:0")
        ln.on_error = said.append

        async def serve() -> None:
            async for conn in ln:
                gort.go(echo, conn)

        gort.go(serve)
        first = await net.dial("tcp", str(ln.addr))
        await first.write(b"1")
        assert await first.read() == b"1"
        client = socket.socket()
        hoard: list[int] = []
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors() + 20, hard))
        try:
            try:
                while True:
                    hoard.append(os.dup(0))
            except OSError as e:
                if e.errno != errno.EMFILE:
                    raise
            await gort.blocking(client.connect, (ln.addr.host, ln.addr.port))
            await until(lambda: said)
            await first.write(b"2")
            assert await first.read() == b"2"
        finally:
            for fd in hoard:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        second = net.from_socket(client)
        await second.write(b"3")
        assert await second.read() == b"3"
        first.close()
        second.close()
        ln.close()

    run(main)
    assert "Too many open files; retrying in" in said[0]


def test_reuse_port_shares_the_load(run: Any) -> None:
    async def main() -> None:
        a = await net.listen("tcp", "127.0.0.1:0", reuse_port=True)
        b = await net.listen("tcp", str(a.addr), reuse_port=True)
        counts = {a: 0, b: 0}

        async def loop(ln: Any) -> None:
            async for conn in ln:
                counts[ln] += 1
                conn.close()

        gort.go(loop, a)
        gort.go(loop, b)
        for _ in range(64):
            c = await net.dial("tcp", str(a.addr))
            await c.read()
            c.close()
        assert counts[a] + counts[b] == 64
        assert min(counts.values()) > 0
        a.close()
        b.close()

    run(main)


def test_listen_and_dial_errors(run: Any, tmp_path: Any) -> None:
    async def main() -> None:
        async with await net.listen("tcp", "127.0.0.1:0") as ln:
            with pytest.raises(OSError, match=r"listen tcp .*Address already in use"):
                await net.listen("tcp", str(ln.addr))
        with pytest.raises(ValueError, match="missing port"):
            await net.dial("tcp", "localhost")
        with pytest.raises(ValueError, match="in brackets"):
            await net.dial("tcp", "::1:80")
        with pytest.raises(ValueError, match="unknown network 'icmp'"):
            await net.dial("icmp", "localhost:1")
        with pytest.raises(ValueError, match="listen_packet"):
            await net.listen("udp", "127.0.0.1:0")
        with pytest.raises(TypeError, match="address is a str"):
            await net.dial("tcp", 80)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="invalid port 70000"):
            await net.dial("tcp", "127.0.0.1:70000")
        with pytest.raises(FileNotFoundError, match="dial unix"):
            await net.dial("unix", str(tmp_path / "nothing"))

    run(main)


# ---- dialling --------------------------------------------------------------------------------------------------------


def test_dial_resolves_names_and_falls_back(run: Any) -> None:
    """localhost may have two addresses; the listener has one of them."""

    async def main() -> None:
        async with serving(echo) as address:
            port = address.rpartition(":")[2]
            c = await net.dial("tcp", f"localhost:{port}", timeout=PATIENCE_S)
            await c.write(b"found")
            assert await c.read() == b"found"
            c.close()

    run(main)


def test_happy_eyeballs(run: Any, monkeypatch: Any) -> None:
    """The first address never answers (its backlog is full), the second does; the loser is closed."""
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    port = full.getsockname()[1]
    fillers = []
    for _ in range(8):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(("127.0.0.1", port))
        fillers.append(s)

    async def main() -> None:
        async with serving(echo) as address:
            module = sys.modules["gort.net.dial"]
            good = (int(socket.AF_INET), ("127.0.0.1", int(address.rpartition(":")[2])))
            stuck = (int(socket.AF_INET), ("127.0.0.1", port))

            async def lookup(*_args: Any) -> Any:
                return [stuck, good]

            monkeypatch.setattr(module, "lookup", lookup)
            (await net.dial("tcp", address)).close()  # the poller has its descriptors
            before = descriptors()
            c = await net.Dialer(fallback_delay=0.01).dial("tcp", "somewhere:1")
            assert c.remote_addr.port == good[1][1]
            await c.write(b"hi")
            assert await c.read() == b"hi"
            await until(lambda: descriptors() <= before + 2)  # both ends: the loser is closed
            c.close()
            with pytest.raises(net.DeadlineExceeded, match="timed out"):
                monkeypatch.setattr(module, "lookup", lambda *_: _one(stuck))
                await net.dial("tcp", "somewhere:1", timeout=0.05)

    async def _one(address: Any) -> Any:
        return [address]

    try:
        run(main)
    finally:
        full.close()
        for s in fillers:
            s.close()


# ---- memory, descriptors, plain threads ------------------------------------------------------------------------------


def test_backpressure_holds_memory_flat(run1: Any) -> None:
    """A reader that does not read: the writer waits, and nothing piles up in the program."""

    async def main() -> None:
        async with pair() as (a, b):
            sent = 0
            block = b"x" * 65536

            async def pump() -> None:
                nonlocal sent
                try:
                    while True:
                        await a.write(block)
                        sent += len(block)
                except OSError:
                    pass

            gort.go(pump)
            await parked(1, "IO wait")
            stuck = sent
            assert stuck < 32 << 20  # what the kernel's buffers took
            for _ in range(20):
                await gort.gosched()
            assert sent == stuck
            b.close()

    run1(main)


def test_sendfile(run: Any, tmp_path: Any) -> None:
    data = os.urandom(3 << 20)
    path = tmp_path / "file"
    path.write_bytes(data)

    async def main() -> bytes:
        async with pair() as (a, b):

            async def send() -> None:
                with open(path, "rb") as f:
                    assert await a.sendfile(f) == len(data)
                    assert await a.sendfile(f, 10, 20) == 20
                a.close_write()

            gort.go(send)
            got = bytearray()
            async for piece in b:
                got += piece
            return bytes(got)

    assert run(main) == data + data[10:30]


def test_unclosed_connection_is_told_and_closed(run1: Any) -> None:
    async def main() -> None:
        ln = await net.listen("tcp", "127.0.0.1:0")
        c = await net.dial("tcp", str(ln.addr))
        with pytest.warns(ResourceWarning, match="unclosed"):
            del c
        ln.close()

    run1(main)


def test_wait_from_a_plain_function(run: Any) -> None:
    def plain(conn: Any, out: Any) -> None:
        gort.wait(conn.write(b"from a function"))
        out.try_send(gort.wait(conn.read(100)))

    async def main() -> None:
        async with pair() as (a, b):
            out: Any = gort.Chan(1)
            gort.go(plain, a, out)
            assert await b.read() == b"from a function"
            await b.write(b"to a function")
            assert await out.recv() == b"to a function"

    run(main)


def test_a_connection_lives_on_in_the_next_run(run1: Any) -> None:
    kept: list[Any] = []

    async def first() -> None:
        ln = await net.listen("tcp", "127.0.0.1:0")
        kept.append(await net.dial("tcp", str(ln.addr)))
        kept.append(await ln.accept())
        kept[0].set_deadline(100)
        ln.close()

    async def second() -> bytes:
        a, b = kept
        await a.write(b"still here")
        data = await b.read()
        a.close()
        b.close()
        return bytes(data)

    run1(first)
    assert run1(second) == b"still here"


def test_goroutines_that_only_compute_do_not_starve_connections(run1: Any) -> None:
    async def main() -> None:
        stop = False

        async def busy() -> None:
            while not stop:
                await gort.gosched()

        gort.go(busy)
        gort.go(busy)
        async with pair() as (a, b), gort.Group() as group:
            group.go(echo, b)  # pair must not close b while echo is between two reads
            for _ in range(100):
                await a.write(b"x")
                assert await a.read() == b"x"
            a.close()
        stop = True

    run1(main)


def test_waiting_for_a_silent_peer_is_no_deadlock_but_an_unused_connection_does_not_hide_one(run1: Any) -> None:
    async def main() -> None:
        async with pair():
            await gort.Chan().recv()

    with pytest.raises(gort.Deadlock):
        run1(main)


# ---- datagrams -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["udp", "unixgram"])
def test_datagrams(run: Any, network: str, tmp_path: Any) -> None:
    async def main() -> None:
        names = ["127.0.0.1:0", "127.0.0.1:0"] if network == "udp" else [str(tmp_path / "a"), str(tmp_path / "b")]
        async with await net.listen_packet(network, names[0]) as a, await net.listen_packet(network, names[1]) as b:
            out = go_result(a.read_from)
            await parked(1, "IO wait")
            await b.write_to(b"datagram", str(a.addr))
            data, addr = await out.recv()
            assert (data, str(addr)) == (b"datagram", str(b.addr))
            await a.write_to(b"answer", addr)
            assert (await b.read_from())[0] == b"answer"
            c = await net.dial_packet(network, str(a.addr))
            await c.write(b"connected")
            assert (await a.read_from(4))[0] == b"conn"
            c.close()
            with pytest.raises(net.Closed):
                await c.read()
            b.set_read_deadline(0.01)
            with pytest.raises(net.DeadlineExceeded):
                await b.read_from()
            if network == "udp":
                with pytest.raises(OSError, match="Message too long"):
                    await a.write_to(b"x" * 100_000, str(b.addr))

    run(main)
