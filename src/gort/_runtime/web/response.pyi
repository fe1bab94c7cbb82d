# Types of response.py for type checkers: what gort.http builds on. See runtime2.pyi.
from typing import Any

from gort._runtime.web.request import Incoming, Refusal

NO_BODY: int
COUNTED: int
CHUNKED: int
TO_THE_END: int
JOIN: int
DRAIN: int
STATUS_LINES: dict[int, bytes]

def date_line() -> bytes: ...

class Fields:
    method: str
    target: bytes
    headers: list[tuple[bytes, bytes]]
    version: str
    length: int | None
    upgrade: bytes
    scheme: str
    client: tuple[str, int | None] | None
    server: tuple[str, int | None] | None
    started: bool
    status: int
    sent: int
    refusal: Refusal | None
    lost: bool

class Answer(Fields):
    _c: Any
    _request: Incoming
    _got: int
    _head: bytes
    _mode: int
    _left: int
    _ended: bool
    _comes: Any
    _goes: Any
    _over: Any
    _idle: Any
    _watching: bool
    def __init__(self, connection: Any, request: Incoming) -> None: ...
    @property
    def ready(self) -> bytes | None: ...
    @property
    def expects(self) -> bool: ...
    @property
    def at_end(self) -> bool: ...
    def start(self, status: int, reason: bytes, headers: list[tuple[bytes, bytes]], known: int = -1) -> None: ...
    def take_head(self, body: bytes) -> bytes: ...
    def whole(self, status: int, reason: bytes, headers: list[tuple[bytes, bytes]], body: bytes) -> bytes | None: ...
    def last(self, data: bytes) -> bytes | None: ...
    def settled(self) -> bool: ...
