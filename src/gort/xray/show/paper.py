"""Paper to print the report on: lines with a few styles, and trees, for a terminal or a file.

Prints what rich would print for the same lines and trees; the tests compare them, character by character. To import
rich, and to have it render the tree of a boot, takes 80 ms, two fifths of the way from the command to runtime.main. The
tables of `--vs-gort` and `gort bench xray` are rich's (tables.py).

A style is the terminal's own code inside the text (`bold("x")`). Styles are not put into each other. Where the output is
no terminal, or the user wants no styles, the codes are taken out again. Text out of the file has to come through
`plain`, which leaves no control character in it; so nothing in a file can look like a style.

Invariants: a line is never wider than the paper, unless it is printed with `wrap=False`. A style ends where its line
does.
"""

from __future__ import annotations

import os
import sys

from gort.xray.errors import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

_NARROW = frozenset(map(chr, range(32, 127))) | frozenset("–→×·…µ│├└─")
_WIDTH_OF_FILES = 160
"""Columns where the output is no terminal."""

_GUIDES = ("    ", "│   ", "├── ", "└── ")
_ASCII_GUIDES = ("    ", "|   ", "+-- ", "`-- ")


def plain(text: str) -> str:
    """Returns text out of a file without its control characters, except for line ends and tabs."""
    return printable(text, "\n\t")


def _style(code: int, text: str) -> str:
    if "\n" in text:
        return "\n".join([_style(code, line) for line in text.split("\n")])
    return f"\x1b[{code}m{text}\x1b[0m" if text else ""


def bold(text: str) -> str:
    """Returns the text in bold."""
    return _style(1, text)


def dim(text: str) -> str:
    """Returns the text dimmed."""
    return _style(2, text)


def italic(text: str) -> str:
    """Returns the text in italics."""
    return _style(3, text)


def green(text: str) -> str:
    """Returns the text in green."""
    return _style(32, text)


def yellow(text: str) -> str:
    """Returns the text in yellow."""
    return _style(33, text)


def blue(text: str) -> str:
    """Returns the text in blue."""
    return _style(34, text)


def magenta(text: str) -> str:
    """Returns the text in magenta."""
    return _style(35, text)


def cyan(text: str) -> str:
    """Returns the text in cyan."""
    return _style(36, text)


class Tree:
    """A label, of one line or several, and what hangs below it."""

    __slots__ = ("children", "label")

    def __init__(self, label: str) -> None:
        self.label: str = label
        self.children: list[Tree] = []

    def add(self, label: str) -> Tree:
        """Hang a new node below this one, behind the others. Returns it."""
        child = Tree(label)
        self.children.append(child)
        return child


class Paper:
    """Prints to a file. By default that is standard output, as wide as the terminal and in colour where it is one."""

    def __init__(self, file: TextIO | None = None, width: int | None = None, colour: bool | None = None) -> None:
        self.file: TextIO = sys.stdout if file is None else file
        terminal = _is_terminal(self.file)
        self.width: int = max(1, width if width is not None else _columns() if terminal else _WIDTH_OF_FILES)
        self.styles: bool = (terminal and _understands_codes()) if colour is None else colour
        """True when styles are printed at all."""
        self.colours: bool = not os.environ.get("NO_COLOR")
        """False when only bold, dim and italic are."""
        encoding = getattr(self.file, "encoding", None) or "utf-8"
        self._guides = _GUIDES if encoding.lower().startswith("utf") else _ASCII_GUIDES

    def _write(self, lines: list[str]) -> None:
        text = "\n".join(lines) + "\n"
        if not self.styles or not self.colours:
            text = _without_codes(text, fonts=self.styles)
        try:
            self.file.write(text)
        except UnicodeEncodeError:
            encoding = self.file.encoding
            self.file.write(text.encode(encoding, "replace").decode(encoding))

    def print(self, text: str = "", wrap: bool = True) -> None:
        """Print one line or several, folded at the paper's width unless `wrap` is False."""
        if wrap:
            self._write(list(_fold(text, self.width)))
        else:
            self._write([_tabs(line) for line in text.split("\n")])

    def tree(self, root: Tree) -> None:
        """Print a tree."""
        lines = list(_fold(root.label, self.width))
        self._branches(root, "", lines)
        self._write(lines)

    def _branches(self, node: Tree, prefix: str, lines: list[str]) -> None:
        blank, down, fork, end = self._guides
        room = self.width - len(prefix) - 4
        for child in node.children:
            last = child is node.children[-1]
            below = prefix + (blank if last else down)
            first = prefix + (end if last else fork)
            for line in _fold(child.label, room):
                lines.append(first + line)
                first = below
            if child.children:
                self._branches(child, below, lines)


