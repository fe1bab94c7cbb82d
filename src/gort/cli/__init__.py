"""The command `gort`: `main` hands its arguments to the group of commands (_group.py).

All but one: an ordinary `gort xray` is run without click (_xray.py), whose import is a tenth of the time that the whole
command may take. Whatever is not ordinary there (help, a mistake, a rare option) goes the way of all commands.

Invariant: nothing here imports gort's runtime; `gort run` decides itself when the runtime is booted.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def main(args: list[str] | None = None) -> Any:
    """The console script. Ends the process with the command's exit status."""
    given = sys.argv[1:] if args is None else args
    if given[:1] == ["xray"] and os.name == "posix":
        from gort.cli import _xray

        options = _xray.ordinary(given[1:])
        if options is not None:
            _xray.run(**options)
    from gort.cli._group import group

    return group.main(args=args, prog_name="gort")
