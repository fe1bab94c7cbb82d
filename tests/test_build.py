"""What setup.py builds: what is in an sdist and a wheel, and what happens where nothing can be compiled.

Nothing is compiled here. That a compiled core is the one of its sources is tests/test_verify.py's.
"""

from __future__ import annotations

import importlib.machinery
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from gort._start import verify
from support import PATIENCE_S, ROOT, environment

pytestmark = pytest.mark.lint

EXTENSION = importlib.machinery.EXTENSION_SUFFIXES[0]
NOT_SOURCE = shutil.ignore_patterns(
    "__pycache__", ".*", "build", "dist", "*.so", "*.egg-info", "_build_*", "bench-results"
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The sources alone, as a clean clone has them."""
    return Path(shutil.copytree(ROOT, tmp_path / "tree", ignore=NOT_SOURCE))


def setup(tree: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    changes: dict[str, str | None] = {"GORT_PURE": None, "GORT_REQUIRE_COMPILED": None, "GORT_CFLAGS": None, **env}
    return subprocess.run(
        [sys.executable, "setup.py", "--quiet", *arguments],
        cwd=tree, env=environment(**changes), capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip


def package_files(tree: Path) -> set[str]:
    return {f.relative_to(tree / "src").as_posix() for f in (tree / "src" / "gort").rglob("*") if f.is_file()}


def test_a_wheel_has_the_whole_package(tree: Path, tmp_path: Path) -> None:
    """Every file under src/gort, by way of an sdist: also the programs that gort bench runs, C headers and types."""
    wanted = package_files(tree)
    assert {"gort/cli/_bench/programs/go/go.mod", "gort/_runtime/see/page.html"} <= wanted
    done = setup(tree, "sdist", "--dist-dir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    [archive] = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    [unpacked] = (tmp_path / "unpacked").iterdir()
    assert package_files(unpacked) == wanted
    # An older build has left a module that is gone.
    gone = unpacked / "build" / "lib" / "gort" / "gone.py"
    gone.parent.mkdir(parents=True)
    gone.write_text("")
    done = setup(unpacked, "bdist_wheel", "--dist-dir", str(tmp_path), GORT_PURE="1")
    assert done.returncode == 0, done.stderr
    [wheel] = tmp_path.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")  # the uncompiled core is for every system
    with zipfile.ZipFile(wheel) as file:
        assert {name for name in file.namelist() if ".dist-info/" not in name} == wanted | {"gort_pytest.py"}
    assert not gone.exists()


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"GORT_PURE": "1"}, "GORT_PURE is set: installing the UNCOMPILED core"),
        ({"CC": "/nowhere/cc"}, "no working C compiler was found: installing the UNCOMPILED core"),
        ({"CC": "false"}, "no working C compiler was found: installing the UNCOMPILED core"),
    ],
)
def test_where_nothing_can_be_compiled_the_uncompiled_core_is_installed(
    tree: Path, env: dict[str, str], said: str
) -> None:
    """It says so, and takes away what an earlier build has left: that would be imported in place of the sources."""
    runtime = tree / "src" / "gort" / "_runtime"
    left = runtime / "wait" / f"chan{EXTENSION}"
    other = runtime / "wait" / "chan.cpython-27-other.so"
    record = tree / "src" / "gort" / verify.record_name()
    for file in (left, other, record):
        file.write_bytes(b"")
    done = setup(tree, "build_ext", "--inplace", **env)
    assert done.returncode == 0, done.stderr
    assert said in done.stderr
    assert (left.exists(), record.exists(), other.exists()) == (False, False, True)
    start = [sys.executable, "-c", "import gort; print(gort.__file__, gort.runtime.compiled)"]
    path = environment(PYTHONPATH=str(tree / "src"), GORT_PURE=None)
    told = subprocess.run(start, env=path, capture_output=True, text=True, timeout=PATIENCE_S, check=True).stdout
    assert told.split() == [str(tree / "src" / "gort" / "__init__.py"), "False"]


def test_headers_are_missed(tree: Path, tmp_path: Path) -> None:
    """A compiler without Python's headers is told from no compiler."""
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\n! grep -q Python.h\n")
    compiler.chmod(0o755)
    done = setup(tree, "build_ext", "--inplace", CC=str(compiler))
    assert done.returncode == 0, done.stderr
    assert "the C compiler works but Python's headers were not found: installing the UNCOMPILED" in done.stderr


@pytest.mark.parametrize("env", [{"GORT_PURE": "1"}, {"CC": "/nowhere/cc"}])
def test_a_wheel_that_must_be_compiled_fails(tree: Path, env: dict[str, str]) -> None:
    done = setup(tree, "build_ext", "--inplace", GORT_REQUIRE_COMPILED="1", **env)
    assert done.returncode != 0
    assert "gort: GORT_REQUIRE_COMPILED is set, but " in done.stderr


def test_a_build_without_cython_says_what_to_do(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "Cython.py").write_text("raise ImportError\n")
    done = setup(tree, "build_ext", "--inplace", PYTHONPATH=str(tmp_path))
    assert done.returncode != 0
    assert "needs Cython 3.2 or later to build, found none; `pip install 'Cython>=3.2'`" in done.stderr
