"""rich, for the tables of `--vs-gort` and `gort bench xray`; the report itself does without it (paper.py)."""

from __future__ import annotations

from gort.xray.errors import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rich.console import Console


def escape(text: str) -> str:
    """Text out of the file for rich: neither its markup nor a terminal's control characters have any effect."""
    from rich.markup import escape as escape_markup

    return escape_markup(printable(text, "\n\t"))


def make_console() -> Console:
    """For the terminal's width; 160 columns where the output is no terminal (rich would cut at 80)."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=160)
