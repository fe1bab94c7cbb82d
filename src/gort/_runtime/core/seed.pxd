# seed.pxd: the C signatures and constants of seed.py, the order that GODEBUG=seed draws.
from libc.stdint cimport int64_t
from gort._runtime.core.runtime2 cimport G, M, Sched

cdef enum:
    PREEMPT_SEED = 5
    SEED_STEP_NS = 1000
    SEED_TURNS = 4

cpdef begin(Sched s)
cdef int drawn(M m, int n) noexcept
cdef int queues(Sched s, M m, G g, bint next) except -1
cdef bint turn(M m) noexcept
cdef void stopped(M m) noexcept
cpdef slept(Sched s, int64_t until, int64_t ns)
