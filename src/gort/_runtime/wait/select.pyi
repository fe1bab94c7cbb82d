# Types of select.py for type checkers; see runtime2.pyi. The value is Any, because its type depends on the index, which
# is known only at run time.
from collections.abc import Generator
from typing import Any

from gort._runtime.wait.chan import ChanOp
from gort._runtime.core.runtime2 import Op

class SelectOp(Op):
    def __await__(self) -> Generator[Any, Any, tuple[int, Any, bool]]: ...

def select(*cases: ChanOp[Any] | None, default: bool = False) -> SelectOp: ...
def __getattr__(name: str) -> Any: ...
