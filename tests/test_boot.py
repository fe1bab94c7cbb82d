"""The boot record: every step of Go's boot in Go's order, done or skipped with a reason, and the state
after it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gort
from gort import runtime
from gort._runtime.core import machine
from gort._runtime.watch import sysmon
from support import command, environment, gort_cli

Run = Callable[..., Any]

TOP = ["_rt0", "rt0_go", "_cgo_init", "settls", "bind", "check", "args", "osinit", "schedinit", "newproc", "mstart"]
SCHEDINIT = [
    "lockInit", "raceinit", "maxmcount", "tracebackinit", "moduledataverify", "stackinit", "mallocinit",
    "fastrandinit", "mcommoninit", "cpuinit", "alginit", "modulesinit", "typelinksinit", "itabsinit",
    "msigsave", "goargs", "goenvs", "parsedebugvars", "gcinit", "lastpoll", "procs", "procresize",
    "buildVersion", "modinfo",
]  # fmt: skip

# The Ms that can hold a P while the only goroutine, main, takes the record. m0 made it, and may still look for work.
# newproc woke a second, which may have stolen main from m0's queue. One that finds work wakes one more to look for more.
MOST_MS = 3


def boot_json(**env: str | None) -> dict[str, Any]:
    done = gort_cli("boot", "--json", env=environment(**env))
    assert done.returncode == 0, done.stderr
    record: dict[str, Any] = json.loads(done.stdout)
    return record


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return boot_json(GOMAXPROCS=None)


def is_subsequence(wanted: list[str], names: list[str]) -> str | None:
    """The first of `wanted` that does not come in its turn; None when all do."""
    rest = iter(names)
    return next((w for w in wanted if not any(w == name for name in rest)), None)


def test_every_step_is_there_in_order(record: dict[str, Any]) -> None:
    names = [s["name"] for s in record["steps"]]
    assert is_subsequence(TOP, names) is None, names
    assert is_subsequence(SCHEDINIT, names) is None, names


def test_what_is_only_recorded_says_so(record: dict[str, Any]) -> None:
    """Go uses the guards, gsignal and the signal mask; here nothing does."""
    details = {s["name"]: s["detail"] for s in record["steps"]}
    assert "for comparison only" in details["rt0_go"]["guards"]
    assert "never runs" in details["mcommoninit"]["gsignal"]
    assert "for this record only" in details["msigsave"]["use"]
    assert "libc" in details["_cgo_init"]["reason"]


def test_steps_are_nested_as_in_go(record: dict[str, Any]) -> None:
    """schedinit's parts have it as parent; every parent is a step that began before."""
    parents = {s["name"]: s["parent"] for s in record["steps"]}
    for name in SCHEDINIT:
        assert parents[name] == "schedinit", name
    assert parents["_rt0"] is None
    seen: set[str] = set()
    for step in record["steps"]:
        assert step["parent"] is None or step["parent"] in seen, step
        seen.add(step["name"])


def test_every_step_says_what_it_established_or_why_it_was_skipped(record: dict[str, Any]) -> None:
    parents = {step["parent"] for step in record["steps"]}
    for step in record["steps"]:
        assert set(step) >= {"name", "parent", "status", "ns", "detail"}
        assert step["status"] in ("ok", "done", "skipped"), step
        assert isinstance(step["ns"], int), step
        assert step["ns"] >= 0, step
        assert step["detail"] or step["name"] in parents, f"{step['name']} tells nothing"
    assert any(s["ns"] > 0 for s in record["steps"])
    assert any(s["status"] == "skipped" for s in record["steps"])


def test_state(record: dict[str, Any]) -> None:
    """ncpu, GOMAXPROCS, maxmcount, every M and P with its status, g0's stack bounds."""
    state = record["state"]
    assert 1 <= state["ncpu"] <= len(os.sched_getaffinity(0))
    assert state["maxmcount"] == 10000
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    assert state["gomaxprocs"] == (1 if gil else state["ncpu"])
    assert [p["id"] for p in state["allp"]] == list(range(state["gomaxprocs"]))
    assert all(p["status"] in ("running", "idle") for p in state["allp"])
    assert 0 in [m["id"] for m in state["allm"]]
    assert len(state["allm"]) == state["mcount"] <= MOST_MS
    g0 = state["g0"]
    assert 0 < g0["stack"]["lo"] < g0["stackguard0"] < g0["stack"]["hi"]


