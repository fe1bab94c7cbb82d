"""What the runtime tells on stderr, and when there is none: GODEBUG=schedtrace, inittrace, a SIGQUIT, a throw."""

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


# --- a stderr that is gone ----------------------------------------------------------------------

CALLS = """
import io, os, signal, sys, threading
import gort
class Raises(io.StringIO):
    def write(self, text): 1 / 0
async def main():
    if sys.argv[2] == "SIGQUIT": os.kill(os.getpid(), signal.SIGQUIT)
    if sys.argv[2] == "throw":
        gort.runtime.set_max_threads(1)
        gort.go(input)
    await gort.sleep(0.05)
    print("out", flush=True)
sys.stderr = None if sys.argv[1] == "None" else Raises()
gort.run(main)
"""


@pytest.mark.parametrize("stderr", ["None", "raises"])
@pytest.mark.parametrize(
    ("how", "status"),
    [("schedtrace=10", 0), ("schedtrace=10,scheddetail=1", 0), ("inittrace=1", 0), ("SIGQUIT", 2), ("throw", 2)],
)
def test_without_a_stderr_the_runtime_goes_on(stderr: str, how: str, status: int) -> None:
    """sys.stderr is None in a process that was started without one, or an object of the program's that raises. Neither
    ends sysmon or the scheduler, nor keeps the process from ending where it must."""
    done = python(CALLS, stderr, how, env=environment(GODEBUG=how))
    assert done.returncode == status, done.stderr
    assert done.stdout == ("out\n" if status == 0 else "")
    assert "Traceback" not in done.stderr
