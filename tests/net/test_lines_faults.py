"""Lines: what a short one costs, and that nothing is lost between ways to read."""

from __future__ import annotations

from typing import Any

import pytest
from netkit import go_result, pair, tls_pair

import gort
import gort.exec
from gort import net
from gort._compound import Kept


class Pieces(Kept):
    """A stream that counts how many bytes are given back to it."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces
        self.given_back = 0

    async def read(self, n: int = 1 << 16) -> bytes:
        if self._pushed:
            return self._pop(n)
        return self.pieces.pop(0) if self.pieces else b""

    def push(self, data: Any, at: int = 0) -> None:
        self.given_back += len(data) - at
        super().push(data, at)


def test_n10_what_is_buffered_is_not_copied_for_each_line(run1: Any) -> None:
    size = 1 << 16
    pieces = [b"0123456789\n" * (size // 11) + b"cut" for _ in range(3)]

    async def main() -> None:
        stream = Pieces(list(pieces))
        lines = [line async for line in stream.lines()]
        assert b"".join(lines) == b"".join(pieces)
        assert stream.given_back < 2 * 3 * size  # it was 2,980 times that

    run1(main)


def test_n10_nor_does_a_connection_copy_it(run1: Any) -> None:
    """The same of a connection, whose buffer is the core's."""
    given_back = 0

    class Counting(net.Conn):
        def push(self, data: Any, *at: int) -> None:
            nonlocal given_back
            given_back += len(data) - sum(at)
            super().push(data, *at)

    async def main() -> None:
        async with pair() as (a, b):
            data = b"0123456789\n" * 6000
            async with Counting(b.detach(), "tcp") as c:
                out = go_result(a.write, data)
                got = b""
                async for line in c.lines():
                    got += line
                    if len(got) == len(data):
                        break
                assert got == data
                await out.recv()
        assert given_back < 2 * len(data)  # it was 2,958 times that

    run1(main)


@pytest.mark.parametrize("kind", ["tcp", "tls"])
def test_n10_nothing_is_lost_between_ways_to_read(run: Any, certificates: Any, kind: str) -> None:
    async def main() -> None:
        async with pair() if kind == "tcp" else tls_pair(certificates["localhost"]) as (a, b):
            lines = [b"%d\n" % i for i in range(3000)]
            await a.write(b"".join(lines) + b"\r\nbody--end--tail\nlast")
            await a.close_write() if kind == "tls" else a.close_write()  # type: ignore[func-returns-value]
            assert await b.read_until(b"\n") == lines[0]
            got = 1
            async for line in b.lines():
                assert line == lines[got]
                got += 1
                if got == 1000:
                    assert await b.read_exactly(len(lines[got])) == lines[got]
                    b.push(lines[got])
                if got == 3000:
                    break
            assert await b.read_until(b"\r\n") == b"\r\n"
            assert await b.read(4) == b"body"
            assert await b.read_until(b"--end--") == b"--end--"
            with pytest.raises(net.LimitExceeded):
                await b.read_until(b"\n", limit=4)
            assert await b.read_until(b"\n", limit=5) == b"tail\n"
            buffer = bytearray(2)
            assert await b.readinto(buffer) == 2
            assert [line async for line in b.lines()] == [b"st"]
            with pytest.raises(net.IncompleteRead):
                await b.read_until(b"\n")
            with pytest.raises(ValueError, match="delimiter"):
                await b.read_until(b"")

    run(main)


def test_n10_deadlines_and_close_come_before_what_is_buffered(run1: Any) -> None:
    async def main() -> None:
        async with pair() as (a, b):
            await a.write(b"1\n2\n3\n")
            assert await b.read_until(b"\n") == b"1\n"
            b.set_read_deadline(0)
            with pytest.raises(net.DeadlineExceeded):
                await b.read_until(b"\n")
            b.set_read_deadline(None)
            assert await b.read_until(b"\n") == b"2\n"
            b.close()
            with pytest.raises(net.Closed):
                await b.read_until(b"\n")

    run1(main)


def test_n10_lines_of_a_program(run1: Any) -> None:
    async def main() -> None:
        async with await gort.exec.start("seq", "5000", stdout=gort.exec.PIPE) as cmd:
            assert [int(line) async for line in cmd.stdout.lines()] == list(range(1, 5001))

    run1(main)
