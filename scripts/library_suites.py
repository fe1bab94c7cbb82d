"""Runs the test suites of libraries, from their own sources, on asyncio's loop and on gort.aio.Loop, test by test.

    python scripts/library_suites.py                        # all of SUITES
    python scripts/library_suites.py anyio uvicorn          # some
    GORT_PURE=1 python scripts/library_suites.py anyio      # on the uncompiled core
    python scripts/library_suites.py --write                # and the table in docs/guide-asyncio.md

Each library has a folder below --folder: its sources, an environment with what its tests need, and the outcomes.  The
sources are the sdist of the version that SUITES names, or what lies in the folder already (`NAME-VERSION/`): not every
sdist has its tests.

How gort's loop comes in: asyncio_suites.use_gort.  Both runs are the same but for that.  A test that differs is run again
on both, alone, AGAIN times.  It counts as different when gort's loop has shown an outcome that asyncio's has not; as
unsteady when asyncio's has shown both.  EXPECTED has those that must differ, each with its reason.

What does not live here: CPython's own tests of asyncio (asyncio_suites.py).
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
GUIDE = ROOT / "docs" / "guide-asyncio.md"
TABLE = re.compile(r"(?<=<!-- scripts/library_suites.py writes this -->\n).*?(?=<!-- end -->)", re.DOTALL)
SILENT_S = 90  # a process that has ended no test for so long hangs in one
AGAIN = 3


@dataclass(frozen=True)
class Suite:
    """One library: what it is called, its version, what its tests need, and which they are."""

    name: str
    version: str
    needs: str = ""  # what pip is to install beside it and pytest
    tests: tuple[str, ...] = ("tests",)
    args: tuple[str, ...] = ()
    server: str = ""  # "redis": runs beside it
    within: bool = False  # its tests are part of its package
    user: str = ""  # its tests start a server that does not run as root


SUITES = (
    Suite("uvloop", "0.23.0", "psutil pyOpenSSL aiohttp"),
    Suite(
        "anyio",
        "4.16.0",
        "trustme hypothesis psutil pytest-mock pytest-timeout truststore exceptiongroup",
        args=("-k", "not trio"),
    ),
    Suite(
        "uvicorn",
        "0.54.0",
        "httptools websockets wsproto pyyaml python-dotenv watchfiles httpx httpx2 trustme pytest-mock a2wsgi"
        " typing-extensions trio cryptography pytest-xdist",
    ),
    Suite(
        "httpx",
        "0.28.1",
        "httpx[brotli,zstd,http2,socks,cli] trio trustme uvicorn chardet cryptography",
        args=("-k", "not trio"),
    ),
    Suite(
        "starlette",
        "1.10.0",
        "starlette[full] httpx trio itsdangerous jinja2 python-multipart pyyaml",
        args=("-k", "not trio"),
    ),
    Suite("websockets", "17.0.1", "python-socks[asyncio] mitmproxy werkzeug"),
    Suite(
        "tornado",
        "6.6.1",
        tests=("tornado/test",),
        args=("-o", "python_files=*_test.py", "-p", "no:logging"),
        within=True,
    ),
    Suite(
        "aiohttp",
        "3.14.5",
        "aiohttp[speedups] pytest-mock pytest-cov pytest-timeout trustme freezegun re-assert proxy.py python-on-whales"
        " blockbuster isal zlib-ng setuptools-git coverage pytest-xdist pytest-codspeed time-machine",
        # What runs a loop.  The rest, twice as much, parses and takes half an hour.
        tests=(
            "tests/test_client_functional.py",
            "tests/test_client_session.py",
            "tests/test_client_ws_functional.py",
            "tests/test_connector.py",
            "tests/test_loop.py",
            "tests/test_proxy_functional.py",
            "tests/test_run_app.py",
            "tests/test_test_utils.py",
            "tests/test_web_functional.py",
            "tests/test_web_runner.py",
            "tests/test_web_sendfile_functional.py",
            "tests/test_web_server.py",
            "tests/test_web_websocket_functional.py",
        ),
        args=("-m", "not dev_mode and not autobahn and not internal", "--timeout=60"),
    ),
    Suite("asyncpg", "0.32.0", user="postgres"),
    Suite(
        "redis",
        "8.1.0",
        "pytest-asyncio pytest-timeout mock cryptography numpy packaging PyJWT xxhash requests pytest-cov"
        " opentelemetry-sdk pybreaker redis-entraid aiohttp",
        tests=("tests/test_asyncio",),
        args=(
            "-m",
            "not onlycluster and not redismod and not ssl and not cp_integration and not multidb_integration",
            "--ignore=tests/test_asyncio/test_scenario",
            "--timeout=30",
        ),
        server="redis",
    ),
    Suite("aioquic", "1.7.2"),
)
# "library: test" -> why its outcome differs
EXPECTED: dict[str, str] = {
    "anyio: tests/test_from_thread.py::TestRunAsyncFromThread::test_run_sync_from_thread_pooling": "counts the threads of"
    " the process: gort's own are among them",
    "uvloop: tests/test_base.py::TestBaseAIO::test_thread_name_prefix_in_default_executor": "asks for the name of"
    " a thread of asyncio's executor",
    "uvloop: tests/test_base.py::TestBaseUV::test_thread_name_prefix_in_default_executor": "asks for the same",
    "uvloop: tests/test_libuv_api.py::Test_UV_libuv::test_libuv_get_loop_t_ptr": "reads addresses from a structure of"
    " uvloop's own loop, where others have something else",
    "uvicorn: tests/test_auto_detection.py::test_loop_auto": "asks whether the loop's class is asyncio's own",
    "uvicorn: tests/test_config.py::test_get_loop_factory[asyncio-Loop]": "has the loop's class in its name",
    "uvicorn: tests/test_config.py::test_get_loop_factory[asyncio-_UnixSelectorEventLoop]": "is the same one"
    " on asyncio's loop",
}


# ---- in the process that runs a suite ---------------------------------------------------------------------------------


class Recorder:
    """A plugin of pytest: a line of JSON when a test begins, and one for each of its reports."""

    def __init__(self, out: str, done: set[str], only: set[str]) -> None:
        self.out = open(out, "a")  # noqa: SIM115 - for the life of the process
        self.done = done
        self.only = only
        self.failed = False  # the test that runs

    def write(self, **line: Any) -> None:
        self.out.write(json.dumps(line) + "\n")
        self.out.flush()

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = [i for i in items if i.nodeid not in self.done and (not self.only or i.nodeid in self.only)]

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.write(test=report.nodeid, outcome="not collected", text=str(report.longrepr)[-1500:])

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.write(test=nodeid, outcome="did not end", text="")
        self.failed = False

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """What a failed test has left open (the socket of a fixture, where there is no IPv6) is dropped here, without its
        warnings.  Else they would be errors of whichever later test the collector happens to come in."""
        if self.failed:
            for name in ("last_type", "last_value", "last_traceback", "last_exc"):
                vars(sys).pop(name, None)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                gc.collect()

    def pytest_runtest_logreport(self, report: Any) -> None:
        outcome = report.outcome
        self.failed |= report.failed
        if hasattr(report, "wasxfail"):
            outcome = "xfailed" if report.skipped else "xpassed"
        elif report.failed and report.when != "call":
            outcome = f"failed in {report.when}"
        if report.when == "teardown" or outcome != "passed":
            self.write(
                test=report.nodeid, outcome=outcome, text="" if outcome == "passed" else str(report.longrepr)[-2500:]
            )


def use_for_uvloop(loop: str) -> None:
    """uvloop's own tests are about uvloop: its test cases make the loop that is compared."""
    import asyncio

    import uvloop
    from uvloop import _testbase

    uvloop.new_event_loop = lambda: asyncio.new_event_loop()  # type: ignore[assignment]
    case: Any = _testbase.UVTestCase
    case.implementation = "asyncio"
    case.new_policy = lambda self: asyncio.DefaultEventLoopPolicy()
    base: Any = _testbase.BaseTestCase
    base.is_asyncio_loop = lambda self: True  # it asks for the module of the loop's class


