"""Goroutines that wait for what can never happen: nothing that can still run refers to what they wait for.  Follows
findGoroutineLeaks in Go's runtime/mgc.go (Go 1.26).

It needs the GIL and the compiled core.  Without the GIL a reference count is spread over two fields, and some references
are not counted at all.  In the uncompiled core the walk would take half a minute for a million objects.

What does not live here: the walk over the heap (c/gort_leak.h).
"""

from __future__ import annotations

import gc

import cython
from cython.cimports.gort._runtime.c.leak import rt_unreachable
from cython.cimports.gort._runtime.c.rt import FREE_THREADED, rt_import
from cython.cimports.gort._runtime.core.runtime2 import G, Op, Sched, _Gwaiting

from gort._runtime.core.op import WAIT_IO

rt_import()

POSSIBLE = cython.compiled and not FREE_THREADED


def waits_for_io(op):
    """True when the kernel may wake the goroutine that waits on op: the poller does not keep its descriptors alive."""
    try:
        return op is None or op.reason() == WAIT_IO
    except Exception:  # it has been completed meanwhile
        return True


def leaked(s):
    """Those goroutines of the runtime s that wait and cannot be woken any more.  POSSIBLE must be true.

    Raises MemoryError."""
    found: list = []
    roots: list = []  # it refers to those that something outside the heap can wake, which makes them roots
    g: G
    i: cython.int
    if cython.compiled:
        objects: list = gc.get_objects()
        gs: list = list(s.allgs)
        for g in gs:
            if g.status != _Gwaiting or waits_for_io(g.waitop):
                roots.append(g)
        g = None
        lost: list = rt_unreachable(objects, gs, s.allgs)
        for i in range(len(gs)):
            g = gs[i]
            if lost[i] and g.status == _Gwaiting and not g.system:
                found.append(g)
    return found
