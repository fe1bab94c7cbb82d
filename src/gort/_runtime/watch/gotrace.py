"""Writes Go's execution trace, the format that `go tool trace` of Go 1.23 and later reads.  Go's sources describe it in
internal/trace/tracev2.

A trace is a header and generations.  A generation is batches: the events of one thread, in order, or a table of strings
or stacks to which those refer by number.  Each event is its kind, the time since the one before it in its batch, and its
arguments; all are integers of seven bits a byte.  Version 1.23 of the format, because Go 1.24 reads no later one.

Invariant: the times of all events increase, over all threads, so a reader that orders them by time needs nothing else.

What does not live here: which events there are, and that they fit each other (tracemodel.py).
"""

from __future__ import annotations

from gort._runtime.watch.pprof import varint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import IO

    from gort._runtime.core.traceback import Entry

HEADER = b"go 1.23 trace\0\0\0"
BATCH_MAX = 64 << 10  # bytes of a batch's data
STRING_MAX = 1024  # bytes of a string
NO_THREAD = (1 << 64) - 1  # whose batches the tables are
FREQUENCY = 1_000_000_000  # the unit of times is a nanosecond

# The kinds of records that we write: those of the structure …
EV_EVENT_BATCH, EV_STACKS, EV_STACK, EV_STRINGS, EV_STRING, EV_FREQUENCY = 1, 2, 3, 4, 5, 8
# … of processors …
EV_PROCS_CHANGE, EV_PROC_START, EV_PROC_STOP, EV_PROC_STEAL, EV_PROC_STATUS = 9, 10, 11, 12, 13
# … of goroutines …
EV_GO_CREATE, EV_GO_CREATE_SYSCALL, EV_GO_START, EV_GO_DESTROY = 14, 15, 16, 17
EV_GO_STOP, EV_GO_BLOCK, EV_GO_UNBLOCK = 19, 20, 21
EV_GO_SYSCALL_BEGIN, EV_GO_SYSCALL_END_BLOCKED, EV_GO_STATUS = 22, 24, 25
EV_STW_BEGIN, EV_STW_END = 26, 27
# … and of the user.
EV_USER_TASK_BEGIN, EV_USER_TASK_END, EV_USER_REGION_BEGIN, EV_USER_REGION_END, EV_USER_LOG = 40, 41, 42, 43, 44
EV_GO_STATUS_STACK = 48

GO_RUNNABLE, GO_RUNNING, GO_SYSCALL, GO_WAITING = 1, 2, 3, 4
PROC_RUNNING, PROC_IDLE = 1, 2


class Stream:
    """The batch of one thread that is being filled."""

    __slots__ = ("base", "data", "last")

    def __init__(self) -> None:
        self.base = 0  # the time of its first event
        self.last = 0  # and of its last
        self.data = bytearray()


class Writer:
    """Writes a trace to a binary file.  end() must be called when all events are there."""

    def __init__(self, out: IO[bytes], when: int) -> None:
        self._out = out
        self._streams: dict[int, Stream] = {}
        self._strings: dict[str, int] = {}
        self._stacks: dict[tuple[Entry, ...], int] = {}
        self._pcs: dict[Entry, int] = {}
        self.generation = 1
        self.size = 0  # bytes of this generation's events
        self.now = when  # the time of the last event
        out.write(HEADER)

    def string(self, text: str) -> int:
        """The number of a string in this generation; 0 for the empty one."""
        return self._strings.setdefault(text, len(self._strings) + 1) if text else 0

    def stack(self, frames: tuple[Entry, ...]) -> int:
        """The number of a stack in this generation, innermost frame first; 0 for none."""
        return self._stacks.setdefault(frames, len(self._stacks) + 1) if frames else 0

    def event(self, thread: int, when: int, kind: int, args: tuple[int, ...]) -> None:
        """Adds an event to the stream of a thread.  It gets a later time than every event before it."""
        if when <= self.now:
            when = self.now + 1
        self.now = when
        stream = self._streams.get(thread)
        if stream is None:
            stream = self._streams[thread] = Stream()
        data = stream.data
        if not data:
            stream.base = stream.last = when
        elif len(data) > BATCH_MAX - 128:  # the longest event is shorter
            self._batch(thread, stream)
            data = stream.data
            stream.base = stream.last = when
        data.append(kind)
        for n in (when - stream.last, *args):
            while n >= 0x80:
                data.append(n & 0x7F | 0x80)
                n >>= 7
            data.append(n)
        stream.last = when

    def _write(self, thread: int, when: int, data: bytes | bytearray) -> None:
        head = bytes((EV_EVENT_BATCH,)) + b"".join(map(varint, (self.generation, thread, when, len(data))))
        self._out.write(head + data)
        self.size += len(data)

    def _batch(self, thread: int, stream: Stream) -> None:
        self._write(thread, stream.base, stream.data)
        stream.data = bytearray()

    def _table(self, kind: int, records: Iterable[bytes]) -> None:
        data = bytearray((kind,))
        for record in records:
            if len(data) + len(record) > BATCH_MAX:
                self._write(NO_THREAD, self.now, data)
                data = bytearray((kind,))
            data += record
        self._write(NO_THREAD, self.now, data)

    def _stack_record(self, frames: tuple[Entry, ...], at: int) -> bytes:
        body = b""
        for frame in frames:
            name, file, line = frame
            pc = self._pcs.setdefault(frame, len(self._pcs) + 1)
            body += b"".join(map(varint, (pc, self.string(name), self.string(file), line)))
        return bytes((EV_STACK,)) + varint(at) + varint(len(frames)) + body

    def end(self) -> None:
        """Ends the generation: writes what is left of it, and its tables.  A further event begins another one."""
        for thread, stream in self._streams.items():
            if stream.data:
                self._batch(thread, stream)
        self._write(NO_THREAD, self.now, bytes((EV_FREQUENCY,)) + varint(FREQUENCY))
        self._table(EV_STACKS, [self._stack_record(frames, at) for frames, at in self._stacks.items()])
        strings = []
        for text, at in self._strings.items():
            data = text.encode(errors="backslashreplace")[:STRING_MAX]
            strings.append(bytes((EV_STRING,)) + varint(at) + varint(len(data)) + data)
        self._table(EV_STRINGS, strings)
        self._strings, self._stacks, self._pcs = {}, {}, {}
        self.generation += 1
        self.size = 0
