"""Builds the compiled core: the hot modules, from the very .py files that run uncompiled.

HACKING.md ("The build") says what is compiled and when, what is compiled again, and what was rejected.

The environment decides
    GORT_PURE=1                the uncompiled core is installed
    GORT_REQUIRE_COMPILED=1    the build fails where the core cannot be compiled; wheels are built with it
    GORT_JOBS                  parallel translations and compilations (default: a processor each, at most 8)
    GORT_CFLAGS, GORT_LDFLAGS  flags appended to the compiler's and the linker's, e.g. ``-g -fsanitize=address``
"""

from __future__ import annotations

import hashlib
import marshal
import multiprocessing
import os
import runpy
import shlex
import shutil
import subprocess
import sys
import sysconfig
import zlib
from pathlib import Path
from types import SimpleNamespace

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

os.chdir(Path(__file__).resolve().parent)
RUNTIME = Path("src/gort/_runtime")
C = RUNTIME / "c"  # headers and what declares them: nobody's map
HEADERS = sorted(C.glob("*.h"))
LINUX = sys.platform == "linux"
HOT = [pxd.with_suffix(".py") for pxd in sorted(RUNTIME.glob("*/*.pxd")) if pxd.parent != C]
DIRECTIVES = {
    "language_level": 3,
    # Each module guards what it shares by its own locks (design: "without the GIL it does").
    "freethreading_compatible": True,
    # Plain C functions: the interpreter calls them without a detour; `inspect` reads __text_signature__.
    "binding": False,
    "embedsignature": True,
    "embedsignature.format": "clinic",
    # What is shared must not be copied: see mistakes.shared.
    "auto_pickle": False,
    # Bounds and wrap-around checks stay on here; a module whose loops are proved turns them off itself.
}
CFLAGS = shlex.split(os.environ.get("GORT_CFLAGS", ""))
LDFLAGS = shlex.split(os.environ.get("GORT_LDFLAGS", ""))
if os.name != "nt":
    # -Warray-bounds: gcc 12 mistakes a comparison with None in the generated code for an overrun.
    CFLAGS = ["-O3", "-g0", "-fvisibility=hidden", "-Wno-array-bounds", *CFLAGS]
PURE = os.environ.get("GORT_PURE", "") not in ("", "0")
REQUIRED = os.environ.get("GORT_REQUIRE_COMPILED", "") not in ("", "0")
# The record's name, hash and rules, from the file that reads it. To import gort would need what is built here.
verify = SimpleNamespace(**runpy.run_path("src/gort/_start/verify.py"))


