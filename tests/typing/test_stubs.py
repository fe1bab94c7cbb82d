"""The stubs tell the truth, on the core that runs: mypy's stubtest compares every name, method, parameter and default of
a .pyi with what is there; here is what it cannot see: signatures of compiled classes, members that no stub has."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import gort
import gort.sync  # gives its classes their signatures
from gort._start.cython import lent

SOURCE = Path(gort.__file__).parent  # of the package under test, which may be an installed one
HERE = Path(__file__).parent
STUBS = sorted(s for s in SOURCE.rglob("*.pyi") if s.parent != SOURCE)
FACE = SOURCE / "__init__.pyi"
# Uncompiled hot modules are imported by gort itself, which lends them the name `cython`.  Nothing imports these there.
STUBTEST = """
import sys, gort.exec, gort.net, gort.sync, gort.testing.bubble, gort.testing.search
from gort._start.cython import lent
with lent():
    import gort._runtime.aio.bridge, gort._runtime.aio.core, gort._runtime.aio.wait
    import gort._runtime.core.contention, gort._runtime.core.held, gort._runtime.core.leaks
from mypy.stubtest import main
sys.exit(main())
"""
Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(stub: Path) -> str:
    return ".".join(stub.relative_to(SOURCE.parent).with_suffix("").parts)


def module_of(stub: Path) -> ModuleType:
    with lent():  # hot modules that nothing has imported yet
        return importlib.import_module(name_of(stub))


def stub_classes(stub: Path) -> list[tuple[ast.ClassDef, type]]:
    """The classes of a stub that the public modules offer, with those that run."""
    module = module_of(stub)
    nodes = [n for n in ast.parse(stub.read_text()).body if isinstance(n, ast.ClassDef) and n.name in PUBLIC]
    return [(node, getattr(module, node.name)) for node in nodes]


@pytest.mark.timeout(300)
def test_stubs_and_code_agree() -> None:
    pytest.importorskip("mypy")
    options = ["--ignore-missing-stub", "--ignore-disjoint-bases", "--ignore-unused-allowlist", "--concise"]
    options += ["--allowlist", str(HERE / "stubtest.allow"), "--mypy-config-file", str(HERE / "stubtest.ini")]
    done = subprocess.run(
        [sys.executable, "-c", STUBTEST, *map(name_of, STUBS), *options],
        capture_output=True,
        text=True,
        cwd=HERE,
        env={**os.environ, "MYPYPATH": str(SOURCE.parent)},
        timeout=250,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@pytest.mark.parametrize("stub", STUBS, ids=[str(s.relative_to(SOURCE)) for s in STUBS])
def test_classes_take_what_their_stubs_say(stub: Path) -> None:
    """`inspect.signature(Chan)`, which of a compiled class comes from _runtime/core/public.py."""
    for node, cls in stub_classes(stub):
        if node.name == "FD":
            continue  # the compiled base of Python classes, which have an __init__
        (init,) = (m for m in node.body if isinstance(m, Function) and m.name == "__init__")
        args, defaults = init.args.args[1:], init.args.defaults
        plain: list[object] = [inspect.Parameter.empty] * (len(args) - len(defaults))
        expected = list(zip([a.arg for a in args], plain + [ast.literal_eval(d) for d in defaults], strict=True))
        real = [(p.name, p.default) for p in inspect.signature(cls).parameters.values()]
        assert real == expected, cls


def test_the_public_face_has_a_stub_of_its_own() -> None:
    tree = ast.parse(FACE.read_text())
    offered = {a.asname for node in tree.body if isinstance(node, ast.ImportFrom) for a in node.names}
    lazy = {"aio", "bufio", "debug", "exec", "http", "metrics", "net", "notebook", "os", "signal", "testing", "trace"}
    assert offered - lazy == set(gort.__all__)
    for name in lazy:
        assert getattr(gort, name).__name__ == f"gort.{name}"


def test_public_members_are_in_the_stubs() -> None:
    """A method that is added to a hot class without its type would be an error to every user."""
    seen = set()
    for stub in STUBS:
        for node, cls in stub_classes(stub):
            seen.add(node.name)
            typed = {m.name for m in node.body if isinstance(m, Function)}
            typed |= {m.target.id for m in node.body if isinstance(m, ast.AnnAssign) and isinstance(m.target, ast.Name)}
            documented = {
                name
                for name, value in vars(cls).items()
                if not name.startswith("_") and (callable(value) or isinstance(value, property)) and value.__doc__
            }
            assert documented - typed - INTERNAL == set(), f"{stub.name}: {node.name}"
    assert seen == PUBLIC


PUBLIC = {"Chan", "Timer", "Ticker", "Mutex", "RWMutex", "Reader", "WaitGroup", "Semaphore", "FD"}
# What the runtime's own files call on them; documented there, but no part of the contract.
INTERNAL = {
    "announce", "block", "call", "check", "end_turn", "enter", "fire", "grant", "leave", "left", "look", "set",
    "scope_left", "take_back", "unblock", "unlink", "lock_state", "unlock_state",
}  # fmt: skip
