# op.pxd: the C signatures of op.py, the await protocol of operation objects.
from libc.stdint cimport int64_t
from cpython.ref cimport PyObject
from gort._runtime.core.runtime2 cimport G, M, Op, Scope

cdef enum:
    THROWN = 2

cdef enum:
    MCALL_LOOK = 7
    MCALL_AWAY = 8
    PREEMPT_LOOK = 2

cpdef bint claim(Op op) except -1
cdef int refuse(Op op, M m) except -1
cdef inline int start(Op op) except -1
cdef int stopping(Op op, M m) except -1
cdef int park_again(Op op) except -1
cdef int unready(G g) except -1
cdef int raise_thrown(Op op, M m) except -1
cdef int put_back(G g) except -1
cdef int come_back(M m) except -1
cdef int lost(Op op, M m) except -1
cdef int pick(G g) except -1
cdef object taken(G g)
cpdef take_cancel(G g)
cdef bint request(G g, int64_t goid, Scope scope, object exc, bint force) except -1
cpdef enter_scope(G g, Scope scope)
cpdef leave_scope(Scope scope)
cpdef bint rearm(G g, object exc)
cdef inline int resumed(Op op) except -1
cdef object op_await(PyObject *self)
cdef int am_send(PyObject *self, PyObject *arg, PyObject **result) except -1
cdef class GoschedOp(Op):
    pass
