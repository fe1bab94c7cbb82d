# distutils: define_macros=GORT_STACKS_OWNER=1
"""Reads the stacks of goroutines and threads, all at one moment, and counts those that are equal.  Follows
goroutineProfileWithLabels in Go's runtime/mprof.go, which stops the world for this, too.

A census has two steps.  The first runs while no goroutine does.  It may call no Python code, so it only writes down what
each goroutine is (rt_record), with a number in place of its stack: equal stacks have the same, and the frames of each are
kept once.  The second asks the operations why their goroutines wait, and makes the groups.  An operation may have been
completed between the two; then the goroutine counts as waiting, without a reason.

The uncompiled core cannot stop the world.  It reads one goroutine after another.

What does not live here: the walk along the frames (c/gort_stacks.h), and their text (traceback.py).
"""

from __future__ import annotations

from gc import get_referents
from sys import getsizeof
from types import CoroutineType

import cython
from cython.cimports.cpython.ref import PyObject, Py_XDECREF, Py_XINCREF
from cython.cimports.gort._runtime.c.rt import rt_import
from cython.cimports.gort._runtime.c.stacks import (
    rt_awaited_frames,
    rt_awaited_places,
    rt_getters,
    rt_kept,
    rt_records_new,
    rt_seqs_free,
    rt_seqs_new,
    rt_seqs_number,
    rt_thread_frames,
    rt_thread_places,
    rt_words_new,
    rt_world_stopped,
)
from cython.cimports.gort._runtime.core.runtime2 import (
    QUEUED,
    G,
    M,
    Op,
    _Gdead,
    _Gidle,
    _Grunning,
    _Gsyscall,
    _Gwaiting,
)
from cython.cimports.libc.stdint import uintptr_t
from cython.cimports.libc.stdlib import free

from gort._runtime.core.debugvars import gil_enabled
from gort._runtime.core.op import (
    WAIT_CHAN_RECEIVE,
    WAIT_CHAN_SEND,
    WAIT_COND,
    WAIT_MUTEX,
    WAIT_RWMUTEX_R,
    WAIT_RWMUTEX_W,
    WAIT_SEMACQUIRE,
    WAIT_WAITGROUP,
)
from gort._runtime.core.runtime2 import peek

rt_import()

GOIDS_MAX = 5  # a group keeps the numbers of so many of its goroutines
WANTED_MAX = 4  # and so many of the objects that they wait for
WORDS_MAX = 1001  # two for each frame, and whether the goroutine runs
# Reasons to wait that have an object: the operation's field c is it.
HAVE_OBJECT = frozenset((
    *(WAIT_CHAN_RECEIVE, WAIT_CHAN_SEND, WAIT_SEMACQUIRE, WAIT_MUTEX, WAIT_RWMUTEX_R, WAIT_RWMUTEX_W, WAIT_WAITGROUP),
    WAIT_COND,
))  # fmt: skip


class Wanted:
    """An object that goroutines of a group wait for: the operation of the first, the object, and how many they are."""

    def __init__(self, op, c, count):
        self.op = op
        self.c = c
        self.count = count


