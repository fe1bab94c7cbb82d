"""Reads g0, m0, the Ps and the scheduler's state out of the emulated memory, as flat names: `g0.stack.lo`,
`allp[0].status`.

Flat, so that two snapshots are compared by one pass over a dictionary, and `changed` names exactly what a station
did. Names and meanings are those of runtime/runtime2.go. A structure whose layout or address is not known is absent.

Invariant: reading changes nothing in the program, and never raises for what the program made of its memory.
"""

from __future__ import annotations

import struct

from gort.xray.emulate.machine import Machine
from gort.xray.layout.globals import Globals
from gort.xray.layout.layout import Layouts, g_status, p_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

Snapshot = dict[str, int]
_MAX_PS = 64
_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
_SIGNED = {
    "runtime.m.id",
    "runtime.m.mallocing",
    "runtime.m.locks",
    "runtime.p.id",
    "runtime.schedt.maxmcount",
    "runtime.schedt.nmidle",
    "runtime.schedt.nmsys",
    "runtime.schedt.npidle",
    "runtime.schedt.nmspinning",
}


class _Struct:
    """One structure's fields, grouped into few reads."""

    def __init__(self, name: str, fields: dict[str, tuple[int, int]]) -> None:
        self.plan: list[tuple[int, struct.Struct, list[str]]] = []
        """(offset, what is read there, the fields' names)"""
        self._keys: dict[str, list[tuple[int, struct.Struct, list[str]]]] = {}
        items = sorted((off, size, f) for f, (off, size) in fields.items() if size in _CODES)
        group: list[str] = []
        form = ""
        start = end = -1
        for off, size, field in items:
            code = _CODES[size]
            if f"{name}.{field}" in _SIGNED:
                code = code.lower()
            if group and (off - end > 512 or off < end):
                self.plan.append((start, struct.Struct("<" + form), group))
                group, form = [], ""
            if not group:
                start = end = off
            form += f"{off - end}x{code}"
            group.append(field)
            end = off + size
        if group:
            self.plan.append((start, struct.Struct("<" + form), group))
        tls = fields.get("tls")
        self.tls = tls[0] if tls is not None and tls[1] >= 8 else None

    def read(self, machine: Machine, address: int, prefix: str, out: Snapshot) -> bool:
        plan = self._keys.get(prefix)
        if plan is None:
            plan = self._keys[prefix] = [(at, form, [prefix + f for f in names]) for at, form, names in self.plan]
        for start, form, names in plan:
            raw = machine.memory.read(address + start, form.size)
            if raw is None:
                return False
            out.update(zip(names, form.unpack(raw), strict=True))
        return True


