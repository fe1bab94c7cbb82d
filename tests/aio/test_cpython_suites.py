"""CPython's own tests of asyncio on gort.aio.Loop: files that take little time; scripts/asyncio_suites.py runs all."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from types import ModuleType

import pytest

from support import FULL, PATIENCE_S, ROOT, script

FILES = ("streams", "taskgroups", "timeouts", "sock_lowlevel", "runners", "server", "unix_events")
if not FULL:
    FILES = FILES[:4]


@pytest.mark.skipif(importlib.util.find_spec("test") is None, reason="this CPython comes without its tests")
@pytest.mark.once
def test_no_test_differs_from_asyncios_own_loop() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "asyncio_suites.py"), *(f"test_{name}" for name in FILES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout
    total = re.search(r"^(\d+) tests, \d+ ok, 0 differ$", done.stdout, re.M)
    assert total is not None, done.stdout
    assert int(total[1]) > (300 if FULL else 150)


@pytest.fixture
def suites() -> ModuleType:
    return script("asyncio_suites")  # type: ignore[no-any-return]


@pytest.mark.lint
def test_an_interpreter_has_one_row(suites: ModuleType) -> None:
    """A row takes the place of that of an earlier version; they are in the order of versions."""
    text = "before\n<!-- scripts/asyncio_suites.py writes this -->\n<!-- end -->\nafter\n"
    for row in ("3.14.1 compiled 9 8 1", "3.9.2 compiled 5 5 0", "3.14.2t compiled 7 7 0", "3.14.2 compiled 9 9 0"):
        text = suites.written(text, row.split())
    lines = text.splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    assert suites.HEAD in text
    assert [line for line in lines if "compiled" in line] == [
        "| 3.9.2 | compiled | 5 | 5 | 0 |",
        "| 3.14.2 | compiled | 9 | 9 | 0 |",
        "| 3.14.2t | compiled | 7 | 7 | 0 |",
    ]


@pytest.mark.lint
def test_the_guide_tells_of_the_interpreters(suites: ModuleType) -> None:
    table = suites.TABLE.search(suites.GUIDE.read_text())
    assert table is not None
    rows = [line.strip("| ").split(" | ") for line in table[0].splitlines()[2:]]
    assert rows
    assert [row[4] for row in rows] == ["0"] * len(rows)