def run_suite(loop: str, name: str, out: str, done: str) -> None:
    """Runs the tests of a suite, but those that are done, in this process."""
    import pytest
    from asyncio_suites import use_gort

    suite = next(s for s in SUITES if s.name == name)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if loop == "gort":
        use_gort()
    if name == "uvloop":
        use_for_uvloop(loop)
    if name == "tornado":  # its own runner does this: its tests look at what is logged
        logging.getLogger("tornado.access").setLevel(logging.CRITICAL)
    told = json.loads(Path(done).read_text())
    sys.path.insert(0, os.getcwd())
    args = [
        "-q",
        "-p",
        "no:cacheprovider",
        "--continue-on-collection-errors",
        "-o",
        "addopts=",
        "-o",
        "faulthandler_timeout=0",
        *suite.args,
    ]
    tests = sorted({t.partition("::")[0] for t in told["only"]}) or suite.tests
    code = pytest.main([*args, *tests], plugins=[Recorder(out, set(told["done"]), set(told["only"]))])
    Path(out + ".end").write_text(str(int(code)))
    sys.stdout.flush()
    os._exit(0)  # a thread that a test has left behind does not matter


# ---- the comparison ---------------------------------------------------------------------------------------------------


def bin_python(folder: Path, suite: Suite, python: str) -> Path:
    """The interpreter of the environment of a suite, made where there is none."""
    venv = folder / suite.name / "env"
    found = venv / "bin" / "python"
    note = venv / "needs"
    needs = f"pytest {suite.name}=={suite.version} {suite.needs}".strip()
    if not note.exists() or note.read_text() != needs:
        subprocess.run([python, "-m", "venv", "--clear", str(venv)], check=True)
        subprocess.run([found, "-m", "pip", "install", "--quiet", *needs.split()], check=True)
        note.write_text(needs)
    return found


