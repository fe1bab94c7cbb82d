"""Signals on their way from the system to gort.signal.  Follows Go's runtime/sigqueue.go.

The interpreter's own C handler writes each signal's number to a pipe (signal.set_wakeup_fd), on whatever thread the
system ran it, whether the main thread computes, sits in a call or sleeps.  One thread, outside of the scheduler and
without a P, reads the pipe and hands the numbers on: so a signal arrives while every P is busy or blocked.

Invariants
- The pipe is closed only after the interpreter has been told to write to it no more.  Where that cannot be done (the
  main thread is out of reach) pipe and thread stay, and are used again.
- `signals.before` changes in the main thread only, in _enable, _disable and _ignore, which take no locks.
- A handler that stays behind although nobody wants its signal any more, because the main thread could not be reached,
  finds that out when the signal comes: it puts back what was there before and does that.
- Someone else's wakeup descriptor is left in place.  Then, as when somebody has taken ours away, the handler proper,
  which runs in the main thread, writes to the pipe.

Rejected: the handler alone (it runs when the main thread comes to it, which may be in the middle of a long call); a
goroutine that waits for the pipe (it needs a P, and a runtime that polls).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections.abc import Callable, Iterable
from types import FrameType

from gort._runtime.watch import signals, sigwake
from gort._runtime.watch.signals import before

GIVE_BACK_S = 1.0  # how long the main thread is waited for when that can be made up for later
_IDLE, _QUIT = 0, 255  # no numbers of signals


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
        """The thread's life."""
        while True:
            for number in os.read(self.r, 512):
                if number == _QUIT:
                    return
                if number == _IDLE:
                    self.idle.release()
                else:
                    self.process(number)
                    if number not in wanted:
                        signals.came(number)

    def put(self, number: int) -> None:
        """Puts a number of ours behind the signals that have come so far."""
        while True:
            try:
                os.write(self.w, bytes((number,)))
                return
            except BlockingIOError:  # 64 KiB of signals are on their way
                select.select([], [self.w], [])

    def close(self) -> None:
        """Ends the thread.  Nobody writes to the pipe any more."""
        if threading.current_thread() is not self.thread:
            self.put(_QUIT)
            self.thread.join()
            os.close(self.r)
            os.close(self.w)


_queue: Queue | None = None
wanted: set[int] = set()  # what is to be put into the queue


def start(process: Callable[[int], None]) -> None:
    """Has process(number) called for each signal that is enabled, on a thread of its own."""
    global _queue
    if _queue is None:
        _queue = Queue(process)


def stop(what: str) -> None:
    """Ends the thread, if the main thread can be reached.  Nothing is enabled any more."""
    global _queue
    q = _queue
    if q is not None and signals.reachable():
        with contextlib.suppress(RuntimeError):
            signals.in_main_thread(lambda: _unplug(q), what, GIVE_BACK_S)
            _queue = None
            q.close()


def wait_until_idle() -> None:
    """Returns when every signal that has come before has been handed on.  One caller at a time."""
    q = _queue
    if q is not None and threading.current_thread() is not q.thread:
        q.put(_IDLE)
        q.idle.acquire()


def enable(numbers: Iterable[int], what: str) -> None:
    """Has these signals put into the queue, from when this returns on.  RuntimeError as of in_main_thread."""
    signals.in_main_thread(lambda: _enable(numbers), what)


def disable(numbers: Iterable[int], what: str) -> None:
    """Has these signals do again what they did before; where the main thread cannot be reached, when next they come."""
    try:
        signals.in_main_thread(lambda: _disable(numbers), what, GIVE_BACK_S)
    except RuntimeError:
        wanted.difference_update(numbers)


def ignore(numbers: Iterable[int], what: str) -> None:
    """Has the system drop these signals.  RuntimeError as of in_main_thread."""
    signals.in_main_thread(lambda: _ignore(numbers), what)


# ---- in the main thread -----------------------------------------------------------------------------------------------


def _enable(numbers: Iterable[int]) -> None:
    for n in numbers:
        wanted.add(n)
        old = signal.signal(n, _caught)
        if old is not _caught:
            before.setdefault(n, old)
    _plug()


def _disable(numbers: Iterable[int]) -> None:
    for n in numbers:
        if n in before:
            if signal.getsignal(n) in (_caught, signal.SIG_IGN):
                old = before[n]
                signal.signal(n, signal.SIG_DFL if old is None else old)  # None: not Python's, cannot be had back
            del before[n]
        wanted.discard(n)  # last: signal.signal runs the handlers of signals that have come before


def _ignore(numbers: Iterable[int]) -> None:
    for n in numbers:
        old = signal.signal(n, signal.SIG_IGN)
        if old is not _caught:
            before.setdefault(n, old)
        wanted.discard(n)


def _plug() -> bool:
    """Has the interpreter write to our pipe, unless it writes to somebody else's.  Whether it did so already."""
    q = _queue
    if q is None:
        return True
    return sigwake.claim(q.w, signals.ours) == q.w


def _unplug(q: Queue) -> None:
    if sigwake.give_up(q.w):
        signals.listen_again()


def _caught(number: int, frame: FrameType | None) -> None:
    """The handler.  What it is for has mostly been done: the number is in the pipe."""
    if number not in wanted:
        before.setdefault(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        _disable([number])
        signal.raise_signal(number)
        return
    if not _plug() and _queue is not None:
        _queue.put(number)
    if number == signals.KICK and callable(before.get(number)):
        before[number](number, frame)


def after_fork() -> None:
    """In a forked child: no thread reads the pipe, and it is the parent's."""
    global _queue
    q, _queue = _queue, None
    _disable(list(before))
    if q is not None:
        _unplug(q)
        os.close(q.r)
        os.close(q.w)


signals.at_fork.append(after_fork)
