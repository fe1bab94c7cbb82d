# distutils: define_macros=GORT_STACKS_OWNER=1 GORT_HELD_OWNER=1
"""What the frames of goroutines that do not run hold in memory, and nothing else does.  Go has no such profile: there
a stack is memory of its own, and the heap profile charges who has allocated, not who still holds.

It needs the compiled core: reference counts must be read while nothing runs.

What does not live here: the walk (c/gort_held.h), and the text of the profile (watch/profiles.py).
"""

from __future__ import annotations

import sys

import cython
from cython.cimports.gort._runtime.c.held import rt_held_add, rt_held_free, rt_held_new, rt_held_sums
from cython.cimports.gort._runtime.c.rt import FREE_THREADED, rt_import
from cython.cimports.gort._runtime.c.stacks import (
    rt_awaited_places,
    rt_getters,
    rt_seqs_free,
    rt_seqs_new,
    rt_seqs_number,
    rt_words_new,
    rt_world_stopped,
)
from cython.cimports.gort._runtime.core.runtime2 import G, _Grunnable, _Gwaiting
from cython.cimports.cpython.ref import PyObject
from cython.cimports.libc.stdint import uintptr_t
from cython.cimports.libc.stdlib import free

rt_import()

POSSIBLE = cython.compiled
WORDS_MAX = 1000  # two for each frame, and two for the go statement
# Types that tell the size of their objects without calling Python.  Without the GIL only those that take no lock for it.
_SIZED = () if FREE_THREADED else (("array", "array"), ("collections", "deque"), ("_io", "BytesIO"))
_BUILTIN = () if FREE_THREADED else (dict, set, frozenset, list, bytearray, str)


class Walk:
    """One walk: the goroutines, and what has been found so far."""

    if not cython.compiled:
        gs = None
        stacks = None  # of each number: the go statement's code and offset, then those of the frames, outermost first
        table = None  # numbers the stacks
        words = None
        held = None


def sized():
    """The types whose `__sizeof__` is called."""
    found: list = list(_BUILTIN)
    for module, name in (*_SIZED, ("numpy", "ndarray")):
        if module in sys.modules:
            found.append(getattr(sys.modules[module], name, None))
    return found


if cython.compiled:
    rt_getters()

    def look(asked):
        """The part of walked() that runs while the world is stopped."""
        walk: Walk = asked
        g: G
        for g in walk.gs:
            if g.coro is not None and not g.system and (g.status == _Gwaiting or g.status == _Grunnable):
                if not add(walk, g):
                    return False
        return True

    def add(walk, g):
        """Adds what g's frames hold.  False where there is no memory."""
        words = walk.words
        words[0] = cython.cast(uintptr_t, cython.cast(cython.pointer(PyObject), g.gocode))
        words[1] = g.golasti
        n: cython.int = rt_awaited_places(g.coro, words + 2, WORDS_MAX - 2) + 2
        stack: cython.int = rt_seqs_number(walk.table, words, n)
        i: cython.int
        if stack < 0:
            return False
        if stack == len(walk.stacks):
            frames: list = []
            for i in range(0, n, 2):
                code: object = cython.cast(object, cython.cast(cython.pointer(PyObject), words[i]))
                frames.append((code, cython.cast(cython.int, words[i + 1])))
            walk.stacks.append(frames)
        return rt_held_add(walk.held, g.coro, stack) == 0


def walked(gs):
    """What the frames of the goroutines gs hold, those of them that do not run, all at one moment: (stacks, sums).  A
    stack is [(code, offset of the instruction)]: first the go statement, whose code may be None, then the frames, the
    outermost first.  A sum is (which stack, which of its frames, which variable, its type, objects, bytes); in the place
    of a variable stands FRAME or FUNCTION, or a number beyond the variables for a value in use.

    Raises MemoryError."""
    if cython.compiled:
        walk: Walk = Walk()
        walk.gs = gs
        walk.stacks = []
        walk.table = rt_seqs_new()
        walk.words = rt_words_new(WORDS_MAX)
        walk.held = rt_held_new(sized())
        try:
            if walk.table == cython.NULL or walk.words == cython.NULL or walk.held == cython.NULL:
                raise MemoryError
            if not rt_world_stopped(look, walk):
                raise MemoryError
            return walk.stacks, rt_held_sums(walk.held)
        finally:
            rt_seqs_free(walk.table)
            rt_held_free(walk.held)
            free(walk.words)


FRAME, FUNCTION = -1, -2  # as in gort_held.h
