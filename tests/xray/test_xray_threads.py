"""The Go scheduler inside the emulator: threads, timers, signals, the collector, faults, on a virtual clock."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gort.xray.boot.follow import Boot, Options, xray

pytestmark = pytest.mark.go


def run(
    build: Callable[..., Path], what: str, variant: str = "default", env: tuple[str, ...] = (), program: str = "busy"
) -> Boot:
    options = Options(until="exit", argv=[program, what], env=["GOMAXPROCS=3", *env], steps=80_000_000)
    with xray(build(program, variant), options) as report:
        assert report.boot is not None
        return report.boot


@pytest.mark.parametrize("variant", ["default", "arm64"])
@pytest.mark.parametrize(
    ("what", "status", "text"),
    [
        ("sleep", 0, "slept 3h0m0s"),
        ("workers", 0, "sum 190 3"),
        ("gc", 0, "gcs true 200"),
        ("nil", 0, "recovered: runtime error: invalid memory address or nil pointer dereference"),
        ("div", 0, "recovered: runtime error: integer divide by zero"),
        ("panic", 2, "panic: boom"),
        ("signal", 0, "got user defined signal 1"),
        ("deadlock", 2, "fatal error: all goroutines are asleep - deadlock!"),
        ("ticker", 0, "ticked"),
    ],
)
def test_programs_run_as_they_do_natively(
    build: Callable[..., Path], what: str, status: int, text: str, variant: str
) -> None:
    found = run(build, what, variant)
    assert (found.how, found.status) == ("exit", status), found.detail
    assert text in found.output.decode()


def test_a_spinning_goroutine_is_preempted(build: Callable[..., Path]) -> None:
    found = run(build, "preempt", env=("GOMAXPROCS=1",))
    assert found.output == b"main runs beside a spinning goroutine\n"


def test_a_thread_that_gets_a_signal_in_every_turn_goes_on(build: Callable[..., Path]) -> None:
    found = run(build, "signaled")
    assert (found.how, found.output) == ("exit", b"counted\n"), found.detail


def test_a_change_belongs_to_the_thread_that_made_it(build: Callable[..., Path]) -> None:
    found = run(build, "workers")
    first = found.stations[0].thread
    others = [s for s in found.stations if s.thread != first]
    assert others
    # Only m0's own thread takes its locks and runs its goroutines. Another one hands it a P (startm also
    # sets its `spinning`) and links it into lists.
    own = {"m0.locks", "m0.mallocing", "m0.curg", "m0.p", "m0.blocked", "m0.tls[0]"}
    blamed = [
        (s.name, s.thread, key)
        for s in others
        for changed in (s.changed, s.early, *(v.changed for v in s.repeats if v.thread != first))
        for key in changed
        if key in own or key.startswith("g0.")
    ]
    assert blamed == []


def test_every_call_keeps_what_it_changed(build: Callable[..., Path]) -> None:
    found = run(build, "resize")
    above = next(s.index for s in found.stations if s.name == "main.main")
    for name, times in (("runtime.GOMAXPROCS", 3), ("runtime.procresize", 2)):  # the third call changes nothing
        s = next(s for s in found.stations if s.name == name and s.parent == above)
        above = s.index
        assert s.times == times
        assert s.changed["gomaxprocs"] == (3, 6)
        assert s.changed["len(allp)"] == (3, 6)
        assert [v.changed["gomaxprocs"] for v in s.repeats] == [(6, 2)]
        assert s.repeats[0].number == 2
    assert [s.repeats[0].changed[f"allp[{i}].status"][1] for i in (2, 3, 4, 5)] == [4] * 4  # _Pdead
    assert sum(s.name == "main.main" for s in found.stations) == 1  # its stack grows, so it is entered twice


def test_all_calls_are_counted(build: Callable[..., Path]) -> None:
    found = run(build, "many")
    assert next(s for s in found.stations if s.name == "main.nothing").times == 1000


def test_time_is_virtual(build: Callable[..., Path]) -> None:
    found = run(build, "sleep")
    assert found.skipped_ns > 3 * 3600 * 10**9 * 0.99
    assert found.instructions < 2_000_000


def test_sysmon_starts_on_a_new_m(build: Callable[..., Path]) -> None:
    found = run(build, "ticker")
    sysmon = next(s for s in found.stations if s.name == "runtime.sysmon")
    assert sysmon.thread != found.stations[0].thread
    chain = []
    at = sysmon.parent
    while at is not None:
        chain.append(found.stations[at].name)
        at = found.stations[at].parent
    assert (
        chain.index("runtime.mstart")
        < chain.index("runtime.newosproc")
        < chain.index("runtime.newm")
        < chain.index("runtime.main")
    )
    assert any(c[0] == "clone" and c[2] == sysmon.thread for s in found.stations for c in s.syscalls)


def test_schedtrace_works_inside(build: Callable[..., Path]) -> None:
    found = run(build, "ticker", env=("GODEBUG=schedtrace=10",))
    lines = [line for line in found.output.decode().splitlines() if line.startswith("SCHED ")]
    assert len(lines) >= 3
    assert all("gomaxprocs=3" in line for line in lines)


def test_nothing_of_the_host_is_reached(build: Callable[..., Path], tmp_path: Path) -> None:
    target = Path("/tmp/gort-xray-must-not-exist")
    assert not target.exists()
    found = run(build, "files")
    text = found.output.decode()
    assert "open /proc/version: no such file or directory" in text
    assert "users [root:x:0:0:root:/root:/bin/sh ] <nil>" in text  # made up, and not the host's
    assert "read-only file system" in text
    assert "through a pipe" in text
    assert "fork/exec /bin/sh: operation not permitted" in text
    assert not target.exists()
