"""Which core runs: GORT_PURE, the finder behind it, what `import gort` must not import."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import py_compile
import subprocess
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import pytest

import gort
from gort._start import loader as _loader
from support import PATIENCE_S

PACKAGE = Path(gort.__file__).parent
EXTENSION = importlib.machinery.EXTENSION_SUFFIXES[0]


def run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


LIST_COMPILED = (
    "import sys, gort, gort.runtime\n"
    "print([n for n, m in sys.modules.items() if n.startswith('gort.')\n"
    "       and not (getattr(m, '__file__', '') or '.py').endswith('.py')])\n"
    "print(gort.runtime.compiled)"
)


def test_gort_pure_loads_no_extension() -> None:
    """With GORT_PURE=1 every module of gort comes from its .py, whatever lies beside it."""
    assert run(LIST_COMPILED, GORT_PURE="1").splitlines() == ["[]", "False"]


def test_import_is_cheap() -> None:
    """`import gort` brings in nothing of the command line or of the extras."""
    code = (
        "import sys, gort\n"
        "print(sorted({n.partition('.')[0] for n in sys.modules} &"
        " {'click', 'rich', 'Cython', 'unicorn', 'lief', 'elftools', 'capstone', 'asyncio'}))"
    )
    assert run(code, GORT_PURE="").splitlines() == ["[]"]


def test_a_hook_that_was_there_before_sees_our_modules() -> None:
    """Somebody who instruments what is imported puts a finder in front; ours stands just before the path's."""
    code = (
        "import sys\n"
        "class Hook:\n"
        "    seen = []\n"
        "    @classmethod\n"
        "    def find_spec(cls, name, path=None, target=None): cls.seen.append(name)\n"
        "sys.meta_path.insert(0, Hook)\n"
        "import gort\n"
        "print({'gort.group', 'gort._runtime.core.errors', 'gort._runtime.boot'} <= set(Hook.seen))"
    )
    assert run(code) == "True"


@pytest.mark.parametrize("late", [False, True])
def test_a_hook_that_loads_sources_does_not_load_the_other_core(late: bool) -> None:
    """pytest's does so with the packages of its plugins, and so with a gort that is installed, or imported before it."""
    hook = (
        "class Hook:\n"
        "    @staticmethod\n"
        "    def find_spec(name, path=None, target=None):\n"
        "        return PathFinder.find_spec(name, path) if name.startswith('gort.') else None\n"
        "sys.meta_path.insert(0, Hook)\n"
    )
    code = (
        "import sys\n"
        "from importlib.machinery import PathFinder\n"
        f"{'import gort' if late else hook}\n"
        f"{hook if late else 'import gort'}\n"
        "import gort.sync\n"
        "async def main(): print(gort.runtime.compiled)\n"
        "gort.run(main)"
    )
    assert run(code, GORT_PURE="") == run("import gort; print(gort.runtime.compiled)", GORT_PURE="")


def test_resources_source_and_the_walk_of_packages_work() -> None:
    """What reads a module's spec and loader finds what the ordinary finders give."""
    code = (
        "import gort, importlib.resources, inspect, pkgutil\n"
        "print('class Group' in inspect.getsource(gort.group))\n"
        "print('<html' in importlib.resources.files('gort._runtime.see').joinpath('page.html').read_text())\n"
        "print('chan' in [m.name for m in pkgutil.iter_modules(gort._runtime.wait.__path__)])\n"
        "import importlib; print(importlib.reload(gort.scope).__name__)\n"
        "print(gort.group.__spec__.cached.endswith('.pyc'), gort._runtime.wait.__path__ is not None)"
    )
    assert run(code).splitlines() == ["True", "True", "True", "gort.scope", "True True"]


@pytest.mark.parametrize("pure", ["", "1"])
def test_a_module_that_is_not_there_is_the_ordinary_error(pure: str) -> None:
    code = "import gort\ntry:\n    import gort.nothing\nexcept ModuleNotFoundError as e:\n    print(e)"
    assert run(code, GORT_PURE=pure) == "No module named 'gort.nothing'"


