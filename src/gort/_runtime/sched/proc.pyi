# Types of proc.py for type checkers; see newproc.pyi.
from typing import Any

def __getattr__(name: str) -> Any: ...
