"""Programs that run to their end: run and output.  Follows Run, Output and CommandContext of Go's os/exec.

What does not live here: the pipes' traffic (Talk in cmd.py).
"""

from __future__ import annotations

import locale
import subprocess
from typing import TYPE_CHECKING, Any, Literal, overload

from gort._start.hints import Buffer
from gort.context import Context
from gort.exec.cmd import Cancel, Path, Talk, check_input, kill, start
from gort.exec.errors import ExitError, WaitDelayExceeded
from gort.exec.pipe import File

if TYPE_CHECKING:

    @overload
    async def run(
        program: Path,
        *args: Path,
        input: Buffer | None = None,
        stdout: File = subprocess.PIPE,
        stderr: File = subprocess.PIPE,
        ctx: Context | None = None,
        check: bool = True,
        cancel: Cancel = kill,
        wait_delay: float | None = None,
        text: Literal[False] = False,
        encoding: None = None,
        errors: None = None,
        **options: Any,
    ) -> tuple[int, bytes | None, bytes | None]: ...
    @overload
    async def run(
        program: Path,
        *args: Path,
        input: str | None = None,
        stdout: File = subprocess.PIPE,
        stderr: File = subprocess.PIPE,
        ctx: Context | None = None,
        check: bool = True,
        cancel: Cancel = kill,
        wait_delay: float | None = None,
        text: Literal[True],
        encoding: str | None = None,
        errors: str | None = None,
        **options: Any,
    ) -> tuple[int, str | None, str | None]: ...
    @overload
    async def run(
        program: Path,
        *args: Path,
        input: str | None = None,
        stdout: File = subprocess.PIPE,
        stderr: File = subprocess.PIPE,
        ctx: Context | None = None,
        check: bool = True,
        cancel: Cancel = kill,
        wait_delay: float | None = None,
        text: bool = True,
        encoding: str,
        errors: str | None = None,
        **options: Any,
    ) -> tuple[int, str | None, str | None]: ...


async def run(
    program: Path,
    *args: Path,
    input: Any = None,
    stdout: File = subprocess.PIPE,
    stderr: File = subprocess.PIPE,
    ctx: Context | None = None,
    check: bool = True,
    cancel: Cancel = kill,
    wait_delay: float | None = None,
    text: bool = False,
    encoding: str | None = None,
    errors: str | None = None,
    **options: Any,
) -> tuple[int, Any, Any]:
    """Runs a program to its end: (exit status, stdout, stderr).

    ctx: a gort.context whose end kills the process, as in Go's CommandContext; its error is raised then, at once, even if
    others still hold the pipes.  A cancellation kills it too.  With process_group=0 the process gets a process group of
    its own, and all of that is killed.

    cancel: called with the Cmd at the end of ctx instead of that, as Cmd.Cancel of Go; it may be async.
    `cancel=Cmd.terminate` asks the process to end.  None does nothing.  Then run goes on until the process ends and its
    pipes do.  It raises ctx's error if the process ends well, as its work was cut short; ExitError, whose cause that is,
    if it fails.  Where cancel returns False or raises ProcessLookupError, the process had ended before, and the status is
    all that counts.  What else it raises, run raises, or gives ExitError as its cause.

    wait_delay: how many seconds the process may go on after the end of ctx before it is killed after all (ctx's error is
    raised then), and others may hold the pipes after that or after the end of the process; None: for ever.

    text, encoding, errors: input and output are str, as in subprocess.

    Raises ExitError for another status than 0, unless check=False; WaitDelayExceeded; ChildProcessError where the system
    has kept no status; what start raises.  A context that has ended already starts nothing.  TypeError for a `cancel`
    that cannot be called.  Follows Go's Cmd.Run."""
    if cancel is not None and not callable(cancel):
        raise TypeError(f"cancel is a function of the Cmd, such as Cmd.terminate, or None, not {cancel!r}")
    mode = Mode(text or bool(options.pop("universal_newlines", False)), encoding, errors)
    data = mode.encode(input)
    if ctx is not None and (over := ctx.err()) is not None:
        raise over
    stdin = subprocess.PIPE if data is not None else subprocess.DEVNULL
    cmd = await start(program, *args, stdin=stdin, stdout=stdout, stderr=stderr, **options)
    talk = Talk(cmd)
    async with cmd:
        await talk.hold(data, ctx, wait_delay, cancel)
        if talk.killed is not None:
            raise talk.killed
        status = await cmd.wait()
    out, err = mode.decode(talk.got("stdout")), mode.decode(talk.got("stderr"))
    if check and status != 0:
        raise ExitError((program, *args), status, out, err) from talk.refused or talk.asked
    if talk.refused is not None:
        raise talk.refused
    if talk.asked is not None and status == 0:
        raise talk.asked
    if talk.cut:
        assert wait_delay is not None
        raise WaitDelayExceeded((program, *args), wait_delay, out, err)
    return status, out, err


class Mode:
    """Bytes, or text as subprocess has it: in the locale's encoding by default, with every line's end as \\n."""

    def __init__(self, text: bool, encoding: str | None, errors: str | None) -> None:
        self.text: bool = text or encoding is not None or errors is not None
        self.encoding: str = encoding or locale.getpreferredencoding(False)
        self.errors: str = errors or "strict"

    def encode(self, data: Any) -> Any:
        """The bytes of an input; TypeError for the wrong kind."""
        if not self.text:
            check_input(data)
            return data
        if data is None:
            return None
        if not isinstance(data, str):
            raise TypeError(f"input takes str in text mode, not {type(data).__name__}")
        return data.encode(self.encoding, self.errors)

    def decode(self, data: bytes | None) -> Any:
        """What an output is for the caller."""
        if data is None or not self.text:
            return data
        return data.decode(self.encoding, self.errors).replace("\r\n", "\n").replace("\r", "\n")


if TYPE_CHECKING:

    @overload
    async def output(
        program: Path,
        *args: Path,
        text: Literal[False] = False,
        encoding: None = None,
        errors: None = None,
        **options: Any,
    ) -> bytes: ...
    @overload
    async def output(
        program: Path,
        *args: Path,
        text: Literal[True],
        encoding: str | None = None,
        errors: str | None = None,
        **options: Any,
    ) -> str: ...
    @overload
    async def output(
        program: Path, *args: Path, text: bool = True, encoding: str, errors: str | None = None, **options: Any
    ) -> str: ...


async def output(
    program: Path,
    *args: Path,
    text: bool = False,
    encoding: str | None = None,
    errors: str | None = None,
    **options: Any,
) -> Any:
    """The standard output of a program: bytes, or str in text mode.  Takes what run takes, and raises as run does.
    Follows Go's Cmd.Output."""
    modes: dict[str, Any] = {"text": text, "encoding": encoding, "errors": errors}
    _, out, _ = await run(program, *args, **modes, **options)
    return out if out is not None else ("" if text or encoding or errors else b"")
