# op.pxd: the C signatures of op.py, the await protocol of operation objects.
from cpython.ref cimport PyObject
from gort._runtime.core.runtime2 cimport G, M, Op, Sched

cdef enum:
    THROWN = 2

cdef enum:
    MCALL_LOOK = 7
    MCALL_AWAY = 8
    PREEMPT_LOOK = 2
    MCALL_CHOOSE = 9
    PREEMPT_CHOOSE = 3
    PREEMPT_BEGUN = 4

cpdef bint claim(Op op) except -1
cdef int refuse(Op op, M m) except -1
cdef inline int start(Op op, M m) except -1
cdef bint goes(Op op, M m) except -1
cdef int stopping(Op op, M m) except -1
cdef int park_again(Op op) except -1
cpdef int unready(G g) except -1
cpdef int unpark(G g) except -1
cdef int raise_thrown(Op op, M m) except -1
cdef int come_back(M m) except -1
cdef int lost(Op op, M m) except -1
cdef inline int resumed(Op op, M m) except -1
cdef object op_await(PyObject *self)
cdef int am_send(Op op, PyObject *arg, PyObject **result) except -1
cdef void share(Sched s, object what) noexcept
cdef class GoschedOp(Op):
    pass
