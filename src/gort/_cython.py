"""What the hot modules' `import cython` finds when they run uncompiled: the few names they use, without Cython.

Cython is needed to build gort, not to run it.  The names are put into sys.modules only while gort's own modules are
imported (see `lent`), so that a program's own `import cython` is never affected.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


class _Type:
    """A C type in an annotation."""

    def __call__(self, value: Any = 0) -> Any:
        return value


def _make() -> ModuleType:
    module = ModuleType("cython")
    module.compiled = False  # type: ignore[attr-defined]
    module.declare = lambda _type, value=None: value  # type: ignore[attr-defined]
    module.cast = lambda _type, value: value  # type: ignore[attr-defined]
    for name in ("int", "bint", "longlong", "ulonglong", "double", "Py_ssize_t"):
        setattr(module, name, _Type())
    return module


@contextmanager
def lent() -> Iterator[None]:
    """While gort's modules are imported, `import cython` gives this."""
    before = sys.modules.get("cython")
    sys.modules["cython"] = _make()
    try:
        yield
    finally:
        if before is None:
            del sys.modules["cython"]
        else:
            sys.modules["cython"] = before
