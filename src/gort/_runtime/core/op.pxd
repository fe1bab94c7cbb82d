# op.pxd: the await protocol of operation objects in C.
from cpython.ref cimport PyObject, Py_INCREF
from gort._runtime.c.rt cimport rt_claim, rt_import, rt_set_op_send
from gort._runtime.core.runtime2 cimport G, M, Op, getm
from gort._runtime.core.runtime2 cimport MCALL_NONE, MCALL_PARK, MCALL_GOSCHED, MCALL_PREEMPT, MCALL_EXITSYSCALL
from gort._runtime.core.runtime2 cimport OP_NEW, OP_PARKED, OP_DONE, READY, PARK

cpdef bint claim(Op op) except -1
cdef int refuse(Op op, M m) except -1
cdef inline int start(Op op) except -1
cdef int stopping(Op op, M m) except -1
cdef int lost(Op op, M m) except -1
cdef object take_cancel(G g)
cdef inline object resumed(Op op)
cdef int am_send(PyObject *self, PyObject *arg, PyObject **result) except -1
cdef class GoschedOp(Op):
    pass
