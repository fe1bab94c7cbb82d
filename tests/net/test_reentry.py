"""C9 in the library: a finalizer or a signal handler runs in the middle of a method, on the same thread, and calls
methods of the same object.  Here that happens at each line of the method in turn."""

from __future__ import annotations

import inspect
import os
import signal
import ssl
import sys
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from netkit import pair, tls_pair

import gort
import gort.exec
from gort import net
from gort.exec import process as module
from gort.net.sendfile import _FromFile, _Parts
from support import keeps_its_p

Trace = Callable[[FrameType, str, Any], Any]


def interrupted(file: str | None, outer: Callable[[], Any], inner: Callable[[], Any], line: int) -> tuple[Any, bool]:
    """outer(), with a call of inner before the `line`th line that it executes of the file; whether it came so far."""
    left = line

    def trace(frame: FrameType, event: str, arg: object) -> Trace | None:
        nonlocal left
        if frame.f_code.co_filename != file:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                sys.settrace(None)
                inner()
        return trace

    sys.settrace(trace)
    try:
        result = outer()
    finally:
        sys.settrace(None)
    return result, left <= 0


METHODS: dict[str, Callable[[Any], Any]] = {
    "signal": lambda process: process.signal(signal.SIGKILL),
    "signal the group": lambda process: process.signal(signal.SIGKILL, True),
    "over": lambda process: process.over(),
    "look": lambda process: process.look(),
    "reap_blocking": lambda process: process.reap_blocking(),
}


@pytest.mark.parametrize("pidfd", [True, False], ids=["pidfd", "number"])
@pytest.mark.parametrize("inner", ["signal the group", "look"])
@pytest.mark.parametrize("outer", METHODS)
def test_c9_a_process(run: Any, monkeypatch: pytest.MonkeyPatch, outer: str, inner: str, pidfd: bool) -> None:
    """It waited for its own lock for ever.  Nor is a number given up that the interrupted method is about to use."""
    if not pidfd:

        def refuses(pid: int) -> int:
            raise OSError("no pidfd here")

        monkeypatch.setattr(os, "pidfd_open", refuses)
    gone: list[str] = []

    def checked(name: str) -> None:
        real = getattr(os, name)

        def call(pid: int, number: int) -> None:
            try:
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                gone.append(name)
            real(pid, number)

        monkeypatch.setattr(os, name, call)

    checked("kill")
    checked("killpg")

    async def main() -> int:
        line = 0
        while True:
            line += 1
            cmd = await gort.exec.start("sh", "-c", "exit 3", process_group=0)
            process = cmd._process
            os.waitid(os.P_PID, cmd.pid, os.WEXITED | os.WNOWAIT)  # it has ended
            _, came = interrupted(
                module.__file__, partial(METHODS[outer], process), partial(METHODS[inner], process), line
            )
            assert process.look() == (3,)
            with pytest.raises(ChildProcessError):  # its number is free, and
                os.waitid(os.P_PID, cmd.pid, os.WEXITED | os.WNOHANG)
            assert process._pidfd is None or process._pidfd.closed
            assert not gone
            if not came:
                return line

    assert run(main) > 5


def test_c9_gomaxprocs(run: Any) -> None:
    """The one that comes in the middle of another comes after it."""

    async def main() -> int:
        line = 0
        while True:
            line += 1
            _, came = interrupted(
                gort.runtime.__file__, lambda: gort.runtime.gomaxprocs(2), lambda: gort.runtime.gomaxprocs(3), line
            )
            assert gort.runtime.gomaxprocs() in (2, 3)
            await gort.gosched()
            gort.runtime.gomaxprocs(1)
            if not came:
                return line

    assert run(main) > 5


class Interrupts:
    """An ssl object that calls `inner` before each of its methods."""

    def __init__(self, real: Any, inner: Callable[[], None]) -> None:
        self.real = real
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> Any:
            self.inner()
            return getattr(self.real, name)(*args)

        return call


class Yields:
    def __await__(self) -> Generator[None, None, None]:
        yield


@pytest.mark.parametrize("what", ["read", "write"])
def test_c9_a_tls_connection(run: Any, certificates: Any, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A coroutine is closed in the connection's block, and says goodbye there."""
    # sysmon preempts nobody: at the end of a slice of time the write of the goodbye would give way, and a coroutine that
    # is being closed cannot.
    keeps_its_p(monkeypatch)

    async def main() -> None:
        async with tls_pair(certificates["localhost"]) as (a, b):

            async def leaves() -> None:
                async with a:
                    try:
                        await Yields()
                    except GeneratorExit:
                        pass

            left = leaves()
            left.send(None)
            real = a._ssl

            def drop() -> None:
                a._ssl = real
                left.close()

            a._ssl = Interrupts(real, drop)  # type: ignore[assignment]
            with pytest.raises((net.Closed, ssl.SSLError)):
                await (a.read() if what == "read" else a.write(b"x"))
            assert a.closed
            assert await b.read() == b""  # it has been told

    run(main)


def test_c9_a_sendfile(run: Any, tmp_path: Path) -> None:
    """The operation makes an attempt in the middle of being given a part."""
    file = tmp_path / "file"
    file.write_bytes(b"x" * 100_000)

    async def main() -> None:
        async with pair() as (a, b):
            parts = _Parts(a)
            with open(file, "rb") as f:
                line = 0
                came = True
                while came:
                    line += 1

                    def attempt() -> None:
                        try:
                            parts()
                        except BlockingIOError:
                            pass

                    part = _FromFile(a, f.fileno(), 0, 100)
                    _, came = interrupted(inspect.getsourcefile(_Parts), partial(parts.give, part), attempt, line)
                    attempt()
                    assert parts.sent == 100 * line
                    assert len(await b.read_exactly(100)) == 100
            assert line > 1

    run(main)
