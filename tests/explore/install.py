"""Puts the controlled threads, locks and clock under the runtime, and takes them away again.

The uncompiled core finds what it stands on (threading, time, the clock, make_lock, the poller's system wait, addresses)
through names in its modules.  Each such name is found by identity, in whichever module it was imported, and replaced.
So a module that starts to use one of them is covered; one that waits in the operating system in another way is told of,
with its stack, after control.STUCK_S.
"""

from __future__ import annotations

import _thread
import builtins
import importlib
import os
import pkgutil
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gort._runtime
from explore import check, control, standins
from gort._runtime.boot import main
from gort._runtime.c import net as _purenet
from gort._runtime.c import rt as _pure
from gort._runtime.core import debugvars, lockrank, machine, newosproc, runtime2
from gort._runtime.watch import sysmon
from gort._start.cython import lent

# Only these are stopped at each line: where unlocked fields are read and written.
LINES = {
    f"{name}.py"
    for name in (
        "handoff", "outside", "proc", "locked", "findrunnable", "procresize", "runq", "chan", "bulk", "select", "sema",
        "rwmutex", "timers", "timechan", "op", "scopes", "netpoll", "polldesc", "fd", "runtime2", "blocking", "predict",
        "wait", "sysmon",
    )
}  # fmt: skip


def make_lock(rank: int, owner: object = None) -> standins.Lock:
    """lockrank.make_lock.  Locks of one rank are ordered by their numbers, not by addresses, which differ from run to
    run."""
    lock = standins.Lock(rank, lockrank.LOCK_NAMES[rank])
    lock.guards = rank in check.GUARDS
    if rank in (lockrank.LOCK_RANK_HCHAN, lockrank.LOCK_RANK_TIMERS):  # several are held at once
        _numbers[id(owner)] = (lock.number, owner)
    return lock


_numbers: dict[
    int, tuple[int, Any]
] = {}  # what has been numbered in this schedule, kept alive so that its id is its own


def address(c: object) -> int:
    """What orders the locks of select, and seeds a foreign thread's: the number of the channel's lock, or a new one."""
    if id(c) not in _numbers:
        _numbers[id(c)] = (standins.Lock().number, c)
    return _numbers[id(c)][0]


def throw(message: str, *stacks: str) -> None:
    """lockrank.throw, without the end of the process."""
    c = control.active
    assert c is not None
    if c.aborting:
        raise control.Abandon
    c.fail("throw", "\n".join([message, *stacks]))


def epoll_wait(ep: Any, delay: int) -> list[tuple[int, int]]:
    """net_epoll_wait: the real epoll, asked whenever the controller wants to know whether this thread could go on."""
    c = control.active
    if c is None or delay == 0:
        if c is not None:
            c.point("before", "epoll")
        return _look(ep)
    found: list[tuple[int, int]] = []

    def ready() -> bool:
        # An edge is told once: what has been told is kept, as by a thread that has been woken and does not run yet.
        if not found:
            found.extend(_look(ep))
        return bool(found)

    c.point("before", "epoll")
    c.block("", "epoll", ready, 0 if delay < 0 else c.now + max(1, delay))
    return found


def _look(ep: Any) -> list[tuple[int, int]]:
    try:
        return list(ep.poll(0, 256))
    except ValueError:  # closed by the end of the program
        return []


_traced: dict[Any, bool] = {}


def tracer(frame: Any, event: str, arg: Any) -> Any:
    """sys.settrace's function for the finer mode: each line of the runtime is a switch point."""
    code = frame.f_code
    mine = _traced.get(code)
    if mine is None:
        path = code.co_filename.replace("\\", "/")
        mine = _traced[code] = path.rpartition("/")[2] in LINES and "/_runtime/" in path
    return _line if mine else None


def _line(frame: Any, event: str, arg: Any) -> Any:
    if event == "line" and control.active is not None:
        control.active.point("line")
    return _line


