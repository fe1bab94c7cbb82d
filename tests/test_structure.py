"""The house's order: one direction of imports, no circles, every file explains itself, public names once."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import gort
from support import ROOT, SOURCE

pytestmark = pytest.mark.lint

FILES = sorted(SOURCE.rglob("*.py"))
# The map of the house: rooms by floor, the lowest first. A room may import from lower floors and from itself, never from
# its own floor's other rooms nor from above. A module belongs to the longest name here that it starts with; what no
# longer name claims belongs to "gort.", the library. HACKING.md has the same map in words.
FLOORS: list[list[str]] = [
    ["gort.version", "gort._start"],
    ["gort._runtime.c"],
    ["gort._runtime.core"],
    ["gort._runtime.sched"],
    ["gort._runtime.wait", "gort._runtime.poll", "gort._runtime.watch"],
    ["gort._runtime.see", "gort._runtime.aio", "gort._runtime.web"],
    ["gort._runtime.boot"],
    ["gort.runtime"],
    ["gort."],
    ["gort"],
    ["gort.http", "gort.testing", "gort.cluster"],
    ["gort.cli"],
    ["gort.__main__"],
]
XRAY: list[list[str]] = [
    ["gort.xray", "gort.xray.record", "gort.xray.errors"],
    ["gort.xray.file"],
    ["gort.xray.emulate"],
    ["gort.xray.systems", "gort.xray.layout"],
    ["gort.xray.ask"],
    ["gort.xray.boot"],
    ["gort.xray.show"],
    ["gort.xray.step"],
]
ROOMS = {room: floor for floors in (FLOORS, XRAY) for floor, rooms in enumerate(floors) for room in rooms}
LONG = {
    "_runtime/core/runtime2.py": 680,  # structures that refer to each other, with what guards each field
    "xray/layout/known_layouts.py": 5000,  # a table, written by a program
}
CONTRACT = {
    "run", "go", "gosched", "sleep", "Chan", "select", "after", "Timer", "Ticker", "after_func", "blocking",
    "wait", "sync", "Group", "context", "runtime", "ChannelClosed", "Cancelled", "Panic", "Deadlock",
}  # fmt: skip


def module_name(file: Path) -> str:
    parts = file.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(f): f for f in FILES}


def room_of(module: str) -> str:
    """The room that a module belongs to."""
    parts = module.split(".")
    for n in range(len(parts), 0, -1):
        name = ".".join(parts[:n])
        if name in ROOMS and (name != "gort" or module == "gort"):
            return name
    return "gort."


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def _is_type_checking(node: ast.If) -> bool:
    return "TYPE_CHECKING" in ast.dump(node.test)


def _imports(nodes: list[ast.stmt], inside_functions: bool) -> Iterator[str]:
    """Names of gort's own modules that these statements import when the module is loaded (or ever)."""
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "gort":
                    yield alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports inside gort are written in full"
            if node.module and node.module.split(".")[0] == "gort":
                for alias in node.names:
                    deeper = f"{node.module}.{alias.name}"
                    yield deeper if deeper in MODULES else node.module
        elif isinstance(node, ast.If) and _is_type_checking(node):
            yield from _imports(node.orelse, inside_functions)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not inside_functions:
            continue
        else:
            for name in ("body", "orelse", "finalbody"):
                yield from _imports(getattr(node, name, []) or [], inside_functions)
            for handler in getattr(node, "handlers", []):
                yield from _imports(handler.body, inside_functions)


def imports(module: str, inside_functions: bool) -> set[str]:
    return {m for m in _imports(parsed(MODULES[module]).body, inside_functions) if m != module}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_one_way(module: str) -> None:
    """Down, never up and never across, not even inside a function."""
    mine = room_of(module)
    wrong = set()
    for other in imports(module, inside_functions=True):
        room = room_of(other)
        if room != mine and not (mine == "gort.cli" and room in flat(XRAY)) and ROOMS[room] >= ROOMS[mine]:
            wrong.add(other)
    assert wrong == set(), f"{module} (in {mine}) imports {wrong}"


def flat(floors: list[list[str]]) -> set[str]:
    return {room for rooms in floors for room in rooms}


def test_every_room_is_there() -> None:
    """The table names no room that has gone."""
    for room in ROOMS:
        assert room == "gort." or room in MODULES, room


