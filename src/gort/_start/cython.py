"""A stand-in for the package cython: what `import cython` and `from cython.cimports.… import …` find in the hot modules
when they run uncompiled.

gort needs Cython to be built, not to run.  In a compiled module both statements do nothing at run time, because a
cimport binds C types, functions and constants at compile time.  In an uncompiled one, `cython` has the few names below,
and `cython.cimports.gort.X` has the names of the ordinary module `gort.X`: the module that the .pxd describes or, for
room c, the stand-ins beside the .pxd.  Only compiled code uses cimports from elsewhere (libc, cpython), so there any
name is found.

Both are in sys.modules only while gort's own modules are imported (see `lent`), so that a program's own `import cython`
is not affected.  The finder of the second stays in sys.meta_path, where it finds nothing at other times (lazy.py says
why).  It is the last one there, so that it costs only imports that fail.

What does not live here: which core is loaded (loader.py).
"""

from __future__ import annotations

import sys
from _thread import allocate_lock

# No imports of typing, contextlib and importlib.machinery: they take longer to import than gort itself.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any
else:
    ModuleType = type(sys)
    ModuleSpec = type(sys.__spec__)

OURS = "cython.cimports.gort."


class _Type:
    """A C type in an annotation."""

    def __call__(self, value: Any = 0) -> Any:
        return value


class _Elsewhere(ModuleType):
    """`cython.cimports.libc.stdint` and the like: has every name, each a dummy."""

    __path__: list[str] = []

    def __getattr__(self, name: str) -> _Type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Type()


class CImports:
    """The meta-path finder and loader of `cython.cimports.…`."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Returns a spec for cython.cimports and its submodules while they are lent, None for every other module."""
        if _borrowers == 0 or not fullname.startswith("cython.cimports"):
            return None
        return ModuleSpec(fullname, cls)  # type: ignore[arg-type]

    @classmethod
    def create_module(cls, spec: ModuleSpec) -> ModuleType:
        """Makes an empty module, which exec_module fills."""
        return _Elsewhere(spec.name)

    @classmethod
    def exec_module(cls, module: ModuleType) -> None:
        """Copies into the module the names of the gort module that it stands for."""
        if module.__name__.startswith(OURS):
            name = module.__name__.removeprefix("cython.cimports.")
            __import__(name)
            found = {k: v for k, v in vars(sys.modules[name]).items() if not k.startswith("__")}
            module.__dict__.update(found)


def _make() -> ModuleType:
    module = ModuleType("cython")
    module.__path__ = []
    module.compiled = False  # type: ignore[attr-defined]
    module.declare = lambda _type, value=None: value  # type: ignore[attr-defined]
    module.cast = lambda _type, value: value  # type: ignore[attr-defined]
    for name in ("int", "uint", "bint", "longlong", "ulonglong", "double", "Py_ssize_t"):
        setattr(module, name, _Type())
    return module


def _take() -> dict[str, ModuleType]:
    """Takes cython and its submodules out of sys.modules."""
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "cython"}


_mu = allocate_lock()  # guards writes of the two variables below and our entries in sys.modules
_borrowers = 0  # open `with lent()` blocks: several threads may import, and one import starts another
_before: dict[str, ModuleType] = {}  # the program's own cython modules


class lent:
    """`with lent():` makes `import cython` find the stand-in.  Used around the import of gort's own modules."""

    def __enter__(self) -> None:
        global _borrowers, _before
        with _mu:
            if _borrowers == 0:
                _before = _take()
                sys.modules["cython"] = _make()
                if CImports not in sys.meta_path:
                    sys.meta_path.append(CImports)
            _borrowers += 1

    def __exit__(self, *exc: object) -> None:
        global _borrowers, _before
        with _mu:
            _borrowers -= 1
            if _borrowers == 0:
                _take()
                sys.modules.update(_before)
                _before = {}
