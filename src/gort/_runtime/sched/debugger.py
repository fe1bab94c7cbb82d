"""A debugger's trace function goes with the goroutine that it steps through.  Go has no counterpart: its debuggers see
goroutines.

sys.settrace is a thread's, and a goroutine may continue on another thread.  proc.execute calls the functions here where
a trace function is set.  What does not live here: what a goroutine does otherwise when it changes threads (proc.py).
"""

from __future__ import annotations

import sys
from types import CoroutineType

import cython
from cython.cimports.gort._runtime.c.rt import rt_import
from cython.cimports.gort._runtime.core.runtime2 import G, M

rt_import()


def lend_trace(m, g):
    """Gives this thread the trace function of g, which a debugger steps through, unless the thread has one of its own."""
    if sys.gettrace() is None:
        sys.settrace(g.trace)
        m.lent = g.goid


def carry_trace(m, g):
    """Keeps the thread's trace function in g, if a debugger follows g: sys.settrace is a thread's, and g may continue on
    another one.  Takes back what lend_trace has given.  No Python frame is here in the compiled core: a debugger would
    step into it."""
    fn: object = sys.gettrace()
    if m.lent == g.goid:
        sys.settrace(None)
    m.lent = 0
    g.trace = fn if fn is not None and debugged(g.coro) else None


def debugged(coro):
    """True when one of the frames in which a goroutine is suspended has a trace function (f_trace)."""
    frame: object
    while type(coro) is CoroutineType:
        frame = coro.cr_frame
        if frame is None:
            return False  # it has ended
        if frame.f_trace is not None:
            return True
        coro = coro.cr_await
    return False
