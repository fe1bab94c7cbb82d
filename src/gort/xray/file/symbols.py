"""Names and addresses: Go's pclntab for code, the file's own symbol table for data where it was not stripped.

In pclntab an assembly function's ABI wrapper has the same name as the function itself. `bodies` returns both, `func`
the one with the code, which is the longer one. A stripped file names no data: globals.py finds it through the code.
"""

from __future__ import annotations

from bisect import bisect_right

from gort.xray.errors import XrayError
from gort.xray.file.gobuild import why_not_go
from gort.xray.file.image import Image, SymbolTable
from gort.xray.file.pclntab import Func, PclnTab, find_pclntab

_SYSTEMS = ("linux", "android", "freebsd", "netbsd", "openbsd", "dragonfly", "solaris", "illumos", "js", "wasip1")


def package_of(function: str) -> str:
    """Returns the path of a function's package, as net/http of net/http.(*Client).Do; empty for a name without one.

    Type arguments may contain paths of their own. A dot in the last part of a path is written %2e.
    """
    name = function.partition("[")[0]
    head, dot, _ = name[name.rfind("/") + 1 :].partition(".")
    if not dot:
        return ""
    path = name[: name.rfind("/") + 1] + head
    return path.replace("%2e", ".") if "%" in path else path


class Symbols:
    """The names of one image. Raises `XrayError` when it has no pclntab: it is packed, or no Go executable."""

    def __init__(self, image: Image) -> None:
        self.image: Image = image
        tab = find_pclntab(image)
        if tab is None:
            raise XrayError(why_not_go(image))
        self.tab: PclnTab = tab
        self._data: SymbolTable | None = None
        self._by_address: list[tuple[int, int, str]] | None = None
        """(address, size, name) of the variables, in the order of addresses."""
        self._data_names: dict[int, str] | None = None

    @property
    def stripped(self) -> bool:
        """True when the file has no symbol table."""
        return self.image.symbol_source is None or not self.data

    @property
    def data(self) -> SymbolTable:
        """The file's symbol table, read when it is first asked for; empty in a stripped file."""
        if self._data is None:
            source = self.image.symbol_source
            self._data = source() if source is not None else {}
        return self._data

    def bodies(self, name: str) -> list[Func]:
        """Returns all functions of that name: a wrapper and the function itself, in no order."""
        return self.tab.find_all(name)

    def func(self, name: str) -> Func | None:
        """Returns the function of that name that has the code."""
        found = self.tab.find_all(name)
        return max(found, key=lambda f: f.end - f.entry) if found else None

    def at(self, pc: int) -> Func | None:
        """Returns the function that holds `pc`."""
        return self.tab.at(pc)

    def system(self) -> str:
        """Returns GOOS as the name of the entry function has it, as in _rt0_amd64_solaris; "" where none has it.

        Where C's startup code is the entry, Go's entry function is in the file all the same.
        """
        entry = self.tab.at(self.image.entry)
        names = [f.name for f in (*([entry] if entry is not None else []), *self.tab.names("_rt0_"))]
        for name in names:
            parts = name.split("_")  # the name begins with an underscore; `_lib` may follow the system
            if len(parts) == 4 and parts[1] == "rt0" and parts[3] in _SYSTEMS:
                return parts[3]
        return ""

    def library_start(self) -> Func | None:
        """Returns Go's function that the loader of a shared library calls, as _rt0_amd64_linux_lib; a plugin has none."""
        return next((f for f in self.tab.names("_rt0_") if f.name.endswith("_lib") and f.name.count("_") == 4), None)

    def describe(self, pc: int) -> str:
        """Returns `runtime.schedinit+0x40`, or the plain address where there is no function."""
        func = self.tab.at(pc)
        if func is None:
            return f"{pc:#x}"
        return func.name if pc == func.entry else f"{func.name}+{pc - func.entry:#x}"

    def where(self, pc: int) -> str:
        """Returns the source position as `runtime/proc.go:844`, without the directory of the builder's Go."""
        file, line = self.tab.line(pc)
        if not file:
            return ""
        for mark in ("/src/runtime/", "/src/internal/", "/src/"):
            i = file.rfind(mark)
            if i >= 0:
                return f"{file[i + 5 :]}:{line}"
        return f"{file.rsplit('/', 1)[-1]}:{line}"

    def data_name(self, address: int) -> str:
        """Returns `&runtime.mainPC` for the address of a variable that the file names; empty for all others."""
        if self._data_names is None:
            self._data_names = {where: name for name, (where, _) in self.data.items()}
        name = self._data_names.get(address)
        return f"&{name}" if name else ""

    def near(self, address: int) -> str:
        """Returns `&runtime.m0+0x88` for an address within a variable that the file names; empty for all others."""
        if self._by_address is None:
            code = self.tab.module
            found = ((at, size, n) for n, (at, size) in self.data.items() if not code.text <= at < code.etext)
            self._by_address = sorted(found, key=lambda v: (v[0], v[1]))
        i = bisect_right(self._by_address, address, key=lambda v: v[0]) - 1
        if i < 0:
            return ""
        at, size, name = self._by_address[i]
        if address == at:
            return f"&{name}"
        return f"&{name}+{address - at:#x}" if address < at + size else ""

    def address(self, name: str) -> int | None:
        """Returns the address of a data symbol, None when the file does not name it."""
        got = self.data.get(name)
        return got[0] if got else None
