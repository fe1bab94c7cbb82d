# cython: cdivision=True
"""The chooser: decides which goroutine goes on at each switch point of an explored schedule (gort.testing.explore).  Go
has no counterpart; the strategies are those of Microsoft's CHESS (few preemptions first) and of PCT (Burckhardt and
others, ASPLOS 2010).

One thread runs the program, with one P and without sysmon, so nothing but the choices made here decides the order.  The
switch points are: before an awaited operation begins, after one that need not wait, and wherever a goroutine waits or
ends.  A goroutine that a go statement has made can be chosen from the next of these on.  What a goroutine runs between
two switch points nothing interrupts.

A *choice* is an index into those who can go on: first the goroutine that runs now, if it can, and then the others, in
about the order in which gort itself would run them.  So 0 is always "no interruption".  Positions count the choices
between at least two; a schedule is told by its deviations from 0, as {position: index}.

How it gets control: sched.predicting is PREEMPT_CHOOSE, so each M that runs a goroutine has that in m.preempt, and
m.mcall is MCALL_CHOOSE until the goroutine's next operation, which so comes to op.refuse or op.lost (op.py).  A program
that is not explored pays nothing for that: those are paths that it takes rarely, for other reasons.

Time is sched.vnow.  It stands still while a goroutine can run, and jumps to the first timer when none can.

What does not live here: which schedules are tried, and what is done with one that fails (gort/testing/search.py).
"""

from __future__ import annotations

import cython
from cython.cimports.gort._runtime.c.rt import rt_import
from cython.cimports.gort._runtime.core.seed import MASK64, mrandseed
from cython.cimports.gort._runtime.core.op import MCALL_CHOOSE, PREEMPT_BEGUN, PREEMPT_CHOOSE, GoschedOp
from cython.cimports.gort._runtime.core.runq import globrunqget, runqget
from cython.cimports.gort._runtime.core.runtime2 import G, M, Op, P, Sched
from cython.cimports.gort._runtime.sched.newproc import gfput
from cython.cimports.gort._runtime.sched.proc import begin, execute
from cython.cimports.gort._runtime.sched.timers import checktimers

rt_import()

if not cython.compiled:  # the .pxd defines the same names for C
    # Chooser.how
    REPLAY = 0  # follow the deviations
    RANDOM = 1  # interrupt with a certain probability; who goes on is drawn
    PCT = 2  # each goroutine has a priority; at a few places that of the running one falls below all others

    # Chooser.over: why the schedule is over
    RUNNING = 0
    ENDED = 1  # main has returned, or the program has failed
    ASLEEP = 2  # nobody can run, and no timer is armed
    ENDLESS = 3  # more operations than the limit

FIRST_PRIORITY = 1 << 32  # the priorities of PCT are drawn from here on up; those that have fallen are negative


