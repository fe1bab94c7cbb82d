"""The programs in the README and the guides run as they stand, and print what their comments say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from support import PATIENCE_S, ROOT

FILES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("guide-*.md"))]
BLOCKS = [
    (f"{file.name}:{number}", block)
    for file in FILES
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```$", file.read_text(), re.M | re.S))
]


@pytest.mark.parametrize("block", [b for _, b in BLOCKS], ids=[name for name, _ in BLOCKS])
def test_a_program_of_the_documentation(block: str, tmp_path: Path) -> None:
    assert "gort.run(main)" in block
    file = tmp_path / "program.py"
    file.write_text(block)
    done = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for said in re.findall(r"print\(.*\)  # (\S.*?)(?:: .*)?$", block, re.M):
        assert said in done.stdout


def test_links_lead_somewhere() -> None:
    for file in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        prose = re.sub(r"^```.*?^```$|`[^`\n]*`", "", file.read_text(), flags=re.M | re.S)
        for target in re.findall(r"\]\(([^)#]+)\)", prose):
            if not target.startswith(("http://", "https://")):
                assert (file.parent / target).exists(), f"{file.name}: {target}"
