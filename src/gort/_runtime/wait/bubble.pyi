# Types of bubble.py for type checkers; see runtime2.pyi.
from collections.abc import Callable, Generator
from typing import Any

from gort._runtime.core.runtime2 import Op

class QuietOp(Op):
    def __await__(self) -> Generator[Any, Any]: ...

def wait() -> QuietOp: ...
def enter(s: Any, ended: Callable[[Any], None], vnow: int, wall: int) -> None: ...
