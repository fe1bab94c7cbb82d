"""What the runtime tells on stderr, and when there is none: schedtrace, blocked calls, inittrace, SIGQUIT, a throw."""

from __future__ import annotations

import itertools
import os
import re
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

import gort
from gort._runtime.core import machine, runtime2
from gort._runtime.core.machine import RUNS, WAITS_INSIDE
from gort._runtime.sched import predict
from gort._runtime.watch import reports
from support import dose, environment, python, settles

# --- GODEBUG=schedtrace -------------------------------------------------------------------------


def trace_of(
    run1: Callable[..., Any], capfd: pytest.CaptureFixture[str], detail: int, prepare: Callable[[], None]
) -> str:
    """What schedtrace prints in the middle of a program with one P."""

    async def main() -> str:
        prepare()
        m = runtime2.current_m()
        m.sched.debug = m.sched.debug | {"scheddetail": detail}
        capfd.readouterr()
        reports.schedtrace(m.sched, 7_900_000, 2_000_000)
        return capfd.readouterr().err

    return run1(main)  # type: ignore[no-any-return]


async def nothing() -> None:
    pass


def test_g8_schedtrace_counts_as_go_does(run1: Callable[..., Any], capfd: pytest.CaptureFixture[str]) -> None:
    """The goroutine in runnext is not in the queue; sysmon's thread is a thread. The form is real Go's:
    tests/fidelity holds it."""

    def three() -> None:
        for _ in range(3):
            gort.go(nothing)

    line = r"SCHED 5ms: gomaxprocs=1 idleprocs=0 threads=2 spinningthreads=0 needspinning=0 idlethreads=0 runqueue=0 "
    assert re.fullmatch(line + r"\[ 2 \] schedticks=\[ \d+ \]\n", trace_of(run1, capfd, 0, three))
    assert re.fullmatch(line + r"\[ 0 \] schedticks=\[ \d+ \]\n", trace_of(run1, capfd, 0, lambda: gort.go(nothing)))


def test_g8_scheddetail_tells_who_runs_where(run1: Callable[..., Any], capfd: pytest.CaptureFixture[str]) -> None:
    """P, M and G refer to each other; nil where there is none."""

    def locks() -> None:
        gort.runtime.lock_os_thread()
        gort.go(nothing)
        gort.after_func(3600, nothing)

    text = trace_of(run1, capfd, 1, locks)
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


# --- GODEBUG=inittrace --------------------------------------------------------------------------


def test_inittrace_prints_each_step_of_the_boot() -> None:
    """When it began and how long it took, in Go's form, with what it found."""
    code = (
        "import gort\nasync def main(): print(len([s for s in gort.runtime.boot()['steps'] if s['status'] == 'ok']))\n"
    )
    done = python(code + "gort.run(main)\n", env=environment(GODEBUG="inittrace=1"))
    lines = done.stderr.splitlines()
    found = [re.fullmatch(r"init (\w+) @(\d+\.\d{3}) ms, (\d+\.\d{3}) ms clock, \{.*\}", line) for line in lines]
    assert all(found)
    assert len(found) == int(done.stdout)
    ends = [float(m[2]) + float(m[3]) for m in found if m]
    assert all(b - a > -0.002 for a, b in itertools.pairwise(ends))  # printed as each ends; the numbers are rounded


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
    await gort.sleep(3600 if sys.argv[2] in ("SIGQUIT", "throw") else 0.05)
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


# --- GODEBUG=blocked=1 --------------------------------------------------------------------------


