"""gort.signal: the signals of the system, on channels.  Follows Go's package os/signal (signal.go, signal_unix.go).

    interrupts = gort.Chan(1)
    gort.signal.notify(interrupts, signal.SIGINT, signal.SIGTERM)
    await interrupts.recv()

A signal is sent to every channel that asked for it, and never waits for one: a channel that is full loses it.  It
arrives while every P is busy or blocked.  As long as a channel is told of a signal, the signal does nothing else:
Ctrl-C interrupts nobody.

Invariants
- `_targets` and `_stopping` are guarded by `_mu`, held for a few assignments and for sends that do not wait.  `_admin`
  lets one change happen at a time; it may be held while the main thread is waited for.  The thread that delivers
  takes `_mu` alone, so it is never held up by a change.
- What a program has asked for ends with it: after gort.run every signal does what it did before.

Where it differs from Go: what cannot be caught (SIGKILL, SIGSTOP, and those that a fault of the program itself raises)
is a ValueError, where Go silently does nothing.  reset() undoes ignore() too.  "The default" is what the interpreter and
the program had before: SIGINT raises KeyboardInterrupt, SIGPIPE is ignored.

Rejected: delivering in the signal handler itself (it may have interrupted the very channel operation that holds the
lock it needs).
"""

from __future__ import annotations

import signal as _signal
import sys
import threading
from _collections_abc import Callable, Iterable
from signal import SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, Signals
from types import FrameType
from typing import Any

from gort import context as _context
from gort._runtime.core import panic as _panic
from gort._runtime.core import runtime2 as _runtime2
from gort._runtime.core.errors import ChannelClosed
from gort._runtime.core.public import publish as _publish
from gort._runtime.sched import newproc as _newproc
from gort._runtime.wait.chan import Chan
from gort._runtime.watch import signals as _signals
from gort._runtime.watch import sigqueue as _sigqueue

__all__ = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGTERM",
    "SIGUSR1",
    "SIGUSR2",
    "SignalReceived",
    "Signals",
    "StopFunc",
    "ignore",
    "ignored",
    "notify",
    "notify_context",
    "reset",
    "stop",
]

# A handler of Python's for these would return to the instruction that raised them, for ever.
_FAULTS = {getattr(_signal, name, 0) for name in ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP")}
_UNCATCHABLE = {getattr(_signal, name, 0) for name in ("SIGKILL", "SIGSTOP")}
_RUNTIMES = {_signals.KICK}  # the runtime sends it to itself: only for those who ask for it by name


class SignalReceived(_context.Canceled):
    """The cause of a context that notify_context has cancelled; `signal` is the signal."""

    def __init__(self, number: int) -> None:
        self.signal: int = _value(number)
        text = _signal.strsignal(number) or f"signal {number}"
        super().__init__(f"{text[:1].lower()}{text[1:]} signal received")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.signal,), self.__dict__


class _Target:
    """Somebody who is told of signals: by `send`, since the call in `frame`, which is the user's."""

    def __init__(self, key: object, send: Callable[[Any], object], frame: FrameType) -> None:
        self.key = key
        self.send = send
        self.signals: set[int] = set()
        m = _runtime2.current_m()
        self.owner = m.sched if m is not None else None
        goid = m.curg.goid if m is not None and m.curg is not None else 0
        self.line = (frame.f_code, frame.f_lasti, goid)  # a panic for a closed channel names it


_admin = threading.RLock()
_mu = threading.RLock()
_targets: dict[int, _Target] = {}  # by the id of their key
_stopping: list[_Target] = []  # as in Go: what was caught before stop() still arrives
_ignored: dict[int, Any] = {}  # and for which program
_users: set[Any] = set()  # the programs that have called notify: the thread stays until they end, as Go's does


def notify(ch: Chan[Any], *signals: int) -> None:
    """Sends these signals to ch, as signal.Signals (as a plain int if the signal has no name).  Without a signal it
    sends all that can be caught.

    The channel needs room for as many as may come while nobody receives: one that is full loses them, and so does one
    without a buffer while nobody waits.  Calling it again adds signals.  A program that waits for a signal is no
    deadlock.  Any goroutine may call it, as long as the program runs in Python's main thread.  Raises RuntimeError
    otherwise, and if that thread is in a call that no signal interrupts; TypeError for what is no channel or no signal;
    ValueError for SIGKILL, SIGSTOP and the signals of faults such as SIGSEGV.  Follows Go's
    signal.Notify (os/signal/signal.go)."""
    _check_chan(ch, "notify")
    numbers = _numbers(signals, "notify")
    _notify(ch, ch.try_send, numbers, sys._getframe(1))


