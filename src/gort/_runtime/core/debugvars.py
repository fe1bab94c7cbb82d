"""GODEBUG and GOMAXPROCS: the settings that the runtime reads from the environment.  Follows parsedebugvars and atoi32
in Go's runtime/runtime1.go and runtime/string.go.

GODEBUG is a comma-separated list of name=value.  As in Go, unknown names are ignored, and a variable whose value is not
an integer keeps its default.  Only schedtrace and scheddetail mean what they mean in Go; docs/guide-go.md has the table.
What does not live here: the code that acts on a setting (named beside each default).
"""

from __future__ import annotations

import os
import sys

DEFAULTS: dict[str, int] = {
    "lockrank": 0,  # 1: check the order in which locks are taken (lockrank.py)
    "schedtrace": 0,  # print the scheduler's state every X milliseconds (sysmon.py)
    "scheddetail": 0,  # 1: schedtrace prints each P, M and G
    "blocked": 0,  # 1: report each call that blocked its thread so long that sysmon took the P (reports.py)
    "deadlock": 0,  # 1: report goroutines that wait for each other's locks while others run (reports.py)
    "migration": 0,  # 1: report thread-bound objects (a lock, say) held across an await; 2: raise (migration.py)
    # 0: nobody hands a P on because a call that blocks is expected, 2: everybody does (predict.py)
    "predict": 1,
    "idlethreads": 10,  # seconds until threads that nothing has needed end; 0: never (sysmon.py)
    "seed": 0,  # not 0: seeds select and stealing; with one P draws the whole order (seed.py)
    "netpoll": 0,  # how gort.net waits: WORDS has the names (poll/netpoll.py)
    # For how many µs a poller looks before it sleeps; -1: 80 in a process of a cluster, else 0 (poll/netpoll.py)
    "pollspin": -1,
    "inittrace": 0,  # 1: print each step of the boot as it ends (boot/rt0.py).  In Go: of each package's init functions
}

NETPOLL_EPOLL, NETPOLL_POLL, NETPOLL_SELECT = 0, 1, 2
# Variables whose values are words.  A number is none: it keeps the default.
WORDS = {"netpoll": {"epoll": NETPOLL_EPOLL, "poll": NETPOLL_POLL, "select": NETPOLL_SELECT}}


def parse(text: str | None = None) -> dict[str, int]:
    """Returns the debug variables from `text`, or from GODEBUG where text is None; unset ones have their defaults."""
    values = dict(DEFAULTS)
    if not gil_enabled() and not os.path.exists("/proc/self/syscall"):
        values["predict"] = 0  # nobody tells a call that blocks from a lock that is held for a moment
    for field in (os.environ.get("GODEBUG", "") if text is None else text).split(","):
        name, sep, value = field.partition("=")
        if sep and name in values:
            number = WORDS[name].get(value) if name in WORDS else atoi32(value)
            if number is not None:
                values[name] = number
    return values


def atoi32(text: str) -> int | None:
    """Reads a decimal 32-bit integer as Go's runtime does: digits with an optional sign.  None for anything else."""
    digits = text[1:] if text.startswith(("-", "+")) else text
    if not digits or not digits.isascii() or not digits.isdigit():
        return None
    n = int(digits) if len(digits) < 20 else 1 << 40
    n = -n if text.startswith("-") else n
    return n if -(1 << 31) <= n < 1 << 31 else None


def num_cpu() -> int:
    """The number of CPUs that this process may run on (affinity)."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return os.cpu_count() or 1


def read(path: str) -> str:
    """The text of a file in /proc or /sys.  Unbuffered: the boot reads a few short ones, and a buffer would only
    cost."""
    with open(path, "rb", buffering=0) as f:
        return f.read().decode("ascii", "replace")


def cpu_quota() -> float | None:
    """The CPU limit of this process's cgroup, in CPUs; None where there is no limit or no cgroup."""
    try:
        lines = read("/proc/self/cgroup").splitlines()
    except OSError:
        return None
    limit: float | None = None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        try:
            if controllers == "":
                # Version 2: every parent's limit applies as well, so walk up to the root.
                while True:
                    try:
                        quota, period = read(f"/sys/fs/cgroup{path.rstrip('/')}/cpu.max").split()
                        if quota != "max":
                            value = int(quota) / int(period)
                            limit = value if limit is None else min(limit, value)
                    except FileNotFoundError:
                        pass
                    if path in ("", "/"):
                        break
                    path = os.path.dirname(path)
            elif "cpu" in controllers.split(","):
                base = f"/sys/fs/cgroup/cpu{path.rstrip('/')}"
                quota_us = int(read(f"{base}/cpu.cfs_quota_us"))
                period_us = int(read(f"{base}/cpu.cfs_period_us"))
                if quota_us > 0:
                    limit = quota_us / period_us
        except (OSError, ValueError):
            continue
    return limit


def gil_enabled() -> bool:
    """True when this interpreter runs with the GIL now."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


def default_procs(ncpu: int) -> tuple[int, str]:
    """The default for GOMAXPROCS and the reason for it: one P under the GIL, else the CPUs by affinity and quota."""
    if gil_enabled():
        return 1, "default: the GIL is on, more could not run at once"
    quota = cpu_quota()
    if quota is not None and quota < ncpu:
        # As in Go: rounded up, and at least 2 where there are 2 CPUs.
        return max(min(2, ncpu), -int(-quota // 1)), f"default: cgroup quota of {quota:g} CPUs"
    return ncpu, "default: the CPUs this process may use"


def procs_wanted(ncpu: int) -> tuple[int, str]:
    """The number of Ps to start with, and where it comes from: GOMAXPROCS in the environment if that is a positive
    32-bit integer, else the default."""
    text = os.environ.get("GOMAXPROCS", "")
    n = atoi32(text)
    if n is not None and n > 0:
        return n, "GOMAXPROCS in the environment"
    procs, why = default_procs(ncpu)
    return procs, why + (f" (GOMAXPROCS={text!r} ignored)" if text else "")
