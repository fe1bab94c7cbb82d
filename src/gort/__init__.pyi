# The public face for type checkers: what __init__.py re-exports, and the modules that it imports when first used.
from gort import aio as aio
from gort import bufio as bufio
from gort import context as context
from gort import debug as debug
from gort import exec as exec  # noqa: A004  (Go's name)
from gort import http as http
from gort import metrics as metrics
from gort import net as net
from gort import notebook as notebook
from gort import os as os
from gort import runtime as runtime
from gort import signal as signal
from gort import sync as sync
from gort import testing as testing
from gort import trace as trace
from gort._runtime.boot.main import run as run
from gort._runtime.boot.wait import wait as wait
from gort._runtime.core.errors import Cancelled as Cancelled
from gort._runtime.core.errors import ChannelClosed as ChannelClosed
from gort._runtime.core.errors import Deadlock as Deadlock
from gort._runtime.core.errors import Panic as Panic
from gort._runtime.core.op import gosched as gosched
from gort._runtime.sched.blocking import blocking as blocking
from gort._runtime.sched.newproc import go as go
from gort._runtime.sched.timers import sleep as sleep
from gort._runtime.wait.chan import Chan as Chan
from gort._runtime.wait.select import select as select
from gort._runtime.wait.timechan import Ticker as Ticker
from gort._runtime.wait.timechan import Timer as Timer
from gort._runtime.wait.timechan import after as after
from gort._runtime.wait.timechan import after_func as after_func
from gort.group import Group as Group
from gort.group import Handle as Handle
from gort.scope import CancelScope as CancelScope
from gort.scope import MoveOnAfter as MoveOnAfter
from gort.scope import move_on_after as move_on_after
from gort.scope import shield as shield
from gort.scope import timeout as timeout
from gort.version import __version__ as __version__

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
