"""Programs that are linked to libc: their loader and their libraries run in the emulator, and Go's boot begins in C."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gort.xray.boot.follow import Boot, Options, xray
from gort.xray.boot.libc import LibcCalls
from gort.xray.boot.stations import Station
from gort.xray.emulate.clock import Clock
from gort.xray.emulate.machine import Machine
from gort.xray.file.image import Import
from gort.xray.file.open import load
from gort.xray.systems.sysroot import Sysroot

pytestmark = pytest.mark.go

STATIC = ("cgo", "cgo-static")
CASES = [("cgo", "cgo"), ("cgo", "cgo-stripped"), ("cgo", "cgo-pie"), ("cnet", "cgo"), ("cnet", "cgo-pie")]
STACK_GUARD = 928
WHOLE_STACK = 8 << 20


@pytest.fixture
def build_c(build: Callable[..., Path]) -> Callable[[str, str], Path]:
    """As `build`, for programs that need a C compiler and whose loader is on this machine."""
    if shutil.which("gcc") is None:
        pytest.skip("no C compiler: apt install gcc")

    def build_c(program: str, variant: str) -> Path:
        path = build(program, variant)
        with load(path) as image:
            if image.interpreter and not os.path.exists(image.interpreter):
                pytest.skip(f"this machine has no {image.interpreter}")
        return path

    return build_c


def follow(path: Path, until: str = "exit", sysroot: str = "/") -> Boot:
    with xray(path, Options(until=until, argv=["program"], cpus=2, sysroot=sysroot)) as report:
        assert report.boot is not None
        return report.boot


def station(boot: Boot, name: str) -> Station:
    return next(s for s in boot.stations if s.name == name)


@pytest.mark.skipif(sys.platform != "linux", reason="the programs are run natively as well")
@pytest.mark.parametrize(("program", "variant"), [*CASES, STATIC])
def test_a_program_linked_to_libc_runs_to_its_exit(build_c: Callable[..., Path], program: str, variant: str) -> None:
    path = build_c(program, variant)
    native = subprocess.run([path], capture_output=True, check=True)
    found = follow(path)
    assert (found.how, found.status) == ("exit", 0), found.detail
    assert found.output == native.stdout
    assert found.unknown_syscalls == {}
    names = [s.name for s in found.stations]
    assert "main.main" in names
    read = any(os.path.basename(path).startswith("libc.so") for path, _ in found.libraries)
    assert read == (variant != "cgo-static")
    assert found.threads > 3


@pytest.mark.parametrize(("program", "variant"), [*CASES, STATIC])
def test_cgo_init_gives_g0_the_whole_stack(build_c: Callable[..., Path], program: str, variant: str) -> None:
    found = follow(build_c(program, variant), until="main.main")
    assert found.how == "until", found.detail
    names = [s.name for s in found.stations]
    entry = found.stations[0 if variant == "cgo-static" else 1]
    if variant != "cgo-static":
        loader = found.stations[0]
        assert loader.name.startswith("ld-")
        assert loader.returned
    assert entry.name == ("_start" if program == "cgo" else "_rt0_amd64_linux")
    way = ["g0 stack", "cpuid", "_cgo_init", "bind g0 and m0", "runtime.check"]
    assert [n for n in names if n in way] == way
    assert "runtime.settls" not in names
    assert "tls check" not in names

    made, init = station(found, "g0 stack"), station(found, "_cgo_init")
    low, high = made.changed["g0.stack.lo"][1], made.changed["g0.stack.hi"][1]
    assert low is not None
    assert high is not None
    assert high - low == 64 << 10
    before, after = init.changed["g0.stack.lo"]
    assert before == low
    assert after is not None
    assert high - WHOLE_STACK <= after < high - WHOLE_STACK // 2
    for guard in ("g0.stackguard0", "g0.stackguard1"):
        assert init.changed[guard] == (low, after + STACK_GUARD)
    if variant != "cgo-static":
        assert "pthread_getattr_np" in init.note or "pthread_attr_getstacksize" in init.note
    assert "settls" in init.note
    bind = station(found, "bind g0 and m0")
    assert bind.changed["m0.g0"][1] == found.globals.g0
    assert bind.changed["g0.m"][1] == found.globals.m0


def test_without_cgo_the_check_of_tls_ends_before_bind(hello: Path) -> None:
    found = follow(hello, until="main.main")
    names = [s.name for s in found.stations]
    way = ["g0 stack", "cpuid", "runtime.settls", "tls check", "bind g0 and m0", "runtime.check"]
    assert [n for n in names if n in way] == way
    assert station(found, "bind g0 and m0").times == 1
    assert found.libraries == []


def test_libc_finds_the_facts_of_the_process(build_c: Callable[..., Path]) -> None:
    """What C code reads below /proc/self: its own command line, and the mappings, with the first thread's stack."""
    path = build_c("proc", "cgo")
    with xray(path, Options(until="exit", argv=["proc", "one two", "three"])) as report:
        assert report.boot is not None
        found = report.boot
    assert (found.how, found.status) == ("exit", 0), found.detail
    assert found.output == b"proc|one two|three|\nthe stack is mapped\n"


def test_without_libc_a_program_finds_its_user_in_the_files(build: Callable[..., Path]) -> None:
    found = follow(build("cnet", "default"))
    assert (found.how, found.status) == ("exit", 0), found.detail
    assert found.output.decode().splitlines()[1] == "root /root &{0 root} <nil>"


def test_two_runs_are_the_same(build_c: Callable[..., Path]) -> None:
    path = build_c("cgo", "cgo")
    one, two = follow(path), follow(path)
    assert (one.instructions, one.syscalls, one.state) == (two.instructions, two.syscalls, two.state)


