"""gort.exec: subprocesses.  Follows Go's package os/exec.

Pipes are descriptors that the poller watches; the end of a process is one too (a pidfd), so waiting for a thousand
children costs no thread.  Starting one forks and may take milliseconds: that runs under gort.blocking.

    out = await gort.exec.output("git", "status", "--short")
    cmd = await gort.exec.start("sort", stdin=PIPE, stdout=PIPE)
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from _collections_abc import Mapping, Sequence
from types import TracebackType
from typing import IO, Any, Self, TypeAlias

if sys.platform != "linux":
    raise ImportError(f"gort.exec needs Linux's epoll, and this is {sys.platform}: there is no poller for it yet")

from gort import sync
from gort._runtime.core.public import publish as _publish
from gort._runtime.sched.blocking import blocking
from gort._start.cython import lent as _lent
from gort._start.hints import Buffer
from gort.context import Context
from gort.group import Group

with _lent():
    from gort._runtime.poll import fd as _fd

PIPE: int = subprocess.PIPE
DEVNULL: int = subprocess.DEVNULL
STDOUT: int = subprocess.STDOUT

_Path: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
_File: TypeAlias = int | IO[Any] | None  # PIPE, DEVNULL, STDOUT, a descriptor or a file; None: inherited

__all__ = ["DEVNULL", "PIPE", "STDOUT", "Cmd", "ExitError", "Pipe", "output", "run", "start"]


class ExitError(Exception):
    """The process ended with another status than 0.  `returncode` (negative: the signal that killed it), `stdout` and
    `stderr` as far as they were captured."""

    def __init__(
        self, args: Sequence[Any], returncode: int, stdout: bytes | None = None, stderr: bytes | None = None
    ) -> None:
        how = f"exit status {returncode}" if returncode >= 0 else f"signal: {_signal_name(-returncode)}"
        last = (stderr or b"").strip().splitlines()
        tail = f": {last[-1].decode(errors='replace')}" if last else ""
        super().__init__(f"{args[0]}: {how}{tail}")
        self.returncode: int = returncode
        self.stdout: bytes | None = stdout
        self.stderr: bytes | None = stderr
        self._command = tuple(args)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self._command, self.returncode, self.stdout, self.stderr), self.__dict__


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


class Pipe(_fd.FD):
    """One end of a pipe to a child: `read`, `readinto`, `write` as a connection's."""

    noun = "pipe"

    def __init__(self, fd: int, name: str) -> None:
        super().__init__(fd)
        self.name: str = name

    def describe(self) -> str:
        """How messages name it."""
        return self.name

    def close(self) -> None:
        """Closes this end."""
        self.shut()

    @property
    def closed(self) -> bool:
        """Whether it has been closed."""
        return self.closing

    async def read_all(self) -> bytes:
        """Everything until the end."""
        parts = []
        while data := await self.read():
            parts.append(data)
        return b"".join(parts)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


