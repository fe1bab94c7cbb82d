"""The functions of the boot that are watched, and the call sites of theirs: found in the file, before the run.

Every call that an `EXPANDED` function makes is a station. It is recognized where it arrives: the callee's first block is
entered, and the return address belongs to a call site of an expanded function.
"""

from __future__ import annotations

from gort.xray.emulate.disasm import Disassembler
from gort.xray.file.pclntab import Func
from gort.xray.file.symbols import Symbols

EXPANDED = (
    "_rt0_amd64",
    "_rt0_arm64",
    "runtime.rt0_go",
    "runtime.schedinit",
    "runtime.mcommoninit",
    "runtime.procresize",
    "runtime.newproc",
    "runtime.newproc1",
    "runtime.newproc.func1",
    "runtime.mstart",
    "runtime.mstart0",
    "runtime.mstart1",
    "runtime.schedule",
    "runtime.execute",
    "runtime.main",
    "runtime.main.func1",
    "runtime.newm",
    "runtime.newm1",
    "runtime.newosproc",
    "runtime.gcenable",
    "runtime.mstartm0",
)
"""Functions whose every call is a station. The program's own functions (`main.`) are expanded as well."""

_ENTERED = (
    "runtime.rt0_go",
    "runtime.main",
    "runtime.sysmon",
    "runtime.mstart",
    "runtime.exit",
    "runtime.procresize",
    "main.main",
    "runtime.bgsweep",
    "runtime.bgscavenge",
    "runtime.forcegchelper",
)
"""Stations whoever calls them. Mostly nobody does: goroutines and threads begin in them, or a jump leads to them.
procresize makes and takes away Ps wherever GOMAXPROCS changes."""

_SKIPPED = (
    "runtime.morestack",
    "runtime.panic",
    "runtime.goPanic",
    "runtime.gcWriteBarrier",
    "runtime.duff",
    "runtime.throw",
    "runtime.deferreturn",
    "runtime.racecall",
)
"""Prefixes of callees that are no stations."""

C_START = "_start"
"""The name of the first instruction where it belongs to no function of Go."""

_MAX_MAINS = 200


class WatchList:
    """The functions that are watched in one file."""

    def __init__(self, symbols: Symbols, disasm: Disassembler) -> None:
        self.names: dict[int, str] = {}
        """First address of a watched function -> its name."""
        self.returns: dict[int, str] = {}
        """Return address of a call site -> the function that calls there."""
        self.always: set[int] = set()
        """First addresses of functions that are stations wherever they were called."""
        self._symbols = symbols
        self._disasm = disasm
        entry = symbols.at(symbols.image.entry)
        if entry is not None:
            self._watch(entry, always=True)
        else:  # a program that the system's linker made begins in C
            self.names[symbols.image.entry] = C_START
            self.always.add(symbols.image.entry)
        for func in symbols.tab.names("main.")[:_MAX_MAINS]:
            self._expand(func)
        for name in (*((entry.name,) if entry is not None else ()), *EXPANDED):
            for func in symbols.bodies(name):
                self._expand(func)
        for name in _ENTERED:
            for func in symbols.bodies(name):
                self._watch(func, always=True)

    def _watch(self, func: Func, always: bool) -> None:
        self.names[func.entry] = func.name
        if always:
            self.always.add(func.entry)

    def _expand(self, func: Func) -> None:
        for call in self._disasm.calls(func):
            if call.target is None:
                continue
            callee = self._symbols.at(call.target)
            if callee is None or callee.entry != call.target or callee.name.startswith(_SKIPPED):
                continue
            self.returns[call.back] = func.name
            # A jump of _rt0 leaves no return address by which the call could be recognized.
            self._watch(callee, always=call.tail and func.name.startswith("_rt0"))
