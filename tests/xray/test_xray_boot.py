"""The emulated boot of real Go programs, held against the same programs run natively under gdb."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from gdb_oracle import values_at
from xraykit import all_gos

from gort.xray.boot.follow import Boot, Options, xray
from gort.xray.emulate.disasm import Disassembler
from gort.xray.emulate.machine import Machine
from gort.xray.emulate.native import Decoder
from gort.xray.file.gobuild import read_buildinfo
from gort.xray.file.open import load
from gort.xray.file.symbols import Symbols
from gort.xray.layout.globals import find_globals
from gort.xray.layout.layout import find_layouts
from gort.xray.systems.darwin import Darwin

pytestmark = pytest.mark.go

LINUX = ("default", "noopt", "stripped", "pie", "arm64", "arm64-stripped")
ENV = {"GOMAXPROCS": "3"}
IN_ORDER = [
    "runtime.rt0_go",
    "g0 stack",
    "bind g0 and m0",
    "runtime.check",
    "runtime.args",
    "runtime.osinit",
    "runtime.schedinit",
    "runtime.mallocinit",
    "runtime.mcommoninit",
    "runtime.goargs",
    "runtime.gcinit",
    "runtime.procresize",
    "runtime.(*p).init",
    "runtime.acquirep",
    "runtime.newproc",
    "runtime.newproc1",
    "runtime.runqput",
    "runtime.mstart",
    "runtime.mstart0",
    "runtime.mstart1",
    "runtime.schedule",
    "runtime.execute",
    "runtime.gogo",
    "runtime.main",
    "runtime.newm",
    "runtime.newosproc",
    "main.main",
]
MSTART0_SINCE = 17
"""Before, mstart itself is Go code and does what mstart0 does."""
IS_M = re.compile(r"allm\[\d+\]")
STOPS = ["runtime.rt0_go", "runtime.check", "runtime.newproc", "main.main"]


def boot(path: Path, until: str = "main.main", **options: object) -> Boot:
    with xray(
        path, Options(until=until, env=[f"{k}={v}" for k, v in ENV.items()], argv=["hello"], **options)
    ) as report:  # type: ignore[arg-type]
        assert report.boot is not None
        return report.boot


def minor(path: Path) -> int:
    """Returns 27 for a program built by Go 1.27."""
    with load(path) as image:
        info = read_buildinfo(image)
    assert info is not None
    assert info.minor is not None
    return info.minor


def names(found: Boot) -> list[str]:
    return [s.name for s in found.stations]


@pytest.mark.parametrize("variant", LINUX)
def test_every_station_in_order_up_to_main(build: Callable[..., Path], variant: str) -> None:
    program = build("hello", variant)
    found = boot(program)
    assert found.how == "until", found.detail
    wanted = iter([n for n in IN_ORDER if n != "runtime.mstart0" or minor(program) >= MSTART0_SINCE])
    left = next(wanted)
    for name in names(found):
        if name == left:
            left = next(wanted, "")
    assert left == "", f"{left} is missing (or out of order) in {names(found)}"
    if "arm64" not in variant:
        assert {"cpuid", "runtime.settls", "tls check"} <= set(names(found))
    assert found.stations[0].name.startswith("_rt0_")
    assert found.stations[-1].name == "main.main"
    assert found.state["gomaxprocs"] == found.state["len_allp"] == len(found.state["allp"]) == 3
    assert found.state["sched"]["maxmcount"] == 10000


@pytest.mark.parametrize("variant", LINUX)
def test_through_hello_to_exit(build: Callable[..., Path], variant: str) -> None:
    found = boot(build("hello", variant), "exit")
    assert (found.how, found.status, found.output) == ("exit", 0, b"Hello, world\n")
    main = names(found).index("main.main")
    assert "runtime.exit" in names(found)[main:]
    if variant != "default":
        assert "main.Hello" in names(found)[main:]


@pytest.mark.parametrize("variant", ["darwin-arm64", "darwin-amd64", "windows-amd64"])
def test_other_systems_boot_likewise(build: Callable[..., Path], variant: str) -> None:
    found = boot(build("hello", variant), "exit")
    assert (found.how, found.status, found.output) == ("exit", 0, b"Hello, world\n"), found.detail
    assert {
        "runtime.rt0_go",
        "bind g0 and m0",
        "runtime.schedinit",
        "runtime.procresize",
        "runtime.newproc",
        "runtime.mstart",
        "runtime.main",
        "runtime.sysmon",
        "main.main",
    } <= set(names(found))
    assert found.state["gomaxprocs"] == len(found.state["allp"]) == 3
    assert found.state["sched"]["maxmcount"] == 10000
    assert found.state["g0"]["m"] == found.globals.m0
    sysmon = next(s for s in found.stations if s.name == "runtime.sysmon")
    assert sysmon.thread != found.stations[0].thread


@pytest.mark.parametrize("variant", ["default", "darwin-arm64", "windows-amd64"])
def test_a_program_reads_its_environment(build: Callable[..., Path], variant: str) -> None:
    env = ["SHORT=word", "LONG=" + "x" * 1000]
    with xray(build("env", variant), Options(until="exit", argv=["env"], env=env)) as report:
        assert report.boot is not None
        assert (report.boot.how, report.boot.output) == ("exit", b"word true false 1000\n"), report.boot.detail


def test_a_library_function_that_is_not_emulated_is_named(
    build: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Darwin, "c_pthread_create")
    found = boot(build("hello", "darwin-arm64"), "exit")
    assert found.how == "unsupported"
    assert found.detail == "_pthread_create of libSystem was called, which is not emulated"
    assert "runtime.newosproc" in names(found)


@pytest.mark.parametrize("go", all_gos()[1:])
@pytest.mark.parametrize("variant", LINUX)
def test_other_releases(build: Callable[..., Path], go: str, variant: str) -> None:
    test_every_station_in_order_up_to_main(lambda p, v: build(p, v, go), variant)
    test_through_hello_to_exit(lambda p, v: build(p, v, go), variant)


@pytest.mark.parametrize("variant", ["default", "noopt", "pie"])
@pytest.mark.parametrize("go", all_gos())
def test_values_are_those_that_gdb_shows(build: Callable[..., Path], variant: str, go: str) -> None:
    program = build("hello", variant, go)
    truth = values_at(program, STOPS, ENV, ps=3)
    assert list(truth) == STOPS
    for stop in STOPS:
        found = boot(program, stop)
        mine, theirs = dict(found.snapshot), dict(truth[stop])
        sp = found.stations[-1].registers["rsp"]
        tls = found.state["m0"]["tls"]
        mine.update(
            {
                "g0": found.globals.g0 or 0,
                "m0": found.globals.m0 or 0,
                "m0.tls": tls["address"],
                "fs_base": found.stations[-1].registers["fs_base"],
            }
        )
        for i in range(3):
            mine.setdefault(f"allp[{i}]", 0)
        # The stack lies elsewhere (another environment), so what lies on it is compared by its distance.
        for values, at in ((mine, sp), (theirs, theirs["sp"])):
            on_stack = [k for k in ("g0.stack.lo", "g0.stack.hi", "g0.stackguard0", "g0.stackguard1") if values[k]]
            base = values["g0.stack.hi"] if stop == "main.main" else at  # main.main runs on the goroutine's stack
            for key in on_stack:
                values[key] -= base
        same = [
            "g0",
            "m0",
            "m0.tls",
            "g0.m",
            "m0.g0",
            "m0.id",
            "g0.stack.lo",
            "g0.stack.hi",
            "g0.stackguard0",
            "g0.stackguard1",
            "sched.maxmcount",
        ]
        if stop != "main.main":  # by then the order of threads decides who has which P
            if stop != "runtime.rt0_go":  # a natively run PIE has its loader's storage until settls
                same.append("fs_base")
            same += ["m0.tls[0]", "sched.mnext", "gomaxprocs"]
        assert {k: mine[k] for k in same} == {k: theirs[k] for k in same}, stop
        if stop in ("runtime.newproc", "main.main"):
            assert mine["len(allp)"] == theirs["len(allp)"] == 3
            assert [mine[f"allp[{i}].id"] for i in range(3)] == [theirs[f"allp[{i}].id"] for i in range(3)] == [0, 1, 2]
        if stop == "runtime.newproc":
            assert (
                [mine[f"allp[{i}].status"] for i in range(3)]
                == [theirs[f"allp[{i}].status"] for i in range(3)]
                == [1, 0, 0]
            )
            assert (
                [mine[f"allp[{i}].m"] for i in range(3)]
                == [theirs[f"allp[{i}].m"] for i in range(3)]
                == [mine["m0"], 0, 0]
            )
            assert mine["m0.p"] == mine["allp[0]"] != 0
            assert theirs["m0.p"] == theirs["allp[0]"] != 0


def test_what_each_station_establishes(hello: Path) -> None:
    found = boot(hello)
    by_name = {s.name: s for s in reversed(found.stations)}
    g0, m0 = found.globals.g0, found.globals.m0
    lo, hi = by_name["g0 stack"].changed["g0.stack.lo"][1], by_name["g0 stack"].changed["g0.stack.hi"][1]
    assert hi - lo == 64 * 1024
    assert "GenuineIntel" in by_name["cpuid"].note or "AuthenticAMD" in by_name["cpuid"].note
    tls = found.state["m0"]["tls"]["address"]
    assert by_name["runtime.settls"].changed["register fs_base"] == (0, tls + 8)
    assert [c[0] for c in by_name["runtime.settls"].syscalls] == ["arch_prctl"]
    assert by_name["tls check"].changed["m0.tls[0]"] == (0, 0x123)
    assert by_name["bind g0 and m0"].changed["g0.m"] == (0, m0)
    assert by_name["bind g0 and m0"].changed["m0.g0"] == (0, g0)
    assert by_name["runtime.schedinit"].changed["sched.maxmcount"] == (0, 10000)
    assert by_name["runtime.procresize"].changed["gomaxprocs"] == (0, 3)
    assert by_name["runtime.acquirep"].changed["allp[0].status"] == (0, 1)
    assert by_name["runtime.mstart0"].early["g0.stackguard0"] == (lo, lo + 928)
    assert not by_name["runtime.mstart0"].returned
    assert found.snapshot["g0.stackguard0"] == lo + 928  # stackNosplit 800 + stackSmall 128
    assert by_name["main.main"].parent == by_name["runtime.main"].index


@pytest.mark.parametrize("variant", ["default", "noopt", "pie", "arm64"])
@pytest.mark.parametrize("go", all_gos())
def test_addresses_found_in_the_code_are_the_symbols(build: Callable[..., Path], variant: str, go: str) -> None:
    found = []
    for stripped in (False, True):
        with load(build("hello", variant, go)) as image:
            if stripped:
                image.symbol_source = None
            symbols = Symbols(image)
            layouts = find_layouts(image, read_buildinfo(image))
            found.append(find_globals(symbols, layouts, Disassembler(symbols)))
    full, bare = found
    assert "symbol table" in full.source
    assert "code" in bare.source
    for key in ("g0", "m0", "sched", "ncpu", "gomaxprocs"):
        assert getattr(bare, key) == getattr(full, key) != None, key  # noqa: E711
    assert full.allp[0] in bare.allp


def test_a_stripped_file_tells_the_same(build: Callable[..., Path]) -> None:
    full, bare = boot(build("hello", "default")), boot(build("hello", "stripped"))
    assert "DWARF" in full.layouts.source
    assert "known" in bare.layouts.source
    assert "code" in bare.globals.source
    assert set(names(bare)) == set(names(full))
    named = {"argc", "argv", "allm", "stealOrder.count", "stealOrder.coprimes[0]", "stealOrder.coprimes[1]"}
    assert full.snapshot.keys() - bare.snapshot.keys() <= named  # those variables only a symbol table names
    assert bare.snapshot.keys() <= full.snapshot.keys()
    assert bare.state["gomaxprocs"] == full.state["gomaxprocs"]
    assert sorted(p["status_name"] for p in bare.state["allp"]) == sorted(p["status_name"] for p in full.state["allp"])


def test_every_m_is_found_in_a_stripped_file_and_stays(build: Callable[..., Path]) -> None:
    """No symbol names allm there, and an M may have no P: as sysmon's, and those that are idle."""
    ms: list[dict[str, int]] = []
    for variant in ("default", "stripped"):
        with xray(build("hello", variant), Options(every_m=True, cpus=2)) as report:
            assert report.boot is not None
            found = {(k, new) for s in report.boot.stations for k, (_, new) in s.changed.items() if IS_M.fullmatch(k)}
            assert all(new for _, new in found)
            assert len(found) == len(dict(found)) > 1
            ms.append({k: report.boot.snapshot[f"{k}.procid"] for k in report.boot.snapshot if IS_M.fullmatch(k)})
    assert ms[0] == ms[1]
    assert len(ms[0]) > 3


