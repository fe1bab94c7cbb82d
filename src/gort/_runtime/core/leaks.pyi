# Types of leaks.py for type checkers, as runtime2.pyi.
from typing import Any

POSSIBLE: bool

def leaked(s: Any) -> list[Any]: ...
