"""Metrics of the runtime, under the names that Go gives them in its package runtime/metrics, and as the text that
Prometheus and OpenMetrics read.  Follows runtime/metrics/description.go; what Go has not is under /gort/.

A value is the sum over the runtimes that run in this process now; so a counter begins again at 0 with each gort.run.

What does not live here: who counts (the scheduler); the address /metrics (server.py); the names for users
(gort/metrics.py).
"""

from __future__ import annotations

import gc

from gort._runtime.core import tracing
from gort._runtime.core.runtime2 import _Grunnable, _Grunning, _Gsyscall, _Gwaiting
from gort._runtime.sched import newproc
from gort._runtime.see import pauses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

GAUGE, COUNTER, HISTOGRAM = "gauge", "counter", "histogram"
# The name, what kind of value it has, and what it tells.
DESCRIPTIONS = (
    ("/gc/cycles/total:gc-cycles", COUNTER, "Collections of CPython's collector, of all generations."),
    ("/gort/blocked:seconds", COUNTER, "Time for which calls have blocked a thread without gort.blocking."),
    ("/gort/blocking-calls:calls", COUNTER, "Calls made with gort.blocking."),
    (
        "/gort/gil/waits:seconds",
        HISTOGRAM,
        "How long threads of the runtime, awake again from a sleep of the scheduler, waited for the GIL.",
    ),
    ("/gort/handoffs:events", COUNTER, "Ps that threads which blocked have lost or handed on."),
    ("/gort/preemptions:events", COUNTER, "Ps that have been taken from goroutines which computed for too long."),
    ("/gort/runqueue:goroutines", GAUGE, "Goroutines in the run queues."),
    ("/gort/switches:events", COUNTER, "How often a P has begun to run a goroutine."),
    ("/gort/threads/idle:threads", GAUGE, "Threads of the runtime without work."),
    ("/sched/gomaxprocs:threads", GAUGE, "GOMAXPROCS: how many threads may run goroutines at once."),
    ("/sched/goroutines-created:goroutines", COUNTER, "Goroutines made."),
    ("/sched/goroutines/not-in-go:goroutines", GAUGE, "Goroutines in a call of gort.blocking or gort.wait."),
    ("/sched/goroutines/runnable:goroutines", GAUGE, "Goroutines that wait for a P."),
    ("/sched/goroutines/running:goroutines", GAUGE, "Goroutines that run."),
    ("/sched/goroutines/waiting:goroutines", GAUGE, "Goroutines that wait for something else."),
    ("/sched/goroutines:goroutines", GAUGE, "Goroutines."),
    ("/sched/latencies:seconds", HISTOGRAM, "How long goroutines were runnable before they ran."),
    ("/sched/pauses/total/gc:seconds", HISTOGRAM, "How long each collection of CPython's collector took."),
    ("/sched/threads/total:threads", GAUGE, "Threads of the runtime."),
)
NAMED = {_Grunnable: "runnable", _Grunning: "running", _Gsyscall: "not-in-go", _Gwaiting: "waiting"}
OPENMETRICS = "application/openmetrics-text"


def states(s: Any) -> dict[str, int]:
    """How many goroutines of s are in each of the states that metrics tell apart."""
    found = dict.fromkeys(NAMED.values(), 0)
    for g in list(s.allgs):
        state = NAMED.get(g.status)
        if state is not None and not g.system and g.goid:
            found[state] += 1
    return found


def measure(running: list[Any]) -> None:
    """Begins to measure what is not measured otherwise: the histograms are empty before."""
    pauses.measure()
    if not tracing.state.measures:
        tracing.measure()
        for s in running:
            tracing.attach(s)


def total(counters: list[list[int]]) -> tuple[list[int], list[float]]:
    """Several lists of counters as one histogram: (counts, bounds in seconds)."""
    counts = [sum(column) for column in zip(*counters, strict=True)] if counters else [0] * tracing.LATENCIES
    return counts, [0.0, *(2**i / 1e9 for i in range(len(counts) - 1)), float("inf")]


