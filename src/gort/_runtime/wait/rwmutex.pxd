# rwmutex.pxd: the C types of rwmutex.py.
from libc.stdint cimport int64_t
from gort._runtime.core.runtime2 cimport Op
from gort._runtime.wait.sema cimport WaitOp, Waitq

cdef enum:
    CALLED = 1
    PENDING = 2
    SCOPED = 1
    UNKNOWN = -1

cdef class WriteOp(WaitOp):
    pass
cdef WriteOp new_write(RWMutex rw)

cdef class RWMutex(Waitq):
    cdef bint writing
    cdef bint turn
    cdef Waitq writers
    cdef Op pending
    cdef int64_t pendingsince
    cdef dict holders
    cdef bint announce(self, Op op)
    cdef int scope_left(self, int64_t goid) except -1
    cdef Op end_turn(self)
    cdef Op call(self)
