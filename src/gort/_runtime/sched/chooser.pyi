# Types of chooser.py for type checkers; see core/runtime2.pyi.
from typing import Any, final

REPLAY: int
RANDOM: int
PCT: int
RUNNING: int
ENDED: int
ASLEEP: int
ENDLESS: int

@final
class Chooser:
    begun: Any
    forced: Any
    limit: int
    observer: Any
    over: int
    position: int
    record: list[int] | None
    returned: bool
    steps: int
    def reset(
        self, m: Any, how: int, seed: int, deviations: dict[int, int] | None, interrupt: int, falls: object
    ) -> None: ...
    def run(self, m: Any) -> int: ...
    def before(self, m: Any, op: Any) -> bool: ...
    def after(self, m: Any, op: Any) -> bool: ...
    def reuse(self, m: Any, g: Any) -> None: ...
    def clear(self, m: Any) -> None: ...