def sources(folder: Path, suite: Suite, python: Path) -> Path:
    """The folder with the library's sources."""
    there = folder / suite.name / f"{suite.name}-{suite.version}"
    if not there.exists():
        get = [
            python,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--no-binary",
            suite.name,
            "--dest",
            there.parent,
        ]
        subprocess.run([*get, f"{suite.name}=={suite.version}"], check=True)
        with tarfile.open(next(there.parent.glob("*.tar.gz"))) as tar:
            tar.extractall(there.parent)
    # What is tested is what is installed, built: the sources' own package would be in its place.
    for package in (there / suite.name, there / "src" / suite.name):
        if package.is_dir() and not package.is_symlink() and not suite.within:
            ask = [python, "-c", f"import {suite.name} as p; print(p.__path__[0])"]
            installed = subprocess.run(ask, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
            shutil.rmtree(package)
            package.symlink_to(installed)
    return there


@contextmanager
def server_of(suite: Suite) -> Iterator[None]:
    """The server beside which a suite runs."""
    if suite.server != "redis":
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        running = subprocess.Popen(
            ["redis-server", "--port", "6379", "--save", "", "--dir", folder], stdout=subprocess.PIPE
        )
        try:
            assert running.stdout is not None
            while b"Ready to accept" not in running.stdout.readline():
                if running.poll() is not None:
                    raise SystemExit("redis-server does not start: is one running?")
            yield
        finally:
            running.kill()
            running.wait()


def outcomes(
    suite: Suite, loop: str, python: Path, where: Path, only: set[str] | None = None
) -> dict[str, tuple[str, str]]:
    """The outcome of each test on one loop, and the end of its traceback."""
    found: dict[str, tuple[str, str]] = {}
    with tempfile.TemporaryDirectory() as folder, server_of(suite):
        os.chmod(folder, 0o777)
        out, done, log = (Path(folder) / name for name in ("out", "done", "log"))
        env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "HOME": folder, "PYTHONDONTWRITEBYTECODE": "1"}
        while True:
            out.write_text("")
            out.chmod(0o666)
            done.write_text(json.dumps({"done": list(found), "only": list(only or ())}))
            command = [str(python), __file__, "--one", loop, suite.name, str(out), str(done)]
            if suite.user and os.getuid() == 0:
                command = ["setpriv", f"--reuid={suite.user}", "--regid=nogroup", "--clear-groups", *command]
            with open(log, "w") as said:
                one = subprocess.Popen(command, cwd=where, env=env, stdout=said, stderr=said, start_new_session=True)
                hung = watch(one, out)
            try:
                os.killpg(one.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            before = len(found)
            last = ""
            for line in out.read_text().splitlines():
                got = json.loads(line)
                last = got["test"]
                old = found.get(last, ("did not end", ""))
                if old[0] in ("did not end", "passed") or got["outcome"] not in ("passed", "did not end"):
                    found[last] = (got["outcome"], got["text"])
            end = Path(f"{out}.end")
            if end.exists() and end.read_text() in ("0", "1"):
                return found
            if end.exists() or (not found and not hung):
                raise SystemExit(f"{suite.name} on {loop}: {log.read_text()[-3000:]}")
            if hung and last:
                found[last] = ("hangs", log.read_text()[-1500:])
            if len(found) == before:
                raise SystemExit(f"{suite.name} on {loop}: {log.read_text()[-3000:]}")


def watch(one: subprocess.Popen[Any], out: Path) -> bool:
    """Waits for a run.  True if it hangs: it is killed, with the stacks of its threads."""
    size, since = -1, time.monotonic()
    while one.poll() is None:
        now = out.stat().st_size
        if now != size:
            size, since = now, time.monotonic()
        elif time.monotonic() - since > SILENT_S:
            one.kill()
            one.wait()
            return True
        time.sleep(0.2)
    return False


def compare(suite: Suite, folder: Path, base: str) -> tuple[list[str], list[str]]:
    """Runs a suite on both loops: a row of the table, and what differs."""
    (folder / suite.name).mkdir(parents=True, exist_ok=True)
    python = bin_python(folder, suite, base)
    where = sources(folder, suite, python)
    if suite.user and os.getuid() == 0:
        subprocess.run(["chown", "-R", suite.user, str(where)], check=True)
    found = {loop: outcomes(suite, loop, python, where) for loop in ("asyncio", "gort")}
    stock, ours = found["asyncio"], found["gort"]
    seen = {loop: {t: {o[0]} for t, o in found[loop].items()} for loop in found}
    nothing = ("missing", "")
    differ = {t for t in {*stock, *ours} if stock.get(t, nothing)[0] != ours.get(t, nothing)[0]}
    for _ in range(AGAIN if differ else 0):
        for loop in found:
            for test, outcome in outcomes(suite, loop, python, where, differ).items():
                seen[loop].setdefault(test, set()).add(outcome[0])
    wrong, unsteady = [], []
    for test in sorted(differ):
        a, b = seen["asyncio"].get(test, {"missing"}), seen["gort"].get(test, {"missing"})
        if b <= a:
            unsteady.append(test)
        elif f"{suite.name}: {test}" not in EXPECTED:
            text = ours.get(test, nothing)[1] or stock.get(test, nothing)[1]
            wrong.append(f"{suite.name}: {test}: asyncio {', '.join(sorted(a))}; gort {', '.join(sorted(b))}\n{text}")
    kept = {"stock": stock, "gort": ours, "wrong": wrong, "unsteady": unsteady}
    (folder / suite.name / "outcomes.json").write_text(json.dumps(kept, indent=1))
    for test in unsteady:
        print(f"    unsteady: {test}")
    bad = sum(o[0] not in ("passed", "skipped", "xfailed", "xpassed") for o in stock.values())
    ok = sum(o[0] == "passed" for o in ours.values())
    return [suite.name, suite.version, str(len(stock)), str(ok), str(bad), str(len(wrong))], wrong


def table(rows: dict[str, list[str]]) -> str:
    """The table of the guide, and what is expected to differ."""
    head = (
        "| library | version | tests | pass on gort's loop | fail on asyncio's | differ |\n|---|---|---|---|---|---|\n"
    )
    lines = [f"| {' | '.join(rows[s.name])} |\n" for s in SUITES if s.name in rows]
    reasons = [f"- `{test}` of {library} {why}.\n" for (library, test), why in expected()]
    return "".join([head, *lines, "\nNot counted as different, because they must differ:\n\n", *reasons])


def rows_of(text: str) -> list[str]:
    """The lines of the table but for its head."""
    return [line for line in text.splitlines() if line.startswith("|")][2:]


def expected() -> list[tuple[tuple[str, str], str]]:
    """EXPECTED: ((library, the test without its file), why)."""
    return [((key.partition(": ")[0], key.partition("::")[2]), why) for key, why in EXPECTED.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("names", nargs="*", metavar="LIBRARY", help="default: all")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "suites")
    parser.add_argument("--python", default=sys.executable, help="the interpreter")
    parser.add_argument("--write", action="store_true", help="writes the rows into docs/guide-asyncio.md")
    args = parser.parse_args()
    rows, wrong = {}, []
    with ExitStack():
        for suite in SUITES:
            if args.names and suite.name not in args.names:
                continue
            row, differ = compare(suite, args.folder.resolve(), args.python)
            rows[suite.name] = row
            wrong += differ
            print("{:12} {:8} {:>6} tests, {:>6} ok, {:>4} fail on asyncio's, {} differ".format(*row), flush=True)
    if args.write:
        text = GUIDE.read_text()
        old = TABLE.search(text)
        before = {c[0]: c for c in (line.strip("| \n").split(" | ") for line in rows_of(old[0] if old else ""))}
        GUIDE.write_text(TABLE.sub(lambda _: table({**before, **rows}), text))
    for text in wrong:
        print(f"\n{text}")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        run_suite(*sys.argv[2:])
    else:
        main()
