# idle.pxd: the C signatures of idle.py (Ms that sleep, end, or are overtaken).
from gort._runtime.core.runtime2 cimport M, Sched
cdef bint stopm(M m)
cdef midleput(Sched s, M m)
cpdef bint overtake(Sched s, M m)
cpdef int endidle(Sched s, int most) except -1
