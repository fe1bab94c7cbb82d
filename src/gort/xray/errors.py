"""The exception of xray, and what has to do with it: text that is safe to print, libraries that may be missing.

Everything that reads or emulates a file raises `XrayError`, and nothing else, for bad input. The command turns it into
one line on standard error and exit status 2. The text names the mistake and, where there is one, the remedy.

Rejected: a class for each file format. No caller tells them apart; the text does.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType


class XrayError(Exception):
    """The file cannot be read or followed. The text is one line that says why, and what helps.

    Names out of the file may be part of the text. What would break the line or steer a terminal in them is escaped.
    """

    def __init__(self, text: str) -> None:
        super().__init__(printable(text))


class LimitError(XrayError):
    """A limit of the user's was exceeded: the report was made, and the exit status is 1."""


def printable(text: str, keep: str = "") -> str:
    """Returns the text with an escape for every character that is not printable and not in `keep`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode("ascii") for c in text)


def require(module: str) -> ModuleType:
    """Import a library of the extra. Raises `XrayError`, which says how to get it, when it is missing."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as exc:
        top = module.partition(".")[0]
        raise XrayError(f"the {top!r} library is missing: pip install 'gort[xray]' ({exc})") from exc
