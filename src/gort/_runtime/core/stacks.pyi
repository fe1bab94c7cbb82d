# Types of stacks.py for type checkers, as runtime2.pyi.
from types import CodeType
from typing import Any

Frames = list[tuple[CodeType, int, dict[str, Any]]]  # code, offset of the instruction, globals; the innermost first

def stacks(gs: list[Any], ms: list[Any]) -> list[tuple[Frames | None, Frames | None]]: ...
def thread_frames(ident: int) -> Frames: ...
