"""The targets that gort is built to, checked against one run.

A target is judged only where everything that it compares was measured in this run; what was not is not shown.
The compiled core's targets are not judged on an uncompiled one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from gort.cli._bench.measure import Result


@dataclass(frozen=True)
class Verdict:
    text: str
    measured: str
    met: bool


# Times Go's time that gort may take.
BUFFERED = 2.5 if sys.version_info < (3, 12) else 3.0
BESIDE_GO = {
    "yield": 1.0,
    "spawn": 1.0,
    "ping-pong": 1.0,
    "pipeline-1": BUFFERED,
    "pipeline-bulk": 1.0,
    "select-2": 1.5,
    "mutex": 1.0,
    "timers": 1.0,
}
# How many times faster than the peer gort must be; 1 is "never behind".
BESIDE_PEERS = {"asyncio": 8.0, "uvloop": 4.0, "trio": 1.0, "gevent": 1.0, "threads": 1.0}
# The rows lines-*: at no length behind these, whose readers are Python too.
LINES_BEFORE = ("asyncio", "trio")
SHORT_LINE_NS = 1000.0
# The bridges to asyncio: what an operation costs in a task, and what a call costs more than the task that it is.
BRIDGE_OP_NS = 2000.0
BRIDGE_CALL_NS = 5000.0
# gort.aio.Loop beside uvloop: rows in which it is never behind; what asyncio.run takes over asyncio's own loop; how far
# its processor time for a message is ahead, streams and protocols.
LOOP_ROWS = ("yield", "timers", "sleepers", "loop-call-soon", "loop-reader")
LOOP_RUN_NS = 1_000_000.0
BESIDE_UVLOOP = {"": 1.0, " protocol": 1.1}
PURE_ROWS = ("yield", "spawn", "ping-pong")
PARKED_BYTES = 1024
FLAT = 1.3
START_MS = 12.0
PARALLEL = 1.9
# How late tickers of 10 ms may be, p99, in ms, while others block or compute; without the GIL where that differs.
BLOCKED = ("sleep", "socket", "subprocess", "sqlite", "extension")
STALL_MS = {**dict.fromkeys(BLOCKED, 25.0), "compute": 25.0, "offload": 5.0}
STALL_FREE_MS = {**STALL_MS, **dict.fromkeys(BLOCKED, 15.0)}
# Calls that block: the rate of plain calls over that of announced ones, and how late tickers may be, p99.9, ms.
BESIDE_ANNOUNCED = 0.7
BLOCKING_MS = 5.0
# Network: gort's rate over the server's.
BESIDE_SERVERS = {"asyncio": 2.5, "uvloop": 1.0, "go": 0.9}


def judge(results: list[Result], compiled: bool, gil: bool) -> list[Verdict]:
    by_key = {result.row.key: result for result in results}
    verdicts = list(judge_pure(by_key))
    if compiled:
        verdicts += [*judge_go(by_key), *judge_peers(results), *judge_lines(results), *judge_bridges(by_key)]
        verdicts += judge_loops(by_key)
        verdicts += [*judge_sizes(by_key), *judge_network(results)]
    verdicts += [*judge_stall(results, gil), *judge_blocking(results)]
    if not gil:
        verdicts += judge_parallel(results)
    return verdicts


def judge_go(by_key: dict[str, Result]) -> Iterator[Verdict]:
    for key, most in BESIDE_GO.items():
        if (result := by_key.get(key)) and (ours := result.median("gort")) and (theirs := result.median("go")):
            yield Verdict(f"{key}: at most {most:g} × Go", f"{ours / theirs:.2f} ×", ours <= most * theirs)


def judge_peers(results: list[Result]) -> Iterator[Verdict]:
    for peer, least in BESIDE_PEERS.items():
        yield from judge_rows(results, "op", "every row", peer, least)


def judge_rows(results: list[Result], kind: str, which: str, peer: str, least: float) -> Iterator[Verdict]:
    """One verdict over all rows of a kind."""
    ratios = {}
    for result in results:
        ours, theirs = result.median("gort"), result.median(peer)
        if result.row.kind == kind and ours and theirs:
            ratios[result.row.key] = theirs / ours
    if not ratios:
        return
    behind = [f"{key} {value:.2f} ×" for key, value in ratios.items() if value < least]
    lowest = min(ratios, key=lambda key: ratios[key])
    claim = f"at least {least:g} times faster than {peer}" if least > 1 else f"never behind {peer}"
    measured = "missed in " + ", ".join(behind) if behind else f"least: {lowest} {ratios[lowest]:.1f} ×"
    yield Verdict(f"{which} {claim}", measured, not behind)


def judge_bridges(by_key: dict[str, Result]) -> Iterator[Verdict]:
    if (result := by_key.get("bridge-op")) and (ours := result.median("gort")):
        yield Verdict(f"bridge-op: at most {BRIDGE_OP_NS:g} ns", f"{ours:.0f} ns", ours <= BRIDGE_OP_NS)
    for key in ("bridge-call", "bridge-call-100"):
        result = by_key.get(key)
        if result and (ours := result.median("gort")) and (called := result.median("gort-aio")):
            claim = f"{key}: at most {BRIDGE_CALL_NS:g} ns over a task of the same loop (gort-aio)"
            yield Verdict(claim, f"{ours - called:.0f} ns", ours - called <= BRIDGE_CALL_NS)


def judge_loops(by_key: dict[str, Result]) -> Iterator[Verdict]:
    for key in LOOP_ROWS:
        result = by_key.get(key)
        if result and (ours := result.median("gort-aio")) and (theirs := result.median("uvloop")):
            yield Verdict(f"{key}: gort-aio never behind uvloop", f"{theirs / ours:.2f} ×", ours <= theirs)
    result = by_key.get("loop-run")
    if result and (ours := result.median("gort-aio")) and (stock := result.median("asyncio")):
        claim = f"loop-run: at most {LOOP_RUN_NS / 1e6:g} ms over asyncio's loop"
        yield Verdict(claim, f"{(ours - stock) / 1e6:.2f} ms", ours - stock <= LOOP_RUN_NS)
    for key, result in by_key.items():
        for variant, least in BESIDE_UVLOOP.items():
            ours, theirs = processor_us(result, f"gort-aio{variant}"), processor_us(result, f"uvloop{variant}")
            if ours and theirs:
                claim = f"{key}{variant}: gort-aio's processor time a message {least:g} × ahead of uvloop's"
                yield Verdict(claim, f"{theirs / ours:.2f} ×", theirs >= least * ours)


def processor_us(result: Result, server: str) -> float | None:
    """What a message takes of the server's processor, the median of the rounds."""
    values = [extra["cpu_us"] for extra in result.extra.get(server, ()) if "cpu_us" in extra]
    return median(values) if values else None


