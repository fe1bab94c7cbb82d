"""A started program: its process and its pipes.  Follows Cmd of Go's os/exec.

What does not live here: running a program to its end (command.py).
"""

from __future__ import annotations

import os
import signal
import subprocess
from _collections_abc import Awaitable, Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Self, TypeAlias

from gort._runtime.poll.neterrors import Closed
from gort._runtime.sched.blocking import blocking
from gort._runtime.sched.timers import sleep
from gort._runtime.wait.cases import Selectable, Watched
from gort._start.hints import Buffer
from gort.context import Context
from gort.exec.pipe import File, Files, Pipe
from gort.exec.process import Process
from gort.group import Group

Path: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]

PIPE_MAX = 1 << 20  # no pipe holds more


class Cmd:
    """A started process; made by gort.exec.start.  `async with` kills and reaps it if it still runs; where it leads a
    process group of its own (start with process_group=0 or start_new_session=True), the whole group is killed.
    Follows Go's exec.Cmd."""

    def __init__(self, process: Process, args: tuple[Any, ...], pipes: Mapping[str, Pipe]) -> None:
        self.args: tuple[Any, ...] = args
        self.pid: int = process.pid
        self.stdin: Pipe | None = pipes.get("stdin")
        self.stdout: Pipe | None = pipes.get("stdout")
        self.stderr: Pipe | None = pipes.get("stderr")
        self._process = process

    def __repr__(self) -> str:
        return f"<gort.exec.Cmd {self.args[0]} pid {self.pid} {self.returncode if self.done else 'running'}>"

    @property
    def returncode(self) -> int | None:
        """Its exit status once it has been waited for; negative: the signal that ended it.  None before, and where the
        system has kept none."""
        return self._process.status

    @property
    def done(self) -> bool:
        """Whether it has been waited for."""
        return self._process.ended

    def wait(self) -> Coroutine[Any, Any, int]:
        """`status = await cmd.wait()` waits for its end; the exit status.  May be called by several goroutines and again.
        A cancelled wait leaves the process running.  A case of gort.select, too.

        Raises ChildProcessError where the system has kept no status, as while SIGCHLD is ignored."""
        return Selectable(self._process.wait(), lambda: Watched(self._process.look, self._process.exited))

    def signal(self, number: int, *, group: bool = False) -> bool:
        """Sends it a signal; False when it has ended.  Never hits another process.  group: the process group that it
        leads; ValueError if it leads none."""
        return self._process.signal(number, group)

    def kill(self, *, group: bool = False) -> bool:
        """Ends it at once.  group: as for signal."""
        return self.signal(signal.SIGKILL, group=group)

    def terminate(self, *, group: bool = False) -> bool:
        """Asks it to end.  group: as for signal."""
        return self.signal(signal.SIGTERM, group=group)

    def close(self) -> None:
        """Closes this program's ends of its pipes."""
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe is not None:
                pipe.close()

    async def communicate(self, data: Buffer | None = None) -> tuple[bytes | None, bytes | None]:
        """Writes data to its standard input, reads its output to the end, and waits: (stdout, stderr)."""
        check_input(data)
        talk = Talk(self)
        await talk.hold(data, None, None)
        await self.wait()
        return talk.got("stdout"), talk.got("stderr")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()
        self._process.end()
        self._process.reap_blocking()


def kill(cmd: Cmd) -> None:
    """Ends the process at once, and its process group if it leads one."""
    cmd._process.end()


# What is done when a context ends: a function of the Cmd, which may be async; None: nothing.
Cancel: TypeAlias = Callable[[Cmd], object] | None


