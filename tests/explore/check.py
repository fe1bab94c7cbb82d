"""Invariants of the runtime, looked at whenever one of the locks that guard them is released and nobody holds another."""

from __future__ import annotations

from typing import Any

from explore import control
from gort._runtime.boot import main
from gort._runtime.core import lockrank
from gort._runtime.core.runtime2 import _Grunnable, _Pdead, _Pgcstop
from gort._runtime.core.traceback import GSTATUS, PSTATUS

GUARDS = (lockrank.LOCK_RANK_SCHED, lockrank.LOCK_RANK_P)
LONG = 1000


def chain(first: Any, link: str) -> list[Any]:
    found = []
    while first is not None and len(found) < LONG:
        found.append(first)
        first = getattr(first, link)
    return found


def queues(s: Any) -> list[tuple[str, list[Any]]]:
    found = [("the global queue", chain(s.runqhead, "schedlink"))]
    for p in s.allp:
        found.append((f"P{p.id}'s queue", chain(p.runqhead, "schedlink")))
        if p.runnext is not None:
            found.append((f"P{p.id}.runnext", [p.runnext]))
    return found


def invariants() -> None:
    """Raises, through the controller, when one does not hold."""
    c = control.active
    assert c is not None
    if not main._running or c.aborting:
        return
    for task in c.tasks:
        for lock in task.held:
            if lock.rank in GUARDS:
                return
    s = main._running[-1]
    if s.ending:
        return
    seen: dict[int, str] = {}
    for name, gs in queues(s):
        if len(gs) >= LONG:
            c.fail("queue", f"{name} has a circle")
        for g in gs:
            if id(g) in seen:
                c.fail("queue", f"goroutine {g.goid} is on {seen[id(g)]} and on {name}\n{state()}")
            seen[id(g)] = name
            if g.status != _Grunnable or g.parked:
                status = GSTATUS.get(g.status, g.status)
                c.fail("queue", f"goroutine {g.goid} is on {name} and {status}, parked={g.parked}\n{state()}")
    running: dict[int, Any] = {}
    for m in list(s.allm):
        g = m.curg
        if g is None:
            continue
        if id(g) in running:
            c.fail("run twice", f"goroutine {g.goid} runs on m{m.id - 1} and m{running[id(g)].id - 1}\n{state()}")
        running[id(g)] = m
        if id(g) in seen:
            c.fail("run twice", f"goroutine {g.goid} runs on m{m.id - 1} and is on {seen[id(g)]}\n{state()}")
    if s.exiting:
        return
    idle = chain(s.pidle, "link")
    if len(idle) != s.npidle or len(chain(s.midle, "schedlink")) != s.nmidle:
        c.fail("count", f"the idle lists are not as long as npidle and nmidle say\n{state()}")
    for m in chain(s.midle, "schedlink"):
        if m.spinning:
            c.fail("count", f"m{m.id - 1} sleeps and counts as spinning\n{state()}")
    if not 0 <= s.nmspinning <= len(s.allm):
        c.fail("count", f"nmspinning is {s.nmspinning}\n{state()}")
    if s.runqsize != len(chain(s.runqhead, "schedlink")):
        c.fail("count", f"the global queue has not runqsize goroutines\n{state()}")
    owned: dict[int, int] = {}
    for p in s.allp[: s.gomaxprocs]:
        if p.status in (_Pdead, _Pgcstop) or s.gcwaiting:
            continue
        if (p.mid != 0) == any(q is p for q in idle):
            c.fail("P", f"P{p.id} is {'owned and' if p.mid else 'neither owned nor'} on the idle list\n{state()}")
        if p.mid and not any(m.nextp is p for m in s.allm):  # given to an M that may still have another
            if p.mid in owned:
                c.fail("P", f"m{p.mid - 1} owns P{owned[p.mid]} and P{p.id}\n{state()}")
            owned[p.mid] = p.id


def state() -> str:
    """The runtime, for a report."""
    lines = []
    for s in main._running:
        lines.append(
            f"  sched: global queue {s.runqsize}, idle Ps {s.npidle} of {s.gomaxprocs}, idle Ms {s.nmidle}"
            f" of {len(s.allm)} (+{s.nmidlelocked} locked), spinning {s.nmspinning}, polling {s.npolling},"
            f" exiting {s.exiting}"
        )
        for p in s.allp:
            lines.append(
                f"  P{p.id}: {PSTATUS.get(p.status)}, M {p.mid - 1 if p.mid else None}, queue"
                f" {[g.goid for g in chain(p.runqhead, 'schedlink')]}, runnext {p.runnext.goid if p.runnext else None},"
                f" timers {len(p.timers)}"
            )
        for m in list(s.allm):
            lines.append(
                f"  m{m.id - 1}: P {m.p.id if m.p else None}, goroutine {m.curg.goid if m.curg else None}"
                f"{', spinning' if m.spinning else ''}"
            )
        for g in list(s.allgs):
            if g.goid:
                lines.append(
                    f"  goroutine {g.goid}: {GSTATUS.get(g.status)}, parked={g.parked}, readied={g.readied}"
                    f" {type(g.waitop).__name__ if g.waitop is not None else ''}"
                )
    return "\n".join(lines)
