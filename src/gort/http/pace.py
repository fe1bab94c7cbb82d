"""How slow a client may be with one body: no byte for a while, or, on average, fewer bytes a second than the least rate.

Only the time in which the server waits for the client counts.  An application that reads its body slowly, or makes its
response slowly, uses up nothing.

What does not live here: the limits themselves (config.py), what is answered when one is over (h1.py, h2server.py).
"""

from __future__ import annotations

from typing import Any

from gort._runtime.poll.neterrors import DeadlineExceeded
from gort._runtime.sched.timers import monotonic

# Bytes of one write.  With TLS a write that is cut short is the end of writing, so the client must take so many in the
# time that is left; else a write goes on where the client has taken a part.
STEP = 65536
FILE_STEP = 1 << 20
TURN = 65536  # bytes of a response, not of a file, after which others have their turn: the kernel takes megabytes
FIRST = 8192  # bytes that the first read of a body asks for: what it costs to parse them is not known yet


class Pace:
    """One direction of one body.  limit: seconds without a byte; None: no limit at all.  rate: bytes a second; None: no
    least rate.  waited: seconds up to now; moved: bytes."""

    __slots__ = ("limit", "moved", "rate", "raw", "step", "turned", "waited")

    def __init__(self, limit: float | None, rate: int | None) -> None:
        self.limit: float | None = limit
        self.rate: int | None = rate
        self.waited: float = 0.0
        self.moved: int = 0
        self.turned: int = 0  # `moved` as others last had their turn
        self.step: int = FIRST  # bytes to read at a time
        self.raw: int = 0  # bytes that have come with the framing of the body, for who counts them

    def left(self) -> float | None:
        """The seconds that the next bytes may take; zero or less: the client was too slow.  None: no limit."""
        if self.limit is None or not self.rate:
            return self.limit
        return min(self.limit, self.limit + self.moved / self.rate - self.waited)

    def turns(self) -> bool:
        """Whether others are to have their turn now."""
        if self.moved - self.turned < TURN:
            return False
        self.turned = self.moved
        return True

    def add(self, moved: int, began: float) -> None:
        """So many bytes have moved since `began`, on time.monotonic()'s clock."""
        self.moved += moved
        self.waited += monotonic() - began


async def write_all(conn: Any, data: Any, pace: Pace) -> None:
    """Writes all of data.  Raises DeadlineExceeded when the client is too slow, and what conn.write raises."""
    view = memoryview(data)
    resumes = not hasattr(conn, "handshake")
    at = 0
    while at < len(view):
        part = view[at:] if resumes else view[at : at + STEP]
        began = monotonic()
        conn.set_write_deadline(pace.left())
        try:
            await conn.write(part)
            n = len(part)
        except DeadlineExceeded as e:
            n = goes_on(e, resumes, pace, began)
        else:
            pace.add(n, began)
        at += n


async def send_file(conn: Any, file: Any, offset: int, count: int, pace: Pace) -> int:
    """Sends a part of a file, FILE_STEP at most; returns how much.  Raises as write_all."""
    resumes = not hasattr(conn, "handshake")
    began = monotonic()
    conn.set_write_deadline(pace.left())
    try:
        n: int = await conn.sendfile(file, offset, min(FILE_STEP if resumes else STEP, count))
    except DeadlineExceeded as e:
        return goes_on(e, resumes, pace, began)
    pace.add(n, began)
    return n


def goes_on(e: DeadlineExceeded, resumes: bool, pace: Pace, began: float) -> int:
    """A write has ended at its deadline: the bytes that it has written, where another may follow.  Raises e where the
    client has taken nothing, or too little."""
    n: int = e.written  # type: ignore[attr-defined]
    pace.add(n, began)
    left = pace.left()
    if n == 0 or not resumes or (left is not None and left <= 0):
        raise e
    return n
