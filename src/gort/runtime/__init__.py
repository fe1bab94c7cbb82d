"""The scheduler, what Go calls package runtime; and, as gort.runtime, its functions for users.

The modules beside this file are private.  They import each other in one direction: structures (runtime2, lockrank),
op, runq, handoff, timers, chan, select, sema, proc, procresize, timechan, sysmon, rt0, main, wait, control.
"""

from gort._cython import lent as _lent

with _lent():
    from gort.runtime.control import (
        boot,
        compiled,
        gomaxprocs,
        goexit,
        lock_os_thread,
        num_cpu,
        num_goroutine,
        on_blocked,
        set_max_threads,
        stack,
        stats,
        unlock_os_thread,
    )

__all__ = [
    "boot",
    "compiled",
    "goexit",
    "gomaxprocs",
    "lock_os_thread",
    "num_cpu",
    "num_goroutine",
    "on_blocked",
    "set_max_threads",
    "stack",
    "stats",
    "unlock_os_thread",
]
