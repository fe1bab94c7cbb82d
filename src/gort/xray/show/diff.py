"""`--diff B`: two builds of a program side by side, or the same program built by two releases of Go.

What is compared: the build (version, settings, modules), the sizes of packages and of their functions, the stations of
the boot, and the packages' inits. Stations are matched by their names along the way from the entry point, so one that
moved elsewhere counts as gone and new. Only what differs is listed, the largest difference first.
"""

from __future__ import annotations

from gort.xray.boot.follow import Boot, Report, Static
from gort.xray.boot.stations import Station
from gort.xray.show.listing import packages_of
from gort.xray.show.paper import Paper, bold, dim, green, plain, yellow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAX_ROWS = 40
_MAX_FUNCTIONS = 5
"""Functions of a package whose size differs that are shown."""

Pair = tuple[int | None, int | None]
"""(in the first file, in the second); None where it is not there."""


def compare(first: Report, second: Report) -> dict[str, Any]:
    """Returns what differs between two reports; `stations` and `inits` only where both were emulated."""
    a, b = first.static, second.static
    out: dict[str, Any] = {
        "files": [a.image.path, b.image.path],
        "build": _pairs(_build(a), _build(b)),
        "size": [a.image.file_size or a.image.size, b.image.file_size or b.image.size],
        "functions": [a.symbols.tab.nfuncs, b.symbols.tab.nfuncs],
        "packages": _packages(a, b),
    }
    if first.boot is not None and second.boot is not None:
        out["instructions"] = [first.boot.instructions, second.boot.instructions]
        out["ended"] = [first.boot.detail, second.boot.detail]
        out["stations"] = _stations(first.boot, second.boot)
        out["inits"] = _numbers(_inits(first.boot), _inits(second.boot))
    return out


def _build(static: Static) -> dict[str, str]:
    build = static.build
    out = {"system": f"{static.image.os}/{static.image.arch}"}
    if build is not None:
        out["Go"] = build.version
        out.update({key: value for key, value in build.settings.items() if value})
        for module in build.dependencies:
            name, _, version = module.partition(" ")
            out["module " + name] = version
    return out


def _pairs(a: dict[str, str], b: dict[str, str]) -> list[dict[str, Any]]:
    return [{"name": k, "values": [a.get(k), b.get(k)]} for k in {**a, **b} if a.get(k) != b.get(k)]


def _numbers(a: dict[str, int], b: dict[str, int]) -> list[dict[str, Any]]:
    """Returns the numbers that differ, the largest difference first."""
    rows = [{"name": k, "values": [a.get(k), b.get(k)]} for k in {**a, **b} if a.get(k) != b.get(k)]
    return sorted(rows, key=lambda r: (-abs(_change(r["values"])), r["name"]))


def _change(values: list[int | None]) -> int:
    return (values[1] or 0) - (values[0] or 0)


def _packages(a: Static, b: Static) -> list[dict[str, Any]]:
    ours, theirs = packages_of(a), packages_of(b)
    rows = _numbers({n: p.code for n, p in ours.items()}, {n: p.code for n, p in theirs.items()})
    for row in rows:
        mine, other = ours.get(row["name"]), theirs.get(row["name"])
        row["functions"] = _numbers(mine.by_name if mine else {}, other.by_name if other else {})
    return rows


def _stations(a: Boot, b: Boot) -> list[dict[str, Any]]:
    return _numbers(_by_way(a.stations), _by_way(b.stations))


def _by_way(stations: list[Station]) -> dict[str, int]:
    """Returns instructions by the stations on the way to each, as `runtime.rt0_go > runtime.schedinit`."""
    ways: list[str] = []
    out: dict[str, int] = {}
    for s in stations:
        way = s.name if s.parent is None else f"{ways[s.parent]} > {s.name}"
        ways.append(way)
        out[way] = out.get(way, 0) + s.instructions
    return out


def _inits(boot: Boot) -> dict[str, int]:
    return {init.package: init.instructions for init in boot.inits}


def print_diff(found: dict[str, Any], console: Paper) -> None:
    """Print what differs."""
    first, second = found["files"]
    console.print(f"{bold('A')}  {plain(first)}", wrap=False)
    console.print(f"{bold('B')}  {plain(second)}", wrap=False)
    for key in ("size", "functions", "instructions"):
        if key in found:
            a, b = found[key]
            console.print(f"{key}: {a:,} → {b:,} ({b - a:+,})")
    for row in found["build"]:
        a, b = row["values"]
        console.print(f"{plain(row['name'])}: {plain(a or '–')} → {plain(b or '–')}")
    _table("packages, bytes of code", found["packages"], console)
    if "stations" in found:
        _table("stations, instructions", found["stations"], console, way=True)
        _table("inits, instructions", found["inits"], console)


def _table(title: str, rows: list[dict[str, Any]], console: Paper, way: bool = False) -> None:
    if not rows:
        console.print(f"{bold(title)}: no difference")
        return
    console.print()
    console.print(bold(f"{'A':>12} {'B':>12} {'change':>12}  {title}"))
    for row in rows[:_MAX_ROWS]:
        a, b = row["values"]
        change = _change(row["values"])
        name = row["name"]
        if way and " > " in name:
            before, _, last = name.rpartition(" > ")
            name = plain(last) + dim(" below " + plain(before.rpartition(" > ")[2]))
        else:
            name = plain(name)
        mark = green(" (new)") if a is None else yellow(" (gone)") if b is None else ""
        console.print(
            f"{'–' if a is None else format(a, ','):>12} {'–' if b is None else format(b, ','):>12} "
            f"{change:>+12,}  {name}{mark}",
            wrap=False,
        )
        if a is not None and b is not None:
            for inner in row.get("functions", [])[:_MAX_FUNCTIONS]:
                console.print(dim(f"{'':>25} {_change(inner['values']):>+12,}    {plain(inner['name'])}"), wrap=False)
    if len(rows) > _MAX_ROWS:
        console.print(dim(f"and {len(rows) - _MAX_ROWS} more (--json has them all)"))
