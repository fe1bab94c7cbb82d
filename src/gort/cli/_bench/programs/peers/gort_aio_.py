"""gort.aio's side of the benchmarks: asyncio's programs on gort.aio.Loop."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import asyncio_
from _common import missing

try:
    import asyncio

    import gort.aio
    import gort.runtime
except ImportError as error:
    missing("gort-aio", str(error))


def run(main: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=gort.aio.Loop) as runner:
        return runner.run(main)


if __name__ == "__main__":
    from importlib.metadata import version

    core = "compiled" if gort.runtime.compiled else "uncompiled"
    asyncio_.main("gort-aio", f"{version('gort')} ({core})", run)
