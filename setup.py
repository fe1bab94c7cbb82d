"""Builds the compiled core: the hot modules, from the very .py files that run uncompiled.

What is an extension
    Every module of ``src/gort/_runtime`` with a ``.pxd`` beside it, but for room ``c``, which declares C.

When it compiles
    * A C compiler and Python's headers are found: all of it is compiled, and a compile that breaks fails the build. A
      half-compiled core would be a core that nobody has tested.
    * None is found, or GORT_PURE=1: the uncompiled core is installed, and stderr says so.
    * GORT_REQUIRE_COMPILED=1 turns the second case into an error (wheels are built with it).

What is compiled again
    Each extension has a stamp: a digest of its C text, the headers and the flags. On Linux the linker writes it into the
    extension, as the build id. An extension with the right stamp is kept, whatever the times of the files; any other is
    compiled. The build ends with the record that each start compares stamps and sources with: src/gort/_start/verify.py.

Other switches, all from the environment
    GORT_JOBS     parallel translations and compilations (default 2)
    GORT_CFLAGS   flags appended to the compiler's, e.g. ``-g -fsanitize=address``
    GORT_LDFLAGS  flags appended to the linker's

Rejected: cythonize() at module level (it would make `sdist` and metadata queries need a compile), one big extension (an
edit would rebuild everything), a list of modules in pyproject.toml (it would go stale).
"""

from __future__ import annotations

import copy
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
LINUX_ONLY = ("fd", "netpoll", "polldesc")  # they need epoll; gort.net says so where there is none
LINUX = sys.platform == "linux"
HOT = [pxd.with_suffix(".py") for pxd in sorted(RUNTIME.glob("*/*.pxd")) if pxd.parent != C]
HOT = [file for file in HOT if LINUX or file.stem not in LINUX_ONLY]
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
# The record's name, hash and rules, from the file that reads it. To import gort would need what is built here.
verify = SimpleNamespace(**runpy.run_path("src/gort/_start/verify.py"))


def env_is(name: str) -> bool:
    return os.environ.get(name, "") not in ("", "0")


def say(text: str) -> None:
    print(f"gort: {text}", file=sys.stderr, flush=True)


def missing_toolchain() -> str:
    """Why nothing can be compiled here, or nothing: tries to compile a file that includes Python.h."""
    if os.name == "nt":
        return ""
    cc = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    paths = [f"-I{sysconfig.get_path(name)}" for name in ("include", "platinclude")]
    for what, text in (
        ("no working C compiler was found", "int gort_probe;\n"),
        ("the C compiler works but Python's headers were not found", "#include <Python.h>\n"),
    ):
        probe = [*cc, *paths, "-x", "c", "-c", "-o", os.devnull, "-"]
        try:
            if subprocess.run(probe, input=text, text=True, capture_output=True, check=False).returncode != 0:
                return what
        except OSError:
            return what
    return ""


