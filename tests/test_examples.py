"""Each example, run as a user runs it: `gort run examples/NAME.py`, and with python itself."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support import PATIENCE_S, ROOT, command

EXAMPLES = ROOT / "examples"


def gort_run(name: str, *args: str) -> subprocess.CompletedProcess[str]:
    """The example, to its end."""
    full = command("run", str(EXAMPLES / f"{name}.py"), *args)
    return subprocess.run(full, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def python(name: str, *args: str) -> subprocess.CompletedProcess[str]:
    """The example, started by python itself."""
    full = [sys.executable, str(EXAMPLES / f"{name}.py"), *args]
    return subprocess.run(full, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree: nested, empty and large files, odd names, a link out of it and one in a circle."""
    root = tmp_path / "tree"
    for folder in ("a/b/c", "d", "empty"):
        (root / folder).mkdir(parents=True)
    for i in range(100):
        (root / "a" / f"{i:03}").write_bytes(b"%d" % i * i)
    (root / "a/b/c/large").write_bytes(os.urandom(3_000_001))
    (root / "d/new\nline").write_bytes(b"x")
    (root / "d/back\\slash").write_bytes(b"y")
    (root / "d/grün").write_bytes(b"z")
    (root / "a/b/circle").symlink_to(root / "a")
    (root / "out").symlink_to("/dev/zero")
    os.mkfifo(root / "d/pipe")
    return root


def files_of(root: Path) -> list[Path]:
    return sorted(p for p in root.rglob("*") if p.is_file() and not p.is_symlink())