def _notify(key: object, send: Callable[[Any], object], numbers: set[int], frame: FrameType) -> None:
    what = "gort.signal.notify"
    m = _runtime2.current_m()
    if m is not None and m.sched.bubble is not None:
        raise RuntimeError(f"{what} in a bubble of gort.testing: signals come in real time, from outside")
    with _admin:
        _signals.check_reachable(what)
        with _mu:
            target = _targets.setdefault(id(key), _Target(key, send, frame))
            added = numbers - target.signals
            target.signals |= numbers
        if target.owner is not None:
            _users.add(target.owner)
        try:
            _sigqueue.start(_process)
            _sigqueue.enable(numbers, what)
        except BaseException:
            with _mu:
                target.signals -= added
                if not target.signals:
                    _targets.pop(id(key), None)
            _sigqueue.disable(numbers - _wanted(), what)
            raise
        for n in numbers:
            _ignored.pop(n, None)


def stop(ch: Chan[Any]) -> None:
    """Sends no more signals to ch.  When it returns, all that were caught before have been sent.  A signal that no
    other channel is told of does what it did before.  Does nothing if ch is told of none.  Follows Go's
    signal.Stop."""
    _check_chan(ch, "stop")
    _stop(ch)


def _stop(key: object) -> None:
    what = "gort.signal.stop"
    with _admin:
        with _mu:
            target = _targets.pop(id(key), None)
            if target is None:
                return
            _stopping.append(target)
        try:
            _sigqueue.disable(target.signals - _wanted(), what)
            _sigqueue.wait_until_idle()
        finally:
            with _mu:
                _stopping.remove(target)
            _close_queue(what)


def ignore(*signals: int) -> None:
    """Makes the system drop these signals; without a signal, all that can be caught.  No channel is told of them any
    more.  Processes that are started from here ignore them too.

    Raises RuntimeError as notify does; ValueError for SIGKILL and SIGSTOP.  Follows Go's signal.Ignore."""
    what = "gort.signal.ignore"
    numbers = _numbers(signals, "ignore")
    m = _runtime2.current_m()
    with _admin:
        _sigqueue.ignore(numbers, what)
        _forget(numbers)
        _close_queue(what)
        _ignored.update(dict.fromkeys(numbers, m.sched if m is not None else None))


def ignored(sig: int) -> bool:
    """Whether the system drops this signal: by ignore(), by signal.SIG_IGN, or because the program was started so (as
    nohup does with SIGHUP, and the interpreter with SIGPIPE).  Follows Go's signal.Ignored."""
    (number,) = _numbers((sig,), "ignored", anything=True)
    return _signal.getsignal(number) is _signal.SIG_IGN


def reset(*signals: int) -> None:
    """Undoes notify and ignore for these signals; without a signal, for all.  They do what they did before.  Follows
    Go's signal.Reset."""
    what = "gort.signal.reset"
    numbers = _numbers(signals, "reset", anything=True)
    with _admin:
        touched = numbers & (_wanted() | set(_ignored))
        _forget(numbers)
        for n in touched:
            _ignored.pop(n, None)
        if touched:
            _sigqueue.disable(touched, what)
        _close_queue(what)


class StopFunc(_context.CancelFunc):
    """Cancels the context of a notify_context and gives its signals back: `stop()`.  Calling it again does nothing."""

    __slots__ = ()

    def __call__(self) -> None:
        """Cancels it, unless a signal has."""
        super().__call__()
        _stop(self._ctx)


def notify_context(parent: _context.Context, *signals: int) -> _context.Cancellable[StopFunc]:
    """(ctx, stop): a context below parent that is cancelled by the first of these signals, or by stop().

    `with notify_context(context.background(), SIGINT, SIGTERM) as ctx:` calls stop at the end of the block.  Until then
    the signals do nothing else.  If a second Ctrl-C is to interrupt again, call stop as soon as the first has come.
    context.cause(ctx) is a SignalReceived, a Canceled that says which signal it was.  Raises what notify raises;
    TypeError for a parent that is no context.  Follows Go's signal.NotifyContext."""
    _check_context(parent)
    numbers = _numbers(signals, "notify_context")
    ctx, cancel = _context.with_cancel_cause(parent)
    _notify(cancel._ctx, lambda sig: cancel(SignalReceived(sig)), numbers, sys._getframe(1))
    return _context.Cancellable(ctx, StopFunc(cancel._ctx))


# ---- behind them ------------------------------------------------------------------------------------------------------


def _value(number: int) -> Any:
    try:
        return Signals(number)
    except ValueError:
        return number


