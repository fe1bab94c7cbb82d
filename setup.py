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
from concurrent.futures import ThreadPoolExecutor
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
# The libraries, with the rooms whose modules are in each (loader.py says why there are so few). They lie in _runtime/lib,
# which is no package: they are no modules that somebody could import. Each thread has the poller's buffers, 64 KiB;
# with them the core's thread-local fields would not fit where gort_rt.h wants them.
LIBRARIES = {"core": ("core", "sched", "wait", "watch"), "poll": ("poll",), "aio": ("aio",), "web": ("web",)}
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


def module_name(source: str | Path) -> str:
    """The full name of a module under src."""
    return ".".join(Path(source).relative_to("src").with_suffix("").parts)


class Unit:
    """A hot module that has been translated: its C file, what it is compiled with, a digest of both and the headers."""

    def __init__(self, translated: Extension) -> None:
        [self.source] = translated.sources
        self.macros = translated.define_macros  # from the line `# distutils:` at a module's head
        self.object = ""
        digest = hashlib.sha256(repr((self.macros, CFLAGS)).encode())
        for file in (self.source, *HEADERS):
            digest.update(Path(file).read_bytes())
        self.stamp = digest.digest()


class BuildExt(build_ext):
    """Compiles the hot modules and links them into the libraries, or says why it does not; writes the record that each
    start reads (verify.py)."""

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
        (record.parent / "_runtime" / "lib").mkdir(parents=True, exist_ok=True)
        record.write_bytes(verify.UNFINISHED)
        sources = []
        for file in (*HOT, *sorted(RUNTIME.glob("*/*.pxd")), *HEADERS):
            found = file.stat()
            time = found.st_mtime_ns if self.inplace else 0  # to install a wheel gives other times
            sources.append((file.relative_to(RUNTIME).as_posix(), found.st_size, time, verify.source_hash(file)))
        version, self.units = self.translate({name: digest for name, _, _, digest in sources})
        stamps, modules = {}, {}
        for extension in self.extensions:
            name = Path(self.get_ext_filename(extension.name)).relative_to("gort/_runtime").as_posix()
            stamps[name] = self.stamp(extension)
            modules[name] = [Path(file).relative_to(RUNTIME).with_suffix("").as_posix() for file in extension.sources]
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
        built = [(name, stamp, lengths[name], modules[name]) for name, stamp in stamps.items()]
        record.write_bytes(marshal.dumps((built, sources, facts)))

    def translate(self, hashes: dict[str, bytes]) -> tuple[str, dict[str, Unit]]:
        """Translates what is out of date. Returns Cython's version, and for each hot module what is compiled for it."""
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
            [Extension(module_name(source), [str(source)]) for source in HOT],
            nthreads=self.parallel if LINUX else 0,
            build_dir=str(folder),
            include_path=["src"],
            compiler_directives=DIRECTIVES,
            force=bool(self.force) or any(file.stat().st_mtime <= note.stat().st_mtime for file in changed),
            quiet=True,
            show_all_warnings=False,
        )
        note.write_bytes(marshal.dumps(hashes))
        return version, {str(source): Unit(unit) for source, unit in zip(HOT, translated, strict=True)}

    def stamp(self, extension: Extension) -> bytes:
        """The digest of what this extension is compiled from. On Linux the linker is told to write it into the file."""
        if not LINUX:
            return verify.NO_STAMP
        digest = hashlib.sha256(repr(LDFLAGS).encode())
        for source in extension.sources:
            digest.update(self.units[source].stamp)
        stamp = digest.digest()[:20]
        extension.extra_link_args = [*LDFLAGS, f"-Wl,--build-id=0x{stamp.hex()}"]
        return stamp

    def build_extensions(self) -> None:
        """Compiles the modules whose stamp is not that of their object file, several at a time, and links the libraries
        that are not there."""
        self.check_extensions_list(self.extensions)
        wanted = [
            e for e in self.extensions if self.force or not LINUX or not Path(self.get_ext_fullpath(e.name)).exists()
        ]
        units = [self.units[source] for extension in wanted for source in extension.sources]
        # The longest first: else the last compilation may be a long one that runs alone.
        units.sort(key=lambda unit: -Path(unit.source).stat().st_size)
        with ThreadPoolExecutor(int(self.parallel)) as pool:
            list(pool.map(self.compile, units))
        for extension in wanted:
            objects = [self.units[source].object for source in extension.sources]
            self.compiler.link_shared_object(
                objects,
                self.get_ext_fullpath(extension.name),
                extra_postargs=extension.extra_link_args,
                export_symbols=[f"PyInit_{Path(source).stem}" for source in extension.sources],
                build_temp=self.build_temp,
                target_lang="c",
            )

    def compile(self, unit: Unit) -> None:
        """Compiles one module, if its object file is not there or is another one's."""
        [unit.object] = self.compiler.object_filenames([unit.source], output_dir=self.build_temp)
        note = Path(f"{unit.object}.stamp")
        if not self.force and note.exists() and note.read_bytes() == unit.stamp and Path(unit.object).exists():
            return
        note.unlink(missing_ok=True)
        self.compiler.compile(
            [unit.source],
            output_dir=self.build_temp,
            macros=unit.macros,
            include_dirs=[str(C)],
            extra_postargs=CFLAGS,
        )
        note.write_bytes(unit.stamp)

    def drop_wrong(self, stamps: dict[str, bytes]) -> None:
        """Removes the extensions that earlier builds left, in the build tree and in place, but for those with the right
        stamp. They would be taken for built, or be imported in place of their .py."""
        built, wanted = (root / "gort/_runtime" for root in (Path(self.build_lib), self.target))
        for folder in (built, wanted):
            # Those of another system, for which this interpreter compiles, are none of its own.
            for name in {*verify.stray_extensions(folder), *stamps} if folder.is_dir() else ():
                if self.force or name not in stamps or verify.fault_of(folder / name, stamps[name], 0):
                    (folder / name).unlink(missing_ok=True)
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

stems = [source.stem for source in HOT]
assert len(stems) == len(set(stems)), "two modules of one name: a library has an init function of each name"
assert {source.parent.name for source in HOT} == {room for rooms in LIBRARIES.values() for room in rooms}

setup(
    ext_modules=[
        Extension(
            f"gort._runtime.lib.{name}",
            [str(source) for source in HOT if source.parent.name in rooms],
            depends=[str(header) for header in HEADERS],
            extra_link_args=LDFLAGS,
        )
        for name, rooms in LIBRARIES.items()
        if not PURE_WHEEL
    ],
    cmdclass={"build_ext": BuildExt, "build_py": BuildPy},
)
