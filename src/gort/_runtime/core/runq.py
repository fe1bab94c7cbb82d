# cython: boundscheck=False, wraparound=False, cdivision=True
"""Run queues: each P's own and the global one.  Follows runqput, runqget, runqsteal, globrunqput and globrunqget in
Go's runtime/proc.go.  What does not live here: who looks into which queue, and when (findrunnable.py).

Queues are intrusive lists through G.schedlink.  A P's queue holds at most QUEUE_MAX goroutines beside runnext; when it
is full, half of it moves to the global queue.

Rejected: Go's lock-free ring.  It is safe only while a single thread puts into it, and a thread here may have lost its
P without noticing (sysmon takes it while user code blocks).  So the P's lock guards its queue, and every put names the
M that believes it owns the P; the put fails if that M does not.

Except in drain, no function here holds a P's lock and sched.lock together: it cuts a batch off one queue, unlocks, and
appends the batch to the other.
"""

from __future__ import annotations

import cython
from cython.cimports.gort._runtime.c.rt import rt_import
from cython.cimports.gort._runtime.core.runtime2 import G, P, Sched, _Pdead

rt_import()

QUEUE_MAX = 256  # Go's number
_QUEUE_MAX = cython.declare(cython.int, QUEUE_MAX)  # the same for C


def runqput(s, p, mid, g, next):
    """Puts g on p's queue: at its tail, or in runnext if `next`.  False when the M `mid` no longer owns p."""
    head: G
    tail: G
    kicked: G
    n: cython.int
    p.lock()
    if p.mid != mid:
        p.unlock()
        return False
    if next:
        kicked = p.runnext
        p.runnext = g
        if kicked is None:
            p.unlock()
            return True
        g = kicked
    if p.runqsize < _QUEUE_MAX:
        if p.runqtail is None:
            p.runqhead = g
        else:
            p.runqtail.schedlink = g
        p.runqtail = g
        p.runqsize += 1
        p.unlock()
        return True
    # The queue is full: move half of it and then g to the global queue, in order, as Go's runqputslow does.
    n = p.runqsize // 2
    head = p.runqhead
    tail = head
    for _ in range(n - 1):
        tail = tail.schedlink
    p.runqhead = tail.schedlink
    p.runqsize -= n
    tail.schedlink = g
    p.unlock()
    globrunqputchain(s, head, g, n + 1)
    return True


def runqget(p, mid):
    """Takes the next goroutine from p's own queue.  None when the queue is empty or the M `mid` no longer owns p; the
    caller compares p.mid to tell which.

    A goroutine from the queue starts a new time slice, so schedtick goes up.  One from runnext runs in the slice of the
    goroutine that readied it."""
    g: G
    p.lock()
    if p.mid != mid:
        p.unlock()
        return None
    g = p.runnext
    if g is not None:
        p.runnext = None
        p.unlock()
        return g
    g = p.runqhead
    if g is not None:
        p.runqhead = g.schedlink
        if p.runqhead is None:
            p.runqtail = None
        g.schedlink = None
        p.runqsize -= 1
        p.schedtick += 1
    p.unlock()
    return g


def runqgetown(p, mid, g):
    """Takes g from p's own queue if it is the next one there.  False when it is not, or the M `mid` has lost p."""
    own: cython.bint = False
    p.lock()
    if p.mid == mid:
        if p.runnext is g:
            p.runnext = None
            own = True
        elif p.runnext is None and p.runqhead is g:
            p.runqhead = g.schedlink
            if p.runqhead is None:
                p.runqtail = None
            g.schedlink = None
            p.runqsize -= 1
            own = True
        if own:
            # A time slice of its own, from runnext too: sysmon sees by it that p, idle at each look, is in use.
            p.schedtick += 1
    p.unlock()
    return own


def kick(p, mid):
    """Moves runnext to the tail of p's queue, because the time slice that it would inherit is used up."""
    g: G
    p.lock()
    p.preempt = False
    g = p.runnext
    if g is not None and p.mid == mid:
        p.runnext = None
        if p.runqtail is None:
            p.runqhead = g
        else:
            p.runqtail.schedlink = g
        p.runqtail = g
        p.runqsize += 1
    p.unlock()


def runqsteal(s, p, mid, victim, stealnext):
    """Steals half of the victim's queue: returns the last of those goroutines and puts the others on p's queue.

    Takes the victim's runnext if its queue is empty and `stealnext` is set.  The caller sets that in its last round
    only, because the victim will most likely run that goroutine at once."""
    g: G = None
    head: G
    tail: G
    n: cython.int
    victim.lock()
    n = victim.runqsize - victim.runqsize // 2
    if n == 0:
        if stealnext and victim.runnext is not None:
            g = victim.runnext
            victim.runnext = None
        victim.unlock()
        return g
    head = victim.runqhead
    tail = None
    for _ in range(n - 1):
        tail = head if tail is None else tail.schedlink
    if tail is None:
        g = head
        victim.runqhead = g.schedlink
    else:
        g = tail.schedlink
        victim.runqhead = g.schedlink
        tail.schedlink = None
    g.schedlink = None
    victim.runqsize -= n
    if victim.runqhead is None:
        victim.runqtail = None
    victim.unlock()
    if n > 1:
        give(s, p, mid, head, tail, n - 1)
    return g


