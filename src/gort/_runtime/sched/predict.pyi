# Types of predict.py for type checkers; see core/runtime2.pyi.
from collections import deque
from typing import Any, final

PLACES: int
LIKELY: int
SURE: int
FORGET_NS: int

@final
class Stretch:
    place: int
    away: bool
    fresh: bool
    locked: bool
    procid: int
    since: int
    cpu: int

@final
class Predictor:
    places: dict[int, int]
    fresh: list[Stretch]
    told: deque[tuple[int, int, int]] | None
    on: bool
    always: bool
    recent: int
    hits: int
    misses: int
    ns: int
    def __init__(self, s: Any, how: int, tells: bool) -> None: ...
    def tell(self) -> None: ...
    def learn(self, s: Any, place: int) -> None: ...
    def settle(self, asks: bool) -> None: ...
    def leave(self, m: Any, take: bool) -> int: ...
    def look_after(self, s: Any, now: int) -> None: ...
