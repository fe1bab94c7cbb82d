"""Lazy modules: parts of the library that are loaded at their first use, so that `import gort` does not pay for
sockets.

`gort/__init__.py` puts a Lazy module in the place of each, and of hints.py, which imports typing.  A Lazy module is the
module object itself, still empty.  The first access to one of its attributes imports the module in the ordinary way.
The finder below makes that import fill this very object, which is an ordinary module from then on.

So `gort.net.listen`, `from gort import net`, `import gort.net` and `from gort.net import listen` all lead to the same
module object, in any order.  An import statement imports at once.  An import that fails raises its error each time.  If
several threads use the module at once, they wait for each other as with any import.

Invariants
- A Lazy module is not in sys.modules before its import has begun, so code that walks through sys.modules does not load
  it.
- While it is loaded, the loading thread sees the part that has been executed; every other thread waits.
- The finder handles only modules that have not been loaded.  It stays in sys.meta_path: the import system walks through
  that list by position and without a lock, so if an entry is taken out meanwhile, it can pass over another one.  If
  that is this finder, the module is loaded as another object, whose names the Lazy module then takes.
- Who waited for an import that failed in another thread imports the module itself, and so gets the error.

Rejected: a module-level `__getattr__` in `gort/__init__.py` (the interpreter does not specialise attribute loads from a
module that has one, and every `gort.go` would pay for that); importlib.util.LazyLoader (importlib.util costs more to
import than all of this; an `import` statement would not report a failure; and it has locks of its own, so two threads
that import a package and one of its modules can deadlock).

What does not live here: which modules are lazy (gort/__init__.py).
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

_waiting: dict[str, Lazy] = {}  # name -> a module that has not been loaded yet
_loading: dict[str, int] = {}  # name -> the thread that loads the module now


class Lazy(ModuleType):
    """A module that has not been loaded yet."""

    def __getattribute__(self, name: str) -> Any:
        get = ModuleType.__getattribute__
        if name in ("__class__", "__name__"):
            return get(self, name)
        if name == "__spec__" and (spec := get(self, name)) is not None:
            return spec  # the import system reads this to decide if it must wait for another thread
        _load(self)
        return get(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        _load(self)
        ModuleType.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        _load(self)
        ModuleType.__delattr__(self, name)


def _load(module: Lazy) -> None:
    """Imports the module, or waits for the thread that is importing it.  Does nothing if that is this thread.

    The wait also ends if the other thread's import has failed, and `__import__` does not say so: then this thread tries.
    And it ends at once if the other thread waits for an import of this one.  Then the module is used as it is, as the
    import system does: the other thread is still in the import that it was in before the wait, which its spec shows.
    """
    get, name = ModuleType.__getattribute__, module.__name__
    while type(module) is Lazy and _loading.get(name) != get_ident():
        spec = get(module, "__spec__")
        __import__(name)
        found = sys.modules.get(name, module)
        if found is not module:  # not by our finder, which was passed over
            get(module, "__dict__").update(found.__dict__)
            ModuleType.__setattr__(module, "__class__", ModuleType)
            _waiting.pop(name, None)
        elif spec is not None and get(module, "__spec__") is spec:
            return


class Filling:
    """Replaces a module's loader until the module has been loaded, and makes that loader fill the Lazy module."""

    def __init__(self, loader: Any, module: Lazy) -> None:
        self._loader = loader
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Returns the Lazy module.  From here on the import system may write to it."""
        _loading[spec.name] = get_ident()
        return self._module

    def exec_module(self, module: Lazy) -> None:
        """Executes the module's code in it.  After a failure the module is as empty as before."""
        name = module.__name__
        spec: Any = module.__spec__
        module.__loader__ = spec.loader = self._loader
        try:
            with lent():
                self._loader.exec_module(module)
            module.__class__ = ModuleType  # type: ignore[assignment]
            _waiting.pop(name, None)
        except BaseException:
            blank = ModuleType(name).__dict__
            module.__dict__.update(blank)
            for key in module.__dict__.keys() - blank.keys():
                del module.__dict__[key]
            raise
        finally:
            _loading.pop(name, None)


class Finder:
    """A meta-path finder for lazy modules: takes the spec that another finder returns and replaces its loader by
    Filling."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Returns the spec for the name of a Lazy module, None for all other names."""
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
    """Makes Lazy modules and sets them as attributes of the package.  They can be loaded once `begin` has been
    called."""
    for name in names:
        full = f"{package.__name__}.{name}"
        _waiting[full] = module = Lazy(full)
        setattr(package, name, module)


def begin() -> None:
    """Installs the finder.  Called at the end of `import gort`, because every import before that would ask it in
    vain."""
    sys.meta_path.insert(0, finder)
