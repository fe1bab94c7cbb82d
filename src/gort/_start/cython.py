"""What the hot modules' `import cython` finds when they run uncompiled: the few names they use, without Cython.

Cython is needed to build gort, not to run it.  The names are put into sys.modules only while gort's own modules are
imported (see `lent`), so that a program's own `import cython` is never affected.
"""

from __future__ import annotations

import sys
from _thread import allocate_lock

# As everywhere on the way of a start: typing and contextlib take longer to import than gort itself.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any
else:
    ModuleType = type(sys)


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


_mu = allocate_lock()  # guards what follows, and the entry in sys.modules
_borrowers = 0  # threads may import at the same time, and an import leads to another
_before: ModuleType | None = None


class lent:
    """`with lent():` while gort's modules are imported, `import cython` gives this."""

    def __enter__(self) -> None:
        global _borrowers, _before
        with _mu:
            if _borrowers == 0:
                _before = sys.modules.get("cython")
                sys.modules["cython"] = _make()
            _borrowers += 1

    def __exit__(self, *exc: object) -> None:
        global _borrowers, _before
        with _mu:
            _borrowers -= 1
            if _borrowers == 0:
                if _before is None:
                    del sys.modules["cython"]
                else:
                    sys.modules["cython"] = _before
                _before = None
