"""`gort serve --reload`: a parent that starts the server again when a file of Python has changed.  For development.

It looks at the modification times of all .py files below the directory twice a second; where watchfiles is installed that
tells it, and finds changes sooner.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from types import FrameType

LOOK_S = 0.5
GRACE_S = 10.0  # for the server to end, before it is killed


def seen(directory: str) -> dict[str, int]:
    """The modification time of each .py file below a directory."""
    found = {}
    for top, folders, files in os.walk(directory):
        folders[:] = [f for f in folders if not f.startswith(".") and f not in ("__pycache__", "node_modules")]
        for name in files:
            if name.endswith(".py"):
                path = os.path.join(top, name)
                try:
                    found[path] = os.stat(path).st_mtime_ns
                except OSError:
                    pass  # it has just gone
    return found


def changes(directory: str) -> Callable[[], list[str]]:
    """A function that waits a moment and gives the files that have changed since it was last called."""
    try:
        from watchfiles import PythonFilter, watch  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        before = seen(directory)

        def look() -> list[str]:
            nonlocal before
            time.sleep(LOOK_S)
            now = seen(directory)
            different = sorted(path for path, _ in before.items() ^ now.items())
            before = now
            return list(dict.fromkeys(different))

        return look
    found = watch(
        directory,
        watch_filter=PythonFilter(),
        yield_on_timeout=True,
        rust_timeout=int(LOOK_S * 1000),
        raise_interrupt=False,
    )

    def ask() -> list[str]:
        return sorted({path for _, path in next(found)})

    return ask


def supervise(arguments: list[str], directory: str) -> int:
    """Runs `gort ARGUMENTS` again and again, until SIGTERM or Ctrl-C.  Returns the status for the process."""
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    look = changes(directory)
    while True:
        child = subprocess.Popen([sys.executable, "-m", "gort", *arguments])
        changed: list[str] = []
        try:
            while not stopped and not changed:
                changed = look()
        finally:
            end(child)
        if stopped:
            return 0
        print(f"gort: {os.path.relpath(changed[0], directory)} has changed: starting again", file=sys.stderr)


def end(child: subprocess.Popen[bytes]) -> None:
    """Ends the server."""
    if child.poll() is None:
        child.terminate()
    try:
        child.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