def test_xray_knows_nothing_of_the_runtime() -> None:
    """It watches a real Go executable; it would work without gort."""
    for module in MODULES:
        if module.startswith("gort.xray"):
            wrong = {m for m in imports(module, True) if not m.startswith("gort.xray")}
            assert wrong == set(), module


def test_nothing_imports_the_command_line() -> None:
    for module in MODULES:
        if not module.startswith(("gort.cli", "gort.__main__")):
            assert not any(m.startswith("gort.cli") for m in imports(module, True)), module


def refuse_circles(graph: dict[str, set[str]]) -> None:
    """Fail with the path when a module leads back to itself, over any number of steps."""
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for other in sorted(graph[module]):
                visit(other, [*path, module])
            done.add(module)

    for module in sorted(graph):
        visit(module, [])


def test_no_circles() -> None:
    """No module needs itself to be loaded."""
    refuse_circles({m: {i for i in imports(m, inside_functions=False) if i in MODULES} for m in MODULES})


def test_xray_has_no_circle_inside_functions_either() -> None:
    """An import inside a function of xray saves time, and never hides a circle."""
    xray = {m for m in MODULES if m.startswith("gort.xray")}
    refuse_circles({m: imports(m, inside_functions=True) & xray for m in xray})


def test_the_library_does_not_import_collections_abc() -> None:
    """From Python 3.13 on that fails while another thread is importing collections (see gort/_start/hints.py)."""
    for module, file in MODULES.items():
        if module.startswith(("gort.cli", "gort.xray")):
            continue  # programs with one thread
        for node in ast.walk(ast.Module(_without_type_checking(parsed(file).body), [])):
            assert not (isinstance(node, ast.ImportFrom) and node.module == "collections.abc"), module
            assert not (isinstance(node, ast.Import) and any(a.name == "collections.abc" for a in node.names)), module


def _without_type_checking(body: list[ast.stmt]) -> list[ast.stmt]:
    return [
        s for node in body for s in (node.orelse if isinstance(node, ast.If) and _is_type_checking(node) else [node])
    ]


@pytest.mark.parametrize("file", FILES, ids=[str(f.relative_to(SOURCE)) for f in FILES])
def test_every_file_starts_with_what_it_is(file: Path) -> None:
    doc = ast.get_docstring(parsed(file))
    assert doc, "no docstring"
    assert len(doc) > 20, "the docstring tells nothing"


def test_tests_and_examples_too() -> None:
    files = [f for folder in ("tests", "examples") for f in (ROOT / folder).rglob("*.py")]
    without = [str(f.relative_to(ROOT)) for f in files if not ast.get_docstring(ast.parse(f.read_text()))]
    assert without == []


@pytest.mark.parametrize("file", FILES, ids=[str(f.relative_to(SOURCE)) for f in FILES])
def test_no_file_is_two(file: Path) -> None:
    """Six hundred lines want to be two files. The exceptions may shrink, not grow."""
    limit = LONG.get(str(file.relative_to(SOURCE)), 600)
    assert len(file.read_text().splitlines()) <= limit


def test_public_names_are_those_of_the_contract() -> None:
    assert set(gort.__all__) >= CONTRACT
    assert len(gort.__all__) == len(set(gort.__all__))
    for name in gort.__all__:
        assert hasattr(gort, name), name
        assert not name.startswith("_") or name == "__version__", name


def test_public_names_are_reexported_once() -> None:
    """No function or class is offered under two modules."""
    homes: dict[int, list[str]] = {}
    for name in ["gort", "gort.aio", "gort.sync", "gort.context", "gort.runtime", "gort.testing"]:
        module = importlib.import_module(name)
        for public in module.__all__:
            value = getattr(module, public)
            if callable(value):
                homes.setdefault(id(value), []).append(f"{name}.{public}")
    assert [h for h in homes.values() if len(h) > 1] == []


def test_public_names_have_docstrings() -> None:
    for name in ["gort", "gort.aio", "gort.sync", "gort.context", "gort.runtime", "gort.testing"]:
        module = importlib.import_module(name)
        for public in module.__all__:
            value = getattr(module, public)
            if callable(value):
                assert (value.__doc__ or "").strip(), f"{name}.{public} has no docstring"


def test_no_two_test_files_share_a_name() -> None:
    """pytest imports a test file by its base name: a second one of the same name stops the whole collection, but only
    where both are collected."""
    seen: dict[str, Path] = {}
    for file in Path(__file__).parent.rglob("*.py"):
        if file.name not in ("conftest.py", "__init__.py") and "programs" not in file.parts and "py" not in file.parts:
            assert file.name not in seen, f"{file} and {seen[file.name]}"
            seen[file.name] = file


