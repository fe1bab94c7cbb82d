"""What people get wrong at a go statement, and the errors that say so.  Imported by the scheduler; imports nothing of it.

What was awaited by mistake is in panic.py, misuse of an operation in op.py.
"""

from __future__ import annotations

import inspect
from typing import Any, NoReturn

MAX_PROCS = 1 << 16  # Go sets no limit and dies of memory; a P here costs about a kilobyte


def not_running(fn: Any, name: str) -> NoReturn:
    """Raises for a go statement outside a runtime."""
    if inspect.iscoroutine(fn):
        fn.close()
    raise RuntimeError(f"{name}() outside a running gort runtime: start one with gort.run(main)")


def check_go(s: Any, fn: Any, name: str) -> None:
    """Raises the error that names what is wrong with a go statement; nothing where all is well."""
    if not callable(fn):
        if inspect.iscoroutine(fn):
            fn.close()
            raise TypeError(f"{name} takes the function and its arguments: write {name}(f, x), not {name}(f(x))")
        raise TypeError(f"{name} takes a function, not {type(fn).__name__}")
    if s.ending:
        raise RuntimeError(f"{name}: the runtime is stopping, no goroutine can be started any more")


def check_procs(n: int, source: str) -> int:
    """n, if it is a possible number of Ps."""
    if n > MAX_PROCS:
        raise ValueError(f"{source}={n} is too many Ps: at most {MAX_PROCS}")
    return n
