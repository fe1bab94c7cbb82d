"""The uncompiled core: the program's signal handlers wait until the main thread is out of the runtime.

CPython runs a handler in the main thread between any two bytecodes.  The compiled core's critical sections have no
bytecodes.  Those of the uncompiled core have, so a handler could run while its own thread holds a lock of the runtime.
If it then called ch.try_send, it would wait for that lock for ever; if it raised, the lock would never be released.

So while a program runs in the main thread, each handler that the program sets goes into the interpreter's table behind
a Deferred.  The Deferred runs the handler at once if the main thread is in the user's code, or waits in the runtime
with no lock held.  Otherwise it notes the signal, and sysmon sends SIGURG, whose handler (signals.Interrupts.kicked)
tries again, until the main thread is in such a place.

Invariants
- Nobody sees a Deferred: signal.signal and signal.getsignal, which are replaced meanwhile, give the program's own.
- No signal is lost: what is still noted when the program ends runs then.

The dump that SIGQUIT makes takes the locks of goroutines, so it waits in the same way.  What does not live here: gort's
other handlers, which take no locks and need not wait (signals.py).
"""

from __future__ import annotations

import sys
from types import FunctionType, MethodType

from gort._runtime.core import runtime2, traceback
from gort._runtime.sched import proc
from gort._runtime.sched.blocking import calls_user

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections import deque
    from types import CodeType, FrameType
    from typing import Any
else:
    from _collections import deque

    import _signal as signal  # as in signals.py

pending: deque[tuple[Any, int]] = deque()  # (handler, number) of signals that have come and wait
_set, _get = signal.signal, signal.getsignal  # the interpreter's own
_sched: Any = None  # of the program that runs in the main thread
_harmless: list[Any] = []  # signals.harmless: the tests' alarm must come when the runtime hangs


def lockless() -> set[CodeType]:
    """The code of the runtime that waits, or calls the user's, with no lock held."""
    ours = (runtime2.Note.sleep, proc.resume, proc.run, proc.throw_in, proc.in_context)
    return {fn.__code__ for fn in (*ours, deliver)} | calls_user


_callers = {fn.__code__ for fn in (proc.resume, proc.run, proc.throw_in, proc.in_context)}


_lockless: set[CodeType] = set()


# The pollers' waits, in which no lock is held.  These modules are loaded only with the network.
_WAITS = (
    ("gort._runtime.c.net", "net_epoll_wait"),
    ("gort._runtime.poll.levelpoll", "sleeps_in_poll"),
    ("gort._runtime.poll.levelpoll", "sleeps_in_select"),
)


def _holds_none(code: CodeType) -> bool:
    """True for the code of lockless(), and for the pollers' waits.

    A signal may come while one of their modules is being imported: it then lacks its functions, and none of them runs."""
    if code in _lockless:
        return True
    for module, name in _WAITS:
        wait = getattr(sys.modules.get(module), name, None)
        if wait is not None and code is wait.__code__:
            return True
    return False


_RUNTIME = traceback.HIDDEN + "_runtime"
# What calls the callbacks and protocols of an event loop, holding no lock.  Loaded with gort.aio only.
_LOOP_CALLERS = (
    ("gort._runtime.aio.handles", "run_handle"),
    ("gort._runtime.aio.stream", "read"),
    ("gort._runtime.aio.stream", "read_into"),
    ("gort._runtime.aio.stream", "ended"),
    ("gort._runtime.aio.stream", "flush_once"),
    ("gort._runtime.aio.core", "run_once"),  # in debug mode, through asyncio's
)


def _calls_for_a_loop(code: CodeType) -> bool:
    """True for the code of _LOOP_CALLERS.  A handler runs in what they call, but not directly in them: what it raises
    there would cost the loop a callback, or a protocol what it was to get."""
    return any(code is getattr(getattr(sys.modules.get(m), name, None), "__code__", None) for m, name in _LOOP_CALLERS)


def may_run(frame: FrameType | None) -> bool:
    """True when the main thread, interrupted in this frame, holds no lock of gort's.

    Two conditions.  The frame is the user's, or one in which the runtime waits with no lock held.  And the innermost
    frame of the runtime below it is one that calls the user's code with no lock held; otherwise the user's frame may be
    that of a finalizer or an import in the middle of a critical section.  A handler never runs directly in a frame that
    calls goroutines: there what it raises would be raised in the scheduler."""
    if frame is not None and frame.f_code in _callers:
        return False
    if frame is not None and traceback.hidden(frame.f_code) and not _holds_none(frame.f_code):
        return False
    while frame is not None and not str.startswith(frame.f_code.co_filename, _RUNTIME):
        frame = frame.f_back
    return frame is None or _holds_none(frame.f_code) or _calls_for_a_loop(frame.f_code)


def deliver(handler: Any, number: int, frame: FrameType | None) -> None:
    """Runs a handler.  Another one may interrupt it, because this is called only where handlers may run."""
    handler(number, frame)


class Deferred:
    """Stands in the interpreter's table in place of a handler of the program's."""

    __slots__ = ("handler",)

    def __init__(self, handler: Any) -> None:
        self.handler = handler

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not put_off(self.handler, number, frame):
            deliver(self.handler, number, frame)


def put_off(handler: Any, number: int, frame: FrameType | None) -> bool:
    """False if a handler may run now, in this frame.  Else it will run later, and True.  Called in the main thread."""
    if _sched is None or may_run(frame):
        return False
    pending.append((handler, number))
    _sched.sysmonnote.wakeup()
    return True


def run(frame: FrameType | None) -> None:
    """Runs the handlers that wait, if they may run in this frame.  Called in the main thread; raises what they raise."""
    while pending and may_run(frame):
        try:
            handler, number = pending.popleft()
        except IndexError:  # a signal in the middle of this has run them
            return
        deliver(handler, number, frame)


def _wrap(handler: Any) -> Any:
    """handler behind a Deferred, if it is the program's."""
    if not callable(handler) or handler is signal.default_int_handler or any(handler is h for h in _harmless):
        return handler
    fn = handler.__func__ if type(handler) is MethodType else handler
    if type(fn) is FunctionType and traceback.hidden(fn.__code__):
        return handler
    return Deferred(handler)


def _unwrap(handler: Any) -> Any:
    return handler.handler if type(handler) is Deferred else handler


def _signal(signalnum: int, handler: Any, /) -> Any:
    """signal.signal while a program runs."""
    return _unwrap(_set(signalnum, _wrap(handler)))


def _getsignal(signalnum: int, /) -> Any:
    """signal.getsignal while a program runs."""
    return _unwrap(_get(signalnum))


def install(s: Any, harmless: list[Any]) -> None:
    """Puts the program's handlers behind Deferreds, those that it sets later too.  Called in the main thread, once SIGURG
    is ours."""
    global _sched
    _sched = s
    _harmless[:] = harmless
    _lockless.update(lockless())
    table: Any = signal
    table.signal, table.getsignal = _signal, _getsignal
    for number in signal.valid_signals():
        handler = _get(number)
        behind = _wrap(handler)
        if behind is not handler:
            _set(number, behind)


def restore() -> None:
    """Puts the program's handlers back and runs those that wait.  A second call does nothing."""
    global _sched
    if _sched is None:
        return
    for number in signal.valid_signals():
        handler = _get(number)
        if type(handler) is Deferred:
            _set(number, handler.handler)
    if signal.signal is _signal:
        table: Any = signal
        table.signal, table.getsignal = _set, _get
    _sched = None
    while pending:
        late, came = pending.popleft()
        late(came, sys._getframe())
