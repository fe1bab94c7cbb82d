"""The table that shows who did what in a schedule that fails.

The chooser tells of each operation that a goroutine begins and of each goroutine that it lets run; the table has a line
for both, with the place in the program.

What does not live here: the schedules (search.py, schedule.py).
"""

from __future__ import annotations

import linecache
import sys
from types import FrameType
from typing import Any

from gort._runtime.core.runtime2 import _Gwaiting
from gort._runtime.core.traceback import hidden

LINES = 60  # of a longer schedule the table shows the last so many


class Interleaving:
    """Collects the lines of one schedule."""

    def __init__(self, chooser: Any) -> None:
        self.chooser = chooser
        self.rows: list[list[str]] = []  # goroutine, place, source, what came of it
        self.goid: int = 0  # the goroutine that ran last
        self.names: dict[int, str] = {}

    def operation(self, goid: int, op: Any) -> None:
        """The goroutine that runs, goid, begins op."""
        place, source = where(sys._getframe(1))
        self.rows.append([self.names.get(goid, f"{goid}"), place, source, ""])

    def runs(self, g: Any) -> None:
        """g runs from now on."""
        goid: int = g.goid
        new = goid not in self.names
        if new:
            self.names[goid] = f"{goid} {name_of(g)}"
        if self.goid != goid or new:
            place, source = where(innermost(g.coro))
            self.rows.append([self.names[goid], place, source, "starts" if new else "goes on"])
        self.goid = goid

    def stopped(self, g: Any) -> None:
        """g, which has run, does not run any more: says why."""
        if g.goid != self.goid:
            how = "ends"
        elif g.status == _Gwaiting:
            how = "waits"
        elif self.goid in self.chooser.begun:
            how = "interrupted before it"
        elif self.chooser.forced is None:
            how = "yields"
        else:
            how = "interrupted after it"
        row = self.rows[-1]
        row[3] = f"{row[3]}, {how}" if row[3] else how

    def over(self, exc: BaseException | None) -> None:
        """The schedule is over, with exc."""
        if exc is not None and self.rows:
            self.rows[-1][3] += f"; then {type(exc).__name__}"

    def table(self) -> str:
        """The table as text."""
        rows = self.rows[-LINES:]
        left = len(self.rows) - len(rows)
        numbered = [[str(n), *row] for n, row in enumerate(rows, left + 1)]
        head = ["", "goroutine", "where", "what", ""]
        widths = [max(len(row[i]) for row in [head, *numbered]) for i in range(len(head) - 1)]
        lines = [
            "  ".join([row[0].rjust(widths[0]), *(row[i].ljust(widths[i]) for i in (1, 2, 3)), row[4]]).rstrip()
            for row in [head, *numbered]
        ]
        if left:
            lines.insert(1, f"(the first {left} lines are left out)")
        return "\n".join(lines)


def name_of(g: Any) -> str:
    """The name of the goroutine's function."""
    if g.coro is not None:
        return str(getattr(g.coro, "__name__", "?"))
    return str(getattr(g.fn, "__name__", "?"))


def innermost(coro: Any) -> FrameType | None:
    """The innermost frame of a suspended coroutine that is not gort's own."""
    found = None
    while coro is not None:
        frame = getattr(coro, "cr_frame", None)
        if frame is not None and not hidden(frame.f_code):
            found = frame
        coro = getattr(coro, "cr_await", None)
    return found


def where(frame: FrameType | None) -> tuple[str, str]:
    """`file:line` and the text of that line, for the innermost frame from this one on that is not gort's own."""
    while frame is not None and hidden(frame.f_code):
        frame = frame.f_back
    if frame is None:
        return "", ""
    file, line = frame.f_code.co_filename, frame.f_lineno
    short = file.replace("\\", "/").rpartition("/")[2]
    return f"{short}:{line}", linecache.getline(file, line).strip()[:60]
