"""`gort run`: the file is the module __main__, as under python, and its main runs once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support import PATIENCE_S, gort_cli

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str, name: str = "prog.py") -> str:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        return str(file)

    return write


def python_file(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, cwd=cwd)


# What a program can see of how it was started.
FACTS = """
'''The docstring.'''
import inspect, os, sys

def function(x: int) -> "int": pass

class Class: pass

print(__name__, __doc__, __file__, __package__, getattr(__spec__, "name", None), type(__loader__).__name__)
print(globals().get("__cached__", "3.15 has none"))
print(sys.argv, sys.path[0], os.path.exists(sys.path[0]), len(sys.path), __builtins__)
print(sys.modules["__main__"].__dict__ is globals(), function.__module__, Class)
print(function.__annotations__, inspect.getsource(function), inspect.getsource(Class), inspect.getfile(Class))
print(sys._getframe().f_code.co_filename)

async def main(): pass
"""


@pytest.mark.parametrize("path", ["prog.py", "./prog.py", "folder/prog.py", "folder/../prog.py", "link.py"])
def test_a_file_sees_what_python_shows_it(write: Write, tmp_path: Path, path: str) -> None:
    """__name__, __file__, __spec__, sys.argv, sys.path[0], annotations, sources: as `python FILE` has them."""
    write(FACTS)
    write(FACTS, "folder/prog.py")
    (tmp_path / "link.py").symlink_to("folder/prog.py")
    ours = gort_cli("run", path, "a", "--procs", "-m", cwd=tmp_path)
    theirs = python_file(path, "a", "--procs", "-m", cwd=tmp_path)
    assert (ours.stdout, ours.stderr) == (theirs.stdout.replace("/./", "/"), "")
    assert theirs.stdout.startswith("__main__ The docstring.")


@pytest.mark.parametrize("name", ["package.module", "package", "module"])
def test_a_module_sees_what_python_shows_it(write: Write, tmp_path: Path, name: str) -> None:
    """The same for `gort run -m NAME` and `python -m NAME`."""
    for file in ("package/module.py", "package/__main__.py", "module.py"):
        write(FACTS, file)
    write("", "package/__init__.py")
    ours = gort_cli("run", "-m", name, "a", "--help", cwd=tmp_path)
    theirs = python_file("-m", name, "a", "--help", cwd=tmp_path)
    assert (ours.stdout, ours.stderr) == (theirs.stdout, "")
    assert theirs.stdout.startswith("__main__ The docstring.")


def test_a_safe_path_stays_safe(write: Write, tmp_path: Path) -> None:
    """python -P: the program's folder is not put on the path."""
    file = write("import sys\nprint(sys.path)\nasync def main(): pass\n")
    command = [sys.executable, "-P", "-m", "gort", "run", file]
    ours = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, cwd=tmp_path)
    assert ours.stdout == python_file("-P", file, cwd=tmp_path).stdout, ours.stderr


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nosuch", "no module named nosuch"),
        ("package.nosuch", "no module named package.nosuch"),
        ("module.nosuch", "no module named module.nosuch"),
        ("package", "the package package has no module __main__"),
        (".module", "no module named .module"),
        ("_thread", "the module _thread has no Python code"),
        ("broken", "SyntaxError"),
        ("bad.module", "ZeroDivisionError"),
        ("imports.module", "No module named 'nosuchmodule'"),
    ],
)
def test_a_wrong_module(write: Write, tmp_path: Path, name: str, says: str) -> None:
    """One clear message, and none of gort's own frames."""
    write("")
    write("x = 1\n", "module.py")
    write("", "package/__init__.py")
    write("def\n", "broken.py")
    write("1 / 0\n", "bad/__init__.py")
    write("import nosuchmodule\n", "imports/__init__.py")
    done = gort_cli("run", "-m", name, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert "src/gort" not in done.stderr
    assert "gort/cli" not in done.stderr


# --- what looks a program up by its name ------------------------------------------------------------

POOL = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
import gort

class Job:
    def __init__(self, n): self.n = n

def work(job): return Job(job.n * 2)

def compute():
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(sys.argv[1])) as pool:
        return [job.n for job in pool.map(work, map(Job, range(5)))]

async def main():
    print(await gort.blocking(compute))
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
@pytest.mark.parametrize("how", ["gort run", "guarded", "gort run -m"])
def test_c13_multiprocessing(write: Write, tmp_path: Path, method: str, how: str) -> None:
    """A child that multiprocessing starts finds the program's functions and classes."""
    file = write(POOL + ("if __name__ == '__main__':\n    gort.run(main)\n" if how == "guarded" else ""))
    program = ["-m", "prog"] if how == "gort run -m" else [file]
    done = gort_cli("run", *program, method, cwd=tmp_path)
    assert (done.stdout, done.returncode) == ("[0, 2, 4, 6, 8]\n", 0), done.stderr


def test_c13_pickles_load_under_python(write: Write, tmp_path: Path) -> None:
    """What was pickled under `gort run FILE` loads under `python FILE`, and the other way round."""
    text = (
        "import pickle, sys\nclass Thing: pass\n"
        "if sys.argv[1] == 'dump':\n    pickle.dump(Thing(), open(sys.argv[2], 'wb'))\n"
        "else:\n    print(type(pickle.load(open(sys.argv[2], 'rb'))) is Thing)\n"
        "async def main(): pass\n"
    )
    file = write(text)
    assert gort_cli("run", file, "dump", "a", cwd=tmp_path).returncode == 0
    assert python_file(file, "load", "a", cwd=tmp_path).stdout == "True\n"
    assert python_file(file, "dump", "b", cwd=tmp_path).returncode == 0
    assert gort_cli("run", file, "load", "b", cwd=tmp_path).stdout == "True\n"


