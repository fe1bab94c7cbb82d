"""Synchronisation: Mutex, RWMutex, WaitGroup, Once, Cond, Semaphore, Pool.  Follows Go's package sync (and
golang.org/x/sync/semaphore).

The waiting itself is in _runtime/wait (sema.py, rwmutex.py); here are the types that are built on it.
"""

from __future__ import annotations

import gc
import sys
import time
from _collections_abc import Callable
from types import CoroutineType
from weakref import ref

from gort._runtime.boot import main as _main
from gort._runtime.core.errors import Cancelled
from gort._runtime.core.mistakes import Shared, check_go
from gort._runtime.core.public import publish as _publish
from gort._runtime.sched import newproc as _newproc
from gort._runtime.sched.newproc import Done as _Done
from gort._runtime.wait.sema import Mutex
from gort._runtime.wait.sema import WaitGroup as _WaitGroup
from gort._start import hints as t
from gort._start.cython import lent as _lent

with _lent():  # a start does not load it; and `python -m gort.sync` imports it without the lazy module, which lends too
    from gort._runtime.wait.notify import Notify
    from gort._runtime.wait.rwmutex import Reader, RWMutex
    from gort._runtime.wait.semaphore import Semaphore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gort._runtime.wait.sema import WaitOp
    from gort._start.hints import Generic, T, overload
else:
    from gort._runtime.core.public import Generic, T

__all__ = ["Cond", "Mutex", "Once", "Pool", "RWMutex", "Reader", "Semaphore", "WaitGroup"]


class _Member(_Done):
    """Told of the end of a WaitGroup's goroutine."""

    panics = True  # an exception that nobody catches ends the program, as in Go

    def __init__(self, wg: WaitGroup) -> None:
        self.wg = wg

    def finished(self, goid: int, value: Any, exc: BaseException | None) -> None:
        self.wg.done()


class WaitGroup(_WaitGroup):
    """Waits for a number of goroutines: `wg.go(fn, *args)` or `wg.add(n)` … `wg.done()`, then `await wg.wait()`.
    Follows Go's sync.WaitGroup (sync/waitgroup.go)."""

    def go(self, fn: Callable[t.P, object], /, *args: t.P.args, **kwargs: t.P.kwargs) -> None:
        """add(1), and starts fn(*args, **kwargs) as a goroutine that calls done() when it ends.  Raises as gort.go.
        Follows Go's WaitGroup.Go (Go 1.25)."""
        s = _main.current("WaitGroup.go()")
        check_go(s, fn, "WaitGroup.go")
        self.add(1)
        frame = sys._getframe(1)  # the user's: dumps show who created the goroutine
        try:
            _newproc.newproc_from(s, fn, args, kwargs, _Member(self), frame.f_code, frame.f_lasti)
        except BaseException:
            self.done()
            raise


class Once(Shared):
    """Runs one function once: `await once.do(fn, *args)`.  All callers wait until it has run.  Follows Go's sync.Once
    (sync/once.go)."""

    def __init__(self) -> None:
        self._mutex = Mutex()
        self._done = False

    async def do(self, fn: Callable[t.P, object], /, *args: t.P.args, **kwargs: t.P.kwargs) -> None:
        """Calls fn(*args, **kwargs), plain or async, if no do() has before.  If fn raises, the caller gets the
        exception, and fn counts as having run, as in Go.

        When the caller is cancelled or interrupted half-way, fn does not count as having run: the next caller, which may
        wait already, calls its own function.  (In Go nobody can cancel a goroutine.)"""
        if self._done:
            return
        async with self._mutex:
            if not self._done:
                try:
                    result: Any = fn(*args, **kwargs)
                    if isinstance(result, CoroutineType) or _is_awaitable(result):
                        await result
                except (Cancelled, KeyboardInterrupt, GeneratorExit):
                    raise  # this happened to the caller, not to fn; GeneratorExit: its coroutine has been closed
                except BaseException:
                    self._done = True  # fn has failed, or has ended its goroutine or the program
                    raise
                self._done = True


def _is_awaitable(x: object) -> bool:
    from inspect import isawaitable

    return isawaitable(x)


