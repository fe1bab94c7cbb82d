"""LoopCore, the hot half of gort.aio.Loop: its queue of callbacks, its timers, and an iteration.
Follows BaseEventLoop in asyncio's base_events.py, whose fields it has under their names, and which does all the rest.

An iteration takes events from the loop's epoll.  Then it runs, in asyncio's order, the callbacks that were there before,
each stream that has something, each descriptor of add_reader, and the timers that are due.  A library may rely on that
order: what a program enqueues before it waits for an answer runs before the answer comes.

Invariants
- The loop's thread alone uses what is here, but for `_woken`, `_due` and the queue of callbacks (a deque).
- `_due`: the wait has ended because something has come in the epoll, and nobody has looked since.  Who learns of it sets
  `_due`, then wakes the loop; the loop clears it, then looks.  So no event is left behind.
- `_seen`: the loop's own thread has waited in its epoll (wait.py) and has taken the events.  So the next iteration
  need not look, but for `_due`, which that wait sets where it has left something.
- `_again`: the last look has perhaps not told of all.  So the loop looks again before it waits, as it does while what
  the last look told of add_reader's descriptors may still be so (watch.py).
- `_woken` is set before the wait is ended, and cleared before the callbacks run; a fence stands between the queue and
  `_woken` on both sides.  So a callback from another thread is seen by this iteration, or ends the next wait.
- A loop looks when it has nothing to run, and else every LOOK_NS.
- In debug mode asyncio's own code runs, which measures each callback; streams have their turn in callbacks then.

What does not live here: the wait (wait.py); the heap of timers (due.py); what add_reader and add_writer watch
(readers.py, watch.py); what a loop does for the runtime between two iterations (attend.py); the loop's goroutine, and
how it begins and ends (gort/aio/loop.py).
"""

from __future__ import annotations

import os
import time
from asyncio import BaseEventLoop, Future, events, tasks
from collections import deque

import cython
from cython.cimports.cpython.ref import Py_INCREF, PyObject
from cython.cimports.gort._runtime.aio.attend import attend
from cython.cimports.gort._runtime.aio.handles import Handle, make_handle, run_handle
from cython.cimports.gort._runtime.aio.readers import check_no_transport, watch
from cython.cimports.gort._runtime.aio.stream import Cork, Stream, event, release, serve
from cython.cimports.gort._runtime.aio.due import drop_cancelled, run_timers, schedule
from cython.cimports.gort._runtime.aio.watch import Watches, enqueue_hits, hit, number, remove, still
from cython.cimports.gort._runtime.c.net import (
    net_epoll_del,
    net_epoll_wait,
    net_event_fd,
    net_event_mask,
)
from cython.cimports.gort._runtime.c.rt import (
    nanotime,
    rt_call_method,
    rt_deque_append,
    rt_deque_learn,
    rt_deque_len,
    rt_deque_popleft,
    rt_fast_method,
    rt_fence,
    rt_import,
    rt_tuple,
)
from cython.cimports.gort._runtime.core.runtime2 import MCALL_LOOP, M
from cython.cimports.gort._runtime.poll.fd import FD
from cython.cimports.gort._runtime.poll.netpoll import Netpoll
from cython.cimports.gort._runtime.poll.polldesc import EPOLLIN, EPOLLOUT

rt_import()

if not cython.compiled:  # the .pxd defines the same name for C
    EVENTS = 256  # so many at most one look gives (gort_net.h)

# How long a loop that has callbacks to run does not look for events: a look costs as much as a few callbacks.
LOOK_NS = cython.declare(cython.longlong, 50_000)
_time = cython.declare(dict, time.__dict__)
_monotonic = time.monotonic
# From CPython 3.14 on who cancels such a handle on another thread waits until its callback has run.
_LOCKED = hasattr(events, "_ThreadSafeHandle")


