"""The queue of signals between the system and gort.signal.  Follows Go's runtime/sigqueue.go.

The interpreter's own C handler writes each signal's number to a pipe (signal.set_wakeup_fd).  It does so on the thread
to which the system delivers the signal, no matter whether the main thread computes, is in a call or sleeps.  One thread
of ours, outside the scheduler and without a P, reads the pipe and passes the numbers on.  So a signal arrives even
while every P is busy or blocked.

Invariants
- The pipe is closed only after the interpreter has stopped writing to it.  Only the main thread can make it stop; if
  that cannot be reached, pipe and thread stay and are used again.
- `signals.before` changes only in the main thread, in _enable, _disable and _ignore, which take no locks.
- If the main thread could not be reached, a handler may stay installed although nobody wants its signal any more.  When
  the signal comes, that handler restores the previous one and raises the signal again.
- A wakeup descriptor of other code stays in place.  Then, and if other code has replaced ours, our Python handler,
  which runs in the main thread, writes to the pipe.

Rejected: the Python handler alone (the main thread runs it late if it is in a long call); a goroutine that waits for
the pipe (it needs a P, and a runtime that polls).

What does not live here: the channels that signals go to (gort/signal.py); errands to the main thread (signals.py).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from _collections_abc import Callable, Iterable
from types import FrameType

from gort._runtime.core import machine, panic
from gort._runtime.watch import signals, sigwake
from gort._runtime.watch.signals import before

GIVE_BACK_S = 1.0  # how long to wait for the main thread if _caught can do the work later
_IDLE, _QUIT = 0, 255  # messages to the thread; no signal has these numbers


class Queue:
    """The pipe, and the thread that reads it."""

    def __init__(self, process: Callable[[int], None]) -> None:
        self.process = process
        self.r, self.w = os.pipe()
        os.set_blocking(self.w, False)
        self.idle = threading.Semaphore(0)
        self.thread = threading.Thread(target=self.loop, name="gort-signal", daemon=True)
        self.thread.start()

    def loop(self) -> None:
        """The thread's function: passes the numbers in the pipe on until _QUIT comes."""
        while True:
            for number in os.read(self.r, 512):
                if number == _QUIT:
                    return
                if number == _IDLE:
                    self.idle.release()
                else:
                    try:
                        self.process(number)
                    except BaseException as e:  # something of the user's, and the thread must go on
                        panic.unraisable(e, None, "what a signal was to do raised")
                    if number not in wanted:
                        signals.came(number)

    def put(self, number: int) -> None:
        """Writes a number to the pipe, behind the signals that have come so far."""
        while True:
            try:
                os.write(self.w, bytes((number,)))
                return
            except BlockingIOError:  # 64 KiB of signals are on their way
                select.select([], [self.w], [])

    def close(self) -> None:
        """Ends the thread and closes the pipe.  The caller has made sure that nobody else writes to the pipe."""
        if threading.current_thread() is not self.thread:
            self.put(_QUIT)
            self.thread.join()
            os.close(self.r)
            os.close(self.w)


_queue: Queue | None = None
wanted: set[int] = set()  # the signals that must go into the queue


def start(process: Callable[[int], None]) -> None:
    """Starts the thread, which calls process(number) for each enabled signal that comes."""
    global _queue
    if _queue is None:
        _queue = Queue(process)


def stop(what: str) -> None:
    """Ends the thread if the main thread can be reached.  The caller has disabled every signal."""
    q = _queue
    if q is not None and signals.reachable():
        with contextlib.suppress(RuntimeError):
            signals.in_main_thread(lambda: _unplug(q), what, GIVE_BACK_S)
            q.close()


def wait_until_idle() -> None:
    """Waits until the thread has passed on every signal that has come before this call.  One caller at a time."""
    q = _queue
    if q is not None and threading.current_thread() is not q.thread:
        q.put(_IDLE)
        q.idle.acquire()


def enable(numbers: Iterable[int], what: str) -> None:
    """Makes these signals go into the queue from the moment it returns.  Raises RuntimeError as in_main_thread does."""
    signals.in_main_thread(lambda: _enable(numbers), what)


def disable(numbers: Iterable[int], what: str) -> None:
    """Restores the previous handlers of these signals.  If the main thread cannot be reached, _caught restores each one
    when its signal next comes."""
    try:
        signals.in_main_thread(lambda: _disable(numbers), what, GIVE_BACK_S)
    except RuntimeError:
        wanted.difference_update(numbers)


def ignore(numbers: Iterable[int], what: str) -> None:
    """Makes the system ignore these signals.  Raises RuntimeError as in_main_thread does."""
    signals.in_main_thread(lambda: _ignore(numbers), what)


# ---- in the main thread -----------------------------------------------------------------------------------------------


def _enable(numbers: Iterable[int]) -> None:
    numbers = list(numbers)
    for n in numbers:
        wanted.add(n)
        old = signal.signal(n, _caught)
        if old is not _caught:
            before.setdefault(n, old)
    machine.one_at_a_time(numbers)
    _plug()


def _disable(numbers: Iterable[int]) -> None:
    for n in numbers:
        if n in before:
            if signal.getsignal(n) in (_caught, signal.SIG_IGN):
                old = before[n]
                signal.signal(n, signal.SIG_DFL if old is None else old)  # None: a C handler, lost to Python
            del before[n]
        wanted.discard(n)  # last, because signal.signal first runs the handlers of signals that have come before


def _ignore(numbers: Iterable[int]) -> None:
    for n in numbers:
        old = signal.signal(n, signal.SIG_IGN)
        if old is not _caught:
            before.setdefault(n, old)
        wanted.discard(n)


def _plug() -> bool:
    """Makes the interpreter write to our pipe, unless it writes to another descriptor that is not gort's.  True when it
    already wrote to ours."""
    q = _queue
    if q is None:
        return True
    return sigwake.claim(q.w, signals.ours) == q.w


def _pass(number: int) -> None:
    """Puts the number into the queue, unless the C handler has written it there."""
    if not sigwake.settle(lambda found, passed: _pass_late(number, found, passed)):
        q = _queue
        if not _plug() and q is not None:
            q.put(number)


def _pass_late(number: int, found: int, passed: bytes) -> None:
    """What _pass does, for a signal whose handler ran in the middle of an exchange, which has ended."""
    q = _queue
    if q is not None:
        there = _plug()
        if not (found == q.w or (there and number in passed)):
            q.put(number)


def _unplug(q: Queue) -> None:
    global _queue
    _queue = None  # here, so that no handler plugs it in again before it is closed
    if sigwake.give_up(q.w):
        signals.listen_again()


def _caught(number: int, frame: FrameType | None) -> None:
    """The Python handler of enabled signals.  Mostly there is nothing left to do, since the C handler has already
    written the number to the pipe."""
    if number not in wanted:
        before.setdefault(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        _disable([number])
        signal.raise_signal(number)
        return
    sigwake.held(lambda: _pass(number))  # an errand in the middle could close the queue
    if number == signals.KICK and callable(before.get(number)):
        before[number](number, frame)


def after_fork() -> None:
    """Restores all handlers in a forked child and closes its copies of the pipe.  The thread that reads it exists only
    in the parent."""
    global _queue
    q, _queue = _queue, None
    _disable(list(before))
    if q is not None:
        _unplug(q)
        os.close(q.r)
        os.close(q.w)


signals.at_fork.append(after_fork)
