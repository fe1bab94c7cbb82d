"""The profiles, the trace and the live page of `gort run`: begins them before the program, and writes what is to be
written when it has ended, however it ends.

What does not live here: what a profile is (gort/debug.py), and a trace (gort/trace.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gort import debug, trace
from gort._runtime.core.mistakes import say
from gort._runtime.watch import signals
from gort.cli import _run


@contextmanager
def profiled(
    cpu: str | None,
    left: dict[str, str | None],
    traced: str | None = None,
    block: str | None = None,
    mutex: str | None = None,
) -> Iterator[None]:
    """Writes the profiles and the trace for which there is a path.  Ends the process with status 2 if it cannot begin.

    left: the paths of the profiles of goroutines that are left when main returns, by kind."""
    kinds = {kind: path for kind, path in left.items() if path is not None}

    def at_end(s: Any) -> None:
        for kind, path in kinds.items():
            written(lambda kind=kind, path=path: debug.write_profile(kind, path))

    try:
        if "frames" in kinds:
            debug.write_profile("frames", os.devnull)  # it says at once where there is no such profile
        for path in filter(None, (cpu, *kinds.values(), block, mutex)):
            open(path, "wb").close()  # now: a program should not run for an hour and then fail to write
        if block is not None:
            debug.set_block_profile_rate(1)
        if mutex is not None:
            debug.set_mutex_profile_fraction(1)
        if cpu is not None:
            debug.start_cpu_profile(cpu)
        if traced is not None:
            trace.start(traced)
    except (OSError, RuntimeError) as e:
        _run.fail(str(e))
    if kinds:
        signals.at_end.append(at_end)
    try:
        yield
    finally:
        if kinds:
            signals.at_end.remove(at_end)
        if block is not None:
            written(lambda: debug.write_profile("block", block))
        if mutex is not None:
            written(lambda: debug.write_profile("mutex", mutex))
        written(debug.stop_cpu_profile)
        written(trace.stop)


def serve(port: int) -> None:
    """Begins the live page and says where it is.  Ends the process with status 2 if it cannot."""
    try:
        page = debug.serve(port)
    except (OSError, RuntimeError) as e:
        _run.fail(f"the live page cannot use port {port}: {e}")
    say(f"gort: live page at {page.url}\n")


def written(write: Any) -> None:
    """Calls write(), and says what went wrong instead of raising it: the program's own end counts."""
    try:
        write()
    except OSError as e:
        say(f"gort run: {e}\n")
