"""`gort trace FILE`: sums an execution trace up, and turns it into Chrome's JSON for Perfetto and speedscope.

The trace may be one of Go's, too.  What does not live here: how the file is read (_tracefile.py), and made
(gort/trace.py).
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from typing import Any

import click

from gort._runtime.watch import gotrace as go
from gort._runtime.watch.tracemodel import MANY, VIRTUAL
from gort.cli import _tracefile
from gort.cli._tracefile import Event

SWITCH, SWITCH_DESTROY, CREATE_BLOCKED, SYSCALL_END = 45, 46, 47, 23
ROWS = 10  # of each table


class Trace:
    """What has been found in a trace: times in ns by what they were spent on, and the events for Chrome."""

    def __init__(self) -> None:
        self.begun: int = 0
        self.ended: int = 0
        self.events: int = 0
        self.kinds: Counter[int] = Counter()
        self.names: dict[int, str] = {}  # what goroutines begin with
        self.ran: dict[str, list[int]] = defaultdict(list)  # by name: how long each stretch was
        self.waited: dict[tuple[str, str, str], list[int]] = defaultdict(list)  # by name, reason and place
        self.delays: list[int] = []  # from runnable to running
        self.busy: Counter[int] = Counter()  # by P
        self.tasks: dict[str, list[int]] = defaultdict(list)
        self.regions: dict[str, list[int]] = defaultdict(list)
        self.chrome: list[dict[str, Any]] = []
        self._running: dict[int, tuple[int, int]] = {}  # thread -> goroutine, since when
        self._p: dict[int, int] = {}
        self._since: dict[int, int] = {}  # goroutine -> when it became runnable
        self._waits: dict[int, tuple[int, str, str]] = {}
        self._begun: dict[int, tuple[int, str]] = {}
        self._entered: dict[int, list[tuple[int, str]]] = defaultdict(list)

    def name(self, g: int) -> str:
        """What the goroutine is called."""
        return self.names.get(g) or f"goroutine {g}"

    def add(self, event: Event) -> None:
        """Counts an event."""
        when, thread, kind, args, gen = event
        if not self.begun:
            self.begun = when
        self.ended = when
        self.events += 1
        self.kinds[kind] += 1
        if kind == go.EV_PROC_START:
            self._p[thread] = args[0]
        elif kind == go.EV_PROC_STATUS and args[1] == go.PROC_RUNNING:
            self._p[thread] = args[0]
        elif kind in (go.EV_GO_CREATE, CREATE_BLOCKED):
            self.names[args[0]] = gen.function(args[1])
            self._since[args[0]] = when
        elif kind == go.EV_GO_START:
            self.start(thread, args[0], when)
        elif kind in (go.EV_GO_STATUS, go.EV_GO_STATUS_STACK):
            if kind == go.EV_GO_STATUS_STACK:
                self.names.setdefault(args[0], gen.function(args[3]))
            if args[2] == go.GO_RUNNING and thread not in self._running:
                self._running[thread] = args[0], when
        elif kind in (go.EV_GO_STOP, go.EV_GO_BLOCK, go.EV_GO_DESTROY, go.EV_GO_SYSCALL_BEGIN):
            self.stop(event)
        elif kind == go.EV_GO_UNBLOCK:
            self.unblock(args[0], when)
        elif kind == SYSCALL_END or kind in (SWITCH, SWITCH_DESTROY):
            pass
        else:
            self.annotation(event)

    def start(self, thread: int, g: int, when: int) -> None:
        """A goroutine begins to run."""
        self._running[thread] = g, when
        since = self._since.pop(g, None)
        if since is not None:
            self.delays.append(when - since)

    def stop(self, event: Event) -> None:
        """The goroutine of a thread stops."""
        when, thread, kind, args, gen = event
        g, since = self._running.pop(thread, (0, 0))
        if not g:
            return
        stack = args[1] if kind != go.EV_GO_DESTROY else 0
        if not self.names.get(g) and gen.function(stack):
            self.names[g] = gen.function(stack)
        name = self.name(g)
        p = self._p.get(thread, 0)
        self.ran[name].append(when - since)
        self.busy[p] += when - since
        why = "ends"
        if kind in (go.EV_GO_STOP, go.EV_GO_BLOCK):
            why = gen.strings.get(args[0], "")
        elif kind == go.EV_GO_SYSCALL_BEGIN:
            why = "blocks its thread"
        frames = gen.frames(stack)
        if kind == go.EV_GO_STOP:
            self._since[g] = when
        elif kind == go.EV_GO_BLOCK:
            self._waits[g] = when, why, frames[0] if frames else ""
        self.chrome.append({
            "name": f"{name} ({g})", "cat": "goroutine", "ph": "X", "pid": 1, "tid": p, "ts": since / 1e3,
            "dur": (when - since) / 1e3, "args": {"goroutine": g, "then": why, "stack": frames},
        })  # fmt: skip

    def unblock(self, g: int, when: int) -> None:
        """A goroutine that has waited is runnable."""
        self._since[g] = when
        waits = self._waits.pop(g, None)
        if waits is not None:
            self.waited[self.name(g), waits[1], waits[2]].append(when - waits[0])

    def annotation(self, event: Event) -> None:
        """A task, a region or a log."""
        when, thread, kind, args, gen = event
        g = self._running.get(thread, (0, 0))[0]
        p = self._p.get(thread, 0)
        if kind == go.EV_USER_TASK_BEGIN:
            self._begun[args[0]] = when, gen.strings.get(args[2], "")
        elif kind == go.EV_USER_TASK_END:
            begun, name = self._begun.pop(args[0], (0, ""))
            if begun:
                self.tasks[name].append(when - begun)
                both = {"name": name, "cat": "task", "id": args[0], "pid": 1, "tid": p}
                self.chrome.append({**both, "ph": "b", "ts": begun / 1e3})
                self.chrome.append({**both, "ph": "e", "ts": when / 1e3})
        elif kind == go.EV_USER_REGION_BEGIN:
            self._entered[g].append((when, gen.strings.get(args[1], "")))
        elif kind == go.EV_USER_REGION_END:
            name = gen.strings.get(args[1], "")
            if self._entered[g] and self._entered[g][-1][1] == name:
                self.regions[name].append(when - self._entered[g].pop()[0])
        elif kind == go.EV_USER_LOG:
            text = f"{gen.strings.get(args[1], '')}: {gen.strings.get(args[2], '')}"
            self.chrome.append({"name": text, "ph": "i", "s": "t", "ts": when / 1e3, "pid": 1, "tid": p})

    def to_json(self) -> dict[str, Any]:
        """The whole for Chrome's viewer: a lane for each P."""
        names = [{"name": "process_name", "ph": "M", "pid": 1, "args": {"name": "gort"}}]
        for p in sorted({e["tid"] for e in self.chrome}):
            names.append({"name": "thread_name", "ph": "M", "pid": 1, "tid": p, "args": {"name": f"P{p}"}})
        return {"traceEvents": [*names, *self.chrome], "displayTimeUnit": "ns"}


