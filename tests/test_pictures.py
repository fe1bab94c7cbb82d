"""The drawings of docs/pictures.md are those of their texts, and the boot's has the steps that the boot has."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from support import PATIENCE_S, ROOT, command

pytestmark = pytest.mark.once

PICTURES = ROOT / "docs" / "pictures"


def test_the_drawings_are_those_of_their_texts() -> None:
    """After a change: python scripts/pictures.py"""
    full = [sys.executable, str(ROOT / "scripts" / "pictures.py"), "--check"]
    done = subprocess.run(full, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    page = (ROOT / "docs" / "pictures.md").read_text()
    for text in PICTURES.glob("*.txt"):
        assert f"(pictures/{text.stem}.svg)" in page
        drawn = ElementTree.parse(text.with_suffix(".svg")).getroot()
        words = " ".join(part.text or "" for part in drawn.iter("{http://www.w3.org/2000/svg}text"))
        for word in re.findall(r"\w{5,}", text.read_text().partition("\n")[2].replace("lanes:", "")):
            assert word in words, word  # nothing of the text is left out
    assert len(list(PICTURES.glob("*.svg"))) == len(list(PICTURES.glob("*.txt"))) == 3


def test_the_steps_of_the_boot_are_those_of_gort_boot() -> None:
    """In their order, each within the step that it is drawn in."""
    done = subprocess.run(command("boot", "--json"), capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    real = [(step["name"], step["parent"]) for step in json.loads(done.stdout)["steps"]]
    drawn, above = [], ["", "", ""]
    for spaces, name in re.findall(r"^( *)step: (\w+):", (PICTURES / "boot.txt").read_text(), re.M):
        depth = len(spaces) // 2
        above[depth] = name
        drawn.append((name, above[depth - 1] if depth else None))
    assert len(drawn) > 10
    assert drawn == [step for step in real if step in drawn]
