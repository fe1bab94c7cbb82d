"""gort.bufio: Reader, Scanner and Writer beside models of them, over every kind of stream, with reads and writes that
fail anywhere."""

from __future__ import annotations

import gc
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from netkit import go_result, pair, tls_pair

import gort
import gort.exec
from gort import bufio, net
from support import GIL, dose, parked, until

# The bodies are Python's on every core. What awaits beneath them is not, but a part of the examples shows that.
EXAMPLES = dose(200 if gort.runtime.compiled and GIL else 60)
QUICK = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
ALPHABET = b"ab\n\r-"


class Interrupt(Exception):
    """What a source raises where its script says so."""


class Script:
    """A source: gives its pieces one after another, each to as many reads as it takes; None raises Interrupt."""

    def __init__(self, pieces: list[bytes | None]) -> None:
        self.pieces = [p for p in pieces if p is None or p]

    async def read(self, n: int) -> bytes:
        if not self.pieces:
            return b""
        piece = self.pieces.pop(0)
        if piece is None:
            raise Interrupt
        if len(piece) > n:
            self.pieces.insert(0, piece[n:])
        return piece[:n]


class IntoScript(Script):
    """The same with `readinto` alone."""

    read = None  # type: ignore[assignment]

    async def readinto(self, buffer: memoryview) -> int:
        data = await Script.read(self, len(buffer))
        buffer[: len(data)] = data
        return len(data)


PIECES = st.lists(st.one_of(st.none(), st.lists(st.sampled_from(ALPHABET), max_size=9).map(bytes)), max_size=12)
NUMBERS = st.integers(0, 12)
DELIMITERS = st.sampled_from([b"\n", b"\r\n", b"-", b"a-", b"aba", b"\n\n\n"])
READS = st.one_of(
    st.tuples(st.sampled_from(["read", "readinto", "read_exactly", "peek", "discard", "read_line", "lines"]), NUMBERS),
    st.tuples(st.just("read_until"), DELIMITERS, NUMBERS),
    st.tuples(st.just("unread"), st.lists(st.sampled_from(ALPHABET), max_size=4).map(bytes)),
)


async def step(r: Any, rest: bytes, what: tuple[Any, ...]) -> bytes:
    """Does one thing with the Reader, and compares it with what it should have done to `rest`, the bytes that are still
    to come; gives those that are left."""
    kind, n = what[0], what[1]
    if kind in ("read", "readinto"):
        if kind == "read":
            got = await r.read(n + 1)
        else:
            into = bytearray(n + 1)
            got = bytes(into[: await r.readinto(into)])
        assert rest.startswith(got)
        assert len(got) <= n + 1
        assert got or not rest
        return rest[len(got) :]
    if kind == "peek":
        assert await r.peek(n) == rest[:n]
        assert r.buffered >= min(n, len(rest))
        return rest
    if kind == "discard":
        assert await r.discard(n) == min(n, len(rest))
        return rest[n:]
    if kind == "unread":
        r.unread(n)
        return n + rest
    if kind == "read_exactly":
        if len(rest) < n:
            with pytest.raises(bufio.IncompleteRead) as short:
                await r.read_exactly(n)
            assert short.value.partial == rest
            return b""
        assert await r.read_exactly(n) == rest[:n]
        return rest[n:]
    delimiter, limit = (n, what[2]) if kind == "read_until" else (b"\n", n)
    end = rest.find(delimiter, 0, limit)
    end = end + len(delimiter) if end >= 0 else -1
    over = end < 0 and len(rest) >= limit

    async def first_line() -> bytes:
        async for line in r.lines(limit):
            return bytes(line)
        return b""

    call = {"read_until": lambda: r.read_until(delimiter, limit), "read_line": lambda: r.read_line(limit)}.get(
        kind, first_line
    )
    if over:
        with pytest.raises(bufio.LimitExceeded):
            await call()
        return rest
    if end < 0 and kind == "read_until":
        with pytest.raises(bufio.IncompleteRead) as short:
            await call()
        assert short.value.partial == rest
        return b""
    end = len(rest) if end < 0 else end
    assert await call() == rest[:end]
    return rest[end:]


