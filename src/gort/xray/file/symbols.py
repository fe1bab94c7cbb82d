"""Names and addresses: Go's pclntab for code, the file's own symbol table for data where it was not stripped.

In pclntab an assembly function's ABI wrapper has the same name as the function itself: `bodies` gives all of them,
`func` the one with the code (the longest). Data symbols of stripped files are found by globals.py, from the code.
"""

from __future__ import annotations

from gort.xray.errors import XrayError
from gort.xray.file.gobuild import why_not_go
from gort.xray.file.image import Image
from gort.xray.file.pclntab import Func, find_pclntab


class Symbols:
    """Raises `XrayError` when the file has no pclntab: it is not a Go executable, or it is packed."""

    def __init__(self, image: Image) -> None:
        self.image = image
        tab = find_pclntab(image)
        if tab is None:
            raise XrayError(why_not_go(image))
        self.tab = tab
        self._data: dict[str, tuple[int, int]] | None = None

    @property
    def stripped(self) -> bool:
        return self.image.symbol_source is None or not self.data

    @property
    def data(self) -> dict[str, tuple[int, int]]:
        if self._data is None:
            source = self.image.symbol_source
            self._data = source() if source is not None else {}
        return self._data

    def bodies(self, name: str) -> list[Func]:
        return self.tab.find_all(name)

    def func(self, name: str) -> Func | None:
        found = self.tab.find_all(name)
        return max(found, key=lambda f: f.end - f.entry) if found else None

    def at(self, pc: int) -> Func | None:
        return self.tab.at(pc)

    def describe(self, pc: int) -> str:
        """`runtime.schedinit+0x40`, or the plain address where there is no function."""
        func = self.tab.at(pc)
        if func is None:
            return f"{pc:#x}"
        return func.name if pc == func.entry else f"{func.name}+{pc - func.entry:#x}"

    def where(self, pc: int) -> str:
        """Source position as `runtime/proc.go:844`, without the directory in which the builder had Go installed."""
        file, line = self.tab.line(pc)
        if not file:
            return ""
        for mark in ("/src/runtime/", "/src/internal/", "/src/"):
            i = file.rfind(mark)
            if i >= 0:
                return f"{file[i + 5 :]}:{line}"
        return f"{file.rsplit('/', 1)[-1]}:{line}"

    def address(self, name: str) -> int | None:
        """Address of a data symbol, None in a stripped file."""
        got = self.data.get(name)
        return got[0] if got else None
