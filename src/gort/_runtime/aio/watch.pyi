# Types of watch.py for type checkers: what gort.aio.loop builds on. See runtime2.pyi.
import selectors
from typing import Any, final

@final
class Watch:
    fileobj: Any
    def key(self) -> selectors.SelectorKey: ...

@final
class Watches:
    def __init__(self, ep: Any) -> None: ...
    def __len__(self) -> int: ...
    def find(self, fileobj: Any) -> Watch | None: ...
