"""Builds the compiled core: the hot modules, from the very .py files that run uncompiled.

What is an extension
    Every module of ``src/gort/_runtime`` that has a sibling ``.pxd``, but for room ``c``, which declares C.
    The ``.pxd`` is the map of the module's C types, so its presence is the whole configuration: no list to
    keep in step.

When it compiles
    * A C compiler and Python's headers are found: all of it is compiled, and a compile that breaks fails
      the build. A half-compiled core would be a core that nobody has tested.
    * None is found, or GORT_PURE=1: the uncompiled core is installed, and stderr says so.
    * GORT_REQUIRE_COMPILED=1 turns the second case into an error (wheels are built with it).

Other switches, all from the environment
    GORT_JOBS     parallel compilations (default 2)
    GORT_CFLAGS   flags appended to the compiler's, e.g. ``-g -fsanitize=address``
    GORT_LDFLAGS  flags appended to the linker's

What the C side may rely on
    ``gort_rt.h`` is on the include path; ``GORT_VERSION`` is the project's version as a C string, and
    ``GORT_SOURCE_DIGEST`` the first 16 hex digits of the SHA-256 of the module's .py as it was compiled, so
    that boot can tell a stale extension from a matching one.

Rejected: cythonize() at module level (it would make `sdist` and metadata queries need a compile), one big
extension (an edit would rebuild everything), a list of modules in pyproject.toml (it would go stale).
"""

from __future__ import annotations

import copy
import hashlib
import json
import multiprocessing
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
SRC = ROOT / "src"
CORE = Path("src/gort/_runtime")
C = CORE / "c"  # headers and what declares them: nobody's map
LINUX_ONLY = ("fd", "netpoll", "polldesc")  # they need epoll; gort.net says so where there is none
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


def env_is(name: str) -> bool:
    return os.environ.get(name, "") not in ("", "0")


def say(text: str) -> None:
    print(f"gort: {text}", file=sys.stderr, flush=True)


