"""Shows that the real Prometheus takes gort's metrics: promtool, and one scrape of a program that runs.

    python scripts/prometheus.py

It starts a program with its live page, asks it for /metrics in both forms, gives the text to `promtool check metrics`,
has a Prometheus of its own scrape the page with the token, and asks that for values.  Both commands are in Debian's
package `prometheus`.  Status 1 where either finds a fault, 2 where they are not there.

What does not live here: what the values are (tests/test_metrics.py, which reads them with Prometheus' parser too).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "tests" / "trouble" / "fine.py"
PATIENCE_S = 120.0
SCRAPES = 3  # so many are waited for: a counter must grow between them
# What Prometheus is asked, and what it must answer at least.
QUERIES = {
    "gort_sched_goroutines": 221,
    "gort_sched_gomaxprocs": 1,
    "rate(gort_switches_total[1m])": 1,
    "histogram_quantile(0.99, gort_sched_latencies_seconds_bucket)": 1e-9,
    "gort_gil_waits_seconds_count": 1,
    f"count_over_time(up[1m]) >= {SCRAPES}": SCRAPES,
}


def fetch(address: str, **headers: str) -> tuple[str, str]:
    """(content type, text) of an address."""
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=PATIENCE_S) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def check(url: str) -> list[str]:
    """What promtool has to say of the text, in both forms."""
    faults = []
    for accept in ("text/plain", "application/openmetrics-text"):
        kind, text = fetch(url, Accept=accept)
        if not kind.startswith(accept):
            faults.append(f"asked for {accept}, got {kind}")
        if accept == "text/plain":  # promtool reads no OpenMetrics
            done = subprocess.run(
                ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
            )
            print(f"promtool check metrics: status {done.returncode}, {len(text.splitlines())} lines")
            if done.returncode or done.stdout or done.stderr:
                faults.append(f"promtool: {done.stdout}{done.stderr}")
    return faults


def ask(port: int, query: str) -> float | None:
    """What Prometheus answers; None if that is nothing yet."""
    try:
        _, text = fetch(f"http://127.0.0.1:{port}/api/v1/query?{urlencode({'query': query})}")
        found: Any = json.loads(text)["data"]["result"]
    except (OSError, ValueError, KeyError):
        return None  # it has not begun yet
    return float(found[0]["value"][1]) if found else None


def scrape(port: int, token: str) -> list[str]:
    """Has a Prometheus scrape the page at this port; what is wrong with what it knows then."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        its = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "prometheus.yml")
        config.write_text(
            "scrape_configs:\n- job_name: gort\n  scrape_interval: 1s\n"
            f"  authorization: {{credentials: {token}}}\n  static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
        )
        command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/data"]
        process = subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{its}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            found: dict[str, float | None] = {}
            end = time.monotonic() + PATIENCE_S
            while time.monotonic() < end:
                found = {query: ask(its, query) for query in QUERIES}
                if all(value is not None and value >= QUERIES[query] for query, value in found.items()):
                    break
                time.sleep(0.2)  # it is another program, which tells nobody when it has scraped
        finally:
            process.kill()
            process.wait()
    for query, value in found.items():
        print(f"{query} = {value}")
    return [f"{q}: {v}, not {QUERIES[q]}" for q, v in found.items() if v is None or not v >= QUERIES[q]]


def main() -> int:
    missing = [name for name in ("prometheus", "promtool") if shutil.which(name) is None]
    if missing:
        print(f"prometheus.py: {' and '.join(missing)} cannot be found (Debian: prometheus)", file=sys.stderr)
        return 2
    program = subprocess.Popen(
        [sys.executable, "-m", "gort", "run", "--view", str(PROGRAM)],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert program.stderr is not None
        found = re.search(r"http://127\.0\.0\.1:(\d+)/\?token=(\S+)", program.stderr.readline())
        if found is None:
            print("prometheus.py: the program shows no page", file=sys.stderr)
            return 1
        port, token = found.groups()
        faults = check(f"http://127.0.0.1:{port}/metrics?token={token}") + scrape(int(port), token)
    finally:
        program.kill()
        program.wait()
    for fault in faults:
        print(f"prometheus.py: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
