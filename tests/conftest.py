"""What holds for every test: a time limit that shows who hangs, and nothing left behind.

Which core and which interpreter are under test is chosen from outside (GORT_PURE=1, the interpreter
that runs pytest); the report's header says which it is, and no test behaves differently by it except
where it names the GIL.

- The lock-rank checker is on (GODEBUG=lockrank=1), here and in every process the tests start.
- Each test has 15 minutes (GORT_TEST_TIMEOUT in seconds, or its `timeout` marker): far more than any takes,
  since only a hang may end there. Then all goroutines and all threads are dumped to the real stderr and the
  test fails; if even that does not end it, the process is ended. An alarm in the main thread does it, not a
  watching thread: a thread that could still send makes a deadlock no deadlock. (pytest-timeout is not used
  for that reason, and because it knows nothing of goroutines.)
- After each test no thread named gort-*, no new descriptor and no goroutine may be left.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

_debug = os.environ.get("GODEBUG", "")
if "lockrank=" not in _debug:
    os.environ["GODEBUG"] = ",".join(filter(None, [_debug, "lockrank=1"]))
sys.path.insert(0, str(Path(__file__).parent))

# A shell starts its background jobs with Ctrl-C ignored, nohup ignores SIGHUP, and a child inherits that: then no test of
# these signals could pass.
for _signum in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
    if signal.getsignal(_signum) is signal.SIG_IGN:
        signal.signal(_signum, signal.default_int_handler if _signum == signal.SIGINT else signal.SIG_DFL)

# The files of tests of what stands on the runtime: they call it as any program does, and most of them run programs.
ABOVE = (
    "http/",
    "net/test_http",
    "net/test_net_examples",
    "net/test_examples",
    "test_anywhere",
    "test_bench",
    "test_cli",
    "test_cluster",
    "test_docs",
    "test_drivers",
    "test_examples",
    "test_lazy",
    "test_metrics",
    "test_pytest_plugin",
    "test_see",
    "test_trace",
    "typing/",
)

DEFAULT_LIMIT_S = float(os.environ.get("GORT_TEST_TIMEOUT", "900"))
GRACE_S = 10.0


class OutOfTime(BaseException):
    """A test used up its time. Not an Exception: the code under test must not catch it."""


_stderr = sys.stderr  # replaced by pytest's own, uncaptured one in pytest_configure
_armed = ("", 0.0)
_last_resort = 0.0  # when faulthandler ends the process, by time.monotonic


def end_after(seconds: float, more: float) -> None:
    """Has faulthandler end the process in `seconds` at the earliest and `more` later at the latest.

    It starts a thread for that, and waits for the one before to end. Three times in each test that would take longer than
    most tests, so an end that is far enough off is left."""
    global _last_resort
    now = time.monotonic()
    if not now + seconds <= _last_resort <= now + seconds + more:
        _last_resort = now + seconds + more
        faulthandler.dump_traceback_later(seconds + more, exit=True, file=_stderr)


def _on_alarm(_signum: int, _frame: FrameType | None) -> None:
    """In the main thread, between two bytecodes, also while the scheduler waits there."""
    name, limit = _armed
    end_after(GRACE_S, 0)  # if what follows does not end it
    print(f"\n=== {name}: not done after {limit} s. All goroutines:", file=_stderr, flush=True)
    try:
        import gort

        print(gort.runtime.stack(all=True), file=_stderr, flush=True)
    except Exception as exc:
        print(f"no dump of goroutines: {exc!r}", file=_stderr, flush=True)
    print("=== All threads:", file=_stderr, flush=True)
    faulthandler.dump_traceback(_stderr, all_threads=True)
    raise OutOfTime("the test used up its time; all goroutines and threads were dumped to stderr")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    global _stderr
    config.addinivalue_line("markers", "timeout(seconds): the time this test may take")
    if threading.current_thread() is threading.main_thread():
        _stderr = os.fdopen(os.dup(2), "w")  # stderr is pytest's own here; later it is the captured one
        signal.signal(signal.SIGALRM, _on_alarm)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`make test` runs less of the same, as noxfile.py asks for it.  What runs `once` runs whole.

    - Where CI is not set (GORT_TEST_HALF): of the cases of one test, which differ in a parameter, one core runs every
      second one, and the other core the others.
    - Where CI is not set, and in CI on all interpreters but the main one (GORT_TEST_EITHER): of the tests of what stands
      on the runtime and is not part of it (ABOVE), one core runs every second one, and the other core the others."""
    import gort
    from support import FULL

    half = not FULL and bool(os.environ.get("GORT_TEST_HALF"))
    either = half or bool(os.environ.get("GORT_TEST_EITHER"))
    cases: dict[str, list[pytest.Item]] = {}
    for item in items if half or either else []:
        if not (item.get_closest_marker("once") or item.get_closest_marker("lint")):
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    left_out = set()
    for name, same in cases.items():
        first = (zlib.crc32(name.encode()) + gort.runtime.compiled) % 2  # not the same number of Ps in all tests
        if either and name.removeprefix("tests/").startswith(ABOVE) and (len(same) > 1 or first):
            left_out |= set(same) - set(same[first::2])
        elif half:
            left_out |= set(same) - set(same[first::2] or same)
    config.hook.pytest_deselected(items=[item for item in items if item in left_out])
    items[:] = [item for item in items if item not in left_out]