class Group:
    """Goroutines in the same state, with the same stack, made by the same go statement.

    g: the first of them.  members: the first few, whose numbers `goids` has.
    since: when the one that has waited longest began to, ns; 0: they do not wait.  wanted: the
    first objects that they wait for; others: how many wait for further ones.  runs: `frames` are a thread's.  text: the
    frames as traceback.py shows them, which writes this field."""

    def __init__(self, g, status, reason, code, lasti):
        self.count = 0
        self.g = g
        self.goids = []
        self.members = []
        self.status = status
        self.reason = reason
        self.since = 0
        self.locked = g.lockedm is not None
        self.code = code
        self.lasti = lasti
        self.parent = g.parentgoid
        self.runs = False
        self.frames = None
        self.text = None
        self.wanted = []
        self.others = 0

    def add(self, g, since, op):
        """Counts the goroutine g, which has waited since `since` on op; op is None where it does not wait."""
        self.count += 1
        if len(self.goids) < GOIDS_MAX:
            self.goids.append(g.goid)
            self.members.append(g)
        if self.status == _Gwaiting and since and (self.since == 0 or since < self.since):
            self.since = since
        if op is None or self.reason not in HAVE_OBJECT:
            return
        c: object = op.c
        if c is not None:
            self.want(op, c, 1)

    def want(self, op, c, count):
        """Counts `count` goroutines that wait for the object c, one of them on op."""
        each: Wanted
        for each in self.wanted:
            if each.c is c:
                each.count += count
                return
        if len(self.wanted) < WANTED_MAX:
            self.wanted.append(Wanted(op, c, count))
        else:
            self.others += count

    def absorb(self, other):
        """Takes the goroutines of the group `other`, which has the same text, into this one."""
        each: Wanted
        self.count += other.count
        self.goids = sorted(self.goids + other.goids)[:GOIDS_MAX]
        self.members = (self.members + other.members)[:GOIDS_MAX]
        self.others += other.others
        if other.since and (self.since == 0 or other.since < self.since):
            self.since = other.since
        for each in other.wanted:
            self.want(each.op, each.c, each.count)


class Census:
    """What a census has found so far; its owner frees the memory (release)."""

    if not cython.compiled:
        gs = None  # the goroutines to look at
        ms = None
        without = None  # but not at this one
        samples = None  # (whether a thread's, frames) of each different stack, by its number
        table = None  # numbers the stacks
        words = None  # room for one stack, or for what tells one group from another
        records = None
        n = 0  # how many there are


def owners(gs):
    """The numbers of the goroutines that hold what some of gs wait for.  Nobody else can be in a circle.

    It makes nothing that the collector tracks for each of them: many may wait, and a collection would take longer than
    all of this."""
    found: set = set()
    needs: object
    g: G
    op: Op
    goid: cython.longlong
    i: cython.Py_ssize_t
    for i in range(len(gs)):
        g = gs[i]
        if g.status == _Gwaiting and not g.system:
            g.lock()
            op = g.waitop
            g.unlock()
            if op is not None:
                try:
                    goid = op.owner()
                    if goid != 0:
                        found.add(goid)
                    else:
                        needs = op.needs()
                        if needs is not None:
                            found.update(needs[1])
                except Exception:  # a class of the user's has taken the name
                    continue
    return found


def holders(gs):
    """Those of the goroutines gs that wait for what others hold: (goroutine, its nrun, operation, how much it needs, who
    holds how much: pairs of a goroutine's number and a number; a goroutine with the number 0 may be any).

    Each is right for one moment, but not all for the same."""
    found: list = []
    needs: object
    g: G
    op: Op
    goid: cython.longlong
    nrun: cython.longlong
    i: cython.Py_ssize_t
    for i in range(len(gs)):  # by index: uncompiled, the iterator of a list is an object that the collector tracks
        g = gs[i]
        if g.status == _Gwaiting and not g.system:
            g.lock()
            op = g.waitop
            nrun = g.nrun
            g.unlock()
            if op is not None:
                try:
                    goid = op.owner()
                    needs = (1, {goid: 1}) if goid != 0 else op.needs()
                except Exception:  # a class of the user's has taken the name
                    continue
                if (
                    needs is not None and op.index == QUEUED
                ):  # else it has been granted since, and the goroutine will run
                    found.append((g, nrun, op, needs[0], tuple(sorted(needs[1].items()))))
    return found


def reason_of(op):
    """Why a goroutine waits on op, one of WAIT_*; 0 if op has been completed meanwhile."""
    try:
        return op.reason()
    except Exception:  # it has dropped the fields that reason() reads
        return 0


