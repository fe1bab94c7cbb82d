"""rich, for the tables of `--vs-gort` and `gort bench xray`. The report itself does without it (paper.py)."""

from __future__ import annotations

from gort.xray.errors import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rich.console import Console


_WIDTH_OF_FILES = 160


def escape(text: str) -> str:
    """Returns text out of the file for rich, in which neither rich's markup nor control characters have any effect."""
    from rich.markup import escape as escape_markup

    return escape_markup(printable(text, "\n\t"))


def make_console() -> Console:
    """Returns a console as wide as the terminal; 160 columns where there is none (rich would take 80)."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=_WIDTH_OF_FILES)
