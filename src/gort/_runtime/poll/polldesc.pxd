# polldesc.pxd: the C types of polldesc.py, descriptors and the operations that wait for them.
cimport cython
from libc.stdint cimport int64_t
from gort._runtime.c.rt cimport rt_mutex, rt_lock, rt_unlock
from gort._runtime.core.lockrank cimport LOCK_RANK_POLLDESC
from gort._runtime.core.runtime2 cimport Sched, Op
from gort._runtime.core.handoff cimport ready
from gort._runtime.sched.timers cimport Timer

cpdef enum:
    AGAIN = 0
    DRAINED = 1
    MORE = 2

cpdef enum:
    OK = 1
    CLOSED = 2
    EXPIRED = 3
    FAILED = 4
    REFUSED = 5

cdef enum:
    EPOLLIN = 0x001
    EPOLLOUT = 0x004
    EPOLLERR = 0x008
    EPOLLHUP = 0x010
    EPOLLRDHUP = 0x2000

@cython.final
cdef class Side:
    cdef bint busy
    cdef bint ready
    cdef bint hup
    cdef bint expired
    cdef Op first
    cdef Op last
    cdef int64_t deadline
    cdef int64_t armed
    cdef Timer timer

cdef class Poller:
    cdef Sched s
    cdef readonly bint closed
    cdef int level
    cdef int nwait
    cpdef tell(self)
    cpdef register(self, PollDesc pd)
    cpdef watch_writes(self, PollDesc pd)
    cpdef unregister(self, PollDesc pd)

cdef class PollDesc:
    cdef rt_mutex mu
    cdef readonly int fd
    cdef readonly bint closing
    cdef bint attaching
    cdef bint wlate
    cdef Poller np
    cdef Side r
    cdef Side w
    cdef object __weakref__
    cpdef attach(self, Sched s)
    cpdef bint shut(self) except -1
    cpdef bint set_deadlines(self, bint read, bint write, int64_t when) except -1
    cdef inline void lock(self) noexcept:
        rt_lock(&self.mu, LOCK_RANK_POLLDESC)
    cdef inline void unlock(self) noexcept:
        rt_unlock(&self.mu, LOCK_RANK_POLLDESC)

cdef class NetOp(Op):
    cpdef int attempt(self) except -1
    cdef bint wait_late(self) except -1

cdef release(PollDesc pd)
cdef void count(Poller np, int by) noexcept
cdef void put(PollDesc pd, Side side, Op op)
cdef void put_back(PollDesc pd, Side side, Op op)
cdef Op take(PollDesc pd, Side side)
cdef void unlink(PollDesc pd, Side side, Op op)
cdef Op take_all(PollDesc pd, Side side, Op chain, int outcome)
cdef complete(Op chain)
cdef bint serve(PollDesc pd, Side side, Op op, bint parked) except -1
cdef bint event(PollDesc pd, unsigned int mask) except -1
cdef bint wakeside(PollDesc pd, Side side, bint hup) except -1
cdef Timer deadline_timer(PollDesc pd, int which)
cdef void disarm(Side side)
cdef bint arm_deadline(PollDesc pd, Side side)
