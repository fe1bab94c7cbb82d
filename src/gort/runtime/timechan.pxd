# timechan.pxd: Timer and Ticker in C types.
cimport cython
from libc.stdint cimport int64_t
from gort.runtime.rt cimport rt_import, nanotime
from gort.runtime.runtime2 cimport G, M, Sched, Op, getm
from gort.runtime.chan cimport Chan, drain, deliver
from gort.runtime.handoff cimport ready
from gort.runtime.timers cimport Timer as HeapTimer, arm, wake_for, addtimer, deltimer
cdef class Timer:
    cdef readonly Chan c
    cdef HeapTimer t
    cdef int64_t when
    cdef int64_t period
    cdef int blocked
    cdef object fn
    cdef tuple args
    cdef Chan guard
    cdef object sched
    cdef object context
    cpdef look(self)
    cpdef block(self)
    cpdef unblock(self)
    cdef fire(self, int64_t gen, int64_t now)
    cdef bint set(self, int64_t when)
cdef class Ticker(Timer):
    pass
