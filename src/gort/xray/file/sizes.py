"""How large functions and packages are: from pclntab, which stripped files have too, and from the symbol table for data.

A function's range in pclntab reaches to the next function. On amd64 and 386 the padding between them, INT3, is cut off;
on arm64 it is a part of the function. What is left is the size that `go tool nm -size` gives. On the other processors up
to 15 bytes of padding count for the function before them. Data counts where the symbol table names it.
"""

from __future__ import annotations

from gort.xray.errors import XrayError
from gort.xray.file.pclntab import Func
from gort.xray.file.symbols import Symbols, package_of
from gort.xray.record import field, record

_LONGEST_PADDING = 64
_INT3, _SHORT_JUMP = b"\xcc", b"\xeb"
_ASSEMBLY = "(assembly)"
"""Stands for the package of functions whose names have none, as memeqbody."""
_LINKER = ("go:", "type:", "go.", "type.", "gclocals", "runtime.gcbits.", "$f64.", "$f32.")
"""Beginnings of the names of data that the linker makes for all packages."""


class Sized:
    """A function and its size. No record: there may be a hundred thousand."""

    __slots__ = ("func", "size")

    def __init__(self, func: Func, size: int) -> None:
        self.func: Func = func
        self.size: int = size


@record
class Package:
    """A package, and the bytes of its code and data."""

    name: str
    code: int = 0
    functions: int = 0
    data: int = 0
    """Bytes of its variables in memory; 0 where the file names none."""
    module: str = ""
    """The module that has it, with its version; empty for the standard library."""
    by_name: dict[str, int] = field(default_factory=dict)
    """Function -> size."""


def functions(symbols: Symbols) -> list[Sized]:
    """Returns every function, in the order of addresses."""
    image = symbols.image
    out = []
    for func in symbols.tab.names(""):
        if image.code_of is not None:
            out.append(Sized(func, len(image.code_of(func.entry))))
            continue
        size = func.end - func.entry
        try:
            tail = image.read(func.end - min(size, _LONGEST_PADDING), min(size, _LONGEST_PADDING))
        except XrayError:
            tail = b""  # its end lies behind the segment: a corrupt file
        if image.arch in ("amd64", "386"):
            code = tail.rstrip(_INT3)
            padding = len(tail) - len(code)
            if code.endswith(_SHORT_JUMP) or not code:
                padding -= 1  # the first of these bytes is the jump's distance, or all that the function has
            size -= max(0, padding)
        out.append(Sized(func, size))
    return out


def packages(symbols: Symbols, dependencies: tuple[str, ...] = (), module: str = "") -> dict[str, Package]:
    """Returns the packages by name. `dependencies` are modules with their versions, `module` is the program's own."""
    out: dict[str, Package] = {}

    def get(name: str) -> Package:
        package = out.get(name)
        if package is None:
            package = out[name] = Package(name)
            package.module = _module(name, dependencies, module)
        return package

    for sized in functions(symbols):
        package = get(package_of(sized.func.name) or _ASSEMBLY)
        package.code += sized.size
        package.functions += 1
        package.by_name[sized.func.name] = package.by_name.get(sized.func.name, 0) + sized.size
    code = symbols.tab.module
    for name, (address, size) in symbols.data.items():
        if not code.text <= address < code.etext and not name.startswith(_LINKER):
            owner = package_of(name)
            if owner in out:
                out[owner].data += size
    return out


def _module(package: str, dependencies: tuple[str, ...], module: str) -> str:
    """Returns the module with the longest path that the package's begins with."""
    if package == "main":
        return module
    best = ""
    for known in (*dependencies, *([module] if module else [])):
        path = known.split(" ")[0]
        if (package == path or package.startswith(path + "/")) and len(path) > len(best.split(" ")[0]):
            best = known
    return best
