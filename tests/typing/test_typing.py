"""The public API as a type checker sees it: mypy --strict on example.py finds exactly what it should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT

pytestmark = [pytest.mark.lint, pytest.mark.timeout(300)]


def test_public_names_are_typed(tmp_path: Path) -> None:
    """Chan[int], results of groups, blocking, wait and run; mistakes are found where they are made."""
    pytest.importorskip("mypy")
    file = Path(__file__).with_name("example.py")
    options = ["--strict", "--no-error-summary", "--cache-dir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(file)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"MYPYPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"},
        timeout=250,
    )
    ours = [line for line in done.stdout.splitlines() if "example.py" in line]
    assert ours == [], done.stdout
    assert done.returncode in (0, 1), done.stderr
