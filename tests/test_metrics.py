"""gort.metrics: the values are those of the runtime, and Prometheus reads the text.

What does not live here: a scrape by the real one (scripts/prometheus.py)."""

from __future__ import annotations

import gc
import re
import shutil
import subprocess
import time
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as om_parser
from prometheus_client.parser import text_string_to_metric_families as plain_parser

import gort
from gort import debug, metrics, runtime
from gort._runtime.core import tracing
from gort._runtime.see import metrics as exported
from support import GIL, PATIENCE_S, dose, parked, python
from test_see import asks


async def receive(ch: gort.Chan[None]) -> None:
    await ch.recv_ok()


def test_the_counts_are_the_runtimes() -> None:
    async def main() -> tuple[dict[str, Any], dict[str, Any]]:
        before = metrics.read()
        ch: gort.Chan[None] = gort.Chan()
        for _ in range(30):
            gort.go(receive, ch)
        await parked(30, "chan receive")
        await gort.blocking(int)
        after = metrics.read()
        ch.close()
        return before, after

    before, after = gort.run(main, procs=2)
    assert list(after) == [each.name for each in metrics.descriptions()] == sorted(after, key=str)
    assert after["/sched/goroutines:goroutines"] == 31
    assert after["/sched/goroutines/waiting:goroutines"] == 30
    assert after["/sched/goroutines/running:goroutines"] == 1
    assert after["/sched/gomaxprocs:threads"] == 2
    assert after["/sched/goroutines-created:goroutines"] - before["/sched/goroutines-created:goroutines"] == 30
    assert after["/gort/blocking-calls:calls"] - before["/gort/blocking-calls:calls"] == 1
    assert after["/gort/switches:events"] - before["/gort/switches:events"] >= 30
    assert after["/sched/threads/total:threads"] >= 2


def test_goroutines_of_a_thread_that_has_lost_its_p_are_counted_once() -> None:
    """Numbers that such a thread took for later and could not keep were counted as goroutines."""

    async def main() -> int:
        def created() -> int:
            return int(metrics.read()["/sched/goroutines-created:goroutines"])

        others_run: list[None] = []
        gort.go(runs, others_run)
        before = created()
        while not others_run:
            time.sleep(0.001)  # without an await: sysmon gives the P to a thread that runs the other goroutine
        for _ in range(3):
            gort.go(runs, others_run)
        return created() - before

    assert gort.run(main, procs=1) == 3


async def runs(notes: list[None]) -> None:
    notes.append(None)


def test_one_in_eight_times_that_a_goroutine_waits_for_its_turn_is_measured() -> None:
    rounds = dose(4000)

    async def yields() -> None:
        for _ in range(rounds):
            await gort.gosched()

    async def main() -> tuple[Any, Any, bool]:
        before = metrics.read()["/sched/latencies:seconds"]
        async with gort.Group() as group:
            group.go(yields)
            group.go(yields)
        return before, metrics.read()["/sched/latencies:seconds"], tracing.state.measures

    before, after, measures = gort.run(main, procs=1)
    assert measures
    assert sum(after.counts) - sum(before.counts) == pytest.approx(2 * rounds / 8, abs=10)
    assert len(after.buckets) == len(after.counts) + 1
    assert after.buckets == sorted(after.buckets)
    assert after.buckets[-1] == float("inf")
    # Each waits while the other runs: for some time, and not for a second.
    low = sum(after.counts[:4]) - sum(before.counts[:4])
    high = sum(count for count, least in zip(after.counts, after.buckets, strict=False) if least >= 1)
    assert (low, high) == (0, 0)


def test_what_waits_long_for_its_turn_is_in_a_high_bucket() -> None:
    """A goroutine that computes holds the others up."""

    async def main() -> Any:
        metrics.read()
        over = gort.Chan[None](64)

        async def quick() -> None:
            over.try_send(None)

        for _ in range(64):  # of eight in a row one is measured
            gort.go(quick)
        end = time.perf_counter() + 0.02
        while time.perf_counter() < end:
            pass
        for _ in range(64):
            await over.recv()
        return metrics.read()["/sched/latencies:seconds"]

    found = gort.run(main, procs=1)
    assert sum(count for count, least in zip(found.counts, found.buckets, strict=False) if least >= 0.008) >= 1


def test_nothing_is_measured_before_somebody_asks() -> None:
    code = """
import gc, gort
from gort._runtime.core import runtime2, tracing
async def main():
    s = runtime2.current_m().sched
    before = s.hooks, len(gc.callbacks)
    gort.metrics.read()
    return before, s.hooks, len(gc.callbacks), gort.metrics.read() and len(gc.callbacks)
async def later():
    return runtime2.current_m().sched.hooks
print(*gort.run(main), gort.run(later))
"""
    assert python(code).stdout == "(0, 0) 4 1 1 4\n"


