# Types of select.py for type checkers; see runtime2.pyi. The value's type cannot follow from an index that is only
# known at run time, so it is Any.
from collections.abc import Generator
from typing import Any

from gort._runtime.wait.chan import ChanOp
from gort._runtime.core.runtime2 import Op

class SelectOp(Op):
    def __await__(self) -> Generator[Any, Any, tuple[int, Any, bool]]: ...

def select(*cases: ChanOp[Any] | None, default: bool = False) -> SelectOp: ...
def __getattr__(name: str) -> Any: ...
