"""gort.exec: subprocesses.  Follows Go's package os/exec.

Pipes are descriptors that the poller watches; the end of a process is one too (a pidfd), so waiting for a thousand
children costs no thread.  Starting one forks and may take milliseconds: that runs under gort.blocking.

    out = await gort.exec.output("git", "status", "--short")
    cmd = await gort.exec.start("sort", stdin=PIPE, stdout=PIPE)

This file only re-exports.  process.py has the child itself, pipe.py the pipes and what a child gets as its files, cmd.py
a started program, command.py programs that run to their end.
"""

import os
import subprocess

if not hasattr(os, "waitid"):
    raise ImportError("gort.exec needs os.waitid, which this system has not, or not in this version of Python")

from gort._runtime.core.public import publish as _publish
from gort._start.cython import lent as _lent

with _lent():
    from gort.exec.cmd import Cmd, start
    from gort.exec.command import output, run
    from gort.exec.errors import ExitError, WaitDelayExceeded
    from gort.exec.pipe import Pipe

PIPE: int = subprocess.PIPE
DEVNULL: int = subprocess.DEVNULL
STDOUT: int = subprocess.STDOUT

__all__ = ["DEVNULL", "PIPE", "STDOUT", "Cmd", "ExitError", "Pipe", "WaitDelayExceeded", "output", "run", "start"]

_publish(globals())