def test_gort_runs_out_of_a_zip_file(tmp_path: Path) -> None:
    """Our finder knows no files there, and leaves them to the ordinary one."""
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as file:
        for source in PACKAGE.rglob("*.py"):
            if not {"xray", "cli", "http"} & set(source.parts):
                file.write(source, Path("gort") / source.relative_to(PACKAGE))
    code = "import gort\nasync def main(): print(gort.group.__file__)\ngort.run(main)"
    for pure in ("", "1"):
        told = run(code, PYTHONPATH=str(tmp_path / "z.zip"), GORT_PURE=pure)
        assert told == str(tmp_path / "z.zip" / "gort" / "group.py")


def test_finder_prefers_source(tmp_path: Path) -> None:
    """Where a .py and an extension lie side by side, the finder gives the .py; of other packages it knows nothing."""
    (tmp_path / "thing.py").write_text("x = 1\n")
    (tmp_path / f"thing{EXTENSION}").write_bytes(b"not a library")
    spec = _loader.Finder.find_spec("gort.thing", [str(tmp_path)])
    assert spec is not None
    assert spec.origin == str(tmp_path / "thing.py")
    assert _loader.Finder.find_spec("other.thing", [str(tmp_path)]) is None
    assert _loader.Finder.find_spec("gort.none", [str(tmp_path)]) is None
    assert _loader.Finder.find_spec("gort", None) is None


def test_bytecode_counts_while_it_fits_its_source(tmp_path: Path) -> None:
    """Of other times or sizes, of another interpreter, cut off or compared by a hash, it does not."""
    source = tmp_path / "late.py"

    def load() -> Any:
        spec = _loader.Finder.find_spec("gort.late", [str(tmp_path)])
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        assert spec.loader is not None
        spec.loader.exec_module(module)
        assert module.where.__code__.co_filename == str(source)
        return module

    def write(value: str, at: int) -> None:
        source.write_text(f"value = {value}\ndef where(): pass\n")
        os.utime(source, (at, at))

    write("1", 1_000_000_000)
    cached = Path(importlib.util.cache_from_source(str(source)))
    py_compile.compile(str(source))
    assert load().value == 1
    good = cached.read_bytes()
    assert good != good.replace(b"late.py", b"othe.py")
    cached.write_bytes(good.replace(b"late.py", b"othe.py"))
    assert load().value == 1  # the bytecode has been used: it says another file, as after a move
    write("2", 1_000_000_000)
    assert load().value == 1  # as in Python: neither time nor size differ
    write("33", 1_000_000_000)
    assert load().value == 33
    write("4", 1_000_000_001)
    module = load()
    assert module.value == 4
    py_compile.compile(str(source))
    good = cached.read_bytes()
    for bad in (b"", good[:12], b"\0\0\r\n" + good[4:]):
        cached.write_bytes(bad)
        assert load().value == 4
    py_compile.compile(str(source), invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
    write("5", 1_000_000_001)
    assert load().value == 5
    write("6", 1_000_000_001)
    module.__spec__.loader.exec_module(module)  # a second time: it looks at the file anew
    assert module.value == 6


@pytest.mark.parametrize("before", ["gc.enable()", "gc.disable()", "gc.freeze()"])
def test_the_collector_is_afterwards_as_it_was(before: str) -> None:
    code = f"import gc; {before}; was = gc.isenabled(), gc.get_freeze_count() > 0; import gort\n"
    assert run(code + "print((gc.isenabled(), gc.get_freeze_count() > 0) == was)") == "True"


def test_install_refuses_a_mixture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a compiled module is loaded it is too late to choose, and the error says what to do."""
    module = types.ModuleType("gort.fake")
    module.__file__ = f"/somewhere/fake{EXTENSION}"
    monkeypatch.setitem(sys.modules, "gort.fake", module)
    before = list(sys.meta_path)
    with pytest.raises(RuntimeError, match=r"after gort\.\S+ had been loaded compiled; set it in the env"):
        _loader.install({})
    assert sys.meta_path == before
