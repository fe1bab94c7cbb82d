# sema.pxd: the C types of sema.py, the wait queues and the primitives built on them.
from libc.stdint cimport int64_t, uint32_t
from gort._runtime.c.rt cimport rt_mutex, rt_lock, rt_unlock
from gort._runtime.core.lockrank cimport LOCK_RANK_SEMA
from gort._runtime.core.runtime2 cimport Op

cdef class Waitq:
    cdef rt_mutex mu
    cdef readonly uint32_t granted
    cdef Op first
    cdef Op last
    cdef public int64_t count
    cdef int64_t holder
    cdef object taken
    cdef int64_t queued
    cdef int64_t waited
    cdef int64_t settled
    cdef object __weakref__
    cdef inline void lock_state(self) noexcept:
        rt_lock(&self.mu, LOCK_RANK_SEMA)
    cdef inline void unlock_state(self) noexcept:
        rt_unlock(&self.mu, LOCK_RANK_SEMA)
    cdef void push(self, Op op)
    cdef Op pop(self)
    cdef bint unlink(self, Op op)
    cpdef int enter(self, Op op) except -1
    cpdef object left(self, Op op)
    cpdef int64_t _owner(self) except -1
    cpdef object take_back(self, Op op)
    cpdef object _needs(self, Op op)

cdef class WaitOp(Op):
    pass
cdef class Left:
    pass
cdef WaitOp new_wait(Waitq q, int kind)
cdef int settle(Waitq q) noexcept
cdef bint profiled() noexcept
cdef int charge(int64_t waited, int64_t count) except -1
cdef int64_t caller() noexcept
cdef held_by(Waitq q)
cdef int took(dict holders, int64_t goid, int64_t n) noexcept
cdef bint gave(dict holders, int64_t goid, int64_t n) noexcept
cdef holding(dict holders)
cdef taken_by(Waitq q)
cdef tracked(WaitOp op)

cdef class Mutex(Waitq):
    cdef bint held

cdef class WaitGroup(Waitq):
    pass
