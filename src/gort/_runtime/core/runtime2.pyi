# Types of runtime2.py for type checkers. The module is in Cython's pure Python mode and has its C types in
# runtime2.pxd, which no checker reads; the structures are left untyped here.
from typing import Any, final

READY: int
PARK: int
MCALL_YIELD: int
MCALL_PASS: int
OP_PARKED: int
MCALL_EXIT: int
SCOPE_IDLE: int
SCOPE_RAISED: int

@final
class Note:
    def sleep(self, timeout: float = -1.0) -> bool: ...
    def wakeup(self) -> None: ...
    def clear(self) -> None: ...

@final
class Scope:
    g: Any
    exc: BaseException | None
    state: int
    shield: bool

class Op:
    kind: int
    state: int
    success: int
    index: int
    when: int
    g: Any
    c: Any
    elem: Any
    next: Any
    prev: Any
    sel: Any
    def begin(self, g: Any) -> int: ...
    def finish(self) -> Any: ...
    def abort(self) -> bool: ...
    def cancelled(self, exc: BaseException) -> None: ...
    def undo(self) -> None: ...
    def reason(self) -> int: ...
    def owner(self) -> int: ...
    def about(self) -> str: ...

def __getattr__(name: str) -> Any: ...
