"""Gs that stand for what is no goroutine in the wait queues of what it waits for: threads (boot/wait.py) and asyncio
tasks (gort/aio).  `ready` finds that such a G is no goroutine, wakes its thread or task and enqueues nothing
(handoff.enqueue).

What does not live here: when a thread or a task waits, and what happens meanwhile.
"""

from __future__ import annotations

import cython
from cython.cimports.gort._runtime.c.rt import rt_import
from cython.cimports.gort._runtime.core.handoff import checkdead, deliver_cancel
from cython.cimports.gort._runtime.core.runtime2 import G, Op, Sched, _Grunning

from gort._runtime.core.handoff import found_dead
from gort._runtime.core.runtime2 import Note

rt_import()


def thread_g(s):
    """Makes a G that represents the calling thread in wait queues: ready wakes its note and enqueues nothing.  It is
    used for one operation, so a waker that comes late finds nobody's G."""
    g: G = G.__new__(G) if cython.compiled else G()
    g.thread = True
    g.system = True
    g.sched = s
    g.note = Note()
    g.status = _Grunning
    return g


def task_g(s, done):
    """The same for an asyncio task: ready calls done.finished(0, None, None), on any thread, and that must not raise."""
    g: G = thread_g(s)
    g.note = None
    g.done = done
    return g


def stand_in(g, w):
    """Lets the thread_g w get the cancellations of the goroutine g, whose thread is about to wait; w = None ends that.
    Returns the thread_g that got them before, for a wait in a signal handler that has interrupted another wait."""
    before: G
    g.lock()
    before = g.standin
    g.standin = w
    g.unlock()
    return before


def thread_park(g, op):
    """Marks the thread_g g as parked on op.  False when ready has come first: the thread must not sleep.  A cancellation
    that has come first is delivered."""
    g.lock()
    if g.readied:
        g.readied = False
        g.unlock()
        return False
    g.parked = True
    g.waitop = op
    if g.cancelflag:
        g.unlock()
        deliver_cancel(g, op)
        return True
    g.unlock()
    return True


def count_parked(g):
    """Counts the thread of g, a thread_g that has parked, as idle for the deadlock check.  The thread waits inside the
    runtime, without a P and without a time limit.  If ready has come since the park it counts nothing, because nobody
    would uncount it."""
    s: Sched = g.sched
    dead: cython.bint = False
    g.lock()
    if g.parked:
        s.lock()
        g.counted = True
        s.nmidlelocked += 1
        dead = checkdead(s)
        s.unlock()
    g.unlock()
    if dead:
        found_dead(s)
