"""What the main thread does for the runtime when a signal comes: Ctrl-C, SIGQUIT, and errands.  Follows Go's
runtime/signal_unix.go.

CPython runs signal handlers in its main thread only, between two bytecodes, and lets no other thread install one.  So
whatever has to happen there is sent as an *errand*: it is put on a queue and the main thread is hit with SIGURG, the
signal that Go's runtime uses on itself, because nothing happens where nobody catches it.  With the same signal sysmon
breaks the call in which an ended program's main thread still sits.

A signal may come in the moment before the main thread goes to sleep in a call: CPython has noted it then, and looks again
when the call returns, which may be never.  With several threads that moment is as long as it takes to hand the GIL on.
So CPython writes what came into a pipe (set_wakeup_fd; sigqueue.py's while that is there), and sysmon sends SIGURG until
it has been seen.

Invariants
- A handler takes no lock of the runtime: it may have interrupted the scheduler while that held it.
- Every handler is taken back when the program ends, unless somebody has put another in its place since.

Rejected: SIGINT for errands (a Ctrl-C that comes with one would be taken for it); Py_AddPendingCall (a main thread that
waits for a lock does not look at it).
"""

from __future__ import annotations

import os
import sys
import threading
import time

from gort._runtime.core import traceback
from gort._runtime.watch import sigwake
from gort._runtime.sched.blocking import BlockingOp
from gort._runtime.core.errors import Cancelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections import deque
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")
else:
    from _collections import deque

    import _signal as signal  # the same functions, without the enums: those take two milliseconds of every start

KICK: int | None = getattr(signal, "SIGURG", None)
KICK_AGAIN_S = 0.05  # an errand's signal may come in the moment before the main thread goes to sleep
KICKS_MAX = 30  # for one signal, in some five seconds
PATIENCE_S = 10.0  # how long the main thread may sit in one call that no signal interrupts

running: list[Any] = []  # the scheds of the programs that run now
at_end: list[Callable[[Any], None]] = []  # called with the sched of a program that ends, before anything is closed
at_fork: list[Callable[[], None]] = []  # called in a forked child, before the handlers below are taken back
before: dict[int, Any] = {}  # gort.signal has these signals; what it took the place of (sigqueue.py)
_errands: deque[Errand] = deque()
_installed: list[Interrupts] = []


def in_user_code(frame: Any) -> bool:
    """Whether an exception may be raised at this frame: in no code of the runtime's, save a call made by blocking()."""
    if frame is None:
        return False
    return frame.f_code is BlockingOp.begin.__code__ or not traceback.hidden(frame.f_code)


class Interrupts:
    """The handlers of one running program.  Ctrl-C is KeyboardInterrupt in the main goroutine, wherever it waits or runs.

    The handler runs between two bytecodes of the main thread, perhaps in the middle of the scheduler with a lock held.
    So it raises only where user code of the main goroutine is running; otherwise it leaves word and sysmon delivers."""

    def __init__(self, s: Any) -> None:
        self.s = s
        self.taken: list[tuple[int, Any, Any]] = []  # signal, our handler, what was there before
        self.pipe: sigwake.Pipe | None = None
        self.kicks = 0  # how often SIGURG's handler has run
        self.enough = 0  # a signal that came has been seen by the main thread when there have been so many
        self.sent = 0  # kicks for it
        self.rest = 0  # looks until the next
        self.breaking = False  # the program has ended: SIGURG ends what this thread is in

    def install(self) -> None:
        """Takes SIGINT, SIGQUIT and SIGURG over, if this is the main thread and nobody else has."""
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

    def listen(self) -> None:
        """Has CPython write down what comes, unless it does so for somebody else, such as an asyncio loop around us.

        Without a free descriptor we do without."""
        try:
            if self.pipe is None:
                self.pipe = sigwake.Pipe()
            sigwake.claim(self.pipe.w)
        except (OSError, ValueError):
            pass

    def _unlisten(self) -> None:
        pipe = self.pipe
        if pipe is not None:
            sigwake.give_up(pipe.w)
            pipe.close()
            self.pipe = None  # last: what has been interrupted is done once more

    def came(self, number: int) -> None:
        """A signal has come that the main thread may not have seen.

        Two kicks it takes: handlers run in the order of their numbers, and this one may have come when they were past its
        number already, but not past SIGURG's."""
        if number != KICK:
            self.enough = self.kicks + 2
            self.sent = self.rest = 0

    def look(self) -> None:
        """For sysmon: has the main thread look at what it may not have seen.  More and more seldom, and not for ever: it
        may be in a call that no signal interrupts."""
        pipe = self.pipe
        if pipe is not None:
            for number in pipe.read():
                self.came(number)
        if self.kicks >= self.enough or self.sent == KICKS_MAX:
            return
        if self.rest:
            self.rest -= 1
        elif signal.getsignal(KICK) == self.kicked or before.get(KICK) == self.kicked:  # type: ignore[arg-type]
            self.rest = self.sent
            self.sent += 1
            kick(self.s.m0.ident)

    def _take(self, signum: int, handler: Any, default: Any) -> bool:
        if signum in before:  # a channel is told of it: ours comes when none is any more
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
        """Gives the signals back, and does the errands that came too late.  Again does nothing."""
        if self not in _installed:
            return
        _installed.remove(self)
        self.s.caninterrupt = False
        try:
            self._restore()
        except BaseException:
            self._restore()  # a handler of the user's has raised in the middle of it
            raise
        run_errands()

    def _restore(self) -> None:
        """SIGINT comes last: from then on Ctrl-C is an exception wherever it comes."""
        self._unlisten()
        while self.taken:
            signum, handler, default = self.taken[-1]
            if before.get(signum) == handler:
                before[signum] = default
            elif signal.getsignal(signum) == handler:
                signal.signal(signum, default)
            self.taken.pop()

    def handle(self, signum: int, frame: Any) -> None:
        """SIGINT."""
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
        """SIGURG: there are errands; or the program has ended, and what this thread is in must end too; or another signal
        was to be looked at, which has happened now."""
        self.kicks += 1
        run_errands()
        s = self.s
        if self.breaking and not s.m0left and s.m0.curg is not None and in_user_code(frame):
            if s.interrupted:
                raise KeyboardInterrupt
            raise Cancelled("the program has ended")

    def dump_and_exit(self, signum: int, frame: Any) -> None:
        """SIGQUIT: every goroutine's stack, and status 2, as Go does."""
        text = "\n".join(traceback.dump(s) for s in list(running))
        sys.stderr.write(f"SIGQUIT: quit\n\n{text}\n")
        sys.stderr.flush()
        os._exit(2)


