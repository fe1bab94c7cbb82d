# procresize.pxd: the C signatures of procresize.py, the number of Ps.
from gort._runtime.core.runtime2 cimport M, P, Sched
cpdef list procresize(Sched s, int n, M m)
cdef P new_p(int i)
cdef destroy(Sched s, P p)
cpdef stop_the_world(Sched s, M m)
cpdef start_the_world(Sched s, list work)
