# cython: cdivision=True
"""sysmon's sleep, in which it keeps an eye on the Ps without the GIL.  Follows the loop of sysmon in Go's
runtime/proc.go, which looks every 20 µs at first.

sysmon's rounds are Python: each takes the GIL from whoever computes, so there are few.  But a goroutine that has blocked
its thread holds its P for nothing, and while it is blocked nobody needs to be disturbed to find out.  So in the compiled
core sysmon sleeps in short pieces, and looks in between, in C, at each P: have its ticks changed?  If not, and if work
waits for a P (a goroutine, or a timer that is due), has the thread used CPU time?  When it has used none for SURE_NS,
and sleeps in a system call, the sleep ends, and sysmon takes the P.  A thread that waits for the GIL or for a processor
would go on if it could, and without the GIL one that waits for a lock often gets it soon.
While a thread computes, nothing but these looks happens, on sysmon's own thread.  As in Go, the looks become rarer while
they find nothing: each costs some 9 µs of CPU time, and every 50 µs that would be a tenth of a CPU.  So they do while no
work waits: a server that has one event loop, say, has nothing for another thread to do.  A timer that becomes due ends
such a pause early.

By its CPU clock, a thread that waits for a processor looks like one that rests.  Where other programs want the processor
too, and where the thread shares one with the watcher, each look would so be a reason for the next one soon, which took a
third of what a server of short views did.  So after HOPE looks in a row that have found nobody, a thread that rests is
no reason any more, and looks become still rarer, but for one in RETRY: by that, calls that are too short for the rare
looks are found again.

Invariants
- Without the GIL only fields that are numbers are read, and whether runnext is None; all of them are hints.  sysmon
  itself compares the ticks again before it takes a P (sysmon.take).
- The Ps that are watched stay alive: sched.allp and sched.oldallps keep them while the runtime runs.

Rejected: a short slice of Linux's scheduler for sysmon's thread (sched_setattr, 100 us).  It then runs as soon as it
wakes, in the place of a thread that has the GIL: the rows `blocking-*` lose a tenth of their rate, and their tickers are
as late.

What does not live here: what sysmon does with a P whose thread is blocked (sysmon.py).  The uncompiled core only sleeps:
a look there would need the GIL.
"""

from __future__ import annotations

import cython
from cython.cimports.cpython.ref import PyObject
from cython.cimports.gort._runtime.c.rt import (
    FREE_THREADED,
    RUNS,
    WAITS_FOR_GIL,
    WAITS_FOR_LOCK,
    WAITS_INSIDE,
    WATCHES,
    nanotime,
    rt_cpu_of,
    rt_doing,
    rt_gil_taken,
    rt_import,
    rt_note_doze,
    rt_sharp_sleeps,
)
from cython.cimports.gort._runtime.core.runtime2 import Note, P, Sched

rt_import()

if not cython.compiled:  # the .pxd defines the same names for C
    WATCHED = 64  # so many Ps are watched; where there are more, the first of them
    LOOK_NS = 50_000  # from one look to the next while work waits for a P, at first and when a blocked thread was found
    CALM = 50  # after so many looks that have found nothing, or no work that waits, the time between two doubles
    DOUBLED = 2  # so often at most, while work waits; and while none does
    # After HOPE looks in a row that have found nobody while work waited, the time between two has doubled VAIN_DOUBLED
    # times, and where no work waits VAIN_QUIET_DOUBLED; one look in RETRY goes on as before.
    HOPE = 500
    RETRY = 8
    VAIN_DOUBLED = 3
    VAIN_QUIET_DOUBLED = 2
    QUIET_DOUBLED = 3
    QUIET_NS = 200_000  # while no work waits, at first
    SURE_NS = 50_000  # whose thread uses no CPU for so long is blocked, if it sleeps in a call
    SOON_NS = 36_000  # the sleep before the look that may find that: a sleep lasts some 20 us longer
    LATE_NS = 100_000  # who has waited for the GIL for longer than this looks once more
    GLANCE_NS = 120_000  # for so long
    LOCK_NS = 2_000_000  # or for so long for a lock, without the GIL (machine.LOCK_NS)

WATCHING = bool(cython.compiled and WATCHES)  # only then the sleep is more than a sleep


class Watcher:
    """What sysmon's thread knows of the Ps while it sleeps."""

    if not cython.compiled:
        found = None  # the P whose thread is blocked; and its ticks, its M, and since when they have not changed, ns
        tick = 0
        mid = 0
        since = 0
        rests = 0  # since when the thread has used no CPU, ns
        looked = 0  # when the kernel said what the thread sleeps in, ns; and what that is (machine.doing)
        does = 0
        asked = 0  # how long the watcher has meant to sleep since the thread may have blocked, for tests; ns
        calm = 0  # how many looks have found nothing; less than 0: how many have found no work that waits
        vain = 0  # how many looks have found nobody while work waited; from HOPE on, HOPE and the turn of RETRY

    def __init__(self):
        if cython.compiled:
            rt_sharp_sleeps()  # the thread that makes it is sysmon's

    def sleep(self, s, ns):
        """Sleeps for ns, or until sysmon is woken, or a thread is found blocked: then `found` says which."""
        i: cython.int
        n: cython.int
        p: P
        note: Note = s.sysmonnote
        ended: cython.longlong
        self.found = None
        if not cython.compiled or not WATCHES:
            note.sleep(ns / 1e9)
            return None
        allp: list = s.allp
        n = min(len(allp), WATCHED)
        for i in range(n):
            p = allp[i]
            self.looks[i].p = cython.cast(cython.pointer(PyObject), p)
        sched: cython.pointer(PyObject) = cython.cast(cython.pointer(PyObject), s)
        with cython.nogil:
            i = watch(
                self.looks,
                n,
                cython.address(note.woken),
                nanotime() + ns,
                sched,
                cython.address(self.calm),
                cython.address(self.vain),
            )
            ended = nanotime()
        rt_gil_taken(ended)
        if i < 0 and nanotime() - ended > LATE_NS:
            # Somebody had the GIL so long, and may have given it up for a call that blocks: look before the round.
            with cython.nogil:
                i = watch(
                    self.looks,
                    n,
                    cython.address(note.woken),
                    nanotime() + GLANCE_NS,
                    sched,
                    cython.address(self.calm),
                    cython.address(self.vain),
                )
        if i >= 0:
            self.calm = self.vain = 0
            self.found = cython.cast(object, self.looks[i].p)
            self.tick = self.looks[i].tick
            self.mid = self.looks[i].mid
            self.since = self.looks[i].since
            self.rests = self.looks[i].clock
            self.looked = self.looks[i].looked
            self.does = self.looks[i].does
            self.asked = self.looks[i].asked
            self.looks[i].clock = 0  # if sysmon does not take the P, it is looked at anew
        return None


