"""What a start imports; and that `gort.go` is one specialised load."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support import PATIENCE_S, environment

NOT_AT_START = [
    # For annotations, which are strings.
    "typing", "collections.abc", "dataclasses",
    # For what went wrong: a panic, a warning, an odd argument.
    "traceback", "inspect", "ast", "dis", "tokenize", "linecache", "textwrap", "warnings", "re",
    "gort._runtime.sched.migration", "gort._runtime.core.panic", "gort._runtime.watch.reports",
    # Said in a few lines, or there in C.
    "contextlib", "collections", "functools", "random", "signal", "enum", "struct", "weakref", "copyreg",
    "importlib.util", "importlib.machinery",
    # For the library, which is loaded when it is used.
    "gort.bufio", "gort.context", "gort.debug", "gort.exec", "gort.net", "gort.os", "gort.signal", "gort.sync",
    "gort.testing",
    "gort._runtime.poll.fd",
    "gort._runtime.poll.netpoll", "gort._runtime.poll.polldesc", "gort._runtime.watch.sigqueue",
    "datetime", "select", "socket", "ssl", "subprocess", "shutil",
    # For nothing.
    "asyncio", "concurrent", "contextvars", "logging", "queue", "gort._start.hints",
]  # fmt: skip
# It has the C library's facts from ctypes.
ONLY_UNCOMPILED = {"warnings", "contextvars", "struct"}

HELLO = """
import sys, threading
before = set(sys.modules)
import gort

async def main():
    print("hello")

gort.run(main)
print(*sorted(set(sys.modules) - before))
print(gort.runtime.compiled)
"""


def run(code: str, **env: str | None) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env=environment(**env),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("pure", [None, "1"])
def test_a_start_imports_what_a_hello_uses(pure: str | None) -> None:
    """A program that says hello pays for the scheduler, for threading with what that brings along (functools and
    collections, in older versions), and for nothing else: typing, inspect and the like take longer to import than gort.
    What needs one of them imports it there and then."""
    hello, imported, compiled = run(HELLO, GORT_PURE=pure)
    assert hello == "hello"
    allowed = set() if compiled == "True" else ONLY_UNCOMPILED
    assert sorted(set(NOT_AT_START) & set(imported.split()) - allowed) == []


SPECIALISED = """
import dis, gort

def often():
    for _ in range(2000):
        gort.gosched
        gort.Chan
        gort.ChannelClosed
        gort.sync

gort.sync.Mutex  # loaded: from here on a module like any other
often()
print(*[i.opname for i in dis.get_instructions(often, adaptive=True) if i.argval in NAMES])
"""


@pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="how `dis` names what it shows is the interpreter's own business"
)
def test_the_modules_names_are_specialised_loads() -> None:
    """The interpreter turns `gort.go` into a load from the module's table; it refuses where a module has a
    `__getattr__` of its own."""
    names = ("gosched", "Chan", "ChannelClosed", "sync")
    (line,) = run(SPECIALISED.replace("NAMES", repr(names)))
    if sys.version_info >= (3, 13) and not sys._is_gil_enabled():
        pytest.skip("3.13t specialises nothing")
    assert line.split() == ["LOAD_ATTR_MODULE"] * len(names)


def test_no_module_that_a_start_loads_has_a_getattr() -> None:
    code = (
        "import sys, gort; print(*[n for n, m in sys.modules.items() if n[:4] == 'gort' and '__getattr__' in vars(m)])"
    )
    assert run(code) == [""]
