"""The default executor of a loop: each call is a plain goroutine, which has a thread while it runs and hands its P on.

Invariants
- There is no limit on the calls that run at once but the runtime's own (set_max_threads).
- A call that has not begun when the program ends is made all the same, in a thread of its own: who waits for it is told,
  as with asyncio's executor, by shutdown(wait=True).

What does not live here: how a call hands its P on (sched/blocking.py).
"""

from __future__ import annotations

import concurrent.futures
import contextvars
import threading
from typing import TYPE_CHECKING, Any

from gort._runtime.boot.wait import wait
from gort._runtime.sched import newproc
from gort._runtime.sched.blocking import blocking
from gort._runtime.sched.newproc import Done

if TYPE_CHECKING:
    from collections.abc import Callable

    from gort.aio.loop import Loop


class _Call(Done):
    """One call, and the Done of its goroutine."""

    def __init__(self, executor: Goroutines, fn: Callable[[], Any]) -> None:
        self.executor = executor
        self.fn = fn
        self.future: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def begin(self) -> None:
        """The goroutine's function."""
        wait(blocking(self.run))

    def run(self) -> None:
        """Makes the call and keeps its outcome."""
        future, fn = self.future, self.fn
        del self.fn
        try:
            if future.set_running_or_notify_cancel():
                try:
                    value = contextvars.Context().run(fn)  # as asyncio's: a thread of its own has no context
                except BaseException as e:
                    future.set_exception(e)
                else:
                    future.set_result(value)
        finally:
            del fn, future
            self.executor._over()

    def finished(self, goid: int, value: Any, exc: BaseException | None) -> None:
        """The goroutine has ended: cancelled before it could begin, perhaps."""
        if "fn" in self.__dict__:
            self.abandoned(goid)

    def abandoned(self, goid: int) -> None:
        """The program has ended first."""
        if "fn" in self.__dict__:
            try:
                threading.Thread(target=self.run, name="gort-executor", daemon=True).start()
            except RuntimeError:  # the system gives no thread
                self.future.cancel()
                self.run()


class Goroutines(concurrent.futures.Executor):
    """An executor whose calls are plain goroutines of the runtime in which a loop runs."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._running = 0
        self._closed = False
        self._changed = threading.Condition()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        """Starts fn(*args, **kwargs).  Raises RuntimeError after shutdown."""
        with self._changed:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._running += 1
        call = _Call(self, lambda: fn(*args, **kwargs))
        future = call.future
        s = self._loop._sched
        if s is None or s.exiting:
            call.abandoned(0)
        else:
            newproc.newproc_from(s, call.begin, (), None, call, None, -1)
        return future

    def _over(self) -> None:
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more calls.  With wait=True it returns when all are over."""
        with self._changed:
            self._closed = True
            while wait and self._running:
                self._changed.wait()
