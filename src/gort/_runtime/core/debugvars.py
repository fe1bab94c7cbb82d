"""GODEBUG and GOMAXPROCS: what the environment asks of the runtime.  Follows parsedebugvars and atoi32 in Go's
runtime/runtime1.go and runtime/string.go.

GODEBUG is a comma-separated list of name=value.  Unknown names are ignored, as in Go; a value that is no integer
leaves the default.
"""

from __future__ import annotations

import os
import sys

DEFAULTS: dict[str, int] = {
    "lockrank": 0,  # 1: check the order in which locks are taken (lockrank.py)
    "schedtrace": 0,  # print the scheduler's state every X milliseconds (sysmon.py)
    "scheddetail": 0,  # 1: schedtrace prints each P, M and G
    "blocked": 0,  # 1: report calls that blocked a thread until sysmon took its P (sysmon.py)
    "migration": 0,  # 1: report what belongs to a thread and is held across an await; 2: raise (migration.py)
    "seed": 0,  # seeds the scheduler's random choices, to repeat a run
    "inittrace": 0,  # 1: print the boot as it happens
}


def parse(text: str | None = None) -> dict[str, int]:
    """The debug variables from GODEBUG (or `text`)."""
    values = dict(DEFAULTS)
    for field in (os.environ.get("GODEBUG", "") if text is None else text).split(","):
        name, sep, value = field.partition("=")
        if sep and name in values:
            number = atoi32(value)
            if number is not None:
                values[name] = number
    return values


def atoi32(text: str) -> int | None:
    """A decimal integer of 32 bits as Go's runtime reads it: digits with an optional sign, nothing else."""
    digits = text[1:] if text.startswith(("-", "+")) else text
    if not digits or not digits.isascii() or not digits.isdigit():
        return None
    n = int(digits) if len(digits) < 20 else 1 << 40
    n = -n if text.startswith("-") else n
    return n if -(1 << 31) <= n < 1 << 31 else None


def num_cpu() -> int:
    """The CPUs that this process may run on (affinity)."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return os.cpu_count() or 1


def read(path: str) -> str:
    """A file of the system's, as text.  Unbuffered: a start reads a few of them, and they are short."""
    with open(path, "rb", buffering=0) as f:
        return f.read().decode("ascii", "replace")


def cpu_quota() -> float | None:
    """The CPU limit of the cgroup this process is in, in CPUs; None where there is none."""
    try:
        lines = read("/proc/self/cgroup").splitlines()
    except OSError:
        return None
    limit: float | None = None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        try:
            if controllers == "":
                # Version 2: the limit of a parent holds too.
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
    """Whether this interpreter runs with the GIL now."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


def default_procs(ncpu: int) -> tuple[int, str]:
    """GOMAXPROCS where nobody sets it, and why: one P under the GIL, else the CPUs by affinity and quota."""
    if gil_enabled():
        return 1, "default: the GIL is on, more could not run at once"
    quota = cpu_quota()
    if quota is not None and quota < ncpu:
        # As Go does: rounded up, and not below 2 where there are 2 CPUs.
        return max(min(2, ncpu), -int(-quota // 1)), f"default: cgroup quota of {quota:g} CPUs"
    return ncpu, "default: the CPUs this process may use"


def procs_wanted(ncpu: int) -> tuple[int, str]:
    """GOMAXPROCS from the environment when it is a positive 32-bit integer, else the default; and which it was."""
    text = os.environ.get("GOMAXPROCS", "")
    n = atoi32(text)
    if n is not None and n > 0:
        return n, "GOMAXPROCS in the environment"
    procs, why = default_procs(ncpu)
    return procs, why + (f" (GOMAXPROCS={text!r} ignored)" if text else "")
