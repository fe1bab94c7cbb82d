"""The .pxd files and the .py files of the hot modules say the same: fields, constants, functions and their parameters.

The compiled core takes its types from the .pxd and its text from the .py, the uncompiled one has the .py alone. A field
that is in one of them only, or a constant that differs, breaks one core and not the other.

What does not live here: the stubs for type checkers (tests/typing).
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from support import SOURCE

pytestmark = pytest.mark.lint

RUNTIME = SOURCE / "_runtime"
HOT = sorted(f for f in RUNTIME.rglob("*.pxd") if f.parent.name != "c")
C = sorted((RUNTIME / "c").glob("*.pxd"))

# Fields of the .pxd that the uncompiled core has under another name, or has no use for: locks are bound methods there,
# and a class gets __weakref__ by itself.
LOCKS = {"mu", "timersmu", "allgmu", "__weakref__"}
# Fields of the uncompiled core alone: the bound methods of its locks, and what only it keeps.
UNCOMPILED = {
    "lock",
    "unlock",
    "lock_timers",
    "unlock_timers",
    "lock_allg",
    "unlock_allg",
    "lock_state",
    "unlock_state",
}


def names(files: list[Path]) -> list[str]:
    return [str(f.relative_to(RUNTIME).with_suffix("")) for f in files]


def text_of(pxd: Path) -> str:
    return re.sub(r"#.*", "", pxd.read_text())


def enums(pxd: Path) -> dict[str, int]:
    """The constants of a .pxd."""
    found = {}
    for block in re.findall(r"^c(?:p?)def enum:\n((?:    .*\n)+)", text_of(pxd), re.M):
        for name, value in re.findall(r"(\w+) = (\w+)", block):
            found[name] = int(value, 0)
    for name, value in re.findall(r"^    const [\w ]+? (\w+) \"([\w.]+?)(?:U?LL)?\"", text_of(pxd), re.M):
        found[name] = int(value, 0) if value.isalnum() and not re.fullmatch(r"[\d.]+e\d+", value) else int(float(value))
    return found


def constants(py: Path) -> dict[str, int | float]:
    """The numbers that a .py assigns for the uncompiled core: under `if not cython.compiled`, or in the `else` of its
    opposite."""
    found: dict[str, int | float] = {}

    def take(nodes: list[ast.stmt]) -> None:
        for node in nodes:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                try:
                    value = eval(compile(ast.Expression(node.value), str(py), "eval"), {"__builtins__": {}})
                except (NameError, TypeError):
                    continue
                if isinstance(value, int | float) and not isinstance(value, bool):
                    found[node.targets[0].id] = value

    for node in ast.parse(py.read_text()).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "not cython.compiled":
            take(node.body)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "cython.compiled":
            take(node.orelse)
    return found


def classes(pxd: Path) -> dict[str, set[str]]:
    """The fields of each class of a .pxd."""
    found = {}
    for name, body in re.findall(r"^cdef class (\w+)(?:\(\w+\))?:\n((?:    .*\n|\n)+)", text_of(pxd) + "\n", re.M):
        fields = re.findall(r"^    cdef (?:public |readonly )?[\w*]+(?: \*| )(\w+)(?:\[\d+\])?$", body, re.M)
        found[name] = set(fields) - LOCKS
    return found


def attributes(py: Path) -> dict[str, set[str]]:
    """The fields of each class of a .py, as the uncompiled core has them: what the class body assigns under
    `if not cython.compiled`, and what its methods assign to self."""
    found: dict[str, set[str]] = {}
    inherited: dict[str, set[str]] = {}
    for node in ast.parse(py.read_text()).body:
        if not isinstance(node, ast.ClassDef):
            continue
        mine: set[str] = set()
        for part in node.body:
            if isinstance(part, ast.If) and ast.unparse(part.test) == "not cython.compiled":
                for line in part.body:
                    if isinstance(line, ast.Assign):
                        for target in line.targets:
                            if isinstance(target, ast.Name) and target.id == "__slots__":
                                mine |= set(ast.literal_eval(line.value)) - {"__weakref__"}
                            elif isinstance(target, ast.Name) and not target.id.startswith("__"):
                                mine.add(target.id)
                    elif isinstance(line, ast.FunctionDef):
                        mine |= set(re.findall(r"self\.(\w+) = ", ast.unparse(line)))
            elif isinstance(part, ast.FunctionDef) and part.name == "__init__":
                mine |= {
                    t.attr
                    for n in ast.walk(part)
                    if isinstance(n, ast.Assign)
                    for t in n.targets
                    if isinstance(t, ast.Attribute) and isinstance(t.value, ast.Name) and t.value.id == "self"
                }
        for base in node.bases:
            inherited[node.name] = {*inherited.get(node.name, ()), *found.get(ast.unparse(base), ())}
        found[node.name] = mine - UNCOMPILED - LOCKS - inherited.get(node.name, set())
    return found


def functions(pxd: Path) -> dict[str, list[str]]:
    """The module functions of a .pxd, with their parameters' names."""
    found = {}
    text = re.sub(r"^cdef class .*", "", text_of(pxd), flags=re.M)
    for name, args in re.findall(r"^cp?def (?:inline )?(?:[\w*]+ \*?)?(\w+)\(([^)]*)\)", text, re.M):
        found[name] = [re.split(r"[ *]+", a.partition("=")[0].strip())[-1] for a in args.split(",") if a.strip()]
    return found


