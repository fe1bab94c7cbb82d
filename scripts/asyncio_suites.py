"""Runs test suites that nobody here wrote, on asyncio's own loop and on gort.aio.Loop, and compares them test by test.

    python scripts/asyncio_suites.py                          # CPython's own test.test_asyncio
    python scripts/asyncio_suites.py test_tasks test_events   # some of its files
    GORT_PURE=1 python scripts/asyncio_suites.py              # on the uncompiled core
    python scripts/asyncio_suites.py --write                  # and this interpreter's row in docs/guide-asyncio.md

A test that has another outcome on gort's loop is printed with the end of its traceback, and the status is 1.  EXPECTED
has those that must differ, each with its reason.

How gort's loop comes in: where a suite asks for asyncio.SelectorEventLoop, for the default policy's loop or for
asyncio.new_event_loop, it gets gort.aio.Loop.  Each file runs in a process of its own.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

# file.class.test -> why its outcome differs
EXPECTED: dict[str, str] = {}
LIMIT_S = 200  # for one file
ROOT = Path(__file__).resolve().parents[1]
GUIDE = ROOT / "docs" / "guide-asyncio.md"
TABLE = re.compile(r"(?<=<!-- scripts/asyncio_suites.py writes this -->\n).*?(?=<!-- end -->)", re.DOTALL)
HEAD = "| CPython | core | tests | pass on gort's loop | differ |\n|---|---|---|---|---|\n"


# ---- in the process that runs one file --------------------------------------------------------------------------------


def use_gort() -> None:
    """Replaces asyncio's loop."""
    import asyncio
    import asyncio.unix_events as unix

    import gort.aio

    asyncio.SelectorEventLoop = unix.SelectorEventLoop = gort.aio.Loop  # type: ignore[assignment,misc]
    if hasattr(asyncio, "EventLoop"):
        asyncio.EventLoop = unix.EventLoop = gort.aio.Loop  # type: ignore[attr-defined]
    for name in ("_UnixDefaultEventLoopPolicy", "_DefaultEventLoopPolicy"):
        policy = getattr(unix, name, None)
        if policy is not None:
            policy._loop_factory = gort.aio.Loop


def run_file(loop: str, name: str, out: str) -> None:
    """Runs test.test_asyncio.`name` and writes {test: [outcome, the end of its traceback]}."""
    import faulthandler
    import unittest

    faulthandler.dump_traceback_later(LIMIT_S - 10, exit=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    if loop == "gort":
        use_gort()
    from test import support

    support.use_resources = ["network", "cpu", "walltime"]  # type: ignore[attr-defined]
    found: dict[str, list[str]] = {}

    class Result(unittest.TextTestResult):
        """Keeps each test's outcome."""

        def keep(self, test: object, outcome: str, text: str = "") -> None:
            key = test.id() if isinstance(test, unittest.TestCase) else str(test)
            if key not in found or outcome != "ok":
                found[key] = [outcome, text[-1500:]]

        def addSuccess(self, test: unittest.TestCase) -> None:
            super().addSuccess(test)
            self.keep(test, "ok")

        def addFailure(self, test: unittest.TestCase, err: object) -> None:
            super().addFailure(test, err)  # type: ignore[arg-type]
            self.keep(test, "failed", self.failures[-1][1])

        def addError(self, test: unittest.TestCase, err: object) -> None:
            super().addError(test, err)  # type: ignore[arg-type]
            self.keep(test, "error", self.errors[-1][1])

        def addSkip(self, test: unittest.TestCase, reason: str) -> None:
            super().addSkip(test, reason)
            self.keep(test, "skipped", reason)

        def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: object) -> None:
            super().addSubTest(test, subtest, err)  # type: ignore[arg-type]
            if err is not None:
                self.keep(subtest, "failed")

        def addExpectedFailure(self, test: unittest.TestCase, err: object) -> None:
            super().addExpectedFailure(test, err)  # type: ignore[arg-type]
            self.keep(test, "failed as expected")

        def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
            super().addUnexpectedSuccess(test)
            self.keep(test, "ok unexpectedly")

    try:
        tests = unittest.defaultTestLoader.loadTestsFromName(f"test.test_asyncio.{name}")
    except unittest.SkipTest as e:  # the file is for another system
        found[f"{name} as a file"] = ["skipped", str(e)]
    else:
        unittest.TextTestRunner(verbosity=0, buffer=True, resultclass=Result).run(tests)
    Path(out).write_text(json.dumps(found))
    os._exit(0)  # a thread that a test has left behind does not matter


