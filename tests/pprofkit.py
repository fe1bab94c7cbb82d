"""Reads profiles in the format of pprof, ours and Go's, without Go. What does not live here: whether `go tool pprof`
takes them (tests/test_profiles.py).
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field


@dataclass
class Sample:
    """One sample: its functions, the innermost first, its values by their names, and its labels with texts."""

    stack: list[str]
    values: dict[str, int]
    labels: dict[str, str] = field(default_factory=dict)


def varints(message: bytes) -> list[int]:
    """The integers that follow one another in message."""
    found, n, shift = [], 0, 0
    for byte in message:
        n |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            found.append(n)
            n = shift = 0
    return found


def fields(message: bytes) -> list[tuple[int, int | bytes]]:
    """A protocol buffer's fields: number and value."""
    found: list[tuple[int, int | bytes]] = []
    at = 0

    def integer() -> int:
        nonlocal at
        begin = at
        while message[at] >= 0x80:
            at += 1
        at += 1
        return varints(message[begin:at])[0]

    while at < len(message):
        key = integer()
        if key & 7:
            size = integer()
            found.append((key >> 3, message[at : at + size]))
            at += size
        else:
            found.append((key >> 3, integer()))
    return found


def of(message: int | bytes, number: int) -> list[int | bytes]:
    """The values of the fields `number` of a message; lists of integers are one."""
    assert isinstance(message, bytes)
    found: list[int | bytes] = []
    for its, value in fields(message):
        if its == number:
            found += [value]
    return found


def integers(message: int | bytes, number: int) -> list[int]:
    """The integers in the fields `number` of a message, packed into one or not."""
    found: list[int] = []
    for value in of(message, number):
        found += [value] if isinstance(value, int) else varints(value)
    return found


def samples(packed: bytes) -> list[Sample]:
    """The samples of a profile's file."""
    message = gzip.decompress(packed)
    texts = [text.decode() for text in of(message, 6) if isinstance(text, bytes)]
    types = [texts[integers(each, 1)[0]] for each in of(message, 1)]
    functions = {integers(each, 1)[0]: texts[integers(each, 2)[0]] for each in of(message, 5)}
    locations = {
        integers(each, 1)[0]: [functions[integers(line, 1)[0]] for line in of(each, 4)] for each in of(message, 4)
    }
    found = []
    for each in of(message, 2):
        stack = [name for at in integers(each, 1) for name in locations[at]]
        labels = {
            texts[integers(label, 1)[0]]: texts[integers(label, 2)[0]] for label in of(each, 3) if integers(label, 2)
        }
        found.append(Sample(stack, dict(zip(types, integers(each, 2), strict=True)), labels))
    return found


def cumulated(packed: bytes, value: str, least_ns: int = 0) -> dict[str, int]:
    """For each function the sum of `value` over the samples in whose stacks it is; without those of which one wait took
    less than least_ns on average."""
    found: dict[str, int] = {}
    for sample in samples(packed):
        if least_ns and sample.values["delay"] < least_ns * sample.values["contentions"]:
            continue
        for name in set(sample.stack):
            found[name] = found.get(name, 0) + sample.values[value]
    return found
