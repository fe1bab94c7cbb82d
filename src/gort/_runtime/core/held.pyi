# Types of held.py for type checkers, as runtime2.pyi.
from types import CodeType
from typing import Any

POSSIBLE: bool
FRAME: int
FUNCTION: int

_Stack = list[tuple[CodeType | None, int]]
_Sum = tuple[int, int, int, type, int, int]

def walked(gs: list[Any]) -> tuple[list[_Stack], list[_Sum]]: ...
