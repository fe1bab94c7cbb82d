# Types of stacks.py for type checkers, as runtime2.pyi.
from collections.abc import Callable
from types import CodeType
from typing import Any

_Kept = tuple[CodeType, int, int, list[tuple[int, str, int]]]
_Frames = list[tuple[CodeType, int, dict[str, Any]]]  # code, offset of the instruction, globals; the innermost first

class Wanted:
    op: Any
    c: object
    count: int

class Group:
    count: int
    g: Any
    goids: list[int]
    members: list[Any]
    status: int
    reason: int
    since: int
    locked: bool
    code: CodeType | None
    lasti: int
    parent: int
    runs: bool
    frames: Any
    text: Any
    wanted: list[Wanted]
    others: int
    def absorb(self, other: Group) -> None: ...

def stacks(gs: list[Any], ms: list[Any]) -> list[tuple[_Frames | None, _Frames | None]]: ...
def kept(gs: list[Any]) -> list[list[_Kept] | None]: ...
def thread_frames(ident: int) -> _Frames: ...
def census(gs: list[Any], ms: list[Any], without: Any, read: Callable[[Any], list[Any]]) -> list[Group]: ...
def owners(gs: list[Any]) -> set[int]: ...
def holders(gs: list[Any]) -> list[tuple[Any, int, Any, int, tuple[tuple[int, int], ...]]]: ...
