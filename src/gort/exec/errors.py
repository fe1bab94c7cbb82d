"""How a program can fail.  Follows ExitError and ErrWaitDelay of Go's os/exec."""

from __future__ import annotations

import signal
from _collections_abc import Sequence
from typing import Any


class ExitError(Exception):
    """The process ended with another status than 0.  `returncode` (negative: the signal that killed it), `stdout` and
    `stderr` as far as they were captured: bytes, or str in text mode.  Go's exec.ExitError."""

    def __init__(self, args: Sequence[Any], returncode: int, stdout: Any = None, stderr: Any = None) -> None:
        how = f"exit status {returncode}" if returncode >= 0 else f"signal: {_signal_name(-returncode)}"
        last = (stderr or b"").strip().splitlines()
        tail = f": {last[-1] if isinstance(last[-1], str) else last[-1].decode(errors='replace')}" if last else ""
        super().__init__(f"{args[0]}: {how}{tail}")
        self.returncode: int = returncode
        self.stdout: Any = stdout
        self.stderr: Any = stderr
        self._command = tuple(args)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self._command, self.returncode, self.stdout, self.stderr), self.__dict__


class WaitDelayExceeded(TimeoutError):
    """The process ended well, but `wait_delay` seconds later its output was still open: another process, which it has
    started, holds it.  `stdout` and `stderr` are what had come.  Go's exec.ErrWaitDelay."""

    def __init__(self, args: Sequence[Any], delay: float, stdout: Any = None, stderr: Any = None) -> None:
        super().__init__(f"{args[0]}: its output is still open {delay} s after its end: another process holds it")
        self.stdout: Any = stdout
        self.stderr: Any = stderr
        self._command = tuple(args)
        self._delay = delay

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self._command, self._delay, self.stdout, self.stderr), self.__dict__


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