def _is_terminal(file: TextIO) -> bool:
    compatible = os.environ.get("TTY_COMPATIBLE", "")
    if compatible in ("0", "1"):
        return compatible == "1"
    force = os.environ.get("FORCE_COLOR")
    if force is not None:
        return force != ""
    try:
        return file.isatty()
    except (AttributeError, ValueError):
        return False  # no file of the system, or a closed one


def _is_dumb() -> bool:
    return os.environ.get("TERM", "").strip().lower() in ("dumb", "unknown")


def _understands_codes() -> bool:
    if os.name == "nt":  # an old console would show the codes; the consoles that do not say so
        return "WT_SESSION" in os.environ or "ANSICON" in os.environ
    return not _is_dumb()


def _columns() -> int:
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit():
        return int(columns) or 80
    if not _is_dumb():
        for descriptor in (0, 1, 2):
            try:
                return os.get_terminal_size(descriptor).columns or 80
            except (AttributeError, ValueError, OSError):
                pass  # this one is no terminal
    return 80


def _cells(text: str) -> int:
    """Returns how many columns the text takes on a terminal."""
    if _NARROW.issuperset(text):
        return len(text)
    import unicodedata

    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _without_codes(text: str, fonts: bool = False) -> str:
    """Returns the text without styles, or only without colours (`fonts`: bold, dim and italic stay)."""
    if "\x1b" not in text:
        return text
    shown, *parts = text.split("\x1b[")
    out = [shown]
    inside = False
    for part in parts:
        code, _, shown = part.partition("m")
        begins = fonts and code in ("1", "2", "3")
        if begins or inside:
            out.append(f"\x1b[{code}m")
        inside = begins
        out.append(shown)
    return "".join(out)


def _tabs(line: str) -> str:
    """Returns the line with spaces for its tabs. Codes take no room."""
    if "\t" not in line:
        return line
    column = 0
    out: list[str] = []
    for i, part in enumerate(line.split("\x1b")):
        code, _, text = part.partition("m") if i else ("", "", part)
        out.append(f"\x1b{code}m" if i else "")
        for j, piece in enumerate(text.split("\t")):
            if j:
                out.append(" " * (8 - column % 8))
                column += 8 - column % 8
            out.append(piece)
            column += _cells(piece)
    return "".join(out)


def _fold(text: str, width: int) -> Iterator[str]:
    """Yields the lines of a text, each no wider than `width`, broken between words where there are any."""
    width = max(1, width)
    for line in text.split("\n"):
        line = _tabs(line)
        if len(line) <= width and _NARROW.issuperset(line):
            yield line
            continue
        bare = _without_codes(line)
        if _cells(bare) <= width:
            yield line
            continue
        yield from _pieces(line, bare, _breaks(bare, width), width)


def _words(line: str) -> Iterator[tuple[int, str]]:
    """Yields where each word starts, and the word with the spaces around it."""
    at, n = 0, len(line)
    while at < n:
        start = at
        while at < n and line[at] == " ":
            at += 1
        if at == n:
            return
        at = line.find(" ", at)
        at = n if at < 0 else at
        while at < n and line[at] == " ":
            at += 1
        yield start, line[start:at]


def _breaks(line: str, width: int) -> list[int]:
    """Returns where a line is broken: between words, and inside of those that are wider than a whole line."""
    out: list[int] = []
    used = 0
    for start, word in _words(line):
        size = _cells(word.rstrip())
        if width - used >= size:
            used += _cells(word)
        elif size > width:
            chunk = 0
            if start:
                out.append(start)
            for i, c in enumerate(word):
                n = _cells(c)
                if chunk + n > width:
                    out.append(start + i)
                    chunk = 0
                chunk += n
            used = chunk
        elif used and start:
            out.append(start)
            used = _cells(word)
    return out


def _pieces(line: str, bare: str, breaks: list[int], width: int) -> Iterator[str]:
    """Yields the pieces of a line with codes, cut where its bare text is cut. A style goes on behind the cut."""
    ends = [*breaks, len(bare)]
    kept = []
    for a, b in zip([0, *breaks], ends, strict=True):
        piece = bare[a:b]
        extra = len(piece) - width
        if extra > 0:  # only the spaces behind the last word may stand over the edge; they are not printed
            piece = piece[: len(piece) - min(extra, len(piece) - len(piece.rstrip()))]
        while _cells(piece) > width:
            piece = piece[:-1]
        kept.append(a + len(piece))
    at, number, style, out = 0, 0, "", ""
    for i, part in enumerate(line.split("\x1b[")):
        if i:
            code, _, part = part.partition("m")
            style = "" if code == "0" else f"\x1b[{code}m"
        while part:
            here = ends[number] - at
            shown = part[: max(0, min(len(part), kept[number] - at))]
            if shown:
                out += f"{style}{shown}\x1b[0m" if style else shown
            at += min(here, len(part))
            part = part[here:]
            if at == ends[number] and number + 1 < len(ends):
                yield out
                out, number = "", number + 1
    yield out
