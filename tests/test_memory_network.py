"""gort.testing.pipe and gort.testing.Network: connections in memory, in virtual time."""

from __future__ import annotations

import time
from typing import Any

import pytest

import gort
from gort import net, testing


async def echo_server(ln: Any) -> None:
    """A server as it is written for the system's network."""

    async def serve(conn: Any) -> None:
        async with conn:
            async for line in conn.lines():
                await conn.write(line.upper())

    async for conn in ln:
        gort.go(serve, conn)


async def ask(address: str, line: bytes, timeout: float | None = None) -> bytes:
    """A client of it."""
    async with await net.dial("tcp", address, timeout=timeout) as conn:
        await conn.write(line)
        return await conn.read_line()


def test_a_pipe_hands_over_what_is_read() -> None:
    """Go's: a write waits until all of it has been read."""

    async def main() -> None:
        async def writes() -> None:
            await a.write(b"hello")
            done.append(True)
            a.close()

        a, b = testing.pipe()
        gort.go(writes)
        assert await b.read(2) == b"he"
        await testing.wait()
        assert done == []
        assert await b.read_exactly(3) == b"llo"
        await testing.wait()
        assert done == [True]
        assert await b.read() == b""
        with pytest.raises(BrokenPipeError):
            await b.write(b"x")
        with pytest.raises(net.Closed):
            await a.read()
        b.close()

    done: list[bool] = []
    testing.run(main)


def test_deadlines_pass_in_virtual_time_and_can_be_moved() -> None:
    async def main() -> None:
        a, b = testing.pipe(window=4)
        start = time.monotonic()
        b.set_read_deadline(3600)
        with pytest.raises(net.DeadlineExceeded):
            await b.read()
        assert time.monotonic() - start == 3600
        a.set_write_deadline(60)
        with pytest.raises(net.DeadlineExceeded) as told:
            await a.write(b"123456")
        assert told.value.written == 4  # type: ignore[attr-defined]
        assert time.monotonic() - start == 3660
        b.set_read_deadline(None)
        assert await b.read() == b"1234"
        gort.after_func(30, b.close)
        with pytest.raises(net.Closed):
            await b.read()
        with pytest.raises(BrokenPipeError):
            a.set_write_deadline(None)
            await a.write(b"x")
        assert time.monotonic() - start == 3690
        a.close()

    testing.run(main)


def test_a_slow_reader_holds_up_the_writer() -> None:
    async def main() -> None:
        async def writes() -> None:
            for _ in range(8):
                await a.write(bytes(1000))
                times.append(time.monotonic() - start)
            a.close()

        start = time.monotonic()
        a, b = testing.pipe(window=2000)
        gort.go(writes)
        while await b.read(1000):
            await gort.sleep(1)
        assert times == [0, 0, 0, 1, 2, 3, 4, 5]
        b.close()

    times: list[float] = []
    testing.run(main)


def test_a_cancelled_read_loses_nothing() -> None:
    async def main() -> None:
        a, b = testing.pipe(window=100)
        with pytest.raises(TimeoutError):
            async with gort.timeout(5):
                await b.read_exactly(4)
        await a.write(b"ab")
        with pytest.raises(TimeoutError):
            async with gort.timeout(5):
                await b.read_exactly(4)
        await a.write(b"cd")
        assert await b.read_exactly(4) == b"abcd"
        buffer = bytearray(8)
        await a.writev([b"x", b"yz"])
        assert await b.readinto(buffer) == 3
        a.reset()
        with pytest.raises(ConnectionResetError):
            await b.read()
        b.close()

    testing.run(main)


def test_programs_on_gort_net_run_on_the_network_in_memory() -> None:
    """With its latency: a dial takes a round trip, and so does a question."""

    async def main() -> None:
        with testing.Network(latency=0.25) as network:
            ln = await net.listen("tcp", "localhost:0")
            gort.go(echo_server, ln)
            start = time.monotonic()
            assert await ask(str(ln.addr), b"hello\n") == b"HELLO\n"
            assert time.monotonic() - start == 1
            network.latency = 0
            assert await ask(f"localhost:{ln.addr.port}", b"again\n") == b"AGAIN\n"
            assert time.monotonic() - start == 1
            with pytest.raises(OSError, match="Address already in use"):
                await net.listen("tcp", str(ln.addr))
            ln.close()
            with pytest.raises(ConnectionRefusedError):
                await net.dial("tcp", str(ln.addr))
            with pytest.raises(net.Closed):
                await ln.accept()
            unix = await net.listen("unix", "/nowhere")
            gort.go(echo_server, unix)
            async with await net.dial("unix", "/nowhere") as conn:
                await conn.write(b"end")
                conn.close_write()
                assert await conn.read_line() == b"END"
            unix.close()
            await gort.sleep(1)  # the servers see the end of each connection

    testing.run(main)


