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
    from gort._start.loader import install as _install

    _install({})
else:
    from gort._start.loader import install as _install
    from gort._start.verify import check as _check

    _install(_check(__path__[0]))

import sys as _sys

import gort._start as _start
from gort._start import lazy as _lazy
from gort._start.cython import lent as _lent
from gort.version import __version__

_lazy.put(_start, ("hints",))  # before the modules that use it

with _start.settled(), _lent():
    from gort.group import Group, Handle
    from gort._runtime.sched.blocking import blocking
    from gort._runtime.wait.chan import Chan
    from gort._runtime.core.errors import Cancelled, ChannelClosed, Deadlock, Panic
    from gort._runtime.boot.main import run
    from gort._runtime.sched.newproc import go
    from gort._runtime.core.op import gosched
    from gort._runtime.wait import direct as _direct  # noqa: F401  (gives Chan's operations their short way)
    from gort._runtime.wait.select import select
    from gort._runtime.wait.timechan import Ticker, Timer, after, after_func
    from gort._runtime.sched.timers import sleep
    from gort._runtime.boot.wait import wait
    from gort._runtime.core.public import publish as _publish
    from gort._runtime.watch import signals as _signals
    from gort.scope import CancelScope, MoveOnAfter, move_on_after, shield, timeout

__all__ = [
    "CancelScope",
    "Cancelled",
    "Chan",
    "ChannelClosed",
    "Deadlock",
    "Group",
    "Handle",
    "MoveOnAfter",
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
    "move_on_after",
    "run",
    "runtime",
    "select",
    "shield",
    "sleep",
    "sync",
    "timeout",
    "wait",
]

# Loaded when they are first used.
_LAZY = (
    "aio",
    "bufio",
    "context",
    "debug",
    "exec",
    "http",
    "metrics",
    "net",
    "notebook",
    "os",
    "runtime",
    "signal",
    "sync",
    "testing",
    "trace",
)
_lazy.put(_sys.modules[__name__], _LAZY)
_lazy.begin()
_signals.tracer = _sys.modules[__name__].trace
_publish(globals(), _LAZY)
