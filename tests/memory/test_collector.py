"""What the cyclic collector is spared, and what it is not: a goroutine and its timer are roots while the runtime holds
them, and ordinary objects as soon as it lets them go.
"""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
import sysconfig
import weakref
from typing import Any

import pytest

import gort
from gort._runtime.core import runtime2
from support import PATIENCE_S, parked, settles

compiled = pytest.mark.skipif(not gort.runtime.compiled, reason="the uncompiled core's structures are Python objects")

# Whether all that a suspended coroutine refers to counts it.
COUNTED = sys.version_info < (3, 14) or not sysconfig.get_config_var("Py_GIL_DISABLED")


class Node:
    """May refer to whatever refers to it."""

    other: Any = None


@compiled
def test_a_parked_goroutine_is_two_objects_for_the_collector() -> None:
    async def main() -> tuple[int, int]:
        gate = gort.Chan[None]()
        n = 1000

        async def waiting() -> None:
            await gate.recv_ok()

        async def count() -> int:
            gc.collect()
            return len(gc.get_objects())

        before = await count()
        for _ in range(n):
            gort.go(waiting)
        await parked(n, "chan receive")
        more = await count() - before
        gate.close()
        return more, n

    more, n = gort.run(main)
    # The operation it waits for, and its context, as pytest has variables in one; not the G, and not the coroutine where
    # all of its references are counted.
    assert more < n * (2.2 if COUNTED else 3.2)


@compiled
def test_sleepers_and_armed_timers_are_not_visited() -> None:
    async def main() -> None:
        timers = [gort.after_func(3600, print) for _ in range(10)]
        assert not any(gc.is_tracked(t) for t in timers)
        for t in timers:
            assert t.stop()
        assert all(gc.is_tracked(t) for t in timers)

    gort.run(main)


@pytest.mark.parametrize("how", ["stopped", "fired", "left armed at the end"])
def test_a_timer_in_a_circle_is_collected(how: str) -> None:
    async def main() -> weakref.ref[Node]:
        node = Node()

        def call() -> None:
            assert node is not None  # a closure that holds what holds the timer
            fired.close()

        fired = gort.Chan[None]()
        node.other = gort.after_func(0.001 if how == "fired" else 3600, call)
        if how == "stopped":
            assert node.other.stop()
        elif how == "fired":
            await fired.recv_ok()
        return weakref.ref(node)

    ref = gort.run(main)
    assert settles(lambda: ref() is None)  # it collects; without the GIL another thread may still have it in hand


@pytest.mark.parametrize("how", ["never awaited", "done", "cancelled"])
@pytest.mark.filterwarnings("ignore:.*never awaited:RuntimeWarning")
def test_an_operation_in_a_circle_is_collected(how: str) -> None:
    async def main() -> weakref.ref[Node]:
        node = Node()
        ch = gort.Chan[Node](1)
        node.other = op = ch.send(node)
        if how == "done":
            await op
            assert await ch.recv() is node
        elif how == "cancelled":
            await ch.send(Node())

            async def sender() -> None:
                await op

            async with gort.Group() as group:
                handle = group.go(sender)
                await parked(1, "chan send")
                assert handle.cancel()
        return weakref.ref(node)

    ref = gort.run(main)
    assert settles(lambda: ref() is None)


def test_a_goroutine_in_a_circle_is_collected_once_it_has_ended() -> None:
    async def main() -> list[weakref.ref[Node]]:
        refs = []

        async def ending(node: Node) -> None:
            node.other = sys._getframe()
            await gort.sleep(0.001)

        for _ in range(10):
            node = Node()
            refs.append(weakref.ref(node))
            gort.go(ending, node)
        del node
        await gort.sleep(0.05)
        return refs

    refs = gort.run(main)
    assert settles(lambda: [r() for r in refs] == [None] * 10)


@compiled
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_a_G_that_goes_without_an_end_lets_its_coroutine_go() -> None:
    async def replaced() -> None:
        pass

    async def never_run() -> None:
        pass

    async def main() -> None:
        gort.go(never_run)
        (g,) = [g for g in runtime2.current_m().sched.allgs if getattr(g.coro, "__name__", "") == "never_run"]
        heir = runtime2.G()
        heir.coro = g.coro
        assert gc.is_tracked(heir.coro) is not COUNTED
        g.coro = replaced()
        ref = weakref.ref(heir.coro)
        del heir  # its coroutine's dealloc takes for granted that it is tracked
        assert ref() is None

    gort.run(main, procs=1)


def test_a_forked_child_lets_go_of_the_goroutines_of_its_parent() -> None:
    script = """
import gc, os, gort
from gort._runtime.core import runtime2

async def waiting(ch):
    await ch.recv_ok()

async def main():
    ch = gort.Chan()
    for _ in range(100):
        gort.go(waiting, ch)
    await gort.sleep(0.01)
    pid = os.fork()
    if pid == 0:
        for o in gc.get_objects():
            if type(o) is runtime2.Sched:
                o.allgs.clear()
        gc.collect()
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    ch.close()

gort.run(main, procs=1)
"""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stderr) == (0, "")


STACKS = """
import ctypes, socket, statistics, sys, threading
import gort

N, SIZE = 60, 1536 * 1024
threading.stack_size(SIZE)
pairs = [socket.socketpair() for _ in range(2 * N)]
inside = []
libc = ctypes.CDLL(None)

def stack(thread):  # (its size, KiB of it that are in memory)
    attr, addr, size = (ctypes.c_char * 64)(), ctypes.c_void_p(), ctypes.c_size_t()
    assert libc.pthread_getattr_np(ctypes.c_ulong(thread), attr) == 0
    assert libc.pthread_attr_getstack(attr, ctypes.byref(addr), ctypes.byref(size)) == 0
    libc.pthread_attr_destroy(attr)
    with open("/proc/self/pagemap", "rb", buffering=0) as f:
        f.seek(addr.value // 4096 * 8)
        pages = memoryview(f.read(size.value // 4096 * 8)).cast("Q")
    return size.value, 4 * sum(page >> 63 for page in pages)

def wait(a):
    inside.append(threading.get_ident())
    a.recv(1)

async def worker(a):
    wait(a)

async def main():
    for a, _ in pairs[:N]:
        gort.go(worker, a)
    while len(inside) < N:
        await gort.sleep(0.01)
    for a, _ in pairs[N:]:
        threading.Thread(target=wait, args=(a,), daemon=True).start()
    while len(inside) < 2 * N:
        await gort.sleep(0.01)
    found = [stack(thread) for thread in inside]
    sizes, kib = zip(*found)
    # One of them may be the main thread.
    print(sum(SIZE - 65536 <= size <= SIZE for size in sizes[:N]), statistics.median(kib[:N]), statistics.median(kib[N:]))
    sys.stdout.flush()
    for _, b in pairs:
        b.send(b"x")

gort.run(main, procs=1)
"""


@compiled
@pytest.mark.skipif(
    sys.platform != "linux" or os.sysconf("SC_PAGESIZE") != 4096, reason="/proc/self/pagemap, and pages of this size"
)
def test_a_goroutine_that_blocks_its_thread_takes_no_more_of_its_stack_than_a_plain_thread() -> None:
    """What the start of the next thread took of the stack goes back (rt_stack_trim): a page of 4 KiB for each."""
    done = subprocess.run(
        [sys.executable, "-c", STACKS], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    number, blocked, plain = map(float, re.findall(r"[\d.]+", done.stdout))
    assert number >= 59, "the size that the program has set is not that of gort's threads"
    assert 0 < blocked <= plain, f"{blocked} KiB of stack, a plain thread {plain}"
