"""The handles that call_soon and call_at return, and how a callback is run.  Follows asyncio's events.py.

They have the attributes and methods of asyncio's Handle and TimerHandle, and take little to make and to run.  What is
rarely asked of a handle (its repr, the comparisons but for `<`) asyncio's own functions answer.

Invariants: in debug mode the loop makes asyncio's own handles, which know where they were made.  The thread of the loop
alone runs a handle; whoever cancels one on another thread does what asyncio forbids.

A class of C cannot derive from one of Python that has slots.  So `__class__` says what a handle stands for, and
isinstance(handle, asyncio.Handle) is true.

What does not live here: the queues of handles (core.py).
"""

from __future__ import annotations

import contextvars
from asyncio import events, format_helpers

import cython
from cython.cimports.cpython.contextvars import PyContext_CopyCurrent, PyContext_Enter, PyContext_Exit
from cython.cimports.gort._runtime.c.rt import rt_import

rt_import()


class Handle:
    """A callback that waits for its turn."""

    if not cython.compiled:
        _callback = None
        _args = None
        _loop = None
        _context = None
        _repr = None
        _source_traceback = None
        _cancelled = False

    @property
    def __class__(self):
        """asyncio.Handle, for isinstance."""
        return events.Handle

    def __repr__(self):
        if self._repr is not None:
            return self._repr
        return f"<{' '.join(self._repr_info())}>"

    def _repr_info(self):
        return events.Handle._repr_info(self)

    def cancel(self):
        """The callback is not called any more."""
        if not self._cancelled:
            self._cancelled = True
            if self._loop._debug:
                self._repr = repr(self)  # debug mode reports it after this
            self._callback = None
            self._args = None

    def cancelled(self):
        """Whether cancel was called."""
        return self._cancelled

    def get_context(self):
        """The contextvars in which the callback runs."""
        return self._context

    def _run(self):
        run_handle(self)


class TimerHandle(Handle):
    """A callback that waits for its time.  `_when` is what the program gave, `at` the same for comparisons."""

    if not cython.compiled:
        _when = None
        _scheduled = False
        at = 0.0

    @property
    def __class__(self):
        """asyncio.TimerHandle, for isinstance."""
        return events.TimerHandle

    def _repr_info(self):
        info = events.Handle._repr_info(self)
        info.insert(2 if self._cancelled else 1, f"when={self._when}")
        return info

    def cancel(self):
        """The callback is not called any more."""
        if not self._cancelled:
            self._loop._timer_handle_cancelled(self)
        Handle.cancel(self)

    def when(self):
        """When it is to be called, by the loop's clock."""
        return self._when

    def __hash__(self):
        return hash(self._when)

    def __lt__(self, other):
        that: TimerHandle
        if type(other) is TimerHandle:
            that = other
            return self.at < that.at
        return events.TimerHandle.__lt__(self, other)

    def __le__(self, other):
        return events.TimerHandle.__le__(self, other)

    def __gt__(self, other):
        return events.TimerHandle.__gt__(self, other)

    def __ge__(self, other):
        return events.TimerHandle.__ge__(self, other)

    def __eq__(self, other):
        return events.TimerHandle.__eq__(self, other)

    def __ne__(self, other):
        return not events.TimerHandle.__eq__(self, other)


def copy_context():
    """A copy of the caller's contextvars."""
    if cython.compiled:
        return PyContext_CopyCurrent()
    return contextvars.copy_context()


def make_handle(loop, callback, args, context):
    """A handle that call_soon returns."""
    h: Handle = Handle.__new__(Handle)
    h._loop = loop
    h._callback = callback
    h._args = args
    h._context = copy_context() if context is None else context
    return h


def make_timer(loop, when, callback, args, context):
    """A handle that call_at returns.  Raises TypeError if `when` is no number."""
    h: TimerHandle = TimerHandle.__new__(TimerHandle)
    h.at = float(when)
    h._when = when
    h._loop = loop
    h._callback = callback
    h._args = args
    h._context = copy_context() if context is None else context
    return h


def run_handle(h):
    """Calls the callback.  What it raises goes to the loop's exception handler, but for SystemExit and
    KeyboardInterrupt."""
    args: tuple
    try:
        if cython.compiled:
            context: object = h._context
            args = h._args
            PyContext_Enter(context)
            try:
                if len(args) == 0:
                    h._callback()
                elif len(args) == 1:
                    h._callback(args[0])
                else:
                    h._callback(*args)
            finally:
                PyContext_Exit(context)
        else:
            h._context.run(h._callback, *h._args)
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as e:
        what = format_helpers._format_callback_source(h._callback, h._args)
        h._loop.call_exception_handler({"message": f"Exception in callback {what}", "exception": e, "handle": h})
    if not cython.compiled:  # a traceback that the callback has kept keeps this frame, and would keep the handle
        h = None
