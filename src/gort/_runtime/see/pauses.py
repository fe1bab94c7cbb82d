"""How long CPython's collector takes: a histogram, from the time when it is first asked for.

Go has such a histogram at all times; here a function is called at each collection (gc.callbacks), so it is not there
before somebody reads metrics.

Invariant: the function may be called anywhere, on any thread, so it takes no lock and makes nothing that the collector
tracks.  Collections do not nest, and CPython runs one at a time in an interpreter.
"""

from __future__ import annotations

import gc
from time import perf_counter_ns

found = [0] * 44  # as P.latencies
began = [0]


def _tell(phase: str, info: dict[str, int]) -> None:
    if phase == "start":
        began[0] = perf_counter_ns()
    elif began[0]:
        found[min(43, (perf_counter_ns() - began[0]).bit_length())] += 1
        began[0] = 0


def measure() -> None:
    """Begins to measure; a second call does nothing."""
    if _tell not in gc.callbacks:
        gc.callbacks.append(_tell)
