"""gort.os and gort.exec: files and subprocesses, without holding anybody up and with nothing left behind."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from netkit import descriptors, go_result

import gort
import gort.exec
import gort.os
from gort import net
from support import parked, until


def test_files(run: Any, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "file"
        await gort.os.write_file(path, b"one\ntwo\nthree")
        assert await gort.os.read_file(path) == b"one\ntwo\nthree"
        async with await gort.os.open(path, "r+b") as f:
            assert [line async for line in f] == [b"one\n", b"two\n", b"three"]
            await f.seek(4)
            assert await f.read(3) == b"two"
            assert await f.pread(3, 0) == b"one"
            await f.seek(0, 2)
            assert await f.write(b"!") == 1
            await f.sync()
            buffer = bytearray(3)
            await f.seek(0)
            assert await f.readinto(buffer) == 3
            assert buffer == b"one"
            assert await f.truncate(5) == 5
        with pytest.raises(net.Closed, match="file already closed"):
            await f.read()
        assert (await gort.os.stat(path)).st_size == 5
        with pytest.raises(FileNotFoundError):
            await gort.os.open(tmp_path / "none")
        with pytest.raises(TypeError, match="encode"):
            await gort.os.write_file(path, "text")

    run(main)


def test_copy_and_walk(run: Any, tmp_path: Path) -> None:
    data = os.urandom(3 << 20)

    async def main() -> None:
        src = tmp_path / "src"
        await gort.os.makedirs(src / "a" / "b")
        await gort.os.write_file(src / "a" / "big", data, mode=0o640)
        await gort.os.write_file(src / "a" / "b" / "small", b"s")
        assert await gort.os.copy(src / "a" / "big", src / "copy") == len(data)
        assert await gort.os.read_file(src / "copy") == data
        assert (await gort.os.stat(src / "copy")).st_mode & 0o777 == 0o640
        found = [entry.path async for entry in gort.os.walk(src)]
        names = sorted(os.path.relpath(p, src) for p in found)
        assert names == ["a", "a/b", "a/b/small", "a/big", "copy"]
        assert found.index(str(src / "a")) < found.index(str(src / "a" / "b"))
        await gort.os.rename(src / "copy", src / "moved")
        await gort.os.remove(src / "moved")
        assert await gort.os.listdir(src) == ["a"]
        await gort.os.rmtree(src)
        with pytest.raises(FileNotFoundError):
            await gort.os.listdir(src)

    run(main)


def test_output_and_status(run: Any) -> None:
    async def main() -> None:
        assert await gort.exec.output("echo", "hello") == b"hello\n"
        assert await gort.exec.output("cat", input=b"x" * 1_000_000) == b"x" * 1_000_000
        with pytest.raises(gort.exec.ExitError, match="sh: exit status 3: no") as caught:
            await gort.exec.run("sh", "-c", "echo no >&2; exit 3")
        assert (caught.value.returncode, caught.value.stderr) == (3, b"no\n")
        status, _, _ = await gort.exec.run("sh", "-c", "kill -9 $$", check=False)
        assert status == -9
        with pytest.raises(FileNotFoundError):
            await gort.exec.start("/no/such/program")
        with pytest.raises(ValueError, match="shell=True"):
            await gort.exec.start("ls", shell=True)
        status, out, err = await gort.exec.run("true", input=b"it never reads" * 100_000)
        assert (status, out, err) == (0, b"", b"")

    run(main)


def test_pipes_both_ways_and_wait_by_many(run: Any) -> None:
    async def main() -> None:
        before = descriptors()
        async with await gort.exec.start("cat", stdin=gort.exec.PIPE, stdout=gort.exec.PIPE) as cmd:
            waits = [go_result(cmd.wait) for _ in range(3)]
            for i in range(5):
                await cmd.stdin.write(b"%d" % i)
                assert await cmd.stdout.read() == b"%d" % i
            cmd.stdin.close()
            assert await cmd.stdout.read() == b""
            assert [await w.recv() for w in waits] == [0, 0, 0]
            assert not cmd.kill()
        await until(lambda: descriptors() <= before + 2)

    run(main)


def test_kill_signals_and_leaving_the_block(run: Any) -> None:
    async def main() -> None:
        async with await gort.exec.start("sleep", "1000") as cmd:
            out = go_result(cmd.wait)
            await parked(1, "IO wait")
            assert cmd.terminate()
            assert await out.recv() == -signal.SIGTERM
        async with await gort.exec.start("sleep", "1000") as left:
            pass
        assert left.returncode == -signal.SIGKILL

    run(main)


def test_a_context_and_a_cancellation_kill(run: Any) -> None:
    async def main() -> None:
        ctx, cancel = gort.context.with_timeout(gort.context.background(), 0.05)
        with pytest.raises(Exception, match="deadline"):
            await gort.exec.run("sleep", "1000", ctx=ctx)
        cancel()
        async with gort.Group() as g:
            h = g.go(gort.exec.run, sys.executable, "-c", "import time; print(1, flush=True); time.sleep(1000)")
            await parked(1, "IO wait")
            h.cancel()
        assert isinstance(h.exception(), gort.Cancelled)

    run(main)


def test_many_children_at_once_cost_no_threads(run1: Any) -> None:
    async def main() -> None:
        async with gort.Group() as g:
            handles = [g.go(gort.exec.output, "sh", "-c", f"echo {i}") for i in range(40)]
        assert [h.result() for h in handles] == [b"%d\n" % i for i in range(40)]

    run1(main)