class World:
    """A program in virtual time whose calls block; what is told of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000 * MS
        self.cpu = 0
        self.told: list[str] = []
        self.s = SimpleNamespace(debug={"blocked": 1}, onblocked=None, blockedcalls=None, blockedns=0)
        self.s.predictor = predict.Predictor(None, 1, True)
        self.s.predictor.on = False  # it learns nothing: s is no Sched
        self.line = 1
        monkeypatch.setattr(reports, "nanotime", lambda: self.now)
        monkeypatch.setattr(reports, "say", self.told.append)
        monkeypatch.setattr(
            reports.traceback, "running", lambda ident: [("f", "file.py", self.line), ("main", "file.py", 99)]
        )

    def begins(self, number: int = 1, inside: bool = False) -> SimpleNamespace:
        """The M `number` is found blocked, for 2 ms already."""
        g = SimpleNamespace(goid=number)
        m = SimpleNamespace(id=number, ident=number, procid=number, curg=g, p=None)
        reports.blocked(self.s, m, self.now - 2 * MS, self.cpu, 7, inside)
        return m

    def look(self, ns: int, cpu: int = 0) -> None:
        """sysmon's next round, ns later."""
        self.now += ns
        self.cpu += cpu
        reports.settle(self.s, lambda m: self.cpu)

    def call(self, ns: int) -> None:
        """A call that blocks for 2 ms + ns."""
        m = self.begins()
        self.now += ns
        m.curg = None
        self.look(0)


MS = 1_000_000


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_a_blocked_call_is_told_when_it_is_over(world: World) -> None:
    m = world.begins()
    world.look(5 * MS)
    assert world.told == []
    m.curg = None
    world.look(MS)
    assert world.told == ["gort: goroutine 1 blocked its thread for 8.0 ms: f (file.py:1), main (file.py:99)\n"]
    assert world.s.blockedns == 8 * MS


def test_a_place_is_told_at_once_and_at_the_end(world: World) -> None:
    """Each in one line; at the end with the number of the calls, their time in all, and the longest."""
    for _ in range(300):
        world.call(3 * MS)
    for _ in range(2000):
        world.look(MS)
    assert len(world.told) == 1
    world.line = 2
    world.call(20 * MS)
    assert len(world.told) == 2
    assert "file.py:2" in world.told[1]
    world.line = 1
    world.call(3 * MS)
    assert len(world.told) == 2
    lines = [
        "gort: 301 calls blocked a thread, for 1505.0 ms in all and 5.0 ms at most: f (file.py:1), main (file.py:99)\n",
        "gort: 1 call blocked a thread, for 22.0 ms in all and 22.0 ms at most: f (file.py:2), main (file.py:99)\n",
    ]
    assert reports.places(world.s) == "".join(lines)  # as `gort dump PID` shows them
    reports.finish(world.s)  # the program ends
    assert world.told[2:] == ["".join(lines)]
    assert world.s.blockedns == 301 * 5 * MS + 22 * MS


def test_calls_that_were_expected_are_told_as_well(world: World) -> None:
    """The predictor tells their place only; the text is that of the call that has taught it."""
    world.call(3 * MS)
    for ns in (4 * MS, 6 * MS):
        world.s.predictor.told.append((2, 7, ns))
    world.look(2_000 * MS)
    world.s.predictor.told.append((2, 7, 5 * MS))
    reports.finish(world.s)
    assert len(world.told) == 2
    assert world.told[1].startswith(
        "gort: 4 calls blocked a thread, for 20.0 ms in all and 6.0 ms at most: f (file.py:1)"
    )


def test_without_blocked_calls_nothing_is_told(world: World) -> None:
    assert reports.places(world.s) == ""


def test_what_is_computed_after_a_call_is_not_counted(world: World) -> None:
    """The goroutine goes on without a P and does not come to the scheduler. Its call is over when its thread uses CPU."""
    world.begins()
    world.look(10 * MS, cpu=0)
    world.look(10 * MS, cpu=9 * MS)
    world.look(500 * MS, cpu=500 * MS)
    assert len(world.told) == 1
    assert world.told[0].startswith("gort: goroutine 1 blocked its thread for 12.0 ms: f ")


