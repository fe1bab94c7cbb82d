# Types of bulk.py for type checkers; see runtime2.pyi.
from typing import Any

from gort._runtime.wait.chan import ChanOp

class SendManyOp(ChanOp[int]):
    @property
    def sent(self) -> int: ...

def __getattr__(name: str) -> Any: ...
