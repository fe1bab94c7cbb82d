# rwmutex.pxd: the C types of rwmutex.py.
from libc.stdint cimport int64_t
from gort._runtime.core.runtime2 cimport Op
from gort._runtime.wait.sema cimport Waitq

cdef class RWMutex(Waitq):
    cdef bint writing
    cdef int64_t nwriters
    cdef Waitq writers
    cdef Op admit(self)