@pytest.mark.parametrize("run", [gort_run, python])
def test_ticks_is_the_first_program_of_the_readme(run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """What the README tells to run is what it shows, and prints what stands below it."""
    text = (ROOT / "README.md").read_text()
    shown, printed = re.findall(r"^```python\n(.*?)^```\n\n((?:    [^\n]*\n)+)", text, re.M | re.S)[0]
    assert shown == (EXAMPLES / "ticks.py").read_text().partition("\n\n")[2]
    done = run("ticks")
    assert (done.returncode, done.stdout, done.stderr) == (0, printed.replace("    ", ""), "")


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="compares with sha256sum, which is not here")
def test_digest_equals_sha256sum(tree: Path) -> None:
    """Line for line, odd names included."""
    done = gort_run("digest", str(tree), "--list", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    expected = subprocess.run(["sha256sum", *map(str, files_of(tree))], capture_output=True, text=True, check=True)
    assert sorted(done.stdout.splitlines()) == sorted(expected.stdout.splitlines())


@pytest.mark.parametrize("procs", ["1", "4"])
def test_digest_counts(tree: Path, procs: str) -> None:
    """Files, bytes and a combined digest that depends on nothing but names and contents."""
    done = subprocess.run(
        command("run", "--procs", procs, str(EXAMPLES / "digest.py"), str(tree), "--jobs", "3"),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    files = files_of(tree)
    size = sum(f.stat().st_size for f in files)
    assert f"GOMAXPROCS={procs}" in done.stdout
    assert f"{len(files):,} files, {size:,} bytes" in done.stdout
    copy = tree.with_name("copy")
    shutil.move(tree, copy)
    again = python("digest", str(copy))
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-1] == done.stdout.splitlines()[-1]
    (copy / "a/000").write_bytes(b"another")
    assert python("digest", str(copy)).stdout.splitlines()[-1] != done.stdout.splitlines()[-1]


def test_digest_of_nothing(tmp_path: Path) -> None:
    done = gort_run("digest", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "0 files, 0 bytes" in done.stdout
    assert done.stdout.split()[-1] == hashlib.sha256().hexdigest()


@pytest.mark.slow
def test_digest_of_the_standard_library() -> None:
    """The default tree, thousands of real files, checked by sha256sum itself."""
    done = gort_run("digest", "--list", "--quiet")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") > 1000
    check = subprocess.run(
        ["sha256sum", "--check", "--quiet"], input=done.stdout, capture_output=True, text=True, check=False
    )
    assert (check.returncode, check.stdout) == (0, "")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["/nonexistent/tree"], "/nonexistent/tree does not exist"),
        ([__file__], "is not a directory"),
        (["--jobs", "0"], "--jobs must be at least 1"),
        (["--jobs", "many"], "invalid int value: 'many'"),
    ],
)
def test_digest_refuses_wrong_arguments(args: list[str], says: str) -> None:
    done = gort_run("digest", *args)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_digest_names_what_it_cannot_read(tree: Path) -> None:
    """A file that goes away between the listing and the reading; also where root may read everything."""
    unreadable = tree / "a/b/secret"
    unreadable.write_bytes(b"x")
    program = (
        "import os, runpy, sys\n"
        f"sys.argv = ['digest.py', {str(tree)!r}, '--quiet']\n"
        "def refuse(event, args):\n"
        f"    if event == 'open' and args[0] == {str(unreadable)!r}:\n"
        "        raise PermissionError(13, 'Permission denied', args[0])\n"
        "sys.addaudithook(refuse)\n"
        f"runpy.run_path({str(EXAMPLES / 'digest.py')!r}, run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr == f"digest.py: {unreadable}: Permission denied\n"
    assert "combined digest" not in done.stdout


def test_digest_ends_on_ctrl_c(tmp_path: Path) -> None:
    """While it waits for a file that gives nothing: it dies of the signal, nothing is on stderr."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    program = (
        "import sys\n"
        f"sys.path.insert(0, {str(EXAMPLES)!r})\n"
        "import digest\n"
        f"digest.list_directory = lambda path: ([{str(pipe)!r}], [])\n"
        "main = digest.main\n"
    )
    file = tmp_path / "program.py"
    file.write_text(program)
    process = subprocess.Popen(
        command("run", str(file), str(tmp_path)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process, open(pipe, "wb"):  # opens once a digester reads from it
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == -signal.SIGINT, err
    assert err == ""
    assert "combined digest" not in out


def primes(count: int) -> list[int]:
    found: list[int] = []
    n = 2
    while len(found) < count:
        if all(n % p for p in found):
            found.append(n)
        n += 1
    return found


@pytest.mark.parametrize("start", [gort_run, python])
@pytest.mark.parametrize("count", [0, 1, 60])
def test_sieve(start: object, count: int) -> None:
    assert callable(start)
    done = start("sieve", str(count))
    assert (done.returncode, done.stderr) == (0, "")
    assert [int(word) for word in done.stdout.split()] == primes(count)


def test_worker_pool() -> None:
    done = gort_run("worker_pool", "3", "50", "1000")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("50 of 50 jobs done by 3 workers")
    below = 10_000 + 100 * 49
    assert f"primes below {below}: {sum(1 for p in primes(2000) if p < below)}" in done.stdout


def test_worker_pool_stops_at_its_deadline() -> None:
    done = gort_run("worker_pool", "2", "1000000", "0.2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "the deadline of 0.2 s came first" in done.stdout


def fanin(tmp_path: Path, quiet: float, seconds: float) -> tuple[list[str], str]:
    """(the messages, the last line) of fanin.py with another QUIET."""
    file = tmp_path / "program.py"
    file.write_text(
        f"import sys\nsys.path.insert(0, {str(EXAMPLES)!r})\nimport fanin\nfanin.QUIET = {quiet}\nmain = fanin.main\n"
    )
    full = command("run", str(file), str(seconds))
    done = subprocess.run(full, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    *messages, last = done.stdout.splitlines()
    return messages, last


def test_fanin(tmp_path: Path) -> None:
    """The messages of each speaker in their order, until the deadline.  A busy machine may let it pass before all three
    have come to speak, so the program is given a longer one until they have."""
    seconds = 0.3
    silent = {"Ann", "Bob", "Joe"}
    while silent and seconds < 100:
        messages, last = fanin(tmp_path, 1000, seconds)
        assert last == f"{len(messages)} messages; context deadline exceeded"
        for name in ("Ann", "Bob", "Joe"):
            numbers = [int(m.split()[1]) for m in messages if m.startswith(name)]
            assert numbers == list(range(1, len(numbers) + 1))
            if numbers:
                silent.discard(name)
        seconds *= 4
    assert not silent


def test_fanin_that_nobody_speaks_to(tmp_path: Path) -> None:
    """The speakers pause for longer than the listener waits."""
    messages, last = fanin(tmp_path, 0.0001, 1000)
    assert last == f"{len(messages)} messages; nobody has spoken for 0.0001 s"


@pytest.mark.parametrize(
    ("name", "args"), [("sieve", ["many"]), ("worker_pool", ["x"]), ("worker_pool", ["0"]), ("fanin", ["x"])]
)
def test_wrong_arguments_are_named(name: str, args: list[str]) -> None:
    done = gort_run(name, *args)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{name}.py: ")
    assert "Traceback" not in done.stderr


def test_every_example_has_a_test() -> None:
    """Here, or beside the tests of what it shows."""
    names = {f.stem for f in EXAMPLES.glob("*.py")}
    tests = "".join(f.read_text() for f in Path(__file__).parent.rglob("test_*examples.py"))
    assert names
    assert {n for n in names if f'"{n}"' not in tests and f'"{n}.py"' not in tests} == set()
