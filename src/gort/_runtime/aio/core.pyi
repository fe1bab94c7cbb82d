# Types of core.py for type checkers: what gort.aio.loop builds on. See runtime2.pyi.
from typing import Any

from gort._runtime.aio.stream import Stream
from gort._runtime.poll.fd import FD
from gort._runtime.poll.polldesc import NetOp

class LoopWait(NetOp):
    what: str

class LoopCore:
    _ready: Any
    _scheduled: Any
    _own: Any
    _signal_handlers: Any
    _stopping: bool
    _closed: bool
    _debug: bool
    _turns: bool
    _woken: bool
    _deadline: int
    _fd: FD | None
    _bell: Any
    _streams: Any
    def _open(self) -> None: ...
    def _make_stream(self, transport: Any, fd: int, exact: bool) -> Stream: ...
    def _watch_stream(self, st: Stream) -> None: ...
    def _rest_stream(self, st: Stream) -> None: ...
    def _end_stream(self, st: Stream) -> None: ...
    def _run_once(self) -> None: ...
    def _turn(self, m: Any) -> bool: ...
    def _next_wait(self) -> Any: ...