def test_c13_messages_name_the_program_as_python_does(write: Write) -> None:
    file = write("class MyError(Exception): pass\nasync def main():\n    raise MyError('text')\n")
    done = gort_cli("run", file)
    assert done.stderr.splitlines()[0] == "panic: MyError: text"
    assert "__gort_main__" not in done.stderr


# --- once -------------------------------------------------------------------------------------------

MAIN = "import sys, functools, threading\nimport gort\nasync def main(*args):\n    print('main', *args)\n    return 3\n"
ONCE = {
    "guarded": "if __name__ == '__main__':\n    gort.run(main)\n",
    "unguarded": "gort.run(main)\n",
    "with arguments": "if __name__ == '__main__':\n    sys.exit(gort.run(main, *sys.argv[1:]) - 3)\n",
    "a partial": "gort.run(functools.partial(main))\n",
    "wrapped": "async def outer():\n    await main()\ngort.run(outer)\n",
    "by exec": "exec('gort.run(main)')\n",
    "in a thread": "t = threading.Thread(target=gort.run, args=(main,))\nt.start()\nt.join()\n",
    "a plain main": "amain = main\ndef main():\n    gort.run(amain)\nif __name__ == '__main__':\n    main()\n",
    "another name": "start = main\ndel main\nif __name__ == '__main__':\n    gort.run(start)\n",
    "not at all": "if __name__ == '__main__':\n    x = 1\n",
}


@pytest.mark.parametrize("how", list(ONCE))
def test_c13_main_runs_once(write: Write, how: str) -> None:
    """Whether the file calls gort.run itself, and how, or leaves it to `gort run`."""
    done = gort_cli("run", write(MAIN + ONCE[how]))
    assert (done.stdout, done.stderr, done.returncode) == ("main\n", "", 0)


def test_a_run_of_an_imported_module_does_not_count(write: Write) -> None:
    """A module that runs something when it is imported does not keep the program's main from running."""
    write("import gort\nasync def measure():\n    print('measure')\ngort.run(measure)\n", "neighbour.py")
    done = gort_cli("run", write("import neighbour\n" + MAIN))
    assert (done.stdout, done.returncode) == ("measure\nmain\n", 0), done.stderr


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("gort.run(main())", "TypeError: gort.run takes the function, not a coroutine: write gort.run(main)"),
        ("gort.run(print)", "TypeError: gort.run takes an async function: write `async def print(...)`"),
        ("gort.run(main, procs=0)", "ValueError: procs must be at least 1, not 0"),
    ],
)
def test_a_wrong_call_of_run_is_told_with_its_line(write: Write, wrong: str, says: str) -> None:
    """No goroutine has run: it is told as python tells it."""
    file = write(f"import gort\nasync def main(): pass\n{wrong}\n")
    done = gort_cli("run", file)
    first, *rest = done.stderr.splitlines()
    assert (done.returncode, first) == (2, "Traceback (most recent call last):")
    assert rest[0] == f'  File "{file}", line 3, in <module>'
    assert rest[-1].startswith(says)


def test_a_file_that_handles_its_own_panic(write: Write) -> None:
    """What the file catches itself ends nothing; what it does not catch ends as any panic does."""
    text = "import gort, sys\nasync def main():\n    gort.go(int, 'x')\n    await gort.Chan().recv()\n"
    caught = "try:\n    gort.run(main)\nexcept gort.Panic as e:\n    print('caught', repr(e.__cause__)[:10])\n"
    done = gort_cli("run", write(text + caught))
    assert (done.stdout, done.stderr, done.returncode) == ("caught ValueError\n", "", 0)
    done = gort_cli("run", write(text + "if __name__ == '__main__':\n    gort.run(main)\n"))
    assert done.returncode == 2
    assert done.stderr.startswith("panic: ValueError: invalid literal")
    assert done.stderr.endswith("exit status 2\n")
    assert "Traceback" not in done.stderr
    done = gort_cli("run", write("import gort\nasync def main():\n    1 / 0\ngort.run(main)\n"))
    assert done.stderr.splitlines()[:4] == [
        "panic: ZeroDivisionError: division by zero", "", "goroutine 1 [running]:", "main.main(...)",
    ]  # fmt: skip
    assert "<module>" not in done.stderr


def test_procs_of_the_command_reach_a_file_that_runs_itself(write: Write) -> None:
    """`gort run --procs 3 FILE`, where FILE calls gort.run; a procs= in FILE is the stronger."""
    text = "import gort\nasync def main():\n    print(gort.runtime.gomaxprocs(0))\n"
    assert gort_cli("run", "--procs", "3", write(text + "gort.run(main)\n")).stdout == "3\n"
    assert gort_cli("run", "--procs", "3", write(text + "gort.run(main, procs=2)\n")).stdout == "2\n"
    assert gort_cli("run", "--procs", "3", write(text)).stdout == "3\n"
