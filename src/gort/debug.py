"""gort.debug: profiles of a running program, for `go tool pprof`, and the live page.  Follows Go's
packages runtime/pprof (pprof.go) and net/http/pprof.

    gort.debug.write_profile("goroutine", "goroutines.pb.gz")

    gort.debug.start_cpu_profile("cpu.pb.gz")
    ...
    gort.debug.stop_cpu_profile()

    gort.debug.set_block_profile_rate(1)
    gort.debug.set_mutex_profile_fraction(1)
    ...
    gort.debug.write_profile("block", "block.pb.gz")
    gort.debug.write_profile("mutex", "mutex.pb.gz")

`gort run --cpuprofile FILE --blockprofile FILE --mutexprofile FILE --goroutineprofile FILE` does the same for a whole
program.

Invariant: one CPU profile at a time in a process; `_mu` guards which, and the settings of the two that count waits.
"""

from __future__ import annotations

import os as _os
import threading as _threading
from typing import IO

from gort._runtime.core import runtime2 as _runtime2
from gort._runtime.core import traceback as _traceback
from gort._runtime.core.machine import LINUX as _LINUX
from gort._runtime.core.public import publish as _publish
from gort._runtime.see import record as _record
from gort._runtime.see.server import Page
from gort._runtime.see.server import serve as _serve
from gort._runtime.watch import profiles as _profiles
from gort._runtime.watch import signals as _signals

__all__ = [
    "Page",
    "serve",
    "set_block_profile_rate",
    "set_mutex_profile_fraction",
    "start_cpu_profile",
    "stop_cpu_profile",
    "write_profile",
]

_KINDS = ("block", "frames", "goroutine", "goroutineleak", "mutex")

_mu = _threading.RLock()  # reentrant: a finalizer or a signal handler may call these functions, too
_cpu: tuple[_profiles.CPU, IO[bytes] | None, str] | None = None  # the profile that is being made, and where it goes


def _write(content: bytes, file: IO[bytes] | None, path: str) -> None:
    if file is not None:
        file.write(content)
        return
    with open(path, "wb") as f:
        f.write(content)


def _destination(file: str | _os.PathLike[str] | IO[bytes], what: str) -> tuple[IO[bytes] | None, str]:
    if isinstance(file, (str, _os.PathLike)):
        return None, _os.fspath(file)
    if not callable(getattr(file, "write", None)):
        raise TypeError(f"{what}: file is a path or a binary file, not {type(file).__name__}")
    return file, ""


def write_profile(kind: str, file: str | _os.PathLike[str] | IO[bytes]) -> None:
    """Writes a profile of this process's goroutines to a path or a binary file, for `go tool pprof FILE`.  Any thread
    may call it.  Follows Profile.WriteTo (runtime/pprof).

    kind: "goroutine" counts the goroutines that there are now, by stack; their labels (`-tags`) are the state, the go
    statement that made them, and what most of them wait for.  "goroutineleak" counts those of them that wait and that
    nothing can ever wake, because nothing that still runs refers to what they wait for.  It stops the program for a walk
    over all objects (half a second for a million), and needs the compiled core and the GIL.

    "block" and "mutex" tell of the time since the process began: how often, and for how long.  "block" has the stacks of
    goroutines that have waited for others: on channels, in select, for what is in gort.sync, in gort.wait; the label
    tells for what.  It is empty unless set_block_profile_rate has been called.  "mutex" has the stacks that have released
    a Mutex or an RWMutex for which others have waited, and how long these have waited in all.  It is empty unless
    set_mutex_profile_fraction has been called.

    "frames" counts what goroutines that do not run keep in memory: objects and bytes that their frames hold and that
    nothing else refers to; they would be freed if these goroutines ended.  A frame is charged its own size, what its
    variables and unfinished expressions refer to, and what only those objects refer to, and so on.  The labels are the
    variable, the type of its value and the go statement.  What several goroutines share is charged to one of them.
    Not counted are circles of objects, and what an object of a C extension keeps beside itself, but for NumPy's arrays;
    without the GIL the tables of dicts are reckoned from the number of their entries, and those of deques left out.
    The program stands still for the walk over these objects.  It needs the compiled core.  Go has no such profile; this
    one is read as the in-use values of its heap profile are.

    Raises ValueError for another kind, RuntimeError where a kind is not possible, TypeError for a file that is none, and
    what writing raises.  Follows Go's pprof.Lookup and Profile.WriteTo."""
    if kind not in _KINDS:
        raise ValueError(f"write_profile: there is no profile of the kind {kind!r}; there are {', '.join(_KINDS)}")
    where = _destination(file, "write_profile")
    if kind in ("block", "mutex"):
        profile = _record.program_waits(kind == "mutex")
    elif kind == "frames":
        profile = _profiles.frames(list(_signals.running))
    else:
        profile = _profiles.goroutines(list(_signals.running), kind == "goroutineleak")
    _write(profile.packed(), *where)