class LoopCore:
    """What gort.aio.Loop inherits before asyncio's loop."""

    if not cython.compiled:
        _ready = None
        _scheduled = None
        _transports = None
        _own = None
        _keys = None
        _signal_handlers = None
        _stopping = False
        _closed = False
        _debug = False
        _turns = False
        _woken = False
        _due = False
        _seen = False
        _again = False
        _timer_cancelled_count = 0
        _task_factory = None
        _came = None
        _ep = -1
        _looked = 0
        _clock = 0
        _own_clock = False
        _tick = -1
        _since = 0
        _deadline = -1
        _bellfd = -1
        _np = None
        _place = None
        _inplace = False
        _m = None
        _fd = None
        _bell = None
        _streams = None
        _watches = None
        _cork = None

    def _open(self):
        """Before asyncio's __init__: `_own` is the loop's selector."""
        self._ep = self._own.fileno() if cython.compiled else self._own._selector
        self._keys = self._own._fd_to_key
        self._bellfd = -1
        self._came = deque()
        self._streams = {}
        self._watches = Watches(self._ep)
        self._cork = Cork()

    def _hear(self, m):
        """The loop runs from now on, in the runtime of m, to which its goroutine is locked: m may wait in the loop's
        epoll (hear)."""
        if cython.compiled:  # the uncompiled core waits in the runtime's poller alone
            self._m = m

    def _unhear(self):
        """The opposite.  Another thread may call this when the program has ended: then m's has ended too."""
        m: M = self._m
        if m is None:
            return
        m.ownwait = None
        # Where the poller has closed its bell the kernel has forgotten the number, which may be another file's now.
        if self._bellfd >= 0 and not self._np.closed and self._np.bellfd == self._bellfd:
            net_epoll_del(self._ep, self._bellfd)
        self._bellfd = -1
        self._np = self._m = self._place = None

    # ---- callbacks ----------------------------------------------------------------------------------------------------

    def call_soon(self, callback, *args, context=None):
        """Calls callback(*args) in the next iteration.  Raises RuntimeError if the loop is closed."""
        if self._debug or self._closed:
            return cut(BaseEventLoop.call_soon(self, callback, *args, context=context))
        h: Handle = make_handle(self, callback, args, context)
        rt_deque_append(self._ready, h)
        return h

    def _call_soon(self, callback, args, context):
        if self._debug:
            return cut(BaseEventLoop._call_soon(self, callback, args, context))
        h: Handle = make_handle(self, callback, args, context)
        rt_deque_append(self._ready, h)
        return h

    def call_later(self, delay, callback, *args, context=None):
        """Calls callback(*args) after `delay` seconds."""
        if delay is None:
            raise TypeError("delay must not be None")
        when = self.time() + delay
        if self._debug or self._closed:
            return cut(BaseEventLoop.call_at(self, when, callback, *args, context=context))
        return schedule(self, when, callback, args, context)

    def call_at(self, when, callback, *args, context=None):
        """Calls callback(*args) when the loop's clock shows `when` seconds."""
        if self._debug or self._closed or when is None:
            return cut(BaseEventLoop.call_at(self, when, callback, *args, context=context))
        return schedule(self, when, callback, args, context)

    def call_soon_threadsafe(self, callback, *args, context=None):
        """call_soon from any thread.  Raises RuntimeError if the loop is closed."""
        if self._debug or self._closed or _LOCKED:
            return cut(BaseEventLoop.call_soon_threadsafe(self, callback, *args, context=context))
        h: Handle = make_handle(self, callback, args, context)
        rt_deque_append(self._ready, h)
        self._write_to_self()
        return h

    def _write_to_self(self):
        """Ends the wait, or the next one.  Any thread, a signal handler too."""
        if cython.compiled:
            rt_fence()  # the caller has put something into the queue
        if self._woken:
            return
        self._woken = True
        fd: FD = self._fd  # read once, because the loop's thread may change it
        if cython.compiled:
            rt_fence()
            np: Netpoll = None if fd is None else fd.np  # read once, as fd
            if self._inplace and np is not None:  # no operation of the loop's waits (wait.py)
                np.wake()
                return
        if fd is not None:
            fd.retry_reads()
            self._bell.try_send(None)

    def create_future(self):
        """A future of this loop."""
        return Future(loop=self)

    def create_task(self, coro, **kwargs):
        """A task of this loop, which runs coro.  name, context, and what else asyncio's of this version takes."""
        if self._debug or self._closed or self._task_factory is not None or not plain(kwargs):
            task = BaseEventLoop.create_task(self, coro, **kwargs)
            return task if self._task_factory is not None else cut(task)
        return tasks.Task(coro, loop=self, **kwargs)

    def get_debug(self):
        """Whether the loop is in debug mode; each future and task asks when it is made."""
        return self._debug

    def time(self):
        """The loop's clock, in seconds: time.monotonic's."""
        if cython.compiled and _time["monotonic"] is _monotonic:  # else a test has put its own clock there
            return nanotime() / 1e9
        return time.monotonic()

    def _timer_handle_cancelled(self, handle):
        if handle._scheduled:
            self._timer_cancelled_count += 1

    # ---- streams ------------------------------------------------------------------------------------------------------

    def _make_stream(self, transport, fd, exact):
        """The stream of a transport, which is not watched yet."""
        return Stream(transport, fd, self._ep, self._came, self._cork, exact)

    def _watch_stream(self, st):
        """Has the kernel report on st's descriptor.  Raises OSError, and RuntimeError when the loop is closed."""
        if not st.watched:
            self._check_closed()
            st.watch()
            self._streams[st.fd] = st

    def _rest_stream(self, st):
        """The opposite: st waits for nothing, so the loop does not keep its transport.  Who drops that closes it."""
        st.unwatch()
        if self._streams.get(st.fd) is st:
            del self._streams[st.fd]

    def _end_stream(self, st):
        """Its transport has closed the descriptor, or is about to."""
        self._rest_stream(st)
        st.end()

    # ---- descriptors --------------------------------------------------------------------------------------------------

    def add_reader(self, fd, callback, *args):
        """Calls callback(*args) as long as fd, a descriptor or a file object, has something to read.  Raises RuntimeError
        for that of a transport and when the loop is closed, OSError for what cannot be waited for."""
        n: cython.int = check_no_transport(self, fd)
        if n >= 0 and n in self._streams:
            self._add_reader(n, callback, *args)
        else:
            watch(self, fd, n, EPOLLIN, callback, args, None)

    def remove_reader(self, fd):
        """The opposite.  True when there was one."""
        n: cython.int = check_no_transport(self, fd)
        if n >= 0 and n in self._streams:
            return self._remove_reader(n)
        return not self._closed and remove(self._watches, fd, n, EPOLLIN)

    def add_writer(self, fd, callback, *args):
        """Calls callback(*args) as long as fd has room.  Raises what add_reader raises."""
        n: cython.int = check_no_transport(self, fd)
        if n >= 0 and n in self._streams:
            self._add_writer(n, callback, *args)
        else:
            watch(self, fd, n, EPOLLOUT, callback, args, None)

    def remove_writer(self, fd):
        """The opposite.  True when there was one."""
        n: cython.int = check_no_transport(self, fd)
        if n >= 0 and n in self._streams:
            return self._remove_writer(n)
        return not self._closed and remove(self._watches, fd, n, EPOLLOUT)

    def _watch_reader(self, fd, callback, args, context):
        return watch(self, fd, number(fd), EPOLLIN, callback, args, context)

    def _unwatch_reader(self, fd):
        return not self._closed and remove(self._watches, fd, number(fd), EPOLLIN)

    def _watch_writer(self, fd, callback, args, context):
        return watch(self, fd, number(fd), EPOLLOUT, callback, args, context)

    def _unwatch_writer(self, fd):
        return not self._closed and remove(self._watches, fd, number(fd), EPOLLOUT)

    # ---- an iteration -------------------------------------------------------------------------------------------------

    def _run_once(self):
        """An iteration, without a wait."""
        run_once(self)

    def _turn(self, m):
        """Iterations, until there is nothing to do or the goroutine is to make way.  True when the loop is to stop."""
        return turn(self, m)