def waits_in_place(g):
    """Whether g waits, and is what its thread runs (sched/inplace.py)."""
    return g.lockedm is not None and g.lockedm.curg is g


if cython.compiled:
    rt_getters()

    def gather(asked):
        """The part of stacks() that runs while the world is stopped; gort_stacks.h says what it may do."""
        gs: list = asked[0]
        ms: list = asked[1]
        g: G
        m: M
        found: list = []
        frames: object
        for g in gs:
            frames = None
            if g.status == _Grunning or g.status == _Gsyscall or waits_in_place(g):
                for m in ms:
                    if m.curg is g:
                        frames = rt_thread_frames(m.ident)
                        break
            found.append((frames, None if g.coro is None else rt_awaited_frames(g.coro)))
        return found

    def gather_kept(gs):
        """The part of kept() that runs while the world is stopped."""
        g: G
        found: list = []
        for g in gs:
            found.append(rt_kept(g.coro) if g.status == _Gwaiting and g.coro is not None else None)
        return found

    def kept(gs):
        """For each of gs what its suspended frames keep in memory, the outermost frame first, all at one moment; None for
        those that do not wait.  A frame is (code, how many objects it refers to, which of them is its first variable, or
        0, [(which, name of its type, bytes)]).  Only objects of some of Python's own types are counted, without what they
        refer to."""
        return rt_world_stopped(gather_kept, gs)

    def gather_thread(ident):
        """The part of thread_frames() that runs while the world is stopped."""
        return rt_thread_frames(ident)

    def stacks(gs, ms):
        """Returns a pair for each of gs, all of one moment: the frames of its thread if one of the Ms runs it, and the
        frames in which it is suspended.  A frame is (code, offset, globals); the innermost comes first."""
        return rt_world_stopped(gather, (gs, ms))

    def thread_frames(ident):
        """The frames of the thread `ident`, the innermost first."""
        return rt_world_stopped(gather_thread, ident)

    def look(asked):
        """The first step of a census.  It runs while the world is stopped."""
        census: Census = asked
        g: G
        i: cython.int
        for i in range(len(census.gs)):
            g = census.gs[i]
            if g is not census.without and not g.system and g.status != _Gdead and g.status != _Gidle and g.goid != 0:
                note(census, g, i)
        return None

    def note(census, g, i):
        """Writes down what g is, the i-th of census.gs, while the world is stopped."""
        words = census.words
        r = cython.address(census.records[census.n])
        m: M
        op: Op = g.waitop
        runs: M = None
        frames: object = None
        n: cython.int = 0
        if g.status == _Grunning or g.status == _Gsyscall or waits_in_place(g):
            for m in census.ms:
                if m.curg is g:
                    n = rt_thread_places(m.ident, words, WORDS_MAX - 1)
                    runs = m if n else None
                    break
        if n == 0 and g.coro is not None:
            n = rt_awaited_places(g.coro, words, WORDS_MAX - 1)
        if n == 0 and g.fn is not None:  # a function that has not begun
            words[0] = cython.cast(uintptr_t, cython.cast(cython.pointer(PyObject), g.fn))
            n = 1
        words[n] = runs is not None
        r.stack = rt_seqs_number(census.table, words, n + 1)
        if r.stack == len(census.samples):
            if runs is not None:
                frames = rt_thread_frames(runs.ident)
            elif g.coro is not None:
                frames = rt_awaited_frames(g.coro)
            census.samples.append((runs is not None, frames))
        r.i = i
        r.status = g.status
        r.since = g.waitsince
        r.lasti = g.golasti
        r.locked = g.lockedm is not None
        r.op = cython.cast(cython.pointer(PyObject), op) if op is not None else cython.NULL
        r.code = cython.cast(cython.pointer(PyObject), g.gocode)
        Py_XINCREF(r.op)
        Py_XINCREF(r.code)
        census.n += 1
        return 0

    def counted(census):
        """The second step of a census: its groups."""
        groups = rt_seqs_new()
        if groups == cython.NULL:
            raise MemoryError
        words = census.words
        g: G
        op: Op
        group: Group
        found: list = []
        i: cython.int
        number: cython.int
        reason: cython.int
        try:
            for i in range(census.n):
                r = cython.address(census.records[i])
                g = census.gs[r.i]
                op = cython.cast(Op, r.op) if r.op != cython.NULL else None
                reason = reason_of(op) if r.status == _Gwaiting and op is not None else 0
                words[0] = r.stack
                words[1] = r.status
                words[2] = reason
                words[3] = cython.cast(uintptr_t, r.code)
                words[4] = r.lasti
                words[5] = r.locked
                number = rt_seqs_number(groups, words, 6)
                if number < 0:
                    raise MemoryError
                if number == len(found):
                    group = Group(g, r.status, reason, cython.cast(object, r.code), r.lasti)
                    if r.stack >= 0:
                        group.runs, group.frames = census.samples[r.stack]
                    found.append(group)
                else:
                    group = found[number]
                group.add(g, r.since, op)
        finally:
            rt_seqs_free(groups)
        return found

    def release(census):
        """Frees what a census has kept."""
        i: cython.int
        for i in range(census.n):
            Py_XDECREF(census.records[i].op)
            Py_XDECREF(census.records[i].code)
        census.n = 0
        free(census.records)
        free(census.words)
        rt_seqs_free(census.table)
        return 0

    def census(gs, ms, without, read):
        """The groups of the goroutines gs, which are all of one runtime, at one moment; without the runtime's own, dead
        ones and `without`.  ms: its Ms.  The frames of a group are as stacks() gives them, or None.

        Raises MemoryError."""
        census: Census = Census()
        census.gs = gs
        census.ms = ms
        census.without = without
        census.samples = []
        census.records = rt_records_new(len(gs))
        census.words = rt_words_new(WORDS_MAX)
        census.table = rt_seqs_new()
        try:
            if census.records == cython.NULL or census.words == cython.NULL or census.table == cython.NULL:
                raise MemoryError
            rt_world_stopped(look, census)
            return counted(census)
        finally:
            release(census)

