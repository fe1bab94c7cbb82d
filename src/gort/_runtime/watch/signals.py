"""Signals in the main thread: Ctrl-C, SIGQUIT, and errands for other threads.  Follows Go's runtime/signal_unix.go.

CPython runs signal handlers only in its main thread, between two bytecodes, and lets no other thread install one.  So a
thread that needs something done there puts an *errand* on a queue and sends the main thread SIGURG.  Go's runtime uses
the same signal on itself, because it does nothing in a process that does not catch it.  When a program has ended but
its main thread is still in a call, sysmon interrupts the call with this signal too.

A signal may come just before the main thread goes to sleep in a call.  Then CPython has recorded it, but runs the
handler only when the call returns, which may be never.  With several threads that window is as long as a handoff of the
GIL.  So CPython also writes each signal's number into a pipe (set_wakeup_fd; sigqueue.py's pipe while there is one),
and sysmon sends SIGURG until the main thread has run its handlers.

Invariants
- A handler takes no lock of the runtime, because it may have interrupted the scheduler while that held the lock.  The
  dump takes those of goroutines; in the uncompiled core it waits until the main thread holds none.
- The program's end restores every handler, unless other code has replaced ours since.
- A handler of the program's never runs while the uncompiled core holds a lock (sigdefer.py).

Rejected: SIGINT for errands (a Ctrl-C that comes at the same time would be taken for an errand); Py_AddPendingCall (a
main thread that waits for a lock does not run pending calls).

What does not live here: gort.signal's queue (sigqueue.py); the wakeup descriptor (sigwake.py).
"""

from __future__ import annotations

import os
import sys
import threading
import time

from gort._runtime.core import runtime2, traceback
from gort._runtime.watch import sigwake
from gort._runtime.sched import blocking
from gort._runtime.core.errors import Cancelled
from gort._runtime.core.machine import nanotime
from gort._runtime.core.mistakes import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections import deque
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")
else:
    from _collections import deque

    import _signal as signal  # the same functions without the enums, which would add two milliseconds to every start

KICK: int | None = getattr(signal, "SIGURG", None)
KICK_AGAIN_S = 0.05  # seconds until an errand's signal is sent again: the first may have come just before a sleep
KICKS_MAX = 30  # the most kicks for one signal; they take some five seconds
PATIENCE_S = 10.0  # how long an errand waits for a main thread that is in a call which no signal interrupts

running: list[Any] = []  # the scheds of the programs that run now
at_end: list[Callable[[Any], None]] = []  # called with the sched of a program that ends, before anything is closed
at_fork: list[Callable[[], None]] = []  # called in a forked child, before the handlers below are restored
tracer: Any = None  # the module gort.trace, which is loaded when the live page first wants it; gort/__init__.py sets it
page: Callable[[], str] | None = None  # begins the live page and returns its address; boot/main.py sets it
before: dict[int, Any] = {}  # the signals that gort.signal has taken -> the handlers that it replaced (sigqueue.py)
harmless: list[Any] = []  # handlers that are neither Python's nor gort's, and wake no goroutine: the tests' own alarm
_errands: deque[Errand] = deque()
_installed: list[Interrupts] = []


# The files whose functions do the scheduler's own work, but for coroutines and for these, which call a goroutine or a
# function of the user's.
SCHEDULER = tuple(os.path.join(traceback.HIDDEN, "_runtime", room, "") for room in ("core", "sched", "poll", "watch"))
CALLERS = frozenset(("call", "in_context", "resume", "run", "throw_in"))


def in_user_code(frame: Any) -> bool:
    """True when a handler may raise an exception at this frame: it is user code, or calls user code that is written in
    C.

    Code of the standard library is the user's if user code has called it.  If the runtime has called it (to start a
    thread, to import a module), an exception there would break the scheduler.  The import system's own code is not:
    it drops its locks in callbacks of weak references, where an exception is only reported and so lost."""
    if frame is None:
        return False
    if frame.f_code in blocking.calls_user:
        return True
    if traceback.hidden(frame.f_code) or frame.f_code.co_filename.startswith("<frozen importlib."):
        return False
    while frame is not None and not traceback.hidden(frame.f_code):
        frame = frame.f_back
    if frame is None or not frame.f_code.co_filename.startswith(SCHEDULER):
        return True
    return bool(frame.f_code.co_flags & blocking.CO_COROUTINE) or frame.f_code.co_name in CALLERS