class Cmd:
    """A started process; made by gort.exec.start.  `async with` kills and reaps it if it still runs."""

    def __init__(self, process: subprocess.Popen[bytes], args: tuple[Any, ...]) -> None:
        self.args: tuple[Any, ...] = args
        self._process = process
        self.pid: int = process.pid
        self.stdin: Pipe | None = self._take(process, "stdin")
        self.stdout: Pipe | None = self._take(process, "stdout")
        self.stderr: Pipe | None = self._take(process, "stderr")
        self._exited: Any = None
        self._mu = sync.Mutex()
        if hasattr(os, "pidfd_open"):
            try:
                self._exited = Pipe(os.pidfd_open(self.pid), f"process {self.pid}")
            except OSError:  # an old kernel: wait() blocks a thread instead
                self._exited = None

    @staticmethod
    def _take(process: Any, name: str) -> Pipe | None:
        file = getattr(process, name)
        if file is None:
            return None
        fd = os.dup(file.fileno())
        file.close()
        setattr(process, name, None)
        os.set_blocking(fd, False)
        return Pipe(fd, name)

    def __repr__(self) -> str:
        return f"<gort.exec.Cmd {self.args[0]} pid {self.pid} {self.returncode if self.done else 'running'}>"

    @property
    def returncode(self) -> int | None:
        """Its exit status once it has been waited for; negative: the signal that ended it."""
        return self._process.returncode

    @property
    def done(self) -> bool:
        """Whether it has been waited for."""
        return self._process.returncode is not None

    async def wait(self) -> int:
        """Waits for its end; the exit status.  May be called by several goroutines and again.  A cancelled wait leaves
        the process running."""
        async with self._mu:
            if not self.done:
                if self._exited is not None:
                    await self._exited.call_op(_Readable(self._exited), False)
                    self._exited.close()
                    self._process.wait()
                else:
                    await blocking(self._process.wait)
        assert self._process.returncode is not None
        return self._process.returncode

    def signal(self, number: int) -> bool:
        """Sends it a signal; False when it has ended.  Never hits another process: the number is not free before wait."""
        if self.done:
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def kill(self) -> bool:
        """Ends it at once."""
        return self.signal(signal.SIGKILL)

    def terminate(self) -> bool:
        """Asks it to end."""
        return self.signal(signal.SIGTERM)

    def close(self) -> None:
        """Closes this program's ends of its pipes."""
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe is not None:
                pipe.close()

    async def communicate(self, data: Buffer | None = None) -> tuple[bytes | None, bytes | None]:
        """Writes data to its standard input, reads its output to the end, and waits: (stdout, stderr)."""
        results: dict[str, bytes] = {}

        async def feed() -> None:
            assert self.stdin is not None
            try:
                if data:
                    await self.stdin.write(data)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it does not want more
            finally:
                self.stdin.close()

        async def drain(name: str, pipe: Pipe) -> None:
            results[name] = await pipe.read_all()

        async with Group() as g:
            if self.stdin is not None:
                g.go(feed)
            for name, pipe in (("stdout", self.stdout), ("stderr", self.stderr)):
                if pipe is not None:
                    g.go(drain, name, pipe)
        self.close()
        await self.wait()
        return results.get("stdout"), results.get("stderr")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()
        await self._end()

    async def _end(self) -> None:
        """Kills it if it runs, and reaps it: its end is near, so this thread may wait for it."""
        if not self.done:
            self.kill()
            self._process.wait()
        if self._exited is not None:
            self._exited.close()


class _Readable:
    """Whether a descriptor is readable now."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe

    def __call__(self) -> None:
        poll = select.poll()
        poll.register(self.pipe.fd, select.POLLIN)
        if not poll.poll(0):
            raise BlockingIOError


async def start(
    program: _Path,
    *args: _Path,
    stdin: _File = DEVNULL,
    stdout: _File = None,
    stderr: _File = None,
    cwd: _Path | None = None,
    env: Mapping[str, str] | None = None,
    **options: Any,
) -> Cmd:
    """Starts a program.  stdin, stdout, stderr: PIPE, DEVNULL, a file, STDOUT for stderr, None to inherit; options:
    further ones of subprocess.Popen.

    Raises FileNotFoundError, PermissionError, … as Popen does."""
    if options.get("shell"):
        raise ValueError('gort.exec does not take shell=True: start("sh", "-c", text) says what it does')
    argv = (program, *args)

    def popen() -> subprocess.Popen[bytes]:
        return subprocess.Popen(argv, stdin=stdin, stdout=stdout, stderr=stderr, cwd=cwd, env=env, bufsize=0, **options)

    return Cmd(await blocking(popen), argv)


async def run(
    program: _Path,
    *args: _Path,
    input: Buffer | None = None,
    stdout: _File = PIPE,
    stderr: _File = PIPE,
    ctx: Context | None = None,
    check: bool = True,
    **options: Any,
) -> tuple[int, bytes | None, bytes | None]:
    """Runs a program to its end: (exit status, stdout, stderr).

    ctx: a gort.context whose end kills the process, as in Go's CommandContext; its error is raised then.  A cancellation
    kills it too.  Raises ExitError for another status than 0, unless check=False."""
    stdin = PIPE if input is not None else DEVNULL
    cmd = await start(program, *args, stdin=stdin, stdout=stdout, stderr=stderr, **options)
    killed: Exception | None = None  # why ctx has ended, where that was what killed it

    async def watch(ctx: Context) -> None:
        nonlocal killed
        await ctx.done().recv_ok()
        if cmd.kill():
            killed = ctx.err()

    async with cmd, Group() as g:
        watcher = g.go(watch, ctx) if ctx is not None else None
        try:
            out, err = await cmd.communicate(input)
        finally:
            if watcher is not None:
                watcher.cancel()
    status = cmd.returncode
    assert status is not None
    if killed is not None:
        raise killed
    if check and status != 0:
        raise ExitError((program, *args), status, out, err)
    return status, out, err


async def output(program: _Path, *args: _Path, **options: Any) -> bytes:
    """The standard output of a program.  Raises as run does."""
    _, out, _ = await run(program, *args, **options)
    return out or b""


_publish(globals())