else:
    KEPT = (bytes, bytearray, str, list, tuple)

    def kept(gs):
        """As the compiled core's.  Without the GIL nothing is counted."""
        return [coroutine_keeps(g.coro) if gil_enabled() and g.status == _Gwaiting else None for g in gs]

    def coroutine_keeps(coro):
        """What the frames of a suspended coroutine keep, the outermost first."""
        found = []
        while type(coro) is CoroutineType and coro.cr_frame is not None:
            code = coro.cr_code
            refers = get_referents(coro)
            begin = next((i + 1 for i, each in enumerate(refers) if each is code), 0)
            sizes = [
                (i, type(each).__name__, getsizeof(each))
                for i, each in enumerate(refers)
                if any(type(each) is kind for kind in KEPT)  # `in` would call a metaclass's __eq__
            ]
            found.append((code, len(refers), begin, sizes))
            del refers
            coro = coro.cr_await
        return found

    def census(gs, ms, without, read):
        """The groups of the goroutines gs, without the runtime's own, dead ones and `without`.  read(g) gives the frames
        of a goroutine, as the groups then have them."""
        found = {}
        for g in gs:
            status = g.status
            if g is without or g.system or status in (_Gdead, _Gidle) or g.goid == 0:
                continue
            frames = read(g)
            op, fn, code, _ = peek(g)
            reason = reason_of(op) if status == _Gwaiting and op is not None else 0
            key = (tuple(frames) or id(fn), status, reason, code, g.golasti, g.lockedm is not None)
            group = found.get(key)
            if group is None:
                group = found[key] = Group(g, status, reason, code, g.golasti)
                group.frames = frames
            group.add(g, g.waitsince, op)
        return list(found.values())
