"""Modules of the library that are loaded when they are first used: a start must not pay for sockets.

`gort/__init__.py` puts a Lazy module in the place of each, and of hints.py, which imports typing.  It is the module
itself, only still empty: the first look into it has it imported in the ordinary way, and the finder here sees to it that
the import fills this very object, which is a plain module from then on.  So `gort.net.listen`, `from gort import net`,
`import gort.net` and `from gort.net import listen` lead to one module, whichever comes first; an import statement
imports at once; an import that fails says why, each time; and threads that come together wait for each other as for any
import.

Invariants
- A Lazy module is not in sys.modules before its import has begun: who looks through sys.modules loads nothing.
- While it is loaded, the thread that does so sees it as far as it has come; every other thread waits.
- The finder knows only the modules that have not been loaded, and is gone after the last of them.

Rejected: a module-level `__getattr__` in `gort/__init__.py` (the interpreter does not specialise attribute loads from a
module that has one, and every `gort.go` would pay for that); importlib.util.LazyLoader (importlib.util costs more to
import than all this; an `import` statement would not tell of a failure; the locks are its own, so that two threads that
import a package and a module of it can wait for each other for ever).
"""

from __future__ import annotations

import sys
from _thread import get_ident

from gort._start.cython import lent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any
else:
    ModuleType = type(sys)

_waiting: dict[str, Lazy] = {}  # those not loaded yet, by name
_loading: dict[str, int] = {}  # which thread loads which of them


class Lazy(ModuleType):
    """A module that has not been loaded yet."""

    def __getattribute__(self, name: str) -> Any:
        get = ModuleType.__getattribute__
        if name in ("__class__", "__name__"):
            return get(self, name)
        if name == "__spec__" and (spec := get(self, name)) is not None:
            return spec  # the import system asks, to find out whether it has to wait
        _load(get(self, "__name__"))
        return get(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        _load(self.__name__)
        ModuleType.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        _load(self.__name__)
        ModuleType.__delattr__(self, name)


def _load(name: str) -> None:
    """Imports the module, or waits for the thread that does; nothing where that is this thread."""
    if _loading.get(name) != get_ident():
        __import__(name)


class Filling:
    """Stands for a module's loader until the module has been created: has it fill the Lazy one."""

    def __init__(self, loader: Any, module: Lazy) -> None:
        self._loader = loader
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The empty module.  From here on the import system may write to it."""
        _loading[spec.name] = get_ident()
        return self._module

    def exec_module(self, module: Lazy) -> None:
        """Fills it.  After a failure it is as empty as before."""
        name = module.__name__
        spec: Any = module.__spec__
        module.__loader__ = spec.loader = self._loader
        try:
            with lent():
                self._loader.exec_module(module)
            module.__class__ = ModuleType  # type: ignore[assignment]
            _waiting.pop(name, None)
            if not _waiting and finder in sys.meta_path:
                sys.meta_path.remove(finder)
        except BaseException:
            blank = ModuleType(name).__dict__
            module.__dict__.update(blank)
            for key in module.__dict__.keys() - blank.keys():
                del module.__dict__[key]
            raise
        finally:
            _loading.pop(name, None)


class Finder:
    """A meta-path finder: what the others find of a module that is waiting is to fill the Lazy one."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec that another finder gives, for the names of Lazy modules; None for all others."""
        module = _waiting.get(fullname)
        if module is None:
            return None
        for other in list(sys.meta_path):
            if other is not self and (spec := other.find_spec(fullname, path, target)) is not None:
                if spec.loader is not None:
                    spec.loader = Filling(spec.loader, module)  # type: ignore[assignment]
                return spec
        return None


finder = Finder()


def put(package: ModuleType, names: tuple[str, ...]) -> None:
    """Puts Lazy modules in their places in a package.  They can be loaded after `begin`."""
    for name in names:
        full = f"{package.__name__}.{name}"
        _waiting[full] = module = Lazy(full)
        setattr(package, name, module)


def begin() -> None:
    """Has the import system ask the finder; last of all, since every import of a start would ask it in vain."""
    sys.meta_path.insert(0, finder)