def test_a_function_that_was_not_reached_is_named(hello: Path) -> None:
    assert boot(hello, "runtime.Gosched").detail == "exit_group; runtime.Gosched was not reached"
    assert boot(hello, "exit").detail == "exit_group"


def test_two_runs_are_the_same(hello: Path) -> None:
    one, two = boot(hello, "exit"), boot(hello, "exit")
    assert [(s.name, s.instructions, s.thread) for s in one.stations] == [
        (s.name, s.instructions, s.thread) for s in two.stations
    ]
    assert one.state == two.state


def test_cpus_and_steps(hello: Path) -> None:
    with xray(hello, Options(cpus=7)) as report:
        assert report.boot is not None
        assert report.boot.state["ncpu"] == report.boot.state["gomaxprocs"] == 7
    found = boot(hello, "exit", steps=50_000)
    assert found.how == "steps"
    assert 50_000 <= found.instructions < 52_000


@pytest.mark.parametrize("variant", ["default", "arm64", "windows-amd64"])
def test_blocks_are_as_long_as_the_disassembler_says(
    build: Callable[..., Path], variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instructions are counted by what the emulator says of a block: capstone counts the same bytes."""
    blocks: dict[int, tuple[int, int, bytes | None]] = {}
    count = Machine._count

    def noted(self: Machine, address: int) -> int:
        n = count(self, address)
        blocks[address] = (n, self._block.size, self.read(address, self._block.size))
        return n

    monkeypatch.setattr(Machine, "_count", noted)
    boot(build("hello", variant))
    decoder = Decoder("arm64" if variant == "arm64" else "amd64")
    wrong = {
        hex(address): n
        for address, (n, size, code) in blocks.items()
        if code is None or len(code) != size or len(decoder.instructions(code, address)) != n
    }
    assert wrong == {}
    assert len(blocks) > 2000
