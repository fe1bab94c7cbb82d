"""Two boots side by side: a real Go program's stations and the steps of gort's own boot.

It works on data alone: a `Boot`, and the record that `gort boot --json` printed. Steps are matched by name. Go changed
names between releases, and does some steps without a function of their own; `_SAME` says what stands for a step then:
another function, a call that the compiler inlined, or a field of the runtime's structures that schedinit sets.

Invariant: every step of gort, and every station directly below rt0_go and schedinit, is in exactly one row.
"""

from __future__ import annotations

from gort.xray.boot.follow import Boot
from gort.xray.boot.stations import Station
from gort.xray.errors import XrayError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FIELD = "field "
"""Precedes the name of a field in `_SAME`."""
_SAME: dict[str, tuple[str, ...]] = {
    "_rt0": (
        "_rt0_amd64_linux",
        "_rt0_arm64_linux",
        "_rt0_amd64",
        "_rt0_arm64",
        "_rt0_riscv64_linux",
        "_rt0_386_linux",
    ),
    "settls": ("runtime.settls", "ldt0setup", "runtime.save_g", "tls check"),
    "bind": ("bind g0 and m0",),
    "rt0_go": ("runtime.rt0_go", "g0 stack", "cpuid"),
    "maxmcount": ("field sched.maxmcount",),
    "moduledataverify": ("runtime.moduledataverify", "runtime.moduledataverify1"),
    "fastrandinit": ("runtime.fastrandinit", "runtime.randinit"),
    "cpuinit": ("runtime.cpuinit", "internal/cpu.Initialize"),
    "alginit": ("runtime.alginit", "internal/runtime/maps.AlgInit"),
    "msigsave": ("runtime.sigsave", "runtime.msigsave", "runtime.rtsigprocmask"),
    "goenvs": ("runtime.goenvs", "runtime.goenvs_unix"),
    "parsedebugvars": (
        "runtime.parsedebugvars",
        "runtime.parseRuntimeDebugVars",
        "runtime.getGodebugEarly",
        "runtime.finishDebugVarsSetup",
    ),
    "lastpoll": ("field sched.lastpoll",),
    "procs": ("field gomaxprocs",),
}
"""Step of gort -> the stations, inlined calls and fields that stand for it."""
_WITHOUT = {
    "_cgo_init": "only in a program that is linked to libc",
    "lockInit": "compiled away: ranks exist only in builds with lock ranking",
    "raceinit": "compiled away: only with -race",
    "tracebackinit": "gone since Go 1.18",
    "writeBarrier": "a variable that only the collector sets",
    "buildVersion": "set by the linker",
    "modinfo": "set by the linker",
}
"""Step of gort -> why Go calls no function for it."""
_JUST_BEHIND = 0.001
"""Rows are sorted by the index of Go's station; a step without one comes right behind the step before it."""


def _rows_of_go(boot: Boot) -> list[Station]:
    """Returns the stations that a reader compares: those of rt0_go and schedinit on the first thread, in order."""
    first = boot.stations[0].thread if boot.stations else 0
    out = []
    for s in boot.stations:
        parent = boot.stations[s.parent] if s.parent is not None else None
        if s.thread == first and (
            s.name.startswith("_rt0")
            or s.name == "runtime.rt0_go"
            or (parent is not None and parent.name in ("runtime.rt0_go", "runtime.schedinit"))
        ):
            out.append(s)
    return out


def compare(boot: Boot, record: dict[str, Any]) -> dict[str, Any]:
    """Returns rows in the order of Go's boot, and what is in one boot only.

    Raises `XrayError` when the record is not one of gort's.
    """
    steps = record.get("steps")
    if not isinstance(steps, list) or not all(isinstance(s, dict) and isinstance(s.get("name"), str) for s in steps):
        raise XrayError("--vs-gort: the boot record of gort has no list of steps")
    stations = _rows_of_go(boot)
    schedinit = next((s for s in boot.stations if s.name == "runtime.schedinit"), None)
    used: set[int] = set()
    rows: list[tuple[float, dict[str, Any]]] = []
    last = -1.0
    for step in steps:
        name = step["name"]
        wanted = _SAME.get(name, ("runtime." + name, name))
        found = [s for s in stations if s.name in wanted and s.index not in used]
        if found:
            used.update(s.index for s in found)
            last = found[0].index
            go: dict[str, Any] | None = _called(found)
        else:
            go = _uncalled(schedinit, wanted)
        last += _JUST_BEHIND
        gort = {k: step.get(k) for k in ("name", "parent", "status", "ns", "detail")}
        why = "" if go else _WITHOUT.get(name, "no function of that name was called")
        rows.append((last, {"gort": gort, "go": go, "why": why}))
    for s in stations:
        if s.index not in used:
            rows.append((float(s.index), {"gort": None, "go": _called([s]), "why": s.story}))
    rows.sort(key=lambda r: r[0])
    table = [r for _, r in rows]
    return {
        "rows": table,
        "matched": sum(1 for r in table if r["gort"] and r["go"]),
        "only_go": [r["go"]["names"][0] for r in table if not r["gort"]],
        "only_gort": [r["gort"]["name"] for r in table if not r["go"]],
        "state": _state(boot, record.get("state") or {}),
    }