class StateReader:
    def __init__(self, machine: Machine, found: Globals, layouts: Layouts) -> None:
        self.m = machine
        self.globals = found
        self.structs = {n.removeprefix("runtime."): _Struct(n, f) for n, f in layouts.structs.items()}
        self.m_offset = layouts.offset("runtime.g", "m")
        self.curg_offset = layouts.offset("runtime.m", "curg")
        self._g0_offset = layouts.offset("runtime.m", "g0")
        self._id_offset = layouts.offset("runtime.p", "id")
        self._at = -1
        self._last: Snapshot = {}
        self.allp: int | None = None
        self._tls = 0
        self.on_m0: Callable[[], bool] = lambda: True
        """Whether the thread that runs is the one of m0."""

    def current_g(self) -> int:
        """The g that the running thread works for: in thread-local storage on amd64, in R28 on arm64; 0 before there
        is one.
        """
        if self.m.arch.name == "arm64":
            return self.m.reg("x28")
        base = self.m.reg("fs_base")
        return (self.m.u64(base - 8) or 0) if base else 0

    def forget(self) -> None:
        """The next snapshot is read anew, though no block was entered since the last one."""
        self._at = -1

    def snapshot(self) -> Snapshot:
        if self._at == self.m.instructions:
            return self._last
        out: Snapshot = {}
        g = self.globals
        if g.g0 and "g" in self.structs:
            self.structs["g"].read(self.m, g.g0, "g0.", out)
        if g.m0 and "m" in self.structs:
            s = self.structs["m"]
            s.read(self.m, g.m0, "m0.", out)
            if s.tls is not None:
                out["m0.tls[0]"] = self.m.u64(g.m0 + s.tls) or 0
        if g.sched and "schedt" in self.structs:
            self.structs["schedt"].read(self.m, g.sched, "sched.", out)
        for name, address in (("gomaxprocs", g.gomaxprocs), ("ncpu", g.ncpu)):
            if address:
                raw = self.m.memory.read(address, 4)
                if raw is not None:
                    out[name] = struct.unpack("<i", raw)[0]
        self._ps(out)
        if self.on_m0():
            self._tls = self.m.reg(self.m.arch.tls)
        out["tls base"] = self._tls
        self._at, self._last = self.m.instructions, out
        return out

    def _slice(self, address: int) -> list[int]:
        raw = self.m.memory.read(address, 24)
        if raw is None:
            return []
        ptr, n, cap = struct.unpack("<QQQ", raw)
        if not ptr or not 0 < n <= cap <= 1 << 16:
            return []
        words = self.m.memory.read(ptr, 8 * min(n, _MAX_PS))
        return list(struct.unpack(f"<{len(words) // 8}Q", words)) if words else []

    def _ps(self, out: Snapshot) -> None:
        layout = self.structs.get("p")
        if layout is None or self._id_offset is None:
            return
        for candidate in [self.allp] if self.allp is not None else self.globals.allp:
            pointers = self._slice(candidate)
            if not pointers:
                continue
            if self.allp is None:
                # a stripped file has several candidates: allp is the one whose elements say their own index
                if len(self.globals.allp) > 1 and not all(
                    p
                    and (raw := self.m.memory.read(p + self._id_offset, 4)) is not None
                    and struct.unpack("<i", raw)[0] == i
                    for i, p in enumerate(pointers)
                ):
                    continue
                self.allp = candidate
            raw = self.m.memory.read(candidate + 8, 8)
            out["len(allp)"] = struct.unpack("<Q", raw)[0] if raw else len(pointers)
            for i, p in enumerate(pointers):
                out[f"allp[{i}]"] = p
                if p and i < 16:
                    layout.read(self.m, p, f"allp[{i}].", out)
            return

    def tls_address(self) -> int | None:
        m = self.structs.get("m")
        return self.globals.m0 + m.tls if m is not None and m.tls is not None and self.globals.m0 else None

    def nested(self, snap: Snapshot | None = None) -> dict[str, Any]:
        """The snapshot as the structures it is made of, for JSON: state["g0"]["stack"]["lo"]."""
        snap = self.snapshot() if snap is None else snap
        out: dict[str, Any] = {"g0": {}, "m0": {}, "sched": {}, "allp": []}
        for name, address in (("g0", self.globals.g0), ("m0", self.globals.m0), ("sched", self.globals.sched)):
            out[name]["address"] = address
        for key, value in snap.items():
            if key.startswith("allp["):
                index, _, field = key[5:].partition("]")
                while len(out["allp"]) <= int(index):
                    out["allp"].append({})
                p = out["allp"][int(index)]
                if not field:
                    p["address"] = value
                else:
                    p[field[1:]] = value
                    if field == ".status":
                        p["status_name"] = p_status(value)
                continue
            if key == "len(allp)":
                out["len_allp"] = value
                continue
            if key == "tls base":
                out["tls_base"] = value
                continue
            head, _, field = key.partition(".")
            if not field:
                out[head] = value
                continue
            node = out[head]
            *path, last = field.split(".")
            for part in path:
                node = node.setdefault(part, {})
            if last == "tls[0]":
                out["m0"]["tls"] = {"address": self.tls_address(), "0": value}
            else:
                node[last] = value
        status = snap.get("g0.atomicstatus")
        if status is not None:
            out["g0"]["status_name"] = g_status(status)
        return out
