"""The events that tracing.py has recorded, as they lie in the file and in memory: a Buffer for each that a thread filled.

What does not live here: what the events mean (tracemodel.py); how they are recorded (core/tracing.py, c/gort_trace.h).
"""

from __future__ import annotations

import os
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import IO, Any

    Event = tuple[int, int, int, int, int, int, int]  # time, goid, arg, stack, p, kind, number of the runtime
    Chunk = tuple[int, int, Any]  # the number of its buffer, the thread, the events

LAYOUT = Struct("<qqqihBB")  # rt_event in c/gort_trace.h
HEAD = Struct("<qqqq")  # and what is before the events of a chunk: buffer, thread, count


class Buffer:
    """The events of one buffer: those in the file first, then those in memory, which may repeat some."""

    def __init__(self, number: int, tid: int) -> None:
        self.number = number
        self.tid = tid
        self.spooled: list[tuple[int, int]] = []  # where in the file, and how many events
        self.parts: list[Any] = []

    def events(self, file: IO[bytes] | None, since: int, until: int) -> Iterator[tuple[Event, int]]:
        """Its events of that time, each with the number of the buffer."""
        last = since
        for part in self._parts(file):
            for event in part if isinstance(part, list) else LAYOUT.iter_unpack(part):
                when = event[0]
                if last < when <= until:
                    last = when
                    yield event, self.number

    def _parts(self, file: IO[bytes] | None) -> Iterator[Any]:
        for at, count in self.spooled:
            assert file is not None
            yield os.pread(file.fileno(), count * LAYOUT.size, at)
        yield from self.parts


def buffers(chunks: Iterable[Chunk], file: IO[bytes] | None, size: int) -> dict[int, Buffer]:
    """The buffers, by number, of the chunks in memory and of those in the file, which has `size` bytes."""
    found: dict[int, Buffer] = {}
    at = 0
    while file is not None and at + HEAD.size <= size:
        head = os.pread(file.fileno(), HEAD.size, at)
        if len(head) < HEAD.size:
            break
        number, tid, count, _ = HEAD.unpack(head)
        at += HEAD.size
        if count <= 0 or at + count * LAYOUT.size > os.fstat(file.fileno()).st_size:
            break  # the disk is full
        found.setdefault(number, Buffer(number, tid)).spooled.append((at, count))
        at += count * LAYOUT.size
    for number, tid, events in chunks:
        found.setdefault(number, Buffer(number, tid)).parts.append(events)
    return found