class Talk:
    """Feeds a process and collects what it says, until the pipes end, or until it is enough."""

    def __init__(self, cmd: Cmd) -> None:
        self.cmd: Cmd = cmd
        self.collected: dict[str, bytearray] = {}
        self.killed: Exception | None = None  # why the context has ended, where that was what killed the process
        self.asked: Exception | None = None  # the same, where the process was asked to end instead
        self.refused: Exception | None = None  # what asking it has raised
        self.cut: bool = False  # the pipes were left before their end
        self._open = 0  # talkers that have not come to their end

    def got(self, name: str) -> bytes | None:
        """What came from "stdout" or "stderr"; None where that is no pipe."""
        return bytes(self.collected[name]) if name in self.collected else None

    async def hold(
        self, data: Buffer | None, ctx: Context | None, wait_delay: float | None, cancel: Cancel = kill
    ) -> None:
        """Talks to the process; returns when the pipes are at their end and, if somebody watches it, the process too.

        ctx: `cancel` is called at its end.  What others have of the pipes is of no interest when the process has been
        killed.  wait_delay: how long the process may go on after the end of ctx, and the pipes stay open after that or
        after the end of the process, whichever comes first."""
        try:
            async with Group() as watchers:
                async with Group() as talkers:
                    self._start(talkers, data)
                    if ctx is not None:
                        watchers.go(self._watch, ctx, cancel, wait_delay, talkers, watchers)
                    if wait_delay is not None:
                        watchers.go(self._leave, wait_delay, talkers)
                if ctx is not None or wait_delay is not None:
                    await self.cmd._process.exited()
                watchers.cancel()
            self.cut = self.cut and self._open > 0
            if self.cut:
                self._rest()
        except BaseExceptionGroup as e:
            if len(e.exceptions) == 1:
                raise e.exceptions[0] from None
            raise
        finally:
            self.cmd.close()

    def _start(self, talkers: Group, data: Buffer | None) -> None:
        if self.cmd.stdin is not None:
            self._open += 1
            talkers.go(self._feed, self.cmd.stdin, data)
        for name, pipe in (("stdout", self.cmd.stdout), ("stderr", self.cmd.stderr)):
            if pipe is not None:
                self._open += 1
                self.collected[name] = bytearray()
                talkers.go(self._drain, self.collected[name], pipe)

    async def _feed(self, pipe: Pipe, data: Buffer | None) -> None:
        try:
            if data is not None:
                await pipe.write(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it does not want more
        except Closed:
            pass  # `cancel` has closed it
        finally:
            pipe.close()
        self._open -= 1

    async def _drain(self, into: bytearray, pipe: Pipe) -> None:
        while data := await pipe.read():
            into += data
        self._open -= 1

    def _rest(self) -> None:
        """Takes what is in the pipes when they are left."""
        for name, pipe in (("stdout", self.cmd.stdout), ("stderr", self.cmd.stderr)):
            if pipe is not None and not pipe.closed:
                try:
                    self.collected[name] += os.read(pipe.fd, PIPE_MAX)
                except BlockingIOError:
                    pass  # it is empty

    async def _watch(self, ctx: Context, cancel: Cancel, delay: float | None, talkers: Group, watchers: Group) -> None:
        """Ends the process when ctx ends, or asks it to end."""
        await ctx.done().recv_ok()
        why = ctx.err()
        if self.cmd.done:
            return
        if cancel is kill:
            self._kill(why, talkers)
            return
        if self.cmd._process.over():
            return  # its status is all that counts, and wait_delay limits the wait for the pipes
        if delay is not None:
            watchers.go(self._lose_patience, why, delay, talkers)
        if cancel is None:
            return
        self.asked = why
        said: object = None
        try:
            said = cancel(self.cmd)
            if isinstance(said, Awaitable):
                said = await said
        except ProcessLookupError:
            said = False
        except Exception as e:
            self.refused = e  # run raises it, when it knows what the process makes of all this
        if said is False:
            self.asked = None  # it had ended before

    async def _lose_patience(self, why: Exception | None, delay: float, talkers: Group) -> None:
        """Kills the process `delay` seconds after the end of the context; if it has ended, leaves the pipes."""
        await sleep(delay)
        if self.cmd._process.over():
            self.cut = True
            talkers.cancel()
        else:
            self._kill(why, talkers)

    def _kill(self, why: Exception | None, talkers: Group) -> None:
        self.killed = why
        self.cmd._process.end()
        talkers.cancel()

    async def _leave(self, delay: float, talkers: Group) -> None:
        """Leaves the pipes `delay` seconds after the end of the process."""
        await self.cmd._process.exited()
        await sleep(delay)
        self.cut = True
        talkers.cancel()


def check_input(data: Any) -> None:
    """Raises TypeError for what cannot be written to a process; before one is started for it."""
    if isinstance(data, str):
        raise TypeError("input takes bytes, not str: pass text=True, or input.encode()")
    if data is not None:
        try:
            memoryview(data).release()
        except TypeError:
            raise TypeError(f"input takes bytes or another buffer, not {type(data).__name__}") from None


async def start(
    program: Path,
    *args: Path,
    stdin: File = subprocess.DEVNULL,
    stdout: File = None,
    stderr: File = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    **options: Any,
) -> Cmd:
    """Starts a program.

    stdin, stdout, stderr: PIPE, DEVNULL, a file, STDOUT for stderr, None to inherit.  Also a Pipe of another Cmd
    (`start("sort", stdin=first.stdout)` makes a pipeline) or a connection: it moves to the new program, and is closed
    here, even if the start fails.  options: further ones of subprocess.Popen; process_group=0 gives the program a process
    group of its own.

    Raises FileNotFoundError, PermissionError, … as Popen does, RuntimeError for a Pipe that a goroutine uses, ValueError
    for shell=True, TypeError for text modes (run and output have them).  Follows Go's Cmd.Start."""
    if options.get("shell"):
        raise ValueError('gort.exec does not take shell=True: start("sh", "-c", text) says what it does')
    for name in ("text", "universal_newlines", "encoding", "errors"):
        if options.pop(name, None):
            raise TypeError(f"start: the pipes of a Cmd carry bytes; run and output take {name}=")
    argv = (program, *args)
    files = Files(stdin=stdin, stdout=stdout, stderr=stderr)

    def popen() -> subprocess.Popen[bytes]:
        return subprocess.Popen(argv, cwd=cwd, env=env, **files.given, **options)

    try:
        child = await blocking(popen)
    except BaseException:
        files.drop()
        raise
    finally:
        files.passed()
    leads = options.get("process_group") == 0 or bool(options.get("start_new_session"))
    return Cmd(Process(child, os.fsdecode(program), leads), argv, files.ours)
