"""Nothing is kept per operation: no reference, no block, no memory, in any primitive, however it ends.

Each case of leakcases.py runs within one `gort.run`: twice to warm up, then the measured time. What is compared: the
references to the sentinel that went through (not one more), the interpreter's allocated blocks, and resident memory.

By default a thousand operations or more, which finds what is kept per operation in blocks; GORT_MEMORY_OPS=1000000
makes it a million of each (those of a dearer kind: that divided by what leakcases.py says), which finds single bytes.
"""

from __future__ import annotations

import gc
import os
import sys
import time

import pytest
from leakcases import CASES

import gort
from gort._runtime.core import runtime2
from support import GIL, SETTLES_S, resident_bytes

OPERATIONS = int(os.environ.get("GORT_MEMORY_OPS", "4000" if gort.runtime.compiled else "1000"))
PROCS = [int(p) for p in os.environ.get("GORT_MEMORY_PROCS", "1,4").split(",")]
# What comes and goes by itself: free lists, caches; without the GIL also what threads owe each other, and the pages of
# their heaps, some MB now and then (test_run_many.py). LEAST: so many operations that one block kept by each is more.
BLOCK_NOISE, MEMORY_NOISE, LEAST = (150, 1 << 20, 400) if GIL else (1200, 8 << 20, 1500)
# What the runtime keeps for good, and makes more of on a busy machine, where more threads get in each other's way: an M
# with its thread is 35 blocks, a G two to four; uncompiled it is a dozen, also when it is dead and on a free list.
M_BLOCKS, G_BLOCKS = 40, 4
if not gort.runtime.compiled:
    G_BLOCKS = 12
    BLOCK_NOISE, LEAST = (600, 1000) if GIL else (2000, 3000)
PIECE = 20_000  # operations between two collections


class Sentinel:
    """Goes through everything; its references are counted."""


def settle() -> None:
    """Collects until nothing more goes.

    Without the GIL an object's last reference may be dropped by one thread and the object freed by its own, which sleeps:
    a collection settles that, and what the freed object held needs another."""
    gc.collect()
    if GIL:
        return
    least, same = sys.getallocatedblocks(), 0
    for _ in range(10):
        gc.collect()
        if (now := sys.getallocatedblocks()) < least:
            least, same = now, 0
        else:
            same += 1
            if same == 2:  # once may be chance: another thread has made what hides what went
                return


async def measure(sentinel: Sentinel, expected: int) -> tuple[int, int, int]:
    """References to the sentinel, allocated blocks without those of Ms and Gs, resident memory.

    Waits until there are no more references than expected: whoever waited for a goroutine may be woken while the thread
    that ended it still has its exception in hand, and a busy machine may leave that thread there for long."""
    end = time.monotonic() + SETTLES_S
    while True:
        settle()
        if sys.getrefcount(sentinel) <= expected or time.monotonic() > end:
            break
        await gort.sleep(0.001)
    s = runtime2.current_m().sched
    kept = M_BLOCKS * len(s.allm) + G_BLOCKS * len(s.allgs)
    return sys.getrefcount(sentinel), sys.getallocatedblocks() - kept, resident_bytes()


async def measured(name: str, n: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    case, divisor = CASES[name]
    n = max(n // divisor, LEAST)
    sentinel = Sentinel()
    async with gort.Group() as group:  # what sysmon loads when it first takes a P is none of the case's
        for _ in range(8):
            group.go(time.sleep, 0.02)
    own, _, _ = await measure(sentinel, sys.maxsize)
    await case(max(n // 10, 100), sentinel)
    await case(max(n // 10, 100), sentinel)
    before = await measure(sentinel, own)
    for done in range(0, n, PIECE):
        await case(min(PIECE, n - done), sentinel)
        gc.collect()  # cycles that wait for the collector are no leak, and without the GIL it lets tens of MB wait
    after = await measure(sentinel, own)
    return (own, *before[1:]), after


@pytest.mark.apart  # where few other tests are imported: it collects garbage often, which takes longer the more there is
@pytest.mark.timeout(900 + OPERATIONS // 100)
@pytest.mark.parametrize("procs", PROCS)
@pytest.mark.parametrize("name", CASES)
def test_nothing_is_kept(name: str, procs: int) -> None:
    before, after = gort.run(measured, name, OPERATIONS, procs=procs)
    n = max(OPERATIONS // CASES[name][1], LEAST)
    references, blocks, memory = (b - a for a, b in zip(before, after, strict=True))
    print(f"{name}, procs={procs}: {n} operations, {references:+} references, {blocks:+} blocks, {memory >> 10:+} KiB")
    assert references == 0, f"{references} references to what was passed are left after {n} operations"
    assert blocks < BLOCK_NOISE + n // 100, f"{blocks} allocated blocks more after {n} operations"
    assert memory < MEMORY_NOISE + n, f"{memory >> 10} KiB more after {n} operations"
