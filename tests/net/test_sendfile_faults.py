"""Faults of conn.sendfile that users of other libraries reported, each with the right value."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from netkit import go_result, pair

import gort
import gort.exec
import gort.os
from gort import net
from gort.net import sendfile as module
from support import parked


@pytest.fixture(params=["direct", "parts", "pipe"])
def sender(request: Any, tmp_path: Path, monkeypatch: Any) -> Any:
    """A function that sends a file of these bytes, in each of the three ways."""
    way = request.param
    if way == "parts":
        monkeypatch.setattr(module, "DIRECT", 1 << 16)

    async def send(conn: net.Conn, data: bytes) -> int:
        path = tmp_path / "file"
        path.write_bytes(data)
        if way != "pipe":
            with open(path, "rb") as f:
                return await conn.sendfile(f)
        async with await gort.exec.start("cat", path, stdout=gort.exec.PIPE) as cmd:
            return await conn.sendfile(cmd.stdout)

    return send


def test_n7_a_write_does_not_go_into_the_middle_of_a_file(run: Any, sender: Any) -> None:
    data = os.urandom(9 << 20)

    async def main() -> None:
        async with pair() as (a, b):
            sent = go_result(sender, a, data)
            await parked(1, "IO wait")
            if not await b.read(1):
                raise AssertionError("nothing came")
            writes = [go_result(a.write, b"<%d>" % i) for i in range(3)]
            assert await b.read_exactly(len(data) - 1) == data[1:]
            assert sorted([await b.read_exactly(3) for _ in range(3)]) == [b"<0>", b"<1>", b"<2>"]
            assert await sent.recv() == len(data)
            assert [await w.recv() for w in writes] == [None] * 3

    run(main)


@pytest.mark.parametrize("how", ["deadline", "cancel", "reset"])
def test_n7_a_sendfile_that_fails_says_how_much_was_written(run: Any, sender: Any, how: str) -> None:
    data = os.urandom(9 << 20)

    async def main() -> None:
        async with pair() as (a, b):
            async with gort.Group() as g:

                async def work() -> BaseException:
                    try:
                        await sender(a, data)
                    except (OSError, gort.Cancelled) as e:
                        return e
                    raise AssertionError("it did not fail")

                h = g.go(work)
                await parked(1, "IO wait")
                assert await b.read_exactly(1) == data[:1]
                if how == "cancel":
                    h.cancel()
                elif how == "deadline":
                    a.set_write_deadline(0)
                else:
                    b.reset()
            error = h.result()
            kinds = {"deadline": net.DeadlineExceeded, "cancel": gort.Cancelled, "reset": OSError}
            assert isinstance(error, kinds[how])
            written = error.written  # type: ignore[attr-defined]
            assert 0 < written < len(data)
            if how == "reset":
                return
            a.set_write_deadline(None)
            last = b"the next write is not forgotten"
            out = go_result(a.write, last)
            assert await b.read_exactly(written + len(last) - 1) == (data[:written] + last)[1:]
            assert await out.recv() is None

    run(main)


def test_n7_any_source(run: Any, tmp_path: Path) -> None:
    data = os.urandom(1 << 20)
    (tmp_path / "file").write_bytes(data)

    async def main() -> None:
        async with pair() as (a, b), pair() as (c, d):

            async def sent(file: Any, *args: Any) -> bytes:
                out = go_result(a.sendfile, file, *args)
                n = await out.recv()
                if isinstance(n, BaseException):
                    raise n
                return await b.read_exactly(n) if n else b""

            with open("/proc/version", "rb") as f:
                assert await sent(f) == Path("/proc/version").read_bytes()
                assert await sent(f, 5, 4) == Path("/proc/version").read_bytes()[5:9]
            r, w = os.pipe()
            os.write(w, b"through a pipe")
            os.close(w)
            assert await sent(r, 0, 7) == b"through"
            assert await sent(r) == b" a pipe"
            with pytest.raises(OSError, match="Illegal seek"):
                await sent(r, 3)
            os.close(r)
            await c.write(b"from a connection")
            c.close_write()
            assert await sent(d) == b"from a connection"
            (tmp_path / "empty").touch()
            with open(tmp_path / "empty", "rb") as f:
                assert await sent(f) == b""
            async with await gort.os.open(tmp_path / "file", "rb") as file:
                assert await sent(file, 3, 10) == data[3:13]
                assert await sent(file, (1 << 20) - 2, 10) == data[-2:]
                assert await sent(file, 1 << 21) == b""
            with pytest.raises(ValueError, match="negative"):
                await sent(0, -1)

    run(main)
