"""`gort xray` as a user types it: text, JSON, the page, the comparison, options that are wrong."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from browser import Browser
from gort.cli import _xray as command_module
from gort.cli.xray import command
from gort.xray.boot.follow import Options, xray
from gort.xray.emulate import native
from gort.xray.errors import XrayError
from gort.xray.show import bench, peer
from gort.xray.show.html import render
from gort.xray.show.vs_gort import compare
from support import FULL

UNTIL = ("runtime.main", "main.main", "exit")
HERE = Path(__file__).parent
SOURCES = HERE.parent.parent / "src"


def gort(*args: str, status: int = 0, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(SOURCES), **(env or {})}
    done = subprocess.run(
        [sys.executable, "-m", "gort", "xray", *args],
        capture_output=True,
        text=True,
        env=environment,
        timeout=50,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done


@pytest.mark.go
def said(stderr: str) -> list[str]:
    """Its lines without those that tell of the progress of a run that takes longer than a second: a busy machine's."""
    return [line for line in stderr.splitlines() if not line.startswith("xray: ")]


def test_json_keeps_the_contract(hello: Path) -> None:
    data = json.loads(gort(str(hello), "--json", "--env", "GOMAXPROCS=3").stdout)
    assert {"static", "stations", "state"} <= data.keys()
    assert data["static"]["go_version"].startswith("go1.")
    for s in data["stations"]:
        assert {"name", "address", "instructions", "registers", "changed", "parent"} <= s.keys()
        assert s["parent"] is None or data["stations"][s["parent_index"]]["name"] == s["parent"]
        assert s["parent_index"] is None or s["parent_index"] < s["index"]
    state = data["state"]
    assert state["gomaxprocs"] == 3
    assert state["sched"]["maxmcount"] == 10000
    assert [p["id"] for p in state["allp"]] == [0, 1, 2]
    assert state["g0"]["m"] == state["m0"]["address"]
    assert state["m0"]["g0"] == state["g0"]["address"]
    assert state["g0"]["stack"]["hi"] - state["g0"]["stack"]["lo"] == 65536


@pytest.mark.go
def test_the_text_reads_as_the_boot(hello: Path) -> None:
    text = gort(str(hello), "--until", "exit", "--env", "GOMAXPROCS=3").stdout
    for part in (
        "_rt0_amd64_linux",
        "&m0.tls+8",
        "arch_prctl(0x1002",
        "sched.maxmcount: 0 → 10000",
        "GOMAXPROCS 3",
        "ended with status 0",
        "it wrote: Hello, world",
        "sysmon started on a new M",
        "is .text",
    ):
        assert part in text, part
    assert text.index("runtime.schedinit") < text.index("runtime.newproc ") < text.index("runtime.mstart ")


@pytest.mark.go
def test_static_emulates_nothing(hello: Path) -> None:
    text = gort(str(hello), "--static").stdout
    assert "the boot's calls, from the code" in text
    assert "instructions" not in text


@pytest.mark.go
def test_disasm_and_arguments(hello: Path) -> None:
    text = gort(str(hello), "--until", "runtime.check", "--disasm", "--argv", "one", "--argv", "two").stdout
    assert "cpuid" in text
    assert "call" in text
    with xray(hello, Options(until="runtime.check", argv=["hello", "one", "two"])) as report:
        assert report.boot is not None
        assert report.boot.stations[0].registers["rsp"] % 16 == 0


@pytest.mark.go
def test_arguments_behind_two_dashes_are_the_programs(build: Callable[..., Path]) -> None:
    program = build("echo", "default")
    ours = gort(str(program), "--until", "exit", "--", "--json", "-x", "two words").stdout
    same = gort(str(program), "--until", "exit", "--argv=--json", "--argv=-x", "--argv", "two words").stdout
    assert ours == same
    assert "--json -x two words" in ours


@pytest.mark.go
@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--arch", "riscv64"], "--arch riscv64: the file is for amd64"),
        (["--until", "main.mian"], "did you mean main.main"),
        (["--env", "GOMAXPROCS"], "NAME=VALUE"),
        (["--static", "--html", "x.html"], "--static"),
        (["--html", "/nonexistent/x.html"], "No such file"),
        (["--steps", "0"], "--steps"),
    ],
)
def test_wrong_options_get_one_line(hello: Path, args: list[str], says: str) -> None:
    done = gort(str(hello), *args, status=2)
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("options", [[], ["--json"], ["--static"]])
def test_a_report_that_cannot_be_written_is_one_line(hello: Path, options: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "gort", "xray", str(hello), *options],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=120,
        )
    assert done.returncode == 2
    assert said(done.stderr) == ["gort xray: the report cannot be written: No space left on device"]


