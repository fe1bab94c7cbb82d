"""A compiled core that is incomplete or not that of its sources is refused at the import, with one message.

Each case damages a copy of the package and imports it in a process of its own. Nothing is compiled: an older build is one
whose stamp is another.
"""

from __future__ import annotations

import importlib.machinery
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import gort
from gort._start import verify
from support import PATIENCE_S, environment

PACKAGE = Path(gort.__file__).parent
RECORD = verify.read_record(str(PACKAGE))
BUILT, SOURCES, _ = RECORD or ([], [], {})
STAMPS = {name.partition(".")[0]: (name, stamp) for name, stamp, *_ in BUILT}
LATER_NS = verify.SLACK_NS + 10**9

if not gort.runtime.compiled:
    pytest.skip("the uncompiled core has no extensions", allow_module_level=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, without what `import gort` does not need."""
    copy = tmp_path_factory.mktemp("whole") / "gort"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "xray", "cli"))
    return copy


@pytest.fixture
def package(whole: Path) -> Iterator[Path]:
    """The copy, for a test to damage one file of; afterwards that file is as before."""
    before = {file: file.stat() for file in whole.rglob("*") if file.is_file()}
    yield whole
    for file, was in before.items():
        if not file.exists() or (now := file.stat()).st_size != was.st_size or now.st_mtime_ns != was.st_mtime_ns:
            file.unlink(missing_ok=True)
            shutil.copy2(PACKAGE / file.relative_to(whole), file)


def start(package: Path, code: str = "import gort", **env: str | None) -> subprocess.CompletedProcess[str]:
    changes = {"PYTHONPATH": str(package.parent), "GORT_PURE": "", "PYTHONDONTWRITEBYTECODE": "1"} | env
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment(**changes), capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip


def refused(package: Path, fault: str) -> None:
    """`import gort` fails with the one message, which names this fault and what to do."""
    done = start(package)
    assert done.returncode == 1, f"ended with {done.returncode}: {done.stderr}"
    first, *rest = done.stderr[done.stderr.index("ImportError: ") :].splitlines()
    assert first == "ImportError: gort: the compiled core does not fit its sources:"
    assert rest[:-1] == [f"  {fault}"]
    for remedy in ("make build", "pip install --force-reinstall gort", "GORT_PURE=1"):
        assert remedy in rest[-1]
    assert done.stderr.startswith("Traceback")
    assert "During handling" not in done.stderr


def append(file: Path, text: str) -> None:
    with file.open("a", encoding="utf-8") as open_file:
        open_file.write(text)


def test_the_record_lists_every_hot_module() -> None:
    """What has a .pxd is in one of the extensions, and everything that it is compiled from is a source."""
    runtime = PACKAGE / "_runtime"
    hot = {f.relative_to(runtime).with_suffix("").as_posix() for f in runtime.glob("*/*.pxd") if f.parent.name != "c"}
    assert sorted(module for *_, modules in BUILT for module in modules) == sorted(hot)
    assert len({stamp for _, stamp in STAMPS.values()}) == len(BUILT), "two extensions have one stamp"
    headers = {f"c/{f.name}" for f in (*(runtime / "c").glob("*.h"), *(runtime / "c").glob("*.pxd"))}
    assert {name for name, *_ in SOURCES} == headers | {f"{m}{end}" for m in hot for end in (".py", ".pxd")}


def test_a_whole_core_starts_compiled(whole: Path) -> None:
    done = start(whole, "import gort; print(gort.__file__, gort.runtime.compiled)")
    assert (done.stdout.split(), done.stderr) == ([str(whole / "__init__.py"), "True"], "")


@pytest.mark.parametrize("module", STAMPS)
def test_an_extension_is_missing(package: Path, module: str) -> None:
    name, _ = STAMPS[module]
    (package / "_runtime" / name).unlink()
    refused(package, f"{name} is missing")


KEEPS = ["nothing", "100 bytes", "its head", "half", "all but a byte"]


@pytest.mark.parametrize(("module", "keeps"), [(m, k) for m in STAMPS for k in KEEPS])
def test_an_extension_is_truncated(package: Path, module: str, keeps: str) -> None:
    """Loading one would end the process with SIGBUS, or fail with a text of the linker's."""
    name, _ = STAMPS[module]
    file = package / "_runtime" / name
    size = file.stat().st_size
    lengths = {"nothing": 0, "100 bytes": 100, "its head": 4096, "half": size // 2, "all but a byte": size - 1}
    os.truncate(file, lengths[keeps])
    refused(package, f"{name} is truncated")


@pytest.mark.parametrize("module", STAMPS)
def test_an_extension_is_of_another_build(package: Path, module: str) -> None:
    """It loads, and may even work until somebody looks at a field that has moved."""
    name, stamp = STAMPS[module]
    file = package / "_runtime" / name
    content = file.read_bytes()
    assert content.count(stamp) == 1
    file.write_bytes(content.replace(stamp, bytes(reversed(stamp))))
    refused(package, f"{name} is of another build")


@pytest.mark.parametrize("module", [module for *_, modules in BUILT for module in modules])
@pytest.mark.parametrize("end", [".py", ".pxd"])
def test_a_source_has_changed(package: Path, module: str, end: str) -> None:
    append(package / "_runtime" / f"{module}{end}", "\n")
    refused(package, f"{module}{end} has changed since the core was compiled")


@pytest.mark.parametrize("header", [name for name, *_ in SOURCES if name.startswith("c/")])
def test_what_declares_c_has_changed(package: Path, header: str) -> None:
    append(package / "_runtime" / header, "\n")
    refused(package, f"{header} has changed since the core was compiled")


def later(file: Path) -> None:
    """Gives a file a time that no build has recorded, and that is not that of the installation."""
    time = LATER_NS + max(file.stat().st_mtime_ns, max(f.stat().st_mtime_ns for f in PACKAGE.glob("_build_*")))
    os.utime(file, ns=(time, time))


def test_a_change_that_keeps_the_length_is_seen(package: Path) -> None:
    file = package / "_runtime" / "wait" / "chan.py"
    content = file.read_bytes()
    file.write_bytes(content.replace(b"self", b"slef", 1))
    later(file)
    refused(package, "wait/chan.py has changed since the core was compiled")


def test_a_source_that_was_only_touched_has_not_changed(package: Path) -> None:
    """A checkout that goes to another commit and back gives its files new times."""
    for name, *_ in SOURCES:
        later(package / "_runtime" / name)
    assert start(package).stderr == ""


def test_a_source_is_missing(package: Path) -> None:
    (package / "_runtime" / "wait" / "chan.pxd").unlink()
    refused(package, "wait/chan.pxd is missing")


def test_extensions_without_a_record(package: Path) -> None:
    """A build that was interrupted, or one from before there were records."""
    name, _ = STAMPS["lib/core"]
    (package / verify.record_name()).unlink()
    for other, _ in STAMPS.values():
        if other != name:
            (package / "_runtime" / other).unlink()
    refused(package, f"{name}: no record of a build has it")


def test_without_extensions_and_record_the_uncompiled_core_runs(package: Path) -> None:
    """What GORT_PURE=1 or a machine without a C compiler installs. Extensions for other interpreters do not matter."""
    (package / verify.record_name()).unlink()
    for name, _ in STAMPS.values():
        (package / "_runtime" / name).unlink()
    (package / "_runtime" / "wait" / "chan.cpython-27-other.so").write_bytes(b"")
    done = start(package, "import gort; print(gort.runtime.compiled)")
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_many_faults_are_one_message(package: Path) -> None:
    """The first five are named, the others counted."""
    for name, *_ in SOURCES[:8]:
        append(package / "_runtime" / name, "\n")
    done = start(package)
    lines = done.stderr[done.stderr.index("ImportError: ") :].splitlines()
    assert lines[5:7] == [f"  {SOURCES[4][0]} has changed since the core was compiled", "  and 3 more"]


def test_an_extension_of_an_earlier_build_beside_a_source_is_not_loaded(package: Path) -> None:
    """Once each module was an extension of its own, beside its .py."""
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    (package / "_runtime" / "wait" / f"chan{suffix}").write_bytes(b"not a library")
    for pure, compiled in (("", "True"), ("1", "False")):
        done = start(package, "import gort; print(gort.runtime.compiled)", GORT_PURE=pure)
        assert (done.stdout.strip(), done.stderr) == (compiled, "")
    (package / "_runtime" / "wait" / f"chan{suffix}").unlink()


@pytest.mark.parametrize(
    "damage", [lambda file: file.unlink(), lambda file: os.truncate(file, 4096)], ids=["missing", "truncated"]
)
def test_the_remedy_gort_pure_works(package: Path, damage: Callable[[Path], None]) -> None:
    for name, _ in STAMPS.values():
        damage(package / "_runtime" / name)
    done = start(package, "import gort; print(gort.runtime.compiled)", GORT_PURE="1")
    assert (done.stdout, done.stderr) == ("False\n", "")


@pytest.mark.skipif(shutil.which("strip") is None, reason="no strip here")
def test_stripped_extensions_are_right(package: Path) -> None:
    """Distributions strip what they package: the stamp stays, the length does not."""
    for name, _ in STAMPS.values():
        file = package / "_runtime" / name
        before = file.stat().st_size
        subprocess.run(["strip", "--strip-unneeded", str(file)], check=True)
        assert file.stat().st_size < before
    done = start(package, "import gort; print(gort.runtime.compiled)")
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_extensions_that_patchelf_has_changed_are_right(package: Path) -> None:
    """Distributions tell the loader where their libraries are. patchelf then moves parts of a file to its end, the stamp
    too; so does this."""
    for name, stamp in STAMPS.values():
        file = package / "_runtime" / name
        content = file.read_bytes()
        assert content.index(stamp) < verify.HEAD
        file.write_bytes(content.replace(stamp, bytes(len(stamp))) + stamp)
    done = start(package, "import gort; print(gort.runtime.compiled)")
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_the_boot_refuses_half_a_core(package: Path) -> None:
    """An extension that vanishes between the check and its import: nothing but the boot can tell."""
    code = "import gort\ngort._runtime.wait.chan.__file__ = 'chan.py'\nasync def main(): pass\ngort.run(main)\n"
    done = start(package, code)
    assert done.returncode == 1
    assert "RuntimeError: gort's core is half compiled (loaded from their .py: wait/chan" in done.stderr


def test_a_build_that_did_not_finish(package: Path) -> None:
    """A compile that fails, or is interrupted, leaves neither core to run in silence."""
    (package / verify.record_name()).write_bytes(verify.UNFINISHED)
    refused(package, "the rest of a build that did not finish is missing")
