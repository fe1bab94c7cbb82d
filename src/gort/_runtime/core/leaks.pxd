# leaks.pxd: the C signatures of leaks.py.
from gort._runtime.core.runtime2 cimport Op, Sched

cdef bint waits_for_io(Op op)
cpdef list leaked(Sched s)