@pytest.mark.parametrize("pxd", HOT, ids=names(HOT))
def test_constants_are_the_same(pxd: Path) -> None:
    here, there = enums(pxd), constants(pxd.with_suffix(".py"))
    assert {n for n in here if n not in there} == set(), "in the .pxd only"
    assert {n: there[n] for n in here if n in there} == {n: v for n, v in here.items() if n in there}


@pytest.mark.parametrize("pxd", HOT, ids=names(HOT))
def test_fields_are_the_same(pxd: Path) -> None:
    here, there = classes(pxd), attributes(pxd.with_suffix(".py"))
    for name, fields in here.items():
        assert name in there, f"{name} is in the .pxd only"
        mine = there[name] - {"_lock"} if name == "Note" else there[name]
        if name == "Note":
            fields = fields - {"woken"}  # a lock stands for it
        if name == "Watcher":
            fields = fields - {"looks"}  # only the compiled core has it
        if name == "Netpoll":
            mine = mine - {"s", "closed", "nwait", "countlock", "countunlock"}  # Poller's, in polldesc.pxd
        if name == "Semaphore":
            mine = mine - {"count"}  # Waitq's, in sema.pxd
        assert fields - mine == set(), f"{name}: in the .pxd only"
        assert mine - fields - {"what", "noun"} == set(), f"{name}: in the .py only"


@pytest.mark.parametrize("pxd", HOT, ids=names(HOT))
def test_functions_are_the_same(pxd: Path) -> None:
    tree = ast.parse(pxd.with_suffix(".py").read_text())
    defined = {n.name: [a.arg for a in n.args.args] for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    inline = re.findall(r"^cdef inline [\w ]+?(\w+)\([^)]*\)[^\n]*:$", text_of(pxd), re.M)
    for name, parameters in functions(pxd).items():
        if name in inline:
            continue  # its text is in the .pxd
        assert name in defined, f"{name}() is in the .pxd only"
        assert defined[name] == parameters, f"{name}()"


@pytest.mark.parametrize("pxd", C, ids=names(C))
def test_what_c_gives_has_a_stand_in(pxd: Path) -> None:
    """Every function and constant of room c is there, under its name, for the uncompiled core."""
    text = text_of(pxd)
    offered = set(re.findall(r"\b(\w+)(?: \"\w+\")?\([^)]*\)", re.sub(r"ctypedef.*", "", text)))
    offered |= set(re.findall(r"^    bint (\w+) \"", text, re.M)) | set(re.findall(r"enum: (\w+)", text))
    offered -= {"rt_lock", "rt_unlock"}  # only the .pxd files call them
    tree = ast.parse(pxd.with_suffix(".py").read_text())
    there = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
    there |= {t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}
    assert offered - there == set()


@pytest.mark.parametrize("py", [p.with_suffix(".py") for p in HOT], ids=names(HOT))
def test_one_way_to_import(py: Path) -> None:
    """Imports are the same in both cores: none depends on `cython.compiled`, and no name is unknown to a linter."""
    text = py.read_text()
    assert "F821" not in text
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.If) and "cython.compiled" in ast.unparse(node.test):
            for part in (*node.body, *node.orelse):
                assert not isinstance(part, ast.Import | ast.ImportFrom), f"line {part.lineno}"


def test_no_stub_says_only_any() -> None:
    for stub in RUNTIME.rglob("*.pyi"):
        said = [n for n in ast.parse(stub.read_text()).body if isinstance(n, ast.ClassDef | ast.FunctionDef)]
        assert [n for n in said if n.name != "__getattr__"], stub