def _process(number: int) -> None:
    """Sends a signal to all targets that want it.  Runs on the thread of the queue.  Follows process."""
    sig = _value(number)
    with _mu:
        for target in (*_targets.values(), *_stopping):
            if number in target.signals:
                try:
                    target.send(sig)
                except ChannelClosed:
                    _closed(target, sig)
                except BaseException as e:  # a parent of notify_context's may be of the user's class; the others go on
                    _panic.unraisable(e, target.key, "the end of a context that a signal has cancelled raised")


def _closed(target: _Target, sig: Any) -> None:
    """As in Go a signal for a closed channel is a panic; the channel is told of no more.  _mu is held.

    The panic says that its goroutine was created at the user's notify (in Go: somewhere in os/signal)."""
    if _targets.get(id(target.key)) is target:
        del _targets[id(target.key)]

    def panic() -> None:
        raise ChannelClosed(
            f"send on closed channel: {getattr(sig, 'name', sig)} came for a channel that was closed; "
            "call gort.signal.stop(ch) before ch.close()"
        )

    s = target.owner
    if s is not None and not s.exiting:
        _newproc.newproc_in(s, panic, (), _newproc.current_context(), *target.line)


def _wanted() -> set[int]:
    """The signals that any target is told of."""
    with _mu:
        return {n for t in _targets.values() for n in t.signals}


def _forget(numbers: set[int]) -> None:
    """No target is told of these any more."""
    with _mu:
        for key, target in _targets.copy().items():
            target.signals -= numbers
            if not target.signals:
                del _targets[key]


def _close_queue(what: str) -> None:
    """Ends the thread of the queue when nobody needs it any more."""
    if not _targets and not _users:
        _sigqueue.stop(what)


def _ended(s: Any) -> None:
    """A program has ended: its channels are told of nothing, and what it ignored is not ignored any more."""
    what = "gort.run"
    with _admin:
        with _mu:
            gone = [t for t in list(_targets.values()) if t.owner is s]
            for t in gone:
                del _targets[id(t.key)]
        for n in [n for n, owner in _ignored.copy().items() if owner is s]:
            del _ignored[n]
        idle = set(_signals.before) - _wanted() - set(_ignored)
        _users.discard(s)
        if idle:
            _sigqueue.disable(idle, what)
        _close_queue(what)


def _after_fork() -> None:
    """A forked child starts afresh: whoever held a lock is not there to release it."""
    global _admin, _mu
    _admin, _mu = threading.RLock(), threading.RLock()
    _targets.clear()
    _stopping.clear()
    _ignored.clear()
    _users.clear()


_signals.at_end.append(_ended)
_signals.at_fork.append(_after_fork)


def _check_chan(ch: object, name: str) -> None:
    if ch is None:
        raise TypeError(f"gort.signal.{name}: the channel is None; make one: ch = gort.Chan(1)")
    if not isinstance(ch, Chan):
        raise TypeError(f"gort.signal.{name}(ch, *signals): ch is a gort.Chan, not a {type(ch).__name__}")


def _check_context(parent: object) -> None:
    if not isinstance(parent, _context.Context):
        kind = type(parent).__name__
        raise TypeError(f"gort.signal.notify_context(parent, *signals): parent is a context, not a {kind}")


def _numbers(given: Iterable[Any], name: str, anything: bool = False) -> set[int]:
    """The numbers of the signals a user gave; all that can be caught where none was."""
    valid = set(_signal.valid_signals())
    if not given:
        return {int(n) for n in valid - _UNCATCHABLE - _FAULTS - _RUNTIMES}
    for sig in given:
        if isinstance(sig, bool) or not isinstance(sig, int):
            what = f"{sig!r}" if isinstance(sig, str) else f"a {type(sig).__name__}"
            raise TypeError(f"gort.signal.{name}: a signal is signal.SIGINT or the like, one argument each, not {what}")
        if sig not in valid:
            raise ValueError(f"gort.signal.{name}: {int(sig)} is no signal here")
        if anything:
            continue
        if name == "ignore" and sig in _RUNTIMES:
            raise ValueError(f"gort.signal.ignore: the runtime sends {_value(sig).name} to itself: leave it out")
        if sig in _UNCATCHABLE:
            raise ValueError(f"gort.signal.{name}: no program can catch or ignore {_value(sig).name}: leave it out")
        if sig in _FAULTS:
            raise ValueError(
                f"gort.signal.{name}: {_value(sig).name} is a fault of the program itself, which would happen again for "
                "ever if it went on; the faulthandler module prints where it was"
            )
    return {int(sig) for sig in given}


_publish(globals())