def in_words(ns: float) -> str:
    """A duration with its unit."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.0f} ns"


def table(title: str, durations: dict[Any, list[int]]) -> list[str]:
    """The rows with the largest sums: sum, count, longest, what."""
    if not durations:
        return []
    lines = ["", title, f"{'sum':>10} {'count':>9} {'longest':>10}"]
    largest = sorted(durations.items(), key=lambda item: -sum(item[1]))
    for key, each in largest[:ROWS]:
        what = key if isinstance(key, str) else "  ".join(filter(None, key))
        lines.append(f"{in_words(sum(each)):>10} {len(each):>9,} {in_words(max(each)):>10}  {what}")
    if len(largest) > ROWS:
        lines.append(f"{'':>31}  … and {len(largest) - ROWS} more")
    return lines


def summary(trace: Trace) -> str:
    """The trace in a page of text."""
    length = max(1, trace.ended - trace.begun)
    lines = [f"{in_words(length)}, {trace.events:,} events, {trace.kinds[go.EV_GO_CREATE]:,} goroutines made"]
    for p, busy in sorted(trace.busy.items()):
        kind = " (without a P)" if VIRTUAL <= p < MANY else ""
        lines.append(f"P{p}: runs goroutines for {in_words(busy)}, {busy / length:.0%}{kind}")
    if trace.delays:
        delays = sorted(trace.delays)
        middle, high = delays[len(delays) // 2], delays[len(delays) * 99 // 100]
        lines.append(
            f"from runnable to running: {in_words(middle)} in the middle, {in_words(high)} for one in a hundred, "
            f"{in_words(delays[-1])} at most"
        )
    lines += table("running", trace.ran)
    lines += table("waiting", trace.waited)
    lines += table("tasks", trace.tasks)
    lines += table("regions", trace.regions)
    return "\n".join(lines)


def read(file: str) -> Trace:
    """The trace in a file.  Ends the process with status 1 if it is none."""
    trace = Trace()
    try:
        with open(file, "rb") as f:
            data = f.read()
        for event in _tracefile.events(data):
            trace.add(event)
    except OSError as e:
        fail(str(e))
    except _tracefile.Malformed as e:
        fail(f"{file}: {e}")
    return trace


def fail(message: str) -> None:
    """One clear line on stderr, and status 1."""
    click.echo(f"gort trace: {message}", err=True)
    sys.exit(1)


@click.command()
@click.option("--json", "out", type=click.Path(), help="Write Chrome's JSON there, for Perfetto and speedscope.")
@click.argument("file", type=click.Path())
def command(file: str, out: str | None) -> None:
    """Sum up the execution trace FILE: what ran, what waited for what, and for how long.

    FILE is what `gort run --trace` and gort.trace.start write, or a trace of a Go program. `go tool trace FILE` shows it
    in a browser."""
    trace = read(file)
    if out is not None:
        try:
            with open(out, "w", encoding="utf-8") as f:
                json.dump(trace.to_json(), f)
        except OSError as e:
            fail(str(e))
    click.echo(summary(trace))
