"""bufio: what Scanner makes of odd ends, its limit and its split functions; Reader and Writer. Twin of ../go/bufio.go."""

from __future__ import annotations

from typing import Any

from kit import run_scenario, say, scenario

from gort import bufio


class Slow:
    """A source that gives `step` bytes at a time."""

    def __init__(self, left: bytes, step: int) -> None:
        self.left, self.step = left, step

    async def read(self, n: int) -> bytes:
        data, self.left = self.left[: self.step], self.left[self.step :]
        return data


STEPS = (1, 2, 3, 100)


async def tokens(text: bytes, split: Any, limit: int) -> None:
    """Says what a Scanner makes of a text, however its bytes come."""
    for step in STEPS:
        found = []
        too_long = False
        try:
            async for token in bufio.Scanner(Slow(text, step), split, limit=limit):
                found.append(token.hex())
        except bufio.LimitExceeded:
            too_long = True
        say(len(found), " ".join(found), too_long)


@scenario(any_procs=True)
async def scan_lines() -> None:
    for text in (
        b"", b"\n", b"a", b"a\n", b"a\r\n", b"\r\n", b"\r", b"a\n\nb", b"a\r", b"\r\r\n", b"a\nb\r", b"\n\n",
        b"a\r\r\nb\n\r",
    ):  # fmt: skip
        await tokens(text, bufio.scan_lines, 100)


@scenario(any_procs=True)
async def scan_words() -> None:
    for text in (b"", b" ", b"a", b" a ", b"a b", b"\t\v\f\r\n a\n", b"  ab  cd  ", b"a\xffb c"):
        await tokens(text, bufio.scan_words, 100)


@scenario(any_procs=True)
async def scan_runes() -> None:
    for text in (
        b"", b"ab", "é".encode(), "€".encode(), "😀".encode(), b"\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"a\x80b",
        b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2a", b"\xf0\x9fa", b"\xf8aaaaa", b"\xe2\x82\xac\xe2",
        b"\xc3\xc3\xa9",
    ):  # fmt: skip
        await tokens(text, bufio.scan_runes, 100)


@scenario(any_procs=True)
async def scan_bytes() -> None:
    for text in (b"", b"a", b"ab\n", b"\xff\x00"):
        await tokens(text, bufio.scan_bytes, 100)


@scenario(any_procs=True)
async def scan_limit() -> None:
    for n in range(5, 11):
        await tokens(b"x" * n, bufio.scan_lines, 8)
        await tokens(b"x" * n + b"\n", bufio.scan_lines, 8)
        await tokens(b"a\n" + b"x" * n + b"\nb\n", bufio.scan_lines, 8)
        await tokens(b"x" * n, bufio.scan_words, 8)
        await tokens(b" " * 20 + b"x" * n + b" y", bufio.scan_words, 8)


@scenario(any_procs=True)
async def scan_by_function() -> None:
    def commas(data: bytes, start: int, at_end: bool) -> tuple[int, bytes | None] | None:
        end = data.find(b",", start)
        if end >= 0:
            return end + 1, data[start:end]
        return (len(data), data[start:]) if at_end and len(data) > start else None

    for text in (b"", b",", b"a,b", b"a,b,", b",,a", b"abcdefgh", b"abcdefg,", b"abcdefgh,"):
        await tokens(text, commas, 8)


@scenario(any_procs=True)
async def scan_calls_of_the_function() -> None:
    for step in STEPS:
        calls: list[str] = []

        def commas(data: bytes, start: int, at_end: bool, calls: list[str] = calls) -> tuple[int, bytes | None] | None:
            calls.append(str(len(data) - start))
            end = data.find(b",", start)
            if end >= 0:
                return end + 1, data[start:end]
            return (len(data), data[start:]) if at_end and len(data) > start else None

        async for _ in bufio.Scanner(Slow(b"abc,d,,efg", step), commas):
            calls.append("token")
        say(" ".join(calls))


@scenario(any_procs=True)
async def scan_functions_that_go_wrong() -> None:
    for advance in (-1, 100):
        s = bufio.Scanner(Slow(b"abc", 3), lambda data, start, at_end, n=advance: (n, b"x"))
        try:
            await s.scan()
        except ValueError:
            say(False, True)

    def fails(data: bytes, start: int, at_end: bool) -> None:
        raise EOFError

    try:
        await bufio.Scanner(Slow(b"abc", 3), fails).scan()
    except EOFError:
        say(False, True)


async def until(r: bufio.Reader, delimiter: bytes) -> None:
    try:
        say((await r.read_until(delimiter)).decode(), True)
    except bufio.IncompleteRead as e:
        say(e.partial.decode(), True)


@scenario(any_procs=True)
async def read_until() -> None:
    r = bufio.Reader(Slow(b"one-two\nthree", 2))
    await until(r, b"-")
    for _ in range(3):
        await until(r, b"\n")


@scenario(any_procs=True)
async def peek_and_discard() -> None:
    r = bufio.Reader(Slow(b"0123456789", 3))
    for n in (0, 2, 5):
        say((await r.peek(n)).decode(), True)
    say(await r.discard(4), True)
    say((await r.peek(3)).decode())
    say(await r.discard(100))
    say((await r.peek(3)).decode())


class Out:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.data = b""

    async def write(self, data: bytes) -> None:
        self.data += data


@scenario(any_procs=True)
async def writer() -> None:
    out = Out()
    w = bufio.Writer(out, 16)
    say(w.buffered, w.available)
    for n in (1, 5, 0, 10):
        await w.write(b"x" * n)
        say(w.buffered, w.available, len(out.data))
    await w.flush()
    say(w.buffered, w.available, len(out.data))
    await w.write(b"y" * 100)
    await w.write(b"z")
    await w.flush()
    say(w.buffered, out.data.decode())


async def main() -> None:
    await run_scenario()
