"""The report's own lines and trees (paper.py) are those that rich prints for the same, character by character."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text
from rich.tree import Tree as RichTree

from gort.xray.boot.follow import Options, xray
from gort.xray.show import paper, report
from gort.xray.show.paper import Paper, Tree

STYLES = {"1": "bold", "2": "dim", "3": "italic", "32": "green", "33": "yellow", "34": "blue", "35": "magenta",
          "36": "cyan"}  # fmt: skip


def as_rich(text: str) -> Text:
    out = Text()
    for i, part in enumerate(text.split("\x1b[")):
        code, _, shown = part.partition("m") if i else ("0", "", part)
        out.append(shown, STYLES.get(code))
    return out


def as_rich_tree(node: Tree) -> RichTree:
    out = RichTree(as_rich(node.label))
    todo = [(node, out)]
    while todo:
        ours, theirs = todo.pop()
        for child in ours.children:
            todo.append((child, theirs.add(as_rich(child.label))))
    return out


class Both:
    """Prints on paper and, the same, with rich."""

    def __init__(self, width: int, styles: bool, no_color: bool = False) -> None:
        self.paper = Paper(io.StringIO(), width, styles)
        self.paper.colours = not no_color
        self.rich = Console(
            file=io.StringIO(),
            width=width,
            force_terminal=styles,
            no_color=no_color,
            color_system="standard" if styles else None,
            legacy_windows=False,
            _environ={},
        )

    def print(self, text: str = "", wrap: bool = True) -> None:
        self.paper.print(text, wrap)
        self.rich.print(as_rich(text), highlight=False, soft_wrap=not wrap)

    def tree(self, root: Tree) -> None:
        self.paper.tree(root)
        self.rich.print(as_rich_tree(root), highlight=False)

    def check(self) -> None:
        assert self.paper.file.getvalue() == self.rich.file.getvalue()  # type: ignore[attr-defined]


def words(rng: random.Random) -> str:
    """Text of words, some too long for a line, some of characters that take two columns."""
    kinds = ("runtime.main", "x", "0x7ffe", "a" * 45, "日本語", "naïve→", "·", " ", "   ")
    return " ".join(rng.choice(kinds) for _ in range(rng.randrange(12)))


def styled(rng: random.Random) -> str:
    styles = (paper.bold, paper.dim, paper.italic, paper.green, paper.yellow, paper.blue, paper.magenta, paper.cyan)
    out = ""
    for _ in range(rng.randrange(5)):
        out += rng.choice((*styles, str))(words(rng)) + rng.choice((" ", "", ", ", "\t"))
    return out + ("\n" + paper.italic(words(rng)) if rng.random() < 0.3 else "")


@pytest.mark.parametrize("seed", range(40))
def test_lines_and_trees_are_richs(seed: int) -> None:
    rng = random.Random(seed)
    both = Both(rng.choice((50, 80, 160)), styles=bool(seed % 2), no_color=seed % 4 == 1)
    for _ in range(20):
        both.print(styled(rng), wrap=rng.random() < 0.7)
        root = Tree(styled(rng))
        nodes = [root]
        for _ in range(rng.randrange(8)):
            nodes.append(rng.choice(nodes[-3:]).add(styled(rng)))
        both.tree(root)
        both.check()


@pytest.mark.go
@pytest.mark.parametrize("styles", [False, True])
@pytest.mark.parametrize("width", [60, 100, 160])
def test_a_whole_report_is_what_rich_would_print(hello: Path, width: int, styles: bool) -> None:
    both = Both(width, styles)
    with xray(hello, Options(until="exit", cpus=2)) as result:
        report.print_report(result, both, disasm=True, full=True)  # type: ignore[arg-type]
    both.check()
    assert "runtime.schedinit" in both.paper.file.getvalue()  # type: ignore[attr-defined]


def test_what_is_written_to_is_asked_for_its_width_and_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True

    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "72")
    cases: list[tuple[str, str, bool, bool, int]] = [
        ("NO_COLOR", "", True, True, 72),
        ("NO_COLOR", "1", True, False, 72),
        ("FORCE_COLOR", "", False, True, 160),
        ("TTY_COMPATIBLE", "0", False, True, 160),
        ("TERM", "dumb", False, True, 72),
    ]
    for name, value, styles, colours, width in cases:
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            sheet = Paper(Terminal())
        assert (sheet.styles, sheet.colours, sheet.width) == (styles, colours, width), name
    assert not Paper(io.StringIO()).styles
    assert Paper(io.StringIO()).width == 160


def test_a_file_of_another_encoding_gets_what_it_can_hold() -> None:
    raw = io.BytesIO()
    sheet = Paper(io.TextIOWrapper(raw, encoding="ascii"))
    root = Tree("a → b")
    root.add("c")
    sheet.tree(root)
    sheet.file.flush()
    assert raw.getvalue() == b"a ? b\n`-- c\n"