@pytest.mark.parametrize("n", [1, 3, 17])
def test_gomaxprocs_gives_that_many_ps(n: int) -> None:
    state = boot_json(GOMAXPROCS=str(n))["state"]
    assert state["gomaxprocs"] == n
    assert [p["id"] for p in state["allp"]] == list(range(n))
    statuses = [p["status"] for p in state["allp"]]
    assert set(statuses) <= {"running", "idle"}
    assert 1 <= statuses.count("running") <= MOST_MS
    assert sum(m["p"] is not None for m in state["allm"]) <= n


def test_godebug_is_read_at_the_boot() -> None:
    """parsedebugvars tells what it took, and names what it does not know without failing."""
    steps = {s["name"]: s for s in boot_json(GODEBUG="lockrank=1,nosuchthing=7")["steps"]}
    text = json.dumps(steps["parsedebugvars"])
    assert "lockrank" in text


def test_tree_for_people_has_the_same_steps() -> None:
    """`gort boot` prints each step with its time, nested, then the state."""
    record = boot_json(GOMAXPROCS="3")
    done = gort_cli("boot", env=environment(GOMAXPROCS="3", COLUMNS="200", NO_COLOR="1"))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    at = 0
    for step in record["steps"]:
        found = next((i for i in range(at, len(lines)) if step["name"] in lines[i]), None)
        assert found is not None, f"{step['name']} is not in the tree, or not in its place"
        at = found
    rest = "\n".join(lines)
    for word in ("ncpu", "GOMAXPROCS", "maxmcount", "running", "skipped"):
        assert word in rest


def test_boot_record_of_a_running_program(run: Run, procs: int) -> None:
    """gort.runtime.boot() tells how the runtime that runs this goroutine came up."""

    async def main() -> Any:
        return runtime.boot()

    record = run(main)
    assert is_subsequence(TOP, [s["name"] for s in record["steps"]]) is None
    assert record["state"]["gomaxprocs"] == procs


def test_g0_bounds_are_the_real_stack(run1: Run) -> None:
    """On the main thread, g0 lies within the mapping that the kernel calls [stack]."""

    async def main() -> Any:
        return runtime.boot()

    stack = run1(main)["state"]["g0"]["stack"]
    line = next(x for x in Path("/proc/self/maps").read_text().splitlines() if x.endswith("[stack]"))
    _, high = (int(x, 16) for x in line.split()[0].split("-"))
    assert stack["lo"] < high
    assert abs(stack["hi"] - high) < 1 << 20, "the stack's upper end is not where the kernel put it"