def judge_lines(results: list[Result]) -> Iterator[Verdict]:
    for result in results:
        if result.row.key == "lines-10" and (ours := result.median("gort")):
            yield Verdict(f"lines-10: under {SHORT_LINE_NS:g} ns", f"{ours:.0f} ns", ours < SHORT_LINE_NS)
    for peer in LINES_BEFORE:
        yield from judge_rows(results, "lines", "lines of every length:", peer, 1.0)


def judge_sizes(by_key: dict[str, Result]) -> Iterator[Verdict]:
    for key in ("memory-1e5", "memory-1e6"):
        if (result := by_key.get(key)) and (ours := result.median("gort")):
            yield Verdict(f"{key}: at most {PARKED_BYTES} bytes", f"{ours:.0f} bytes", ours <= PARKED_BYTES)
    scale = [
        by_key[key].median("gort") for key in ("spawn-1e3", "spawn-1e4", "spawn-1e5", "spawn-1e6") if key in by_key
    ]
    if len(scale) == 4 and all(scale):
        values = [value for value in scale if value]
        factor = max(values) / min(values)
        yield Verdict(f"spawn flat within {FLAT} from 10^3 to 10^6", f"{factor:.2f} ×", factor <= FLAT)
    if (result := by_key.get("start")) and (ours := result.median("gort")) and (floor := result.median("python")):
        yield Verdict(
            f"start: at most {START_MS:g} ms over the interpreter",
            f"{ours - floor:.1f} ms",
            ours - floor <= START_MS,
        )
        if theirs := result.median("asyncio"):
            yield Verdict("start: below asyncio's", f"{ours:.1f} ms, asyncio {theirs:.1f} ms", ours < theirs)


def judge_pure(by_key: dict[str, Result]) -> Iterator[Verdict]:
    for key in PURE_ROWS:
        result = by_key.get(key)
        if result is None:
            continue
        ours, theirs = result.median("gort-pure"), result.median("asyncio")
        if ours and theirs:
            yield Verdict(
                f"{key}: uncompiled at least 2 times faster than asyncio",
                f"{theirs / ours:.2f} ×",
                theirs >= 2 * ours,
            )


def judge_parallel(results: list[Result]) -> Iterator[Verdict]:
    for result in results:
        one, two = result.median("gort P=1"), result.median("gort P=2")
        if result.row.kind == "parallel" and one and two:
            yield Verdict(
                f"{result.row.key}: P=2 at least {PARALLEL} times P=1",
                f"{one / two:.2f} ×",
                one >= PARALLEL * two,
            )


def judge_stall(results: list[Result], gil: bool) -> Iterator[Verdict]:
    for result in results:
        ours = result.median("gort")
        if result.row.kind == "stall" and ours and result.row.workload in STALL_MS:
            most = (STALL_MS if gil else STALL_FREE_MS)[result.row.workload]
            yield Verdict(f"{result.row.key}: p99 at most {most:g} ms late", f"{ours:.1f} ms", ours <= most)


def judge_blocking(results: list[Result]) -> Iterator[Verdict]:
    for result in results:
        ours, announced = result.median("gort"), result.median("gort.blocking")
        if result.row.kind != "blocking" or not ours:
            continue
        if announced:
            yield Verdict(
                f"{result.row.key}: at least {BESIDE_ANNOUNCED:g} × gort.blocking",
                f"{ours / announced:.2f} ×",
                ours >= BESIDE_ANNOUNCED * announced,
            )
        late = median(extra["p999_ms"] for extra in result.extra["gort"])
        yield Verdict(f"{result.row.key}: p99.9 at most {BLOCKING_MS:g} ms late", f"{late:.1f} ms", late <= BLOCKING_MS)


def judge_network(results: list[Result]) -> Iterator[Verdict]:
    for result in results:
        if result.row.kind != "net":
            continue
        for peer, least in BESIDE_SERVERS.items():
            ours, theirs = result.median("gort"), result.median(peer)
            if ours and theirs:
                yield Verdict(
                    f"{result.row.key}: at least {least:g} × {peer}",
                    f"{ours / theirs:.2f} ×",
                    ours >= least * theirs,
                )