def give(s, p, mid, head, tail, n):
    """Appends a chain of n goroutines to p's queue, or to the global one if the M `mid` has lost p or the chain does
    not fit."""
    p.lock()
    if p.mid == mid and p.runqsize + n <= _QUEUE_MAX:
        if p.runqtail is None:
            p.runqhead = head
        else:
            p.runqtail.schedlink = head
        p.runqtail = tail
        p.runqsize += n
        p.unlock()
        return
    p.unlock()
    globrunqputchain(s, head, tail, n)


def globrunqput(s, g):
    """Puts g at the tail of the global queue."""
    s.lock()
    if s.runqtail is None:
        s.runqhead = g
    else:
        s.runqtail.schedlink = g
    s.runqtail = g
    s.runqsize += 1
    s.unlock()


def globrunqputchain(s, head, tail, n):
    """Puts a chain of n goroutines at the tail of the global queue."""
    s.lock()
    if s.runqtail is None:
        s.runqhead = head
    else:
        s.runqtail.schedlink = head
    s.runqtail = tail
    s.runqsize += n
    s.unlock()


def globrunqget(s, p, mid, max):
    """Takes one goroutine from the global queue and moves more of them to p's queue: up to p's fair share, and no more
    than max in all if max is not 0.  None when the queue is empty."""
    g: G
    head: G
    tail: G
    n: cython.int
    i: cython.int
    s.lock()
    if s.runqsize == 0:
        s.unlock()
        return None
    n = s.runqsize
    if n > 1 and s.gomaxprocs > 1:  # else the share is all of it, and a division takes long
        n = n // s.gomaxprocs + 1
    if max > 0 and n > max:
        n = max
    if n > _QUEUE_MAX // 2:
        n = _QUEUE_MAX // 2
    g = s.runqhead
    tail = g
    for i in range(n - 1):
        tail = tail.schedlink
    s.runqhead = tail.schedlink
    if s.runqhead is None:
        s.runqtail = None
    s.runqsize -= n
    s.unlock()
    tail.schedlink = None
    if n > 1:
        head = g.schedlink
        g.schedlink = None
        give(s, p, mid, head, tail, n - 1)
    return g


def globrunqgetown(s, g):
    """Takes g from the global queue if it is the first there.  False when it is not."""
    own: cython.bint
    s.lock()
    own = s.runqhead is g
    if own:
        s.runqhead = g.schedlink
        if s.runqhead is None:
            s.runqtail = None
        g.schedlink = None
        s.runqsize -= 1
    s.unlock()
    return own


def drain(s, p):
    """Marks p dead and moves its goroutines, runnext first, and its free Gs to the global lists.  All of this happens
    under both locks (sched's, then the P's), so that nobody can put anything on p in between."""
    g: G
    s.lock()
    p.lock()
    p.mid = 0
    p.status = _Pdead
    g = p.runnext
    if g is not None:
        p.runnext = None
        g.schedlink = p.runqhead
        p.runqhead = g
        if p.runqtail is None:
            p.runqtail = g
        p.runqsize += 1
    if p.runqhead is not None:
        if s.runqtail is None:
            s.runqhead = p.runqhead
        else:
            s.runqtail.schedlink = p.runqhead
        s.runqtail = p.runqtail
        s.runqsize += p.runqsize
        p.runqhead = None
        p.runqtail = None
        p.runqsize = 0
    while p.gfree is not None:
        g = p.gfree
        p.gfree = g.schedlink
        g.schedlink = s.gfree
        s.gfree = g
    s.ngfree += p.ngfree
    p.ngfree = 0
    p.unlock()
    s.unlock()


# ---- the end of a program -------------------------------------------------------------------------------------------


def unlink(g):
    """Clears the links of a chain of Gs one by one, since freeing the chain at once would recurse.  allgs still refers
    to the Gs.  The caller holds the chain's lock."""
    rest: G
    while g is not None:
        rest = g.schedlink
        g.schedlink = None
        g = rest


def release_queues(s):
    """Empties every queue and free list of goroutines.  Takes the locks, because a thread that has not left yet may
    still use them."""
    p: P
    for i in range(len(s.allp)):
        p = s.allp[i]
        p.lock()
        unlink(p.runqhead)
        p.runqhead = None
        p.runqtail = None
        p.runqsize = 0
        p.runnext = None
        unlink(p.gfree)
        p.gfree = None
        p.ngfree = 0
        p.unlock()
    s.lock()
    unlink(s.runqhead)
    s.runqhead = None
    s.runqtail = None
    s.runqsize = 0
    unlink(s.gfree)
    s.gfree = None
    s.ngfree = 0
    s.unlock()


def release_idle(s):
    """Clears the idle lists.  Called when no thread is left that could need a P to end its goroutine."""
    p: P
    for p in s.allp:
        p.link = None
    s.pidle = None
    s.midle = None
