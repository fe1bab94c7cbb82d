"""scripts/drivers.py: what it measures and how it judges.  Real servers are only in the script's own runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support import PATIENCE_S, environment

SCRIPTS = Path(__file__).parent.parent / "scripts"


@pytest.mark.parametrize("how", ["plain", "blocking"])
def test_a_driver_is_measured_in_a_process_of_its_own(how: str) -> None:
    """The driver that needs no server: calls are counted, and the ticker beside them runs."""
    done = drivers("--one", "sqlite3", how, "0", "0.3")
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert measured["rate"] > 0
    assert 0 <= measured["p99_ms"] <= measured["worst_ms"]


def test_medians_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import drivers as script  # type: ignore[import-not-found]

    def of(*rates: float) -> list[dict[str, float]]:
        return [{"rate": rate, "p99_ms": 1.0, "worst_ms": 2.0} for rate in rates]

    cells, good = script.row("redis", {"plain": of(700.0, 790.0, 9000.0), "blocking": of(1000.0, 1000.0, 1.0)})
    assert cells == ["redis", "`get`", "790", "1,000", "0.79", "1.0 / 2.0", "1.0 / 2.0"]
    assert not good
    assert script.row("redis", {"plain": of(800.0), "blocking": of(1000.0)})[1]


def test_an_unknown_driver_is_a_clear_error() -> None:
    done = drivers("orcale")
    assert done.returncode == 2
    assert "no such driver; there are psycopg, " in done.stderr


def drivers(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPTS / "drivers.py"), *arguments],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False, env=environment(),
    )  # fmt: skip