def values(s: Any) -> dict[str, float]:
    """The values of one runtime that are numbers."""
    seen = s.predictor
    allp = list(s.allp)
    return {
        "/gort/blocked:seconds": (s.blockedns + seen.ns) / 1e9,
        "/gort/blocking-calls:calls": s.nsyscall,
        "/gort/handoffs:events": s.nhandoff + seen.hits,
        "/gort/preemptions:events": s.npreempt,
        "/gort/runqueue:goroutines": s.runqsize + sum(p.runqsize + (p.runnext is not None) for p in allp),
        "/gort/switches:events": sum(p.switchtick for p in allp),
        "/gort/threads/idle:threads": s.nmidle,
        "/sched/gomaxprocs:threads": s.gomaxprocs,
        "/sched/goroutines-created:goroutines": int(newproc.made(s)),
        "/sched/goroutines:goroutines": int(newproc.gcount(s)),
        "/sched/threads/total:threads": len(s.allm) + s.nmsys,
        **{f"/sched/goroutines/{name}:goroutines": count for name, count in states(s).items()},
    }


def read(running: list[Any]) -> dict[str, Any]:
    """All metrics by name: a number, or for a histogram (counts, bounds): counts[i] is the number of values from
    bounds[i] up to bounds[i+1]."""
    measure(running)
    found: dict[str, Any] = {name: 0 for name, kind, _ in DESCRIPTIONS if kind != HISTOGRAM}
    for s in running:
        for name, value in values(s).items():
            found[name] += value
    found["/gc/cycles/total:gc-cycles"] = sum(each["collections"] for each in gc.get_stats())
    found["/gort/gil/waits:seconds"] = total([tracing.gil_waits()])
    found["/sched/latencies:seconds"] = total([tracing.latencies(p) for s in running for p in list(s.allp)])
    found["/sched/pauses/total/gc:seconds"] = total([list(pauses.found)])
    return {name: found[name] for name, _, _ in DESCRIPTIONS}


def family(name: str, kind: str) -> str:
    """The name of a metric in Prometheus, `gort_sched_goroutines`, without the suffix of a counter."""
    path, _, unit = name.partition(":")
    path = path.removeprefix("/gort").strip("/").replace("/", "_").replace("-", "_").removesuffix("_total")
    return f"gort_{path}" + ("_seconds" if unit == "seconds" else "")


def number(value: float) -> str:
    """A number as both formats have it."""
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if float(value).is_integer() and abs(value) < 2**53 else repr(float(value))


def exposition(running: list[Any], accept: str) -> tuple[str, bytes]:
    """The metrics as text, and the type of that text.  accept: what the reader says it takes; OpenMetrics where it names
    that, else the format of Prometheus."""
    om = OPENMETRICS in accept.lower()
    lines = []
    found = read(running)
    for name, kind, told in DESCRIPTIONS:
        called = family(name, kind)
        head = called if om or kind != COUNTER else f"{called}_total"
        lines += [f"# HELP {head} {told}", f"# TYPE {head} {kind}"]
        if om and called.endswith("_seconds"):
            lines.append(f"# UNIT {head} seconds")
        value = found[name]
        if kind != HISTOGRAM:
            lines.append(f"{called}{'_total' if kind == COUNTER else ''} {number(value)}")
            continue
        counts, bounds = value
        so_far = 0
        total = 0.0
        for count, low, high in zip(counts, bounds, bounds[1:], strict=False):
            so_far += count
            total += count * (low + (high if high != float("inf") else low)) / 2
            lines.append(f'{called}_bucket{{le="{number(high)}"}} {so_far}')
        lines += [f"{called}_sum {number(total)}", f"{called}_count {so_far}"]
    if om:
        lines.append("# EOF")
    kind = f"{OPENMETRICS}; version=1.0.0; charset=utf-8" if om else "text/plain; version=0.0.4; charset=utf-8"
    return kind, ("\n".join(lines) + "\n").encode()
