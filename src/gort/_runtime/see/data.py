"""Stacks, go statements and states as plain data, for looks (looks.py) and the objects in them (objects.py).

What does not live here: who is looked at, and when.
"""

from __future__ import annotations

from gort._runtime.core import traceback
from gort._runtime.core.runtime2 import _Gwaiting
from gort._runtime.core.traceback import GSTATUS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FRAMES_MAX = 12  # so many frames of a stack, the innermost


def stack_of(frames: Any) -> list[list[Any]]:
    """Frames as data: [function, file, line], the innermost first."""
    return [[name, file, line] for name, file, line in frames[:FRAMES_MAX]]


def maker(code: Any, lasti: int) -> list[Any]:
    """The go statement: [function, file, line]; empty if it is unknown, or gort's own."""
    if code is None or traceback.hidden(code):
        return []
    name = traceback.function_name(code, traceback.module_of(code))
    return [name, traceback.plain(code.co_filename), traceback.line_of(code, lasti)]


def state_of(group: Any) -> str:
    """The state of a census's group, in Go's words."""
    if group.status == _Gwaiting:
        return traceback.in_words(group.reason)
    return str(GSTATUS.get(group.status, group.status))


def status_of(g: Any) -> str:
    """The state of a goroutine, in Go's words."""
    if g.status == _Gwaiting:
        return traceback.wait_reason(g, "waiting")
    return str(GSTATUS.get(g.status, g.status))