@pytest.mark.parametrize("kind", [Script, IntoScript, "nested"])
@QUICK
@given(pieces=PIECES, reads=st.lists(READS, max_size=20))
def test_reader_is_its_model(kind: Any, pieces: list[bytes | None], reads: list[tuple[Any, ...]]) -> None:
    """Whatever is read in whatever order: each byte once and in order; a read that raises has taken nothing."""

    async def main() -> None:
        source = (Script if kind == "nested" else kind)(pieces)
        r: Any = bufio.Reader(source)
        if kind == "nested":
            r = bufio.Reader(r)
        rest = b"".join(p for p in pieces if p)
        most = len(rest) + len(pieces) + sum(len(what[1]) for what in reads if what[0] == "unread")
        for what in [*reads, *[("read", 12)] * (most + 1)]:
            try:
                rest = await step(r, rest, what)
            except Interrupt as e:
                rest = rest[getattr(e, "discarded", 0) :]
        assert rest == b""

    gort.run(main, procs=1)


@settings(QUICK, max_examples=40)
@given(data=st.lists(st.sampled_from(ALPHABET), max_size=60).map(bytes), reads=st.lists(READS, max_size=20))
@pytest.mark.parametrize("kind", ["conn", "conn and Reader", "pipe", "tls", "file"])
def test_every_stream_reads_like_the_model(
    kind: str, certificates: Any, tmp_path: Path, data: bytes, reads: list[tuple[Any, ...]]
) -> None:
    """The same on connections and files; and a connection and its Reader are one."""

    async def main() -> None:
        async with stream(kind, data, certificates, tmp_path) as (a, b):
            rest = data
            for n, what in enumerate(reads):
                rest = await step((a, b)[n % 2], rest, what)
            while rest:
                rest = await step(a, rest, ("read", 100))
            assert await a.read() == b""

    gort.run(main, procs=1)


@asynccontextmanager
async def stream(kind: str, data: bytes, certificates: Any, folder: Path) -> AsyncIterator[tuple[Any, Any]]:
    """A stream that gives data and ends, twice: two things that are to be one stream."""
    if kind.startswith("conn"):
        async with pair() as (a, b):
            await a.write(data)
            a.close_write()
            yield b, bufio.Reader(b) if "Reader" in kind else b
    elif kind == "tls":
        async with tls_pair(certificates["localhost"]) as (c, d):
            await c.write(data)
            await c.close_write()
            yield d, bufio.Reader(d)
    elif kind == "pipe":
        async with await gort.exec.start("cat", stdin=gort.exec.PIPE, stdout=gort.exec.PIPE) as cmd:
            assert cmd.stdin is not None
            await cmd.stdin.write(data)
            cmd.stdin.close()
            yield cmd.stdout, bufio.Reader(cmd.stdout)  # type: ignore[arg-type]
    else:
        (folder / "file").write_bytes(data)
        async with await gort.os.open(folder / "file", "rb") as f:
            r = bufio.Reader(f)
            yield r, r


async def cancelled_while_it_waits(call: Callable[[], Any]) -> None:
    async with gort.Group() as g:
        h = g.go(call)
        await parked(1, "IO wait")
        await until(lambda: h.cancel() or h.done)


def test_a_cancelled_read_has_taken_nothing(run: Any) -> None:
    """Nor has one whose deadline passed, or whose connection was closed under it and is read no more."""

    async def main() -> None:
        async with pair() as (a, b):
            r = bufio.Reader(b)
            calls: list[Callable[[], Any]] = [
                r.read_line, lambda: r.read_exactly(100), lambda: r.peek(100), lambda: r.read_until(b"--"),
                lambda: anext(aiter(r.lines())), bufio.Scanner(b).scan, bufio.Scanner(r, bufio.scan_words).scan,
                bufio.Scanner(r, b"--").scan,
            ]  # fmt: skip
            await a.write(b"part")
            for call in calls:
                await cancelled_while_it_waits(call)
                b.set_read_deadline(0)
                with pytest.raises(net.DeadlineExceeded):
                    await call()
                b.set_read_deadline(None)
            assert r.buffered == b.buffered == 4
            await a.write(b" of a line\nrest")
            assert await r.read_line() == b"part of a line\n"
            b.set_read_deadline(0)
            assert r.buffered == 0  # a read would fail
            b.set_read_deadline(None)
            assert await b.read() == b"rest"

    run(main)


def test_discard_says_how_many_it_has_skipped(run1: Any) -> None:
    async def main() -> None:
        async with pair() as (a, b):
            await a.write(b"x" * 1000)
            assert await b.peek(1) == b"x"
            out = go_result(b.discard, 5000)
            await parked(1, "IO wait")
            b.set_read_deadline(0)
            failed = await out.recv()
            assert isinstance(failed, net.DeadlineExceeded)
            assert failed.discarded == 1000  # type: ignore[attr-defined]

    run1(main)


