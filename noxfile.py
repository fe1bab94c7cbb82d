"""The matrix of the tests: each core, compiled and uncompiled, on each interpreter that is found.

`make test` and its relatives call this; `nox --list` names all sessions. A session is called by the interpreter's version
and what runs on it: `3.11-compiled`, `3.13t-pure`. All sessions of an interpreter share one environment,
`.nox/3-11-env`, which the session `3.11-env` makes, and brings up to date with the sources each time.

On the main interpreter the tests are five sessions, so that those side by side end at about the same time: tests that
know nothing of cores (gort xray, the sources; marked `once` or `lint`) are `3.11-once`, on the compiled core, and of each
core those that are marked `apart` are `3.11-compiled-apart` and `3.11-pure-apart`, as elsewhere. Where CI is not set in
the environment the tests do less of the same (tests/support.py).

The *main* interpreter is $PYTHON (python3 where that is not set). Its environment runs the sources in src/, with the
compiled core beside them, and it alone has the session of what knows nothing of cores, and lint.
On every other interpreter gort is installed as a user installs it, so that a file that a wheel forgets is missed.

An interpreter is found by its name on PATH, in GORT_FT_PREFIX (scripts/build-freethreaded.sh builds into it), or by
FT_PYTHON. It is asked for its version, so a name that leads nowhere does no harm. Those that pyenv keeps are found too:
their sessions have the tag `pythons` (`make test-pythons`) and not `test`.

What does not live here: what a clean clone needs to run gort (Makefile), how gort is built (setup.py).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2026.10"  # for `--parallel`
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = True
nox.options.sessions = []  # a bare `nox` lists them

ROOT = Path(__file__).parent
PYPROJECT = nox.project.load_toml("pyproject.toml")
OF_CORES = "not lint and not once"
# So many files of tests are run in one process without the GIL. There a collection looks at every object, also at those
# that gc.freeze leaves out: with all tests imported 17 ms instead of 2, several times a test.
PIECE = 10
VERSIONS = ("3.11", "3.12", "3.13", "3.14", "3.15", "3.13t", "3.14t", "3.15t")
ASK = "import sys; print('%d.%d' % sys.version_info[:2] + sys.abiflags)"
FT_PREFIX = os.environ.get("GORT_FT_PREFIX") or "/opt/gort-python3.13t"


def version_of(python: str) -> str:
    """The version of the interpreter, as "3.13t"; empty if it does not run."""
    try:
        done = subprocess.run([python, "-c", ASK], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def find_interpreters() -> dict[str, str]:
    """Version -> path. The first is the main one; what is named by the caller goes before what is found on PATH."""
    wanted = [os.environ.get("PYTHON") or "python3", os.environ.get("FT_PYTHON"), f"{FT_PREFIX}/bin/python3.13t"]
    found: dict[str, str] = {}
    for name in [*wanted, *(f"python{version}" for version in VERSIONS)]:
        path = shutil.which(name or "")
        if path and (version := version_of(path)) in VERSIONS:
            found.setdefault(version, path)
    return found


def kept_by_pyenv() -> dict[str, str]:
    """Version -> path of what pyenv has installed, whichever of them it makes current: the newest of each version."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found: dict[str, str] = {}
    for version in VERSIONS:
        free = version.endswith("t")
        folders = [f for f in root.glob(f"versions/{version.rstrip('t')}.*") if f.name.endswith("t") == free]
        for folder in sorted(folders, key=lambda f: [int(n) for n in re.findall(r"\d+", f.name)], reverse=True):
            path = str(folder / "bin" / f"python{version}")
            if version_of(path) == version:
                found[version] = path
                break
    return found


PYTHONS = find_interpreters()
FURTHER = [version for version in kept_by_pyenv() if version not in PYTHONS]  # those of `make test-pythons` alone
PYTHONS |= {version: kept_by_pyenv()[version] for version in FURTHER}
MAIN = next(iter(PYTHONS))
FREE = [version for version in PYTHONS if version.endswith("t")]


def parts(version: str) -> dict[str, tuple[str, str]]:
    """The sessions of an interpreter: the end of the name, the core, which tests by their marks."""
    if version != MAIN:
        return {
            "pure": ("pure", f"{OF_CORES} and not apart"),
            "compiled": ("compiled", f"{OF_CORES} and not apart"),
            "pure-apart": ("pure", f"{OF_CORES} and apart"),
            "compiled-apart": ("compiled", f"{OF_CORES} and apart"),
        }
    return {
        "compiled": ("compiled", f"{OF_CORES} and not apart"),
        "pure": ("pure", f"{OF_CORES} and not apart"),
        "once": ("compiled", "lint or once"),
        "compiled-apart": ("compiled", f"{OF_CORES} and apart"),
        "pure-apart": ("pure", f"{OF_CORES} and apart"),
    }