def test_only_the_libraries_of_the_record_are_read(
    build_c: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = build_c("cnet", "cgo")
    follow(path)  # what Python itself imports is imported now
    opened: list[str] = []
    real = os.open

    def spy(name: str, flags: int, *rest: int, **more: int) -> int:
        assert flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) == 0
        fd = real(name, flags, *rest, **more)
        opened.append(os.fspath(name))
        return fd

    monkeypatch.setattr(os, "open", spy)
    found = follow(path)
    libraries = {os.path.realpath(name) for name, _ in found.libraries}
    assert {os.path.realpath(name) for name in opened} == libraries | {os.path.realpath(path)}


def test_a_library_that_is_missing_is_named(build_c: Callable[..., Path], tmp_path: Path) -> None:
    path = build_c("cgo", "cgo")
    with load(path) as image:
        loader = image.interpreter
    there = tmp_path / loader[1:]
    there.parent.mkdir(parents=True)
    shutil.copy(os.path.realpath(loader), there)
    found = follow(path, sysroot=str(tmp_path))
    assert found.how == "unsupported"
    assert "did not load the program" in found.detail
    assert "libc" in found.detail
    assert "--sysroot" in found.detail


def test_without_the_loader_the_run_stops_at_the_first_function_of_libc(
    build_c: Callable[..., Path], tmp_path: Path
) -> None:
    found = follow(build_c("cgo", "cgo"), sysroot=str(tmp_path))
    assert found.how == "unsupported"
    assert "of libc.so.6" in found.detail
    assert "was called, which is not emulated" in found.detail
    assert "--sysroot" in found.detail
    assert station(found, "_cgo_init").note


@pytest.mark.parametrize(
    ("arch", "note"),
    [
        ("arm64", "calls malloc, free"),
        (
            "amd64",
            "calls pthread_attr_init; runtime.settls and its check are skipped: libc has set up thread-local storage",
        ),
    ],
)
def test_slots_that_share_an_address(hello: Path, arch: str, note: str) -> None:
    """arm64: slots that are not filled lead to one stub, and X16 tells which it is. amd64: two names of a function."""
    machine = Machine(arch, 1 << 20, Clock())
    machine.memory.load(0x10000, 0x1000, 3, struct.pack("<3Q", 0x5000, 0x5000, 0x5000))
    found = Station(
        index=0, name="_cgo_init", address=0, parent=None, thread=1, start=0, before={}, registers={}, function=False
    )
    with load(hello) as image:
        image.arch = arch
        image.imports = [Import(0x10000 + 8 * i, n, "") for i, n in enumerate(("pthread_attr_init", "malloc", "free"))]
        calls = LibcCalls(machine, image, found)
    arrive = machine.watched_at(0x5000)
    assert arrive is not None
    for slot in (0x10008, 0x10010, 0x10008, 0x10100):
        if arch == "arm64":
            machine.set_reg("x16", slot)
        arrive(0x5000)
    calls.leave()
    assert found.note == note
    assert machine.watched_at(0x5000) is None


# -- the sysroot: what a hostile program may have it open ----------------------------------------------------------

ELF = b"\x7fELF\x02\x01\x01".ljust(18, b"\0") + (62).to_bytes(2, "little") + bytes(100)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "usr/lib/deep").mkdir(parents=True)
    (root / "etc").mkdir()
    (root / "lib").symlink_to("usr/lib")
    (root / "etc/secret.so").write_bytes(ELF)
    (tmp_path / "outside.so").write_bytes(ELF)
    lib = root / "usr/lib"
    (lib / "libreal.so.1.2").write_bytes(ELF)
    (lib / "libreal.so.1").symlink_to("libreal.so.1.2")
    (lib / "absolute.so").symlink_to("/lib/libreal.so.1")
    (lib / "text.so").write_text("no library, but long enough to be one")
    (lib / "other.so").write_bytes(ELF[:18] + (183).to_bytes(2, "little") + bytes(100))
    (lib / "out.so").symlink_to(tmp_path / "outside.so")
    (lib / "up.so").symlink_to("../../../outside.so")
    (lib / "etc.so").symlink_to("/etc/secret.so")
    (lib / "loop.so").symlink_to("loop.so")
    (lib / "plain").write_bytes(ELF)
    os.mkfifo(lib / "pipe.so")
    (lib / "folder.so").mkdir()
    return root


def test_a_sysroot_has_libraries(root: Path) -> None:
    sysroot = Sysroot(str(root), "amd64")
    for path in ("/lib/libreal.so.1", "/usr/lib/absolute.so", "/usr/lib/deep/../libreal.so.1.2"):
        library = sysroot.open(path)
        assert library is not None, path
        assert library.host_path == str(root / "usr/lib/libreal.so.1.2")
        assert sysroot.kind(path) == "library"
    assert len(sysroot.libraries()) == 1
    assert sysroot.kind("/lib/deep") == "folder"
    sysroot.close()


@pytest.mark.parametrize(
    "path",
    [
        "/usr/lib/text.so",
        "/usr/lib/other.so",
        "/usr/lib/out.so",
        "/usr/lib/up.so",
        "/usr/lib/etc.so",
        "/usr/lib/loop.so",
        "/usr/lib/plain",
        "/usr/lib/pipe.so",
        "/usr/lib/folder.so",
        "/usr/lib/nothing.so",
        "/etc/secret.so",
        "/usr/lib/../../etc/secret.so",
        "/usr/lib/../../../outside.so",
        "usr/lib/libreal.so.1",
        "/usr/lib/a\0.so",
        "/usr/lib/" + "x" * 5000 + ".so",
        "",
    ],
)
def test_a_sysroot_gives_nothing_else(root: Path, path: str) -> None:
    sysroot = Sysroot(str(root), "amd64")
    assert sysroot.open(path) is None
    assert sysroot.libraries() == []
