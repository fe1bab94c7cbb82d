# bubble.pxd: the C types of bubble.py, a program of gort.testing with a time of its own.
from libc.stdint cimport int64_t
from gort._runtime.core.runtime2 cimport Op, Sched
cdef enum:
    OVER = 1
    ENDING = 2
cdef class Clock:
    cdef object real
    cdef bint wall
    cdef bint whole
cdef class Bubble:
    cdef readonly Sched sched
    cdef readonly object guard
    cdef readonly object ended
    cdef readonly object outside
    cdef readonly int64_t epoch
    cdef public bint done
    cdef Op waiter
    cdef bint waking
    cdef int over
    cpdef idle(self)
    cpdef bint quiet(self) except -1
    cpdef leave(self)
cdef class QuietOp(Op):
    pass