def of_marks(marks: str) -> list[str]:
    """The files in which tests of these marks can be.  To import all of them takes a session six seconds.

    A mark stands in the file that it marks. tests/xray has its own mark from its conftest."""
    chosen = {"once", "lint"} if marks == "lint or once" else {"apart"} if marks.endswith("and apart") else set()
    left_out = {"once", "lint", "apart"} if marks.endswith("not apart") else {"once", "lint"}
    files = []
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        text = file.read_text(encoding="utf-8")
        own = set(re.findall(r"\bmark\.(once|lint|apart)\b", text))
        of_all = set(re.findall(r"^pytestmark = .*\bmark\.(once|lint|apart)\b", text, re.MULTILINE))
        if file.parent.name == "xray":
            own = of_all = {"once"}
        if own & chosen if chosen else not of_all & left_out:
            files.append(str(file.relative_to(ROOT)))
    return files


def in_pieces(version: str, files: list[str]) -> list[list[str]]:
    """The files, as many at a time as one process runs on this interpreter. A folder stands for its files."""
    paths = [ROOT / name for name in files]
    each = [f for path in paths for f in (sorted(path.rglob("test_*.py")) if path.is_dir() else [path])]
    names = [str(file.relative_to(ROOT)) for file in each]
    size = PIECE if version.endswith("t") else len(names)
    return [names[n : n + size] for n in range(0, len(names), size)]


def python_in(version: str) -> str:
    """The interpreter of an environment."""
    return str(ROOT / ".nox" / f"{version.replace('.', '-')}-env" / "bin" / "python")


def named(session: nox.Session) -> list[str]:
    """The arguments, where they name anything: `make test-NAME` gives `tests` for all."""
    return [] if session.posargs == ["tests"] else session.posargs


