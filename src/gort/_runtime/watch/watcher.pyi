# Types of watcher.py for type checkers; see core/runtime2.pyi.
from typing import Any, final

WATCHING: bool

@final
class Watcher:
    found: Any
    tick: int
    mid: int
    since: int
    rests: int
    looked: int
    does: int
    asked: int
    calm: int
    vain: int
    def sleep(self, s: Any, ns: int) -> None: ...
