"""uvloop's side of the benchmarks: asyncio's programs on uvloop's loop."""

from __future__ import annotations

import asyncio_
from _common import missing

try:
    import uvloop
except ImportError as error:
    missing("uvloop", str(error))

if __name__ == "__main__":
    asyncio_.main("uvloop", uvloop.__version__, uvloop.run)
