"""The report as plain data, for `gort xray --json` and the HTML page.

Addresses are numbers, like all other numbers. A station's `changed` maps flat names to [before, after].
"""

from __future__ import annotations

from gort.xray.ask.watch import Watched
from gort.xray.boot.calltree import Node, call_tree
from gort.xray.boot.follow import Boot, Report, Static
from gort.xray.boot.stations import Station
from gort.xray.emulate.disasm import Disassembler
from gort.xray.errors import XrayError
from gort.xray.show.listing import inits_data

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def static_data(static: Static, calls: bool = True) -> dict[str, Any]:
    """Returns the static facts; with `calls` also the tree of calls, None where it cannot be made."""
    image, build, tab = static.image, static.build, static.symbols.tab
    names = {s.name for s in image.sections}
    out: dict[str, Any] = {
        "file": image.path,
        "size": image.file_size or image.size,
        "format": image.format,
        "arch": image.arch,
        "os": image.os,
        "go_version": build.version if build else None,
        "go_version_source": (build.source or "build information") if build else None,
        "path": build.path if build else None,
        "module": build.module if build else None,
        "dependencies": list(build.dependencies) if build else [],
        "settings": dict(build.settings) if build else {},
        "entry": image.entry - image.bias if image.entry else None,
        "library": image.library,
        "other_processors": image.others,
        "entry_name": static.entry_name,
        "pie": image.pie,
        "bias": image.bias,
        "interpreter": image.interpreter or None,
        "libraries": image.libraries,
        "imports": [i.name for i in image.imports],
        "stripped": static.symbols.stripped,
        "dwarf": any(n.lstrip("._").startswith(("debug_info", "zdebug_info")) for n in names),
        "sections": [
            {
                "name": s.name,
                "start": s.address - (image.bias if "A" in s.flags else 0),
                "end": s.address + s.size - (image.bias if "A" in s.flags else 0),
                "flags": s.flags,
            }
            for s in image.sections
        ],
        "segments": [
            {"start": s.address - image.bias, "end": s.end - image.bias, "perms": s.perms, "file_size": s.file_size}
            for s in image.segments
        ],
        "pclntab": {
            "address": tab.address - image.bias,
            "functions": tab.nfuncs,
            "files": tab.nfiles,
            "text": tab.module.text - image.bias,
            "etext": tab.module.etext - image.bias,
        },
    }
    if calls:
        try:
            tree = call_tree(static.symbols, Disassembler(static.symbols))
        except XrayError:
            tree = None  # the code lies outside of the segments, or capstone is missing
        out["calls"] = _node_data(tree) if tree is not None else None
    return out


def _node_data(node: Node) -> dict[str, Any]:
    out: dict[str, Any] = {"name": node.name, "address": node.address, "where": node.where}
    if node.inlined:
        out["inlined"] = True
    if node.times > 1:
        out["times"] = node.times
    if node.children:
        out["children"] = [_node_data(c) for c in node.children]
    return out


def _station_data(s: Station, stations: list[Station]) -> dict[str, Any]:
    return {
        "index": s.index,
        "name": s.name,
        "address": s.address,
        "where": s.where,
        "instructions": s.instructions,
        "parent": stations[s.parent].name if s.parent is not None else None,
        "parent_index": s.parent,
        "thread": s.thread,
        "start": s.start,
        "end": s.end,
        "times": s.times,
        "returned": s.returned,
        "registers": s.registers,
        "changed": {k: list(v) for k, v in s.changed.items()},
        "repeats": [
            {"call": v.number, "thread": v.thread, "changed": {k: list(c) for k, c in v.changed.items()}}
            for v in s.repeats
        ],
        "changed_before_calls": {k: list(v) for k, v in s.early.items()},
        "syscalls": [{"name": n, "args": list(a), "result": r} for n, a, r in s.syscalls],
        "syscall_count": s.syscall_count,
        "inlined": s.inlined,
        "note": s.note,
        "arguments": s.arguments,
        "story": s.story,
    }


def _watched_data(w: Watched) -> dict[str, Any]:
    return {
        "expression": w.text,
        "type": w.type,
        "address": w.address,
        "size": w.size,
        "changes": w.changes,
        "unchanged_writes": w.unchanged,
        "writes": [
            {
                "instructions": x.instructions,
                "thread": x.thread,
                "goroutine": x.goroutine,
                "pc": x.pc,
                "callers": x.callers,
                "old": x.old,
                "new": x.new,
            }
            for x in w.writes
        ],
    }


def boot_data(boot: Boot) -> dict[str, Any]:
    """Returns the boot, its end and what it took."""
    return {
        "stations": [_station_data(s, boot.stations) for s in boot.stations],
        "state": boot.state,
        "end": {"how": boot.how, "status": boot.status, "detail": boot.detail},
        "output": boot.output.decode("utf-8", "replace"),
        "instructions": boot.instructions,
        "threads": boot.threads,
        "syscalls": boot.syscalls,
        "unknown_syscalls": boot.unknown_syscalls,
        "idle_ns": boot.skipped_ns,
        "memory": boot.memory,
        "libraries_read": [{"path": path, "size": size} for path, size in boot.libraries],
        "printed": [
            {"expression": p.text, "type": p.type, "address": p.address, "value": p.value} for p in boot.printed
        ],
        "inits": inits_data(boot),
        "watched": [_watched_data(w) for w in boot.watched],
        "layouts": boot.layouts.source,
        "globals": boot.globals.source,
    }


def to_data(report: Report) -> dict[str, Any]:
    """Returns the whole report. `stations` and `state` are always there, and empty when nothing was emulated."""
    out: dict[str, Any] = {"static": static_data(report.static)}
    if report.boot is not None:
        out.update(boot_data(report.boot))
    else:
        out.update({"stations": [], "state": {}, "end": {"how": "static", "status": 0, "detail": report.why_no_boot}})
    return out
