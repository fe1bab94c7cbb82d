"""Stacks of goroutines as text, in the shape of Go's dumps.  Follows Go's runtime/traceback.go.

Innermost frame first; gort's own frames are left out.  Nothing here takes a lock that it might wait for: a dump must
work when everything else hangs.
"""

from __future__ import annotations

import os
import sys
from gort.runtime.debugvars import gil_enabled
from gort.runtime.runtime2 import GSTATUS, WAITREASON, peek

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, FrameType, TracebackType
    from typing import Any

HIDDEN = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_Gdead = 6
_Gidle = 0
_Gwaiting = 4
_Grunning = 2
_Gsyscall = 3


def hidden(code: CodeType) -> bool:
    """Whether this is gort's own code."""
    return code.co_filename.startswith(HIDDEN)


def line_of(code: CodeType, lasti: int) -> int:
    """The line of an instruction offset."""
    line = code.co_firstlineno
    for start, end, number in code.co_lines():
        if start <= lasti < end and number is not None:
            return number
    return line


def function_name(code: CodeType, module: str | None) -> str:
    """package.function as Go writes it; __main__ is main."""
    name = code.co_qualname.replace(".<locals>", "")
    if module == "__main__":
        module = "main"
    return f"{module}.{name}" if module else name


def awaited(coro: Any) -> list[tuple[str, str, int]]:
    """The frames of a suspended coroutine, innermost first: (function, file, line)."""
    frames: list[tuple[str, str, int]] = []
    seen = 0
    while coro is not None and seen < 1000:
        seen += 1
        frame = getattr(coro, "cr_frame", None) or getattr(coro, "gi_frame", None) or getattr(coro, "ag_frame", None)
        if frame is not None and not hidden(frame.f_code):
            frames.append(_entry(frame))
        coro = getattr(coro, "cr_await", None) or getattr(coro, "gi_yieldfrom", None) or getattr(coro, "ag_await", None)
    frames.reverse()
    return frames


def _entry(frame: FrameType) -> tuple[str, str, int]:
    code = frame.f_code
    return function_name(code, frame.f_globals.get("__name__")), code.co_filename, frame.f_lineno or code.co_firstlineno


def running(ident: int) -> list[tuple[str, str, int]]:
    """The frames of what a thread runs now, innermost first, up to the scheduler."""
    frame: FrameType | None = sys._current_frames().get(ident)
    frames: list[tuple[str, str, int]] = []
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith("gort.runtime."):
            if frames:
                break
        elif not hidden(frame.f_code):
            frames.append(_entry(frame))
        frame = frame.f_back
    return frames


def raised(tb: TracebackType | None) -> list[tuple[str, str, int]]:
    """The frames of a traceback, innermost first."""
    frames: list[tuple[str, str, int]] = []
    while tb is not None:
        code = tb.tb_frame.f_code
        if not hidden(code):
            frames.append((function_name(code, tb.tb_frame.f_globals.get("__name__")), code.co_filename, tb.tb_lineno))
        tb = tb.tb_next
    frames.reverse()
    return frames


def render(frames: list[tuple[str, str, int]]) -> str:
    """Frames as Go prints them."""
    return "".join(f"{name}(...)\n\t{file}:{line}\n" for name, file, line in frames)


def created_by(code: CodeType | None, lasti: int, parent: int) -> str:
    """The line that says which go statement made a goroutine."""
    if code is None:
        return ""
    where = f"\t{code.co_filename}:{line_of(code, lasti)}\n"
    return f"created by {code.co_qualname.replace('.<locals>', '')} in goroutine {parent}\n{where}"


def goroutine(g: Any, mark: str | None = None) -> str:
    """One goroutine of a dump: number, state, stack, creator."""
    status = g.status
    coro, op, fn, code = peek(g)
    state = mark or GSTATUS.get(status, str(status))
    if mark is None and status == _Gwaiting and op is not None:
        try:
            state = WAITREASON.get(op.reason(), "waiting") or "waiting"
        except Exception:  # the operation finished under our eyes
            state = "waiting"
    if g.lockedm is not None:
        state += ", locked to thread"
    frames: list[tuple[str, str, int]] = []
    if status in (_Grunning, _Gsyscall):
        for m in list(g.sched.allm):
            if m.curg is g:
                frames = running(m.ident)
                break
    frames = frames or awaited(coro)
    if not frames and (its := getattr(fn, "__code__", None)) is not None:
        frames = [(function_name(its, getattr(fn, "__module__", None)), its.co_filename, its.co_firstlineno)]
    return f"goroutine {g.goid} [{state}]:\n{render(frames)}{created_by(code, g.golasti, g.parentgoid)}"


def dump(s: Any, first: Any = None) -> str:
    """Every goroutine of a runtime, `first` first."""
    parts = [] if first is None else [goroutine(first)]
    for g in list(s.allgs):
        if g is first or g.system or g.status in (_Gdead, _Gidle):
            continue
        parts.append(goroutine(g))
    return "\n".join(parts)


def gil_note() -> str:
    """One line on the build, for dumps."""
    return f"python {sys.version.split()[0]}, GIL {'on' if gil_enabled() else 'off'}"
