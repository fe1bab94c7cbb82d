"""A plugin for pytest: each test is traced, and real Go reads the trace.

    python -m pytest -p traced tests/test_chan.py        with tests/ in PYTHONPATH

A test fails if Go refuses its trace, or if the events did not fit each other (tracemodel.Model.repairs). Tests that make
traces themselves, or count allocations, threads or files, are not for this.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator

import pytest

from gobuild import tool_path
from gort import trace


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Around the test itself, without its fixtures."""
    with tempfile.NamedTemporaryFile(suffix=".trace") as file:
        trace.start(file.name)
        try:
            yield
        finally:
            trace.stop()
        repairs, seen = trace._last
        assert repairs == 0, f"{repairs} of {sum(seen.values())} events did not fit"
        if not seen:
            return
        full = [tool_path("trace"), "-d=parsed", file.name]
        done = subprocess.run(full, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
