"""Names from typing for the annotations of public functions.  The start of gort must not import typing.

`typing.get_type_hints(gort.run)` evaluates the annotations of `run` in the module that defines it, so that module must
have the names that they use when the program runs.  But typing takes longer to import than gort, and hardly any program
asks for type hints.  So the modules that `import gort` loads, and gort.sync, write

    from gort._start import hints as t

    def goexit() -> t.NoReturn: ...

`gort/__init__.py` puts a Lazy module (lazy.py) in the place of this one.  So the import of `t` costs nothing, the first
access to one of its names imports typing, and a type checker reads this file as usual.  A class statement evaluates its
bases at once, so there `Generic` and `T` of _runtime/core/public.py are used instead.  Modules that are loaded only when
they are used import typing themselves.

The whole library takes abstract classes such as Callable from `_collections_abc`, which the interpreter itself has
loaded.  From Python 3.13 on, an import of collections.abc fails while another thread is importing collections, and
threads may use a module of gort for the first time at the same moment.

Compiled functions have no annotations, like CPython's own C functions.  Their types are in the .pyi files.

Rejected: stand-ins for Any and the type variables (the hints would name objects that no other library knows);
annotations as strings that cannot be evaluated (get_type_hints raises NameError); a module-level `__getattr__` (the
lookup of a global ignores it).
"""

from __future__ import annotations

import sys
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    NoReturn,
    ParamSpec,
    Self,
    SupportsIndex,
    TypeVar,
    TypeVarTuple,
    overload,
)

if TYPE_CHECKING:
    from typing_extensions import Buffer
elif sys.version_info >= (3, 12):
    from _collections_abc import Buffer
else:
    Buffer = bytes | bytearray | memoryview  # before 3.12 there is no class for all buffers

__all__ = ["Any", "Buffer", "Generic", "NoReturn", "P", "Self", "SupportsIndex", "T", "Ts", "overload"]

T = TypeVar("T")
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")
