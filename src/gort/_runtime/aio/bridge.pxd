# bridge.pxd: the C types of bridge.py.
cimport cython
from gort._runtime.core.runtime2 cimport Op

@cython.final
cdef class CallOp(Op):
    pass

cpdef object make_call(object loop, object coroutine)
