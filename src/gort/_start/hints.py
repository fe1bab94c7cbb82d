"""Names for the annotations of public functions, from typing, which a start must not import.

`typing.get_type_hints(gort.run)` evaluates the annotations of `run` in the module that defines it, so what they name has
to be found there when the program runs.  Yet an import of typing takes longer than that of gort, and nearly no program
asks.  So the modules that a start loads, and gort.sync, write

    from gort._start import hints as t

    def goexit() -> t.NoReturn: ...

`gort/__init__.py` puts a Lazy module (lazy.py) in the place of this one: `t` costs nothing, the first look into it
imports typing, and a type checker sees this file as it is.  Abstract classes such as Callable come from
`_collections_abc`, which the interpreter itself has loaded.  A class statement evaluates its bases at once: there
`Generic` and `T` of _runtime/core/public.py stand in.  Modules that are only loaded when they are used import typing
themselves.

Compiled functions have no annotations, as those of CPython have none: their types are in the .pyi files.

Rejected: stand-ins for Any and the type variables (the hints would name objects that no other library knows);
annotations as strings that are never meant to be evaluated (get_type_hints raises NameError); a module-level
`__getattr__` (globals are looked up without it).
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
    from collections.abc import Buffer
else:
    Buffer = bytes | bytearray | memoryview  # no class says it before 3.12

__all__ = ["Any", "Buffer", "Generic", "NoReturn", "P", "Self", "SupportsIndex", "T", "Ts", "overload"]

T = TypeVar("T")
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")
