"""The command `gort`: `main` hands its arguments to the group of commands (_group.py).

Ctrl-C ends a command by SIGINT, as it ends python and Go programs: a shell ends its loop only if it sees its child die of
the signal.

All but two. `gort run FILE …` without options is run without click (_run.py), whose import takes longer than the rest of
a program that says hello. So is an ordinary `gort xray` (_xray.py). Whatever is not ordinary there (help, a mistake, a
rare option) goes the way of all commands.

Invariant: nothing here imports gort's runtime; `gort run` decides itself when the runtime is booted.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import NoReturn


class Interrupted(BaseException):
    """Ctrl-C has ended the command.  Not a KeyboardInterrupt, of which click would make exit status 1."""


def main(args: list[str] | None = None) -> None:
    """The console script. Ends the process with the command's exit status."""
    given = sys.argv[1:] if args is None else args
    if given[:1] == ["xray"] and os.name == "posix":
        from gort.cli import _xray

        options = _xray.ordinary(given[1:])
        if options is not None:
            _xray.run(**options)
    interrupted = False
    try:
        if given[:1] == ["run"] and len(given) > 1 and given[1][:1] not in ("", "-") and os.name == "posix":
            from gort.cli import _run

            _run.program(given[1], tuple(given[2:]))  # all that follows FILE is the program's own
        else:
            from gort.cli._group import group

            group.main(args=args, prog_name="gort")
    except Interrupted:
        interrupted = True  # not there: the exception would keep the program's frames, and all that they refer to
    except KeyboardInterrupt as e:
        e.__traceback__ = None  # its frames hold it, and what the program held
        interrupted = True
    if interrupted:
        die_interrupted()


def die_interrupted() -> NoReturn:
    """Ends the process by SIGINT.

    Raises KeyboardInterrupt to the interpreter, which ends as usual (it waits for the threads, calls atexit's functions,
    flushes the files) and then kills itself with the signal.  Its traceback is not printed."""
    last = KeyboardInterrupt()
    hook = sys.excepthook

    def silent(kind: type[BaseException], exc: BaseException, tb: TracebackType | None) -> None:
        sys.excepthook = hook  # for once: what fails later, while the interpreter ends, finds the hook that it knows
        if exc is not last:
            hook(kind, exc, tb)

    sys.excepthook = silent
    raise last