class BuildExt(build_ext):
    """Translates with Cython, then compiles; decides beforehand whether it can."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or int(os.environ.get("GORT_JOBS", "2"))

    def run(self) -> None:
        self.target = Path("src" if self.inplace else self.build_lib)  # where the package is that gets the core
        record = self.target / "gort" / verify.record_name()
        reason = "GORT_PURE is set" if env_is("GORT_PURE") else missing_toolchain()
        if reason:
            record.unlink(missing_ok=True)
            self.extensions = []
            if env_is("GORT_REQUIRE_COMPILED"):
                raise SystemExit(f"gort: GORT_REQUIRE_COMPILED is set, but {reason}")
            say("*" * 78)
            say(f"{reason}: installing the UNCOMPILED core. Everything works, several times slower.")
            if not env_is("GORT_PURE"):
                say("For the compiled core install a C compiler and Python's headers, then install again.")
            say("*" * 78)
        self.drop_others()
        if self.extensions:
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_bytes(verify.UNFINISHED)
            sources = self.sources()
            facts = self.translate(sources)
            stamps = self.stamp()
            super().run()
            compiler = self.compiler.compiler_so
            answer = subprocess.run([compiler[0], "--version"], capture_output=True, text=True, check=False).stdout
            facts |= {"compiler": answer.partition("\n")[0], "command": " ".join([*compiler, *CFLAGS])}
            built = [
                (Path(name).relative_to("gort/_runtime").as_posix(), stamp, Path(self.build_lib, name).stat().st_size)
                for name, stamp in stamps.items()
            ]
            record.write_bytes(marshal.dumps((built, sources, facts)))

    def drop_others(self) -> None:
        """Extensions that an earlier build left would be imported in place of their .py."""
        runtime = self.target / "gort" / "_runtime"
        wanted = {self.target / self.get_ext_filename(extension.name) for extension in self.extensions}
        for name in verify.stray_extensions(runtime) if runtime.is_dir() else ():
            if runtime / name not in wanted:
                say(f"removing {runtime / name}, left by an earlier build")
                (runtime / name).unlink()

    def sources(self) -> list[tuple[str, int, int, bytes]]:
        """For the record: name, length, time and hash of each file that the core is made of. In a wheel the time is 0: to
        install it gives other times."""
        result = []
        for file in (*HOT, *sorted(RUNTIME.glob("*/*.pxd")), *HEADERS):
            facts = file.stat()
            time = facts.st_mtime_ns if self.inplace else 0
            result.append((file.relative_to(RUNTIME).as_posix(), facts.st_size, time, verify.source_hash(file)))
        return result

    def translate(self, sources: list[tuple[str, int, int, bytes]]) -> dict[str, str]:
        """Replaces each extension's .py by the C file made from it, where that is out of date."""
        try:
            from Cython import __version__ as version
            from Cython.Build import cythonize
        except ImportError:
            version = "0.0"
        if [int(part) for part in version.split(".")[:2]] < [3, 2]:
            raise SystemExit(
                f"gort: the compiled core needs Cython 3.2 or later to build, found {version.replace('0.0', 'none')}; "
                "`pip install 'Cython>=3.2'`, or set GORT_PURE=1 for the uncompiled core"
            )
        # One folder for each interpreter, Cython and choice of directives: builds of two of them may run side by side.
        made_by = f"{sys.implementation.cache_tag}{getattr(sys, 'abiflags', '')}-cython{version}"
        folder = Path("build", f"c-{made_by}-{zlib.crc32(repr(DIRECTIVES).encode()):x}")
        # Cython goes by times. A source that has changed although it is older than the last translation needs force.
        seen = folder / "sources.marshal"
        known = marshal.loads(seen.read_bytes()) if seen.exists() else None
        changed = [RUNTIME / name for name, _, _, digest in sources if known and known.get(name) != digest]
        jobs = 0
        if LINUX:
            # Forked workers: any other start method would run this file again in each of them.
            multiprocessing.set_start_method("fork", force=True)
            jobs = int(self.parallel)
        translated = cythonize(
            [copy.copy(extension) for extension in self.extensions],
            nthreads=jobs,
            build_dir=str(folder),
            include_path=["src"],
            compiler_directives=DIRECTIVES,
            force=bool(self.force) or any(file.stat().st_mtime <= seen.stat().st_mtime for file in changed),
            quiet=True,
            show_all_warnings=False,
        )
        seen.write_bytes(marshal.dumps({name: digest for name, _, _, digest in sources}))
        # A module may ask for macros, libraries and the like in `# distutils:` lines at its head.
        settings = {extension.name: extension for extension in translated}
        for extension in self.extensions:
            for name in ("sources", "define_macros", "include_dirs", "libraries", "extra_compile_args"):
                setattr(extension, name, list(getattr(settings[extension.name], name)))
        return {"cython": version, "link_flags": " ".join(LDFLAGS)}

    def stamp(self) -> dict[str, bytes]:
        """Gives each extension its stamp; returns the stamps by file name.

        An extension that was built earlier is removed where its stamp is another. Otherwise it is put where it is wanted:
        into the build tree, and beside the sources for a build in place."""
        stamps = {}
        for extension in self.extensions:
            digest = hashlib.sha256(repr((extension.define_macros, CFLAGS, LDFLAGS)).encode())
            for file in (*extension.sources, *HEADERS):
                digest.update(Path(file).read_bytes())
            name = self.get_ext_filename(extension.name)
            stamps[name] = stamp = digest.digest()[:20] if LINUX else verify.NO_STAMP
            if LINUX:
                extension.extra_link_args = [*LDFLAGS, f"-Wl,--build-id=0x{stamp.hex()}"]
            places = {Path(self.build_lib, name), self.target / name}
            right = [place for place in places if not self.force and not verify.fault_of(place, stamp, 0)]
            for place in places.difference(right):
                place.unlink(missing_ok=True)
                if right:
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(right[0], place)
        return stamps

    def build_extension(self, extension: Extension) -> None:
        """Compiles it, unless it is there: `stamp` has left only what is right. Without stamps, times decide."""
        if not (LINUX and Path(self.build_lib, self.get_ext_filename(extension.name)).exists()):
            super().build_extension(extension)


class BuildPy(build_py):
    """Empties the build tree of an earlier build, but for the extensions, which BuildExt looks through. setuptools never
    does, so a module that was renamed would be installed for ever."""

    def run(self) -> None:
        if not self.editable_mode:
            for path in Path(self.build_lib, "gort").rglob("*"):
                if path.is_file() and path.suffix not in (".so", ".pyd"):
                    path.unlink()
        super().run()


def extension(source: Path) -> Extension:
    return Extension(
        ".".join(source.relative_to("src").with_suffix("").parts),
        [str(source)],
        depends=[str(header) for header in HEADERS],
        include_dirs=[str(C)],
        extra_compile_args=CFLAGS,
        extra_link_args=LDFLAGS,
    )


setup(ext_modules=[extension(source) for source in HOT], cmdclass={"build_ext": BuildExt, "build_py": BuildPy})
