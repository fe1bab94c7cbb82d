# select.pxd: select in C types.
cimport cython
from libc.stdint cimport int64_t, uint64_t, uintptr_t
from cpython.ref cimport PyObject
from gort._runtime.c.rt cimport rt_import
from gort._runtime.core.runtime2 cimport G, M, P, Sched, Op, getm, READY, PARK, OP_NEW, OP_DONE
from gort._runtime.wait.chan cimport Chan, ChanOp, try_op, enqueue_recv, enqueue_send, unlink, outcome, RECV, RECV_OK, SEND, NEXT
from gort._runtime.core.handoff cimport ready
from gort._runtime.core.op cimport claim
cdef enum:
    DEFAULT = 1
    TIMED = 2
cdef class SelectOp(Op):
    cdef leave(self)
cdef inline uint64_t address(object c) noexcept
cdef void lockorder(Op sel) noexcept
cdef inline void sellock(Op sel) noexcept
cdef inline void selunlock(Op sel) noexcept
cdef inline Op pass1(tuple cases, M m)
cdef inline bint open_for(Chan c, int kind) noexcept
cdef look(tuple cases)
