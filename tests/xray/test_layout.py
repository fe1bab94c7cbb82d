"""Structure layouts: the reader of DWARF against pyelftools, the table of releases against fresh builds."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from xraykit import all_gos

from gort.xray.file.dwarf import Dwarf, read_layouts
from gort.xray.file.gobuild import read_buildinfo
from gort.xray.file.open import load
from gort.xray.layout.known_layouts import KNOWN
from gort.xray.layout.layout import FIELDS, as_patched, clean, system_of
from gort.xray.layout.layouts_tool import between

pytestmark = pytest.mark.go


def elftools_struct(path: Path, name: str) -> dict[str, int]:
    elffile = pytest.importorskip("elftools.elf.elffile")
    with path.open("rb") as f:
        info = elffile.ELFFile(io.BytesIO(f.read())).get_dwarf_info()
        for unit in info.iter_CUs():
            for die in unit.iter_DIEs():
                attr = die.attributes.get("DW_AT_name")
                if die.tag == "DW_TAG_structure_type" and attr is not None and attr.value == name.encode():
                    members: Any = (c for c in die.iter_children() if c.tag == "DW_TAG_member")
                    return {
                        c.attributes["DW_AT_name"].value.decode(): c.attributes["DW_AT_data_member_location"].value
                        for c in members
                    }
    raise AssertionError(f"{name} is not described")


def test_dwarf_is_read_as_pyelftools_reads_it(hello: Path) -> None:
    truth = elftools_struct(hello, "runtime.m")
    with load(hello) as image:
        mine = Dwarf(image).struct("runtime.m")
    assert {k: v[0] for k, v in mine.items()} == truth
    assert len(truth) > 50


@pytest.mark.parametrize("go", all_gos())
@pytest.mark.parametrize("variant", ["default", "arm64", "386", "darwin-arm64", "windows-amd64"])
def test_the_table_holds_for_a_fresh_build(build: Callable[..., Path], variant: str, go: str) -> None:
    if go != all_gos()[0] and variant not in ("default", "arm64", "386"):
        pytest.skip("other systems are built with the newest release only")
    with load(build("hello", variant, go)) as image:
        info = read_buildinfo(image)
        assert info is not None
        assert info.minor is not None
        found = clean(read_layouts(image, FIELDS))
        known = as_patched(KNOWN[info.minor, system_of(image)], info.minor, image)
    for struct, fields in known.items():
        for field, place in fields.items():
            assert found[struct][field] == place, (struct, field)
    assert {"stack.lo", "stack.hi", "m"} <= known["runtime.g"].keys()
    assert {"g0", "curg", "p", "tls"} <= known["runtime.m"].keys()


def test_the_releases_between_are_made_from_their_neighbours() -> None:
    made = between(KNOWN)
    assert sorted({minor for minor, _ in made}) == [16, 17, 18, 20]
    assert made == {key: KNOWN[key] for key in made}
    for system in ("linux", "darwin", "windows"):
        older, newer = KNOWN[15, system]["runtime.m"], KNOWN[16, system]["runtime.m"]
        assert {f: newer[f][0] - older[f][0] for f in older if newer[f] != older[f]} == {
            "alllink": 8,
            "schedlink": 8,
            "lockedg": 8,
        }


def test_every_release_has_every_system() -> None:
    everywhere = [(n, system) for n in range(15, 28) for system in ("darwin", "linux", "windows")]
    assert sorted(KNOWN) == sorted(everywhere + [(n, "linux/386") for n in range(21, 28)])


def test_patch_releases_that_changed_m() -> None:
    """Go 1.24.3's DWARF has alllink at 328, 1.24.11's at 352; cheaprand is aligned to its size on 386."""
    late = b"...runtime.(*m).clearAllpSnapshot\0..."
    m: dict[str, int] = {}
    for word, system, field in ((8, "linux", "alllink"), (4, "linux/386", "cheaprand")):
        for data in (b"", late):
            image: Any = SimpleNamespace(word=word, data=data)
            m[f"{field} {bool(data)}"] = as_patched(KNOWN[24, system], 24, image)["runtime.m"][field][0]
    assert m == {"alllink False": 328, "alllink True": 352, "cheaprand False": 1104, "cheaprand True": 1112}
    before: Any = SimpleNamespace(word=8, data=b"")
    assert as_patched(KNOWN[23, "linux"], 23, before) is KNOWN[23, "linux"]
