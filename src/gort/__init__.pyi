# The public face for type checkers: what __init__.py re-exports, and the modules that it imports when first used.
from gort import context as context
from gort import exec as exec  # noqa: A004  (Go's name)
from gort import net as net
from gort import os as os
from gort import runtime as runtime
from gort import signal as signal
from gort import sync as sync
from gort.group import Group as Group
from gort.group import Handle as Handle
from gort.runtime.blocking import blocking as blocking
from gort.runtime.chan import Chan as Chan
from gort.runtime.errors import Cancelled as Cancelled
from gort.runtime.errors import ChannelClosed as ChannelClosed
from gort.runtime.errors import Deadlock as Deadlock
from gort.runtime.errors import Panic as Panic
from gort.runtime.main import run as run
from gort.runtime.newproc import go as go
from gort.runtime.op import gosched as gosched
from gort.runtime.select import select as select
from gort.runtime.timechan import Ticker as Ticker
from gort.runtime.timechan import Timer as Timer
from gort.runtime.timechan import after as after
from gort.runtime.timechan import after_func as after_func
from gort.runtime.timers import sleep as sleep
from gort.runtime.wait import wait as wait
from gort.version import __version__ as __version__

__all__ = [
    "Cancelled",
    "Chan",
    "ChannelClosed",
    "Deadlock",
    "Group",
    "Handle",
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
    "run",
    "runtime",
    "select",
    "sleep",
    "sync",
    "wait",
]
