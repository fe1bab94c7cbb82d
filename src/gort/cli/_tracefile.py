"""Reads an execution trace in Go's format, of gort's or of Go's own.  The counterpart of watch/gotrace.py.

The events of all threads come in the order of their times.  In a trace of gort's that is the order in which things
happened.  In one of Go's it nearly is: there the sequence numbers decide, which are not read here.

What does not live here: what is made of it (trace.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import merge
from typing import Any

from gort._runtime.watch import gotrace as go

VERSIONS = (22, 23, 25, 26)
# Kind -> the number of its arguments, without the time.
ARGUMENTS = {
    9: 2, 10: 2, 11: 0, 12: 3, 13: 2, 14: 3, 15: 1, 16: 2, 17: 0, 18: 0, 19: 2, 20: 2, 21: 3, 22: 2, 23: 0, 24: 0, 25: 3,
    26: 2, 27: 0, 28: 1, 29: 2, 30: 1, 31: 1, 32: 1, 33: 2, 34: 1, 35: 1, 36: 0, 37: 1, 38: 1, 39: 1, 40: 4, 41: 2, 42: 3,
    43: 3, 44: 4, 45: 2, 46: 2, 47: 3, 48: 4,
}  # fmt: skip
EV_CPU_SAMPLES, EV_EXPERIMENTAL_BATCH, EV_SYNC, EV_END_OF_GENERATION = 6, 49, 50, 52


class Malformed(Exception):
    """The file is no trace, or is cut."""


@dataclass
class Generation:
    """A part of a trace, with its own tables."""

    number: int
    frequency: int = 0
    strings: dict[int, str] = field(default_factory=lambda: {0: ""})
    stacks: dict[int, list[tuple[int, int, int]]] = field(default_factory=dict)  # function, file and line of each frame
    batches: dict[int, list[tuple[int, bytes]]] = field(default_factory=lambda: defaultdict(list))

    def frames(self, number: int) -> list[str]:
        """A stack as text, the innermost frame first."""
        frames = self.stacks.get(number, [])
        return [f"{self.strings[name]} {self.strings[file]}:{line}" for name, file, line in frames]

    def function(self, number: int) -> str:
        """The outermost function of a stack: with what the goroutine has begun."""
        frames = self.stacks.get(number)
        return self.strings[frames[-1][0]] if frames else ""


# (time in ns, thread, kind, arguments, generation)
Event = tuple[int, int, int, tuple[int, ...], Generation]


class Reader:
    """Reads integers from bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def number(self) -> int:
        """The next integer."""
        n = shift = 0
        try:
            while True:
                byte = self.data[self.at]
                self.at += 1
                n |= (byte & 0x7F) << shift
                if byte < 0x80:
                    return n
                shift += 7
        except IndexError:
            raise Malformed("it is cut in the middle of a record") from None

    def take(self, n: int) -> bytes:
        """The next n bytes."""
        if self.at + n > len(self.data):
            raise Malformed("it is cut in the middle of a record")
        self.at += n
        return self.data[self.at - n : self.at]

    def left(self) -> bool:
        """True if there is more."""
        return self.at < len(self.data)


def generations(data: bytes) -> list[Generation]:
    """The generations of a trace.  Raises Malformed."""
    head = data[: len(go.HEADER)]
    if head not in [b"go 1.%d trace\0\0\0" % version for version in VERSIONS]:
        raise Malformed("it is no execution trace of Go 1.22 or later, nor one of gort")
    r = Reader(data)
    r.at = len(head)
    found: dict[int, Generation] = {}
    while r.left():
        kind = r.number()
        if kind == EV_END_OF_GENERATION:
            continue
        experimental = kind == EV_EXPERIMENTAL_BATCH
        if kind != go.EV_EVENT_BATCH and not experimental:
            raise Malformed(f"a record of kind {kind} where a batch should begin")
        if experimental:
            r.number()
        number, thread, when, size = r.number(), r.number(), r.number(), r.number()
        body = r.take(size)
        generation = found.setdefault(number, Generation(number))
        if not experimental and body:
            add(generation, thread, when, body)
    for generation in found.values():
        if not generation.frequency:
            raise Malformed("it is cut: a generation has no frequency")
    return list(found.values())


def add(generation: Generation, thread: int, when: int, body: bytes) -> None:
    """Adds a batch: a table, or events."""
    r = Reader(body)
    kind = body[0]
    if kind == go.EV_STRINGS:
        r.at = 1
        while r.left():
            r.number()
            at, size = r.number(), r.number()
            generation.strings[at] = r.take(size).decode(errors="replace")
    elif kind == go.EV_STACKS:
        r.at = 1
        while r.left():
            r.number()
            at = r.number()
            frames = []
            for _ in range(r.number()):
                r.number()
                frames.append((r.number(), r.number(), r.number()))
            generation.stacks[at] = frames
    elif kind in (go.EV_FREQUENCY, EV_SYNC):
        r.at = 2 if kind == EV_SYNC else 1
        generation.frequency = r.number()
    elif kind != EV_CPU_SAMPLES:
        generation.batches[thread].append((when, body))


def of_thread(generation: Generation, thread: int) -> Iterator[Event]:
    """The events of one thread."""
    for when, body in generation.batches[thread]:
        r = Reader(body)
        while r.left():
            kind = r.number()
            if kind not in ARGUMENTS:
                raise Malformed(f"an event of the unknown kind {kind}")
            when += r.number()
            args = tuple([r.number() for _ in range(ARGUMENTS[kind])])
            yield when * 1_000_000_000 // generation.frequency, thread, kind, args, generation


def events(data: bytes) -> Iterator[Event]:
    """The events of a trace.  Raises Malformed."""

    def when(event: Any) -> int:
        return int(event[0])

    for generation in sorted(generations(data), key=lambda g: g.number):
        yield from merge(*(of_thread(generation, thread) for thread in generation.batches), key=when)
