"""The channels and locks of a look: who waits for them, who holds them, how full they are, and how much goes through.

A channel counts what has been received from it, and a lock how often it was taken (wait/chan.py, wait/sema.py): one
instruction each, in room that was left over in the object, so nothing more is counted while nobody looks.  Two looks make
a rate of it.  The census finds an object while somebody waits for it; one that was found is remembered, so that its rates
go on when nobody waits at the moment of a look.

Invariants
- Objects are remembered by weak references: what the program drops is gone.
- Counters are of 32 bits and begin again at 0.  That two looks see less than 2**32 events between them is certain.

What does not live here: the walk over the goroutines (core/stacks.py).
"""

from __future__ import annotations

import weakref

from gort._runtime.core import traceback
from gort._runtime.core.runtime2 import _Gwaiting
from gort._runtime.see.data import stack_of, state_of, status_of
from gort._runtime.wait import chan, sema
from gort._start.cython import lent

with lent():
    from gort._runtime.wait import rwmutex, semaphore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SHOWN_MAX = 200  # those with the most waiting goroutines
KEPT_NS = 30_000_000_000  # an object is shown for so long after somebody has waited for it
RATE_NS = 2_000_000_000  # a rate is of so much time, or of two looks
COUNTERS = 1 << 32
# What each kind says of itself: asked of the kind, because a class of the user's may have a method of the same name.
KINDS: tuple[Any, ...] = (sema.Mutex, sema.WaitGroup, semaphore.Semaphore, rwmutex.RWMutex)
LOCKS: list[tuple[type, Callable[[Any], str]]] = [(kind, kind._words) for kind in KINDS]


def counters(c: Any) -> tuple[int, int, int] | None:
    """(what was received or taken, modulo 2**32; the values in the buffer; its size, -1 for a lock).  None for what
    counts nothing.  Takes no lock: the three may be of different moments."""
    kind = type(c)  # not isinstance, which would ask a class of the user's
    if issubclass(kind, chan.Chan):
        return c.received % COUNTERS, c.qcount, c.dataqsiz
    if issubclass(kind, sema.Waitq):
        return c.granted % COUNTERS, 0, -1
    return None


def words(c: Any, size: int, length: int) -> str:
    """What traceback.about says of an object, where no goroutine waits for it."""
    if size >= 0:
        return f"channel {id(c):#x}" + (f", {length} of {size} values" if size else "")
    kind = type(c)
    return next((say(c) for lock, say in LOCKS if issubclass(kind, lock)), "")


class Seen:
    """What is remembered of an object: `past` has (time in ns, received or taken, length) of the last looks."""

    def __init__(self, c: Any) -> None:
        self.object = weakref.ref(c)
        self.waited = 0  # when somebody waited for it last, ns
        self.past: list[tuple[int, int, int]] = []

    def rates(self, now: int, found: tuple[int, int, int]) -> dict[str, float]:
        """How much goes through it each second, by the last RATE_NS; nothing at the first look."""
        total, length, size = found
        self.past.append((now, total, length))
        while len(self.past) > 2 and now - self.past[1][0] >= RATE_NS:
            del self.past[0]
        since, before, had = self.past[0]
        if now <= since:
            return {}
        seconds = (now - since) / 1e9
        passed = (total - before) % COUNTERS
        if size < 0:
            return {"taken": passed / seconds}
        return {"received": passed / seconds, "sent": max(0, passed + length - had) / seconds}


class Known:
    """The objects of the looks so far.  One thread uses it."""

    def __init__(self) -> None:
        self.found: dict[int, Seen] = {}  # by id; an id may be used again once its object is gone

    def seen(self, s: Any, groups: list[Any], now: int) -> list[dict[str, Any]]:
        """The objects, those with the most waiting goroutines first: {"id", "text", "waiters", "state", "oldest", "at":
        the stack of the first waiting group, "holder": {"goid", "state", "stack"} or None, "length", "size": of a
        channel's buffer, -1 for what has none, "rates": {"sent", "received"} of a channel and {"taken"} of a lock, each
        second}."""
        entries: dict[int, dict[str, Any]] = {}
        owners: dict[int, list[dict[str, Any]]] = {}
        for group in groups:
            if group.status == _Gwaiting:
                for wanted in group.wanted:
                    self.waits(group, wanted, now, entries, owners)
        self.quiet(now, entries)
        if owners:
            held = [g for g in list(s.allgs) if g.goid in owners]
            for g, frames in zip(held, traceback.stacks(held), strict=True):
                holder = {"goid": g.goid, "state": status_of(g), "stack": stack_of(frames)}
                for entry in owners.get(g.goid, ()):
                    entry["holder"] = holder
        return sorted(entries.values(), key=lambda each: -each["waiters"])[:SHOWN_MAX]

    def waits(
        self, group: Any, wanted: Any, now: int, entries: dict[int, dict[str, Any]], owners: dict[int, Any]
    ) -> None:
        """Some of a group wait for an object: enters it, or adds them to it."""
        text = traceback.about(wanted.op)
        if not text:
            return
        c = wanted.c
        oldest = (now - group.since) / 1e9 if group.since else 0.0
        entry = entries.get(id(c))
        if entry is None:
            entry = entries[id(c)] = self.entry(c, now, text)
            entry["state"], entry["at"] = state_of(group), stack_of(group.text or [])
            owner = traceback.owner(wanted.op)
            if owner:
                owners.setdefault(owner, []).append(entry)
        entry["waiters"] += wanted.count
        entry["oldest"] = max(entry["oldest"], oldest)

    def entry(self, c: Any, now: int, text: str) -> dict[str, Any]:
        """What a look has of an object, without those who wait; and it is remembered."""
        found = counters(c)
        length, size, rates = 0, -1, {}
        if found is not None:
            _, length, size = found
            seen = self.found.get(id(c))
            if seen is None or seen.object() is not c:
                seen = self.found[id(c)] = Seen(c)
            seen.waited = now
            rates = seen.rates(now, found)
        return {
            "id": f"{id(c):#x}",
            "text": text,
            "waiters": 0,
            "state": "",
            "oldest": 0.0,
            "at": [],
            "holder": None,
            "length": length,
            "size": size,
            "rates": rates,
        }

    def quiet(self, now: int, entries: dict[int, dict[str, Any]]) -> None:
        """Enters the objects for which nobody waits now, but somebody has, and forgets those that are gone."""
        for key, seen in list(self.found.items()):
            if key in entries:
                continue
            c = seen.object()
            waited = seen.waited
            if c is None or now - waited > KEPT_NS or len(entries) >= SHOWN_MAX:
                del self.found[key]
                continue
            found = counters(c)
            text = words(c, found[2], found[1]) if found is not None else ""
            if text:
                entries[key] = self.entry(c, now, text)
                seen.waited = waited
