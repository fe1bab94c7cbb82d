"""A child process: its signals, its end, its status.  Follows Go's os.Process (os/exec_unix.go, os/pidfd_linux.go).

A pidfd names the process for as long as it is open, so neither a signal nor a wait can hit another process that has got
the same number since.  Without pidfd (Linux before 5.3, or no descriptor left) a thread of its own waits, and the number
is safe only until the status has been taken.

The status is taken here and not by subprocess.Popen, which reports 0 where the system has kept none (SIGCHLD is ignored,
or somebody else has waited).  Like Go this raises then.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import threading

from gort import sync
from gort._apart import apart
from gort.exec.pipe import Pipe


class Process:
    """A child.  `leads`: it leads a process group of its own, which can be signalled as a whole.

    `_lock` guards the status, and orders signals by number and the taking of the status."""

    def __init__(self, popen: subprocess.Popen[bytes], name: str, leads: bool) -> None:
        self.pid: int = popen.pid
        self.name: str = name
        self.leads: bool = leads
        self.ended: bool = False  # the status has been taken, or is lost
        self.status: int | None = None
        self._popen = popen  # warns, and reaps later, where the process is dropped while it runs
        self._lock = threading.Lock()
        self._waiting = sync.Mutex()  # held by the one who waits for the pidfd
        self._pidfd: Pipe | None = None
        try:
            self._pidfd = Pipe(os.pidfd_open(self.pid), f"process {self.pid}")
        except OSError:
            pass  # an old kernel, or no descriptor left: see exited()

    def signal(self, number: int, group: bool = False) -> bool:
        """Sends a signal to the process, or to its group; False when the process has ended and its status is taken."""
        if group and not self.leads:
            raise ValueError(f"{self.name} leads no process group: start it with process_group=0")
        with self._lock:
            if self.ended:
                return False
            try:
                if group:
                    os.killpg(self.pid, number)
                elif self._pidfd is not None:
                    signal.pidfd_send_signal(self._pidfd.fd, number)
                else:
                    os.kill(self.pid, number)
            except ProcessLookupError:
                return False
        return True

    def end(self) -> None:
        """Kills the process, and its group if it leads one."""
        self.signal(signal.SIGKILL, self.leads)

    def over(self) -> bool:
        """Whether it has ended, its status taken or not."""
        with self._lock:
            if self.ended:
                return True
            try:
                return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
            except ChildProcessError:
                return True

    async def exited(self) -> None:
        """Waits for its end without taking the status: until then its number, and its group's, are not free."""
        if self.ended:
            return
        if self._pidfd is None:
            await apart(f"wait for {self.pid}", self._exited_apart)
            return
        async with self._waiting:
            if not self.ended:
                await self._pidfd.call_op(self._pidfd.readable, False)
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
        with self._lock:
            if not self.ended:
                try:
                    self.status = self._take()
                    self.ended = self.status is not None
                except ChildProcessError:
                    self.ended = True
                if self.ended:
                    self._popen.returncode = self.status if self.status is not None else 0  # it need not care any more
        self._settle()

    def _take(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        if self._pidfd is not None:
            found = os.waitid(os.P_PIDFD, self._pidfd.fd, os.WEXITED | os.WNOHANG)
        else:
            found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG)
        if found is None:
            return None
        return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    def reap_blocking(self) -> None:
        """After it has been killed: its end is near, so this thread waits for it."""
        with self._lock:  # the pidfd is open while the status has not been taken; its copy stays open without the lock
            fd = os.dup(self._pidfd.fd) if self._pidfd is not None and not self.ended else -1
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
        """Closes the pidfd once it has told what it can.  While a goroutine waits for it, that one closes it: the kernel
        is about to wake it, and it shall learn of the end and not of a closed descriptor."""
        if self.ended and self._pidfd is not None and self._waiting.try_lock():
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
