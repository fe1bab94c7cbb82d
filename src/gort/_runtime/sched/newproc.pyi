# Types of newproc.py for type checkers. The module is in Cython's pure Python mode and has its C types in newproc.pxd,
# which no checker reads; what only the runtime's own files use is left untyped here.
from collections.abc import Callable
from typing import Any, ParamSpec

_P = ParamSpec("_P")

class Done:
    panics: bool
    def finished(self, goid: int, value: Any, exc: BaseException | None) -> None: ...
    def abandoned(self, goid: int) -> None: ...

def go(fn: Callable[_P, object], /, *args: _P.args, **kwargs: _P.kwargs) -> None: ...
def __getattr__(name: str) -> Any: ...
