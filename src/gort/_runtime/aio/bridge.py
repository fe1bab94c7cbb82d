"""CallOp, a goroutine's call into an event loop that another one drives: `await gort.aio.call(loop, coroutine)`.

Invariants
- The coroutine is a task of the loop, in a copy of the caller's contextvars.
- When the caller is cancelled, the task is cancelled, and the caller goes on when it has ended: nothing of the call is
  left behind.  Only the end of the program does not wait for it.
- In the queue of a gort.aio.Loop it is its own handle, as a Waiter is (gort/aio/tasks.py).  In debug mode asyncio makes
  one, which knows where it was made.
- `g` stays set when the call is over, and `_cancel` then leaves `elem` alone: who cancels, on another thread, may come as
  late as that.

What does not live here: `call`, which checks what the program gives it, and Service (gort/aio/calls.py).
"""

from __future__ import annotations

import cython
from cython.cimports.gort._runtime.aio.core import LoopCore
from cython.cimports.gort._runtime.aio.handles import copy_context
from cython.cimports.gort._runtime.c.rt import rt_import
from cython.cimports.gort._runtime.core.handoff import ready
from cython.cimports.gort._runtime.core.runtime2 import PARK, G, Op
from cython.cimports.gort._runtime.core.scopes import take_cancel

from gort._runtime.core.op import WAIT_ASYNCIO

rt_import()


class CallOp(Op):
    """A coroutine handed to a loop.  c: the loop; elem: (coroutine, context), then the task, then None; sel: the
    exception that kept it from starting; index: whether the caller wants it cancelled; success: it is over."""

    what = "gort.aio.call()"
    # What a loop looks at in a handle:
    _cancelled = False
    _source_traceback = None
    _callback = None
    _args = ()

    def begin(self, g):
        """Hands the coroutine over."""
        core: LoopCore
        self.g = g
        loop: object = self.c
        try:
            if isinstance(loop, LoopCore):
                core = loop
                if not core._debug and not core._closed:
                    core._ready.append(self)
                    core._write_to_self()
                    return PARK
            loop.call_soon_threadsafe(self._run)
        except BaseException:
            self.elem[0].close()
            self.elem = None
            raise
        return PARK

    def _run(self):
        """On the loop's thread: starts the task."""
        coroutine, context = self.elem
        self.elem = None
        if self.index:
            coroutine.close()
            self._over(None)
            return
        try:
            task = self.c.create_task(coroutine, context=context)
        except BaseException as e:  # the loop's task factory is the user's
            self.sel = e
            self._over(None)
            return
        self.elem = task  # a cancellation that comes from now on finds it
        task.add_done_callback(self._over)

    def _over(self, task):
        self.success = 1
        ready(self.g)

    def _cancel(self):
        if not self.success:
            cancel: object = getattr(self.elem, "cancel", None)  # a task's; the tuple before it has none
            if cancel is not None:
                cancel()

    def abort(self):
        """Cancels the task.  False: the caller is woken when that has ended.  True at the end of the program."""
        g: G = self.g
        if not self.index:
            self.index = 1
            try:
                self.c.call_soon_threadsafe(self._cancel)
            except RuntimeError:
                return True  # the loop is closed
        return g is None or g.sched is None or g.sched.exiting

    def finish(self):
        """The coroutine's result, or its exception.  If it was cancelled for the caller's sake, that cancellation."""
        task: object = self.elem
        g: G = self.g
        exc: object = self.sel
        self.elem = self.sel = None
        if self.index and exc is None and (task is None or task.cancelled()):
            exc = take_cancel(g)
            if exc is None:
                exc = TimeoutError("gort.aio.call() took longer than the timeout of gort.wait")
        if exc is not None:
            try:
                raise exc
            finally:
                exc = None
        return task.result()

    def reason(self):
        """WAIT_ASYNCIO."""
        return WAIT_ASYNCIO


def make_call(loop, coroutine):
    """The operation of a call."""
    op: CallOp = CallOp.__new__(CallOp)
    op.c = loop
    op.elem = (coroutine, copy_context())
    return op
