"""Connections in memory: pipe, and what the network in memory connects.  Follows Go's net.Pipe (net/pipe.go).

A connection has two wires, one for each direction.  A wire holds what has been sent and has not arrived yet, what has
arrived and has not been read, and how it ends.  A write waits while the wire holds as many bytes as its window, so a slow
reader holds up the writer.  A window of 0 makes a write wait until all of it has been read, as in Go's pipe.

Invariants
- All of a wire is under its `mu`, which no await is inside.
- `changed` is closed and replaced at each change, so that everyone who waits looks again.
- Nothing overtakes: a piece arrives when the one before has arrived.

What does not live here: addresses, listeners, latency, loss and partitions (network.py).
"""

from __future__ import annotations

import errno
import threading
import time
from _collections_abc import Callable, Iterable
from collections import deque
from types import TracebackType
from typing import Any, Self

import gort
from gort import net
from gort._compound import READ_SIZE, Kept
from gort._start.hints import Buffer
from gort.sync import Mutex

END = b""  # the last piece of a stream


class Link:
    """What a wire asks about its way."""

    def delay(self) -> float:
        """Seconds until a piece that is sent now arrives."""
        return 0.0

    def cut(self) -> bool:
        """True while nothing arrives."""
        return False


class Wire:
    """One direction of a connection."""

    def __init__(self, window: int, link: Link) -> None:
        self.window: int = window
        self.link: Link = link
        self.mu: threading.RLock = threading.RLock()
        self.changed: gort.Chan[None] = gort.Chan()
        self.sent: deque[tuple[int, bytes]] = deque()  # when it arrives, ns; in order
        self.arrived: bytearray = bytearray()
        self.size: int = 0  # bytes of both
        self.last: int = 0  # when the newest piece arrives, ns
        self.ended: bool = False  # END has arrived
        self.shut: bool = False  # END has been sent
        self.dropped: int = 0  # bytes that nobody will read, since then
        self.broken: bool = False  # a reset, or nobody reads any more

    def notify(self) -> None:
        """Wakes who waits, after a change.  mu is not held."""
        with self.mu:
            before, self.changed = self.changed, gort.Chan()
        before.close()

    def put(self, data: bytes) -> None:
        """Sends a piece."""
        now = time.monotonic_ns()
        with self.mu:
            when = max(self.last, now + round(self.link.delay() * 1e9))
            self.last = when
            self.sent.append((when, data))
            self.size += len(data)
        if when > now:
            gort.after_func((when - now) / 1e9, self.deliver)
        else:
            self.deliver()

    def deliver(self) -> None:
        """Lets arrive what is due."""
        now = time.monotonic_ns()
        with self.mu:
            if self.link.cut():
                return
            while self.sent and self.sent[0][0] <= now:
                data = self.sent.popleft()[1]
                self.arrived += data
                self.ended = self.ended or data == END
        self.notify()

    def take(self, n: int) -> bytes | None:
        """Up to n bytes that have arrived; b"" at the end; None if there is nothing yet."""
        with self.mu:
            if self.broken:
                raise ConnectionResetError(errno.ECONNRESET, "read: Connection reset by peer")
            data = bytes(self.arrived[:n])
            del self.arrived[:n]
            self.size -= len(data)
            if not data:
                return b"" if self.ended else None
        self.notify()
        return data

    def break_off(self) -> None:
        """From now on nobody reads, and what is on the wire is dropped."""
        with self.mu:
            self.broken = True
            self.dropped += self.size
            self.sent.clear()
            self.arrived.clear()
            self.size = 0
        self.notify()

    def take_back(self) -> int:
        """Takes back what has not been read, and returns how many bytes that is."""
        with self.mu:
            left, self.size, self.dropped = self.size + self.dropped, 0, 0
            self.sent = deque(piece for piece in self.sent if piece[1] == END)
            self.arrived.clear()
        return left