class Interrupts:
    """The signal handlers of one running program.  Ctrl-C becomes KeyboardInterrupt in the main goroutine, wherever
    that waits or runs.

    The handler runs between two bytecodes of the main thread, perhaps in the middle of the scheduler with a lock held.
    So it raises only if that thread runs user code of the main goroutine.  Otherwise it sets a flag, and sysmon
    delivers the exception."""

    def __init__(self, s: Any) -> None:
        self.s = s
        self.taken: list[tuple[int, Any, Any]] = []  # signal, our handler, the handler that it replaced
        self.pipe: sigwake.Pipe | None = None
        self.kicks = 0  # how often SIGURG's handler has run
        self.enough = 0  # when kicks reaches this, the main thread has run the handlers of the last signal that came
        self.sent = 0  # kicks sent for that signal
        self.rest = 0  # looks until the next kick
        self.breaking = False  # the program has ended: SIGURG must interrupt the call that this thread is in
        self.quitting = False  # SIGQUIT has come, and its dump waits for the main thread to leave the runtime
        self.asked = False  # SIGURG has come, perhaps from another process that asks for a dump (dumps.py)
        self.answered = 0  # kicks at the last look for that

    def install(self) -> None:
        """Installs our handlers for SIGINT, SIGQUIT and SIGURG if this is the main thread.  Leaves a signal alone that
        has another handler than the default."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._take(signal.SIGINT, self.handle, signal.default_int_handler)
        if hasattr(signal, "SIGQUIT"):
            self._take(signal.SIGQUIT, self.dump_and_exit, signal.SIG_DFL)
        if KICK is not None:
            self.s.caninterrupt = self._take(KICK, self.kicked, signal.SIG_DFL)
        _installed.append(self)
        if self.s.caninterrupt:
            self.listen()
            if not runtime2.COMPILED:
                from gort._runtime.watch import sigdefer

                sigdefer.install(self.s, harmless)

    def listen(self) -> None:
        """Makes CPython write the numbers of signals to our pipe, unless it writes to another descriptor already, such
        as that of an asyncio loop around us.

        If the process has no descriptor left we go without the pipe."""
        try:
            fresh = None
            if self.pipe is None:
                self.pipe = fresh = sigwake.Pipe()
            sigwake.claim(self.pipe.w, probe=fresh)
        except (OSError, ValueError):
            pass

    def _unlisten(self) -> None:
        pipe = self.pipe
        if pipe is not None:
            pipe.read()  # so that what is in it afterwards has come meanwhile
            sigwake.give_up(pipe.w, probe=pipe if pipe.same() else None)
            pipe.close()
            self.pipe = None  # last, because restore repeats all of this if a handler raises in the middle

    def came(self, number: int) -> None:
        """Records that a signal has come whose handler the main thread may not have run.

        Only two kicks prove that it has.  CPython runs pending handlers in the order of their numbers, and this signal
        may have come when that round was past its number but not yet past SIGURG's."""
        if number == KICK:
            self.asked = True
        else:
            self.enough = self.kicks + 2
            self.sent = self.rest = 0

    def look(self) -> None:
        """Called by sysmon: kicks the main thread if it may not have run a signal's handler.  The kicks become rarer
        and end after KICKS_MAX, because the thread may be in a call that no signal interrupts."""
        pipe = self.pipe
        if pipe is not None:
            for number in pipe.read():
                self.came(number)
        if self.asked or self.answered != self.kicks:
            self.asked = False
            self.answered = self.kicks
            self.answer()
        if deferred():
            kick(self.s.m0.ident)
            return
        if self.kicks >= self.enough or self.sent == KICKS_MAX:
            return
        if self.rest:
            self.rest -= 1
        elif signal.getsignal(KICK) == self.kicked or before.get(KICK) == self.kicked:  # type: ignore[arg-type]
            self.rest = self.sent
            self.sent += 1
            kick(self.s.m0.ident)

    def answer(self) -> None:
        """Called by sysmon: makes the dump for which another process may have asked with SIGURG."""
        try:
            if os.path.exists(
                f"/tmp/gort-{os.geteuid()}/{os.getpid()}.ask"
            ):  # seldom: it is nearly always our own signal
                from gort._runtime.watch import dumps

                dumps.answer(running)
        except (ImportError, OSError, MemoryError):
            pass  # no descriptor is left to read the module with; the command says that nothing came

    def _take(self, signum: int, handler: Any, default: Any) -> bool:
        if signum in before:  # gort.signal has it: it installs our handler when no channel wants the signal any more
            if before[signum] != default:
                return False
            before[signum] = handler
        elif signal.getsignal(signum) == default:
            signal.signal(signum, handler)
        else:
            return False
        self.taken.append((signum, handler, default))
        return True

    def restore(self) -> None:
        """Restores the handlers that ours replaced, and runs the errands that came too late.  A second call does
        nothing."""
        if self not in _installed:
            return
        _installed.remove(self)
        self.s.caninterrupt = False
        try:
            self._restore()
        except BaseException:
            self._restore()  # a handler of the user's has raised in the middle of the first attempt
            raise
        run_errands()

    def _restore(self) -> None:
        """Restores SIGINT last, because from then on Ctrl-C raises KeyboardInterrupt at any line."""
        if not runtime2.COMPILED:
            from gort._runtime.watch import sigdefer

            sigdefer.restore()
        self._unlisten()
        while self.taken:
            signum, handler, default = self.taken[-1]
            if before.get(signum) == handler:
                before[signum] = default
            elif signal.getsignal(signum) == handler:
                signal.signal(signum, default)
            self.taken.pop()

    def handle(self, signum: int, frame: Any) -> None:
        """SIGINT's handler: raises KeyboardInterrupt in user code of the main goroutine, and at a second Ctrl-C in that
        of any goroutine; else leaves the delivery to sysmon."""
        s = self.s
        first = not s.interrupted
        s.interrupted = True
        g = s.m0.curg
        user = g is not None and in_user_code(frame)
        if user and (g is s.maing or not first or s.exiting):
            s.interruptsent = True
            raise KeyboardInterrupt
        s.sysmonnote.wakeup()

    def kicked(self, signum: int, frame: Any) -> None:
        """SIGURG's handler: runs the errands.  If the program has ended and this thread is in user code, raises there.
        The signal may also have come only to make CPython run the handler of another; that has then happened."""
        self.kicks += 1
        run_errands()
        if not runtime2.COMPILED:
            from gort._runtime.watch import sigdefer

            sigdefer.run(frame)
        s = self.s
        if self.breaking and not s.m0left and s.m0.curg is not None and in_user_code(frame):
            if s.interrupted:
                raise KeyboardInterrupt
            raise Cancelled("the program has ended")

    def dump_and_exit(self, signum: int, frame: Any) -> None:
        """SIGQUIT's handler: prints every goroutine's stack and ends the process with status 2, as Go does.

        If the main thread never leaves the runtime, because that hangs, the next SIGQUIT does not wait for it."""
        if not runtime2.COMPILED and not self.quitting:
            from gort._runtime.watch import sigdefer

            self.quitting = sigdefer.put_off(self.dump_and_exit, signum, frame)
            if self.quitting:
                return
        text = "\n".join(traceback.dump(s, None, group=True) for s in list(running))
        say(f"SIGQUIT: quit\n\n{text}\n")
        os._exit(2)


