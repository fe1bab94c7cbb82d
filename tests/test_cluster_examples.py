"""The examples of gort.cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support import ROOT, dose


def test_the_words_of_a_file_are_counted_on_all_nodes(tmp_path: Path) -> None:
    """examples/wordcount.py: each line once, also where a part of the file ends in the middle of one."""
    text = tmp_path / "text"
    lines = dose(100_000)
    text.write_text("".join(f"The fox {i % 7} saw\n" for i in range(lines)))
    program = [sys.executable, str(ROOT / "examples" / "wordcount.py"), str(text)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(program, env=env, stdout=subprocess.PIPE, text=True, timeout=120, check=True)
    assert done.stdout.splitlines()[:3] == [f"{lines} fox", f"{lines} saw", f"{lines} the"]
