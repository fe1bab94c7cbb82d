"""Writes profiles in the format of pprof, which `go tool pprof` reads.  Follows Go's runtime/pprof/proto.go.

A profile is a protocol buffer (profile.proto of github.com/google/pprof) under gzip: samples, each a stack with values
and labels, and tables of the locations, functions and strings that they refer to by number.  A message of protocol
buffers is a sequence of fields; each begins with its number and its kind, a varint.

What does not live here: what is sampled (profiles.py).
"""

from __future__ import annotations

import gzip
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from gort._runtime.core.traceback import Entry

    Type = tuple[str, str]  # what a value is, and its unit
    Label = tuple[str, str] | tuple[str, int, str]  # key and text, or key, number and unit

BYTES = 2  # the kind of a field that has a length and bytes; a varint's is 0
# The fields of profile.proto, by message.
SAMPLE_TYPE, SAMPLE, LOCATION, FUNCTION, STRING, TIME, DURATION, PERIOD_TYPE, PERIOD = 1, 2, 4, 5, 6, 9, 10, 11, 12


def varint(n: int) -> bytes:
    """An integer: seven bits a byte, the lowest first; a negative one as if it had 64 bits."""
    n &= (1 << 64) - 1
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def number(field: int, n: int) -> bytes:
    """A field with an integer; nothing for 0, which is the default."""
    return varint(field << 3) + varint(n) if n else b""


def data(field: int, payload: bytes) -> bytes:
    """A field with bytes: a text, a message, a list of integers."""
    return varint(field << 3 | BYTES) + varint(len(payload)) + payload


class Profile:
    """A profile that is being made.  types: what each sample's values are; period: the time between two samples; lasts:
    it tells of the time from now on until it is written, as Go's profile of the processor alone does."""

    def __init__(self, types: list[Type], period_type: Type, period: int, lasts: bool = False) -> None:
        self.types = types
        self.period_type = period_type
        self.period = period
        self.started = time.time_ns()
        self._began = time.monotonic_ns() if lasts else None
        self._strings = {"": 0}
        self._functions: dict[tuple[str, str], int] = {}
        self._locations: dict[Entry, int] = {}
        self._samples: dict[tuple[tuple[int, ...], tuple[Label, ...]], list[int]] = {}

    def add(self, stack: Iterable[Entry], values: list[int], labels: tuple[Label, ...] = ()) -> None:
        """Adds a sample: its stack, innermost frame first.  Those with the same stack and labels are added up."""
        key = (tuple(self._location(frame) for frame in stack), labels)
        before = self._samples.get(key)
        self._samples[key] = values if before is None else [a + b for a, b in zip(before, values, strict=True)]

    def stacks(self) -> list[tuple[list[Entry], list[int]]]:
        """The samples: each a stack, innermost frame first, and its values.  Those that differ in labels alone are
        several."""
        frames = list(self._locations)
        return [([frames[at - 1] for at in stack], values) for (stack, _), values in self._samples.items()]

    def _location(self, frame: Entry) -> int:
        found = self._locations.get(frame)
        if found is None:
            name, file, _ = frame
            self._functions.setdefault((name, file), len(self._functions) + 1)
            found = self._locations[frame] = len(self._locations) + 1
        return found

    def _string(self, text: str) -> int:
        return self._strings.setdefault(text, len(self._strings))

    def _type(self, field: int, kind: Type) -> bytes:
        return data(field, number(1, self._string(kind[0])) + number(2, self._string(kind[1])))

    def _label(self, label: Label) -> bytes:
        key = number(1, self._string(label[0]))
        if isinstance(label[1], str):
            return data(3, key + number(2, self._string(label[1])))
        return data(3, key + number(3, label[1]) + number(4, self._string(label[2])))

    def message(self) -> bytes:
        """The protocol buffer."""
        parts = [self._type(SAMPLE_TYPE, kind) for kind in self.types]
        for (stack, labels), values in self._samples.items():
            body = data(1, b"".join(map(varint, stack))) + data(2, b"".join(map(varint, values)))
            parts.append(data(SAMPLE, body + b"".join(map(self._label, labels))))
        for (name, file, line), at in self._locations.items():
            where = data(4, number(1, self._functions[name, file]) + number(2, line))
            parts.append(data(LOCATION, number(1, at) + where))
        for (name, file), at in self._functions.items():
            named = self._string(name)
            function = number(1, at) + number(2, named) + number(3, named) + number(4, self._string(file))
            parts.append(data(FUNCTION, function))
        parts.append(number(TIME, self.started))
        if self._began is not None:
            parts.append(number(DURATION, time.monotonic_ns() - self._began))
        parts.append(self._type(PERIOD_TYPE, self.period_type) + number(PERIOD, self.period))
        parts += [data(STRING, text.encode(errors="backslashreplace")) for text in self._strings]  # when all are known
        return b"".join(parts)

    def packed(self) -> bytes:
        """The content of a profile's file."""
        return gzip.compress(self.message())