def pytest_collection_finish() -> None:
    """What the tests are made of is left out of the collection after each: that takes longer than most of them do."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    global _stderr
    faulthandler.cancel_dump_traceback_later()
    if _stderr is not sys.stderr:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        _stderr.close()
        _stderr = sys.stderr


def pytest_report_header() -> str:
    import gort

    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    core = "compiled" if gort.runtime.compiled else "uncompiled"
    return f"gort: {core} core, {'with' if gil else 'without'} the GIL, GODEBUG={os.environ['GODEBUG']}"


def _wakes_nobody() -> None:
    """Tells gort that our alarm's handler, faulthandler's thread and those of sanitizers wake no goroutine: a handler or
    a thread that it does not know makes a deadlock no deadlock."""
    from gort._runtime.core import machine
    from gort._runtime.watch import external, signals

    signals.harmless[:] = [_on_alarm]
    external.harmless.clear()
    external.harmless.update((machine.os_threads() or set()) - {t.native_id or 0 for t in threading.enumerate()})


def _limited(item: pytest.Item) -> Iterator[None]:
    """Runs one phase of a test under its time limit."""
    global _armed
    marker = item.get_closest_marker("timeout")
    limit = float(marker.args[0]) if marker and marker.args else DEFAULT_LIMIT_S
    _armed = (item.nodeid, limit)
    signal.setitimer(signal.ITIMER_REAL, limit)
    end_after(limit + GRACE_S, 60)
    _wakes_nobody()
    try:
        return (yield)
    except OutOfTime as exc:
        pytest.fail(str(exc), pytrace=False)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Iterator[Any]:
    """Shows with a deadlock what each goroutine waited for."""
    report = yield
    if call.excinfo is not None and (dump := getattr(call.excinfo.value, "dump", "")):
        report.sections.append(("All goroutines", dump))
    return report


pytest_runtest_setup = pytest_runtest_call = pytest_runtest_teardown = pytest.hookimpl(wrapper=True)(_limited)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Fails a test that leaves a scheduler thread, a descriptor or a goroutine."""
    import gort
    from gort._runtime.core.debugvars import gil_enabled
    from support import gort_threads, open_files, settles

    before = open_files()
    yield
    assert settles(lambda: not gort_threads()), f"threads left: {gort_threads()}"
    settled = settles(lambda: set(open_files()) <= set(before))
    assert settled, f"descriptors left: { {k: v for k, v in open_files().items() if k not in before} }"
    if gort.runtime.num_goroutine() or gil_enabled():  # without the GIL nothing is frozen: 13 ms a test
        gc.collect()
        gc.freeze()  # what pytest keeps of each test would make each collection longer
    assert gort.runtime.num_goroutine() == 0


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Self-signed certificates of two names."""
    from support import make_certificate

    folder = tmp_path_factory.mktemp("certs")
    return {name: make_certificate(folder, name) for name in ("localhost", "other.test")}


@pytest.fixture(params=[1, 4], ids=["procs1", "procs4"])
def procs(request: pytest.FixtureRequest) -> int:
    """How many Ps: one (every order is fixed) and more than there are cores (threads get in each
    other's way)."""
    return int(request.param)


@pytest.fixture
def run(procs: int) -> Callable[..., Any]:
    """gort.run with that many Ps."""
    import gort

    def run(main: Callable[..., Any], *args: Any) -> Any:
        return gort.run(main, *args, procs=procs)

    return run


@pytest.fixture
def run1(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """gort.run with one P that sysmon takes from nobody, for tests of an order.

    A thread that the machine gives no processor for a millisecond looks blocked to sysmon, which hands its P on. Then two
    goroutines run at a time, and the order is no longer the scheduler's. A test of hand-offs calls gort.run itself.
    """
    import gort
    from support import keeps_its_p

    keeps_its_p(monkeypatch)

    def run(main: Callable[..., Any], *args: Any) -> Any:
        return gort.run(main, *args, procs=1)

    return run
