# semaphore.pxd: the C types of semaphore.py.
from libc.stdint cimport int64_t
from gort._runtime.core.runtime2 cimport Op
from gort._runtime.wait.sema cimport Waitq

cdef enum:
    SCOPED = 1

cdef class Semaphore(Waitq):
    cdef readonly int64_t size
    cdef dict holders
    cdef Op grant(self)
    cdef int scope_left(self, int64_t goid) except -1