class Errand:
    """A function that the main thread must call for another thread."""

    def __init__(self, fn: Callable[[], Any]) -> None:
        self.fn = fn
        self.value: Any = None
        self.exc: BaseException | None = None
        self.done = threading.Event()
        self._claimed = threading.Lock()

    def claim(self) -> bool:
        """True for the first caller only: either the main thread, which then runs the function, or the waiting thread,
        which gives up."""
        return self._claimed.acquire(False)

    def run(self) -> None:
        """Runs the function, unless the waiting thread has given up."""
        if self.claim():
            try:
                self.value = self.fn()
            except BaseException as e:
                self.exc = e
            self.done.set()


def run_errands() -> None:
    """Runs the errands of other threads.  Called only in the main thread.  In the middle of an exchange of the wakeup
    descriptor none may run; whoever waits for one kicks again."""
    while _errands and not sigwake.asking:
        try:
            errand = _errands.popleft()
        except IndexError:
            return
        errand.run()


def look(s: Any) -> None:
    """Called by sysmon every few milliseconds, so that no signal of the program s waits for the end of a call."""
    for interrupts in _installed:
        if interrupts.s is s:
            interrupts.look()


def break_call(s: Any) -> None:
    """Called by sysmon when the program s has ended: interrupts the call that its main thread is in."""
    for interrupts in _installed:
        if interrupts.s is s:
            interrupts.breaking = True
    kick(s.m0.ident)


