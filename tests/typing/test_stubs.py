"""The stubs tell the truth: every name, method and parameter in a .pyi is there when gort runs, and no public name of
the package is missing from them."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

import gort
from gort._start.cython import lent

SOURCE = Path(gort.__file__).parent  # of the package under test, which may be an installed one
STUBS = sorted(SOURCE.rglob("*.pyi"))
Function = ast.FunctionDef | ast.AsyncFunctionDef


def module_of(stub: Path) -> object:
    parts = stub.relative_to(SOURCE.parent).with_suffix("").parts
    with lent():  # hot modules that nothing has imported yet
        return importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))


def parameters(node: Function) -> list[str]:
    args = node.args
    names = [a.arg for a in (*args.posonlyargs, *args.args)]
    if args.vararg:
        names.append(args.vararg.arg)
    names += [a.arg for a in args.kwonlyargs]
    if args.kwarg:
        names.append(args.kwarg.arg)
    return [n for n in names if n != "self"]


def check_function(owner: object, node: Function, where: str) -> None:
    assert hasattr(owner, node.name), f"{where}{node.name} is in the stub only"
    value = inspect.getattr_static(owner, node.name)
    if isinstance(value, property) or not callable(value) or node.name in ("__init__", "__aexit__"):
        return
    try:
        real = [p for p in inspect.signature(getattr(owner, node.name)).parameters if p != "self"]
    except (TypeError, ValueError):
        return  # a compiled method that does not tell
    assert parameters(node) == real, f"{where}{node.name}"


@pytest.mark.parametrize("stub", STUBS, ids=[str(s.relative_to(SOURCE)) for s in STUBS])
def test_what_a_stub_says_is_there(stub: Path) -> None:
    module = module_of(stub)
    for node in ast.parse(stub.read_text()).body:
        if isinstance(node, Function) and node.name != "__getattr__":
            check_function(module, node, "")
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            assert hasattr(module, node.name), f"{node.name} is in the stub only"
            for member in node.body:
                if isinstance(member, Function):
                    where = getattr(module, node.name)
                    if not member.name.startswith("__await"):
                        check_function(where, member, f"{node.name}.")


def test_the_public_face_has_a_stub_of_its_own() -> None:
    tree = ast.parse((SOURCE / "__init__.pyi").read_text())
    offered = {a.asname for node in tree.body if isinstance(node, ast.ImportFrom) for a in node.names}
    lazy = {"exec", "net", "os", "signal"}
    assert offered - lazy == set(gort.__all__)
    for name in lazy:
        assert getattr(gort, name).__name__ == f"gort.{name}"


def test_public_members_are_in_the_stubs() -> None:
    """A method that is added to a hot class without its type would be Any to every user."""
    for stub in STUBS:
        module = module_of(stub)
        for node in ast.parse(stub.read_text()).body:
            if not isinstance(node, ast.ClassDef) or node.name.startswith("_") or node.name not in PUBLIC:
                continue
            typed = {m.name for m in node.body if isinstance(m, Function)}
            typed |= {m.target.id for m in node.body if isinstance(m, ast.AnnAssign) and isinstance(m.target, ast.Name)}
            documented = {
                name
                for name, value in vars(getattr(module, node.name)).items()
                if not name.startswith("_") and (callable(value) or isinstance(value, property)) and value.__doc__
            }
            assert documented - typed - INTERNAL == set(), f"{stub.name}: {node.name}"


PUBLIC = {"Chan", "Timer", "Ticker", "Mutex", "RWMutex", "Reader", "WaitGroup", "Semaphore"}
# What the runtime's own files call on them; documented there, but no part of the contract.
INTERNAL = {
    "admit", "block", "check", "enter", "fire", "grant", "left", "look", "pop", "push", "set", "unblock", "unlink",
    "lock_state", "unlock_state",
}  # fmt: skip
