"""The lock-rank checker: on in the tests, silent while the order is kept, deadly when it is not."""

from __future__ import annotations

import os

import pytest

import gort
from support import environment, python

CODE = """
import gort
from gort._runtime.core.lockrank import RankedLock
a, b = RankedLock({first}), RankedLock({second})
a.acquire(); b.acquire()
print("in order", flush=True)
"""


def test_the_checker_is_on() -> None:
    assert "lockrank=1" in os.environ["GODEBUG"].split(",")


@pytest.mark.skipif(gort.runtime.compiled, reason="the compiled core's locks are in C")
@pytest.mark.parametrize(("first", "second", "good"), [(20, 60, True), (60, 20, False), (40, 30, False)])
def test_order(first: int, second: int, good: bool) -> None:
    """A violation ends the process with both stacks and the names of both ranks."""
    done = python(CODE.format(first=first, second=second), env=environment(GODEBUG="lockrank=1"))
    if good:
        assert (done.returncode, done.stdout) == (0, "in order\n"), done.stderr
        return
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("fatal error: lock ordering problem")
    assert done.stderr.count("<string>") >= 2, "both stacks are shown"
