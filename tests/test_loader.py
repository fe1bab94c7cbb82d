"""Which core runs: GORT_PURE, the finder behind it, what `import gort` must not import."""

from __future__ import annotations

import importlib.machinery
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from gort._start import loader as _loader
from support import PATIENCE_S

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
    """`import gort` brings in nothing of the command line or of the extras, nor the loader when it is not used."""
    code = (
        "import sys, gort\n"
        "print(sorted({n.partition('.')[0] for n in sys.modules} &"
        " {'click', 'rich', 'Cython', 'unicorn', 'lief', 'elftools', 'capstone', 'asyncio'}))\n"
        "print('gort._start.loader' in sys.modules)"
    )
    assert run(code, GORT_PURE="").splitlines() == ["[]", "False"]


def test_finder_prefers_source(tmp_path: Path) -> None:
    """Where a .py and an extension lie side by side, the finder gives the .py; of other packages it knows nothing."""
    (tmp_path / "thing.py").write_text("x = 1\n")
    (tmp_path / f"thing{EXTENSION}").write_bytes(b"not a library")
    spec = _loader.PureFinder.find_spec("gort.thing", [str(tmp_path)])
    assert spec is not None
    assert spec.origin == str(tmp_path / "thing.py")
    assert _loader.PureFinder.find_spec("other.thing", [str(tmp_path)]) is None
    assert _loader.PureFinder.find_spec("gort.none", [str(tmp_path)]) is None
    assert _loader.PureFinder.find_spec("gort", None) is None


def test_install_refuses_a_mixture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a compiled module is loaded it is too late to choose, and the error says what to do."""
    module = types.ModuleType("gort.fake")
    module.__file__ = f"/somewhere/fake{EXTENSION}"
    monkeypatch.setitem(sys.modules, "gort.fake", module)
    before = list(sys.meta_path)
    with pytest.raises(RuntimeError, match=r"after gort\.\S+ had been loaded compiled; set it in the env"):
        _loader.install()
    assert sys.meta_path == before
