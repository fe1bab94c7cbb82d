"""Reads g0, m0, the Ps and the scheduler's state out of the emulated memory.

Each field gets a flat name, as `g0.stack.lo` or `allp[0].status`. So two snapshots are compared by one pass over a
dictionary, and a difference names exactly what a station changed. Names and meanings are those of runtime/runtime2.go.
A structure is absent when its layout or its address is not known.

Invariant: reading changes nothing in the program, and raises nothing, whatever the program did to its memory.
"""

from __future__ import annotations

import struct

from gort.xray.emulate.machine import Machine
from gort.xray.emulate.process import Process
from gort.xray.file.dwarf import Layout
from gort.xray.layout.globals import Globals
from gort.xray.layout.layout import Layouts, g_status, p_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Snapshot = dict[str, int]
"""Flat name -> value."""

_MAX_PS = 64
_MAX_PS_IN_DETAIL = 16
_MAX_MS = 32
_MAX_SLICE = 1 << 16
_MAX_GAP = 512
"""Bytes between two fields that are still read together."""
_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
"""Size -> struct's code for an unsigned number."""
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
    """The fields of one structure, read in few pieces."""

    def __init__(self, name: str, fields: Layout) -> None:
        self._plan: list[tuple[int, struct.Struct, list[str]]] = []
        """(offset, what is read there, the fields' names)"""
        self._keys: dict[str, list[tuple[int, struct.Struct, list[str]]]] = {}
        """Prefix -> the plan with the prefix before the names."""
        items = sorted((off, size, f) for f, (off, size) in fields.items() if size in _CODES)
        group: list[str] = []
        form = ""
        start = end = -1
        for off, size, field in items:
            code = _CODES[size]
            if f"{name}.{field}" in _SIGNED:
                code = code.lower()
            if group and (off - end > _MAX_GAP or off < end):
                self._plan.append((start, struct.Struct("<" + form), group))
                group, form = [], ""
            if not group:
                start = end = off
            form += f"{off - end}x{code}"
            group.append(field)
            end = off + size
        if group:
            self._plan.append((start, struct.Struct("<" + form), group))
        tls = fields.get("tls")
        self.tls: int | None = tls[0] if tls is not None and tls[1] >= 4 else None
        """m: where the slots of thread-local storage begin."""

    def read(self, machine: Machine, address: int, prefix: str, out: Snapshot) -> None:
        """Put the fields of the structure at `address` into `out`, as far as they are mapped."""
        plan = self._keys.get(prefix)
        if plan is None:
            plan = self._keys[prefix] = [(at, form, [prefix + f for f in names]) for at, form, names in self._plan]
        for start, form, names in plan:
            raw = machine.memory.read(address + start, form.size)
            if raw is None:
                return
            out.update(zip(names, form.unpack(raw), strict=True))


