# bulk.pxd: the C types of bulk.py.
from gort._runtime.core.runtime2 cimport Op
from gort._runtime.wait.chan cimport ChanOp

cdef class RecvManyOp(ChanOp):
    pass
cdef class SendManyOp(ChanOp):
    pass
cdef list collect(Op op)
