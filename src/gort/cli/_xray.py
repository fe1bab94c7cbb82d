"""`gort xray` without click: the ordinary options, progress, the child process, exit status.

The work itself is done by `gort.xray`, which knows nothing of gort's own runtime; _xray_work.py calls it and prints.

`ordinary` understands the arguments that people and programs mostly give, exactly as click would. For all others it
returns None, and click reads them (xray.py). A test holds `OPTIONS` equal to click's options.

Exit status: 0 when the report was made, 1 when a limit of the user's was exceeded, 2 with one line on standard error
when the file or an option is no good, 130 after Ctrl-C.

Invariant: a module that not every run needs is imported where it is needed.
"""

from __future__ import annotations

import os
import sys
import time

from gort.xray.record import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any, Literal, NoReturn


@frozen
class Option:
    """An option of the command, as click has it."""

    parameter: str
    """Its name among the parameters of `run`."""
    kind: Literal["flag", "text", "texts", "number"]
    default: object = None
    low: int = 0
    """The bounds of a number."""
    high: int | None = None


OPTIONS: dict[str, Option] = {
    "--static": Option("static_only", "flag", default=False),
    "--until": Option("until", "text", default="main.main"),
    "--steps": Option("steps", "number", default=1_000_000_000, low=1),
    "--memory": Option("memory", "number", default=512, low=16, high=65536),
    "--cpus": Option("cpus", "number", low=1, high=1024),
    "--sysroot": Option("sysroot", "text", default="/"),
    "--argv": Option("argv", "texts", default=()),
    "--env": Option("env", "texts", default=()),
    "--go-version": Option("go_version", "text", default=""),
    "--arch": Option("arch", "text", default=""),
    "--disasm": Option("disasm", "flag", default=False),
    "--full": Option("full", "flag", default=False),
    "--json": Option("as_json", "flag", default=False),
    "--vs-gort": Option("vs_gort", "flag", default=False),
}
"""All but `--html`, whose path click looks at, and those in `RARE`."""

RARE: dict[str, Any] = {
    "arguments": (),
    "prints": (),
    "watches": (),
    "inits": False,
    "inits_limit": None,
    "functions": False,
    "packages": False,
    "strings": False,
    "types": False,
    "diff": None,
    "step": False,
    "call_arguments": False,
    "html_path": None,
}
"""Parameters whose arguments only click understands -> their defaults."""

_MAX_DIGITS = 15


def parameters(file: str, **given: Any) -> dict[str, Any]:
    """Returns the parameters of `run`: those that are given, and the defaults of the others."""
    return {"file": file, **RARE, **{option.parameter: option.default for option in OPTIONS.values()}, **given}


def ordinary(args: list[str]) -> dict[str, Any] | None:
    """Returns the parameters of `run`, or None where click has to look."""
    found: dict[str, Any] = {}
    files = []
    rest = iter(args)
    for arg in rest:
        if not arg.startswith("-"):
            files.append(arg)
            continue
        name, equals, value = arg.partition("=")
        option = OPTIONS.get(name)
        if option is None:
            return None
        if option.kind == "flag":
            if equals:
                return None
            found[option.parameter] = True
            continue
        if not equals:
            value = next(rest, "-")
            if value.startswith("-"):
                return None
        if option.kind == "texts":
            found[option.parameter] = (*found.get(option.parameter, option.default), value)
        elif option.kind == "text":
            found[option.parameter] = value
        else:
            if not (value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS):
                return None
            number = int(value)
            if number < option.low or (option.high is not None and number > option.high):
                return None
            found[option.parameter] = number
    if len(files) != 1:
        return None
    return parameters(files[0], **found)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class _Progress:
    """One line on standard error that is written over, once a run takes longer than a second; more lines in a log."""

    _FIRST, _TERMINAL, _LOG = 1.0, 0.25, 5.25
    """Seconds until the first line, and between lines on a terminal and in a log."""
    _WIDTH = 100

    def __init__(self) -> None:
        self._started = self._shown = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._used = False

    def __call__(self, instructions: int, station: str) -> None:
        now = time.monotonic()
        pause = self._TERMINAL if self._terminal or not self._used else self._LOG
        if now - self._started < self._FIRST or now - self._shown < pause:
            return
        self._shown, self._used = now, True
        rate = instructions / (now - self._started) / 1e6
        line = f"xray: {instructions / 1e6:.1f} M instructions, {rate:.1f} M/s, after {station}"
        sys.stderr.write(line.ljust(self._WIDTH) + ("\r" if self._terminal else "\n"))
        sys.stderr.flush()

    def done(self) -> None:
        """Take the line away."""
        if self._used and self._terminal:
            sys.stderr.write(" " * self._WIDTH + "\r")
            sys.stderr.flush()


