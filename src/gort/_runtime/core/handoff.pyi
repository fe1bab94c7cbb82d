# Types of handoff.py for type checkers. The module is in Cython's pure Python mode and has its C types in handoff.pxd,
# which no checker reads; what only the runtime's own files use is left untyped here.
from typing import Any

def __getattr__(name: str) -> Any: ...
