"""CPython's own tests of asyncio on gort.aio.Loop: files that take little time; scripts/asyncio_suites.py runs all."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys

import pytest

from support import FULL, PATIENCE_S, ROOT

FILES = ("streams", "taskgroups", "timeouts", "sock_lowlevel", "runners", "server", "unix_events")
if not FULL:
    FILES = FILES[:4]


@pytest.mark.skipif(importlib.util.find_spec("test") is None, reason="this CPython comes without its tests")
@pytest.mark.once
def test_no_test_differs_from_asyncios_own_loop() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "asyncio_suites.py"), *(f"test_{name}" for name in FILES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout
    total = re.search(r"^(\d+) tests, 0 differ$", done.stdout, re.M)
    assert total is not None, done.stdout
    assert int(total[1]) > (300 if FULL else 150)
