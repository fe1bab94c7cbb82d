"""gort.runtime's functions for users: GOMAXPROCS, counts, thread locking, stacks, the boot record.  Follows Go's
runtime/debug.go, runtime/proc.go (LockOSThread) and runtime/extern.go.
"""

from __future__ import annotations

from _collections_abc import Callable

from gort._runtime.boot import main, rt0
from gort._runtime.core import debugvars, handoff, runtime2, traceback
from gort._runtime.core.errors import Goexit
from gort._runtime.core.mistakes import check_procs
from gort._runtime.core.public import publish
from gort._runtime.sched import newproc, procresize
from gort._start import hints as t

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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

compiled: bool = bool(runtime2.COMPILED)


def _sched() -> Any:
    """The runtime of this goroutine, or the only one that runs, or None."""
    m = runtime2.current_m()
    if m is not None:
        return m.sched
    return main._running[0] if len(main._running) == 1 else None


_wanted: dict[Any, int] = {}  # what gomaxprocs has to do; guarded by each runtime's stoplock


def gomaxprocs(n: int = 0) -> int:
    """The number of Ps; with n > 0 changes it to n, while everything runs, and returns what it was before.

    Outside a running runtime it tells what the next one would have, and raises RuntimeError for n > 0 (use
    gort.run(main, procs=n)).  TypeError for an n that is no int.  Follows Go's
    runtime.GOMAXPROCS (runtime/debug.go)."""
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"gomaxprocs(n): n is an int, not {type(n).__name__}")
    m = runtime2.current_m()
    if m is None:
        if n > 0:
            raise RuntimeError("gomaxprocs(n) outside a running gort runtime: use gort.run(main, procs=n)")
        s = _sched()
        return int(s.gomaxprocs) if s is not None else debugvars.procs_wanted(debugvars.num_cpu())[0]
    s = m.sched
    before = int(s.gomaxprocs)
    if n <= 0 or n == before:
        return before
    check_procs(n, "gomaxprocs(n)")
    with s.stoplock:
        before = int(s.gomaxprocs)
        _wanted[s] = n
        if s.gcwaiting:
            return before  # a finalizer or a signal handler, in the middle of the loop below, which goes on with its n
        while n := _wanted.pop(s, 0):
            procresize.stop_the_world(s, m)
            try:
                work = procresize.procresize(s, n, m)
            except MemoryError:  # on with the Ps that there were, with all that they have
                procresize.start_the_world(s, procresize.procresize(s, int(s.gomaxprocs), m))
                raise
            procresize.start_the_world(s, work)
    return before


def set_max_threads(n: int) -> int:
    """Lets this runtime have at most n threads, sysmon's among them, and returns the limit before: 10000 at first.  If
    it has more, now or later, the process ends with "program exceeds n-thread limit", every goroutine's stack and
    status 2.  This protects the system from a program out of control; to limit work, use Semaphore or Group(limit=…).

    A thread is needed for each goroutine that blocks its thread, and for each lock_os_thread.  TypeError for an n that
    is no int, ValueError below 1, RuntimeError outside a goroutine.  Follows Go's
    debug.SetMaxThreads (runtime/debug)."""
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"set_max_threads(n): n is an int, not {type(n).__name__}")
    if n < 1:
        raise ValueError(f"set_max_threads({n}): a program needs a thread; at least 1")
    s = _goroutine("set_max_threads").sched
    before = int(s.maxmcount)
    s.maxmcount = min(n, 0x7FFFFFFF)
    handoff.checkmcount(s)
    return before


def num_cpu() -> int:
    """The CPUs that this process may run on.  Follows Go's runtime.NumCPU."""
    return debugvars.num_cpu()


def num_goroutine() -> int:
    """How many goroutines exist now; 0 outside a runtime.  Follows Go's runtime.NumGoroutine."""
    s = _sched()
    if s is None:
        return 0
    return int(newproc.gcount(s))


def lock_os_thread() -> None:
    """Ties the calling goroutine to the thread it runs on: it runs on no other, and nothing else runs there, until
    unlock_os_thread has been called as often.  Use it for what belongs to a thread and is used across an await:
    sqlite3's connections, a GUI, a threading.RLock or threading.local that cannot be avoided.

    Without it a goroutine may continue on another thread after each await, and others run on the one it has left.
    GODEBUG=migration=1 reports where that went wrong or could.  The price is a thread for each such goroutine, and two
    switches of threads for each wait during which others run.  While nothing else can run, the thread waits for timers
    and descriptors itself.

    A goroutine that ends without unlocking ends its thread, so that nobody meets the state in which it has left it (the
    main thread runs no other goroutine then).

    RuntimeError outside a goroutine.  Follows Go's runtime.LockOSThread (runtime/proc.go)."""
    m = _goroutine("lock_os_thread")
    m.lockcount += 1
    m.lockedg = m.curg
    m.curg.lockedm = m


