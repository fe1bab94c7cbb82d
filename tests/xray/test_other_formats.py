"""Files that are only read: Plan 9's a.out and WebAssembly, whole and damaged."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from fuzz import mutate
from test_static import flat, refused

from gort.xray.boot.calltree import call_tree
from gort.xray.boot.follow import examine, xray
from gort.xray.emulate import wasm
from gort.xray.emulate.disasm import Disassembler
from gort.xray.errors import XrayError
from gort.xray.file.sizes import functions

pytestmark = pytest.mark.go

_READ = {
    "plan9-amd64": ("a.out", "plan9", "amd64", 8),
    "js": ("WebAssembly", "js", "wasm", 8),
}
_CALLED = ("check", "schedinit", "mcommoninit", "procresize", "newproc", "newproc1", "mstart", "schedule")


@pytest.mark.parametrize("variant", _READ)
def test_the_calls_of_a_file_that_is_only_read(build: Callable[..., Path], variant: str) -> None:
    with xray(build("bare", variant)) as report:
        image, symbols = report.static.image, report.static.symbols
        assert (image.format, image.os, image.arch, image.word) == _READ[variant]
        assert report.static.build is not None
        assert report.static.build.minor is not None
        assert report.why_no_boot.endswith("programs are not emulated")
        tree = call_tree(symbols, Disassembler(symbols))
        assert tree is not None
        seen = flat(tree)
        assert "runtime.rt0_go" in seen
        for name in _CALLED:
            assert f"runtime.{name}" in seen, name
        sizes = functions(symbols)
        assert sum(s.size for s in sizes) > 300_000
        main = symbols.func("main.main")
        assert main is not None
        assert symbols.where(main.entry).endswith("main.go:3")


def test_the_names_of_webassembly_agree_with_pclntab(build: Callable[..., Path]) -> None:
    """The file's own section of names has each function under the address that pclntab has."""
    with examine(build("bare", "js")) as static:
        symbols = static.symbols
        for name in ("runtime.rt0_go", "runtime.schedinit", "runtime.main", "wasm_export_run", "main.main"):
            func = symbols.func(name)
            assert func is not None
            assert symbols.address(name) == func.entry


def test_instructions_of_webassembly() -> None:
    code = bytes.fromhex("41808080c001 4200 427f 1085 01 0e020001 02 fc0a0000 2a0340 00 fd00".replace(" ", ""))
    got = [(mnemonic, operand) for _, _, mnemonic, operand in wasm.instructions(code, 0x1000)]
    assert got[:4] == [("i32.const", str(0x18000000)), ("i64.const", "0"), ("i64.const", "-1"), ("call", "133")]
    assert [m for m, _ in got[4:]] == ["0x0e", "0xfc", "0x2a", "0x00"]  # up to a vector instruction
    assert [r[3] for r in wasm.refs(wasm.instructions(code, 0))] == [0x18000000]


def _message(path: Path) -> str:
    """Returns why the file is refused; empty where it is read."""
    try:
        with examine(path) as static:
            call_tree(static.symbols, Disassembler(static.symbols))
            functions(static.symbols)
    except XrayError as exc:
        return str(exc)
    return ""


@pytest.mark.parametrize("variant", _READ)
def test_damaged_files(build: Callable[..., Path], tmp_path: Path, variant: str) -> None:
    """A sample of what fuzz.py does: a file is read, or refused with one line."""
    good = build("bare", variant).read_bytes()
    rng = random.Random(variant)
    path = tmp_path / "damaged"
    for n in range(15):
        path.write_bytes(mutate(bytearray(good), [(0, 64), (0, 4096), (0, len(good))], rng))
        assert "\n" not in _message(path), n


@pytest.mark.parametrize("variant", _READ)
def test_truncated_files(build: Callable[..., Path], tmp_path: Path, variant: str) -> None:
    good = build("bare", variant).read_bytes()
    path = tmp_path / "short"
    path.write_bytes(good[: len(good) // 2])
    assert "truncated" in refused(path)
