#!/usr/bin/env python3
"""Looks for tests that fail now and then: runs the tests again and again while every processor is busy with other work.

    scripts/test-again.py                        each configuration three times, all tests
    scripts/test-again.py --racy --runs 20       only the files on threads, signals, stress, net and memory
    scripts/test-again.py --config pure tests/test_lazy.py -- -k together

A configuration is an interpreter and a core: `compiled` and `pure` (GORT_PURE=1) are those of the interpreter that runs
this script, `ft-compiled` and `ft-pure` the free-threaded one's. Their environments are nox's, in `.nox`; `make
test-again` brings them up to date first.

A failed run leaves its whole output in the --out folder, one file per run. At the end stands a table of runs and
failures, and how often each test failed. Exit status: 0 when no test failed, 1 when one did, 2 for a wrong call,
130 after Ctrl-C (the table is printed all the same).

The busy loops are processes of this script. Each ends by itself as soon as this script is no longer its parent, so
none is left behind however the script ends.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

MAIN = f".nox/{sys.version_info[0]}-{sys.version_info[1]}-env/bin/python"
FREE = next((f".nox/{env.name}/bin/python" for env in sorted(ROOT.glob(".nox/3-*t-env"))), ".nox/3-13t-env/bin/python")
# `go`, which the tests of fidelity need, is in the main environment alone.
PATH = os.pathsep.join([str((ROOT / MAIN).parent), os.environ.get("PATH", "")])

# name: (the interpreter, the environment's changes, which tests are left out: what noxfile.py leaves out, too)
CONFIGURATIONS = {
    "compiled": (MAIN, {"GORT_PURE": ""}, ""),
    "pure": (MAIN, {"GORT_PURE": "1"}, "not lint and not once"),
    "ft-compiled": (FREE, {"GORT_PURE": ""}, "not lint and not once"),
    "ft-pure": (FREE, {"GORT_PURE": "1"}, "not lint and not once"),
}

# Where a wrong order of threads, signals or timers would show.
RACY = [
    *("tests/test_threads.py", "tests/test_signal.py", "tests/test_never_stalled.py", "tests/test_mn.py"),
    *("tests/test_migration.py", "tests/test_lazy.py", "tests/test_run_many.py", "tests/test_wait.py"),
    *("tests/test_timers.py", "tests/test_bench.py", "tests/stress", "tests/net", "tests/memory"),
]

BUSY = "import os, sys\nwhile os.getppid() == int(sys.argv[1]): pass"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", metavar="PATH", help="test files, folders or test names (default: tests)")
    parser.add_argument("-n", "--runs", type=int, default=3, help="runs of each configuration (default: 3)")
    parser.add_argument("--racy", action="store_true", help="the files on threads, signals, stress, net and memory")
    parser.add_argument(
        "--config", action="append", choices=CONFIGURATIONS, help="only this configuration (may be repeated)"
    )
    parser.add_argument(
        "--load", type=int, default=len(os.sched_getaffinity(0)), help="busy loops (default: one per processor)"
    )
    parser.add_argument("--stop", action="store_true", help="end at the first run that fails")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "build/test-again", help="where the output of failed runs goes"
    )
    own = sys.argv[1:]
    pytest_args: list[str] = []
    if "--" in own:  # argparse would take what follows for paths
        at = own.index("--")
        own, pytest_args = own[:at], own[at + 1 :]
    args = parser.parse_args(own)
    args.pytest_args = pytest_args
    args.config = args.config or list(CONFIGURATIONS)
    if args.runs < 1 or args.load < 0:
        parser.error("--runs is at least 1, --load at least 0")
    if args.racy and args.paths:
        parser.error("either --racy or paths")
    args.paths = RACY if args.racy else args.paths or ["tests"]
    for path in args.paths:
        if not (ROOT / path.partition("::")[0]).exists():
            parser.error(f"{path}: no such file or folder in {ROOT}")
    for name in args.config:
        python = ROOT / CONFIGURATIONS[name][0]
        if (
            subprocess.run([python, "-c", "import pytest, gort"], capture_output=True).returncode
            if python.exists()
            else True
        ):
            parser.error(f"{name}: {python.relative_to(ROOT)} is not there or lacks pytest or gort: `make test-again`")
    return args


@contextlib.contextmanager
def busy_loops(count: int) -> Iterator[None]:
    loops = [subprocess.Popen([sys.executable, "-S", "-c", BUSY, str(os.getpid())]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
        for loop in loops:
            loop.wait()


def run_once(name: str, args: argparse.Namespace, log: Path) -> tuple[int, list[str]]:
    """pytest's exit status, and the tests that failed. Its output is in `log`."""
    python, changes, select = CONFIGURATIONS[name]
    command = [str(ROOT / python), "-m", "pytest", "-v"]
    command += ["-m", select] if select else []
    with log.open("wb") as out:
        # A group of its own: on the way out everything that the tests started can be ended with them.
        process = subprocess.Popen(
            [*command, *args.paths, *args.pytest_args],
            cwd=ROOT,
            env={"CI": "1", **os.environ, "PATH": PATH, **changes},  # the tests leave nothing out
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):  # all have ended
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    text = log.read_text(errors="replace")
    # The lines that -v prints as it goes: they are there also when there is no summary.
    failed = re.findall(r"^(tests/\S+::.*) (?:FAILED|ERROR) +\[ *\d+%\]$", text, re.MULTILINE)
    if status not in (0, 1) or (status == 1 and not failed):
        # pytest did not come to its summary: the interpreter crashed, or the time limit ended it.
        started = re.findall(r"^(tests/\S+::.*?)(?: |$)", text, re.MULTILINE)
        failed.append(f"(exit status {status}) {started[-1] if started else 'before the first test'}")
    return status, failed


def main() -> int:
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    runs: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    tests: Counter[tuple[str, str]] = Counter()
    interrupted = False

    def on_term(_signum: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, on_term)
    try:
        with busy_loops(args.load):
            for turn in range(1, args.runs + 1):
                for name in args.config:
                    log = args.out / f"{time.strftime('%m%d-%H%M%S')}-{name}-{turn}.log"
                    start = time.monotonic()
                    status, failed = run_once(name, args, log)
                    took = time.monotonic() - start
                    runs[name] += 1
                    if status == 0:
                        log.unlink()
                        print(f"{name}, run {turn} of {args.runs}: passed, {took:.0f} s", flush=True)
                        continue
                    failures[name] += 1
                    print(f"{name}, run {turn} of {args.runs}: FAILED, {took:.0f} s, {log}", flush=True)
                    for test in failed:
                        tests[name, test] += 1
                        print(f"    {test}", flush=True)
                    if args.stop:
                        raise StopIteration
    except StopIteration:
        pass
    except KeyboardInterrupt:
        interrupted = True
    print(f"\n{'configuration':<16}{'runs':>6}{'failed':>8}")
    for name in args.config:
        print(f"{name:<16}{runs[name]:>6}{failures[name]:>8}")
    for (name, test), times in tests.most_common():
        print(f"{times:>4} of {runs[name]} in {name}: {test}")
    if interrupted:
        print("interrupted", file=sys.stderr)
        return 130
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
