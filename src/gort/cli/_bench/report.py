"""What `gort bench` shows and writes: the tables, results.json, results.md.

A cell is the median over the rounds and half the distance between lowest and highest, in per cent; below it,
in the second table, the ratio to gort: how many times gort's time (or memory) the peer takes. Ratios are of
medians of one run; results of two runs are not compared, since the machine was not the same machine twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from statistics import median

from gort.cli._bench.measure import BLOCKING_EXTRA, Result
from gort.cli._bench.peers import Peer
from gort.cli._bench.rows import RATES, UNITS
from gort.cli._bench.targets import Verdict


def number(value: float) -> str:
    """Three significant digits, thousands separated by a thin rule that survives copying: a comma."""
    if value >= 1000:
        return f"{value:,.0f}"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


def cell(result: Result, name: str) -> str:
    middle = result.median(name)
    if middle is None:
        return "failed" if name in result.failed else "–"
    return f"{number(middle)} ±{result.spread(name) * 100:.0f}%"


def ratio(result: Result, name: str, base: str = "gort") -> float | None:
    """How many times dearer `name` is than gort; for a rate, how many times gort's rate is `name`'s."""
    ours, theirs = result.median(base), result.median(name)
    if not ours or not theirs:
        return None
    return ours / theirs if result.row.unit in RATES else theirs / ours


def ratio_cell(result: Result, name: str) -> str:
    value = ratio(result, name)
    return "–" if value is None else f"{value:.2f}×" if value < 10 else f"{value:.0f}×"


def operation_table(results: list[Result], peers: list[Peer], cells: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the main table: `cells` is "median" or "ratio"."""
    names = [peer.key for peer in peers if not peer.missing and not peer.web]
    rows = []
    for result in results:
        if result.row.kind not in ("op", "lines", "bridge", "loop", "memory", "start"):
            continue
        shown = [cell(result, n) if cells == "median" else ratio_cell(result, n) for n in names]
        rows.append([result.row.key, *([result.row.unit] if cells == "median" else []), *shown])
    return ["workload", *(["unit"] if cells == "median" else []), *names], rows


def start_table(results: list[Result]) -> tuple[list[str], list[list[str]]]:
    rows = []
    for result in results:
        floor = result.median("python") if result.row.kind == "start" else None
        if floor is None:
            continue
        for name in result.values:
            middle = result.median(name)
            assert middle is not None
            over = "" if name in ("python", "go") else number(middle - floor)
            rows.append([name, number(middle), over])
    return ["start", "ms", "over the bare interpreter"], rows


def parallel_table(results: list[Result]) -> tuple[list[str], list[list[str]]]:
    rows = []
    for result in results:
        if result.row.kind != "parallel":
            continue
        for name in result.values:
            who = name.partition(" ")[0]
            one, here = result.median(f"{who} P=1"), result.median(name)
            assert here is not None
            faster = f"{one / here:.2f}×" if one else "–"
            rows.append([result.row.key, name, f"{number(here)} s ±{result.spread(name) * 100:.0f}%", faster])
    return ["job", "who", "time", "over P=1"], rows


def stall_table(results: list[Result]) -> tuple[list[str], list[list[str]]]:
    rows = []
    for result in results:
        if result.row.kind != "stall":
            continue
        for name in result.values:
            extra = result.extra[name]
            worst = median(e["worst_ms"] for e in extra)
            ticks = median(e["ticks"] for e in extra)
            rows.append([result.row.key, name, cell(result, name), number(worst), f"{ticks * 100:.0f}%"])
    return ["row", "who", "p99 late, ms", "worst, ms", "ticks that came"], rows


def rows_with(results: list[Result], kind: str, keys: Iterable[str]) -> list[list[str]]:
    """The rows of a kind, each with the medians of what was measured beside it."""
    rows = []
    for result in results:
        if result.row.kind != kind:
            continue
        for name, extra in result.extra.items():
            beside = [number(median(e[key] for e in extra)) for key in keys]
            rows.append([result.row.key, name, cell(result, name), ratio_cell(result, name), *beside])
    return rows


def blocking_table(results: list[Result]) -> tuple[list[str], list[list[str]]]:
    head = ["row", "who", "calls/s", "gort is", "first 40 each, calls/s", "p99.9 late, ms", "worst, ms"]
    return head, rows_with(results, "blocking", BLOCKING_EXTRA)


def cluster_table(results: list[Result]) -> tuple[list[str], list[list[str]]]:
    rows = []
    for result in results:
        if result.row.kind != "cluster":
            continue
        for name, extra in result.extra.items():
            late = [e["p99_us"] for e in extra if "p99_us" in e]
            tail = number(median(late)) if late else "–"
            rows.append([result.row.key, name, result.row.unit, cell(result, name), ratio_cell(result, name), tail])
    return ["row", "who", "unit", "median", "gort is", "p99 µs"], rows


