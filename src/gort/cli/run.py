"""`gort run FILE [args…]`: runs FILE's `async def main()`.

A panic and a deadlock print as Go prints them, exit status 2.  Ctrl-C ends with 130.  The file is run as __main__, so
its own `if __name__ == "__main__":` block would run too: it is skipped when all it does is start gort (the module's
__name__ is "__main__" in goroutines either way).
"""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from types import ModuleType
from typing import Any, NoReturn

import click


def fail(message: str, remedy: str = "") -> NoReturn:
    """One clear line on stderr, and status 2."""
    sys.stderr.write(f"gort run: {message}" + (f"\n  {remedy}" if remedy else "") + "\n")
    sys.exit(2)


def load(path: str) -> ModuleType:
    """The file as a module named __main__ whose __name__ is "__gort_main__" while it is executed, so that a block under
    `if __name__ == "__main__":` does not start a second runtime."""
    if os.path.isdir(path):
        fail(f"{path} is a directory", "give a Python file: gort run program.py")
    try:
        with open(path, "rb") as f:
            source = f.read()
    except FileNotFoundError:
        fail(f"no such file: {path}", "give the path of a Python file with an `async def main()`")
    except OSError as e:
        fail(f"cannot read {path}: {e.strerror}")
    try:
        code = compile(source, path, "exec")
    except SyntaxError as e:
        sys.stderr.write("".join(traceback.format_exception_only(e)))
        sys.exit(2)
    except ValueError as e:
        fail(f"{path} is no Python source: {e}")
    module = ModuleType("__main__")
    module.__file__ = path
    sys.modules["__main__"] = sys.modules["__gort_main__"] = module  # dataclasses look up a class's module by name
    module.__name__ = "__gort_main__"
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    try:
        exec(code, module.__dict__)
    except SystemExit:
        raise
    except BaseException as e:
        tb = e.__traceback__
        while tb is not None and tb.tb_frame.f_code.co_filename == __file__:
            tb = tb.tb_next
        sys.stderr.write("".join(traceback.format_exception(e.with_traceback(tb))))
        sys.exit(130 if isinstance(e, KeyboardInterrupt) else 2)
    module.__name__ = "__main__"
    return module


def find_main(module: ModuleType, path: str) -> Any:
    """The module's async def main, or a clear error."""
    from gort._runtime.boot.main import is_async

    main = getattr(module, "main", None)
    if main is None:
        fail(f"{path} has no main", "write `async def main(): …` in it")
    if not callable(main):
        fail(f"main in {path} is a {type(main).__name__}, not a function", "write `async def main(): …`")
    if not is_async(main):
        fail(f"main in {path} is a plain function", "write `async def main(): …`")
    needed = [
        p.name
        for p in inspect.signature(main).parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    if needed:
        fail(f"main in {path} takes arguments ({', '.join(needed)})", "it is called without any: read sys.argv")
    return main


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--procs", type=click.IntRange(min=1), default=None, help="Number of Ps (default: GOMAXPROCS).")
@click.argument("file", type=click.Path())
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def command(file: str, args: tuple[str, ...], procs: int | None) -> None:
    """Run FILE's `async def main()` on gort.

    ARGS are the program's own: sys.argv[1:]."""
    import gort

    sys.argv = [file, *args]
    from gort._runtime.core import debugvars
    from gort._runtime.core.mistakes import check_procs

    try:
        check_procs(procs or debugvars.procs_wanted(1)[0], "procs" if procs else "GOMAXPROCS")
    except ValueError as e:
        fail(str(e))
    main = find_main(load(file), file)
    try:
        gort.run(main, procs=procs)
    except gort.Panic as e:
        end(e.dump, 2)
    except gort.Deadlock as e:
        end(e.dump, 2)
    except KeyboardInterrupt:
        end("", 130)
    except SystemExit:
        raise
    except BaseException as e:
        from gort._runtime.core import panic

        end(panic.dump_of(e, 1, ""), 2)


def end(text: str, status: int) -> NoReturn:
    """Prints a dump and ends with the status, whatever other threads do."""
    try:
        sys.stdout.flush()
    except OSError:
        pass
    if text:
        sys.stderr.write(text.rstrip("\n") + "\n" + ("exit status 2\n" if status == 2 else ""))
        sys.stderr.flush()
    sys.exit(status)