def _number(n: int, what: str) -> int:
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"{what} takes an int, not {type(n).__name__}")
    return max(-1, min(n, 1 << 62))


def set_block_profile_rate(rate: int) -> None:
    """Switches the "block" profile on: one wait is counted in `rate` nanoseconds of waiting, on average.  1 counts each,
    0 or less switches it off.  Any thread may call it.  Follows runtime.SetBlockProfileRate.

    A wait shorter than `rate` is counted with the chance of its length to the rate, and then for as much more, so that
    the sums are right.  Counted are waits that begin from now on, once they are over.

    Raises TypeError if rate is no int."""
    rate = max(0, _number(rate, "set_block_profile_rate"))
    with _mu:
        _record.set_rate(False, rate)


def set_mutex_profile_fraction(rate: int) -> int:
    """Switches the "mutex" profile on: one in `rate` releases of a lock for which others have waited is counted, on
    average, and then for `rate` of them.  1 counts each, 0 switches it off, and less than 0 changes nothing.  Returns
    what was set before.  Any thread may call it.  Follows runtime.SetMutexProfileFraction.

    Raises TypeError if rate is no int."""
    rate = _number(rate, "set_mutex_profile_fraction")
    with _mu:
        return _record.set_rate(True, rate) if rate >= 0 else _record.rate(True)


def start_cpu_profile(file: str | _os.PathLike[str] | IO[bytes]) -> None:
    """Begins to record what uses the processor; stop_cpu_profile writes it to a path or a binary file, for `go tool pprof
    FILE`.  Follows StartCPUProfile (runtime/pprof).

    Only threads that run goroutines are looked at, 100 times a second.  The labels of a sample (`-tags`) are its
    goroutine and the go statement that made it.  Time that a thread spends in the scheduler is charged to
    gort.scheduler.

    Raises RuntimeError while a profile is being made, where the system does not tell the CPU time of threads (it must be
    Linux), and on the uncompiled core without the GIL, which cannot read the stack of a running thread; TypeError for a
    file that is none.  Follows Go's pprof.StartCPUProfile."""
    global _cpu
    where = _destination(file, "start_cpu_profile")
    if not _LINUX:
        raise RuntimeError("start_cpu_profile: only Linux tells the CPU time of threads")
    if _traceback.WITHOUT_GIL and not _runtime2.COMPILED:
        raise RuntimeError("start_cpu_profile: the uncompiled core without the GIL cannot read running stacks")
    with _mu:
        if _cpu is not None:
            raise RuntimeError("start_cpu_profile: a CPU profile is being made already")
        _cpu = (_profiles.CPU(), *where)


def stop_cpu_profile() -> None:
    """Ends the CPU profile and writes it; does nothing if none is being made.  Follows Go's
    pprof.StopCPUProfile.

    Raises what writing raises."""
    global _cpu
    with _mu:
        made, _cpu = _cpu, None
    if made is not None:
        profile = made[0].stop()
        if profile is not None:
            _write(profile.packed(), made[1], made[2])


def serve(port: int = 0) -> Page:
    """Serves the live page of this process on 127.0.0.1, at this port or a free one, and returns it: `url` is its
    address, close() ends it.  Any thread may call it, before gort.run too; a second call returns the same page.  Follows
    net/http/pprof, which shows Go programs in a browser.

    The page shows what looks wrong in the program, in sentences; load, processors, goroutines, channels and locks; and
    it gives profiles, traces and metrics (/metrics, for Prometheus).  Who has the address, which has a token in it, can
    read and record all that, from this machine alone; nothing in the program can be changed there.

    It runs on threads of its own, so it answers while the scheduler is busy, and deadlocks are found as ever.  While
    nobody looks it costs nothing.

    Raises TypeError or ValueError for a port that is none, OSError if it is taken, RuntimeError if the system gives no
    thread."""
    if isinstance(port, bool) or not isinstance(port, int):
        raise TypeError(f"serve(port): port is an int, not {type(port).__name__}")
    if not 0 <= port <= 65535:
        raise ValueError(f"serve({port}): a port is 0 to 65535")
    return _serve(port)


_publish(globals())