def project_version() -> str:
    for line in (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines():
        if line.startswith("version = "):
            return line.split('"')[1]
    raise SystemExit("gort: pyproject.toml has no version line")


def core_sources() -> list[Path]:
    """The hot modules' .py files, relative to the project, in a stable order."""
    found = []
    for pxd in sorted((ROOT / CORE).glob("*/*.pxd")):
        source = pxd.with_suffix(".py").relative_to(ROOT)
        if source.parent != C and not (pxd.stem in LINUX_ONLY and sys.platform != "linux"):
            found.append(source)
    return found


def extensions() -> list[Extension]:
    headers = sorted(str(p.relative_to(ROOT)) for p in (ROOT / C).glob("*.h"))
    version = project_version()
    result = []
    for source in core_sources():
        digest = hashlib.sha256((ROOT / source).read_bytes()).hexdigest()[:16]
        result.append(
            Extension(
                ".".join(source.relative_to("src").with_suffix("").parts),
                [str(source)],
                depends=[*headers, str(source), str(source.with_suffix(".pxd"))],
                include_dirs=[str(C)],
                define_macros=[("GORT_VERSION", f'"{version}"'), ("GORT_SOURCE_DIGEST", f'"{digest}"')],
                extra_compile_args=compile_args(),
                extra_link_args=shlex.split(os.environ.get("GORT_LDFLAGS", "")),
            )
        )
    return result


def compile_args() -> list[str]:
    extra = shlex.split(os.environ.get("GORT_CFLAGS", ""))
    if sys.platform == "win32":
        return extra
    # -Warray-bounds: gcc 12 mistakes a comparison with None in the generated code for an overrun.
    return ["-O3", "-g0", "-fvisibility=hidden", "-Wno-array-bounds", *extra]


class BuildExt(build_ext):
    """Translates with Cython, then compiles; decides beforehand whether it can."""

    def finalize_options(self) -> None:
        super().finalize_options()
        if self.parallel is None:
            self.parallel = int(os.environ.get("GORT_JOBS", "2"))

    def run(self) -> None:
        if not self.extensions:
            return
        reason = "GORT_PURE is set" if env_is("GORT_PURE") else self.missing_toolchain()
        if reason is None:
            self.translate()
            super().run()
            self.write_build_info()
            return
        if env_is("GORT_REQUIRE_COMPILED"):
            raise SystemExit(f"gort: GORT_REQUIRE_COMPILED is set, but {reason}")
        say("*" * 78)
        say(f"{reason}: installing the UNCOMPILED core. Everything works, several times slower.")
        if not env_is("GORT_PURE"):
            say("For the compiled core install a C compiler and Python's headers, then install again.")
        say("*" * 78)
        self.drop_old_builds()
        self.extensions = []
        super().run()

    def missing_toolchain(self) -> str | None:
        """Why nothing can be compiled here, or None: tries to compile a file that includes Python.h."""
        from setuptools._distutils.ccompiler import new_compiler
        from setuptools._distutils.errors import CompileError, DistutilsPlatformError
        from setuptools._distutils.sysconfig import customize_compiler

        try:
            compiler = new_compiler(compiler=self.compiler)
            customize_compiler(compiler)
        except DistutilsPlatformError as error:
            return f"no C compiler was found ({error})"
        paths = sorted({sysconfig.get_path("include"), sysconfig.get_path("platinclude")})
        with tempfile.TemporaryDirectory() as folder:
            for what, text, include in (
                ("no working C compiler was found", "int gort_probe;\n", []),
                ("the C compiler works but Python's headers were not found", "#include <Python.h>\n", paths),
            ):
                probe = Path(folder) / "gort_probe.c"
                probe.write_text(text, encoding="ascii")
                try:
                    with quiet_stderr():
                        compiler.compile([str(probe)], output_dir=folder, include_dirs=include)
                except (CompileError, DistutilsPlatformError, OSError):
                    return what
        return None

    def translate(self) -> None:
        """Replaces each extension's .py by the C file made from it, where that is out of date."""
        try:
            from Cython import __version__ as cython_version
            from Cython.Build import cythonize
        except ImportError:
            raise SystemExit(
                "gort: the compiled core needs Cython 3.2 or later to build; `pip install 'Cython>=3.2'`, "
                "or set GORT_PURE=1 for the uncompiled core"
            ) from None
        if tuple(int(part) for part in cython_version.split(".")[:2]) < (3, 2):
            raise SystemExit(f"gort: needs Cython 3.2 or later to compile the core, found {cython_version}")
        # One folder for each interpreter and Cython: builds of two of them may run side by side.
        tag = f"{sys.implementation.cache_tag}{getattr(sys, 'abiflags', '')}-cython{cython_version}"
        jobs = 0
        if sys.platform == "linux":
            # Forked workers: any other start method would run this file again in each of them.
            multiprocessing.set_start_method("fork", force=True)
            jobs = int(self.parallel)
        translated = cythonize(
            [copy.copy(e) for e in self.extensions],
            nthreads=jobs,
            build_dir=os.path.join("build", f"c-{tag}"),
            include_path=["src"],
            compiler_directives=DIRECTIVES,
            force=bool(self.force),
            quiet=True,
            show_all_warnings=False,
        )
        # A module may ask for macros, libraries and the like in `# distutils:` lines at its head.
        settings = {e.name: e for e in translated}
        for extension in self.extensions:
            for name in ("sources", "define_macros", "include_dirs", "libraries", "extra_compile_args"):
                setattr(extension, name, list(getattr(settings[extension.name], name)))

    def write_build_info(self) -> None:
        """Leaves how the core was built where `gort bench` finds it, a file for each interpreter."""
        from Cython import __version__ as cython_version

        compiler = " ".join(self.compiler.compiler_so)
        version = subprocess.run(
            [self.compiler.compiler_so[0], "--version"], capture_output=True, text=True, check=False
        )
        info = {
            "cython": cython_version,
            "compiler": version.stdout.partition("\n")[0],
            "command": f"{compiler} {' '.join(compile_args())}",
            "link_flags": os.environ.get("GORT_LDFLAGS", ""),
        }
        base = SRC if self.inplace or getattr(self, "editable_mode", False) else Path(self.build_lib)
        tag = f"{sys.implementation.cache_tag}{getattr(sys, 'abiflags', '')}"
        (base / "gort" / f"_build_{tag}.json").write_text(json.dumps(info, indent=1) + "\n", encoding="utf-8")

    def drop_old_builds(self) -> None:
        """An uncompiled install must not pick up extensions that an earlier build left."""
        inplace = self.inplace or getattr(self, "editable_mode", False)
        base = SRC if inplace else Path(self.build_lib)
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        for extension in self.extensions:
            old = base / (extension.name.replace(".", os.sep) + suffix)
            if old.exists():
                say(f"removing {old}, left by an earlier build")
                old.unlink()


class quiet_stderr:
    """The compiler's own complaint about the probe would read like an error of the build."""

    def __enter__(self) -> None:
        sys.stderr.flush()
        self.saved = os.dup(2)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        os.close(null)

    def __exit__(self, *exc: object) -> None:
        os.dup2(self.saved, 2)
        os.close(self.saved)


class BuildPy(build_py):
    """Before copying, takes out of the build tree what the sources no longer have.

    setuptools never cleans `build/lib`, so a module that was renamed would be installed for ever, and an
    extension whose .pxd is gone would shadow its .py.
    """

    def run(self) -> None:
        built = Path(self.build_lib) / "gort"
        if not getattr(self, "editable_mode", False) and built.is_dir():
            extensions_now = {e.name for e in self.distribution.ext_modules or []}
            for path in sorted(built.rglob("*")):
                relative = path.relative_to(built)
                if path.suffix in (".so", ".pyd"):
                    name = ".".join(("gort", *relative.parts[:-1], relative.name.split(".")[0]))
                    stale = name not in extensions_now
                else:
                    stale = path.is_file() and not (SRC / "gort" / relative).exists()
                if stale:
                    path.unlink()
        super().run()
        if not getattr(self, "editable_mode", False):
            # The programs that `gort bench` runs. In a checkout they are found beside src/.
            target = Path(self.build_lib) / "gort" / "_bench"
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(ROOT / "bench", target, ignore=shutil.ignore_patterns("__pycache__", "bin"))


os.chdir(ROOT)
setup(ext_modules=extensions(), cmdclass={"build_ext": BuildExt, "build_py": BuildPy})
