"""The debugger over the emulation: forwards, and backwards to where it was."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from test_xray_cli import SOURCES, gort

from gort.xray.boot.follow import Options, examine, xray
from gort.xray.errors import XrayError
from gort.xray.show.paper import Paper
from gort.xray.step import session as session_module
from gort.xray.step.prompt import _NAMES, _WORDS, Prompt
from gort.xray.step.session import Session
from support import FULL


class Output:
    """A file that keeps what is written, by command."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.parts: list[str] = [""]

    def write(self, text: str) -> None:
        self.parts[-1] += text

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False


def debug(path: Path, *commands: str, until: str = "exit") -> list[str]:
    """Returns what each command printed; the first is what was shown at the first stop."""
    out = Output()
    rest = list(commands)

    def read(_prompt: str) -> str | None:
        out.parts.append("")
        return rest.pop(0) if rest else None

    with examine(path) as static:
        options = Options(argv=["hello"], cpus=2, until=until)
        Session(static, options, Prompt(read, Paper(out, colour=False))).run()  # type: ignore[arg-type]
    assert not rest
    return out.parts[:-1]


def number(text: str) -> int:
    return int(re.findall(r"instruction ([\d,]+)", text)[-1].replace(",", ""))


@pytest.mark.go
@pytest.mark.parametrize("variant", ["default", "stripped", "arm64", "pie"] if FULL else ["stripped", "arm64"])
def test_what_goes_forwards_comes_back(build: Callable[..., Path], variant: str) -> None:
    path = build("hello", variant)
    start, _, there, step, back, stepi, backi = debug(
        path, "break main.main", "continue", "next", "reverse-next", "stepi", "reverse-stepi"
    )
    assert number(start) == 1
    assert start.startswith("_rt0_")
    assert "breakpoint 1: main.main\nmain.main hello.go:10" in there
    assert "hello.go:11" in step
    assert number(back) == number(there)
    assert number(stepi) == number(there) + 1
    assert number(backi) == number(there)


@pytest.mark.go
@pytest.mark.parametrize("variant", ["default", "arm64"] if FULL else ["default"])
def test_next_step_and_finish(build: Callable[..., Path], variant: str) -> None:
    path = build("hello", variant)
    out = debug(path, "tbreak main.main", "c", "n", "n", "bt", "rn", "s", "bt", "fin", "rf", "info breakpoints")
    _, _, _, line, over, outer, again, inner, stack, finished, called, stops = out
    assert "main.main+" in line
    assert "hello.go:11" in line
    assert "hello.go:12" in over  # the whole print is one line further
    assert outer.startswith("#0")
    assert "runtime.main" in outer
    assert number(again) < number(over)
    assert "hello.go:11" in again
    assert "main.Hello" in inner
    frames = [row.split()[2] for row in stack.splitlines()]
    assert [f.split("+")[0] for f in frames[:3]] == ["main.Hello", "main.main", "runtime.main"]
    assert "main.main+" in finished
    assert "runtime.main+" in called  # main.main's own caller
    assert number(called) < number(again) < number(inner)
    assert stops == ""  # it was a temporary one


@pytest.mark.go
def test_a_watched_variable_is_found_backwards(hello: Path) -> None:
    out = debug(
        hello,
        "break main.main",
        "c",
        "watch runtime.gomaxprocs",
        "reverse-continue",
        "print runtime.gomaxprocs",
        "backtrace",
        "rsi",
        "p runtime.gomaxprocs",
        "c",
        "c",
        "delete",
        "c",
        "output",
        "when",
        "rc",
    )
    there = out[2]
    found, value, stack, before, old, forwards, main = out[4:11]
    assert number(found) < number(there)
    assert value == "2 int32\n"
    assert "runtime.procresize" in stack
    assert "runtime.schedinit" in stack
    assert number(before) == number(found) - 1
    assert old == "0 int32\n"
    assert "change of 2: runtime.gomaxprocs" in forwards
    assert number(forwards) == number(found)
    assert number(main) == number(there)
    ended, output, _, first = out[12:]
    assert "the program ended with status 0" in ended
    assert "Hello, world" in output
    assert number(first) == 1  # no breakpoint is left on the way back


