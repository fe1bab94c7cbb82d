"""The commands `gort run` and `gort boot`: arguments, exit status, what is printed where, Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support import PATIENCE_S, command, environment, gort_cli, python

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str, name: str = "prog.py") -> str:
        file = tmp_path / name
        file.write_text(text)
        return str(file)

    return write


HEAD = "import sys, os, time, threading\nimport gort\n"


def test_run_passes_arguments(write: Write) -> None:
    """sys.argv is the file and its arguments, options of the program included."""
    file = write(HEAD + "async def main():\n    print(sys.argv[1:])\n")
    done = gort_cli("run", file, "a", "--flag", "-x", "--help")
    assert (done.returncode, done.stdout) == (0, "['a', '--flag', '-x', '--help']\n"), done.stderr


def test_run_is_like_python_file(write: Write, tmp_path: Path) -> None:
    """Neighbours of the file can be imported; __file__ and __name__ are as `python FILE` has them, or
    close."""
    (tmp_path / "neighbour.py").write_text("VALUE = 42\n")
    file = write(
        HEAD + "from neighbour import VALUE\nasync def main():\n    print(VALUE, os.path.basename(__file__))\n"
    )
    done = gort_cli("run", file)
    assert done.stdout == "42 prog.py\n", done.stderr


def test_run_does_not_run_the_main_guard_twice(write: Write) -> None:
    """A file that can also be started by itself runs main once."""
    file = write(HEAD + "async def main():\n    print('main')\nif __name__ == '__main__':\n    gort.run(main)\n")
    done = gort_cli("run", file)
    assert done.stdout == "main\n", done.stderr


def test_status_of_main(write: Write) -> None:
    file = write(HEAD + "async def main():\n    return 5\n")
    assert gort_cli("run", file).returncode == 0
    file = write(HEAD + "async def main():\n    sys.exit(5)\n")
    assert gort_cli("run", file).returncode == 5
    file = write(HEAD + "async def main():\n    sys.exit('why')\n")
    done = gort_cli("run", file)
    assert (done.returncode, done.stderr.strip()) == (1, "why")


def test_output_is_flushed_and_stdin_read(write: Write) -> None:
    file = write(HEAD + "async def main():\n    print(await gort.blocking(sys.stdin.readline), end='')\n")
    done = gort_cli("run", file, input="a line\n")
    assert done.stdout == "a line\n", done.stderr


# --- mistakes -----------------------------------------------------------------------------------


def mistakes() -> dict[str, tuple[str | None, str]]:
    """Name -> (the file's text, or None for no file; what the message must say)."""
    return {
        "missing file": (None, r"nosuch\.py"),
        "no main": ("x = 1\n", r"async def main"),
        "plain main": ("def main():\n    pass\n", r"async def main"),
        "main is no function": ("main = 5\n", r"async def main"),
        "main wants arguments": ("async def main(a):\n    pass\n", r"main\(\)|argument"),
        "syntax error": ("async def main(:\n", r"SyntaxError"),
        "import error": ("import nosuchmodule\nasync def main():\n    pass\n", r"nosuchmodule"),
    }


@pytest.mark.parametrize("name", list(mistakes()))
def test_run_of_a_wrong_file(write: Write, tmp_path: Path, name: str) -> None:
    """One clear message on stderr, nothing on stdout, a status that is not 0, and none of gort's own
    frames."""
    text, says = mistakes()[name]
    file = write(text) if text is not None else str(tmp_path / "nosuch.py")
    done = gort_cli("run", file)
    assert done.returncode != 0
    assert done.stdout == ""
    assert re.search(says, done.stderr), done.stderr
    assert "src/gort/" not in done.stderr, "the user is shown gort's own frames"
    if "error" not in name:
        assert "Traceback" not in done.stderr


def test_run_of_a_directory(tmp_path: Path) -> None:
    done = gort_cli("run", str(tmp_path))
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert str(tmp_path) in done.stderr.replace("\n", "")


def test_run_without_a_file() -> None:
    done = gort_cli("run")
    assert done.returncode == 2
    assert "FILE" in done.stderr


def test_unknown_command() -> None:
    done = gort_cli("fly")
    assert done.returncode == 2
    assert "fly" in done.stderr


def test_help_names_the_commands() -> None:
    done = gort_cli("--help")
    assert done.returncode == 0
    assert "run" in done.stdout
    assert "boot" in done.stdout


def test_import_is_cheap() -> None:
    """`import gort` pulls in neither the command line nor asyncio."""
    done = python(
        "import sys; import gort; "
        "print([m for m in ('click', 'rich', 'asyncio', 'unicorn', 'multiprocessing') if m in sys.modules])"
    )
    assert done.stdout == "[]\n", done.stderr


def test_a_plain_run_imports_no_click(write: Write) -> None:
    """Nor what click and mistakes need: `gort run FILE` starts as quickly as a program that calls gort.run. With an
    option the same program runs by way of click."""
    file = write(
        HEAD + "import sys\nasync def main():\n"
        "    print(sys.argv[1:], [m for m in ('click', 'inspect', 'traceback', 'ast') if m in sys.modules])\n"
    )
    done = gort_cli("run", file, "--procs", "--", "a")
    assert (done.stdout, done.stderr, done.returncode) == ("['--procs', '--', 'a'] []\n", "", 0)
    done = gort_cli("run", "--procs", "1", file, "--procs", "--", "a")
    assert done.stdout.startswith("['--procs', '--', 'a'] ['click'")


# --- panics and deadlocks -----------------------------------------------------------------------


def test_panic_prints_like_go(write: Write) -> None:
    """The exception, the goroutine's number, its frames innermost first, and where it was created;
    status 2."""
    file = write(
        HEAD + "async def inner():\n    await gort.gosched()\n    raise ValueError('broken')  # raised here\n"
        "async def outer():\n    await inner()\n"
        "async def main():\n    gort.go(outer)  # created here\n    await gort.sleep(60)\n"
    )
    done = gort_cli("run", file)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert lines[0].startswith("panic: ")
    assert "broken" in lines[0]
    assert "ValueError" in lines[0]
    text = done.stderr
    assert re.search(r"^goroutine \d+ \[running\]:$", text, 8)
    assert "inner" in text
    assert "outer" in text
    created = next(i for i, line in enumerate(lines) if line.startswith("created by "))
    assert "main" in lines[created]
    assert "in goroutine 1" in lines[created]
    assert "prog.py:9" in "\n".join(lines[created : created + 2]), text
    assert "prog.py:5" in text
    assert "src/gort" not in text


def test_deadlock_prints_every_goroutine(write: Write) -> None:
    file = write(
        HEAD + "async def waiter(ch):\n    await ch.recv()\n"
        "async def main():\n    ch = gort.Chan()\n    gort.go(waiter, ch)\n    wg = gort.sync.WaitGroup()\n"
        "    wg.add(1)\n    await wg.wait()\n"
    )
    done = gort_cli("run", file)
    assert done.returncode == 2
    assert done.stderr.startswith("fatal error: all goroutines are asleep - deadlock!\n\n")
    assert "goroutine 1 [sync.WaitGroup.Wait]:" in done.stderr
    assert "[chan receive]:" in done.stderr
    assert "prog.py:4" in done.stderr
    assert "prog.py:10" in done.stderr
    assert "created by main" in done.stderr


def test_stdout_before_a_panic_is_kept(write: Write) -> None:
    file = write(HEAD + "async def main():\n    print('before')\n    raise KeyError('x')\n")
    done = gort_cli("run", file)
    assert done.stdout == "before\n"
    assert done.returncode == 2


ENDS = (
    HEAD
    + """
async def other():
    try: await gort.Chan().recv()
    finally: print("finally of other", file=sys.stderr)
async def numbers():
    try: yield 1
    finally: print("finally of numbers", file=sys.stderr)
async def fails(): raise ValueError("x")
async def main():
    kept = numbers()
    await kept.__anext__()
    gort.go(other)
    await gort.gosched()
    try:
        if sys.argv[1] == "panic": gort.go(fails)
        if sys.argv[1] == "main": await fails()
        await gort.Chan().recv()
    finally:
        print("finally of main", file=sys.stderr)
"""
)


@pytest.mark.parametrize("how", ["panic", "main", "deadlock"])
def test_g11_the_dump_comes_before_the_finally_blocks(write: Write, how: str) -> None:
    """Go runs no deferred function of another goroutine; gort does, but not before the dump. When main itself fails, its
    own finally comes first, as in Go."""
    done = gort_cli("run", write(ENDS), how)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    blocks = [line for line in lines if line.startswith("finally")]
    assert sorted(blocks) == ["finally of main", "finally of numbers", "finally of other"]
    before = blocks[:1] if how == "main" else []
    assert lines[: len(before)] == before
    assert lines[len(before)].startswith("fatal error: " if how == "deadlock" else "panic: ValueError: x")
    assert lines[len(lines) - len(blocks) + len(before) - 1 :] == [*blocks[len(before) :], "exit status 2"]
    assert done.stderr.count("goroutine 1 [") == (how != "panic")


def test_a_panic_with_a_stderr_that_raises(write: Write) -> None:
    """sys.stderr is the program's, and the dump is printed on the scheduler's stack: the status is 2 all the same."""
    bad = "import io\nclass Bad(io.StringIO):\n    def write(self, text): 1 / 0\n"
    text = ENDS.replace("async def main", bad + "async def main").replace(
        "    kept", "    sys.stderr = Bad()\n    kept", 1
    )
    for how in ("panic", "main", "deadlock"):
        done = gort_cli("run", write(text.replace(", file=sys.stderr", "")), how)
        assert done.returncode == 2
        assert sorted(done.stdout.splitlines()) == ["finally of main", "finally of numbers", "finally of other"]


# --- signals ------------------------------------------------------------------------------------


def popen(args: list[str], env: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


@contextlib.contextmanager
def started(file: str, **env: str):  # type: ignore[no-untyped-def]
    """The program running, after it has printed "ready"."""
    process = popen(command("run", file), environment(**env))
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line == "ready\n", process.communicate(timeout=PATIENCE_S)
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def interrupted(process: subprocess.Popen[str], signum: int = signal.SIGINT) -> tuple[int, str, str]:
    """Sends the signal; status, stdout and stderr. Its time limit is far less than the hour that the programs wait."""
    os.kill(process.pid, signum)
    out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out, err


BUSY = {
    "parked": "await gort.Chan().recv()",
    "sleeping": "await gort.sleep(3600)",
    "computing": "while True: pass",
    "giving way": "while True: await gort.gosched()",
    "blocked": "time.sleep(3600)",
    "in a blocking call": "await gort.blocking(time.sleep, 3600)",
    "accepting": "await (await gort.net.listen('tcp', '127.0.0.1:0')).accept()",
    "in a group": "async with gort.Group() as g:\n        [g.go(sleeper) for _ in range(100)]",
}


@pytest.mark.parametrize("what", list(BUSY))
@pytest.mark.parametrize("n", ["1", "4"], ids=["procs1", "procs4"])
def test_ctrl_c_ends_it_at_once(write: Write, what: str, n: str) -> None:
    """Whatever main does, SIGINT ends the program before its time. The process dies of the signal, without a
    traceback."""
    file = write(
        HEAD + "async def sleeper():\n    await gort.sleep(3600)\n"
        "async def main():\n"
        "    gort.go(sleeper)\n    print('ready', flush=True)\n    " + BUSY[what] + "\n"
    )
    with started(file, GOMAXPROCS=n) as process:
        status, out, err = interrupted(process)
    assert (status, out, err) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize("where", ["threading.Thread.start", "handoff.entersyscall"])
def test_ctrl_c_in_the_middle_of_the_schedulers_work(write: Write, where: str) -> None:
    """The signal comes while a blocking call hands its P off, and starts a thread for it: an exception raised there would
    break the scheduler, or be swallowed by C code, and Ctrl-C would be lost."""
    file = write(
        HEAD + "import os, signal\nfrom gort._runtime.core import handoff\n"
        f"real = {where}\nhits = []\nraised = []\n"
        "def hooked(*args):\n    result = real(*args)\n"
        "    if threading.current_thread() is threading.main_thread():\n"
        "        hits.append(1)\n"
        "        try:\n            signal.raise_signal(signal.SIGINT)\n            [None for _ in range(1000)]\n"
        "        except BaseException as e:\n            raised.append(e)\n            raise\n    return result\n"
        "async def computes():\n    while True: await gort.gosched()\n"
        f"async def main():\n    {where} = hooked\n    gort.go(computes)\n"
        "    try:\n        await gort.blocking(time.sleep, 3600)\n"
        "    finally:\n        print(len(hits) > 0, raised, flush=True)\n"
    )
    # With one P nobody steals main, which so makes its call in the main thread, where signal handlers run.
    done = subprocess.run(
        command("run", file), capture_output=True, text=True, timeout=PATIENCE_S, env=environment(GOMAXPROCS="1")
    )
    assert done.returncode == -signal.SIGINT, (done.returncode, done.stderr)
    assert done.stdout == "True []\n"
    assert "Exception ignored" not in done.stderr


def test_ctrl_c_runs_finally(write: Write) -> None:
    """main and the others unwind: `finally` blocks run."""
    file = write(
        HEAD + "async def waiter(inside):\n    try:\n        inside.append(1)\n        await gort.sleep(3600)\n"
        "    finally:\n        print('waiter', flush=True)\n"
        "async def main():\n    inside = []\n    gort.go(waiter, inside)\n"
        "    while not inside: await gort.gosched()\n"
        "    try:\n        print('ready', flush=True)\n        await gort.sleep(3600)\n"
        "    finally:\n        print('main', flush=True)\n"
    )
    with started(file) as process:
        status, out, err = interrupted(process)
    assert status == -signal.SIGINT, err
    assert sorted(out.split()) == ["main", "waiter"]


def test_g3_ctrl_c_ends_a_shell_loop(write: Write) -> None:
    """A shell goes on after a child that exits, with whatever status; it ends with one that dies of SIGINT."""
    file = write(HEAD + "async def main():\n    print('ready', flush=True)\n    await gort.sleep(3600)\n")
    loop = 'for i in 1 2 3; do "$@"; done; echo goes on'
    process = subprocess.Popen(
        ["bash", "-c", loop, "-", *command("run", file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out) == (-signal.SIGINT, ""), err


def test_ctrl_c_ends_the_interpreter_in_order(write: Write) -> None:
    """Before it dies of the signal, what is buffered is written, threads are awaited, and atexit's functions run."""
    file = write(
        HEAD + "import atexit\natexit.register(print, 'atexit')\ngo_on = threading.Event()\n"
        "def thread():\n    go_on.wait()\n    print('thread')\n"
        "threading.Thread(target=thread).start()\n"
        "async def main():\n    try:\n        print('ready', flush=True)\n        await gort.sleep(3600)\n"
        "    finally:\n        print('buffered')\n        go_on.set()\n"
    )
    with started(file) as process:
        status, out, err = interrupted(process)
    assert (status, err) == (-signal.SIGINT, "")
    assert sorted(out.split()) == ["atexit", "buffered", "thread"]


def test_ctrl_c_frees_what_the_program_held(write: Write) -> None:
    """Before the interpreter takes itself apart: a finalizer finds its modules."""
    file = write(
        HEAD + "class Kept:\n    def __del__(self): print('freed', sys.is_finalizing(), flush=True)\n"
        "async def main():\n    kept = Kept()\n    print('ready', flush=True)\n    await gort.sleep(3600)\n"
    )
    with started(file) as process:
        status, out, err = interrupted(process)
    assert (status, out, err) == (-signal.SIGINT, "freed False\n", "")


@pytest.mark.parametrize("how", ["raised by main", "raised by the file", "a run of the file's own"])
def test_a_keyboard_interrupt_without_a_signal(write: Write, how: str) -> None:
    """As under python: whoever raises it, the process dies of SIGINT; a traceback tells where the file raised it."""
    text = {
        "raised by main": "async def main(): raise KeyboardInterrupt\n",
        "raised by the file": "raise KeyboardInterrupt\n",
        "a run of the file's own": "async def main(): raise KeyboardInterrupt\ngort.run(main)\n",
    }
    done = gort_cli("run", write(HEAD + text[how]))
    assert done.returncode == -signal.SIGINT
    assert ("Traceback" in done.stderr) == (how == "raised by the file")
    assert "gort/cli" not in done.stderr


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_is_not_handled(write: Write, signum: int) -> None:
    """SIGTERM and SIGHUP that the program does not want end it at once, as they end any Python and any Go program."""
    file = write(
        HEAD + "async def main():\n    try:\n        print('ready', flush=True)\n        await gort.sleep(3600)\n"
        "    finally:\n        print('finally', flush=True)\n"
    )
    with started(file) as process:
        status, out, err = interrupted(process, signum)
    assert (status, out, err) == (-signum, "", "")


def test_ctrl_c_can_be_handled(write: Write) -> None:
    """main may catch KeyboardInterrupt and end in its own way."""
    file = write(
        HEAD + "async def main():\n    try:\n        print('ready', flush=True)\n        await gort.sleep(3600)\n"
        "    except KeyboardInterrupt:\n        print('caught', flush=True)\n        sys.exit(3)\n"
    )
    with started(file) as process:
        status, out, err = interrupted(process)
    assert (status, out) == (3, "caught\n"), err


def test_ctrl_c_with_gort_run_in_a_script(write: Write) -> None:
    """`python FILE` with gort.run: KeyboardInterrupt comes out of run, as from any Python function."""
    code = (
        HEAD + "async def main():\n    print('ready', flush=True)\n    await gort.sleep(3600)\n"
        "try:\n    gort.run(main)\nexcept KeyboardInterrupt:\n    print('out of run', flush=True)\n"
    )
    process = popen([sys.executable, "-c", code], environment())
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        status, out, err = interrupted(process)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert (status, out) == (0, "out of run\n"), err


def test_closed_stdout_is_no_crash(write: Write) -> None:
    """`gort run FILE | head -1` must not end in a storm of tracebacks."""
    file = write(HEAD + "async def main():\n    for i in range(100000): print(i)\n")
    shell = ["bash", "-c", '"$@" | head -1', "-", *command("run", file)]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout == "0\n"
    assert done.stderr.count("Traceback") <= 1


# --- closed streams -----------------------------------------------------------------------------

TELLS = (
    HEAD
    + """
async def main():
    print("out")
    if sys.argv[1] == "panic":
        gort.go(int, "z")
        await gort.Chan().recv()
    if sys.argv[1] == "deadlock":
        await gort.Chan().recv()
    if sys.argv[1] == "exit":
        sys.exit(5)
    if sys.argv[1] == "interrupt":
        raise KeyboardInterrupt
"""
)
STATUS = {"return": 0, "panic": 2, "deadlock": 2, "exit": 5, "interrupt": -signal.SIGINT}


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "1>&- 2>&-", "0<&-"])
@pytest.mark.parametrize("how", list(STATUS))
def test_closed_streams(write: Write, how: str, closed: str) -> None:
    """stdout or stderr that is closed from the start (`gort run FILE >&-`): the status is the program's, what can be
    written is written, and there is no traceback."""
    shell = ["bash", "-c", f'exec "$@" {closed}', "-", *command("run", write(TELLS), how)]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == STATUS[how], done.stderr
    assert done.stdout == ("" if "1>" in closed else "out\n")
    assert "Traceback" not in done.stderr
    told = {"panic": "panic: ValueError", "deadlock": "fatal error: all"}.get(how, "")
    assert done.stderr.startswith(told if "2>" not in closed else "")
    assert (done.stderr == "") == (not told or "2>" in closed)


@pytest.mark.parametrize("name", list(mistakes()))
@pytest.mark.parametrize("closed", ["1>&-", "2>&-"])
def test_closed_streams_and_a_wrong_file(write: Write, tmp_path: Path, name: str, closed: str) -> None:
    text, says = mistakes()[name]
    file = write(text) if text is not None else str(tmp_path / "nosuch.py")
    shell = ["bash", "-c", f'exec "$@" {closed}', "-", *command("run", file)]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 2
    assert done.stderr == "" if "2>" in closed else re.search(says, done.stderr)
