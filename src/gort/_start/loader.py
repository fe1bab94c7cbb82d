"""GORT_PURE=1: loads the uncompiled core even if the compiled one is there.

`gort/__init__.py` calls `install()` before it imports anything else of gort, and only if GORT_PURE is set, so a normal
start does not even read this file.  After `install()`, every ``gort.*`` module is loaded from its ``.py``; extension
modules are ignored.

Invariant: a process has one core.  Once a module of the compiled core has been loaded, the uncompiled core would bring
a second set of types, so `install()` raises.

Rejected: a path hook (it would change how every package on the path is found); removing the extension suffixes from
`importlib.machinery` (the same, for the rest of the process's life).

What does not live here: the check of the compiled core (verify.py).
"""

from __future__ import annotations

import sys
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

PACKAGE = "gort"


class PureFinder:
    """A meta-path finder that finds modules of gort by their .py files only."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is None or not fullname.startswith(PACKAGE + "."):
            return None
        for folder in path:
            spec = FileFinder(folder, (SourceFileLoader, SOURCE_SUFFIXES)).find_spec(fullname)
            if spec is not None and spec.loader is not None:
                return spec
        return None  # there is no such module; the ordinary finders then raise the ordinary error


def install() -> None:
    """Makes every later import of ``gort.*`` load the .py source.

    Raises RuntimeError if a compiled module of gort has been loaded already.  A second call does nothing.
    """
    for name, module in sys.modules.copy().items():
        file = getattr(module, "__file__", None) or ".py"
        if name.startswith(PACKAGE + ".") and not file.endswith(".py"):
            raise RuntimeError(
                f"gort: GORT_PURE was set after {name} had been loaded compiled; "
                "set it in the environment before the program starts"
            )
    if PureFinder not in sys.meta_path:
        sys.meta_path.insert(0, PureFinder)
