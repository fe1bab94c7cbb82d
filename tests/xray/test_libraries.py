"""Files that other programs load (shared libraries, plugins), and universal Mach-O files: several programs in one."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from gort.xray.boot.calltree import Node, call_tree
from gort.xray.boot.follow import Options, examine, xray
from gort.xray.emulate.disasm import Disassembler
from gort.xray.errors import XrayError
from gort.xray.show.tojson import to_data

CPUS = {"amd64": 0x01000007, "arm64": 0x0100000C}
needs_cc = pytest.mark.skipif(shutil.which("gcc") is None, reason="cgo needs a C compiler")


def flat(node: Node) -> list[str]:
    return [node.name, *(n for c in node.children for n in flat(c))]


@pytest.mark.go
@needs_cc
def test_a_shared_library_begins_where_its_loader_calls_it(build: Callable[..., Path]) -> None:
    with xray(build("library", "shared")) as report:
        data = to_data(report)
        tree = call_tree(report.static.symbols, Disassembler(report.static.symbols))
    assert data["static"]["library"] is True
    assert data["static"]["entry_name"] == "_rt0_amd64_linux_lib"
    assert data["end"]["detail"].startswith("a shared library does not start by itself")
    assert tree is not None
    seen = flat(tree)
    assert seen.index("_rt0_amd64_lib") < seen.index("runtime.rt0_go") < seen.index("runtime.schedinit")


@pytest.mark.go
@needs_cc
def test_a_plugin_has_no_start(build: Callable[..., Path]) -> None:
    with xray(build("library", "plugin")) as report:
        data = to_data(report)
    assert data["static"]["library"] is True
    assert data["static"]["entry"] is None
    assert data["static"]["entry_name"].startswith("none: a plugin")
    assert data["static"]["calls"] is None


def universal(parts: list[tuple[str, bytes]], wide: bool = False) -> bytes:
    """Returns a universal file with these programs, each at an offset that is no multiple of a page."""
    form = ">IIQQII" if wide else ">IIIII"
    header = struct.pack(">II", 0xCAFEBABF if wide else 0xCAFEBABE, len(parts))
    at = len(header) + struct.calcsize(form) * len(parts)
    body = b""
    for arch, program in parts:
        words = (CPUS.get(arch, 18), 0, at + len(body), len(program), 4)
        header += struct.pack(form, *words, *([0] if wide else []))
        body += program
    return header + body


@pytest.mark.go
@pytest.mark.parametrize("wide", [False, True])
def test_a_part_of_a_universal_file_is_read_as_the_file_itself(
    build: Callable[..., Path], tmp_path: Path, wide: bool
) -> None:
    alone = {arch: build("hello", f"darwin-{arch}") for arch in CPUS}
    both = tmp_path / "both"
    both.write_bytes(universal([(a, alone[a].read_bytes()) for a in CPUS], wide))
    for arch, path in alone.items():
        asked = Options(arch=arch, argv=["hello"])
        with xray(both, asked) as report, xray(path, Options(argv=["hello"])) as expected:
            assert report.boot is not None
            assert expected.boot is not None
            assert report.boot.instructions == expected.boot.instructions
            assert report.static.image.others == [a for a in CPUS if a != arch]
    with examine(both) as static:
        assert static.image.arch == "amd64"


@pytest.mark.go
def test_a_universal_file_without_that_processor(build: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / "one"
    program = build("hello", "darwin-arm64").read_bytes()
    path.write_bytes(universal([("arm64", program), ("ppc", b"x" * 100)]))
    with pytest.raises(XrayError, match="--arch amd64: a universal Mach-O file for arm64, cpu 0x12"):
        examine(path, arch="amd64")
    path.write_bytes(universal([("ppc", b"x" * 100)]))
    with pytest.raises(XrayError, match="a universal Mach-O file for cpu 0x12"):
        examine(path)
    path.write_bytes(universal([("arm64", program)])[:-1])
    with pytest.raises(XrayError, match="program 1 lies beyond its end"):
        examine(path)
    path.write_bytes(struct.pack(">II", 0xCAFEBABE, 0x34) + b"Java" * 100)
    with pytest.raises(XrayError, match="Java class"):
        examine(path)
