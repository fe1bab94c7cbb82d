"""Finds gort's own modules: the compiled ones in the libraries of the core, all others in the .py beside their package.

The core is linked into few libraries (setup.py), for a start pays some 0.1 ms for each that it opens, maps and relocates.
A library has the init function of each of its modules, so the interpreter's own loader takes any of them out of it.  But
the ordinary finders look for a file that has the module's name, so they cannot find one.

`gort/__init__.py` calls `install` before it imports anything else of gort.  With GORT_PURE=1, or where nothing was
compiled, no module is in a library, and so every module is loaded from its .py; extensions beside it are ignored.

Invariants
- A process has one core.  Once a module of the compiled core has been loaded, the uncompiled core would bring a second
  set of types, so `install` raises.
- The finder stands just before the one that walks through the path.  A hook that somebody puts before that one, to look
  into the modules that are imported, still sees those of gort.
- A hook that asks the one that walks through the path gets the same answer: the folders with compiled modules have a
  finder of their own there (Room).  Else it would load the uncompiled core, whenever it was put in place: pytest's does
  so with each package that has a plugin and is installed, and so with gort.
- What the finder does not know (gort in a zip file, a name that does not exist) is left to the finders behind it.

Rejected: leaving the .py to the ordinary finders (a start takes 1.5 ms longer: they list each folder, and try each
suffix); a path hook (it would change how every package on the path is found); a finder in front of all others (a hook
that is put in place later stands before it); removing the extension suffixes from
`importlib.machinery` (the same, for the rest of the process's life).

What does not live here: the check of the compiled core (verify.py).
"""

from __future__ import annotations

import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import (
    MAGIC_NUMBER,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    PathFinder,
    SourceFileLoader,
    cache_from_source,
)
from _imp import _fix_co_filename  # type: ignore[attr-defined]  # the interpreter's own loader calls it
from marshal import loads
from os import path as _path
from os import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import stat_result
    from types import CodeType, ModuleType

PACKAGE = "gort."
HEAD = MAGIC_NUMBER + bytes(4)  # of bytecode that counts as long as its source has the time and size that follow

_libraries: dict[str, str] = {}  # the full name of a compiled module -> the library that it is in


def compiled(fullname: str) -> ModuleSpec | None:
    """The spec of a module that is in a library, None for all others."""
    library = _libraries.get(fullname)
    if library is None:
        return None
    spec = ModuleSpec(fullname, ExtensionFileLoader(fullname, library), origin=library)
    spec.has_location = True
    return spec


class Source(SourceFileLoader):
    """Loads a .py, whose stat the finder has: from the bytecode beside it, in half of the instructions that the
    interpreter's own loader takes."""

    def __init__(self, fullname: str, path: str, now: stat_result) -> None:
        super().__init__(fullname, path)
        self.now: stat_result | None = now  # until the module is loaded: later the source may be another
        try:
            self.cached: str | None = cache_from_source(path)
        except NotImplementedError:  # an interpreter without bytecode files
            self.cached = None

    def get_code(self, fullname: str) -> CodeType | None:
        """Returns the module's code.  Whatever else can be the matter is the base class's: no bytecode, or an old one, or
        one that is compared by a hash.  Raises what the base class's raises."""
        now, self.now = self.now, None
        if now is None or self.cached is None or sys.flags.verbose:  # the base class tells what it does
            return super().get_code(fullname)
        try:
            data = self.get_data(self.cached)
        except OSError:
            return super().get_code(fullname)
        time, size = int(now.st_mtime) & 0xFFFFFFFF, now.st_size & 0xFFFFFFFF
        if data[:16] != HEAD + time.to_bytes(4, "little") + size.to_bytes(4, "little"):
            return super().get_code(fullname)
        code: CodeType = loads(memoryview(data)[16:])
        _fix_co_filename(code, self.path)
        return code


class Room(FileFinder):
    """The path's finder for a folder with compiled modules."""

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> ModuleSpec | None:
        """Returns the spec of a module in this folder, None where there is none of that name."""
        return compiled(fullname) or super().find_spec(fullname, target)


class Finder:
    """A meta-path finder for the modules of gort."""

    @staticmethod
    def find_spec(
        fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Returns the spec of a module of gort, None for all others."""
        if path is None or not fullname.startswith(PACKAGE):
            return None
        if (spec := compiled(fullname)) is not None:
            return spec
        name = fullname.rpartition(".")[2]
        for folder in path:
            place = _path.join(folder, name)
            for file, places in ((f"{place}.py", None), (_path.join(place, "__init__.py"), [place])):
                try:
                    now = stat(file)
                except OSError:
                    continue
                source = Source(fullname, file, now)
                spec = ModuleSpec(fullname, source, origin=file)
                spec.has_location, spec.submodule_search_locations = True, places
                spec.cached = source.cached
                return spec
        return None


def install(libraries: dict[str, str]) -> None:
    """Makes every later import of ``gort.*`` load the modules that are named here from their libraries, and all others
    from their .py.

    Raises RuntimeError if none is named, and a compiled module of gort has been loaded already.  A second call adds to
    the first.
    """
    for name, module in () if libraries else sys.modules.copy().items():
        file = getattr(module, "__file__", None) or ".py"
        if name.startswith(PACKAGE) and not file.endswith(".py"):
            raise RuntimeError(
                f"gort: GORT_PURE was set after {name} had been loaded compiled; "
                "set it in the environment before the program starts"
            )
    _libraries.update(libraries)
    for room, library in {name.rpartition(".")[0]: library for name, library in libraries.items()}.items():
        folder = _path.join(_path.dirname(_path.dirname(library)), room.rpartition(".")[2])
        if type(sys.path_importer_cache.get(folder)) is not Room:
            sys.path_importer_cache[folder] = Room(folder, (SourceFileLoader, SOURCE_SUFFIXES))
    if Finder not in sys.meta_path:
        last = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else len(sys.meta_path)
        sys.meta_path.insert(last, Finder)