class Chooser:
    """The state of one schedule.  reset() begins another one with the same object.  The M's thread alone uses it."""

    if not cython.compiled:
        how = 0
        deviations = None  # {position: index}, for REPLAY
        rand = 1
        interrupt = 0  # RANDOM: so likely, of 2**16
        falls = None  # PCT: the positions at which a priority falls
        priorities = None  # PCT: by goroutine number
        lowest = 0
        ready = None  # the goroutines that can run, but for the one that runs
        forced = None  # the choice has been made: this one is next
        begun = None  # the numbers of the goroutines that have made way before an operation: it begins when they go on
        position = 0
        steps = 0  # operations so far
        limit = 0
        over = 0
        returned = False  # main has: the others may end, but no time passes any more, as in a bubble
        record = None  # None, or a list: of each choice index << 20 | how many << 1 | 1 if the running one is among
        observer = None  # None, or an object that is told of each operation and each switch, for the table

    def reset(self, m, how, seed, deviations, interrupt, falls):
        """Begins a schedule on m.  The seed also decides which of several ready cases a select takes."""
        m.rand = mrandseed(seed, 1)
        self.how = how
        self.rand = mrandseed(seed, 2)
        self.deviations = deviations
        self.interrupt = interrupt
        self.falls = falls
        self.priorities = []
        self.lowest = 0
        self.ready = []
        self.forced = None
        self.begun = set()
        self.position = 0
        self.steps = 0
        self.over = RUNNING
        self.returned = False

    def run(self, m):
        """Runs goroutines until the schedule is over, and returns why.  Runs on g0, like proc.loop."""
        s: Sched = m.sched
        p: P = m.p
        g: G
        k: cython.int
        begin()
        while self.over == RUNNING and not s.exiting:
            g = self.forced
            if g is not None:
                self.forced = None
            else:
                self.drain(m)
                if len(self.ready) == 0:
                    if p.timer0when == 0 or p.timer0when > s.vnow:
                        if s.bubble.quiet():
                            continue
                        if self.returned:
                            self.over = ENDED
                            break
                        if p.timer0when == 0:
                            self.over = ASLEEP
                            break
                        s.vnow = p.timer0when
                    checktimers(s, p, s.vnow)
                    continue
                k = self.choose(None, len(self.ready))
                g = self.ready.pop(k)
            s.predicting = PREEMPT_CHOOSE
            if self.begun and g.goid in self.begun:
                self.begun.discard(g.goid)
                s.predicting = PREEMPT_BEGUN
            if self.observer is not None:
                self.observer.runs(g)
            execute(m, g)
            if self.observer is not None:
                self.observer.stopped(g)
        return self.over

    def before(self, m, op):
        """The running goroutine is about to begin op.  True when it must make way to another one first."""
        if m.sched.ending:
            return False
        self.steps += 1
        if self.observer is not None:
            self.observer.operation(m.curg.goid, op)
        if self.steps > self.limit:
            self.over = ENDLESS
            return True
        if isinstance(op, GoschedOp) or not self.switches(m):
            return False
        self.begun.add(m.curg.goid)
        return True

    def after(self, m, op):
        """op is done and has not waited.  True when the goroutine must make way before it gets the result."""
        m.mcall = MCALL_CHOOSE
        return not m.sched.ending and self.switches(m)

    def switches(self, m):
        """Chooses who goes on at a point at which the running goroutine could.  True when that is another one."""
        k: cython.int
        self.drain(m)
        if len(self.ready) == 0:
            return False
        k = self.choose(m.curg, len(self.ready) + 1)
        if k == 0:
            return False
        self.forced = self.ready.pop(k - 1)
        return True

    def drain(self, m):
        """Takes what has become runnable off the run queues: what gort would run next to the front, the rest to the
        end."""
        s: Sched = m.sched
        p: P = m.p
        g: G
        while p.runnext is not None or p.runqsize != 0:
            first = p.runnext is not None
            g = runqget(p, m.id)
            if g is None:
                break
            if first:
                self.ready.insert(0, g)
            else:
                self.ready.append(g)
        while s.runqsize != 0:
            g = globrunqget(s, p, m.id, 1)
            self.ready.append(g)
        return 0

    def choose(self, mine, n):
        """One of n: the running goroutine `mine`, unless it is None, and then the ready ones."""
        k: cython.int = 0
        x: cython.ulonglong
        position: cython.longlong
        if n < 2:
            return 0
        position = self.position
        self.position = position + 1
        if self.how == REPLAY:
            if self.deviations:
                k = self.deviations.get(position, 0) % n
        elif self.how == RANDOM:
            x = self.draw()
            if mine is None or cython.cast(cython.longlong, x & 0xFFFF) < self.interrupt:
                k = (x >> 20) % n
        else:
            k = self.highest(mine, n, position)
        if self.record is not None:
            self.record.append(k << 20 | n << 1 | (0 if mine is None else 1))
        return k

    def highest(self, mine, n, position):
        """The index of the goroutine with the highest priority."""
        g: G
        i: cython.int
        k: cython.int = 0
        skipped: cython.int = 0 if mine is None else 1
        best: cython.longlong = 0
        priority: cython.longlong
        fall: cython.bint = position in self.falls
        for i in range(n):
            g = mine if i < skipped else self.ready[i - skipped]
            while len(self.priorities) <= g.goid:
                self.priorities.append(FIRST_PRIORITY + (self.draw() >> 33))
            if fall and i == 0:
                self.lowest -= 1
                self.priorities[g.goid] = self.lowest
            priority = self.priorities[g.goid]
            if i == 0 or priority > best:
                best = priority
                k = i
        return k

    def draw(self):
        """A pseudo-random number (xorshift64, as in findrunnable.cheaprand)."""
        x: cython.ulonglong = self.rand
        x ^= (x << 13) & MASK64
        x ^= x >> 7
        x ^= (x << 17) & MASK64
        self.rand = x
        return x

    def reuse(self, m, g):
        """Puts the G of a goroutine that was closed when the schedule was over on the free list, for the next one."""
        gfput(m.sched, m, g)

    def clear(self, m):
        """Takes all goroutines off the queues, when the schedule is over: whoever runs it closes them."""
        self.drain(m)
        self.ready = []
        self.forced = None
