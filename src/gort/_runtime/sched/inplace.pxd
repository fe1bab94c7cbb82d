# inplace.pxd: the C signatures of inplace.py, a goroutine that waits on its thread.
from libc.stdint cimport int64_t
from gort._runtime.core.runtime2 cimport M, P, Sched

cdef bint give_place(M m) except -1
cdef bint unbind_empty(P p, int64_t mid) noexcept
cdef int64_t place_until(Sched s, int64_t when, int64_t most) except -1
cdef bint take_place(M m, bint slept) except -1
