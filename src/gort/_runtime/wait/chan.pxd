# chan.pxd: the C types of chan.py (Go's hchan).
cimport cython
from libc.stdint cimport uint32_t
from gort._runtime.c.rt cimport rt_mutex, rt_lock, rt_unlock
from gort._runtime.core.lockrank cimport LOCK_RANK_HCHAN
from gort._runtime.core.runtime2 cimport G, Op

cpdef enum:
    RECV = 1
    RECV_OK = 2
    NEXT = 3
    RECV_MANY = 4
    SEND = 5
    SEND_MANY = 6

@cython.final
cdef class Chan:
    cdef rt_mutex mu
    cdef public Py_ssize_t qcount
    cdef readonly Py_ssize_t dataqsiz
    cdef Py_ssize_t sendx
    cdef Py_ssize_t recvx
    cdef bint isclosed
    cdef readonly uint32_t received
    cdef list buf
    cdef Op recvfirst
    cdef Op recvlast
    cdef Op sendfirst
    cdef Op sendlast
    cdef public object timer
    cdef object __weakref__
    cdef inline void lock(self) noexcept:
        rt_lock(&self.mu, LOCK_RANK_HCHAN)
    cdef inline void unlock(self) noexcept:
        rt_unlock(&self.mu, LOCK_RANK_HCHAN)

cdef class ChanOp(Op):
    pass

@cython.final
cdef class ValueOp(ChanOp):
    pass

cdef void enqueue_recv(Chan c, Op op) noexcept
cdef void enqueue_send(Chan c, Op op) noexcept
cdef Op dequeue_recv(Chan c)
cdef Op dequeue_send(Chan c)
cdef bint win(Op op)
cdef bint unlink(Chan c, Op op)
cdef inline int first_step(Op self, G g) except -1
cdef look_at(Chan c, int kind)
cdef unblock(Op op)
cdef int try_op(Chan c, Op op) except -1
cdef inline ValueOp new_op(Chan c, int kind)
cdef inline object give(Op w)
cdef inline void put(Chan c, object value)
cdef wake(Op chain)
cpdef close_chan(Chan c)
cdef bint attempt(Chan c, Op op) except -1
cdef bint drain(Chan c)
cdef Op deliver(Chan c, object value)
cdef object outcome(Op op)