def watch(looks, n, note, until, sched, calm, vain):
    """Looks at the Ps until `until`; calm, vain: Watcher's.  Returns the number of the look that has found a blocked
    thread, or -1.  Only the compiled core calls it, without the GIL.

    A P is looked at while it has an owner.  While none has, and sysmon has asked to be woken by whoever takes one
    (sysmonwait), this sleeps until then.  When its ticks have changed, its look begins anew.  When they have not, and
    work waits, and the CPU clock of the thread has not moved for SURE_NS, the kernel is asked what it sleeps in."""
    now: cython.longlong
    tick: cython.longlong
    mid: cython.longlong
    cpu: cython.longlong
    pause: cython.longlong
    waits: cython.bint
    busy: cython.bint = False
    eager: cython.bint
    owned: cython.bint
    asked: cython.longlong = 0
    i: cython.int
    what: cython.int
    while True:
        now = nanotime()
        if now >= until:
            return -1
        if busy:
            calm[0] = min(max(calm[0], 0) + 1, CALM * DOUBLED)
            vain[0] = vain[0] + 1 if vain[0] < HOPE + RETRY - 1 else HOPE
        else:
            calm[0] = max(calm[0] - 1, -CALM * QUIET_DOUBLED)
        eager = vain[0] <= HOPE
        pause = QUIET_NS << max(max(-calm[0], 0) // CALM, 0 if eager else VAIN_QUIET_DOUBLED)
        busy = False
        owned = False
        for i in range(n):
            mid = cython.cast(P, looks[i].p).mid
            if mid == 0:
                continue
            owned = True
            waits = (
                cython.cast(Sched, sched).runqsize != 0
                or cython.cast(P, looks[i].p).runqsize != 0
                or cython.cast(P, looks[i].p).runnext is not None
                or 0 < cython.cast(P, looks[i].p).timer0when <= now
            )
            if waits:
                busy = True
                pause = min(pause, LOOK_NS << (max(calm[0], 0) // CALM if eager else VAIN_DOUBLED))
            elif cython.cast(P, looks[i].p).timer0when > now:
                pause = min(pause, max(cython.cast(P, looks[i].p).timer0when - now, QUIET_NS))
            looks[i].asked += asked
            tick = (
                cython.cast(P, looks[i].p).schedtick
                + cython.cast(P, looks[i].p).switchtick
                + cython.cast(P, looks[i].p).looptick
            )
            cpu = rt_cpu_of(cython.cast(P, looks[i].p).procid) if waits else -1
            if cpu >= 0 and looks[i].clock == 0:
                if eager:
                    pause = min(pause, SOON_NS)  # the first look in which work waits
            elif cpu > looks[i].cpu and mid == looks[i].mid:
                looks[i].asked = asked  # it has run since the last look
                if eager and (cpu - looks[i].cpu) * 5 < (now - looks[i].clock) * 4:
                    pause = min(pause, SOON_NS)  # it has rested too, and may be in a call that has just begun.  Less
                    # than a fifth is no sign: on one processor each look makes the thread rest
            if tick != looks[i].tick or mid != looks[i].mid:
                if cpu >= 0 and mid == looks[i].mid and looks[i].clock != 0:
                    if (cpu - looks[i].cpu) * 2 < now - looks[i].clock:
                        calm[0] = max(calm[0] - 2, 0)  # for half of the time: its goroutines block for short times
                looks[i].tick = tick
                looks[i].mid = mid
                looks[i].since = now
                looks[i].asked = 0
            elif cpu >= 0 and looks[i].clock != 0 and (cpu - looks[i].cpu) * 10 < now - looks[i].clock:
                if now - looks[i].clock < SURE_NS:
                    pause = min(pause, SURE_NS - (now - looks[i].clock))
                    continue
                looks[i].looked = now
                what = rt_doing(cython.cast(P, looks[i].p).procid)
                looks[i].does = what
                if FREE_THREADED and what in (WAITS_FOR_LOCK, WAITS_INSIDE) and now - looks[i].clock < LOCK_NS:
                    pause = min(pause, (now - looks[i].clock) // 2)
                    continue
                if what != RUNS and what != WAITS_FOR_GIL:
                    return i
                looks[i].asked = 0
            looks[i].clock = now if cpu >= 0 else 0
            looks[i].cpu = cpu
        if not owned and cython.cast(Sched, sched).sysmonwait:
            pause = until - now
        asked = min(pause, until - now)
        if rt_note_doze(note, asked):
            return -1
