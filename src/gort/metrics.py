"""gort.metrics: what the scheduler counts.  Follows Go's package runtime/metrics.

    for name, value in gort.metrics.read().items():
        print(name, value)

The names are Go's where Go has the metric (`/sched/goroutines:goroutines`), else they begin with /gort/.  For Prometheus
the live page has them at /metrics (gort.debug.serve), and `exposition` gives the same text to a server of the program's.
"""

from __future__ import annotations

from typing import NamedTuple as _NamedTuple

from gort._runtime.core.public import publish as _publish
from gort._runtime.see import metrics as _metrics
from gort._runtime.watch import signals as _signals

__all__ = ["Description", "Histogram", "descriptions", "exposition", "read"]


class Histogram(_NamedTuple):
    """A distribution: counts[i] values were at least buckets[i] and less than buckets[i + 1].  Follows
    metrics.Float64Histogram."""

    counts: list[int]
    buckets: list[float]


class Description(_NamedTuple):
    """What a metric is.  kind: "gauge" (it goes up and down), "counter" (it only grows, while a program runs), or
    "histogram".  Follows metrics.Description."""

    name: str
    kind: str
    description: str


def descriptions() -> list[Description]:
    """All metrics, by name.  Follows metrics.All."""
    return [Description(*each) for each in _metrics.DESCRIPTIONS]


def read() -> dict[str, int | float | Histogram]:
    """The values of all metrics, by name, summed over the programs that gort.run runs in this process now.  Any thread
    may call it; with a hundred thousand goroutines it takes some milliseconds.  Follows metrics.Read.

    The three histograms are of what was measured since the first call of read or exposition, because that costs
    something: /sched/latencies of one in eight times that a goroutine becomes runnable, as in Go; /sched/pauses/total/gc
    of each collection; and /gort/gil/waits of each time that a thread of gort's wakes from a sleep of the scheduler's
    and needs the GIL.  That one is empty without the GIL and in the uncompiled core."""
    found = _metrics.read(list(_signals.running))
    return {name: Histogram(*value) if isinstance(value, tuple) else value for name, value in found.items()}


def exposition(accept: str = "") -> tuple[str, bytes]:
    """The metrics as Prometheus reads them: (content type, text).  accept: the request's header of that name; the text is
    OpenMetrics where it asks for that, else Prometheus's own format.  The sum of a histogram is reckoned from the middle
    of each bucket.  Raises TypeError if accept is no str."""
    if not isinstance(accept, str):
        raise TypeError(f"exposition(accept): accept is a str, not {type(accept).__name__}")
    return _metrics.exposition(list(_signals.running), accept)


_publish(globals())