class StateReader:
    """Reads the state of one process."""

    def __init__(self, process: Process, found: Globals, layouts: Layouts) -> None:
        self._process = process
        self._m = process.machine
        self._globals = found
        self._word = process.machine.arch.word
        self._structs = {n.removeprefix("runtime."): _Struct(n, f) for n, f in layouts.structs.items()}
        self._m_of_g = layouts.offset("runtime.g", "m")
        self._curg_of_m = layouts.offset("runtime.m", "curg")
        self._stack_of_g = layouts.offset("runtime.g", "stack.lo")
        self._of_g = tuple(layouts.offset("runtime.g", f) for f in ("goid", "sched.pc", "atomicstatus"))
        self._id_of_p = layouts.offset("runtime.p", "id")
        self.every_m: bool = False
        """Set where all Ms are read, as allm[number]; without it only m0 is."""
        self._fields_of_m = tuple(layouts.offset("runtime.m", f) for f in ("id", "procid", "p", "curg", "alllink"))
        self._seen_ms: list[int] = []
        """Where allm has no name, the Ms that a P belonged to, and those behind them in the list: they stay when they
        have no P."""
        self._allp: int | None = None
        """The candidate that turned out to be allp."""
        self._tls = 0
        """The base of thread-local storage of the first thread, which is m0's, when it last ran."""
        self._at = -1
        """Instructions that had been executed at the last snapshot; it holds until that number changes."""
        self._last: Snapshot = {}

    @property
    def allp(self) -> int | None:
        """The address of runtime.allp: known from the start where there is one candidate, else once there are Ps."""
        return self._allp or (self._globals.allp[0] if len(self._globals.allp) == 1 else None)

    def current_g(self) -> int:
        """Returns the g that the running thread works for; 0 before there is one.

        It is in R28 on arm64, and in thread-local storage on amd64.
        """
        m = self._m
        if m.arch.g:
            return m.reg(m.arch.g)
        base = m.tls()
        return (m.pointer(base - m.arch.word) or 0) if base else 0

    def goroutine(self, g: int) -> int:
        """Returns the goroutine for which this g's M works: itself, or m.curg when it is a g0; 0 for none."""
        if not g or self._m_of_g is None or self._curg_of_m is None:
            return 0
        m = self._m.pointer(g + self._m_of_g)
        return (self._m.pointer(m + self._curg_of_m) or 0) if m else 0

    def forget(self) -> None:
        """Have the next snapshot read anew, though no block was entered since the last one."""
        self._at = -1

    def snapshot(self) -> Snapshot:
        """Returns the state. The dictionary is not changed afterwards."""
        m, g = self._m, self._globals
        if self._at == m.instructions:
            return self._last
        out: Snapshot = {}
        if g.g0 and "g" in self._structs:
            self._structs["g"].read(m, g.g0, "g0.", out)
        if g.m0 and "m" in self._structs:
            s = self._structs["m"]
            s.read(m, g.m0, "m0.", out)
            if s.tls is not None:
                out["m0.tls[0]"] = m.pointer(g.m0 + s.tls) or 0
        if g.sched and "schedt" in self._structs:
            self._structs["schedt"].read(m, g.sched, "sched.", out)
        for name, address in (("gomaxprocs", g.gomaxprocs), ("ncpu", g.ncpu)):
            if address:
                raw = m.read(address, 4)
                if raw is not None:
                    out[name] = struct.unpack("<i", raw)[0]
        for name, (address, size) in g.processor.items():
            raw = m.read(address, size)
            if raw is not None:
                out[name] = int.from_bytes(raw, "little")
        for name, (address, size) in g.words.items():
            raw = m.read(address, size)
            if raw is not None:
                out[name] = int.from_bytes(raw, "little")
        self._more(out)
        self._ps(out)
        if self.every_m:
            self._ms(out)
        if self._process.current is self._process.threads[0]:
            self._tls = m.tls()
        out["tls base"] = self._tls
        self._at, self._last = m.instructions, out
        return out

    def _more(self, out: Snapshot) -> None:
        """The stack of m0's gsignal, and the order in which Ms steal work."""
        m, gsignal = self._m, out.get("m0.gsignal")
        if gsignal and self._stack_of_g is not None:
            raw = m.read(gsignal + self._stack_of_g, 2 * self._word)
            if raw is not None:
                out["gsignal.stack.lo"], out["gsignal.stack.hi"] = struct.unpack(f"<2{_CODES[self._word]}", raw)
        if self._globals.steal_order is not None:
            count = m.read(self._globals.steal_order, 4)
            if count is not None:
                out["stealOrder.count"] = struct.unpack("<I", count)[0]
            at = self._globals.steal_order + self._word
            coprimes = self._slice(at)
            raw = m.read(m.pointer(at) or 0, 4 * len(coprimes)) if coprimes else None
            for i, value in enumerate(struct.unpack(f"<{len(coprimes)}I", raw) if raw else ()):
                out[f"stealOrder.coprimes[{i}]"] = value

    def _ms(self, out: Snapshot) -> None:
        """Every M of the list allm. A stripped file does not name it: there, each M that a P belongs or belonged to, and
        all that are older, since an M links to the one that was made before it.
        """
        number_at, thread_at, p_at, curg_at, link_at = self._fields_of_m
        if None in self._fields_of_m or number_at is None:
            return
        m, goid = self._m, self._of_g[0]
        todo = [
            *self._seen_ms,
            out.get("allm", 0),
            *(v for k, v in out.items() if k.startswith("allp[") and k.endswith("].m")),
        ]
        seen: set[int] = set()
        while todo and len(seen) < _MAX_MS:
            at = todo.pop()
            raw = m.read(at + number_at, 8) if at and at not in seen else None
            if raw is None:
                continue
            seen.add(at)
            if "allm" not in out and at not in self._seen_ms:
                self._seen_ms.append(at)
            todo.append(m.pointer(at + (link_at or 0)) or 0)
            name = f"allm[{int.from_bytes(raw, 'little')}]"
            out[name] = at
            out[name + ".procid"] = m.u64(at + (thread_at or 0)) or 0
            out[name + ".p"] = m.pointer(at + (p_at or 0)) or 0
            curg = out[name + ".curg"] = m.pointer(at + (curg_at or 0)) or 0
            out[name + ".goid"] = (m.u64(curg + goid) or 0) if curg and goid is not None else 0

    def made(self, g: int) -> tuple[int, int, str] | None:
        """Returns a goroutine's number, the address at which it will begin, and its status; None where it has none."""
        goid, pc, status = self._of_g
        if goid is None or pc is None or status is None:
            return None
        number, start, raw = self._m.u64(g + goid), self._m.pointer(g + pc), self._m.read(g + status, 4)
        if number is None or start is None or raw is None:
            return None
        return number, start, g_status(int.from_bytes(raw, "little"))

    def _slice(self, address: int) -> list[int]:
        """Returns the pointers in a slice, at most `_MAX_PS`; none when it is not one."""
        word, code = self._word, _CODES[self._word]
        raw = self._m.read(address, 3 * word)
        if raw is None:
            return []
        ptr, n, cap = struct.unpack(f"<3{code}", raw)
        if not ptr or not 0 < n <= cap <= _MAX_SLICE:
            return []
        words = self._m.read(ptr, word * min(n, _MAX_PS))
        return list(struct.unpack(f"<{len(words) // word}{code}", words)) if words else []

    def _are_ps(self, pointers: list[int]) -> bool:
        """True when each element says its own index, as a P does."""
        for i, p in enumerate(pointers):
            raw = self._m.read(p + self._id_of_p, 4) if p and self._id_of_p is not None else None
            if raw is None or struct.unpack("<i", raw)[0] != i:
                return False
        return True

    def _ps(self, out: Snapshot) -> None:
        layout = self._structs.get("p")
        if layout is None or self._id_of_p is None:
            return
        for candidate in [self._allp] if self._allp is not None else self._globals.allp:
            pointers = self._slice(candidate)
            if not pointers:
                continue
            if self._allp is None:
                if len(self._globals.allp) > 1 and not self._are_ps(pointers):
                    continue
                self._allp = candidate
            count = self._m.pointer(candidate + self._word)
            out["len(allp)"] = len(pointers) if count is None else count
            for i, p in enumerate(pointers):
                out[f"allp[{i}]"] = p
                if p and i < _MAX_PS_IN_DETAIL:
                    layout.read(self._m, p, f"allp[{i}].", out)
            return

    def _tls_address(self) -> int | None:
        m = self._structs.get("m")
        return self._globals.m0 + m.tls if m is not None and m.tls is not None and self._globals.m0 else None

    def nested(self, snap: Snapshot) -> dict[str, Any]:
        """Returns the snapshot as the structures that it is made of, for JSON: state["g0"]["stack"]["lo"]."""
        g = self._globals
        out: dict[str, Any] = {"g0": {}, "m0": {}, "sched": {}, "allp": []}
        for name, address in (("g0", g.g0), ("m0", g.m0), ("sched", g.sched)):
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
            if key.startswith("allm["):
                continue  # the page reads the snapshots themselves
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
            node = out.setdefault(head, {})
            *path, last = field.split(".")
            for part in path:
                node = node.setdefault(part, {})
            if last == "tls[0]":
                out["m0"]["tls"] = {"address": self._tls_address(), "0": value}
            else:
                node[last] = value
        status = snap.get("g0.atomicstatus")
        if status is not None:
            out["g0"]["status_name"] = g_status(status)
        return out