def test_a_thread_that_is_blocked_again_has_ended_its_call(world: World) -> None:
    """Between two rounds of sysmon it was in the scheduler and has lost its P once more."""
    world.begins()
    world.look(MS)
    world.now += 2 * MS
    world.begins().curg = None
    world.look(0)
    assert world.s.blockedns == 3 * MS + 2 * MS
    reports.finish(world.s)
    assert len(world.told) == 2


@pytest.mark.parametrize("back", [False, True])
def test_who_waits_for_a_lock_of_pythons_is_told_after_long(
    world: World, monkeypatch: pytest.MonkeyPatch, back: bool
) -> None:
    """Without the GIL.  What it computes once it has its lock does not count, however little of a processor it gets."""
    does = [WAITS_INSIDE]
    monkeypatch.setattr(reports, "doing", lambda procid: does[0])
    for wait in (50 * MS, 200 * MS):
        m = world.begins(inside=True)
        world.look(wait)
        if back:
            m.curg = None
        else:
            does[0] = RUNS
        world.look(1_000 * MS, cpu=50 * MS)
        does[0] = WAITS_INSIDE
    assert world.told == [told for told in world.told if "blocked its thread for 202.0 ms: f " in told]
    assert len(world.told) == 1


def test_who_is_stopped_by_a_collection_is_not_told(world: World) -> None:
    reports.collects("start", {})
    world.begins(inside=True).curg = None
    assert world.s.blockedcalls is None
    reports.collects("stop", {})
    world.now += MS
    world.begins(inside=True).curg = None  # its 2 ms were partly of the collection
    assert world.s.blockedcalls is None
    world.now += 2 * MS
    world.begins(inside=True)
    assert world.s.blockedcalls is not None


GIL = getattr(sys, "_is_gil_enabled", lambda: True)()


@pytest.mark.skipif(not GIL or not sys.platform.startswith("linux"), reason="there is no GIL, or nobody tells")
def test_a_thread_that_waits_for_the_gil_is_told_from_one_that_is_blocked() -> None:
    """Of threads that compute some always wait for the GIL; one in a call never does."""
    over, lock = threading.Event(), threading.Lock()
    lock.acquire()
    there, there_too = os.pipe()
    ms: list[SimpleNamespace] = []

    def thread(fn: Callable[..., object], *args: Any) -> threading.Thread:
        m = SimpleNamespace(procid=0)
        ms.append(m)

        def run() -> None:
            m.procid = threading.get_native_id()
            fn(*args)

        t = threading.Thread(target=run)
        t.start()
        return t

    def compute() -> None:
        while not over.is_set():
            pass

    threads = [thread(over.wait), thread(lock.acquire), thread(os.read, there, 1), *(thread(compute) for _ in range(3))]
    try:
        assert settles(lambda: all(m.procid for m in ms))
        waited = [0] * len(ms)

        def for_gil(m: SimpleNamespace) -> bool:
            return machine.doing(m.procid) == machine.WAITS_FOR_GIL

        def look() -> bool:
            for i, m in enumerate(ms):
                waited[i] += for_gil(m)
            return all(waited[3:])

        assert settles(look)
        assert settles(lambda: not any(for_gil(m) for m in ms[:3]))  # each may still be on its way
        before = waited[:3]
        for _ in range(50):
            look()
        assert waited[:3] == before
    finally:
        over.set()
        lock.release()
        os.write(there_too, b"x")
        for t in threads:
            t.join()
        os.close(there)
        os.close(there_too)


