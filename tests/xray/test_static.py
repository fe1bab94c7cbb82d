"""The static facts, against gdb's `info files` and lief, for every format; and what is refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from gdb_oracle import info_files

from gort.xray.boot.calltree import Node, call_tree
from gort.xray.boot.follow import examine, xray
from gort.xray.emulate.disasm import Disassembler
from gort.xray.errors import XrayError
from gort.xray.file.pclntab import Func
from gort.xray.file.symbols import Symbols
from gort.xray.show.tojson import to_data

FORMATS = {
    "default": ("ELF", "amd64", "linux"),
    "pie": ("ELF", "amd64", "linux"),
    "stripped": ("ELF", "amd64", "linux"),
    "arm64": ("ELF", "arm64", "linux"),
    "darwin-arm64": ("Mach-O", "arm64", "darwin"),
    "darwin-amd64": ("Mach-O", "amd64", "darwin"),
    "windows-amd64": ("PE", "amd64", "windows"),
}


@pytest.mark.go
@pytest.mark.parametrize("variant", ["default", "stripped", "pie"])
def test_sections_and_entry_as_gdb_lists_them(build: Callable[..., Path], variant: str) -> None:
    program = build("hello", variant)
    entry, sections = info_files(program)
    with xray(program, static_only=True) as report:
        static = to_data(report)["static"]
    assert static["entry"] == entry
    mine = [
        (s["start"], s["end"], s["name"]) for s in static["sections"] if "A" in s["flags"] and s["end"] > s["start"]
    ]
    # in a position-independent file gdb lists the relocation tables last
    assert sorted(s for s in sections if s[1] > s[0]) == sorted(mine)


@pytest.mark.go
@pytest.mark.parametrize("variant", list(FORMATS))
def test_static_facts(build: Callable[..., Path], variant: str) -> None:
    with examine(build("hello", variant)) as static:
        image = static.image
        assert (image.format, image.arch, image.os) == FORMATS[variant]
        assert static.build is not None
        assert static.build.version.startswith("go1.")
        assert static.build.module == "hello (devel)"
        assert static.build.settings["GOARCH"] == image.arch
        assert static.entry_name == f"_rt0_{image.arch}_{image.os}"
        assert static.symbols.stripped == (variant == "stripped")
        main = static.symbols.func("main.main")
        assert main is not None
        assert static.symbols.where(main.entry) == "hello.go:10"


@pytest.mark.go
@pytest.mark.parametrize("variant", list(FORMATS))
def test_headers_as_lief_reads_them(build: Callable[..., Path], variant: str) -> None:
    lief = pytest.importorskip("lief")
    program = build("hello", variant)
    binary = lief.parse(str(program))
    with examine(program, bias=0) as static:
        image = static.image
        if image.format == "PE":
            base = binary.optional_header.imagebase
            assert image.entry == base + binary.optional_header.addressof_entrypoint
            theirs = [(base + s.virtual_address, s.virtual_size) for s in binary.sections]
            assert [i.name for i in image.imports] == [e.name for i in binary.imports for e in i.entries]
        elif image.format == "Mach-O":
            assert image.entry == binary.entrypoint
            theirs = [(s.virtual_address, s.size) for s in binary.sections]
            assert sorted(i.name for i in image.imports) == sorted(b.symbol.name for b in binary.bindings)
        else:
            assert image.entry == binary.entrypoint
            theirs = [(s.virtual_address, s.size) for s in binary.sections][1:]
            mine = [(s.address, s.size, s.file_size) for s in image.segments]
            assert mine == [
                (s.virtual_address, s.virtual_size, s.physical_size) for s in binary.segments if "LOAD" in str(s.type)
            ]
        assert [(s.address, s.size) for s in image.sections] == theirs


def flat(node: Node) -> list[str]:
    return [node.name, *(n for c in node.children for n in flat(c))]


@pytest.mark.go
@pytest.mark.parametrize("variant", list(FORMATS))
def test_the_boot_from_the_code_alone(build: Callable[..., Path], variant: str) -> None:
    with examine(build("hello", variant)) as static:
        tree = call_tree(static.symbols, Disassembler(static.symbols))
        assert tree is not None
        seen = flat(tree)
    for name in (
        "runtime.rt0_go",
        "runtime.check",
        "runtime.args",
        "runtime.osinit",
        "runtime.schedinit",
        "runtime.mallocinit",
        "runtime.mcommoninit",
        "runtime.gcinit",
        "runtime.procresize",
        "runtime.acquirep",
        "runtime.newproc",
        "runtime.newproc1",
        "runtime.mstart",
        "runtime.schedule",
    ):
        assert name in seen, name
    inlined = [n.name for c in tree.children for n in c.children if n.name == "runtime.schedinit"]
    assert inlined or "runtime.schedinit" in seen


@pytest.mark.go
@pytest.mark.parametrize(
    "variant",
    [
        "solaris-amd64",
        "android-arm64",
        "freebsd-amd64-stripped",
        "openbsd-arm64",
        "netbsd-amd64",
        "dragonfly-amd64",
    ],
)
def test_other_systems_are_told_apart(build: Callable[..., Path], variant: str) -> None:
    system = variant.split("-")[0]
    with xray(build("bare", variant)) as report:
        assert report.static.image.os == system
        assert report.why_no_boot == f"{system} programs are not emulated"
        assert report.boot is None


@pytest.mark.go
@pytest.mark.parametrize("variant", ["riscv64", "riscv64-stripped"])
def test_the_calls_of_riscv64(build: Callable[..., Path], variant: str) -> None:
    with xray(build("hello", variant), static_only=True) as report:
        symbols = report.static.symbols
        code = Disassembler(symbols)
        tree = call_tree(symbols, code)
        data = to_data(report)["static"]
        assert tree is not None
        seen = flat(tree)
        for name in (
            "runtime.rt0_go",
            "runtime.check",
            "runtime.schedinit",
            "runtime.mcommoninit",
            "runtime.procresize",
            "runtime.newproc.func1",
            "runtime.newproc1",
            "runtime.mstart",
            "runtime.schedule",
        ):
            assert name in seen, name
        # Each direct call leads to the beginning of a function.
        calls = [
            c for f in ("runtime.main", "runtime.schedinit", "fmt.Fprintln") for c in code.calls(_func(symbols, f))
        ]
        targets = [symbols.at(c.target) for c in calls if c.target is not None]
        assert len(targets) > 50
        entries = [c.target for c in calls if c.target is not None]
        assert [t and t.entry for t in targets] == entries
        if "stripped" not in variant:
            named = {symbols.data_name(r.target) for r in code.refs(_func(symbols, "runtime.rt0_go"))}
            assert {"&runtime.g0", "&runtime.m0"} <= named
    assert data["entry_name"] == "_rt0_riscv64_linux"


def _func(symbols: Symbols, name: str) -> Func:
    func = symbols.func(name)
    assert func is not None
    return func


@pytest.mark.go
@pytest.mark.parametrize("variant", ["loong64", "ppc64le"])
def test_processors_without_a_disassembler(build: Callable[..., Path], variant: str) -> None:
    with xray(build("bare", variant)) as report:
        static = report.static
        assert report.why_no_boot == f"{variant} programs are not emulated"
        assert static.entry_name == f"_rt0_{variant}_linux"
        main = static.symbols.func("main.main")
        assert main is not None
        assert static.symbols.where(main.entry) == "main.go:3"
        assert to_data(report)["static"]["calls"] is None
        with pytest.raises(XrayError, match=f"the calls in code for {variant} are not read"):
            call_tree(static.symbols, Disassembler(static.symbols))


@pytest.mark.go
def test_a_program_that_begins_in_c(build: Callable[..., Path], tmp_path: Path) -> None:
    raw = bytearray(build("hello", "stripped").read_bytes())
    with examine(build("hello", "stripped")) as static:
        code = next(s for s in static.image.segments if "x" in s.perms)
        outside = code.address + 0x80  # the ELF header's own page: executable, and no function of Go
        assert static.symbols.at(outside) is None
    struct.pack_into("<Q", raw, 24, outside)
    (tmp_path / "c").write_bytes(raw)
    with examine(tmp_path / "c") as static:
        assert static.entry_name == "C's startup code"
        assert static.image.os == "linux"
        tree = call_tree(static.symbols, Disassembler(static.symbols))
    assert tree is not None
    assert tree.name == "runtime.rt0_go"
    assert "runtime.schedinit" in flat(tree)


@pytest.mark.go
def test_inlined_calls_are_found_in_pclntab(hello: Path) -> None:
    with examine(hello) as static:
        func = static.symbols.func("runtime.schedinit")
        assert func is not None
        inlined = {n for n, _ in static.symbols.tab.inlined(func)}
    assert {"runtime.stackinit", "runtime.lock", "runtime.unlock", "runtime.goenvs"} <= inlined


def refused(path: Path) -> str:
    with pytest.raises(XrayError) as caught, examine(path):
        pass
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.go
def test_32_bit_files_of_windows_are_refused(build: Callable[..., Path], tmp_path: Path) -> None:
    data = bytearray(build("hello", "windows-amd64").read_bytes())
    machine = int.from_bytes(data[60:64], "little") + 4
    data[machine : machine + 2] = (0x14C).to_bytes(2, "little")
    path = tmp_path / "386.exe"
    path.write_bytes(data)
    assert "32-bit" in refused(path)


def test_what_is_no_executable(tmp_path: Path) -> None:
    empty, text, script = tmp_path / "empty", tmp_path / "text", tmp_path / "script"
    empty.write_bytes(b"")
    text.write_bytes(b"plain text " * 100)
    script.write_bytes(b"#!/bin/sh\necho hello\n" + b"#" * 100)
    assert "too short" in refused(empty)
    assert "not an ELF" in refused(text)
    assert "a script" in refused(script)
    assert "a directory" in refused(tmp_path)
    assert "No such file" in refused(tmp_path / "missing")
    assert "not a regular file" in refused(Path("/dev/zero"))


def test_not_go(tmp_path: Path) -> None:
    true = Path("/bin/true")
    if not true.exists() or true.read_bytes()[:5] != b"\x7fELF\x02":
        pytest.skip("no native 64-bit /bin/true")
    assert "not a Go executable" in refused(true)
    packed = tmp_path / "packed"
    data = bytearray(true.read_bytes())
    data[0x400:0x404] = b"UPX!"
    packed.write_bytes(data)
    assert "upx -d" in refused(packed)


@pytest.mark.go
@pytest.mark.parametrize(
    ("where", "code", "value", "says"),
    [
        (32, "<Q", 1 << 60, "program headers"),  # e_phoff
        (40, "<Q", 1 << 60, "section headers"),  # e_shoff
        (56, "<H", 0, "program headers"),  # e_phnum
        (24, "<Q", 0x1234, "entry point"),  # e_entry
        (18, "<H", 22, "s390x"),  # e_machine
        (16, "<H", 1, "object file"),  # e_type
        (5, "<B", 2, "big-endian"),  # EI_DATA
    ],
)
def test_headers_that_lie(hello: Path, tmp_path: Path, where: int, code: str, value: int, says: str) -> None:
    data = bytearray(hello.read_bytes())
    struct.pack_into(code, data, where, value)
    bad = tmp_path / "bad"
    bad.write_bytes(data)
    assert says in refused(bad)


@pytest.mark.go
def test_a_refused_pclntab_names_the_version(hello: Path, tmp_path: Path) -> None:
    raw = bytearray(hello.read_bytes())
    with examine(hello) as static:
        assert static.build is not None
        version = static.build.version
        table = static.image.file_offset(static.symbols.tab.address)
        assert table is not None
    struct.pack_into("<I", raw, table, 0xFFFFFFE0)
    (tmp_path / "new").write_bytes(raw)
    with pytest.raises(XrayError, match=rf"unknown magic 0xffffffe0: .*too new \(built by {version}\)$"):
        examine(tmp_path / "new")


@pytest.mark.go
def test_hostile_segments(hello: Path, tmp_path: Path) -> None:
    original = hello.read_bytes()
    phoff = struct.unpack_from("<Q", original, 32)[0]
    loads = [
        phoff + 56 * i
        for i in range(struct.unpack_from("<H", original, 56)[0])
        if struct.unpack_from("<I", original, phoff + 56 * i)[0] == 1
    ]
    bad = tmp_path / "bad"

    def with_word(at: int, value: int) -> str:
        data = bytearray(original)
        struct.pack_into("<Q", data, at, value)
        bad.write_bytes(data)
        return refused(bad)

    assert "MiB of memory" in with_word(loads[-1] + 40, 1 << 40)  # p_memsz
    assert "truncated" in with_word(loads[-1] + 8, 1 << 40)  # p_offset
    assert "overlap" in with_word(
        loads[1] + 16, struct.unpack_from("<Q", original, loads[0] + 16)[0] + 0x1000
    )  # p_vaddr
    assert "outside of user memory" in with_word(loads[-1] + 16, 1 << 63)
    bad.write_bytes(original[: len(original) // 2])
    assert "truncated" in refused(bad)