def test_collections_are_counted_and_timed() -> None:
    gc.disable()  # else one may begin by itself in between
    try:
        before = metrics.read()
        gc.collect()
        after = metrics.read()
    finally:
        gc.enable()
    assert after["/gc/cycles/total:gc-cycles"] == before["/gc/cycles/total:gc-cycles"] + 1  # type: ignore[operator]
    pauses = "/sched/pauses/total/gc:seconds"
    assert sum(after[pauses].counts) == sum(before[pauses].counts) + 1  # type: ignore[union-attr]


@pytest.mark.skipif(
    not GIL or not runtime.compiled, reason="there is no GIL, or CPython waits for it inside of its lock"
)
def test_waits_for_the_gil_are_those_of_threads_that_wake() -> None:
    """A thread of the runtime's that is woken while another computes gets the GIL when that one gives it up."""
    name = "/gort/gil/waits:seconds"

    async def main() -> tuple[Any, Any]:
        before = metrics.read()[name]  # from now on they are counted
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            sum(range(200_000))  # sysmon wakes meanwhile, and waits until the interpreter switches threads
            after = metrics.read()[name]
            if sum(after.counts[20:]) > sum(before.counts[20:]):
                break
        return before, after

    before, after = gort.run(main, procs=1)
    assert sum(after.counts[20:]) > sum(before.counts[20:])  # half a millisecond and more
    assert all(now >= then for now, then in zip(after.counts, before.counts, strict=True))


def test_prometheus_own_parser_reads_both_forms() -> None:
    """The values are those of read()."""

    async def main() -> tuple[dict[str, Any], bytes, bytes]:
        return metrics.read(), metrics.exposition("")[1], metrics.exposition("application/openmetrics-text")[1]

    found, plain, om = gort.run(main, procs=3)
    families = {each.name: each for each in plain_parser(plain.decode())}
    strict = {each.name: each for each in om_parser(om.decode())}
    assert len(families) == len(strict) == len(found)
    for described in metrics.descriptions():
        called = exported.family(described.name, described.kind)
        assert families[called].type == strict[called].type == described.kind
        assert families[called].documentation == strict[called].documentation == described.description
        if described.kind == "histogram":
            assert strict[called].unit == "seconds"
            assert strict[called].samples[0].labels.keys() == {"le"}
    assert families["gort_sched_gomaxprocs"].samples[0].value == 3.0
    assert strict["gort_sched_goroutines"].samples[0].value == 1.0


def test_without_a_program_all_is_zero() -> None:
    found = metrics.read()
    counts = [found[name] for name in found if name.startswith(("/sched/gor", "/gort"))]
    assert {each for each in counts if not isinstance(each, metrics.Histogram)} == {0}


def test_the_text_is_openmetrics_for_who_asks_for_that() -> None:
    kind, text = metrics.exposition("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert kind == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert text.endswith(b"\n# EOF\n")
    assert b"# TYPE gort_handoffs counter\ngort_handoffs_total 0\n" in text
    assert b"# UNIT gort_sched_latencies_seconds seconds\n" in text
    kind, text = metrics.exposition("text/plain")
    assert kind == "text/plain; version=0.0.4; charset=utf-8"
    assert b"# TYPE gort_handoffs_total counter\ngort_handoffs_total 0\n" in text
    assert b"EOF" not in text
    buckets = [int(each) for each in re.findall(rb'gort_sched_latencies_seconds_bucket\{le="[^"]+"\} (\d+)', text)]
    assert buckets == sorted(buckets)
    assert b'le="+Inf"} %d\n' % buckets[-1] in text
    assert b"gort_sched_latencies_seconds_count %d\n" % buckets[-1] in text


def test_the_text_is_asked_for_with_a_str() -> None:
    with pytest.raises(TypeError, match="accept is a str, not bytes"):
        metrics.exposition(b"text/plain")  # type: ignore[arg-type]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool")
def test_promtool_has_no_objection() -> None:
    """Neither to names nor to values; asked of a program that runs, over the page."""
    page = debug.serve()

    async def main() -> tuple[Any, Any]:
        headers = {"Accept": "application/openmetrics-text"}
        return await gort.blocking(asks, page, "/metrics"), await gort.blocking(
            lambda: asks(page, "/metrics", **headers)
        )

    try:
        plain, om = gort.run(main)
    finally:
        page.close()
    assert plain[0] == om[0] == 200
    assert om[1]["Content-Type"].startswith("application/openmetrics-text")
    assert "gort_sched_goroutines 1\n" in plain[2]
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=plain[2],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
