"""Loop, an asyncio event loop that is a goroutine.

It is asyncio's own selector loop, whose hot half is compiled (_runtime/aio).  Its epoll descriptor is watched by gort's
poller, so that no thread waits for a loop: between two iterations the goroutine that drives it is parked, and is woken by
a descriptor, a timer or a callback from another thread.

Invariants
- The driving goroutine is locked to its thread (lock_os_thread).  What belongs to a thread (the running loop, the hooks
  of async generators, signal handlers, a library's greenlets and thread-locals) holds for as long as the loop runs.
- While callbacks run, m.mcall is MCALL_LOOP: an operation that is awaited then waits for the task that runs, and not for
  the driving goroutine (tasks.py).
- A loop that waits for nothing but callbacks from other threads waits on a channel, not on its descriptor: where every
  goroutine waits like that, it is a deadlock, and gort reports it.

Rejected: a goroutine that may change its thread (SQLAlchemy's greenlets and uvicorn's signal handlers break); to watch
each descriptor with gort's poller (that is edge-triggered, and add_reader is not).

What does not live here: an iteration (_runtime/aio/core.py) and the wait between two (wait.py); transports
(_runtime/aio/transport.py); gort.aio.run (running.py); how a task awaits an operation (tasks.py); to_thread (threads.py).
"""

from __future__ import annotations

import asyncio
import os
import selectors
import socket
import sys
import threading
from asyncio import events
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from gort import runtime
from gort._runtime.boot import main, wait
from gort._runtime.core import runtime2
from gort._runtime.core.op import gosched
from gort._runtime.core.runtime2 import OP_DONE
from gort._runtime.poll.fd import FD
from gort._runtime.wait.chan import Chan
from gort._runtime.watch import signals
from gort._start.cython import lent
from gort.aio import tasks
from gort.aio.threads import Goroutines

with lent():
    from gort._runtime.aio.core import LoopCore
    from gort._runtime.aio.wait import LoopWait, advance, next_wait
from gort._runtime.aio.transport import SocketTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gort._runtime.aio.stream import Stream
    from gort._runtime.aio.watch import Watches

# asyncio.run ends with these.  As a rule they have nothing to do, and for that no runtime is booted.
_ENDINGS = frozenset(
    (asyncio.BaseEventLoop.shutdown_asyncgens.__code__, asyncio.BaseEventLoop.shutdown_default_executor.__code__)
)
# So many bytes asyncio's transports ask for at once; their own 256 KiB are more than malloc keeps: each read would map
# memory, and unmap it, which cost two thirds of an echo.  No datagram of the Internet's is longer.
_READ_BYTES = 65536

tasks.install()


class Selector(selectors.EpollSelector):
    """A selector that never waits: the loop has waited already, and left in `got` what has come."""

    got: Sequence[tuple[int, int]] | None = None
    streams: dict[int, Stream] = {}
    watches: Watches

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """Whether it is watched, and for what; asyncio asks for the repr of a transport.  Raises KeyError."""
        stream = self.streams.get(fileobj)
        if stream is not None and (events := stream.polls()):
            return selectors.SelectorKey(fileobj, fileobj, events, None)
        watch = self.watches.find(fileobj)
        return super().get_key(fileobj) if watch is None else watch.key()

    def get_map(self) -> Any:
        """All that is watched, but for transports, by descriptor; None once it is closed."""
        own: Any = super().get_map()
        return {**own, **self.watches.by_number()} if own is not None and len(self.watches) else own

    def poll(self) -> list[tuple[int, int]]:
        """What is ready now: pairs of a descriptor and epoll's mask."""
        return self._selector.poll(0, max(len(self._fd_to_key) + len(self.watches), 1))  # type: ignore[attr-defined, no-any-return]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready; `timeout` is not used."""
        got, self.got = self.got, None
        if got is None:
            got = self.poll()
        elif not got:
            return []
        keys: dict[int, selectors.SelectorKey] = self._fd_to_key  # type: ignore[attr-defined]
        ready = []
        for fd, mask in got:
            key = keys.get(fd)
            if key is None and (watch := self.watches.find(fd)) is not None:  # who calls this is not the loop
                key = watch.key()
            if key is not None:
                mask = (mask & ~4 and selectors.EVENT_READ) | (mask & ~1 and selectors.EVENT_WRITE)
                ready.append((key, mask & key.events))
        return ready