def changed(session: nox.Session, what: str, *files: Path) -> Path | None:
    """Where to note that `what` has been done with these files; None if that has been noted already."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file} {file.stat().st_size}\n".encode() + file.read_bytes())
    note = Path(session.virtualenv.location) / f"{what}-{digest.hexdigest()[:16]}"
    if note.exists():
        return None
    for old in note.parent.glob(f"{what}-*"):
        old.unlink()
    return note


def environment(session: nox.Session, version: str) -> None:
    """Tools for the tests, and gort."""
    main = version == MAIN
    needs = [*nox.project.dependency_groups(PYPROJECT, *(["dev"] if main else ["build", "test"]))]
    if main:
        needs += PYPROJECT["project"]["optional-dependencies"]["xray"]
    if note := changed(session, "tools", ROOT / "pyproject.toml", Path(__file__)):
        # hypothesis is compiled, and not for every interpreter; there an older one will do.
        session.install("--only-binary", "hypothesis", *needs)
        note.touch()
    settings = [ROOT / "pyproject.toml", ROOT / "setup.py"]
    if not main:
        sources = sorted(f for f in (ROOT / "src").rglob("*") if f.suffix in (".py", ".pxd", ".pyi", ".h", ".go"))
        if note := changed(session, "gort", *settings, *sources):
            session.install("--no-build-isolation", "--force-reinstall", "--no-deps", ".")
            session.install(*PYPROJECT["project"]["dependencies"])
            note.touch()
    elif note := changed(session, "gort", *settings):
        session.install("--no-build-isolation", "--editable", ".")
        note.touch()
    else:
        session.run("python", "setup.py", "--quiet", "build_ext", "--inplace", env={"GORT_PURE": None})


def tests(session: nox.Session, version: str, part: str) -> None:
    """The tests of one session. Arguments go to pytest: `nox -s 3.11-pure -- tests/test_chan.py`."""
    core, marks = parts(version)[part]
    python = python_in(version)
    # `go`, which the tests of fidelity need, is in the main environment alone: it is large.
    path = os.pathsep.join([str(Path(python).parent), str(Path(python_in(MAIN)).parent), os.environ["PATH"]])
    env = {"GORT_PURE": "" if core == "compiled" else "1", "PATH": path, "PYTHON": None}
    # The tests start a thousand processes. Each would compile gort's files again if none might leave its bytecode.
    env["PYTHONDONTWRITEBYTECODE"] = None
    ask = "import gort, sys; print(gort.runtime.compiled, getattr(sys, '_is_gil_enabled', lambda: True)())"
    found = str(session.run(python, "-c", ask, env=env, external=True, silent=True)).split()
    if found != [str(core == "compiled"), str(not version.endswith("t"))]:
        session.error(f"gort is compiled: {found[0]}, the GIL is on: {found[1]}; see the build's output (make build)")
    # The log, for the last lines of `make test`: sessions that run side by side end in any order.
    log = ROOT / ".nox" / f"{version}-{part}.log"
    log.unlink(missing_ok=True)
    tee = 'set -o pipefail; log=$1; shift; "$@" 2>&1 | tee -a "$log"'
    pieces = [named(session)]
    if not named(session):
        env["GORT_TEST_HALF"] = "1"  # tests/conftest.py
        if version != MAIN:
            env["GORT_TEST_EITHER"] = "1"
        pieces = in_pieces(version, of_marks(marks))
    failed = False
    for piece in pieces:
        if not named(session):  # a file has their names, so that the log need not
            names = log.with_suffix(".files")
            names.write_text("\n".join(piece))
            piece = [f"@{names}"]
        pytest = [python, "-m", "pytest", "-q", "-m", marks, *piece]
        try:  # 5: all tests that were named are another session's
            session.run("bash", "-c", tee, "tests", str(log), *pytest, env=env, external=True, success_codes=[0, 5])
        except CommandFailed:
            failed = True  # the others are run all the same
    if failed:
        session.error(f"tests failed: {log.relative_to(ROOT)}")


for _version, _python in PYTHONS.items():
    # Tagged as the tests are, so that all builds come before the first test: nothing else runs beside a build.
    _tag = "pythons" if _version in FURTHER else "test"

    @nox.session(name=f"{_version}-env", python=_python, tags=[_tag], allow_parallel=False)
    def _environment(session: nox.Session, version: str = _version) -> None:
        """What the sessions of this interpreter run in."""
        environment(session, version)


# Sessions that run side by side start in this order. The longest come first, so that none of them is left over at the
# end, when it would run alone: those without the GIL take twice as long as the others.
for _version in (*FREE, *(version for version in PYTHONS if version not in FREE)):
    _tag = "pythons" if _version in FURTHER else "test"
    for _part in parts(_version):

        @nox.session(
            name=f"{_version}-{_part}",
            venv_backend="none",
            requires=[f"{MAIN}-env", f"{_version}-env"],
            tags=[_tag],
            allow_parallel=True,
        )
        def _tests(session: nox.Session, version: str = _version, part: str = _part) -> None:
            """The tests of one core on this interpreter, or a part of them (the head of noxfile.py says which)."""
            tests(session, version, part)


@nox.session(venv_backend="none", requires=[f"{MAIN}-env"], tags=["test"], allow_parallel=True)
def lint(session: nox.Session) -> None:
    """ruff, mypy and pyright, in the main environment; zizmor for the workflow files."""
    python = python_in(MAIN)
    files = ("src", "tests", "examples", "scripts", "setup.py", "noxfile.py")
    session.run(python, "-m", "ruff", "check", "--quiet", *files, external=True)
    session.run(python, "-m", "ruff", "format", "--check", "--quiet", *files, external=True)
    session.run(python, "-m", "mypy", external=True)
    session.run(python, "-m", "pyright", "--pythonpath", python, external=True)
    session.run(python, "scripts/verifytypes.py", external=True)
    session.run(str(Path(python).parent / "zizmor"), "--offline", "--quiet", ".github", external=True)


@nox.session(python=PYTHONS[MAIN])
def docs(session: nox.Session) -> None:
    """The documentation as a site, in build/site. Fails at a warning: a link that leads nowhere, a page in no menu."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "docs"))
    # With --quiet mkdocs does not count the warnings.
    session.run("python", "-m", "mkdocs", "build", env={"NO_MKDOCS_2_WARNING": "1"})


def need_free(session: nox.Session) -> None:
    if not FREE:
        session.error("no free-threaded CPython found: make freethreaded")


@nox.session(name="freethreaded-env", venv_backend="none", requires=[f"{version}-env" for version in FREE[:1]])
def freethreaded_env(session: nox.Session) -> None:
    """What the sessions of the free-threaded interpreter run in."""
    need_free(session)


@nox.session(venv_backend="none", requires=[f"{version}-{part}" for version in FREE[:1] for part in parts(version)])
def freethreaded(session: nox.Session) -> None:
    """The tests of both cores on the free-threaded interpreter."""
    need_free(session)