def came(number: int) -> None:
    """Called by sigqueue.py for a signal in its pipe that no channel wants."""
    for interrupts in _installed:
        interrupts.came(number)


def ours(fd: int) -> bool:
    """True when fd belongs to the pipe of a running program."""
    return any(i.pipe is not None and i.pipe.w == fd for i in _installed)


def listen_again() -> None:
    """Makes CPython write to our pipes again after sigqueue.py has taken its own away.  Called only in the main
    thread."""
    for interrupts in _installed:
        if interrupts.s.caninterrupt:
            interrupts.listen()


def deferred() -> bool:
    """True while a handler of the program's waits for the main thread to leave the runtime (sigdefer.py)."""
    sigdefer = sys.modules.get("gort._runtime.watch.sigdefer")
    return sigdefer is not None and bool(sigdefer.pending)


def user_handlers() -> bool:
    """True when the program has set a handler for some signal, which may make a goroutine runnable when it comes."""
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        if callable(handler) and handler is not signal.default_int_handler:
            # Compared by identity, because == would run the user's code.
            ours = [own for i in _installed for _, own, _ in i.taken]
            if not any(handler is one for one in (*ours, *harmless)):
                return True
    return False


def kick(ident: int | None) -> None:
    """Sends SIGURG to the thread `ident`, the main thread; where the system has no pthread_kill, to the process, which
    gives it to that thread as a rule."""
    if KICK is None or ident is None:
        return
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(ident, KICK)
    else:
        os.kill(os.getpid(), KICK)


def reachable() -> bool:
    """True when this thread is the main thread or can send it an errand."""
    if threading.current_thread() is threading.main_thread():
        return True
    return any(i.s.caninterrupt for i in list(_installed))


def check_reachable(what: str) -> None:
    """Raises RuntimeError if this thread is not the main thread and cannot send it an errand."""
    if not reachable():
        raise RuntimeError(
            f"{what}: only Python's main thread can set signal handlers, and no gort.run is running there: "
            f"call gort.run in the main thread, or {what} there before this thread starts its program"
        )


def in_main_thread(fn: Callable[[], T], what: str, patience: float | None = None) -> T:
    """Calls fn() in the main thread and returns its result: directly if this is the main thread, else as an errand, for
    which it waits up to `patience` seconds.  fn must not take locks.

    Raises what fn raises; RuntimeError if no program runs in the main thread, or if that thread does not run the errand
    in time."""
    main = threading.main_thread()
    if threading.current_thread() is main:
        return fn()
    check_reachable(what)
    if patience is None:
        patience = PATIENCE_S
    errand = Errand(fn)
    _errands.append(errand)
    end = nanotime() + int(patience * 1e9)
    while True:
        kick(main.ident)
        if errand.done.wait(KICK_AGAIN_S):
            break
        if nanotime() > end and errand.claim():
            raise RuntimeError(
                f"{what}: the main thread, which alone can set signal handlers, has been in one call for "
                f"{patience:g} s: {what} before that, or make the call with gort.blocking"
            )
    if errand.exc is not None:
        raise errand.exc
    return errand.value  # type: ignore[no-any-return]


def ended(s: Any) -> None:
    """Calls the functions of at_end, which release the signals that they hold for the program s."""
    for fn in at_end:
        fn(s)


def after_fork() -> None:
    """Restores the signal handlers in a forked child, to those of before gort.run.  The child has no goroutines, so a
    signal handler of ours would have nobody to tell."""
    for errand in list(_errands):
        errand.claim()
    _errands.clear()
    for fn in at_fork:
        fn()
    while _installed:
        _installed[-1].restore()
