"""gort: Go's scheduler for Python.  Goroutines, channels, select, timers, on any OS thread.

    import gort

    async def main():
        results = gort.Chan(8)
        gort.go(worker, results)
        print(await results.recv())

    gort.run(main)

This file only re-exports; see docs/ for the guides.
"""

import os as _os

if _os.environ.get("GORT_PURE", "") not in ("", "0"):
    from gort._loader import install as _install

    _install()

import sys as _sys

from gort._cython import lent as _lent
from gort._lazy import put as _put

with _lent():
    from gort import runtime
    from gort.group import Group, Handle
    from gort.runtime.blocking import blocking
    from gort.runtime.chan import Chan
    from gort.runtime.errors import Cancelled, ChannelClosed, Deadlock, Panic
    from gort.runtime.main import run
    from gort.runtime.newproc import go
    from gort.runtime.op import gosched
    from gort.runtime.select import select
    from gort.runtime.timechan import Ticker, Timer, after, after_func
    from gort.runtime.timers import sleep
    from gort.runtime.wait import wait
from gort.version import __version__

__all__ = [
    "Cancelled",
    "Chan",
    "ChannelClosed",
    "Deadlock",
    "Group",
    "Handle",
    "Panic",
    "Ticker",
    "Timer",
    "__version__",
    "after",
    "after_func",
    "blocking",
    "context",
    "go",
    "gosched",
    "run",
    "runtime",
    "select",
    "sleep",
    "sync",
    "wait",
]

_put(_sys.modules[__name__], ("context", "exec", "net", "os", "signal", "sync"))  # loaded when they are first used