def replacements() -> dict[int, Any]:
    """What is replaced, by the identity of the original."""
    return {
        id(threading): standins.Threading,
        id(time): standins.Time,
        id(_thread.allocate_lock): standins.Lock,
        id(_thread.start_new_thread): standins.start_new_thread,
        id(_pure.nanotime): standins.nanotime,
        id(_pure.rt_cputime): standins.rt_cputime,
        id(newosproc.Thread): standins.ThreadOfM,
        id(lockrank.make_lock): make_lock,
        id(lockrank.throw): throw,
        id(_purenet.net_epoll_wait): epoll_wait,
        id(builtins.id): address,
        id(sysmon.cpu_clock): standins.cpu_clock,
    }


_seed = 0

# What the boot asks the system, and does not change between two schedules.
FACTS = (
    (debugvars, "cpu_quota"), (debugvars, "num_cpu"), (machine, "cpu_identity"), (machine, "auxv"),
    (machine, "thread_stack"), (machine, "huge_page_size"), (machine, "signal_mask"),
)  # fmt: skip


class Patches:
    """Names changed for a while."""

    def __init__(self) -> None:
        self.undo: list[tuple[Any, str, Any]] = []

    def set(self, owner: Any, name: str, value: Any) -> None:
        self.undo.append((owner, name, owner.__dict__[name]))
        setattr(owner, name, value)

    def everywhere(self, original: Any, value: Any) -> int:
        """Replaces an object under whatever name gort's modules know it.  How many there were."""
        n = 0
        for module in modules():
            for name, found in list(module.__dict__.items()):
                if found is original:
                    self.set(module, name, value)
                    n += 1
        return n

    def restore(self) -> None:
        while self.undo:
            owner, name, value = self.undo.pop()
            setattr(owner, name, value)


def modules() -> list[Any]:
    """Every module of gort that a scenario can reach; loaded now, since what is loaded later stands on the real ones."""
    for module in pkgutil.walk_packages(gort._runtime.__path__, "gort._runtime."):
        with lent():
            importlib.import_module(module.name)
    names = sorted(n for n in sys.modules if n.partition(".")[0] == "gort")
    return [sys.modules[n] for n in names if not n.startswith(("gort.xray", "gort.cli"))]


@contextmanager
def controlled() -> Iterator[Patches]:
    """The runtime stands on the controller."""
    patches = Patches()
    randoms = random.getstate()
    by_identity = replacements()
    try:
        for module in modules():
            for name, found in list(module.__dict__.items()):
                new = by_identity.get(id(found))
                if new is not None and module is not lockrank:
                    patches.set(module, name, new)
        patches.set(lockrank, "throw", throw)
        patches.set(runtime2, "SIGNAL_SLICE", 1e6)  # no signal comes: idle threads sleep on
        # Not GODEBUG=seed, which draws the order of goroutines with one P, and has sysmon preempt nobody.
        patches.set(os, "urandom", lambda n: _seed.to_bytes(n, "little"))
        patches.set(machine, "tls_check", lambda value: (value, 0))
        patches.set(machine, "os_threads", set)  # those that threading knows are enough
        for owner, name in FACTS:
            fact = owner.__dict__[name]()
            patches.set(owner, name, lambda fact=fact: fact)
        yield patches
    finally:
        patches.restore()
        random.setstate(randoms)


def begin(seed: int) -> None:
    """Before a schedule: the runtime's own random choices come from the seed."""
    global _seed
    random.seed(seed)
    _seed = seed
    _numbers.clear()


def seed() -> int:
    """This schedule's seed."""
    return _seed


def unbind() -> None:
    """A fresh thread is no M."""
    _pure.rt_setm(None)


def clean() -> None:
    """After a schedule: what an abandoned runtime leaves."""
    for s in list(main._running):
        netpoll, s.netpoll = s.netpoll, None
        if netpoll is not None:
            netpoll.close()
        for g in s.allgs:
            g.coro = g.throw = g.waitop = None
    main._running.clear()
    _numbers.clear()
