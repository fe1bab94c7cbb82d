"""What the goroutines, actors and tasks of `cluster_.py` do.  A module of its own: the nodes import it."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

VALUES: dict[str, Any] = {"ints": 7, "dicts": {"id": 7, "name": "seven", "ok": True}}


async def add(a: int, b: int) -> int:
    return a + b


def plain_add(a: int, b: int) -> int:
    return a + b


async def receive(ch: Any, n: int) -> int:
    for _ in range(n):
        await ch.recv()
    return n


async def send(ch: Any, kind: str, n: int) -> None:
    value = VALUES[kind]
    for _ in range(n):
        await ch.send(value)


def count(part: tuple[int, int]) -> Counter[str]:
    """The words of the lines from the first to before the second number."""
    words: Counter[str] = Counter()
    for i in range(*part):
        words.update(f"the fox {i % 997} saw {i % 13} others".split())
    return words


async def park(ch: Any) -> None:
    await ch.recv_ok()


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


async def parked(n: int, ch: Any) -> int:
    """How many goroutines wait here, once it is at least n."""
    import gort

    while gort.runtime.num_goroutine() < n:
        await gort.sleep(0.01)
    return gort.runtime.num_goroutine()


async def first(ref: Any) -> float:
    """The first number of the array that a reference of gort.cluster stands for."""
    return float((await ref)[0])


def first_of(array: Any) -> float:
    return float(array[0])


def drain(queue: Any, n: int) -> int:
    """Receives from a queue of Ray's or Dask's, one by one."""
    for _ in range(n):
        queue.get()
    return n