def network_table(results: list[Result]) -> tuple[list[str], list[list[str]]]:
    rows = []
    for result in results:
        if result.row.kind not in ("net", "serve"):
            continue
        for name, values in result.values.items():
            extra = result.extra.get(name, [])
            middle = {key: sorted(e[key] for e in extra)[len(extra) // 2] for key in (extra[0] if extra else {})}
            rows.append(
                [
                    result.row.key,
                    name,
                    cell(result, name),
                    ratio_cell(result, name),
                    *(
                        number(middle[key]) if key in middle else "–"
                        for key in ("cpu_us", "p50_us", "p99_us", "half_p99_us")
                    ),
                ]
            )
            assert values
    return [
        "row",
        "server",
        "messages/s",
        "gort is",
        "CPU µs/message",
        "p50 µs",
        "p99 µs",
        "p99 µs at half load",
    ], rows


def idle_table(results: list[Result]) -> tuple[list[str], list[list[str]]]:
    head = ["row", "server", "MB", "gort is", "bytes a connection", "p50 µs beside them", "p99 µs"]
    return head, rows_with(results, "idle", ("connection_bytes", "p50_us", "p99_us"))


def tables(results: list[Result], peers: list[Peer]) -> Iterable[tuple[str, list[str], list[list[str]]]]:
    """Title, header and rows of each table that has something in it."""
    made = [
        ("Medians", *operation_table(results, peers, "median")),
        ("Times what gort takes", *operation_table(results, peers, "ratio")),
        ("Start", *start_table(results)),
        ("Parallel work", *parallel_table(results)),
        ("Never stalled", *stall_table(results)),
        ("Calls that block", *blocking_table(results)),
        ("Network", *network_table(results)),
        ("Idle connections", *idle_table(results)),
        ("Several processes", *cluster_table(results)),
    ]
    return [entry for entry in made if entry[2]]


def failures(results: list[Result]) -> list[str]:
    return [f"{r.row.key}: {name}: {why}" for r in results for name, why in r.failed.items()]


def as_data(
    machine: dict[str, object], results: list[Result], peers: list[Peer], verdicts: list[Verdict]
) -> dict[str, object]:
    return {
        "machine": machine,
        "peers": {
            p.key: {
                "version": p.version,
                "missing": p.missing,
                "command": p.command,
                "environment": p.environment,
                "notes": p.notes,
            }
            for p in peers
        },
        "rows": [
            {
                "row": r.row.key,
                "workload": r.row.workload,
                "what": r.row.text,
                "n": r.row.n,
                "unit": r.row.unit,
                "values": r.values,
                "extra": r.extra,
                "failed": r.failed,
                "median": {name: r.median(name) for name in r.values},
                "spread": {name: r.spread(name) for name in r.values},
                "times_gort": {name: ratio(r, name) for name in r.values},
            }
            for r in results
        ],
        "targets": [{"target": v.text, "met": v.met, "measured": v.measured} for v in verdicts],
    }


def markdown(machine: dict[str, object], results: list[Result], peers: list[Peer], verdicts: list[Verdict]) -> str:
    lines = [
        "# gort bench",
        "",
        f"{machine['when']}, {machine['cpu']}, {machine['processors']} processors, "
        f"{machine['system']}, CPython {machine['python']} ({'GIL' if machine['gil'] else 'free-threaded'}), "
        f"gort {'compiled' if machine['gort_compiled'] else 'uncompiled'}.",
        "",
    ]
    lines += [f"- {p.key} {p.version}" if not p.missing else f"- {p.key}: left out, {p.missing}" for p in peers]
    for title, header, rows in tables(results, peers):
        lines += ["", f"## {title}", "", "| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
        lines += ["| " + " | ".join(row) + " |" for row in rows]
    lines += ["", "Units: " + "; ".join(f"{unit} = {text}" for unit, text in UNITS.items()) + "."]
    lines += ["", "What each row is:", ""]
    lines += [f"- {r.row.key} (n = {r.row.n:,}): {r.row.text}" for r in results]
    notes = [f"- {p.key}, {row}: {text}" for p in peers for row, text in p.notes.items()]
    if notes:
        lines += ["", "Where a peer has no such thing, what stands in:", "", *notes]
    if verdicts:
        lines += ["", "## Targets", "", "| target | measured | met |", "|---|---|---|"]
        lines += [f"| {v.text} | {v.measured} | {'yes' if v.met else 'no'} |" for v in verdicts]
    if failed := failures(results):
        lines += ["", "## Left out or failed", "", *(f"- {line}" for line in failed)]
    return "\n".join(lines) + "\n"


def write(
    folder: Path,
    machine: dict[str, object],
    results: list[Result],
    peers: list[Peer],
    verdicts: list[Verdict],
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    data = as_data(machine, results, peers, verdicts)
    (folder / "results.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    (folder / "results.md").write_text(markdown(machine, results, peers, verdicts), encoding="utf-8")
