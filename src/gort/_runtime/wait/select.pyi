# Types of select.py for type checkers; see runtime2.pyi. The value is Any, because its type depends on the case, which
# is known only at run time.
from collections.abc import Awaitable, Generator
from typing import Any, overload

from gort._runtime.core.runtime2 import Op
from gort._runtime.wait.cases import Select
from gort._runtime.wait.chan import ChanOp

class SelectOp(Op):
    def __await__(self) -> Generator[Any, Any, tuple[int, Any, bool]]: ...

@overload
def select(  # type: ignore[overload-overlap]  # select() alone
    *cases: ChanOp[Any] | None, default: bool = False
) -> SelectOp: ...
@overload
def select(*cases: Awaitable[Any] | None, default: bool = False) -> Select[int]: ...
@overload
def select(*, default: bool = False, **named: Awaitable[Any] | None) -> Select[str]: ...
@overload
def select(
    *cases: Awaitable[Any] | None, default: bool = False, **named: Awaitable[Any] | None
) -> Select[int | str]: ...
def shuffled(n: int, m: Any) -> list[int]: ...
def __getattr__(name: str) -> Any: ...