class Loop(LoopCore, asyncio.SelectorEventLoop):
    """An asyncio event loop that is a goroutine, pinned to its thread while it runs.

        asyncio.run(main(), loop_factory=gort.aio.Loop)    # 3.12; asyncio.Runner takes it too, from 3.11 on

    Outside a goroutine run_forever and run_until_complete boot a runtime for as long as they run; its main goroutine
    drives the loop.  In a goroutine they block its thread and not the others: in an async one write
    `await gort.aio.run(main())` instead.  run_in_executor(None, fn) and asyncio.to_thread run fn in a plain goroutine,
    without a limit.

    selector: as asyncio.SelectorEventLoop has it, and not used."""

    def __init__(self, selector: selectors.BaseSelector | None = None) -> None:
        self._own = Selector()
        self._fd = None
        self._bell = Chan(1)
        self._bare = False  # what it runs needs no runtime
        self._sched: Any = None  # the runtime in which it runs, or ran last
        self._gs: WeakKeyDictionary[Any, Any] = (
            WeakKeyDictionary()
        )  # its tasks that are in scopes of gort's -> their Gs
        self._spare: list[Any] = []  # Waiters that no task uses (tasks.py); the loop's thread alone
        self._before: Any = None  # the thread's hooks for async generators
        self._open()
        self._own.streams = self._streams
        self._own.watches = self._watches
        super().__init__(self._own)

    # ---- driving it ---------------------------------------------------------------------------------------------------

    def _begin(self, m: Any) -> None:
        """The loop runs from now on, on this thread."""
        self._check_closed()  # type: ignore[attr-defined]
        self._check_running()  # type: ignore[attr-defined]
        if m is not None and (self._sched is not m.sched or self._fd is None):
            if self._fd is not None:
                self._fd.shut()
            self._fd = FD(os.dup(self._own.fileno()))
            self._sched = m.sched
        self._deadline = -1
        self._own_clock = type(self).time is LoopCore.time
        self._set_coroutine_origin_tracking(self._debug)  # type: ignore[attr-defined]
        self._before = sys.get_asyncgen_hooks()
        self._thread_id = threading.get_ident()
        try:
            sys.set_asyncgen_hooks(
                firstiter=self._asyncgen_firstiter_hook,  # type: ignore[attr-defined]
                finalizer=self._asyncgen_finalizer_hook,  # type: ignore[attr-defined]
            )
            events._set_running_loop(self)
        except BaseException:
            self._end()
            raise

    def _end(self) -> None:
        """The loop runs no more.  At the end of a program another thread may call this: that of the loop has ended."""
        here = self._thread_id == threading.get_ident()
        self._unhear()
        self._stopping = False
        self._spare.clear()  # their Gs belong to this runtime
        self._thread_id = None  # type: ignore[assignment]
        if here:
            events._set_running_loop(None)
            self._set_coroutine_origin_tracking(False)  # type: ignore[attr-defined]
            sys.set_asyncgen_hooks(*self._before)
        self._before = None

    async def drive(self) -> None:
        """run_forever for an async goroutine: runs until stop() is called.  The goroutine keeps its thread meanwhile.
        Raises RuntimeError outside a goroutine."""
        m = runtime2.current_m()
        if m is None or m.curg is None:
            raise RuntimeError("Loop.drive() outside a goroutine: call run_forever()")
        runtime.lock_os_thread()
        try:
            self._begin(m)
            try:
                self._hear(m)
                op = next_wait(self)
                while op is not False:
                    if op is not None:
                        await op
                    elif m.preempt:
                        await gosched()
                    op = self._advance(m)
            finally:
                self._end()
        finally:
            runtime.unlock_os_thread()

    def _advance(self, m: Any) -> Any:
        return advance(self, m)

    def run_forever(self) -> None:
        """Runs until stop() is called.  Raises RuntimeError if it runs already, or another loop on this thread."""
        m = runtime2.current_m()
        if m is None and self._bare:
            self._begin(None)
            try:
                while not self._stopping:
                    self._run_once()
            finally:
                self._end()
        elif m is None:
            self._check_closed()  # type: ignore[attr-defined]
            self._check_running()  # type: ignore[attr-defined]
            main.run(
                type(self).drive, self
            )  # a function: for a bound method another thread would be taken (proc.execute)
        elif m.curg is None:
            raise RuntimeError("an event loop cannot run in the scheduler (a signal handler, a finalizer)")
        else:
            self._drive_here(m)

    def run_until_complete(self, future: Any) -> Any:
        """Runs until the future or coroutine is done; returns its result or raises its exception."""
        mine: Any = self
        busy = mine._asyncgens or mine._default_executor or mine._ready or mine._scheduled
        self._bare = not busy and getattr(future, "cr_code", None) in _ENDINGS
        try:
            return super().run_until_complete(future)
        finally:
            self._bare = False

    def _drive_here(self, m: Any) -> None:
        """run_forever in a goroutine: its thread waits."""
        self._begin(m)
        try:
            while True:
                op = next_wait(self)
                if op is not None:
                    op.state = OP_DONE
                    try:
                        wait._do(op, LoopWait.what, None, m, m.sched)
                    except wait._GoroutineCancelled as e:
                        exc: BaseException | None = e.exc
                    else:
                        exc = None
                        op.finish()
                    if exc is not None:
                        try:
                            raise exc
                        finally:
                            del exc
                if self._turn(m):
                    break
        finally:
            self._end()

    def abandon(self) -> None:
        """The program ends while the loop runs: cancels the tasks, and runs what can run without a wait."""
        m = runtime2.current_m()
        if m is None or events._get_running_loop() is not None:
            return
        for task in asyncio.all_tasks(self):
            task.cancel()
        self._thread_id = threading.get_ident()
        events._set_running_loop(self)
        try:
            for _ in range(1000):  # a task that never ends would keep the program
                if not self._ready:
                    break
                self._turn(m)
        finally:
            events._set_running_loop(None)
            self._thread_id = None  # type: ignore[assignment]

    # ---- transports ---------------------------------------------------------------------------------------------------

    def _make_socket_transport(self, sock: socket.socket, *args: Any, **kwargs: Any) -> Any:
        mine: Any = self
        if type(sock) is not socket.socket:  # its methods may be the program's: asyncio's transport calls them
            return super()._make_socket_transport(sock, *args, **kwargs)  # type: ignore[misc]
        mine._ensure_fd_no_transport(sock)
        return SocketTransport(self, sock, *args, **kwargs)

    # context: of CPython 3.15 on.

    def _add_reader(self, fd: int, callback: Callable[..., Any], *args: Any, **context: Any) -> Any:
        stream = self._streams.get(fd)
        if stream is not None:
            self._rest_stream(stream)
        return self._watch_reader(fd, callback, args, context.get("context"))

    def _remove_reader(self, fd: int) -> bool:
        stream = self._streams.get(fd)
        if stream is not None:
            return self._stopped(stream, stream.stop())
        return self._unwatch_reader(fd)

    def _add_writer(self, fd: int, callback: Callable[..., Any], *args: Any, **context: Any) -> Any:
        stream = self._streams.get(fd)
        if stream is None and self._watches.find(fd) is None:  # perhaps a transport's, which reads nothing now
            owner = getattr(callback, "__self__", None)
            if isinstance(owner, SocketTransport):
                stream = owner._stream
                self._watch_stream(stream)
        if stream is not None:
            if stream.flushes(callback, context.get("context")):
                return None
            self._rest_stream(stream)
        return self._watch_writer(fd, callback, args, context.get("context"))

    def _remove_writer(self, fd: int) -> bool:
        stream = self._streams.get(fd)
        if stream is not None:
            return self._stopped(stream, stream.stop_flush())
        return self._unwatch_writer(fd)

    def _stopped(self, stream: Stream, was: bool) -> bool:
        """A stream waits for one thing less, if it did (`was`, which this returns)."""
        if not stream.polls():
            self._rest_stream(stream)
        return was

    def _make_datagram_transport(self, sock: socket.socket, *args: Any, **kwargs: Any) -> Any:
        transport = super()._make_datagram_transport(sock, *args, **kwargs)  # type: ignore[misc]
        if sock.family != socket.AF_UNIX:  # one of those may be longer, and would be cut off
            transport.max_size = _READ_BYTES
        return transport

    def _make_read_pipe_transport(self, *args: Any, **kwargs: Any) -> Any:
        transport = super()._make_read_pipe_transport(*args, **kwargs)  # type: ignore[misc]
        transport.max_size = _READ_BYTES
        return transport

    # ---- threads, signals, the end ------------------------------------------------------------------------------------

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        """Runs func(*args) in an executor; None: in a plain goroutine."""
        self._check_closed()  # type: ignore[attr-defined]
        mine: Any = self
        if executor is None and mine._default_executor is None and mine._thread_id is not None:
            self._check_default_executor()  # type: ignore[attr-defined]
            mine._default_executor = Goroutines(self)
        return super().run_in_executor(executor, func, *args)

    def remove_signal_handler(self, sig: int) -> bool:
        """Removes a handler; True when there was one."""
        removed = super().remove_signal_handler(sig)
        if removed and not self._signal_handlers:
            for handlers in signals._installed:
                handlers.listen()  # asyncio has given up the interpreter's wakeup descriptor
        return removed

    def close(self) -> None:
        """Closes the loop.  Raises RuntimeError while it runs."""
        if not self.is_running():
            for stream in list(self._streams.values()):
                self._end_stream(stream)
        super().close()
        self._watches.clear()
        fd, self._fd = self._fd, None
        self._sched = None
        self._spare.clear()
        if fd is not None:
            fd.shut()
