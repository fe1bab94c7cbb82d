"""One look at a runtime, as plain data for JSON: the page, `gort top` and the rules of wrong.py read nothing else.

A look has the Ps, the threads that run a goroutine without one, the groups of equal goroutines, the objects that they
wait for with their holders, and the runtime's counters.  The walk over the goroutines is the census of core/stacks.py,
which is C in the compiled core.  Beside it there are samples, more often than looks: what the threads do that run a
goroutine (Sampler).

Invariant: nothing of the program's is called or kept.  What is in a look are numbers and text.

What does not live here: channels and locks (objects.py); stacks and states as data (data.py); when looks are taken
(watcher.py); what they mean (wrong.py).
"""

from __future__ import annotations

import os
import sys
import time

from gort._runtime.core import machine, traceback
from gort._runtime.core.debugvars import gil_enabled
from gort._runtime.core.machine import cpu_clock, nanotime
from gort._runtime.core.runtime2 import COMPILED, _Grunnable, _Gsyscall, _Gwaiting, peek
from gort._runtime.sched import newproc
from gort._runtime.see import objects
from gort._runtime.see.data import FRAMES_MAX, maker, stack_of, state_of, status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

GROUPS_MAX = 200  # so many kinds of goroutines are shown, the largest
KEPT_GROUPS = 10  # of so many, the largest, it is counted what their frames keep
SAMPLED_MAX = 4  # so many stacks are read for a sample
COMPUTES_NS = 30_000_000  # who has run for so long without an operation computes,
COMPUTED_NS = 10_000_000  # and has used so much CPU time
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def memory() -> int:
    """The bytes of this process that are in memory; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as f:
            return int(f.read().split()[1]) * PAGE_BYTES
    except OSError:
        return 0


class Sampler:
    """What the threads do that run goroutines.  sample() looks; take() returns what was seen since it was last called."""

    def __init__(self) -> None:
        self.before: dict[int, tuple[int, int, int, int]] = {}  # M -> goroutine, its nrun, CPU and clock, ns
        self.looks = 0
        self.found: dict[Any, list[Any]] = {}
        self.lanes: list[list[Any]] = []  # [seconds, the goroutine on each P]
        self.turn = 0

    def sample(self, s: Any) -> None:
        """Looks once at the threads of s."""
        self.looks += 1
        now = nanotime()
        seen: dict[int, tuple[int, int, int, int]] = {}
        found = []
        lane = [0] * s.gomaxprocs
        for m in list(s.allm):
            g, p = m.curg, m.p  # read once: m's thread may change them
            if g is None or g.system or m.insyscall or not g.goid:
                continue
            if p is not None and p.mid == m.id and p.id < len(lane):
                lane[p.id] = g.goid
            goid, nrun, cpu = g.goid, g.nrun, cpu_clock(m) or 0
            last = self.before.get(m.id)
            same = last is not None and last[:2] == (goid, nrun)
            seen[m.id] = last if same and last is not None else (goid, nrun, cpu, now)
            lost = p is None or p.mid != m.id  # it has lost its P, or handed it on
            if same and last is not None and cpu - last[2] >= COMPUTED_NS and now - last[3] >= COMPUTES_NS:
                found.append((m, g, "computes", now - last[3]))
            elif lost and machine.doing(m.procid) not in (machine.RUNS, machine.WAITS_FOR_GIL):
                found.append((m, g, "blocks", now - seen[m.id][3]))
        self.before = seen
        self.lanes.append([now / 1e9, lane])
        self.turn += 1
        for i in range(min(SAMPLED_MAX, len(found))):
            m, g, kind, ns = found[(self.turn + i) % len(found)]
            weight = max(1.0, len(found) / SAMPLED_MAX)
            frames = traceback.running(m.ident) if kind == "blocks" else traceback.stacks([g])[0]
            self._add(kind, g, frames, ns, weight)

    def _add(self, kind: str, g: Any, frames: Any, ns: int, weight: float) -> None:
        if not frames:
            return  # it has left the program's code meanwhile
        names = tuple((name, file) for name, file, _ in frames[:FRAMES_MAX])
        entry = self.found.get((kind, names))
        if entry is None:
            entry = self.found[kind, names] = [0.0, 0, set(), stack_of(frames)]
        entry[0] += weight
        entry[1] = max(entry[1], ns)
        if len(entry[2]) < 5:
            entry[2].add(g.goid)

    def take(self) -> dict[str, Any]:
        """{"looks": how many, "at": [{"kind": "blocks" or "computes", "count", "longest": ns, "goids", "stack"}],
        "lanes": [[seconds, [the goroutine on each P, or 0]]]}."""
        at = [
            {"kind": key[0], "count": count, "longest": longest, "goids": sorted(goids), "stack": stack}
            for key, (count, longest, goids, stack) in self.found.items()
        ]
        looks, lanes, self.looks, self.found, self.lanes = self.looks, self.lanes, 0, {}, []
        return {"looks": looks, "at": sorted(at, key=lambda each: -each["count"]), "lanes": lanes}


def kept_in(group: Any) -> dict[str, Any] | None:
    """What the frames of a group keep in memory: {"bytes": of all of them, "what": [[name or "", type, function, bytes of
    one]]}, reckoned from the first few members.  None where nothing large is kept, or it cannot be told."""
    frames: dict[Any, int] = {}
    read = [each for each in traceback.loaded().kept(list(group.members)) if each is not None]
    if not read:
        return None
    for goroutine in read:
        for code, count, begin, sizes in goroutine:
            variables = code.co_varnames + code.co_cellvars + code.co_freevars
            whole = count - begin == len(variables) + 1  # beside them it refers only to what it awaits
            for which, kind, size in sizes:
                i = which - begin
                name = variables[i] if whole and begin and 0 <= i < len(variables) else ""
                key = (name, kind, traceback.function_name(code, traceback.module_of(code)))
                frames[key] = frames.get(key, 0) + size
    total = sum(frames.values()) / len(read)
    if total * group.count < 1_000_000:
        return None
    largest = sorted(frames.items(), key=lambda each: -each[1])[:3]
    return {
        "bytes": round(total * group.count),
        "what": [[*key, round(size / len(read))] for key, size in largest if size * 10 >= sum(frames.values())],
    }


def group_data(group: Any, now: int) -> dict[str, Any]:
    """A group of a census as data."""
    by = maker(group.code, group.lasti)
    waits = [
        [each.count, text]
        for each in group.wanted
        if each.count > 1 and each.count * 10 >= group.count and (text := traceback.about(each.op))
    ]
    if group.count == 1 and group.wanted and (text := traceback.about(group.wanted[0].op)):
        waits = [[1, text]]
    frames = group.text or []
    return {
        "count": group.count,
        "state": state_of(group),
        "goids": group.goids,
        "oldest": (now - group.since) / 1e9 if group.since else 0.0,
        "stack": stack_of(frames),
        "by": by,
        "parent": group.parent if group.count == 1 else 0,
        "waits": waits,
        "various": group.count - sum(count for count, _ in waits) if group.wanted else 0,
        "locked": bool(group.locked),
    }


def goroutine(s: Any, goid: int) -> dict[str, Any] | None:
    """One goroutine: its state, how often it has run, its stack, what it waits for, its creator and the goroutines that
    have led to it, as far as they live.  None if there is none of that number."""
    by_number = {g.goid: g for g in list(s.allgs) if g.goid}
    g = by_number.get(goid)
    if g is None:
        return None
    op, _, code, _ = peek(g)
    waits = g.status == _Gwaiting
    parents: list[dict[str, Any]] = []
    parent = by_number.get(g.parentgoid)
    while parent is not None and len(parents) < FRAMES_MAX and parent.goid < goid:
        parents.append({"goid": parent.goid, "state": status_of(parent), "by": maker(peek(parent)[2], parent.golasti)})
        goid, parent = parent.goid, by_number.get(parent.parentgoid)
    return {
        "goid": g.goid,
        "state": status_of(g),
        "runs": g.nrun,
        "waited": (nanotime() - g.waitsince) / 1e9 if waits and g.waitsince else 0.0,
        "waits": traceback.about(op) if waits and op is not None else "",
        "stack": stack_of(traceback.stacks([g])[0]),
        "by": maker(code, g.golasti),
        "parents": parents,
    }


def circles(s: Any) -> list[dict[str, Any]]:
    """The goroutines that wait for each other: {"key", "members": [{"goid", "waits", "stack"}]}."""
    found = []
    for cycle in traceback.cycles(s):
        gs = [g for g, _ in cycle]
        members = [
            {"goid": g.goid, "waits": traceback.about(op), "stack": stack_of(frames)}
            for (g, op), frames in zip(cycle, traceback.stacks(gs), strict=True)
        ]
        found.append({"key": sorted([g.goid, g.nrun] for g in gs), "members": members})
    return found


def processors(s: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The Ps, and the threads that run a goroutine without one."""
    ms = {m.id: m for m in list(s.allm)}
    ps = []
    for p in list(s.allp)[: s.gomaxprocs]:
        m = ms.get(p.mid)
        g = m.curg if m is not None else None
        queue = p.runqsize + (p.runnext is not None)
        ps.append({"id": p.id, "queue": queue, "m": abs(p.mid) - 1 if p.mid else None, "goid": g.goid if g else 0})
    without = []
    for m in ms.values():
        g, p = m.curg, m.p
        if g is not None and not g.system and (p is None or p.mid != m.id):
            without.append({"m": m.id - 1, "goid": g.goid, "call": bool(m.insyscall)})
    return ps, without[:GROUPS_MAX]