def test_what_stays_as_it_is_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The main thread's stack, the processor and the auxiliary vector; another thread's stack is asked for each time."""
    stack, cpu, auxv = machine.thread_stack(), machine.cpu_identity(), machine.auxv()
    asked: list[str] = []
    real = machine._thread_stack

    def spy() -> tuple[int, int]:
        asked.append(threading.current_thread().name)
        return real()

    monkeypatch.setattr(machine, "_thread_stack", spy)
    monkeypatch.setattr(machine, "_cpu_identity", lambda: asked.append("cpu"))
    monkeypatch.setattr(machine, "_read_auxv", lambda: asked.append("auxv"))
    assert (machine.thread_stack(), machine.cpu_identity(), machine.auxv()) == (stack, cpu, auxv)
    assert asked == []
    others = []
    for name in ("one", "two"):
        thread = threading.Thread(target=lambda: others.append(machine.thread_stack()), name=name)
        thread.start()
        thread.join()
    assert asked == ["one", "two"]
    if sys.platform.startswith("linux"):
        assert stack not in others
    assert machine.thread_stack() == stack


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_after_a_fork_the_main_thread_has_the_stack_of_the_one_that_forked() -> None:
    machine.thread_stack()
    found: list[int] = []

    def fork() -> None:
        pid = os.fork()
        if pid == 0:
            here = machine._thread_stack()
            right = [machine.thread_stack(), machine.thread_stack()] == [here, here]
            os._exit(0 if right else 1)
        found.append(os.waitpid(pid, 0)[1])

    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
    assert found == [0]


def test_every_run_boots_anew(run: Run) -> None:
    async def main() -> Any:
        return runtime.boot()

    one, two = run(main), run(main)
    assert [s["name"] for s in one["steps"]] == [s["name"] for s in two["steps"]]
    assert one is not two


def test_num_cpu_is_what_this_process_may_use(run: Run) -> None:
    async def main() -> int:
        return runtime.num_cpu()

    assert 1 <= run(main) <= len(os.sched_getaffinity(0))
    assert gort.runtime.num_cpu() == run(main)


def test_affinity_bounds_ncpu() -> None:
    """A process pinned to one CPU has ncpu 1."""
    code = (
        "import os, json; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "import gort; print(gort.runtime.num_cpu())"
    )
    from support import python

    done = python(code)
    assert done.stdout.strip() == "1", done.stderr


@pytest.mark.parametrize("columns", ["80", None])
def test_the_command_crops_nothing_in_a_pipe(columns: str | None) -> None:
    """Each step is one line with all of its details, however wide the terminal would be."""
    done = gort_cli("boot", env=environment(COLUMNS=columns, GOMAXPROCS="3", NO_COLOR="1"))
    lines = {line.lstrip("│├└─ ").partition("  ")[0]: line for line in done.stdout.splitlines()}
    for step in boot_json(GOMAXPROCS="3")["steps"]:
        line = lines[step["name"]]
        if step["status"] == "skipped":
            assert line.endswith(f"skipped: {step['detail']['reason']}")
        elif step["detail"]:
            last = list(step["detail"])[-1] if step["name"] != "rt0_go" else "features"
            assert f"  {last}=" in line


def on_a_terminal(*options: str) -> list[str]:
    """The lines that the command prints on a terminal of 60 columns."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    env = environment(COLUMNS=None, NO_COLOR="1", TERM="xterm", GOMAXPROCS="3")
    process = subprocess.Popen(
        command("boot", *options), stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=env
    )
    os.close(theirs)
    with process, open(ours, "rb", buffering=0) as terminal:
        text = b""
        try:
            while piece := terminal.read(65536):
                text += piece
        except OSError:  # the other side is closed
            pass
    return re.sub(r"\x1b\[[0-9;]*m", "", text.decode()).splitlines()


def test_the_command_wraps_in_a_terminal() -> None:
    """In 60 columns every word is there, and no line is longer."""
    shown = on_a_terminal()
    assert max(map(len, shown)) <= 60
    words = " ".join(line.lstrip("│├└─ ") for line in shown).split()
    for step in boot_json(GOMAXPROCS="3")["steps"]:
        for word in str(step["detail"].get("reason", step["name"])).split():
            assert word in words
    assert any(word.startswith("AT_RANDOM=") for word in words)


def test_wide_lines_stay_whole_on_a_terminal() -> None:
    shown = on_a_terminal("--wide")
    lines = {line.lstrip("│├└─ ").partition("  ")[0]: line for line in shown}
    for step in boot_json(GOMAXPROCS="3")["steps"]:
        assert step["detail"].get("reason", "") in lines[step["name"]]
    assert "AT_RANDOM=" in lines["args"]


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "1>&- 2>&-"])
def test_the_command_with_closed_streams(closed: str) -> None:
    done = subprocess.run(["bash", "-c", f'"$@" {closed}', "-", *command("boot")], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_main_begins_on_the_main_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the main thread is late and other Ps have nothing to do."""
    real = sysmon.start

    def late(s: Any) -> None:
        real(s)
        time.sleep(0.1)  # main is on the queue, and m0 has not come to look there

    async def main() -> bool:
        return threading.current_thread() is threading.main_thread()

    monkeypatch.setattr(sysmon, "start", late)
    assert gort.run(main, procs=4)
