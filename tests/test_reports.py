"""What the runtime tells on stderr: GODEBUG=schedtrace."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

import gort
from gort._runtime.core import runtime2
from gort._runtime.watch import reports
from support import environment, python

# --- GODEBUG=schedtrace -------------------------------------------------------------------------


def trace_of(capfd: pytest.CaptureFixture[str], detail: int, prepare: Callable[[], None]) -> str:
    """What schedtrace prints in the middle of a program with one P."""

    async def main() -> str:
        prepare()
        m = runtime2.current_m()
        m.sched.debug = m.sched.debug | {"scheddetail": detail}
        capfd.readouterr()
        reports.schedtrace(m.sched, 7_900_000, 2_000_000)
        return capfd.readouterr().err

    return gort.run(main, procs=1)


async def nothing() -> None:
    pass


def test_schedtrace_counts_as_go_does(capfd: pytest.CaptureFixture[str]) -> None:
    """The goroutine in runnext is not in the queue; sysmon's thread is a thread. The form is real Go's:
    tests/fidelity holds it."""

    def three() -> None:
        for _ in range(3):
            gort.go(nothing)

    line = r"SCHED 5ms: gomaxprocs=1 idleprocs=0 threads=2 spinningthreads=0 needspinning=0 idlethreads=0 runqueue=0 "
    assert re.fullmatch(line + r"\[ 2 \] schedticks=\[ \d+ \]\n", trace_of(capfd, 0, three))
    assert re.fullmatch(line + r"\[ 0 \] schedticks=\[ \d+ \]\n", trace_of(capfd, 0, lambda: gort.go(nothing)))


def test_scheddetail_tells_who_runs_where(capfd: pytest.CaptureFixture[str]) -> None:
    """P, M and G refer to each other; nil where there is none."""

    def locks() -> None:
        gort.runtime.lock_os_thread()
        gort.go(nothing)
        gort.after_func(3600, nothing)

    text = trace_of(capfd, 1, locks)
    assert re.search(r"^  P0: status=1 .* syscalltick=0 m=0 runqsize=0 gfreecnt=0 timerslen=1$", text, re.MULTILINE)
    assert re.search(r"^  M0: p=0 curg=1 .* spinning=false blocked=false lockedg=1$", text, re.MULTILINE)
    assert "\n  G1: status=2() m=0 lockedm=0\n" in text
    assert "\n  G2: status=1() m=nil lockedm=nil\n" in text


@pytest.mark.parametrize("value", ["-5", "0"])
def test_schedtrace_is_off(value: str) -> None:
    """Zero and negative intervals print nothing, as in Go."""
    code = "import gort\nasync def main():\n    await gort.sleep(0.05)\ngort.run(main)\n"
    done = python(code, env=environment(GODEBUG=f"schedtrace={value}"))
    assert (done.returncode, done.stderr) == (0, "")