def unlock_os_thread() -> None:
    """Undoes one lock_os_thread; does nothing where there was none.  Follows Go's runtime.UnlockOSThread."""
    m = _goroutine("unlock_os_thread")
    if m.lockedg is not m.curg:
        return
    m.lockcount -= 1
    if m.lockcount <= 0:
        m.lockcount = 0
        m.lockedg = None
        m.curg.lockedm = None


def _goroutine(what: str) -> Any:
    m = runtime2.current_m()
    if m is None or m.curg is None:
        raise RuntimeError(f"gort.runtime.{what}() outside a goroutine")
    return m


def goexit() -> t.NoReturn:
    """Ends the calling goroutine: its `finally` blocks run, nobody else is told.  In main the others go on, and when
    none is left that is a deadlock, as in Go.  Follows Go's runtime.Goexit."""
    _goroutine("goexit")
    raise Goexit


def stack(all: bool = False, group: bool = False) -> str:
    """The stack of the calling goroutine, or of all, in the shape of Go's dumps.  From any thread.

    group: if there are more than 50 goroutines, those in the same state with the same stack are shown once, with their
    number, the longest wait, and the objects that they wait for.  So does the dump of SIGQUIT.  Follows Go's
    runtime.Stack."""
    m = runtime2.current_m()
    if m is not None and m.curg is not None:
        here = _running_stack(m)
        rest = traceback.dump(m.sched, m.curg, group) if all else ""
        return "\n".join(filter(None, (here, rest)))
    if not all:
        return ""
    return "\n".join(traceback.dump(s, None, group) for s in list(main._running))


def _running_stack(m: Any) -> str:
    g = m.curg
    text = f"goroutine {g.goid} [running]:\n{traceback.render(traceback.here())}"
    return text + traceback.created_by(g.gocode, g.golasti, g.parentgoid)


def boot() -> dict[str, t.Any]:
    """The boot record: {"steps": [{"name", "parent", "status", "ns", "detail"}…], "state": {…}}.

    Inside a goroutine it is this runtime's record, with the state as it is now.  Elsewhere boot() boots a runtime,
    takes its record and ends it."""
    m = runtime2.current_m()
    if m is None:

        async def look() -> dict[str, Any]:
            return boot()

        return main.run(look)
    s = m.sched
    return {"steps": s.record.steps, "state": rt0.state(s)}


def on_blocked(callback: Callable[[int, float, str], object] | None, threshold: float = 0.0) -> None:
    """Sets a callback: callback(goroutine, seconds, stack) is called for each call that blocked a thread for at least
    `threshold` seconds without gort.blocking, once that call is over.  None removes it.  The callback runs on sysmon's
    thread and must not block.

    RuntimeError outside a goroutine.  GODEBUG=blocked=1 prints the same to stderr.  TypeError for what cannot be
    called."""
    m = _goroutine("on_blocked")
    if callback is not None and not callable(callback):
        raise TypeError(f"on_blocked takes a function, not {type(callback).__name__}")
    if callback is not None:
        m.sched.predictor.tell()
    m.sched.onblocked = None if callback is None else (callback, float(threshold))
    if callback is not None:
        from gort._runtime.watch import reports

        reports.begin(m.sched)


def stats() -> dict[str, int]:
    """Counters of this runtime: hand-offs from blocked and from computing threads, blocking calls, threads; calls that
    were expected to block their thread, and did (predicted) or did not (mispredicted).

    Outside a runtime all are 0."""
    s = _sched()
    names = ["handoffs", "blocked_ns", "preemptions", "blocking_calls", "threads", "threads_ended", "idle_threads"]
    names += ["predicted", "mispredicted"]
    if s is None:
        return dict.fromkeys(names, 0)
    seen = s.predictor
    blocked_ns = s.blockedns + seen.ns
    values = (s.nhandoff, blocked_ns, s.npreempt, s.nsyscall, len(s.allm), s.nmfreed, s.nmidle, seen.hits, seen.misses)
    return dict(zip(names, (int(v) for v in values), strict=True))


publish(globals())
