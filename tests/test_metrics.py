"""gort.metrics: the values are those of the runtime, and Prometheus reads the text."""

from __future__ import annotations

import gc
import http.client
import json
import re
import shutil
import socket
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import gort
from gort import debug, metrics
from gort._runtime.core import tracing
from support import PATIENCE_S, dose, parked, python
from test_see import PROGRAMS, asks, viewed


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
    before = metrics.read()
    gc.collect()
    after = metrics.read()
    assert after["/gc/cycles/total:gc-cycles"] == before["/gc/cycles/total:gc-cycles"] + 1  # type: ignore[operator]
    pauses = "/sched/pauses/total/gc:seconds"
    assert sum(after[pauses].counts) == sum(before[pauses].counts) + 1  # type: ignore[union-attr]


def test_without_a_program_all_is_zero() -> None:
    found = metrics.read()
    assert {found[name] for name in found if name.startswith(("/sched/gor", "/gort"))} == {0}


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


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="no Prometheus")
def test_prometheus_scrapes_it(tmp_path: Path) -> None:
    """The real one, with the token as a bearer token."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with viewed(PROGRAMS / "fine.py") as address:
        split = urlsplit(address)
        config = tmp_path / "prometheus.yml"
        config.write_text(
            "scrape_configs:\n- job_name: gort\n  scrape_interval: 1s\n"
            f"  authorization: {{credentials: {split.query.removeprefix('token=')}}}\n"
            f"  static_configs: [{{targets: ['127.0.0.1:{split.port}']}}]\n"
        )
        command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}"]
        with subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                end = time.monotonic() + PATIENCE_S
                found: list[Any] = []
                while not found:
                    assert time.monotonic() < end, "Prometheus has scraped nothing"
                    time.sleep(0.1)  # it is another program, which tells nobody when it has scraped
                    try:
                        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)) as connection:
                            connection.request("GET", "/api/v1/query?query=gort_sched_goroutines%3E200")
                            found = json.loads(connection.getresponse().read())["data"]["result"]
                    except (OSError, ValueError, KeyError):
                        continue  # it has not begun yet
            finally:
                process.kill()
    assert found[0]["value"][1] == "221"
