# Types of bridge.py for type checkers: what gort.aio.calls builds on. See runtime2.pyi.
from typing import Any, final

from gort._runtime.core.runtime2 import Op

@final
class CallOp(Op):
    what: str

def make_call(loop: Any, coroutine: Any) -> Any: ...
