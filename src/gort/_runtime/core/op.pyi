# Types of op.py for type checkers; see runtime2.pyi.
from collections.abc import Generator
from typing import Any

from gort._runtime.core.runtime2 import Op

WAIT_ASYNCIO: int
WAIT_BLOCKING: int
WAITREASON: dict[int, str]

class GoschedOp(Op):
    def __await__(self) -> Generator[Any, Any]: ...

def set_task_await(fn: Any, g_of: Any) -> None: ...
def scopes_of(m: Any) -> Any: ...
def gosched() -> GoschedOp: ...
def __getattr__(name: str) -> Any: ...