def cut(handle):
    """The handle, which asyncio has made for a method of LoopCore: cuts the frame of that method off the stack that
    debug mode keeps in it, as asyncio has cut its own.  Compiled there is no such frame."""
    if not cython.compiled and handle._source_traceback:
        del handle._source_traceback[-1]
    return handle


def plain(kwargs):
    """Whether every version of asyncio's Task takes these arguments of create_task, and nothing else looks at them."""
    if kwargs:
        for name in kwargs:
            if name != "name" and name != "context":
                return False
    return True


def lone(core):
    """Whether nothing but callbacks from other threads can come: only a signal's handler writes to the loop's own
    descriptor."""
    return len(core._keys) + len(core._watches.by_fd) <= 1 and not core._streams and not core._signal_handlers


def run_once(core):
    """An iteration, without a wait."""
    n: cython.Py_ssize_t
    now: cython.longlong = 0
    before: cython.Py_ssize_t
    others: object = ()
    st: Stream
    ready: object = core._ready
    came: object = core._came
    if core._cork.stream is not None:  # a callback runs the loop
        release(core._cork)
    if core._seen:  # its thread has looked just now
        core._seen = False
        now = core._clock or nanotime()
    elif not core._due and rt_deque_len(ready) != 0 and not again(core) and not core._debug:
        now = core._clock or nanotime()
    core._clock = 0
    if (core._due or now == 0 or now - core._looked >= LOOK_NS) and (core._due or again(core) or not lone(core)):
        others = look(core)
        core._looked = now or nanotime()
    if core._debug:
        for _ in range(len(came)):
            st = came.popleft()
            ready.append(events.Handle(serve_stream, (st,), core, None))
        if core._watches.hits:
            enqueue_hits(core._watches, ready)
        core._own.got = others
        BaseEventLoop._run_once(core)
        return 0
    before = rt_deque_len(ready)
    n = rt_deque_len(came)
    if others:
        core._own.got = others
        core._process_events(core._own.select(0))
    if core._watches.hits:
        enqueue_hits(core._watches, ready)
    if core._scheduled:
        run_timers(core, now)
    after: cython.Py_ssize_t = rt_deque_len(ready) - before
    run_ready(core._cork, ready, before)
    while n > 0:
        n -= 1
        st = rt_deque_popleft(came)
        serve(st)
        if core._cork.stream is not None:
            release(core._cork)
    if not cython.compiled:
        st = None  # as in run_ready
    run_ready(core._cork, ready, after)


