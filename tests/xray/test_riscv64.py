"""Programs for linux/riscv64, emulated: their boot, signals and preemption, and what is found in a stripped file.

The calls of riscv64 without emulation are in test_static.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gort.xray.boot.follow import Boot, Options, xray

pytestmark = pytest.mark.go

_NAMES = ("g0 stack", "bind g0 and m0", "runtime.schedinit", "runtime.procresize", "runtime.main", "main.main")
_FIELDS = ("ncpu", "gomaxprocs", "sched.maxmcount", "g0.stack.lo", "g0.stackguard0", "m0.id", "len(allp)")


def _follow(path: Path, *args: str, until: str = "exit") -> Boot:
    with xray(path, Options(until=until, cpus=2, argv=["program", *args])) as report:
        assert report.boot is not None
        return report.boot


def test_hello_runs_to_its_exit_stripped_or_not(build: Callable[..., Path]) -> None:
    """The stripped file's addresses come from the code, its layouts from the table: the values are the same."""
    boots = [_follow(build("hello", variant)) for variant in ("riscv64", "riscv64-stripped")]
    for boot in boots:
        assert (boot.how, boot.status, boot.output) == ("exit", 0, b"Hello, world\n")
        assert set(_NAMES) <= {s.name for s in boot.stations}
    named, stripped = boots
    assert (named.globals.source, stripped.globals.source[:8]) == ("the symbol table", "the code")
    for field in _FIELDS:
        assert named.snapshot[field] == stripped.snapshot[field], field
    bind = next(s for s in stripped.stations if s.name == "bind g0 and m0")
    assert {"g0.m", "m0.g0"} <= bind.changed.keys()
    assert next(s for s in stripped.stations if s.name == "g0 stack").returned


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("nil", b"recovered: runtime error: invalid memory address or nil pointer dereference\n"),
        ("preempt", b"main runs beside a spinning goroutine\n"),
        ("signal", b"got user defined signal 1\n"),
    ],
)
def test_signals(build: Callable[..., Path], what: str, said: bytes) -> None:
    """A fault becomes a panic, a spinning goroutine is preempted, and a handler returns to where it interrupted."""
    boot = _follow(build("busy", "riscv64"), what)
    assert (boot.how, boot.status, boot.output) == ("exit", 0, said)