def counters(s: Any) -> dict[str, Any]:
    """What the runtime counts."""
    seen = s.predictor
    return {
        "switches": sum(p.switchtick for p in list(s.allp)),
        "handoffs": s.nhandoff + seen.hits,
        "preemptions": s.npreempt,
        "blocking_calls": s.nsyscall,
        "blocked_ns": s.blockedns + seen.ns,
        "threads_ended": s.nmfreed,
    }


def look(s: Any, samples: dict[str, Any] | None = None, known: objects.Known | None = None) -> dict[str, Any]:
    """Looks at the runtime s.  samples: what a Sampler has seen since the last look; known: the objects of the looks
    before."""
    began = time.thread_time_ns()
    now = nanotime()
    census = traceback.census(s)
    census.sort(key=lambda each: -each.count)
    states: dict[str, int] = {}
    for group in census:
        state = state_of(group)
        states[state] = states.get(state, 0) + group.count
    groups = [group_data(group, now) for group in census[:GROUPS_MAX]]
    for group, data in zip(census[:KEPT_GROUPS], groups, strict=False):
        data["kept"] = kept_in(group) if group.status == _Gwaiting else None
    ps, without = processors(s)
    waits = (known or objects.Known()).seen(s, census[:GROUPS_MAX], now)
    found = {
        "time": time.time(),
        "ns": now,
        "pid": os.getpid(),
        "program": traceback.plain(sys.argv[0]) if sys.argv and issubclass(type(sys.argv[0]), str) else "",
        "python": sys.version.split()[0],
        "compiled": bool(COMPILED),
        "gil": gil_enabled(),
        "gomaxprocs": s.gomaxprocs,
        "goroutines": int(newproc.gcount(s)),
        "runnable": sum(each.count for each in census if each.status == _Grunnable),
        "calls": sum(each.count for each in census if each.status == _Gsyscall),
        "kinds": len(census),
        "states": states,
        "threads": len(s.allm) + s.nmsys,
        "idle_threads": s.nmidle,
        "queue": s.runqsize,
        "memory": memory(),
        "counters": counters(s),
        "ps": ps,
        "without": without,
        "groups": groups,
        "objects": waits,
        "circles": circles(s),
        "samples": samples or {"looks": 0, "at": [], "lanes": []},
        "wrong": [],
    }
    found["took_ns"] = time.thread_time_ns() - began
    return found
