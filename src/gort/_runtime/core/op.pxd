# op.pxd: the C signatures of op.py, the await protocol of operation objects.
from cpython.ref cimport PyObject
from gort._runtime.core.runtime2 cimport G, M, Op

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