def test_a_place_is_not_learnt_without_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine the goroutine may be back before sysmon asks where it is. The calls that are foretold at that
    place were told without a name."""
    learnt: list[int] = []
    predictor = SimpleNamespace(learn=lambda s, place: learnt.append(place))
    s = SimpleNamespace(predictor=predictor, debug={"blocked": 1}, onblocked=None, blockedcalls=None)
    monkeypatch.setattr(reports.traceback, "running", lambda ident: [])
    reports.blocked(s, SimpleNamespace(curg=object(), ident=0, id=1), 0, None, 5, False)
    assert learnt == []
    assert s.blockedcalls is None


def test_blocked_calls_of_a_program() -> None:
    """Many calls that block at one place are told in a few lines."""
    code = (
        "import gort, time\n"
        "async def ticks():\n    while True: await gort.sleep(0.001)\n"
        "async def blocks():\n    for _ in range(100):\n        time.sleep(0.003)\n        await gort.gosched()\n"
        "async def main():\n    gort.go(ticks)\n    await blocks()\n"
        "gort.run(main)\n"
    )
    done = python(code, env=environment(GODEBUG="blocked=1", GOMAXPROCS="1"))
    assert done.returncode == 0
    # A thread that a busy machine gives no processor for milliseconds looks blocked at other places, too.
    told = [line for line in done.stderr.splitlines() if "ms: " in line or "at most: " in line]
    assert "\n".join(told) == done.stderr.rstrip("\n")
    first, last = [line for line in told if re.search(r": [^,]*blocks \(<string>:6\)", line)]
    assert re.match(
        r"gort: goroutine 1 blocked its thread for \d+\.\d ms: .*blocks \(<string>:6\), .*main \(<string>:10\)$", first
    )
    assert re.match(r"gort: \d+ calls blocked a thread, for .* ms at most: .*blocks \(<string>:6\)", last)
    assert "<module>" not in done.stderr


COMPUTES = """
import gort, hashlib, sys, threading, time

def load():
    while not over:
        hashlib.pbkdf2_hmac("sha256", b"p", b"s", 2_000)  # without the GIL

async def computes(how, stretches):
    for _ in range(stretches):
        end = time.thread_time() + 0.004
        while time.thread_time() < end:
            how()
        await gort.gosched()

def in_python():
    sum(range(1000))

def in_c():
    hashlib.pbkdf2_hmac("sha256", b"p", b"s", 1_000)

def asks_for_memory():
    bytearray(1 << 20)

def makes_lists():
    [[] for _ in range(2000)]

async def main():
    async with gort.Group() as group:
        for how in (in_python, in_c, asks_for_memory, makes_lists) * 2:
            group.go(computes, how, int(sys.argv[1]))

over = False
threads = [threading.Thread(target=load) for _ in range(3)]
for t in threads:
    t.start()
try:
    gort.run(main)
finally:
    over = True
    for t in threads:
        t.join()
"""


COLLECTS = """
import gc, gort, sys, threading, time

def collects():
    kept = [[n] for n in range(500_000)]
    for _ in range(4):
        gc.collect()

async def computes():
    while thread.is_alive():
        end = time.thread_time() + 0.004
        while time.thread_time() < end:
            sum(range(1000))
        await gort.gosched()

async def main():
    if len(sys.argv) > 1:
        gort.runtime.on_blocked(print)
    thread.start()
    async with gort.Group() as group:
        for _ in range(4):
            group.go(computes)

thread = threading.Thread(target=collects)
gort.run(main)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nobody tells what a thread waits for")
@pytest.mark.parametrize("how", ["printed", "called"])
def test_who_is_stopped_by_the_collector_is_not_accused(how: str) -> None:
    """Each collection stops all threads for some 100 ms without the GIL."""
    args, debug = ([], "blocked=1") if how == "printed" else (["called"], "")
    done = python(COLLECTS, *args, env=environment(GODEBUG=debug))
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nobody tells what a thread waits for")
def test_who_computes_is_never_accused() -> None:
    """A thousand stretches that compute (uncompiled a quarter of that), with more threads than processors: they wait for
    the GIL, for a processor, for the kernel's lock of the memory map, and without the GIL for each other's locks."""
    stretches = dose(125 if gort.runtime.compiled else 32)  # of each of eight goroutines
    done = python(COMPUTES, str(stretches), env=environment(GODEBUG="blocked=1"))
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
