"""Programs for linux/riscv64 and linux/386, emulated: their boot, signals and preemption, and stripped files.

The calls of riscv64 without emulation are in test_static.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gort.xray.boot.follow import Boot, Options, xray

pytestmark = pytest.mark.go

_ARCHES = ("riscv64", "386")
_NAMES = ("g0 stack", "bind g0 and m0", "runtime.schedinit", "runtime.procresize", "runtime.main", "main.main")
_FIELDS = {
    "riscv64": ("ncpu", "gomaxprocs", "sched.maxmcount", "g0.stack.lo", "g0.stackguard0", "m0.id", "len(allp)"),
    "386": ("ncpu", "g0.stack.lo", "g0.stackguard0"),
}
"""What is known of a stripped file. There is no table of 386's layouts, so it is what rt0_go itself stores."""


def _follow(path: Path, *args: str, **more: object) -> Boot:
    options = Options(until="exit", cpus=2, argv=["program", *args])
    for name, value in more.items():
        setattr(options, name, value)
    with xray(path, options) as report:
        assert report.boot is not None
        return report.boot


@pytest.mark.parametrize("arch", _ARCHES)
def test_hello_runs_to_its_exit_stripped_or_not(build: Callable[..., Path], arch: str) -> None:
    """The stripped file's addresses come from the code: the values are the same."""
    prints = ["runtime.sched.maxmcount", "runtime.allp[1].id", "runtime.buildVersion", "runtime.g0.m"]
    named = _follow(build("hello", arch), prints=prints, watches=["runtime.gomaxprocs"], arguments=True)
    stripped = _follow(build("hello", f"{arch}-stripped"))
    for boot in (named, stripped):
        assert (boot.how, boot.status, boot.output) == ("exit", 0, b"Hello, world\n")
        assert set(_NAMES) <= {s.name for s in boot.stations}
        bind = next(s for s in boot.stations if s.name == "bind g0 and m0")
        assert {"g0.m", "m0.g0"} <= bind.changed.keys()
        assert next(s for s in boot.stations if s.name == "g0 stack").returned
    assert (named.globals.source, stripped.globals.source[:8]) == ("the symbol table", "the code")
    for field in _FIELDS[arch]:
        assert named.snapshot[field] == stripped.snapshot[field], field
    assert [p.value for p in named.printed[:2]] == ["10000", "1"]
    assert named.printed[2].value.startswith('"go1.')
    assert named.printed[3].value.endswith("(&runtime.m0)")
    assert named.watched[0].changes == 1
    assert "runtime.procresize" in " ".join(named.watched[0].writes[0].callers)
    assert next(s for s in named.stations if s.name == "runtime.procresize").arguments == "nprocs=2"


@pytest.mark.parametrize("arch", _ARCHES)
@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("nil", b"recovered: runtime error: invalid memory address or nil pointer dereference\n"),
        ("preempt", b"main runs beside a spinning goroutine\n"),
        ("signal", b"got user defined signal 1\n"),
    ],
)
def test_signals(build: Callable[..., Path], arch: str, what: str, said: bytes) -> None:
    """A fault becomes a panic, a spinning goroutine is preempted, and a handler returns to where it interrupted."""
    boot = _follow(build("busy", arch), what)
    assert (boot.how, boot.status, boot.output) == ("exit", 0, said)


def test_inits_of_386(build: Callable[..., Path]) -> None:
    """The records of inits have words of 4 bytes."""
    boot = _follow(build("hello", "386"), inits=True)
    assert {"runtime", "os", "unicode"} <= {i.package for i in boot.inits}
    assert all(f.returned for i in boot.inits for f in i.functions)
