# Types of line.py for type checkers: what gort.http builds on. See runtime2.pyi.
from typing import Any

from gort._runtime.web.request import Incoming, Parser

class Line:
    owner: Any
    server: Any
    conn: Any
    client: tuple[str, int | None] | None
    where: tuple[str, int | None] | None
    scheme: str
    parser: Any  # of Parser's kind, or None
    exchange: Any
    spare: list[Parser] | None
    asleep: bool
    drowsy: bool
    idle: bool
    keep: bool
    broken: bool
    over: bool
    read_until: float
    write_until: float
    def queued(self) -> Incoming | None: ...
    def rests(self) -> bool: ...
    def came(self, data: bytes) -> Incoming | None: ...
    def read_due(self, now: float) -> None: ...
    def wake(self) -> Parser: ...
    def write_begins(self) -> float: ...
    def write_due(self, now: float) -> None: ...
