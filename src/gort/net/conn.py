"""Stream connections.  Follows Go's net.Conn (net/net.go).

Conn adds to a descriptor (gort/_runtime/poll/fd.py, which has read, readinto, write and writev) what is not hot:
addresses, options, deadlines in seconds.  Reads that take several steps are in compound.py, sendfile in sendfile.py.
"""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Any, Self

from gort._compound import Compound
from gort._runtime.poll import fd as _fd
from gort._runtime.sched.timers import to_ns, when_after
from gort.net.addr import Addr, from_sockname
from gort.net.sendfile import Sendable, sendfile


def deadline_ns(seconds: float | None) -> int:
    """The instant `seconds` from now on the runtime's clock; 0 for None."""
    if seconds is None:
        return 0
    ns = to_ns(seconds)
    return max(1, int(when_after(ns)))


class Descriptor(_fd.FD):
    """What connections and listeners have in common."""

    __slots__ = ("_local", "network")
    noun = "network connection"

    def __init__(self, fd: int, network: str, stream: bool = False) -> None:
        super().__init__(fd, True, stream)
        self.network: str = network
        self._local: Addr | None = None

    def fileno(self) -> int:
        """The descriptor's number, -1 once closed.  It is non-blocking, and stays the connection's own."""
        return self.fd

    @property
    def closed(self) -> bool:
        """Whether close() has been called."""
        return self.closing

    def close(self) -> None:
        """Closes it at once; goroutines that wait on it get Closed.  Again does nothing.  From any thread."""
        self.shut()

    @property
    def local_addr(self) -> Addr:
        """This end's address.  Kept, so that it is known after close() too if it was asked for before."""
        if self._local is None:
            with self._socket() as s:
                self._local = from_sockname(self.network, s.getsockname())
        return self._local

    def _socket(self) -> socket.socket:
        """A second socket object on the same connection, for options; the caller closes it."""
        return socket.socket(fileno=self.duplicate())

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        """Sets a socket option, as socket.socket.setsockopt does."""
        with self._socket() as s:
            s.setsockopt(level, option, value)

    def getsockopt(self, level: int, option: int, buflen: int = 0) -> int | bytes:
        """A socket option, as socket.socket.getsockopt gives it."""
        with self._socket() as s:
            return s.getsockopt(level, option, buflen) if buflen else s.getsockopt(level, option)

    def set_deadline(self, seconds: float | None) -> None:
        """From `seconds` from now on, operations raise DeadlineExceeded, those that wait now included; None: never.
        Zero or less is now.  Raises Closed on a closed connection, RuntimeError outside a running runtime."""
        self._deadline(True, True, seconds)

    def set_read_deadline(self, seconds: float | None) -> None:
        """The same for reads (and accepts) alone."""
        self._deadline(True, False, seconds)

    def set_write_deadline(self, seconds: float | None) -> None:
        """The same for writes alone."""
        self._deadline(False, True, seconds)

    def _deadline(self, read: bool, write: bool, seconds: float | None) -> None:
        if not self.set_deadlines(read, write, deadline_ns(seconds)):
            raise _fd.Closed(f"set deadline {self.describe()}: use of closed {self.noun}")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


class Conn(Descriptor, Compound):
    """A stream connection (TCP or Unix).

    One goroutine may read while another writes.  Several may also do the same: each read takes what comes next, writes
    go whole, one after another.  Follows Go's net.Conn (net/net.go), with the buffered reads of bufio.Reader."""

    __slots__ = ("_raddr",)

    def __init__(self, fd: int, network: str, raddr: Any = None) -> None:
        super().__init__(fd, network, network != "unix")
        if network == "unix":
            self.set_wlate()
        self._raddr = raddr

    @property
    def remote_addr(self) -> Addr:
        """The peer's address."""
        if not isinstance(self._raddr, Addr):
            if self._raddr is None:
                with self._socket() as s:
                    self._raddr = s.getpeername()
            self._raddr = from_sockname(self.network, self._raddr)
        return self._raddr

    def describe(self) -> str:
        """How messages name it."""
        try:
            return f"{self.network} {self.local_addr}->{self.remote_addr}"
        except OSError:
            far = f" ->{self._raddr}" if isinstance(self._raddr, Addr) else ""
            return f"{self.network}{far}"

    def __repr__(self) -> str:
        state = " closed" if self.closing else ""
        return f"<gort.net.Conn {self.describe()}{state}>"

    def close_write(self) -> None:
        """Sends the end of the stream; reading goes on (TCP's half-close).  What was written before is still sent."""
        with self._socket() as s:
            s.shutdown(socket.SHUT_WR)

    def close_read(self) -> None:
        """Reads give b"" from now on."""
        with self._socket() as s:
            s.shutdown(socket.SHUT_RD)

    def reset(self) -> None:
        """Closes the connection by a reset: the peer gets ConnectionResetError, unsent data is dropped."""
        self.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()

    def set_no_delay(self, on: bool) -> None:
        """TCP_NODELAY, which is on at first, as in Go."""
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, int(on))

    async def sendfile(self, file: Sendable, offset: int = 0, count: int | None = None) -> int:
        """Sends a file, from `offset` on, `count` bytes or all that there are; returns how many.  It goes out whole, as a
        write does, and ordinary files are not copied through Python.

        file: an open binary file, a descriptor, or a connection or pipe of gort's.  Raises as write does, with `written`
        set too, and what reading the file raises.  Reading from a pipe that is not gort's keeps a thread, and cannot be
        cancelled."""
        return await sendfile(self, file, offset, count)