def missing_toolchain() -> str:
    """Why nothing can be compiled here; "" if a file that includes Python.h compiles."""
    if os.name == "nt":
        return "the C of the core is for Unix"
    cc = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    paths = [f"-I{sysconfig.get_path(name)}" for name in ("include", "platinclude")]
    for fault, text in (
        ("no working C compiler was found", "int gort_probe;\n"),
        ("the C compiler works but Python's headers were not found", "#include <Python.h>\n"),
    ):
        probe = [*cc, *paths, "-x", "c", "-c", "-o", os.devnull, "-"]
        try:
            subprocess.run(probe, input=text, text=True, capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return fault
    return ""


def jobs() -> int:
    """One for each processor that this process may use, but no more than 8: a compiler takes up to 200 MB."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(usable or 2, 8)


class BuildExt(build_ext):
    """Compiles the hot modules, or says why it does not; writes the record that each start reads (verify.py)."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or int(os.environ.get("GORT_JOBS") or jobs())

    def run(self) -> None:
        self.target = Path("src" if self.inplace else self.build_lib)  # where the package is that gets the core
        record = self.target / "gort" / verify.record_name()
        if reason := "GORT_PURE is set" if PURE else missing_toolchain():
            if REQUIRED:
                raise SystemExit(f"gort: GORT_REQUIRE_COMPILED is set, but {reason}")
            text = f"gort: {reason}: installing the UNCOMPILED core. Everything works, several times slower."
            if not PURE:
                text += "\ngort: For the compiled core install a C compiler and Python's headers, then install again."
            print("*" * 78, text, "*" * 78, sep="\n", file=sys.stderr, flush=True)
            self.extensions = []
            self.drop_wrong({})
            record.unlink(missing_ok=True)
            return
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_bytes(verify.UNFINISHED)
        sources = []
        for file in (*HOT, *sorted(RUNTIME.glob("*/*.pxd")), *HEADERS):
            found = file.stat()
            time = found.st_mtime_ns if self.inplace else 0  # to install a wheel gives other times
            sources.append((file.relative_to(RUNTIME).as_posix(), found.st_size, time, verify.source_hash(file)))
        version = self.translate({name: digest for name, _, _, digest in sources})
        stamps = {
            Path(self.get_ext_filename(extension.name)).relative_to("gort/_runtime").as_posix(): self.stamp(extension)
            for extension in self.extensions
        }
        self.drop_wrong(stamps)
        super().run()
        compiler = self.compiler.compiler_so
        answer = subprocess.run([compiler[0], "--version"], capture_output=True, text=True, check=False).stdout
        facts = {
            "cython": version,
            "compiler": answer.partition("\n")[0],
            "command": " ".join([*compiler, *CFLAGS]),
            "link_flags": " ".join(LDFLAGS),
        }
        lengths = {name: Path(self.build_lib, "gort/_runtime", name).stat().st_size for name in stamps}
        built = [(name, stamp, lengths[name]) for name, stamp in stamps.items()]
        record.write_bytes(marshal.dumps((built, sources, facts)))

    def translate(self, hashes: dict[str, bytes]) -> str:
        """Translates what is out of date, and gives the extensions the C files as sources. Returns Cython's version."""
        try:
            from Cython import __version__ as version
            from Cython.Build import cythonize
        except ImportError:
            version = "none"
        if version == "none" or [int(part) for part in version.split(".")[:2]] < [3, 2]:
            raise SystemExit(
                f"gort: the compiled core needs Cython 3.2 or later to build, found {version}; "
                "`pip install 'Cython>=3.2'`, or set GORT_PURE=1 for the uncompiled core"
            )
        # A folder for each interpreter, Cython and set of directives: builds of two of them may run side by side.
        rules = zlib.crc32(repr((version, DIRECTIVES)).encode())
        folder = Path("build", f"c-{sysconfig.get_config_var('SOABI')}-{rules:x}")
        # Cython compares times. It would not see a source that has changed but is older than the last translation.
        note = folder / "sources.marshal"
        known = marshal.loads(note.read_bytes()) if note.exists() else hashes
        changed = [RUNTIME / name for name, digest in hashes.items() if known.get(name) != digest]
        if LINUX:  # any other start method would run this file again in each worker
            multiprocessing.set_start_method("fork", force=True)
        translated = cythonize(
            self.extensions,
            nthreads=self.parallel if LINUX else 0,
            build_dir=str(folder),
            include_path=["src"],
            compiler_directives=DIRECTIVES,
            force=bool(self.force) or any(file.stat().st_mtime <= note.stat().st_mtime for file in changed),
            quiet=True,
            show_all_warnings=False,
        )
        note.write_bytes(marshal.dumps(hashes))
        for extension, result in zip(self.extensions, translated, strict=True):
            extension.sources = result.sources
            extension.define_macros = result.define_macros  # from the line `# distutils:` at a module's head
        # The longest first: else the last compilation may be a long one that runs alone.
        self.extensions.sort(key=lambda extension: -sum(Path(file).stat().st_size for file in extension.sources))
        return version

    def stamp(self, extension: Extension) -> bytes:
        """The digest of what this extension is compiled from. On Linux the linker is told to write it into the file."""
        if not LINUX:
            return verify.NO_STAMP
        digest = hashlib.sha256(repr((extension.define_macros, CFLAGS, LDFLAGS)).encode())
        for file in (*extension.sources, *HEADERS):
            digest.update(Path(file).read_bytes())
        stamp = digest.digest()[:20]
        extension.extra_link_args = [*LDFLAGS, f"-Wl,--build-id=0x{stamp.hex()}"]
        return stamp

    def drop_wrong(self, stamps: dict[str, bytes]) -> None:
        """Removes the extensions that earlier builds left, in the build tree and in place, but for those with the right
        stamp. They would be taken for built, or be imported in place of their .py."""
        built, wanted = (root / "gort/_runtime" for root in (Path(self.build_lib), self.target))
        for folder in (built, wanted):
            for name in verify.stray_extensions(folder) if folder.is_dir() else ():
                if self.force or name not in stamps or verify.fault_of(folder / name, stamps[name], 0):
                    (folder / name).unlink()
                elif LINUX:
                    (folder / name).touch()  # newer than its sources, so distutils does not compile it again
        for name in stamps:
            if (wanted / name).exists() and not (built / name).exists():
                (built / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(wanted / name, built / name)


class BuildPy(build_py):
    """Empties the build tree of an earlier build, but for the extensions, which BuildExt looks through. setuptools never
    does, so a module that was renamed would be installed for ever."""

    def run(self) -> None:
        if not self.editable_mode:
            for path in Path(self.build_lib, "gort").rglob("*"):
                if path.is_file() and path.suffix not in (".so", ".pyd"):
                    path.unlink()
        super().run()


# A wheel of the uncompiled core is for every system and Python (py3-none-any). One with extensions would not be.
PURE_WHEEL = PURE and "bdist_wheel" in sys.argv

setup(
    ext_modules=[
        Extension(
            ".".join(source.relative_to("src").with_suffix("").parts),
            [str(source)],
            depends=[str(header) for header in HEADERS],
            include_dirs=[str(C)],
            extra_compile_args=CFLAGS,
            extra_link_args=LDFLAGS,
        )
        for source in HOT
        if not PURE_WHEEL
    ],
    cmdclass={"build_ext": BuildExt, "build_py": BuildPy},
)