# ---- the comparison ---------------------------------------------------------------------------------------------------


def outcomes(python: str, loop: str, name: str) -> dict[str, list[str]]:
    """The outcome of each test of one file on one loop."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        command = [python, __file__, "--one", loop, name, str(out)]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False)
            said = done.stderr
        except subprocess.TimeoutExpired as e:
            said = str(e.stderr)
        if out.exists():
            found: dict[str, list[str]] = json.loads(out.read_text())
            return found
        return {f"{name} as a whole": ["did not end", said[-3000:]]}


def files(python: str) -> list[str]:
    """The names of test.test_asyncio's files."""
    code = "import test.test_asyncio as t; print(t.__path__[0])"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{python} has no test.test_asyncio: {done.stderr.strip().splitlines()[-1]}")
    return sorted(p.stem for p in Path(done.stdout.strip()).glob("test_*.py"))


def compare(python: str, name: str) -> tuple[str, tuple[int, int], list[str]]:
    """Runs one file on both loops: (a line about it, (how many tests, of them ok on gort's loop), what differs)."""
    stock, ours = outcomes(python, "asyncio", name), outcomes(python, "gort", name)
    broken = [o for test, o in stock.items() if "_FailedTest" in test or test.endswith(" as a whole")]
    wrong = [f"{name} does not run on asyncio's loop: {outcome}\n{text}" for outcome, text in broken]
    for test in sorted({*stock, *ours}):
        a, b = stock.get(test, ["missing", ""]), ours.get(test, ["missing", ""])
        if a[0] != b[0] and test not in EXPECTED:
            wrong.append(f"{test}: asyncio {a[0]}, gort {b[0]}\n{b[1] or a[1]}")
    ok = sum(outcome == "ok" for outcome, _ in ours.values())
    return f"{name:24} {len(stock):5} tests, {ok:5} ok, {len(wrong)} differ", (len(stock), ok), wrong


def identity(python: str) -> list[str]:
    """The first cells of an interpreter's row: its version, and the core that gort has there."""
    code = "import sys, gort.runtime as r; print(sys.version.split()[0] + getattr(sys, 'abiflags', ''), r.compiled)"
    version, compiled = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    return [version, "compiled" if compiled == "True" else "uncompiled"]


def written(text: str, row: list[str]) -> str:
    """The guide's text with this row in its table, in the place of that of an earlier version or release of the same."""

    def release(cells: list[str]) -> tuple[tuple[int, ...], str, str]:
        digits = re.match(r"(\d+)\.(\d+)", cells[0])
        assert digits is not None
        return tuple(map(int, digits.groups())), "t" * cells[0].endswith("t"), cells[1]

    old = TABLE.search(text)
    assert old is not None, "the guide has no place for the table"
    lines = [line for line in old[0].splitlines() if line.startswith("|")][2:]
    rows = {release(cells): cells for cells in (line.strip("| ").split(" | ") for line in lines)}
    rows[release(row)] = row
    table = HEAD + "".join(f"| {' | '.join(rows[key])} |\n" for key in sorted(rows))
    return TABLE.sub(lambda _: table, text)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("names", nargs="*", metavar="FILE", help="files of test.test_asyncio; default: all")
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has gort")
    parser.add_argument("--jobs", type=int, default=2, help="files at a time")
    parser.add_argument("--write", action="store_true", help="writes the row of this interpreter into the guide")
    parser.add_argument("--without", default="", help="files to leave out, separated by commas")
    args = parser.parse_args()
    names = [n for n in args.names or files(args.python) if n not in args.without.split(",")]
    total, passed, wrong = 0, 0, []
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for line, n, differ in pool.map(lambda name: compare(args.python, name), names):
            print(line, flush=True)
            total, passed = total + n[0], passed + n[1]
            wrong += differ
    print(f"{total} tests, {passed} ok, {len(wrong)} differ")
    if args.write:
        if args.names or args.without:
            raise SystemExit("--write: a row is of all files")
        row = [*identity(args.python), str(total), str(passed), str(len(wrong))]
        GUIDE.write_text(written(GUIDE.read_text(), row))
    for text in wrong:
        print(f"\n{text}")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        run_file(*sys.argv[2:])
    else:
        main()