@pytest.mark.go
def test_going_to_a_number_and_back_from_the_end(hello: Path) -> None:
    out = debug(
        hello, "goto 5000", "goto 200", "goto 200000", "c", "rsi", "restart", "goto 1000000000", "step", "rev s"
    )
    assert [number(out[i]) for i in (1, 2, 3)] == [5000, 200, 200_000]
    assert "ended with status 0" in out[4]
    assert number(out[5]) > 200_000
    assert number(out[6]) == 1
    assert "ended with status 0" in out[7]
    assert "the program has ended: go back" in out[8]
    assert number(out[9]) > 200_000


@pytest.mark.go
def test_a_search_that_looks_near_first_finds_the_same(hello: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    back = [word for command in ("rs", "rn", "rsi", "rni", "rf") for word in (command, "goto 5000")]
    found = []
    for near in (1 << 40, 1, 50):
        monkeypatch.setattr(session_module, "_NEAR", near)
        found.append([number(out) for out in debug(hello, "goto 5000", *back)[2::2]])
    assert found[0] == found[1] == found[2]
    assert all(n < 5000 for n in found[0])
    assert len(set(found[0])) > 2


@pytest.mark.go
def test_a_change_on_the_way_to_a_number_is_no_reason_to_stop_behind_it(hello: Path) -> None:
    out = debug(hello, "watch runtime.sched.maxmcount", "goto 200000", "p runtime.sched.maxmcount", "c")
    assert out[3].startswith("10000")
    assert "ended with status 0" in out[4]


@pytest.mark.go
def test_the_run_is_that_of_the_report(hello: Path) -> None:
    """The debugger's numbers are instructions, and looking changes nothing."""
    with xray(hello, Options(argv=["hello"], cpus=2)) as report:
        assert report.boot is not None
        counted = report.boot.instructions
    _, _, there = debug(hello, "b main.main", "c")
    assert number(there) - 1 <= counted <= number(there) + 8  # a block is counted when it is entered


@pytest.mark.go
def test_looking_around(hello: Path) -> None:
    out = debug(
        hello,
        "b main.main",
        "c",
        "info registers",
        "threads",
        "goroutines",
        "disassemble",
        "x/4 &runtime.g0",
        "info breakpoints",
        "help",
        "# a comment",
        "list",
    )
    registers, threads, goroutines, code, memory, stops, words = out[3:10]
    assert re.search(r"rip +0x0*[0-9a-f]+  main.main", registers)
    assert "* thread 1000  runs  main.main" in threads
    assert "thread 1001" in threads
    assert re.search(r"\* goroutine 1  _Grunning  runtime.main", goroutines)
    assert "runtime.bgsweep" in goroutines or "gcenable" in goroutines
    assert "=> 0x" in code
    assert len(memory.splitlines()) == 2
    assert "hit 1 times" in stops
    for command in _WORDS:
        assert _WORDS[command][0] in words
    assert "func main()" in out[-1] or "is not on this machine" in out[-1]


@pytest.mark.go
@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("nonsense", "nonsense is no command (help lists them)"),
        ("re", "re is no command: "),
        ("break main.mian", "did you mean main.main"),
        ("print runtime.shed", "did you mean runtime.sched"),
        ("print", "write it as"),
        ("watch $rsp", "only a variable can be watched"),
        ("delete 7", "there is no breakpoint 7"),
        ("goto x", "x is no number"),
        ("info nothing", "give one of breakpoints"),
        ("x", "write it as"),
        ("x/2 0x1", "there is no memory at 0x1"),
    ],
)
def test_mistakes_are_told_and_the_prompt_goes_on(hello: Path, command: str, says: str) -> None:
    _, told, when = debug(hello, command, "when")
    assert says in told
    assert when == "instruction 1\n"


def test_every_word_has_one_command() -> None:
    words = [word for words, _ in _WORDS.values() for word in words.split()]
    assert len(words) == len(set(words)) == len(_NAMES)
    for command in _WORDS:
        assert hasattr(Prompt, f"do_{command}")


@pytest.mark.go
def test_the_command_reads_a_script(hello: Path, build: Callable[..., Path]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gort", "xray", str(hello), "--step", "--until", "hello.go:11"],
        input="bt\nquit\n",
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(SOURCES), "PATH": ""},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "breakpoint 1: hello.go:11" in done.stdout
    assert "(xray) bt\n#0" in done.stdout
    assert "is not emulated" in gort(str(build("bare", "solaris-amd64")), "--step", status=2).stderr


@pytest.mark.go
def test_options_that_do_not_fit_end_it(hello: Path) -> None:
    with pytest.raises(XrayError, match="no such variable"), examine(hello) as static:
        Session(static, Options(prints=["runtime.nosuch"]), lambda _: None).run()