class Conn(Kept):
    """A connection in memory, with the methods of gort.net.Conn.  Its reads are no cases of gort.select."""

    def __init__(self, reads: Wire, writes: Wire, local: net.Addr, remote: net.Addr) -> None:
        self._reads: Wire = reads
        self._writes: Wire = writes
        self._mu: Mutex = Mutex()  # writes go whole, one after another
        self._until: list[int] = [0, 0]  # deadlines of reads and writes, ns
        self._read_shut: bool = False
        self.closed: bool = False
        self.local_addr: net.Addr = local
        self.remote_addr: net.Addr = remote
        self.network: str = local.network

    def describe(self) -> str:
        """How messages name it."""
        return f"{self.network} {self.local_addr}->{self.remote_addr}"

    def __repr__(self) -> str:
        return f"<gort.testing connection {self.describe()}{' closed' if self.closed else ''}>"

    def refuses_reads(self) -> bool:
        """As Compound's."""
        return self.closed

    async def _wait(self, changed: gort.Chan[None], side: int) -> None:
        """Waits for a change of a wire, or for the deadline."""
        until = self._until[side]
        if until == 0:
            await changed.recv_ok()
            return
        left = until - time.monotonic_ns()
        if left > 0:
            timer = gort.Timer(left / 1e9)
            try:
                await gort.select(changed.recv_ok(), timer.c.recv())
            finally:
                timer.stop()

    def _check(self, side: int, what: str) -> None:
        """Raises Closed or DeadlineExceeded."""
        if self.closed:
            raise net.Closed(f"{what} {self.describe()}: use of closed network connection")
        until = self._until[side]
        if until and until <= time.monotonic_ns():
            raise net.DeadlineExceeded(f"{what} {self.describe()}: deadline exceeded")

    async def read(self, n: int = READ_SIZE) -> bytes:
        """As gort.net.Conn.read."""
        if n < 1:
            raise ValueError(f"read(n) takes a positive number of bytes, not {n}")
        wire = self._reads
        while True:
            self._check(0, "read")
            if self._pushed:
                return self._pop(n)
            if self._read_shut:
                return b""
            changed = wire.changed  # before the look, so that no change after it is missed
            data = wire.take(n)
            if data is not None:
                return data
            await self._wait(changed, 0)

    async def write(self, data: Buffer) -> None:
        """As gort.net.Conn.write."""
        view = memoryview(data).cast("B")
        wire, done = self._writes, 0
        async with self._mu:
            try:
                while True:
                    self._check(1, "write")
                    if wire.broken or wire.shut:
                        raise BrokenPipeError(errno.EPIPE, f"write {self.describe()}: Broken pipe")
                    changed = wire.changed
                    room = wire.window - wire.size if wire.window else (len(view) if done == 0 else 0)
                    if done < len(view) and room > 0:
                        piece = bytes(view[done : done + room])
                        wire.put(piece)
                        done += len(piece)
                    elif done == len(view) and (wire.window or wire.size == 0):
                        return
                    else:
                        await self._wait(changed, 1)
            except BaseException as e:
                e.written = done - (0 if wire.window else wire.take_back())  # type: ignore[attr-defined]
                raise

    async def writev(self, buffers: Iterable[Buffer]) -> None:
        """As gort.net.Conn.writev."""
        await self.write(b"".join(bytes(memoryview(each)) for each in buffers))

    def close_write(self) -> None:
        """Sends the end of the stream."""
        if not self._writes.broken and not self._writes.shut:
            self._writes.shut = True
            self._writes.put(END)

    def close_read(self) -> None:
        """Reads give b"" from now on."""
        self._read_shut = True
        self._reads.notify()

    def close(self) -> None:
        """Closes it at once; goroutines that wait on it get Closed.  What was written still arrives."""
        if not self.closed:
            self.close_write()
            self.closed = True
            self._reads.break_off()
            self._writes.notify()

    def reset(self) -> None:
        """Closes it by a reset: the peer gets ConnectionResetError."""
        self._writes.break_off()
        self.closed = True
        self._reads.break_off()

    def set_deadline(self, seconds: float | None) -> None:
        """As gort.net.Conn.set_deadline."""
        self.set_read_deadline(seconds)
        self.set_write_deadline(seconds)

    def set_read_deadline(self, seconds: float | None) -> None:
        """The same for reads alone."""
        self._deadline(0, seconds, self._reads)

    def set_write_deadline(self, seconds: float | None) -> None:
        """The same for writes alone."""
        self._deadline(1, seconds, self._writes)

    def _deadline(self, side: int, seconds: float | None, wire: Wire) -> None:
        if self.closed:
            raise net.Closed(f"set deadline {self.describe()}: use of closed network connection")
        self._until[side] = 0 if seconds is None else max(1, time.monotonic_ns() + round(seconds * 1e9))
        wire.notify()

    def set_no_delay(self, on: bool) -> None:
        """Nothing: nothing is held back here."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


def connected(
    local: net.Addr, remote: net.Addr, window: int, links: Callable[[], tuple[Any, Any]]
) -> tuple[Conn, Conn]:
    """Two ends of a connection: of who has dialled, and of who accepts."""
    there, back = links()
    out, home = Wire(window, there), Wire(window, back)
    return Conn(home, out, local, remote), Conn(out, home, remote, local)


def pipe(window: int = 0) -> tuple[Conn, Conn]:
    """Two ends of a connection in memory: what one writes, the other reads.

    window: so many bytes may be written and not yet read; with 0 a write waits until all of it has been read.  In a
    bubble of gort.testing a goroutine that waits on it is blocked, so time goes on, unlike with a socket.  Follows Go's
    net.Pipe (net/pipe.go)."""
    here = net.Addr("pipe", "pipe")
    return connected(here, here, window, lambda: (Link(), Link()))