def _called(found: list[Station]) -> dict[str, Any]:
    """Returns the side of Go in a row where it called functions."""
    return {"names": [s.name for s in found], "how": "station", "instructions": _sum(found)}


def _uncalled(schedinit: Station | None, wanted: tuple[str, ...]) -> dict[str, Any] | None:
    """Returns the side of Go in a row where schedinit did the step itself; None when it did not."""
    if schedinit is None:
        return None
    inlined = [n for n in wanted if n in schedinit.inlined]
    if inlined:
        return {"names": inlined, "how": "inlined", "instructions": None}
    names = [n.removeprefix(_FIELD) for n in wanted if n.startswith(_FIELD)]
    fields = [n for n in names if n in schedinit.changed]
    if fields:
        return {"names": fields, "how": "field", "instructions": None, "changed": list(schedinit.changed[fields[0]])}
    return None


def _sum(found: list[Station]) -> int:
    """Returns the instructions of these stations; those of one inside another are not counted twice."""
    inside = {s.index for s in found}
    return sum(s.instructions for s in found if s.parent not in inside)


def _state(boot: Boot, mine: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns what both boots ended with; `mine` is the state in gort's record."""
    g0 = boot.state.get("g0") or {}
    stack = g0.get("stack") or {}
    theirs: dict[str, Any] = {
        "ncpu": boot.state.get("ncpu"),
        "gomaxprocs": boot.state.get("gomaxprocs"),
        "maxmcount": (boot.state.get("sched") or {}).get("maxmcount"),
        "len(allp)": len(boot.state.get("allp") or []),
        "g0 stack, bytes": stack["hi"] - stack["lo"] if stack else None,
        "g0 guard above lo": g0["stackguard0"] - stack["lo"] if stack and "stackguard0" in g0 else None,
    }
    gstack = (mine.get("g0") or {}).get("stack") or {}
    ours: dict[str, Any] = {
        "ncpu": mine.get("ncpu"),
        "gomaxprocs": mine.get("gomaxprocs"),
        "maxmcount": mine.get("maxmcount"),
        "len(allp)": len(mine["allp"]) if isinstance(mine.get("allp"), list) else mine.get("allp"),
        "g0 stack, bytes": gstack["hi"] - gstack["lo"] if {"hi", "lo"} <= gstack.keys() else None,
        "g0 guard above lo": mine["g0"]["stackguard0"] - gstack["lo"]
        if "lo" in gstack and "stackguard0" in (mine.get("g0") or {})
        else None,
    }
    return [{"name": k, "go": theirs[k], "gort": ours[k]} for k in theirs]


def print_comparison(comparison: dict[str, Any]) -> None:
    """Print what `compare` returned, as two tables for a terminal."""
    from rich.table import Table

    from gort.xray.show.tables import escape, make_console

    console = make_console()
    table = Table("Go", "instructions", "gort", "time", "", title="the two boots", title_justify="left")
    for row in comparison["rows"]:
        table.add_row(*(escape(c) for c in _cells(row)), style="" if row["go"] and row["gort"] else "dim")
    console.print(table)
    state = Table("", "Go", "gort", title="what they ended with", title_justify="left")
    for row in comparison["state"]:
        values = (row[k] for k in ("go", "gort"))
        state.add_row(row["name"], *("–" if v is None else f"{v:,}" if isinstance(v, int) else str(v) for v in values))
    console.print(state)
    console.print(
        f"{comparison['matched']} steps in both, {len(comparison['only_go'])} in Go only, "
        f"{len(comparison['only_gort'])} in gort only",
        highlight=False,
    )


def _cells(row: dict[str, Any]) -> tuple[str, str, str, str, str]:
    """Returns Go's side, its instructions, gort's side, its time, and a note."""
    go, gort, note = row["go"], row["gort"], row["why"]
    left, count = "–", ""
    if go:
        left = ", ".join(go["names"]) + ("" if go["how"] == "station" else f" ({go['how']})")
        count = f"{go['instructions']:,}" if go["instructions"] is not None else ""
    if not gort:
        return left, count, "–", "", note
    took = str(gort["status"])
    if isinstance(gort["ns"], int) and gort["status"] != "skipped":
        took = f"{gort['ns'] / 1000:,.0f} µs"
    if gort["status"] == "skipped" and isinstance(gort["detail"], dict):
        note = "; ".join(filter(None, (note, f"gort: {gort['detail'].get('reason', '')}")))
    return left, count, gort["name"], took, note
