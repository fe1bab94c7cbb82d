"""`gort run FILE [args…]` without click: runs FILE's `async def main()`.

The file is executed as the module __main__, as python does (_program.py), and then its main is run, unless the file has
called gort.run itself.  A panic and a deadlock print as Go prints them, exit status 2.  They print at once, before the
`finally` blocks of the other goroutines run.  But if the file calls gort.run itself, it may catch the error: then they
print when the error has come out of the file.  Ctrl-C that main does not catch ends the process by SIGINT.

What does not live here: the options (run.py).
"""

from __future__ import annotations

import sys
from types import FunctionType

from gort._runtime.core.mistakes import say
from gort.cli import _program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


def fail(message: str, remedy: str = "") -> NoReturn:
    """One clear line on stderr, and status 2."""
    say(f"gort run: {message}" + (f"\n  {remedy}" if remedy else "") + "\n")
    sys.exit(2)


def find_main(module: Any, name: str) -> Any:
    """The module's async def main, or a clear error."""
    from gort._runtime.boot.main import is_async

    main = getattr(module, "main", None)
    if main is None:
        fail(f"{name} has no main", "write `async def main(): …` in it")
    if not callable(main):
        fail(f"main in {name} is a {type(main).__name__}, not a function", "write `async def main(): …`")
    if not is_async(main):
        fail(f"main in {name} is a plain function", "write `async def main(): …`")
    if type(main) is FunctionType and not main.__code__.co_argcount and not main.__dict__:
        return main  # nearly always, and the import of inspect takes longer than that of gort
    import inspect

    needed = [
        p.name
        for p in inspect.signature(main).parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    if needed:
        fail(f"main in {name} takes arguments ({', '.join(needed)})", "it is called without any: read sys.argv")
    return main


def load(name: str, is_module: bool) -> _program.Program:
    """The program, or a clear error."""
    try:
        return _program.from_module(name) if is_module else _program.from_file(name)
    except _program.Unusable as e:
        fail(*e.args)
    except SyntaxError as e:
        import traceback

        say("".join(traceback.format_exception_only(e)))
        sys.exit(2)
    except Exception as e:  # of a package that is imported on the way to the module
        say_traceback(e)
        sys.exit(2)


def say_traceback(exc: BaseException) -> None:
    """Prints it as python does, from the program's first frame on."""
    import traceback

    say("".join(traceback.format_exception(_program.without_ours(exc))))


def program(file: str, args: tuple[str, ...], procs: int | None = None, is_module: bool = False) -> None:
    """Runs FILE's main. Returns when it has returned; ends the process with its status when it has not."""
    from gort._runtime.core import debugvars
    from gort._runtime.core.mistakes import check_procs

    try:
        check_procs(procs or debugvars.procs_wanted(1)[0], "procs" if procs else "GOMAXPROCS")
    except ValueError as e:
        fail(str(e))
    loaded = load(file, is_module)
    try:
        run(loaded, file, args, procs)
    except SystemExit:
        raise
    except BaseException as e:
        end(e)


def run(program: _program.Program, name: str, args: tuple[str, ...], procs: int | None) -> None:
    """Executes the program's code and then runs its main, unless that code has called gort.run.  Raises what they
    raise."""
    from gort._runtime.boot import main as boot

    boot.launcher = launcher = _program.Launcher(program, procs)
    try:
        program.execute(args)
    finally:
        boot.launcher = None
    if not launcher.ran:
        boot.start(find_main(program.module, name), (), procs, report)


_reported: BaseException | None = None  # the error whose dump has been printed


def report(exc: BaseException) -> None:
    """Prints the dump of what ends the program.  Called on any thread, while the goroutines are still there."""
    global _reported
    from gort._runtime.core import panic

    _reported = exc
    flush()
    text = (getattr(exc, "dump", "") or panic.dump_of(exc, 1, "")).rstrip("\n") + "\n"
    try:
        if sys.stderr.isatty():
            text = sourced(text)
    except Exception:
        pass  # sys.stderr is the program's
    say(text)


def sourced(dump: str) -> str:
    """A dump with the text of each line of the goroutine that has panicked, as Python's tracebacks have it, for somebody
    who reads it at a terminal.  Go shows none, and programs that read dumps expect none."""
    import linecache
    import re

    lines = []
    inside = False
    for line in dump.split("\n"):
        lines.append(line)
        if not line:
            inside = False
        elif re.match(r"goroutine \d+ \[running\]", line):
            inside = True
        elif inside and (place := re.fullmatch(r"\t(.+):(\d+)", line)):
            source = linecache.getline(place[1], int(place[2])).strip()
            if source:
                lines.append(f"\t    {source}")
    return "\n".join(lines)


def flush() -> None:
    """Flushes stdout, if there is one, so that what is then written to stderr comes after it."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except Exception:
        pass  # python says it when it flushes stdout itself


def end(exc: BaseException) -> NoReturn:
    """Ends the process with what ended the program: a dump, as Go prints it, and status 2; a traceback if the file could
    not be executed.  Raises KeyboardInterrupt, for the whole command, if that ended it."""
    ran = _program.from_a_run(exc)
    if ran is not None and exc is not _reported and not isinstance(exc, KeyboardInterrupt):
        report(ran)
    flush()
    if ran is None:
        say_traceback(exc)
    if isinstance(exc, KeyboardInterrupt):
        raise exc
    if ran is not None:
        say("exit status 2\n")
    sys.exit(2)