def test_tls_deadlines_and_close_come_before_what_is_buffered(run1: Any, certificates: Any) -> None:
    """As with Conn: what was read ahead was given out after the deadline."""

    async def main() -> None:
        async with tls_pair(certificates["localhost"]) as (a, b):
            await a.write(b"1\n2\n3\n")
            assert await b.read_until(b"\n") == b"1\n"
            b.set_read_deadline(0)
            for call in (lambda: b.read_until(b"\n"), b.read, b.read_line, lambda: b.peek(1), lambda: b.discard(1)):
                with pytest.raises(net.DeadlineExceeded):
                    await call()
            b.set_read_deadline(None)
            assert await b.read_until(b"\n") == b"2\n"
            b.close()
            with pytest.raises(net.Closed):
                await b.read_until(b"\n")

    run1(main)


def test_tls_read_that_cannot_answer_loses_nothing(run1: Any, certificates: Any) -> None:
    """A read may have to send something (an answer to a renegotiation) after it has its bytes."""

    async def main() -> None:
        async with tls_pair(certificates["localhost"]) as (a, b):
            await a.write(b"data")
            await b.peek(1)
            real, b._flush = b._flush, failing  # type: ignore[method-assign]
            await a.write(b"more")
            assert await b.read(100) == b"data"
            with pytest.raises(Interrupt):
                await b.read(100)
            b._flush = real  # type: ignore[method-assign]
            assert await b.read(100) == b"more"

    async def failing() -> None:
        raise Interrupt

    run1(main)


def test_sources_that_are_none(run1: Any) -> None:
    """Each with what to do instead."""

    class Text:
        async def read(self, n: int) -> str:
            return "text"

    class Plain:
        def read(self, n: int) -> bytes:
            return b"bytes"

    async def main() -> None:
        with pytest.raises(TypeError, match="`read` or `readinto`, which int has not"):
            bufio.Reader(3)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="gives bytes, not str: open files in binary mode"):
            await bufio.Reader(Text()).read_line()  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"source's read, which gave bytes: open files with gort\.os\.open"):
            await bufio.Reader(Plain()).read_line()  # type: ignore[arg-type]
        for call in (lambda r: r.read(-1), lambda r: r.peek(-1), lambda r: r.discard(-1), lambda r: r.read_until(b"")):
            with pytest.raises(ValueError, match=r"takes|needs"):
                await call(bufio.Reader(Script([b"x"])))

    run1(main)


# ---- Scanner --------------------------------------------------------------------------------------------------------


def lines_of(data: bytes) -> list[bytes]:
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix(b"\r") for line in lines]


def parts_of(data: bytes) -> list[bytes]:
    parts = data.split(b"-")
    return parts if parts[-1] else parts[:-1]


def commas(data: bytes, start: int, at_end: bool) -> tuple[int, bytes | None] | None:
    """A split function as a user writes it: parts that "-" separates, without empty ones."""
    end = data.find(b"-", start)
    if end < 0:
        return (len(data), data[start:]) if at_end and start < len(data) else None
    return end + 1, data[start:end] or None


SPLITS: list[tuple[Any, Callable[[bytes], list[bytes]]]] = [
    (bufio.scan_lines, lines_of),
    (bufio.scan_words, bytes.split),
    (bufio.scan_bytes, lambda data: [data[i : i + 1] for i in range(len(data))]),
    (b"-", parts_of),
    (commas, lambda data: [part for part in data.split(b"-") if part]),
]


@pytest.mark.parametrize(("split", "model"), SPLITS)
@QUICK
@given(pieces=PIECES)
def test_scanner_is_its_model(split: Any, model: Callable[[bytes], list[bytes]], pieces: list[bytes | None]) -> None:
    """The same tokens, however the bytes come, and however often a read fails; as a loop and one by one."""
    data = b"".join(p for p in pieces if p)

    async def main() -> None:
        s = bufio.Scanner(Script(pieces), split)
        found: list[bytes] = []
        done = False
        while not done:
            try:
                if len(found) % 3:
                    token = await s.scan()
                    done = token is None
                    found += [token] if token is not None else []
                else:
                    async for token in s:
                        found.append(token)
                        break
                    else:
                        done = True
            except Interrupt:
                pass
        assert found == model(data)
        assert await s.scan() is None

    gort.run(main, procs=1)


@QUICK
@given(text=st.text(max_size=12), pieces=st.lists(st.integers(1, 3), max_size=40))
def test_scan_runes_is_decode(text: str, pieces: list[int]) -> None:
    data = text.encode(errors="replace")
    cut: list[bytes | None] = []
    for n in [*pieces, len(data)]:
        cut.append(data[:n])
        data = data[n:]

    async def main() -> None:
        found = [rune.decode() async for rune in bufio.Scanner(Script(cut), bufio.scan_runes)]
        assert "".join(found) == text.encode(errors="replace").decode()
        assert all(len(rune) == 1 for rune in found)

    gort.run(main, procs=1)