def run_ready(cork, ready, n):
    """Runs the first n callbacks."""
    h: Handle
    while n > 0:
        n -= 1
        handle = rt_deque_popleft(ready)
        if isinstance(handle, Handle):
            h = handle
            if not h._cancelled:
                run_handle(h)
        elif not handle._cancelled:
            handle._run()
        if cork.stream is not None:
            release(cork)
    if not cython.compiled:  # a traceback that a callback has kept keeps this frame, and would keep its last handle
        h = handle = None


def turn(core, m):
    """Iterations, until there is nothing to do or the goroutine is to make way.  True when the loop is to stop."""
    m_: M = m
    before: cython.int = m_.mcall  # the predictor may have a word there for the next operation (sched/predict.py)
    core._turns = True
    core._cork.procid = 0 if core._debug else m_.procid
    m_.mcall = MCALL_LOOP
    try:
        while True:
            core._woken = False
            if cython.compiled:
                rt_fence()
            run_once(core)
            # Also where nothing is left to run: a loop whose waits end at once would never come to do it.
            core._clock = attend(core, m_)
            if core._stopping or m_.preempt or (rt_deque_len(core._ready) == 0 and rt_deque_len(core._came) == 0):
                return bool(core._stopping)
    finally:
        m_.mcall = before
        core._turns = False
        core._cork.procid = 0
        if core._cork.stream is not None:
            release(core._cork)


def before_fork():
    """Sends what the callback that forks has written: the child has a copy, and would send it again."""
    loop: object = events._get_running_loop()
    core: LoopCore
    if isinstance(loop, LoopCore):
        core = loop
        if core._cork is not None and core._cork.stream is not None:
            release(core._cork)


def look(core):
    """Takes the events that have come, and notes them.  Returns those that are neither a stream's nor of add_reader, for
    the selector: pairs of a descriptor and epoll's mask."""
    i: cython.int
    n: cython.int
    fd: cython.int
    others: object = None
    core._due = False
    core._watches.last.clear()
    if cython.compiled:
        n = net_epoll_wait(core._ep, 0)
        for i in range(n):
            fd = net_event_fd(i)
            if fd != core._bellfd:
                others = found(core, fd, net_event_mask(i), others)
    else:
        got = net_epoll_wait(core._ep, 0)
        n = len(got)
        for fd, mask in got:
            others = found(core, fd, mask, others)
    core._again = n == EVENTS or others is not None
    return others or ()


def found(core, fd, mask, others):
    """Notes an event: in its stream or its watch, else in the list `others`, which it returns."""
    of: object = None
    if len(core._streams) != 0:
        of = core._streams.get(fd)
    if of is not None:
        event(of, mask)
        return others
    of = core._watches.by_fd.get(fd)
    if of is not None:
        hit(core._watches, of, mask)
        return others
    if others is None:
        others = []
    others.append((fd, mask))
    return others


def again(core):
    """Whether the loop must look again before it waits."""
    return core._again or (bool(core._watches.last) and still(core._watches))


def serve_stream(st):
    """serve, for a callback of debug mode."""
    serve(st)


if cython.compiled:
    rt_deque_learn(deque)

    def call_soon_fast(self, args, nargs, kwnames):
        """call_soon in the interpreter's calling convention: parses nothing.  Passes everything that is neither
        `call_soon(callback, ...)` nor `call_soon(callback, ..., context=c)`, and every mistake, to call_soon."""
        core: LoopCore = cython.cast(LoopCore, self)
        context: object = None
        known: cython.bint = nargs >= 1 and not core._debug and not core._closed
        if known and kwnames != cython.NULL:
            names: tuple = cython.cast(tuple, kwnames)
            known = len(names) == 1 and cython.cast(str, names[0]) == "context"
            if known:
                context = cython.cast(object, args[nargs])
        if not known:
            return rt_call_method(_call_soon, cython.cast(object, self), args, nargs, kwnames)
        rest: tuple = () if nargs == 1 else rt_tuple(args + 1, nargs - 1)
        h: Handle = make_handle(core, cython.cast(object, args[0]), rest, context)
        rt_deque_append(core._ready, h)
        Py_INCREF(h)
        return cython.cast(cython.pointer(PyObject), h)

    _call_soon = rt_fast_method(LoopCore, "call_soon", call_soon_fast)

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=before_fork)
