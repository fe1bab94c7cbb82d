"""What can go wrong with a file: one exception, one line of text.

Everything that reads or emulates a file raises `XrayError` and nothing else for bad input; the command turns it into
one line on standard error and exit status 2. The text names the mistake and, where there is one, the remedy.

Rejected: one class per file format. No caller tells them apart; the text does.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType


class XrayError(Exception):
    """The file cannot be read or followed; the text is one line that says why and what helps.

    Names out of the file may be part of the text, so what would break the line or steer a terminal is escaped.
    """

    def __init__(self, text: str) -> None:
        super().__init__(printable(text))


def printable(text: str, keep: str = "") -> str:
    """The text with everything that is not printable, except for `keep`, written as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode("ascii") for c in text)


def require(module: str) -> ModuleType:
    """Import a library of the `xray` extra, or say how to get it. Raises `XrayError` when it is missing."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as exc:
        top = module.partition(".")[0]
        raise XrayError(f"gort xray needs the {top!r} library: pip install 'gort[xray]' ({exc})") from exc
