"""`gort xray --types`, against the DWARF of the same files: Go notes in each type's entry where its descriptor is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from test_xray_cli import gort

from gort.xray.boot.follow import examine
from gort.xray.file.dwarf import Dwarf
from gort.xray.file.image import Image
from gort.xray.file.rtypes import RType, types

pytestmark = pytest.mark.go

_NAME, _SIZE, _RUNTIME_TYPE, _TYPEDEF = 0x03, 0x0B, 0x2904, 0x16
_VERSION_5, _HEADER, _HEADER_5 = 5, 11, 12


def _from_dwarf(image: Image, first: int) -> dict[int, tuple[str, int | None]]:
    """Returns address -> (name, size) of each type that the program has. Addresses may count from the first one."""
    dwarf = Dwarf(image)
    info = dwarf._info
    out: dict[int, tuple[str, int | None]] = {}
    for start in dwarf._starts:
        length, version = int.from_bytes(info[start : start + 4], "little"), info[start + 4]
        at = start + (_HEADER_5 if version == _VERSION_5 else _HEADER)
        while at < start + 4 + length:
            entry = dwarf.entry(at)
            at = at + 1 if entry is None else entry.end
            address = entry.attributes.get(_RUNTIME_TYPE) if entry is not None else None
            if entry is not None and isinstance(address, int) and address:
                name, size = entry.attributes[_NAME], entry.attributes.get(_SIZE)
                assert isinstance(name, bytes)
                place = address + (first if address + image.bias < first else image.bias)
                out[place] = (name.decode(), size if isinstance(size, int) else None)
    return out


def _types(path: Path) -> list[RType]:
    with examine(path) as static:
        assert static.build is not None
        return types(static.symbols, static.build.minor)


@pytest.mark.parametrize("variant", ["default", "pie", "arm64", "386", "riscv64", "windows-amd64", "darwin-arm64"])
def test_the_types_are_those_of_dwarf(build: Callable[..., Path], variant: str) -> None:
    with examine(build("hello", variant)) as static:
        assert static.build is not None
        theirs = _from_dwarf(static.image, static.symbols.tab.module.types)
        ours = {t.address: t for t in types(static.symbols, static.build.minor)}
    assert len(theirs) > 400
    assert theirs.keys() - ours.keys() == set()
    for address, (name, size) in theirs.items():
        found = ours[address]
        assert size in (None, found.size), name
        if found.package:
            assert found.full_name == name.partition("·")[0]  # a type within a function has a number in DWARF


@pytest.mark.parametrize(("whole", "stripped"), [("default", "stripped"), ("386", "386-stripped")])
def test_a_stripped_file_has_the_same_types(build: Callable[..., Path], whole: str, stripped: str) -> None:
    a, b = ([(t.full_name, t.kind, t.size) for t in _types(build("hello", v))] for v in (whole, stripped))
    assert sorted(a) == sorted(b)


def test_the_parts_of_types(build: Callable[..., Path]) -> None:
    """GoReSym's tests expect the method of io.Writer in these words."""
    path = build("hello", "stripped")
    done = gort(str(path), "--types", "--json")
    found = {t["name"]: t for t in json.loads(done.stdout)["types"]}
    assert found["io.Writer"]["methods"] == [{"name": "Write", "type": "func([]uint8) (int, error)", "function": None}]
    fields = {f["name"]: f for f in found["runtime.g"]["fields"]}
    assert fields["stackguard0"] == {"name": "stackguard0", "type": "uintptr", "offset": 16}
    assert found["map[string]bool"]["element"] == "bool"
    writer = next(m for m in found["*os.File"]["methods"] if m["name"] == "Write")
    assert writer["function"] == "os.(*File).Write"
    text = gort(str(path), "--types", "--full").stdout
    assert "io.Writer\n           method                    Write([]uint8) (int, error)\n" in text
    assert f"{len(found):,} types" not in text.splitlines()[0]
