# Types of wait.py for type checkers: what gort.aio.loop builds on. See runtime2.pyi.
from typing import Any

from gort._runtime.aio.core import LoopCore
from gort._runtime.poll.polldesc import NetOp

class LoopWait(NetOp):
    what: str

def advance(core: LoopCore, m: Any) -> Any: ...
def next_wait(core: LoopCore) -> Any: ...