def test_a_package_that_is_loaded_when_it_is_used_is_entered_by_its_door() -> None:
    """Nobody outside gort.net, gort.exec, gort.aio, gort.http, gort.testing or gort.cluster imports a module of them.
    The import system locks the module before it imports the package; a thread that is importing the package locks them
    the other way round, and both fail."""
    packages = ("gort.net", "gort.exec", "gort.aio", "gort.http", "gort.testing", "gort.cluster")
    for module in MODULES:
        for other in imports(module, inside_functions=True):
            for package in packages:
                if other.startswith(f"{package}.") and not module.startswith("gort.cli"):
                    assert module.startswith(package), f"{module} imports {other}"


def test_the_map_names_every_file_of_the_runtime() -> None:
    text = (ROOT / "HACKING.md").read_text()
    files = [f for f in (*SOURCE.glob("*.py"), *SOURCE.glob("_runtime/*/*.py")) if not f.name.startswith("__")]
    # It names the headers of room c, and says that a .py stands beside each.
    assert [f.name for f in files if f.name not in text and f.parent.name != "c" and f.name != "version.py"] == []


def demangled(symbol: str) -> tuple[str, list[str]]:
    """The kind of a C symbol of Cython's, and the names in it: package, module, then class and function or field.

    `__pyx_f_4gort_8_runtime_4core_2op_start` is ("f", ["gort", "_runtime", "core", "op", "start"]).  A pattern may stand
    in place of the last names; there it is "*"."""
    match = re.fullmatch(r"__pyx_(f|pf|tp_new)_(.*)", symbol)
    assert match, symbol
    kind, rest = match.groups()
    names = []
    while length := re.match(r"\d+(?!__)", rest):
        end = length.end() + int(length[0])
        names.append(rest[length.end() : end])
        rest = rest[end + 1 :]
    accessor = re.fullmatch(r"(\d*)__[gs]et__|_?__get__", rest)  # of the field named last
    return kind, names if accessor else [*names, "*" if rest.startswith("*") else rest]


def within(scope: ast.AST) -> Iterator[ast.AST]:
    """What stands in a module or class, and in its `if`s: some is the compiled core's alone."""
    for node in ast.iter_child_nodes(scope):
        yield node
        if isinstance(node, ast.If):
            yield from within(node)


def test_the_races_that_are_meant_are_named_after_what_there_is() -> None:
    """ThreadSanitizer takes a symbol that no longer exists without a word, and then reports the race again."""
    headers = "".join(f.read_text() for f in (SOURCE / "_runtime/c").glob("*.h"))
    lines = (ROOT / "scripts/tsan-by-design.txt").read_text().splitlines()
    symbols = [line.partition(":")[2] for line in lines if line.startswith("race")]
    assert len(symbols) > 20
    for symbol in symbols:
        if not symbol.startswith("__pyx_"):
            assert symbol in {"bind_tstate", "clear_weakref_lock_held"} or f"{symbol}(" in headers, symbol
            continue
        kind, names = demangled(symbol)
        module = next(module for module in (".".join(names[:n]) for n in range(len(names), 0, -1)) if module in MODULES)
        declared = MODULES[module].with_suffix(".pxd").read_text()
        scope: ast.AST = ast.parse(MODULES[module].read_text())
        for name in names[module.count(".") + 1 :]:
            if name == "*":
                break
            found = [n for n in within(scope) if getattr(n, "name", "") == name]
            field = kind == "pf" and re.search(rf"\b{name}\b", declared)
            assert found or field, f"{symbol}: {module} has no {name}"
            scope = found[0] if found else scope


def test_a_mark_stands_in_the_file_that_it_marks() -> None:
    """noxfile.py looks for it there, so that no session imports the files of which it runs nothing."""
    ways = r"add_marker|mark\.\w+ *= |from \S+ import .*\b(once|apart)\b|= pytest\.mark\b(?!\.)"
    for file in sorted((ROOT / "tests").rglob("*.py")):
        if file.parent.name != "xray" and file.name != Path(__file__).name:
            assert not re.search(ways, file.read_text()), file
            for name in re.findall(r"^(\w+) = pytest\.mark\.(?:once|lint|apart)\b", file.read_text(), re.M):
                assert name == "pytestmark", f"{file}: {name}"
