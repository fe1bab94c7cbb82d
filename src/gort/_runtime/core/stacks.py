# distutils: define_macros=GORT_STACKS_OWNER=1
"""Reads the stacks of goroutines and threads, all at one moment.  Follows goroutineProfileWithLabels in Go's
runtime/mprof.go, which stops the world for this, too.

What does not live here: the walk along the frames (c/gort_stacks.h), and their text (traceback.py).
"""

from __future__ import annotations

import cython
from cython.cimports.gort._runtime.c.rt import rt_import
from cython.cimports.gort._runtime.c.stacks import rt_awaited_frames, rt_getters, rt_thread_frames, rt_world_stopped
from cython.cimports.gort._runtime.core.runtime2 import G, M, _Grunning, _Gsyscall

rt_import()

if cython.compiled:
    rt_getters()

    def gather(asked):
        """The part of stacks() that runs while the world is stopped; gort_stacks.h says what it may do."""
        gs: list = asked[0]
        ms: list = asked[1]
        g: G
        m: M
        found: list = []
        frames: object
        for g in gs:
            frames = None
            if g.status == _Grunning or g.status == _Gsyscall:
                for m in ms:
                    if m.curg is g:
                        frames = rt_thread_frames(m.ident)
                        break
            found.append((frames, None if g.coro is None else rt_awaited_frames(g.coro)))
        return found

    def gather_thread(ident):
        """The part of thread_frames() that runs while the world is stopped."""
        return rt_thread_frames(ident)

    def stacks(gs, ms):
        """Returns a pair for each of gs, all of one moment: the frames of its thread if one of the Ms runs it, and the
        frames in which it is suspended.  A frame is (code, offset, globals); the innermost comes first."""
        return rt_world_stopped(gather, (gs, ms))

    def thread_frames(ident):
        """The frames of the thread `ident`, the innermost first."""
        return rt_world_stopped(gather_thread, ident)
