"""The public face of the private modules: `__module__` and signatures of exported objects, dir(), and `Handle[int]`.

The code is in private rooms (gort._runtime.wait.chan), but users import flat names (gort.Chan).  Each public module
calls `publish` at its end.  That sets `__module__` of every object in the module's `__all__` to the module's name, so
that a repr, a traceback, a pickle and an error message of the interpreter name the path that users import.  Functions
and Python classes have `__module__` as an attribute; a compiled class is a static type, whose name C sets
(rt_set_public).

Compiled classes also get their signatures here, for `inspect.signature`, because Cython writes a signature into the
docstring of each method but not of a class.  tests/test_public.py compares them with the stubs and with the uncompiled
classes.

At run time `class Handle(Generic[T])` uses this file's Generic, because typing's would make `import gort` import typing
(see gort/_start/hints.py).

Rejected: `__module__ = "gort"` in the class bodies (it does not work for compiled classes and for functions); an
underscore before every name that a public module imports (hard to read, and dir() would still show them).

What does not live here: which names are public (the `__all__` of each public module).
"""

from __future__ import annotations

import sys
from types import GenericAlias

from gort._runtime.core import runtime2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_Module = type(sys)
_homes: set[str] = set()  # the public modules that have been loaded
_SIGNATURES = {
    "Chan": "(capacity=0)",
    "Mutex": "()",
    "RWMutex": "()",
    "Reader": "(rw)",
    "Semaphore": "(n=1)",
    "Ticker": "(seconds)",
    "Timer": "(seconds)",
    "WaitGroup": "()",  # the compiled half of gort.sync.WaitGroup
}
T = object  # a dummy for the type variable, which only type checkers need


class Generic:
    """A base for classes that accept a type in brackets, as the built-in containers do."""

    __class_getitem__ = classmethod(GenericAlias)  # type: ignore[var-annotated]


def publish(namespace: dict[str, Any], modules: tuple[str, ...] = ()) -> None:
    """Publishes the names in `__all__` of a public module, which calls this with its globals(): sets the `__module__`
    of their objects, and makes dir() list only them and the names in `modules`."""
    home = namespace["__name__"]
    names = namespace["__all__"]
    _homes.add(home)
    for name in names:
        value = namespace.get(name)  # None: the object is made at its first use (gort.net's TLS)
        if not isinstance(value, _Module):  # an attribute access would load a Lazy module
            adopt(value, home)
    shown = sorted({*names, *modules})
    namespace["__dir__"] = lambda: list(shown)


def adopt(value: Any, home: str) -> None:
    """Sets the public module of a class or function of gort to `home`.  Ignores all other objects, and those that another
    public module offers already (gort.net has exceptions of gort.bufio)."""
    module = getattr(value, "__module__", None)
    if module is None or not module.startswith("gort.") or not hasattr(value, "__qualname__"):
        return
    if module in _homes and module != home:
        return
    if isinstance(value, type):
        signature = _SIGNATURES.get(value.__name__)
        runtime2.set_public(value, home, signature)
        base = value.__base__
        if base is not None and base.__name__ == value.__name__:  # WaitGroup
            runtime2.set_public(base, base.__module__, signature)
    else:
        value.__module__ = home
