# findrunnable.pxd: the C signatures and constants of findrunnable.py, an M's search for work.
from libc.stdint cimport int64_t, uint64_t
from gort._runtime.core.runtime2 cimport G, M, P

cdef enum:
    CHECK_GLOBAL = 61
    CHECK_NETPOLL = 30
    LOOK_AT_SLICE = 1023

cdef bint slice_is_over(P p) noexcept
cdef G findrunnable(M m)
cdef G findrunnable_slow(M m, int64_t now)
cdef bint give_up(M m, P p) except -1
cdef G steal(M m, P p, int64_t now)
cdef bint looks_itself(M m) noexcept
cdef bint poll(M m)
cdef uint64_t cheaprand(M m)
