"""A child process: its signals, its end, its status.  Follows Go's os.Process (os/exec_unix.go, os/pidfd_linux.go).

A pidfd names the process for as long as it is open, so neither a signal nor a wait can hit another process that has got
the same number since.  Without pidfd (Linux before 5.3, other systems, or no descriptor left) a thread of its own waits,
and the number is safe only until the status has been taken.

The status is taken here and not by subprocess.Popen, which reports 0 where the system has kept none (SIGCHLD is ignored,
or somebody else has waited).  Like Go this raises then.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import threading
from _collections_abc import Callable
from typing import TypeVar

from gort import sync
from gort._apart import apart
from gort.exec.pipe import Pipe

T = TypeVar("T")


class Process:
    """A child.  `leads`: it leads a process group of its own, which can be signalled as a whole.

    `_lock` guards the status, and orders signals by number and the end of the number.  A finalizer or a signal handler
    may call a method in the middle of another one, on the same thread: so it is an RLock, and while a method uses the
    number or the pidfd (`_using`) neither is given up, though the status may be taken.  That method gives them up at its
    end."""

    def __init__(self, popen: subprocess.Popen[bytes], name: str, leads: bool) -> None:
        self.pid: int = popen.pid
        self.name: str = name
        self.leads: bool = leads
        self.ended: bool = False  # the status is known, or is lost
        self.status: int | None = None
        self._popen = popen  # warns, and reaps later, where the process is dropped while it runs
        self._lock = threading.RLock()
        self._using = 0  # how many methods use the number or the pidfd; each is in the middle of the one before
        self._freed = False  # the system may give the number to another process
        self._waiting = sync.Mutex()  # held by the one who waits for the pidfd
        self._pidfd: Pipe | None = None
        try:
            self._pidfd = Pipe(os.pidfd_open(self.pid), f"process {self.pid}")
        except (AttributeError, OSError):
            pass  # another system, an old kernel, or no descriptor left: see exited()

    def signal(self, number: int, group: bool = False) -> bool:
        """Sends a signal to the process, or to its group; False when the process has ended and its status is taken."""
        if group and not self.leads:
            raise ValueError(f"{self.name} leads no process group: start it with process_group=0")
        try:
            return self._use(lambda: self._send(number, group), False)
        except ProcessLookupError:
            return False

    def _send(self, number: int, group: bool) -> bool:
        if group:
            os.killpg(self.pid, number)
        elif self._pidfd is not None:
            signal.pidfd_send_signal(self._pidfd.fd, number)
        else:
            os.kill(self.pid, number)
        return True

    def _use(self, call: Callable[[], T], ended: T) -> T:
        """call(), during which the number and the pidfd stay this process's; `ended` once its status has been taken."""
        try:
            with self._lock:
                self._using += 1  # before the look at `ended`: from here on nobody gives them up
                try:
                    return ended if self.ended else call()
                finally:
                    self._using -= 1
        finally:
            self._settle()

    def end(self) -> None:
        """Kills the process, and its group if it leads one."""
        self.signal(signal.SIGKILL, self.leads)

    def over(self) -> bool:
        """Whether it has ended, its status taken or not."""
        return self._use(lambda: self._look() is not None, True)

    async def exited(self) -> None:
        """Waits for its end without taking the status: until then its number, and its group's, are not free."""
        if self.ended:
            return
        if self._pidfd is None:
            await apart(f"wait for {self.pid}", self._exited_apart)
            return
        try:
            async with self._waiting:
                if not self.ended:
                    await self._pidfd.call_op(self._pidfd.readable, False)
        finally:  # also where the wait is given up: meanwhile another may have taken the status
            self._settle()

    def _exited_apart(self) -> None:
        try:
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            pass  # it has ended, and its status is lost: reap() says so

    async def wait(self) -> int:
        """Waits for its end and takes the status.  ChildProcessError when the system has kept none."""
        await self.exited()
        self.reap()
        return self.result()

    def look(self) -> tuple[int] | None:
        """(status,) if it has ended, else None.  Takes the status; raises as wait does."""
        if not self.over():
            return None
        self.reap()
        return (self.result(),)

    def reap(self) -> None:
        """Takes the status if it has ended."""
        found = self._use(self._look, None)
        with self._lock:
            if found is not None and not self.ended:
                self.status = found[0]
                self._popen.returncode = self.status if self.status is not None else 0  # it need not care any more
                self.ended = True
        self._settle()

    def _look(self) -> tuple[int | None] | None:
        """(status,) if it has ended: negative for a signal, None if it is lost.  The system keeps the status."""
        try:
            found = self._waitid(os.WNOWAIT)
        except ChildProcessError:
            return (None,)
        if found is None:
            return None
        return (found.si_status if found.si_code == os.CLD_EXITED else -found.si_status,)

    def _waitid(self, option: int) -> os.waitid_result | None:
        options = os.WEXITED | os.WNOHANG | option
        if self._pidfd is not None:
            return os.waitid(os.P_PIDFD, self._pidfd.fd, options)
        return os.waitid(os.P_PID, self.pid, options)

    def reap_blocking(self) -> None:
        """After it has been killed: its end is near, so this thread waits for it."""
        pidfd = self._pidfd
        fd = self._use(lambda: os.dup(pidfd.fd), -1) if pidfd is not None else -1  # the copy stays open
        try:
            if fd >= 0:
                os.waitid(os.P_PIDFD, fd, os.WEXITED | os.WNOWAIT)
            elif not self.ended:
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            pass  # another goroutine has taken the status meanwhile, or it is lost: reap() knows
        finally:
            if fd >= 0:
                os.close(fd)
        self.reap()

    def _settle(self) -> None:
        """Gives the number up, and closes the pidfd, once both have told what they can.  While a goroutine waits for the
        pidfd, that one closes it: the kernel is about to wake it, and it shall learn of the end and not of a closed
        descriptor."""
        if not self.ended:
            return
        with self._lock:
            self._using += 1
            try:
                if self._using == 1 and not self._freed:
                    self._freed = True
                    self._waitid(0)
            except ChildProcessError:
                pass  # the system keeps none, or somebody else has taken it
            finally:
                self._using -= 1
            if self._using:
                return
        if self._pidfd is not None and self._waiting.try_lock():
            try:
                self._pidfd.close()
            finally:
                self._waiting.unlock()

    def result(self) -> int:
        """The status that was taken."""
        if self.status is None:
            why = "SIGCHLD is ignored, or something else has waited for it, so the system has kept no status"
            raise ChildProcessError(errno.ECHILD, f"wait for {self.name}: no child process: {why}")
        return self.status