def test_a_partition_holds_everything_back() -> None:
    async def main() -> None:
        with testing.Network(latency=0.5) as network:
            with network.host("server"):
                ln = await net.listen("tcp", ":80")
                gort.go(echo_server, ln)
            assert str(ln.addr) == "server:80"
            start = time.monotonic()
            with network.host("client"):
                async with await net.dial("tcp", "server:80") as conn:
                    network.partition("client", "server")
                    conn.set_deadline(60)
                    await conn.write(b"late\n")
                    with pytest.raises(net.DeadlineExceeded):
                        await conn.read_line()
                    assert time.monotonic() - start == 61
                    with pytest.raises(net.DeadlineExceeded):
                        await ask("server:80", b"x\n", timeout=10)
                    with network.host("other"):
                        assert await ask("server:80", b"there\n") == b"THERE\n"
                    network.heal()
                    conn.set_deadline(None)
                    assert await conn.read_line() == b"LATE\n"
            ln.close()
            await gort.sleep(60)

    testing.run(main)


def test_losses_come_later_and_in_order_the_same_each_time() -> None:
    async def main() -> tuple[float, bytes]:
        with testing.Network(latency=0.01, jitter=0.02, loss=0.3, seed=7):
            ln = await net.listen("tcp", "127.0.0.1:0")
            async with await net.dial("tcp", str(ln.addr)) as a, await ln.accept() as b:
                start = time.monotonic()
                for n in range(100):
                    await a.write(b"%d," % n)
                a.close_write()
                whole = b"".join([data async for data in b])
            ln.close()
            return time.monotonic() - start, whole

    took, whole = testing.run(main)
    assert whole == b"".join(b"%d," % n for n in range(100))
    assert 0.2 < took < 60
    assert testing.run(main) == (took, whole)


def test_what_is_wrong_is_refused() -> None:
    async def main() -> None:
        with testing.Network(), pytest.raises(RuntimeError, match="already"):
            testing.Network().__enter__()
        with pytest.raises(ValueError, match="loss"):
            testing.Network(loss=1)
        with testing.Network() as network, pytest.raises(TypeError, match="two hosts"):
            network.partition("a")
        a, _ = testing.pipe()
        with pytest.raises(ValueError, match="positive"):
            await a.read(0)

    testing.run(main)
    with pytest.raises(RuntimeError, match="in a goroutine"):
        testing.Network().__enter__()


def test_a_pipe_works_outside_a_bubble_too(run: Any) -> None:
    async def main() -> None:
        a, b = testing.pipe()
        async with gort.Group() as group:
            group.go(a.write, b"x" * 100_000)
            assert await b.read_exactly(100_000) == b"x" * 100_000
        a.close()
        b.close()

    run(main)


def test_a_pipe_takes_back_what_a_write_has_not_handed_over() -> None:
    """As Go's: what the writer is told has not been written nobody reads later."""

    async def main() -> None:
        a, b = testing.pipe()
        got = []

        async def reads() -> None:
            got.append(await b.read(2))

        gort.go(reads)
        a.set_write_deadline(1)
        with pytest.raises(net.DeadlineExceeded) as caught:
            await a.write(b"hello")
        assert caught.value.written == 2  # type: ignore[attr-defined]
        a.set_write_deadline(None)

        async def again() -> None:
            await a.write(b"llo")
            a.close()

        gort.go(again)
        while data := await b.read():
            got.append(data)
        assert got == [b"he", b"llo"]

        a, b = testing.pipe()
        gort.after_func(1, b.close)
        with pytest.raises(BrokenPipeError) as broken:
            await a.write(b"hello")
        assert broken.value.written == 0  # type: ignore[attr-defined]

    testing.run(main)


def test_a_listener_that_closes_resets_who_was_about_to_be_accepted() -> None:
    async def main() -> None:
        with testing.Network():
            ln = await net.listen("tcp", ":80")

            async def serve() -> None:
                async for conn in ln:
                    async with conn:
                        await conn.write(b"x")

            async def dial() -> None:
                try:
                    conn = await net.dial("tcp", "127.0.0.1:80")
                except ConnectionRefusedError:
                    return
                async with conn:
                    conn.set_read_deadline(10)
                    try:
                        await conn.read(1)
                    except ConnectionResetError:
                        pass

            async with gort.Group() as group:
                group.go(serve)
                group.go(dial)
                await gort.gosched()
                ln.close()

    testing.explore(main)


def test_a_network_may_be_made_outside_its_bubble() -> None:
    network = testing.Network(latency=1)

    async def main() -> None:
        with network:
            ln = await net.listen("tcp", ":80")
            network.partition()
            gort.after_func(5, network.heal)
            (await net.dial("tcp", "127.0.0.1:80")).close()
            ln.close()

    testing.run(main)
    testing.run(main)