def _report(work: Callable[[], None]) -> int:
    """Do the work. Returns the exit status; a mistake in the file or the options becomes one line and status 2."""
    from gort.xray.errors import LimitError, XrayError

    try:
        work()
        sys.stdout.flush()
    except XrayError as exc:
        _say(f"gort xray: {exc}")
        return 1 if isinstance(exc, LimitError) else 2
    except MemoryError:
        _say("gort xray: out of memory: the file asks for more than this machine has")
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader has gone, as with `| head`
    except OSError as exc:
        import errno

        if exc.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still to be written would fail in the same way
        _say(f"gort xray: the report cannot be written: {exc.strerror or exc}")
        return 2
    return 0


def _guard(work: Callable[[], None]) -> NoReturn:
    """Do the work in a child process, so that a crash of the emulator's native code is a message and no crash here.

    Where there is no fork, the work is done here.
    """
    if not hasattr(os, "fork"):
        raise SystemExit(_report(work))
    import _signal  # type: ignore[import-not-found]  # importing signal costs 3 ms

    sys.stdout.flush()
    sys.stderr.flush()
    # A terminal sends Ctrl-C to both processes. The child ends on it, and this one waits for the child's status. A
    # KeyboardInterrupt here could come when waitpid has taken the status and not yet returned it, and the status would be
    # lost; so this process ignores the signal. It is held back until both processes know what to do with it.
    ours = _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler
    _signal.pthread_sigmask(_signal.SIG_BLOCK, (_signal.SIGINT,))
    pid = os.fork()
    if pid == 0:
        _child(work, _signal, ours)
    if ours:
        if _signal.SIGINT in _signal.sigpending():
            os.kill(pid, _signal.SIGINT)  # it may have come before the fork
        _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGINT,))
    _, how = os.waitpid(pid, 0)
    if not os.WIFSIGNALED(how):
        raise SystemExit(os.WEXITSTATUS(how))
    if os.WTERMSIG(how) == _signal.SIGINT:
        raise SystemExit(130)
    import signal

    name = signal.Signals(os.WTERMSIG(how)).name
    _say(f"gort xray: the emulator itself ended with {name} on this file: try --static")
    raise SystemExit(2)


def _child(work: Callable[[], None], signals: ModuleType, ours: bool) -> NoReturn:
    """Do the work, and end this process. It leaves no core file."""
    status = 70
    try:
        import gc
        import resource

        if ours:
            # An exception would get lost in the emulator's callbacks: Ctrl-C ends this process, as it does cat.
            signals.signal(signals.SIGINT, signals.SIG_DFL)
        signals.pthread_sigmask(signals.SIG_UNBLOCK, (signals.SIGINT,))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        gc.set_threshold(50_000)  # nearly all that a run makes is kept to its end
        status = _report(work)
    except KeyboardInterrupt:
        status = 130
    except SystemExit as exc:
        status = exc.code if isinstance(exc.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def run(**given: Any) -> NoReturn:
    """Examine the file, print what was asked for, and end the process with the exit status.

    `given` is what `ordinary` or click made of the arguments: the fields of `Asked`.
    """

    def whole() -> None:
        from gort.cli._xray_work import Asked, work

        work(Asked(**given), _Progress())

    _guard(whole)
