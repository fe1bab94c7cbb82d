"""The lock-rank checker: on in the tests, silent while the order is kept, deadly when it is not.  And what becomes of the
uncompiled core's locks in a forked child."""

from __future__ import annotations

import os
import re

import pytest

import gort
from gort._runtime.core import lockrank
from support import SOURCE, environment, python

CODE = """
import gort
from gort._runtime.core.lockrank import RankedLock
a, b = RankedLock({first}), RankedLock({second})
a.acquire(); b.acquire()
print("in order", flush=True)
"""

FORKED = """
import os, threading, warnings
import gort
from gort._runtime.core.runtime2 import getg
warnings.simplefilter("ignore")
held, over = threading.Event(), threading.Event()

def hold(g, s):
    locks = [(o.lock_timers, o.unlock_timers) for o in sorted(s.allp, key=id)] + [(g.lock, g.unlock)]
    locks += [(s.lock_allg, s.unlock_allg), (s.lock, s.unlock)] + [(p.lock, p.unlock) for p in sorted(s.allp, key=id)]
    for lock, _ in locks:
        lock()
    held.set()
    over.wait()
    for _, unlock in reversed(locks):
        unlock()

async def main():
    g = getg()
    threading.Thread(target=hold, args=(g, g.sched)).start()
    held.wait()
    if (pid := os.fork()) == 0:
        raise SystemExit
    _, status = os.waitpid(pid, 0)
    over.set()
    print(os.waitstatus_to_exitcode(status))

parent = os.getpid()
try:
    gort.run(main, procs=2)
finally:
    if os.getpid() != parent:
        os._exit(7)
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.skipif(gort.runtime.compiled, reason="no thread holds one of its locks while another forks")
@pytest.mark.parametrize("debug", ["lockrank=1", "lockrank=0"])
def test_a_forked_child_waits_for_no_lock_that_another_thread_held(debug: str) -> None:
    """The child ends the program by an exception, which takes the runtime's locks.  Their holders are in the parent."""
    done = python(FORKED, env=environment(GODEBUG=debug))
    assert done.stdout == "7\n", done.stderr


def test_free_locks_knows_where_the_locks_are() -> None:
    sources = "".join(file.read_text() for file in SOURCE.rglob("*.py"))
    assert set(re.findall(r"self\.(\w+) = \w+\.acquire$", sources, re.MULTILINE)) == set(lockrank.OWN)