class Cond(Shared):
    """A condition variable: `async with cond.mutex: while not …: await cond.wait()`; signal() or broadcast() elsewhere.

    mutex: a Mutex (made when left out), an RWMutex, or rw.reader().  Follows Go's sync.Cond (sync/cond.go)."""

    def __init__(self, mutex: Mutex | RWMutex | Reader | None = None) -> None:
        if mutex is not None and not (hasattr(mutex, "lock") and hasattr(mutex, "unlock")):
            raise TypeError(f"a Cond needs a Mutex or RWMutex, not {type(mutex).__name__}")
        self.mutex: Mutex | RWMutex | Reader = Mutex() if mutex is None else mutex
        self._waiting = Notify()

    async def wait(self) -> None:
        """Releases the mutex, waits to be woken, and takes the mutex again, also when it is cancelled.

        If it is cancelled after a signal() has woken it, the signal goes to the next goroutine that waited when it came.
        Raises RuntimeError when the mutex is not locked."""
        operation = self._waiting.wait(self.mutex)
        try:
            await operation
        except BaseException:
            if operation.index != 0:  # else the wait never began, and the mutex has not been released
                self._waiting.pass_on(operation)
                await self._lock_again(operation)
            raise
        await self._lock_again(operation)

    async def _lock_again(self, operation: WaitOp) -> None:
        """Takes the mutex again.  The caller unlocks it whatever happens, so a cancellation waits until it has been
        taken."""
        cancelled: BaseException | None = None
        while True:
            try:
                await self.mutex.lock()
                break
            except (Cancelled, KeyboardInterrupt) as e:
                self._waiting.pass_on(operation)
                if cancelled is not None and not isinstance(self.mutex, (Mutex, RWMutex, Reader)):
                    raise  # a locker of the user's class may raise it each time, for ever
                cancelled = e
        if cancelled is not None:
            try:
                raise cancelled
            finally:
                del cancelled  # it holds this frame

    def signal(self) -> None:
        """Wakes the goroutine that has waited longest, if any.  Any thread may call it."""
        self._waiting.notify(False)

    def broadcast(self) -> None:
        """Wakes all goroutines that wait now.  Any thread may call it."""
        self._waiting.notify(True)

    async def __aenter__(self) -> t.Self:
        await self.mutex.lock()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.mutex.unlock()


FORCED_S = 120.0  # so long after the last cycle of the pools any collection is one (Go's runtime collects that often)
_FREE_THREADED = "t" in getattr(sys, "abiflags", "")  # there the collector has one generation
_pools: dict[int, ref[Pool[Any]]] = {}  # all of them; each operation on it is atomic
_last_cycle = 0.0  # time.monotonic()


def _on_collection(phase: str, info: dict[str, int]) -> None:
    """One of gc.callbacks: as a collection begins, each pool lets go what it has kept since the collection before the
    last one.  Follows poolCleanup (Go's sync/pool.go).

    In Go each collection counts.  In Python a collection counts if it looks at all objects.  Such collections are rare,
    or never come, where most objects live long; so a young collection counts too, once the last one that counted is two
    minutes ago.  Runs on whatever thread allocates, and takes no lock.  The objects that are let go may run finalizers
    here, like those of any collection."""
    global _last_cycle
    if phase != "start":
        return
    now = time.monotonic()
    if info["generation"] < 2 and not _FREE_THREADED and now - _last_cycle < FORCED_S:
        return
    _last_cycle = now
    for pool in [r() for r in list(_pools.values())]:
        if pool is not None:
            pool._age()


class Pool(Shared, Generic[T]):
    """Objects to use again: `x = pool.get()` … `pool.put(x)`.  Thread-safe; get() makes a new one when none is free.
    Follows Go's sync.Pool (sync/pool.go).

    The pool saves allocations and does not keep objects for ever: it lets go an object that has not been used for two
    of Python's full collections, or for some minutes where there are none.  `gc.collect()` twice empties every pool."""

    if TYPE_CHECKING:

        @overload
        def __init__(self, new: Callable[[], t.T]) -> None: ...
        @overload
        def __init__(self: Pool[t.Any], new: None = None) -> None: ...

    def __init__(self, new: t.Any = None) -> None:
        global _last_cycle
        if new is not None and not callable(new):
            raise TypeError(f"a Pool takes the function that makes an object, not {type(new).__name__}: Pool(Buffer)")
        self.new: Callable[[], t.T] | None = new
        self._free: list[t.T] = []  # put since the last cycle
        self._victim: list[t.T] = []  # put before it; the next one lets them go.  Go's victim cache
        if _on_collection not in gc.callbacks:
            _last_cycle = time.monotonic()
            gc.callbacks.append(_on_collection)
        key = id(self)
        _pools[key] = ref(self, lambda _: _pools.pop(key, None))

    def _age(self) -> None:
        # A put() on another thread may still append to the list that it has just read: one cycle less for that object.
        self._victim, self._free = self._free, []

    def get(self) -> t.T:
        """A free object, else new(), else None."""
        try:
            return self._free.pop()
        except IndexError:
            pass
        try:
            return self._victim.pop()
        except IndexError:
            return self.new() if self.new is not None else None  # type: ignore[return-value]

    def put(self, x: t.T) -> None:
        """Gives an object back.  None is ignored."""
        if x is not None:
            self._free.append(x)


_publish(globals())