def test_scanner_has_a_limit(run1: Any) -> None:
    """It counts what ends the token too, and the bytes are still there."""

    async def main() -> None:
        for split in (bufio.scan_lines, b"\n", lambda *args: bufio.scan_lines(*args)):
            s = bufio.Scanner(Script([b"1234567\n", b"12345678\n"]), split, limit=8)
            assert await s.scan() == b"1234567"
            for _ in range(2):
                with pytest.raises(bufio.LimitExceeded, match="in the first 8 bytes"):
                    await s.scan()
            s.limit = 9
            assert await s.scan() == b"12345678"
            assert await s.scan() is None
        with pytest.raises(ValueError, match="limit is a number of bytes"):
            bufio.Scanner(Script([]), limit=0)
        for wrong in (b"", "\n", 1):
            with pytest.raises(TypeError, match="split is a function or bytes"):
                bufio.Scanner(Script([]), wrong)  # type: ignore[arg-type]

    run1(main)


def test_split_functions_that_go_wrong(run1: Any) -> None:
    async def main() -> None:
        for wrong in (-1, 100):
            with pytest.raises(ValueError, match="the split function went to"):
                await bufio.Scanner(Script([b"abc"]), lambda data, start, at_end, wrong=wrong: (wrong, b"")).scan()
        with pytest.raises(RuntimeError, match="101 tokens without going on"):
            async for _ in bufio.Scanner(Script([b"abc"]), lambda data, start, at_end: (start, b"")):
                pass
        with pytest.raises(ZeroDivisionError):
            await bufio.Scanner(Script([b"abc"]), lambda data, start, at_end: 1 // 0).scan()  # type: ignore[arg-type]

    run1(main)


# ---- Writer ---------------------------------------------------------------------------------------------------------


class Sink:
    """Takes bytes, and fails where its script says so: after so many bytes, telling how many went or not."""

    def __init__(self, script: list[int | None], known: bool = True) -> None:
        self.script, self.known, self.got = script, known, b""

    async def write(self, data: Any) -> None:
        data = bytes(data)
        fail = self.script.pop(0) if self.script else None
        if fail is None:
            self.got += data
            return
        self.got += data[:fail]
        error = Interrupt()
        if self.known:
            error.written = min(fail, len(data))  # type: ignore[attr-defined]
        raise error


class GatheringSink(Sink):
    """The same with `writev`."""

    async def writev(self, buffers: Any) -> None:
        await self.write(b"".join(buffers))


class ShortSink(Sink):
    """Takes three bytes at a time, as an unbuffered file may."""

    async def write(self, data: Any) -> int:  # type: ignore[override]
        await super().write(data[:3])
        return min(3, len(data))


WRITES = st.lists(st.one_of(st.just("flush"), st.binary(max_size=20)), max_size=20)
SCRIPT = st.lists(st.one_of(st.none(), st.integers(0, 20)), max_size=12)


@pytest.mark.parametrize("kind", [Sink, GatheringSink, ShortSink])
@QUICK
@given(size=st.integers(1, 16), writes=WRITES, script=SCRIPT)
def test_writer_is_its_model(kind: Any, size: int, writes: list[Any], script: list[int | None]) -> None:
    """Each byte of a write that returned arrives once and in order, and so do as many of a failed one as its `written`
    says."""
    if kind is ShortSink:
        script = [None if n is None else min(n, 3) for n in script]

    async def main() -> None:
        sink = kind(script)
        w = bufio.Writer(sink, size)
        taken = b""
        for what in writes:
            try:
                if what == "flush":
                    await w.flush()
                    assert sink.got == taken
                else:
                    await w.write(what)
                    taken += what
            except Interrupt as e:
                if what != "flush":
                    taken += what[: e.written]  # type: ignore[attr-defined]
            assert sink.got + bytes(w._buf) == taken
            assert w.buffered + w.available == size
        while not w.closed:
            try:
                await w.close()
            except Interrupt:
                pass
        assert sink.got == taken
        with pytest.raises(net.Closed):
            await w.write(b"x")

    gort.run(main, procs=1)


def test_writer_does_not_send_twice_what_may_have_gone(run1: Any) -> None:
    """Where the stream does not say how much went, the Writer sends nothing any more."""

    async def main() -> None:
        sink = Sink([2], known=False)
        w = bufio.Writer(sink)
        await w.write(b"12345")
        with pytest.raises(Interrupt):
            await w.flush()
        for call in (w.flush, w.close, lambda: w.write(b"x")):
            with pytest.raises(OSError, match="nobody knows how much of it went") as failed:
                await call()
            assert isinstance(failed.value.__cause__, Interrupt)
        assert (sink.got, w.buffered) == (b"12", 0)

    run1(main)


@pytest.mark.parametrize("kind", ["tcp", "tls"])
def test_writer_goes_on_after_a_deadline_and_a_cancellation(run: Any, certificates: Any, kind: str) -> None:
    """On a connection: what was not sent is sent by the next flush.  TLS can send nothing after a record that went in
    part; it says so, and nothing is sent twice."""

    async def main() -> None:
        data = bytes(range(256)) * (1 << 16)
        async with pair() if kind == "tcp" else tls_pair(certificates["localhost"]) as (a, b):
            w = bufio.Writer(a, size=1 << 25)
            await w.write(data)
            flushed = go_result(w.flush)
            await parked(1, "IO wait")
            a.set_write_deadline(0)
            late = await flushed.recv()
            assert isinstance(late, net.DeadlineExceeded)
            a.set_write_deadline(None)
            went = late.written  # type: ignore[attr-defined]
            assert w.buffered == len(data) - went
            if kind == "tls":
                with pytest.raises(BrokenPipeError):
                    await w.flush()
                return
            await cancelled_while_it_waits(w.flush)
            assert 0 < w.buffered <= len(data) - went  # the kernel may have taken some more meanwhile
            out = go_result(b.read_exactly, len(data))
            async with w:
                pass
            assert await out.recv() == data

    run(main)


def test_writer_sends_what_belongs_together_with_one_call(run1: Any) -> None:
    async def main() -> None:
        sink = GatheringSink([])
        calls: list[bytes] = []
        real = sink.write

        async def write(data: Any) -> None:
            calls.append(bytes(data))
            await real(data)

        sink.write = write  # type: ignore[method-assign]
        async with bufio.Writer(sink, 8) as w:
            for part in (b"123", b"45", bytearray(b"678"), memoryview(b"9abcdefgh"), b"", b"i"):
                await w.write(part)
            assert (w.buffered, w.available, calls) == (1, 7, [b"123456789abcdefgh"])
        assert calls == [b"123456789abcdefgh", b"i"]

    run1(main)


def test_writer_says_what_is_wrong(run1: Any) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="size is a number of bytes"):
            bufio.Writer(Sink([]), 0)
        w = bufio.Writer(Sink([]))
        with pytest.raises(TypeError, match=r"write data\.encode"):
            await w.write("text")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="contiguous buffer, not int"):
            await w.write(3)  # type: ignore[arg-type]
        await w.close()
        await w.close()
        with pytest.raises(net.Closed, match="use of closed Writer"):
            await w.flush()
        async with pair() as (a, _):
            w = bufio.Writer(a, 4)
            data = bytes(1 << 24)
            async with gort.Group() as g:
                h = g.go(w.write, data)
                await parked(1, "IO wait")
                for call in (w.flush, lambda: w.write(b"x")):
                    with pytest.raises(RuntimeError, match="another goroutine is writing"):
                        await call()
                await until(lambda: h.cancel() or h.done)
            a.close()

        class Stuck:
            async def write(self, data: bytes) -> int:
                return 0

        w = bufio.Writer(Stuck())
        await w.write(b"123")
        with pytest.raises(OSError, match="took 0 of 3 bytes") as failed:
            await w.flush()
        assert (failed.value.written, w.buffered) == (0, 3)  # type: ignore[attr-defined]

    run1(main)


def test_a_block_that_fails_sends_nothing_more(run1: Any) -> None:
    """And a Writer that is forgotten says how much was lost."""

    async def main() -> None:
        sink = Sink([])
        with pytest.raises(Interrupt):
            async with bufio.Writer(sink) as w:
                await w.write(b"half")
                raise Interrupt
        assert (sink.got, w.buffered, w.closed) == (b"", 0, True)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            w = bufio.Writer(sink)
            await w.write(b"lost")
            del w
            gc.collect()
        assert ["4 of 65536 bytes" in str(each.message) for each in said] == [True]
        assert said[0].category is ResourceWarning

    run1(main)


def test_one_exception_under_two_names() -> None:
    """gort.net had them first."""
    assert net.IncompleteRead is bufio.IncompleteRead
    assert net.LimitExceeded is bufio.LimitExceeded
    assert bufio.IncompleteRead.__module__ == "gort.bufio"