def test_wrong_files_get_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path, Path(sys.prefix) / "pyvenv.cfg", Path(__file__)):
        if path.exists() or path.name == "missing":
            done = gort(str(path), status=2)
            assert len(done.stderr.strip().splitlines()) == 1, done.stderr
            assert done.stdout == ""


@pytest.mark.go
def test_a_missing_library_is_named(hello: Path, tmp_path: Path) -> None:
    (tmp_path / "unicorn.py").write_text("raise ImportError('hidden')\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{SOURCES}"}
    done = subprocess.run(
        [sys.executable, "-m", "gort", "xray", str(hello)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=50,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("gort xray: the 'unicorn' library is missing: pip install 'gort[xray]'")
    assert done.stderr.count("gort xray") == 1


@pytest.mark.go
def test_vs_gort(hello: Path) -> None:
    data = json.loads(gort(str(hello), "--vs-gort", "--json").stdout)
    matched = {r["gort"]["name"] for r in data["rows"] if r["gort"] and r["go"]}
    assert {
        "_rt0",
        "rt0_go",
        "settls",
        "bind",
        "check",
        "args",
        "osinit",
        "schedinit",
        "mcommoninit",
        "procresize",
        "newproc",
        "mstart",
    } <= matched
    assert data["matched"] == len(matched)
    assert "raceinit" in data["only_gort"]
    assert "runtime.checkfds" in data["only_go"]
    assert {s["name"]: s["go"] for s in data["state"] if s["name"] == "maxmcount"} == {"maxmcount": 10000}
    text = gort(str(hello), "--vs-gort").stdout
    assert "the two boots" in text


@pytest.mark.go
def test_gort_boot_compares_itself_with_a_file(hello: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gort", "boot", "--vs", str(hello), "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = [[r["gort"] and r["gort"]["name"], r["go"] and r["go"]["names"]] for r in json.loads(done.stdout)["rows"]]
    same = json.loads(gort(str(hello), "--vs-gort", "--json").stdout)["rows"]
    assert names == [[r["gort"] and r["gort"]["name"], r["go"] and r["go"]["names"]] for r in same]


@pytest.mark.go
def test_comparison_matches_by_name(hello: Path) -> None:
    with xray(hello, Options()) as report:
        assert report.boot is not None
        record = {
            "steps": [
                {"name": n, "parent": None, "status": "ok", "ns": 1, "detail": {}}
                for n in ("osinit", "maxmcount", "stackinit", "nonsense")
            ],
            "state": {},
        }
        rows = {r["gort"]["name"]: r["go"] for r in compare(report.boot, record)["rows"] if r["gort"]}
    assert rows["osinit"]["names"] == ["runtime.osinit"]
    assert rows["maxmcount"] == {
        "names": ["sched.maxmcount"],
        "how": "field",
        "instructions": None,
        "changed": [0, 10000],
    }
    assert rows["stackinit"]["how"] == "inlined"
    assert rows["nonsense"] is None


@pytest.mark.go
def test_the_page_is_self_contained_and_draws(hello: Path, tmp_path: Path) -> None:
    page = tmp_path / "boot.html"
    gort(str(hello), "--html", str(page), "--env", "GOMAXPROCS=3", "--until", "exit")
    text = page.read_text()
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text
    assert "src=" not in text
    assert "runtime.schedinit" in text
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: the page's script was not run")
    done = subprocess.run(
        [node, str(HERE / "page.js"), str(page)], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    drawn = json.loads(done.stdout)
    assert drawn["events"] > 200
    assert drawn["rows"] > 100
    assert drawn["crossed"] == []
    last = str(drawn["events"])
    assert drawn["keys"] == ["1", "2", "12", "11", last, f"{last} not taken", "2", "1"]
    assert "thread 1001" in drawn["graph"]
    assert "maxmcount 10000" in drawn["graph"]
    assert "allp[2]" in drawn["graph"]
    assert "65,536 bytes" in drawn["stack"]
    assert "Hello, world" in drawn["detail"]


@pytest.mark.go
@pytest.mark.skipif(Browser.path() is None, reason="needs Chromium")
def test_the_list_follows_the_events_and_the_page_stays(hello: Path, tmp_path: Path) -> None:
    """On a narrow window the list lies far below the slider, which must stay where the finger is."""
    page = tmp_path / "boot.html"
    gort(str(hello), "--html", str(page))
    edges = "(r => [r.top, r.bottom])(document.querySelector('{}').getBoundingClientRect())"
    browser = Browser()
    try:
        browser.view(420, 500, dark=False)
        browser.go(f"{page.as_uri()}#1")
        browser.until("document.querySelectorAll('.row.now').length === 1")
        last = browser.run("Number($('at').max)")
        for event in (last // 2, last, 0):
            browser.run(f"show({event})")
            assert browser.run("window.scrollY") == 0
            row, around = browser.run(f"[{edges.format('.row.now')}, {edges.format('#list')}]")
            assert around[0] <= row[0] <= row[1] <= around[1]
        assert browser.run("document.documentElement.scrollWidth <= 420")
        assert browser.errors == []
    finally:
        browser.close()


@pytest.mark.go
def test_nothing_of_the_program_becomes_markup(build: object, hello: Path) -> None:
    with xray(hello, Options(argv=["</script><img src=x>"])) as report:
        report.static.image.path = "</script><script>alert(1)</script>"
        text = render(report)
    assert text.count("</script>") == 1
    assert "<img" not in text


@pytest.mark.go
def test_a_crash_of_the_emulator_is_a_message(hello: Path, tmp_path: Path) -> None:
    # A unicorn without the library of its own, whose binding kills the process as a segmentation fault would.
    (tmp_path / "unicorn").mkdir()
    (tmp_path / "unicorn" / "__init__.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    done = gort(str(hello), status=2, env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{SOURCES}"})
    assert "the emulator itself ended with SIGSEGV" in done.stderr
    assert len(said(done.stderr)) == 1


@pytest.mark.go
def test_ctrl_c_ends_a_long_run(build: Callable[..., Path]) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "gort", "xray", str(build("busy", "default")), "--until", "exit", "--argv", "forever"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        assert "instructions" in process.stderr.readline()  # it runs, and will for long
        status = Path(f"/proc/{process.pid}/status")
        if status.exists():
            # The process that waits for the emulation ignores Ctrl-C: an exception could come when waitpid has taken the
            # child's status and not returned it yet.
            ignored = next(x for x in status.read_text().splitlines() if x.startswith("SigIgn:"))
            assert int(ignored.split()[1], 16) >> (signal.SIGINT - 1) & 1
        os.killpg(process.pid, signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(30) == 130
    assert "Traceback" not in rest


@pytest.mark.go
def test_libraries_are_found_through_their_bindings_too(hello: Path) -> None:
    """Only the bindings understand LIBUNICORN_PATH and LIBCAPSTONE_PATH: where they are set, the bindings are asked."""
    places = {}
    for package in ("unicorn", "capstone"):
        spec = importlib.util.find_spec(package)
        assert spec is not None
        places[f"LIB{package.upper()}_PATH"] = str(Path(spec.submodule_search_locations[0]) / "lib")  # type: ignore[index]
    ours = gort(str(hello), "--json", "--disasm", "--cpus", "2")
    theirs = gort(str(hello), "--json", "--disasm", "--cpus", "2", env=places)
    assert theirs.stdout == ours.stdout


def test_a_library_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    real = native._library("unicorn")

    class Older:
        uc_version = staticmethod(lambda *_: 0)

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    monkeypatch.setattr(native, "_library", lambda _: Older())
    monkeypatch.setattr(native, "_int", lambda: ctypes.c_int(1))
    with pytest.raises(XrayError, match=r"needs unicorn 2\.1, not 1\.1: pip install -U unicorn"):
        native.Engine(4, 8)


def test_the_ordinary_options_are_clicks() -> None:
    """`gort xray` reads most options without click: they must be the same, with the same defaults and bounds."""
    known = {}
    for param in command.params:
        if not isinstance(param, click.Option) or param.name in command_module.RARE:
            continue
        kind = "flag" if param.is_flag else "texts" if param.multiple else "text"
        bounds: tuple[float | None, float | None] = (0, None)
        if isinstance(param.type, click.IntRange):
            kind, bounds = "number", (param.type.min, param.type.max)
        known[param.opts[0]] = (param.name, kind, bounds)
    mine = {name: (o.parameter, o.kind, (o.low, o.high)) for name, o in command_module.OPTIONS.items()}
    assert mine == known


@pytest.mark.parametrize(
    "args",
    [
        ["f"],
        ["f", "--static"],
        ["--until", "exit", "f", "--json", "--full", "--disasm", "--vs-gort"],
        ["f", "--steps=5", "--memory", "16", "--cpus", "1024"],
        ["--env", "A=1", "--env=B=2", "f", "--argv", "x", "--argv=", "--argv", "y z"],
        ["f", "--until=", "--static", "--static"],
    ],
)
def test_the_ordinary_arguments_mean_what_click_says(args: list[str]) -> None:
    assert command_module.ordinary(args) == command.make_context("xray", list(args)).params


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["f", "g"],
        ["f", "--help"],
        ["f", "--json=1"],
        ["f", "--unknown"],
        ["f", "--until"],
        ["f", "--argv", "-x"],
        ["--", "f"],
        ["-", "f"],
        ["f", "--cpus", "0"],
        ["f", "--cpus", "1025"],
        ["f", "--steps", "1_000"],
        ["f", "--steps", "٣"],
        ["f", "--memory", "lots"],
        ["f", "--html", "out"],
    ],
)
def test_all_other_arguments_are_left_to_click(args: list[str]) -> None:
    assert command_module.ordinary(args) is None


def test_the_boot_needs_no_large_module(hello: Path) -> None:
    """These modules cost more to import than they are worth on the way to runtime.main."""
    code = (
        "import sys, os\nfrom gort.cli import _xray\n_xray._guard = lambda work: work()\n"
        f"_xray.run(**_xray.ordinary([{str(hello)!r}, '--until', 'runtime.main']))\n"
        "found = [m for m in ('click', 'rich', 'unicorn', 'capstone', 'lief', 'elftools', 'dataclasses', 'typing', 're',"
        " 'enum', 'json', 'random', 'subprocess', 'inspect') if m in sys.modules]\nprint(found, file=sys.stderr)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(SOURCES)!r})\n{code}"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=50,
        check=False,
    )
    assert said(done.stderr) == ["[]"]
    assert "runtime.main was reached" in done.stdout


def test_progress_is_shown_after_a_second(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = [100.0]
    monkeypatch.setattr(command_module.time, "monotonic", lambda: now[0])
    progress = command_module._Progress()
    now[0] = 100.9
    progress(1_000_000, "runtime.schedinit")
    assert capsys.readouterr().err == ""
    now[0] = 101.5
    progress(3_000_000, "runtime.main")
    assert "3.0 M instructions, 2.0 M/s, after runtime.main" in capsys.readouterr().err


@pytest.mark.go
@pytest.mark.slow
@pytest.mark.skipif(not FULL, reason="six seconds of a processor: where CI is set")
def test_bench_measures_every_row(hello: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_LEAST_ROUNDS", 2)
    rows = bench.measure(1, [str(hello)])
    names = [r["name"] for r in rows]
    assert names[:2] == ["gort xray hello --until runtime.main", "gort xray hello --until exit"]
    assert [r["target"] for r in rows[:2]] == [0.2, 2.0]
    assert [n for n in names if n.startswith("hello to")] == [f"hello to {n}" for n in UNTIL]
    measured = [r for r in rows if not r["name"].startswith("qiling")]  # it is not installed, or may fail
    assert all(0 < r["fastest"] <= r["median"] <= r["slowest"] for r in measured)
    assert [r["target"] for r in rows if r["name"].startswith("static part of large")] == [1.0]
    boot, plain = (next(r for r in rows if r["name"] == f"{by} {hello.name}") for by in ("gort xray", "unicorn"))
    assert "goal 350: met" in boot["note"]
    assert re.fullmatch(r"without gort's hooks; \d+ MiB", plain["note"])


def test_bench_counts_the_memory_of_the_command_alone() -> None:
    """Not that of the process which started it, as wait4 does in Linux."""
    large = b"x" * (200 << 20)
    memory = bench._as_process([sys.executable, "-c", "pass"], 1).memory
    del large
    assert 1 << 10 < memory < 100 << 10


def test_a_program_that_the_bench_cannot_run_is_named(build: Callable[..., Path]) -> None:
    with pytest.raises(XrayError, match="no Linux program"):
        peer.plain(str(build("hello", "windows-amd64")), 2)