@nox.session(venv_backend="none", requires=[f"{version}-env" for version in (MAIN, *FREE[:1])])
def anywhere(session: nox.Session) -> None:
    """The tests of network, files, processes and loops on poll and on select, on both cores, on poll without the GIL too;
    and the core compiled as if this were not Linux. Not part of the matrix: tests/test_anywhere.py is."""
    python = python_in(MAIN)
    runs = [(MAIN, "poll", ""), (MAIN, "poll", "1"), (MAIN, "select", "")]
    runs += [(version, "poll", core) for version in FREE[:1] for core in ("", "1")]
    failed = []
    for version, how, core in runs:
        env = {"GODEBUG": f"netpoll={how}", "GORT_PURE": core}
        # It opens more descriptors than select has room for.
        left_out = ["--deselect=tests/net/test_http_load.py::test_httpd_holds_very_many_connections"]
        left_out = left_out if how == "select" else []
        pytest = [python_in(version), "-m", "pytest", "-q", "-m", OF_CORES, *left_out]
        pieces = [named(session)]
        if not named(session):
            pieces = in_pieces(version, ["tests/net", "tests/aio/test_aio_loop.py", "tests/test_signal.py"])
        for piece in pieces:
            try:  # 5: all tests of this piece are left out
                session.run(*pytest, *piece, env=env, external=True, success_codes=[0, 5])
            except CommandFailed:
                failed.append(
                    f"{version}, {how}, {'uncompiled' if core else 'compiled'}"
                )  # the others run all the same
    copy = ROOT / ".nox" / "without-linux"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("*.so", "*.marshal", "__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, copy / name)
    env = {
        "GORT_CFLAGS": "-U__linux__ -U__linux -Ulinux -DGORT_NO_EPOLL",
        "GORT_REQUIRE_COMPILED": "1",
        "GORT_PURE": None,
    }
    with session.chdir(copy):
        session.run(python, "setup.py", "--quiet", "build_ext", "--inplace", env=env, external=True)
    core_tests = [f"tests/test_{name}.py" for name in ("chan", "sync", "group", "context", "timers", "mn", "anywhere")]
    env = {"PYTHONPATH": str(copy / "src"), "GORT_PURE": None}
    # There is no epoll, whatever the setting says.
    pytest = [python, "-m", "pytest", "-q", "-k", "not Netpoll", *core_tests, "tests/net/test_conn.py"]
    session.run(*pytest, env=env, external=True)
    if failed:
        session.error(f"tests failed: {'; '.join(dict.fromkeys(failed))}")


@nox.session(venv_backend="none", requires=[f"{version}-env" for version in (MAIN, *FREE[:1])])
def again(session: nox.Session) -> None:
    """The tests again and again on busy processors; not part of the matrix."""
    session.run(python_in(MAIN), "scripts/test-again.py", *session.posargs, external=True)


@nox.session(venv_backend="none", requires=[f"{MAIN}-env"])
def memory(session: nox.Session) -> None:
    """The core's tests under tools that watch memory. A quarter of an hour: not part of the matrix."""
    python = python_in(MAIN)
    debug = shutil.which(f"python{MAIN}-dbg") or ""
    env = {"PYTHON": python, "GORT_DEBUG_PYTHON": debug, "GORT_MEMORY_OPS": os.environ.get("GORT_MEMORY_OPS", "100000")}
    session.run(python, "-m", "pytest", "-q", "tests/memory", env=env, external=True)
    for mode in ("debug", "asan"):
        session.run("scripts/test-sanitized.sh", mode, env=env, external=True)


@nox.session(python=PYTHONS[MAIN], requires=[f"{MAIN}-env"])
def web(session: nox.Session) -> None:
    """Real applications on gort serve, and hostile clients of it. Not part of the matrix."""
    groups = nox.project.dependency_groups(PYPROJECT, "build", "webapps", "web")
    session.install(*groups, *PYPROJECT["project"]["dependencies"], "h11", "wsproto", "h2")
    env = {"PYTHONPATH": str(ROOT / "src"), "GORT_PURE": None}  # the core that the main environment has compiled there
    session.run("python", "scripts/web_applications.py", env=env)
    session.run("python", "scripts/hostile_clients.py", env=env)


if "3.13t" in PYTHONS:

    @nox.session(venv_backend="none", requires=["3.13t-env"])
    def tsan(session: nox.Session) -> None:
        """Some of the core's tests under ThreadSanitizer, on a CPython that is built for it."""
        session.run("scripts/build-freethreaded.sh", "--tsan", external=True)
        session.run("scripts/test-sanitized.sh", "tsan", env={"PYTHON": python_in("3.13t")}, external=True)