class Errand:
    """A function that the main thread is to call for another."""

    def __init__(self, fn: Callable[[], Any]) -> None:
        self.fn = fn
        self.value: Any = None
        self.exc: BaseException | None = None
        self.done = threading.Event()
        self._claimed = threading.Lock()

    def claim(self) -> bool:
        """True for the first who asks: the main thread that will do it, or the waiter who gives up."""
        return self._claimed.acquire(False)

    def run(self) -> None:
        """Does it, unless the waiter has given up."""
        if self.claim():
            try:
                self.value = self.fn()
            except BaseException as e:
                self.exc = e
            self.done.set()


def run_errands() -> None:
    """Does what other threads have asked for.  Main thread only."""
    while _errands:
        try:
            errand = _errands.popleft()
        except IndexError:
            return
        errand.run()


def look(s: Any) -> None:
    """For sysmon, every few milliseconds: no signal of the program s shall wait for the end of a call."""
    for interrupts in _installed:
        if interrupts.s is s:
            interrupts.look()


def break_call(s: Any) -> None:
    """For sysmon: the program s has ended, and what its main thread is in must end too."""
    for interrupts in _installed:
        if interrupts.s is s:
            interrupts.breaking = True
    kick(s.m0.ident)


def came(number: int) -> None:
    """For sigqueue.py, when CPython writes to its pipe: a signal that is not for it."""
    for interrupts in _installed:
        interrupts.came(number)


def ours(fd: int) -> bool:
    """Whether CPython writes signals there for a program."""
    return any(i.pipe is not None and i.pipe.w == fd for i in _installed)


def listen_again() -> None:
    """sigqueue.py has taken its pipe away.  Main thread only."""
    for interrupts in _installed:
        if interrupts.s.caninterrupt:
            interrupts.listen()


def kick(ident: int | None) -> None:
    """Hits the main thread with SIGURG."""
    if KICK is not None and ident is not None:
        signal.pthread_kill(ident, KICK)


def reachable() -> bool:
    """Whether this thread is the main thread, or may send it an errand."""
    if threading.current_thread() is threading.main_thread():
        return True
    return any(i.s.caninterrupt for i in list(_installed))


def check_reachable(what: str) -> None:
    """RuntimeError when what has to be done in the main thread cannot be."""
    if not reachable():
        raise RuntimeError(
            f"{what}: only Python's main thread can set signal handlers, and no gort.run is running there: "
            f"call gort.run in the main thread, or {what} there before this thread starts its program"
        )


def in_main_thread(fn: Callable[[], T], what: str, patience: float | None = None) -> T:
    """fn() as called in the main thread: here if this is it, else as an errand, waited for.  fn takes no locks.

    RuntimeError when no program runs in the main thread, and when that does not come to it in time."""
    main = threading.main_thread()
    if threading.current_thread() is main:
        return fn()
    check_reachable(what)
    if patience is None:
        patience = PATIENCE_S
    errand = Errand(fn)
    _errands.append(errand)
    end = time.monotonic() + patience
    while True:
        kick(main.ident)
        if errand.done.wait(KICK_AGAIN_S):
            break
        if time.monotonic() > end and errand.claim():
            raise RuntimeError(
                f"{what}: the main thread, which alone can set signal handlers, has been in one call for "
                f"{patience:g} s: {what} before that, or make the call with gort.blocking"
            )
    if errand.exc is not None:
        raise errand.exc
    return errand.value  # type: ignore[no-any-return]


def ended(s: Any) -> None:
    """A program ends: whoever keeps signals for it lets them go."""
    for fn in at_end:
        fn(s)


def after_fork() -> None:
    """In a forked child nobody is left whom a signal could be for: they do again what they did before gort.run."""
    for errand in list(_errands):
        errand.claim()
    _errands.clear()
    for fn in at_fork:
        fn()
    while _installed:
        _installed[-1].restore()
