"""What users see of what a public module offers: where classes and functions say they live, what dir() lists, and
`Handle[int]`.

The house is built in rooms (gort._runtime.wait.chan), the public face is flat (gort.Chan).  `publish`, which each public
module calls at its end, gives what its `__all__` names the module's own name as `__module__`, so that a repr, a
traceback, a pickle and an error message of the interpreter name the path that users import.  A function and a Python
class take it as an attribute; a compiled class is a static type, whose name C sets (rt_set_public).

Compiled classes also get their signatures here, for `inspect.signature`: Cython writes one into the docstring of each
method but into none of a class.  tests/test_public.py compares them with the stubs and with the uncompiled classes.

`class Handle(Generic[T])` is written with this file's Generic when it runs: typing's own would have a start import
typing (see gort/_start/hints.py).

Rejected: `__module__ = "gort"` in the bodies of the classes (it says nothing of compiled ones and of functions);
underscores before every name that a public module imports (they would be in its way, and dir() would still show them).
"""

from __future__ import annotations

import sys
from types import GenericAlias

from gort._runtime.core import runtime2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_Module = type(sys)
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
T = object  # stands for the type variable, which only a type checker has a use for


class Generic:
    """A base for classes that take a type in brackets, as the built-in containers do."""

    __class_getitem__ = classmethod(GenericAlias)  # type: ignore[var-annotated]


def publish(namespace: dict[str, Any], modules: tuple[str, ...] = ()) -> None:
    """Called by a public module with its globals(): its `__all__` is what it offers.

    modules: modules that its dir() lists too."""
    home = namespace["__name__"]
    names = namespace["__all__"]
    for name in names:
        value = namespace.get(name)  # None: it is made when it is first used (gort.net's TLS)
        if not isinstance(value, _Module):  # a Lazy one must not be looked into
            adopt(value, home)
    shown = sorted({*names, *modules})
    namespace["__dir__"] = lambda: list(shown)


def adopt(value: Any, home: str) -> None:
    """Gives a class or a function of gort's the public module `home`; leaves anything else as it is."""
    module = getattr(value, "__module__", None)
    if module is None or not module.startswith("gort.") or not hasattr(value, "__qualname__"):
        return
    if isinstance(value, type):
        signature = _SIGNATURES.get(value.__name__)
        runtime2.set_public(value, home, signature)
        base = value.__base__
        if base is not None and base.__name__ == value.__name__:  # WaitGroup
            runtime2.set_public(base, base.__module__, signature)
    else:
        value.__module__ = home
