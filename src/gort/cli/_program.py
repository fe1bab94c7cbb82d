"""The program of `gort run`: a file or a module, executed as the module __main__, as `python FILE` and `python -m MODULE`
execute it.

So multiprocessing finds it again in its children, what it pickles loads in another process, and its classes and
functions name `__main__`.  sys.argv, sys.path[0], __file__, __spec__ and the rest are what python sets.

A program may call gort.run itself, under `if __name__ == "__main__":` or not.  Then it has run, and `gort run` does not
call its main again.  A call that is made while the program imports another module does not count: it is that module's.

Rejected: runpy.run_path and run_module.  They take the module out of sys.modules when its code is over, but main runs
after that.

What does not live here: how main is run, and how the process ends (run.py).
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import SourceFileLoader
from types import CodeType, FrameType, ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Unusable(Exception):
    """There is no such program, or it cannot be read.  args: what is wrong, and what to do."""


class Program:
    """A program that has been found and compiled.  execute() runs its code once."""

    def __init__(self, code: CodeType, file: str, argv0: str, folder: str, loader: Any, spec: Any = None) -> None:
        self.code = code
        self.argv0 = argv0
        self.folder = folder  # sys.path[0]
        module = ModuleType("__main__")
        self.module: ModuleType = module
        module.__file__ = file
        module.__loader__ = loader
        module.__spec__ = spec
        module.__package__ = spec.parent if spec is not None else None
        if sys.version_info < (3, 15):
            module.__cached__ = spec.cached if spec is not None else None  # type: ignore[attr-defined]
        module.__builtins__ = sys.modules["builtins"]  # type: ignore[attr-defined]

    def execute(self, args: tuple[str, ...]) -> None:
        """Makes this program the process's __main__ and executes its code.  Raises what that raises."""
        sys.argv = [self.argv0, *args]
        if not sys.flags.safe_path:  # else python has put no folder of the program there
            sys.path[0] = self.folder
        sys.modules["__main__"] = self.module
        exec(self.code, self.module.__dict__)


def from_file(path: str) -> Program:
    """The program in a Python file.  Raises Unusable, or SyntaxError."""
    # Not normalised: after a symbolic link, `..` is another folder.
    file = os.path.join(os.getcwd(), path.removeprefix("./"))
    if os.path.isdir(path):
        raise Unusable(f"{path} is a directory", "give a Python file: gort run program.py")
    try:
        with open(path, "rb") as f:
            source = f.read()
    except FileNotFoundError:
        raise Unusable(f"no such file: {path}", "give the path of a Python file with an `async def main()`") from None
    except OSError as e:
        raise Unusable(f"cannot read {path}: {e.strerror}") from None
    try:
        code = compile(source, file, "exec", dont_inherit=True)  # this file's __future__ is not the program's
    except ValueError as e:  # a null byte
        raise Unusable(f"{path} is no Python source: {e}") from None
    return Program(code, file, path, os.path.dirname(os.path.realpath(path)), SourceFileLoader("__main__", file))


def from_module(name: str) -> Program:
    """The program that is a module, or a package's __main__.  Raises Unusable, SyntaxError, or what a package raises that
    is imported on the way."""
    import importlib.util

    if not sys.flags.safe_path:
        sys.path[0] = os.getcwd()
    try:
        spec = importlib.util.find_spec(name) if not name.startswith(".") else None
    except ModuleNotFoundError as e:
        if not f"{name}.".startswith(f"{e.name}."):
            raise  # a package on the way imports something that does not exist
        spec = None
    except ValueError:  # of a module without a spec, such as __main__
        spec = None
    if spec is None:
        raise Unusable(f"no module named {name}", "give one that can be imported from here: gort run -m NAME")
    if spec.submodule_search_locations is not None:
        if name.endswith(".__main__"):
            raise Unusable(f"{name} is a package, and no program")
        try:
            return from_module(f"{name}.__main__")
        except Unusable:
            raise Unusable(f"the package {name} has no module __main__", "name one of its modules") from None
    get_code = getattr(spec.loader, "get_code", None)
    code = get_code(spec.name) if get_code is not None else None
    if code is None or spec.origin is None:
        raise Unusable(f"the module {name} has no Python code")
    return Program(code, spec.origin, spec.origin, sys.path[0], spec.loader, spec)


class Launcher:
    """What gort.run asks while `gort run` executes a program (boot.main.launcher)."""

    def __init__(self, program: Program, procs: int | None) -> None:
        self.program = program
        self.procs = procs  # of `gort run --procs`: for a gort.run that says nothing itself
        self.ran = False  # the program has called gort.run

    def starts(self) -> None:
        """Called by each gort.run, on its thread."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code is not self.program.code:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                return  # the program imports another module
            frame = frame.f_back
        self.ran = True


def without_ours(exc: BaseException) -> BaseException:
    """The exception with its traceback from the program's first frame on."""
    tb = exc.__traceback__
    while tb is not None and tb.tb_frame.f_globals.get("__name__", "").startswith("gort."):
        tb = tb.tb_next
    return exc.with_traceback(tb) if tb is not None else exc


def from_a_run(exc: BaseException) -> BaseException | None:
    """The exception, with its traceback from gort.run on, if it has ended a program that gort.run ran; else None. A wrong
    call of gort.run is a mistake of the file."""
    from gort._runtime.boot import main

    tb = exc.__traceback__
    while tb is not None and tb.tb_frame.f_code is not main._run.__code__:
        tb = tb.tb_next
    return exc.with_traceback(tb) if tb is not None else None
